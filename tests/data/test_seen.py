"""What people see is what is measured: orientation, photometry and depth; and metadata decides nothing."""

from __future__ import annotations

import io
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from genaudit.data import ImageSet, open_images
from genaudit.data.bad_image import BadImage
from genaudit.data.decode import decode, probe
from genaudit.data.digest import file_digest
from genaudit.data.encoding import orientation, pixels_only
from genaudit.data.formats import EXTENSIONS, looks_like
from genaudit.data.tiff import read_tiff
from genaudit.tasks.run.measuring import skipped_images

from .conftest import encode

LIMIT = 100_000


def opened(source: object, **options: object) -> ImageSet:
    found = open_images(source, **options)  # type: ignore[arg-type]
    assert isinstance(found, ImageSet)
    return found


def exif(turn: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = turn
    return block.tobytes()


def turned(image: np.ndarray, turn: int, kind: str, **options: Any) -> bytes:
    """A file that stores `image` so that orientation `turn` shows it upright again."""
    back = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[turn]  # the transpose that undoes the orientation
    stored = Image.fromarray(image)
    stored = stored if back is None else stored.transpose(Image.Transpose(back))
    buffer = io.BytesIO()
    if kind == "tiff":
        stored.save(buffer, kind, tiffinfo={274: turn}, **options)
    else:
        stored.save(buffer, kind, exif=exif(turn), **options)
    return buffer.getvalue()


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "webp", "tiff"])
def test_every_orientation_shows_the_image_upright(pixels: np.ndarray, turn: int, kind: str) -> None:
    data = turned(pixels[0], turn, kind, **({"lossless": True} if kind == "webp" else {}))
    np.testing.assert_array_equal(decode(data, LIMIT), pixels[0])
    header = probe(data, LIMIT)
    assert (header.height, header.width) == pixels[0].shape[:2]
    assert header.turned == (turn != 1)


def test_a_compressed_tiff_is_turned_once(pixels: np.ndarray) -> None:
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate"):
        data = turned(pixels[0], 6, "tiff", compression=compression)
        np.testing.assert_array_equal(decode(data, LIMIT), pixels[0])


def test_one_rule_of_orientation_on_every_route(tmp_path: Path, rng: np.random.Generator) -> None:
    datasets = pytest.importorskip("datasets")
    import zipfile

    from genaudit.data.huggingface_source import HuggingfaceSource

    images = rng.integers(0, 256, (3, 16, 24, 3), dtype=np.uint8)
    files = {f"{i}.jpg": turned(image, 6, "jpeg", quality=95) for i, image in enumerate(images)}
    (tmp_path / "x").mkdir()
    for name, data in files.items():
        (tmp_path / "x" / name).write_bytes(data)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    (tmp_path / "x.txt").write_text("".join(f"x/{name}\n" for name in files))
    table = datasets.Dataset.from_dict(
        {"image": [{"bytes": data, "path": None} for data in files.values()]},
        features=datasets.Features({"image": datasets.Image()}),
    )
    table.save_to_disk(tmp_path / "saved")
    expected = opened(tmp_path / "x")
    assert expected.turned == 3
    assert [w.code for w in skipped_images({"train": expected})] == ["orientation-applied"]
    for source in (tmp_path / "x.zip", tmp_path / "x.txt", table, HuggingfaceSource(str(tmp_path / "saved"), None)):
        assert opened(source).digest == expected.digest

    class Items:
        def __init__(self, items: list[Any]) -> None:
            self.items = items

        def __len__(self) -> int:
            return len(self.items)

        def __getitem__(self, index: int) -> Any:
            return self.items[index]

    read = [Image.open(tmp_path / "x" / name) for name in files]
    converted = [Image.open(tmp_path / "x" / name).convert("RGB") for name in files]  # as torchvision's loader does
    for source in (Items(read), Items(converted), table.with_format("torch"), Items([r["image"] for r in table])):
        found = opened(source)
        for i, image in enumerate(images):
            np.testing.assert_array_equal(found.read(i), expected.read(i))
            assert (
                np.abs(found.read(i).astype(int) - image).mean() < 60
            )  # upright: JPEG's error on noise, not another image


def test_rows_of_a_turned_image_are_not_those_that_were_stored_unturned(pixels: np.ndarray, tmp_path: Path) -> None:
    plain, upright = encode(pixels[0]), turned(pixels[0], 3, "png")
    for name, data in (("a.png", plain), ("b.png", upright)):
        (tmp_path / name).write_bytes(data)
    digests = opened(tmp_path).digests
    assert digests[0].tobytes() == file_digest(plain)
    assert digests[1].tobytes() != file_digest(upright)


def png_with(pixels: np.ndarray, *chunks: tuple[bytes, bytes], check: int = 0) -> bytes:
    """A PNG with further chunks behind its header; `check` spoils their checksums."""
    data = encode(pixels)
    more = b""
    for name, body in chunks:
        more += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body) ^ check)
    return data[:33] + more + data[33:]


@pytest.mark.parametrize("check", [0, 1])
def test_no_chunk_beside_the_pixels_of_a_png_decides(pixels: np.ndarray, check: int) -> None:
    text = zlib.compress(b"x" * 3_000_000)
    chunks = [
        (b"zTXt", b"workflow\0\0" + text),
        (b"iTXt", b"workflow\0\1\0\0\0" + text),
        (b"tEXt", b"parameters\0" + b"y" * 2_000_000),
        (b"iCCP", b"profile\0\0" + text),
        (b"iCCP", b"garbage"),
        (b"gAMA", b"\0\0\0\1"),
        (b"pHYs", b"short"),
        (b"eXIf", b"garbage"),
        (b"acTL", b"\0\0\0\1\0\0\0\0"),
        (b"abCd", b""),
    ]
    for chunk in chunks:
        np.testing.assert_array_equal(decode(png_with(pixels[0], chunk, check=check), LIMIT), pixels[0], str(chunk[0]))
    every = png_with(pixels[0], *chunks, check=check)
    assert probe(every, LIMIT)[:3] == ("RGB", 9, 7)
    np.testing.assert_array_equal(decode(every, LIMIT), pixels[0])


def test_transparency_and_palette_of_a_png_are_not_metadata_that_change_colours(pixels: np.ndarray) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("a", "b")
    for mode in ("P", "L", "LA", "RGBA", "1"):
        image = Image.fromarray(pixels[0]).convert(mode)
        with_text, without = io.BytesIO(), io.BytesIO()
        image.save(with_text, "png", pnginfo=info)
        image.save(without, "png")
        np.testing.assert_array_equal(decode(with_text.getvalue(), LIMIT), decode(without.getvalue(), LIMIT))


def test_no_segment_beside_the_pixels_of_a_jpeg_decides(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (24, 16, 3), dtype=np.uint8)
    for mode in ("RGB", "L", "CMYK"):
        data = encode(image, "jpeg", mode)
        plain = decode(data, LIMIT)
        for marker in (0xE1, 0xE2, 0xE5, 0xED, 0xEF, 0xFE):
            for body in (
                b"Exif\0\0garbage",
                b"MPF\0garbage",
                b"ICC_PROFILE\0\1\1" + b"z" * 60_000,
                b"Photoshop 3.0\0" + b"8BIM" * 9,
            ):
                segment = bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body
                spoiled = data[:2] + segment + data[2:]
                np.testing.assert_array_equal(decode(spoiled, LIMIT), plain, f"{mode} {marker:x}")
        np.testing.assert_array_equal(decode(data[:20] + data[20:], LIMIT), plain)


def test_metadata_of_a_tiff_decides_nothing(pixels: np.ndarray) -> None:
    data = bytearray(encode(pixels[0], "tiff"))
    image = Image.fromarray(pixels[0])
    buffer = io.BytesIO()
    image.save(buffer, "tiff", tiffinfo={270: "x" * 100_000, 34665: 12, 700: b"garbage", 34675: b"no profile"})
    np.testing.assert_array_equal(decode(buffer.getvalue(), LIMIT), pixels[0])
    assert decode(bytes(data), LIMIT).shape == pixels[0].shape


def test_cutting_metadata_leaves_damaged_files_as_they_are(pixels: np.ndarray) -> None:
    for kind in ("png", "jpeg"):
        data = encode(pixels[0], kind)
        for size in range(4, len(data), 7):
            cut = pixels_only(data[:size]).data
            assert len(cut) <= size
            assert cut[-1:] == data[size - 1 : size]
    assert orientation(b"Exif\0\0II*\0") == orientation(b"") == orientation(exif(9)) == 1


def grey_tiff(values: np.ndarray, bits: int, *, white_is_zero: bool = False, kind: int = 1, order: str = "<") -> bytes:
    """An uncompressed grey TIFF of the given depth and sample format, written by hand."""
    height, width = values.shape
    if bits == 12:
        flat = values.reshape(height, -1)
        rows = []
        for row in flat:
            text = "".join(f"{value:012b}" for value in row)
            rows.append(int(text + "0" * (-len(text) % 8), 2).to_bytes((len(text) + 7) // 8, "big"))
        body = b"".join(rows)
    else:
        code = {(8, 1): "u1", (8, 2): "i1", (16, 1): "u2", (32, 3): "f4"}[bits, kind]
        body = values.astype(order + code).tobytes()
    tags = [(256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, 0 if white_is_zero else 1),
            (273, 4, 8), (277, 3, 1), (278, 3, height), (279, 4, len(body)), (339, 3, kind)]  # fmt: skip
    entries = b""
    for tag, code_, value in tags:
        packed = struct.pack(f"{order}H", value) + b"\0\0" if code_ == 3 else struct.pack(f"{order}I", value)
        entries += struct.pack(f"{order}HHI", tag, code_, 1) + packed
    body += b"\0" * (len(body) % 2)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(body))
    return head + body + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_depth_and_photometry_of_a_tiff_are_honoured(order: str, white_is_zero: bool) -> None:
    share = np.array([[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]])
    expected = np.round(255 * share)
    expected = 255 - expected if white_is_zero else expected
    for bits, kind, values in (
        (8, 1, np.round(255 * share).astype(np.uint8)),
        (16, 1, np.round(65535 * share).astype(np.uint16)),
        (32, 3, share.astype(np.float32)),
    ):
        data = grey_tiff(values, bits, white_is_zero=white_is_zero, kind=kind, order=order)
        np.testing.assert_array_equal(decode(data, LIMIT)[..., 0], expected, f"{bits} bits")
        assert read_tiff(data).inverted == (white_is_zero and bits > 8)


def test_twelve_bits_a_sample_span_black_to_white() -> None:
    values = np.array([[0, 1024, 2048, 4095]])
    np.testing.assert_array_equal(decode(grey_tiff(values, 12), LIMIT)[0, :, 0], [0, 64, 128, 255])
    with pytest.raises(BadImage, match="depth and kind cannot be read"):  # Pillow knows no such big-endian ones
        probe(grey_tiff(values, 12, order=">"), LIMIT)


def test_samples_that_would_be_misread_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(BadImage, match="signed samples"):
        probe(grey_tiff(np.zeros((1, 4), np.int8), 8, kind=2), LIMIT)
    data = bytearray(encode(pixels[0], "tiff", "YCbCr"))
    assert decode(bytes(data), LIMIT).shape == (9, 7, 3)
    at = data.index(struct.pack("<HHI", 530, 3, 2))
    struct.pack_into("<HH", data, at + 8, 2, 2)
    with pytest.raises(BadImage, match="subsampled YCbCr"):
        probe(bytes(data), LIMIT)


@pytest.mark.parametrize("kind", ["ppm", "pgm", "pbm", "jp2", "qoi", "avif", "jfif", "dib"])
def test_formats_that_pillow_reads_are_read(tmp_path: Path, rng: np.random.Generator, kind: str) -> None:
    mode = {"pgm": "L", "pbm": "1"}.get(kind, "RGB")
    if f".{kind}" not in EXTENSIONS:
        pytest.skip(f"this Pillow reads no {kind}")
    image = Image.fromarray(rng.integers(0, 256, (16, 24, 3), dtype=np.uint8)).convert(mode)
    options = {"irreversible": False} if kind == "jp2" else {"lossless": True} if kind == "webp" else {}
    image.save(tmp_path / f"x.{kind}", **({"format": "jpeg"} if kind == "jfif" else options))
    images = opened(tmp_path)
    assert images.names == [f"x.{kind}"]
    pillow = np.asarray(Image.open(tmp_path / f"x.{kind}").convert("RGB"))
    np.testing.assert_array_equal(images.read(0), pillow)
    assert pickle.loads(pickle.dumps(images)).read(0).shape == (16, 24, 3)


def test_levels_of_a_netpbm_file_are_its_own() -> None:
    """Netpbm: a sample of MAXVAL is white, whatever MAXVAL is."""
    for most in (100, 255, 1000, 65535):
        wide = ">u2" if most > 255 else "u1"
        grey = np.array([0, most // 2, most]).astype(wide).tobytes()
        image = decode(f"P5 3 1 {most}\n".encode() + grey, LIMIT)
        np.testing.assert_allclose(image[0, :, 0], [0, 127, 255], atol=1)
        colour = np.array([0, most // 2, most]).astype(wide).tobytes()
        np.testing.assert_allclose(decode(f"P6 1 1 {most}\n".encode() + colour, LIMIT)[0, 0], [0, 127, 255], atol=1)


def test_a_file_is_known_by_its_first_bytes(pixels: np.ndarray) -> None:
    for kind, name in (
        ("png", "PNG"),
        ("jpeg", "JPEG"),
        ("bmp", "BMP"),
        ("gif", "GIF"),
        ("ppm", "PPM"),
        ("tiff", "TIFF"),
    ):
        assert looks_like(encode(pixels[0], kind)[:16]) == name
    for data in (b"", b"PK\x03\x04", b"Paris", b"P", b"# text", b"{}", b"\x89HDF\r\n\x1a\n", bytes(16)):
        assert looks_like(data) == ""
