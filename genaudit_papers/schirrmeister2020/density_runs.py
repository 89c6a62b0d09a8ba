"""What the recipes of schirrmeister2020's tables share: image sets by name, trainings that resume, means over seeds.

Schirrmeister et al. 2020, supplement S4 and S5. N images.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from genaudit.backbones.weight_files import sha256_of_tensors
from genaudit.likelihood import saved
from genaudit.likelihood.recipe import TrainingRecipe
from genaudit.measures.piad import PreparedPixels
from genaudit.recipe import Context, Need
from genaudit.training import fit, read_log
from genaudit_papers import datasets
from genaudit_papers.datasets import Split
from genaudit_papers.measuring import SAVED, digest_of, resized, set_need
from genaudit_papers.schirrmeister2020.training_looks import LOOKS, Look

if TYPE_CHECKING:
    from genaudit.likelihood.glow import Glow
    from genaudit.likelihood.trainer import Step

GENERAL = "tiny_images"
SEEDS = "Intervals are the lowest and the highest of the seeds."
FACES = 60_000  # "for CelebA, we only use the first 60000 images" (S5.1)
LOG = ("bits_per_dim", "outlier_loss", "gradient_norm", "skipped")
# sets that are folders or archives under the data root; the supplement names no size or split of LSUN
FOLDERS = {"LSUN": "lsun_test", "CelebA": "celeba/img_align_celeba", "Tiny-Imagenet": "tiny-imagenet"}
LABELLED = {
    "CIFAR10": (datasets.cifar10, datasets.find_cifar10, datasets.HOW_CIFAR10),
    "CIFAR100": (datasets.cifar100, datasets.find_cifar100, datasets.HOW_CIFAR100),
    "SVHN": (datasets.svhn, datasets.find_svhn, datasets.HOW_SVHN),
}
WITHDRAWN = (
    "80 Million Tiny Images was withdrawn in 2020: a folder or archive of a million small photographs of everything, "
    f"called {GENERAL} under data=DIR, takes its place (ImageNet at 32x32, for example)"
)

NO_LAPTOP = Need("no laptop scale", False, "table=likelihood_laptop, or give scale=paper data=DIR")


def needs(data: Path | None, names: Sequence[str]) -> list[Need]:
    """The general images, and the sets of these names as the paper's tables print them (CIFAR-10 is CIFAR10)."""
    return [replace(set_need(data, GENERAL, "a general distribution's images"), how=WITHDRAWN), *set_needs(data, names)]


def set_needs(data: Path | None, names: Sequence[str]) -> list[Need]:
    """The sets of these names, as the paper's tables print them, or as `find_set` knows them."""
    needed = []
    for name in map(plain, names):
        if name in LABELLED:
            _, find, how = LABELLED[name]
            folder = find(data)
            needed.append(Need(name, folder is not None, how, () if folder is None else (folder,)))
        else:
            needed.append(set_need(data, FOLDERS.get(name, name), name))
    return needed


def knows(name: str) -> bool:
    """Whether `images` reads a set by its name in the paper's tables."""
    return plain(name) in (*LABELLED, *FOLDERS)


def images(context: Context, name: str, split: Split) -> np.ndarray:
    """Images (N, 32, 32, 3) uint8 of a set by the tables' name, or of `GENERAL`; folders have one split, their own.

    Raises:
        UserError: the set is not in the data root, or cannot be read.
    """
    name = plain(name)
    if name in LABELLED:
        read = LABELLED[name][0]
        return np.ascontiguousarray(read(split, context.data)[0].transpose(0, 2, 3, 1))

    pixels, _ = resized(context, FOLDERS.get(name, name), PreparedPixels(32, 3))
    pixels = pixels.transpose(0, 2, 3, 1)  # a view: the images stay on disk
    return pixels[:FACES] if name == "CelebA" else pixels


def classes(context: Context, name: str) -> np.ndarray:
    """Labels (N,) from 0 of the training images of CIFAR10, CIFAR100 or SVHN.

    Raises:
        UserError: the set is not in the data root, or cannot be read.
    """
    labels: np.ndarray = LABELLED[plain(name)][0]("train", context.data)[1]
    return labels


def plain(name: str) -> str:
    """A set's name as Tables S1 to S3 print it; Table S4 has CIFAR-10 and CIFAR-100."""
    return name.replace("CIFAR-", "CIFAR")


@dataclass(frozen=True)
class GlowSettings:
    """Of a Glow and its training; the paper's by default (S1.1, S4.1).

    steps, hidden, coupling: of the network. epochs: over the in-distribution's images; the general model makes as many
    updates as CIFAR10's do. batch_size: the public repository's. iterations: a number in place of the epochs.
    """

    steps: int = 32
    hidden: int = 512
    epochs: int = 250
    batch_size: int = 64
    iterations: int | None = None
    coupling: Literal["sigmoid", "tanh"] = "sigmoid"

    @property
    def key(self) -> str:
        """Tells runs with other settings apart."""
        return hashlib.blake2b(json.dumps(asdict(self)).encode(), digest_size=4).hexdigest()

    def network(self, seed: int, channels: int = 3) -> Glow:
        """A Glow with weights drawn from the seed."""
        import torch

        from genaudit.likelihood.glow import Glow

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Glow(channels, 32, steps=self.steps, hidden=self.hidden, coupling=self.coupling)

    def recipe(self, count: int, seed: int, *, flip: bool) -> TrainingRecipe:
        """How to train on `count` images, or for as many updates as they take."""

        iterations = self.iterations or self.epochs * max(1, count // self.batch_size)
        return TrainingRecipe(iterations=iterations, batch_size=self.batch_size, shift=0.1, flip=flip, seed=seed)


def trained(
    context: Context,
    settings: GlowSettings,
    name: str,
    seed: int,
    model: Glow,
    on: np.ndarray,
    recipe: TrainingRecipe,
    **more: Any,
) -> Glow:
    """The model of `trained_with_log`."""
    return trained_with_log(context, settings, name, seed, model, on, recipe, **more)[0]


def trained_with_log(
    context: Context,
    settings: GlowSettings,
    name: str,
    seed: int,
    model: Glow,
    on: np.ndarray,
    recipe: TrainingRecipe,
    *,
    look: Look | None = None,
    **more: Any,
) -> tuple[Glow, dict[str, np.ndarray]]:
    """The model trained on images, in evaluation mode, and its log; resumes from its last checkpoint.

    Its folder is a saved model, which `density_model=` takes. Models lie beside the recipes' folders, for all tables: a
    model takes days. Each is named by what it depends on: settings, images, outliers, labels, the weights that it
    begins with and those of the general model.

    Args:
        name: of the model, a folder name. look: at it while it trains, `LOOKS` times.
        more: `labels` of `Trainer`; `outliers` and `general`, for the outlier loss.
    """
    from genaudit.likelihood.trainer import Trainer

    context.report(f"seed {seed}: {name}, {recipe.iterations} iterations")
    trainer = Trainer(model, on, recipe, device=context.device, **more)
    content = {role: _content(each) for role, each in {"start": model, "images": on, **more}.items()}
    content |= {} if look is None else {f"look {role}": each for role, each in look.content.items()}
    folder = context.training_folder(f"glow-{name}-seed{seed}", {"recipe": asdict(recipe), "seed": seed, **content})
    fit(
        trainer,
        folder,
        record=_numbers,
        log=(*LOG, *(() if look is None else look.columns)),
        every=100 if look is None else max(1, trainer.iterations // LOOKS),
        checkpoint_seconds=context.checkpoint_seconds,
        watch=None if look is None else lambda _: look(model),
    )
    channels, size, _ = model.image_shape
    node = {
        "_target_": "genaudit.likelihood.glow.Glow",
        **{"channels": channels, "size": size, "steps": settings.steps, "hidden": settings.hidden},
        **{"coupling": settings.coupling, "classes": model.classes},
    }
    if not (folder / SAVED).exists():
        saved.save(model, folder, node, name=name, seed=seed, recipe=asdict(recipe))
    return model.eval(), read_log(folder)


def general_model(context: Context, settings: GlowSettings, seed: int) -> tuple[Glow, np.ndarray]:
    """The model of the general distribution, and that distribution's images."""
    outliers = images(context, GENERAL, "train")
    # "the number of batch updates is identical between Tiny and the other experiments" (S4.1)
    recipe = settings.recipe(len(images(context, "CIFAR10", "train")), seed, flip=True)
    return trained(context, settings, "general", seed, settings.network(seed), outliers, recipe), outliers


def own_recipe(settings: GlowSettings, name: str, count: int, seed: int) -> TrainingRecipe:
    """The recipe for an in-distribution: CIFAR's images are mirrored too, SVHN's digits are not (S4.1)."""
    return settings.recipe(count, seed, flip=plain(name).startswith("CIFAR"))


def over_seeds(context: Context, seeds: int, name: str, one: Callable[[int], Any]) -> list[Any]:
    """A step for each seed; they count up from the run's. `one` takes the seed, and pickle must know it."""
    counted = range(context.seed, context.seed + seeds)
    return context.steps({f"{name}-seed{seed}": functools.partial(one, seed) for seed in counted})


def _content(given: Any) -> str:
    """The digest of images or labels, or of a model's weights."""
    if isinstance(given, np.ndarray):
        return digest_of(given)
    return sha256_of_tensors(given.state_dict())


def _numbers(step: Step) -> dict[str, float]:
    return {name: float(getattr(step, name)) for name in LOG}
