"""`genaudit evaluate`: opens the roles, measures them, judges the rows, reports."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from genaudit.data import FeatureSet, ImageSet, Moments
from genaudit.data.audit.facts import SetFacts
from genaudit.errors import DONE, UserError, one_line
from genaudit.hydra_words import escaped
from genaudit.metrics.result import ROLES, base_name
from genaudit.output import told
from genaudit.reports.report import Report
from genaudit.reports.rules import discard
from genaudit.store import Store
from genaudit.tasks.gate.checkpoints import find_sets, labels_of
from genaudit.tasks.run.auditing import Audit, cautions
from genaudit.tasks.run.by_class import check_classes, class_column, judge_classes
from genaudit.tasks.run.environment import Ranks, command_line, environment, now, resolved
from genaudit.tasks.run.floors import judge_all, measure_fresh
from genaudit.tasks.run.folder import run_folder, saving
from genaudit.tasks.run.from_python import Given
from genaudit.tasks.run.instantiate import Instances
from genaudit.tasks.run.judging import MetricSpec, why_not
from genaudit.tasks.run.measuring import Measurements, WorkPlan, measure_roles
from genaudit.tasks.run.moments import check_entry, other_moments
from genaudit.tasks.run.progress import Progress
from genaudit.tasks.run.roles import Role, check_there, open_role, open_roles, picture_of, role_images, source_of
from genaudit.tasks.run.rules import RunRules
from genaudit.tasks.run.settings import EngineChoice, Settings
from genaudit.tasks.run.sources import entry_of
from genaudit.tasks.run.specs import metrics_of, roles_of
from genaudit.tasks.run.views import add_paired, check_views, measure_views, partners_of, view_of, why_no_view
from genaudit.verdict.answers import verdict


def main(cfg: Any) -> int:
    """The verb: evaluates, prints, writes the four report files."""
    with Ranks.join() as ranks:
        named = metrics_are_named()
        rules = RunRules.of(cfg)
        sources = {role: source_of(cfg[role]) for role in ROLES}
        sets = find_sets(sources["generated"], pool=cfg.pool, shards=True)
        if len(sets) > 1:
            return _evaluate_sets(cfg, sources, sets, ranks, named, rules)
        report = evaluate(cfg, sources, command_line("evaluate"), ranks, named=named, notify=told.note, rules=rules)
        code = DONE
        if report is not None:
            out = run_folder(cfg, "evaluate")
            discard(out)
            show_and_save(report, out, cfg.explore)
            document = report.to_dict()
            code = DONE if rules is None else rules.apply(document, str(out), out)
            tell(document, out, gate=None if rules is None else str(out / "gate.json"), exit_code=code)
            require_all(report.skipped_metrics, cfg, named, report.metrics)
    return code


def _evaluate_sets(
    cfg: Any, sources: Mapping[str, Any], sets: list[str], ranks: Ranks, named: bool, rules: RunRules | None
) -> int:
    """A run for each set that a pattern matches, in a folder of its name, and their comparison beside these.

    Each is judged by the rules; the exit code is the last one's, as that of `genaudit reject` is.
    """
    from genaudit.reports.comparison import compare
    from genaudit.tasks.compare import show_and_save as show_comparison
    from genaudit.tasks.run.differences import tell_apart
    from genaudit.tasks.run.finished import RunRows

    out = run_folder(cfg, "evaluate")
    settings = Settings.of(cfg)
    # the other roles are read once
    others = {role: open_role(role, source, settings) for role, source in sources.items()
              if role != "generated" and source is not None}  # fmt: skip
    runs: list[str] = []
    absent: dict[str, str] = {}
    documents: dict[str, dict[str, Any]] = {}
    code = DONE
    for label, path in zip(labels_of(sets), sets, strict=True):
        own = copy.deepcopy(cfg)
        own.generated = escaped(path)
        command = command_line("evaluate", generated=path)
        report = evaluate(
            own, {**others, "generated": path}, command, ranks, named=named, notify=told.note, rules=rules
        )
        if report is not None:
            discard(out / label)
            with saving("out", out):
                report.save(out / label, explore=cfg.explore)
            runs.append(str(out / label))
            absent |= _absent(report.skipped_metrics, report.metrics)
            count = report.roles["generated"].count
            print(one_line(f"{label}: {count:,} images, written {out / label}"), flush=True)
            documents[label] = report.to_dict()
    if runs:
        comparison = compare(runs)
        tell_apart(comparison, RunRows(settings.store), Progress(settings.progress), seed=settings.seed)
        show_comparison(comparison, out)
        for label, document in documents.items():
            if rules is not None:
                print(one_line(f"{label}:"))
                code = rules.apply(document, str(out / label), out / label)
            gate = None if rules is None else str(out / label / "gate.json")
            tell(document, out / label, gate=gate, exit_code=code)
        require_all(absent, cfg, named)
    return code


def show_and_save(report: Report, out: Path, explore: bool | str = "auto") -> None:
    """Prints the console table, then writes the files and says where: a full disk costs no result."""
    from genaudit.reports import console
    from genaudit.reports.explore import wanted

    console.show(report)
    with saving("out", out):
        files = report.save(out, explore=explore)
    console.show_files(files)
    if reason := wanted(report, explore)[1]:
        print(one_line(reason), flush=True)


def metrics_are_named() -> bool:
    """Whether the command line says which metrics; those of the default list may be absent without more ado."""
    from hydra.core.hydra_config import HydraConfig

    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return any(override.lstrip("+").startswith("metric=") for override in given)


def _absent(absent: Mapping[str, str], computed: Iterable[str]) -> dict[str, str]:
    """Without the metrics that are absent on one of several networks and there on another."""
    there = set(map(base_name, computed))
    return {name: reason for name, reason in absent.items() if "@" not in name or base_name(name) not in there}


def require_all(absent: Mapping[str, str], cfg: Any, named: bool, computed: Iterable[str] = ()) -> None:
    """Raises `UserError` where metrics that were named are absent, unless skip=true or on one of several networks."""
    absent = _absent(absent, computed)
    absent = {name: why for name, why in absent.items() if not cfg.metric[base_name(name)].get("optional")}
    if named and absent and not cfg.get("skip"):
        listed = "; ".join(f"{name}: {reason}" for name, reason in absent.items())
        raise UserError(f"metric={','.join(absent)} cannot be computed ({listed}); skip=true continues without")


def tell(document: Mapping[str, Any], out: Path, **facts: Any) -> None:
    """What `--json` says of a run: where its report is, and the answers of its verdict."""
    verdict = document.get("verdict")
    answers = {key: each["answer"] for key, each in verdict.items() if isinstance(each, Mapping)} if verdict else None
    told.result(report=str(out / "report.json"), verdict=answers, **facts)


def evaluate(
    cfg: Any,
    sources: Mapping[str, Any],
    command: str,
    ranks: Ranks | None = None,
    *,
    store: Store | None = None,
    named: bool = False,
    notify: Callable[[str], None] | None = None,
    rules: RunRules | None = None,
    given: Given | None = None,
) -> Report | None:
    """Measures and judges; None on the ranks that only measure.

    Args:
        cfg: the composed configuration of the verb.
        sources: role => source (see `genaudit.data.open_images`), None where it is not played.
        command: how the report names the run.
        named: the metrics were named, and one that lacks a role is an error before anything is measured.
        notify: told of each metric that lacks a role, before anything is measured.
        rules: of which none may name what these metrics do not give.
        given: metrics and a network that are objects of the caller's.

    Raises:
        UserError: a source or key that cannot be used; a metric that was named and lacks a role (but skip=true).
    """
    ranks = ranks or Ranks()
    settings = Settings.of(cfg)
    store = store or Store(settings.store)
    notify = notify if ranks.judges else None
    check_there(sources, settings)  # before weights are fetched
    specs, measures = _asked_for(cfg, sources, settings, named, given)
    if rules is not None:
        rules.check(specs, {})
    if (entry := entry_of(sources.get("reference"))) is not None:
        specs = check_entry(entry, specs, measures)
    roles = open_roles(sources, settings)
    reasons = _why_absent(cfg, specs, measures, roles)
    require_all(reasons, cfg, named, specs.keys() - reasons.keys())
    if rules is not None:
        rules.check(specs, reasons)
    if notify is not None:
        for name, reason in reasons.items():
            notify(f"metric {name} will not be computed: {'it ' * reason.startswith('needs ')}{reason}")
    runnable = {name: spec for name, spec in specs.items() if name not in reasons}
    by_class = cfg.get("by") == "class"
    if by_class:
        check_classes(roles, runnable)
    progress = Progress(settings.progress)
    needed = {name: roles_of(name, runnable, roles) for name in measures}
    views = {name: measure for name, measure in measures.items() if needed[name] and view_of(measure)}
    wanted = {name: measure for name, measure in measures.items() if needed[name] and name not in views}
    measured = _measure(cfg, roles, runnable, needed, wanted, views, store, settings, ranks, progress, notify)
    if measured is None:
        return None
    measurements, facts = measured
    entries = judge_all(runnable, measurements, measures, settings, reasons, progress)
    computed = {name: specs[name] for name in entries}
    warnings, findings = cautions(cfg, computed, entries, wanted, measurements, facts, settings)
    report = Report(
        created=now(),
        command=command,
        config=resolved(cfg),
        environment=environment(cfg, settings),
        seed=settings.seed,
        roles={
            name: role_images(role, facts.get(name), measurements.roles.get("train"))
            for name, role in measurements.roles.items()
        },
        measures=measurements.uses,
        metrics=entries,
        skipped_metrics={name: reasons[name] for name in specs if name in reasons},
        images=_image_columns(measurements.roles["generated"]) | (class_column(measurements.roles) if by_class else {}),
        names={name: role.names for name, role in measurements.roles.items() if not isinstance(role, Moments)},
        pictures={name: picture_of(role) for name, role in measurements.roles.items() if isinstance(role, ImageSet)},
        warnings=warnings,
        findings=findings,
        partners=partners_of(cfg, measurements.roles),
    )
    report.verdict = verdict(report.to_dict())
    if by_class:
        report.by_class = judge_classes(computed, measurements, report.warnings, settings, progress)
    return report


def _asked_for(
    cfg: Any, sources: Mapping[str, Any], settings: Settings, named: bool, given: Given | None
) -> tuple[dict[str, MetricSpec], dict[str, Any]]:
    """The entries of the report and the measures that they name, both by name."""
    if cfg.get("paired"):
        add_paired(cfg)
    if given is None:
        specs, measures = metrics_of(cfg, Instances(), settings)
    else:
        specs, measures = metrics_of(cfg, given.instances(cfg), settings, given.functions)
    if not named and sources.get("train") is None:  # train= switches on those of the default list that need it
        specs = {name: spec for name, spec in specs.items() if not spec.role_parameters.get("train")} or specs
    return specs, measures


def _why_absent(
    cfg: Any, specs: Mapping[str, MetricSpec], measures: Mapping[str, Any], roles: Mapping[str, Role]
) -> dict[str, str]:
    """Why entries cannot be computed of these roles, by name.

    Raises:
        UserError: features in place of images and several networks; moments, or pairs, that are for no entry.
    """
    if (several := [name for name in specs if "@" in name]) and any(isinstance(r, FeatureSet) for r in roles.values()):
        raise UserError(
            f"feature_model names several networks ({', '.join(several[:2])}, ...), and features are given in place of "
            "images: those are of one network; omit feature_model"
        )
    reasons = {name: reason for name, spec in specs.items() if (reason := why_not(spec, roles)) is not None}
    for name, spec in specs.items():
        for measure in (measures[each] for each in spec.measures.values()):
            lack = getattr(measure, "lacks", None) or (why_no_view(measure, cfg, roles) if view_of(measure) else None)
            if name not in reasons and lack:
                reasons[name] = lack
    reference = roles.get("reference")
    if isinstance(reference, Moments):
        reasons |= other_moments(reference, {n: specs[n] for n in specs if n not in reasons}, measures)
    if cfg.get("paired"):
        check_views(cfg, roles)
    return reasons


def _measure(
    cfg: Any,
    roles: Mapping[str, Role],
    specs: Mapping[str, MetricSpec],
    needed: Mapping[str, set[str]],
    wanted: Mapping[str, Any],
    views: Mapping[str, Any],
    store: Store,
    settings: Settings,
    ranks: Ranks,
    progress: Progress,
    notify: Callable[[str], None] | None,
) -> tuple[Measurements, dict[str, SetFacts]] | None:
    """The rows that the entries take, and what the audit knows of the images; None on ranks that only measure.

    Args:
        needed: measure => the roles whose rows are taken. wanted: measures of images. views: measures of images with
            what belongs to them.
    """
    if ranks.judges:
        told.begin_log()
    engines = EngineChoice(settings, store, notify, ranks.count)
    engines.assign(wanted.values())
    audit = Audit(store, settings.engine)
    watched = audit.watched(roles)
    if ranks.judges:
        plan = WorkPlan.of(watched, wanted, needed, store, settings.engine)
        progress.plan.parts = plan.of_roles()
        if notify is not None:
            for line in plan.lines():
                progress.note(line)

    def rows() -> Measurements:
        measurements = measure_roles(watched, wanted, needed, store, settings.engine, ranks, progress)
        if views:
            measure_views(cfg, measurements, views, store, settings.engine, ranks, progress)
        if "train" in roles:
            measure_fresh(measurements, specs.values(), wanted, store, settings, ranks, progress)
        return measurements

    measurements = engines.measured(rows)
    if not ranks.judges:
        audit.keep()
        return None
    facts = audit.facts(measurements.roles, progress)
    for role in measurements.roles.values():
        if isinstance(role, ImageSet) and wanted:
            store.remember(role.digests, role.digest)
    return measurements, facts


def _image_columns(generated: Role) -> dict[str, Any]:
    if isinstance(generated, Moments):
        return {}
    return {"name": generated.names, "digest": generated.digests}
