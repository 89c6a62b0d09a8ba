from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from genaudit.data import ImageSet, open_images
from genaudit.data.ignored import LINK, SPECIAL
from genaudit.errors import UserError

from .conftest import encode, raw_png


def write_zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w", form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, mode, format=form) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def opened(source: object, **options: object) -> ImageSet:
    images = open_images(source, **options)  # type: ignore[arg-type]
    assert isinstance(images, ImageSet)
    return images


@pytest.fixture(params=["stored", "deflated", "pax", "gnu", "ustar"])
def archive(request: pytest.FixtureRequest, tmp_path: Path, files: dict[str, bytes]) -> Path:
    if request.param == "stored":
        return write_zip(tmp_path / "x.zip", dict(reversed(files.items())), zipfile.ZIP_STORED)
    if request.param == "deflated":
        return write_zip(tmp_path / "x.ZIP", dict(reversed(files.items())))
    form = {"pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT, "ustar": tarfile.USTAR_FORMAT}[request.param]
    return write_tar(tmp_path / "x.tar", {f"./{name}": data for name, data in files.items()}, form=form)


def test_archives_equal_the_folder_that_they_hold(archive: Path, folder: Path) -> None:
    expected, images = opened(folder), opened(archive)
    assert images.names == expected.names
    assert images.digest == expected.digest
    assert images.converted == expected.converted
    for i in range(len(expected)):
        np.testing.assert_array_equal(images.read(i), expected.read(i))


def test_threads_pickles_and_limits(archive: Path, folder: Path) -> None:
    images = pickle.loads(pickle.dumps(opened(archive, workers=4)))
    expected = opened(folder)
    assert images.digest == expected.digest
    order = np.random.default_rng(0).integers(0, 6, 100)
    with ThreadPoolExecutor(8) as pool:
        for i, pixels in zip(order, pool.map(images.read, order), strict=True):
            np.testing.assert_array_equal(pixels, expected.read(i))
    assert opened(archive, limit=2).digest == opened(folder, limit=2).digest


def test_nothing_is_written_to_disk(archive: Path) -> None:
    before = sorted(os.listdir(archive.parent))
    images = opened(archive)
    for i in range(len(images)):
        images.read(i)
    assert sorted(os.listdir(archive.parent)) == before


def test_a_webdataset_shard_keeps_its_order_and_counts_its_labels(tmp_path: Path, files: dict[str, bytes]) -> None:
    members = {}
    for i, data in enumerate(reversed(list(files.values()))):
        members[f"{9 - i:06}.cls"] = b"3"
        members[f"{9 - i:06}.jpg"] = data
    images = opened(write_tar(tmp_path / "shard.tar", members))
    assert images.names == [f"{9 - i:06}.jpg" for i in range(6)]
    assert images.ignored == {"no image: .cls": 6}


def test_shards_are_joined_by_a_pattern(tmp_path: Path, files: dict[str, bytes]) -> None:
    for shard in range(3):
        write_tar(tmp_path / f"s{shard}.tar", {f"{shard}.png": files["B.PNG"], f"{shard}.txt": b""})
    images = opened(f"{tmp_path}/s*.tar")
    assert images.names == [f"{tmp_path}/s{i}.tar/{i}.png" for i in range(3)]
    assert images.ignored == {"no image: .txt": 3}
    assert set(opened(f"{tmp_path}/s*.tar", limit=2).names) < set(images.names)
    assert images.read(2).shape == (9, 7, 3)


def test_absolute_and_climbing_names_are_only_labels(tmp_path: Path, files: dict[str, bytes]) -> None:
    members = {"/etc/a.png": files["B.PNG"], "../../b.png": files["c.webp"], "__MACOSX/._a.png": b"resource fork"}
    for path in (write_zip(tmp_path / "x.zip", members), write_tar(tmp_path / "x.tar", members)):
        images = opened(path)
        assert sorted(images.names) == ["../../b.png", "/etc/a.png"]
        assert all(images.read(i).shape == (9, 7, 3) for i in range(2))
    assert not (tmp_path.parent / "b.png").exists()


def test_directories_links_and_devices_in_archives_are_no_images(tmp_path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, kind in (("d.png", tarfile.DIRTYPE), ("l.png", tarfile.SYMTYPE), ("p.png", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        member = tarfile.TarInfo("a.png")
        member.size = len(files["B.PNG"])
        archive.addfile(member, io.BytesIO(files["B.PNG"]))
    images = opened(tmp_path / "x.tar")
    assert images.names == ["a.png"]
    assert images.ignored == {LINK: 1, SPECIAL: 1}
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as zipped:
        zipped.mkdir("d.png/") if hasattr(zipped, "mkdir") else zipped.writestr("d.png/", b"")
        zipped.writestr("d.png/a.png", files["B.PNG"])
    assert opened(tmp_path / "x.zip").names == ["d.png/a.png"]


def test_a_zip_behind_other_bytes_is_read(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = write_zip(tmp_path / "x.zip", files)
    path.write_bytes(b"#!/bin/sh\n" * 100 + path.read_bytes())
    assert opened(path).read(0).shape == (9, 7, 3)


def test_encrypted_members_are_refused_by_name(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = write_zip(tmp_path / "x.zip", {"a.png": files["B.PNG"], "b.png": files["c.webp"]})
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")  # the directory's entry of b.png: set the flag "encrypted"
    struct.pack_into("<H", data, entry + 8, struct.unpack_from("<H", data, entry + 8)[0] | 1)
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"b\.png is encrypted"):
        open_images(path)
    assert opened(path, on_error="skip", max_skipped=0.5).names == ["a.png"]


def test_other_compression_methods_are_refused_by_name(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = write_zip(tmp_path / "x.zip", {"a.png": files["B.PNG"]}, zipfile.ZIP_LZMA)
    with pytest.raises(UserError, match=r"a\.png is compressed by zip method 14; stored or deflated"):
        open_images(path)


def test_a_member_that_unpacks_to_more_than_any_image_needs_is_not_unpacked(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"a.png": bytes(20 << 20)})  # 20 MiB of zeros in 20 kB
    with pytest.raises(UserError, match=r"a\.png would unpack to 20,971,520 bytes, more than"):
        open_images(path, max_pixels=10_000)


def test_a_member_that_lies_about_its_size_is_unpacked_no_further(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"a.png": bytes(1 << 20)})
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, entry + 24, 100)
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"a\.png is damaged inside the zip"):
        open_images(path)


def test_image_bombs_in_archives_are_refused_by_name(tmp_path: Path) -> None:
    bomb = {"bomb.png": raw_png(100_000, 100_000, 8, 0, b"")}
    for path in (write_zip(tmp_path / "x.zip", bomb), write_tar(tmp_path / "x.tar", bomb)):
        with pytest.raises(UserError, match=r"bomb\.png would decode to 100000 x 100000"):
            open_images(path)


def test_flipped_bits_in_zips_are_found(tmp_path: Path, pixels: np.ndarray) -> None:
    bitmap = encode(pixels[0], "bmp")  # a format without a checksum of its own
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path = write_zip(tmp_path / "x.zip", {"a.bmp": bitmap}, method)
        data = bytearray(path.read_bytes())
        data[100] ^= 1
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"a\.bmp is damaged inside the zip"):
            open_images(path)


def test_tars_that_are_cut_off_say_after_which_member(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = write_tar(tmp_path / "x.tar", files)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(files["c.webp"]) + 10])
    with pytest.raises(UserError, match=r"x\.tar is not a tar archive, or it is cut off, after "):
        open_images(path)


@pytest.mark.parametrize("mode", ["gz", "bz2", "xz"])
@pytest.mark.parametrize("suffix", ["tar", "tar.{}", "t{}"])
def test_compressed_tars_equal_plain_ones(tmp_path: Path, files: dict[str, bytes], mode: str, suffix: str) -> None:
    plain = opened(write_tar(tmp_path / "plain.tar", files))
    path = write_tar(tmp_path / f"x.{suffix.format(mode)}", files, f"w:{mode}")
    before = sorted(os.listdir(tmp_path))
    images = pickle.loads(pickle.dumps(opened(path)))
    assert images.names == plain.names
    assert images.digest == plain.digest
    np.testing.assert_array_equal(images.read(0), plain.read(0))
    assert sorted(os.listdir(tmp_path)) == before
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"x\..* cannot be unpacked .*cut off or damaged"):
        open_images(path)


@pytest.mark.parametrize("name", ["x.zip", "x.tar"])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"nonsense" * 1000])
def test_what_is_no_archive_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        open_images(tmp_path / name)


def test_archives_without_images_say_what_they_hold(tmp_path: Path) -> None:
    members = {"a.json": b"", "b.json": b"", "c": b""}
    for path in (write_zip(tmp_path / "x.zip", members), write_tar(tmp_path / "x.tar", members)):
        with pytest.raises(
            UserError, match=r"holds no images\. Looked for png, .*; found 2 \.json, 1 without extension instead"
        ):
            open_images(path)
