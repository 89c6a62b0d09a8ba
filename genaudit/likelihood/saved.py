"""Trained density models as folders: the weights, and what makes and describes the network.

    model.safetensors   weights and buffers
    model.json          kind "likelihood" (or "classifier", for `wide_resnet`); the YAML node that makes the network;
                        what it was trained on, and how

A model that ships with genaudit is such a folder in `genaudit/likelihood/pretrained/` and known by its name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genaudit import model_folder
from genaudit.atomic import atomic_write
from genaudit.errors import UserError
from genaudit.model_folder import DESCRIPTION, WEIGHTS
from genaudit.reading import sha256_of_file

if TYPE_CHECKING:
    import torch
    from torch import nn

KIND, CLASSIFIER, FORMAT = "likelihood", "classifier", 1
PRETRAINED = Path(__file__).parent / "pretrained"
_CHECKS = {
    **{"node": lambda node: node, "about": model_folder.table, "channels": model_folder.CHANNELS},
    **{"size": model_folder.integer(1, 2048), "scales": model_folder.integer(1, 8)},
}
_OF_ALL = set(_CHECKS)


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
        "scales": _scales(model),
        "about": about,
    }
    text = json.dumps(description, indent=1) + "\n"
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    (folder / DESCRIPTION).unlink(missing_ok=True)
    with atomic_write(folder / WEIGHTS) as temporary:
        temporary.write_bytes(serialised(weights))  # save_file would leave it to the owner alone
    with atomic_write(folder / DESCRIPTION) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return folder


def _scales(model: nn.Module) -> int:
    from genaudit.likelihood.glow import Glow

    return len(model.scales) if isinstance(model, Glow) else 1


def find(model: Path | str) -> Path:
    """The folder of a saved model, by path or by the name of one that ships.

    Raises:
        UserError: there is none; the message names those that ship.
    """
    name = str(model)
    shipped = PRETRAINED / name
    for folder in (Path(name).expanduser(), shipped):
        if (folder / DESCRIPTION).is_file() and (folder / WEIGHTS).is_file():
            return folder
    shipped_names = ", ".join(names()) or "none in this version"
    folder = Path(name).expanduser()
    why = f"does not hold a trained model ({DESCRIPTION}, {WEIGHTS})" if folder.is_dir() else "is no folder"
    if (folder / "checkpoint.pt").exists():
        why = "holds a training that has not come to its end; the same `genaudit train` command resumes it"
    raise UserError(f"density model {name}: {why}. A folder that `genaudit train likelihood=...` wrote is needed, or "
                    f"the name of a model that ships: {shipped_names}")  # fmt: skip


def files(model: Path | str) -> tuple[Path, Path]:
    """The description and the weights of a saved model.

    Raises:
        UserError: there is no such model.
    """
    folder = find(model)
    return folder / DESCRIPTION, folder / WEIGHTS


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
        description = model_folder.read(path.parent)
        usable = isinstance(description["node"], dict) and set(description) >= _OF_ALL
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} does not describe a model ({error})") from error
    if description["kind"] != kind:
        needed = "a density model" if kind == KIND else "a classifier"
        raise UserError(f"{path.parent} holds a model of kind {description['kind']!r}; {needed} is needed here")
    if not usable or description.get("format") != FORMAT:
        raise UserError(f"{path} describes a model in a way that this version of genaudit does not read")
    try:
        model_folder.arguments({key: description[key] for key in _OF_ALL}, _CHECKS)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    return description


def load(model: Path | str, device: str | torch.device = "cpu", *, kind: str = KIND) -> Any:
    """The trained model, in evaluation mode, its parameters frozen.

    Raises:
        UserError: no such model, one that is not on the list of `genaudit.model_folder`, or weights that are not of the
            network described.
    """
    folder = find(model)
    described = describe(folder, kind)
    allowed = model_folder.CLASSIFIERS if kind == CLASSIFIER else model_folder.DENSITIES
    network = model_folder.load(folder, lambda: model_folder.make(described["node"], allowed, folder))
    channels, size, _ = network.image_shape  # type: ignore[misc]
    if (channels, size, _scales(network)) != tuple(described[key] for key in ("channels", "size", "scales")):
        raise UserError(f"{folder / DESCRIPTION}: channels, size and scales are not those of the network described")
    return network.to(device)


def sha256(model: Path | str) -> str:
    """The SHA-256 of the weights' file, in hex."""
    return sha256_of_file(find(model) / WEIGHTS)
