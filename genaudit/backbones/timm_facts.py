"""What timm knows of its models, without importing it: that takes seconds and torch, and a name asks for a line.

Facts are those of the installed timm and of no other: timm_models.json holds them for the models that genaudit's own
YAML files name (`scripts/timm_models.py` writes it); those of other models, and of other versions of timm, are asked
for once and kept in the user's cache folder.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from genaudit.atomic import atomic_write
from genaudit.errors import UserError

SHIPPED = Path(__file__).with_name("timm_models.json")


@dataclass(frozen=True)
class TimmFacts:
    """A model's pretrained configuration in timm, as far as genaudit uses it.

    `quickgelu` names the model that its weights are right for, where they were trained with another activation.
    """

    architecture: str
    input_size: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    num_classes: int
    classifier: str | tuple[str, ...] | None
    hf_hub_id: str | None
    hf_hub_filename: str | None
    url: str | None
    quickgelu: str | None


@functools.cache
def facts_of(name: str) -> TimmFacts:
    """The facts of a timm name, with or without a weight tag.

    Raises:
        UserError: timm knows no such model, or no such weights of it.
    """
    version = metadata.version("timm")
    for path in (SHIPPED, _kept(version)):
        if entry := _read(path, version).get(name):
            values: dict[str, Any] = {k: tuple(each) if isinstance(each, list) else each for k, each in entry.items()}
            return TimmFacts(**values)
    found = ask_timm(name)
    with contextlib.suppress(OSError):  # a folder that cannot be written costs a second the next time
        write(_kept(version), version, {**_read(_kept(version), version), name: asdict(found)})
    return found


def ask_timm(name: str) -> TimmFacts:
    """The facts as the installed timm says them; imports it."""
    import timm

    base, _, tag = name.partition(".")
    if not timm.is_model(base):
        close = difflib.get_close_matches(base, timm.list_models(), n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else "; `timm.list_models()` lists them"
        raise UserError(f"feature_model.name={name}: timm knows no such model{hint}")
    tags = [model.partition(".")[2] for model in timm.list_pretrained(f"{base}.*")]
    if tag and tag not in tags:
        raise UserError(f"feature_model.name={name}: timm has no weights {tag!r} for {base}; it has {', '.join(tags)}")
    config: Any = timm.get_pretrained_cfg(name)
    head = config.classifier
    return TimmFacts(
        architecture=config.architecture,
        input_size=tuple(config.input_size),
        mean=tuple(config.mean),
        std=tuple(config.std),
        interpolation=config.interpolation,
        num_classes=config.num_classes,
        classifier=tuple(head) if isinstance(head, (tuple, list)) else head,
        hf_hub_id=config.hf_hub_id,
        hf_hub_filename=config.hf_hub_filename,
        url=config.url,
        quickgelu=_quickgelu(base, tag or config.tag or ""),
    )


def _quickgelu(base: str, tag: str) -> str | None:
    """OpenAI's, MetaCLIP's and DFN's CLIP were trained with QuickGELU; timm also loads them into GELU networks."""
    import timm

    twin = base.replace("_clip_", "_clip_quickgelu_")
    if twin == base or "quickgelu" in base or not timm.is_model(twin):
        return None
    right = f"{twin}.{tag}"
    return right if right in timm.list_pretrained(f"{twin}.*") else None


def write(path: Path, version: str, models: Mapping[str, Any]) -> None:
    """Writes facts by name, with the version of timm that they are of."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps({"timm": version, "models": dict(sorted(models.items()))}, indent=1) + "\n")


def _kept(version: str) -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "genaudit" / f"timm-{version}.json"


def _read(path: Path, version: str) -> dict[str, Any]:
    """The facts in a file; none where it is of another version, damaged or not there."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        fields = set(TimmFacts.__dataclass_fields__)
        models: dict[str, Any] = document["models"] if document["timm"] == version else {}
        return {name: entry for name, entry in models.items() if set(entry) == fields}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
