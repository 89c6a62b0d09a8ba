from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from genaudit.measures.piad import rows_of
from genaudit.metrics.piad import heat, judge
from genaudit.metrics.result import PictureRow, RoleImage


def rows(scores: np.ndarray, seed: int = 0) -> np.ndarray:
    """Rows of images of 8x8 with maps of 2x2 that sum to the scores."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(4), len(scores)).reshape(-1, 2, 2) * scores[:, None, None]
    return rows_of(scores, shares, rng.uniform(-1, 1, (len(scores), 3, 8, 8)))


def test_auroc_is_scikit_learns_of_anomalies_against_the_normal_images(on_disk: Callable[[np.ndarray], Any]) -> None:
    rng = np.random.default_rng(0)
    scores = {
        "generated": rng.gamma(5, 0.1, 60),
        "reference": rng.gamma(4, 0.1, 70),
        "anomalies": rng.gamma(8, 0.1, 40),
    }
    scores = {role: np.round(each, 2) for role, each in scores.items()}  # with ties
    scores = {role: each.astype(np.float32).astype(float) for role, each in scores.items()}
    given = {role: on_disk(rows(each)) for role, each in scores.items()}

    def expected(normal: str) -> float:
        truth = np.r_[np.ones(40), np.zeros(len(scores[normal]))]
        return float(roc_auc_score(truth, np.r_[scores["anomalies"], scores[normal]]))

    result = judge(**given)
    assert result.normal == "reference"
    assert result.auroc == pytest.approx(expected("reference"), abs=1e-12)
    assert result.auroc is not None
    assert result.auroc.lower is not None
    assert result.auroc.upper is not None
    assert result.auroc.lower < result.auroc < result.auroc.upper
    assert result.piad_mean == pytest.approx(scores["generated"].mean())
    assert result.piad_mean.lower < result.piad_mean < result.piad_mean.upper
    assert result.piad_mean_reference == pytest.approx(scores["reference"].mean())
    np.testing.assert_array_equal(result.piad, scores["generated"])
    alone = judge(generated=given["generated"], anomalies=given["anomalies"])
    assert alone.normal == "generated"
    assert alone.auroc == pytest.approx(expected("generated"), abs=1e-12)
    assert judge(generated=given["generated"], reference=given["reference"]).auroc is None


def test_generated_images_are_easier_than_real_ones_where_both_intervals_at_the_level_asked_for_say_so() -> None:
    real = np.linspace(0.2, 0.8, 101)  # mean 0.5, standard error 0.0174
    easier = np.full(50, 0.5 - 1.3 * real.std() / np.sqrt(101))  # below the real interval at 50 %, within that at 95 %
    for confidence, codes in ((0.5, ["easier-than-real"]), (0.95, [])):
        found = judge(generated=rows(easier), reference=rows(real), confidence=confidence)
        assert [each.code for each in found.cautions] == codes


def test_pictures_are_the_extremes_with_their_reconstructions_and_maps() -> None:
    scores = np.array([0.5, 0.1, 0.9, 0.3, 0.7, 0.2])
    rng = np.random.default_rng(3)
    shares = np.zeros((6, 4, 4))
    shares[:, 0, 3] = scores
    reconstructions = rng.uniform(-1.2, 1.2, (6, 3, 8, 8))
    (grid,) = judge(generated=rows_of(scores, shares, reconstructions), shown=2).pictures
    assert [row.cells[0] for row in grid.rows] == [RoleImage("generated", i) for i in (1, 5, 2, 4)]
    assert [row.caption.split(",")[0] for row in grid.rows] == ["least anomalous"] * 2 + ["most anomalous"] * 2

    def cells(row: PictureRow) -> list[np.ndarray]:
        return [cell for cell in row.cells if isinstance(cell, np.ndarray)]

    pixels, place = cells(grid.rows[2])
    expected = (reconstructions[2].clip(-1, 1).transpose(1, 2, 0) + 1) * 127.5
    assert pixels.dtype == np.uint8
    assert np.abs(pixels - expected).max() <= 0.5 + 1e-6
    height = len(place)
    assert (place[0, -1] == 255).all()  # the brightest place of all maps, at the top right
    assert (place[height // 2 :, : height // 4] == 0).all()
    assert cells(grid.rows[0])[1].max() < 255


def test_few_images_are_each_shown_once() -> None:
    for count, shown in ((1, 1), (2, 2), (3, 2)):
        (grid,) = judge(generated=rows(np.linspace(0.1, 0.2, count))).pictures
        assert len({row.cells[0] for row in grid.rows}) == len(grid.rows) == shown


def test_cautions_say_when_the_score_misleads() -> None:
    low, high = rows(np.linspace(0.1, 0.2, 50)), rows(np.linspace(0.3, 0.4, 50))
    blurred = judge(generated=low, reference=high)
    assert [caution.code for caution in blurred.cautions] == ["easier-than-real"]
    assert blurred.generated_above_reference == 0.0
    simple = judge(generated=high, reference=high, anomalies=low)
    assert [caution.code for caution in simple.cautions] == ["anomalies-score-lower"]
    assert simple.auroc == 0.0
    assert judge(generated=high, reference=low, anomalies=high).cautions == ()


def test_the_order_of_images_changes_no_number() -> None:
    rng = np.random.default_rng(5)
    given, normal = rows(rng.gamma(5, 0.1, 40)), rows(rng.gamma(4, 0.1, 40))
    first = judge(generated=given, reference=normal, anomalies=given + 0)
    again = judge(generated=given[::-1], reference=normal[rng.permutation(40)], anomalies=given[::-1])
    assert first.piad_mean == pytest.approx(again.piad_mean)
    assert first.auroc == again.auroc


def test_rows_of_another_measure_are_refused() -> None:
    with pytest.raises(ValueError, match="not rows of"):
        judge(generated=np.zeros((4, 9)))


def test_a_heat_map_goes_from_black_over_red_to_white() -> None:
    colours = heat(np.array([[0.0, 1.0], [1 / 3, 2 / 3]]), 1.0)
    corners = colours[[0, 0, -1, -1], [0, -1, 0, -1]]
    np.testing.assert_array_equal(corners, [[0, 0, 0], [255, 255, 255], [255, 0, 0], [255, 255, 0]])
