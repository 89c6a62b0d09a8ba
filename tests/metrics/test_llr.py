"""llr: areas are scikit-learn's, sides follow the roles, floors are counted, components reach every image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from genaudit.metrics.llr import FLOOR, judge
from genaudit.metrics.result import RoleImage, Unavailable
from genaudit.reports.values import describe


def role(seed: int, n: int, shift: float = 0.0, *, general: bool = True) -> dict[str, Any]:
    """Rows as the measures give them: log p is the sum of its contributions, code rows are nats and bits."""
    rng = np.random.default_rng(seed)
    parts = rng.normal(-1000 + shift, 30, (n, 3))
    bits = rng.integers(300, 500, n) * 8.0
    code = np.stack([9000 - bits * np.log(2), bits], 1)
    rows = {"density": np.c_[parts.sum(1), parts], "code": code, "general": code}
    if general:
        others = rng.normal(-3100, 60, (n, 3))
        rows["general"] = np.c_[others.sum(1), others]
    return {name: each.astype(np.float32) for name, each in rows.items()}


IN, OUT, GENERATED = role(0, 60), role(1, 40, shift=-12), role(2, 30, shift=20)


def expected(score: Any, ours: Any = IN, others: Any = OUT) -> float:
    scores = np.r_[score(ours), score(others)]
    truth = np.r_[np.ones(len(ours["code"])), np.zeros(len(others["code"]))]
    return float(roc_auc_score(truth, scores))


def test_values_are_sklearns_areas_with_in_distribution_as_the_positive_class() -> None:
    found = judge(generated=GENERATED, reference=IN, anomalies=OUT, bootstraps=50)
    exact = {name: lambda rows, name=name: np.float64(rows[name]) for name in ("density", "general", "code")}
    density, general, code = exact["density"], exact["general"], exact["code"]
    assert found.auroc_raw == pytest.approx(expected(lambda r: density(r)[:, 0]))
    assert found.auroc_last_scale == pytest.approx(expected(lambda r: density(r)[:, 3]))
    assert found.auroc_ratio == pytest.approx(expected(lambda r: density(r)[:, 0] - general(r)[:, 0]))
    assert found.auroc_ratio_code == pytest.approx(expected(lambda r: density(r)[:, 0] - code(r)[:, 0]))
    assert found.auroc_general == pytest.approx(expected(lambda r: -general(r)[:, 0]))
    assert found.auroc_code == pytest.approx(expected(lambda r: code(r)[:, 1]))
    assert (found.in_distribution, found.out_of_distribution, found.n_in, found.n_out) == (
        "reference", "anomalies", 60, 40,
    )  # fmt: skip
    assert found.auroc_raw.lower < found.auroc_raw < found.auroc_raw.upper


@pytest.mark.parametrize(("given", "sides"), [
    ({"reference": IN}, ("reference", "generated")),
    ({"anomalies": OUT}, ("generated", "anomalies")),
    ({"reference": IN, "anomalies": OUT}, ("reference", "anomalies")),
])  # fmt: skip
def test_the_generated_images_take_the_side_that_is_not_given(given: Any, sides: tuple[str, str]) -> None:
    found = judge(generated=GENERATED, **given, bootstraps=5)
    assert (found.in_distribution, found.out_of_distribution) == sides
    both = {"generated": GENERATED, **given}
    assert found.auroc_raw == pytest.approx(
        expected(lambda r: np.float64(r["density"][:, 0]), both[sides[0]], both[sides[1]])
    )


def test_generated_images_alone_cannot_be_distinguished() -> None:
    with pytest.raises(Unavailable, match=r"anomalies= .* or reference="):
        judge(generated=GENERATED)


def test_without_a_general_model_the_code_length_stands_for_it() -> None:
    ours, others = role(0, 60, general=False), role(1, 40, shift=-12, general=False)
    found = judge(generated=ours, anomalies=others, bootstraps=20)
    assert found.ratio_to == "a code length"
    assert found.auroc_ratio == pytest.approx(
        expected(lambda r: np.float64(r["density"][:, 0]) - np.float64(r["code"][:, 0]), ours, others)
    )
    assert found.auroc_general is None
    assert found.auroc_ratio_code is None
    shown = describe(found, "llr").values
    assert set(shown) == {"auroc_raw", "auroc_last_scale", "auroc_ratio", "auroc_code"}
    assert {each.better for each in shown.values()} == {"none"}


def test_a_model_of_one_scale_has_no_last_scale() -> None:
    one_scale = [{**each, "density": each["density"][:, [0, 0]]} for each in (IN, OUT)]
    found = judge(generated=one_scale[0], anomalies=one_scale[1], bootstraps=5)
    assert found.auroc_last_scale is None
    assert "auroc_last_scale" not in describe(found, "llr").values
    assert "last scale" not in found.curves.lines
    assert found.auroc_raw == judge(generated=IN, anomalies=OUT, bootstraps=5).auroc_raw
    titles = [each.title for each in judge(generated=IN, anomalies=OUT, bootstraps=5).pictures]
    assert titles == [f"Extreme images by {name}" for name in ("log-likelihood", "last scale", "ratio")]
    assert len(found.pictures) == 2


def test_swapping_the_sides_gives_complements() -> None:
    one = judge(generated=GENERATED, reference=IN, anomalies=OUT, bootstraps=5)
    other = judge(generated=GENERATED, reference=OUT, anomalies=IN, bootstraps=5)
    for name in ("auroc_raw", "auroc_last_scale", "auroc_ratio", "auroc_general", "auroc_code"):
        assert getattr(one, name) + getattr(other, name) == pytest.approx(1)


def test_values_below_the_floor_or_not_finite_count_as_the_floor_and_are_told() -> None:
    rows = {name: each.copy() for name, each in OUT.items()}
    rows["density"][:4, 0] = [np.nan, np.inf, -np.inf, -7.9e6]
    rows["general"][:4, 0] = -5e6
    found = judge(generated=GENERATED, reference=IN, anomalies=rows, bootstraps=5)
    density, general = np.float64(rows["density"][:, 0]), np.float64(rows["general"][:, 0])
    density[:4] = general[:4] = FLOOR  # so that these four have a ratio of 0, above all others
    own = np.float64(IN["density"][:, 0]) - np.float64(IN["general"][:, 0])
    truth = np.r_[np.ones(60), np.zeros(40)]
    assert found.auroc_ratio == pytest.approx(roc_auc_score(truth, np.r_[own, density - general]))
    (caution,) = [each for each in found.cautions if each.code == "log-likelihood-clipped"]
    assert (
        "anomalies: of 40 images, the log-likelihood of 4, the general model's log-likelihood of 4" in caution.message
    )
    # images.csv keeps the values as they were
    kept = judge(generated=rows, reference=IN, bootstraps=5)
    np.testing.assert_array_equal(kept.log_prob, rows["density"][:, 0])


def test_every_component_of_a_generated_image_is_a_column() -> None:
    found = judge(generated=GENERATED, anomalies=OUT, bootstraps=5)
    columns = {column.name: column.values for column in describe(found, "llr").columns}
    assert list(columns) == ["llr", "log_prob", "log_prob_general", "code_bits", "c_1", "c_2", "c_3"]
    parts = np.stack([columns[f"c_{i}"] for i in (1, 2, 3)], 1)
    np.testing.assert_allclose(parts, GENERATED["density"][:, 1:])
    np.testing.assert_allclose(columns["llr"], columns["log_prob"] - columns["log_prob_general"])


def test_the_curves_have_the_areas_and_the_galleries_the_extremes() -> None:
    found = judge(generated=GENERATED, reference=IN, anomalies=OUT, bootstraps=5)
    # Steps of 1/40 on a grid of 1/400: the mean is the area up to a grid step a corner.
    area = found.curves.lines["log-likelihood"].mean()
    assert area == pytest.approx(found.auroc_raw, abs=41 / 401)
    by_ratio = found.pictures[-1]
    ratio = np.float64(OUT["density"][:, 0]) - np.float64(OUT["general"][:, 0])
    assert by_ratio.rows[2].cells[0] == RoleImage("anomalies", int(ratio.argmax()))
    assert by_ratio.rows[3].cells[0] == RoleImage("anomalies", int(ratio.argmin()))
    assert all(len(row.cells) == len(by_ratio.columns) for row in by_ratio.rows)


def test_cautions_name_the_paradox_and_a_ratio_that_its_control_explains() -> None:
    codes = {"density": role(3, 50, shift=-100)["density"], "code": role(0, 50)["code"]}
    likelier = {"density": role(4, 50, shift=100)["density"], "code": codes["code"] + np.float32([300, -400])}
    found = judge(generated=codes, anomalies=likelier, bootstraps=50)
    assert "foreign-images-likelier" in {each.code for each in found.cautions}
    flat = {"density": np.zeros((50, 2)) - 5, "code": codes["code"]}  # a density model that knows nothing
    other = {"density": np.zeros((50, 2)) - 5, "code": likelier["code"]}
    found = judge(generated=flat, anomalies=other, bootstraps=50)
    assert found.auroc_ratio == found.auroc_code > 0.5
    assert found.ratio_minus_control == (0, 0, 0)
    assert "ratio-not-above-control" in {each.code for each in found.cautions}


def test_a_ratio_that_its_control_does_not_explain_has_no_caution() -> None:
    ours, others = role(5, 80, shift=60, general=False), role(6, 80, shift=-60, general=False)
    found = judge(generated=ours, anomalies=others, bootstraps=100)
    gain, lower, upper = found.ratio_minus_control
    assert gain == pytest.approx(found.auroc_ratio - found.auroc_code)
    assert 0 < lower < gain < upper
    assert not found.cautions
