"""Rows of the measures under a generator, as their metrics read them: names of the leading columns, densities to draw.

The measures (`genaudit.measures.inversion`, `.ais`) write these columns in this order; a test holds both to it.
N images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genaudit.metrics.result import ROLES, Caution, Curve, Estimate
from genaudit.stats.class_names import outputs_of
from genaudit.stats.estimate import wilson_interval

INVERSION = ("error", "distance", "restart_range", "label", "dims", "classes")
AIS = (
    *("log_likelihood", "bits_per_dim", "spread", "effective_chains", "standard_error"),
    *("acceptance", "dims", "sigma2", "chains"),
)
DISAGREEMENT = 2.0  # nats between the chains of an image, as `likelihood.ais`
DOUBTFUL_SHARE = 0.1  # of the images: above, there is a caution
BLOCK = 1024
BINS = 32


def leading(rows: Any, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The first columns (N,) float64 by name, read block by block; the rest of long rows is never held together."""
    read = [np.asarray(rows[i : i + BLOCK], np.float64)[:, : len(names)] for i in range(0, len(rows), BLOCK)]
    return dict(zip(names, np.concatenate(read).T, strict=True))


def scores_by_class(rows: Any, first: int, count: int) -> np.ndarray:
    """What each class's generator makes of the images, (N, K): the columns from `first` on, read block by block."""
    read = [np.asarray(rows[i : i + BLOCK], np.float64)[:, first : first + count] for i in range(0, len(rows), BLOCK)]
    return np.concatenate(read)


def accuracy(
    scores: np.ndarray, names: Sequence[str], known: Sequence[str], confidence: float
) -> tuple[Estimate | None, tuple[Caution, ...]]:
    """The share of images whose class has the highest score, with Wilson's interval; else a caution that says why not.

    "Intriguing Properties of Modern GANs", Eq. 1 and section 3.1. Images without a class do not count.

    Args:
        scores: (N, K), higher for the likelier class. names: (N,) the images' classes, "" for none.
        known: the classes of all roles' images, which are the generator's labels (`outputs_of`).
    """
    places, how = outputs_of(known, scores.shape[1])
    if places is None:
        message = f"No accuracy of the generator as a classifier: {how}."
        return None, (Caution("classes-unknown", message),)
    labelled = np.array([bool(name) for name in names])
    truth = np.array([places[name] for name in names if name])
    right = scores[labelled].argmax(axis=1) == truth
    return wilson_interval(int(right.sum()), len(right), confidence), ()


def classified(scores: Any, classes: Any, rows: Any, confidence: float) -> tuple[Estimate | None, tuple[Caution, ...]]:
    """`accuracy` of held-out images, else of training images; None where no role names its classes.

    Args:
        scores: rows of a role => (N, K). classes: role => (N,) names. rows: role => its rows.
    """
    role = next((role for role in ("reference", "train") if role in rows and role in (classes or {})), None)
    if role is None:
        return None, ()
    class_names = sorted({name for names in classes.values() for name in names} - {""})
    return accuracy(scores(rows[role]), classes[role], class_names, confidence)


def by_role(**rows: Any) -> dict[str, Any]:
    """The roles that are played."""
    return {role: rows[role] for role in ROLES if rows.get(role) is not None}


def densities(title: str, x_label: str, values: Mapping[str, np.ndarray]) -> Curve | None:
    """Histograms of several sets over one axis, as lines through the bins' middles; None where all values are equal."""
    finite = {name: sample[np.isfinite(sample)] for name, sample in values.items()}
    together = np.concatenate(list(finite.values()))
    if not len(together) or np.ptp(together) == 0:
        return None
    edges = np.linspace(together.min(), together.max(), BINS + 1)
    lines = {
        name: np.histogram(sample, edges, density=True)[0] if len(sample) else np.zeros(BINS)
        for name, sample in finite.items()
    }
    return Curve(title, x_label, "density", (edges[1:] + edges[:-1]) / 2, lines)


def disagreement(values: Mapping[str, Mapping[str, np.ndarray]]) -> tuple[dict[str, float], tuple[Caution, ...]]:
    """Share of each role's images whose chains lie more than 2 nats apart, and what must be said of it."""
    shares = {role: float((each["spread"] > DISAGREEMENT).mean()) for role, each in values.items()}
    doubtful = [role for role, share in shares.items() if share > DOUBTFUL_SHARE]
    if not doubtful:
        return shares, ()
    listed = ", ".join(f"{shares[role]:.0%} of {role}" for role in doubtful)
    message = (
        f"The chains of {listed} images lie more than {DISAGREEMENT:g} nats apart: their log-likelihoods are loose "
        "lower bounds, off by several nats. More temperatures (ais.temperatures) or a larger sigma2 tighten them."
    )
    return shares, (Caution("chains-disagree", message),)
