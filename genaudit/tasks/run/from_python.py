"""A call from Python: a verb's configuration from values, and objects in place of names.

Metrics that are functions, and networks that are modules or callables, stand in the configuration under their names;
the object itself goes beside it.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genaudit import composing
from genaudit.config_files import config_folder
from genaudit.errors import UserError
from genaudit.hydra_errors import explain
from genaudit.hydra_words import in_grammar
from genaudit.network_words import with_networks
from genaudit.tasks.run.finished import metrics_with
from genaudit.tasks.run.instantiate import Instances
from genaudit.tasks.run.keys import check


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


def compose(verb: str, overrides: Sequence[str], config_dir: str | None = None) -> Any:
    """A verb's configuration with overrides in Hydra's grammar.

    Raises:
        genaudit.UserError: an unknown key or option, or a value that a key cannot have.
    """

    if wrong := [each for each in overrides if not isinstance(each, str)]:
        raise UserError(f"an override must be text such as 'seed=1', got {wrong[0]!r}")
    overrides = with_networks(overrides, verb)
    keys = [override.partition("=")[0].lstrip("+~") for override in overrides]
    arguments = ["--config-dir", config_dir, *overrides] if config_dir else list(overrides)
    try:
        cfg = composing.compose(config_folder(), verb, overrides, config_dir)
    except Exception as error:  # what is not about the configuration comes out of `explain` as it went in
        raise UserError(explain(error, verb, arguments, config_folder(), metrics_with)) from error
    check(verb, cfg, keys)
    return cfg


def described(source: Any) -> Any:
    """A source as the report's configuration names it: paths as they are, objects by type and shape."""

    if isinstance(source, (str, os.PathLike)):
        return str(source)
    if isinstance(source, (list, tuple)) and all(isinstance(item, (str, os.PathLike)) for item in source):
        return [str(item) for item in source]
    shape = getattr(source, "shape", None)
    kind = getattr(source, "__name__", None) or type(source).__name__
    return f"{kind} {tuple(shape)}" if shape is not None else f"{kind}"


def as_override(value: Any) -> str:
    """A Python value in Hydra's override grammar; strings arrive as they are, whatever they hold."""
    return in_grammar(value)
