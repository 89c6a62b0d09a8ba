"""Files from strangers: regular ones only, bounded before anything is allocated, nothing of them is run."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from genaudit.data import inspect, open_images
from genaudit.data.archive import list_zip
from genaudit.data.memory import Budget
from genaudit.data.reader import PositionedFile, max_bytes
from genaudit.errors import UserError
from genaudit.reading import load_torch, open_regular, read_bytes, read_json

SECONDS = 30


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    """What would wait for ever fails instead."""

    def stop(*_: Any) -> None:
        raise AssertionError(f"still waiting after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def png(path: Path, colour: tuple[int, int, int] = (1, 2, 3)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), colour).save(path)
    return path


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def device(path: Path) -> Path:
    path.symlink_to("/dev/zero")
    return path


def bound(path: Path) -> Path:
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket may be of 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)
    return path


SPECIAL = {"a named pipe": fifo, "a device": device, "a socket": bound}
SUFFIXES = (".png", ".zip", ".tar", ".npz", ".npy", ".pt", ".safetensors", ".h5", ".csv", ".txt")


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_source_that_is_no_regular_file_is_refused_unopened(kind: str, suffix: str, tmp_path: Path) -> None:
    path = SPECIAL[kind](tmp_path / f"x{suffix}")
    with pytest.raises(UserError, match=kind if suffix != ".png" else "not a regular file"):
        open_images(str(path))


@pytest.mark.parametrize("kind", SPECIAL)
def test_an_image_in_a_folder_a_list_or_a_pattern_that_is_no_regular_file_is_skipped(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    png(folder / "a.png")
    SPECIAL[kind](folder / "b.png")
    (tmp_path / "list.txt").write_text("images/a.png\nimages/b.png\n")
    for source in (folder, tmp_path / "list.txt", f"{folder}/*.png", [str(folder / "a.png"), str(folder / "b.png")]):
        with pytest.raises(UserError, match=kind):
            open_images(source)
        seen = inspect(source)
        assert (seen.count, len(seen.skipped)) == (1, 1)
        assert kind in seen.skipped[0].reason


def test_a_plain_file_is_no_larger_than_a_member_may_be(tmp_path: Path) -> None:
    path = png(tmp_path / "images" / "a.png")
    with open(path, "r+b") as file:
        file.truncate(max_bytes(1000) + 1)  # sparse: it takes no room
    with pytest.raises(UserError, match=r"more than an image of max_pixels=1,000 needs"):
        open_images(path.parent, max_pixels=1000)
    with open(path, "r+b") as file:
        file.truncate(3 << 30)
    with pytest.raises(UserError, match="3,221,225,472 bytes, more than"):
        open_images(path)


def test_reading_stops_at_the_limit_and_refuses_what_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert read_bytes(path, 5) == b"12345"
    for bad, limit in ((path, 4), (tmp_path, 5), (fifo(tmp_path / "p"), 5), (Path("/dev/zero"), 5), (Path("a\0b"), 5)):
        with pytest.raises(OSError, match=r".") as raised:
            read_bytes(bad, limit)
        assert raised.value.strerror


def test_a_pipe_that_takes_a_files_place_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fifo(tmp_path / "x")
    monkeypatch.setattr("genaudit.reading.check_regular", lambda path: None)  # it was a file a moment ago
    with pytest.raises(OSError, match="named pipe"):
        open_regular(path)


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}', "1e400", "[" * 50_000, "{", ""])
def test_json_is_of_finite_numbers_and_not_nested_without_end(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError):
        read_json(tmp_path / "x.json")


# ---------------------------------------------------------------------------------------------- archives of arrays


class _Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def _pickled_pt(path: Path, ran: Path) -> None:
    torch.save({"images": _Runs(ran)}, path)


def _legacy_pt(path: Path, ran: Path) -> None:
    torch.save([_Runs(ran)], path, _use_new_zipfile_serialization=False)


def _bare_pickle(path: Path, ran: Path) -> None:
    path.write_bytes(pickle.dumps(_Runs(ran), protocol=2))


def _object_npy(path: Path, ran: Path) -> None:
    np.save(path, np.array([_Runs(ran)], dtype=object), allow_pickle=True)


def _object_npz(path: Path, ran: Path) -> None:
    np.savez(path, arr_0=np.array([_Runs(ran)], dtype=object))


def _object_about(path: Path, ran: Path) -> None:
    np.savez(path, mu=np.zeros(2), sigma=np.eye(2), genaudit=np.array([_Runs(ran)], dtype=object))


@pytest.mark.parametrize(
    ("write", "suffix"),
    [
        (_pickled_pt, ".pt"),
        (_pickled_pt, ".pth"),
        (_legacy_pt, ".pt"),
        (_bare_pickle, ".pt"),
        (_bare_pickle, ".npy"),
        (_bare_pickle, ".h5"),
        (_object_npy, ".npy"),
        (_object_npz, ".npz"),
        (_object_about, ".npz"),
    ],
)
def test_looking_at_a_file_runs_nothing(write: Callable[..., None], suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    write(path, tmp_path / "ran")
    with pytest.raises(UserError):
        inspect(str(path))
    assert not (tmp_path / "ran").exists()


def test_programs_and_old_tars_never_reach_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch below 2.6 runs TorchScript in `torch.load`, and unpacks tars to the disk."""
    scripted, exported, tar = tmp_path / "s.pt", tmp_path / "e.pt", tmp_path / "t.pt"
    with zipfile.ZipFile(scripted, "w") as archive:
        archive.writestr("s/constants.pkl", b"")
        archive.writestr("s/code/__torch__.py", "")
    with zipfile.ZipFile(exported, "w") as archive:
        archive.writestr("e/models/model.json", "{}")
    tar.write_bytes(b"storages" + b"\0" * 1024)
    monkeypatch.setattr(torch, "load", lambda *args, **keys: pytest.fail("torch.load was called"))
    for path in (scripted, exported, tar):
        with pytest.raises(ValueError, match=r"program|no file of torch"):
            load_torch(path)
        with pytest.raises(ValueError, match=r"program|no file of torch"):
            load_torch(path.read_bytes())
        with pytest.raises(UserError, match=r"program|no file of torch"):
            open_images(path)


def _h5(path: Path, **keys: Any) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("images", **keys)


def test_hdf5_reads_no_other_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"\7" * 48)
    _h5(tmp_path / "e.h5", shape=(1, 4, 4, 3), dtype="u1", external=[(str(secret), 0, 48)])
    _h5(tmp_path / "other.h5", data=np.ones((1, 4, 4, 3), np.uint8))
    layout = h5py.VirtualLayout((1, 4, 4, 3), "u1")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "images", shape=(1, 4, 4, 3))
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_virtual_dataset("images", layout)
    with h5py.File(tmp_path / "l.h5", "w") as file:
        file["images"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "images")
    for name, words in (("e", "other files"), ("v", "other files"), ("l", "no array")):
        with pytest.raises(UserError, match=words):
            open_images(tmp_path / f"{name}.h5")
    assert len(open_images(tmp_path / "other.h5")) == 1


def _npz(path: Path, key: str, header: bytes, data: bytes, method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(f"{key}.npy", header + data)


def _npy_header(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


HUGE: list[tuple[int, ...]] = [(10**12, 8, 8, 3), (1, 10**9, 10**9, 3), (10**18, 10**18, 1, 3), (10**12, 0, 8, 3)]


@pytest.mark.parametrize("shape", [*HUGE, (-5, 8, 8, 3), (-1, -8, 8, 3)], ids=str)
def test_shapes_that_cannot_lie_in_a_file_are_refused_before_anything_is_made(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    header = _npy_header(shape)
    (tmp_path / "x.npy").write_bytes(header + b"\0" * 100)
    _npz(tmp_path / "x.npz", "arr_0", header, b"\0" * 100)
    _npz(tmp_path / "packed.npz", "images", header, b"\0" * 100, zipfile.ZIP_DEFLATED)
    for name in ("x.npy", "x.npz", "packed.npz"):
        with pytest.raises(UserError):
            open_images(tmp_path / name)


def test_a_packed_array_that_claims_more_than_it_can_hold_is_not_allocated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = _npy_header((1000, 8, 8, 3))
    path = tmp_path / "x.npz"
    _npz(path, "arr_0", header, b"\0" * (1000 * 8 * 8 * 3), zipfile.ZIP_DEFLATED)
    assert len(open_images(path)) == 1000
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 90}[name])
    with pytest.raises(UserError, match=r"needs 192,000 bytes of memory for arr_0.*np\.savez"):
        open_images(path)


@pytest.mark.parametrize("shape", HUGE[:2], ids=str)
def test_an_hdf5_file_of_nothing_claims_no_images(shape: tuple[int, ...], tmp_path: Path) -> None:
    _h5(tmp_path / "x.h5", shape=shape, dtype="u1", chunks=(1, 8, 8, 3))
    with pytest.raises(UserError, match=r"claims .* values"):
        open_images(tmp_path / "x.h5")


def test_chunks_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    _h5(tmp_path / "x.h5", shape=(2000, 1024, 1024, 3), dtype="u1", chunks=(500, 1024, 1024, 3))
    with pytest.raises(UserError, match="chunks"):
        open_images(tmp_path / "x.h5")


def test_a_tensor_that_repeats_one_number_claims_no_images(tmp_path: Path) -> None:
    torch.save(torch.zeros(1, dtype=torch.uint8).expand(10**9, 3, 8, 8), tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"claims .* values"):
        open_images(tmp_path / "x.pt")


@pytest.mark.parametrize("kind", ["sparse", "quantised", "complex", "meta"])
def test_tensors_of_other_kinds_are_the_users_to_mend(kind: str, tmp_path: Path) -> None:
    x = torch.rand(2, 3, 8, 8)
    made = {
        "sparse": lambda: x.to_sparse(),
        "quantised": lambda: torch.quantize_per_tensor(x, 0.1, 0, torch.quint8),
        "complex": lambda: x.to(torch.complex64),
        "meta": lambda: x.to("meta"),
    }[kind]()
    for content in (made, {"images": made}):
        torch.save(content, tmp_path / "x.pt")
        with pytest.raises(UserError):
            open_images(tmp_path / "x.pt")


@pytest.mark.parametrize("size", [10**9, 3_000_000])
def test_one_image_of_an_array_is_no_larger_than_max_pixels(size: int, tmp_path: Path) -> None:
    rows = np.zeros((1, 30, 40, 3), np.uint8)
    np.save(tmp_path / "x.npy", rows)
    with pytest.raises(UserError, match="max_pixels=1,000"):
        open_images(tmp_path / "x.npy", max_pixels=1000)
    huge = np.lib.stride_tricks.as_strided(np.zeros(3, np.uint8), (1, size, size, 3), (0, 0, 0, 1))
    with pytest.raises(UserError, match="max_pixels"):
        open_images(huge)


@pytest.mark.parametrize("n", [np.nan, np.inf, -3.0, 0])
def test_a_count_that_is_no_count_is_refused(n: float, tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", mu=np.zeros(2), sigma=np.eye(2), n=n)
    with pytest.raises(UserError, match=r"n of .* must be one number"):
        open_images(tmp_path / "m.npz")


def test_an_archives_directory_makes_no_room_that_the_file_lacks(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    file = PositionedFile(path)
    assert file.read_at(3, 1 << 40) == b"45"
    assert file.read_at(9, 1 << 40) == b""
    assert file.read_at(-1, 4) == b""
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("a.png", png(tmp_path / "a.png").read_bytes())
    listing = list_zip(tmp_path / "z.zip", "generated", 100)
    assert listing.reader.weight(0) >= 2 * 60  # type: ignore[attr-defined]


# ---------------------------------------------------------------------------------------------------------- memory


def test_claims_never_hold_more_than_the_budget_and_all_are_served() -> None:
    budget = Budget(10)
    most, served, lock = 0, 0, threading.Lock()

    def use(amount: int) -> None:
        nonlocal most, served
        with budget.claim(amount):
            with lock:
                most = max(most, budget.held)
            time.sleep(0.002)
        with lock:
            served += 1

    threads = [threading.Thread(target=use, args=(amount,)) for amount in (3, 9, 1, 10, 4, 4, 25, 0, 6) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert served == len(threads)
    assert budget.held == 0
    assert 0 < most <= 10


def test_a_failure_gives_its_claim_back() -> None:
    budget = Budget(10)
    with pytest.raises(ZeroDivisionError), budget.claim(10):
        _ = 1 / 0
    with budget.claim(10):
        assert budget.held == 10


def test_decoding_claims_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    budget = Budget(1 << 20)
    claimed: list[int] = []
    claim = budget.claim
    monkeypatch.setattr(budget, "claim", lambda amount: claimed.append(amount) or claim(amount))
    monkeypatch.setattr("genaudit.data.decode.PIXELS", budget)
    images: Any = open_images(png(tmp_path / "a.png"))
    assert claimed == []
    images.read(0)
    assert claimed == [4 * 4 * 12]


def test_a_report_or_rows_that_are_no_regular_files_are_refused(tmp_path: Path) -> None:
    from genaudit.piad.perceptual import FilterStatistics
    from genaudit.piad.saved import describe
    from genaudit.reports.reading import read_report
    from genaudit.tasks.compare import read_column
    from genaudit.training import read_log

    for name in ("report.json", "model.json", "log.csv"):
        fifo(tmp_path / name)
    for use in (
        lambda: read_report(tmp_path / "report.json"),
        lambda: describe(tmp_path),
        lambda: read_log(tmp_path),
        lambda: FilterStatistics.load(tmp_path / "report.json"),
        lambda: read_column(str(tmp_path / "log.csv"), None),
    ):
        with pytest.raises(UserError):
            use()  # type: ignore[no-untyped-call]


def test_a_report_with_a_number_beyond_every_float_is_refused(tmp_path: Path) -> None:
    from genaudit.reports.reading import read_report

    (tmp_path / "report.json").write_text(json.dumps({"schema": "genaudit/report/1"})[:-1] + ', "seed": 1e999}')
    with pytest.raises(UserError, match="not JSON"):
        read_report(tmp_path / "report.json")


def test_a_shard_that_is_a_pipe_or_claims_terabytes_is_torn(tmp_path: Path) -> None:
    from genaudit.store.shards import TornShard, read_shard

    with pytest.raises(TornShard, match="named pipe"):
        read_shard(fifo(tmp_path / "p.shard"))
    entry = {"digests": {"shape": [1, 16], "dtype": "U8", "data_offsets": [0, 10**15]}}
    rows = {"rows": {"shape": [1, 1], "dtype": "F32", "data_offsets": [16, 20]}, "__metadata__": {"sha256": ""}}
    for text in (json.dumps(entry | rows).encode(), b"[" * 100_000):
        (tmp_path / "x.shard").write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * 20)
        with pytest.raises(TornShard):
            read_shard(tmp_path / "x.shard")
