"""Words of the command line, and values from Python, in Hydra's grammar: what is a path arrives as it was written.

Hydra's grammar gives brackets, commas, quotes, parentheses, backslashes and numbers a meaning, and OmegaConf `${...}`,
`~` and `???`. A path may hold any of them. So the values of keys that name paths are quoted and escaped, whatever they
hold; a value of another key is quoted where the grammar cannot read it.
"""

from __future__ import annotations

import functools
import glob
import os
import re
from pathlib import Path
from typing import Any

# A key names a path where its last part is one of these: reference, reference.path, generator.file, ...
PATH_NAMES = {
    *("generated", "reference", "train", "anomalies", "outliers", "images", "paths", "runs", "run", "baseline"),
    *("out", "store", "data", "labels", "column", "path", "root", "file", "folder", "checkpoint", "weights", "vae"),
    *("statistics", "density_model", "general_model", "piad_model", "finetune", "general"),
}  # fmt: skip
JOB = "${hydra:job.num}"
_RESOLVERS = ("oc.", "hydra:", "now:")
_WORD = re.compile(r"[A-Za-z_./][\w./-]*")  # in the grammar a string as it stands
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")  # https://host/file?key=value is no override
_SIMPLE = re.compile(r"[\w./:@%+-]*")


def names_path(key: str) -> bool:
    """Whether a key's value is a path (or a list of them)."""
    group, _, name = key.lstrip("+").rpartition(".")
    return name in PATH_NAMES and (group, name) != ("table", "images")  # a table's images are a number


def quoted(text: str) -> str:
    """Any text as a string of Hydra's grammar: backslashes before a quote, or at the end, are doubled."""
    return "'" + re.sub(r"(\\*)('|\Z)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), text) + "'"


def literal(text: str) -> str:
    """A path as a string of Hydra's grammar that OmegaConf doesn't interpolate and no one expands."""
    home = text.startswith("~") and not os.path.lexists(text) and os.path.expanduser(text) != text
    if text == "???" or (text.startswith("~") and not home):  # OmegaConf's missing value; no user's home
        text = os.path.abspath(text)
    return quoted(escaped(text))


def escaped(text: str) -> str:
    """Text that OmegaConf does not interpolate."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


def override_of(key: str, value: str, configs: Path, verb: str, *, sweeping: bool = False) -> str:
    """`key=value` in Hydra's grammar, as someone who typed it means it.

    Args:
        configs, verb: whose keys a `${...}` may refer to. sweeping: commas separate the values of a sweep.
    """
    if key.lstrip("+") == "require":
        return f"require={_rules(value, sweeping=sweeping)}"
    if not names_path(key):
        return f"{key}={value if value[:1] in ('[', '{') or sweeping or _readable(key, value) else quoted(value)}"
    if value in ("", "null"):
        return f"{key}={value}"
    if os.path.lexists(value):
        return f"{key}={literal(value)}"
    if value[0] in "'\"" and _readable(key, value):
        return f"{key}={value}"
    if value[0] == "[" and value[-1] == "]":
        return f"{key}={value}" if _readable(key, value) else f"{key}=[{_each(value[1:-1], configs, verb)}]"
    if value[0] == "{" and _readable(key, value):
        return f"{key}={value}"
    if sweeping and ("," in value or re.match(r"(choice|range|glob|interval|shuffle|sort)\(", value)):
        plain = not re.search(r"[][(){}'\"]", value)
        return f"{key}={_each(value, configs, verb)}" if plain or not _readable(key, value) else f"{key}={value}"
    return f"{key}={_path(value, configs, verb)}"


def _rules(value: str, *, sweeping: bool) -> str:
    """Rules (`genaudit gate`) of which the grammar cannot read some: each is quoted, and commas separate them."""
    if value == "null" or (value[:1] == "[" and _readable("require", value)):
        return value
    if value[:1] == "[" and value[-1:] == "]":
        each = re.findall(r"""(?:"[^"]*"|'[^']*'|[^,"'])+""", value[1:-1])
        return f"[{','.join(quoted(escaped(_unquoted(part.strip()))) for part in each)}]"
    if sweeping and _readable("require", value):
        return value
    return quoted(escaped(value))


def _unquoted(text: str) -> str:
    """Without the quotes around the whole of it."""
    return text[1:-1] if len(text) > 1 and text[0] in "'\"" and text.find(text[0], 1) == len(text) - 1 else text


def _each(values: str, configs: Path, verb: str) -> str:
    """Paths with commas between them, each quoted that is not already."""
    parts = [part.strip() for part in values.split(",")]
    if all(_WORD.fullmatch(part) and part not in ("true", "false", "nan", "inf") for part in parts):
        return values
    return ",".join(part if part == "null" or part[:1] in "'\"" else _path(part, configs, verb) for part in parts)


def _path(value: str, configs: Path, verb: str) -> str:
    return quoted(value) if _interpolates(value, known_keys(configs, verb)) else literal(value)


def _interpolates(value: str, keys: set[str]) -> bool:
    """Whether a `${...}` in it refers to a key of the configuration or to a resolver, and is no part of a name."""
    inner = re.findall(r"\$\{([^{}]*)\}", value)
    return any(each.startswith(_RESOLVERS) or each.split(".")[0] in keys for each in inner)


def is_override(word: str, configs: Path, verb: str, *, own_configs: bool = False) -> bool:
    """Whether a word is `key=value`, and no path that holds "=".

    It is an override where the verb knows the key, or where no such path is there; with "/" in an unknown key (and no
    folder of the user's own configurations) it is a path.
    """
    key, equals, _ = word.partition("=")
    if not equals or _ADDRESS.match(word):
        return False
    if re.split(r"[.@/]", key.lstrip("+~"))[0] in known_keys(configs, verb):
        return True
    if os.path.lexists(word) or (glob.has_magic(word) and glob.glob(word)):
        return False
    return own_configs or "/" not in key


@functools.cache
def known_keys(configs: Path, verb: str) -> set[str]:
    """The first parts of keys that a verb knows: those of its YAML files and the groups. No YAML is loaded."""
    files = [configs / f"{verb}.yaml", configs / "measuring.yaml"]
    found = {key for file in files if file.exists() for key in re.findall(r"(?m)^(\w+):", file.read_text())}
    return found | {path.name for path in configs.iterdir() if path.is_dir()} | {"hydra"}


def own_folders(overrides: list[str]) -> list[str]:
    """A sweep's overrides with `out` led on into a folder a job, unless the jobs' folders differ already."""
    from hydra.errors import HydraException

    try:
        parsed = [_parser().parse_override(each) for each in overrides]
    except HydraException:
        return overrides  # Hydra itself says what is wrong
    swept = {each.key_or_group for each in parsed if each.is_sweep_override()}
    return [
        f"out={','.join(quoted(_below(str(folder), JOB)) for folder in _folders(each))}"
        if each.key_or_group == "out" and not _apart(each, swept)
        else override
        for override, each in zip(overrides, parsed, strict=True)
    ]


def _folders(override: Any) -> list[Any]:
    if not override.is_sweep_override():
        return [override.value()]
    listed = getattr(override.value(), "list", None) or list(override.sweep_string_iterator())
    return [getattr(each, "text", each) for each in listed]


def _apart(override: Any, swept: set[str]) -> bool:
    """Whether an `out` is null, or differs for any two jobs of a sweep over the keys `swept`."""
    if override.is_sweep_override():
        return swept == {"out"}
    value = override.value()
    if value is None or "hydra:job.num" in str(value) or "hydra:job.override_dirname" in str(value):
        return True
    return bool(swept) and all(f"${{{key}}}" in str(value) for key in swept)


def _below(out: str, job: str) -> str:
    """The job's own folder of `out`; a file keeps its name in it."""
    folder, name = os.path.split(out)
    return os.path.join(folder, job, name) if name.endswith(".npz") else os.path.join(out, job)


def _readable(key: str, value: str) -> bool:
    """Whether Hydra's grammar can read `key=value`."""
    from hydra.errors import HydraException

    if _SIMPLE.fullmatch(value):
        return True
    try:
        _parser().parse_override(f"{key}={value}")
    except HydraException:
        return False
    return True


def _parser() -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create()


def from_python(key: str, value: Any) -> str:
    """`key=value` of a Python value; strings of keys that name paths are literal, others may interpolate."""
    return f"{key}={in_grammar(value, literal if names_path(key) else quoted)}"


def in_grammar(value: Any, text: Any = literal) -> str:
    """A Python value in Hydra's grammar; `text` writes its strings."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{in_grammar(item, text)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(in_grammar(item, text) for item in value) + "]"
    written: str = text(str(value))
    return written
