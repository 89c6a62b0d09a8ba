"""Complexity: how much the features bend along a random straight path through image space (Hwang et al. 2024).

N images, C channels, H, W sides, D features, K path steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

Network = Callable[[torch.Tensor], torch.Tensor]

GPU_PATHS = 16  # paths that fill a GPU together
CPU_PATH_PIXELS = 160**2  # on a CPU, paths of small images share the cost of reading the network's weights


def complexity(
    model: Network,
    images: torch.Tensor,
    *,
    eps: float = 0.01,
    steps: int = 10,
    direction: torch.Tensor | str | None = None,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """The mean angle between consecutive feature differences along a random straight path, per image.

    Points `p_k = clip(x + eps·k·u, 0, 1)`, k = 0..K, differences `d_k = f(p_{k+1}) - f(p_k)`; the mean of the K - 1
    angles between `d_k` and `d_{k+1}` (Hwang et al. 2024, Eq. 1 to 3). The angle is 2·atan2(|a - b|, |a + b|) of unit
    vectors: the released code's arccos of a rounded cosine above 1 is NaN.

    Args:
        model: f, (N, C, H, W) in [0, 1] => (N, D); computes at the images' precision. Use float32 without TF32 or
            float64: at eps = 0.01 half precision leaves only rounding noise.
        images: (N, C, H, W), floating point, in [0, 1].
        eps: length of a step in L2 over C, H, W.
        steps: K >= 2.
        direction: u, (N, C, H, W), used as given (the paper's have unit L2 norm); or "gaussian" (default) or "uniform"
            on {-1, 0, 1}, drawn per image and scaled to unit norm.
        generator: for the draw.

    Returns:
        (N,) radians in [0, pi]; 0 for a linear f, about pi/2 or more for rounding noise; NaN where a difference is 0.
        Images of a good model have complexities distributed like those of real images.
    """
    if not isinstance(direction, torch.Tensor):
        direction = random_directions(images, direction or "gaussian", generator)
    points = _path_points(images, direction, eps, steps)
    with torch.no_grad():
        features = torch.stack([model(points[:, k]).flatten(1) for k in range(steps + 1)], dim=1)
    return path_angles(features)


def random_directions(images: torch.Tensor, kind: str, generator: torch.Generator | None = None) -> torch.Tensor:
    """Random directions like `images`, unit L2 norm over C, H, W: "gaussian", or "uniform" on {-1, 0, 1}."""
    device = generator.device if generator is not None else torch.device("cpu")
    if kind == "gaussian":
        drawn = torch.randn(images.shape, generator=generator, device=device, dtype=torch.float32)
    elif kind == "uniform":
        drawn = torch.randint(-1, 2, images.shape, generator=generator, device=device).float()
    else:
        raise ValueError(f'direction must be a tensor, "gaussian" or "uniform", not {kind!r}')
    drawn = drawn.to(images.device, images.dtype)
    return drawn / drawn.flatten(1).norm(dim=1).clamp_min(torch.finfo(images.dtype).tiny).view(-1, 1, 1, 1)


def angle(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The angle between vectors of a and b, (..., D) => (...) radians, exact near 0 and pi; NaN for a zero vector."""
    a = a / a.norm(dim=-1, keepdim=True)
    b = b / b.norm(dim=-1, keepdim=True)
    return 2 * torch.atan2((a - b).norm(dim=-1), (a + b).norm(dim=-1))


def _path_points(images: torch.Tensor, direction: torch.Tensor, eps: float, steps: int) -> torch.Tensor:
    """The K + 1 points of each image's path, (N, K + 1, C, H, W)."""
    if steps < 2:
        raise ValueError(f"steps must be at least 2 (an angle needs two differences), not {steps}")
    lengths = eps * torch.arange(steps + 1, device=images.device, dtype=images.dtype)
    return (images.unsqueeze(1) + lengths.view(1, -1, 1, 1, 1) * direction.unsqueeze(1)).clamp_(0, 1)


def path_features(
    network: Network,
    images: torch.Tensor,
    direction: torch.Tensor,
    eps: float,
    steps: int,
    *,
    together: int | None = None,
) -> torch.Tensor:
    """Features along each image's path, (N, K + 1, D), `together` paths at a time (None: what suits the device).

    A group of paths is one batch, of a size that depends on the image's side alone and filled up with the last path,
    whatever batch the images came in: an angle is a ratio of small differences, in which the last bits that change
    with the shape of a batch would show. It is a power of two, so that the usual batches need no filling.
    """
    usual = GPU_PATHS if images.is_cuda else _paths_together(images.shape[-1] * images.shape[-2])
    group = together or usual
    features = []
    with torch.no_grad():
        for first in range(0, len(images), group):
            points = _path_points(images[first : first + group], direction[first : first + group], eps, steps)
            lacking = group - len(points)
            filled = torch.cat([points, points[-1:].expand(lacking, *points.shape[1:])]) if lacking else points
            batch = filled.flatten(0, 1).contiguous(memory_format=layout_of(images))
            features.append(network(batch).flatten(1).unflatten(0, filled.shape[:2])[: len(points)])
    return torch.cat(features)


def _paths_together(pixels: int) -> int:
    """The smallest power of two of paths on a CPU with at least CPU_PATH_PIXELS at a step."""
    return 1 << max(0, math.ceil(math.log2(CPU_PATH_PIXELS / pixels)))


def layout_of(images: torch.Tensor) -> torch.memory_format:
    """The memory layout of a batch; where both hold (one image of one channel) channels-last."""
    if images.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def path_angles(features: torch.Tensor, lag: int = 1) -> torch.Tensor:
    """The mean angle between differences `lag` steps apart, (N, K + 1, D) => (N,); NaN where there is no pair.

    On a smooth path the lag-2 angle is larger than the lag-1 angle. If the features were a constant plus independent
    rounding, lag-1 would tend to 2·pi/3 and lag-2 to pi/2: lag-2 below lag-1 flags noise.
    """
    # differences of nearly equal numbers: float64 keeps every bit that the network gave
    differences = features.double().diff(dim=1)
    return angle(differences[:, :-lag], differences[:, lag:]).mean(1).to(features.dtype)
