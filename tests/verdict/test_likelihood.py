"""The fourth question: whether a density model finds the samples as likely as real images."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import genaudit
from genaudit import demo
from genaudit.verdict.answers import Answer, verdict

CHANCE = (0.5, 0.46, 0.54)


def answer(ratio: Any = CHANCE, raw: Any = CHANCE, *, gain: float = 0.1, confidence: float = 0.95) -> Answer:
    sides = {"in_distribution": "reference", "out_of_distribution": "generated"}
    values = {
        name: dict(zip(("value", "lower", "upper"), area, strict=True))
        for name, area in (("auroc_ratio", ratio), ("auroc_raw", raw))
    }
    entry = {"values": values, "details": {**sides, "ratio_minus_control": [gain + 0.1, gain, gain + 0.2]}}
    document = {"images": {"generated": {"count": 100}}, "metrics": {"llr": entry}, "warnings": []}
    found = verdict(document | {"config": {"confidence": confidence}}).likelihood
    assert found is not None
    return found


def test_areas_at_chance_are_as_real_where_less_would_have_shown() -> None:
    assert answer().answer == "as_real"
    assert answer(gain=-0.1).answer == "as_real"  # nothing to be above the control by
    assert answer((0.2, 0.1, 0.3)).answer == "as_real"
    wide = answer((0.5, 0.3, 0.7))
    assert wide.answer == "cannot_tell"
    # an interval of 0.2 must shrink to 0.1: four times as many
    assert re.search(r"About ([\d,]+) images", wide.next or "")[1] in ("400", "410")
    assert answer(raw=(0.5, 0.3, 0.7)).answer == "cannot_tell"


def test_a_ratio_above_chance_is_less_likely_and_far_above_much_less() -> None:
    assert answer((0.7, 0.6, 0.8)).answer == "worse"
    assert answer((0.95, 0.9, 0.98)).answer == "much_worse"
    # the level is shared by two areas: 2.24 standard errors, not 1.96
    assert answer((0.6, 0.501, 0.7)).answer == "cannot_tell"
    assert answer((0.62, 0.515, 0.7)).answer == "cannot_tell"
    assert answer((0.62, 0.517, 0.7)).answer == "worse"
    # whatever the report's confidence
    assert answer((0.62, 0.517, 0.7), confidence=0.5).answer == "cannot_tell"


def test_the_likelihood_itself_can_only_say_worse_and_a_ratio_that_disagrees_is_named() -> None:
    found = answer((0.23, 0.15, 0.31), (0.998, 0.994, 1.0))
    assert found.answer == "worse"
    assert "The evidence disagrees: by the likelihood ratio in 23%" in found.sentence
    assert "disagrees" in answer((0.95, 0.9, 0.98)).sentence
    assert "agrees" in answer((0.95, 0.9, 0.98), (0.7, 0.6, 0.8)).sentence


def test_a_ratio_that_its_general_part_explains_has_no_vote() -> None:
    found = answer((0.95, 0.9, 0.98), gain=-0.01)
    assert found.answer == "cannot_tell"
    assert "No vote of auroc_ratio" in found.sentence
    assert answer((0.95, 0.9, 0.98), (0.7, 0.6, 0.8), gain=-0.01).answer == "worse"


@pytest.mark.parametrize(("name", "expected"), [("vae", "much_worse"), ("gaussian", "worse")])
def test_the_shipped_density_models_find_the_demos_samples_less_likely(
    name: str, expected: str, tmp_path: Path
) -> None:
    report = genaudit.evaluate(
        generated=demo.path(name),
        reference=demo.path("reference"),
        metrics=["llr"],
        density_model="fashion_mnist",
        general_model="fashion_mnist_general",
        limit=32,
        limit_reference=32,
        store=tmp_path,
        progress=False,
    )
    found = report.verdict.likelihood
    assert found.answer == expected
    assert found.evidence == ("auroc_ratio", "auroc_raw")
    area = report.metrics["llr"].values["auroc_ratio"].value
    assert f"by the likelihood ratio in {area:.0%} of pairs" in found.sentence
