"""Any metric's result becomes values, details, columns and cautions by its fields' metadata alone."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from genaudit.metrics.result import NOT_NEGATIVE, SHARE, Estimate, RealFloor, Retrieval, per_image, value
from genaudit.reports.entries import MetricEntry
from genaudit.reports.values import Value, describe, plain

from .synthetic import Clouds, Retrieved


def test_value_fields_take_their_interval_direction_and_name_from_metadata():
    parts = describe(Clouds(0.2, 0.1, 0.3, pvalue=0.04), "as")
    assert parts.values == {"as": Value(0.2, 0.1, 0.3, "lower")}
    assert parts.p_value == 0.04
    assert parts.citation == "Nobody et al., CVPR 2024"
    assert parts.explanation == "Two clouds."


@dataclass(frozen=True)
class Bounded:
    share: Estimate | None = value("higher", label="of the images", range=SHARE)
    free: Estimate | None = value("none", default=None)
    density: Estimate | None = value("higher", range=NOT_NEGATIVE, default=None)
    scores: np.ndarray | None = per_image(gallery=("Best", "Worst"))
    ranks: np.ndarray | None = per_image(gallery=True)
    interval: str = "over new images"


def test_what_real_images_score_ends_where_the_value_does():
    """The interval about real images reaches 1 for a share, 0 for a density; one without bounds is kept."""
    entry = MetricEntry("mine", Bounded(Estimate(0.9), Estimate(5.0), Estimate(0.4)), {"generated": 9}, "m")
    entry.real = {name: RealFloor(0.95, -0.15, 1.05, 9, "train", error=0.05) for name in ("share", "free", "density")}
    shown = {name: (each.real.lower, each.real.value, each.real.upper) for name, each in entry.values.items()}
    assert shown == {"share": (0.0, 0.95, 1.0), "free": (-0.15, 0.95, 1.05), "density": (0.0, 0.95, 1.05)}
    assert entry.to_dict()["values"]["share"]["real"].upper == 1.0


def test_an_estimate_brings_its_interval_and_a_field_what_it_declares():
    parts = describe(Bounded(Estimate(0.5, 0.25), scores=np.ones(2), ranks=np.ones(2)), "mine")
    assert parts.values == {"share": Value(0.5, 0.25, None, "higher", "over new images", "of the images", (0.0, 1.0))}
    assert type(parts.values["share"].value) is float
    assert [column.gallery for column in parts.columns] == [("Best", "Worst"), ("Highest", "Lowest")]
    alone = describe(Bounded(Estimate(0.5), Estimate(2.0)), "mine")
    assert alone.values["share"].about == ""
    assert alone.values["free"] == Value(2.0)


def test_long_arrays_interval_ends_and_absent_values_are_no_details():
    parts = describe(Clouds(0.2, 0.1, 0.3, counts=np.zeros(65)), "as")
    assert set(parts.details) == {"null_mean", "null_95", "cloud"}  # an absent Cloud is a plain None
    assert describe(Clouds(0.2, counts=np.arange(3)), "as").details["counts"].tolist() == [0, 1, 2]
    assert "reference_only" not in describe(Retrieved(3), "irs").values


def test_retrieval_becomes_an_index_column_and_a_distance_column():
    parts = describe(Retrieved(3, retrieval=Retrieval("train", np.array([4, 5]), np.array([0.5, 0.25]))), "irs")
    assert [(each.name, each.refers_to) for each in parts.columns] == [
        ("nearest_train", "train"),
        ("nearest_train_distance", None),
    ]
    assert len(parts.drawings) == 1


@pytest.mark.parametrize("number", [3, 3.0, np.float32(3), np.array(3.0), np.array([3])])
def test_a_plain_number_is_a_value_named_after_its_metric(number):
    assert describe(number, "mine").values == {"mine": Value(3.0)}


def test_a_dictionary_of_numbers_has_intervals_and_p_value_by_name():
    parts = describe({"a": 1, "a_lower": 0.5, "a_upper": 2, "b": 3.0, "p_value": 0.2, "absent": None}, "mine")
    assert parts.values == {"a": Value(1.0, 0.5, 2.0), "b": Value(3.0)}
    assert parts.p_value == 0.2


def test_a_dataclass_without_metadata_shows_its_floats():
    @dataclass(frozen=True)
    class Bare:
        score: float
        pvalue: float
        count: int

    parts = describe(Bare(0.5, 0.1, 7), "bare")
    assert parts.values == {"score": Value(0.5)}
    assert parts.details == {"count": 7}
    assert parts.explanation == ""  # @dataclass' own docstring is the signature


@pytest.mark.parametrize("wrong", ["text", None, {"a": "text"}, [1.0, 2.0]])
def test_other_results_are_refused_by_name(wrong):
    with pytest.raises(TypeError, match="mine"):
        describe(wrong, "mine")


def test_plain_gives_json_types_and_names_what_is_not_finite():
    @dataclass(frozen=True)
    class Inner:
        x: float = value("none", default=float("-inf"))

    lost: list[str] = []
    given = {"a": [np.int64(1), np.nan], "b": Inner(), "c": {"y", "x"}, "d": np.array([1.5]), "e": print, "f": True}
    assert plain(given, lost) == {
        "a": [1, None],
        "b": {"x": None},
        "c": ["x", "y"],
        "d": [1.5],
        "e": "builtins.print",
        "f": True,
    }
    assert lost == ["a[1]", "b.x"]
    assert plain(object(), []) == "builtins.object"  # no address, which would differ between runs


def test_importing_the_reports_imports_no_heavy_package():
    code = (
        "import sys, genaudit.reports.files, genaudit.reports.html, genaudit.reports.console, "
        "genaudit.reports.comparison; "
        "print(sorted({'torch', 'matplotlib', 'jinja2', 'rich', 'jsonschema', 'yaml', 'PIL'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
