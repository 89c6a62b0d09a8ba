"""Where the roles differ in how their images were made: a finding a code, whichever pair of roles differs in it.

Headers tell compression, quality, bit depth, alpha, orientation and sizes; pixels tell traces of JPEG in what is stored
without loss, and grey against colour. `docs/audit.md` holds the table of codes, thresholds and reasons. Nothing is
decided by one image: a share or a number of one role must differ from another's by an amount that is worth a word, and
beyond chance (`finding`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from genaudit.data.audit.enlarged import enlarged
from genaudit.data.audit.facts import SetFacts
from genaudit.data.audit.finding import (
    ALPHA,
    DISTANCES,
    SHARE,
    Differing,
    Finding,
    Roles,
    Told,
    classes_differ,
    difference,
    differing,
    listed,
    percent,
    shares,
    shares_differ,
    told,
)

LENGTH = math.log(1.05)  # a mean difference of lengths (or of their ratio) below 5 % is not worth a word
BREAKS_LENGTH = math.log(4)  # at four times the side, detail is what is compared
BREAKS_ASPECT = math.log(2)
QUALITY = 3  # steps of JPEG quality
ONE_SIDE = 1 / 3  # of the other's share: traces of strong compression are harder to see in small images
UNEQUAL = 1.25  # times as many images
# The metrics of a run that take both roles of any of the given pairs; none where there is no run.
Concerned = Callable[[Sequence[tuple[str, str]]], tuple[str, ...]]


def formats(roles: Roles) -> Told | None:
    found = differing(roles, lambda a, b: classes_differ(a.compressions, b.compressions))
    if found is None:
        return None
    return told(
        "formats-differ",
        found,
        f"The compression differs ({listed(roles, found, lambda facts: shares(facts.compressions))}). Lossy "
        f"compression leaves traces that networks see: {DISTANCES} for the format alone. Save all roles without loss "
        "(PNG) from the originals; where one exists only as JPEG, save the others at its quality.",
    )


def qualities(roles: Roles) -> Told | None:
    jpegs = {name: facts for name, facts in roles.items() if facts.qualities}

    def numbers(facts: SetFacts) -> np.ndarray:
        qualities = [(encoding.quality, n) for encoding, n in facts.encodings.items() if encoding.quality]
        return np.repeat([quality for quality, _ in qualities], [n for _, n in qualities])

    def differ(a: SetFacts, b: SetFacts) -> bool:
        found = difference(numbers(a), numbers(b))
        return found.pvalue < ALPHA and found.distance >= QUALITY

    def text(facts: SetFacts) -> str:
        about = "" if all(encoding.exact for encoding in facts.encodings) else "about "
        return f"{about}{np.median(numbers(facts)):.0f}"

    found = differing(jpegs, differ)
    if found is None:
        return None
    return told(
        "jpeg-quality-differs",
        found,
        f"The JPEG quality differs (medians: {listed(roles, found, text)}). The side with the lower quality carries "
        f"stronger traces: {DISTANCES} for that alone. Save all roles at one quality, or without loss.",
    )


def _sides(facts: SetFacts) -> np.ndarray:
    """log of the mean side length of each image, (N,)."""
    return np.repeat([math.log(h * w) / 2 for h, w in facts.sizes], list(facts.sizes.values()))


def _ratios(facts: SetFacts) -> np.ndarray:
    return np.repeat([math.log(w / h) for h, w in facts.sizes], list(facts.sizes.values()))


def sizes(roles: Roles) -> Told | None:
    found = differing(roles, lambda a, b: _lengths_differ(_sides(a), _sides(b)))
    if found is None:
        return None
    sides = [float(np.median(_sides(roles[name]))) for name in found.names]
    breaks = max(sides) - min(sides) >= BREAKS_LENGTH - 1e-9
    return told(
        "sizes-differ",
        found,
        f"The sizes differ: {listed(roles, found, _usual_size)}. All are resized to the network's input, so that one "
        f"side is sharper than the other: {DISTANCES} for that alone"
        f"{', and hardly anything else is compared here' if breaks else ''}. Bring the larger images to the size of "
        "the smaller ones with an antialiased filter (Lanczos or bicubic of Pillow), before anything is compared.",
        breaks=breaks,
    )


def aspects(roles: Roles) -> Told | None:
    found = differing(roles, lambda a, b: _lengths_differ(_ratios(a), _ratios(b)))
    if found is None:
        return None
    ratios = [float(np.median(_ratios(roles[name]))) for name in found.names]
    return told(
        "aspect-differs",
        found,
        "The aspect ratios differ (width to height, medians: "
        f"{listed(roles, found, lambda facts: f'{math.exp(np.median(_ratios(facts))):.2f}')}). What the network sees "
        f"is squeezed or cropped differently: {DISTANCES} for that alone. Crop all roles alike.",
        breaks=max(ratios) - min(ratios) >= BREAKS_ASPECT - 1e-9,
    )


def _lengths_differ(first: np.ndarray, second: np.ndarray) -> bool:
    found = difference(first, second)
    return found.pvalue < ALPHA and found.distance >= LENGTH


def usual_sides(facts: SetFacts) -> tuple[int, int]:
    """Height and width of most images."""
    return next(iter(facts.sizes))


def _usual_size(facts: SetFacts) -> str:
    (height, width), n = next(iter(facts.sizes.items()))
    if n == facts.count:
        return f"{width}x{height}"
    return f"{width}x{height} ({percent(n / facts.count)}) and {len(facts.sizes) - 1:,} more sizes"


def depth(roles: Roles) -> Told | None:
    found = differing(roles, lambda a, b: classes_differ(a.depths, b.depths))
    if found is None:
        return None
    return told(
        "bit-depth-differs",
        found,
        f"The bit depth differs ({listed(roles, found, lambda facts: shares(facts.depths))}). {_does(roles, found)} "
        "Every metric of pixels or features takes that for a difference of the images. Save all roles with 8 bits from "
        "the originals.",
    )


def _does(roles: Roles, found: Differing) -> str:
    """What the depths that occur do to the pixels that are measured."""
    there = {depth for name in found.names for depth in roles[name].depths}
    said = {
        "16 bits": "16-bit samples are read as v / 257, so that files that use 12 of the bits come out dark.",
        "palette": "A palette holds 256 colours at most: where colours were reduced, dithering is measured.",
        "1 bit": "Of 1 bit a sample only black and white are left.",
        "float": "Floats are rounded to 8 bits.",
    }
    return " ".join(text for depth, text in said.items() if depth in there)


def alpha(roles: Roles) -> Told | None:
    found = differing(roles, lambda a, b: shares_differ((a.alpha, a.count), (b.alpha, b.count), SHARE))
    if found is None:
        return None
    return told(
        "alpha-differs",
        found,
        f"Images with an alpha channel: {listed(roles, found, lambda facts: percent(facts.alpha / facts.count))}. It "
        "is dropped, not composited: what lies under transparent pixels (often black) is measured by every metric. "
        "Composite them on the background that the other side has; where all are opaque, nothing is lost.",
    )


def orientation(roles: Roles) -> Told | None:
    found = differing(roles, lambda a, b: shares_differ((a.turned, a.count), (b.turned, b.count), SHARE))
    if found is None:
        return None
    return told(
        "orientation-differs",
        found,
        "Images that an EXIF orientation turns: "
        f"{listed(roles, found, lambda facts: percent(facts.turned / facts.count))}. It is applied here, and tools "
        "that train models often ignore it: then the model learned turned images, and every metric compares them with "
        "upright ones. Save the training images upright (without the tag) and look at a few of both sides.",
    )


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


RULES = (
    *(formats, qualities, traces, sizes, aspects, enlarged, colour),
    *(depth, alpha, orientation),
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
