"""An archive that lost something is refused as a whole, whatever it lost; a whole one is read in full."""

from __future__ import annotations

import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from genaudit.data import ImageSet, open_images
from genaudit.data.ignored import LINK
from genaudit.errors import UserError

from .conftest import encode

N = 12


@pytest.fixture
def images(rng: np.random.Generator) -> dict[str, bytes]:
    """Twelve images of a few kilobytes."""
    pixels = rng.integers(0, 256, (N, 40, 30, 3), dtype=np.uint8)
    return {f"{i:02}.png": encode(pixels[i]) for i in range(N)}


def tar(members: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> tuple[bytes, list[int]]:
    """A tar and where each member's header begins."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    whole = buffer.getvalue()
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        return whole, [member.offset for member in archive]


def opened(source: object, **options: object) -> ImageSet:
    found = open_images(source, **options)  # type: ignore[arg-type]
    assert isinstance(found, ImageSet)
    return found


DAMAGES: dict[str, Callable[[bytes, list[int]], bytes]] = {
    "header overwritten": lambda raw, at: raw[: at[5]] + bytes(range(256)) * 2 + raw[at[5] + 512 :],
    "one bit of a header": lambda raw, at: raw[: at[5] + 3] + bytes([raw[at[5] + 3] ^ 4]) + raw[at[5] + 4 :],
    "header zeroed": lambda raw, at: raw[: at[5]] + bytes(512) + raw[at[5] + 512 :],
    "a member zeroed": lambda raw, at: raw[: at[5]] + bytes(at[6] - at[5]) + raw[at[6] :],
    "zeros from a header on": lambda raw, at: raw[: at[5]] + bytes(len(raw) - at[5]),
    "cut at a header": lambda raw, at: raw[: at[5]],
    "cut in a header": lambda raw, at: raw[: at[5] + 100],
    "cut in the data": lambda raw, at: raw[: at[5] + 700],
    "without its end": lambda raw, at: raw.rstrip(b"\0") + bytes(-len(raw.rstrip(b"\0")) % 512),
    "two in one file": lambda raw, at: raw + raw,
    "followed by zeros": lambda raw, at: raw + bytes(40_000),
    "followed by other bytes": lambda raw, at: raw + b"more",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_a_tar_that_may_have_lost_a_member_is_refused(
    tmp_path: Path, images: dict[str, bytes], damage: str, on_error: str
) -> None:
    raw, offsets = tar(images)
    (tmp_path / "x.tar").write_bytes(DAMAGES[damage](raw, offsets))
    with pytest.raises(UserError, match=r"generated: .*x\.tar (is|goes|continues)"):
        open_images(tmp_path / "x.tar", on_error=on_error, max_skipped=1.0)


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("blocks", [None, 2])
def test_a_whole_tar_of_any_writer_is_read(
    tmp_path: Path, images: dict[str, bytes], form: int, blocks: int | None
) -> None:
    members = {f"{'long/' * 15}{name}": data for name, data in images.items()}
    raw, _ = tar(members, form)
    if blocks is not None:  # Go's and webdataset's writers end with two blocks and fill up no record
        last = len(raw.rstrip(b"\0"))
        raw = raw[: last + -last % 512 + 512 * blocks]
    (tmp_path / "x.tar").write_bytes(raw)
    assert opened(tmp_path / "x.tar").names == list(members)


def test_links_in_a_tar_are_the_images_that_they_name(tmp_path: Path, images: dict[str, bytes]) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, kind, target in (
            ("early.png", tarfile.SYMTYPE, "store/0"),
            ("a/up.png", tarfile.SYMTYPE, "../00.png"),
            ("lost.png", tarfile.SYMTYPE, "/elsewhere/00.png"),
            ("round.png", tarfile.SYMTYPE, "round.png"),
        ):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, target
            archive.addfile(link)
        for name in ("00.png", "store/0"):
            member = tarfile.TarInfo(name)
            member.size = len(images["00.png"])
            archive.addfile(member, io.BytesIO(images["00.png"]))
        hard = tarfile.TarInfo("hard.png")
        hard.type, hard.linkname = tarfile.LNKTYPE, "00.png"
        archive.addfile(hard)
    found = opened(tmp_path / "x.tar")
    assert found.names == ["early.png", "a/up.png", "00.png", "hard.png"]
    assert len(np.unique(found.digests, axis=0)) == 1
    assert found.ignored[LINK] == 2
    assert found.ignored["PNG image by its content, without such an extension"] == 1  # store/0


def test_links_in_a_zip_are_the_images_that_they_name(tmp_path: Path, images: dict[str, bytes]) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("00.png", images["00.png"])
        for name, target in (("a/up.png", "../00.png"), ("lost.png", "elsewhere.png")):
            link = zipfile.ZipInfo(name)
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(link, target)
    found = opened(tmp_path / "x.zip")
    assert found.names == ["00.png", "a/up.png"]
    assert found.ignored == {LINK: 1}
    np.testing.assert_array_equal(found.read(0), found.read(1))


def write_zip(images: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in images.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_a_zip_that_lists_less_than_it_holds_is_refused(tmp_path: Path, images: dict[str, bytes]) -> None:
    whole = write_zip(images)
    end = whole.rindex(b"PK\x05\x06")
    entries = [i for i in range(end) if whole.startswith(b"PK\x01\x02", i)]
    size, start = struct.unpack_from("<II", whole, end + 12)
    fewer = bytearray(whole[: entries[-1]] + whole[end:])  # the last entry of the directory is gone
    struct.pack_into("<I", fewer, entries[-1] + 12, size - (end - entries[-1]))
    cases = {
        "two in one file": whole + write_zip({"b.png": images["00.png"]}),
        "fewer entries": bytes(fewer),
        "cut": whole[:-30],
        "cut in the directory": whole[: start + 20],
    }
    for data in cases.values():
        (tmp_path / "x.zip").write_bytes(data)
        with pytest.raises(UserError, match=r"x\.zip is"):
            open_images(tmp_path / "x.zip", on_error="skip", max_skipped=1.0)
    (tmp_path / "x.zip").write_bytes(whole)
    assert len(opened(tmp_path / "x.zip")) == N


def test_parts_of_an_archive_are_chosen_by_a_pattern(tmp_path: Path, images: dict[str, bytes]) -> None:
    members = {f"{'train' if i % 3 else 'test'}/{name}": data for i, (name, data) in enumerate(images.items())}
    (tmp_path / "x.tar").write_bytes(tar(members)[0])
    (tmp_path / "x.zip").write_bytes(write_zip(members))
    for archive in ("x.tar", "x.zip"):
        assert opened(tmp_path / archive / "test").names == [f"test/{i:02}.png" for i in (0, 3, 6, 9)]
        assert opened(f"{tmp_path}/{archive}/*/0[12].png").names == ["train/01.png", "train/02.png"]
        assert len(opened(f"{tmp_path}/{archive}/0*.png")) == 10
        with pytest.raises(UserError, match=r"matches no image of .*x\.(tar|zip)"):
            open_images(f"{tmp_path}/{archive}/val")
