from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from genaudit.metrics.piad import heat, judge
from genaudit.metrics.result import PictureRow, RoleImage


def rows(scores: np.ndarray) -> np.ndarray:
    """Rows of images with these scores."""
    return scores[:, None].astype(np.float32)


def beside(scores: np.ndarray, channels: int = 3, seed: int = 0) -> dict[str, np.ndarray]:
    """Maps of 2x2 that sum to the scores, and pictures of 8x8."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(4), len(scores)).reshape(-1, 2, 2) * scores[:, None, None]
    made = rng.integers(0, 256, (len(scores), 8, 8, channels), dtype=np.uint8)
    return {"map": shares.astype(np.float32), "reconstruction": made}


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


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_the_extremes_with_their_reconstructions_and_maps(channels: int) -> None:
    scores = np.array([0.5, 0.1, 0.9, 0.3, 0.7, 0.2])
    shares = np.zeros((6, 4, 4), np.float32)
    shares[:, 0, 3] = scores
    given = {"map": shares, "reconstruction": beside(scores, channels)["reconstruction"]}
    (grid,) = judge(generated=rows(scores), attachments={"generated": given}, shown=2).pictures
    assert [row.cells[0] for row in grid.rows] == [RoleImage("generated", i) for i in (1, 5, 2, 4)]
    assert [row.caption.split(",")[0] for row in grid.rows] == ["least anomalous"] * 2 + ["most anomalous"] * 2

    def cells(row: PictureRow) -> list[np.ndarray]:
        return [cell for cell in row.cells if isinstance(cell, np.ndarray)]

    for row, index in zip(grid.rows, (1, 5, 2, 4), strict=True):
        pixels, place = cells(row)
        np.testing.assert_array_equal(pixels, np.broadcast_to(given["reconstruction"][index], (8, 8, 3)))
        assert place[0, -1, 0] == np.rint(255 * min(1, 3 * scores[index] / 0.9))  # the share that this image's map has
    place = cells(grid.rows[2])[1]
    height = len(place)
    assert (place[0, -1] == 255).all()  # the brightest place of all maps, at the top right
    assert (place[height // 2 :, : height // 4] == 0).all()
    assert cells(grid.rows[0])[1].max() < 255


def test_only_the_pictures_that_are_shown_are_read() -> None:
    scores, read = np.linspace(0.1, 0.9, 500), []

    class Watched:
        def __init__(self, array: np.ndarray) -> None:
            self.array = array

        def __getitem__(self, item: Any) -> np.ndarray:
            found = self.array[item]
            read.append(len(found))
            return found

    given = {name: Watched(array) for name, array in beside(scores).items()}
    assert len(judge(generated=rows(scores), attachments={"generated": given}).pictures[0].rows) == 10
    assert read == [10, 10]


def test_rows_alone_are_judged_alike_without_pictures() -> None:
    scores = np.linspace(0.1, 0.9, 30)
    alone, shown = (judge(generated=rows(scores), attachments=a) for a in (None, {"generated": beside(scores)}))
    assert (alone.piad_mean, alone.piad_mean.ends) == (shown.piad_mean, shown.piad_mean.ends)
    assert (len(alone.pictures), len(shown.pictures)) == (0, 1)


def test_few_images_are_each_shown_once() -> None:
    for count, shown in ((1, 1), (2, 2), (3, 2)):
        scores = np.linspace(0.1, 0.2, count)
        (grid,) = judge(generated=rows(scores), attachments={"generated": beside(scores)}).pictures
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
    with pytest.raises(ValueError, match="hold one score, these 9 numbers"):
        judge(generated=np.zeros((4, 9)))


def test_a_heat_map_goes_from_black_over_red_to_white() -> None:
    colours = heat(np.array([[0.0, 1.0], [1 / 3, 2 / 3]]), 1.0)
    corners = colours[[0, 0, -1, -1], [0, -1, 0, -1]]
    np.testing.assert_array_equal(corners, [[0, 0, 0], [255, 255, 255], [255, 0, 0], [255, 255, 0]])
