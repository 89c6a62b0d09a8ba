"""The gradient-normalising policy: how much the reconstruction weighs against the adversarial loss.

Tuluptceva et al. 2019, "Perceptual Image Anomaly Detection", section 3.3, Algorithms 2 and 3. The history of a loss
holds, per layer, the size of the loss's gradient in that layer at each update; the weight gamma of the
reconstruction makes both gradients contribute alike.
L layers, T updates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from genaudit.stats.bounds import positive_int

Variant = Literal["paper", "released"]


def exponential_smoothing(values: Any, alpha: float = 0.05) -> np.ndarray:
    """s_0 = v_0, s_t = (1 - alpha)·s_{t-1} + alpha·v_t, along the last axis.

    The paper gives neither formula nor alpha; both are those of the authors' code.

    Args:
        values: (..., T), T >= 1.
        alpha: in (0, 1]; 1 leaves the values as they are.

    Returns:
        float64, the shape of `values`.

    Raises:
        ValueError: no values, or alpha outside (0, 1].
    """
    smoothed = np.array(values, dtype=np.float64)
    if smoothed.ndim == 0 or smoothed.size == 0:
        raise ValueError("there must be at least one value to smooth")
    if not 0 < alpha <= 1:
        raise ValueError(f"alpha must be in (0, 1], not {alpha}")
    for t in range(1, smoothed.shape[-1]):
        smoothed[..., t] = smoothed[..., t - 1] + alpha * (smoothed[..., t] - smoothed[..., t - 1])
    return smoothed


def balance_weight(
    history_adversarial: Mapping[str, Sequence[float]] | Any,
    history_reconstruction: Mapping[str, Sequence[float]] | Any,
    *,
    last: int = 200,
    alpha: float = 0.05,
    variant: Variant = "paper",
) -> float:
    """gamma, the weight of the reconstruction loss: smoothed |∇ adversarial| / smoothed |∇ reconstruction|.

    Algorithm 3: per layer the mean ratio over the last `last` smoothed entries, then the mean over layers.
    `variant="released"` does what the authors' code does: it cuts to the last entries before smoothing, so that the
    smoothing restarts at the oldest kept one, and takes the median of all ratios of all layers.

    Args:
        history_adversarial, history_reconstruction: the gradients' sizes, `history[layer]` a sequence over the T
            updates: a mapping from layer names, or an array (L, T); one layer may be given as (T,).
        last: how many entries count (the paper's N, which it doesn't give; 200 in the authors' code).
        alpha: of the smoothing.

    Returns:
        gamma, 0 and up. A ratio whose denominator is 0 (a layer that the reconstruction doesn't reach) is left out.

    Raises:
        ValueError: histories of different layers or lengths, empty, negative or not finite; nothing to divide by.
    """
    positive_int("last", last)
    adversarial, reconstruction = _table(history_adversarial), _table(history_reconstruction)
    if isinstance(history_adversarial, Mapping) and isinstance(history_reconstruction, Mapping):
        if history_adversarial.keys() != history_reconstruction.keys():
            raise ValueError("both histories must hold the same layers")
        reconstruction = _table({layer: history_reconstruction[layer] for layer in history_adversarial})
    if adversarial.shape != reconstruction.shape:
        raise ValueError(f"histories differ in shape (L, T): {adversarial.shape} and {reconstruction.shape}")
    if variant == "released":
        adversarial, reconstruction = adversarial[:, -last:], reconstruction[:, -last:]
    above = exponential_smoothing(adversarial, alpha)[:, -last:]
    below = exponential_smoothing(reconstruction, alpha)[:, -last:]
    if not (below > 0).any():
        raise ValueError("the reconstruction loss has no gradient in any layer, so nothing can be balanced")
    ratios = np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
    if variant == "released":
        return float(np.nanmedian(ratios))
    ratios = ratios[(below > 0).any(axis=1)]
    return float(np.nanmean(ratios, axis=1).mean())


def gradient_sizes(gradients: Iterable[Any], norm: Literal["std", "l2"] = "std") -> list[float]:
    """The size of each layer's gradient, an entry of the history (Algorithm 2).

    Args:
        gradients: one tensor per layer.
        norm: `l2`, ||g||_2, as Algorithm 2 and the authors' code have it, or `std`, the population standard
            deviation, which the supplement says was used. For one layer they differ by a factor that doesn't
            depend on the loss, as long as the gradient's mean is small, and so hardly in gamma.

    Returns:
        L numbers, 0 and up.
    """
    import torch

    if norm not in ("std", "l2"):
        raise ValueError(f"norm must be std or l2, not {norm!r}")
    # numel - 1 degrees of freedom would make a weight of one element NaN
    sizes = [g.std(correction=0) if norm == "std" else torch.linalg.vector_norm(g) for g in gradients]
    numbers: list[float] = torch.stack(sizes).tolist()  # one transfer from the device for all layers
    return numbers


def _table(history: Mapping[str, Sequence[float]] | Any) -> np.ndarray:
    """A history as float64 (L, T)."""
    rows = list(history.values()) if isinstance(history, Mapping) else history
    try:
        table = np.atleast_2d(np.asarray(rows, dtype=np.float64))
    except ValueError as error:
        raise ValueError("every layer's history must be equally long") from error
    if table.ndim != 2 or table.size == 0:
        raise ValueError("a history must hold at least one layer and one update")
    if not np.isfinite(table).all() or (table < 0).any():
        raise ValueError("sizes of gradients must be finite and not negative")
    return table
