"""Faults of the machine: one sentence, exit code 2, before anything is measured; never a traceback."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genaudit.cli import main
from genaudit.errors import DEFECT, DONE, USER, UserError, environment_fault
from genaudit.tasks.run.folder import check_folder, saving

PIXELS = ("feature_model=pixels", "feature_model.size=4", "progress=false", "device=cpu")


@pytest.fixture
def sets(make_images: Callable[..., Path]) -> list[str]:
    return [str(make_images("gen", 6)), f"reference={make_images('ref', 6, seed=1)}", "metric=[fd]", *PIXELS]


@pytest.fixture
def not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genaudit.tasks.evaluate.open_roles", lambda *_: pytest.fail("it was opened and measured"))


def sentence(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == USER
    lines = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("genaudit: measures ")]
    assert len(lines) == 1, lines
    assert lines[0].startswith("genaudit: ")
    return lines[0]


def places(folder: Path) -> dict[str, str]:
    """Folders that cannot be written, and a word of what is said of them."""
    (folder / "file").write_text("")
    (folder / "dangling").symlink_to(folder / "nowhere")
    found = {
        str(folder / "file"): "is not a folder",
        str(folder / "file" / "in" / "it"): "is not a folder",
        str(folder / "dangling"): "is not a folder",
        str(folder / ("n" * 300)): "cannot be written",
    }
    return found | ({"/proc/nope/x": "cannot be written"} if Path("/proc/self").exists() else {})


@pytest.mark.usefixtures("not_measured")
def test_out_and_store_that_cannot_be_written_are_found_before_measuring(
    sets: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for place, word in places(tmp_path).items():
        for key in ("out", "store"):
            said = sentence(capfd, "evaluate", *sets, f"{key}={place}")
            assert word in said
            assert f"{key}={place}" in said


def test_a_store_where_reproduce_cannot_keep_its_steps_is_found_first(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tables").write_text("in the way")  # the store holds something: rows might be all there
    said = sentence(capfd, "reproduce", "table=irs_section11", f"store={tmp_path}", f"out={tmp_path / 'out'}")
    assert "is not a folder" in said
    assert f"store={tmp_path}" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["reject", "gen", "train=t"],
        ["reject", "--plan", "n_train=10"],
        ["train", "likelihood=glow_laptop", "train=t"],
        ["train", "piad=mnist", "train=t"],
        ["explain", "gen"],
        ["reproduce", "table=irs_section11"],
        ["reproduce", "table=all"],
        ["compare", "a", "b"],
        ["sample", "generator=demo_vae", "n=2"],
        ["demo"],
    ],
)
def test_every_verb_looks_at_out_first(arguments: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert "is not a folder" in sentence(capfd, *arguments, f"out={tmp_path / 'file'}")


def test_a_file_of_moments_in_a_folder_that_cannot_be_made(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert "is not a folder" in sentence(capfd, "moments", "ref", *PIXELS, f"out={tmp_path / 'file' / 'm.npz'}")
    (tmp_path / "m.npz").mkdir()
    assert "a file of that name" in sentence(capfd, "moments", "ref", *PIXELS, f"out={tmp_path / 'm.npz'}")


@pytest.mark.usefixtures("not_measured")
def test_a_folder_where_a_report_is_to_be_written_is_in_the_way(
    sets: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out" / "report.json").mkdir(parents=True)
    assert "report.json there is a folder" in sentence(capfd, "evaluate", *sets, f"out={tmp_path / 'out'}")


class Full:
    """What a full disk makes of a temporary file: it can be made, and not written."""

    def __init__(self, *_: Any, **__: Any) -> None: ...
    def __enter__(self) -> Full:
        return self

    def __exit__(self, *_: Any) -> None: ...
    def write(self, _: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.usefixtures("not_measured")
def test_a_full_disk_is_found_before_measuring(
    sets: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    assert "No space left" in sentence(capfd, "evaluate", *sets, f"out={tmp_path / 'out'}")
    with pytest.raises(UserError, match=r"store=.* cannot be written"):
        check_folder("store", tmp_path / "rows")
    assert not (tmp_path / "out").exists()


def test_a_store_that_holds_all_rows_may_be_read_only_and_one_that_lacks_some_is_said_before_measuring(
    sets: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    make_images: Callable[..., Path],
) -> None:  # fmt: skip
    store = f"store={tmp_path / 'rows'}"
    assert main(["evaluate", *sets, store, f"out={tmp_path / 'a'}"]) == DONE
    capfd.readouterr()
    monkeypatch.setattr("genaudit.store.store._try_writing", lambda *_: pytest.fail("nothing is to be written"))
    assert main(["evaluate", *sets, store, f"out={tmp_path / 'b'}"]) == DONE
    monkeypatch.undo()
    monkeypatch.setattr("genaudit.store.store.tempfile.TemporaryFile", Full)
    monkeypatch.setattr("genaudit.tasks.run.folder.check_folder", lambda *_: None)
    monkeypatch.setattr("genaudit.tasks.run.keys.check_folder", lambda *_: None)
    monkeypatch.setattr("genaudit.store.store.fill", lambda *_: pytest.fail("it was measured"))
    capfd.readouterr()
    other = str(make_images("other", 6, seed=5))
    assert "cannot be written (No space left" in sentence(capfd, "evaluate", other, *sets[1:], store)


def test_results_are_printed_before_they_are_saved_and_a_fault_of_saving_is_a_sentence(
    sets: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("genaudit.reports.files.write_images", full)
    out = tmp_path / "out"
    assert main(["evaluate", *sets, f"out={out}"]) == USER
    said = capfd.readouterr()
    assert "fd" in said.out
    assert "written" not in said.out
    assert len([line for line in said.err.splitlines() if not line.startswith("genaudit: measures ")]) == 1
    assert f"out={out}: it cannot be written (No space left on device); what was measured is kept" in said.err
    assert [path.name for path in out.iterdir()] == ["log.txt"]  # no half of a report
    monkeypatch.undo()
    assert main(["evaluate", *sets, f"out={out}"]) == DONE
    assert json.loads((out / "report.json").read_text())["metrics"]["fd"]


def test_a_working_folder_that_is_gone_is_a_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    try:
        os.getcwd()
        pytest.skip("this system keeps the folder that one stands in")
    except FileNotFoundError:
        pass
    for verb in ("evaluate", "check", "list", "demo"):
        assert "working folder does not exist" in sentence(capfd, verb, "gen")
    assert main(["--help"]) == DONE


def test_without_a_home_the_store_is_asked_for(
    sets: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HOME", "GENAUDIT_STORE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def nobody(*_: Any) -> None:
        raise KeyError("no such user")

    monkeypatch.setattr("pwd.getpwuid", nobody)
    assert "no home folder can be found" in sentence(capfd, "evaluate", *sets, f"out={tmp_path / 'out'}")
    assert main(["evaluate", *sets, f"store={tmp_path / 'rows'}", f"out={tmp_path / 'out'}"]) == DONE
    capfd.readouterr()
    monkeypatch.setenv("HOME", "/proc/nope")
    said = sentence(capfd, "evaluate", *sets, f"out={tmp_path / 'out'}")
    assert "GENAUDIT_STORE=DIR names another" in said


def test_an_internal_error_says_so_where_its_traceback_can_be_kept_nowhere(
    sets: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        (tmp_path / "out").write_text("")  # the run folder was taken since it was looked at
        raise ZeroDivisionError("nothing that a user\ncould mend")

    monkeypatch.setattr("genaudit.tasks.evaluate.open_roles", broken)
    arguments = ["evaluate", *sets, f"out={tmp_path / 'out'}"]
    assert main(arguments) == DEFECT
    said = capfd.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    kept = Path(said.rpartition(" with ")[2])
    assert "ZeroDivisionError" in kept.read_text()
    kept.unlink()
    kept.parent.rmdir()

    def nowhere(*_: Any, **__: Any) -> None:
        raise FileNotFoundError("no usable temporary folder")

    (tmp_path / "out").unlink()
    monkeypatch.setattr(tempfile, "mkdtemp", nowhere)
    assert main(arguments) == DEFECT
    said = capfd.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    assert "could not be written anywhere" in said


def test_an_error_before_there_is_a_configuration_is_no_traceback(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genaudit.composing._loader", lambda *_: 1 / 0)
    assert main(["evaluate", "gen"]) == DEFECT
    said = capfd.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    assert "ZeroDivisionError" in said
    kept = Path(said.rpartition(" with ")[2])
    kept.unlink()
    kept.parent.rmdir()


@pytest.mark.parametrize("name", ["ENOSPC", "EROFS", "EACCES", "EDQUOT", "EMFILE", "EIO", "ENOTDIR"])
def test_what_the_file_system_says_later_is_a_sentence_too(
    name: str, sets: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: Any) -> None:
        raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)), "some/file")

    monkeypatch.setattr("genaudit.store.measuring.write_shard", fault)
    said = sentence(capfd, "evaluate", *sets, f"out={tmp_path / 'out'}")
    assert "some/file" in said
    assert os.strerror(getattr(errno, name)) in said


def test_faults_of_the_machine_are_distinguished_from_others() -> None:
    assert "not enough memory" in str(environment_fault(MemoryError()))
    chained = RuntimeError("a writer failed")
    chained.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert "No space left" in str(environment_fault(chained))
    chained.__cause__ = None
    chained.__context__ = OSError(errno.ENOSPC, "handled when the mistake happened")
    assert environment_fault(chained) is None
    for defect in (ValueError("x"), KeyError("x"), FileNotFoundError(errno.ENOENT, "no such file", "x")):
        assert environment_fault(defect) is None


def test_saving_names_the_key_and_the_folder(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=r"out=.*: it cannot be written \(Read-only file system\)"),
        saving("out", tmp_path),
    ):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
