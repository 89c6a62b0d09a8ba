"""The numbers of peers that nobody keeps up with current scipy, recorded by `record_peers.py`; what tests compare with.

pytorch-fid 0.3.0 and clean-fid 0.1.35 call `scipy.linalg.sqrtm(..., disp=False)`, which scipy 1.18 has no more. What
they answer cannot change by now, so it is data: recorded_peers.json holds numbers and the packages that gave them,
recorded_peers.npz the rows that went in and the rows of features and pixels that came out.
"""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parent
NUMBERS, ARRAYS = FOLDER / "recorded_peers.json", FOLDER / "recorded_peers.npz"
DEAD = ("pytorch-fid", "clean-fid")
AGAIN = "record_peers.py records them again (its docstring says in which environment)"

# what the recordings are of
ROWS = (150, 20)
PICTURES = (4, 96)
SHAPES = ((32, 32), (40, 500), (299, 299), (512, 301))
EVERY = 13  # of the pixels of a resized picture, in each direction


@functools.cache
def numbers() -> dict[str, Any]:
    """recorded_peers.json."""
    found: dict[str, Any] = json.loads(NUMBERS.read_text())
    return found


@functools.cache
def arrays() -> dict[str, np.ndarray]:
    """recorded_peers.npz."""
    with np.load(ARRAYS) as file:
        return {name: file[name] for name in file.files}


def rows() -> Any:
    """The rows of features whose distances are recorded."""
    from peers import Rows

    given = {name: arrays()[f"rows_{name}"].astype(np.float64) for name in ("generated", "reference", "train")}
    return Rows(**given, logits=np.empty((0, 10)))


def picture(shape: tuple[int, int]) -> np.ndarray:
    """The picture (H, W, 3) uint8 whose resized form is recorded."""
    return np.random.default_rng([0, *shape]).integers(0, 256, (*shape, 3), dtype=np.uint8)


def digest(images: np.ndarray) -> str:
    """Of pixels, so that a recording is compared with what it was made of."""
    return hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()


def sample_of_weights(path: Path) -> np.ndarray:
    """Some of the random network's weights: they are drawn by torch, which may draw others one day."""
    import torch

    state = torch.load(path, weights_only=True)
    names = sorted(name for name in state if name.endswith(("conv.weight", "running_var")))[::20]
    return np.concatenate([state[name].flatten()[:8].numpy() for name in names])
