"""The networks of FDr are its authors': which features of a timm network, at which size, after which resize."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import timm
import torch
from omegaconf import OmegaConf

from genaudit.backbones.timm_model import TimmModel
from genaudit.config_files import config_folder
from genaudit.errors import UserError
from genaudit.tasks.run.instantiate import instantiate

PADDED = {"dynamic_img_size": True, "dynamic_img_pad": True}
# timm's name, side, features, options: scripts/compute_valfd.py and frechet_distance/repr_models.py of their repository
AUTHORS: dict[str, tuple[str, int, int, dict[str, Any]]] = {
    "fdr_convnextv2_b": ("convnextv2_base.fcmae_ft_in22k_in1k", 224, 1024, {"pooling": "map"}),
    "fdr_dinov2_l14": ("vit_large_patch14_dinov2.lvd142m", 256, 1024, {"kwargs": PADDED}),
    "fdr_mae_l16": ("vit_large_patch16_224.mae", 224, 1024, {}),
    "fdr_siglip2_so400m": ("vit_so400m_patch16_siglip_256.v2_webli", 224, 1152, {"kwargs": PADDED}),
    "fdr_clip_l14": ("vit_large_patch14_clip_224.openai", 256, 1024, {"kwargs": PADDED}),
}


@pytest.mark.parametrize("name", AUTHORS)
def test_a_network_of_fdr_is_the_authors(name: str) -> None:
    node: Any = OmegaConf.load(config_folder() / "feature_model" / f"{name}.yaml")
    node["offline"] = True
    model = instantiate(node)
    timm_name, size, features, options = AUTHORS[name]
    assert (model.name, model.recipe.size, model.recipe.tool) == (timm_name, size, "edm2")
    assert {"kwargs": model.kwargs, "pooling": model.pooling} == {"kwargs": {}, "pooling": "head", **options}
    assert (model.projection, model.position_embedding) == (False, "timm")
    with torch.device("meta"):
        network: Any = timm.create_model(model.name, num_classes=0, **model.kwargs)
        images = torch.zeros(1, 3, size, size)
        found = network.forward_features(images).mean((2, 3)) if model.pooling == "map" else network(images)
    assert found.shape == (1, features)
    activations = {type(m).__name__ for m in network.modules() if "LU" in type(m).__name__}
    assert "QuickGELU" not in activations


@pytest.mark.parametrize(
    ("name", "size", "options", "pool"),
    [
        ("test_vit", 72, {"kwargs": PADDED}, lambda maps: maps[:, 0]),  # 72 is no multiple of 16: padded to 80
        ("test_convnext", 64, {"pooling": "map"}, lambda maps: maps.mean((2, 3))),
    ],
)
def test_features_are_the_authors_arithmetic(name: str, size: int, options: dict[str, Any], pool: Any) -> None:
    """[0, 1] images, PyTorch's antialiased bicubic resize, timm's mean and std, then a token or the map's average."""
    image = np.random.default_rng(0).integers(0, 256, (50, 90, 3), dtype=np.uint8)
    model = TimmModel(name, pretrained=False, size=size, preprocessing="edm2", **options)
    prepared = torch.from_numpy(model.recipe.apply(image).transpose(2, 0, 1)[None] / 255)
    with torch.no_grad():
        found = model.network("cpu")(prepared)
        network: Any = model._untrained.eval()
        batch = torch.from_numpy(image.transpose(2, 0, 1)[None].copy()).double() / 255
        resized = torch.nn.functional.interpolate(batch, (size, size), mode="bicubic", antialias=True).float()
        mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (model.mean, model.std))
        maps = network.forward_features((resized - mean) / std)
    # a float32 network on pixels that agree to 1e-5
    assert found.shape == pool(maps).shape
    assert torch.allclose(found, pool(maps), rtol=1e-3, atol=1e-4 * float(maps.abs().max()))
    if "pooling" in options:
        headed = TimmModel(name, pretrained=False, size=size).network("cpu")(prepared)
        assert not torch.allclose(found, headed, rtol=0.1)  # its head has a LayerNorm
        assert model.identity() != TimmModel(name, pretrained=False, size=size).identity()


def test_what_a_network_cannot_give_is_a_sentence() -> None:
    with pytest.raises(UserError, match="trained with QuickGELU, and this network has GELU"):
        TimmModel("vit_large_patch14_clip_224.openai")
    with pytest.raises(UserError, match="pooling must be head, or map"):
        TimmModel("test_convnext", pretrained=False, pooling="mean")  # type: ignore[arg-type]
    tokens = TimmModel("test_vit", pretrained=False, pooling="map")
    with pytest.raises(UserError, match="for convolutional networks"):
        tokens.network("cpu")(torch.zeros(1, 3, 160, 160))
