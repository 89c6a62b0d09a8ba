"""Whether a value of a run may be compared with that of a baseline run, from both report.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genaudit.metrics.result import ROLES

UNEQUAL = 1.25  # times as many images in one run: values that depend on the number are then not comparable
COMPARED = ROLES[1:]  # the generated images differ, of course


def why_incomparable(ours: Mapping[str, Any], theirs: Mapping[str, Any], metric: str, other: str) -> str | None:
    """Why the values of `metric` here and `other` there do not compare; None where they do.

    Args:
        ours, theirs: the report.json of this run and of the baseline run. metric, other: keys of their `metrics`.
    """
    first, second = ours["metrics"][metric], theirs["metrics"][other]
    if _measured(ours, first) != _measured(theirs, second):
        return "it was measured differently (feature model, weights, preprocessing or precision)"
    settings = _settings(ours, metric), _settings(theirs, other)
    if None not in settings and settings[0] != settings[1]:
        return f"the settings of {metric} differ"
    for role in COMPARED:
        if role in first["n"] and role in second["n"]:
            digests = [run["images"].get(role, {}).get("digest") for run in (ours, theirs)]
            if digests[0] != digests[1]:
                return f"the {role} images differ"
        elif role in first["n"] or role in second["n"]:
            return f"only one of the runs has {role} images"
    counts = sorted(entry["n"].get("generated", 0) for entry in (first, second))
    if counts[1] > UNEQUAL * counts[0]:
        return f"it was judged on {counts[0]:,} and on {counts[1]:,} generated images, on which values depend"
    return None


def _measured(report: Mapping[str, Any], entry: Mapping[str, Any]) -> Any:
    """The fingerprints of what an entry's rows were measured with; names stand for those that have none.

    `about.features` is the fingerprint without the engine that ran the network, where that is not PyTorch.
    """
    uses = {name: report["measures"].get(name, {}) for name in entry["measure"].split(" + ")}
    return [use.get("about", {}).get("features", use.get("fingerprint", name)) for name, use in uses.items()]


def _settings(report: Mapping[str, Any], metric: str) -> Any:
    node: Any = report.get("config")
    for key in ("metric", metric, "fn"):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node
