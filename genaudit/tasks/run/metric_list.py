"""What `genaudit list metrics` tells: every metric under the question that it answers first, or all of one."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from genaudit.config_files import config_folder
from genaudit.errors import UserError

QUESTIONS = {
    "quality": "Are the samples good?",
    "diversity": "Are they diverse?",
    "memorised": "Are they memorised?",
    "likelihood": "Are they likely?",
    "": "Of other questions",
}
ARROWS = {"lower": "↓", "higher": "↑"}
# By what is measured: the work for an image, in passes of the network where that is what takes the time.
COSTS = {
    "embedding": "1 pass",
    "spatial": "1 pass",
    "logits": "1 pass",
    "piad": "1 pass",
    "density, general, code": "3 passes, of each density model one",
    "path length": "4 passes, 2 of the generator and 2 of the network",
    "likelihood, patches": "1 pass",
    "pair quality": "2 images read; of LPIPS 2 passes of its network",
    "clip score": "1 pass of CLIP, and 1 of its prompt",
}
Option = tuple[str, Any, str]  # name, configuration and leading comment of a YAML


def in_default() -> list[str]:
    """The metrics that `genaudit evaluate` computes unless told otherwise."""
    from omegaconf import OmegaConf

    defaults: Any = OmegaConf.to_container(OmegaConf.load(config_folder() / "evaluate.yaml"))
    listed = next(entry["metric"] for entry in defaults["defaults"] if isinstance(entry, dict) and "metric" in entry)
    return [str(entry) for entry in listed]


def metrics_table(options: Sequence[Option], default: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Header and rows, with a row of its own before the metrics of each question."""
    groups: dict[str, list[list[str]]] = {question: [] for question in QUESTIONS}
    for name, metric, node in _each(options):
        first = (*questions_of(node), "")[0]
        row = [
            name,
            "default" if name in default else "",
            _needs(metric, node),
            cost_of(node).partition(", ")[0],  # a comma without a space parts thousands
            _values(metric, node),
        ]
        groups.setdefault(first if first in QUESTIONS else "", []).append([*row, _explanation(metric, node)])
    rows: list[list[str]] = []
    for question, of in groups.items():
        if of:
            rows += [*([[]] if rows else []), [QUESTIONS[question]], *of]
    header = ["metric", "set", "needs, [optional]", "cost", "values", "what it says"]
    return header, [[*row, *[""] * (len(header) - len(row))] for row in rows]


def one_metric(name: str, options: Sequence[Option], default: Sequence[str]) -> list[str]:
    """All that there is to tell of a metric, by its name or by one of its values.

    Raises:
        UserError: there is none.
    """
    from genaudit.metrics.declared import result_class
    from genaudit.metrics.result import Declared, declared
    from genaudit.tasks.run.finished import value_names
    from genaudit.tasks.run.judging import make_spec

    metrics = {yaml_name: (metric, node) for yaml_name, metric, node in _each(options)}
    values: dict[str, str] = {}
    for yaml_name, (metric, node) in metrics.items():
        for value in value_names(make_spec(metric, node, {}, False).fn, metric) or {}:
            values.setdefault(value, yaml_name)
    if name not in metrics and name not in values:
        close = difflib.get_close_matches(name, list(dict.fromkeys([*metrics, *values])), n=2)
        hint = f"did you mean {' or '.join(close)}?" if close else "`genaudit list metrics` shows all"
        raise UserError(f"there is no metric {name!r}: {hint}")
    yaml_name = name if name in metrics else values[name]
    metric, node = metrics[yaml_name]
    spec = make_spec(metric, node, {}, False)
    result = result_class(spec.fn)
    lines = [yaml_name if yaml_name == name else f"{name} is a value of {yaml_name}", ""]
    lines += [*textwrap.wrap(_explanation(metric, node) or _first_line(spec.fn), 100), ""]
    asked = [QUESTIONS[question] for question in questions_of(node) if question in QUESTIONS]
    lines += _field("answers", " ".join(asked))
    lines += _field("in the default set", "yes" if yaml_name in default else f"no: metric=[{yaml_name}] asks for it")
    lines += _field("needs", _needs(metric, node) or "generated images only")
    lines += _field("measures", _measure(node))
    for term, network in (node.get("defined_on") or {}).items():
        lines += _field("defined on", f"feature_model={network}: on another network it is no {term}")
    lines += _field("cost per image", cost_of(node))
    for value, better in (value_names(spec.fn, metric) or {}).items():
        direction = f"{ARROWS[better]} {better} is better" if better in ARROWS else "neither end is better"
        label = declared(result).get(value, Declared()).label
        lines += _field("value", f"{value}: {direction}" + (f"; {label}" if label else ""))
    function = getattr(spec.fn, "func", spec.fn)
    for key, default_value in _settings(function, node).items():
        lines += _field("setting", f"metric.{metric}.fn.{key}={_written(default_value)}")
    lines += _field("source", str(getattr(result, "citation", "") or "not stated"))
    lines += _field("computed by", f"{function.__module__}.{function.__qualname__}")
    return lines


def _explanation(metric: str, node: Any) -> str:
    """What the metric's result class says that it tells; empty where there is no such class."""
    from genaudit.metrics.declared import result_class
    from genaudit.reports.values import explanation
    from genaudit.tasks.run.judging import make_spec

    result = result_class(make_spec(metric, node, {}, False).fn)
    return explanation(result) if dataclasses.is_dataclass(result) else ""


def questions_of(node: Any) -> tuple[str, ...]:
    """The questions that a metric's YAML says it answers, the first one first."""
    return tuple(str(each) for each in node.get("questions") or ())


def cost_of(node: Any) -> str:
    """The work for an image, from what is measured and at which settings."""
    measure = _measure(node)
    if node.get("of"):
        return f"1 pass of each network, those of {node.of}"
    if measure == "anomaly":
        # the default preset says what differs from the one that it inherits
        settings: Mapping[str, Any] = {**_settings_of("anomaly/paper"), **_settings_of("anomaly/robust")}
        path, attack = settings["path_steps"] * settings["directions"], settings["attack_steps"] * settings["starts"]
        return f"{path + 1 + attack * 3:,} passes, {attack} of them with gradients"
    if measure == "ais":
        settings = _settings_of("ais/paper")
        steps = settings["temperatures"] * settings["chains"] * settings["leapfrog"]
        return f"{steps:,} steps, of the generator with gradients"
    if measure == "inversion":
        return f"{node.measure.steps * node.measure.restarts:,} steps, of the generator with gradients"
    return COSTS.get(measure, "its measure's")


def _settings_of(name: str) -> Mapping[str, Any]:
    from omegaconf import OmegaConf

    settings: Any = OmegaConf.to_container(OmegaConf.load(config_folder() / f"{name}.yaml"), resolve=False)
    return dict(settings)


def _each(options: Sequence[Option]) -> Iterator[tuple[str, str, Any]]:
    for name, config, _ in options:
        for metric, node in config.items():
            yield name, str(metric), node


def _needs(metric: str, node: Any) -> str:
    """Roles that its function takes: those it does without in brackets, "or" between those of which it needs one."""
    from genaudit.tasks.run.judging import make_spec

    spec = make_spec(metric, node, {}, False)
    roles = {role: required for role, required in spec.role_parameters.items() if role != "generated"}
    also = [str(each) for each in node.get("also_needs") or ()]
    either = [" or ".join(spec.one_of)] if spec.one_of else []
    own = [role if required else f"[{role}]" for role, required in roles.items() if role not in spec.one_of]
    return ", ".join([*either, *own, *also])


def _values(metric: str, node: Any) -> str:
    from genaudit.tasks.run.finished import value_names
    from genaudit.tasks.run.judging import make_spec

    directions = value_names(make_spec(metric, node, {}, False).fn, metric) or {}
    return " ".join(f"{value}{ARROWS.get(better, '')}" for value, better in directions.items())


def _measure(node: Any) -> str:
    """What a metric measures: the module of its measure, the name that it interpolates, or the names of several."""
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(node, resolve=False)
    measure = plain["measure"]
    if isinstance(measure, str):
        return measure.strip("${}").replace("feature_model", "embedding")
    if "_target_" in measure:
        return str(measure["_target_"]).split(".")[-2].replace("_", " ")
    return ", ".join(measure)


def _settings(function: Any, node: Any) -> dict[str, Any]:
    """What a user may set of the function, with its default or the YAML's."""
    shared = {"generated", "reference", "train", "anomalies", "confidence", "seed", "device", "classes"}
    settings = {
        key: parameter.default
        for key, parameter in inspect.signature(function).parameters.items()
        if key not in shared and parameter.default is not inspect.Parameter.empty
    }
    of_yaml = node.fn if hasattr(node.fn, "items") else {}
    return settings | {str(key): value for key, value in of_yaml.items() if not str(key).startswith("_")}


def _written(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _first_line(fn: Any) -> str:
    function = getattr(fn, "func", fn)
    return (inspect.getdoc(function) or "").partition("\n")[0]


def _field(label: str, text: str) -> list[str]:
    wrapped = textwrap.wrap(text, 90, break_long_words=False) or [""]
    return [f"  {label:<19} {wrapped[0]}", *(f"  {'':<19} {line}" for line in wrapped[1:])]
