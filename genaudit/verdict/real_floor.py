"""The real floor: the score that fresh real images reach in the place of the generated ones, in equal numbers.

Random parts of the real images that may play (`genaudit.verdict.pairing`) are judged as if they were generated. With a
part of s of the t images that there are, the variance over new images in place of these s is

    variance over random parts / (1 - s / t)

as for a mean from a finite population, and the mean over parts has itself a variance of s / t of that. Both together
are the error of a fresh set's score about the floor: under exchangeability of generated and real images the generated
score, less the floor, over the error is about Student's t with as many degrees of freedom as parts less one
(`scripts/verdict_simulation.py` says how nearly). Where parts of more than 3/4 of the images are asked for,
the variance is that of parts of 3/4, scaled by the numbers of images (Shao and Wu 1989, as in `stats.subsampling`). What
the parts are compared with is held fixed but for halves of a set.

n generated images, t real images that may play, s of them in a part, R parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from genaudit.metrics.result import RealFloor
from genaudit.stats.chosen import Chosen
from genaudit.stats.subsampling import quantile
from genaudit.verdict.pairing import Pairing

Values = Callable[..., Mapping[str, float]]

MOST, FEWEST = 20, 5  # parts
WORK = 6e9  # multiplications of a pass over all pairs, over all parts: fewer parts where a pass is longer
ALONE = 1e12  # a pass that long is made once, and there is no interval
SHARE = 0.75
LEAST = 10  # real images: with fewer there is no floor


def resamplings(n: int, against: int, dimensions: int) -> int:
    """How many parts are judged: from the numbers of images and features, so that a run repeats itself.

    >>> resamplings(400, 400, 1280), resamplings(5000, 5000, 1280), resamplings(50000, 50000, 1280)
    (20, 5, 1)
    """
    work = float(n) * max(n, against) * dimensions
    return 1 if work > ALONE else int(np.clip(WORK / work, FEWEST, MOST))


def real_floor(
    values: Values,
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
        values: numbers by name from rows by keyword, roles as names; NaN where there is none.
        rows: by role, those that the metric does not take included where they play.
        pair: who plays generated. fresh: the images of that role that may, each content once.
        confidence: of the ends. seed: of the parts. repeats: parts; None: `resamplings`.

    Returns:
        by the values' names; nothing where there are fewer than `LEAST` real images.
    """
    generated = rows["generated"]
    n, t = len(generated), len(fresh)
    size = min(n, t // 2 if pair.halves else t)
    if size < LEAST:
        return {}
    keeps = {role: rows[role] for role in pair.keeps}
    largest = max([t, *(len(each) for each in keeps.values() if hasattr(each, "__len__"))])  # moments have none
    repeats = resamplings(size, largest, generated.shape[1]) if repeats is None else repeats
    rng = np.random.default_rng([seed, 19])
    players = rows[pair.plays]
    part = size if pair.halves or size <= SHARE * t else int(SHARE * t)

    def judged(of_real: np.ndarray, of_generated: np.ndarray | None) -> tuple[dict[str, float], dict[str, float]]:
        rest = {pair.plays: _some(players, np.setdiff1d(fresh, of_real))} if pair.halves else {}
        real = dict(values(generated=_some(players, of_real), **keeps, **rest))
        if of_generated is None:
            return real, {}
        return real, dict(values(generated=_some(generated, of_generated), **keeps, **rest))

    again = pair.halves or size < n

    def draw(number: int) -> tuple[dict[str, float], dict[str, float]]:
        own = np.sort(rng.choice(n, size=number, replace=False)) if again and number == size else None
        return judged(np.sort(rng.choice(fresh, size=number, replace=False)), own)

    parts = [draw(part) for _ in range(repeats)]
    whole = parts if part == size else [draw(size) for _ in range(1 if size == t else 3)]
    return _summary(parts, whole, part / t, size, t, pair, confidence)


def _summary(
    parts: Sequence[tuple[dict[str, float], dict[str, float]]],
    whole: Sequence[tuple[dict[str, float], dict[str, float]]],
    share: float,
    size: int,
    t: int,
    pair: Pairing,
    confidence: float,
) -> dict[str, RealFloor]:
    found: dict[str, RealFloor] = {}
    for name in whole[0][0]:
        drawn = np.array([real.get(name, np.nan) for real, _ in parts])
        scores = np.array([real.get(name, np.nan) for real, _ in whole])
        ours = np.array([own[name] for _, own in whole if name in own])
        if not np.isfinite(scores).all():
            continue
        value, error = float(scores.mean()), None
        if len(drawn) >= FEWEST and np.isfinite(drawn).all():
            variance = float(drawn.var(ddof=1)) / (1 - share) * (share * t / size)
            error = float(np.sqrt(variance * (1 + size / t)))
        half = None if error is None else quantile(confidence, len(drawn)) * error
        found[name] = RealFloor(
            value=value,
            lower=None if half is None else value - half,
            upper=None if half is None else value + half,
            n=size,
            source=pair.source,
            generated=float(ours.mean()) if len(ours) and np.isfinite(ours).all() else None,
            error=error,
            resamplings=len(drawn),
        )
    return found


def _some(rows: Any, places: np.ndarray) -> Any:
    """Rows in memory as an array, which a user's metric may want, those on disk as they are asked for."""
    return rows[places] if isinstance(rows, np.ndarray) else Chosen(rows, places)


def distinct(originals: np.ndarray, elsewhere: np.ndarray) -> np.ndarray:
    """Places of the images that may play: the first of each content, none that stands in `elsewhere` (N,) of booleans.

    Args:
        originals: (N,) for each image the place of the first one with its content.
    """
    return np.flatnonzero((originals == np.arange(len(originals))) & ~elsewhere)
