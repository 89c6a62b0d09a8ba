"""Where the roles differ in how their images were made: a finding a code, whichever pair of roles differs in it.

`docs/audit.md` holds the table of codes, thresholds and reasons. Nothing is decided by one image: a share or a number
of one role must differ from another's by an amount that is worth a word, and beyond chance (`two_sets`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from genaudit.data.audit import shown, stored
from genaudit.data.audit.enlarged import enlarged
from genaudit.data.audit.finding import Finding
from genaudit.data.audit.wording import Roles

UNEQUAL = 1.25  # times as many images

# The metrics of a run that take both roles of any of the given pairs; none where there is no run.
Concerned = Callable[[Sequence[tuple[str, str]]], tuple[str, ...]]

RULES = (
    *(stored.formats, stored.qualities, shown.traces, stored.sizes, stored.aspects, enlarged, shown.colour),
    *(stored.depth, stored.alpha, stored.orientation),
)


def compare(roles: Roles, concerned: Concerned = lambda pairs: ()) -> list[Finding]:
    """All findings between roles that need no features, in the order of `finding.CODES`."""
    found = [each for rule in RULES if (each := rule(roles)) is not None]
    return [replace(each.finding, metrics=concerned(each.pairs)) for each in found]


def counts_differ(counts: Mapping[str, int], metrics: Sequence[str] = ()) -> Finding | None:
    """Numbers of generated and reference images so different that biased metrics are not those of equal numbers.

    Args:
        counts: images of each role, of which only these two count. metrics: those of the run that they bias.
    """
    pair = ("generated", "reference")
    if not set(pair) <= set(counts) or not unequal(*(counts[role] for role in pair)):
        return None
    biased = ", ".join(metrics) or "FD, precision, recall, density, coverage and their like"
    return Finding(
        "counts-differ",
        pair,
        f"{biased}: {counts['generated']:,} generated and {counts['reference']:,} reference images. These values "
        "depend on both numbers: compare them only with values of the same two numbers, or take equal ones (limit=, "
        "limit_reference=).",
        tuple(metrics),
    )


def unequal(first: int, second: int) -> bool:
    """Whether one number of images is more than `UNEQUAL` times the other; none is no number."""
    return min(first, second) > 0 and max(first, second) > UNEQUAL * min(first, second)
