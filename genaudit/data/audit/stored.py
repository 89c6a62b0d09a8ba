"""Differences that headers tell: compression, quality, bit depth, alpha, orientation, sizes."""

from __future__ import annotations

import math

import numpy as np

from genaudit.data.audit.facts import SetFacts
from genaudit.data.audit.two_sets import ALPHA, difference, shares_differ
from genaudit.data.audit.wording import (
    DISTANCES,
    SHARE,
    Differing,
    Roles,
    Told,
    classes_differ,
    differing,
    listed,
    percent,
    shares,
    told,
)

LENGTH = math.log(1.05)  # a mean difference of lengths (or of their ratio) below 5 % is not worth a word
BREAKS_LENGTH = math.log(4)  # at four times the side, detail is what is compared
BREAKS_ASPECT = math.log(2)
QUALITY = 3  # steps of JPEG quality


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
