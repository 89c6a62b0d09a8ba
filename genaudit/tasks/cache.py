"""`genaudit cache`: where the row store is and how big; prune, verify, compact."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any

from genaudit.errors import DONE, USER, UserError
from genaudit.remote.cache import downloads_folder
from genaudit.reports.styled import make_console
from genaudit.store import upkeep
from genaudit.store.store import SETS
from genaudit.tasks.run.folder import STEPS, store_folder

ACTIONS = ("prune", "verify", "compact")


def main(cfg: Any) -> int:
    """The verb."""
    action = None if cfg.what is None else str(cfg.what)
    if action not in (None, *ACTIONS):
        raise UserError(f"genaudit cache knows {', '.join(ACTIONS)}, not {action!r}")
    root = store_folder(cfg.store)
    if root.exists() and not root.is_dir():
        raise UserError(f"store={root}: is a file; the folder of a row store is needed")
    days, measure = cfg.older_than, None if cfg.measure is None else str(cfg.measure)
    if action != "prune" and days is not None:
        raise UserError("older_than=DAYS is for genaudit cache prune")
    try:
        return _act(action, root, days, measure)
    except OSError as error:
        raise UserError(f"store={root}: {error.strerror or error} ({error.filename})") from error


def _act(action: str | None, root: Path, days: float | None, measure: str | None) -> int:
    if measure is not None and not any(upkeep.matches(folder, measure) for folder in upkeep.folders(root)):
        raise UserError(
            f"measure={measure}: the store {root} holds no such measure; `genaudit cache` shows what it does"
        )
    if action == "prune":
        if days is None and measure is None:
            raise UserError("genaudit cache prune needs older_than=DAYS or measure=NAME: it removes rows for good")
        files, size = upkeep.prune(root, older_than=days, measure=measure)
        print(f"removed {files:,} shards, {_bytes(size)}")
    elif action == "verify":
        whole, torn = upkeep.verify(root, measure)
        print(f"{whole:,} shards are whole, {len(torn):,} are damaged")
        for line in torn:
            print(f"  set aside, its images will be measured again: {line}")
        return USER if torn else DONE
    elif action == "compact":
        before, after, saved = upkeep.compact(root, measure)
        print(f"{before:,} shards are now {after:,}, {_bytes(saved)} less")
    else:
        _show(root, measure)
    return DONE


def _show(root: Path, measure: str | None) -> None:
    from rich.markup import escape
    from rich.table import Table

    console = make_console()
    console.print(f"row store: {escape(str(root))}", soft_wrap=True)
    if (fetched := downloads_folder()).is_dir():
        console.print(f"fetched files: {escape(str(fetched))}, {_bytes(_bytes_under(fetched))}", soft_wrap=True)
    if not root.is_dir():
        console.print("there is nothing in it yet")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("measure", "rows", "shards", "size", "damaged", "last written", "fingerprint"):
        table.add_column(column, overflow="fold", justify="right" if column in ("rows", "shards", "size") else "left")
    found = [each for each in upkeep.held(root) if upkeep.matches(each.folder, measure)]
    for each in found:
        when = datetime.datetime.fromtimestamp(each.newest).strftime("%Y-%m-%d") if each.newest else ""
        table.add_row(
            escape(each.name),
            f"{each.rows:,}",
            f"{each.shards:,}",
            _bytes(each.bytes),
            str(each.torn or ""),
            when,
            each.folder.name[:12],
        )
    console.print(table)
    steps, sets = _bytes(_bytes_under(root / STEPS)), _bytes(_bytes_under(root / SETS))
    rows = _bytes(sum(each.bytes for each in found))
    console.print(f"in all {rows}; lists of image sets {sets}; steps of genaudit reproduce {steps}")


def _bytes_under(folder: Path) -> int:
    return sum(
        os.path.getsize(os.path.join(base, name)) for base, _, names in os.walk(folder) for name in names
        if os.path.isfile(os.path.join(base, name))
    )  # fmt: skip


def _bytes(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
