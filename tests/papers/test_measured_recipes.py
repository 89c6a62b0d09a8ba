"""Measured recipes on pixels and a tiny untrained network: what they compute holds, whatever the numbers are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import pearsonr

from genaudit.backbones.pixels import Pixels
from genaudit.backbones.timm_model import TimmModel
from genaudit.metrics.result import Cloud
from genaudit.papers.recipe import Context
from genaudit.papers.recipes import as_correlations
from genaudit.papers.recipes.as_correlations import Correlations, human_error_rates
from genaudit.papers.recipes.as_tables import Means, Regression, Settings
from genaudit.papers.recipes.irs_agreement import Agreement, Retrievals
from genaudit.papers.recipes.irs_measured import RealRetrieval, RemovedClasses
from genaudit.papers.table import Cell, Table
from genaudit.stats.occupancy import expected_distinct


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
    assert (effect.recomputed, effect.verdict) == (1.0, "reproduced")


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


def test_a_model_agrees_with_itself_everywhere(tmp_path: Path) -> None:
    recipe = Agreement("irs_fig11", "Fig. 11", models={}, laptop_models={"A": pixels(8), "B": pixels(8)}, sets={})
    cells = {cell.row: cell.recomputed for cell in run(recipe, tmp_path).cells}
    assert cells == {"all models disagree": 0.0, "2 models agree": 100.0, "A and B": 100.0}


def test_fewer_classes_score_less(tmp_path: Path) -> None:
    recipe = RemovedClasses("irs_fig14", "Fig. 14", models={}, laptop_models={"Pixels": pixels(8)}, sets={}, folds=2)
    scores = [cell.recomputed for cell in run(recipe, tmp_path).cells if cell.column == "IRS_inf,a"]
    assert len(scores) == 5
    first, last = scores[0], scores[-1]
    assert first is not None
    assert last is not None
    assert first < last


def test_a_weaker_attack_moves_features_less(tmp_path: Path) -> None:
    settings = {"eps and alpha 0.01": {"alpha": 0.01}, "eps and alpha 0.005": {"eps": 0.005, "alpha": 0.005}}
    recipe = Settings(
        "as_table_b1", "Table B.1", models={}, laptop_model=tiny(), sets={}, settings=settings, laptop_limit=4
    )
    table = run(recipe, tmp_path)
    (ratio,) = [c for c in table.cells if "relative" in c.row and c.column == "vulnerability real"]
    assert ratio.published == pytest.approx(7.77 / 14.57)
    assert ratio.recomputed is not None
    assert 0.2 < ratio.recomputed < 0.9  # half the step: half the change where the network is linear
    assert "differs" not in table.differs
    assert "4 images a set" in table.differs


def test_means_go_with_a_test_and_the_order_that_the_paper_expects(tmp_path: Path) -> None:
    for tails, name in ((2, "Table C.1"), (1, "Table E.1")):
        recipe = Means("as", name, models={}, laptop_model=tiny(), sets={}, laptop_limit=6, tails=tails)
        table = run(recipe, tmp_path / str(tails))
        p_values = [cell.recomputed for cell in table.cells if cell.row.endswith(" p")]
        assert len(p_values) == 2
        assert all(p is not None and 0 <= p <= 1 for p in p_values)
        assert [cell.published for cell in table.cells if "sign" in cell.row] == [-1.0, 1.0]


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
        assert (sign.recomputed, sign.published, sign.verdict) == (-1, -1, "reproduced")
    undecided = as_correlations._sign(Cell("row", "column", -0.9, None, -1.0, 0.1))
    assert Cell("row", "sign", undecided, -1.0).verdict == "differs"
    assert as_correlations._sign(Cell("row", "column", 0.5, None, 0.1, 0.9)) == 1


@pytest.mark.parametrize("score", ["as", "as_i"])
def test_anomaly_scores_of_grades_are_correlated(score: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(as_correlations, "NOISE", (0.0, 20.0, 60.0))
    monkeypatch.setattr(as_correlations, "BLUR", (0.0, 1.0, 2.0))
    table = "Section E.2" if score == "as" else "Fig. G.1"
    found = run(correlating(table, laptop_model=tiny(), sets={}, scores=[score], laptop_limit=6), tmp_path)
    values = [cell for cell in found.cells if "sign" not in cell.column]
    assert len(values) == 2
    assert len(found.cells) == (4 if score == "as" else 2)  # Fig. G.1 prints no number: no sign to compare with
    assert all(cell.recomputed is not None and -1 <= cell.recomputed <= 1 for cell in values)


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
