"""Brace patterns, as WebDataset and shells write shards: `s-{000..012}.tar`, `{train,val}.zip`."""

from __future__ import annotations

import re

from genaudit.errors import UserError

_GROUP = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MOST = 100_000


def has_braces(text: str) -> bool:
    """Whether a path holds a group in braces that stands for several."""
    return any(_choices(found[1]) is not None for found in _GROUP.finditer(text))


def expand(text: str, role: str) -> list[str]:
    """The paths of a brace pattern in its order; numbers are as wide as the first is written.

    Raises:
        UserError: more than 100,000 paths.
    """
    parts = [""]
    position = 0
    for found in _GROUP.finditer(text):
        choices = _choices(found[1])
        if choices is None:
            continue
        if len(parts) * len(choices) > _MOST:
            raise UserError(f"{role}: {text} stands for more than {_MOST:,} paths.")
        before = text[position : found.start()]
        parts = [f"{part}{before}{choice}" for part in parts for choice in choices]
        position = found.end()
    return [part + text[position:] for part in parts]


def _choices(inner: str) -> list[str] | range | None:
    """What a group stands for; None where it is no group (one name, or a range that is none)."""
    found = _RANGE.fullmatch(inner)
    if found:
        first, last = int(found[1]), int(found[2])
        if abs(last - first) >= _MOST:
            return range(_MOST + 1)
        step = 1 if last >= first else -1
        return [str(number).zfill(len(found[1])) for number in range(first, last + step, step)]
    return inner.split(",") if "," in inner else None
