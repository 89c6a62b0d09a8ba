"""Figs. S2 to S8 of schirrmeister2020 at toy size: looks at trainings, the likeliest images, Table S2 drawn."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from genaudit import demo
from genaudit.data import open_images
from genaudit.metrics.result import Curve, Marks, Pictures
from genaudit.recipe import Context
from genaudit.stats.auroc import auroc
from genaudit_papers.printed_means import LikelihoodMeans
from genaudit_papers.published import published
from genaudit_papers.schirrmeister2020 import likelihood_curves
from genaudit_papers.schirrmeister2020.likelihood_curves import (
    GENERAL,
    OWN,
    SCRATCH,
    Finetuning,
    MarginLoss,
    _margin_cells,
)
from genaudit_papers.schirrmeister2020.likelihood_laptop import LikelihoodLaptop
from genaudit_papers.schirrmeister2020.likelihood_likeliest import LAST, RATIO, RAW, WITH, WITHOUT, Likeliest
from genaudit_papers.schirrmeister2020.training_looks import BITS, Look, area, passes

pytest.importorskip("skimage")
TOY: dict[str, Any] = {
    "general_iterations": 3, "iterations": 3, "outlier_iterations": 2, "cutouts": 70, "images": 12,
    "mnist": 12, "noise_images": 4, "noise_samples": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory, monkeypatch_module: pytest.MonkeyPatch) -> Context:
    """Fashion-MNIST is the demo's real images."""
    source: Any = open_images(demo.path("train"))
    pixels = np.stack([source.read(i)[..., 0] for i in range(80)])
    monkeypatch_module.setattr(
        "genaudit_papers.datasets.fashion_mnist", lambda split, data=None: (pixels, np.zeros(80, np.uint8))
    )
    folder = tmp_path_factory.mktemp("curves")
    return Context("laptop", folder / "run", None, folder / "store")


@pytest.fixture(scope="module")
def monkeypatch_module() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def cells(table: Any) -> dict[str, Any]:
    return {cell.column: cell for cell in table.cells}


def test_finetuning_is_compared_with_scratch_at_every_look(context: Context) -> None:
    recipe = Finetuning(seeds=1, laptop_iterations=4, laptop=TOY)
    table = recipe.run(context)
    (step,) = recipe._curves(context)
    logs = step["Fashion-MNIST"]
    assert list(logs) == [SCRATCH, GENERAL, OWN]
    assert all(log["iteration"] == [1, 2, 3, 4] for log in logs.values())
    found = cells(table)
    better = np.array(logs[GENERAL][BITS]) < np.array(logs[SCRATCH][BITS])
    share = found["bits: looks at which finetuning is better"]
    assert (share.recomputed, share.expected) == (100 * better.mean(), 100)
    # the general model has seen images, the network from scratch none: one step apart it shows
    assert better[0]
    areas = [[log[area(name)][-1] for name in ("MNIST", "rotated 90 degrees")] for log in logs.values()]
    gain = found[f"AUROC at the end: {GENERAL} minus {OWN}"]
    assert gain.recomputed == pytest.approx(100 * (np.mean(areas[1]) - np.mean(areas[2])))
    titles = [figure.title for figure in table.figures]
    assert len(titles) == 3
    assert all(isinstance(figure, Curve) and len(figure.x) == 4 for figure in table.figures)
    # the model from its own continues where the one from scratch ended
    assert logs[OWN][BITS][-1] < logs[SCRATCH][BITS][0]


def test_looking_changes_nothing_of_a_training(context: Context) -> None:
    from genaudit_papers.schirrmeister2020.density_runs import GlowSettings, trained, trained_with_log

    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8), np.uint8)
    settings = GlowSettings(steps=1, hidden=4, batch_size=4, iterations=3)
    recipe = settings.recipe(12, 0, flip=False)
    plain = trained(context, settings, "plain", 0, settings.network(0, 1), images, recipe)
    look = Look.at(images, {"others": images[::-1].copy()}, plain, most=5)
    assert len(look.inside) == 5
    looked, log = trained_with_log(context, settings, "looked", 0, settings.network(0, 1), images, recipe, look=look)
    for one, two in zip(plain.parameters(), looked.parameters(), strict=True):
        assert np.array_equal(one.detach().numpy(), two.detach().numpy())
    # what is seen last is the model that is left: its ratio to itself tells nothing
    assert log[area("others")][-1] == 0.5
    assert look(looked) == {BITS: log[BITS][-1], area("others"): 0.5}


def test_a_look_s_area_is_that_of_the_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    def brightness(model: Any, images: np.ndarray, **_: Any) -> np.ndarray:
        value = model.factor * images.reshape(len(images), -1).astype(float).mean(1)
        return np.stack([value, value], axis=1)

    monkeypatch.setattr("genaudit.likelihood.scoring.log_likelihoods", brightness)
    monkeypatch.setattr("genaudit.likelihood.scoring.noisy_log_prob", lambda model, images, **_: np.zeros(len(images)))
    dark, bright = (np.full((4, 2, 2), value, np.uint8) for value in (10, 200))
    general: Any = SimpleNamespace(factor=1.0, image_shape=(1, 2, 2))
    look = Look(np.concatenate([dark, bright[:1]]), {"bright": bright}, general)
    model: Any = SimpleNamespace(factor=0.5, image_shape=(1, 2, 2))  # ratio: minus half of the brightness
    assert look(model) == {BITS: 8.0, area("bright"): auroc([-5.0] * 4 + [-100.0], [-100.0] * 4)}


def test_the_share_of_a_training_until_a_goal() -> None:
    log = {"iteration": [10, 20, 30, 40], "x": [4.0, 3.0, 2.0, 1.0]}
    assert passes(log, "x", 2.5, lower=True) == 75
    assert passes(log, "x", 2.5, lower=False) == 25
    assert passes(log, "x", 0.5, lower=True) == 100


def test_margin_and_outlier_loss_begin_alike_and_part(context: Context) -> None:
    table = MarginLoss(seeds=1, laptop_iterations=4, laptop=TOY).run(context)
    (step,) = MarginLoss(seeds=1, laptop_iterations=4, laptop=TOY)._curves(context)
    logs = step["Fashion-MNIST"]
    assert list(logs) == ["outlier loss", "margin loss"]
    assert logs["outlier loss"] != logs["margin loss"]
    found = cells(table)
    for kind, log in logs.items():
        mean = np.mean([log[area(name)] for name in ("MNIST", "rotated 90 degrees")], axis=0)
        assert found[f"{kind}: AUROC lost since its highest"].recomputed == pytest.approx(mean.max() - mean[-1])
    lost = [found[f"{kind}: AUROC lost since its highest"].recomputed for kind in ("margin loss", "outlier loss")]
    assert found["AUROC lost: margin loss minus outlier loss"].recomputed == pytest.approx(lost[0] - lost[1])
    assert found["the margin loss loses more in every seed (1: yes)"].expected == 1


@pytest.mark.parametrize(("second", "told"), [(0.85, 0.0), (0.75, 1.0)])
def test_a_loss_that_one_seed_contradicts_is_no_finding(second: float, told: float) -> None:
    """On the mean the margin loss loses more, by 0.05 or 0.1; in the first case one of the two seeds loses less."""

    def log(end: float) -> Any:
        return {"iteration": [1, 2], BITS: [3.0, 3.0], area("MNIST"): [0.9, end]}

    runs = [{"outlier loss": log(0.8), "margin loss": log(margin)} for margin in (0.65, second)]
    found = {cell.column: cell for cell in _margin_cells("Fashion-MNIST", runs)}
    assert found["the margin loss loses more in every seed (1: yes)"].recomputed == told
    more = found["AUROC lost: margin loss minus outlier loss"]
    assert (more.lower, more.upper) == (pytest.approx(min(0.15, 0.8 - second)), pytest.approx(0.15))


def test_the_twelve_likeliest_images_are_those_with_the_highest_scores(context: Context) -> None:
    from genaudit.likelihood.scoring import log_likelihoods

    table = Likeliest(seeds=1, laptop_images=40, laptop=TOY).run(context)
    laptop = LikelihoodLaptop(seeds=1, **TOY)
    models, cutouts = laptop.models(context, 0), laptop.training_images(context)[1]
    given = cutouts[np.sort(np.random.default_rng(0).permutation(len(cutouts))[:40])]
    for grid, kind, model in zip(table.figures, (WITHOUT, WITH), (models.images, models.outlier), strict=True):
        assert isinstance(grid, Pictures)
        assert kind in grid.title
        assert [row.caption for row in grid.rows] == [RAW, RATIO, LAST]
        rows, general = log_likelihoods(model, given), log_likelihoods(models.general, given)
        for row, scores in zip(grid.rows, (rows[:, 0], rows[:, 0] - general[:, 0], rows[:, -1]), strict=True):
            assert len(row.cells) == 12
            np.testing.assert_array_equal(np.stack(row.cells), given[np.argsort(-scores, kind="stable")[:12]])  # type: ignore[arg-type]
    contrast = next(cell for cell in table.cells if cell.row == f"{RAW}, {WITHOUT}")
    expected = np.mean([np.asarray(image, float).std() for image in table.figures[0].rows[0].cells])  # type: ignore[union-attr]
    assert contrast.recomputed == pytest.approx(expected)


def test_at_the_papers_scale_the_sets_are_those_of_the_tables() -> None:
    sets = Finetuning().sets()
    assert sets == {"SVHN": ["CIFAR10", "CIFAR100"], "CIFAR10": ["SVHN", "CIFAR100"], "CIFAR100": ["SVHN", "CIFAR10"]}
    assert MarginLoss().sets() == {
        "CIFAR10": ["SVHN", "CIFAR100", "LSUN"],
        "CIFAR100": ["SVHN", "CIFAR10", "LSUN"],
    }


def test_captions_stand_beside_their_set(context: Context) -> None:
    log = {"iteration": [50, 100], BITS: [3.0, 2.0], area("SVHN"): [0.6, 0.7]}
    runs = 2 * [{SCRATCH: log, GENERAL: log | {BITS: [1.5, 1.0]}, OWN: log}]  # one training has no verdict
    found = {cell.column: cell for cell in likelihood_curves._finetuning_cells("CIFAR10", runs)}
    share = found[f"bits: {likelihood_curves.SHARE}"]
    assert (share.recomputed, share.published, share.verdict) == (50, 20, "same order")  # printed <20
    assert found[f"AUROC at the end: {GENERAL} minus {OWN}"].published is None
    again = {cell.column: cell for cell in likelihood_curves._finetuning_cells("CIFAR100", runs)}
    assert again[f"AUROC at the end: {GENERAL} minus {OWN}"].published == 6


def test_table_s2_is_drawn_as_printed(tmp_path: Path) -> None:
    table = LikelihoodMeans().run(Context("laptop", tmp_path, None, tmp_path))
    (drawn,) = table.figures
    assert isinstance(drawn, Marks)
    given = published("schirrmeister2020", "Table S2")
    assert drawn.rows[0] == "CIFAR10 against SVHN"
    values, errors = drawn.marks["supervised, Diff†"]
    assert values[0] == given["CIFAR10 SVHN", "supervised Diff†"].value == 99.1
    assert errors[0] == pytest.approx(0.1 / math.sqrt(3))
    assert len(drawn.marks) == 6
