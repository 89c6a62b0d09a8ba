"""What Python users hand over as objects: metrics that are functions, and networks that are modules or callables.

In the configuration each stands under its name; the object itself goes beside it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genaudit.errors import UserError
from genaudit.tasks.run.instantiate import Instances


@dataclass(frozen=True)
class Given:
    """Metrics by name => their functions, and the network; None where it is of the configuration."""

    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    network: Any = None

    def into(self, cfg: Any) -> None:
        """Adds the functions to the metrics of a configuration; they take rows of the feature model."""
        from omegaconf import open_dict

        if not self.functions:
            return
        with open_dict(cfg):
            if not cfg.get("metric"):
                cfg.metric = {}
            for name, fn in self.functions.items():
                cfg.metric[name] = {"measure": "${feature_model}", "fn": _path(fn)}

    def instances(self, cfg: Any) -> Instances:
        """Where the configuration's feature model is the network that was given."""
        made = Instances()
        if self.network is not None:
            made.put(cfg.feature_model, self.network)
        return made


def metrics_given(given: Any) -> tuple[list[str], dict[str, Callable[..., Any]]]:
    """Names and functions of `metrics=`: "fd", "fd,kd", a function, or a sequence of both.

    Raises:
        UserError: something else, a function without a name, or two of one name.
    """
    listed = given.strip("[] ").split(",") if isinstance(given, str) else [given] if callable(given) else given
    names: list[str] = []
    functions: dict[str, Callable[..., Any]] = {}
    for each in listed or []:
        if isinstance(each, str):
            names.append(each.strip())
        elif callable(each):
            name = _name(each)
            if name in functions or name in names:
                raise UserError(f"metrics= holds two of the name {name}")
            functions[name] = each
        else:
            raise UserError(f"metrics={given!r}: names are needed, such as ['fd', 'prdc'], or functions")
    if both := functions.keys() & set(names):
        raise UserError(f"metrics= holds two of the name {both.pop()}")
    return names, functions


def is_network(thing: Any) -> bool:
    """Whether `feature_model=` is an object and no name: a FeatureModel, an `nn.Module` or another callable."""
    if isinstance(thing, str) or (isinstance(thing, Sequence) and not callable(thing)):
        return False
    return thing is not None


def network_given(thing: Any, keys: dict[str, Any]) -> Any:
    """The feature model of an object; size, mean and std are taken out of `keys`.

    Raises:
        UserError: no network, or one of the three is missing.
    """
    from genaudit.backbones.feature_model import FeatureModel
    from genaudit.backbones.module_model import ModuleModel, lacking_methods

    if isinstance(thing, FeatureModel):
        return thing
    settings = {key.partition(".")[2]: keys.pop(key) for key in list(keys) if key.startswith("feature_model.")}
    missing = [name for name in ("size", "mean", "std") if name not in settings]
    if lacking := [] if isinstance(thing, type) else lacking_methods(thing):
        raise UserError(
            f"feature_model: a {type(thing).__name__} is no network, it lacks {', '.join(lacking)}; expected a name, "
            "an nn.Module or a callable (N, 3, S, S) => (N, D)"
        )
    if missing:
        raise UserError(
            f"feature_model is an object, and how images are prepared for it is not known: give "
            f"{', '.join(f'feature_model.{name}' for name in missing)}, or "
            "genaudit.ModuleModel(network, size=224, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])"
        )
    known = inspect.signature(ModuleModel).parameters
    if unknown := [name for name in settings if name not in known]:
        raise UserError(f"feature_model.{unknown[0]}: an object takes {', '.join(known)}")
    return ModuleModel(thing, **settings)


def described_network(network: Any) -> dict[str, Any]:
    """The overrides by which the configuration names a network that is an object."""
    recipe = network.recipe
    named = {"module": network.name, "size": recipe.size, "mean": list(network.mean), "std": list(network.std)}
    return {"feature_model": "module", **{f"feature_model.{key}": value for key, value in named.items()}}


def _name(fn: Any) -> str:
    inner = fn
    while isinstance(inner, functools.partial):
        inner = inner.func
    name = str(getattr(inner, "__name__", type(inner).__name__))
    if not name.isidentifier():
        raise UserError(f"metrics= holds a function without a name ({name}); give it one with def")
    return name


def _path(fn: Any) -> str:
    """How the report's configuration names a function."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return f"{getattr(fn, '__module__', '')}.{getattr(fn, '__qualname__', type(fn).__qualname__)}"
