"""The verdict's rule on reports with chosen numbers: each clause, and its edges."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from genaudit.verdict import words
from genaudit.verdict.answers import verdict
from genaudit.verdict.evidence import votes
from genaudit.verdict.rule import LEVEL, MARGIN, MUCH, NEGLIGIBLE, RULE, TABLE, images_for

GOOD = {"precision": 0.9, "density": 1.0, "kd": 0.0, "recall": 0.9, "coverage": 0.95, "irs_alpha": 0.4, "authpct": 70.0}
ERRORS = {
    "precision": 0.02,
    "density": 0.04,
    "kd": 0.1,
    "recall": 0.02,
    "coverage": 0.02,
    "irs_alpha": 0.01,
    "authpct": 3.0,
}
METRICS = {each.value: each.metric for each in TABLE}


def report(
    values: dict[str, float], *, error: float = 1.0, train: bool = True, in_train: int = 0, warnings: Any = ()
) -> dict[str, Any]:
    metrics: dict[str, Any] = {}
    for name, value in {**GOOD, **values}.items():
        entry = metrics.setdefault(METRICS[name], {"values": {}, "p_value": None, "details": {}, "n": {}})
        half = 2.1 * error * ERRORS[name]
        floor = {"value": GOOD[name], "lower": GOOD[name] - half, "upper": GOOD[name] + half, "n": 400}
        floor |= {"source": "train", "generated": None, "error": error * ERRORS[name], "resamplings": 20}
        entry["values"][name] = {"value": value, "real": floor}
    images = {"generated": {"count": 400, "in_train": in_train}, "reference": {"count": 400, "in_train": 0}}
    if train:
        images["train"] = {"count": 700}
    listed = [{"code": code, "metric": metric, "message": code} for code, metric in warnings]
    return {"images": images, "metrics": metrics, "warnings": listed, "findings": []}


def answers(*args: Any, **kwargs: Any) -> dict[str, str]:
    return {question: each.answer for question, each in verdict(report(*args, **kwargs)).answers.items()}


def test_real_numbers_are_as_real_and_a_verdict_names_its_rule() -> None:
    assert answers({}) == {"quality": "as_real", "diversity": "as_real", "memorised": "no"}
    document = verdict(report({})).to_dict()
    assert (document["rule"], document["comparable"]) == (RULE, {"answer": "yes", "findings": []})
    assert document["quality"]["evidence"] == ["precision", "density"]


def test_with_several_networks_a_sentence_says_which_number_is_whose() -> None:
    document = report({"precision": 0.6})
    document["metrics"] = {
        f"{name}@{network}": entry for name, entry in document["metrics"].items() for network in ("a", "b")
    }
    sentence = verdict(document).answers["quality"].sentence
    assert "recision on a 0.600 (real images" in sentence
    assert "recision on b 0.600 (real images" in sentence
    assert " on " not in verdict(report({"precision": 0.6})).answers["quality"].sentence


def test_a_shortfall_is_worse_where_it_is_sure_and_not_negligible() -> None:
    assert answers({"recall": 0.9 * (1 - NEGLIGIBLE) - 0.001})["diversity"] == "worse"
    assert answers({"recall": 0.9 * (1 - NEGLIGIBLE) + 0.001})["diversity"] == "as_real"
    assert answers({"precision": 0.6})["quality"] == "worse"


def test_the_votes_of_a_question_share_the_level() -> None:
    # a third of the level is not enough for one of three votes but for the last one (Holm)
    away = stats.t(19).isf(LEVEL / 3)
    for factor, expected in ((1.02, True), (0.98, False)):
        found, _ = votes(report({"irs_alpha": 0.4 - factor * away * 0.05}, error=5), "diversity")
        assert [each.corrected <= LEVEL for each in found if each.name == "irs_alpha"] == [expected]


def test_much_worse_needs_every_share_to_agree() -> None:
    low = {name: MUCH * GOOD[name] - 0.001 for name in ("recall", "coverage", "irs_alpha")}
    assert answers(low)["diversity"] == "much_worse"
    assert answers(low | {"irs_alpha": MUCH * 0.4 + 0.01})["diversity"] == "worse"
    assert answers(low | {"irs_alpha": 0.4})["diversity"] == "worse"
    sentence = verdict(report(low | {"irs_alpha": 0.4})).diversity.sentence
    assert "evidence disagrees" in sentence


def test_few_images_are_not_called_good_and_the_estimate_of_more_grows_with_the_error() -> None:
    wide, wider = (verdict(report({}, error=error)) for error in (10.0, 20.0))
    assert {wide.quality.answer, wide.diversity.answer, wide.memorised.answer} == {"cannot_tell"}
    needed = [int(re.search(r"About ([\d,]+) images", each.quality.next)[1].replace(",", "")) for each in (wide, wider)]
    # half a width of 2.09 errors of 0.2 must fall to a fifth of 0.9
    assert needed[0] == pytest.approx(400 * (2.09 * 0.2 / (MARGIN * 0.9)) ** 2, rel=0.25)
    assert needed[1] == pytest.approx(4 * needed[0], rel=0.3)


def test_where_real_images_score_nothing_no_number_of_images_is_named() -> None:
    document = report({"recall": 0.0, "coverage": 0.0, "irs_alpha": 0.0})
    for name in ("recall", "coverage", "irs_alpha"):
        real = document["metrics"][METRICS[name]]["values"][name]["real"]
        document["metrics"][METRICS[name]]["values"][name]["real"] = real | {"value": 0.0, "lower": 0.0}
    answer = verdict(document).diversity
    assert answer.answer == "cannot_tell"
    assert answer.next.startswith("No number of images")


def test_a_share_of_which_real_images_have_none_says_nothing_and_keeps_the_set_from_being_called_good() -> None:
    document = report({"precision": 0.0})
    real = document["metrics"]["prdc"]["values"]["precision"]["real"]
    document["metrics"]["prdc"]["values"]["precision"]["real"] = real | {"value": 0.0, "lower": 0.0}
    answer = verdict(document).quality
    assert (answer.answer, answer.next) == ("cannot_tell", words.more_images(math.inf))


def test_where_two_shares_fall_short_the_larger_number_of_images_is_named() -> None:
    document = report({"recall": 0.65, "coverage": 0.70}, error=12.0)
    answer = verdict(document).diversity
    needed = {each.voter.value: each.needed for each in votes(document, "diversity")[0]}
    assert needed["recall"] > 1.05 * needed["coverage"]
    assert (answer.answer, answer.next) == ("cannot_tell", words.more_images(needed["recall"]))


def test_scores_of_fewer_images_than_the_tables_say_of_how_many() -> None:
    document = report({})
    for name in ("precision", "density"):
        document["metrics"]["prdc"]["values"][name]["real"] |= {"generated": GOOD[name], "n": 200}
    assert ", both at 200 images" in verdict(document).quality.sentence
    assert "both at" not in verdict(document).diversity.sentence


@given(st.integers(1, 10**9), st.floats(0, 1e308), st.floats(0, 1e308))
def test_the_estimate_of_more_images_is_a_number_or_infinite(count: int, half: float, room: float) -> None:
    """Against fractions: an interval of `half` at `count` images is as narrow as `room` at count (half / room)^2."""
    needed = images_for(count, half, room)
    exact = math.inf if room == 0 else count * (Fraction(half) / Fraction(room)) ** 2
    assert needed >= count if half >= room else needed <= count + 1
    assert needed == math.inf or exact < 1e308
    if needed < 1e300:
        assert needed == pytest.approx(float(exact), rel=1e-12, abs=1)


def test_a_distance_alone_is_worse_quality_but_where_missing_diversity_explains_it() -> None:
    assert answers({"kd": 1.0})["quality"] == "worse"
    assert "disagrees" in verdict(report({"kd": 1.0})).quality.sentence
    both = verdict(report({"kd": 1.0, "recall": 0.1}))
    assert both.quality.answer == "as_real"
    assert "missing diversity" in both.quality.sentence
    only = report({"kd": 1.0})
    del only["metrics"]["prdc"], only["metrics"]["irs"]
    assert verdict(only).quality.answer == "cannot_tell"


def test_memorised_sets_are_found_and_their_diversity_is_not_praised() -> None:
    found = verdict(report({"authpct": 3.0}))
    assert (found.memorised.answer, found.diversity.answer) == ("yes", "cannot_tell")
    assert "Not to be praised" in found.diversity.sentence
    assert answers({"authpct": 50.0})["memorised"] == "some"
    assert answers({}, in_train=5)["memorised"] == "no"  # 5 of 400 beside none: p = 0.03
    # nor of one of which some are copies
    assert answers({}, in_train=8) == {"quality": "as_real", "diversity": "cannot_tell", "memorised": "some"}
    # a tenth of exact copies, or half of AuthPct's floor of 70: memorised from there on
    assert [answers({}, in_train=copies)["memorised"] for copies in (39, 40, 80)] == ["some", "yes", "yes"]
    assert [answers({"authpct": share})["memorised"] for share in (36.0, 35.0)] == ["some", "yes"]
    # a model that copies and is not diverse is said to be neither
    assert answers({"authpct": 3.0, "recall": 0.1})["diversity"] == "worse"


def test_without_reference_or_train_the_answer_says_what_to_give() -> None:
    found = report({})
    del found["images"]["reference"]
    told = verdict(found)
    assert {each.answer for each in told.answers.values()} == {"cannot_tell"}
    assert "reference=" in told.quality.next
    assert "train=" in verdict(report({}, train=False)).memorised.next


def test_what_is_not_valid_does_not_vote_and_the_sentence_says_so() -> None:
    bad = {"precision": 0.1, "density": 0.1}
    found = verdict(report(bad, warnings=[("some-flaw", "prdc")]))
    assert found.quality.answer == "cannot_tell"
    assert "some-flaw" in found.quality.sentence
    assert answers(bad, warnings=[("few-images", "prdc")])["quality"] == "much_worse"
    assert answers(bad, warnings=[("untrained-feature-model", None)])["quality"] == "cannot_tell"
    broken = report(bad)
    broken["findings"] = [{"code": "same-images", "roles": [], "message": "", "metrics": ["prdc"], "breaks": True}]
    told = verdict(broken)
    assert (told.comparable.answer, told.quality.answer) == ("no", "cannot_tell")


def test_the_page_states_the_numbers_of_the_rule() -> None:
    page = (Path(__file__).parents[2] / "docs" / "verdict.md").read_text()
    assert RULE in page
    assert (LEVEL, NEGLIGIBLE, MARGIN) == (0.025, 0.1, 0.2)
    assert pytest.approx(1 / 3) == MUCH
    for text in ("below 2.5 %", "by a tenth of it", "reaches a third", "a fifth of the floor"):
        assert text in re.sub(r"\s+", " ", page), text
    assert all(each.value in page for each in TABLE)
