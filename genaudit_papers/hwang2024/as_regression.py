"""Section D of hwang2024's supplement: is the regression of the feature change on superpixels determined?"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.measures.embedding import Embedding
from genaudit.recipe import Context, Need, Scale
from genaudit.reports.table import Cell, Table
from genaudit_papers import datasets
from genaudit_papers.measuring import weights_need
from genaudit_papers.published import published


class Regression:
    """Section D: the regression of the feature change on the superpixels attacked, and whether it is determined.

    Args:
        model: feature model. more_trials: next to the paper's 20, as many as determine the regression well.
    """

    def __init__(self, model: Any, *, more_trials: int = 60) -> None:
        self.model, self.more_trials = model, more_trials

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """A photograph and its superpixels, the weights."""

        have = find_spec("skimage") is not None
        return [
            Need("superpixels (SLIC) and photographs: scikit-image", have, "pip install 'genaudit-images[explain]'"),
            datasets.photographs_need(),
            weights_need("the feature model", self.model, "table.model"),
        ]

    def run(self, context: Context) -> Table:
        """Attacks superpixels of a photograph as the paper does, and with more trials."""
        paper = published("hwang2024", "Section D")
        settings = {row: int(paper[row, "value"].value or 0) for row in paper.rows}
        fits = {
            trials: context.step(f"trials_{trials}", partial(self._fit, context, settings, trials))
            for trials in (settings["trials"], self.more_trials)
        }
        paper_design = self._determined(context, settings)
        row = f"the paper's {settings['superpixels an image']} superpixels and {settings['trials']} trials"
        cells = [
            Cell(row, "unknowns: coefficients and an intercept", settings["superpixels an image"] + 1),
            Cell(row, "determined by the trials", paper_design, note="below the unknowns: not determined"),
        ]
        for trials, numbers in fits.items():
            row = f"a photograph, {trials} trials"
            unknowns = numbers["superpixels"] + 1
            cells.append(Cell(row, "unknowns: coefficients and an intercept", unknowns))
            cells.append(
                Cell(row, "determined by the trials", numbers["rank"] + 1, note="below the unknowns: not determined")
            )
            cells.append(
                Cell(row, "share explained (R²)", numbers["r2"], note="1 by construction where not determined")
            )
        first, second = fits.values()
        agreement = float(np.corrcoef(first["coefficients"], second["coefficients"])[0, 1])
        cells.append(Cell("coefficients of both", "Pearson correlation", agreement))
        return paper.recomputed(
            "as_section_d",
            cells,
            context.scale,
            differs="One photograph of scikit-image; the paper prints its settings alone, which are used here.",
            notes=paper.notes,
        )

    def _determined(self, context: Context, settings: Mapping[str, int]) -> int:
        """How many unknowns a drawn set of trials determines: the rank of its indicators, and the intercept."""
        from genaudit.measures.superpixels import choose

        chosen = choose(
            settings["trials"],
            settings["superpixels an image"],
            settings["fewest superpixels attacked"],
            settings["most superpixels attacked"],
            context.seed,
        )
        return int(np.linalg.matrix_rank(chosen - chosen.mean(0))) + 1

    def _fit(self, context: Context, settings: Mapping[str, int], trials: int) -> dict[str, Any]:
        import torch

        from genaudit.measures.superpixels import attribute, superpixels

        measure = Embedding(self.model)
        wanted = settings["superpixels an image"]
        cut = [(image, superpixels(image, wanted)) for image in map(measure.prepare, datasets.photographs())]
        image, labels = min(cut, key=lambda each: abs(int(each[1].max()) + 1 - wanted))  # SLIC makes about so many
        network = self.model.network(context.device, torch.float32)
        pixels = torch.from_numpy(image).permute(2, 0, 1).float().div(255).to(context.device)
        fit = attribute(
            network,
            pixels,
            labels,
            trials=trials,
            least=settings["fewest superpixels attacked"],
            most=settings["most superpixels attacked"],
            seed=context.seed,
        )
        centred = fit.chosen - fit.chosen.mean(0)
        return {
            "superpixels": int(labels.max()) + 1,
            "rank": int(np.linalg.matrix_rank(centred)),
            "r2": fit.share_explained,
            "coefficients": fit.coefficients.tolist(),
        }
