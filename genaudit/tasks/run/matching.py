"""Whether stored moments are of the run's networks, and of images that were prepared as the run prepares them.

A Fréchet distance between features of two networks, or of one network that saw images resized in two ways, is a number
about the tools. `genaudit moments` writes weights and preparation into its files; an entry of the registry says them of
another tool's. Files that say nothing bring a warning (`genaudit.tasks.moments`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from genaudit.backbones.feature_model import FeatureModel
from genaudit.data import ImageSet, Moments
from genaudit.errors import UserError
from genaudit.tasks.run.definitions import is_network
from genaudit.tasks.run.judging import MetricSpec
from genaudit.tasks.run.preparation import difference, expected_preparation, preparation_of
from genaudit.tasks.run.references import Entry, named

Specs = Mapping[str, MetricSpec]


def entry_of(source: Any) -> Entry | None:
    """The registered reference behind a source, or behind what it was opened as."""
    moments = source.moments if isinstance(source, ImageSet) else source
    if isinstance(moments, Moments):
        return named(moments.about.get("reference"))
    return source if isinstance(source, Entry) else named(source)


def check_entry(entry: Entry | None, specs: Specs, measures: Mapping[str, Any]) -> dict[str, MetricSpec]:
    """Refuses a registered reference of other networks or preparations, before it is fetched; => the entries, those on
    one of its networks told so.

    Raises:
        UserError: says which words measure with the reference's network.
    """
    found = dict(specs)
    if entry is None or "moments" not in entry.holds:
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


def other_moments(role: Any, specs: Specs, measures: Mapping[str, Any]) -> dict[str, str]:
    """The entries that the moments of a file of `genaudit moments` are not for, with reasons; others take them.

    Raises:
        UserError: they are for none, or their images were prepared otherwise.
    """
    if not isinstance(role, Moments) or not role.about.get("fingerprint"):
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
                f"reference: {taken.source} holds moments of {network} (weights {weights[:12]}), and this run measures "
                f"with {model.name} (weights {model.weights.sha256[:12]})"
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
