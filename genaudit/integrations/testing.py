"""Assertions for a project's own tests: a model's samples must be diverse, a metric must stay within bounds.

    def test_samples_are_diverse():
        assert_diverse("samples/", train="train/", irs_target=0.5)

    def test_quality():
        assert_metrics("samples/", reference="real/", below={"fd": 12.0}, above={"precision": 0.6})

They need no test framework: a failure is an AssertionError that says what was found. Sources are what
`genaudit.evaluate` takes: paths, arrays, tensors, datasets, callables that sample a model.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genaudit.metrics.gate import Verdict
    from genaudit.reports.report import Report
    from genaudit.verdict.rules_grammar import Rule

ENDS = ("value", "lower", "upper")


def assert_diverse(
    samples: Any,
    train: Any,
    *,
    irs_target: float = 0.8,
    alpha: float = 0.05,
    reference: Any = None,
    undecided: str = "fail",
    **keys: Any,
) -> Verdict:
    """Asserts that the diversity gate accepts the samples.

    Args:
        samples: generated images; judged in a seeded random order, all of them.
        train: the images that the model learned from.
        irs_target: the share of what held-out real images reach that the model must reach: those of `reference`, or
            training images that are set aside.
        alpha: the probability, at most, that a model which meets the target fails.
        undecided: "pass" lets too few samples for a decision pass.
        keys: further keys of `genaudit reject` (`feature_model`, `device`, `limit`, `mode`, ...).

    Returns:
        the verdict.

    Raises:
        AssertionError: rejected, or undecided. genaudit.UserError: what cannot be read.
    """
    from genaudit.tasks.gate.one_set import gate_set
    from genaudit.tasks.gate.yardstick import Yardstick
    from genaudit.tasks.run.from_python import as_override, compose, described

    if undecided not in ("fail", "pass"):
        raise ValueError(f"undecided must be fail or pass, not {undecided!r}")
    keys = {"irs_target": irs_target, "alpha": alpha, "mode": "fixed", **keys}
    overrides = [f"{key}={as_override(value) if key != 'feature_model' else value}" for key, value in keys.items()]
    sources = {"train": train, "reference": reference}
    overrides += [f"{role}={as_override(described(source))}" for role, source in sources.items() if source is not None]
    cfg = compose("reject", overrides)
    verdict = gate_set(cfg, Yardstick.prepare(cfg, sources), samples).verdict
    found = verdict.reasons[0]
    if verdict.decision == "reject":
        raise AssertionError(f"not diverse enough for irs_target={irs_target:g}: {found}")
    if verdict.decision == "undecided" and undecided == "fail":
        raise AssertionError(f"undecided at irs_target={irs_target:g}: {found}; more samples are needed")
    return verdict


def assert_metrics(
    generated: Any,
    reference: Any = None,
    train: Any = None,
    *,
    below: Mapping[str, float] | None = None,
    above: Mapping[str, float] | None = None,
    by: str = "value",
    require: str | Sequence[str] = (),
    baseline: str | os.PathLike[str] | None = None,
    strict: bool = False,
    metrics: list[str] | None = None,
    **keys: Any,
) -> Report:
    """Asserts that values of metrics lie below or above bounds, or keep rules.

    Args:
        below, above: value names as the reports have them ("fd", "precision", "irs_inf") => bound, itself allowed.
        by: "value", or an end of the interval: "upper" with `below` asserts that the whole interval lies below.
        require: rules as `genaudit gate --help` explains them, or a YAML file of them.
        baseline: the folder of a finished run, which rules name as `baseline`.
        strict: rules must hold for all that the intervals allow.
        metrics: names of metrics; None takes those of the command line's default and the values' own names.
        keys: further keys of `genaudit.evaluate`.

    Returns:
        the report.

    Raises:
        AssertionError: a bound is broken, or a rule fails or is undecided; names all that are. ValueError: a value that
            no metric gave. genaudit.UserError: a rule that cannot be read.
    """
    import genaudit
    from genaudit.tasks.run.rules import RunRules, read_rules
    from genaudit.verdict.rules_names import Unknown

    if by not in ENDS:
        raise ValueError(f"by must be one of {', '.join(ENDS)}, not {by!r}")
    bounds = [_bound(name, "<=", bound, by) for name, bound in (below or {}).items()]
    bounds += [_bound(name, ">=", bound, by) for name, bound in (above or {}).items()]
    rules = read_rules(require) if require else ()
    if not (bounds or rules):
        raise ValueError("assert_metrics needs a bound: below={'fd': 12.0}, above={'precision': 0.6} or require=")
    folder = None if baseline is None else Path(baseline)
    judges = [RunRules.given(bounds), RunRules.given(rules, folder, strict=strict)]
    report = genaudit.evaluate(generated=generated, reference=reference, train=train, metrics=metrics, **keys)
    document = report.to_dict()
    broken = []
    try:
        for judged in judges[0].outcome(document, "genaudit.evaluate(...)").rules:
            if judged.holds is None:
                raise ValueError(f"there is no {by} of {judged.rule}: {judged.reason}")
            if not judged.holds:
                name, _, bound = judged.rule.partition(" ")
                broken.append(f"{name} is {judged.value:.6g}, not {bound}")
    except Unknown as error:
        reasons = "; ".join(f"{metric}: {reason}" for metric, reason in report.skipped_metrics.items())
        raise ValueError(f"{error}. {reasons}".strip()) from None
    for judged in judges[1].outcome(document, "genaudit.evaluate(...)").rules:
        if judged.holds is not True:
            broken.append(f"{judged.rule} {'fails' if judged.holds is False else 'is undecided'}: {judged.reason}")
    if broken:
        raise AssertionError("; ".join(broken))
    return report


def _bound(name: str, comparison: str, bound: float, by: str) -> Rule:
    """The rule of a bound; its text is how a broken one is named."""
    from genaudit.verdict.rules_grammar import Name, Negative, Number, Rule

    parts = (name,) if by == "value" else (name, by)
    number = Number(float(abs(bound)))
    side = "below" if comparison == "<=" else "above"
    return Rule(
        Name(parts, bare=False), comparison, Negative(number) if bound < 0 else number, f"{name} {side} {bound:g}"
    )
