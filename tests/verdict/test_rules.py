"""Rules judged on reports: what holds, what fails, what cannot be decided, and what is no name."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genaudit.errors import DONE, REJECTED, UNDECIDED, UserError
from genaudit.verdict.rules import Baseline, Judged, Outcome, judge
from genaudit.verdict.rules_arithmetic import always, evaluate
from genaudit.verdict.rules_baseline import why_incomparable
from genaudit.verdict.rules_grammar import parse
from genaudit.verdict.rules_names import Span


def _value(value: float | None, lower: float | None = None, upper: float | None = None, **more: Any) -> dict[str, Any]:
    return {"value": value, "lower": lower, "upper": upper, "better": "none", **more}


def _entry(**values: dict[str, Any]) -> dict[str, Any]:
    return {"values": values, "n": {"generated": 400, "reference": 400}, "measure": "net"}


def report(**more: Any) -> dict[str, Any]:
    """What the evaluator reads of a report.json."""
    real = {"value": 2.0, "lower": 1.0, "upper": 4.0, "n": 400, "source": "train"}
    document: dict[str, Any] = {
        "metrics": {
            "fd": _entry(fd=_value(6.0, 5.0, 8.0, real=real)),
            "kd": _entry(kd=_value(0.02, -0.01, 0.05, real=real | {"value": -0.01})),
            "prdc": _entry(
                precision=_value(0.7, 0.6, 0.8), recall=_value(0.5, 0.4, 0.6, real=None), density=_value(None)
            ),
            "piad": _entry(piad_mean=_value(1.0), auroc=_value(0.9)),
            "llr": _entry(auroc=_value(0.8)),
            "own": _entry(**{"spread of x": _value(3.0, 2.0, 4.0)}),
        },
        "skipped_metrics": {"authpct": "needs train= (the training images)", "theirs": "is broken"},
        "verdict": {
            "rule": "verdict/1",
            "comparable": {"answer": "caution", "findings": []},
            "quality": {"answer": "worse", "sentence": "...", "evidence": ["fd"], "next": "train longer"},
            "diversity": {"answer": "as_real", "sentence": "...", "evidence": [], "next": ""},
            "memorised": {"answer": "cannot_tell", "sentence": "...", "evidence": [], "next": "give train="},
        },
        "config": {"confidence": 0.95, "metric": {}},
        "images": {"reference": {"digest": "r"}},
        "measures": {"net": {"fingerprint": "f"}},
    }
    return document | more


POSSIBLE = {"authpct": ["authpct"], "prdc": ["precision", "recall", "density", "coverage"]}


def one(rule: str, *, strict: bool = False, baseline: Baseline | None = None, of: Any = None) -> Judged:
    (found,) = judge([parse(rule)], of or report(), strict=strict, baseline=baseline, possible=POSSIBLE).rules
    return found


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("recall >= 0.5", True),
        ("recall > 0.5", False),
        ("prdc.recall <= 0.4", False),
        ("0.4 <= recall", True),
        ("fd.lower >= 5", True),
        ("fd.upper <= 7", False),
        ("fd.real == 2", True),
        ("fd.real.upper == 4", True),
        ("fd.real_ratio <= 3", True),
        ("fd.real_ratio < 3", False),
        ("precision + recall >= 1.2", True),
        ("2 * fd - 1 != 11", False),
        ("precision / recall > 1.39", True),
        ("-fd <= -(5 + 1)", True),
        ("llr.auroc < piad.auroc", True),
        ("llr < 0.81", True),
        ("'spread of x'.upper == 4", True),
        ("own.'spread of x' == 3", True),
        ("verdict.quality == worse", True),
        ("verdict.quality != 'worse'", False),
        ("verdict.quality == 'as real'", False),
        ("much_worse != verdict.quality", True),
        ("verdict.comparable != no", True),
        ("verdict.memorised != yes", True),
        ("verdict.memorised == no", None),
        ("verdict.memorised == cannot_tell", True),
        ("density >= 0.1", None),
        ("coverage >= 0.1", None),
        ("recall.real_ratio >= 0.9", None),
        ("kd.real_ratio <= 2", None),
        ("llr.auroc.lower > 0.5", None),
        ("authpct >= 50", None),
        ("theirs >= 1", None),
        ("recall / (precision - 0.7) > 1", None),
    ],
)
def test_a_rule_holds_by_its_numbers(rule: str, holds: bool | None) -> None:
    found = one(rule)
    assert found.holds is holds
    assert found.reason
    if holds is None and "verdict" not in rule and "/" not in rule:
        assert found.value is None


@pytest.mark.parametrize(
    ("rule", "holds", "why"),
    [
        ("recall >= 0.4", True, "at least 0.4"),
        ("recall >= 0.41", None, "not all that the intervals allow"),
        ("recall >= 0.51", False, "0.5 (0.4 to 0.6) is not at least 0.51"),
        ("fd <= 8", True, ""),
        ("fd <= 7.9", None, ""),
        ("fd < 8", None, ""),
        ("8 >= fd", True, ""),
        ("fd.upper <= 8", True, ""),
        ("fd.value <= 6", True, ""),
        ("piad_mean >= 0.5", None, "piad_mean has no interval"),
        ("piad_mean.value >= 0.5", True, ""),
        ("piad_mean >= 1.5", False, ""),
        ("precision + recall >= 1", True, ""),  # 0.6 + 0.4: bounds add up, the ends were 1.05 and more by squares
        ("precision + recall >= 1.01", None, ""),
        ("fd.real_ratio <= 8", True, ""),  # 8 / 1
        ("fd.real_ratio <= 7.9", None, ""),
        ("fd != 7", None, ""),
        ("fd != 9", True, ""),
        ("fd == 6", None, ""),
        ("recall >= kd.real", None, ""),
        ("verdict.memorised != yes", None, "cannot_tell; give train="),
        ("verdict.quality != yes_", None, ""),
    ][:-1],
)
def test_strict_asks_it_of_all_that_the_intervals_allow(rule: str, holds: bool | None, why: str) -> None:
    found = one(rule, strict=True)
    assert found.holds is holds, found.reason
    assert why in found.reason


def test_a_ratio_is_of_equal_numbers_of_images() -> None:
    """Where halves of the reference are the real images, so many of the generated images are judged again."""
    document = report()
    document["metrics"]["fd"]["values"]["fd"]["real"] |= {"n": 200, "generated": 9.0}
    assert one("fd.real_ratio == 4.5", of=document).holds is True
    assert one("fd.at_real_n == 9", of=document).holds is True
    assert one("fd == 6", of=document).holds is True
    assert one("fd.real_ratio <= 5", of=document, strict=True).holds is None  # the nine has no interval
    assert one("fd.at_real_n == 6").holds is True
    document["metrics"]["fd"]["values"]["fd"]["real"]["lower"] = -0.1
    assert "cannot be distinguished from 0" in one("fd.real_ratio > 0", of=document).reason


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("recal >= 1", "character 1: there is no value 'recal': did you mean recall?"),
        ("1 < precison", "character 5: there is no value 'precison': did you mean precision?"),
        ("recall.lowr > 1", "recall has no .lowr: did you mean .lower"),
        ("recall.median > 1", "there are .value, .lower, .upper, .real, .real_ratio"),
        ("prdc.fd > 1", "metric prdc has no value 'fd': there are"),
        ("prdc > 1", "there is no value 'prdc'"),
        ("auroc > 0.5", "auroc stands for several values: write piad.auroc, llr.auroc"),
        ("auroc.lower > 0.5", "write piad.auroc.lower, llr.auroc.lower"),
        ("vendi > 1", "there is no value 'vendi': there are fd, kd, precision"),
        ("verdict.likelihood != worse", "this run has no verdict on likelihood"),
        ("recall >= baseline", "give baseline=RUN"),
    ],
)
def test_a_name_of_nothing_is_the_users_to_mend(rule: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        one(rule)
    assert said in str(error.value)


def test_a_run_without_a_verdict_or_with_networks_says_so() -> None:
    document = report()
    del document["verdict"]
    with pytest.raises(UserError, match="this run has no verdict on quality"):
        one("verdict.quality == worse", of=document)
    document["metrics"] = {"fd@a": _entry(fd=_value(1.0)), "fd@b": _entry(fd=_value(2.0))}
    for ambiguous in ("fd > 1", "fd.fd > 1"):
        with pytest.raises(UserError, match=r"several values: write fd@a\.fd, fd@b\.fd"):
            one(ambiguous, of=document)
    for rule in ("fd@a < fd@b", "fd@a.fd == 1", "fd@b.fd.value == 2"):
        assert one(rule, of=document).holds is True


def test_the_gate_fails_by_one_rule_and_is_undecided_by_one() -> None:
    for said in itertools.product((True, False, None), repeat=3):
        outcome = Outcome(tuple(Judged("a > 1", 1.0, holds, "") for holds in said), "run")
        expected = REJECTED if False in said else UNDECIDED if None in said else DONE
        assert outcome.exit_code == expected
        assert outcome.passed is {DONE: True, REJECTED: False, UNDECIDED: None}[expected]


FINITE = st.floats(-1e3, 1e3)


@given(st.lists(st.tuples(FINITE, st.floats(0, 10), st.floats(0, 10)), min_size=3, max_size=3), st.data())
def test_intervals_hold_whatever_lies_within_them(spans: list[tuple[float, float, float]], data: Any) -> None:
    """Interval arithmetic: any numbers within the operands' intervals give one within the result's."""
    text = data.draw(
        st.sampled_from(["a + b * c", "a - b - c", "(a - b) * -c", "a / b", "a / (b + c) - a", "-a / 2 * b"])
    )
    side = parse(f"{text} > 0").left
    whole = {name: Span(v, v - low, v + high) for name, (v, low, high) in zip("abc", spans, strict=True)}
    inside = {name: Span.exact(data.draw(st.floats(s.lower, s.upper))) for name, s in whole.items()}
    outer = evaluate(side, lambda name: whole[name.parts[0]])
    inner = evaluate(side, lambda name: inside[name.parts[0]])
    if outer.value is None or inner.value is None:
        return
    slack = 1e-9 * max(1.0, abs(inner.value), abs(outer.lower or 0), abs(outer.upper or 0))
    assert outer.lower is not None
    assert outer.upper is not None
    if math.isfinite(slack):
        assert outer.lower - slack <= inner.value <= outer.upper + slack
    for comparison in (">=", "<=", ">", "<", "=="):
        bound = Span.exact(data.draw(FINITE))
        if always(comparison, Span(0.0, outer.lower, outer.upper), bound) and abs(inner.value - bound.value) > slack:
            assert one_of(comparison, inner.value, bound.value)


def one_of(comparison: str, left: float, right: float | None) -> bool:
    from genaudit.verdict.rules_arithmetic import compare

    assert right is not None
    return compare(comparison, left, right)


# the baseline run


def _baseline(document: dict[str, Any] | None = None, **known: Any) -> Baseline:
    return Baseline(document or report(), **known)


@pytest.mark.parametrize(
    ("rule", "holds", "value"),
    [
        ("recall >= baseline", True, 0.5),
        ("recall > baseline", False, 0.5),
        ("recall >= baseline - 0.02", True, 0.5),
        ("fd <= 1.05 * baseline", True, 6.0),
        ("fd.upper < baseline", False, 8.0),  # the same of the baseline run
        ("fd.upper < baseline.value", False, 6.0),
        ("fd < baseline.upper", True, 8.0),
        ("recall >= baseline.precision", False, 0.7),
        ("fd.real_ratio <= baseline", True, 3.0),
        ("recall - baseline >= -0.01", True, 0.5),
        ("verdict.quality == baseline", True, "worse"),
    ],
)
def test_baseline_is_the_same_value_of_the_other_run(rule: str, holds: bool, value: Any) -> None:
    found = one(rule, baseline=_baseline())
    assert found.holds is holds
    assert found.baseline == value


def test_several_names_need_one_behind_baseline() -> None:
    with pytest.raises(UserError, match=r"character 23: the rule names several values: write baseline\.recall or"):
        one("recall + precision >= baseline", baseline=_baseline())
    assert one("recall + precision >= baseline.recall + baseline.precision", baseline=_baseline()).holds is True
    other = report()
    del other["metrics"]["prdc"]
    with pytest.raises(UserError, match="in the baseline run there is no value 'recall'"):
        one("recall >= baseline", baseline=_baseline(other))
    other = report(skipped_metrics={"prdc": "k is too large"})
    del other["metrics"]["prdc"]
    with pytest.raises(UserError, match="in the baseline run there is no value 'recall'"):
        one("recall >= baseline", baseline=_baseline(other))


def test_a_difference_is_as_wide_as_two_independent_intervals() -> None:
    """Squares: 0.5 (0.4 to 0.6) less 0.5 (0.4 to 0.6) is 0 with ends of sqrt(2) / 10."""
    found = one("recall >= baseline - 0.15", baseline=_baseline(), strict=True)
    assert found.difference is not None
    assert found.difference.value == 0
    assert found.difference.upper == pytest.approx(math.sqrt(0.02))
    assert found.difference.lower == pytest.approx(-math.sqrt(0.02))
    assert found.difference.exceeds is False
    assert "does not exceed its interval" in found.reason
    assert found.holds is True  # 0.15 is beyond 0.1414; with bounds that add up it were not
    assert one("recall >= baseline - 0.14", baseline=_baseline(), strict=True).holds is None
    # a ratio is no sum: its bounds are all that both intervals allow
    assert one("recall / baseline >= 0.66", baseline=_baseline(), strict=True).holds is True
    assert one("recall / baseline >= 0.67", baseline=_baseline(), strict=True).holds is None
    # where errors do not cancel, bounds add up
    assert one("recall + baseline >= 0.81", baseline=_baseline(), strict=True).holds is None


def test_a_test_on_rows_says_more_than_the_intervals() -> None:
    tested = _baseline(tested=lambda *_: (0.001, "relabelling"))
    found = one("recall >= baseline - 0.1", baseline=tested)
    assert found.difference is not None
    assert found.difference.exceeds is True
    assert "more than chance (p = 0.001, relabelling)" in found.reason
    assert one("recall.upper >= baseline", baseline=tested).difference is not None
    assert one("recall.upper >= baseline", baseline=tested).difference.p_value is None  # type: ignore[union-attr]


def test_runs_that_do_not_compare_leave_a_rule_undecided() -> None:
    ours = report()

    def why(change: Any) -> str | None:
        theirs = report()
        change(theirs)
        baseline = _baseline(theirs, incomparable=lambda a, b: why_incomparable(ours, theirs, a, b))
        found = one("recall >= baseline - 1", baseline=baseline, of=ours)
        assert (found.holds is None) is (found.reason.startswith("not comparable"))
        return found.reason if found.holds is None else None

    assert why(lambda theirs: None) is None
    assert "measured differently" in str(why(lambda theirs: theirs["measures"]["net"].update(fingerprint="g")))
    assert "reference images differ" in str(why(lambda theirs: theirs["images"]["reference"].update(digest="s")))
    assert "400 and on 501" in str(why(lambda theirs: theirs["metrics"]["prdc"]["n"].update(generated=501)))
    assert why(lambda theirs: theirs["metrics"]["prdc"]["n"].update(generated=500)) is None
    assert "only one of the runs has reference" in str(
        why(lambda theirs: theirs["metrics"]["prdc"]["n"].pop("reference"))
    )
    ours["config"]["metric"]["prdc"] = {"fn": {"k": 5}}
    assert "the settings of prdc differ" in str(
        why(lambda theirs: theirs["config"]["metric"].update(prdc={"fn": {"k": 3}}))
    )
