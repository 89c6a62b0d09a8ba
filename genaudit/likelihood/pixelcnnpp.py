"""PixelCNN++: an autoregressive density of 8-bit images.

Salimans et al. 2017, with 120 instead of 160 filters (Schirrmeister et al. 2020, S1.2). Two streams of gated residual
blocks run over the image: one sees the rows above, the other also the pixels to the left in the same row. They go
down through three resolutions and up again, with a shortcut from each block on the way down to its partner on the
way up; the output is a discretised mixture of logistics for every pixel.

Its probability P is of whole pixel values. To be a density on the axis that all models here share, it is spread over
each pixel's cell: log p(x) = log P(pixels of x) + D ln 256. Bits per dimension are then -log2 P / D as usual, and
noise within a cell changes nothing.

N images, C channels, H height, W width, F filters, D = C·H·W.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from genaudit.likelihood.logistic_mixture import draw, log_mass, parameter_count
from genaudit.stats.bounds import Bounds, Channels, Count, Side

Window = tuple[int, int, int, int, int]
# (kernel height, kernel width, padding left, right, top) of the two streams: what an output may see.
ABOVE = (2, 3, 1, 1, 1)  # its own row and the one above: the stream is shifted down once at the entrance
LEFT = (2, 2, 1, 0, 1)  # left and above


def concat_elu(x: Tensor) -> Tensor:
    """elu of x and of -x, stacked: (N, F, H, W) to (N, 2F, H, W)."""
    return F.elu(torch.cat([x, -x], dim=1))


class CausalConv(nn.Module):
    """Weight-normalised convolution that sees only rows above (and its own) or pixels to the left and above."""

    def __init__(self, channels_in: int, channels_out: int, window: Window, stride: int = 1) -> None:
        super().__init__()
        height, width, left, right, top = window
        self.padding = (left, right, top, 0)
        self.conv = weight_norm(nn.Conv2d(channels_in, channels_out, (height, width), stride))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(F.pad(x, self.padding))
        return y


class CausalUpsampling(nn.Module):
    """Transposed convolution to twice the size with the same order of seeing."""

    def __init__(self, filters: int, window: Window) -> None:
        super().__init__()
        height, width, _, right, _ = window
        self.cut = right
        self.conv = weight_norm(nn.ConvTranspose2d(filters, filters, (height, width), 2, output_padding=1))

    def forward(self, x: Tensor) -> Tensor:
        height, width = 2 * x.shape[2], 2 * x.shape[3]
        y: Tensor = self.conv(x)
        return y[:, :, :height, self.cut : self.cut + width]


class GatedBlock(nn.Module):
    """x + a·sigmoid(b), (a, b) from two convolutions of x and, between them, of a shortcut."""

    def __init__(self, filters: int, window: Window, shortcut: int, dropout: float) -> None:
        """Args: filters: F. window: what it may see. shortcut: channels of the second input, 0 for none."""
        super().__init__()
        self.first = CausalConv(2 * filters, filters, window)
        self.shortcut = weight_norm(nn.Conv2d(2 * shortcut, filters, 1)) if shortcut else None
        self.dropout = nn.Dropout2d(dropout) if dropout else nn.Identity()
        self.second = CausalConv(2 * filters, 2 * filters, window)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        h = self.first(concat_elu(x))
        if self.shortcut is not None and other is not None:
            h = h + self.shortcut(concat_elu(other))
        a, b = self.second(self.dropout(concat_elu(h))).chunk(2, dim=1)
        return x + a * torch.sigmoid(b)


class Pair(nn.Module):
    """One layer of both streams: the left stream reads the stream above as a shortcut."""

    def __init__(self, filters: int, dropout: float, *, upwards: bool) -> None:
        super().__init__()
        self.above = GatedBlock(filters, ABOVE, filters if upwards else 0, dropout)
        self.left = GatedBlock(filters, LEFT, 2 * filters if upwards else filters, dropout)

    def forward(
        self, above: Tensor, left: Tensor, partner: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        if partner is None:
            above = self.above(above)
            return above, self.left(left, above)
        above = self.above(above, partner[0])
        return above, self.left(left, torch.cat([above, partner[1]], dim=1))


class Resize(nn.Module):
    """Half or double size for both streams."""

    def __init__(self, filters: int, *, upwards: bool) -> None:
        super().__init__()
        if upwards:
            self.above: nn.Module = CausalUpsampling(filters, ABOVE)
            self.left: nn.Module = CausalUpsampling(filters, LEFT)
        else:
            self.above = CausalConv(filters, filters, ABOVE, stride=2)
            self.left = CausalConv(filters, filters, LEFT, stride=2)

    def forward(self, above: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        return self.above(above), self.left(left)


def _move(x: Tensor, *, down: int = 0, right: int = 0) -> Tensor:
    """The image moved down or to the right, zeros moving in."""
    height, width = x.shape[2:]
    return F.pad(x, (right, 0, down, 0))[:, :, :height, :width]


class PixelCNNpp(nn.Module):
    """PixelCNN++ with 1 or 3 channels."""

    def __init__(
        self,
        channels: Channels = 3,
        size: Side = 32,
        *,
        filters: Count = 120,
        blocks: Count = 5,
        resolutions: Count = 3,
        components: Count = 10,
        dropout: Annotated[float, Bounds(0, 1, below=True)] = 0.5,
        bins: int = 256,
    ) -> None:
        """
        Args:
            channels: 1 or 3.
            size: side of the images; rounded up to a multiple of 2^(resolutions - 1).
            filters: F, the paper's 120.
            blocks: residual blocks a resolution on the way down (one more on the way up for all but the first).
            resolutions: number of resolutions.
            components: logistics in the mixture.
            dropout: rate inside the blocks while training; whole feature maps are dropped.
            bins: number of pixel values.
        """
        super().__init__()
        factor = 2 ** (resolutions - 1)
        side = -(-size // factor) * factor
        self.image_shape = (channels, side, side)
        self.bins = bins
        self.components = components
        seen = channels + 1  # one more that is 1 inside the image, so that its border can be told
        self.enter_above = CausalConv(seen, filters, ABOVE)
        self.enter_row_above = CausalConv(seen, filters, (1, 3, 1, 1, 0))
        self.enter_left = CausalConv(seen, filters, (2, 1, 0, 0, 1))
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for i in range(resolutions):
            if i:
                self.down.append(Resize(filters, upwards=False))
            self.down.extend(Pair(filters, dropout, upwards=False) for _ in range(blocks))
        for i in reversed(range(resolutions)):
            self.up.extend(Pair(filters, dropout, upwards=True) for _ in range(blocks + (i < resolutions - 1)))
            if i:
                self.up.append(Resize(filters, upwards=True))
        self.out = weight_norm(nn.Conv2d(filters, parameter_count(channels, components), 1))
        self.register_buffer("initialised", torch.tensor(True))

    def parameters_of(self, scaled: Tensor) -> Tensor:
        """Mixture parameters (N, ., H, W) for pixels in [-1, 1]; each place has seen only those before it."""
        x = torch.cat([scaled, torch.ones_like(scaled[:, :1])], dim=1)
        above = _move(self.enter_above(x), down=1)
        left = _move(self.enter_row_above(x), down=1) + _move(self.enter_left(x), right=1)
        passed = [(above, left)]
        for layer in self.down:
            above, left = layer(above, left)
            passed.append((above, left))
        above, left = passed.pop()
        for layer in self.up:
            above, left = layer(above, left) if isinstance(layer, Resize) else layer(above, left, passed.pop())
        parameters: Tensor = self.out(F.elu(left))
        return parameters.to(scaled.dtype)  # under autocast the network alone is rounded, not the mixture

    def _scaled(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != self.image_shape:
            raise ValueError(f"images must be (N, {', '.join(map(str, self.image_shape))}), not {tuple(x.shape)}")
        step = ((x + 0.5) * self.bins).floor().clamp(0, self.bins - 1)
        return 2 * step / (self.bins - 1) - 1

    def log_prob(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """log p(x) on the shared axis, (N,) nats; higher is likelier.

        Args:
            x: (N, C, H, W) on the axis of `dequantisation`; read as the pixel values in whose cells they lie.
            labels: not used; there is no class-conditional PixelCNN++ here.
        """
        scaled = self._scaled(x)
        log_probability = log_mass(self.parameters_of(scaled), scaled, self.bins).sum(dim=(1, 2))
        return log_probability + math.prod(self.image_shape) * math.log(self.bins)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.log_prob(x)

    def contributions(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """(N, 1): an autoregressive model has no scales to split its likelihood by."""
        return self.log_prob(x)[:, None]

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Nothing here depends on data."""

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n images (n, C, H, W) on the shared axis, at the middle of their cells.

        Pixel by pixel, H·W passes through the rows above and the current one: minutes for 32x32 on a CPU.
        """
        was_training = self.training
        self.eval()
        channels, height, width = self.image_shape
        multiple = 2 ** sum(isinstance(layer, Resize) for layer in self.down)
        device = self.enter_left.conv.weight.device
        pixels = torch.zeros(n, channels, height, width, device=device)
        for i in range(height):
            rows = -(-(i + 1) // multiple) * multiple  # no output depends on rows below it
            for j in range(width):
                parameters = self.parameters_of(2 * pixels[:, :, :rows] / (self.bins - 1) - 1)
                place = parameters[:, :, i : i + 1, j : j + 1]
                pixels[:, :, i, j] = draw(place, channels, generator, self.bins)[:, :, 0, 0].float()
        self.train(was_training)
        return (pixels + 0.5) / self.bins - 0.5
