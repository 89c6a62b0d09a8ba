"""Tables S1 to S4 of seed 001 on miniature sets in the layouts of their real files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from genaudit.errors import UserError
from genaudit.papers import datasets, density_runs
from genaudit.papers.published import published
from genaudit.papers.recipe import Context
from genaudit.papers.recipes.likelihood_classifier import DiscriminativeBaseline
from genaudit.papers.recipes.likelihood_tables import AnomalyDetection, BitsPerDimension

SMALL = {"steps": 1, "hidden": 4, "batch_size": 4, "iterations": 2}
# mean brightness of each set: what the tests tell them apart by
BRIGHTNESS = {"CIFAR10": 40, "CIFAR100": 80, "SVHN": 120, "LSUN": 160, "CelebA": 200, "Tiny-Imagenet": 220}


def drawn(count: int, brightness: int) -> np.ndarray:
    """Noise (N, 32, 32, 3) uint8 around a brightness."""
    rng = np.random.default_rng(brightness)
    return (brightness + rng.integers(-20, 20, (count, 32, 32, 3))).astype(np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CIFAR-10, CIFAR-100 and SVHN as torchvision keeps them, folders of images, an array of general ones."""
    root = tmp_path_factory.mktemp("data")
    batches = {datasets.CIFAR10: [name for names in datasets.CIFAR10_FILES.values() for name in names]}
    batches[datasets.CIFAR100] = list(datasets.SPLITS)
    for folder, names in batches.items():
        (root / folder).mkdir()
        name, labels = ("CIFAR10", b"labels") if folder == datasets.CIFAR10 else ("CIFAR100", b"fine_labels")
        for file in names:
            rows = drawn(6, BRIGHTNESS[name]).transpose(0, 3, 1, 2).reshape(6, -1)
            (root / folder / file).write_bytes(pickle.dumps({b"data": rows, labels: [1, 2, 3, 4, 5, 6]}, protocol=2))
    (root / "svhn").mkdir()
    for split in datasets.SPLITS:
        images = drawn(8, BRIGHTNESS["SVHN"]).transpose(1, 2, 3, 0)
        savemat(root / "svhn" / f"{split}_32x32.mat", {"X": images, "y": np.array([[10, 1, 2, 3, 4, 5, 6, 7]]).T})
    for name, folder in density_runs.FOLDERS.items():
        (root / folder).mkdir(parents=True)
        for i, image in enumerate(drawn(5, BRIGHTNESS[name])):
            Image.fromarray(image).resize((40, 40)).save(root / folder / f"{i}.png")
    np.save(root / f"{density_runs.GENERAL}.npy", drawn(20, 128))
    return root


@pytest.fixture
def context(data: Path, tmp_path: Path) -> Context:
    torch.set_num_threads(1)
    return Context("paper", tmp_path / "run", data, tmp_path / "store")


def cells(table: Any) -> dict[tuple[str, str], Any]:
    return {(cell.row, cell.column): cell for cell in table.cells}


def test_sets_are_read_by_the_tables_names(context: Context) -> None:
    for name, brightness in BRIGHTNESS.items():
        found = density_runs.images(context, name, "test")
        assert found.shape[1:] == (32, 32, 3)
        assert found.dtype == np.uint8
        assert float(found.mean()) == pytest.approx(brightness, abs=3)
    np.testing.assert_array_equal(density_runs.images(context, "CIFAR-100", "train"), drawn(6, 80))
    images, digits = datasets.svhn("train", context.data)
    np.testing.assert_array_equal(images, drawn(8, 120).transpose(0, 3, 1, 2))
    assert digits.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]  # the files call the digit 0 ten
    assert datasets.cifar100("test", context.data)[1].tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("table", ["Table S1", "Table S2", "Table S3"])
def test_what_is_missing_is_said_before_anything_starts(table: str, data: Path, tmp_path: Path) -> None:
    recipe = (BitsPerDimension if table == "Table S1" else AnomalyDetection)(name="x", table=table)
    assert all(need.have for need in recipe.needs("paper", data))
    missing = recipe.needs("paper", tmp_path)
    assert not any(need.have for need in missing)
    assert "withdrawn" in missing[0].how
    assert not recipe.needs("laptop", data)[0].have


def test_bits_per_dimension_has_every_cell_and_goes_on_where_it_was(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = BitsPerDimension(name="likelihood_table_s1", table="Table S1", seeds=2, **SMALL)
    first = recipe.run(context)
    given = published("001", "Table S1")
    assert [(cell.row, cell.column, cell.published) for cell in first.cells] == [
        (cell.row, cell.column, cell.value) for cell in given
    ]
    for cell in first.cells:
        assert cell.recomputed is not None
        assert 0 < cell.lower <= cell.recomputed <= cell.upper  # type: ignore[operator]
    # three models, trained apart: their numbers are not one and the same
    assert len({cells(first)["SVHN", column].recomputed for column in given.columns}) == 3
    monkeypatch.setattr("genaudit.training.fit", lambda *_, **__: pytest.fail("trained again"))
    assert recipe.run(context) == first


def test_general_models_make_as_many_updates_as_cifar10s() -> None:
    paper = density_runs.Settings()
    assert paper.recipe(50_000, 0, flip=True).iterations == 250 * 781
    assert density_runs.own_recipe(paper, "SVHN", 73_257, 0).iterations == 250 * 1144
    assert [density_runs.own_recipe(paper, name, 64, 0).flip for name in ("CIFAR10", "CIFAR100", "SVHN")] == [
        True,
        True,
        False,
    ]


def brightness_as_likelihood(model: Any, images: np.ndarray, **_: Any) -> np.ndarray:
    """Stands for a model: darker is likelier, wholly by the last of two scales."""
    dark = -images.reshape(len(images), -1).mean(1).astype(float)
    return np.stack([dark, 0 * dark, dark], axis=1)


def test_tables_share_their_models_and_other_images_have_none_of_them(context: Context, data: Path) -> None:
    settings = density_runs.Settings(**SMALL)
    model, _ = density_runs.general_model(context, settings, 0)
    beside = Context("paper", context.folder.parent / "another table", data, context.store)
    again, _ = density_runs.general_model(beside, settings, 0)
    for one, two in zip(model.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)
    recipe = settings.recipe(64, 0, flip=True)
    with pytest.raises(UserError, match="other settings: images"):
        density_runs.trained(beside, settings, "general", 0, settings.network(0), drawn(9, 50), recipe)


@pytest.mark.parametrize("table", ["Table S2", "Table S3"])
def test_the_in_distribution_is_the_positive_class_and_means_are_of_their_rows(
    table: str, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genaudit.likelihood.evaluation.log_likelihoods", brightness_as_likelihood)
    found = cells(AnomalyDetection(name="x", table=table, seeds=1, **SMALL).run(context))
    column = "unsupervised 4x4" if table == "Table S2" else "unsupervised Raw [4x4]"
    for (row, name), cell in found.items():
        if name.startswith("supervised"):
            assert cell.recomputed is None
        elif name == column and "Mean" not in row:
            inside, outside = row.split(" ", 1)
            assert cell.recomputed == (100 if BRIGHTNESS[inside] < BRIGHTNESS[outside] else 0)
        elif name != column:  # the same likelihood by both models: nothing to tell the sets apart by
            assert cell.recomputed == 50
    if table == "Table S2":  # CIFAR10 is the darkest; of CIFAR100's three, only CIFAR10 is darker
        means = [found[row, column].recomputed for row in ("CIFAR10 Mean", "CIFAR100 Mean", "Mean")]
        assert means == pytest.approx([100, 200 / 3, 500 / 6])


def test_both_ratios_come_from_models_that_saw_the_other_side_as_outliers(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, float | None] = {}

    def trained(
        context: Any, settings: Any, name: str, seed: int, model: Any, on: Any, recipe: Any, **more: Any
    ) -> Any:
        outliers = more.get("outliers")
        seen[name] = None if outliers is None else float(outliers.mean())
        return model

    for module in ("density_runs", "recipes.likelihood_tables"):
        monkeypatch.setattr(f"genaudit.papers.{module}.trained", trained)
    monkeypatch.setattr("genaudit.likelihood.evaluation.log_likelihoods", brightness_as_likelihood)
    AnomalyDetection(name="x", table="Table S3", seeds=1, **SMALL).run(context)
    assert seen == {
        "general": None,
        "CIFAR10-outlier-loss": pytest.approx(128, abs=3),
        "general-against-CIFAR10": pytest.approx(BRIGHTNESS["CIFAR10"], abs=3),
        "CIFAR100-outlier-loss": pytest.approx(128, abs=3),
        "general-against-CIFAR100": pytest.approx(BRIGHTNESS["CIFAR100"], abs=3),
    }


def test_the_classifier_tells_sets_apart_at_the_papers_scale(context: Context) -> None:
    tiny = {"depth": 10, "width": 1, "iterations": 30, "batch_size": 8}
    recipe = DiscriminativeBaseline(seeds=1, laptop=tiny, paper=tiny)
    assert all(need.have for need in recipe.needs("paper", context.data))
    table = recipe.run(context)
    assert set(cells(table)) == {(cell.row, cell.column) for cell in published("001", "Table S4")}
    # general images lie at 128: CIFAR-10 at 40 is told from what is brighter than them, after thirty updates
    assert cells(table)["CIFAR-10 LSUN", "AUC"].recomputed > 90
    assert recipe.run(context) == table
