"""The entries of a report: each metric on each of its networks, and the measures whose rows they take.

A metric that is defined on one network and measured on another is said to be what it is not, once for each network.

A metric may be made of another metric's values on every network of the run (`of: fd` in its YAML). Such a metric
measures nothing. Its function takes, by network, what the other metric's entries hold: `generated` the values with
their real floors, `reference` the numbers of reference images.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from genaudit.config_files import config_folder
from genaudit.errors import UserError
from genaudit.metrics.fdr import Distance
from genaudit.metrics.result import Unavailable, base_name
from genaudit.reports.networks import OTHER_NETWORK
from genaudit.reports.report import MetricEntry, ReportWarning
from genaudit.tasks.run.instantiate import Instances, instantiate
from genaudit.tasks.run.judging import SOLE, MetricSpec, make_spec
from genaudit.tasks.run.networks import entries_of
from genaudit.tasks.run.roles import Role
from genaudit.tasks.run.settings import Settings

METHODS = ("name", "columns", "weights_sha256", "describe", "prepare", "open", "batch_size")
STORED = ("fid_inception", "dinov2_l14")  # networks that files of moments name


def metrics_of(
    cfg: Any, instances: Instances, settings: Settings, functions: Mapping[str, Callable[..., Any]] | None = None
) -> tuple[dict[str, MetricSpec], dict[str, Any]]:
    """The entries of the report (a metric, on each of its networks), and the measures that they name, by name.

    Args:
        functions: metrics that are functions of the user's, by name.

    Raises:
        UserError: no metric, a metric without measure, or a measure that lacks methods.
    """
    from genaudit.measures.embedding import Embedding
    from genaudit.measures.measure import fingerprint

    specs: dict[str, MetricSpec] = {}
    measures: dict[str, Any] = {}
    prints: dict[str, str] = {}
    if not cfg.get("metric"):
        raise UserError("metric: at least one is needed; `genaudit list metrics` shows them")
    add_parts(cfg)
    for name, metric, node in entries_of(cfg):
        if "measure" not in node:
            raise UserError(f"metric {metric}: its YAML needs `measure: ${{feature_model}}` or a measure with _target_")
        named: dict[str, str] = {}
        sole = None
        for own_name, own_node in {} if node.get("of") else _measure_nodes(node.measure).items():
            measure = instances.measure(own_node)
            check_measure(measure, metric)
            key = fingerprint(measure, settings.engine.precision)
            if key not in prints:
                # a measure of the same name but other settings gets a number
                namesakes = sum(1 for known in measures if known.split(" #")[0] == measure.name)
                prints[key] = f"{measure.name} #{namesakes + 1}" if namesakes else measure.name
                measures[prints[key]] = measure
            named[own_name] = prints[key]
            sole = measure if own_name == SOLE else None
        networks = {network_of(getattr(measures[each], "feature_model", None)) for each in named.values()}
        network = networks.pop() if len(networks) == 1 else ""
        fn = (functions or {}).get(metric)
        specs[name] = make_spec(name, node, named, isinstance(sole, Embedding), network, fn)
    return specs, measures


def check_measure(measure: Any, metric: str) -> None:
    """Raises `UserError` where a measure, or its feature model, lacks what every one has; the message lists it."""
    from genaudit.backbones.feature_model import FeatureModel
    from genaudit.measures.measure import attachments_of

    cls = type(measure)
    # a class is asked: a property may load weights
    lacking = [name for name in METHODS if not hasattr(cls, name) and name not in getattr(measure, "__dict__", {})]
    if lacking:
        raise UserError(f"metric {metric}: its measure {cls.__qualname__} lacks {', '.join(lacking)}")
    for name, said in attachments_of(measure).items():
        _check_attachment(name, said, f"metric {metric}: {cls.__qualname__}")
    model = getattr(measure, "feature_model", None)
    if isinstance(model, FeatureModel):
        needed = ("build", "load_weights", "find_weights")
        lacking = [name for name in needed if getattr(type(model), name) is getattr(FeatureModel, name)]
        if lacking:
            raise UserError(f"feature_model: {type(model).__qualname__} lacks {', '.join(lacking)}")


def _check_attachment(name: Any, said: Any, whose: str) -> None:
    """Raises `UserError` where it is not a name, a type of numbers and a shape, whose lengths may be None."""
    try:
        dtype, shape = said
        lengths = all(length is None or (isinstance(length, int) and length > 0) for length in shape)
        right = lengths and np.dtype(dtype).name == dtype and np.dtype(dtype).kind in "biuf"
    except (TypeError, ValueError):
        right = False
    if not right or not str(name).isidentifier() or name == "digests":
        raise UserError(
            f"{whose} declares the attachment {name!r} as {said}; a name such as map, a type of NumPy and the lengths "
            'for one image are needed, as in ("float32", (16, 16))'
        )


def _measure_nodes(node: Any) -> dict[str, Any]:
    """The measures of a metric by the metric's own names, those set to null left out; `SOLE` where there is but one."""
    from omegaconf import DictConfig

    if not isinstance(node, DictConfig) or "_target_" in node:
        return {SOLE: node}
    return {str(name): node[name] for name in node if node[name] is not None}


def roles_of(measure: str, specs: Mapping[str, MetricSpec], roles: Mapping[str, Role]) -> set[str]:
    """The roles whose rows of a measure some metric takes; where moments stand for them nothing is measured."""
    return {
        role
        for spec in specs.values()
        if measure in spec.measures.values()
        for role in spec.role_parameters
        if role != "reference" or spec.moments_of(roles.get(role)) is None
    }


def definition_warnings(specs: Mapping[str, MetricSpec], measures: Mapping[str, Any]) -> list[ReportWarning]:
    """A warning for each network that metrics were measured on and that is not the one of their definition.

    Args:
        specs: the entries that were computed. measures: by name; features that were given have none.
    """
    found: dict[tuple[str, str], dict[str, str]] = {}
    for name, spec in specs.items():
        models = [getattr(measures.get(each), "feature_model", None) for each in spec.measures.values()]
        for model in models:
            if spec.defined_on is not None and model is not None:
                term, network = spec.defined_on
                if not is_network(model, network):
                    found.setdefault((model.name, network), {})[name] = term
    return [
        ReportWarning(OTHER_NETWORK, next(iter(terms)) if len(terms) == 1 else None, _sentence(model, network, terms))
        for (model, network), terms in found.items()
    ]


def network_of(model: Any) -> str:
    """The name of the feature model's YAML among those that files of moments name; "" for another, or none."""
    return next((name for name in STORED if model is not None and is_network(model, name)), "")


def is_network(model: Any, name: str) -> bool:
    """Whether a feature model is the network of a YAML of ours, whatever prepares images for it."""
    kind = type(model)
    # a model of another class need not be made, which may import torch
    return f"{kind.__module__}.{kind.__qualname__}" == _target(name) and model.identity() == _identity(name)


def is_defined(name: str) -> bool:
    """Whether genaudit has a feature model of this name that is one network, not any (`timm`)."""
    path = config_folder() / "feature_model" / f"{name}.yaml"
    node: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False) if path.is_file() else {"name": "???"}
    return "???" not in [each for each in node.values() if isinstance(each, str)]


def _sentence(model: str, network: str, terms: Mapping[str, str]) -> str:
    """`On efficientnet_lite0 fd is no FID and kd no KID, which are defined on fid_inception: ...`"""
    said = [f"{base_name(name)} is no {term}" for name, term in terms.items()]
    listed = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
    which = "which is" if len(said) == 1 else "which are"
    return (
        f"On {model} {listed}, {which} defined on {network} (feature_model={network}): compare with values on {model} "
        "alone."
    )


@functools.cache
def _identity(network: str) -> dict[str, Any] | None:
    """The identity of a feature model's YAML; None where genaudit has none of this name."""
    path = config_folder() / "feature_model" / f"{network}.yaml"
    if not path.is_file():
        return None
    node: Any = OmegaConf.load(path)
    node.offline = True  # it refers to a key of the run
    identity: dict[str, Any] = instantiate(node).identity()
    return identity


@functools.cache
def _target(network: str) -> str:
    """The class of a feature model's YAML; empty where genaudit has none of this name."""
    path = config_folder() / "feature_model" / f"{network}.yaml"
    node: Any = OmegaConf.load(path) if path.is_file() else {"_target_": ""}
    return str(node["_target_"])


def add_parts(cfg: Any) -> None:
    """Adds to a configuration the metrics that others of it are made of, as their YAML has them."""
    from omegaconf import OmegaConf, open_dict

    for name in cfg.metric:
        if not OmegaConf.is_dict(cfg.metric[name]):
            raise UserError(f"metric.{name} must be a mapping with fn and measure, got {cfg.metric[name]!r}")
    for name in [name for name in cfg.metric if cfg.metric[name].get("of")]:
        part = str(cfg.metric[name].of)
        path = config_folder() / "metric" / f"{part}.yaml"
        if "fn" in cfg.metric.get(part, ()):
            continue
        if not path.is_file():
            raise UserError(f"metric {name}: of={part}: there is no such metric")
        node: Any = OmegaConf.load(path)
        with open_dict(cfg):
            cfg.metric[part] = OmegaConf.merge(node[part], cfg.metric.get(part) or {})


def judge_composed(
    spec: MetricSpec, entries: Mapping[str, MetricEntry], reasons: Mapping[str, str], measures: Mapping[str, Any]
) -> MetricEntry | str:
    """The metric's entry for the report, or the reason why there is none.

    Args:
        entries: of the run's other metrics, with their floors. reasons: why others are absent. measures: by name.
    """
    lacking = next((name for name in reasons if base_name(name) == spec.of), None)
    if lacking is not None:
        return f"{lacking}: {reasons[lacking]}"
    parts: dict[str, MetricEntry] = {}
    for name, entry in entries.items():
        if base_name(name) == spec.of:
            model = getattr(measures.get(entry.measure), "feature_model", None)
            parts[name.partition("@")[2] or (entry.measure if model is None else _yaml_name(spec, model))] = entry
    keywords: dict[str, Any] = {}
    if isinstance(spec.fn, functools.partial) and (published := spec.fn.keywords.get("published")):
        models = {network: getattr(measures.get(e.measure), "feature_model", None) for network, e in parts.items()}
        keywords["published"] = {
            network: each
            for network, each in published.items()
            if models.get(network) is None or not is_defined(network) or is_network(models[network], network)
        }
    try:
        result = spec.fn(
            generated={
                network: Distance(entry.values[spec.of].value, entry.n["generated"], entry.real.get(spec.of))
                for network, entry in parts.items()
            },
            reference={network: entry.n.get("reference") or None for network, entry in parts.items()},
            **keywords,
        )
    except (Unavailable, ValueError) as reason:
        return str(reason)
    first = next(iter(parts.values()))
    return MetricEntry(spec.name, result, dict(first.n), " + ".join(dict.fromkeys(e.measure for e in parts.values())))


def _yaml_name(spec: MetricSpec, model: Any) -> str:
    """The name that a run's only network has among the published ones; else the model's own."""
    published = spec.fn.keywords.get("published") if isinstance(spec.fn, functools.partial) else None
    named = (str(name) for name in published or () if is_defined(str(name)) and is_network(model, str(name)))
    return next(named, str(model.name))
