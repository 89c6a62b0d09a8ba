"""The invertible layers of Glow: actnorm, 1x1 convolution, affine coupling, and the prior of a scale.

Kingma and Dhariwal 2018, "Glow", as used by Schirrmeister et al. 2020 (supplement S1.1, S1.3, S2.2). Each layer has
`forward(x) -> (y, log_det)` with log_det the log-determinant of its Jacobian per image, `inverse(y) -> x`, and
`initialise(x)`, which sets what depends on data. An actnorm is folded into the convolution that follows or precedes
it: the same function in fewer passes over the activations.

Under autocast (mixed precision) the coupling networks alone run in bfloat16: what passes through the flow, its linear
maps and its log-determinants stay as they are, since eight bits of a value would lose the noise within a pixel.

N images, C channels, H height, W width. A fully connected layer sees C = D dimensions with H = W = 1.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Coupling = Literal["sigmoid", "tanh"]

TANH_BOUND = 2.5  # |log-scale| of the tanh coupling stays below this
SMALLEST_STD = 1 / 256  # one pixel value: constant input must not set the scale to infinity
ZERO_SCALE = 3.0  # the factor in exp(3·s) of Glow's zero-initialised convolutions


def unrounded(x: Tensor) -> AbstractContextManager[object]:
    """Inside, autocast rounds nothing on the tensor's device."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


class ActNorm(nn.Module):
    """Shift and scale per channel, y = (x + shift)·exp(log_scale), kept by the convolution that it is folded into."""

    def __init__(self, channels: int, *, pooled: bool = False) -> None:
        """Args: channels: C. pooled: initialise every channel with the statistics of all of them together."""
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.pooled = pooled

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Zero mean and unit variance for `x` (N, C, H, W).

        A fully connected flow has one channel per dimension, and some (the border of a padded digit) are constant.
        Their own statistics would give scales of hundreds, and photographs thousands of bits; so it pools.
        """
        dims = (0, 1, 2, 3) if self.pooled else (0, 2, 3)
        std, mean = torch.std_mean(x, dim=dims, correction=0)
        self.shift.copy_((-mean).expand_as(self.shift))
        self.log_scale.copy_((-std.clamp_min(SMALLEST_STD).log()).expand_as(self.log_scale))


class InvertibleLinear(nn.Module):
    """Actnorm, then a learned invertible 1x1 convolution W = P·L·(U + diag(sign·exp(log_s))).

    log-det = H·W·(sum of actnorm's log-scales + sum log_s): exact, without a decomposition in each step.
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ActNorm(channels)
        start = torch.linalg.qr(torch.randn(channels, channels, dtype=torch.float64))[0]
        permutation, lower, upper = torch.linalg.lu(start)
        diagonal = upper.diagonal()
        self.register_buffer("permutation", permutation.float())
        self.register_buffer("sign", diagonal.sign().float())
        self.log_s = nn.Parameter(diagonal.abs().log().float())
        self.lower = nn.Parameter(lower.tril(-1).float())
        self.upper = nn.Parameter(upper.triu(1).float())

    def weight(self) -> Tensor:
        """W (C, C), without actnorm."""
        lower, upper = self._factors()
        return self.permutation @ (lower @ upper)

    def _factors(self) -> tuple[Tensor, Tensor]:
        one = torch.eye(len(self.log_s), dtype=self.lower.dtype, device=self.lower.device)
        return self.lower.tril(-1) + one, self.upper.triu(1) + torch.diag(self.sign * self.log_s.exp())

    def initialise(self, x: Tensor) -> None:
        self.norm.initialise(x)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # W·((x + b)·s) = (W·diag(s))·x + (W·diag(s))·b
        with unrounded(x):
            weight = self.weight() * self.norm.log_scale.exp()
            y = F.conv2d(x, weight[:, :, None, None], weight @ self.norm.shift)
        return y, (self.norm.log_scale.sum() + self.log_s.sum()) * (x.shape[2] * x.shape[3])

    def inverse(self, y: Tensor) -> Tensor:
        n, _, height, width = y.shape
        lower, upper = self._factors()
        flat = self.permutation.T @ y.permute(1, 0, 2, 3).flatten(1)
        flat = torch.linalg.solve_triangular(lower, flat, upper=False, unitriangular=True)
        flat = torch.linalg.solve_triangular(upper, flat, upper=True)
        flat = flat * (-self.norm.log_scale).exp()[:, None] - self.norm.shift[:, None]
        return flat.unflatten(1, (n, height, width)).permute(1, 0, 2, 3)


class FixedRotation(nn.Module):
    """Actnorm per dimension, then a random rotation that is not trained (S2.2); log-det is actnorm's alone."""

    rotation: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ActNorm(channels, pooled=True)
        self.register_buffer("rotation", torch.linalg.qr(torch.randn(channels, channels))[0].contiguous())

    def initialise(self, x: Tensor) -> None:
        self.norm.initialise(x)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scaled = (x.flatten(1) + self.norm.shift) * self.norm.log_scale.exp()
        with unrounded(x):
            return (scaled @ self.rotation.T).view_as(x), self.norm.log_scale.sum()

    def inverse(self, y: Tensor) -> Tensor:
        x = y.flatten(1) @ self.rotation
        return (x * (-self.norm.log_scale).exp() - self.norm.shift).view_as(y)


class NormedConv(nn.Module):
    """Convolution followed by an actnorm, in one pass: (w*x + b)·s = (w·s)*x + b·s."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels_out, channels_in, kernel, kernel) * 0.05)
        self.norm = ActNorm(channels_out)
        self.padding = kernel // 2

    def initialise(self, x: Tensor) -> None:
        self.norm.initialise(F.conv2d(x, self.weight, padding=self.padding))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.norm.log_scale.exp()
        return F.conv2d(x, self.weight * scale[:, None, None, None], self.norm.shift * scale, padding=self.padding)


class ZeroConv(nn.Module):
    """The coupling network's last convolution: starts at zero, so that every coupling starts as a mere scaling."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels_out, channels_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(channels_out))
        self.log_scale = nn.Parameter(torch.zeros(channels_out))
        self.padding = kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        scale = (ZERO_SCALE * self.log_scale).exp()
        return F.conv2d(x, self.weight * scale[:, None, None, None], self.bias * scale, padding=self.padding)


class AffineCoupling(nn.Module):
    """One half passes and moves the other: y_b = (x_b + t)·exp(g), with (t, g) a function of x_a.

    "sigmoid" is the authors' scale sigmoid(r + 2); "tanh" is exp(2.5·tanh(r/2.5)), which may also enlarge and trains
    faster. log-det = sum of g.
    """

    def __init__(self, channels: int, hidden: int, *, kernels: tuple[int, ...], scale: Coupling) -> None:
        """
        Args:
            channels: C; the first half (rounded up) passes unchanged.
            hidden: filters of the coupling network.
            kernels: kernel sizes of its convolutions, the last one zero-initialised: (3, 1, 3) for Glow.
            scale: "sigmoid" or "tanh".
        """
        super().__init__()
        if scale not in ("sigmoid", "tanh"):
            raise ValueError(f"coupling must be 'sigmoid' or 'tanh', not {scale!r}")
        self.passing = (channels + 1) // 2
        self.scale = scale
        widths = [self.passing] + [hidden] * (len(kernels) - 1)
        self.hidden = nn.ModuleList(NormedConv(widths[i], widths[i + 1], kernels[i]) for i in range(len(kernels) - 1))
        self.last = ZeroConv(widths[-1], 2 * (channels - self.passing), kernels[-1])

    def _coefficients(self, passing: Tensor) -> tuple[Tensor, Tensor]:
        h = passing
        for conv in self.hidden:
            h = F.relu_(conv(h))
        shift, r = self.last(h).to(passing.dtype).chunk(2, dim=1)
        if self.scale == "sigmoid":
            return shift, F.logsigmoid(r + 2)
        return shift, TANH_BOUND * torch.tanh(r / TANH_BOUND)

    def initialise(self, x: Tensor) -> None:
        h = x[:, : self.passing]
        for conv in self.hidden:
            assert isinstance(conv, NormedConv)
            conv.initialise(h)
            h = F.relu_(conv(h))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        passing, moved = x[:, : self.passing], x[:, self.passing :]
        shift, log_scale = self._coefficients(passing)
        return torch.cat([passing, (moved + shift) * log_scale.exp()], dim=1), log_scale.sum(dim=(1, 2, 3))

    def inverse(self, y: Tensor) -> Tensor:
        passing, moved = y[:, : self.passing], y[:, self.passing :]
        shift, log_scale = self._coefficients(passing)
        return torch.cat([passing, moved * (-log_scale).exp() - shift], dim=1)


class Prior(nn.Module):
    """Actnorm per dimension, then the standard normal: log N((h + shift)·exp(log_scale); 0, I) + sum log_scale.

    Each of `classes` has its own shift and scale; without labels the density is their mixture with equal weights.
    It starts at the identity, not at the statistics of a batch: the last actnorms are near unit variance already,
    and a dimension that is constant in the first batch would get a scale of hundreds (1,600 bits per dimension on
    photographs). h has shape (N, C, H, W).
    """

    def __init__(self, shape: tuple[int, int, int], classes: int = 1) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(classes, *shape))
        self.log_scale = nn.Parameter(torch.zeros(classes, *shape))

    def log_prob(self, h: Tensor, labels: Tensor | None = None) -> Tensor:
        """(N,) nats; with `labels` (N,) of each image's class, else of the mixture."""
        classes = len(self.shift)
        if labels is not None or classes == 1:
            return self._of_class(h, labels)
        every = [self._of_class(h, torch.tensor([k], device=h.device)) for k in range(classes)]
        return torch.logsumexp(torch.stack(every), dim=0) - math.log(classes)

    def _of_class(self, h: Tensor, labels: Tensor | None) -> Tensor:
        shift, log_scale = self._affine(labels)
        z = (h + shift) * log_scale.exp()
        normaliser = log_scale.flatten(1).sum(1) - 0.5 * math.log(2 * math.pi) * h[0].numel()
        return normaliser - 0.5 * z.square().sum(dim=(1, 2, 3))

    def _affine(self, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        if len(self.shift) == 1:
            return self.shift, self.log_scale
        if labels is None:
            raise ValueError("a class-conditional model needs labels here")
        return self.shift[labels], self.log_scale[labels]

    def normalise(self, h: Tensor, labels: Tensor | None = None) -> Tensor:
        """z (N, C, H, W), standard normal under the model."""
        shift, log_scale = self._affine(labels)
        return (h + shift) * log_scale.exp()

    def denormalise(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        shift, log_scale = self._affine(labels)
        return z * (-log_scale).exp() - shift
