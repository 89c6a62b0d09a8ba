"""Where the roles differ in how their images were made: a finding a code, whichever pair of roles differs in it.

`docs/audit.md` holds the table of codes, thresholds and reasons. Nothing is decided by one image: a share or a number
of one role must differ from another's by an amount that is worth a word, and beyond chance (`two_sets`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from genaudit.data.audit import shown, stored
from genaudit.data.audit.enlarged import enlarged
from genaudit.data.audit.finding import Finding
from genaudit.data.audit.wording import Roles

UNEQUAL = 1.25  # times as many images

# The metrics of a run that take the given roles; none where there is no run.
Concerned = Callable[[Sequence[str]], tuple[str, ...]]

RULES = (
    *(stored.formats, stored.qualities, shown.traces, stored.sizes, stored.aspects, enlarged, shown.colour),
    *(stored.depth, stored.alpha, stored.orientation),
)


def compare(roles: Roles, concerned: Concerned = lambda roles: ()) -> list[Finding]:
    """All findings between roles that need no features, in the order of `finding.CODES`."""
    found = [finding for rule in RULES if (finding := rule(roles)) is not None]
    return [replace(each, metrics=concerned(each.roles)) for each in found]


def counts_differ(counts: Mapping[str, int]) -> Finding | None:
    """Numbers of images so different that biased metrics are not comparable with those of other numbers."""
    pairs = [p for p in itertools.combinations(counts, 2) if _unequal(counts[p[0]], counts[p[1]])]
    names = tuple(role for role in counts if any(role in pair for pair in pairs))
    if not names:
        return None
    return Finding(
        "counts-differ",
        names,
        f"{', '.join(f'{counts[name]:,} {name}' for name in names)} images. FD, precision, recall, density, coverage, "
        "AuthPct and their like depend on all of these numbers: compare values only with values of the same numbers, "
        "or take equal ones (limit=, limit_reference=, limit_train=).",
    )


def _unequal(first: int, second: int) -> bool:
    return min(first, second) > 0 and max(first, second) > UNEQUAL * min(first, second)
