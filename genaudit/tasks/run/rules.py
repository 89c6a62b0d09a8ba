"""The keys require=, baseline= and strict=: rules are read before anything is measured, and judge finished runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genaudit.errors import UserError
from genaudit.metrics.result import base_name
from genaudit.reading import read_text
from genaudit.stats.two_sets import REPEATS
from genaudit.tasks.run.folder import expanded, saving, store_folder
from genaudit.verdict.rules import Baseline, Outcome, judge
from genaudit.verdict.rules_baseline import why_incomparable
from genaudit.verdict.rules_grammar import Rule, parse, wrong
from genaudit.verdict.rules_names import Unknown, find

if TYPE_CHECKING:
    from genaudit.tasks.run.judging import MetricSpec

SUFFIXES = (".yaml", ".yml", ".json")
LARGEST = 1 << 20  # bytes of a file of rules


@dataclass(frozen=True)
class RunRules:
    """The rules of a run: parsed, with the baseline run's report, if there is one.

    `relabellings` is how often images are relabelled to test whether a value differs from the baseline's; `store` the
    row store where their rows are looked for.
    """

    rules: tuple[Rule, ...]
    baseline: Path | None
    strict: bool
    store: Path
    relabellings: int = REPEATS

    @classmethod
    def of(cls, cfg: Any) -> RunRules | None:
        """The rules of a configuration; None where it has none.

        Raises:
            UserError: a rule or file of rules that cannot be read; a baseline that is no run, or is needed and missing.
        """
        if cfg.get("require") is None:
            for key in ("baseline", "strict"):
                if cfg.get(key):
                    raise UserError(f"{key}= belongs to rules: give require=['recall >= 0.6'] or require=rules.yaml")
            return None
        given = cfg["require"]
        return cls.given(
            read_rules(given if isinstance(given, str) else list(given)),
            expanded("baseline", str(cfg["baseline"])) if cfg.get("baseline") else None,
            strict=bool(cfg["strict"]),
            store=store_folder(cfg["store"]),
            relabellings=cfg.get("relabellings", REPEATS),
        )

    @classmethod
    def given(
        cls,
        rules: Sequence[Rule],
        baseline: Path | None = None,
        *,
        strict: bool = False,
        store: Path | None = None,
        relabellings: int = REPEATS,
    ) -> RunRules:
        """Rules with the baseline's report read.

        Raises:
            UserError: a baseline that is no run, or is needed and missing.
        """
        found = cls(tuple(rules), baseline, strict, store or store_folder(None), relabellings)
        if found.baseline_report is None:
            lacking = next((rule for rule in rules if rule.needs_baseline), None)
            if lacking is not None:
                raise UserError(
                    f"rule {lacking.text!r} names a baseline: give baseline=RUN, the folder of a finished run"
                )
        return found

    @cached_property
    def baseline_report(self) -> dict[str, Any] | None:
        """Read once, before a run is measured that may take its place."""
        from genaudit.reports.reading import read_report, report_file

        return None if self.baseline is None else read_report(report_file(self.baseline))

    def check(self, specs: Mapping[str, MetricSpec], reasons: Mapping[str, str]) -> None:
        """Finds rules that no run of these metrics can decide, before anything is measured.

        Args:
            specs: the metrics of the run. reasons: why some of them cannot be computed.

        Raises:
            UserError: names the rule.
        """
        from genaudit.tasks.run.finished import value_names

        values = {key: value_names(spec.fn, base_name(key)) for key, spec in specs.items()}
        if any(names is None for names in values.values()):  # a user's own metric: any name may come
            return
        known = {key: list(names or ()) for key, names in values.items()}
        for rule in self.rules:
            for name in () if rule.answer else rule.names:
                if name.of_baseline:
                    continue
                try:
                    metric, _, _ = find(name, known, {})
                except Unknown as error:
                    raise wrong(rule.text, name.at, f"{error} (metric= chooses the metrics of a run)") from None
                if metric in reasons:
                    raise wrong(rule.text, name.at, f"metric {metric} {reasons[metric]}")

    def outcome(self, report: Mapping[str, Any], run: str) -> Outcome:
        """Judges a report.json.

        Raises:
            UserError: a rule that names what is not there.
        """
        from genaudit.tasks.run.finished import values_of_run

        baseline = None
        if self.baseline_report is not None:
            theirs = self.baseline_report
            baseline = Baseline(
                theirs,
                lambda metric, other: why_incomparable(report, theirs, metric, other),
                _Tests(report, theirs, self.store, self.relabellings),
            )
        return judge(
            self.rules,
            report,
            run=run,
            baseline=baseline,
            baseline_name=None if self.baseline is None else str(self.baseline),
            strict=self.strict,
            possible=values_of_run(report),
        )

    def apply(self, report: Mapping[str, Any], run: str, out: Path) -> int:
        """Judges, prints the table, writes the gate's files into `out`; returns the exit code."""
        from genaudit.reports.console import show_files
        from genaudit.reports.rules import show, write

        outcome = self.outcome(report, run)
        show(outcome)
        with saving("out", out):
            files = write(outcome, out)
        show_files(files)
        return outcome.exit_code


class _Tests:
    """Relabelling tests of this run against the baseline, each metric's once; None where rows cannot be had."""

    def __init__(self, ours: Mapping[str, Any], theirs: Mapping[str, Any], store: Path, repeats: int) -> None:
        self._ours, self._theirs, self._store, self._repeats = dict(ours), dict(theirs), store, repeats
        self._known: dict[str, dict[str, float]] = {}

    def __call__(self, metric: str, other: str, value: str) -> tuple[float, str] | None:
        if metric != other or not self._repeats:
            return None
        if metric not in self._known:
            self._known[metric] = self._pvalues(metric)
        found = self._known[metric].get(value)
        return None if found is None or found != found else (found, f"relabelling of the images, {self._repeats} times")

    def _pvalues(self, metric: str) -> dict[str, float]:
        from genaudit.reports.comparison import Run
        from genaudit.tasks.run.differences import pvalues
        from genaudit.tasks.run.finished import NoRows, RunRows

        first, second = (Run(name, Path(), report) for name, report in (("run", self._ours), ("base", self._theirs)))
        try:
            return pvalues(first, second, metric, RunRows(self._store), self._repeats, 0)
        except NoRows:
            return {}


def read_rules(given: str | Sequence[Any]) -> tuple[Rule, ...]:
    """Rules from a rule, a list of them, or a YAML file with a list under `require`.

    Raises:
        UserError: says which rule or file, and what was expected.
    """
    source = "require="
    if isinstance(given, str) and is_file(given):
        source = f"require={given}"
        given = _listed(expanded("require", given))
    listed = [given] if isinstance(given, str) else list(given)
    if not listed:
        raise UserError(f"{source}: there is no rule in it; a rule is such as 'recall >= 0.6'")
    for each in listed:
        if not isinstance(each, str):
            raise UserError(f"{source}: {each!r} is no rule; a rule is text such as 'recall >= 0.6'")
    return tuple(map(parse, listed))


def is_file(given: str) -> bool:
    """Whether `require=` names a file: by its ending, or because there is one."""
    return given.lower().endswith(SUFFIXES) or os.path.lexists(given)


def _listed(path: Path) -> list[Any]:
    import yaml

    try:
        document = yaml.safe_load(read_text(path, LARGEST))
    except OSError as error:
        raise UserError(f"require={path} cannot be read: {error.strerror or error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"require={path} is no YAML: {' '.join(str(error).split())}") from None
    listed = document.get("require") if isinstance(document, dict) else None
    others = [key for key in document if key != "require"] if isinstance(document, dict) else []
    if others:
        raise UserError(f"require={path}: unknown key {others[0]!r}; the file holds a list under require:")
    if isinstance(listed, str):
        return [listed]
    if not isinstance(listed, list):
        raise UserError(f"require={path}: a list of rules under the key require: is expected")
    return listed
