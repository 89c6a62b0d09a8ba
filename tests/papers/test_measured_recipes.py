"""Measured recipes on pixels and a tiny untrained network: what they compute holds, whatever the numbers are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from genaudit.backbones.pixels import Pixels
from genaudit.backbones.timm_model import TimmModel
from genaudit.papers.recipe import Context
from genaudit.papers.recipes.as_tables import HumanCorrelation, Means, Regression, Settings, human_error_rates
from genaudit.papers.recipes.irs_measured import Agreement, RealRetrieval, RemovedClasses
from genaudit.papers.table import Table
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


def test_correlations_need_every_generator_of_the_human_study(tmp_path: Path) -> None:
    recipe = HumanCorrelation(
        "as_correlations", "Section E.2", models={}, laptop_model=tiny(), sets={"FFHQ": ["ffhq256", "ffhq256/train"]}
    )
    (need,) = recipe.needs("paper", tmp_path)
    assert len(human_error_rates("ffhq256")) == 9
    assert need.what.endswith("9 generators of FFHQ")
    assert "ffhq256/insgen" in need.how
    assert not recipe.needs("laptop", tmp_path)[0].have


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
