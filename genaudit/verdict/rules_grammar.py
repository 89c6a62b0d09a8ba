"""The language of rules: one comparison of two sides, such as `recall >= 0.6` or `kd <= baseline + 0.1`.

    rule    = side COMPARISON side
    side    = term { ("+" | "-") term }
    term    = factor { ("*" | "/") factor }
    factor  = "-" factor | "(" side ")" | NUMBER | NAME
    NAME    = part { "." part }          part: letters, digits, _ and @, or anything in quotes

A name whose first part is `baseline` is of the baseline run, one whose first part is `verdict` an answer of the
verdict; what other names are is known from a report only (`genaudit.verdict.rules_names`).
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from genaudit.errors import UserError, one_line

LONGEST, DEEPEST = 1000, 40  # characters of a rule; parentheses and signs within one another
COMPARISONS = (">=", "<=", "==", "!=", ">", "<")
# What people write for a comparison => how it is written here.
MISSPELT = {"=": "==", "=>": ">=", "=<": "<=", "<>": "!=", "≥": ">=", "≤": "<=", "≠": "!=", "!": "!="}
ANSWERS = {
    "comparable": ("yes", "caution", "no"),
    "quality": ("as_real", "worse", "much_worse", "cannot_tell"),
    "diversity": ("as_real", "worse", "much_worse", "cannot_tell"),
    "memorised": ("no", "some", "yes", "cannot_tell"),
    "likelihood": ("as_real", "worse", "much_worse", "cannot_tell"),
}
PART = r"\w[\w@]*"
_TOKEN = re.compile(
    rf"""\s*(?:
    (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w@.]))
    |(?P<name>(?:{PART}|"[^"]*"|'[^']*')(?:\.(?:{PART}|"[^"]*"|'[^']*'))*)
    |(?P<comparison>>=|<=|==|!=|=>|=<|<>|[<>=!≥≤≠])
    |(?P<sign>[-+*/()])
    )""",
    re.VERBOSE,
)
_PART = re.compile(rf"{PART}|\"[^\"]*\"|'[^']*'")


@dataclass(frozen=True)
class Number:
    """A number as it was written; never negative."""

    value: float

    def __str__(self) -> str:
        text = repr(self.value)
        return text.removesuffix(".0")


@dataclass(frozen=True)
class Name:
    """A name by its parts; `bare` says of the first whether it was written without quotes."""

    parts: tuple[str, ...]
    bare: bool = True
    at: int = field(default=0, compare=False)

    @property
    def of_baseline(self) -> bool:
        return self.bare and self.parts[0] == "baseline"

    @property
    def of_verdict(self) -> bool:
        return self.bare and self.parts[0] == "verdict"

    def __str__(self) -> str:
        first = self.parts[0] if self.bare else _in_quotes(self.parts[0])
        rest = (each if re.fullmatch(PART, each) else _in_quotes(each) for each in self.parts[1:])
        return ".".join([first, *rest])


@dataclass(frozen=True)
class Negative:
    """Minus a side."""

    of: Side

    def __str__(self) -> str:
        return f"-({self.of})" if isinstance(self.of, Binary) else f"-{self.of}"


@dataclass(frozen=True)
class Binary:
    """Two sides with + - * or / between them."""

    sign: str
    left: Side
    right: Side

    def __str__(self) -> str:
        product = self.sign in "*/"
        left, right = str(self.left), str(self.right)
        if product and isinstance(self.left, Binary) and self.left.sign in "+-":
            left = f"({left})"
        if isinstance(self.right, Binary) and (product or self.right.sign in "+-"):
            right = f"({right})"
        return f"{left} {self.sign} {right}"


Side = Number | Name | Negative | Binary


@dataclass(frozen=True)
class Rule:
    """A comparison; `text` is what was written."""

    left: Side
    comparison: str
    right: Side
    text: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.left} {self.comparison} {self.right}"

    @property
    def names(self) -> tuple[Name, ...]:
        """All names, from left to right."""
        return (*names_of(self.left), *names_of(self.right))

    @property
    def answer(self) -> str | None:
        """The question of the verdict that it asks for; None where it compares numbers."""
        return next((name.parts[1] for name in self.names if name.of_verdict), None)

    @property
    def needs_baseline(self) -> bool:
        return any(name.of_baseline for name in self.names)


def names_of(side: Side) -> tuple[Name, ...]:
    """The names of a side, from left to right."""
    if isinstance(side, Name):
        return (side,)
    if isinstance(side, Negative):
        return names_of(side.of)
    return (*names_of(side.left), *names_of(side.right)) if isinstance(side, Binary) else ()


def parse(text: str) -> Rule:
    """A rule from its text.

    Raises:
        UserError: says at which character what was expected.
    """
    if len(text) > LONGEST:
        raise UserError(f"a rule has at most {LONGEST} characters, and one has {len(text):,}: {text[:40]!r} ...")
    rule = _Parser(text).rule()
    _check(rule)
    return rule


def near(word: str, words: Iterable[str], otherwise: str) -> str:
    """`did you mean X?` where a word is near to some, else `otherwise`."""
    close = difflib.get_close_matches(word, list(dict.fromkeys(words)), n=2, cutoff=0.6)
    return f"did you mean {' or '.join(close)}?" if close else otherwise


def wrong(text: str, at: int, why: str) -> UserError:
    """The error about a rule at a character, counted from 1."""
    return UserError(f"rule {one_line(text)!r}, character {at + 1}: {why}")


class _Parser:
    """Recursive descent over the tokens (kind, text, place) of one rule."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(_tokens(text))
        self.place = self.depth = 0

    def rule(self) -> Rule:
        left = self.side()
        kind, word, at = self.next()
        if kind != "comparison":
            raise self.unexpected(word, at, f"a comparison ({' '.join(COMPARISONS)}) is expected")
        if word in MISSPELT:
            raise wrong(self.text, at, f"{word!r} is no comparison: did you mean {MISSPELT[word]}?")
        right = self.side()
        kind, last, at = self.next()
        if kind == "comparison":
            raise wrong(self.text, at, "a rule is one comparison: write two rules")
        if kind:
            hint = "list rules one by one" if last.lower() in ("and", "or", "not") else "the rule should end here"
            raise self.unexpected(last, at, hint)
        return Rule(left, word, right, self.text.strip())

    def side(self) -> Side:
        return self.chain("+-", lambda: self.chain("*/", self.factor))

    def chain(self, signs: str, operand: Callable[[], Side]) -> Side:
        side = operand()
        while (token := self.peek())[0] == "sign" and token[1] in signs:
            self.place += 1
            side = Binary(token[1], side, operand())
        return side

    def factor(self) -> Side:
        kind, word, at = self.next()
        if kind == "number":
            if not math.isfinite(float(word)):
                raise wrong(self.text, at, f"{word} is too large a number")
            return Number(float(word))
        if kind == "name":
            parts = _PART.findall(word)
            return Name(tuple(map(_unquoted, parts)), word[0] not in "\"'", at)
        if word not in ("-", "("):
            raise self.unexpected(word, at, "a number or a name is expected")
        self.depth += 1
        if self.depth > DEEPEST:
            raise wrong(self.text, at, f"at most {DEEPEST} parentheses and signs may stand within one another")
        inner = self.factor() if word == "-" else self.side()
        if word == "(":
            _, closing, at = self.next()
            if closing != ")":
                raise self.unexpected(closing, at, "a closing parenthesis is expected")
        self.depth -= 1
        return Negative(inner) if word == "-" else inner

    def peek(self) -> tuple[str, str, int]:
        return self.tokens[self.place] if self.place < len(self.tokens) else ("", "", len(self.text.rstrip()))

    def next(self) -> tuple[str, str, int]:
        token = self.peek()
        self.place += 1
        return token

    def unexpected(self, word: str, at: int, expected: str) -> UserError:
        return wrong(self.text, at, f"{expected}, got {word!r}" if word else f"{expected}, and the rule ends")


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    at = 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        if found is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            raise wrong(text, at, _unreadable(text[at:]))
        kind = str(found.lastgroup)
        word = found[kind]
        if kind == "name" and word[0].isdigit():
            raise wrong(text, found.start(kind), f"{word!r} is no number, and names do not begin with a digit")
        yield kind, word, found.start(kind)
        at = found.end()


def _unreadable(rest: str) -> str:
    if rest[0] in "\"'":
        return "a quote has no end"
    if rest[0] == ".":
        return "a dot stands between two parts of a name"
    if rest[0] == "%":
        return "'%' has no meaning here: write 0.6 for 60 %, or baseline * 1.1 for 10 % more than the baseline"
    number = re.match(r"[\d.]+", rest)
    if number:
        return f"{number[0]!r} is no number"
    return f"{rest[0]!r} belongs to no rule; quote a name that holds it"


def _check(rule: Rule) -> None:
    """What can be known without a report.

    Raises:
        UserError: names no value of the run, or asks the verdict for what it never answers.
    """
    own = [name for name in rule.names if not name.of_baseline]
    if not own:
        raise wrong(rule.text, 0, "it names no value of the run, as `recall >= 0.6` does")
    for name in rule.names:
        if any(not part.strip() for part in name.parts):
            raise wrong(rule.text, name.at, "a name is empty")
        if name.of_verdict:
            _check_answer(rule, name)


def _check_answer(rule: Rule, name: Name) -> None:
    questions = tuple(ANSWERS)
    if len(name.parts) != 2 or name.parts[1] not in ANSWERS:
        asked = ".".join(name.parts[1:])
        hint = near(asked, questions, f"there are {', '.join(questions)}")
        raise wrong(rule.text, name.at, f"the verdict has no {asked!r}: {hint}" if asked else f"verdict.X: {hint}")
    if rule.comparison not in ("==", "!="):
        raise wrong(rule.text, name.at, f"an answer of the verdict is compared by == or !=, not {rule.comparison}")
    others = [side for side in (rule.left, rule.right) if side != name]
    word = others[0] if len(others) == 1 else None
    answers = ANSWERS[name.parts[1]]
    if not isinstance(word, Name) or len(word.parts) != 1:
        raise wrong(rule.text, name.at, f"{name} is compared with one of its answers: {', '.join(answers)}")
    if not word.of_baseline and answer_of(word) not in answers:
        hint = near(answer_of(word), answers, f"its answers are {', '.join(answers)}")
        raise wrong(rule.text, word.at, f"{name} is never {word.parts[0]!r}: {hint}")


def answer_of(name: Name) -> str:
    """An answer as reports have it, from how it was written: 'as real' is as_real."""
    return re.sub(r"[\s-]+", "_", name.parts[0].strip())


def _unquoted(part: str) -> str:
    return part[1:-1] if part[0] in "\"'" else part


def _in_quotes(text: str) -> str:
    return f"'{text}'" if '"' in text else f'"{text}"'
