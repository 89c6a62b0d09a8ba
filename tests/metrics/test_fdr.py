from __future__ import annotations

import math
from typing import Any

import pytest

from genaudit.metrics.fdr import Distance, judge
from genaudit.metrics.result import RealFloor, Unavailable


def _floor(value: float, generated: float | None = None, source: Any = "train") -> RealFloor:
    return RealFloor(value, None, None, 40, source, generated)


def test_it_is_the_mean_of_ratios_to_real_images_not_the_ratio_of_means() -> None:
    generated = {
        "a": Distance(3.0, 50, _floor(1.5)),
        "b": Distance(800.0, 50, _floor(100.0, source="reference_halves")),
    }
    result = judge(generated=generated, reference={"a": 60, "b": 60})
    assert result.fdr == (3.0 / 1.5 + 800.0 / 100.0) / 2
    assert result.denominator_of == {"a": "train", "b": "reference_halves"}
    assert result.ratios == {"a": 2.0, "b": 8.0}
    assert result.cautions == ()


def test_a_floor_of_fewer_images_is_divided_into_the_distance_of_as_many() -> None:
    result = judge(generated={"a": Distance(3.0, 500, _floor(2.0, generated=5.0))}, reference={"a": 60})
    assert result.ratios == {"a": 2.5}
    assert result.distances == {"a": 3.0}


def test_a_published_denominator_goes_before_the_floor_and_is_said() -> None:
    generated = {"a": Distance(3.36, 500, _floor(2.0, 4.0)), "b": Distance(7.0, 500, _floor(3.5))}
    result = judge(generated=generated, reference={"a": None, "b": 90}, published={"a": 1.68, "c": 5.0})
    assert result.ratios == {"a": pytest.approx(2.0), "b": 2.0}
    assert result.denominator_of == {"a": "published", "b": "train"}
    (said,) = result.cautions
    assert said.code == "published-denominators"
    for part in ("denominators of a ", "500 generated", "unknown size", "b took this run's real floor"):
        assert part in said.message


@pytest.mark.parametrize("floor", [None, _floor(0.0)])
def test_a_network_without_a_denominator_leaves_no_value(floor: RealFloor | None) -> None:
    with pytest.raises(Unavailable, match="b has no denominator"):
        judge(
            generated={"a": Distance(3.0, 50, _floor(1.5)), "b": Distance(8.0, 50, floor)}, reference={"a": 1, "b": 1}
        )


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf, "1.5"])
def test_a_denominator_must_be_above_0(wrong: Any) -> None:
    with pytest.raises(ValueError, match="denominator of a must be above 0"):
        judge(generated={"a": Distance(3.0, 50)}, reference={"a": 1}, published={"a": wrong})
