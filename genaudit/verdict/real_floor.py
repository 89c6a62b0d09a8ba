"""The real floor: the score that fresh real images reach in the place of the generated ones, in equal numbers.

Random parts of the real images that may play (`genaudit.verdict.pairing`) are judged as if they were generated. With a
part of s of the t images that there are, the variance over new images in place of these s is

    variance over random parts / (1 - s / t)

as for a mean from a finite population, and the mean over parts has itself a variance of s / t of that. Both together
are the error of a fresh set's score about the floor: under exchangeability of generated and real images the generated
score, less the floor, over the error is about Student's t with as many degrees of freedom as parts less one
(`scripts/verdict_simulation.py` says how nearly). Where parts of more than 3/4 of the images are asked for, the
variance is that of parts of 3/4, scaled by the numbers of images (Shao and Wu 1989, as in `stats.subsampling`). What
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

Values = Callable[[Any], Mapping[str, float]]  # of generated rows

MOST, FEWEST = 40, 5  # parts
WORK = 1.2e10  # multiplications of the passes over all pairs of all parts: fewer and smaller parts where one is longer
SMALL = 400  # images of a part, or a quarter of all, where the passes are long
ALONE = 1e12  # a pass that long is made once, and there is no interval
SHARE = 0.75
LEAST = 10  # real images: with fewer there is no floor


def plan(size: int, most: int, against: int, dimensions: int) -> tuple[int, int]:
    """How many parts are judged for the error, and of how many images, so that a run repeats itself.

    Args:
        size: images of the floor. most: of a part at most. against: images that a part is compared with.

    >>> plan(400, 400, 400, 1280), plan(5000, 3750, 5000, 1280), plan(50000, 37500, 50000, 1280)
    ((40, 400), (5, 1250), (0, 0))
    """
    part = min(size, most)
    if float(part) * max(part, against) * dimensions > ALONE:
        return 0, 0
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
    keeps, again, rng = (
        {role: rows[role] for role in pair.keeps},
        pair.halves or size < n,
        np.random.default_rng([seed, 19]),
    )
    halves = pair.halves
    if halves and "train" in keeps:  # what is fitted to the training images is fitted once: one cut, parts of one half
        order = rng.permutation(fresh)
        keeps[pair.plays], fresh = _some(players, np.sort(order[size:])), np.sort(order[:size])
        t, halves = size, False
    against = max([t, *(len(each) for each in keeps.values() if hasattr(each, "__len__"))])  # moments have none
    most = min(size, size if halves else int(SHARE * t))
    parts, part = plan(size, most, against, generated.shape[1]) if repeats is None else (repeats, most)
    if halves and parts:
        part = size  # what a half is compared with depends on its size
    kept = None if halves else values(**keeps)

    def judge(number: int, again: bool) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Of so many real images, and of as many generated ones."""
        real = np.sort(rng.choice(fresh, size=number, replace=False))
        ours = np.sort(rng.choice(n, size=number, replace=False)) if again else None
        of = values(**keeps, **{pair.plays: _some(players, np.setdiff1d(fresh, real))}) if kept is None else kept
        return of(_some(players, real)), {} if ours is None else of(_some(generated, ours))

    drawn = [judge(part, again and part == size) for _ in range(parts)]
    whole = drawn if part == size and drawn else [judge(size, again) for _ in range(1 if size == t or not parts else 2)]
    return _summary([real for real, _ in drawn], whole, part, size, t, pair, confidence)


def _summary(
    parts: Sequence[Mapping[str, float]],
    whole: Sequence[tuple[Mapping[str, float], Mapping[str, float]]],
    part: int,
    size: int,
    t: int,
    pair: Pairing,
    confidence: float,
) -> dict[str, RealFloor]:
    found: dict[str, RealFloor] = {}
    for name in whole[0][0]:
        drawn = np.array([real.get(name, np.nan) for real in parts])
        scores = np.array([real.get(name, np.nan) for real, _ in whole])
        ours = np.array([own[name] for _, own in whole if name in own])
        if not np.isfinite(scores).all():
            continue
        value, error = float(scores.mean()), None
        if len(drawn) >= FEWEST and np.isfinite(drawn).all():
            variance = float(drawn.var(ddof=1)) / (1 - part / t) * (part / size)
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
