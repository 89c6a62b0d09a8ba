"""Hydra's exceptions as one sentence for the person who typed the command."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from genaudit.composing import compose
from genaudit.config_files import installed

# keys of older versions: what they are called today
RENAMED = {
    r"^(piad|table)\.schedule\b": r"\1.recipe",
    r"^((?:piad|table)\.recipe)\.lr(_critics)?$": r"\1.learning_rate\2",
}
Holders = Callable[[str, list[Path]], list[str]]


def explain(
    error: Exception, verb: str, arguments: list[str], configs: Path, metrics_with: Holders = lambda value, folders: []
) -> str:
    """What was wrong with which key, and what was expected.

    Args:
        error: what Hydra raised while it composed the configuration.
        verb: the verb. arguments: as given to Hydra. configs: genaudit's configuration folder.
        metrics_with: the metrics that have a value of a name, of those in some folders of configurations.

    Raises:
        Exception: `error` itself, where it is not about the configuration.
    """
    from hydra.errors import HydraException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    text = str(error).strip()
    if isinstance(error, OverrideParseException):
        return f"cannot read the argument {error.override!r}: settings are written key=value, lists key=[a,b]"
    if isinstance(error, MissingConfigException):
        return _unknown_option(error, arguments, configs, metrics_with)
    if found := re.search(r"Could not (?:override|append to config|delete from config)[^']*'([^']+)'", text):
        return _unknown_key(found.group(1), verb, configs)
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        return " ".join(text.split())
    if isinstance(error, YAMLError):
        return f"a YAML file cannot be read: {' '.join(text.split())}"
    if isinstance(error, UnicodeDecodeError) and (path := _not_utf8(arguments)) is not None:
        return f"{path} is not UTF-8 text ({error.reason}); a YAML file must be"
    if _raised_by(error) in ("hydra", "omegaconf", "yaml", "antlr4"):
        return f"the arguments make no configuration ({' '.join(text.split())}): settings are written key=value"
    raise error


def _raised_by(error: Exception) -> str:
    """The package whose code raised an exception."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]


def _unknown_key(key: str, verb: str, configs: Path) -> str:
    known = _known_keys(verb, configs)
    close = [renamed(key)] if renamed(key) != key else difflib.get_close_matches(key, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"`genaudit {verb} --help` names the keys"
    return f"unknown key {key!r}: {hint}"


def renamed(key: str) -> str:
    """A key of an older version by its name of today; any other as it is."""
    for old, new in RENAMED.items():
        key = re.sub(old, new, key)
    return key


def _known_keys(verb: str, configs: Path) -> list[str]:

    return list(_flat(compose(configs, verb)))


def _flat(node: Any, prefix: str = "") -> list[str]:
    from omegaconf import DictConfig, OmegaConf

    keys = []
    for key in node:
        name = f"{prefix}{key}"
        keys.append(name)
        if not OmegaConf.is_missing(node, key) and isinstance(child := node._get_node(key), DictConfig):
            keys += _flat(child, f"{name}.") if not child._is_none() and not child._is_interpolation() else []
    return keys


def _unknown_option(error: Any, arguments: list[str], configs: Path, metrics_with: Holders) -> str:
    group, _, option = str(error.missing_cfg_file or "").rpartition("/")
    if not group:
        return " ".join(str(error).split())
    folders = [configs, *_own_folders(arguments), *(plugin.folder for plugin in installed())]
    options = sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})
    close = difflib.get_close_matches(option, options, n=1)
    if group == "metric" and (holders := metrics_with(option, folders)):
        return f"metric {option!r} is a value of {' and '.join(holders)}: write metric=[{','.join(holders)}]"
    hint = f"; did you mean {close[0]}?" if close else "."
    if group == "feature_model":
        hint += f" A model of timm is written feature_model=timm feature_model.name={option}."
    return f"unknown {group} {option!r}{hint} There are: {', '.join(options)}"


def _not_utf8(arguments: list[str]) -> Path | None:
    """The first YAML file of the user's own folders that is no UTF-8 text."""
    for path in sorted(path for folder in _own_folders(arguments) for path in folder.rglob("*.yaml")):
        try:
            path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            return path
        except OSError:
            continue
    return None


def _own_folders(arguments: list[str]) -> list[Path]:
    folders = []
    for switch, value in itertools.pairwise(arguments):
        if switch in ("--config-dir", "-cd"):
            folders.append(Path(value))
    return [*folders, *(Path(a.partition("=")[2]) for a in arguments if a.startswith("--config-dir="))]
