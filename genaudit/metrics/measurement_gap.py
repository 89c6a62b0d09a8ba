"""What the image retrieval score misses: held-out real images do not reach every training image either.

Dombrowski et al., CVPR 2025: IRS_inf,a = s_mle(generated) / s_mle(held-out real images). N training images.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from genaudit.stats.estimate import Estimate
from genaudit.stats.occupancy import estimate_support

GAP_FIELDS = (
    *("irs_inf_reference", "irs_inf_reference_std", "irs_inf_adjusted", "irs_inf_adjusted_std", "n_compared", "folds"),
)


def measurement_gap(
    retrieved: np.ndarray, real: np.ndarray, n_train: int, alpha: float, folds: int, seed: int
) -> dict[str, Any]:
    """IRS_inf of held-out real images, and the ratio, with equally many samples of both; the fields GAP_FIELDS.

    A ratio's ends divide bounds at alpha/2 each (Bonferroni), so that each end holds at level alpha; means over folds.
    """
    samples = min(len(retrieved), len(real))
    folds = folds if len(retrieved) != len(real) else 1
    generator = np.random.default_rng((seed, 1))

    def some(indices: np.ndarray) -> int:
        if len(indices) > samples:
            indices = generator.choice(indices, samples, replace=False)
        return len(np.unique(indices))

    references, ratios = [], []
    for _ in range(folds):
        k_generated, k_real = some(retrieved), some(real)
        estimate = estimate_support(k_real, samples, alpha=alpha, upper=n_train)
        references.append([estimate.value, *estimate.ends])
        ours = estimate_support(k_generated, samples, alpha=alpha / 2, upper=n_train)
        theirs = estimate_support(k_real, samples, alpha=alpha / 2, upper=n_train)
        ratio = _ratio(ours, theirs)
        ratios.append([ratio.value, *ratio.ends])
    estimates: list[Any] = []
    for folded in (np.array(references, float) / n_train, np.array(ratios, float)):
        estimates += [Estimate(*folded.mean(0)), float(folded[:, 0].std())]
    return dict(zip(GAP_FIELDS, [*estimates, samples, folds], strict=True))


def _ratio(ours: Estimate, theirs: Estimate) -> Estimate:
    """The ratio of two supports, which have both ends, perhaps infinite; lowest over highest, highest over lowest."""
    ends = [float("nan") if end is None else end for end in (*ours.ends, *theirs.ends)]
    return Estimate(ours.value / theirs.value, ends[0] / ends[3], ends[1] / ends[2])
