"""One side enlarged: no energy at high frequencies where the other has it, or the period of an interpolation.

Two kinds of evidence against a side that has detail as images do (noise's power is flat, and JPEG of a smooth image
adds little), each measured on 174 tiles of photographs, Fashion-MNIST and MNIST (docs/audit.md):

- a period: second differences that come and go with 3, 4, 5 or 5/2 pixels on one side only. Nothing but interpolation
  (or a generator whose layers interpolate) leaves it, and the detail is less too.
- no detail: the power above 3/4 of the highest frequency is below 1/600 of that at 1/8 to 1/4, and less than a
  fifteenth of the other side's. A factor of 2 leaves that and no period. Blur leaves it too: both causes are said.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from genaudit.data.audit.facts import SetFacts
from genaudit.data.audit.finding import ALPHA, Difference, Differing, Told, difference, told

COARSE = 1.0  # log10 of the power of images that have anything to lose
PERIOD_ABOVE = 0.85  # the probability that an image of one side has more of a period than one of the other
PERIOD_DETAIL = -0.4  # log10 of how much less detail it has then: interpolation smooths
NO_DETAIL = -2.8  # log10 of detail against coarse power: 1/600
LESS_DETAIL = -1.2  # log10 of the detail against the other side's: 1/16
BELOW = 0.1  # the probability that an image of one side has more detail than one of the other
HAS_DETAIL = -2.3  # log10 of the other side's detail against coarse power: more than JPEG adds to smooth images
NOISE = -0.5  # log10 of detail against coarse power, from which on a spectrum is as flat as noise's
FACTORS = {"period_3": "1.5 or 3", "period_4": "4/3 or 4", "period_5": "1.25 or 5", "period_5_2": "2.5"}


class Seen(NamedTuple):
    """What was seen on one side, against another."""

    role: str
    other: str
    detail: Difference
    period: str


def enlarged(roles: Mapping[str, SetFacts]) -> Told | None:
    """The finding `upscaled`, for the clearest pair of roles."""
    seen = [
        found for pair in itertools.permutations(roles, 2) if (found := _compared(pair[0], pair[1], roles)) is not None
    ]
    if not seen:
        return None
    clearest = min(seen, key=lambda each: (not each.period, each.detail.gap))
    order = list(roles)
    pairs = tuple((each.role, each.other) if order.index(each.role) < order.index(each.other)
                  else (each.other, each.role) for each in seen)  # fmt: skip
    names = tuple(name for name in roles if any(name in pair for pair in pairs))
    share = f"{100 * 10**clearest.detail.gap:.2g} %"
    what = (
        f"{clearest.role}: above 3/4 of the highest frequency its images have {share} of the energy that those of "
        f"{clearest.other} have"
    )
    if clearest.period:
        cause = (
            f", and their differences come and go with the period that enlarging by {FACTORS[clearest.period]} leaves. "
            "They were enlarged by interpolation (or by layers of the generator that interpolate)"
        )
    else:
        cause = ". Either they were enlarged, or something blurs them: a generator's decoder, a camera, a filter"
    return told(
        "upscaled",
        Differing(names, pairs),
        f"{what}{cause}. FD, KD, precision and density compare sharpness then, before anything that the images show. "
        "Compare at the size that the images really have: reduce both sides to it with one antialiased filter.",
    )


def _compared(role: str, other: str, roles: Mapping[str, SetFacts]) -> Seen | None:
    mine, others = _telling(roles[role]), _telling(roles[other])
    if min(len(mine.pixels), len(others.pixels)) == 0:
        return None
    own, theirs = (float(np.median(facts.column("detail"))) for facts in (mine, others))
    if own - theirs > PERIOD_DETAIL:  # as nearly always: no test is needed
        return None
    detail = difference(mine.column("detail"), others.column("detail"))
    if detail.pvalue >= ALPHA or detail.gap > PERIOD_DETAIL:
        return None
    if not HAS_DETAIL <= theirs <= NOISE:
        return None
    for name in FACTORS:
        found = difference(mine.column(name), others.column(name))
        if found.pvalue < ALPHA and found.above >= PERIOD_ABOVE:
            return Seen(role, other, detail, name)
    no_detail = own <= NO_DETAIL and detail.gap <= LESS_DETAIL and detail.above <= BELOW
    return Seen(role, other, detail, "") if no_detail else None


def _telling(facts: SetFacts) -> SetFacts:
    """The sampled images that are not flat."""
    keep = facts.column("coarse") > COARSE
    kept = tuple(encoding for encoding, wanted in zip(facts.sampled, keep, strict=True) if wanted)
    return SetFacts(facts.count, facts.encodings, facts.sizes, kept, facts.pixels[keep])
