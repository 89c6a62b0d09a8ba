from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageFile

from genaudit.data.decode import BadImage, decode, probe, unit_to_uint8

from .conftest import encode, raw_png

LIMIT = 10_000


def pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff", "webp"])
def test_lossless_formats_give_back_the_pixels(pixels: np.ndarray, kind: str) -> None:
    options = {"lossless": True} if kind == "webp" else {}
    data = encode(pixels[0], kind, **options)
    assert probe(data, LIMIT)[:3] == ("RGB", 9, 7)
    result = decode(data, LIMIT)
    np.testing.assert_array_equal(result, pixels[0])
    assert result.flags.c_contiguous
    assert result.flags.writeable


def test_jpeg_equals_pillow(pixels: np.ndarray) -> None:
    data = encode(pixels[0], "jpeg")
    np.testing.assert_array_equal(decode(data, LIMIT), pillow(data))


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("1", "png"), ("L", "png"), ("P", "png"), ("P", "gif"), ("RGBA", "png"), ("LA", "png"), ("CMYK", "jpeg"),
     ("CMYK", "tiff"), ("RGBA", "tiff"), ("YCbCr", "tiff"), ("RGBA", "webp")],
)  # fmt: skip
def test_modes_are_named_and_equal_pillows_conversion(pixels: np.ndarray, mode: str, kind: str) -> None:
    data = encode(pixels[0], kind, mode)
    header = probe(data, LIMIT)
    stored = "RGB" if (mode, kind) == ("RGBA", "webp") and header.mode == "RGB" else mode
    assert header[:3] == (stored, 9, 7)
    np.testing.assert_array_equal(decode(data, LIMIT), pillow(data))


def test_alpha_is_dropped_and_not_composited(rng: np.random.Generator) -> None:
    rgba = rng.integers(0, 256, (5, 4, 4), dtype=np.uint8)
    rgba[..., 3] = 0
    np.testing.assert_array_equal(decode(encode(rgba), LIMIT), rgba[..., :3])


def test_palette_with_transparency_keeps_its_colours(pixels: np.ndarray) -> None:
    opaque = encode(pixels[0], "png", "P")
    transparent = encode(pixels[0], "png", "P", transparency=bytes(range(256)))
    np.testing.assert_array_equal(decode(transparent, LIMIT), decode(opaque, LIMIT))


def test_sixteen_bit_grey_is_divided_by_257_and_rounded() -> None:
    values = np.array([[0, 128, 129, 257, 0xABAB, 0xABCD, 65406, 65407, 65535]], dtype=np.uint16)
    expected = np.round(values / 257)  # no value lies half-way: 257 is odd
    for kind in ("png", "tiff"):
        data = encode(values, kind)
        assert probe(data, LIMIT).mode == "I;16"
        result = decode(data, LIMIT)
        np.testing.assert_array_equal(result, np.repeat(expected[..., None], 3, axis=2))
    big_endian = io.BytesIO()
    Image.frombytes("I;16B", (9, 1), values.astype(">u2").tobytes()).save(big_endian, "tiff")
    np.testing.assert_array_equal(decode(big_endian.getvalue(), LIMIT)[..., 1], expected)


def test_sixteen_bit_colour_is_within_one_level_and_counted(rng: np.random.Generator) -> None:
    values = rng.integers(0, 65536, (3, 4, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    data = raw_png(4, 3, 16, 2, rows)
    assert probe(data, LIMIT).mode == "RGB;16"
    assert np.abs(decode(data, LIMIT) - values / 257).max() <= 1.0


def test_float_tiff_in_the_unit_interval_is_scaled() -> None:
    values = np.array([[0.0, 0.1, 0.5, 1.0]], dtype=np.float32)
    data = encode(values, "tiff")
    assert probe(data, LIMIT).mode == "F"
    np.testing.assert_array_equal(decode(data, LIMIT)[0, :, 0], [0, 26, 128, 255])  # 25.5, 127.5: halves up


@pytest.mark.parametrize("bad", [-0.5, 1.5, np.nan, np.inf])
def test_float_tiff_outside_the_unit_interval_is_refused(bad: float) -> None:
    with pytest.raises(BadImage, match=r"\[0, 1\]|NaN"):
        decode(encode(np.array([[0.5, bad]], dtype=np.float32), "tiff"), LIMIT)


def test_modes_without_a_white_point_are_refused_before_decoding() -> None:
    with pytest.raises(BadImage, match="which value is white"):
        probe(encode(np.zeros((2, 2), dtype=np.int32), "tiff"), LIMIT)
    buffer = io.BytesIO()
    Image.new("LAB", (2, 2)).save(buffer, "tiff")
    with pytest.raises(BadImage, match="mode LAB"):
        probe(buffer.getvalue(), LIMIT)


def test_the_first_frame_of_an_animation_is_read(pixels: np.ndarray) -> None:
    for kind in ("gif", "tiff", "webp", "png"):
        frames = [Image.fromarray(pixel).convert("L").convert("RGB") for pixel in pixels[:3]]
        buffer = io.BytesIO()
        options = {"lossless": True} if kind == "webp" else {}
        frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], **options)
        np.testing.assert_array_equal(decode(buffer.getvalue(), LIMIT), np.asarray(frames[0]), err_msg=kind)


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "bmp", "tiff", "webp"])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.6, 0.9, 0.97])
def test_truncated_files_are_damaged_at_the_latest_when_decoded(
    rng: np.random.Generator, kind: str, share: float
) -> None:
    data = encode(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8), kind)
    with pytest.raises(BadImage, match=r"truncated|damaged|empty|not an image"):
        decode(data[: int(share * len(data))], LIMIT)


def test_a_png_that_lacks_only_its_end_and_a_jpeg_that_lacks_its_marker_are_truncated(pixels: np.ndarray) -> None:
    png, jpeg = encode(pixels[0]), encode(pixels[0], "jpeg")
    for missing in (1, 4, 12):  # Pillow itself decodes these silently
        assert probe(png[:-missing], LIMIT).mode == "RGB"
        with pytest.raises(BadImage, match="truncated PNG"):
            decode(png[:-missing], LIMIT)
    assert probe(jpeg[:-2], LIMIT).mode == "RGB"
    with pytest.raises(BadImage, match="JPEG"):
        decode(jpeg[:-2], LIMIT)


def test_a_flipped_bit_in_png_data_is_found(pixels: np.ndarray) -> None:
    data = bytearray(encode(pixels[0], compress_level=0))
    data[data.index(b"IDAT") + 60] ^= 1
    with pytest.raises(BadImage, match="checksum"):
        decode(bytes(data), LIMIT)


def test_truncated_images_are_damaged_even_if_another_package_asked_pillow_for_leniency(
    pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encode(np.tile(pixels[0], (5, 5, 1)), "jpeg")
    with pytest.raises(BadImage, match="truncated"):
        decode(data[: len(data) // 2], LIMIT)


def test_a_bomb_is_refused_from_its_header_alone() -> None:
    # 50,000 x 50,000 RGB in a few bytes: the pixel data behind the header is nonsense and is never looked at.
    bomb = raw_png(50_000, 50_000, 8, 2, b"nothing")
    with pytest.raises(BadImage, match=r"50000 x 50000 = 2,500,000,000 pixels, more than max_pixels=100,000,000"):
        probe(bomb, 100_000_000)
    with pytest.raises(BadImage, match="max_pixels"):
        decode(bomb, 100_000_000)


def test_max_pixels_is_the_limit_whatever_pillows_own_is(pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)  # Image.open would raise for more than 10 pixels
    data = encode(pixels[0])
    np.testing.assert_array_equal(decode(data, 63), pixels[0])
    with pytest.raises(BadImage, match="max_pixels=62"):
        decode(data, 62)


@pytest.mark.parametrize("data", [b"", b"GIF", b"hello, world", b"\x89PNG\r\n\x1a\n", b"<svg></svg>", bytes(1000)])
def test_what_is_no_image_is_refused_without_naming_memory_addresses(data: bytes) -> None:
    with pytest.raises(BadImage) as caught:
        probe(data, LIMIT)
    assert "0x" not in str(caught.value)


def test_an_extension_does_not_matter_the_content_does(pixels: np.ndarray) -> None:
    assert probe(encode(pixels[0], "bmp"), LIMIT).mode == "RGB"  # no name is given at all
    with pytest.raises(BadImage, match="not an image"):  # a format that is not on the list, though Pillow knows it
        probe(encode(pixels[0], "sgi"), LIMIT)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_levels_survive_the_way_through_floats(dtype: type) -> None:
    # Half has 11 bits: x and 255 x are each off by at most 2^-11 relative, 0.12 at 255, below one half.
    levels = np.arange(256)
    np.testing.assert_array_equal(unit_to_uint8((levels / 255).astype(dtype)), levels)
