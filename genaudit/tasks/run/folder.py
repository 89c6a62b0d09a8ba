"""Folders that a run writes into, and where its rows are kept.

Whether they can be written is found out before anything is measured.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from genaudit.errors import UserError

STEPS = "tables"  # the folder of the steps of `genaudit reproduce` in the row store
ROOM = 256 << 10  # bytes that a report needs at the least: a disk with less is full


def expanded(key: str, given: str) -> Path:
    """A path whose ~ is the home folder.

    Raises:
        UserError: there is no home folder.
    """
    try:
        return Path(given).expanduser()
    except RuntimeError:
        raise UserError(f"{key}={given}: no home folder can be found for ~; write the path in full") from None


def check_folder(key: str, folder: Path, files: Iterable[str] = ()) -> None:
    """Tries whether files can be written into a folder, which is not made yet.

    Args:
        key: that names it. files: what will be written there; a folder of such a name is in the way.

    Raises:
        UserError: it is a file or within one, cannot be written, is full, or something is in the way.
    """
    there = folder
    try:
        while not _is_there(there):
            there = there.parent
        if not there.is_dir():
            inside = "" if there == folder else f" and {folder} would lie within it"
            raise UserError(f"{key}={folder}: {there} is not a folder{inside}; name a folder that can be made")
        for name in files:
            if (folder / name).is_dir():
                raise UserError(f"{key}={folder}: {name} there is a folder, and a file of that name is to be written")
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(bytes(ROOM))
            probe.flush()
            os.fsync(probe.fileno())
    except (OSError, ValueError) as error:
        raise UserError(_sentence(key, folder, error)) from error


def _is_there(path: Path) -> bool:
    """Whether something of that name is there, a dangling link too; what cannot be a name is an error."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


@contextlib.contextmanager
def saving(key: str, folder: Path) -> Iterator[None]:
    """While results are saved, after they were printed: a fault of the disk is one sentence."""
    try:
        yield
    except OSError as error:
        kept = "; what was measured is kept in the row store, and the same command with another out= saves it"
        raise UserError(_sentence(key, folder, error) + kept) from error


def _sentence(key: str, folder: Path, error: OSError | ValueError) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    return f"{key}={folder}: it cannot be written ({reason})"


def run_folder(cfg: Any, verb: str) -> Path:
    """`out` as given, else the job's own folder of a sweep, else runs/VERB/DATE_TIME; a gate's is that of its run.

    In a sweep the command line's `out` says each job's own folder (`genaudit.hydra_words.own_folders`); one that a YAML
    sets is led on into one.
    """

    given = cfg.get("out")
    sweeping = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    if given:
        folder = expanded("out", str(given))
        typed = sweeping and any(each.lstrip("+").startswith("out=") for each in HydraConfig.get().overrides.task)
        return folder / str(HydraConfig.get().job.num) if sweeping and not typed else folder
    if sweeping:
        return Path(HydraConfig.get().runtime.output_dir)
    if verb == "gate" and cfg.get("run"):  # beside the report that it judges
        run = expanded("run", str(cfg["run"]))
        return run.parent if run.is_file() else run
    base = Path("runs") / verb / time.strftime("%Y-%m-%d_%H-%M-%S")
    folder, number = base, 1
    while folder.exists():
        number += 1
        folder = base.with_name(f"{base.name}_{number}")
    return folder


def store_folder(given: str | None) -> Path:
    """The row store: as given, else the user's cache folder."""
    if given:
        return expanded("store", str(given))
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return expanded("store", cache) / "genaudit" / "store"
