"""A trained PIAD in a folder: everything that scoring an image needs, in two files.

    model.safetensors   the weights of the four networks
    model.json          kind "piad"; architecture, channels, preparation of images, reconstruction loss; the perceptual
                        network (how to make it, the SHA-256 of its weights, its filters' statistics); seed,
                        iterations, and what else the training knew of itself

The weights of the perceptual network are not copied (VGG-19's are half a gigabyte): a folder that is moved to
another machine finds them there, or is told where they are, and takes no others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from genaudit import model_folder
from genaudit.atomic import atomic_write
from genaudit.errors import UserError, reason_of
from genaudit.model_folder import WEIGHTS
from genaudit.piad.networks import Architecture, PIADNetworks, build
from genaudit.piad.perceptual import FilterStatistics, Perceptual
from genaudit.piad.scoring import Reconstruction, check_reconstruction
from genaudit.reading import sha256_of_file

RECORD = model_folder.DESCRIPTION
KIND = "piad"
_WIDTHS = model_folder.listed(model_folder.FACTOR, 2, 10)
_ARCHITECTURE = {
    **{"generator": _WIDTHS, "encoder": _WIDTHS, "critic": _WIDTHS, "latent": model_folder.integer(1, 65536)},
    **{"latent_critic": model_folder.integer(1, 65536), "base": model_folder.integer(1, 64)},
    "spatial": model_folder.flag,
}
_PIXELS = {
    **{"size": model_folder.SIDE, "channels": model_folder.choice(1, 3), "fit": model_folder.FIT},
    **{"interpolation": model_folder.INTERPOLATION, "crop": model_folder.optional(model_folder.integer(1, 1 << 16))},
}


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
    with atomic_write(folder / WEIGHTS) as temporary:
        temporary.write_bytes(serialised(tensors))  # save_file would leave it to the owner alone
        about = {"weights_sha256": sha256_of_file(temporary), **about}
    record = {
        "kind": KIND,
        "architecture": asdict(model.architecture),
        "channels": model.networks.image_shape[0],
        "pixels": dict(model.pixels),
        "reconstruction": model.reconstruction,
        "perceptual": None if model.perceptual is None else identity(model.perceptual) | {"node": dict(node or {})},
        **about,
    }
    with atomic_write(folder / RECORD) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def identity(perceptual: Perceptual) -> dict[str, Any]:
    """What makes a perceptual network's scores: name, SHA-256 of its weights, statistics of its filters."""
    filters = perceptual.statistics
    statistics = None if filters is None else {"mean": filters.mean.tolist(), "std": filters.std.tolist()}
    return {"name": perceptual.name, "weights_sha256": perceptual.weights_sha256, "statistics": statistics}


def describe(folder: str | Path, *, scores: bool = True) -> dict[str, Any]:
    """What model.json says, checked; the weights are compared with it by `sha256` and `load`.

    Args:
        scores: whether what scoring needs is checked too, or only what makes the networks.

    Raises:
        UserError: there is no saved PIAD in the folder, or a value of its description is not what it must be.
    """
    path = Path(folder).expanduser() / RECORD
    try:
        record = model_folder.read(path.parent)
    except (OSError, ValueError):
        raise UserError(f"{folder} holds no saved model ({RECORD} of `genaudit train piad=...`)") from None
    if record["kind"] != KIND:
        raise UserError(f"{folder} holds a {record['kind']} model; one that `genaudit train piad=...` wrote is needed")
    try:
        _check_networks(record)
        if scores:
            _check_scoring(record)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} describes no PIAD that this version of genaudit reads: {reason_of(error)}") from error
    return record


def _check_networks(record: Mapping[str, Any]) -> None:
    """Raises KeyError, TypeError or ValueError where the networks are not such as `save` describes."""
    a = Architecture(**model_folder.arguments(record["architecture"], _ARCHITECTURE))
    if a.size > 1024:
        raise ValueError(f"architecture must read images of a side of at most 1,024, not {a.size:,}")
    model_folder.CHANNELS(record["channels"])
    model_folder.HASH(record["weights_sha256"])


def _check_scoring(record: Mapping[str, Any]) -> None:
    """The same for what prepares images and compares them."""
    a, channels, pixels = Architecture(**record["architecture"]), record["channels"], record["pixels"]
    model_folder.arguments({key: pixels[key] for key in _PIXELS}, _PIXELS)
    if (pixels["size"], pixels["channels"]) != (a.size, channels):
        raise ValueError("pixels must have the size and channels of the architecture")
    perceptual = record["perceptual"]
    check_reconstruction(model_folder.text()(record["reconstruction"]), perceptual)
    if perceptual is None:
        return
    model_folder.text(most=400)(perceptual["name"])
    model_folder.HASH(perceptual["weights_sha256"])
    statistics = perceptual["statistics"]
    if statistics is not None:
        mean, std = model_folder.finite(statistics["mean"]), model_folder.finite(statistics["std"], 0)
        if len(mean) != len(std):
            raise ValueError("mean and std of the filters must have one length")


def sha256(folder: str | Path) -> str:
    """The SHA-256 of the weights, as `sha256sum` prints it.

    Raises:
        UserError: there are none, or they are not those that model.json was written for.
    """
    path = Path(folder).expanduser() / WEIGHTS
    if not path.is_file():
        raise UserError(f"{folder} lacks {WEIGHTS}: the training has not come to its first picture yet")
    digest = sha256_of_file(path)
    if digest != describe(folder, scores=False)["weights_sha256"]:
        raise UserError(f"{path} is not the file that {RECORD} beside it describes; is a training writing to it now?")
    return digest


def load_networks(folder: str | Path) -> tuple[PIADNetworks, Architecture]:
    """The four networks alone, on the CPU, in evaluation mode, and their architecture.

    Raises:
        UserError: no saved PIAD, or weights that are not of the networks described.
    """
    record = describe(folder, scores=False)
    sha256(folder)
    architecture = Architecture(**record["architecture"])

    def build_all() -> nn.Module:
        return nn.ModuleDict(build(architecture, record["channels"], seed=0)._asdict())

    loaded: Any = model_folder.load(folder, build_all)
    return PIADNetworks(*(loaded[name] for name in PIADNetworks._fields)), architecture


def load(folder: str | Path, *, perceptual: Perceptual | None = None, weights: str | Path | None = None) -> Model:
    """Read what `save` wrote, on the CPU, in evaluation mode.

    Args:
        perceptual: the network, where it is made by code of your own; otherwise it is made as model.json says, which
            may name what the list of `genaudit.model_folder` holds.
        weights: the file of its weights, where it is not where it was.

    Raises:
        UserError: no saved PIAD, damaged files, or another perceptual network than the one trained with.
    """
    record = describe(folder)
    networks, architecture = load_networks(folder)
    wanted, reconstruction, pixels = record["perceptual"], record["reconstruction"], record["pixels"]
    if wanted is None:
        return Model(networks, architecture, None, reconstruction, pixels)
    network = perceptual or _make(_with_weights(wanted.get("node"), weights), folder)
    if network.weights_sha256 != wanted["weights_sha256"]:
        raise UserError(
            f"{folder} was trained with the perceptual network {wanted['name']} and weights of SHA-256 "
            f"{wanted['weights_sha256'][:12]}...; these are {network.name}, {network.weights_sha256[:12]}...: scores "
            "would not be comparable"
        )
    statistics = wanted["statistics"]
    if statistics is not None:
        statistics = FilterStatistics(np.array(statistics["mean"]), np.array(statistics["std"]))
    network.measure_by(statistics)
    return Model(networks, architecture, network, reconstruction, pixels)


def _with_weights(node: Any, weights: str | Path | None) -> dict[str, Any]:
    """The node, for weights at another place; its statistics stand in the record and are not read again."""
    if not isinstance(node, Mapping):
        return {}
    changed = {**node, "statistics": None}
    if weights is not None:
        inner = changed.get("feature_model")
        if isinstance(inner, Mapping):
            changed["feature_model"] = {**inner, "checkpoint": str(weights)}
        else:
            changed["weights"] = str(weights)
    return changed


def _make(node: Mapping[str, Any], folder: str | Path) -> Perceptual:
    """The perceptual network that a description names, of the closed list."""
    target = node.get("_target_")
    if not isinstance(target, str) or target not in model_folder.PERCEPTUAL:
        raise UserError(
            f"{folder}: its perceptual network is made by {str(target or 'code of its own')[:200]}, which genaudit "
            "does not run; give it as `perceptual=` of genaudit.piad.saved.load"
        )
    network: Perceptual = model_folder.make(node, model_folder.PERCEPTUAL, folder)
    return network
