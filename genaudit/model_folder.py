"""Model folders, `model.safetensors` beside `model.json`: the one reader of every kind of model that genaudit trains.

A folder may come from anyone, so its description is data and not code: it names classes of the closed list below,
with arguments of checked types and bounds, and nothing else is ever imported or called for it. A network is made only
after the shapes that it would have were compared with those that the weights have: a description cannot ask for more
memory than the file that comes with it has bytes. Weights that are not finite are refused.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genaudit.errors import UserError, reason_of
from genaudit.reading import PathLike, check_regular, expanded, read_json

if TYPE_CHECKING:
    from torch import nn

WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"
DESCRIPTION_BYTES = 4 << 20
MOST_TENSORS = 100_000
MOST_ACTIVATIONS = 1 << 28  # numbers of one image in the widest layer, about: 1 GiB in float32

Check = Callable[[Any], Any]  # gives the value back; ValueError says what was expected, after the key


def integer(low: int, high: int) -> Check:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"must be an integer from {low:,} to {high:,}, got {_shown(value)}")
        return value

    return check


def number(low: float, high: float) -> Check:
    def check(value: Any) -> float:
        # NaN is not between any two numbers
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise ValueError(f"must be a number from {low:g} to {high:g}, got {_shown(value)}")
        return value

    return check


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, got {_shown(value)}")
    return value


def choice(*known: Any) -> Check:
    def check(value: Any) -> Any:
        if not any(type(value) is type(each) and value == each for each in known):
            raise ValueError(f"must be one of {', '.join(map(str, known))}, got {_shown(value)}")
        return value

    return check


def text(pattern: str = r"[^\0]*", most: int = 4096) -> Check:
    def check(value: Any) -> str:
        if not isinstance(value, str) or len(value) > most or not re.fullmatch(pattern, value, re.DOTALL):
            raise ValueError(f"must be a text of at most {most:,} characters that fits {pattern}, got {_shown(value)}")
        return value

    return check


def listed(check: Check, least: int, most: int) -> Check:
    def checked(value: Any) -> list[Any]:
        if not isinstance(value, (list, tuple)) or not least <= len(value) <= most:
            raise ValueError(f"must be a list of {least:,} to {most:,} entries, got {_shown(value)}")
        return [check(each) for each in value]

    return checked


def optional(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def mapping(checks: Mapping[str, Check]) -> Check:
    """A mapping with no other keys than these; any of them may be missing."""
    return lambda value: arguments(value, checks)


def table(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a mapping, got {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:80]}..."


SIDE, CHANNELS, FACTOR = integer(1, 1024), integer(1, 16), integer(1, 4096)
PATH, NAME, HASH = optional(text()), text(r"[A-Za-z0-9_.\-]+", 200), text(r"[0-9a-f]{64}", 64)
THREE = optional(listed(number(-1e3, 1e3), 3, 3))
SEED = integer(0, 2**63 - 1)
INTERPOLATION = choice("bicubic", "bilinear", "box", "lanczos", "nearest")
FIT = choice("squash", "crop")
_GLOW: dict[str, Check] = {
    **{"channels": CHANNELS, "size": SIDE, "steps": integer(1, 256), "hidden": FACTOR, "classes": integer(1, 10_000)},
    **{"coupling": choice("sigmoid", "tanh"), "layers": choice("convolutional", "fully_connected"), "recompute": flag},
}
_FEATURES: dict[str, Check] = {"name": NAME, "interpolation": INTERPOLATION, "fit": FIT, "checkpoint": PATH,
                               "offline": flag}  # fmt: skip
_NORMALISED: dict[str, Check] = {"mean": THREE, "std": THREE, "pretrained": flag, "weight_seed": SEED,
                                 "as_validated": flag}  # fmt: skip

DENSITIES: dict[str, Mapping[str, Check]] = {
    "genaudit.likelihood.glow.Glow": {**_GLOW, "scales": integer(1, 8)},
    "genaudit.likelihood.glow.LocalGlow": {**_GLOW, "patch": integer(2, 256)},
    "genaudit.likelihood.pixelcnnpp.PixelCNNpp": {
        **{"channels": choice(1, 3), "size": SIDE, "filters": FACTOR, "blocks": integer(1, 32)},
        **{"resolutions": integer(1, 8), "components": integer(1, 1000), "bins": integer(2, 65536)},
        "dropout": number(0, 1),
    },
}
CLASSIFIERS: dict[str, Mapping[str, Check]] = {
    "genaudit.likelihood.wide_resnet.WideResNet": {
        **{"channels": CHANNELS, "size": SIDE, "depth": integer(10, 1000), "width": integer(1, 64)},
        "dropout": number(0, 1),
    },
}
FEATURE_MODELS: dict[str, Mapping[str, Check]] = {
    "genaudit.backbones.timm_model.TimmModel": {
        **_FEATURES,
        **_NORMALISED,
        "size": optional(SIDE),
        "interpolation": optional(INTERPOLATION),
        "kwargs": optional(mapping({"img_size": integer(16, 1024), "dynamic_img_size": flag})),
    },
    "genaudit.backbones.torchvision_model.TorchvisionModel": {
        **_FEATURES,
        **_NORMALISED,
        **{"size": SIDE, "name": optional(NAME), "architecture": NAME, "layer": choice("body", "hidden")},
    },
    "genaudit.backbones.embedded.EfficientNetLite0": {**_FEATURES, "size": SIDE},
    "genaudit.backbones.fid_inception.FidInception": {
        **_FEATURES,
        "preprocessing": choice("genaudit", "clean-fid", "pytorch-fid", "torch-fidelity", "torchmetrics"),
    },
}
PERCEPTUAL: dict[str, Mapping[str, Check]] = {
    "genaudit.piad.perceptual.efficientnet_lite0": {"weights": PATH, "statistics": PATH},
    "genaudit.piad.perceptual.vgg19_relu42": {"weights": PATH, "statistics": PATH},
    "genaudit.piad.perceptual.layer_of": {
        **{"feature_model": lambda node: _node(node, FEATURE_MODELS), "layer": NAME, "statistics": PATH},
    },
}
_WIDEST = {"hidden": 1, "filters": 2, "width": 64}  # argument => channels of the widest layer for each one of it
_ALL = {**DENSITIES, **CLASSIFIERS, **FEATURE_MODELS, **PERCEPTUAL}


def arguments(given: Any, checks: Mapping[str, Check]) -> dict[str, Any]:
    """Arguments that each passed its check.

    Raises:
        ValueError: no mapping, a key that is not among the checks, or a value that does not pass.
    """
    unknown = [key for key in table(given) if key not in checks]
    if unknown:
        raise ValueError(f"takes {', '.join(checks)}, and not {_shown(unknown[0])}")
    checked = {}
    for key, value in given.items():
        try:
            checked[key] = checks[key](value)
        except ValueError as error:
            raise ValueError(f"{key} {error}") from None
    return checked


def read(folder: PathLike) -> dict[str, Any]:
    """What model.json says, unchecked but for being a mapping with a `kind`.

    Raises:
        OSError, ValueError: there is none, or it is something else.
    """
    found = read_json(expanded(folder) / DESCRIPTION, DESCRIPTION_BYTES)
    if not isinstance(found, dict) or not isinstance(found.get("kind"), str):
        raise ValueError("it is no mapping with a kind")
    return found


def make(node: Any, allowed: Collection[str], folder: PathLike) -> Any:
    """What a description's node makes: a class or function of the closed list, called with checked arguments.

    Args:
        node: `_target_` and arguments. allowed: the part of the list that may stand here. folder: for messages.

    Raises:
        UserError: anything else.
    """
    where = expanded(folder) / DESCRIPTION
    try:
        return _call(_node(node, allowed))
    except (ImportError, AttributeError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise UserError(f"{where}: {reason_of(error)}") from error


def _node(node: Any, allowed: Collection[str]) -> dict[str, Any]:
    """A node whose class is on the list and whose arguments, those of nodes within too, are checked."""
    target = node.get("_target_") if isinstance(node, Mapping) else None
    if not isinstance(target, str) or target not in allowed:
        named = _shown(target) if target is not None else "a node without _target_"
        raise ValueError(f"{named} is not made for a model folder; only {', '.join(sorted(allowed))} are")
    try:
        given = arguments({key: value for key, value in node.items() if key != "_target_"}, _ALL[target])
    except ValueError as error:
        raise ValueError(f"{target}: {error}") from None
    widest = max((given[key] * factor for key, factor in _WIDEST.items() if key in given), default=1)
    if given.get("size") and given["size"] ** 2 * widest > MOST_ACTIVATIONS:
        raise ValueError(f"{target}: its layers of {widest:,} channels are too wide for images of side {given['size']}")
    return {"_target_": target, **given}


def _call(node: Mapping[str, Any]) -> Any:
    module, _, name = node["_target_"].rpartition(".")
    inner = {
        key: _call(value) if isinstance(value, Mapping) and "_target_" in value else value
        for key, value in node.items()
        if key != "_target_"
    }
    return getattr(importlib.import_module(module), name)(**inner)


def load(folder: PathLike, build: Callable[[], nn.Module]) -> nn.Module:
    """A network with the folder's weights, on the CPU, in evaluation mode, its parameters frozen.

    Args:
        build: makes the network. It is called first where nothing takes memory, to compare shapes.

    Raises:
        UserError: weights that cannot be read, are of another network, or are not finite.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = expanded(folder) / WEIGHTS
    try:
        stored = _stored(path)
        with torch.device("meta"):
            sketch = build()
        wanted = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in sketch.state_dict().items()}
        _compare(wanted, stored)
        network = build()
        tensors = load_file(path)
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                raise ValueError(f"{name} holds NaN or infinity")
        network.load_state_dict(tensors)
    except (SafetensorError, RuntimeError, OSError, ValueError, TypeError, MemoryError) as error:
        raise UserError(f"{path} does not hold the weights of the network described: {reason_of(error)}") from error
    return network.eval().requires_grad_(False)


def _stored(path: Path) -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Types and shapes of the tensors of a safetensors file, by name; nothing but its header is read."""
    import torch
    from safetensors import safe_open

    types = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64, "BOOL": torch.bool, "U8": torch.uint8}
    check_regular(path)
    with safe_open(path, framework="pt", device="cpu") as file:
        names = list(file.keys())
        if len(names) > MOST_TENSORS:
            raise ValueError(f"it holds {len(names):,} tensors")
        slices = {name: file.get_slice(name) for name in names}
        return {
            name: (types.get(str(part.get_dtype()), part.get_dtype()), tuple(part.get_shape()))
            for name, part in slices.items()
        }


def _compare(wanted: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    missing, unknown = [key for key in wanted if key not in stored], [key for key in stored if key not in wanted]
    if missing or unknown:
        raise ValueError(f"{missing[0]} is missing" if missing else f"{unknown[0]} is not of this network")
    for name, (dtype, shape) in wanted.items():
        if stored[name] != (dtype, shape):
            found, has = stored[name]
            said = f"{'x'.join(map(str, has)) or 'one'} {found} and not {'x'.join(map(str, shape)) or 'one'} {dtype}"
            raise ValueError(f"{name} has {said}".replace("torch.", ""))


def finite(values: Any, least: float = -math.inf) -> list[float]:
    """A list of finite numbers, none below `least`; ValueError otherwise."""
    checked: list[float] = listed(number(max(least, -1e300), 1e300), 1, 1 << 16)(values)
    return checked
