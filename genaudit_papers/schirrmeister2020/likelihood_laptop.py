"""The likelihood paradox and what mends it: small Glows that a CPU trains in minutes, on Fashion-MNIST, several seeds.

Schirrmeister et al. 2020 at a small size. A general model learns cut-outs of photographs, a copy of it learns
Fashion-MNIST, a copy of that continues with the outlier loss (Eq. S1). They are asked to tell Fashion-MNIST's test
images from MNIST's, and from themselves rotated by 90 degrees: by the likelihood, by its last scale, by its ratio to
the general model and to lossless codes, and by the controls that know nothing of Fashion-MNIST: the general model alone
and the code length alone. What a ratio shows of Fashion-MNIST is what it scores above its control.

Every number is the mean over the seeds; its interval is their lowest and highest value, its note lists them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.measures.code_length import code_length
from genaudit.metrics.result import Curve, PictureRow, Pictures
from genaudit.recipe import Context, Need, Scale
from genaudit.reports.table import Cell, Table
from genaudit.stats.auroc import auroc
from genaudit.training import read_log
from genaudit_papers import datasets
from genaudit_papers.cutouts import cutouts
from genaudit_papers.measuring import digest_of
from genaudit_papers.over_seeds import over_seeds_compared
from genaudit_papers.published import PublishedCell
from genaudit_papers.schirrmeister2020 import small_glows

SHOWN, TEMPERATURE = 10, 0.8
NOTES = (
    "AUROC: Fashion-MNIST's test images are the positive class, so that below 0.5 the others look likelier. Scores "
    "are noise-free and clipped at -3,000,000 nats.",
    "Intervals are the lowest and the highest of the seeds; rows whose seeds span more than 0.1 are called unstable.",
    "The controls know nothing of Fashion-MNIST: on MNIST they come near the ratios, on the rotated set they are at "
    "chance, which makes it the fairer judge. The general distribution's silhouettes were chosen after seeing MNIST.",
    "Bits per dimension count the padding of 28x28 to 32x32. Many draws of noise (importance-weighted dequantisation) "
    "bound the same quantity from above more tightly than one.",
    "Mixes of Fourier amplitudes and phases are clipped and rounded to pixels before the model sees them. The paper "
    "finds Spearman correlations above 0.8 with the amplitudes and below 0.05 with the phases on CIFAR-10 and SVHN.",
)
UNSTABLE = 0.1  # seeds that differ by more than this in AUROC or correlation are called unstable
NEGATIVES = ("MNIST", "rotated 90 degrees")
TEST = "Fashion-MNIST"
SOURCE = "Schirrmeister et al. 2020 (NeurIPS), method of sections S1 to S4; the laptop recipe is this project's"
DIFFERS = (
    "Everything but the method: Glow with 4 steps a scale and 32 hidden filters instead of 32 and 512, {general:,} + "
    "{images:,} iterations of Adam instead of 250 epochs of Adamax, tanh instead of sigmoid couplings, no "
    "augmentation; the general distribution is cut-outs of six photographs instead of 80 Million Tiny Images; MNIST is "
    "5,000 training images. The supplement prints no number for Fashion-MNIST, so no cell has a published value."
)


class LikelihoodLaptop:
    """AUROCs and bits per dimension of small Glows on Fashion-MNIST, over several seeds."""

    def __init__(
        self,
        *,
        seeds: int = 3,
        general_iterations: int = 2000,
        iterations: int = 1500,
        outlier_iterations: int = 250,
        cutouts: int = 30_000,
        images: int = 2000,
        mnist: int = 5000,
        noise_images: int = 256,
        noise_samples: int = 32,
    ) -> None:
        """
        Args:
            seeds: how many; they count up from the run's seed.
            general_iterations, iterations, outlier_iterations: optimiser steps of the three models.
            cutouts: images of the general distribution.
            images, mnist: of Fashion-MNIST's test set and of MNIST, to judge by.
            noise_images, noise_samples: of these, how many confirm the bits per dimension by importance-weighted
                dequantisation, and with how many draws of noise.
        """
        self.seeds, self.images, self.mnist = seeds, images, mnist
        self.noise_images, self.noise_samples = noise_images, noise_samples
        self.budget = small_glows.TrainingBudget(general_iterations, iterations, outlier_iterations, cutouts)

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """Fashion-MNIST, MNIST's images and the photographs; at the paper's scale what nobody can get any more."""
        needs = [datasets.fashion_mnist_need(data), datasets.mnist_need(), datasets.photographs_need()]
        if scale == "paper":
            how = "its authors withdrew it in 2020; scale=laptop trains on cut-outs of photographs instead"
            needs.append(Need("80 Million Tiny Images", False, how))
        return needs

    def run(self, context: Context) -> Table:
        """Trains and judges each seed; a run that was interrupted resumes from its last checkpoint."""
        data = _Data(context.data, self)
        codes = context.step(f"code-lengths-{self.images}-{self.mnist}", data.code_lengths)
        seeds = range(context.seed, context.seed + self.seeds)
        measured = context.steps(
            {f"seed{seed}-{self._key()}": partial(self._seed, context, seed, data, codes) for seed in seeds}
        )
        return self._table(context, measured)

    def _key(self) -> str:
        """Tells runs with other settings apart."""
        judging = [self.images, self.mnist, self.noise_images, self.noise_samples]
        settings = json.dumps([vars(self.budget), small_glows.NETWORK, judging])
        return hashlib.blake2b(settings.encode(), digest_size=4).hexdigest()

    def models(self, context: Context, seed: int) -> small_glows.Trained:
        """The three models of a seed, trained or read back."""
        return self._models(context, seed, _Data(context.data, self))

    def general_model(self, context: Context, seed: int) -> Any:
        """The general model of a seed, trained or read back; the other two are left alone."""
        data = _Data(context.data, self)
        return small_glows.train_general(
            data.cutouts,
            self.budget,
            self._folder(context, seed, data),
            seed=seed,
            device=context.device,
            report=context.report,
            checkpoint_seconds=context.checkpoint_seconds,
        )

    def judged(self, context: Context) -> dict[str, np.ndarray]:
        """The sets that models are judged by, uint8 (N, 28, 28) by name; the in-distribution's test images first."""
        return _Data(context.data, self).judged

    def training_images(self, context: Context) -> tuple[np.ndarray, np.ndarray]:
        """Fashion-MNIST's training images and the cut-outs, uint8 (N, 28, 28)."""
        data = _Data(context.data, self)
        return data.train, data.cutouts

    def _models(self, context: Context, seed: int, data: _Data) -> small_glows.Trained:
        return small_glows.train(
            data.train,
            data.cutouts,
            self.budget,
            self._folder(context, seed, data),
            seed=seed,
            device=context.device,
            report=context.report,
            checkpoint_seconds=context.checkpoint_seconds,
        )

    def _folder(self, context: Context, seed: int, data: _Data) -> Path:
        content = {"images": data.digests, "budget": vars(self.budget), "network": small_glows.NETWORK, "seed": seed}
        return context.training_folder(f"small-glows-seed{seed}", content)

    def _seed(self, context: Context, seed: int, data: _Data, codes: dict[str, Any]) -> dict[str, Any]:
        """Every number of one seed."""
        folder = self._folder(context, seed, data)
        models = self._models(context, seed, data)
        context.report(f"seed {seed}: judging")
        scores = small_glows.judge(models, data.judged, codes)
        test = data.judged[TEST]
        amplitude, phase = small_glows.amplitude_and_phase(models.images, test)
        logs = {name: read_log(folder / name) for name in models.seconds}
        return {
            "auroc": {
                name: {negative: auroc(of[TEST], of[negative]) for negative in NEGATIVES} for name, of in scores.items()
            },
            "bits": self._bits(models, data),
            "spearman": {"mix and its amplitudes": amplitude, "mix and its phases": phase},
            "minutes": {name: seconds / 60 for name, seconds in models.seconds.items()},
            "skipped": sum(models.skipped.values()),
            "curves": {
                name: {"x": log["iteration"].tolist(), "y": log["bits_per_dim"].tolist()} for name, log in logs.items()
            },
            "pictures": _pictures(models, data),
        }

    def _bits(self, models: small_glows.Trained, data: _Data) -> dict[str, float]:
        test, few = data.judged[TEST], data.judged[TEST][: self.noise_images]
        return {
            TEST: small_glows.bits(models.images, test),
            f"{TEST}, first {len(few)}": small_glows.bits(models.images, few),
            f"{TEST}, first {len(few)}, {self.noise_samples} draws of noise": small_glows.bits(
                models.images, few, samples=self.noise_samples
            ),
            f"{small_glows.AFTER}{TEST}": small_glows.bits(models.outlier, test),
            f"general model: {TEST}": small_glows.bits(models.general, test),
            "general model: cut-outs": small_glows.bits(models.general, data.cutouts[: self.images]),
        }

    def _table(self, context: Context, found: list[dict[str, Any]]) -> Table:
        cells = [
            _cell(name, f"AUROC against {negative}", [one["auroc"][name][negative] for one in found])
            for name in found[0]["auroc"]
            for negative in NEGATIVES
        ]
        for group, column, unit in (
            ("bits", "bits per dimension", "bits"),
            ("spearman", "Spearman correlation", ""),
            ("minutes", "CPU minutes of training", "min"),
        ):
            cells += [_cell(name, column, [one[group][name] for one in found], unit) for name in found[0][group]]
        cells.append(_cell("updates left out as not finite", "count", [one["skipped"] for one in found]))
        unstable = "; ".join(f"{cell.row} ({cell.column})" for cell in cells if cell.note.startswith("unstable"))
        return Table(
            name="likelihood_laptop",
            title=f"Fashion-MNIST by small Glows, {len(found)} seeds",
            source=SOURCE,
            cells=tuple(cells),
            scale=context.scale,
            differs=DIFFERS.format(**vars(self.budget)),
            figures=(*_curves(found, context.seed), _as_pictures(found[0]["pictures"])),
            notes=(*NOTES, f"Unstable over the seeds: {unstable}.") if unstable else NOTES,
        )


def _cell(row: str, column: str, values: list[float], unit: str = "") -> Cell:
    """The mean over the seeds; what is unstable says so."""
    cell = over_seeds_compared(PublishedCell(row, column, ""), values, unit=unit)
    if column.startswith(("AUROC", "Spearman")) and max(values) - min(values) > UNSTABLE:
        return replace(cell, note=f"unstable over seeds; {cell.note}")
    return cell


def _curves(found: list[dict[str, Any]], first: int) -> list[Curve]:
    titles = {"general": "General model", "images": "Copy of it on Fashion-MNIST", "outlier": "With the outlier loss"}
    return [
        Curve(
            f"{title}: training",
            "iteration",
            "bits per dimension of a batch",
            np.array(found[0]["curves"][name]["x"]),
            {f"seed {first + i}": np.array(one["curves"][name]["y"]) for i, one in enumerate(found)},
        )
        for name, title in titles.items()
    ]


def _pictures(models: small_glows.Trained, data: _Data) -> dict[str, Any]:
    """Rows of 28x28 or 32x32 pixels as lists, for JSON."""
    import torch

    from genaudit.likelihood.dequantisation import from_unit_axis

    def samples(model: Any) -> list[Any]:
        drawn = model.sample(SHOWN, torch.Generator().manual_seed(0), temperature=TEMPERATURE)
        pixels: list[Any] = from_unit_axis(drawn)[:, 0].cpu().numpy().tolist()
        return pixels

    return {
        "what the general model learned": data.cutouts[:SHOWN].tolist(),
        "samples of the general model": samples(models.general),
        "samples of the Fashion-MNIST model": samples(models.images),
        "samples after the outlier loss": samples(models.outlier),
    }


def _as_pictures(rows: dict[str, Any]) -> Pictures:
    drawn = tuple(
        PictureRow(caption, tuple(np.array(image, np.uint8) for image in images)) for caption, images in rows.items()
    )
    note = f"First seed; latents at {TEMPERATURE} of the prior's standard deviation."
    return Pictures("What the models learned and what they draw", ("",) * SHOWN, drawn, note)


class _Data:
    """The images, read or made when they are first needed."""

    def __init__(self, root: Path | None, recipe: LikelihoodLaptop) -> None:
        self.root, self.recipe = root, recipe

    @cached_property
    def train(self) -> np.ndarray:
        return datasets.fashion_mnist("train", self.root)[0]

    @cached_property
    def cutouts(self) -> np.ndarray:
        return cutouts(datasets.photographs(), self.recipe.budget.cutouts)

    @cached_property
    def digests(self) -> list[str]:
        """Of the images that the models learn."""
        return [digest_of(images) for images in (self.train, self.cutouts)]

    @cached_property
    def judged(self) -> dict[str, np.ndarray]:
        """By name, (N, 28, 28) uint8."""
        test = datasets.fashion_mnist("test", self.root)[0][: self.recipe.images].copy()
        digits = datasets.mnist()[0]  # sorted by digit
        digits = digits[np.linspace(0, len(digits) - 1, self.recipe.mnist).astype(int)]
        return {TEST: test, NEGATIVES[0]: digits, NEGATIVES[1]: np.rot90(test, axes=(1, 2)).copy()}

    def code_lengths(self) -> dict[str, dict[str, list[float]]]:
        """Codec => set => bits of each image, padded as the models see it (so does `metric=llr`)."""
        padded = {name: small_glows.padded(images) for name, images in self.judged.items()}
        return {
            "PNG": {name: code_length(images, "png").tolist() for name, images in padded.items()},
            "WebP": {name: code_length(images, "webp").tolist() for name, images in padded.items()},
        }
