"""PIAD on faces with attributes (CelebA), rooms (LSUN) and turned objects (COIL-100), at the paper's scale.

Tuluptceva et al. 2019, "Perceptual Image Anomaly Detection", section 4.1, Table 3 (left and centre). There is no laptop
version: no such images ship, and Table 3's Fashion-MNIST shows the method at a smaller size. Every number is the mean
over several seeds; `table.seeds=1` trains once, which the verdicts say.
N images, S side in pixels.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.errors import UserError
from genaudit.measures.piad import PreparedPixels
from genaudit.metrics.result import PictureRow, Pictures
from genaudit.piad import protocols
from genaudit.recipe import Context, Need, Scale
from genaudit.reports.table import Cell, Table
from genaudit_papers.measuring import resized, set_need
from genaudit_papers.over_seeds import over_seeds_compared
from genaudit_papers.published import PublishedCell, compared, published
from genaudit_papers.tuluptceva2019 import one_class, piad_runs
from genaudit_papers.tuluptceva2019.piad_runs import PIADSettings, perceptual_network, vgg19_weights

NETWORK = "vgg19_relu42"
FACES, ATTRIBUTES, PARTS = "celeba/img_align_celeba", "celeba/list_attr_celeba.txt", "celeba/list_eval_partition.txt"
BEDROOMS = ("lsun/bedroom_train", "lsun/bedroom_val")
CONFERENCE_ROOMS = "lsun/conference_room_val"
OBJECTS = "coil-100"
NOTES = (
    "AUROC, an anomaly being the positive; 0.5 is chance.",
    "Means over the seeds, each with its own training; intervals are the lowest and the highest of the seeds.",
)


class _Photographs:
    """What the three share: needs, one training a split, cells.

    Args:
        width: of the networks, times the supplement's. iterations, n_dis: the supplement's where nothing else is said.
        seeds: how many trainings a number is the mean of; they count up from the run's seed.
    """

    name: str
    table: str
    architecture: str
    what: str
    pictures = False  # whether the table shows images above their reconstructions, as Fig. 4 does

    def __init__(self, *, iterations: int, n_dis: int = 2, width: float = 1.0, seeds: int = 3) -> None:
        self.seeds = seeds
        recipe = {"iterations": iterations, "n_dis": n_dis}
        self.settings = PIADSettings(width, recipe, NETWORK, self.architecture)

    def files(self, data: Path | None) -> list[Need]:
        """The dataset's parts."""
        raise NotImplementedError

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """The dataset and VGG-19's weights; a laptop's scale there is not."""
        if scale == "laptop":
            return [Need(f"no laptop scale: {self.what}", False, "give scale=paper data=DIR")]
        return [*self.files(data), vgg19_weights()]

    def _score(
        self, context: Context, name: str, split: Callable[[int], one_class.OneClassImages]
    ) -> list[dict[str, Any]]:
        """Each seed's training, a step: its AUROC and, where the table shows some, the images at both ends.

        `split` takes the seed.
        """

        def trained(seed: int) -> dict[str, Any]:
            images = split(seed)
            perceptual = perceptual_network(NETWORK, context.device)
            scored = piad_runs.train_and_score(context, images, self.settings, perceptual, name=name, seed=seed)
            numbers = one_class.judged(lambda: scored.scores, images.normal) | {"seconds": scored.seconds}
            return numbers | ({"pictures": piad_runs.extremes(scored, images)} if self.pictures else {})

        seeds = range(context.seed, context.seed + self.seeds)
        key = f"piad-{self.settings.key}-{name}"
        return [context.step(f"{key}-seed{seed}", functools.partial(trained, seed)) for seed in seeds]

    def _table(self, context: Context, cells: Sequence[Cell], *notes: str, figures: tuple[Pictures, ...] = ()) -> Table:
        paper = published("tuluptceva2019", self.table)
        title, notes = f"PIAD: {paper.title}", (*(NOTES if self.seeds > 1 else NOTES[:1]), *notes)
        return Table(self.name, title, paper.source, tuple(cells), context.scale, figures=figures, notes=notes)


class CelebA(_Photographs):
    """Faces without an attribute are normal, faces with it anomalies; a training for each attribute."""

    name, table, architecture, what = "piad_celeba", "Table 3 (centre)", "celeba", "faces with attributes"
    pictures = True

    def files(self, data: Path | None) -> list[Need]:
        texts = [
            Need(file, bool(paths), f"CelebA's own file at {file} under data=DIR", paths)
            for file in (ATTRIBUTES, PARTS)
            for paths in [(data / file,) if data is not None and (data / file).is_file() else ()]
        ]
        return [set_need(data, FACES, "CelebA's aligned faces"), *texts]

    def run(self, context: Context) -> Table:
        """Trains and scores each attribute."""
        assert context.data is not None
        read = functools.cache(lambda: resized(context, FACES, PreparedPixels(64, 3, crop=140)))
        attributes, parts = celeba_attributes(context.data / ATTRIBUTES), celeba_parts(context.data / PARTS)
        paper, cells, figures = published("tuluptceva2019", self.table), [], []
        for attribute in protocols.CELEBA_ATTRIBUTES:

            def split(seed: int, attribute: str = attribute) -> one_class.OneClassImages:
                images, names = read()
                has = [attributes[attribute][Path(name).name] for name in names]
                part = [parts[Path(name).name] for name in names]
                return one_class.OneClassImages.of(images, protocols.by_attribute(has, part))

            scores = self._score(context, attribute, split)
            cells.append(over_seeds_compared(paper[attribute, "ROC AUC"], _areas(scores)))
            figures.append(_shown(f"Faces with {attribute} as anomalies (Fig. 4c)", scores))
        note = "The paper doesn't say how normal faces are divided: CelebA's own parts."
        return self._table(context, cells, note, figures=tuple(figures))


class LSUN(_Photographs):
    """Bedrooms are normal, conference rooms anomalies."""

    name, table, architecture, what = "piad_lsun", "Section 4.1", "lsun", "bedrooms and conference rooms"
    pictures = True

    def files(self, data: Path | None) -> list[Need]:
        return [set_need(data, name, f"LSUN's images {name}") for name in (*BEDROOMS, CONFERENCE_ROOMS)]

    def run(self, context: Context) -> Table:
        """Trains on the bedrooms and scores both held-out sets."""

        def split(seed: int) -> one_class.OneClassImages:
            train, normal, anomalies = (
                resized(context, name, PreparedPixels(64, 3, fit="crop"))[0] for name in (*BEDROOMS, CONFERENCE_ROOMS)
            )
            return one_class.OneClassImages.made(train, np.concatenate([normal, anomalies]), len(normal))

        paper = published("tuluptceva2019", self.table)
        scores = self._score(context, "bedrooms", split)
        cells = [
            over_seeds_compared(paper["PIAD", "ROC AUC"], _areas(scores)),
            compared(paper["ADGAN", "ROC AUC"], None, note="as PIAD's paper quotes it"),
        ]
        note = "The paper doesn't say which images are tested: LSUN's validation sets."
        return self._table(context, cells, note, figures=(_shown("Conference rooms as anomalies", scores),))


class COIL100(_Photographs):
    """Thirty objects of a hundred take turns at being normal, by GPND's protocol."""

    name, table, architecture, what = "piad_coil100", "Table 3 (left)", "mnist", "turned objects"

    def __init__(self, *, objects: int = 30, **keys: Any) -> None:
        """`objects`: how many take turns; other arguments as in the base."""
        super().__init__(**keys)
        self.objects = objects

    def files(self, data: Path | None) -> list[Need]:
        return [set_need(data, OBJECTS, "COIL-100's 7,200 images, called obj12__35.png and so on")]

    def run(self, context: Context) -> Table:
        """Trains and scores each object."""
        images, names = resized(context, OBJECTS, PreparedPixels(32, 3))
        labels = [Path(name).name.partition("__")[0] for name in names]
        chosen = protocols.random_classes(labels, self.objects, seed=context.seed)
        areas = {}
        for each in chosen:

            def split(seed: int, each: str = each) -> one_class.OneClassImages:
                return one_class.OneClassImages.of(images, protocols.gpnd(labels, each, seed=seed))

            areas[str(each)] = _areas(self._score(context, str(each), split))
        paper = published("tuluptceva2019", self.table)
        means = np.mean(list(areas.values()), axis=0)  # of each seed
        cells = [over_seeds_compared(paper["PIAD", "COIL-100"], means.tolist())]
        cells += [
            compared(paper[method, "COIL-100"], None, note="as PIAD's paper quotes it") for method in ("GPND", "OCGAN")
        ]
        cells += [over_seeds_compared(PublishedCell(name, "COIL-100", ""), values) for name, values in areas.items()]
        return self._table(context, cells)


def _shown(title: str, scores: list[dict[str, Any]]) -> Pictures:
    """The least and most anomalous images of both kinds above their reconstructions, by the first seed's training."""
    rows = (
        PictureRow(caption, tuple(np.array(image, np.uint8) for image in images))
        for caption, images in scores[0]["pictures"].items()
    )
    return Pictures(title, ("",) * piad_runs.SHOWN, tuple(rows))


def _areas(scores: list[dict[str, Any]]) -> list[float]:
    """The AUROC of each seed."""
    return [each["auroc"] for each in scores]


def celeba_attributes(path: Path) -> dict[str, dict[str, int]]:
    """attribute => file name => -1 or 1, of list_attr_celeba.txt: a count, the attributes' names, a line per image."""
    _, header, *lines = path.read_text(encoding="utf-8").splitlines()
    rows = [line.split() for line in lines if line.strip()]
    if any(len(row) != 1 + len(header.split()) for row in rows):
        raise UserError(f"{path} is not CelebA's list of attributes: a line has not a value for each of them")
    return {name: {row[0]: int(row[i]) for row in rows} for i, name in enumerate(header.split(), start=1)}


def celeba_parts(path: Path) -> dict[str, int]:
    """file name => 0 (train), 1 (validation) or 2 (test), of list_eval_partition.txt."""
    return {name: int(part) for name, part in (line.split() for line in path.read_text("utf-8").splitlines() if line)}
