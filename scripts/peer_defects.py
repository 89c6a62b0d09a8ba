"""Where a peer's number is wrong: the smallest example of each, with the value that is known to be right.

Used by `parity.py` and the tests. Each function returns (right, peer's, genaudit's) and says in its first line what is
shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import recorded_peers


@dataclass(frozen=True)
class Found:
    """`right` is the exact value, `theirs` by package, `ours` genaudit's; `how` tells why right is right."""

    right: float
    theirs: dict[str, float]
    ours: float
    how: str


def precision_of_shifted_features() -> Found:
    """torch-fidelity's precision and recall change when all features are shifted by the same vector."""
    import torch
    from torch_fidelity.metric_prc import prc_features_to_metric

    from genaudit.metrics.prdc import prdc

    rng = np.random.default_rng(0)
    generated, reference = rng.integers(-64, 64, (200, 16)) / 32, rng.integers(-51, 51, (200, 16)) / 32
    right = prdc(reference, generated, k=3).precision  # multiples of 1/32: float32 holds them and the shifted ones
    rows = [torch.from_numpy((part + 4000).astype(np.float32)) for part in (generated, reference)]
    theirs = prc_features_to_metric(*rows, prc_neighborhood=3, verbose=False)["precision"]
    return Found(
        right,
        {"torch-fidelity": theirs},
        prdc(rows[1], rows[0], k=3).precision,
        "Distances do not depend on a common shift; squared norms in float32, from which `torch.cdist` takes them for "
        "more than 25 rows, lose them.",
    )


def distance_of_a_shifted_set() -> Found:
    """Fréchet distance of fewer images than features, through a matrix square root or eigenvalues of a product."""
    import torch
    from torch_fidelity.metric_fid import fid_statistics_to_metric
    from torchmetrics.image.fid import _compute_fid

    from genaudit.metrics.frechet import frechet_distance

    moments = moments_of_a_shifted_set()
    statistics = [{"mu": mu, "sigma": sigma} for mu, sigma in moments]
    theirs = {
        "pytorch-fid, clean-fid": float(recorded_peers.numbers()["shifted_set"]),
        "torch-fidelity": fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"],
        "torchmetrics": float(_compute_fid(*(torch.from_numpy(each) for pair in moments for each in pair))),
    }
    how = "The covariances are equal, the means differ by 0.5 in each of 256 features: 256 · 0.25."
    return Found(64.0, theirs, frechet_distance(*_shifted_set()), how)


def _shifted_set() -> tuple[np.ndarray, np.ndarray]:
    rows = np.random.default_rng(0).normal(size=(50, 256))
    return rows, rows + 0.5


def moments_of_a_shifted_set() -> list[tuple[np.ndarray, np.ndarray]]:
    """Mean and covariance of 50 rows and of the same rows 0.5 higher."""
    return [(part.mean(0), np.cov(part, rowvar=False)) for part in _shifted_set()]


def distance_of_a_reordered_set() -> Found:
    """torch-fidelity's Fréchet distance depends on the order of the images: its mean is summed in float32."""
    import torch
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    from genaudit.metrics.frechet import frechet_distance

    rng = np.random.default_rng(0)
    rows = (rng.random((100_000, 4)) + 100).astype(np.float32)
    sets = rows, rows[rng.permutation(len(rows))]
    statistics = [fid_features_to_statistics(torch.from_numpy(part)) for part in sets]
    theirs = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    return Found(0.0, {"torch-fidelity": theirs}, frechet_distance(*sets), "Both sets hold the same rows.")


def kernel_distance_of_large_features() -> Found:
    """torchmetrics' and torch-fidelity's kernel distance of float32 features: three terms that nearly cancel."""
    from fractions import Fraction

    import torch
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torchmetrics.image import KernelInceptionDistance

    from genaudit.metrics.kernel import kernel_distance

    class Given(torch.nn.Module):
        num_features = 4

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return rows

    rng = np.random.default_rng(0)
    generated, reference = (rng.integers(800, 900, (24, 4)) / 8 for _ in range(2))
    rows = [torch.from_numpy(part.astype(np.float32)) for part in (generated, reference)]
    metric = KernelInceptionDistance(feature=Given(), subsets=1, subset_size=24)
    metric.update(rows[0], real=False)
    metric.update(rows[1], real=True)
    fidelity = kid_features_to_metric(*rows, kid_subsets=1, kid_subset_size=24, verbose=False)

    def mean(first: np.ndarray, second: np.ndarray, same: bool) -> Fraction:
        kernels = [
            (Fraction(float(x @ y)) / 4 + 1) ** 3
            for i, x in enumerate(first)
            for j, y in enumerate(second)
            if not (same and i == j)
        ]
        return sum(kernels, Fraction(0)) / len(kernels)

    right = mean(generated, generated, True) + mean(reference, reference, True) - 2 * mean(generated, reference, False)
    return Found(
        float(right),
        {"torchmetrics": float(metric.compute()[0]), "torch-fidelity": fidelity["kernel_inception_distance_mean"]},
        kernel_distance(*rows),
        "Exact fractions of features that float32 holds.",
    )


def vendi_score_of_two_kinds_of_images() -> Found:
    """vendi-score of a small order counts eigenvalues that are rounding as kinds of images."""
    from vendi_score import vendi

    from genaudit.metrics.vendi import vendi_score

    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(2, 64))
    rows = np.repeat(kinds, 200, axis=0)
    cosine = float(kinds[0] @ kinds[1] / np.linalg.norm(kinds[0]) / np.linalg.norm(kinds[1]))
    p = np.array([1 + cosine, 1 - cosine]) / 2
    right = float(np.sum(p**0.1) ** (1 / 0.9))
    how = "Two kinds of images, 200 copies each: the kernel has two eigenvalues, (1 ± cosine)/2."
    return Found(right, {"vendi-score": float(vendi.score_dual(rows, q=0.1))}, vendi_score(rows, q=0.1), how)


def memorisation_of_a_few_copies() -> Found:
    """torchmetrics' MiFID averages over training images: copies of one training image do not look memorised."""
    import torch
    from torchmetrics.image.mifid import _compute_cosine_distance

    from genaudit.metrics.mifid import memorisation_distance

    rng = np.random.default_rng(0)
    train = rng.normal(size=(100, 16))
    generated = np.repeat(train[:1], 100, axis=0)
    theirs = float(_compute_cosine_distance(torch.from_numpy(train), torch.from_numpy(generated), 1.0))
    how = "Every generated image is a copy of a training image (Bai et al. 2021 average over generated images)."
    return Found(0.0, {"torchmetrics": theirs}, memorisation_distance(train, generated), how)


DEFECTS: tuple[Callable[[], Found], ...] = (
    distance_of_a_shifted_set,
    distance_of_a_reordered_set,
    precision_of_shifted_features,
    kernel_distance_of_large_features,
    vendi_score_of_two_kinds_of_images,
    memorisation_of_a_few_copies,
)
