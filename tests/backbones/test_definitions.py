"""Every feature model's YAML is its authors' definition, written here from their papers and code, not from timm.

docs/feature_models.md has the table of what agrees and what differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from PIL import Image

from genaudit.backbones.embedded import EfficientNetLite0
from genaudit.backbones.feature_model import FeatureModel
from genaudit.backbones.fid_inception import FidInception
from genaudit.backbones.timm_model import TimmModel, resampled_as_dinov2
from genaudit.config_files import config_folder
from genaudit.data.resize import ResizeRecipe
from genaudit.errors import UserError
from genaudit.tasks.run.instantiate import instantiate

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
NAMES = sorted(path.stem for path in (config_folder() / "feature_model").glob("*.yaml"))


@dataclass(frozen=True)
class Definition:
    """What the authors do: features, side, filter, normalisation, activation and which token (or pool) leaves."""

    features: int
    size: int
    interpolation: str
    normalisation: tuple[tuple[float, ...], tuple[float, ...]]
    activation: str
    pool: str
    epsilon: float | None = None  # of the last LayerNorm
    fit: str = "squash"


AUTHORS = {
    "clip_vit_b32": Definition(512, 224, "bicubic", CLIP, "QuickGELU", "token", 1e-5),
    "clip_vit_l14": Definition(768, 224, "bicubic", CLIP, "QuickGELU", "token", 1e-5),
    "clip_vit_l14_336": Definition(768, 336, "bicubic", CLIP, "QuickGELU", "token", 1e-5, "cut"),  # for CMMD
    "convnext_t": Definition(768, 224, "bicubic", IMAGENET, "GELU", "avg", 1e-6),
    "convnextv2_b": Definition(1024, 224, "bicubic", IMAGENET, "GELU", "avg", 1e-6),
    "convnext_xl_22k": Definition(2048, 224, "bicubic", IMAGENET, "GELU", "avg", 1e-6),
    "dino_vit_s16": Definition(384, 224, "bicubic", IMAGENET, "GELU", "token", 1e-6),
    "mae_vit_b16": Definition(768, 224, "bicubic", IMAGENET, "GELU", "token", 1e-6),
    "mae_vit_l16": Definition(1024, 224, "bicubic", IMAGENET, "GELU", "token", 1e-6),
    "siglip2_so400m": Definition(1152, 256, "bicubic", HALF, "GELUTanh", "map", 1e-6),  # jax.nn.gelu is the tanh form
    "resnet50": Definition(2048, 224, "bilinear", IMAGENET, "ReLU", "avg"),
    "vit_s16": Definition(384, 224, "bicubic", HALF, "GELU", "token", 1e-6),
    **{
        f"dinov2_{size}14{more}": Definition(width, 224, "bicubic", IMAGENET, "GELU", "token", 1e-6)
        for size, width in (("s", 384), ("b", 768), ("l", 1024))
        for more in ("", "_reg")
    },
}
# Hwang et al. 2024 name ViT-S and ConvNeXt-tiny; of DINOv2 the paper names no size, and their code loads ViT-S/14
VALIDATED = {"vit_s16", "convnext_t", "dinov2_s14"}


def made(name: str) -> FeatureModel:
    config = OmegaConf.load(config_folder() / "feature_model" / f"{name}.yaml")
    config["offline"] = True
    own = {"module": "torch.nn.Flatten", "size": 8, "mean": [0.0] * 3, "std": [1.0] * 3}
    for key, value in {"name": "resnet18", "architecture": "resnet18", **own}.items():
        if OmegaConf.is_missing(config, key):
            config[key] = value
    model: FeatureModel = instantiate(config)
    return model


@pytest.mark.parametrize("name", AUTHORS)
def test_preprocessing_is_the_authors(name: str) -> None:
    model, authors = made(name), AUTHORS[name]
    recipe = model.recipe
    assert isinstance(recipe, ResizeRecipe)
    assert (recipe.size, recipe.interpolation, recipe.fit) == (authors.size, authors.interpolation, authors.fit)
    assert (model.mean, model.std) == authors.normalisation


@pytest.mark.parametrize("name", AUTHORS)
def test_architecture_is_the_authors(name: str) -> None:
    model, authors = made(name), AUTHORS[name]
    assert isinstance(model, TimmModel)
    classes = authors.features if model.projection else 0
    with torch.device("meta"):
        network = timm.create_model(model.name, num_classes=classes, **model.kwargs)
    activations = {type(m).__name__ for m in network.modules() if "LU" in type(m).__name__}
    assert activations == {authors.activation}
    assert all(getattr(m, "approximate", "none") == "none" for m in network.modules())  # GELU itself, not its tanh form
    assert _pool(network) == authors.pool
    assert (classes or network.num_features) == authors.features
    if authors.epsilon is not None:
        last = [m for m in network.modules() if "LayerNorm" in type(m).__name__][-1]
        assert last.eps == authors.epsilon


def _pool(network: Any) -> str:
    """Of a ViT the token that leaves, of a convolutional network how it pools."""
    pool = network.global_pool if hasattr(network, "global_pool") else network.head.global_pool
    return str(pool if isinstance(pool, str) else pool.pool_type)


@pytest.mark.parametrize("size", [(400, 352), (90, 121), (336, 336)])
def test_cmmds_images_are_cut_to_the_central_square_and_resized_by_pillow(size: tuple[int, int]) -> None:
    """The authors cut at whole pixels, then resize 8-bit pixels bicubically."""
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    side, (height, width) = min(size), size
    top, left = (height - side) // 2, (width - side) // 2
    cut = Image.fromarray(image[top : top + side, left : left + side])
    expected = np.asarray(cut.resize((336, 336), Image.Resampling.BICUBIC))
    assert np.array_equal(made("clip_vit_l14_336").recipe.apply(image), expected)


def test_only_what_the_authors_of_the_anomaly_score_validated_is_called_so() -> None:
    assert {name for name in NAMES if made(name).as_validated} == VALIDATED


def test_the_page_of_feature_models_has_a_row_for_each() -> None:
    page = (Path(__file__).parents[2] / "docs" / "feature_models.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"| `{name}` |" not in page] == []


def cubic(t: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = -0.75, as PyTorch has it."""
    a, t = -0.75, np.abs(t)
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0))


def test_dinov2s_positions_are_resampled_as_its_authors_do() -> None:
    """By hand: without antialiasing, output i lies at (i + 0.5)·37/16.1 - 0.5 of the authors' grid of 37 a side."""
    side, new, patch, width = 37, 16, 14, 3
    positions = torch.randn(1, 1 + side * side, width, generator=torch.Generator().manual_seed(0))
    state = {"pos_embed": positions, "patch_embed.proj.weight": torch.zeros(2, 3, patch, patch)}
    found = resampled_as_dinov2(state, new * patch)["pos_embed"]
    at = (np.arange(new) + 0.5) * side / (new + 0.1) - 0.5
    weights = np.zeros((new, side))
    for beyond in range(-2, side + 2):  # what lies over the border has the border's value
        weights[:, min(max(beyond, 0), side - 1)] += cubic(at - beyond)
    grid = positions[0, 1:].reshape(side, side, width).numpy()
    expected = np.einsum("ia,jb,abd->ijd", weights, weights, grid).reshape(-1, width)
    np.testing.assert_allclose(found[0, 1:], expected, atol=1e-4)  # the coordinates are rounded to float32: 37·2^-24
    assert torch.equal(found[:, 0], positions[:, 0])
    assert resampled_as_dinov2(state, side * patch)["pos_embed"] is positions


def test_dinov2_without_registers_gets_them_from_its_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    kwargs = {"depth": 1, "embed_dim": 64, "num_heads": 2, "img_size": 70}
    name = "vit_small_patch14_dinov2.lvd142m"
    state = timm.create_model(name, num_classes=0, **kwargs).state_dict()
    state["pos_embed"] = torch.randn_like(state["pos_embed"])
    torch.save(state, tmp_path / "dinov2.pth")
    options: dict[str, Any] = {
        "size": 42,
        "kwargs": kwargs | {"img_size": 42},
        "checkpoint": str(tmp_path / "dinov2.pth"),
    }
    authors = TimmModel(name, position_embedding="dinov2", **options)
    expected = resampled_as_dinov2(state, 42)["pos_embed"]
    assert torch.equal(authors.build().get_parameter("pos_embed"), expected)
    antialiased = TimmModel(name, **options)
    assert not torch.allclose(antialiased.build().get_parameter("pos_embed"), expected, atol=0.05)
    assert authors.describe() != antialiased.describe()


def test_a_centre_crop_is_a_resize_to_more_pixels_and_a_crop() -> None:
    """256 and 224, as ImageNet's evaluation has it; the two roundings to 8 bits of one resize differ by one."""
    from PIL import Image

    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    resized = np.asarray(Image.fromarray(image).resize((256, 256), Image.Resampling.BICUBIC))
    found = ResizeRecipe(224, "bicubic", "crop", 0.875).apply(image).astype(int)
    inside = slice(16, 240)  # at the very border of the crop Pillow's kernel sees the box alone
    difference = np.abs(found - resized[inside, inside])[8:-8, 8:-8]
    assert difference.max() <= 1
    assert ResizeRecipe(224, "bicubic", "crop", 0.875).describe()["crop_pct"] == 0.875
    assert "crop_pct" not in ResizeRecipe(224, "bicubic", "crop").describe()
    cropped = ResizeRecipe(56, "bicubic", "crop", 0.875).apply(image)
    assert np.array_equal(cropped, image[4:60, 4:60])


@pytest.mark.parametrize(("fit", "share", "message"), [("squash", 0.9, "needs fit=crop"), ("crop", 0, "above 0")])
def test_a_crop_that_cannot_be_is_refused(fit: Any, share: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResizeRecipe(8, "bicubic", fit, share)


@pytest.mark.parametrize(
    "options", [{"crop_pct": 2, "fit": "crop"}, {"interpolation": "cubic"}, {"fit": "pad"}, {"size": 0}]
)
def test_a_resize_that_cannot_be_is_the_users_mistake(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"feature_model efficientnet_lite0: {next(iter(options))} must be"):
        EfficientNetLite0(**options)


@pytest.mark.parametrize(("stage", "features"), [(1, 16), (3, 40), (5, 112), (7, 320)])
def test_an_earlier_stage_is_the_average_of_its_map(stage: int, features: int) -> None:
    model = EfficientNetLite0(size=64, stage=stage)
    network = timm.create_model("tf_efficientnet_lite0").eval()
    network.load_state_dict(dict(zip(network.state_dict(), model.weights.state_dict.values(), strict=True)))
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        h = network.bn1(network.conv_stem((x - 0.5) / 0.5))
        for block in network.blocks[:stage]:
            h = block(h)
        expected, found = F.adaptive_avg_pool2d(h, 1).flatten(1), model.network()(x)
    assert found.shape == (2, features)
    assert float((found - expected).abs().max()) < 1e-5 * float(expected.abs().max())
    assert model.describe() != EfficientNetLite0(size=64).describe()


@pytest.mark.parametrize("stage", [0, 8])
def test_a_stage_that_is_not_there_is_refused(stage: int) -> None:
    with pytest.raises(UserError, match="stage must be 1 to 7"):
        EfficientNetLite0(stage=stage)


def test_the_papers_random_is_fids_network_drawn_from_its_seed() -> None:
    pytest.importorskip("torch_fidelity")
    torch.manual_seed(1)
    model = FidInception(pretrained=False)
    torch.manual_seed(42)
    # the first layers that the authors' code draws are torchvision's own
    expected = torch.nn.Conv2d(3, 32, bias=False, kernel_size=3, stride=2).weight
    assert torch.equal(model.weights.state_dict["Conv2d_1a_3x3.conv.weight"], expected)
    assert not model.weights.trained
    assert model.weights.sha256 != FidInception(pretrained=False, weight_seed=1).weights.sha256
    assert FidInception(pretrained=False).weights.sha256 == model.weights.sha256
    with torch.no_grad():
        assert model.network()(torch.rand(1, 3, 299, 299)).shape == (1, 2048)
    with pytest.raises(UserError, match="has no classifier"):
        model.network(output="logits")


def test_random_weights_and_a_checkpoint_exclude_each_other() -> None:
    with pytest.raises(UserError, match="exclude each other"):
        FidInception(pretrained=False, checkpoint="x.pth")
