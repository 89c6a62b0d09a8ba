"""`genaudit check`: reads every image and says what would be used, skipped, and why; and whether roles may be compared.

No network is loaded, but with harm=true, which says by how much a difference between the roles moves FD and recall.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from genaudit.errors import DONE, UserError, one_line
from genaudit.reports.digits import show_mode
from genaudit.tasks.run.progress import Progress
from genaudit.tasks.run.settings import LIMIT_KEYS

NAMED = 10  # files that are listed by name; the rest is counted


def main(cfg: Any) -> int:
    """The verb: one paragraph a set on standard output; of roles a table too, and what differs between them."""
    from genaudit.tasks.run.roles import source_of

    paths = [str(path) for path in cfg.paths]
    others = {role: source for role in ("reference", "train") if (source := source_of(cfg[role])) is not None}
    if not paths:
        raise UserError("check needs at least one path: genaudit check samples/ real.zip")
    if others and len(paths) > 1:
        raise UserError(f"with {' and '.join(f'{role}=' for role in others)}, one set of generated images is needed")
    if cfg.harm and "reference" not in others:
        raise UserError("harm=true needs reference= (real images): it recodes some of them as the generated ones are")
    sets = {"generated": paths[0], **others} if others else dict.fromkeys(paths)
    inspections = {}
    for name, source in sets.items():
        inspections[name] = _inspected(cfg, name, source)
        print("\n".join(map(one_line, _lines(inspections[name]))))
    if others:
        _show(inspections)
    if cfg.harm:
        from genaudit.tasks.run.harm import estimate_harm

        for line in estimate_harm(cfg, {role: (sets[role], inspections[role].facts) for role in sets}):
            print(one_line(line))
    return DONE


def _inspected(cfg: Any, name: str, source: Any) -> Any:
    """A set by its role, or by its path where `source` is None."""
    from genaudit.data.inspection import inspect
    from genaudit.tasks.run.sources import local

    here = local(name, name if source is None else source, offline=bool(cfg.offline), progress=bool(cfg.progress))
    with Progress(bool(cfg.progress)).scan(f"check {name}") as scanned:
        return inspect(
            here.source if here.label is None else here,
            role=name,
            limit=cfg[LIMIT_KEYS.get(name, "limit")],
            max_pixels=int(cfg.max_pixels),
            workers=(os.cpu_count() or 1) if cfg.workers == "auto" else int(cfg.workers),
            seed=int(cfg.seed),
            progress=scanned,
        )


def _show(inspections: Mapping[str, Any]) -> None:
    """The table of the roles, and the findings."""
    from genaudit.data.audit.compare import compare, counts_differ
    from genaudit.data.audit.copies import duplicates, same_images
    from genaudit.data.audit.facts import described
    from genaudit.reports.console import audit_table
    from genaudit.reports.styled import make_console, text

    facts = {role: seen.facts for role, seen in inspections.items() if seen.facts is not None and seen.count}
    counted = {role: seen for role, seen in inspections.items() if seen.kind != "moments" and seen.count}
    nouns = {role: "images" if seen.kind == "images" else "feature rows" for role, seen in counted.items()}
    unequal = counts_differ({role: seen.count for role, seen in counted.items()})
    findings = [
        *compare(facts),
        *([unequal] if unequal else []),
        *same_images(counted, nouns),
        *duplicates(counted, nouns, {}),
    ]
    console = make_console()
    images = {
        role: {"count": seen.count, "duplicates": seen.duplicates, **described(seen.facts)}
        for role, seen in inspections.items()
        if role in facts
    }
    console.print()
    console.print(audit_table(images, plain=not console.is_terminal))
    if not findings:
        console.print(text(("nothing was found that would keep these sets from being compared", "green")))
    for finding in findings:
        severity = ("not comparable ", "red") if finding.breaks else ("warning ", "yellow")
        console.print(text(severity, (finding.message, ""), (f" [{finding.code}]", "dim")))


def _lines(seen: Any) -> list[str]:
    if seen.kind != "images":
        what = f"{seen.count:,} rows of {seen.columns:,} features" if seen.kind == "features" else "moments (mu, sigma)"
        return [f"{seen.source}: {what}", f"  digest     {seen.digest}"]
    lines = [f"{seen.source}: {seen.count:,} images would be used, {len(seen.skipped):,} skipped"]
    sizes = [f"{width}x{height} ({count:,})" for (height, width), count in list(seen.sizes.items())[:5]]
    more = f" and {len(seen.sizes) - 5:,} more sizes" if len(seen.sizes) > 5 else ""
    lines.append(f"  sizes      {', '.join(sizes)}{more}")
    lines.append("  colours    " + "; ".join(f"{show_mode(mode)} ({count:,})" for mode, count in seen.modes.items()))
    lines.append("  formats    " + ", ".join(f"{name} ({count:,})" for name, count in seen.facts.formats.items()))
    if seen.facts.qualities:
        qualities = sorted(seen.facts.qualities.items(), key=lambda item: (-item[1], item[0]))
        more = f" and {len(qualities) - 5:,} more qualities" if len(qualities) > 5 else ""
        lines.append("  quality    " + ", ".join(f"{name} ({count:,})" for name, count in qualities[:5]) + more)
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
