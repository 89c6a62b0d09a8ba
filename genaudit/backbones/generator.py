"""A generator: a network from latents to images, whatever file or module it comes in, as one differentiable function.

"Intriguing Properties of Modern GANs", Eq. 2 to 4, needs of a generator only G(z) with z ~ N(0, I), on the scale of the
images, and its gradient. `Generator.decoder` gives that: latents are shaped as the network wants them, mapped from the
normal to the network's own prior, its output brought to [0, 1]; what the network cannot do is said before anything is
measured. Subclasses say where the network comes from: `generator_sources`.

n rows, L latent dimensions, C channels, S side in pixels, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from genaudit.data.resize import ResizeRecipe
from genaudit.errors import UserError
from genaudit.stats.memory import Fitting

if TYPE_CHECKING:
    import torch

    Network = Callable[..., Any]

# A change of how images are made from the same weights bumps this number, so that stored rows are not reused.
CODE_VERSION = 1
PROBES = 4  # latents that a network is tried with before anything is measured
# The same row differs between calls and batches by float32's rounding through the layers; noise and mixing do far more.
ROW_TOLERANCE = 1e-3
EXCESS = 0.25  # how far beyond [0, 1] values may lie before the output range looks wrong,
EXCESS_SHARE = 0.1  # if more than this share of them does
LEAST_SPAN = 0.01  # of [0, 1] that a few images should use
LABELS = ("index", "one_hot")


@dataclass(frozen=True)
class LoadedNetwork:
    """A loaded network: it maps latents (and labels) to images; `sha256` identifies its weights, `about` its kind."""

    network: Network
    sha256: str
    about: str


class Generator:
    """What every generator has; cheap to construct, the network is loaded by `source`.

    Args:
        name: the name in reports and messages.
        latent: the network's input without its first axis: a number, or a list such as [100, 1, 1].
        prior: "normal", N(0, I), or "uniform", on `prior_range` (mapped from the normal by the Gaussian CDF inside).
        prior_range: ends of the uniform prior.
        output_range: what the network's darkest and brightest values are, [0, 1] or [-1, 1]; null: its values are used
            as they are and may lie anywhere.
        channels, size: C (1 or 3) and S, where they should be checked, or where the network's output is flat.
        classes: number of classes K that a class-conditional network takes as its second argument; null: none.
        label_as: how it takes them, "index" (n,) int64, or "one_hot" (n, K).
        label: the one class that is meant; null with `classes`: all of them, equally probable.
        sigma2: variance of the observation noise on the [0, 1] scale; null: the network's own attribute `sigma2`, if
            it has one.
    """

    range_is_known: ClassVar[bool] = False  # not to be doubted where values lie beyond it

    def __init__(
        self,
        *,
        name: str,
        latent: int | Sequence[int] | None,
        prior: Literal["normal", "uniform"] = "normal",
        prior_range: Sequence[float] = (-1.0, 1.0),
        output_range: Sequence[float] | None = (0.0, 1.0),
        channels: int | None = None,
        size: int | None = None,
        classes: int | None = None,
        label_as: str = "index",
        label: int | None = None,
        sigma2: float | None = None,
    ) -> None:
        self.name = str(name)
        self.latent_shape = tuple(int(n) for n in ([latent] if isinstance(latent, int) else latent or ()))
        self._need(min(self.latent_shape, default=0) > 0, f"latent={latent}: the number of latent dimensions is needed")
        self.latent_dim = math.prod(self.latent_shape)
        self._need(prior in ("normal", "uniform"), f"prior={prior}: normal or uniform is needed")
        self.prior = prior
        self.prior_range = self._range("prior_range", prior_range)
        self.output_range = None if output_range is None else self._range("output_range", output_range)
        self._need(channels in (None, 1, 3), f"channels={channels}: 1, 3 or null is needed")
        self._need(size is None or size > 0, f"size={size}: a side in pixels, or null, is needed")
        self.given_shape = (channels, size)
        self._need(label_as in LABELS, f"label_as={label_as}: one of {', '.join(LABELS)} is needed")
        self._need(classes is None or classes > 0, f"classes={classes}: a number of classes, or null, is needed")
        self._need(
            label is None or (classes is not None and 0 <= label < classes),
            f"label={label}: a class from 0 to classes - 1 is needed, and classes={classes}",
        )
        self.classes, self.label_as, self.label = classes, label_as, label
        self._need(sigma2 is None or (sigma2 > 0 and math.isfinite(sigma2)), f"sigma2={sigma2}: a positive number")
        self._sigma2 = None if sigma2 is None else float(sigma2)
        self._networks: dict[tuple[str, torch.dtype], Network] = {}  # those that were tried, by device and type

    def _need(self, condition: bool, message: str) -> None:
        if not condition:
            raise UserError(f"generator.{message}")

    def _range(self, key: str, ends: Sequence[float]) -> tuple[float, float]:
        low, high = (float(end) for end in ends) if len(ends) == 2 else (0.0, 0.0)
        self._need(low < high, f"{key}={list(ends)}: two numbers, the lower first, are needed")
        return low, high

    # ------------------------------------------------------------------ what a subclass gives
    def load(self, device: str = "cpu") -> LoadedNetwork:
        """The network on a device, in evaluation mode.

        Raises:
            UserError: it cannot be had; says what was expected.
        """
        raise NotImplementedError

    # ------------------------------------------------------------------ what every generator does
    @cached_property
    def source(self) -> LoadedNetwork:
        return self.load()

    @cached_property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, S, S) of its images, found by trying it."""
        return self._try(self.source.network, "cpu")

    @property
    def channels(self) -> int:
        return self.image_shape[0]

    @cached_property
    def recipe(self) -> ResizeRecipe:
        """How images of other sizes come to the generator's."""
        return ResizeRecipe(size=self.image_shape[1])

    @property
    def labels(self) -> tuple[int | None, ...]:
        """The classes that are meant: (None,) for a generator without."""
        if self.classes is None:
            return (None,)
        return tuple(range(self.classes)) if self.label is None else (self.label,)

    @property
    def sigma2(self) -> float | None:
        """Variance of the observation noise, as given or as the network carries it; None where neither is."""
        if self._sigma2 is not None:
            return self._sigma2
        own = getattr(self.source.network, "sigma2", None)
        return float(own) if isinstance(own, float) and math.isfinite(own) and own > 0 else None

    def describe(self) -> dict[str, Any]:
        """Everything that changes its images, for fingerprint and report; sigma2 is the likelihood's own."""
        return {
            "name": self.name,
            "source": self.source.about,
            "code_version": CODE_VERSION,
            "weights_sha256": self.source.sha256,
            "latent": list(self.latent_shape),
            "prior": self.prior if self.prior == "normal" else [self.prior, *self.prior_range],
            "output_range": None if self.output_range is None else list(self.output_range),
            "shape": list(self.image_shape),
            "classes": self.classes,
            "label_as": self.label_as if self.classes else None,
            "label": self.label,
        }

    def decoder(self, device: str = "cpu", dtype: torch.dtype | None = None, label: int | None = None) -> Decoder:
        """G on a device: (n, L), standard normal a priori, to (n, C, S, S) on the [0, 1] scale, differentiable.

        Args:
            dtype: float32, or float64 where the network runs in it.
            label: one of `labels`.

        Raises:
            UserError: the network does not do what a generator must.
        """
        import torch

        dtype = dtype or torch.float32
        if (device, dtype) not in self._networks:
            network = self.source.network
            if device != "cpu" or dtype is not torch.float32:
                # again: the network that others may be using is not moved and converted under them
                network = self.load(device).network
                if dtype is not torch.float32:
                    network = _converted(network, dtype, self.name)
                self._try(network, device, dtype)
            self._networks[device, dtype] = network
        return Decoder(self, self._networks[device, dtype], self.image_shape, label)

    def sample(self, count: int, *, seed: int = 0, device: str = "cpu", batch_size: int = 64) -> Iterator[torch.Tensor]:
        """Batches (b, C, S, S) of images from the prior, without observation noise; a class is drawn for each image.

        The i-th image is the same whatever `count` and `batch_size` are.
        """
        import torch

        random = torch.Generator().manual_seed(seed)
        of_labels = torch.Generator().manual_seed(seed + 1)
        decoders = {label: self.decoder(device, label=label) for label in self.labels}
        fitting = Fitting(f"generator {self.name}")
        for start in range(0, count, batch_size):
            size = min(batch_size, count - start)
            z = torch.stack([torch.randn(self.latent_dim, generator=random) for _ in range(size)]).to(device)
            # one draw per image, as for the latents: drawn in one call, numbers would depend on the batch's size
            chosen = [int(torch.randint(len(decoders), (1,), generator=of_labels)) for _ in range(size)]
            with torch.no_grad():
                images = torch.empty(size, *self.image_shape, device=device)
                for place, label in enumerate(self.labels):
                    rows = torch.tensor([i for i, k in enumerate(chosen) if k == place], dtype=torch.long)
                    if len(rows):
                        images[rows] = torch.cat(fitting(decoders[label], z[rows]))
            yield images

    def _try(self, network: Network, device: str, dtype: torch.dtype | None = None) -> tuple[int, int, int]:
        """The shape of its images, after everything that a generator must do was tried on a few latents."""
        import torch

        what = f"generator {self.name}"
        random = torch.Generator().manual_seed(0)
        z = torch.randn(PROBES, self.latent_dim, generator=random).to(device, dtype or torch.float32).requires_grad_()
        decoder = Decoder(self, network, None, self.labels[0])
        try:
            with torch.enable_grad():
                images = decoder(z)
            with torch.no_grad():
                still = z.detach()
                again, alone = decoder(still), torch.cat([decoder(row[None]) for row in still])
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"{what}: the network does not take {tuple([PROBES, *self.latent_shape])} "
                f"{str(z.dtype).removeprefix('torch.')} latents{' and labels' if self.classes else ''} "
                f"({_first_line(error)}); {self.advice(error)}"
            ) from None
        differentiable, images = images.grad_fn is not None, images.detach()
        if not bool(images.isfinite().all()):
            raise UserError(f"{what}: its images hold values that are not finite; expected a trained checkpoint")
        if float((images - again).abs().max()) > ROW_TOLERANCE:
            raise UserError(
                f"{what}: the same latents gave different images twice; its own noise must be switched off or held "
                "constant, and dropout must be in evaluation mode"
            )
        if float((images - alone).abs().max()) > ROW_TOLERANCE:
            raise UserError(f"{what}: an image depends on the others of its batch; batch normalisation must be fixed")
        if not differentiable:
            raise UserError(
                f"{what}: its images have no gradient with respect to the latents, which inversion and AIS need; "
                "the network must be saved without torch.no_grad inside"
            )
        if self.output_range is not None and not self.range_is_known:
            beyond = float(((images < -EXCESS) | (images > 1 + EXCESS)).double().mean())
            if beyond > EXCESS_SHARE or float(images.max() - images.min()) < LEAST_SPAN:
                low, high = self.output_range
                values = images * (high - low) + low
                raise UserError(
                    f"{what}: its values run from {float(values.min()):.3g} to {float(values.max()):.3g} and "
                    f"generator.output_range is [{low:g}, {high:g}]; name the range that black and white have"
                )
        return tuple(images.shape[1:])  # type: ignore[return-value]

    def advice(self, error: Exception) -> str:
        """What would mend an input that the network does not take."""
        return "generator.latent= must be the number of dimensions, or the shape, that it was trained with"


class Decoder:
    """G as inversion and AIS call it; see `Generator.decoder`."""

    def __init__(
        self, generator: Generator, network: Network, shape: tuple[int, int, int] | None, label: int | None
    ) -> None:
        self.generator, self.network, self.shape, self.label = generator, network, shape, label

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        """(n, L) to (n, C, S, S)."""
        import torch

        own = self.generator
        if own.prior == "uniform":
            low, high = own.prior_range
            z = low + (high - low) * torch.special.ndtr(z)
        z = z.reshape(len(z), *own.latent_shape)
        made = self.network(z) if own.classes is None else self.network(z, self._labels(z))
        images = self._checked(made, len(z))
        if own.output_range is not None and own.output_range != (0.0, 1.0):
            low, high = own.output_range
            images = (images - low) / (high - low)
        return images

    def _labels(self, z: torch.Tensor) -> torch.Tensor:
        import torch

        own = self.generator
        index = torch.full((len(z),), int(self.label or 0), dtype=torch.int64, device=z.device)
        if own.label_as == "index":
            return index
        assert own.classes is not None
        return torch.nn.functional.one_hot(index, own.classes).to(z.dtype)

    def _checked(self, made: Any, count: int) -> torch.Tensor:
        """The network's output as (n, C, S, S)."""
        import torch

        own = self.generator
        if isinstance(made, (tuple, list)) and len(made) == 1:
            (made,) = made
        channels, size = own.given_shape
        if not isinstance(made, torch.Tensor):
            raise UserError(f"generator {own.name}: the network gave a {type(made).__name__}, not a tensor of images")
        if made.dim() == 2 and channels and size and made.shape[1] == channels * size * size:
            made = made.view(count, channels, size, size)
        wanted = self.shape or (channels or "1 or 3", size or "S", size or "S")
        given = tuple(made.shape)
        images = len(given) == 4 and given[0] == count and given[1] in (1, 3) and given[2] == given[3]
        if not images or any(isinstance(n, int) and n != m for n, m in zip(wanted, given[1:], strict=True)):
            raise UserError(
                f"generator {own.name}: for {count} latents the network gave {given}, where "
                f"({', '.join(map(str, (count, *wanted)))}) is needed; a flat output needs channels= and size="
            )
        return made


def _converted(network: Network, dtype: torch.dtype, name: str) -> Network:
    try:
        return network.to(dtype)  # type: ignore[attr-defined]
    except (AttributeError, RuntimeError) as error:
        raise UserError(
            f"generator {name}: it does not run in {dtype} ({_first_line(error)}); precision=float32"
        ) from None


def _first_line(error: BaseException) -> str:
    """The sentence of an error that says most: TorchScript puts it last, after its own traceback."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("RuntimeError:", "AssertionError:", "ValueError:"))]
    return (told or lines or [type(error).__name__])[0 if not told else -1][:200]
