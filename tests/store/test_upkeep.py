"""Looking after a store: nothing that is wanted is lost, whatever is damaged and whoever is reading."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from genaudit.cli import main
from genaudit.errors import DONE, USER
from genaudit.store import upkeep
from genaudit.store.index import StoreIndex, as_keys
from genaudit.store.shards import write_shard

DIM = 4
ONE, TWO = "ab" * 32, "cd" * 32


def digests_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 16), dtype=np.uint8)


def rows_for(digests: np.ndarray) -> np.ndarray:
    return digests[:, :DIM].astype(np.float32)


def fill(root: Path, key: str, count: int, *, each: int = 1, seed: int = 0, name: str = "embedding") -> Path:
    """`count` images in shards of `each`."""
    folder, digests = root / key[:2] / key, digests_of(count, seed)
    for start in range(0, count, each):
        part = digests[start : start + each]
        write_shard(folder, part, rows_for(part), key)
    (folder / "measure.json").write_text(f'{{"measure": "{name}", "feature_model": {{"name": "dinov2_s14"}}}}')
    return folder


def lacking(folder: Path, digests: np.ndarray) -> int:
    """How many of the images have no row; the others have the right one."""
    index = StoreIndex.read(folder)
    index.verify(as_keys(digests))
    missing = index.missing(as_keys(digests))
    there = np.setdiff1d(np.arange(len(digests)), missing)
    assert np.array_equal(index.rows(as_keys(digests[there]), None)[:].reshape(-1, DIM), rows_for(digests[there]))
    return len(missing)


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.shard"))


def test_compaction_leaves_one_shard_with_every_row_once(tmp_path: Path) -> None:
    folder = fill(tmp_path, ONE, 30)
    fill(tmp_path, ONE, 30)  # measured by two processes
    assert upkeep.compact(tmp_path)[:2] == (60, 1)
    assert lacking(folder, digests_of(30)) == 0
    assert len(StoreIndex.read(folder).entries) == 30
    assert upkeep.compact(tmp_path)[:2] == (1, 1)


def test_compaction_stopped_at_any_file_loses_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "SHARD_BYTES", 200)
    unlink, replace = Path.unlink, os.replace
    for allowed in range(40):
        root = tmp_path / str(allowed)
        folder = fill(root, ONE, 12)
        left = [allowed]

        def counted(action, left=left):  # type: ignore[no-untyped-def]
            def run(*args, **keys):  # type: ignore[no-untyped-def]
                left[0] -= 1
                if left[0] < 0:
                    raise KeyboardInterrupt
                return action(*args, **keys)

            return run

        monkeypatch.setattr(Path, "unlink", counted(unlink))
        monkeypatch.setattr(os, "replace", counted(replace))
        try:
            upkeep.compact(root)
        except KeyboardInterrupt:
            finished = False
        else:
            finished = True
        monkeypatch.setattr(Path, "unlink", unlink)
        monkeypatch.setattr(os, "replace", replace)
        assert lacking(folder, digests_of(12)) == 0, allowed
        if finished:
            return
    raise AssertionError("compaction never ended")


def test_a_damaged_shard_costs_compaction_its_own_rows_only(tmp_path: Path) -> None:
    folder = fill(tmp_path, ONE, 20, each=4)
    path = shards(folder)[2]
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    upkeep.compact(tmp_path)
    assert lacking(folder, digests_of(20)) == 4
    assert len(list(folder.glob("*.torn"))) == 1


def test_readers_of_a_store_that_is_compacted_meanwhile_see_every_row(tmp_path: Path) -> None:
    folder, digests = fill(tmp_path, ONE, 60), digests_of(60)
    wrong: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        try:
            while not stop.is_set():
                assert lacking(folder, digests) == 0
        except BaseException as error:
            wrong.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    for _ in range(5):
        upkeep.compact(tmp_path)
        fill(tmp_path, ONE, 60)
    stop.set()
    thread.join()
    assert not wrong


def test_pruning_takes_what_is_old_or_of_a_measure(tmp_path: Path) -> None:
    one, two = fill(tmp_path, ONE, 4), fill(tmp_path, TWO, 4, name="anomaly")
    old = time.time() - 10 * 86_400
    for path in (*shards(one)[:3], *shards(two)[:1]):
        os.utime(path, (old, old))
    assert upkeep.prune(tmp_path, older_than=5, measure="embedding")[0] == 3
    assert (len(shards(one)), len(shards(two))) == (1, 4)
    assert upkeep.prune(tmp_path, older_than=5, measure=None)[0] == 1
    assert upkeep.prune(tmp_path, older_than=None, measure=TWO[:8])[0] == 3
    assert not two.parent.exists()
    assert lacking(one, digests_of(4)) == 3


def cache(root: Path, *words: str) -> int:
    return main(["cache", *words, f"store={root}"])


def test_the_verb_shows_measures_verifies_and_compacts(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = fill(tmp_path, ONE, 5)
    fill(tmp_path, TWO, 2, name="anomaly")
    assert cache(tmp_path) == DONE
    shown = capfd.readouterr().out
    assert str(tmp_path) in shown.replace("\n", "")
    assert "embedding dinov2_s14" in shown
    assert "anomaly dinov2_s14" in shown
    assert cache(tmp_path, "compact") == DONE
    assert "7 shards are now 2" in capfd.readouterr().out
    assert cache(tmp_path, "verify") == DONE
    (path,) = shards(folder)
    path.write_bytes(path.read_bytes()[:-1])
    assert cache(tmp_path, "verify") == USER
    assert "1 shards are whole, 1 are damaged" in capfd.readouterr().out
    assert cache(tmp_path, "verify") == DONE
    assert cache(tmp_path, "prune", "measure=anomaly") == DONE
    assert "removed 1 shards" in capfd.readouterr().out


def test_nothing_is_removed_without_a_word_of_what(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = fill(tmp_path, ONE, 2)
    (tmp_path / "file").write_text("")
    for words, message in (
        (["prune"], "older_than=DAYS or measure=NAME"),
        (["prune", "older_than=-1"], "older_than must be a number of 0 or more or null, got -1"),
        (["prune", "older_than=soon"], "older_than must be a number of 0 or more or null, got soon"),
        (["prune", "measure=nothing"], "measure=nothing"),
        (["verify", "older_than=3"], "for genaudit cache prune"),
        (["purge"], "not 'purge'"),
        (["prune", "older_than=0", f"store={tmp_path / 'file'}"], "is a file"),
    ):
        assert main(["cache", f"store={tmp_path}", *words]) == USER
        assert message in capfd.readouterr().err
    assert len(shards(folder)) == 2
    assert cache(tmp_path / "nowhere") == DONE
    assert cache(tmp_path / "nowhere", "compact") == DONE
    assert not (tmp_path / "nowhere").exists()
