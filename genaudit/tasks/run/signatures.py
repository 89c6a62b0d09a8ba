"""Settings of whatever a `_target_` makes, checked against the signature that will take them.

The annotations are the table: `k: Count = 5` says that metric.prdc.fn.k must be a positive integer. Kinds that are
not numbers, words, switches, or lists or mappings of these, are left to whoever is made.
"""

from __future__ import annotations

import difflib
import inspect
import math
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import hydra.utils
from omegaconf import OmegaConf

from genaudit.errors import UserError
from genaudit.stats.bounds import Among, Bounds


@dataclass(frozen=True)
class Check:
    """What a value must be, as it stands after "must be", and whether one is."""

    what: str
    accepts: Callable[[Any], bool]

    def __or__(self, other: Check) -> Check:
        return Check(f"{self.what} or {other.what}", lambda value: self.accepts(value) or other.accepts(value))

    def demand(self, key: str, value: Any) -> None:
        """Raises `UserError` where the value is not what it must be."""
        if not self.accepts(value):
            raise UserError(f"{key} must be {self.what}, got {shown(value)}")


def shown(value: Any) -> str:
    """A value as it is written in YAML."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return "an empty word" if value == "" else str(value)


def integer(bounds: Bounds | Among) -> Check:
    return Check(
        "an integer" if bounds == Bounds() else bounds.describe("integer"),
        lambda value: isinstance(value, int) and not isinstance(value, bool) and bounds.hold(value),
    )


def number(bounds: Bounds | Among) -> Check:
    return Check(
        "a number" if bounds == Bounds() else bounds.describe("number"),
        lambda value: (
            isinstance(value, (int, float))
            and not isinstance(value, bool)
            and not math.isnan(value)
            and bounds.hold(value)
        ),
    )


NULL = Check("null", lambda value: value is None)
SWITCH = Check("true or false", lambda value: isinstance(value, bool))
WORD = Check("a word", lambda value: isinstance(value, str) and value != "")


def one_of(*words: Any) -> Check:
    listed = [shown(word) for word in words]
    return Check(
        " or ".join([", ".join(listed[:-1]), listed[-1]] if len(listed) > 1 else listed),
        lambda value: any(type(value) is type(word) and value == word for word in words),
    )


def list_of(each: Check) -> Check:
    return Check(
        f"a list (each entry {each.what})",
        lambda value: isinstance(value, (list, tuple)) and all(map(each.accepts, value)),
    )


def mapping_of(each: Check) -> Check:
    return Check(
        f"a mapping (each value {each.what})",
        lambda value: isinstance(value, Mapping) and all(map(each.accepts, value.values())),
    )


# what Hydra itself reads in a node with `_target_`
OF_HYDRA = {
    "_partial_": SWITCH,
    "_recursive_": SWITCH,
    "_convert_": one_of("none", "partial", "object", "all"),
    "_args_": Check("a list", lambda value: isinstance(value, (list, tuple))),
}


def check_node(node: Any, prefix: str = "") -> None:
    """Checks the arguments of a node with `_target_` (a DictConfig or a dictionary); unknown targets are not judged.

    Raises:
        UserError: names the key and what was expected.
    """
    target = _target(node)
    if target is None:
        return
    hints = {**hints_of(target), **OF_HYDRA}
    for key in list(node):
        value = node[key]
        if isinstance(value, Mapping) and "_target_" in value:
            check_node(value)
        elif key in hints and (key in OF_HYDRA or not str(key).startswith("_")):
            hints[key].demand(_full_key(node, str(key), prefix), plain(value))


def unknown_key(node: Any) -> str | None:
    """What is wrong with the first argument of a node with `_target_` that its target does not take, in a sentence."""
    target, names = _target(node), []
    for each in target.__mro__ if inspect.isclass(target) else [target]:
        function = vars(each).get("__init__") if inspect.isclass(target) else each
        parameters = list(inspect.signature(function).parameters.values()) if function else []
        names += [each.name for each in parameters if each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD)]
        if parameters and all(each.kind is not each.VAR_KEYWORD for each in parameters):
            break
    else:
        return None
    known = [name for name in dict.fromkeys(names) if name != "self"]
    wrong = next((str(key) for key in node if not str(key).startswith("_") and key not in known), None)
    if wrong is None or target is None:
        return None
    full = _full_key(node, wrong, "")
    close = difflib.get_close_matches(wrong, known, n=1)
    meant = f"did you mean {close[0]}?" if close else f"it has {', '.join(known)}"
    root = node._get_root() if hasattr(node, "_get_root") else {}
    preset = (root.get("preset") or {}).get("name") if isinstance(root, Mapping) else None
    by = f". preset={preset} sets keys of its own network: ~{full} leaves this one out" if preset else ""
    return f"{full}: {target.__name__} has no such key; {meant}{by}"


def hints_of(target: Callable[..., Any]) -> dict[str, Check]:
    """A check for each argument of a callable whose annotation says what it takes.

    A class that hands further arguments on (`**shared`) is asked together with those that it inherits from.
    """
    if not inspect.isclass(target):
        return _hints(target)
    checks: dict[str, Check] = {}
    for each in target.__mro__:
        if "__init__" in vars(each):
            checks = {**_hints(vars(each)["__init__"]), **checks}
            parameters = inspect.signature(vars(each)["__init__"]).parameters.values()
            if all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in parameters):
                break
    return checks


def _hints(function: Callable[..., Any]) -> dict[str, Check]:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
    names = vars(sys.modules.get(getattr(function, "__module__", ""), types.SimpleNamespace()))
    checks = {name: _check_of(_evaluated(each.annotation, names)) for name, each in parameters.items()}
    return {name: check for name, check in checks.items() if check is not None}


def _evaluated(annotation: Any, names: Mapping[str, Any]) -> Any:
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, dict(names))  # an annotation of our own or of the user's own code
    except Exception:  # imported for the type checker alone
        return None


def _check_of(hint: Any) -> Check | None:
    if get_origin(hint) is Annotated:
        base, *rest = get_args(hint)
        bounds = next((each for each in rest if isinstance(each, (Bounds, Among))), Bounds())
        return {int: integer, float: number}[base](bounds) if base in (int, float) else _check_of(base)
    if hint is bool:
        return SWITCH
    if hint is int:
        return integer(Bounds())
    if hint is float:
        return number(Bounds())
    if hint is str:
        return WORD
    if hint is type(None):
        return NULL
    if get_origin(hint) is Literal:
        return one_of(*get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return _any_of([_check_of(each) for each in get_args(hint)])
    return _list_check(hint)


def _any_of(checks: Sequence[Check | None]) -> Check | None:
    result: Check | None = None
    for check in checks:
        if check is None:
            return None
        result = check if result is None else result | check
    return result


def _list_check(hint: Any) -> Check | None:
    """Of list[int], tuple[float, ...], tuple[int, int], Sequence[str], Mapping[str, float]."""
    if get_origin(hint) is Mapping:
        of_values = _check_of(get_args(hint)[1])
        return None if of_values is None else mapping_of(of_values)
    if get_origin(hint) not in (list, tuple, Sequence):
        return None
    inner = [_check_of(each) for each in get_args(hint) if each is not Ellipsis]
    if not inner or any(check is None or check.what != inner[0].what for check in inner):  # type: ignore[union-attr]
        return None
    assert inner[0] is not None
    return list_of(inner[0])


def _target(node: Any) -> Callable[..., Any] | None:

    path = node.get("_target_") if isinstance(node, Mapping) or hasattr(node, "get") else None
    if callable(path):
        return path
    try:
        found = hydra.utils.get_object(str(path)) if path else None
    except Exception:  # whoever makes the object says what is wrong with its name
        return None
    return found if callable(found) else None


def plain(value: Any) -> Any:
    """Lists and dictionaries of a configuration as Python's own."""

    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _full_key(node: Any, key: str, prefix: str) -> str:
    full = getattr(node, "_get_full_key", None)
    return str(full(key)) if full is not None and not prefix else ".".join(filter(None, (prefix, key)))
