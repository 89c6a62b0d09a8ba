"""The shallow baselines that PIAD is compared with: PCA, one-class SVM, kernel density, nearest neighbour.

Each takes vectors of normal images to train on and of images to score, and gives (M,) scores, higher more anomalous.
Their knobs are fixed beforehand or follow from the training images alone; no test image chooses anything.
`reduced` is what Ruff et al. 2018 ("Deep one-class classification", section 4.1) do before OC-SVM and KDE: PCA that
keeps 95 % of the variance. They pick the SVM's kernel width on test images, which is not done here.
N training images, M images to score, D pixels, K components.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from genaudit.stats.process_state import one_core

BANDWIDTHS = tuple(2 ** (0.5 * k) for k in range(1, 11))  # 2^0.5, 2^1, ..., 2^5, as in Ruff et al. 2018
KEPT_VARIANCE = 0.95
FOLDED = 1000  # training images that choose the bandwidth; density estimation costs their number squared


def pca_reconstructions(train: Any, images: Any, components: int) -> np.ndarray:
    """Projections of the images on the mean and the K first principal components of the training images.

    Args:
        train: (N, ...) normal images, any scale.
        images: (M, ...) images of the same shape.
        components: K, at most N and D; 0 gives the mean image, M times.

    Returns:
        float32 in the shape of `images`, not clipped.

    Raises:
        ValueError: the shapes differ, or too many components.
    """
    a, b = _rows(train, images)
    if components == 0:
        flat = np.repeat(a.mean(0, keepdims=True), len(b), axis=0)
    else:
        pca = _pca(a, components)
        flat = pca.inverse_transform(pca.transform(b))
    return flat.astype(np.float32).reshape(np.shape(images))


def reduced(train: Any, images: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both as their coordinates along the principal components that keep 95 % of the training variance, not whitened.

    Returns:
        (N, K) and (M, K) float64.
    """
    a, b = _rows(train, images)
    pca = _pca(a)
    kept = int(np.searchsorted(np.cumsum(pca.explained_variance_ratio_), KEPT_VARIANCE)) + 1
    return pca.transform(a)[:, :kept], pca.transform(b)[:, :kept]


def _pca(rows: np.ndarray, components: int | None = None) -> Any:
    """scikit-learn's PCA of (N, D), by the smaller of both problems."""
    from sklearn.decomposition import PCA

    with one_core():
        return PCA(components, svd_solver="covariance_eigh" if len(rows) >= rows.shape[1] else "full").fit(rows)


def ocsvm_scores(train: Any, images: Any, *, nu: float = 0.1) -> np.ndarray:
    """How far outside a one-class SVM with a Gaussian kernel each image lies (Schölkopf et al. 2001).

    scikit-learn's `OneClassSVM`; gamma = 1 / (D · variance of the training values), its "scale" rule.

    Args:
        train, images: (N, D) and (M, D), such as `reduced` gives.
        nu: the share of training images that may lie outside; 0.1 is the larger of Ruff et al.'s two.

    Returns:
        (M,), above 0 outside, below 0 inside.
    """
    from sklearn.svm import OneClassSVM

    a, b = _rows(train, images)
    scores: np.ndarray = -OneClassSVM(kernel="rbf", gamma="scale", nu=nu).fit(a).decision_function(b)
    return scores


def kde_bandwidth(train: Any, *, seed: int = 0) -> float:
    """The bandwidth of `BANDWIDTHS` with the highest likelihood of left-out training images, in five folds.

    Chosen on at most 1,000 random training images.
    """
    from sklearn.model_selection import GridSearchCV, KFold
    from sklearn.neighbors import KernelDensity

    a, _ = _rows(train, train)
    if len(a) > FOLDED:
        a = a[np.random.default_rng(seed).choice(len(a), FOLDED, replace=False)]
    folds = KFold(5, shuffle=True, random_state=seed)
    search = GridSearchCV(KernelDensity(), {"bandwidth": list(BANDWIDTHS)}, cv=folds, refit=False).fit(a)
    return float(search.best_params_["bandwidth"])


def kde_scores(train: Any, images: Any, *, bandwidth: float) -> np.ndarray:
    """Negative log density of a Gaussian kernel density estimate, scikit-learn's `KernelDensity` (Parzen 1962).

    Args:
        train, images: (N, D) and (M, D), such as `reduced` gives.
        bandwidth: of the kernel, in units of the values, such as `kde_bandwidth` gives.

    Returns:
        (M,) in nats.
    """
    from sklearn.neighbors import KernelDensity

    a, b = _rows(train, images)
    scores: np.ndarray = -KernelDensity(bandwidth=bandwidth).fit(a).score_samples(b)
    return scores


def nearest_neighbour_scores(train: Any, images: Any) -> np.ndarray:
    """Euclidean distance of each image to its nearest training image, (M,)."""
    from sklearn.neighbors import NearestNeighbors

    a, b = _rows(train, images)
    distances, _ = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(a).kneighbors(b)
    scores: np.ndarray = distances[:, 0]
    return scores


def _rows(train: Any, images: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 (N, D) and (M, D)."""
    a, b = np.asarray(train), np.asarray(images)
    if len(a) == 0 or len(b) == 0 or a.shape[1:] != b.shape[1:] or a.ndim < 2:
        raise ValueError(f"there must be images of one shape on both sides, not {a.shape} and {b.shape}")
    return a.reshape(len(a), -1).astype(np.float64), b.reshape(len(b), -1).astype(np.float64)
