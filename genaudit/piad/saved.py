"""A trained PIAD in a folder: everything that scoring an image needs, in two files.

    model.safetensors   the weights of the four networks
    model.json          kind "piad"; architecture, channels, preparation of images, reconstruction loss; the perceptual
                        network (how to make it, the SHA-256 of its weights, its filters' statistics); seed,
                        iterations, and what else the training knew of itself

The weights of the perceptual network are not copied (VGG-19's are half a gigabyte): a folder that is moved to
another machine finds them there, or is told where they are, and takes no others.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.backbones.weight_files import sha256_of_file
from genaudit.errors import UserError
from genaudit.piad.networks import Architecture, PIADNetworks, build
from genaudit.piad.perceptual import FilterStatistics, Perceptual
from genaudit.piad.scoring import Reconstruction, check_reconstruction

WEIGHTS, RECORD = "model.safetensors", "model.json"
KIND = "piad"
# What a model.json may have made: it may come from anyone, and must not name any function there is.
MAKERS = ("genaudit.piad.perceptual.", "genaudit.backbones.")


@dataclass(frozen=True)
class Model:
    """A PIAD that can score.

    Attributes:
        networks, perceptual, reconstruction: what `genaudit.piad.scoring` takes.
        architecture: of the networks.
        pixels: how images were prepared for the training (side, interpolation, ...), for `genaudit.measures.piad`.
    """

    networks: PIADNetworks
    architecture: Architecture
    perceptual: Perceptual | None
    reconstruction: Reconstruction
    pixels: Mapping[str, Any]


def save(model: Model, folder: str | Path, node: Mapping[str, Any] | None, **about: Any) -> None:
    """Write a model into a folder; each file is replaced in one step.

    Args:
        node: how to make the perceptual network: a function of `genaudit.piad.perceptual` as `_target_`, and its
            arguments; None where the loss compares pixels.
        about: seed, iterations and anything else worth keeping, as JSON takes it.
    """
    from safetensors.torch import save as serialised

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{name}.{key}": tensor.detach().cpu().contiguous()
        for name, network in model.networks._asdict().items()
        for key, tensor in network.state_dict().items()
    }
    temporary = folder / f"{WEIGHTS}.partial"
    temporary.write_bytes(serialised(tensors))  # save_file would leave it to the owner alone
    about = {"weights_sha256": sha256_of_file(temporary), **about}
    os.replace(temporary, folder / WEIGHTS)
    record = {
        "kind": KIND,
        "architecture": asdict(model.architecture),
        "channels": model.networks.image_shape[0],
        "pixels": dict(model.pixels),
        "reconstruction": model.reconstruction,
        "perceptual": None if model.perceptual is None else identity(model.perceptual) | {"node": dict(node or {})},
        **about,
    }
    temporary = folder / f"{RECORD}.partial"
    temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, folder / RECORD)


def identity(perceptual: Perceptual) -> dict[str, Any]:
    """What makes a perceptual network's scores: name, SHA-256 of its weights, statistics of its filters."""
    found = perceptual.statistics
    statistics = None if found is None else {"mean": found.mean.tolist(), "std": found.std.tolist()}
    return {"name": perceptual.name, "weights_sha256": perceptual.weights_sha256, "statistics": statistics}


def read_record(folder: str | Path) -> dict[str, Any]:
    """What model.json says; the weights are compared with it by `sha256` and `load`.

    Raises:
        UserError: there is no saved PIAD in the folder.
    """
    path = Path(folder).expanduser() / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        kind = record["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{folder} holds no saved model ({RECORD} of `genaudit train piad=...`)") from None
    if kind != KIND:
        raise UserError(f"{folder} holds a {kind} model; one that `genaudit train piad=...` wrote is needed")
    return dict(record)


def sha256(folder: str | Path) -> str:
    """The SHA-256 of the weights, as `sha256sum` prints it.

    Raises:
        UserError: there are none, or they are not those that model.json was written for.
    """
    path = Path(folder).expanduser() / WEIGHTS
    if not path.is_file():
        raise UserError(f"{folder} lacks {WEIGHTS}: the training has not come to its first picture yet")
    found = sha256_of_file(path)
    if found != read_record(folder)["weights_sha256"]:
        raise UserError(f"{path} is not the file that {RECORD} beside it describes; is a training writing to it now?")
    return found


def load(folder: str | Path, *, perceptual: Perceptual | None = None, weights: str | Path | None = None) -> Model:
    """Read what `save` wrote, on the CPU, in evaluation mode.

    Args:
        perceptual: the network, where it is made by code of your own; otherwise it is made as model.json says.
        weights: the file of its weights, where it is not where it was.

    Raises:
        UserError: no saved PIAD, damaged files, or another perceptual network than the one trained with.
    """
    from safetensors.torch import load_file

    record = read_record(folder)
    sha256(folder)
    try:
        architecture = Architecture(**record["architecture"])
        networks = build(architecture, int(record["channels"]), seed=0)
        tensors = load_file(Path(folder).expanduser() / WEIGHTS)
        for name, network in networks._asdict().items():
            start = f"{name}."
            network.load_state_dict({key[len(start) :]: v for key, v in tensors.items() if key.startswith(start)})
            network.eval().requires_grad_(False)
        wanted, reconstruction, pixels = record["perceptual"], record["reconstruction"], record["pixels"]
        check_reconstruction(reconstruction, perceptual or wanted)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f"{folder} holds a damaged model, or one of another version of genaudit: {first}") from error
    if wanted is None:
        return Model(networks, architecture, None, reconstruction, pixels)
    made = perceptual or _make(_with_weights(wanted["node"], weights), folder)
    if made.weights_sha256 != wanted["weights_sha256"]:
        raise UserError(
            f"{folder} was trained with the perceptual network {wanted['name']} and weights of SHA-256 "
            f"{wanted['weights_sha256'][:12]}...; these are {made.name}, {made.weights_sha256[:12]}...: scores would "
            "not be comparable"
        )
    statistics = wanted["statistics"]
    if statistics is not None:
        statistics = FilterStatistics(np.array(statistics["mean"]), np.array(statistics["std"]))
    made.measure_by(statistics)
    return Model(networks, architecture, made, reconstruction, pixels)


def _with_weights(node: Mapping[str, Any], weights: str | Path | None) -> dict[str, Any]:
    """The node, for weights at another place; its statistics stand in the record and are not read again."""
    changed = {**node, "statistics": None}
    if weights is not None:
        inner = changed.get("feature_model")
        if isinstance(inner, Mapping):
            changed["feature_model"] = {**inner, "checkpoint": str(weights)}
        else:
            changed["weights"] = str(weights)
    return changed


def _make(node: Mapping[str, Any], folder: str | Path) -> Any:
    """What a node with `_target_` describes; only what `MAKERS` allow."""
    target = str(node.get("_target_", ""))
    module, _, name = target.rpartition(".")
    if not target.startswith(MAKERS) or name.startswith("_"):
        raise UserError(
            f"{folder}: its perceptual network is made by {target or 'code of its own'}, which genaudit does not run; "
            "give it as `perceptual=` of genaudit.piad.saved.load"
        )
    arguments = {
        key: _make(value, folder) if isinstance(value, Mapping) and "_target_" in value else value
        for key, value in node.items()
        if key != "_target_"
    }
    try:
        return getattr(importlib.import_module(module), name)(**arguments)
    except (ImportError, AttributeError, TypeError) as error:
        raise UserError(f"{folder}: {target} cannot be made as {RECORD} says: {error}") from error
