"""Training curves: finetuned from the general model or from scratch, with the outlier loss or the margin loss.

Schirrmeister et al. 2020, supplement S7.2 (Figs. S2, S3, S4) and S7.5 (Fig. S6). On a laptop small Glows learn
Fashion-MNIST; their general model is that of `likelihood_laptop`, and is trained once for all tables.

- From scratch, finetuned from the general model, and from the model from scratch (which is training twice as long).
- A copy that continues with general images as outliers: by the outlier loss (Eq. S1) or by the margin loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit.metrics.result import Curve
from genaudit.recipe import Context, Need, Scale
from genaudit.reports.table import Cell, Table
from genaudit_papers.over_seeds import over_seeds_compared
from genaudit_papers.published import PublishedCell, published
from genaudit_papers.schirrmeister2020 import density_runs, small_glows
from genaudit_papers.schirrmeister2020.density_runs import (
    SEEDS,
    GlowSettings,
    general_model,
    images,
    over_seeds,
    own_recipe,
    trained_with_log,
)
from genaudit_papers.schirrmeister2020.likelihood_laptop import TEST, LikelihoodLaptop
from genaudit_papers.schirrmeister2020.training_looks import BITS, Log, Look, area, curve, kept, passes

if TYPE_CHECKING:
    from genaudit.likelihood.glow import Glow
    from genaudit.likelihood.recipe import TrainingRecipe

SCRATCH, GENERAL, OWN = "from scratch", "from the general model", "from its own model"
LOSSES = {"outlier": "outlier loss", "margin": "margin loss"}
SHARE = "share of the training after which it is better than from scratch at the end"
DIFFERS = (
    "Fashion-MNIST by small Glows (4 steps a scale, 32 hidden filters, {iterations} iterations of Adam) instead of "
    "CIFAR and SVHN by the paper's; the general distribution is cut-outs of photographs; AUROC against MNIST and "
    "Fashion-MNIST rotated by 90 degrees."
)
LAPTOP_IMAGES = 256
LOOKED = (
    f"At each look {LAPTOP_IMAGES} test images of a set (512 at the paper's scale); bits per dimension with one draw "
    "of noise."
)


class _Curves:
    """What both share: trainings of an in-distribution with looks at them.

    Args:
        seeds: how many; they count up from the run's. laptop_iterations: of each training at the laptop's scale.
        laptop: keys of `LikelihoodLaptop`, whose general model this takes. settings: of the paper's scale, see
            `GlowSettings`.
    """

    name: str

    def __init__(
        self, *, seeds: int = 2, laptop_iterations: int = 400, laptop: Mapping[str, Any] | None = None, **settings: Any
    ) -> None:
        self.seeds, self.laptop_iterations = seeds, laptop_iterations
        self.laptop = LikelihoodLaptop(seeds=seeds, **(laptop or {}))
        self.settings: dict[Scale, GlowSettings] = {
            "laptop": GlowSettings(steps=4, hidden=32, coupling="tanh", iterations=laptop_iterations),
            "paper": GlowSettings(**settings),
        }

    def sets(self) -> dict[str, list[str]]:
        """The paper's in-distributions, each with the sets that it is distinguished from."""
        raise NotImplementedError

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """What `likelihood_laptop` needs; at the paper's scale the general images and the sets."""
        if scale == "laptop":
            return self.laptop.needs(scale, data)
        return density_runs.needs(data, list(dict.fromkeys(["CIFAR10", *_flat(self.sets())])))

    def _curves(self, context: Context) -> list[dict[str, dict[str, Log]]]:
        """Of each seed: in-distribution => training => what was looked at."""
        step = f"{self.name}-{self.settings[context.scale].key}"
        return over_seeds(context, self.seeds, step, partial(self._seed, context))

    def _seed(self, context: Context, seed: int) -> dict[str, dict[str, Log]]:
        """A seed's curves."""
        raise NotImplementedError

    def _small_recipe(self, seed: int) -> TrainingRecipe:
        recipe = small_glows.recipe(self.laptop_iterations, seed)
        return replace(recipe, learning_rate=small_glows.FINETUNING_RATE)

    def _differs(self, context: Context) -> str:
        return DIFFERS.format(iterations=self.laptop_iterations) if context.scale == "laptop" else ""


class Finetuning(_Curves):
    """Figs. S2 to S4: what finetuning from the general model gains."""

    name = "likelihood_finetuning"

    def sets(self) -> dict[str, list[str]]:
        names = published("schirrmeister2020", "Table S1").rows
        return {inside: [name for name in names if name != inside] for inside in names}

    def run(self, context: Context) -> Table:
        """Trains every model of every seed, looking at it."""
        by_seed = self._curves(context)
        cells, figures = [], []
        for inside in by_seed[0]:
            runs = [one[inside] for one in by_seed]
            cells += _finetuning_cells(inside, runs)
            logs = {kind: [run[kind] for run in runs] for kind in runs[0]}
            figures += _figures(inside, logs, "Figs. S2 and S4")
            two = {kind: logs[kind] for kind in (SCRATCH, GENERAL)}
            figures.append(curve(f"{inside}: bits per dimension (Fig. S3)", "bits per dimension", two, BITS))
        given = published("schirrmeister2020", "Fig. S3")
        return Table(
            self.name,
            "Glow finetuned from the general model, against from scratch",
            given.source,
            tuple(cells),
            context.scale,
            differs=self._differs(context),
            figures=tuple(figures),
            notes=(
                SEEDS,
                "All trainings have one length and one learning rate; lines are means over the seeds.",
                f"'{OWN}' continues the model from scratch: it has trained twice as long.",
                LOOKED,
            ),
        )

    def _seed(self, context: Context, seed: int) -> dict[str, dict[str, Log]]:
        from genaudit.likelihood.trainer import finetune_from

        settings = self.settings[context.scale]
        curves: dict[str, dict[str, Log]] = {}
        for inside, train, look, recipe in self._jobs(context, seed):
            learn = partial(trained_with_log, context, settings)
            channels = look.general.image_shape[0]
            network = settings.network(seed, channels)
            scratch, first = learn(f"{inside}-scratch", seed, network, train, recipe, look=look)
            _, second = learn(f"{inside}-finetuned", seed, finetune_from(look.general), train, recipe, look=look)
            _, third = learn(f"{inside}-from-own", seed, finetune_from(scratch), train, recipe, look=look)
            logs = {SCRATCH: first, GENERAL: second, OWN: third}
            curves[inside] = {kind: kept(log, look) for kind, log in logs.items()}
        return curves

    def _jobs(self, context: Context, seed: int) -> Iterable[tuple[str, np.ndarray, Look, TrainingRecipe]]:
        """In-distribution, its training images, what is looked at, how it is trained."""
        if context.scale == "laptop":
            general, judged = self.laptop.general_model(context, seed), self.laptop.judged(context)
            others = {name: of for name, of in judged.items() if name != TEST}
            look = Look.at(judged[TEST], others, general, most=LAPTOP_IMAGES)
            yield TEST, self.laptop.training_images(context)[0], look, self._small_recipe(seed)
            return
        settings = self.settings["paper"]
        general, _ = general_model(context, settings, seed)
        for inside in self.sets():
            train = images(context, inside, "train")
            look = look_at(context, inside, self.sets()[inside], general)
            yield inside, train, look, own_recipe(settings, inside, len(train), seed)


class MarginLoss(_Curves):
    """Fig. S6: AUROC while a model continues with the outlier loss, or with the margin loss."""

    name = "likelihood_margin"

    def sets(self) -> dict[str, list[str]]:
        pairs = [row.split(" ", 1) for row in published("schirrmeister2020", "Table S2").rows if "Mean" not in row]
        return {inside: [b for a, b in pairs if a == inside] for inside, _ in pairs}

    def run(self, context: Context) -> Table:
        """Trains every model of every seed, looking at it."""
        by_seed = self._curves(context)
        cells, figures = [], []
        for inside in by_seed[0]:
            runs = [one[inside] for one in by_seed]
            cells += _margin_cells(inside, runs)
            figures += _figures(inside, {kind: [run[kind] for run in runs] for kind in runs[0]}, "Fig. S6")
        begins = "a copy of the Fashion-MNIST model" if context.scale == "laptop" else "a copy of the general model"
        return published("schirrmeister2020", "Fig. S6").recomputed(
            self.name,
            cells,
            context.scale,
            differs=self._differs(context),
            figures=tuple(figures),
            notes=(
                SEEDS,
                f"Both begin with {begins}; the margin is as many nats as an image has dimensions, and its weight 1.",
                "Expected is what the text says: the margin loss is less stable in longer trainings. Lines are means "
                "over the seeds.",
                LOOKED,
            ),
        )

    def _seed(self, context: Context, seed: int) -> dict[str, dict[str, Log]]:
        from genaudit.likelihood.trainer import finetune_from

        settings = self.settings[context.scale]
        curves: dict[str, dict[str, Log]] = {}
        for inside, start, train, outliers, look, recipe in self._jobs(context, seed):
            curves[inside] = {}
            for kind, title in LOSSES.items():
                how = replace(recipe, outliers=kind)  # type: ignore[arg-type]
                name, model = f"{inside}-{kind}-curve", finetune_from(start)
                more: dict[str, Any] = {"outliers": outliers, "general": look.general, "look": look}
                _, log = trained_with_log(context, settings, name, seed, model, train, how, **more)
                curves[inside][title] = kept(log, look)
        return curves

    def _jobs(
        self, context: Context, seed: int
    ) -> Iterable[tuple[str, Glow, np.ndarray, np.ndarray, Look, TrainingRecipe]]:
        """In-distribution, the model to begin with, its images, the outliers, what is looked at, how it is trained."""
        if context.scale == "laptop":
            models, judged = self.laptop.models(context, seed), self.laptop.judged(context)
            train, outliers = self.laptop.training_images(context)
            others = {name: of for name, of in judged.items() if name != TEST}
            look = Look.at(judged[TEST], others, models.general, most=LAPTOP_IMAGES)
            yield TEST, models.images, train, outliers, look, self._small_recipe(seed)
            return
        settings = self.settings["paper"]
        general, outliers = general_model(context, settings, seed)
        for inside, names in self.sets().items():
            train = images(context, inside, "train")
            recipe = own_recipe(settings, inside, len(train), seed)
            yield inside, general, train, outliers, look_at(context, inside, names, general), recipe


def look_at(context: Context, inside: str, others: Iterable[str], general: Glow) -> Look:
    """A look at the test images of an in-distribution and of other sets, by the tables' names."""
    return Look.at(images(context, inside, "test"), {name: images(context, name, "test") for name in others}, general)


def _flat(sets: Mapping[str, Iterable[str]]) -> list[str]:
    return [name for inside, others in sets.items() for name in (inside, *others)]


def _figures(inside: str, logs: Mapping[str, list[Log]], where: str) -> list[Curve]:
    """AUROC against every other set."""
    columns = [name for name in next(iter(logs.values()))[0] if name.startswith(area(""))]
    return [
        curve(f"{inside}: AUROC of the ratio against {_words(column)} ({where})", "AUROC", logs, column)
        for column in columns
    ]


def _words(column: str) -> str:
    return column.removeprefix(area("")).replace("_", " ")


def _mean_area(log: Log) -> Log:
    """The log with the mean of its AUROCs over the other sets."""
    columns = [log[name] for name in log if name.startswith(area(""))]
    return {**log, "mean": np.mean(columns, axis=0).tolist()}


def _finetuning_cells(inside: str, runs: list[dict[str, Log]]) -> list[Cell]:
    """Of an in-distribution, over the seeds."""
    runs = [{kind: _mean_area(log) for kind, log in run.items()} for run in runs]
    cells = []
    for what, column, lower, table in (("bits", BITS, True, "Fig. S3"), ("AUROC", "mean", False, "Fig. S2")):
        end, shares, better = [], [], []
        for run in runs:
            scratch, tuned = (np.array(run[kind][column]) for kind in (SCRATCH, GENERAL))
            sign = -1 if lower else 1
            better.append(100 * float((sign * (tuned - scratch) > 0).mean()))
            shares.append(passes(run[GENERAL], column, float(scratch[-1]), lower=lower))
            end.append((100 if column == "mean" else 1) * float(tuned[-1] - scratch[-1]))
        expected = 100.0 if table == "Fig. S3" else None  # "better in each epoch" is said of bits per dimension
        cells.append(_over(inside, f"{what}: looks at which finetuning is better", better, "%", expected=expected))
        cells.append(_over(inside, f"{what}: {SHARE}", shares, "%", table=table))
        cells.append(
            _over(inside, f"{what} at the end: {GENERAL} minus {SCRATCH}", end, "%" if what == "AUROC" else "")
        )
    gains = [100 * (run[GENERAL]["mean"][-1] - run[OWN]["mean"][-1]) for run in runs]
    cells.append(_over(inside, f"AUROC at the end: {GENERAL} minus {OWN}", gains, "%", table="Fig. S4"))
    return cells


def _margin_cells(inside: str, runs: list[dict[str, Log]]) -> list[Cell]:
    runs = [{kind: _mean_area(log) for kind, log in run.items()} for run in runs]
    lost = {kind: [max(run[kind]["mean"]) - run[kind]["mean"][-1] for run in runs] for kind in runs[0]}
    cells = []
    for kind in runs[0]:
        cells.append(_over(inside, f"{kind}: highest AUROC", [max(run[kind]["mean"]) for run in runs]))
        cells.append(_over(inside, f"{kind}: AUROC at the end", [run[kind]["mean"][-1] for run in runs]))
        cells.append(_over(inside, f"{kind}: bits per dimension at the end", [run[kind][BITS][-1] for run in runs]))
        cells.append(_over(inside, f"{kind}: AUROC lost since its highest", lost[kind]))
    more = [margin - outlier for margin, outlier in zip(lost["margin loss"], lost["outlier loss"], strict=True)]
    cells.append(_over(inside, "AUROC lost: margin loss minus outlier loss", more))
    place = "the margin loss loses more in every seed (1: yes)"
    cells.append(Cell(inside, place, float(min(more) > 0), expected=1.0, trainings=len(runs)))
    return cells


def _over(
    row: str, column: str, values: list[float], unit: str = "", *, table: str = "", expected: float | None = None
) -> Cell:
    """The seeds' mean, beside what a figure's caption says of this in-distribution."""
    cells = published("schirrmeister2020", table).cells if table else {}
    given = next((cell for (of, _), cell in cells.items() if of == row), PublishedCell(row, column, ""))
    cell = over_seeds_compared(replace(given, column=column), values, unit=unit)
    return cell if expected is None else replace(cell, expected=expected, tolerance=0.0)
