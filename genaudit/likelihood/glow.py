"""Glow: a normalising flow over images at several scales, its patch-wise and its fully connected variants.

Kingma and Dhariwal 2018, as modified by Schirrmeister et al. 2020 (supplement S1.1 to S2.2): at each scale a squeeze
(2x2 pixels become channels), then K times actnorm, invertible 1x1 convolution and affine coupling; after all scales
but the last, half of the channels leave as that scale's latent. The latents are independent (S1.3): each has a
standard normal prior behind an actnorm per dimension. For 3x32x32: 12x16x16, 24x8x8, 48x4x4.

    c_i(x) = log-determinants of scale i + log N(z_i; 0, I),    log p(x) = c_1(x) + ... + c_S(x)

Inputs lie on the axis of `genaudit.likelihood.dequantisation`, log-likelihoods are in nats on that axis.
N images, C channels, H height, W width, S scales.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from genaudit.likelihood.flow_layers import AffineCoupling, Coupling, FixedRotation, InvertibleLinear, Prior
from genaudit.stats.bounds import Channels, Count, Side, positive_int


class FlowStep(nn.Module):
    """Actnorm with a linear map, then an affine coupling."""

    def __init__(self, linear: InvertibleLinear | FixedRotation, coupling: AffineCoupling) -> None:
        super().__init__()
        self.linear = linear
        self.coupling = coupling

    def initialise(self, x: Tensor) -> None:
        self.linear.initialise(x)
        self.coupling.initialise(self.linear(x)[0])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x, log_det = self.linear(x)
        x, log_det_coupling = self.coupling(x)
        return x, log_det + log_det_coupling

    def inverse(self, y: Tensor) -> Tensor:
        return self.linear.inverse(self.coupling.inverse(y))


class Glow(nn.Module):
    """Multi-scale Glow with independent latents."""

    initialised: Tensor

    def __init__(
        self,
        channels: Channels = 3,
        size: Side = 32,
        *,
        scales: Count = 3,
        steps: Count = 32,
        hidden: Count = 512,
        coupling: Coupling = "sigmoid",
        layers: Literal["convolutional", "fully_connected"] = "convolutional",
        classes: int = 1,
        recompute: bool = False,
    ) -> None:
        """
        Args:
            channels: 1 or 3 (any number works).
            size: side of the images; `image_shape` has it rounded up to a multiple of 2^scales (28 becomes 32), and
                images are padded to that before noise is added.
            scales: S.
            steps: K, flow steps a scale; the paper's 32, and 8 when fully connected.
            hidden: filters of the coupling networks; the authors' 512.
            coupling: "sigmoid" is the authors' scale sigmoid(r + 2), "tanh" is exp(2.5·tanh(r/2.5)).
            layers: "fully_connected" flattens each scale and replaces the 1x1 convolutions by fixed rotations (S2.2).
            classes: number of classes of the supervised variant, whose last latent has a prior per class. The
                authors condition every latent, which their own code calls incorrect for the contributions; here
                only the last is, so that the contributions add up.
            recompute: recompute activations in the backward pass: about a third more time, a fraction of the memory.
        """
        super().__init__()
        counts = dict(channels=channels, size=size, scales=scales, steps=steps, hidden=hidden, classes=classes)
        for name, count in counts.items():
            positive_int(name, count)
        if layers not in ("convolutional", "fully_connected"):
            raise ValueError(f"layers must be 'convolutional' or 'fully_connected', not {layers!r}")
        factor = 2**scales
        side = -(-size // factor) * factor
        self.image_shape = (channels, side, side)
        self.classes = classes
        self.flat = layers == "fully_connected"
        self.recompute = recompute
        self.shapes: list[tuple[int, int, int]] = []  # of each scale after its squeeze
        self.scales = nn.ModuleList()
        self.priors = nn.ModuleList()
        c = channels
        for i in range(scales):
            c, side = 4 * c, side // 2
            self.shapes.append((c, side, side))
            width = c * side * side if self.flat else c
            kernels = (1, 1) if self.flat else (3, 1, 3)
            self.scales.append(
                nn.ModuleList(
                    FlowStep(
                        FixedRotation(width) if self.flat else InvertibleLinear(width),
                        AffineCoupling(width, hidden, kernels=kernels, scale=coupling),
                    )
                    for _ in range(steps)
                )
            )
            last = i == scales - 1
            c = c if last else c // 2
            self.priors.append(Prior((c, side, side), classes if last else 1))
        self.register_buffer("initialised", torch.tensor(False))

    def _steps(self, i: int) -> list[FlowStep]:
        steps = self.scales[i]
        assert isinstance(steps, nn.ModuleList)
        return [step for step in steps if isinstance(step, FlowStep)]

    def _prior(self, i: int) -> Prior:
        prior = self.priors[i]
        assert isinstance(prior, Prior)
        return prior

    def with_classes(self, classes: int) -> Glow:
        """A class-conditional copy, to be finetuned with labels: each class begins with the prior of the last scale.

        So its mixture of classes is this model's density, until training moves the classes apart. The paper's
        supervised models are finetuned from an unsupervised one too; it does not say how they begin.

        Raises:
            ValueError: this model has classes already.
        """
        if self.classes != 1:
            raise ValueError(f"the model has {self.classes} classes already")
        model = copy.deepcopy(self)
        last = len(self.priors) - 1
        shared = self._prior(last)
        _, c, height, width = shared.shift.shape
        prior = Prior((c, height, width), classes).to(shared.shift)
        prior.load_state_dict({name: each.expand(classes, -1, -1, -1) for name, each in shared.state_dict().items()})
        model.priors[last] = prior
        model.classes = classes
        return model

    def _squeeze(self, x: Tensor) -> Tensor:
        x = F.pixel_unshuffle(x, 2)
        if self.flat:
            return x.flatten(1)[:, :, None, None]
        # On a CPU, convolutions with few channels take half the time when the channels lie together.
        return x.contiguous(memory_format=torch.channels_last) if x.device.type == "cpu" else x

    def _split(self, x: Tensor, i: int) -> tuple[Tensor, Tensor | None]:
        """What leaves as scale i's latent, and what continues (None after the last scale)."""
        x = x.reshape(-1, *self.shapes[i]) if self.flat else x
        if i == len(self.scales) - 1:
            return x, None
        latent, rest = x.chunk(2, dim=1)
        return latent, rest

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Sets the actnorms so that this batch (N, C, H, W) leaves each with zero mean and unit variance."""
        rest: Tensor | None = x
        for i in range(len(self.scales)):
            assert rest is not None
            x = self._squeeze(rest)
            for step in self._steps(i):
                step.initialise(x)
                x = step(x)[0]
            rest = self._split(x, i)[1]
        self.initialised.fill_(True)

    def _flow(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The latents before their priors, and each scale's log-determinant (N,)."""
        if tuple(x.shape[1:]) != self.image_shape:
            raise ValueError(f"images must be (N, {', '.join(map(str, self.image_shape))}), not {tuple(x.shape)}")
        latents, log_dets = [], []
        rest: Tensor | None = x
        for i in range(len(self.scales)):
            assert rest is not None
            x = self._squeeze(rest)
            log_det = x.new_zeros(len(x))
            for step in self._steps(i):
                if self.recompute and torch.is_grad_enabled():
                    x, change = checkpoint(step, x, use_reentrant=False)
                else:
                    x, change = step(x)
                log_det = log_det + change
            latent, rest = self._split(x, i)
            latents.append(latent)
            log_dets.append(log_det)
        return latents, log_dets

    def contributions(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Log-likelihood by scale, (N, S) nats; the columns add up to log p(x), the last is the last-scale score.

        Args:
            x: (N, C, H, W) on the axis of `dequantisation`.
            labels: (N,) classes of a class-conditional model: log p(x | label). Without them, log p(x) of the
                mixture of all classes.
        """
        latents, log_dets = self._flow(x)
        last = len(latents) - 1
        return torch.stack(
            [
                log_det + self._prior(i).log_prob(latent, labels if i == last else None)
                for i, (latent, log_det) in enumerate(zip(latents, log_dets, strict=True))
            ],
            dim=1,
        )

    def log_prob(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """log p(x), or log p(x | label), (N,) nats; higher is likelier."""
        return self.contributions(x, labels).sum(1)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.log_prob(x, labels)

    def encode(self, x: Tensor, labels: Tensor | None = None) -> list[Tensor]:
        """The latents z_1 ... z_S of (N, C, H, W) images, standard normal under the model."""
        latents, _ = self._flow(x)
        last = len(latents) - 1
        return [self._prior(i).normalise(h, labels if i == last else None) for i, h in enumerate(latents)]

    def decode(self, latents: Sequence[Tensor], labels: Tensor | None = None) -> Tensor:
        """The images (N, C, H, W) of latents z_1 ... z_S: the inverse of `encode`."""
        last = len(self.scales) - 1
        rest: Tensor | None = None
        for i in range(last, -1, -1):
            x = self._prior(i).denormalise(latents[i], labels if i == last else None)
            x = x if rest is None else torch.cat([x, rest], dim=1)
            x = x.flatten(1)[:, :, None, None] if self.flat else x
            for step in reversed(self._steps(i)):
                x = step.inverse(x)
            x = x.reshape(-1, *self.shapes[i]) if self.flat else x
            rest = F.pixel_shuffle(x, 2)
        assert rest is not None
        return rest

    @torch.no_grad()
    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        *,
        temperature: float = 1.0,
        labels: Tensor | None = None,
    ) -> Tensor:
        """n images (n, C, H, W) on the axis of `dequantisation`; `from_unit_axis` makes pixels of them.

        Args:
            n: number of images.
            generator: source of the latents, on any device.
            temperature: standard deviation of the latents; 1 samples the model.
            labels: (n,) classes; drawn at random where a class-conditional model gets none.
        """
        here = self._prior(0).shift.device
        there = here if generator is None else generator.device
        if labels is None and self.classes > 1:
            labels = torch.randint(self.classes, (n,), generator=generator, device=there).to(here)
        shapes = [tuple(self._prior(i).shift.shape[1:]) for i in range(len(self.scales))]
        z = [torch.randn(n, *shape, generator=generator, device=there).to(here) * temperature for shape in shapes]
        return self.decode(z, labels)


class LocalGlow(nn.Module):
    """Glow that sees only non-overlapping patches: log p(x) is the sum over them of one small model (S2.1).

    A single scale of the full model reads each 8x8 patch on its own, so that only the local structure of images
    is learned. Arguments and methods are those of `Glow`; there is one contribution.
    """

    def __init__(self, channels: int = 3, size: int = 32, *, patch: int = 8, **knobs: Any) -> None:
        """
        Args:
            channels, size: of the images; `size` is rounded up to a multiple of `patch`.
            patch: side of a patch, even.
            knobs: steps, hidden, coupling, recompute of `Glow`.
        """
        super().__init__()
        if patch < 2 or patch % 2:
            raise ValueError(f"patch must be even and at least 2, not {patch}")
        side = -(-size // patch) * patch
        self.image_shape = (channels, side, side)
        self.patch = patch
        self.glow = Glow(channels, patch, scales=1, **knobs)

    @property
    def initialised(self) -> Tensor:
        return self.glow.initialised

    def _patches(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != self.image_shape:
            raise ValueError(f"images must be (N, {', '.join(map(str, self.image_shape))}), not {tuple(x.shape)}")
        p = self.patch
        blocks = x.unflatten(3, (-1, p)).unflatten(2, (-1, p))  # (N, C, rows, p, columns, p)
        return blocks.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)

    def initialise(self, x: Tensor) -> None:
        self.glow.initialise(self._patches(x))

    def contributions(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """(N, 1) nats: the log-likelihoods of an image's patches, added."""
        return self.glow.log_prob(self._patches(x)).view(len(x), -1).sum(1, keepdim=True)

    def log_prob(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """log p(x), (N,) nats; higher is likelier."""
        return self.contributions(x)[:, 0]

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.log_prob(x)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None, *, temperature: float = 1.0) -> Tensor:
        """n images (n, C, H, W) of independent patches."""
        c, side, p = self.image_shape[0], self.image_shape[1] // self.patch, self.patch
        patches = self.glow.sample(n * side * side, generator, temperature=temperature)
        blocks = patches.view(n, side, side, c, p, p).permute(0, 3, 1, 4, 2, 5)
        return blocks.reshape(n, *self.image_shape)
