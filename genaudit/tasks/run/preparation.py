"""How a network's images are prepared, as text that two preparations are compared by."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from genaudit.backbones.feature_model import FeatureModel
from genaudit.errors import UserError
from genaudit.tasks.run.config_folders import config_folders
from genaudit.tasks.run.instantiate import instantiate


def preparation_of(model: FeatureModel) -> str:
    """How a feature model's images are resized and normalised, as canonical JSON."""
    described = {"resize": model.recipe.describe(), "mean": list(model.mean), "std": list(model.std)}
    return json.dumps(described, sort_keys=True)


def expected_preparation(network: str, keys: Mapping[str, Any]) -> str:
    """The same of a network's YAML with some keys set.

    Raises:
        UserError: there is no such YAML, or it has no such keys.
    """
    return preparation_of(_made(network, json.dumps(dict(keys), sort_keys=True)))


@functools.lru_cache(maxsize=64)
def _made(network: str, keys: str) -> FeatureModel:
    from omegaconf import OmegaConf

    for _, folder in config_folders():
        path = folder / "feature_model" / f"{network}.yaml"
        if path.is_file():
            node: Any = OmegaConf.merge(OmegaConf.load(path), json.loads(keys), {"offline": True})
            model: FeatureModel = instantiate(node)
            return model
    raise UserError(f"networks: there is no feature model {network}; `genaudit list feature_models` shows them")


def difference(theirs: str, own: str) -> str:
    """What two preparations differ in: `size 224, here 299; tool none, here clean-fid`."""
    first, second = _flat(theirs), _flat(own)
    keys = [key for key in (first | second) if first.get(key) != second.get(key) and key != "algorithm"]
    said = [f"{key} {first.get(key, 'none')}, here {second.get(key, 'none')}" for key in keys]
    return "; ".join(said) or "its description is of another version"


def _flat(preparation: str) -> dict[str, str]:
    try:
        found = json.loads(preparation)
        words = {str(key): str(value)[:60] for key, value in found["resize"].items()}
        return words | {key: "/".join(f"{float(each):.4g}" for each in found[key]) for key in ("mean", "std")}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {"preparation": preparation[:200]}
