"""Training of a density model: maximum likelihood, with the outlier loss or the margin loss where outliers are given.

Schirrmeister et al. 2020, supplement S4 and S7. One step:

    pixels -> augment -> pad -> dequantise -> log p      loss = [mean(-log p_in) + outlier loss] / (D ln 2)

in nats before the division, which turns it to bits per dimension and leaves the balance of the two terms alone.

All randomness of step i (order, augmentation, noise, dropout) comes from (seed, i), on the CPU. So a run that
resumes from `state_dict` continues bit for bit, on as many devices as the batch is shared by: under `torchrun` each
rank takes its part of the same batch with the same noise, and gradients are averaged over all images.

N images, B images per batch, D dimensions of an image.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from genaudit.likelihood.dequantisation import augment, dequantise, to_pixels
from genaudit.likelihood.losses import bits_per_dim, margin_loss, outlier_loss
from genaudit.likelihood.recipe import TrainingRecipe
from genaudit.resumed import check_same
from genaudit.sharing import Share

Model = TypeVar("Model", bound=nn.Module)

PRECISIONS = ("float32", "bfloat16")
STALLED = 20  # steps in a row without an update: the model has diverged, and later ones will make none either
LARGEST_LOSS = 0.75  # a batch that would lose a larger share of its images is skipped (S4.3)
ORDER, OUTLIERS, NOISE, DROPOUT, FIRST = range(5)  # streams of random numbers


@dataclass(frozen=True)
class Step:
    """What one step did; under torchrun, bits per dimension and outlier loss are of a rank's own part of the batch."""

    iteration: int  # steps done, this one included
    bits_per_dim: float  # of the training images, with noise; NaN where the batch was skipped
    outlier_loss: float  # in the units of Eq. S1 or of the margin; NaN without outliers
    learning_rate: float
    gradient_norm: float  # before clipping
    dropped: int  # images without a finite log-likelihood
    skipped: bool  # too many images were dropped, or the gradient was not finite: no update was made


class Batch(NamedTuple):
    """Training images, then outliers, on the device; M images in all."""

    x: Tensor  # (M, C, H, W)
    outlier: Tensor  # (M,) bool
    general: Tensor  # (M,) nats under the general model, 0 for training images
    labels: Tensor | None  # of the training images


def finetune_from(general: Model) -> Model:
    """A copy of a trained general model, to be trained on the images themselves (S7.2)."""
    return copy.deepcopy(general).requires_grad_(True)


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no number of any tensor is NaN or infinite."""
    floating = [tensor for tensor in tensors if tensor.is_floating_point()]
    return all(bool(torch.isfinite(tensor).all()) for tensor in floating)


def mixed(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Inside, convolutions of a network's own run in bfloat16 where `precision` says so; weights stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def _seed(*key: int) -> int:
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]) >> 1  # NumPy 1 shifts no uint64 by an int


def _generator(*key: int) -> torch.Generator:
    return torch.Generator().manual_seed(_seed(*key))


class Trainer:
    """Trains a density model on images; one `step` at a time, or all with `fit`."""

    def __init__(
        self,
        model: nn.Module,
        images: Any,
        recipe: TrainingRecipe,
        *,
        labels: Sequence[int] | np.ndarray | Tensor | None = None,
        outliers: Any = None,
        general: nn.Module | None = None,
        device: str | torch.device = "cpu",
        precision: str = "float32",
        compiled: bool = False,
    ) -> None:
        """
        Args:
            model: Glow, a variant, or PixelCNN++; moved to `device`. Its actnorms are set by the first images unless
                they have been.
            images: uint8; NumPy (N, H, W[, C]), torch (N, C, H, W), or anything with `len` and indexing by an integer
                array that gives one of these, so that a large set may stay on disk. Every rank gets all of them.
            recipe: how.
            labels: (N,) classes, for a class-conditional model.
            outliers: images of the general distribution, like `images`, for the outlier or margin loss.
            general: trained general model on the same axis; needed by the outlier loss, not trained.
            device: where the model is.
            precision: "bfloat16" runs the networks of a step in it (mixed precision), the density itself in float32;
                what is reported of a trained model is computed in float32 throughout.
            compiled: whether torch.compile makes the steps faster, after minutes of compiling.

        Raises:
            ValueError: another precision, no images, or an outlier loss without a general model.
        """
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
        if len(images) == 0 or (outliers is not None and len(outliers) == 0):
            raise ValueError("there are no images to train on")
        if outliers is not None and recipe.outliers == "outlier" and general is None:
            raise ValueError("the outlier loss needs a general model; the margin loss does not")
        self.device = torch.device(device)
        self.model = model.to(self.device)
        self.dtype = next(model.parameters()).dtype  # float32; float64 to check against
        self.precision = precision
        self._run: Any = torch.compile(model) if compiled else model
        self.general = None if general is None else general.to(self.device).eval().requires_grad_(False)
        self.images, self.outliers, self.recipe = images, outliers, recipe
        self.labels = None if labels is None else torch.as_tensor(np.asarray(labels), dtype=torch.long)
        self.image_shape: tuple[int, int, int] = model.image_shape  # type: ignore[assignment]
        self.dims = math.prod(self.image_shape)
        batches = max(1, len(images) // recipe.batch_size)
        self.iterations = recipe.iterations if recipe.iterations is not None else recipe.epochs * batches
        self.iteration = 0
        self.dropped = 0  # images left out so far
        self.skipped = 0  # updates left out so far
        self._stalled = 0  # updates left out since the last one that was made, in this process
        self._orders: dict[int, tuple[int, Tensor]] = {}
        kinds = {"adam": torch.optim.Adam, "adamax": torch.optim.Adamax}
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimiser = kinds[recipe.optimiser](trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        self.share = Share.here()
        self.share.begin_alike(self.model.state_dict().values())

    def fit(self, on_step: Callable[[Step], None] | None = None, *, until: int | None = None) -> None:
        """Trains up to iteration `until` (the recipe's end by default); `on_step` sees every step."""
        while self.iteration < (self.iterations if until is None else min(until, self.iterations)):
            step = self.step()
            if on_step is not None:
                on_step(step)

    def step(self) -> Step:
        """One update of the model."""
        recipe, i = self.recipe, self.iteration
        if i == 0:
            self.initialise()
        batch = self._batch(i)
        self.model.train()
        self.optimiser.zero_grad(set_to_none=True)
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(_seed(recipe.seed, DROPOUT, i, self.share.rank))
            with mixed(self.device, self.precision):
                log_prob, kept = self._finite_log_prob(batch)
        counts = [kept & ~batch.outlier, kept & batch.outlier, ~kept]
        n_in, n_out, dropped = self._total(counts)
        usable = n_in > 0 and dropped <= LARGEST_LOSS * (n_in + n_out + dropped)
        rate = recipe.rate(i, self.iterations)
        bpd = outer = norm = math.nan
        if usable and len(log_prob):  # a rank that keeps no image adds nothing, and its infinities must not flow back
            outlier = batch.outlier[kept]
            inside, outside = log_prob[~outlier], log_prob[outlier]
            loss = -inside.sum() / n_in
            if len(outside) and (len(inside) or recipe.outliers == "outlier"):
                extra = self._outlier_loss(inside, outside, batch.general[kept][outlier])
                outer = float(extra.detach())
                loss = loss + extra * (len(outside) / n_out)
            if len(inside):
                bpd = float(bits_per_dim(inside.detach().mean(), self.dims))
            (loss / (self.dims * math.log(2))).backward()
        if usable:
            norm = self._gradient_norm()
        updated = usable and math.isfinite(norm)
        if updated:
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            self.optimiser.step()
        self.iteration += 1
        self.dropped += dropped
        self.skipped += not updated
        self._stalled = 0 if updated else self._stalled + 1
        return Step(self.iteration, bpd, outer, rate, norm, dropped, not updated)

    @torch.no_grad()
    def finite(self, look: bool = False) -> bool:
        """Whether the parameters are finite and updates are still made; single steps without one are harmless (S4.3).

        Args:
            look: also whether enough images of a batch have a finite log-likelihood. Every rank must look, or none.
        """
        if self._stalled >= STALLED or not all_finite(self.model.state_dict().values()):
            return False
        if not look:
            return True
        self.model.eval()
        batch = self._batch(max(0, self.iteration - 1))
        kept = torch.isfinite(self._log_prob(batch.x, batch.outlier, batch.labels)[~batch.outlier])
        good, bad = self._total([kept, ~kept])
        return bool(good > 0 and bad <= LARGEST_LOSS * (good + bad))

    @torch.no_grad()
    def initialise(self) -> None:
        """Sets the actnorms from random images with noise, unless the model has been initialised or trained before."""
        if bool(self.model.initialised):
            return
        generator = _generator(self.recipe.seed, FIRST)
        first = torch.randperm(len(self.images), generator=generator)[: self.recipe.initial_images]
        self.model.initialise(self._noisy(self.images, first, generator).to(self.device))  # type: ignore[operator]

    def _batch(self, i: int) -> Batch:
        generator = _generator(self.recipe.seed, NOISE, i)
        chosen = self._indices(len(self.images), i, ORDER)
        x = self._mine(self._noisy(self.images, chosen, generator))
        labels = None if self.labels is None else self._mine(self.labels[chosen])
        outlier = torch.zeros(len(x), dtype=torch.bool, device=self.device)
        general = x.new_zeros(len(x))
        if self.outliers is not None:
            chosen = self._indices(len(self.outliers), i, OUTLIERS)
            out = self._mine(self._noisy(self.outliers, chosen, generator))
            outlier = torch.cat([outlier, torch.ones(len(out), dtype=torch.bool, device=self.device)])
            with torch.no_grad():
                nats = out.new_zeros(len(out)) if self.general is None else self.general(out)
            general, x = torch.cat([general, nats]), torch.cat([x, out])
        return Batch(x, outlier, general, labels)

    def _indices(self, n: int, i: int, stream: int) -> Tensor:
        """The images of iteration i: each epoch is a fresh permutation whose incomplete last batch is left out."""
        size = min(self.recipe.batch_size, n)
        epoch, k = divmod(i, n // size)
        if stream not in self._orders or self._orders[stream][0] != epoch:
            self._orders[stream] = epoch, torch.randperm(n, generator=_generator(self.recipe.seed, stream, epoch))
        return self._orders[stream][1][k * size : (k + 1) * size]

    def _noisy(self, images: Any, indices: Tensor, generator: torch.Generator) -> Tensor:
        """Augmented images with noise (B, C, H, W), on the CPU, the same on every rank."""
        channels, size, _ = self.image_shape
        pixels = to_pixels(images[indices.numpy()], channels=channels).cpu()
        pixels = augment(pixels, generator, flip=self.recipe.flip, shift=self.recipe.shift)
        return dequantise(to_pixels(pixels, size=size), generator).to(self.dtype)

    def _mine(self, batch: Tensor) -> Tensor:
        """This rank's part of a batch, on its device."""
        return self.share.mine(batch).to(self.device)

    def _log_prob(self, x: Tensor, outlier: Tensor, labels: Tensor | None) -> Tensor:
        log_prob = self._run if self.model.training else self.model
        if labels is None:
            return log_prob(x)
        # Training images count under their class, outliers under the mixture of all.
        parts = [log_prob(x[~outlier], labels)]
        return torch.cat([*parts, log_prob(x[outlier])] if outlier.any() else parts)

    def _finite_log_prob(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """log p (kept images only, with gradient) and which of the M images are kept.

        An image whose log-likelihood is not finite is left out of a second pass, not only of the sum: a gradient
        of zero times infinity would still be NaN (S4.3).
        """
        log_prob = self._log_prob(batch.x, batch.outlier, batch.labels)
        kept = torch.isfinite(log_prob.detach()) & torch.isfinite(batch.general)
        if kept.all() or not kept.any():
            return log_prob[kept], kept
        labels = None if batch.labels is None else batch.labels[kept[~batch.outlier]]
        return self._log_prob(batch.x[kept], batch.outlier[kept], labels), kept

    def _outlier_loss(self, inside: Tensor, outside: Tensor, general: Tensor) -> Tensor:
        if self.recipe.outliers == "margin":
            return margin_loss(inside, outside, margin=self.dims)
        return outlier_loss(outside, general, temperature=self.recipe.temperature, weight=self.recipe.weight)

    def _total(self, masks: Sequence[Tensor]) -> list[int]:
        """How many images of the whole batch each mask has."""
        (counts,) = self.share.added([torch.stack([mask.sum() for mask in masks])])
        found: list[int] = counts.tolist()
        return found

    def _gradient_norm(self) -> float:
        """Adds the ranks' gradients, clips them where the recipe says so, and returns their norm before that."""
        trained = [p for group in self.optimiser.param_groups for p in group["params"]]
        if self.share.ranks > 1:
            own = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
            for p, total in zip(trained, self.share.added(own), strict=True):
                p.grad = total
        limit = math.inf if self.recipe.clip_norm is None else self.recipe.clip_norm
        return float(nn.utils.clip_grad_norm_(trained, limit))

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs to resume bit for bit; plain types and tensors."""
        return {
            "iteration": self.iteration,
            "dropped": self.dropped,
            "skipped": self.skipped,
            "recipe": asdict(self.recipe),
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resumes where `state` was taken; the images, the recipe and the general model must be the same.

        Raises:
            UserError: the recipe differs.
        """
        check_same(asdict(self.recipe), state.get("recipe"))
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.iteration, self.dropped, self.skipped = state["iteration"], state["dropped"], state["skipped"]
