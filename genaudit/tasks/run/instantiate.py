"""Objects from YAML nodes with `_target_`, each distinct configuration made once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import hydra.utils
from omegaconf import DictConfig, OmegaConf

from genaudit.backbones.feature_model import FeatureModel
from genaudit.errors import UserError, reason_of
from genaudit.hydra_words import names_path
from genaudit.measures.embedding import Embedding
from genaudit.remote.address import is_remote
from genaudit.tasks.run.signatures import check_node, unknown_key

TARGET = "_target_"


def instantiate(node: Any, **given: Any) -> Any:
    """`hydra.utils.instantiate`, with the user's mistakes as `UserError`.

    Args:
        node: a configuration with `_target_`, or a dictionary without references. given: arguments that are objects
            already.
    """

    check_node(node)
    given = {**_fetched_paths(node, given), **given}
    try:
        if isinstance(node, dict) and _is_flat(node):  # a class and its arguments: Hydra takes 5 ms to say the same
            arguments = {key: value for key, value in node.items() if key != TARGET}
            return hydra.utils.get_object(node[TARGET])(**arguments, **given)
        return hydra.utils.instantiate(node, _convert_="all", **_trusted(hydra.utils), **given)
    except Exception as error:  # whatever a class raises, Hydra wraps
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, UserError):
            cause = cause.__cause__
        if cause is not None:
            raise cause from None
        first = _first_cause(error)
        target = node.get(TARGET, "a configuration node")
        if isinstance(first, ImportError):
            raise UserError(f"{target} cannot be imported ({reason_of(first)})") from error
        if isinstance(first, TypeError) and "unexpected keyword" in str(first) and (wrong := unknown_key(node)):
            raise UserError(wrong) from error
        # Hydra's own text ends with advice to set one of its variables
        text = " ".join(str(first).partition(", set env var HYDRA_FULL_ERROR")[0].split())
        raise UserError(f"{target} cannot be made from its YAML: {text}") from error


def _is_flat(node: Mapping[str, Any]) -> bool:
    """Whether no word of Hydra's but the target stands anywhere in a dictionary, and no value is missing."""
    if not isinstance(node.get(TARGET), str) or any(str(key).startswith("_") for key in node if key != TARGET):
        return False
    values = [value for key, value in node.items() if key != TARGET]
    while values:
        value = values.pop()
        if isinstance(value, dict):
            if TARGET in value:
                return False
            values += value.values()
        elif isinstance(value, list):
            values += value
        elif value == "???":
            return False
    return True


def _fetched_paths(node: Any, given: Any) -> dict[str, str]:
    """The node's keys that name files elsewhere (`checkpoint=https://...`), as paths on this machine."""
    named = (str(key) for key in node if key not in given and (key == "model" or names_path(str(key))))
    present = (key for key in named if not (OmegaConf.is_config(node) and OmegaConf.is_missing(node, key)))
    addresses = {key: str(node[key]) for key in present if is_remote(node[key])}
    if not addresses:
        return {}
    from genaudit.remote.here import here  # http.client and ssl, which few configurations need

    root = node._get_root() if isinstance(node, DictConfig) else OmegaConf.create()
    offline = bool(node.get("offline") or OmegaConf.select(root, "offline", default=False))
    return {key: str(here(address, what=key, offline=offline)[0]) for key, address in addresses.items()}


def _trusted(utils: Any) -> dict[str, Any]:
    """From Hydra 1.4 on targets are checked against a list, or their trust is stated.

    What comes here is genaudit's own YAML, an installed package's, or what the user gave on the command line or by
    --config-dir; `_target_`s of files (models, reports, image sets) never do (`genaudit.model_folder`).
    """
    unchecked = getattr(utils, "UNSAFE_DISABLE_EXECUTION_CHECKS", None)
    return {} if unchecked is None else {"_execution_whitelist_": unchecked}


def _first_cause(error: BaseException) -> BaseException:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


class Instances:
    """Measures and feature models made from YAML; equal configurations share one object, so weights load once."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def measure(self, node: Any) -> Any:
        """A metric's `measure` node as a Measure: a feature model stands for its embedding.

        Raises:
            UserError: the node is no mapping with `_target_`.
        """
        if not isinstance(node, DictConfig):
            raise UserError(f"a metric's measure must be a mapping with _target_, got {node!r}")
        made = self._make(node)
        if isinstance(made, FeatureModel):
            return self._made.setdefault(f"embedding {id(made)}", Embedding(made))
        return made

    def put(self, node: Any, made: Any) -> None:
        """What a configuration should stand for: an object that exists already."""
        self._made[_key(node)] = made

    def _make(self, node: Any) -> Any:

        key = _key(node)
        if key not in self._made:
            children = {
                name: self._make(node[name])
                for name in node
                if isinstance(node[name], DictConfig) and "_target_" in node[name]
            }
            self._made[key] = instantiate(node, **children)
        return self._made[key]


def _key(node: Any) -> str:

    return json.dumps(OmegaConf.to_container(node, resolve=True), sort_keys=True, default=str)
