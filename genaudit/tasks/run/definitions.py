"""Metrics that are defined on one network and measured on another: what they are not, said once for each network."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf

from genaudit.config_files import config_folder
from genaudit.metrics.result import base_name
from genaudit.reports.networks import OTHER_NETWORK
from genaudit.reports.report import ReportWarning
from genaudit.tasks.run.instantiate import instantiate
from genaudit.tasks.run.judging import MetricSpec

STORED = ("fid_inception", "dinov2_l14")  # networks that files of moments name


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
