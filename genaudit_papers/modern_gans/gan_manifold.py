"""Is the generator a manifold that holds the data? Figures 3, 4, 5, 10 and 11, Table 3: inversion and its uses.

"Intriguing Properties of Modern GANs", section 3.1 and appendix B, at a size that a CPU does in minutes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from genaudit.data import ImageSet, open_images
from genaudit.likelihood.inference import outlier_auroc
from genaudit.likelihood.inversion import psnr
from genaudit.measures.inversion import Inverted
from genaudit.metrics.generator_rows import INVERSION, densities
from genaudit.metrics.result import PictureRow, Pictures
from genaudit.recipe import Context, Need, Scale
from genaudit.reports.table import Cell, Table
from genaudit.stats.auroc import auroc
from genaudit.stats.estimate import bootstrap, bootstrap_mean
from genaudit.store import Rows
from genaudit_papers.measuring import embedded_weights, find_set
from genaudit_papers.modern_gans.gan_baselines import embeddings, nearest_of
from genaudit_papers.modern_gans.gan_sets import KINDS, SOURCE, Groups, Subject
from genaudit_papers.published import published

OUTLIERS = ("MNIST", "single colour")
SHOWN = 4  # reconstructions a group


class Table3:
    """PSNR of the observation variances that the paper used."""

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """Nothing."""
        return []

    def run(self, context: Context) -> Table:
        """-10·log10(sigma²), with the interval that the rounding of sigma² to three decimals leaves."""
        table = published("modern_gans", "Table 3")
        cells = []
        for row in table.rows:
            variance = table[row, "variance"]
            assert variance.value is not None
            low, high = (psnr(variance.value + sign * variance.half_unit) for sign in (1, -1))
            printed = table[row, "PSNR"]
            cells.append(
                Cell(
                    row,
                    "PSNR",
                    psnr(variance.value),
                    printed.value,
                    low,
                    high,
                    printed.half_unit,
                    "dB",
                    f"of sigma² = {variance.printed}",
                )
            )
        note = (
            "PSNR = -10·log10(sigma²) with peak 1, images scaled to [0, 1]. sigma² is printed with three decimals: the "
            "interval is what rounding leaves, and 21.2 dB belongs to 0.0076, which rounds to 0.008."
        )
        return table.recomputed("gan_table3", cells, context.scale, notes=(note,))


class ManifoldTable:
    """Reconstruction errors of image groups, and outlier detection by them beside 1-NN."""

    def __init__(
        self,
        *,
        images: int = 40,
        restarts: int = 4,
        samples: int = 500,
        steps: int = 500,
        generator: Any = None,
        sets: Any = None,
    ) -> None:
        """
        Args:
            images: of each group. restarts, samples, steps: of the inversion. generator, sets: of `Subject`.
        """
        self.images, self.subject = images, Subject(generator, sets or {})
        self.settings: dict[str, Any] = {"restarts": restarts, "samples": samples, "steps": steps}

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """The image sets and the perceptual network; without a generator, at the paper's scale, the GANs' weights."""
        return [*self.subject.needs(scale, data), embedded_weights()]

    def run(self, context: Context) -> Table:
        """Inverts every group; rows that the store holds are read back."""
        counts, subject = dict.fromkeys(KINDS, self.images), self.subject
        groups = Groups(subject.generator, seed=context.seed, counts=counts, subject=subject, data=context.data)
        measure = Inverted(groups.generator, seed=context.seed, **self.settings)
        rows = groups.rows(measure, context)
        errors = {kind: of_kind[:, INVERSION.index("error")].astype(float) for kind, of_kind in rows.items()}
        cells = [*_errors(errors, context.seed), *_separation(errors, context.seed)]
        key = f"perceptual-{self.images}-{context.seed}"
        perceptual = context.step(key, lambda: _perceptual(groups, rows, context.device))
        cells += _outliers(groups, errors, perceptual)
        figures: list[Any] = [
            densities(
                "Reconstruction errors (Figures 3, 5 and 10)",
                "log10 of the mean squared error per number",
                {kind: np.log10(np.maximum(e, 1e-12)) for kind, e in errors.items() if kind != "single colour"},
            ),
            _pictures(groups, rows, errors),
        ]
        notes = (
            "Errors are mean squared differences per number on the [0, 1] scale; intervals are bootstrap over images. "
            "The paper states the finding without numbers: training images are an order of magnitude worse than "
            "generated ones, and flat or foreign images are often recovered better than training images.",
            "Outlier detection: AUROC of the score with held-out images as in-distribution; 1-NN: the distance to the "
            "nearest training image. Perceptual: features of EfficientNet-Lite0 (blocks.2.0); the "
            "reconstructions were found in L2.",
        )
        title = "Reconstruction errors by inversion, and outlier detection by them (Figures 3 to 5, 10 and 11)"
        drawn = tuple(figure for figure in figures if figure is not None)
        return Table("gan_inversion", title, SOURCE, tuple(cells), context.scale, self.subject.differs, drawn, notes)


def _errors(errors: dict[str, np.ndarray], seed: int) -> list[Cell]:
    cells = []
    for kind, each in errors.items():
        for median, column in ((True, "median error"), (False, "mean error")):
            found = bootstrap_mean(each, seed=seed, median=median)
            cells.append(Cell(kind, column, found.value, None, *found.ends))
    sigma2 = float(errors["train"].mean())
    cells.append(
        Cell("train", "PSNR", psnr(sigma2), unit="dB", note="of sigma² = the mean error of training images (B.3)")
    )
    return cells


def _separation(errors: dict[str, np.ndarray], seed: int) -> list[Cell]:
    def ratio(real: np.ndarray, made: np.ndarray) -> float:
        return float(np.median(real) / max(float(np.median(made)), 1e-300))

    row, made = "train over generated", errors["generated"]
    cells = []
    for column, of, note in (
        ("ratio of medians", ratio, "the paper: an order of magnitude"),
        ("AUROC", auroc, "of the error, training against generated images"),
    ):
        found = bootstrap(of, errors["train"], made, repeats=500, seed=seed)
        cells.append(Cell(row, column, found.value, None, *found.ends, note=note))
    return cells


def _perceptual(groups: Groups, rows: dict[str, Rows], device: str) -> dict[str, dict[str, list[float]]]:
    """Distances of images to their reconstructions and to the nearest training image, by what is compared."""
    kinds, _ = embeddings(device)
    training = open_images(str(find_set(groups.data, groups.subject.place("train"))), role="train")
    assert isinstance(training, ImageSet)
    scores: dict[str, dict[str, list[float]]] = {}
    for kind in ("held-out", *OUTLIERS):
        pixels = groups.pixels(kind)
        recovered = _recovered(groups, rows[kind])
        for name, embed in kinds.items():
            if name != "L2":  # whose distances the rows hold
                apart = np.linalg.norm(embed(pixels) - embed(recovered), axis=1)
                scores.setdefault(f"inversion, {name}", {})[kind] = apart.tolist()
            found = nearest_of(embed, pixels, groups.blocks(training))
            scores.setdefault(f"1-NN, {name}", {})[kind] = found.distance.tolist()
    return scores


def _recovered(groups: Groups, rows: Rows) -> np.ndarray:
    """The reconstructions (N, C, S, S) of inversions, in full: the rows hold small pictures, and the latents."""
    import torch

    generator = groups.generator
    found = np.zeros((len(rows), *generator.image_shape), np.float32)
    latents = rows.attachments["latent"][:]
    of_label = rows[:, INVERSION.index("label")]
    for label in generator.labels:
        places = np.flatnonzero(np.isnan(of_label) if label is None else of_label == label)
        decoder = generator.decoder(label=label)
        for some in np.array_split(places, max(1, -(-len(places) // 16))):
            if len(some):
                with torch.no_grad():
                    found[some] = decoder(torch.from_numpy(latents[some])).numpy()
    return found


def _outliers(groups: Groups, errors: dict[str, np.ndarray], scores: dict[str, dict[str, list[float]]]) -> list[Cell]:
    """Figure 4, top."""
    judges: dict[str, Any] = {"inversion, L2": errors, **dict(sorted(scores.items(), reverse=True))}
    cells = [
        Cell(f"outlier detection: {kind}", judge, outlier_auroc(each["held-out"], each[kind]), unit="AUROC")
        for kind in OUTLIERS
        for judge, each in judges.items()
    ]
    _, lacking = embeddings()
    cells += [Cell("outlier detection", f"1-NN, {name}", None, note=why) for name, why in lacking.items()]
    return cells


def _pictures(groups: Groups, rows: dict[str, Rows], errors: dict[str, np.ndarray]) -> Pictures:
    """Images beside their reconstructions, from the best recovered to the worst (Figures 3, 5 and 11)."""
    grid = []
    for kind, each in errors.items():
        order = np.argsort(each, kind="stable")[
            np.linspace(0, len(each) - 1, min(SHOWN, len(each))).round().astype(int)
        ]
        cells: list[np.ndarray] = []
        for index in order:
            picture = rows[kind].attachments["picture"][index]
            cells += [groups.sets[kind].read(int(index)), picture.repeat(3 // picture.shape[2], axis=2)]
        grid.append(PictureRow(kind, tuple(cells)))
    heads = ("image", "recovered") * min(SHOWN, len(errors["train"]))
    return Pictures("Inversions, from the best recovered to the worst", heads, tuple(grid))
