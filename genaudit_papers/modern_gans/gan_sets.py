"""What the tables on generators as densities share: groups of images, the demo's VAE decoder, rows from the store.

The groups stand for the paper's: training images, held-out images of the same data, the generator's own samples,
another dataset (MNIST for the paper's SVHN) and images of a single colour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from genaudit import demo
from genaudit.backbones.generator import Generator
from genaudit.backbones.generator_sources import ModuleGenerator
from genaudit.data import ImageSet, open_images
from genaudit.likelihood.inference import single_colours
from genaudit.measures.generator_images import MeasureOfGenerator, as_generator_images
from genaudit.recipe import Context, Need, Scale
from genaudit.store import Engine, Store
from genaudit_papers import datasets

SOURCE = "Intriguing Properties of Modern GANs, under review (anonymous)"
DIFFERS = (
    "The generator is the demo's VAE decoder (10 latents, 28x28 grey, Fashion-MNIST) instead of BigGAN, StyleGAN and "
    "ReACGAN on CIFAR-10, ImageNet and AFHQ, whose weights are not on this machine; MNIST stands for SVHN. `genaudit "
    "evaluate generator=...` does the same for a generator of your own."
)
KINDS = ("train", "held-out", "generated", "MNIST", "single colour")


def decoder() -> Generator:
    """The generator of these tables."""
    return ModuleGenerator(name="demo_vae", module="genaudit.demo.load_vae_decoder", latent=10)


def needs(scale: Scale) -> list[Need]:
    """MNIST's images; at the paper's scale the GANs' weights, which nobody ships."""
    needed = [datasets.mnist_need()]
    if scale == "paper":
        how = "export a GAN of your own: genaudit evaluate SAMPLES train=T generator=exported ..., docs/generators.md"
        needed.append(Need("weights of BigGAN, StyleGAN-XL, ReACGAN and StyleGAN2-ADA", False, how))
    return needed


class Groups:
    """Groups of images by name, and their rows.

    Args:
        generator: G. seed: of the samples. counts: images per group.
    """

    def __init__(self, generator: Generator, *, seed: int, counts: dict[str, int]) -> None:
        self.generator, self.seed, self.counts = generator, seed, counts

    @cached_property
    def sets(self) -> dict[str, ImageSet]:
        return {kind: self._open(kind, count) for kind, count in self.counts.items()}

    def _open(self, kind: str, count: int) -> ImageSet:
        source: Any
        if kind in ("train", "held-out"):
            source = demo.path({"held-out": "held_out"}.get(kind, kind))
        elif kind == "generated":
            batches = list(self.generator.sample(count, seed=self.seed))
            pixels = np.concatenate([batch.clamp(0, 1).mul(255).round().byte().cpu().numpy() for batch in batches])
            source = pixels.transpose(0, 2, 3, 1).repeat(3 // pixels.shape[1], axis=3)
        elif kind == "MNIST":
            images, _ = datasets.mnist()
            chosen = np.sort(np.random.default_rng(self.seed).choice(len(images), count, replace=False))
            source = images[chosen][..., None].repeat(3, axis=3)
        else:
            source = single_colours(count, self.generator.recipe.size, channels=self.generator.channels)
        opened = open_images(source, role=kind)
        assert isinstance(opened, ImageSet)
        return opened.subset(range(min(count, len(opened))))

    def pixels(self, kind: str) -> np.ndarray:
        """(N, C, S, S) float32 in [0, 1] at the generator's size."""
        return self.of(self.sets[kind])

    def of(self, images: ImageSet) -> np.ndarray:
        """The same for any images."""
        import torch

        read = [self.generator.recipe.apply(images.read(index)) for index in range(len(images))]
        stack = torch.from_numpy(np.stack(read).transpose(0, 3, 1, 2))
        return as_generator_images(stack, self.generator.channels, torch.float32).numpy()

    def rows(self, measure: MeasureOfGenerator, context: Context) -> dict[str, np.ndarray]:
        """Rows (N, D) of every group, read back from the store where they are."""
        return {kind: stored(measure, images, context, kind) for kind, images in self.sets.items()}


def stored(measure: Any, images: ImageSet, context: Context, kind: str) -> np.ndarray:
    """Rows of a set, measured where the store lacks them: a run that is interrupted resumes where it was."""

    @contextmanager
    def told(missing: int) -> Iterator[Any]:
        context.report(f"{measure.name}: {missing} {kind} images")
        yield lambda done: None

    # the store fills up a batch: one of few images should not cost what a full one does
    engine = Engine(device=context.device, batch_size=min(len(images), measure.batch_size(context.device)))
    measured = Store(context.store).measure(images, measure, engine, advance=told)
    assert measured.rows is not None
    return np.asarray(measured.rows[:])


def labels_of(names: Sequence[str]) -> np.ndarray:
    """Classes (N,) from 0 of the demo's images, whose names end in them: 0027-tshirt.png."""
    texts = [Path(name).stem.partition("-")[2] for name in names]
    return np.unique(texts, return_inverse=True)[1]
