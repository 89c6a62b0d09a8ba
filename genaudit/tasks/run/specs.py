"""The entries of a report: each metric on each of its networks, and the measures whose rows they take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from genaudit.errors import UserError
from genaudit.tasks.run.composed import add_parts
from genaudit.tasks.run.definitions import network_of
from genaudit.tasks.run.instantiate import Instances
from genaudit.tasks.run.judging import SOLE, MetricSpec, make_spec
from genaudit.tasks.run.networks import entries_of
from genaudit.tasks.run.roles import Role
from genaudit.tasks.run.settings import Settings


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


METHODS = ("name", "columns", "weights_sha256", "describe", "prepare", "open", "batch_size")


def check_measure(measure: Any, metric: str) -> None:
    """Raises `UserError` where a measure, or its feature model, lacks what every one has; the message lists it."""
    from genaudit.backbones.feature_model import FeatureModel

    cls = type(measure)
    # a class is asked: a property may load weights
    lacking = [name for name in METHODS if not hasattr(cls, name) and name not in getattr(measure, "__dict__", {})]
    if lacking:
        raise UserError(f"metric {metric}: its measure {cls.__qualname__} lacks {', '.join(lacking)}")
    model = getattr(measure, "feature_model", None)
    if isinstance(model, FeatureModel):
        needed = ("build", "load_weights", "find_weights")
        lacking = [name for name in needed if getattr(type(model), name) is getattr(FeatureModel, name)]
        if lacking:
            raise UserError(f"feature_model: {type(model).__qualname__} lacks {', '.join(lacking)}")


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
