"""What distinguishes runs: the keys that were swept, as labels, and the step of training, where names or keys hold one.

Runs are read from report.json, whose `config` is resolved: a swept network shows in every metric that is judged on it,
and is named once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

FEW = 3  # differing settings of one key that a label lists
ROLES = ("generated", "reference", "train")
STEPS = re.compile(
    r"(?:^|[_/.=-])(?:step|steps|iter|iteration|epoch|kimg|ckpt|checkpoint)s?[_=-]?0*(\d+)", re.IGNORECASE
)


def swept(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The keys whose values differ over configurations, with their values as text, in the order of the first one.

    A node with a name is named by it. Keys that only follow another (a metric's measure follows feature_model) and the
    generated images are left out.

    >>> swept([{"seed": 0, "limit": 9, "generated": "a"}, {"seed": 1, "limit": 9, "generated": "b"}])
    {'seed': ['0', '1']}
    >>> swept([{"seed": n, "ais": {"seed": n, "chains": 4 - n}} for n in (0, 1)])
    {'seed': ['0', '1'], 'ais.chains': ['4', '3']}
    """
    found: dict[str, list[str]] = {}
    for key in dict.fromkeys(key for config in configs for key in config):
        values = [config.get(key) for config in configs]
        if key in ("generated", "metric") or _same(values):
            continue
        found |= _of_key(str(key), values)
    metrics = [config.get("metric") or {} for config in configs]
    if "feature_model" not in found and not _same(metrics):
        found |= _settings_of_metrics(metrics)
    # `anomaly.seed: ${seed}` follows the run's own key
    return {key: texts for key, texts in found.items() if "." not in key or found.get(key.rpartition(".")[2]) != texts}


def labels_of_swept(keys: Mapping[str, Sequence[str]], count: int) -> list[str]:
    """`seed=0, limit=500` a run; the last name of a dotted key is enough where no other ends alike."""
    ends = [key.rpartition(".")[2] for key in keys]
    short = {key: end if ends.count(end) == 1 else key for key, end in zip(keys, ends, strict=True)}
    return [", ".join(f"{short[key]}={values[place]}" for key, values in keys.items()) for place in range(count)]


def steps_of(labels: Sequence[str], keys: Mapping[str, Sequence[str]]) -> list[float] | None:
    """The step of each run: the number behind step, epoch, ... in its label, or the one number in which labels differ.

    None where some run has none or two share one.

    >>> steps_of(["step_1000", "step_200"], {})
    [1000.0, 200.0]
    >>> steps_of(["vae", "vae_collapsed"], {}) is None
    True
    """
    if keys:  # a sweep over settings is no training, unless one of them is its step
        named = [key for key in keys if STEPS.search(f"{key.rpartition('.')[2]}=0")]
        numbers = [_number(each) for each in keys[named[0]]] if len(named) == 1 and len(keys) == 1 else []
    else:
        found = [STEPS.findall(label) for label in labels]
        numbers = [_number(each[-1]) if each else None for each in found]
        if None in numbers:
            numbers = _only_number(labels)
    known = [each for each in numbers if each is not None]
    return known if len(known) == len(labels) > 1 and len(set(known)) == len(known) else None


def _only_number(labels: Sequence[str]) -> list[float | None]:
    """The number of each label where labels are alike but for it."""
    parts = [re.split(r"(\d+)", label) for label in labels]
    if len({len(each) for each in parts}) != 1:
        return []
    differing = [place for place in range(len(parts[0])) if len({each[place] for each in parts}) > 1]
    if len(differing) != 1 or differing[0] % 2 == 0:
        return []
    return [float(each[differing[0]]) for each in parts]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _same(values: Sequence[Any]) -> bool:
    return all(value == values[0] for value in values)


def _of_key(key: str, values: Sequence[Any]) -> dict[str, list[str]]:
    """A differing key as itself, by the names of its nodes, or as the settings in which these differ."""
    if not all(isinstance(value, Mapping) for value in values):
        return {key: [_text(key, value) for value in values]}
    names = [value.get("name") for value in values]
    if all(isinstance(name, str) for name in names) and len(set(names)) == len({repr(value) for value in values}):
        return {key: [str(name) for name in names]}
    leaves = _differing_leaves(key, values)
    return leaves if len(leaves) <= FEW else {key: [_text(key, value) for value in values]}


def _settings_of_metrics(metrics: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Settings of metrics' functions that differ, of metrics that all runs have."""
    shared = [name for name in metrics[0] if all(name in each for each in metrics)]
    found: dict[str, list[str]] = {}
    for name in shared:
        nodes = [each[name] if isinstance(each[name], Mapping) else {} for each in metrics]
        found |= _differing_leaves(f"metric.{name}", nodes)
    return found if len(found) <= FEW else {}


def _differing_leaves(key: str, nodes: Sequence[Any]) -> dict[str, list[str]]:
    if not all(isinstance(node, Mapping) for node in nodes):
        return {} if _same(nodes) else {key: [_text(key, node) for node in nodes]}
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for node in nodes for name in node):
        found |= _differing_leaves(f"{key}.{name}", [node.get(name) for node in nodes])
    return found


def _text(key: str, value: Any) -> str:
    """A value in a label: of paths and dotted names their end, of nodes their target."""
    if isinstance(value, Mapping):
        value = value.get("name") or value.get("_target_") or value.get("path") or "..."
    if isinstance(value, (list, tuple)):
        return f"[{','.join(_text(key, each) for each in value)}]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    if key.split(".")[0] in ROLES or "/" in text:
        return PurePath(text).name or text
    return text
