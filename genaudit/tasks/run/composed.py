"""Metrics that are made of another metric's values on every network of the run (`of: fd` in their YAML).

Such a metric measures nothing. Its function takes, by network, what the other metric's entries hold: `generated` the
values with their real floors, `reference` the numbers of reference images.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from genaudit.config_files import config_folder
from genaudit.errors import UserError
from genaudit.metrics.fdr import Distance
from genaudit.metrics.result import Unavailable, base_name
from genaudit.reports.report import MetricEntry
from genaudit.tasks.run.definitions import is_defined, is_network
from genaudit.tasks.run.judging import MetricSpec


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
