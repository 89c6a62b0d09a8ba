"""Folders of s3://, gs:// and hf://: against fsspec's file system in memory, under the scheme of a cloud."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from genaudit.errors import UserError
from genaudit.remote import filesystems, http
from genaudit.remote.filesystems import mirror


class Cloud(MemoryFileSystem):
    """Memory under `s3://`, with ETags, faults and a count of what is opened."""

    protocol = ("s3",)
    store: dict[str, Any] = {}  # noqa: RUF012 # fsspec's own way
    pseudo_dirs: list[str] = [""]  # noqa: RUF012
    opened: list[str] = []  # noqa: RUF012
    versions = True
    broken: Exception | None = None
    hidden: dict[str, Any] = {}  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(str(path).replace("s3://", "memory://"))

    def info(self, path: str, **kwargs: Any) -> Any:
        if Cloud.broken is not None:
            raise Cloud.broken
        return self._told(super().info(path, **kwargs))

    def find(self, path: str, *args: Any, **kwargs: Any) -> Any:
        found = super().find(path, *args, **kwargs)
        return {name: self._told(about) for name, about in found.items()} | Cloud.hidden

    def _told(self, about: Any) -> Any:
        about = {key: value for key, value in about.items() if key != "created"}
        if about["type"] == "file" and Cloud.versions:
            about["ETag"] = str(hash(bytes(Cloud.store[about["name"]].getbuffer())))
        return about

    def _open(self, path: str, mode: str = "rb", *args: Any, **kwargs: Any) -> Any:
        if mode == "rb":
            Cloud.opened.append(path)
        return super()._open(path, mode, *args, **kwargs)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    fsspec.register_implementation("s3", Cloud, clobber=True)
    Cloud.store, Cloud.pseudo_dirs, Cloud.opened, Cloud.broken, Cloud.hidden = {}, [""], [], None, {}
    Cloud.versions = True
    system = Cloud(skip_instance_cache=True)
    for name in ("a.png", "deep/b.png", "deep/c.txt"):
        system.pipe(f"/bucket/set/{name}", name.encode() * 10)
    yield system
    importlib.import_module("fsspec.registry")._registry.pop("s3", None)


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


WHOLE = {name: name.encode() * 10 for name in ("a.png", "deep/b.png", "deep/c.txt")}


def test_a_folder_is_copied_as_it_lies_and_found_without_a_network(cloud: Cloud) -> None:
    got = mirror("s3://bucket/set", what="generated")
    assert _files(got.path) == WHOLE
    assert mirror("s3://bucket/set", what="generated").path == got.path
    assert len(Cloud.opened) == 3
    Cloud.broken = OSError("no route to host")
    kept = mirror("s3://bucket/set", what="generated")
    assert kept.path == got.path
    assert "no route to host" in kept.note
    assert mirror("s3://bucket/set", what="generated", offline=True).path == got.path
    with pytest.raises(UserError, match="generated: s3://bucket/other cannot be read \\(no route to host\\)"):
        mirror("s3://bucket/other", what="generated")
    with pytest.raises(UserError, match="is not on this machine \\(offline=true"):
        mirror("s3://bucket/other", what="generated", offline=True)


def test_only_what_changed_is_copied_and_the_version_before_stays(cloud: Cloud) -> None:
    first = mirror("s3://bucket/set", what="generated").path
    cloud.pipe("/bucket/set/a.png", b"new")
    cloud.rm("/bucket/set/deep/c.txt")
    Cloud.opened.clear()
    second = mirror("s3://bucket/set", what="generated").path
    assert _files(second) == {"a.png": b"new", "deep/b.png": WHOLE["deep/b.png"]}
    assert Cloud.opened == ["/bucket/set/a.png"]
    assert _files(first) == WHOLE


def test_files_without_a_version_are_copied_each_time(cloud: Cloud) -> None:
    Cloud.versions = False
    mirror("s3://bucket/set", what="generated")
    cloud.pipe("/bucket/set/a.png", b"x" * len(WHOLE["a.png"]))  # as long as before
    assert _files(mirror("s3://bucket/set", what="generated").path)["a.png"] == b"x" * len(WHOLE["a.png"])


def test_one_file_and_a_pattern(cloud: Cloud) -> None:
    one = mirror("s3://bucket/set/a.png", what="reference")
    assert one.path.name == "a.png"
    assert one.path.read_bytes() == WHOLE["a.png"]
    matched = mirror("s3://bucket/set/deep/*.png", what="reference")
    assert _files(matched.path) == {"b.png": WHOLE["deep/b.png"]}
    with pytest.raises(UserError, match="holds no file"):
        mirror("s3://bucket/set/*.jpg", what="reference")


@pytest.mark.parametrize(
    "name", ["/bucket/set/../../evil", "/bucket/set/a\nb", "/bucket/set/c:\\x", "/bucket/set/" + "n" * 300]
)
def test_a_name_that_leads_elsewhere_is_refused(name: str, cloud: Cloud, downloads: Path) -> None:
    Cloud.hidden = {name: {"name": name, "size": 3, "type": "file", "ETag": "1"}}
    with pytest.raises(UserError, match="cannot be kept under it"):
        mirror("s3://bucket/set", what="generated")
    assert not list((downloads / "folders").rglob("*evil*"))


def test_sizes_are_those_of_the_listing_and_bounded(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    long = {"name": "/bucket/set/a.png", "size": 10**6, "type": "file", "ETag": "1"}
    for size, said in ((10**6, "has 50 bytes or more"), (7, "has 8 bytes or more"), (None, "does not say how large")):
        Cloud.hidden = {long["name"]: {**long, "size": size}}
        with pytest.raises(UserError, match=said):
            mirror("s3://bucket/set", what="generated")
    Cloud.hidden = {}
    for value, name in ((10, "MOST_BYTES"), (1 << 60, "ROOM")):
        with monkeypatch.context() as patch:
            patch.setattr(http, name, value)
            with pytest.raises(UserError, match=r"more than the 10|has room for 0"):
                mirror("s3://bucket/set", what="generated")
    monkeypatch.setattr(filesystems, "MOST_FILES", 2)
    with pytest.raises(UserError, match="3 files, more than the 2"):
        mirror("s3://bucket/set", what="generated")


def test_without_the_extra_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for module in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, module, None)
    for scheme, package in (("s3", "s3fs"), ("gs", "gcsfs")):
        with pytest.raises(UserError, match=f"{scheme}:// needs the package {package}: pip install"):
            mirror(f"{scheme}://bucket/set", what="generated")
