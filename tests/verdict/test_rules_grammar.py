"""The language of rules: what is written is what is read, and any other text is refused in a sentence."""

from __future__ import annotations

import math
import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genaudit.errors import UserError
from genaudit.verdict.rules_arithmetic import evaluate
from genaudit.verdict.rules_grammar import COMPARISONS, Binary, Name, Negative, Number, Rule, Side, parse
from genaudit.verdict.rules_names import Span

BARE = st.from_regex(r"[a-z]\w{0,3}(@[a-z0-9]{1,3})?", fullmatch=True).filter(lambda x: x != "verdict")
QUOTED = st.text(min_size=1, max_size=5).filter(lambda x: x.strip() and not ('"' in x and "'" in x))
NUMBERS = st.floats(0, allow_infinity=False).map(abs).map(Number)
NAMES = st.builds(
    lambda first, rest: Name((first[0], *rest), first[1]),
    st.one_of(st.tuples(BARE, st.just(True)), st.tuples(QUOTED, st.just(False))),
    st.lists(st.one_of(BARE, QUOTED), max_size=2),
)


def _sides() -> st.SearchStrategy[Side]:
    return st.recursive(
        st.one_of(NUMBERS, NAMES),
        lambda inner: st.one_of(st.builds(Negative, inner), st.builds(Binary, st.sampled_from("+-*/"), inner, inner)),
        max_leaves=8,
    )


@given(
    NAMES.filter(lambda name: not name.of_baseline),
    st.sampled_from("+-*/"),
    _sides(),
    st.sampled_from(COMPARISONS),
    _sides(),
)
def test_a_rule_that_is_printed_reads_as_itself(own: Name, sign: str, left: Side, comparison: str, right: Side) -> None:
    rule = Rule(Binary(sign, own, left), comparison, right)
    assert parse(str(rule)) == rule
    assert str(parse(str(rule))) == str(rule)


@given(st.one_of(st.text(), st.text(alphabet="ab.@'\"0159e+-*/()<>=! \t%&|#,_", max_size=30)))
def test_any_text_is_a_rule_or_a_users_error(text: str) -> None:
    try:
        rule = parse(text)
    except UserError as error:
        refused = str(error)
    else:
        assert parse(str(rule)) == rule
        return
    assert "\n" not in refused
    assert "character" in refused


@given(_sides(), st.dictionaries(st.integers(), st.floats(-10, 10)))
def test_precedence_and_association_are_pythons(side: Side, unused: dict[int, float]) -> None:
    """Against Python's own evaluation of the same text, each name standing for the number 2."""
    text = _with_numbers(side)
    rule = parse(f"name == {text}")
    try:
        expected = eval(text)  # of numbers and signs, written by this test
    except (ZeroDivisionError, OverflowError):
        expected = None
    found = evaluate(rule.right, lambda name: Span.exact(2.0)).value
    if expected is None or not math.isfinite(expected):
        assert found is None
    elif found is not None:  # an intermediate number may be too large where the last one is not
        assert found == expected


def _with_numbers(side: Side) -> str:
    return str(_numbers(side))


def _numbers(side: Side) -> Side:
    if isinstance(side, Name):
        return Number(2.0)
    if isinstance(side, Negative):
        return Negative(_numbers(side.of))
    return Binary(side.sign, _numbers(side.left), _numbers(side.right)) if isinstance(side, Binary) else side


@pytest.mark.parametrize(
    ("text", "at", "said"),
    [
        ("recall > = 3", 10, "a number or a name is expected, got '='"),
        ("recall => 1", 8, "did you mean >="),
        ("recall = 1", 8, "did you mean =="),
        ("recall ≥ 1", 8, "did you mean >="),
        ("recall <> 1", 8, "did you mean !="),
        ("recall >= 60%", 13, "write 0.6 for 60 %"),
        ("0.2 <= recall <= 0.8", 15, "write two rules"),
        ("recall >= 0.6 and fd < 3", 15, "one by one"),
        ("recall >= 0.6 7", 15, "should end here"),
        ("recall", 7, "a comparison (>= <= == != > <) is expected"),
        ("recall >=", 10, "the rule ends"),
        ("(recall >= 1", 9, "closing parenthesis"),
        ("3d < 2", 1, "do not begin with a digit"),
        ("recall >= 0.6.1", 11, "no number"),
        ("rec;all > 1", 4, "quote a name"),
        ("a > 1e999", 5, "too large"),
        ("a. > 1", 2, "a dot stands between"),
        ("a > 'x", 5, "a quote has no end"),
        ("1 < 2", 1, "names no value of the run"),
        ("baseline < 2", 1, "names no value of the run"),
        ("verdict.memorized != yes", 1, "did you mean memorised?"),
        ("verdict != yes", 1, "there are comparable, quality, diversity, memorised, likelihood"),
        ("verdict.memorised != yess", 22, "did you mean yes?"),
        ("verdict.memorised != worse", 22, "its answers are no, some, yes, cannot_tell"),
        ("verdict.quality >= worse", 1, "compared by == or !="),
        ("verdict.quality + 1 == 2", 1, "compared with one of its answers"),
        ("verdict.quality == verdict.diversity", 1, "compared with one of its answers"),
    ],
)
def test_an_error_points_at_its_place(text: str, at: int, said: str) -> None:
    with pytest.raises(UserError) as error:
        parse(text)
    assert f"character {at}:" in str(error.value)
    assert said in str(error.value)


@pytest.mark.parametrize(
    "text", ["-" * 10_000 + "a > 1", "(" * 500 + "a", "a" * 2000 + " > 1", "(" * 41 + "a" + ")" * 41 + " > 1"]
)
def test_a_rule_that_is_too_long_or_deep_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="at most"):
        parse(text)


def test_words_and_names_may_be_quoted() -> None:
    assert parse("verdict.quality == 'as real'").right == Name(("as real",), bare=False)
    assert parse('"it\'s".lower > 1').left == Name(("it's", "lower"), bare=False)
    assert not parse("'baseline' > 1").needs_baseline
    assert parse("typical_fraction_0.9 > 1").left == Name(("typical_fraction_0", "9"))
    assert parse("fd@dinov2_l14.fd.real_ratio<=1.5e0").left == Name(("fd@dinov2_l14", "fd", "real_ratio"))


def test_comparisons_are_pythons() -> None:
    from genaudit.verdict.rules_arithmetic import compare

    signs = dict(
        zip(COMPARISONS, (operator.ge, operator.le, operator.eq, operator.ne, operator.gt, operator.lt), strict=True)
    )
    for sign, python in signs.items():
        for pair in ((1.0, 2.0), (2.0, 2.0), (2.0, 1.0)):
            assert compare(sign, *pair) is python(*pair)
