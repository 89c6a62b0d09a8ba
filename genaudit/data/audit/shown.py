"""Differences that pixels tell: traces of JPEG in what is stored without loss, and grey against colour."""

from __future__ import annotations

import numpy as np

from genaudit.data.audit.facts import SetFacts
from genaudit.data.audit.two_sets import shares_differ
from genaudit.data.audit.wording import DISTANCES, SHARE, Roles, Told, differing, listed, percent, told

ONE_SIDE = 1 / 3  # of the other's share: traces of strong compression are harder to see in small images


def traces(roles: Roles) -> Told | None:
    def counted(facts: SetFacts) -> tuple[int, int]:
        return int(facts.traces.sum()), len(facts.traces)

    def one_side_only(a: SetFacts, b: SetFacts) -> bool:
        (k, n), (j, m) = counted(a), counted(b)
        return shares_differ((k, n), (j, m), SHARE) and min(k / n, j / m) <= ONE_SIDE * max(k / n, j / m)

    found = differing(roles, one_side_only)
    if found is None:
        return None

    def text(facts: SetFacts) -> str:
        share = percent(float(facts.traces.mean()))
        if not facts.traces.any():
            return share
        quality = np.median(facts.column("jpeg_quality")[facts.lossless][facts.traces])
        return f"{share} (quality about {quality:.0f})"

    return told(
        "jpeg-traces",
        found,
        "Images that are stored without loss were JPEGs before: their 8x8 blocks lie on the steps of a JPEG table in "
        f"{listed(roles, found, text)} of the images. The other side has no such traces, and networks see them: "
        f"{DISTANCES} for that alone. Take the originals, or give both sides the same history.",
    )


def colour(roles: Roles) -> Told | None:
    def counted(facts: SetFacts) -> tuple[int, int]:
        return int(facts.colourless.sum()), len(facts.pixels)

    found = differing(roles, lambda a, b: shares_differ(counted(a), counted(b), SHARE))
    if found is None:
        return None
    return told(
        "colour-differs",
        found,
        f"Images without colour: {listed(roles, found, lambda facts: percent(float(facts.colourless.mean())))}. Colour "
        f"alone distinguishes the sides: {DISTANCES} whatever else the images show. Make all roles grey, or find out "
        "where the colour went.",
    )
