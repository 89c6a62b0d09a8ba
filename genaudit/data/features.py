"""Features in place of images: rows (a FeatureSet), or mean and covariance that another tool computed (Moments).

N images, D features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from genaudit.data.columns import Column, taken
from genaudit.data.digest import DIGEST_BYTES, array_digest, duplicates, random_subset, set_digest
from genaudit.data.file_rows import verified
from genaudit.errors import UserError
from genaudit.stats.arrays import out_of_range, size_of, wrong_size

_BLOCK = 4096  # feature rows checked at once


@dataclass(frozen=True)
class FeatureSet:
    """Feature rows given in place of images.

    Attributes:
        source: where they come from, for people.
        names: N names "FILE[index]".
        features: (N, D) floating-point array, finite; rows of a file where it is large.
        digests: (N, 16) uint8, content address of each row.
        available: how many rows the source has, where a limit took only some of them; else None.
        columns: classes and prompts (`genaudit.data.columns`) of all rows of the source; see `column`.
    """

    source: str
    names: list[str]
    features: np.ndarray
    digests: np.ndarray
    available: int | None = None
    columns: Mapping[str, Column] = field(default_factory=dict)
    _positions: np.ndarray | None = None  # (N,) places in the source; None: all, in order

    def __len__(self) -> int:
        return len(self.names)

    @property
    def digest(self) -> str:
        """One address, in hex, for all rows in their order."""
        return set_digest(self.digests)

    @property
    def duplicates(self) -> int:
        """How many rows are exact copies of another one of the set."""
        return duplicates(self.digests)

    def column(self, name: str) -> list[str] | None:
        """What the source says of each row, "class" or "prompt": N texts, "" where nothing; None where all are."""
        if name not in self.columns:
            return None
        values = taken(self.columns[name], range(len(self)) if self._positions is None else self._positions.tolist())
        return values if any(values) else None

    def subset(self, indices: np.ndarray) -> FeatureSet:
        """The rows at `indices`, in that order."""
        places = np.arange(len(self)) if self._positions is None else self._positions
        return replace(
            self,
            names=[self.names[place] for place in indices],
            features=self.features[indices],
            digests=self.digests[indices],
            _positions=places[indices],
        )

    def limited(self, limit: int, seed: int) -> FeatureSet:
        """A random subset of `limit` rows by content and seed, in the set's order; all where there are no more."""
        if limit >= len(self):
            return self
        chosen = random_subset(self.digests, limit, seed)
        return replace(self.subset(chosen), available=len(self))


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of features, precomputed by another tool.

    Attributes:
        source: where they come from, for people.
        mu: (D,) float64.
        sigma: (D, D) float64, symmetric.
        n: the number of images behind them, where the file says so (a scalar `n`).
        digest: address in hex of mu and sigma.
        about: what `genaudit moments` wrote beside them: feature_model, weights_sha256, fingerprint, genaudit.
        spatial: those of spatial features of the same images, where the file holds them.
        by_network: those of several feature models, or of one that the file's kind names, by the YAML's name; empty
            where nobody says which network they are of.
    """

    source: str
    mu: np.ndarray
    sigma: np.ndarray
    n: int | None
    digest: str
    about: Mapping[str, str] = field(default_factory=dict)
    spatial: Moments | None = None
    by_network: Mapping[str, Moments] = field(default_factory=dict)


def feature_set(features: np.ndarray, label: str, source: str, role: str) -> FeatureSet:
    """Rows `(N, D)` checked and digested, a block at a time.

    Raises:
        UserError: not a two-dimensional array of real floats, no row, or a value that is not finite.
    """
    if features.ndim != 2 or 0 in features.shape or features.dtype.kind != "f":
        raise UserError(
            f"{role}: features of {source} have shape {features.shape} and type {features.dtype}; "
            f"expected (N, D) floats with N, D >= 1."
        )
    digests, largest = np.empty((len(features), DIGEST_BYTES), dtype=np.uint8), 0.0
    for start in range(0, len(features), _BLOCK):
        block = np.asarray(features[start : start + _BLOCK])
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            raise UserError(f"{role}: features of {source} hold NaN or infinity in row {row}.")
        largest = max(largest, size_of(block))
        for i, row_values in enumerate(block):
            digests[start + i] = np.frombuffer(array_digest(row_values), dtype=np.uint8)
    if fault := wrong_size(largest, whole=True):
        raise UserError(f"{role}: {source} {fault}.")
    held: Any = verified(features, digests, array_digest, f"{role}: {source}")
    return FeatureSet(source, [f"{label}[{i}]" for i in range(len(features))], held, digests)


def moments(
    mu: np.ndarray,
    sigma: np.ndarray,
    n: np.ndarray | None,
    source: str,
    role: str,
    about: Mapping[str, str] | None = None,
) -> Moments:
    """Mean `(D,)` and covariance `(D, D)`, checked.

    Raises:
        UserError: shapes that do not belong together, values that are not finite, or a covariance that is not
            symmetric or has a negative variance.
    """
    if mu.ndim != 1 or mu.size == 0 or sigma.shape != (mu.size, mu.size):
        raise UserError(
            f"{role}: {source} holds mu of shape {mu.shape} and sigma of shape {sigma.shape}; expected (D,) and (D, D)."
        )
    if mu.dtype.kind not in "fiu" or sigma.dtype.kind not in "fiu":
        raise UserError(f"{role}: mu and sigma of {source} have types {mu.dtype} and {sigma.dtype}, not real numbers.")
    mu, sigma = np.array(mu, dtype=np.float64), np.array(sigma, dtype=np.float64)
    if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise UserError(f"{role}: mu or sigma of {source} holds NaN or infinity.")
    if fault := out_of_range(np.sqrt(np.abs(sigma))) or out_of_range(mu):
        raise UserError(f"{role}: mu or the root of sigma of {source} {fault}.")
    scale = float(np.abs(sigma).max())
    # float32 covariances computed blockwise are symmetric to a few units of 6e-8 relative to the largest entry
    if float(np.abs(sigma - sigma.T).max()) > 1e-4 * scale or float(sigma.diagonal().min()) < -1e-6 * scale:
        raise UserError(f"{role}: sigma of {source} is not a covariance: it must be symmetric with variances >= 0.")
    if n is not None and (n.size != 1 or n.dtype.kind not in "iuf" or not np.isfinite(n).all() or n.min() < 1):
        raise UserError(f"{role}: n of {source} must be one number, the count of images behind mu and sigma.")
    digest = array_digest(np.vstack([mu[None], sigma])).hex()
    return Moments(source, mu, sigma, None if n is None else int(n.reshape(-1)[0]), digest, about or {})
