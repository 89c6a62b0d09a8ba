"""Records what pytorch-fid and clean-fid answer, for the tests: `recorded_peers.json` and `.npz` beside this script.

They need an environment of their own, with an older scipy than the tests':

    python -m venv /tmp/peers && /tmp/peers/bin/pip install -e '.[test,parity]'
    /tmp/peers/bin/python scripts/record_peers.py
"""

from __future__ import annotations

import json
import platform
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import recorded_peers as recorded
from peers import COMPARISONS, Rows, quiet

PACKAGES = (*recorded.DEAD, "scipy", "numpy", "torch", "pillow")


def main() -> None:
    arrays: dict[str, Any] = {}
    values = _distances(arrays)
    digests = _features(arrays)
    for shape in recorded.SHAPES:
        arrays["resized_{}x{}".format(*shape)] = _resized(recorded.picture(shape))
    document = {
        "made_by": "scripts/record_peers.py",
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        **digests,
        "values": values,
        "shifted_set": _shifted_set(),
    }
    recorded.NUMBERS.write_text(json.dumps(document, indent=1) + "\n")
    np.savez_compressed(recorded.ARRAYS, **arrays)
    print(f"{recorded.NUMBERS} and {recorded.ARRAYS.name}: {len(values)} distances, {len(arrays)} arrays")


def _distances(arrays: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Every number of theirs for rows of features, which are kept too."""
    rows = Rows.draw(*recorded.ROWS)
    arrays |= {f"rows_{name}": getattr(rows, name).astype(np.float32) for name in ("generated", "reference", "train")}
    return {f"{each.metric}-{each.peer}": each.theirs(rows) for each in COMPARISONS if each.package in recorded.DEAD}


def _features(arrays: dict[str, Any]) -> dict[str, str]:
    """Features of a few pictures through the network of random weights, and which pictures and weights these were."""
    from peers_whole import FEATURES, batch_of, prepare

    with tempfile.TemporaryDirectory() as folder:
        pictures = prepare(Path(folder), *recorded.PICTURES)
        for tool in recorded.DEAD:
            arrays[f"features_{tool}"] = FEATURES[tool](pictures).astype(np.float32)
        arrays["weights"] = recorded.sample_of_weights(pictures.weights)
        return {"pictures": recorded.digest(batch_of(pictures).numpy())}


def _resized(image: np.ndarray) -> np.ndarray:
    """clean-fid's resized picture, every few pixels."""
    from cleanfid.resize import build_resizer

    kept: np.ndarray = build_resizer("clean")(image)[:: recorded.EVERY, :: recorded.EVERY].astype(np.float32)
    return kept


def _shifted_set() -> float:
    """The wrong distance of `peer_defects.distance_of_a_shifted_set`."""
    from peer_defects import moments_of_a_shifted_set
    from pytorch_fid.fid_score import calculate_frechet_distance

    first, second = moments_of_a_shifted_set()
    return float(quiet(calculate_frechet_distance, *first, *second))


if __name__ == "__main__":
    main()
