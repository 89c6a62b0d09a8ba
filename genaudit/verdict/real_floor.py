"""The real floor: the score that fresh real images reach in the place of the generated ones, in equal numbers.

Which real images play the generated ones:

    a metric takes               real images that play generated              against
    reference, train is given    train, without images of the reference       reference
    reference, no train          a half of reference                          the other half
    train                        reference, without training images           train
    train and reference (both)   a half of reference                          train and the other half
    reference at option alone    train, or else reference itself              nothing that the value depends on

A metric whose reference is at option and that can do with train (`irs`, `authpct`) leaves the reference out, since it
plays. The metric's YAML may say `real: halves` (the reference is part of the value even where train is given) or
`real: none` (real images in place of generated ones have no meaning for it).

Random parts of the real images that may play (`pairing`) are judged as if they were generated. With a
part of s of the t images that there are, the variance over new images in place of these s is

    variance over random parts / (1 - s / t)

as for a mean from a finite population, and the mean over W parts has itself a variance of s / t + (1 - s / t) / W of
that. Both together are the error of a fresh set's score about the floor: under exchangeability of generated and real
images the generated score, less the floor, over the error is about Student's t with as many degrees of freedom as parts
less one (`scripts/verdict_simulation.py` says how nearly). Where parts of more than 3/4 of the images are asked for,
the variance is that of parts of 3/4, scaled by the numbers of images (Shao and Wu 1989, as in `stats.subsampling`).
What the parts are compared with is held fixed but for halves of a set.

Where a pass over all pairs is longer than `LONG`, floor and comparison rest on random parts of `PART` images: so many
real images, so many generated ones, and so many of the reference where they are compared with that; the generated score
is then a mean over parts too, with a variance as above. The training images stay whole: a sample's own original would
be missing in nearly every part of them, and copies would pass unseen.

n generated images, t real images that may play, s of them in a part, R parts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from genaudit.metrics.result import RealFloor, RealSource
from genaudit.stats.chosen import Chosen
from genaudit.stats.subsampling import quantile

Mode = Literal["auto", "halves", "none"]
Values = Callable[[Any], Mapping[str, float]]  # of generated rows
MOST, FEWEST = 40, 5  # parts
WORK = 1.2e10  # multiplications of the passes over all pairs of all parts: fewer and smaller parts where one is longer
SMALL = 400  # images of a part, or a quarter of all, where the passes are long
LONG = 1e11  # multiplications: where one pass over all pairs takes more, the sets are judged by parts of PART images
PART = 5000
SHARE = 0.75
LEAST = 10  # real images: with fewer there is no floor


@dataclass(frozen=True)
class Pairing:
    """Who plays generated (`plays`), the roles that are handed on as they are, and the name in the reports.

    With `halves` a part of `plays` plays generated and the rest plays itself.
    """

    plays: str
    keeps: tuple[str, ...]
    source: RealSource
    halves: bool = False


def pairing(takes: Mapping[str, bool], rows: Collection[str], mode: Mode = "auto") -> Pairing | None:
    """How real images play generated ones for a metric; None where none can.

    Args:
        takes: the roles that the metric takes => whether it needs them.
        rows: the roles whose rows are there; those that a metric does not take may play.
        mode: what the metric's YAML says.
    """
    if mode == "none" or "generated" not in takes:
        return None
    given = tuple(role for role in takes if role in rows and role not in ("generated", "reference"))
    halves = Pairing("reference", given, "reference_halves", halves=True) if "reference" in rows else None
    if "train" in takes and "train" in rows:
        if "reference" not in rows:
            return None
        return halves if takes.get("reference") or mode == "halves" else Pairing("reference", given, "reference")
    if "reference" not in takes:
        return None
    if takes["reference"] or "train" in takes or mode == "halves":
        return Pairing("train", (*given, "reference"), "train") if _may_play(takes, rows, mode) else halves
    keeps = (*given, *(role for role in ("reference",) if role in rows))
    if "train" in rows:
        return Pairing("train", keeps, "train")
    return Pairing("reference", keeps, "reference") if "reference" in rows else None


def _may_play(takes: Mapping[str, bool], rows: Collection[str], mode: Mode) -> bool:
    """Whether training images can play generated ones against the reference."""
    return "train" in rows and "train" not in takes and mode != "halves"


def plan(size: int, most: int, against: int, dimensions: int) -> tuple[int, int]:
    """How many parts are judged for the error, and of how many images, so that a run repeats itself.

    Args:
        size: images of the floor. most: of a part at most. against: images that a part is compared with.

    >>> plan(400, 400, 400, 1280), plan(5000, 3750, 5000, 1280), plan(5000, 5000, 50000, 1280)
    ((40, 400), (5, 1250), (5, 1250))
    """
    part = min(size, most)
    if MOST * float(part) * max(part, against) * dimensions > WORK:
        part = min(part, max(SMALL, size // 4))
    work = float(part) * max(part, against) * dimensions
    return int(np.clip(WORK / work, FEWEST, MOST)), part


def real_floor(
    values: Callable[..., Values],
    rows: Mapping[str, Any],
    pair: Pairing,
    fresh: np.ndarray,
    *,
    confidence: float = 0.95,
    seed: int = 0,
    repeats: int | None = None,
) -> dict[str, RealFloor]:
    """The floor of each value that `values` gives.

    Args:
        values: called with the other roles' rows by keyword; returns a function of the generated rows that gives
            numbers by name, NaN where there is none.
        rows: by role, those that the metric does not take included where they play.
        pair: who plays generated. fresh: the images of that role that may, each content once.
        confidence: of the ends. seed: of the parts. repeats: parts of full size; None: `plan`.

    Returns:
        by the values' names; nothing where there are fewer than `LEAST` real images.
    """
    generated, players = rows["generated"], rows[pair.plays]
    n, t = len(generated), len(fresh)
    size = min(n, t // 2 if pair.halves else t)
    if size < LEAST:
        return {}
    keeps, halves, rng = {role: rows[role] for role in pair.keeps}, pair.halves, np.random.default_rng([seed, 19])
    bounded = float(size) * _longest(keeps, size, t - size if halves else 0) * generated.shape[1] > LONG
    if bounded:
        size = min(size, PART)
        if halves:
            fresh, t = _drawn(rng, fresh, 2 * size), 2 * size
        if "reference" in keeps and len(keeps["reference"]) > PART:
            keeps["reference"] = _some(keeps["reference"], _drawn(rng, len(keeps["reference"]), PART))
    again = pair.halves or size < n or bounded
    if halves and "train" in keeps:  # what is fitted to the training images is fitted once: one cut, parts of one half
        order = rng.permutation(fresh)
        keeps[pair.plays], fresh = _some(players, np.sort(order[size:])), np.sort(order[:size])
        t, halves = size, False
    against = _longest(keeps, size, t - size if halves else 0)
    most = min(size, size if halves else int(SHARE * t))
    parts, part = plan(size, most, against, generated.shape[1]) if repeats is None else (repeats, most)
    if halves and parts:
        part = size  # what a half is compared with depends on its size
    kept = None if halves else values(**keeps)

    def judge(number: int, again: bool) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Of so many real images, and of as many generated ones."""
        real, ours = _drawn(rng, fresh, number), _drawn(rng, n, number) if again else None
        of = values(**keeps, **{pair.plays: _some(players, np.setdiff1d(fresh, real))}) if kept is None else kept
        return of(_some(players, real)), {} if ours is None else of(_some(generated, ours))

    drawn = [judge(part, again and part == size) for _ in range(parts)]
    whole = drawn if part == size and drawn else [judge(size, again) for _ in range(1 if size == t or not parts else 2)]
    ours = _of_mean(size, n, len(whole)) if bounded else 1.0
    found = _summary([real for real, _ in drawn], whole, part, size, t, ours, pair, confidence)
    return {name: replace(each, from_parts=bounded) for name, each in found.items()}


def _summary(
    parts: Sequence[Mapping[str, float]],
    whole: Sequence[tuple[Mapping[str, float], Mapping[str, float]]],
    part: int,
    size: int,
    t: int,
    ours: float,
    pair: Pairing,
    confidence: float,
) -> dict[str, RealFloor]:
    """The floors from the scores of parts and of whole sets, real and generated; `ours`: the generated score's variance
    in that of one set of `size` images."""
    found: dict[str, RealFloor] = {}
    for name in whole[0][0]:
        drawn = np.array([real.get(name, np.nan) for real in parts])
        scores = np.array([real.get(name, np.nan) for real, _ in whole])
        generated = np.array([own[name] for _, own in whole if name in own])
        if not np.isfinite(scores).all():
            continue
        value, error = float(scores.mean()), None
        if len(drawn) >= FEWEST and np.isfinite(drawn).all():
            variance = float(drawn.var(ddof=1)) / (1 - part / t) * (part / size)
            error = float(np.sqrt(variance * (ours + _of_mean(size, t, len(whole)))))
        half = None if error is None else quantile(confidence, len(drawn)) * error
        found[name] = RealFloor(
            value=value,
            lower=None if half is None else value - half,
            upper=None if half is None else value + half,
            n=size,
            source=pair.source,
            generated=float(generated.mean()) if len(generated) and np.isfinite(generated).all() else None,
            error=error,
            resamplings=len(drawn),
        )
    return found


def _of_mean(size: int, of: int, count: int) -> float:
    """The variance of a mean score of so many parts of `size` images of `of`, in that of one fresh set of `size`."""
    return size / of + (1 - size / of) / count


def _longest(keeps: Mapping[str, Any], *others: int) -> int:
    """The largest number of images that a part is compared with; moments have none."""
    return max([*others, *(len(each) for each in keeps.values() if hasattr(each, "__len__"))])


def _drawn(rng: np.random.Generator, places: Any, number: int) -> np.ndarray:
    """So many of some places (N,), or of the first N, in order, none twice."""
    return np.sort(rng.choice(places, size=number, replace=False))


def _some(rows: Any, places: np.ndarray) -> Any:
    """Rows in memory as an array, which a user's metric may want, those on disk as they are asked for."""
    return rows[places] if isinstance(rows, np.ndarray) else Chosen(rows, places)


def distinct(originals: np.ndarray, elsewhere: np.ndarray) -> np.ndarray:
    """Places of the images that may play: the first of each content, none that stands in `elsewhere` (N,) of booleans.

    Args:
        originals: (N,) for each image the place of the first one with its content.
    """
    return np.flatnonzero((originals == np.arange(len(originals))) & ~elsewhere)
