"""`feature_model=[a,b]` on the command line, in words that Hydra composes to one node per network.

`feature_model` is a config group, and a list of a group's options is merged into one node: of `[a,b]` only `b` would
be left. So a list becomes an empty choice and one option per network in a package of its own,

    feature_model=[] +feature_model@feature_model.a=a +feature_model@feature_model.b=b

and `feature_model.a.size=64` sets a key of one of them. `metric.fd.feature_model=a` likewise gives a metric networks
of its own, in the package `metric.fd.feature_model`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from genaudit.config_files import config_folder
from genaudit.errors import UserError

GROUP, PRESET = "feature_model", "preset"
SEVERAL = frozenset({"evaluate", "demo"})  # verbs that judge several networks
_OF_METRIC = re.compile(rf"metric\.\w+\.{GROUP}")
_WRITTEN = re.compile(rf"\+{GROUP}@((?:metric\.\w+\.)?{GROUP})(\.[\w-]+)?=(.*)")
_OPTION = re.compile(r"[\w/-]+")


def with_networks(overrides: Sequence[str], verb: str) -> list[str]:
    """Overrides in Hydra's grammar, lists of networks and metrics' own networks written as options of packages.

    Raises:
        UserError: no network, one twice, several where a verb takes one, or a key that does not say of which network.
    """
    overrides = [_one_preset(override) for override in overrides]
    _check_preset(overrides)
    written: list[str] = []
    several: dict[str, list[str]] = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not (key == GROUP or _OF_METRIC.fullmatch(key)) or value.lstrip()[:1] == "{":
            written.append(override)
            continue
        names = _names(key, value)
        if key == GROUP and names is None:
            written.append(override)
        elif key == GROUP and names is not None and len(names) == 1:
            written.append(f"{GROUP}={names[0]}")
        elif key != GROUP and (names is None or len(names) == 1):
            written.append(f"+{GROUP}@{key}={names[0] if names else value}")
        elif names is not None:
            if verb not in SEVERAL:
                raise UserError(f"{key}={value}: {verb} takes one network")
            several[key] = names
            written += [f"{GROUP}=[]"] if key == GROUP else []
            written += [f"+{GROUP}@{key}.{_package(name)}={name}" for name in names]
    for override in overrides:
        _check_sub_key(override, several)
    return written


def as_typed(words: Sequence[str]) -> list[str]:
    """The words that `with_networks` made those of: the command that repeats a run is shown as it was typed."""
    typed: dict[str, list[str]] = {}
    kept: list[str] = []
    for word in words:
        found = _WRITTEN.fullmatch(word)
        if found is None:
            kept.append(word)
            continue
        key, several, name = found.groups()
        if key not in typed and key != GROUP:
            kept.append(f"{key}=")  # its place
        typed.setdefault(key, []).append(name)
        if not several:
            kept[-1] = f"{key}={name}"
            del typed[key]
    lists = {key: f"{key}=[{','.join(names)}]" for key, names in typed.items()}
    return [lists.get(word.partition("=")[0], word) if word.endswith(("=", "=[]")) else word for word in kept]


def _names(key: str, value: str) -> list[str] | None:
    """The options of a list; None for a single option, or a sweep over several."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_override(f"{key}={value}")
    except HydraException:
        return None  # Hydra itself says what is wrong
    if parsed.is_sweep_override():
        if any(isinstance(getattr(each, "value", each), list) for each in getattr(parsed.value(), "list", [])):
            raise UserError(f"{key}={value}: a sweep has one network a run; several networks are one list, {key}=[a,b]")
        return None
    listed = parsed.value()
    if not isinstance(listed, list):
        return None
    names = [str(_text(each)) for each in listed]
    if not names:
        raise UserError(f"{key}=[] names no network; `genaudit list feature_models` shows them")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"{key}={value} names {twice} twice")
    if wrong := next((name for name in names if not _OPTION.fullmatch(name)), None):
        raise UserError(f"{key}={value}: {wrong} is no name of a network; `genaudit list feature_models` shows them")
    return names


def _one_preset(override: str) -> str:
    """`preset=[adm]` as `preset=adm`: of several Hydra would merge the settings, and the last one's name would stand.

    Raises:
        UserError: several presets.
    """
    key, _, value = override.partition("=")
    listed = value.strip()
    if key.lstrip("+") != PRESET or not listed.startswith("["):
        return override
    names = [name.strip() for name in listed.strip("[]").split(",") if name.strip()]
    if len(names) != 1:
        raise UserError(f"{PRESET}={value}: a run has one preset; --multirun {PRESET}={','.join(names)} runs each")
    return f"{key}={names[0]}"


def _check_preset(overrides: Sequence[str]) -> None:
    """Raises `UserError` where a preset of several networks meets `feature_model=`: all of them would be measured."""
    values = dict(each.lstrip("+").partition("=")[::2] for each in overrides)
    for name in values.get(PRESET, "").split(",") if GROUP in values else ():
        path = config_folder() / PRESET / f"{name.strip()}.yaml"
        own = (
            re.findall(rf"^  - /{GROUP}@{GROUP}\.(\w+):", path.read_text(encoding="utf-8"), re.M)
            if path.is_file()
            else []
        )
        if own:
            raise UserError(
                f"{GROUP}={values[GROUP]}: {PRESET}={name.strip()} is defined on {', '.join(own)}; omit {GROUP}=, or "
                f"omit {PRESET}= and name the metrics, metric=[...]"
            )


def _text(value: Any) -> Any:
    return getattr(value, "text", value)


def _package(name: str) -> str:
    return name.rpartition("/")[2]


def _check_sub_key(override: str, several: dict[str, list[str]]) -> None:
    """Raises `UserError` where a key lies in several networks and does not say in which."""
    key, _, value = override.partition("=")
    for group, names in several.items():
        rest = key.lstrip("+~").removeprefix(f"{group}.")
        if rest != key.lstrip("+~") and rest.split(".")[0] not in map(_package, names):
            raise UserError(
                f"{key}: {group} names several networks ({', '.join(names)}); {group}.{_package(names[0])}.{rest}="
                f"{value} sets it for one of them"
            )
