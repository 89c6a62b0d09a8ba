"""`genaudit check`: reads every image and says what would be used, skipped, and why; no network is loaded."""

from __future__ import annotations

import os
from typing import Any

from genaudit.errors import DONE, UserError, one_line
from genaudit.tasks.run.progress import Progress

NAMED = 10  # files that are listed by name; the rest is counted


def main(cfg: Any) -> int:
    """The verb: one paragraph a path on standard output."""
    from genaudit.data.inspection import inspect

    paths = [str(path) for path in cfg.paths]
    if not paths:
        raise UserError("check needs at least one path: genaudit check samples/ real.zip")
    workers = (os.cpu_count() or 1) if cfg.workers == "auto" else int(cfg.workers)
    progress = Progress(bool(cfg.progress))
    for path in paths:
        with progress.scan(f"check {path}") as scanned:
            inspection = inspect(
                path,
                role=path,
                limit=cfg.limit,
                max_pixels=int(cfg.max_pixels),
                workers=workers,
                seed=int(cfg.seed),
                progress=scanned,
            )
        print("\n".join(map(one_line, _lines(inspection))))
    return DONE


def _lines(seen: Any) -> list[str]:
    if seen.kind != "images":
        what = f"{seen.count:,} rows of {seen.columns:,} features" if seen.kind == "features" else "moments (mu, sigma)"
        return [f"{seen.source}: {what}", f"  digest     {seen.digest}"]
    lines = [f"{seen.source}: {seen.count:,} images would be used, {len(seen.skipped):,} skipped"]
    sizes = [f"{width}x{height} ({count:,})" for (height, width), count in list(seen.sizes.items())[:5]]
    more = f" and {len(seen.sizes) - 5:,} more sizes" if len(seen.sizes) > 5 else ""
    lines.append(f"  sizes      {', '.join(sizes)}{more}")
    lines.append("  modes      " + ", ".join(f"{mode} ({count:,})" for mode, count in seen.modes.items()))
    lines += [f"  skipped    {bad.name}: {bad.reason}" for bad in seen.skipped[:NAMED]]
    if len(seen.skipped) > NAMED:
        lines.append(f"  skipped    and {len(seen.skipped) - NAMED:,} more")
    ranked = sorted(seen.ignored.items(), key=lambda item: (-item[1], item[0]))
    lines += [f"  ignored    {count:,}: {reason}" for reason, count in ranked]
    lines += [f"  note       {note.text}" for note in seen.notes]
    if seen.turned:
        lines.append(f"  turned     {seen.turned:,} images carry an EXIF orientation, which is applied")
    if seen.duplicates:
        pairs = "; ".join(" = ".join(map(str, pair)) for pair in seen.duplicate_names[:3])
        lines.append(f"  duplicates {seen.duplicates:,} images are exact copies of others: {pairs}")
    lines.append(f"  digest     {seen.digest}")
    return lines
