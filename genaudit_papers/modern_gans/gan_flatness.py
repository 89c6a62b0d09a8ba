"""Does the generator merely like flat images? Figure 8: local variation against log-likelihood.

"Intriguing Properties of Modern GANs", section 4.2, at a size that a CPU does in minutes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from genaudit.measures.ais import AIS
from genaudit.measures.generator_images import MeasureOfGenerator
from genaudit.measures.patches import Patches
from genaudit.metrics.result import Cloud
from genaudit.recipe import Context
from genaudit.reports.table import Cell, Table
from genaudit.stats.correlation import correlations, finite_pairs
from genaudit_papers.modern_gans.gan_sets import SOURCE, OfAGenerator, Subject, column


class FlatnessTable(OfAGenerator):
    """Figure 8: local variation of images against their log-likelihood."""

    def __init__(
        self,
        *,
        images: int = 80,
        temperatures: int = 100,
        chains: int = 4,
        schedule: str = "power",
        patch: int = 8,
        generator: Any = None,
        sets: Any = None,
    ) -> None:
        """
        Args:
            images: of each group. temperatures, chains, schedule: of annealed importance sampling. patch: its side.
        """
        self.images, self.patch = images, patch
        self.subject = Subject(generator, sets or {})
        self.settings: dict[str, Any] = {"temperatures": temperatures, "chains": chains, "schedule": schedule}

    def run(self, context: Context) -> Table:
        """The same rows as Table 2's; those that the store holds are read back."""
        groups = self._groups(context, dict.fromkeys(("train", "held-out", "MNIST"), self.images))
        measures: tuple[MeasureOfGenerator, ...] = (
            AIS(groups.generator, seed=context.seed, **self.settings),
            Patches(groups.generator, patch=self.patch),
        )
        likelihood, patches = (groups.rows(measure, context) for measure in measures)
        points = {
            kind: np.stack([patches[kind][:, 0], column(likelihood[kind], "bits_per_dim")], axis=1)
            for kind in groups.sets
        }
        cells = []
        for kind, each in points.items():
            correlation = correlations(*each.T, kinds=("spearman", "pearson"), seed=context.seed)
            note = f"over {len(finite_pairs(*each.T)[0])} images"
            cells += [Cell(kind, name, of.value, None, *of.ends, note=note) for name, of in correlation.items()]
            cells.append(Cell(kind, "black patches", float(patches[kind][:, 1].mean()), unit="share", note="left out"))
        cloud = Cloud(
            "Local variation and log-likelihood (Figure 8)",
            "mean coefficient of variation of 8x8 patches",
            "bits per dimension, higher is likelier",
            points,
        )
        note = "The paper states a clear anti-correlation, without a number, for images of birds and cars."
        title = "Flatness and log-likelihood (Figure 8)"
        return Table(
            "gan_flatness", title, SOURCE, tuple(cells), context.scale, self.subject.differs, (cloud,), (note,)
        )
