"""Trained density models as folders: the weights, and what makes and describes the network.

    model.safetensors   weights and buffers
    model.json          kind "likelihood" (or "classifier", for `wide_resnet`); the YAML node that makes the network;
                        what it was trained on, and how

A model that ships with genaudit is such a folder in `genaudit/likelihood/pretrained/` and known by its name.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from genaudit.errors import UserError
from genaudit.likelihood.glow import Glow

WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"
KIND, CLASSIFIER, FORMAT = "likelihood", "classifier", 1
PRETRAINED = Path(__file__).parent / "pretrained"
ROOM = "genaudit.likelihood."  # a description may name networks of this room alone: it comes from anywhere


def save(model: nn.Module, folder: Path | str, node: Mapping[str, Any], *, kind: str = KIND, **about: Any) -> Path:
    """Writes a model's folder; a folder that can be read is whole.

    Args:
        model: the trained network. node: `_target_` and arguments that make it, plain values.
        about: what a reader should know of it, JSON values: images and their digest, bits per dimension, seed.
    """
    from safetensors.torch import save as serialised

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    channels, size, _ = model.image_shape  # type: ignore[misc]
    description = {
        "kind": kind,
        "format": FORMAT,
        "node": dict(node),
        "channels": channels,
        "size": size,
        "scales": len(model.scales) if isinstance(model, Glow) else 1,
        "about": about,
    }
    text = json.dumps(description, indent=1) + "\n"
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    (folder / DESCRIPTION).unlink(missing_ok=True)
    temporary = folder / f"{WEIGHTS}.tmp"
    temporary.write_bytes(serialised(weights))  # save_file would leave it to the owner alone
    os.replace(temporary, folder / WEIGHTS)
    temporary = folder / f"{DESCRIPTION}.tmp"
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, folder / DESCRIPTION)
    return folder


def find(model: Path | str) -> Path:
    """The folder of a saved model, by path or by the name of one that ships.

    Raises:
        UserError: there is none; the message names those that ship.
    """
    given = str(model)
    shipped = PRETRAINED / given
    for folder in (Path(given).expanduser(), shipped):
        if (folder / DESCRIPTION).is_file() and (folder / WEIGHTS).is_file():
            return folder
    known = ", ".join(names()) or "none in this version"
    folder = Path(given).expanduser()
    why = f"does not hold a trained model ({DESCRIPTION}, {WEIGHTS})" if folder.is_dir() else "is no folder"
    if (folder / "checkpoint.pt").exists():
        why = "holds a training that has not come to its end; the same `genaudit train` command goes on with it"
    raise UserError(f"density model {given}: {why}. A folder that `genaudit train likelihood=...` wrote is needed, or "
                    f"the name of a model that ships: {known}")  # fmt: skip


def names() -> list[str]:
    """The models that ship."""
    return sorted(path.parent.name for path in PRETRAINED.glob(f"*/{DESCRIPTION}"))


def describe(model: Path | str, kind: str = KIND) -> dict[str, Any]:
    """What a model's folder says of it: node, channels, size, scales, about.

    Raises:
        UserError: no such model, or another kind of model.
    """
    path = find(model) / DESCRIPTION
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        found_kind, node = description["kind"], description["node"]
        usable = isinstance(node, dict) and {"channels", "size", "scales", "about"} <= set(description)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} does not describe a model") from error
    if found_kind != kind:
        needed = "a density model" if kind == KIND else "a classifier"
        raise UserError(f"{path.parent} holds a model of kind {found_kind!r}; {needed} is needed here")
    if not usable or description.get("format") != FORMAT:
        raise UserError(f"{path} describes a model in a way that this version of genaudit does not read")
    found: dict[str, Any] = description
    return found


def load(model: Path | str, device: str | torch.device = "cpu", *, kind: str = KIND) -> Any:
    """The trained model, in evaluation mode, its parameters frozen.

    Raises:
        UserError: no such model, or weights that are not of the network described.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = find(model)
    network = _make(describe(model, kind)["node"], folder)
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (SafetensorError, RuntimeError, OSError) as error:
        text = " ".join(str(error).split())[:300]
        raise UserError(f"{folder / WEIGHTS} does not hold the weights of the network described: {text}") from error
    return network.to(device).eval().requires_grad_(False)


def sha256(model: Path | str) -> str:
    """The SHA-256 of the weights' file, in hex."""
    return hashlib.sha256((find(model) / WEIGHTS).read_bytes()).hexdigest()


def _make(node: Mapping[str, Any], folder: Path) -> nn.Module:
    target = str(node.get("_target_", ""))
    module, _, name = target.rpartition(".")
    wrong = UserError(f"{folder / DESCRIPTION}: {target!r} is no density model of genaudit")
    if not target.startswith(ROOM):
        raise wrong
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        raise wrong from None
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise wrong
    try:
        made: nn.Module = kind(**{key: value for key, value in node.items() if key != "_target_"})
    except (TypeError, ValueError) as error:
        raise UserError(f"{folder / DESCRIPTION}: {error}") from error
    return made
