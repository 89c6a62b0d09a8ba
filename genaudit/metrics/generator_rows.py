"""Rows of the measures under a generator, as their metrics read them: names of the leading columns, densities to draw.

The measures (`genaudit.measures.inversion`, `.ais`) write these columns in this order; a test holds both to it.
N images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genaudit.metrics.result import ROLES, Caution, Curve

INVERSION = (
    *("error", "distance", "restart_range", "label", "dims"),
    *("latent_dim", "picture_channels", "picture_side", "classes"),
)
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


def by_role(**rows: Any) -> dict[str, Any]:
    """The roles that are played."""
    return {role: rows[role] for role in ROLES if rows.get(role) is not None}


def densities(title: str, x_label: str, values: Mapping[str, np.ndarray]) -> Curve | None:
    """Histograms of several sets over one axis, as lines through the bins' middles; None where all values are equal."""
    finite = {name: each[np.isfinite(each)] for name, each in values.items()}
    together = np.concatenate(list(finite.values()))
    if not len(together) or np.ptp(together) == 0:
        return None
    edges = np.linspace(together.min(), together.max(), BINS + 1)
    lines = {
        name: np.histogram(each, edges, density=True)[0] if len(each) else np.zeros(BINS)
        for name, each in finite.items()
    }
    return Curve(title, x_label, "density", (edges[1:] + edges[:-1]) / 2, lines)


def disagreement(values: Mapping[str, Mapping[str, np.ndarray]]) -> tuple[dict[str, float], tuple[Caution, ...]]:
    """Share of each role's images whose chains lie more than 2 nats apart, and what must be said of it."""
    shares = {role: float((each["spread"] > DISAGREEMENT).mean()) for role, each in values.items()}
    doubtful = [role for role, share in shares.items() if share > DOUBTFUL_SHARE]
    if not doubtful:
        return shares, ()
    told = ", ".join(f"{shares[role]:.0%} of {role}" for role in doubtful)
    message = (
        f"The chains of {told} images lie more than {DISAGREEMENT:g} nats apart: their log-likelihoods are loose lower "
        "bounds, off by several nats. More temperatures (ais.temperatures) or a larger sigma2 tighten them."
    )
    return shares, (Caution("chains-disagree", message),)
