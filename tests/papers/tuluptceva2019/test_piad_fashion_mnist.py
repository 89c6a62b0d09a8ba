"""The laptop recipe of PIAD at toy size, on a Fashion-MNIST of squares and stripes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genaudit.piad.saved import load
from genaudit.recipe import Context
from genaudit.stats.auroc import auroc
from genaudit.stats.estimate import bootstrap
from genaudit_papers.datasets import FILES
from genaudit_papers.tuluptceva2019 import one_class
from genaudit_papers.tuluptceva2019.piad_fashion_mnist import PIADFashionMNIST

RECIPE = {"iterations": 3, "n_weight": 2, "batch_size": 4}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """36 + 9 images of each of three classes, in the files of Fashion-MNIST."""
    rng = np.random.default_rng(0)
    axis = np.arange(28)
    shapes = [axis[:, None] % 8 < 4, axis[None] % 8 < 4, (abs(axis[:, None] - 14) < 8) & (abs(axis[None] - 14) < 8)]
    folder = tmp_path / "data"
    folder.mkdir()
    for split, each in (("train", 36), ("test", 9)):
        labels = np.repeat(np.arange(3, dtype=np.uint8), each)
        images = np.array([200 * np.broadcast_to(shapes[k], (28, 28)) for k in labels])
        images = (images + rng.integers(0, 50, images.shape)).astype(np.uint8)
        for name, values in zip(FILES[split], (images, labels), strict=True):
            head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
            (folder / f"{name}.gz").write_bytes(gzip.compress(head + values.tobytes()))
    return folder


def recipe(**changes: object) -> PIADFashionMNIST:
    knobs = {"recipe": RECIPE, "width": 0.125, "focus": 2, "seeds": 2, "classes": (0, 2), "components": (2,)}
    return PIADFashionMNIST(**(knobs | changes))  # type: ignore[arg-type]


def test_every_method_has_a_number_for_every_class_and_the_mean(tmp_path: Path, data: Path) -> None:
    context = Context("laptop", tmp_path / "run", data, tmp_path / "store")
    table = recipe().run(context)
    cells: dict[tuple[str, str], Any] = {(cell.row, cell.column): cell for cell in table.cells}
    methods = {cell.row for cell in table.cells} - {"GPND", "OCGAN"}
    assert len(methods) == 10  # PIAD twice, mean and PCA-2 under both scores, OC-SVM, KDE, 1-NN twice
    for method in methods:
        singles = [cells[method, f"class {name}"].recomputed for name in ("0 (T-shirt)", "2 (pullover)")]
        mean = cells[method, "mean of 2 classes"]
        assert mean.recomputed == pytest.approx(np.mean(singles))
        assert mean.lower <= mean.recomputed <= mean.upper
        assert (mean.trainings == 1) == method.startswith("PIAD")  # nothing else is trained with a seed
        seeds = cells[method, "class 2, mean of 2 seeds"]
        assert seeds.trainings == (2 if method.startswith("PIAD") else None)
        assert seeds.lower <= singles[1] <= seeds.upper
        # stripes against squares: all but an untrained PIAD tell them at sight
        assert method.startswith("PIAD") or min(singles) > 0.9, method
    # the paper's mean is of ten classes
    assert all(cell.published is None for cell in table.cells if cell.row == "PIAD")
    assert cells["GPND", "mean of 2 classes"].verdict == "not computed"


def test_a_run_that_was_cut_off_takes_up_the_steps_and_the_training(tmp_path: Path, data: Path) -> None:
    context = Context("laptop", tmp_path / "run", data, tmp_path / "store")
    first = recipe(seeds=1, classes=(2,)).run(context)
    steps = sorted((context.folder / "steps").glob("piad-*.json"))
    scored = json.loads(steps[0].read_text())["result"]["methods"]
    steps[0].unlink()  # cut off between the end of the training and its scores
    heard: list[str] = []
    context.report = heard.append
    again = recipe(seeds=1, classes=(2,)).run(context)
    assert heard[0] == steps[0].stem
    assert [line.split(":")[0] for line in heard[1:]] == ["class2-seed0"]  # how far the training came
    assert " 9 held-out images" in heard[1]  # a fifth of the class's 45, and none of the anomalies
    for method, found in json.loads(steps[0].read_text())["result"]["methods"].items():
        assert found["auroc"] == scored[method]["auroc"]
    assert [cell.row for cell in first.cells] == [cell.row for cell in again.cells]


def test_other_settings_are_other_steps_and_a_variant_runs_on_the_focus_class_alone(tmp_path: Path, data: Path) -> None:
    context = Context("laptop", tmp_path / "run", data, tmp_path / "store")
    more = {"iterations": 4, "n_weight": 2, "batch_size": 4}
    made = recipe(seeds=1, classes=(0,), focus=2, variants={"longer": {"width": 0.125, "recipe": more}})
    table = made.run(context)
    columns = {cell.column for cell in table.cells if cell.row == "PIAD, longer"}
    assert columns == {"class 2, mean of 1 seeds", "CPU seconds a class"}
    steps = [path.stem for path in (context.folder / "steps").glob("*.json")]
    assert len([step for step in steps if step.startswith("piad-")]) == 3  # classes 2 and 0, class 2 again
    assert len([step for step in steps if step.startswith("shallow-")]) == 2
    heard: list[str] = []
    context.report = heard.append
    recipe(seeds=1, classes=(2,), focus=2, recipe=more).run(context)  # the variant's settings as the recipe's own
    assert heard == []


def test_at_desk_scale_every_class_has_every_seed_and_the_trained_models_can_be_used(
    tmp_path: Path, data: Path
) -> None:
    context = Context("desk", tmp_path / "run", data, tmp_path / "store")
    made = recipe(desk={"width": 0.125, "recipe": RECIPE})
    table = made.run(context)
    cells: dict[tuple[str, str], Any] = {(cell.row, cell.column): cell for cell in table.cells}
    steps = [json.loads(path.read_text())["result"] for path in sorted((tmp_path / "run" / "steps").glob("piad-*"))]
    assert len(steps) == 4  # two classes, two seeds
    for name, own in (("0 (T-shirt)", steps[:2]), ("2 (pullover)", steps[2:])):
        areas = [one["methods"]["PIAD"]["auroc"] for one in own]
        cell = cells["PIAD", f"class {name}"]
        assert (cell.recomputed, cell.lower, cell.upper) == (pytest.approx(np.mean(areas)), min(areas), max(areas))
    mean = cells["PIAD", "mean of 2 classes"]
    seeds = [np.mean([steps[place]["methods"]["PIAD"]["auroc"] for place in places]) for places in ((0, 2), (1, 3))]
    assert (mean.lower, mean.upper) == (pytest.approx(min(seeds)), pytest.approx(max(seeds)))
    # three iterations converge nowhere
    assert any("Not converged" in note and "class 2 seed 1" in note for note in table.notes)
    (model, *_) = sorted((tmp_path / "models").iterdir())
    assert load(model).reconstruction == "relative_perceptual_l1"


def test_the_paper_s_scale_needs_vgg19(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert [need.have for need in recipe().needs("laptop", data)] == [True, True]
    assert [need.have for need in recipe().needs("paper", data)] == [True, False]


def test_the_standard_error_of_an_auroc_is_the_bootstrap_s() -> None:
    rng = np.random.default_rng(0)
    positive, negative = np.round(rng.normal(1, 1, 300), 1), np.round(rng.normal(0, 1, 200), 1)  # with ties
    interval = bootstrap(auroc, positive, negative, repeats=2000)
    # the interval's ends, each on 50 of 2,000 repeats, are off by about 5 % of the standard deviation
    assert (interval.upper - interval.lower) / (2 * 1.96) == pytest.approx(
        one_class.standard_error(positive, negative), rel=0.1
    )


def test_resized_images_keep_flat_areas_and_the_middle() -> None:
    image = np.full((1, 28, 28), 7, np.uint8)
    assert (one_class.resized(image) == 7).all()
    ramp = np.broadcast_to(np.arange(28, dtype=np.uint8) * 9, (1, 28, 28))
    grown = one_class.resized(ramp)[0, 0].astype(int)
    assert grown.shape == (32, 32)
    # half-pixel centres: position x + 0.5 of 32 is (x + 0.5)·28/32 - 0.5 of 28, clamped at the border
    expected = 9 * np.clip((np.arange(32) + 0.5) * 28 / 32 - 0.5, 0, 27)
    assert np.abs(grown - expected).max() <= 0.5 + 1e-3
