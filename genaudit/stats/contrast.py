"""One quantity in two sets of images: tests of the difference of its means, and how large the difference is.

M generated images, N reference images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Contrast:
    """One quantity in both sets: means, Welch's t-test, a permutation test of the means, and effect sizes.

    `p_two_sided` as in Hwang et al. 2024, Table C.1; `p_one_sided` as in Table E.1, against the alternative that
    `expected` names, whatever the data show. `hedges_g` is the difference generated minus reference in pooled standard
    deviations, `superiority` the chance that a generated image's value exceeds a reference image's (0.5: none).
    """

    mean_generated: float
    mean_reference: float
    expected: str
    t: float
    degrees_of_freedom: float
    p_two_sided: float
    p_one_sided: float
    p_permutation_two_sided: float
    p_permutation_one_sided: float
    hedges_g: float
    superiority: float


def contrast(made: np.ndarray, real: np.ndarray, expected: str, permutations: int, seed: int) -> Contrast:
    """Tests of one quantity, (M,) generated against (N,) reference; `expected` is "generated lower" or "higher"."""
    from scipy import stats  # half a second: when it is needed

    m, n = len(made), len(real)
    difference = made.mean() - real.mean()
    superiority = float(stats.mannwhitneyu(made, real).statistic) / (m * n)
    ratio = ((m - 1) * made.var(ddof=1) + (n - 1) * real.var(ddof=1)) / (m + n - 2)
    means = float(made.mean()), float(real.mean()), expected
    if ratio == 0:  # two constants: no test
        nan = float("nan")
        return Contrast(*means, nan, nan, nan, nan, nan, nan, nan, superiority)
    welch = stats.ttest_ind(made, real, equal_var=False)
    sign = 1 if expected == "generated higher" else -1
    one_sided = float(stats.t.sf(sign * welch.statistic, welch.df))
    pooled = np.concatenate([made, real])
    total = pooled.sum()
    generator = np.random.default_rng(seed)
    sums = np.array([generator.permutation(pooled)[:m].sum() for _ in range(permutations)])
    null = sums / m - (total - sums) / n
    slack = 1e-12 * np.abs(pooled).max()  # equal differences may differ in the last bits of their sums
    two = (1 + int((np.abs(null) >= abs(difference) - slack).sum())) / (1 + permutations)
    one = (1 + int((sign * null >= sign * difference - slack).sum())) / (1 + permutations)
    unbiased = 1 - 3 / (4 * (m + n) - 9)  # Hedges 1981
    return Contrast(
        *means,
        t=float(welch.statistic),
        degrees_of_freedom=float(welch.df),
        p_two_sided=float(welch.pvalue),
        p_one_sided=one_sided,
        p_permutation_two_sided=two,
        p_permutation_one_sided=one,
        hedges_g=float(difference / np.sqrt(ratio) * unbiased),
        superiority=superiority,
    )
