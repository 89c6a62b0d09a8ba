"""The four networks of PIAD: generator, encoder, image critic and latent critic, by name or for any size.

Tuluptceva et al. 2019, "Perceptual Image Anomaly Detection", supplement, Tables 1 to 4. No network normalises
anything; every convolution and dense layer has a bias; images lie in [-1, 1] and the generator's last layer is a
1x1 convolution without tanh. Where the tables don't say it (pool before the convolutions, initialisation) the
authors' 2020 code decides; where table and code differ (widths, Pre-act tail, minibatch deviation) the table does.
N images, C channels, S side of the image, Z latent channels, B side of the smallest feature map.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genaudit.sharing import batch_is_shared, moments_over_ranks
from genaudit.stats.bounds import positive_int
from genaudit.stats.process_state import seeded

SLOPE = 0.2  # of every leaky ReLU


@dataclass(frozen=True)
class Architecture:
    """Widths of the four networks; the number of levels and the size of the images follow from them.

    For another size or width take `ARCHITECTURES["mnist"].sized(128)` or `.widened(0.5)`, or write one down:
    `Architecture(latent=64, generator=(64, 64, 32), encoder=(32, 64, 64), critic=(32, 32, 32), latent_critic=128)`
    reads images of 4·2^2 = 16 pixels; `build` takes it in place of a name.

    Attributes:
        latent: channels Z of a latent.
        generator: width of the first convolution, then of the block after each doubling.
        encoder: width of the first convolution, then of the block after each halving.
        critic: the same for the image critic.
        latent_critic: units of each of the latent critic's two hidden layers.
        base: side B of the smallest feature map; images have side S = B·2^levels.
        spatial: True for a latent (Z, B, B) (Table 3), False for (Z, 1, 1).
    """

    latent: int
    generator: tuple[int, ...]
    encoder: tuple[int, ...]
    critic: tuple[int, ...]
    latent_critic: int
    base: int = 4
    spatial: bool = False

    def __post_init__(self) -> None:
        if not len(self.generator) == len(self.encoder) == len(self.critic) >= 2:
            raise ValueError("generator, encoder and critic need equally many widths, two or more")
        for name in ("latent", "latent_critic", "base"):
            positive_int(name, getattr(self, name))
        for name in ("generator", "encoder", "critic"):  # YAML and JSON give lists
            widths = tuple(positive_int(f"a width of {name}", width) for width in getattr(self, name))
            object.__setattr__(self, name, widths)

    @property
    def size(self) -> int:
        """Side S of the images in pixels."""
        return self.base * 2 ** (len(self.generator) - 1)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Shape of one latent, (Z, 1, 1) or (Z, B, B)."""
        side = self.base if self.spatial else 1
        return (self.latent, side, side)

    def sized(self, size: int) -> Architecture:
        """The same widths for images of another side: levels are added, or taken away, at the full resolution.

        Raises:
            ValueError: `size` is not B·2^levels with B from 4 to 7 and at least one level.
        """
        levels, base = 0, size
        while base >= 8 and base % 2 == 0:
            levels, base = levels + 1, base // 2
        if levels < 1 or not 4 <= base <= 7:
            near = min((b << n for b in (4, 5, 6, 7) for n in range(1, 12)), key=lambda s: abs(s - size))
            raise ValueError(f"PIAD reads images of side 4, 5, 6 or 7 times a power of two, not {size}; try {near}")

        def fit(widths: tuple[int, ...], *, image_end_first: bool) -> tuple[int, ...]:
            ordered = widths if image_end_first else widths[::-1]
            ordered = (ordered[0],) * (levels + 1 - len(ordered)) + ordered[max(len(ordered) - levels - 1, 0) :]
            return ordered if image_end_first else ordered[::-1]

        return replace(
            self,
            base=base,
            generator=fit(self.generator, image_end_first=False),
            encoder=fit(self.encoder, image_end_first=True),
            critic=fit(self.critic, image_end_first=True),
        )

    def widened(self, factor: float) -> Architecture:
        """The same levels with every width (not the latent) times `factor`, rounded, at least 1."""

        def scale(width: int) -> int:
            return max(1, round(width * factor))

        return replace(
            self,
            generator=tuple(map(scale, self.generator)),
            encoder=tuple(map(scale, self.encoder)),
            critic=tuple(map(scale, self.critic)),
            latent_critic=scale(self.latent_critic),
        )


# Supplement, Tables 1 to 4. The latent critics of Tables 2 and 4 are printed with 32 inputs, left over from Table 1:
# the latent there has 256 and 64 channels.
ARCHITECTURES = {
    "mnist": Architecture(32, (32, 32, 32, 32), (32, 32, 32, 32), (32, 32, 32, 32), 128),
    "cifar10": Architecture(256, (256, 256, 128, 64), (64, 64, 128, 256), (32, 32, 64, 128), 1024),
    "lsun": Architecture(32, (64,) * 5, (64,) * 5, (64,) * 5, 2048, spatial=True),
    "celeba": Architecture(64, (64,) * 5, (64,) * 5, (64,) * 5, 256),
}


def architecture(name: str, *, size: int | None = None, width: float = 1.0) -> Architecture:
    """A named table's architecture, for images of side `size` (None: the table's) and with `width` times its widths.

    Raises:
        ValueError: an unknown name, or a side that no such networks have.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"no PIAD networks are called {name!r}; there are {', '.join(ARCHITECTURES)}")
    if not width > 0:
        raise ValueError(f"width must be above 0, not {width}")
    chosen = ARCHITECTURES[name] if width == 1 else ARCHITECTURES[name].widened(width)
    return chosen if size is None or size == chosen.size else chosen.sized(size)


class PIADNetworks(NamedTuple):
    """The four networks of one model.

    generator: latent (N, *latent_shape) -> image (N, *image_shape), roughly in [-1, 1], not clipped.
    encoder: image in [-1, 1] -> latent; the prior of latents is the standard normal.
    image_critic, latent_critic: image or latent -> (N,), higher is more real.
    """

    generator: GeneratorNetwork
    encoder: nn.Module
    image_critic: nn.Module
    latent_critic: nn.Module

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Shape of one latent."""
        return self.generator.latent_shape

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape (C, S, S) of one image."""
        return self.generator.image_shape

    def to(self, device: torch.device | str, *, channels_last: bool = False) -> PIADNetworks:
        """The same networks, moved in place; `channels_last` is for the convolutions, faster on CPUs and GPUs."""
        for network in self:
            network.to(device=device)
            if channels_last:
                network.to(memory_format=torch.channels_last)
        return self


class GeneratorNetwork(nn.Sequential):
    """A sequence of layers that knows the shapes of a latent and of an image."""

    def __init__(self, *layers: nn.Module, latent_shape: tuple[int, int, int], image_shape: tuple[int, int, int]):
        super().__init__(*layers)
        self.latent_shape, self.image_shape = latent_shape, image_shape


def build(name: str | Architecture, channels: int, *, seed: int | None = None) -> PIADNetworks:
    """The four freshly initialised networks of a named table, or of an `Architecture` of another size.

    Args:
        name: `mnist` (Table 1; also Fashion-MNIST and COIL-100), `cifar10` (2), `lsun` (3), `celeba` (4), or an
            `Architecture`, such as `ARCHITECTURES["mnist"].sized(128)`.
        channels: of the images, 1 or more.
        seed: of the initial weights; without one they come from torch's global generator. The global generator is
            left as it was where a seed is given.

    Returns:
        Networks in float32 on the CPU.

    Raises:
        ValueError: an unknown name or a channel count below 1.
    """
    if isinstance(name, str):
        name = architecture(name)
    positive_int("channels", channels)
    if seed is None:
        return _build(name, channels)
    with seeded(seed):
        return _build(name, channels)


def _build(a: Architecture, channels: int) -> PIADNetworks:
    g, e, d = a.generator, a.encoder, a.critic
    ends = a.base if not a.spatial else 0  # kernel of the convolution between (Z, 1, 1) and (Z, B, B)
    generator = GeneratorNetwork(
        nn.Conv2d(a.latent, g[0], ends, padding=ends - 1) if ends else PlainResidual(a.latent, g[0]),
        *(PreActivation(i, o, up=True) for i, o in pairwise(g)),
        PreActivation(g[-1], g[-1]),
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(g[-1], channels, 1),
        latent_shape=a.latent_shape,
        image_shape=(channels, a.size, a.size),
    )
    encoder_head = _head(e[-1], e[-1], a.latent, a.base) if ends else [
        PreActivation(e[-1], e[-1]), nn.LeakyReLU(SLOPE), nn.Conv2d(e[-1], a.latent, 1)
    ]  # fmt: skip
    encoder = nn.Sequential(*_down(channels, e), *encoder_head)
    image_critic = nn.Sequential(
        *_down(channels, d), MinibatchDeviation(), *_head(d[-1] + 1, d[-1], 1, a.base), nn.Flatten(0)
    )
    units = a.latent_critic
    latent_critic = nn.Sequential(
        nn.Flatten(),
        nn.Linear(prod(a.latent_shape), units), nn.LeakyReLU(SLOPE),
        nn.Linear(units, units), nn.LeakyReLU(SLOPE),
        nn.Linear(units, 1), nn.Flatten(0),
    )  # fmt: skip
    for network in (generator, encoder, image_critic):
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=SLOPE, mode="fan_out", nonlinearity="leaky_relu")
    dense = [module for module in latent_critic if isinstance(module, nn.Linear)]
    for layer in dense[:-1]:
        nn.init.xavier_uniform_(layer.weight, gain=nn.init.calculate_gain("leaky_relu", SLOPE))
    nn.init.xavier_uniform_(dense[-1].weight)
    return PIADNetworks(generator, encoder, image_critic, latent_critic)


def _down(channels: int, widths: tuple[int, ...]) -> list[nn.Module]:
    blocks = [PreActivation(i, o, down=True) for i, o in pairwise(widths)]
    return [nn.Conv2d(channels, widths[0], 3, padding=1), *blocks]


def _head(before: int, width: int, after: int, base: int) -> list[nn.Module]:
    """(before, B, B) -> (after, 1, 1)."""
    return [nn.LeakyReLU(SLOPE), nn.Conv2d(before, width, base), nn.LeakyReLU(SLOPE), nn.Conv2d(width, after, 1)]


class PreActivation(nn.Module):
    """skip(x) + conv3x3(lrelu(conv3x3(resize(lrelu(x))))): Figure 1a, and 1b (BlockUp) and 1c (BlockDown).

    Resizing is nearest (up) or 2x2 averages (down); skip resizes x, with a 1x1 convolution where widths differ.
    """

    def __init__(self, before: int, after: int, *, up: bool = False, down: bool = False) -> None:
        super().__init__()
        self.up, self.down = up, down
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.skip = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        # not in place: the skip connection still needs x
        h = self._resize(F.leaky_relu(x, SLOPE))
        h = self.conv2(F.leaky_relu(self.conv1(h), SLOPE))
        # a 1x1 convolution commutes with both ways of resizing: run it at the smaller of the two sizes
        skip = self._resize(self.skip(x)) if self.up else self.skip(self._resize(x))
        return h.add_(skip)  # in place: no backward pass needs a convolution's own output

    def _resize(self, x: Tensor) -> Tensor:
        if self.up:
            return F.interpolate(x, scale_factor=2, mode="nearest")
        return F.avg_pool2d(x, 2) if self.down else x


class PlainResidual(nn.Module):
    """conv1x1(x) + conv3x3(lrelu(conv3x3(x))): Table 3's "residual block", a conv-act-conv sequence."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.skip = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.conv2(F.leaky_relu(self.conv1(x), SLOPE))


class MinibatchDeviation(nn.Module):
    """Appends one constant channel: the mean over C, H, W of the standard deviation over the whole batch.

    The population deviation, sqrt(var + 1e-8) (Karras et al. 2018, with the whole batch as the group, also where
    several processes share it).
    """

    def forward(self, x: Tensor) -> Tensor:
        variance = moments_over_ranks(x, (0,))[1][0] if batch_is_shared() else x.var(dim=0, correction=0)
        deviation = (variance + 1e-8).sqrt().mean()
        return torch.cat([x, deviation.expand(x.shape[0], 1, *x.shape[2:])], dim=1)
