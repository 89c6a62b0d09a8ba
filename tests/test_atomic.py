"""atomic_write: readers see the old file or the new one, failures leave nothing, writers do not meet."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from genaudit.atomic import atomic_write, sweep


def test_the_file_appears_whole_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "record.json"
    for text in ("first", "second"):
        with atomic_write(path, durable=True) as temporary:
            assert temporary.parent == path.parent
            temporary.write_text(text)
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == text
    assert os.listdir(path.parent) == ["record.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_where_writing_fails_the_old_file_stands_and_nothing_stays(tmp_path: Path, error: type) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def write() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_folder_in_the_files_place_is_an_error_and_nothing_stays(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(OSError), atomic_write(tmp_path / "a") as temporary:
        temporary.write_text("new")
    assert os.listdir(tmp_path) == ["a"]


def test_many_writers_of_one_path_leave_one_whole_file(tmp_path: Path) -> None:
    path, at_once = tmp_path / ("n" * 250), threading.Barrier(8)

    def write(letter: str) -> None:
        with atomic_write(path) as temporary:
            temporary.write_text(letter * 1000)
            at_once.wait()

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = path.read_text()
    assert len(text) == 1000
    assert set(text) <= set("abcdefgh")
    assert len(set(text)) == 1
    assert os.listdir(tmp_path) == [path.name]


def test_what_a_killed_process_left_is_swept_once_it_is_old(tmp_path: Path) -> None:
    writing = atomic_write(tmp_path / "record.json")
    left = writing.__enter__()  # and never left, as in a process that is killed
    left.write_text("half")
    assert sweep(tmp_path) == []
    os.utime(left, (time.time() - 100_000,) * 2)
    assert sweep(tmp_path) == [left]
    assert os.listdir(tmp_path) == []
    writing.gen.close()
