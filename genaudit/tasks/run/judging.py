"""Metrics called with the rows of the roles that they name; for resamplings their values alone.

A metric's `fn` is any callable with keyword arguments named after roles; `confidence`, `seed` and `device` are passed
where it takes them, `classes`, a dictionary of the class of each image by role, of those roles that name classes, and
`attachments`, what the measure keeps beside the rows, by role and name, read when it is asked for. A role argument
without a default is required: where that role is not played the metric is skipped and the report says why.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from genaudit.data import FeatureSet, ImageSet, Moments
from genaudit.data.columns import CLASS
from genaudit.errors import UserError, reason_of
from genaudit.metrics.result import ROLES, Unavailable, base_name
from genaudit.reports.report import MetricEntry
from genaudit.reports.values import describe
from genaudit.tasks.run.measuring import GIVEN, Measurements
from genaudit.tasks.run.roles import Role
from genaudit.tasks.run.settings import Settings
from genaudit.verdict.real_floor import Mode

ROLE_TEXTS = {
    "reference": "reference= (real images)",
    "train": "train= (the training images)",
    "anomalies": "anomalies= (out-of-distribution images)",
}
SOLE = ""  # the name of a metric's measure where it has only one
CHEAP = ("permutations", "bootstraps", "relabellings")  # what only intervals and p-values need
Values = Callable[[Any], Mapping[str, float]]


@dataclass(frozen=True)
class MetricSpec:
    """A metric of the configuration: its function, and the measures whose rows it takes.

    Attributes:
        measures: the metric's own name of each measure => the run's. With only one, `SOLE`, a role's argument is its
            rows; with several it is a dictionary of rows by the metric's names.
        of_features: rows are a feature model's embedding, which features given in place of images can stand for.
        accepts_moments: `reference` may be a mean and a covariance: of features ("features"), of spatial features
            ("spatial") or neither ("").
        one_of: roles that `fn` does without one by one, but not without all of them.
        defined_on: what the metric's authors call it and the feature model that it is defined on (FID, fid_inception).
        network: the name of the feature model's YAML, where stored moments may name it; else "".
        of: the metric whose values on every network it is made of (`composed`); else "".
        real: how real images play generated ones for it (`genaudit.verdict.real_floor`): auto, halves or none.
        by_class: whether it is sound with the few images of a class (`by=class`).
    """

    name: str
    fn: Callable[..., Any]
    measures: Mapping[str, str]
    of_features: bool
    accepts_moments: str
    one_of: tuple[str, ...] = ()
    defined_on: tuple[str, str] | None = None
    real: Mode = "auto"
    network: str = ""
    by_class: bool = False
    of: str = ""

    @property
    def measure(self) -> str:
        """What the reports name as the metric's measure."""
        return " + ".join(self.measures.values())

    def moments_of(self, role: Role | None) -> Moments | None:
        """Those moments of a role that stand for the metric's rows; None where it takes none, or the role has none."""
        stored = role.moments if isinstance(role, ImageSet) else role
        if not isinstance(stored, Moments) or not self.accepts_moments:
            return None
        own = stored.by_network.get(self.network) if stored.by_network else stored
        return own if own is None or self.accepts_moments == "features" else own.spatial

    @property
    def role_parameters(self) -> dict[str, bool]:
        """The roles that `fn` takes, and whether each is required."""
        parameters = parameters_of(self.fn)
        return {role: parameters[role].default is inspect.Parameter.empty for role in ROLES if role in parameters}


def make_spec(
    name: str,
    node: Any,
    measures: Mapping[str, str],
    of_features: bool,
    network: str = "",
    given: Callable[..., Any] | None = None,
) -> MetricSpec:
    """A metric from its YAML node `{measure, fn}`, or of a given function; other arguments as in `MetricSpec`.

    Raises:
        UserError: the node has no `fn`, or its function names no role.
    """
    from genaudit.tasks.run.instantiate import instantiate

    if "fn" not in node:
        raise UserError(f"metric {name}: its YAML needs `fn: {{_target_: package.module.function, _partial_: true}}`")
    fn = given or (_function(node.fn) if isinstance(node.fn, str) else instantiate(node.fn))
    if not callable(fn):
        raise UserError(f"metric {name}: fn is not callable; does its YAML lack `_partial_: true`?")
    moments, one_of = _accepted_moments(name, node.get("accepts_moments", False)), tuple(node.get("one_of", ()))
    real, defined_on = _real(name, node.get("real", "auto")), _definition(name, node.get("defined_on"))
    by_class, of = node.get("by_class", False) is True, str(node.get("of") or "")
    spec = MetricSpec(name, fn, measures, of_features, moments, one_of, defined_on, real, network, by_class, of)
    if not spec.role_parameters:
        raise UserError(f"metric {name}: its function takes none of the arguments {', '.join(ROLES)}")
    return spec


def why_not(spec: MetricSpec, roles: Mapping[str, Role]) -> str | None:
    """Why a metric cannot be computed from these roles; None where it can."""
    for role, required in spec.role_parameters.items():
        if role not in roles and required:
            return f"needs {ROLE_TEXTS.get(role, role + '=')}"
        if spec.of:
            continue  # its parts say what they take
        played = roles.get(role)
        if isinstance(played, Moments) and not spec.accepts_moments:
            return f"needs images or features as {role}; {role} holds only mean and covariance"
        if isinstance(played, Moments) and spec.moments_of(played) is None and played.by_network:
            return f"needs moments of its own network; {role} holds those of {' and '.join(played.by_network)}"
        if isinstance(played, Moments) and spec.moments_of(played) is None:
            return f"needs images as {role}, or moments of spatial features (mu_s and sigma_s), which {role} lacks"
        if isinstance(played, FeatureSet) and not spec.of_features:
            return f"needs images; {role} holds features"
    if spec.one_of and not set(spec.one_of) & set(roles):
        return f"needs {' or '.join(f'{role}=' for role in spec.one_of)}"
    return None


def judge(spec: MetricSpec, measurements: Measurements, settings: Settings) -> MetricEntry | str:
    """The metric's entry for the report, or the reason why there is none."""
    of_features = GIVEN in measurements.rows
    rows = rows_of(spec, measurements)
    arguments: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for role in spec.role_parameters:
        images = measurements.roles.get(role)
        stored = spec.moments_of(images) if role == "reference" else None
        if stored is not None:
            arguments[role] = stored
            counts[role] = stored.n or 0
        elif role in rows:
            arguments[role] = rows[role]
            counts[role] = len(images) if isinstance(images, ImageSet) else len(rows[role])
    moments = arguments.get("reference")
    if isinstance(moments, Moments) and "generated" in rows and len(moments.mu) != rows["generated"].shape[1]:
        return (
            f"reference: {moments.source} holds moments of {len(moments.mu)} features, the generated images have "
            f"{rows['generated'].shape[1]}; moments of the same feature model are needed"
        )
    parameters = parameters_of(spec.fn)
    common = {
        **{"confidence": settings.confidence, "seed": settings.seed, "device": settings.engine.device},
        **({"classes": _classes(measurements.roles)} if "classes" in parameters else {}),
        "attachments": {} if of_features else _by_role(spec, measurements.attachments),
    }
    already = spec.fn.keywords if isinstance(spec.fn, functools.partial) else {}
    arguments |= {key: value for key, value in common.items() if key in parameters and key not in already}
    try:
        result = spec.fn(**arguments)
    except (Unavailable, ValueError) as reason:
        return str(reason)
    return MetricEntry(spec.name, result, counts, GIVEN if of_features else spec.measure)


def _classes(roles: Mapping[str, Role]) -> dict[str, list[str]]:
    """The class of each image by role, of the roles that name classes."""
    columns = {role: images.column(CLASS) for role, images in roles.items() if not isinstance(images, Moments)}
    return {role: names for role, names in columns.items() if names is not None}


def rows_of(spec: MetricSpec, measurements: Measurements) -> dict[str, Any]:
    """What each role's argument is: its rows, or its rows by the metric's names of its measures."""
    if GIVEN in measurements.rows:
        return measurements.rows[GIVEN]
    return _by_role(spec, measurements.rows)


def _by_role(spec: MetricSpec, by_measure: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """What the metric's measures gave of each role; of several measures by the metric's names of them."""
    if SOLE in spec.measures:
        return by_measure.get(spec.measures[SOLE], {})
    by_role: dict[str, Any] = {}
    for name_in_metric, measure in spec.measures.items():
        for role, given in by_measure.get(measure, {}).items():
            by_role.setdefault(role, {})[name_in_metric] = given
    return by_role


def _definition(metric: str, given: Any) -> tuple[str, str] | None:
    if given is None:
        return None
    pairs = list(given.items()) if hasattr(given, "items") else []
    if len(pairs) != 1:
        raise UserError(f"metric {metric}: defined_on={given}: one name and its feature model, {{FID: fid_inception}}")
    return str(pairs[0][0]), str(pairs[0][1])


def _real(metric: str, given: Any) -> Mode:
    if given not in ("auto", "halves", "none"):
        raise UserError(f"metric {metric}: real must be auto, halves or none, got {given}")
    mode: Mode = given
    return mode


def _accepted_moments(metric: str, given: Any) -> str:
    kinds = {False: "", True: "features", "features": "features", "spatial": "spatial"}
    if given not in kinds:
        raise UserError(f"metric {metric}: accepts_moments={given}: true, false or spatial is needed")
    return kinds[given]


def _function(path: str) -> Callable[..., Any]:
    import hydra.utils

    try:
        return hydra.utils.get_method(path)
    except Exception as error:
        raise UserError(f"fn: {path} cannot be imported ({reason_of(error)})") from None


def parameters_of(fn: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """What a metric's function takes, by name."""
    return inspect.signature(fn).parameters


def values_of(
    metric: str, fn: Callable[..., Any], options: Mapping[str, Any], *, confidence: float, seed: int
) -> Callable[..., Values]:
    """A metric's values of generated rows, without what only its intervals need where that is dear.

    A metric's module may hold `prepared`: it takes the other roles' rows and the metric's settings, by their names, and
    returns a function of generated rows that gives the values by name, with all that does not depend on these rows
    done once. Where there is none the metric's function itself is called.

    Args:
        fn: the metric's function or a partial of it. options: settings beside those of the partial.

    Returns:
        called with the other roles' rows by keyword: a function of the generated rows.
    """
    inner = fn.func if isinstance(fn, functools.partial) else fn
    settings = {**(fn.keywords if isinstance(fn, functools.partial) else {}), **options}
    prepared = getattr(sys.modules.get(inner.__module__), "prepared", None) if inner.__name__ == "judge" else None
    taken = parameters_of(prepared or inner)
    settings = {**{"confidence": confidence, "seed": seed}, **settings} | dict.fromkeys(CHEAP, 1)
    settings = {key: each for key, each in settings.items() if key in taken}

    def fixed(**rows: Any) -> Values:
        given = {**settings, **{key: each for key, each in rows.items() if key in taken}}
        if prepared is not None:
            values: Values = prepared(**given)
            return values
        return lambda generated: {
            name: each.value
            for name, each in describe(inner(generated=generated, **given), base_name(metric)).values.items()
        }

    return fixed
