"""Where the roles differ in how their images were made: a finding a code, whichever pair of roles differs in it.

`docs/audit.md` holds the table of codes, thresholds and reasons. Nothing is decided by one image: a share or a number
of one role must differ from another's by an amount that is worth a word, and beyond chance (`two_sets`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from genaudit.data.audit.facts import SetFacts
from genaudit.data.audit.finding import Finding
from genaudit.data.audit.two_sets import ALPHA, difference, shares_differ
from genaudit.data.encoding import LOSSLESS

SHARE = 0.1  # of a role's images: a difference of shares below this is not worth a word
LENGTH = math.log(1.05)  # a mean difference of lengths (or of their ratio) below 5 % is not worth a word
BREAKS_LENGTH = math.log(4)  # at four times the side, detail is what is compared
BREAKS_ASPECT = math.log(2)
BREAKS_GREY = 0.9  # of the images more are grey: colour is what is compared
QUALITY = 3  # steps of JPEG quality
UNEQUAL = 1.25  # times as many images

Roles = Mapping[str, SetFacts]
# The metrics of a run that take the given roles; nobody's where there is no run.
Concerned = Callable[[Sequence[str]], tuple[str, ...]]

DISTANCES = "FD, KD and the other distances rise, and precision, recall, density and coverage fall,"


def compare(roles: Roles, concerned: Concerned = lambda roles: ()) -> list[Finding]:
    """All findings between roles that need no features, in the order of `finding.CODES`."""
    from genaudit.data.audit.enlarged import enlarged

    rules = (_formats, _qualities, _traces, _sizes, _aspects, enlarged, _colour, _depth, _alpha, _orientation)
    found = (rule(roles) for rule in rules)
    return [
        Finding(each.code, each.roles, each.message, concerned(each.roles), each.breaks)
        for each in found
        if each is not None
    ]


def differing(roles: Roles, differ: Callable[[SetFacts, SetFacts], bool]) -> tuple[str, ...]:
    """The roles that differ from another one, in their order."""
    pairs = [pair for pair in itertools.combinations(roles, 2) if differ(roles[pair[0]], roles[pair[1]])]
    return tuple(role for role in roles if any(role in pair for pair in pairs))


def listed(roles: Roles, names: Sequence[str], text: Callable[[SetFacts], str]) -> str:
    """What each role is: "generated: 100 % JPEG; reference: lossless"."""
    return "; ".join(f"{name}: {text(roles[name])}" for name in names)


def percent(share: float) -> str:
    """A share for people: "12 %", "below 1 %"."""
    if 0 < share < 0.01:
        return "below 1 %"
    return "over 99 %" if 0.99 < share < 1 else f"{100 * share:.0f} %"


def _shares(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{percent(n / total)} {name}" if len(ranked) > 1 else name for name, n in ranked[:4])


def _classes_differ(first: Mapping[str, int], second: Mapping[str, int]) -> bool:
    n, m = sum(first.values()), sum(second.values())
    return any(
        shares_differ((first.get(name, 0), n), (second.get(name, 0), m), SHARE) for name in {**first, **second}
    )


def _formats(roles: Roles) -> Finding | None:
    names = differing(roles, lambda a, b: _classes_differ(a.compressions, b.compressions))
    if not names:
        return None
    return Finding(
        "formats-differ",
        names,
        f"The compression differs: {listed(roles, names, lambda facts: _shares(facts.compressions))}. Lossy compression "
        f"leaves traces that networks see: {DISTANCES} for the format alone. Save all roles without loss (PNG) from the "
        "originals; where one exists only as JPEG, save the others at its quality.",
    )


def _qualities(roles: Roles) -> Finding | None:
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

    names = differing(jpegs, differ)
    if not names:
        return None
    return Finding(
        "jpeg-quality-differs",
        names,
        f"The JPEG quality differs (medians: {listed(roles, names, text)}). The side with the lower quality carries "
        f"stronger traces: {DISTANCES} for that alone. Save all roles at one quality, or without loss.",
    )


def _traces(roles: Roles) -> Finding | None:
    def counted(facts: SetFacts) -> tuple[int, int]:
        return int(facts.traces.sum()), len(facts.traces)

    names = differing(roles, lambda a, b: shares_differ(counted(a), counted(b), SHARE))
    if not names:
        return None

    def text(facts: SetFacts) -> str:
        share = percent(float(facts.traces.mean()))
        if not facts.traces.any():
            return share
        quality = np.median(facts.column("jpeg_quality")[facts.lossless][facts.traces])
        return f"{share} (quality about {quality:.0f})"

    return Finding(
        "jpeg-traces",
        names,
        "Images that are stored without loss were JPEGs before: their 8x8 blocks lie on the steps of a JPEG table in "
        f"{listed(roles, names, text)} of the images. The other side has no such traces, and networks see them: "
        f"{DISTANCES} for that alone. Take the originals, or give both sides the same history.",
    )


def _sides(facts: SetFacts) -> np.ndarray:
    """log of the mean side length of each image, (N,)."""
    return np.repeat([math.log(h * w) / 2 for h, w in facts.sizes], list(facts.sizes.values()))


def _ratios(facts: SetFacts) -> np.ndarray:
    return np.repeat([math.log(w / h) for h, w in facts.sizes], list(facts.sizes.values()))


def _sizes(roles: Roles) -> Finding | None:
    names = differing(roles, lambda a, b: _lengths_differ(_sides(a), _sides(b)))
    if not names:
        return None
    sides = [float(np.median(_sides(roles[name]))) for name in names]
    breaks = max(sides) - min(sides) >= BREAKS_LENGTH - 1e-9
    return Finding(
        "sizes-differ",
        names,
        f"The sizes differ: {listed(roles, names, _usual_size)}. All are resized to the network's input, so that one "
        f"side is sharper than the other: {DISTANCES} for that alone"
        f"{', and hardly anything else is compared here' if breaks else ''}. Bring the larger images to the size of "
        "the smaller ones with an antialiased filter (Lanczos or bicubic of Pillow), before anything is compared.",
        breaks=breaks,
    )


def _aspects(roles: Roles) -> Finding | None:
    names = differing(roles, lambda a, b: _lengths_differ(_ratios(a), _ratios(b)))
    if not names:
        return None
    ratios = [float(np.median(_ratios(roles[name]))) for name in names]
    return Finding(
        "aspect-differs",
        names,
        "The aspect ratios differ (width to height, medians: "
        f"{listed(roles, names, lambda facts: f'{math.exp(np.median(_ratios(facts))):.2f}')}). What the network sees "
        f"is squeezed or cropped differently: {DISTANCES} for that alone. Crop all roles alike.",
        breaks=max(ratios) - min(ratios) >= BREAKS_ASPECT - 1e-9,
    )


def _lengths_differ(first: np.ndarray, second: np.ndarray) -> bool:
    found = difference(first, second)
    return found.pvalue < ALPHA and found.distance >= LENGTH


def _usual_size(facts: SetFacts) -> str:
    (height, width), n = next(iter(facts.sizes.items()))
    if n == facts.count:
        return f"{width}x{height}"
    return f"{width}x{height} ({percent(n / facts.count)}) and {len(facts.sizes) - 1:,} more sizes"


def _colour(roles: Roles) -> Finding | None:
    def counted(facts: SetFacts) -> tuple[int, int]:
        return int(facts.column("grey").sum()), len(facts.pixels)

    names = differing(roles, lambda a, b: shares_differ(counted(a), counted(b), SHARE))
    if not names:
        return None
    shares = [roles[name].grey or 0.0 for name in names]
    breaks = max(shares) - min(shares) >= BREAKS_GREY
    return Finding(
        "colour-differs",
        names,
        f"Grey images: {listed(roles, names, lambda facts: percent(facts.grey or 0.0))}. Colour alone distinguishes the "
        f"sides: {DISTANCES} whatever the images show. Convert all roles to grey, or find out where the colour went.",
        breaks=breaks,
    )


def _depth(roles: Roles) -> Finding | None:
    names = differing(roles, lambda a, b: _classes_differ(a.depths, b.depths))
    if not names:
        return None
    deep = any("16 bits" in roles[name].depths for name in names)
    few = any({"palette", "1 bit"} & set(roles[name].depths) for name in names)
    does = [
        *(["16-bit samples are rounded to 8 bits by v / 257, so that files that use 12 of them come out dark"] if deep else []),
        *(["a palette has 256 colours at most: where colours were reduced, dithering and flat areas are measured"] if few else []),
    ]
    return Finding(
        "bit-depth-differs",
        names,
        f"The bit depth differs: {listed(roles, names, lambda facts: _shares(facts.depths))}. "
        f"{_sentence('; '.join(does) or 'Floats are rounded to 8 bits')}. Every metric of pixels or features takes that "
        "for a difference of the images. Save all roles with 8 bits from the originals.",
    )


def _alpha(roles: Roles) -> Finding | None:
    names = differing(roles, lambda a, b: shares_differ((a.alpha, a.count), (b.alpha, b.count), SHARE))
    if not names:
        return None
    return Finding(
        "alpha-differs",
        names,
        f"Images with an alpha channel: {listed(roles, names, lambda facts: percent(facts.alpha / facts.count))}. It is "
        "dropped, not composited: what lies under transparent pixels (often black) is measured by every metric. "
        "Composite them on the background that the other side has; where all are opaque, nothing is lost.",
    )


def _orientation(roles: Roles) -> Finding | None:
    names = differing(roles, lambda a, b: shares_differ((a.turned, a.count), (b.turned, b.count), SHARE))
    if not names:
        return None
    return Finding(
        "orientation-differs",
        names,
        "Images that an EXIF orientation turns: "
        f"{listed(roles, names, lambda facts: percent(facts.turned / facts.count))}. It is applied here, and tools that "
        "train models often ignore it: then the model learned turned images, and every metric compares them with "
        "upright ones. Save the training images upright (without the tag) and look at a few of both sides.",
    )


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


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


__all__ = ["LOSSLESS", "compare", "counts_differ", "differing", "listed", "percent"]
