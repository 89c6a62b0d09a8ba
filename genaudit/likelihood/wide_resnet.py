"""The purely discriminative baseline: a Wide-ResNet that tells the training images from general ones.

Schirrmeister et al. 2020, supplement S9 and Table S4: a binary classifier with the in-distribution as the positive
class and a general image distribution as the negative one, no other labels; its prediction p(in-distribution | x) is
the score. The network is Zagoruyko and Komodakis 2016, WRN-28-10 in the paper; training settings are those of the
public repository that the authors name (meliketoy/wide-resnet.pytorch): SGD with momentum, a rate that falls to a fifth
at 30, 60 and 80 % of the run, crops and flips, dropout 0.3.

With as many images of each kind in a batch, the logit estimates the log-likelihood ratio log p_in - log p_general
without a density model.
N images, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genaudit.likelihood.dequantisation import augment, noise_free, to_pixels
from genaudit.likelihood.trainer import all_finite, mixed
from genaudit.resumed import check_same
from genaudit.sharing import Share, batch_is_shared, moments_over_ranks
from genaudit.stats.bounds import Bounds, Channels, Count, Positive, Side, checked, positive_int

INSIDE, OUTSIDE, AUGMENT, DROPOUT = range(4)  # streams of random numbers
DROPS, DROP = (0.3, 0.6, 0.8), 0.2  # shares of the run at which the rate falls, and to what share of itself


class BatchNorm(nn.BatchNorm2d):
    """Batch norm whose batch is the whole one where several processes share it (`genaudit.sharing`).

    PyTorch's own such layer runs on CUDA alone.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and batch_is_shared()):
            return super().forward(x)
        x = x.to(self.weight.dtype)  # under autocast it may be bfloat16
        mean, variance, count = moments_over_ranks(x, (0, 2, 3))
        with torch.no_grad():
            assert self.running_mean is not None and self.running_var is not None  # noqa: PT018
            assert self.num_batches_tracked is not None and self.momentum is not None  # noqa: PT018
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean.flatten(), self.momentum)
            self.running_var.lerp_((variance * count / (count - 1)).flatten(), self.momentum)
        scale = self.weight[:, None, None] * (variance + self.eps).rsqrt()
        return (x - mean) * scale + self.bias[:, None, None]


class WideBlock(nn.Module):
    """Two 3x3 convolutions, each behind batch norm and ReLU, beside a shortcut."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = BatchNorm(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.norm2 = BatchNorm(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, stride, padding=1, bias=False)
        same = stride == 1 and channels_in == channels_out
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.dropout(self.conv1(F.relu(self.norm1(x))))
        out: Tensor = self.conv2(F.relu(self.norm2(h))) + self.shortcut(x)
        return out


class WideResNet(nn.Module):
    """WRN-depth-width with one output, the logit of being in-distribution."""

    def __init__(
        self, channels: Channels = 3, size: Side = 32, *, depth: int = 28, width: Count = 10, dropout: float = 0.3
    ) -> None:
        """
        Args:
            channels, size: of the images; a multiple of 4 suits the two halvings.
            depth: number of convolutions, 6n + 4. width: the widening factor k: 16k, 32k and 64k filters.
            dropout: rate between the convolutions of a block.
        """
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"depth must be 6n + 4 with n >= 1 (10, 16, 22, 28, ...), not {depth}")
        for name, count in dict(channels=channels, size=size, width=width).items():
            positive_int(name, count)
        checked("dropout", dropout, Annotated[float, Bounds(0, 1, below=True)])
        self.image_shape = (channels, size, size)
        layers: list[nn.Module] = [nn.Conv2d(channels, 16, 3, padding=1, bias=False)]
        filters = 16
        for group, stride in enumerate((1, 2, 2)):
            for block in range((depth - 4) // 6):
                layers.append(WideBlock(filters, 16 * width * 2**group, stride if block == 0 else 1, dropout))
                filters = 16 * width * 2**group
        self.layers = nn.Sequential(*layers)
        self.norm = BatchNorm(filters)
        self.out = nn.Linear(filters, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N,) of images (N, C, H, W) on the axis of `dequantisation`; higher: more like the training images."""
        h = F.relu(self.norm(self.layers(4 * x)))  # pixels are near uniform on [-1/2, 1/2]: near unit variance
        logits: Tensor = self.out(h.mean(dim=(2, 3)))[:, 0]
        return logits.to(x.dtype)


@dataclass(frozen=True)
class ClassifierRecipe:
    """How to train; `batch_size` images per step, half of each kind."""

    iterations: int
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    flip: bool = True
    shift: float = 0.125  # 4 of 32 pixels
    seed: int = 0

    def __post_init__(self) -> None:
        positive_int("iterations", self.iterations)
        checked("batch_size", self.batch_size, Annotated[int, Bounds(2)])  # batch norm needs two images
        checked("learning_rate", self.learning_rate, Positive)
        for name in ("momentum", "weight_decay"):
            checked(name, getattr(self, name), Annotated[float, Bounds()])
        checked("shift", self.shift, Annotated[float, Bounds(0, 1, below=True)])

    def rate(self, iteration: int) -> float:
        """Learning rate of step `iteration` (from 0)."""
        return self.learning_rate * DROP ** sum(iteration >= drop * self.iterations for drop in DROPS)


class ClassifierStep(NamedTuple):
    """What a step did: mean cross-entropy (nats) and share of the batch on the right side, both before the update."""

    iteration: int
    loss: float
    accuracy: float
    learning_rate: float


class ClassifierTrainer:
    """Trains a `WideResNet`; as `genaudit.likelihood.trainer.Trainer`, for `genaudit.training.fit`.

    The randomness of step i comes from (seed, i), so that a run resumes from `state_dict` bit for bit. Under torchrun
    the ranks share each batch, which is normalised as a whole; each draws its own dropout.
    """

    def __init__(
        self,
        model: WideResNet,
        inside: Any,
        outside: Any,
        recipe: ClassifierRecipe,
        *,
        device: str = "cpu",
        precision: str = "float32",
        compiled: bool = False,
    ) -> None:
        """
        Args:
            model: moved to `device`. inside: the training images. outside: images of the general distribution; both
                uint8 as `dequantisation.to_pixels` takes them, or indexed by an integer array to give such.
            precision, compiled: of `genaudit.likelihood.trainer.Trainer`.

        Raises:
            ValueError: a side without images. UserError: more processes than images in a batch.
        """
        if len(inside) == 0 or len(outside) == 0:
            raise ValueError("the classifier needs images of both kinds")
        self.device = torch.device(device)
        self.model = model.to(self.device)
        self.sides, self.recipe, self.precision = (inside, outside), recipe, precision
        self._run: Any = torch.compile(model) if compiled else model
        self.iterations, self.iteration = recipe.iterations, 0
        self._loss = 0.0  # of the latest step
        self.share = Share.here()
        self.share.check(recipe.batch_size, "likelihood.recipe.batch_size")
        self.share.begin_alike(self.model.state_dict().values())
        self.optimiser = torch.optim.SGD(
            model.parameters(), recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )

    def fit(self, on_step: Callable[[ClassifierStep], None] | None = None) -> None:
        """Trains to the recipe's end."""
        while self.iteration < self.iterations:
            step = self.step()
            if on_step is not None:
                on_step(step)

    def step(self) -> ClassifierStep:
        """One update."""
        recipe, i = self.recipe, self.iteration
        half = recipe.batch_size // 2
        batch = torch.cat([self._batch(side, i, half) for side in (INSIDE, OUTSIDE)])
        x = self.share.mine(batch).to(self.device)
        truth = self.share.mine(torch.arange(len(batch)) < half).to(x)
        rate = recipe.rate(i)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.model.train()
        self.optimiser.zero_grad(set_to_none=True)
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            alone = self.share.ranks == 1
            torch.manual_seed(_seed(recipe.seed, DROPOUT, i, *(() if alone else (self.share.rank,))))
            with self.share.whole_batches(), mixed(self.device, self.precision):
                logits = self._run(x)
        loss = F.binary_cross_entropy_with_logits(logits, truth) * self.share.of(len(batch))
        loss.backward()
        right = ((logits.detach() > 0) == (truth > 0.5)).to(loss).mean() * self.share.of(len(batch))
        own = [loss, right, *(p.grad for p in self.model.parameters() if p.grad is not None)]
        loss, right, *gradients = self.share.added(own)
        for p, gradient in zip(self.model.parameters(), gradients, strict=True):
            p.grad = gradient
        self.optimiser.step()
        self.iteration += 1
        self._loss = float(loss.detach())
        return ClassifierStep(self.iteration, self._loss, float(right), rate)

    def finite(self, look: bool = False) -> bool:
        """Whether loss and parameters are finite; `look`: also the logits of some training images."""
        if not math.isfinite(self._loss) or not all_finite(self.model.state_dict().values()):
            return False
        some = np.arange(min(len(self.sides[INSIDE]), self.recipe.batch_size))
        return not look or bool(np.isfinite(logits(self.model, self.sides[INSIDE][some])).all())

    def _batch(self, side: int, i: int, count: int) -> Tensor:
        """`count` augmented images of a side, drawn with replacement: the sides may differ in size."""
        images = self.sides[side]
        generator = torch.Generator().manual_seed(_seed(self.recipe.seed, AUGMENT, i, side))
        chosen = torch.randint(len(images), (count,), generator=generator)
        channels, size, _ = self.model.image_shape
        pixels = to_pixels(images[chosen.numpy()], channels=channels, size=size).cpu()
        return noise_free(augment(pixels, generator, flip=self.recipe.flip, shift=self.recipe.shift))

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs to resume bit for bit."""
        return {
            "iteration": self.iteration,
            "recipe": asdict(self.recipe),
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resumes where `state` was taken.

        Raises:
            UserError: the recipe differs.
        """
        check_same(asdict(self.recipe), state.get("recipe"))
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.iteration = state["iteration"]


@torch.no_grad()
def logits(model: WideResNet, images: Any, *, batch_size: int = 128) -> np.ndarray:
    """The score of each image, (N,) float64: the logit of p(in-distribution | x), higher is more like them.

    Args:
        model: trained, on any device. images: uint8 as `dequantisation.to_pixels` takes them.
    """
    device = next(model.parameters()).device
    channels, size, _ = model.image_shape
    was_training = model.training
    model.eval()
    parts = []
    for start in range(0, len(images), batch_size):
        pixels = to_pixels(images[start : start + batch_size], channels=channels, size=size)
        parts.append(model(noise_free(pixels.to(device))).double().cpu().numpy())
    model.train(was_training)
    return np.concatenate(parts)


def _seed(*key: int) -> int:
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]) >> 1  # NumPy 1 shifts no uint64 by an int
