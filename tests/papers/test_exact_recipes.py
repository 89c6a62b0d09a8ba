"""What is exact is reproduced exactly, and a wrong published number changes the verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genaudit.recipe import Context
from genaudit.reports.table import Cell, Table
from genaudit.stats.occupancy import rejection_threshold
from genaudit_papers import published as numbers
from genaudit_papers.dombrowski2025.irs_exact import Idealised, Section11, Theorem1
from genaudit_papers.dombrowski2025.irs_figures import Fig6, Fig7, Fig8, Fig9
from genaudit_papers.printed_means import LikelihoodMeans, PIADMeans
from genaudit_papers.schirrmeister2020.glow_exact import Shapes, closed_form


def run(recipe: Any, folder: Path) -> Table:
    context = Context("laptop", folder, None, folder / "store")
    table: Table = recipe.run(context)
    assert {cell.row for cell in table.cells}
    return table


def cell(table: Table, row: str, column: str) -> Cell:
    (found,) = [each for each in table.cells if (each.row, each.column) == (row, column)]
    return found


def plant(monkeypatch: pytest.MonkeyPatch, paper: str, name: str, place: tuple[str, str], printed: str) -> None:
    """Puts another number into the published data."""
    table = numbers.published(paper, name)
    planted = replace(table, cells={**table.cells, place: numbers.parse(*place, printed)})
    everything = tuple(planted if each is table else each for each in numbers.tables())
    monkeypatch.setattr(numbers, "tables", lambda: everything)


def test_idealised_scores_are_one_minus_e_to_the_minus_alpha(tmp_path: Path) -> None:
    table = run(Idealised(), tmp_path)
    verdicts = {(each.row, each.column): each.verdict for each in table.cells}
    assert (
        verdicts["Table 4", "alpha 2"]
        == verdicts["Table 4", "alpha 6"]
        == verdicts["Table 5", "alpha 2"]
        == "reproduced"
    )
    assert verdicts["Fig. 13", "alpha 7/2"] == "reproduced"
    # the two that the paper has wrong
    assert cell(table, "Table 6", "alpha 7/3").recomputed == pytest.approx(90.31, abs=0.01)
    assert verdicts["Table 6", "alpha 7/3"] == "same order"
    assert verdicts["Table 5", "alpha 16"] == "within 1 %"


def test_a_wrong_published_number_changes_the_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cell(run(Idealised(), tmp_path), "Table 4", "alpha 6").verdict == "reproduced"
    plant(monkeypatch, "dombrowski2025", "Table 4", ("Idealized", "cosine alpha 6"), "99.76")
    assert cell(run(Idealised(), tmp_path), "Table 4", "alpha 6").verdict == "within 1 %"
    plant(monkeypatch, "dombrowski2025", "Table 4", ("Idealized", "cosine alpha 6"), "-99.75")
    assert cell(run(Idealised(), tmp_path), "Table 4", "alpha 6").verdict == "differs"


def test_a_wrong_row_shows_in_the_mean_that_is_recomputed_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all(each.verdict == "reproduced" for each in run(PIADMeans(), tmp_path).cells)
    plant(monkeypatch, "tuluptceva2019", "Table 2", ("MNIST 3", "PIAD"), "0.881")  # 0.981 in the paper
    table = run(PIADMeans(), tmp_path)
    assert [each.column for each in table.cells if each.verdict != "reproduced"] == ["PIAD"]


def test_of_the_quotations_of_section_s9_one_is_not_in_table_s2(tmp_path: Path) -> None:
    wrong = [each for each in run(LikelihoodMeans(), tmp_path).cells if each.verdict != "reproduced"]
    assert [(each.row, each.published, each.recomputed) for each in wrong] == [("CIFAR100 against LSUN", 86.0, 85.4)]


def test_the_threshold_of_section_11_is_one_count_above_the_printed_one(tmp_path: Path) -> None:
    table = run(Section11(), tmp_path)
    threshold = cell(table, "reject if fewer are learned than", "value")
    assert (threshold.recomputed, threshold.published, threshold.verdict) == (48745, 48744, "within 1 %")
    # known levels: 4.963 % and 4.669 %
    assert cell(table, "level of the exact threshold", "value").recomputed == pytest.approx(4.963, abs=5e-4)
    assert cell(table, "level of the printed threshold", "value").recomputed == pytest.approx(4.669, abs=5e-4)


def test_theorem_1_holds_by_law_and_by_simulation(tmp_path: Path) -> None:
    table = run(Theorem1(n_train=200, shares=(1.0, 0.5, 0.1), rates=(0.5,), repeats=300), tmp_path)
    assert {each.verdict for each in table.cells} == {"as expected"}
    assert {each.published for each in table.cells} == {None}  # the paper gives formulas, no numbers
    assert not [each for each in table.cells if each.row.startswith("K/N = 1,") and "below" in each.column]


def test_the_toy_dataset_scores_the_share_of_classes_that_is_kept(tmp_path: Path) -> None:
    table = run(Fig6(count=300, repeats=2), tmp_path)
    kept = [cell(table, f"{number} of 6 classes", "IRS_inf,a").recomputed for number in (1, 3, 6)]
    # IRS_inf,a of 300 samples varies by about 0.06; neighbouring classes are 0.17 apart
    np.testing.assert_allclose(np.array(kept, float), [1 / 6, 0.5, 1.0], atol=0.15)


def test_sixty_samples_reject_what_fig_7_says(tmp_path: Path) -> None:
    table = run(Fig7(shares=(0.1, 0.5)), tmp_path)
    assert cell(table, "threshold after 60 samples", "learned images").recomputed == 55
    diversity = cell(table, "most diverse model that 60 samples reject", "diversity").recomputed
    power = cell(table, "model of diversity 0.1", "rejected after 60 samples").recomputed
    assert diversity is not None
    assert 0.2 < diversity < 0.3
    assert power is not None
    assert power > 0.999


def test_bounds_of_fig_8_hold_the_truth_as_often_as_they_say(tmp_path: Path) -> None:
    table = run(Fig8(n_train=5000, shares=(0.25, 0.5), rates=(0.1, 0.3), repeats=40), tmp_path)
    assert cell(table, "interval at alpha = 0.1", "holds the truth").verdict == "as expected"


def test_fig_9_is_reproduced(tmp_path: Path) -> None:
    table = run(Fig9(), tmp_path)
    published = [each for each in table.cells if each.published is not None]
    assert [each.verdict for each in published] == ["reproduced"] * 3
    # 39 is the smallest support that 10 different images reject, by the definition of the threshold
    assert rejection_threshold(15, 39, 0.05) == 11
    assert rejection_threshold(15, 38, 0.05) == 10


def test_glow_has_the_papers_shapes_and_as_many_parameters_as_its_shapes_make(tmp_path: Path) -> None:
    knobs = {"channels": 3, "size": 32, "scales": 3, "steps": 32, "hidden": 512}
    table = run(Shapes(**knobs), tmp_path)
    assert [each.verdict for each in table.cells if each.published is not None] == ["reproduced"] * 12
    counted = cell(table, "whole network", "parameters").recomputed
    assert counted == cell(table, "whole network", "parameters by formula").recomputed == closed_form(**knobs)


def test_another_depth_is_noticed(tmp_path: Path) -> None:
    table = run(Shapes(channels=3, size=32, scales=3, steps=16, hidden=8), tmp_path)
    assert {each.column for each in table.cells if each.verdict == "same order"} == {"steps"}
