"""Glows of schirrmeister2020 that exist: shapes and size of the paper's (S1.1), Fourier mixing with a small one (S3).

Schirrmeister et al. 2020. N images.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.likelihood import saved
from genaudit.likelihood.fourier import mix_amplitude_phase, mixing_correlations, to_pixel_range
from genaudit.recipe import Context, Need, Scale
from genaudit.reports.table import Cell, Table
from genaudit.stats.estimate import bootstrap_indices, percentile_interval
from genaudit_papers.measuring import density_model_need, pixels_of
from genaudit_papers.published import compared, published
from genaudit_papers.schirrmeister2020 import density_runs


class Shapes:
    """Shapes and steps of Glow's scales as built, and its number of parameters, which the paper doesn't print.

    Args:
        knobs: of `genaudit.likelihood.glow.Glow`.
    """

    def __init__(self, **knobs: Any) -> None:
        self.knobs = knobs

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """Nothing."""
        return []

    def run(self, context: Context) -> Table:
        """Builds the network and looks."""
        table = published("schirrmeister2020", "Section S1.1")
        found = context.step("built", self._built)
        cells = []
        for row, built in found["scales"].items():
            for column in table.columns:
                cells.append(compared(table[row, column], built[column], row=f"scale {row}", tolerance=0.0))
        cells.append(Cell("whole network", "parameters", found["parameters"], note="counted on the network as built"))
        counted = closed_form(
            **{key: int(self.knobs[key]) for key in ("channels", "scales", "steps", "hidden", "size")}
        )
        cells.append(Cell("whole network", "parameters by formula", counted, note="from shapes alone"))
        return table.recomputed(
            "glow_shapes",
            cells,
            context.scale,
            notes=(
                "The paper prints shapes and steps only. 512 hidden filters are those of the code that it names.",
                *table.notes,
            ),
        )

    def _built(self) -> dict[str, Any]:
        import torch

        from genaudit.likelihood.glow import Glow

        with torch.device("meta"):
            model = Glow(**self.knobs)
        sides = {
            str(number): {
                "channels": c,
                "width": width,
                "height": height,
                "steps": len(list(model.scales[number - 1].children())),
            }
            for number, (c, height, width) in enumerate(model.shapes, start=1)
        }
        # triangular factors are kept as squares: their zeros are no parameters
        zeros = sum(
            int(p.shape[0]) * (int(p.shape[0]) + 1) // 2
            for name, p in model.named_parameters()
            if name.endswith(("linear.lower", "linear.upper"))
        )
        return {"scales": sides, "parameters": sum(p.numel() for p in model.parameters()) - zeros}


def closed_form(*, channels: int, size: int, scales: int, steps: int, hidden: int) -> int:
    """Trainable numbers of a Glow with C channels at a scale, from shapes alone.

    A step: actnorm 2C; 1x1 convolution C²; coupling from C/2 channels through 3x3 and 1x1 convolutions with `hidden`
    filters, each with an actnorm in place of a bias, and a 3x3 one to C with bias and scale. A prior has 2
    numbers a latent dimension, an actnorm's.
    """
    total = 0
    for number in range(scales):
        channels, size = 4 * channels, size // 2
        coupling = (9 * channels // 2 * hidden + 2 * hidden) + (hidden**2 + 2 * hidden) + (9 * hidden + 2) * channels
        total += steps * (2 * channels + channels**2 + coupling)
        kept = channels if number == scales - 1 else channels // 2
        total += 2 * kept * size * size
        channels -= kept if number < scales - 1 else 0
    return total


class Fourier:
    """Section S3: whose likelihood that of a mixed image follows, its amplitudes' or its phases'.

    Args:
        model: a trained density model, name or folder; the paper's at the paper's scale: table.model=FOLDER.
        sets: image sets that are mixed with one another, each image with a random other one: of the demo, folders or
            archives under the data root, or those that Tables S1 to S3 name (CIFAR10, SVHN, LSUN, ...), of which the
            test images are read from the same files. paper_sets: the same at the paper's scale.
    """

    def __init__(
        self,
        model: str = "fashion_mnist",
        sets: Sequence[str] = ("demo:reference", "demo:held_out"),
        paper_sets: Sequence[str] = ("CIFAR10", "SVHN"),
    ) -> None:
        self.model = model
        self.sets: dict[Scale, tuple[str, ...]] = {"laptop": tuple(sets), "paper": tuple(paper_sets)}

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """The model, and at the paper's scale one that was trained on CIFAR10."""
        needed = density_runs.set_needs(data, self.sets[scale])
        needed.append(density_model_need(self.model))
        if scale == "paper" and self.model == "fashion_mnist":
            how = "table.model=FOLDER of `genaudit train likelihood=glow`"
            needed.append(Need("a Glow trained on CIFAR10", False, how))
        return needed

    def run(self, context: Context) -> Table:
        """Mixes, scores, correlates."""
        table = published("schirrmeister2020", "Section S3")
        measured = context.step("correlations", partial(self._correlations, context))
        rows = dict(zip(table.rows, ("amplitude", "phase"), strict=True))
        cells = [
            compared(
                table[row, "Spearman"],
                measured[key],
                lower=measured[f"{key}_interval"][0],
                upper=measured[f"{key}_interval"][1],
            )
            for row, key in rows.items()
        ]
        cells.append(
            Cell("values that left the pixel range and were clipped", "share", 100 * measured["outside"], unit="%")
        )
        laptop = "A small Glow and Fashion-MNIST, which ship with genaudit, in place of those of CIFAR10 and SVHN."
        return table.recomputed(
            "likelihood_fourier",
            cells,
            context.scale,
            differs=laptop if context.scale == "laptop" else "",
            notes=("Intervals: 95 % bootstrap over images. Mixes are clipped and rounded to pixels first.",),
        )

    @staticmethod
    def _images(context: Context, name: str) -> np.ndarray:
        """Images (N, H, W, 3) uint8: the test split where the set has one."""
        if density_runs.knows(name):
            return density_runs.images(context, name, "test")
        return pixels_of(context.data, name)

    def _correlations(self, context: Context) -> dict[str, Any]:
        import torch

        from genaudit.likelihood.dequantisation import to_pixels
        from genaudit.likelihood.scoring import log_likelihoods

        model = saved.load(self.model, context.device)
        channels, size, _ = model.image_shape
        # each set on its own: theirs may be grey or colour, of 28 or 32 pixels
        sets = [
            to_pixels(self._images(context, name), channels=channels, size=size) for name in self.sets[context.scale]
        ]
        pixels = torch.cat(sets)
        # one cycle through all images in random order: nobody is mixed with themselves
        order = np.random.default_rng(context.seed).permutation(len(pixels))
        partner = np.empty(len(order), int)
        partner[order] = np.roll(order, 1)
        mixed = to_pixel_range(mix_amplitude_phase(pixels.float(), pixels[partner].float()))
        scores, mixes = (log_likelihoods(model, each)[:, 0] for each in (pixels, mixed.pixels))
        value = mixing_correlations(mixes, scores, scores[partner])
        drawn = [
            mixing_correlations(mixes[index], scores[index], scores[partner][index])
            for (index,) in bootstrap_indices((len(mixes),), repeats=300, seed=context.seed)
        ]
        return {
            "amplitude": value.amplitude,
            "phase": value.phase,
            "amplitude_interval": list(percentile_interval(value.amplitude, [each.amplitude for each in drawn]).ends),
            "phase_interval": list(percentile_interval(value.phase, [each.phase for each in drawn]).ends),
            "outside": mixed.outside,
        }
