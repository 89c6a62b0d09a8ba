"""Weight files: read without unpickling code, hashed, found in the caches that other tools fill.

Hashing a file needs no torch, which takes seconds to import: a run whose rows are all stored never reads the tensors.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from genaudit.errors import UserError, reason_of
from genaudit.reading import load_torch, open_regular, sha256_of_file

if TYPE_CHECKING:
    import torch


# the last ones are BEiT's and those of two reimplementations of BYOL, which keep the averaged network beside
WRAPPERS = (
    *("state_dict_ema", "model_ema", "state_dict", "model", "teacher", "module"),
    *("online_backbone", "online_network_state_dict"),
)

VGG19_FILE = "vgg19-dcbb9e9d.pth"  # torchvision's name for VGG19_Weights.IMAGENET1K_V1


def sha256_of_tensors(state_dict: Mapping[str, torch.Tensor]) -> str:
    """The SHA-256 over names, types, shapes and bytes of all tensors, in the order of their names."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(state_dict):
        tensor = state_dict[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def hub_checkpoints() -> Path:
    """Where torch.hub, and what downloads through it, keeps weight files: `$TORCH_HOME/hub/checkpoints`."""
    if "torch.hub" in sys.modules:  # its folder may have been set to another one
        return Path(sys.modules["torch.hub"].get_dir()) / "checkpoints"
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("TORCH_HOME", os.path.join(cache, "torch"))).expanduser() / "hub" / "checkpoints"


class WeightFile:
    """A weight file, hashed at once and read when its tensors are first asked for.

    Args:
        path: a safetensors or torch file. what: for messages, e.g. "feature_model resnet50".

    Raises:
        UserError: the file is missing, or begins as no weight file does.
    """

    def __init__(self, path: str | Path, *, what: str) -> None:
        self.path, self.what = Path(path).expanduser(), what
        if not self.path.is_file():  # a regular one: neither a pipe nor a device
            raise UserError(f"{what}: no weight file at {self.path}")
        self._state = _state_of(self.path)
        self._tensors: dict[str, torch.Tensor] | None = None
        with open_regular(self.path) as file:
            beginning = file.read(9)
        # a zip archive (torch since 1.6), a pickle (torch before), or the header of safetensors after its length
        if not (beginning.startswith((b"PK\x03\x04", b"\x80")) or beginning[8:] == b"{"):
            raise _not_weights(what, self.path, "it is no torch file and no safetensors file")
        self.sha256 = sha256_of_file(self.path)

    def read(self) -> dict[str, torch.Tensor]:
        """The tensors by name, see `read_state_dict`; UserError where the file was written to since it was hashed."""
        if self._tensors is None:
            tensors = read_state_dict(self.path, what=self.what)
            if _state_of(self.path) != self._state:
                raise UserError(
                    f"{self.what}: {self.path} was written to while genaudit ran; give it a copy that stays"
                )
            self._tensors = tensors
        return self._tensors


def _state_of(path: Path) -> tuple[int, int, int]:
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


def _not_weights(what: str, path: Path, why: str) -> UserError:
    return UserError(
        f"{what}: {path} cannot be read as weights ({why}); a .safetensors file, or a torch file that holds tensors "
        "only, was expected (genaudit never unpickles code)"
    )


def read_state_dict(path: str | Path, *, what: str) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors or torch file; torch files are read with `weights_only=True`.

    Args:
        path: the file. Wrappers that training scripts leave around the tensors ("state_dict", "model",
            "state_dict_ema", BYOL's "online_backbone", "module." prefixes) are taken off.
        what: for the message, e.g. "feature_model resnet50".

    Raises:
        UserError: the file is missing, is not a weight file, or holds more than tensors.
    """
    import torch

    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"{what}: no weight file at {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        loaded = load_torch(path)
    except Exception as error:
        raise _not_weights(what, path, reason_of(error)) from None
    for key in WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
            break
    tensors = {k: v for k, v in loaded.items() if torch.is_tensor(v)} if isinstance(loaded, dict) else {}
    if not tensors:
        raise UserError(f"{what}: {path} holds no tensors by name; expected a state dict")
    prefix = "module."
    if all(name.startswith(prefix) for name in tensors):
        tensors = {name[len(prefix) :]: tensor for name, tensor in tensors.items()}
    return tensors
