"""Stored moments: whether they are of the run's networks, and of images that were prepared as the run prepares them.

A Fréchet distance between features of two networks, or of one network that saw images resized in two ways, is a number
about the tools. `genaudit moments` writes weights and preparation into its files; an entry of the registry says them of
another tool's. Files that say nothing bring a warning.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from genaudit.backbones.feature_model import FeatureModel
from genaudit.config_files import config_folders
from genaudit.data import ImageSet, Moments
from genaudit.errors import UserError
from genaudit.measures.measure import Measure, features_fingerprint
from genaudit.reports.report import ReportWarning
from genaudit.tasks.run.instantiate import instantiate
from genaudit.tasks.run.judging import MetricSpec
from genaudit.tasks.run.sources import Entry
from genaudit.tasks.run.specs import is_network

Specs = Mapping[str, MetricSpec]


def check_entry(entry: Entry, specs: Specs, measures: Mapping[str, Any]) -> dict[str, MetricSpec]:
    """Refuses a registered reference of other networks or preparations, before it is fetched; => the entries, those on
    one of its networks told so.

    Raises:
        UserError: says which words measure with the reference's network.
    """
    found = dict(specs)
    if "moments" not in entry.holds:
        return found
    others: list[str] = []
    matched = False
    for name, spec in specs.items():
        model = _model(spec, measures)
        if not spec.accepts_moments or "reference" not in spec.role_parameters or model is None:
            continue
        network = next((each for each in entry.networks if is_network(model, each)), None)
        if network is None:
            others.append(model.name)
            continue
        own, theirs = preparation_of(model), expected_preparation(network, entry.networks[network])
        if own != theirs:
            raise UserError(
                f"reference={entry.name} holds moments of images that were prepared for {network} otherwise "
                f"than in this run ({difference(theirs, own)}); {entry.needs} prepares them alike"
            )
        matched = True
        found[name] = replace(spec, network=network)
    if others and not matched and "images" not in entry.holds:
        raise UserError(
            f"reference={entry.name} holds moments of {' and '.join(entry.networks)}, and this run measures with "
            f"{' and '.join(dict.fromkeys(others))}; {entry.needs} measures with it"
        )
    return found


def other_moments(role: Moments, specs: Specs, measures: Mapping[str, Any]) -> dict[str, str]:
    """The entries that the moments of a file of `genaudit moments` are not for, with reasons; others take them.

    Raises:
        UserError: they are for none, or their images were prepared otherwise.
    """
    if not role.about.get("fingerprint"):
        return {}
    reasons: dict[str, str] = {}
    takers = 0
    for name, spec in specs.items():
        taken, model = spec.moments_of(role), _model(spec, measures)
        if taken is None or model is None:
            continue
        weights, network = taken.about.get("weights_sha256", ""), taken.about.get("feature_model", "")
        if weights != model.weights.sha256:
            reasons[name] = (
                f"reference: {taken.source} holds moments of {network}{_weights(weights)}, and this run measures with "
                f"{model.name}{_weights(model.weights.sha256)}"
            )
            continue
        takers += 1
        stored = taken.about.get("preparation", "")
        if stored and stored != preparation_of(model):
            raise UserError(
                f"reference: {taken.source} holds moments of images that were prepared for {network} otherwise "
                f"than in this run ({difference(stored, preparation_of(model))}); set the keys of feature_model alike, "
                "or make the file again with `genaudit moments`"
            )
    if reasons and not takers:
        raise UserError(f"{next(iter(reasons.values()))}; give the same feature_model, or make a file of this one")
    return reasons


def _model(spec: MetricSpec, measures: Mapping[str, Any]) -> FeatureModel | None:
    models = [getattr(measures[each], "feature_model", None) for each in spec.measures.values()]
    return models[0] if len(models) == 1 else None


def _weights(sha256: str) -> str:
    return f" (weights {sha256[:12]})" if sha256 else ""


def preparation_of(model: FeatureModel) -> str:
    """How a feature model's images are resized and normalised, as canonical JSON."""
    described = {"resize": model.recipe.describe(), "mean": list(model.mean), "std": list(model.std)}
    return json.dumps(described, sort_keys=True)


def expected_preparation(network: str, keys: Mapping[str, Any]) -> str:
    """The same of a network's YAML with some keys set.

    Raises:
        UserError: there is no such YAML, or it has no such keys.
    """
    return preparation_of(_made(network, json.dumps(dict(keys), sort_keys=True)))


@functools.lru_cache(maxsize=64)
def _made(network: str, keys: str) -> FeatureModel:
    from omegaconf import OmegaConf

    for _, folder in config_folders():
        path = folder / "feature_model" / f"{network}.yaml"
        if path.is_file():
            node: Any = OmegaConf.merge(OmegaConf.load(path), json.loads(keys), {"offline": True})
            model: FeatureModel = instantiate(node)
            return model
    raise UserError(f"networks: there is no feature model {network}; `genaudit list feature_models` shows them")


def difference(theirs: str, own: str) -> str:
    """What two preparations differ in: `size 224, here 299; tool none, here clean-fid`."""
    first, second = _flat(theirs), _flat(own)
    keys = [key for key in (first | second) if first.get(key) != second.get(key) and key != "algorithm"]
    said = [f"{key} {first.get(key, 'none')}, here {second.get(key, 'none')}" for key in keys]
    return "; ".join(said) or "its description is of another version"


def _flat(preparation: str) -> dict[str, str]:
    try:
        found = json.loads(preparation)
        words = {str(key): str(value)[:60] for key, value in found["resize"].items()}
        return words | {key: "/".join(f"{float(each):.4g}" for each in found[key]) for key in ("mean", "std")}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {"preparation": preparation[:200]}


def moments_warnings(
    measures: Mapping[str, Measure], metrics: Mapping[str, tuple[str, Moments]], precision: str
) -> list[ReportWarning]:
    """What must be said of a reference that is moments: they must come from the features that the run measures.

    Args:
        measures: by name. metrics: metric => its measure's name and the moments that it took.
    """
    warnings = []
    for metric, (name, given) in metrics.items():
        if name not in measures:
            continue
        own = getattr(measures[name], "feature_model", None)
        label = name if own is None else own.name
        if given.by_network:
            continue  # of a network that the file's kind names: `stored_moments`, or the metric was not computed
        if not given.about.get("fingerprint"):
            message = (
                f"{given.source} does not say which network, weights and resize its moments come from. The value is a "
                f"distance only if they are those of {label} in this run."
            )
            warnings.append(ReportWarning("moments-of-unknown-features", metric, message))
        elif given.about["fingerprint"] != features_fingerprint(measures[name], precision):
            model, weights = given.about.get("feature_model", ""), given.about.get("weights_sha256", "")
            same = own is not None and weights == own.weights.sha256
            if own is not None and same and given.about.get("preparation") == preparation_of(own):
                how, what = (
                    "the same network and resize, but another precision or version of it",
                    "includes what that moves",
                )
            else:
                how = "the same weights but another resize, normalisation or precision" if same else "other weights"
                what = "is no distance between the two sets of images"
            message = (
                f"{given.source} holds moments of {model} ({how}), and this run measures with {label}: the value "
                f"{what}."
            )
            warnings.append(ReportWarning("moments-of-other-features", metric, message))
    return warnings


def stored_moments(
    reference: ImageSet, takers: Mapping[str, tuple[str, Moments]], takes: Mapping[str, Mapping[str, bool]]
) -> list[ReportWarning]:
    """What each metric took of a reference that holds images and moments.

    Args:
        reference: the role. takers: as for `moments_warnings`. takes: metric => the roles that it takes.
    """
    others = [name for name, roles in takes.items() if "reference" in roles and name not in takers]
    said = [f"{', '.join(takers)} took the moments" if takers else "no metric took the moments"]
    said += [f"{', '.join(others)} the images"] if others else []
    message = (
        f"{reference.source} holds images and moments of FID's Inception: {' and '.join(said)}. The moments are of "
        "images resized as TensorFlow does: preprocessing=torch-fidelity resizes the samples alike."
    )
    return [ReportWarning("stored-moments", None, message)]
