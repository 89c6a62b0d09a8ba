"""Writes genaudit/backbones/timm_models.json: what the installed timm knows of the models that our YAML files name.

    python scripts/timm_models.py

A test compares the file with timm where its version is the file's; with another version facts are asked for at run
time, which costs the import of timm once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import timm
import yaml

from genaudit.backbones.timm_facts import SHIPPED, ask_timm, write

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
TARGET = "genaudit.backbones.timm_model.TimmModel"


def names() -> list[str]:
    """The names of all nodes of timm models in our YAML files; one without a target may be a timm model too."""
    files = sorted(CONFIGS.rglob("*.yaml"))
    found = {name for path in files for name in _named(yaml.safe_load(path.read_text(encoding="utf-8")))}
    return sorted(found)


def _named(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        name = node.get("name")
        if node.get("_target_", TARGET) == TARGET and isinstance(name, str) and timm.is_model(name.partition(".")[0]):
            yield name
        for each in node.values():
            yield from _named(each)
    elif isinstance(node, list):
        for each in node:
            yield from _named(each)


if __name__ == "__main__":
    write(SHIPPED, metadata.version("timm"), {name: asdict(ask_timm(name)) for name in names()})
    print(f"{SHIPPED}: {len(names())} models")
