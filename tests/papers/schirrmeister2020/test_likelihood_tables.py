"""Tables S1 to S4 and section S5.2 of schirrmeister2020 on miniature sets in the layouts of their real files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from genaudit.likelihood import saved
from genaudit.likelihood.glow import Glow
from genaudit.recipe import Context
from genaudit_papers import datasets
from genaudit_papers.published import published
from genaudit_papers.schirrmeister2020 import density_runs
from genaudit_papers.schirrmeister2020.glow_exact import Fourier
from genaudit_papers.schirrmeister2020.likelihood_classifier import DiscriminativeBaseline
from genaudit_papers.schirrmeister2020.likelihood_curves import Finetuning, MarginLoss
from genaudit_papers.schirrmeister2020.likelihood_likeliest import Likeliest
from genaudit_papers.schirrmeister2020.likelihood_mri import ModalitiesAsOutliers
from genaudit_papers.schirrmeister2020.likelihood_tables import AnomalyDetection, BitsPerDimension

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
    given = published("schirrmeister2020", "Table S1")
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


def test_mixing_reads_the_same_layouts(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = {"_target_": "genaudit.likelihood.glow.Glow", "channels": 3, "size": 32, "steps": 1, "hidden": 4}
    saved.save(Glow(3, 32, steps=1, hidden=4).eval(), tmp_path / "model", node)
    recipe = Fourier(str(tmp_path / "model"), paper_sets=("CIFAR10", "SVHN", "LSUN"))
    assert all(need.have for need in recipe.needs("paper", context.data))
    assert not any(need.have for need in recipe.needs("paper", tmp_path / "nothing")[:3])
    seen: list[Any] = []

    def noted(model: Any, images: Any) -> np.ndarray:
        seen.append(np.asarray(images))
        return brightness_as_likelihood(model, seen[-1])

    monkeypatch.setattr("genaudit.likelihood.scoring.log_likelihoods", noted)
    recipe.run(context)
    plain, mixed = seen
    assert plain.shape == mixed.shape == (6 + 8 + 5, 3, 32, 32)
    means = [float(plain[part].mean()) for part in (slice(0, 6), slice(6, 14), slice(14, 19))]
    assert means == pytest.approx([BRIGHTNESS[name] for name in ("CIFAR10", "SVHN", "LSUN")], abs=3)


@pytest.mark.parametrize("recipe", [Finetuning, MarginLoss, Likeliest])
def test_curves_and_likeliest_images_run_at_the_papers_scale(recipe: Any, context: Context) -> None:
    made = recipe(seeds=1, **SMALL, **({"images": 15} if recipe is Likeliest else {}))
    assert all(need.have for need in made.needs("paper", context.data))
    assert not any(need.have for need in made.needs("paper", context.folder))
    table = made.run(context)
    assert table.differs == ""
    assert all(cell.recomputed is not None for cell in table.cells)
    if recipe is Finetuning:  # the models of Table S1, which are not trained twice
        before = set((context.folder.parent / "models").iterdir())
        BitsPerDimension(name="likelihood_table_s1", table="Table S1", seeds=1, **SMALL).run(context)
        assert set((context.folder.parent / "models").iterdir()) == before
        assert [cell.published for cell in table.cells if "share of" in cell.column] == [50, 20, 20, 20, 20, 20]


def test_general_models_make_as_many_updates_as_cifar10s() -> None:
    paper = density_runs.GlowSettings()
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
    settings = density_runs.GlowSettings(**SMALL)
    model, _ = density_runs.general_model(context, settings, 0)
    beside = Context("paper", context.folder.parent / "another table", data, context.store)
    again, _ = density_runs.general_model(beside, settings, 0)
    for one, two in zip(model.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)
    assert len(list((context.folder.parent / "models").iterdir())) == 1


def test_a_model_is_named_by_its_images_its_start_and_its_general_model(context: Context) -> None:
    """Replaced images, or a general model that is another, never give the model of before."""
    settings = density_runs.GlowSettings(**SMALL)
    recipe = settings.recipe(8, 0, flip=False)

    def learned(on: np.ndarray, start: int = 0, **more: Any) -> list[float]:
        model = density_runs.trained(context, settings, "x", 0, settings.network(start), on, recipe, **more)
        return [float(parameter.detach().double().sum()) for parameter in model.parameters()]

    ours, others = drawn(8, 50), drawn(8, 90)
    plain = learned(ours)
    assert learned(ours) == plain
    pushed = {start: learned(ours, outliers=others, general=settings.network(start)) for start in (0, 1)}
    found = [
        plain,
        learned(others),
        learned(ours, 1),
        *pushed.values(),
        learned(ours, outliers=others[::-1].copy(), general=settings.network(0)),
    ]
    assert len({tuple(each) for each in found}) == len(found)


@pytest.mark.parametrize("table", ["Table S2", "Table S3"])
def test_the_in_distribution_is_the_positive_class_and_means_are_of_their_rows(
    table: str, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genaudit.likelihood.scoring.log_likelihoods", brightness_as_likelihood)
    found = cells(AnomalyDetection(name="x", table=table, seeds=1, **SMALL).run(context))
    assert set(found) == {(cell.row, cell.column) for cell in published("schirrmeister2020", table)}
    for (row, name), cell in found.items():
        if not name.endswith(("4x4", "[4x4]")):  # the same likelihood by both models: nothing to tell the sets apart by
            assert cell.recomputed == 50
        elif "Mean" not in row:
            inside, outside = row.split(" ", 1)
            assert cell.recomputed == (100 if BRIGHTNESS[inside] < BRIGHTNESS[outside] else 0)
    if table == "Table S2":  # CIFAR10 is the darkest; of CIFAR100's three, only CIFAR10 is darker
        for column in ("unsupervised 4x4", "supervised 4x4"):
            means = [found[row, column].recomputed for row in ("CIFAR10 Mean", "CIFAR100 Mean", "Mean")]
            assert means == pytest.approx([100, 200 / 3, 500 / 6])


def test_both_ratios_come_from_models_that_saw_the_other_side_as_outliers(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, tuple[float | None, int, int]] = {}

    def trained(
        context: Any, settings: Any, name: str, seed: int, model: Any, on: Any, recipe: Any, **more: Any
    ) -> Any:
        outliers, general = more.get("outliers"), more.get("general")
        assert (general is None) == (outliers is None)
        labels = more.get("labels", ())
        assert len(labels) in (0, len(on))
        known = 0 if general is None else general.classes
        seen[name] = (None if outliers is None else float(outliers.mean()), len(set(labels)), known)
        assert model.classes == (max(labels) + 1 if len(labels) else 1)
        return model

    for module in ("density_runs", "likelihood_tables"):
        monkeypatch.setattr(f"genaudit_papers.schirrmeister2020.{module}.trained", trained)
    monkeypatch.setattr("genaudit.likelihood.scoring.log_likelihoods", brightness_as_likelihood)
    AnomalyDetection(name="x", table="Table S3", seeds=1, **SMALL).run(context)
    tiny = pytest.approx(128, abs=3)
    expected: dict[str, Any] = {"general": (None, 0, 0)}
    for name, of_class in (("CIFAR10", 7), ("CIFAR100", 7)):  # the miniature sets have the labels 1 to 6
        own = pytest.approx(BRIGHTNESS[name], abs=3)
        expected |= {
            f"{name}-outlier-loss": (tiny, 0, 1),
            f"general-against-{name}": (own, 0, 1),
            f"{name}-supervised-outlier-loss": (tiny, 6, 1),
            f"general-against-{name}-supervised": (own, 0, of_class),
        }
    assert seen == expected


def test_supervised_models_learn_with_their_labels(context: Context) -> None:
    table = AnomalyDetection(name="x", table="Table S3", seeds=1, **SMALL).run(context)
    supervised = [cell for cell in table.cells if cell.column.startswith("supervised")]
    assert len(supervised) == 12
    assert all(cell.recomputed is not None and 0 <= cell.recomputed <= 100 for cell in supervised)
    assert any("every class begins" in note for note in table.notes)


def test_each_modality_is_learned_and_distinguished_from_the_others(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = ModalitiesAsOutliers(modalities=["t1", "t2", "flair"], seeds=2, **SMALL)
    missing = recipe.needs("paper", tmp_path)
    assert [need.what for need in missing][:2] == ["BRATS: train slices of t1", "BRATS: test slices of t1"]
    assert not any(need.have for need in missing)
    for modality, brightness in (("t1", 60), ("t2", 130), ("flair", 200)):
        for split in datasets.SPLITS:
            folder = tmp_path / "brats" / modality / split
            folder.mkdir(parents=True)
            for i, image in enumerate(drawn(6, brightness)):
                Image.fromarray(image[..., 0]).resize((48, 40)).save(folder / f"{i}.png")
    assert all(need.have for need in recipe.needs("paper", tmp_path))
    assert not recipe.needs("laptop", tmp_path)[0].have
    beside = Context("paper", tmp_path / "run", tmp_path, context.store)
    first = recipe.run(beside)
    for score in ("last-scale likelihood", "raw likelihood"):  # the paper's number is the mean over ordered pairs
        pairs = [cell.recomputed for cell in first.cells if cell.row.endswith(f", {score}")]
        assert len(pairs) == 6
        assert cells(first)[score, "AUROC"].recomputed == pytest.approx(np.mean(pairs), rel=1e-12)
    assert [(cell.row, cell.published) for cell in first.cells[:2]] == [
        ("last-scale likelihood", 59.2),
        ("raw likelihood", 53.3),
    ]
    seen = []

    def darker_is_likelier(model: Any, images: np.ndarray) -> np.ndarray:
        seen.append((model.image_shape, images.shape))
        raw, _, last = brightness_as_likelihood(model, images).T
        return np.stack([raw, 0 * raw, -last], axis=1)

    monkeypatch.setattr("genaudit.likelihood.scoring.log_likelihoods", darker_is_likelier)
    found = cells(ModalitiesAsOutliers(modalities=["t1", "t2", "flair"], seeds=1, **SMALL).run(
        Context("paper", tmp_path / "other", tmp_path, context.store)))  # fmt: skip
    assert set(seen) == {((1, 32, 32), (6, 32, 32, 1))}
    # t1 is the darkest: it wins by the likelihood, loses by the last scale, and the pairs both ways leave chance
    assert found["t1 against flair, raw likelihood", "AUROC"].recomputed == 100
    assert found["flair against t1, raw likelihood", "AUROC"].recomputed == 0
    assert found["t1 against flair, last-scale likelihood", "AUROC"].recomputed == 0
    assert found["raw likelihood", "AUROC"].recomputed == 50


def test_the_classifier_tells_sets_apart_at_the_papers_scale(context: Context) -> None:
    tiny = {"depth": 10, "width": 1, "iterations": 30, "batch_size": 8}
    recipe = DiscriminativeBaseline(seeds=1, laptop=tiny, paper=tiny)
    assert all(need.have for need in recipe.needs("paper", context.data))
    table = recipe.run(context)
    assert set(cells(table)) == {(cell.row, cell.column) for cell in published("schirrmeister2020", "Table S4")}
    # general images lie at 128: CIFAR-10 at 40 is distinguished from what is brighter than them, after thirty updates
    assert cells(table)["CIFAR-10 LSUN", "AUC"].recomputed > 90
    assert recipe.run(context) == table
