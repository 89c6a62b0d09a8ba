"""Are items drawn evenly? Tests on how often each retrieved item is retrieved.

The occupancy law assumes uniform draws. A model that amplifies some images breaks it, and so does a feature space in
which some training images are everyone's neighbours; the second test tells the one from the other. Both look at the
number of coinciding pairs, the sum of c (c - 1)/2, which estimates the sum of squared drawing probabilities.

n draws, k distinct items, c how often an item is drawn, f_j items drawn j times (the spectrum).
"""

from __future__ import annotations

import numpy as np
import scipy

from genaudit.stats.occupancy_law import truncated_rate

SIMULATIONS = 9999
ENOUGH = 499  # simulated spectra with exactly n draws, below which all are used and adjusted by regression


def _pairs(counts: np.ndarray) -> np.ndarray:
    return counts * (counts - 1) // 2


def uniform_pvalue(counts: np.ndarray, *, seed: int = 0) -> float:
    """P(at least as many coinciding pairs | n, k) under uniform draws; small where some images come too often.

    The number of distinct images is sufficient for the support s: given n and k, the counts are k zero-truncated
    Poisson variables that sum to n, whatever s. So spectra f_1, f_2, ... are multinomial, kept where they sum to n.

    Args:
        counts: how often each retrieved image is retrieved, (k,), at least 1 each.
        seed: of the simulation.

    Returns:
        a p-value in (0, 1]; 1 where n and k leave only one spectrum.
    """
    counts = np.asarray(counts, np.int64)
    if counts.ndim != 1 or len(counts) == 0 or counts.min() < 1:
        raise ValueError("counts must be a list of integers of at least 1")
    n, k = int(counts.sum()), len(counts)
    observed = int(_pairs(counts).sum())
    if k == n or k == 1:
        return 1.0  # one spectrum only
    r = float(truncated_rate(np.array([k], float), float(n))[0])
    width = 12 * np.sqrt(r) + 12
    j = np.arange(max(1, int(r - width)), int(r + width) + 1)
    log_p = j * np.log(r) - scipy.special.gammaln(j + 1)
    p = np.exp(log_p - log_p.max())
    repeats = int(min(SIMULATIONS, 2e7 // len(j)))
    spectra = np.random.default_rng((seed, 2)).multinomial(k, p / p.sum(), repeats)
    totals, pairs = spectra @ j, (spectra @ _pairs(j)).astype(float)
    exact = totals == n
    if exact.sum() >= ENOUGH:
        pairs = pairs[exact]
    else:
        # Pairs rise linearly with the total to first order; the residual is what is left given the total.
        slope = np.cov(pairs, totals)[0, 1] / totals.var()
        pairs -= slope * (totals - n)
    return float((1 + (pairs >= observed - 1e-9).sum()) / (1 + len(pairs)))


def bias_pvalue(retrieved: np.ndarray, real: np.ndarray, *, seed: int = 0) -> float:
    """P(generated images coincide as often more than real ones), were each training image's two counts exchangeable.

    Equally many of both; the difference of coinciding pairs is compared with its values under random signs, image by
    image. Images with equal differences are grouped, their signs being one binomial draw. The signs keep the level
    where the two sets favour different images equally; their price is that one single dominant image decides by its
    own sign and stays unseen here. `uniform_pvalue` sees it.

    Args:
        retrieved: training images that the generated images retrieve, (n,).
        real: training images that held-out real images retrieve, (m,); the larger set is subsampled.
        seed: of the subsample and the signs.
    """
    generator = np.random.default_rng((seed, 3))
    samples = min(len(retrieved), len(real))
    ours, theirs = (
        generator.choice(indices, samples, replace=False) if len(indices) > samples else indices
        for indices in (retrieved, real)
    )
    both, place = np.unique(np.concatenate([ours, theirs]), return_inverse=True)
    ours, theirs = (np.bincount(part, minlength=len(both)) for part in (place[:samples], place[samples:]))
    difference = _pairs(ours) - _pairs(theirs)
    sizes, many = np.unique(np.abs(difference[difference != 0]), return_counts=True)
    if len(sizes) == 0:
        return 1.0
    flipped = (2 * generator.binomial(many, 0.5, (SIMULATIONS, len(many))) - many) @ sizes
    return float((1 + (flipped >= difference.sum()).sum()) / (1 + SIMULATIONS))
