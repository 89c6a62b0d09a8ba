"""A report is replaced as a whole: whatever stops the writing, the folder holds the old one or the new one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genaudit.reports import replace
from genaudit.reports.files import write_together

NAMES = ("metrics.csv", "report.html", "report.json")


def write(out: Path, text: str) -> None:
    write_together(out, {name: lambda stream: stream.write(text) and None for name in NAMES})


def contents(out: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in out.iterdir()}


def whole(text: str) -> dict[str, str]:
    return dict.fromkeys(NAMES, text)


def alone(folder: Path) -> bool:
    return [path.name for path in folder.iterdir()] == ["out"]


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("others", [{}, {"notes.txt": "mine"}])
def test_a_report_replaces_the_one_before_and_nothing_else(
    exchange: bool, others: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchange:
        monkeypatch.setattr(replace, "_exchange", lambda one, other: False)
    out = tmp_path / "out"
    write(out, "old")
    for name, text in others.items():
        (out / name).write_text(text)
    (out / "metrics.csv").unlink()
    write(out, "new")
    assert contents(out) == whole("new") | others
    assert alone(tmp_path)


@pytest.mark.skipif(os.sys.platform != "linux", reason="an exchange of folders is tried on Linux")  # type: ignore[attr-defined]
def test_where_nothing_else_is_there_no_file_of_the_folder_is_touched_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write(out, "old")
    monkeypatch.setattr(os, "rename", lambda *names: pytest.fail("renamed a file by itself"))
    held = os.open(out, os.O_RDONLY)  # a reader that has the folder open still sees the old report
    (out / "report.html").chmod(0o600)
    out.chmod(0o750)
    write(out, "new")
    os.close(held)
    assert contents(out) == whole("new")
    assert out.stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("fault", [OSError, KeyboardInterrupt])
def test_a_fault_at_any_rename_leaves_the_old_report(
    fault: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replace, "_exchange", lambda one, other: False)
    rename = os.rename
    for at in range(2 * len(NAMES)):
        out = tmp_path / str(at) / "out"
        write(out, "old")
        calls = [0]

        def failing(*names: Any, calls: list[int] = calls, at: int = at, rename: Callable[..., None] = rename) -> None:
            calls[0] += 1
            if calls[0] == at + 1:
                raise fault("full")
            rename(*names)

        monkeypatch.setattr(os, "rename", failing)
        with pytest.raises(fault):
            write(out, "new")
        monkeypatch.setattr(os, "rename", rename)
        assert contents(out) == whole("old")
        assert alone(out.parent)


def test_a_kill_at_any_rename_never_leaves_a_folder_that_looks_whole_and_is_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replace, "_exchange", lambda one, other: False)
    seen: list[dict[str, str]] = []
    out, rename = tmp_path / "out", os.rename

    def watched(*names: Any) -> None:
        rename(*names)
        seen.append(contents(out))  # what a kill after this step would leave

    write(out, "old")
    monkeypatch.setattr(os, "rename", watched)
    write(out, "new")
    assert len(seen) == 2 * len(NAMES)
    for state in seen:
        assert len(set(state.values())) <= 1
        assert "report.json" not in state or state == whole("new")


def test_the_working_folder_is_not_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    write(out, "old")
    monkeypatch.chdir(out)
    write(Path("."), "new")
    assert sorted(os.listdir(".")) == sorted(NAMES)
    assert contents(out) == whole("new")


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for text in ("old", "new"):
        write(tmp_path / "link", text)
    assert (tmp_path / "link").is_symlink()
    assert contents(tmp_path / "real") == whole("new")
