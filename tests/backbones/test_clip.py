"""CLIP is OpenAI's: QuickGELU, the projected class token; and names that would load another activation are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from genaudit.backbones.timm_model import TimmModel
from genaudit.errors import UserError

NAME = "vit_base_patch32_clip_quickgelu_224.openai"
WIDTH, EMBEDDING, SIDE = 768, 512, 64  # one block of ViT-B/32 on 2 x 2 patches


def openai(seed: int = 0) -> dict[str, torch.Tensor]:
    """A file of one block in OpenAI's names."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * shape[-1] ** -0.5

    block = "transformer.resblocks.0."
    shapes: dict[str, tuple[int, ...]] = {
        "class_embedding": (WIDTH,),
        "positional_embedding": (5, WIDTH),
        "conv1.weight": (WIDTH, 3, 32, 32),
        "proj": (WIDTH, EMBEDDING),
        f"{block}attn.in_proj_weight": (3 * WIDTH, WIDTH),
        f"{block}attn.in_proj_bias": (3 * WIDTH,),
        f"{block}attn.out_proj.weight": (WIDTH, WIDTH),
        f"{block}attn.out_proj.bias": (WIDTH,),
        f"{block}mlp.c_fc.weight": (4 * WIDTH, WIDTH),
        f"{block}mlp.c_fc.bias": (4 * WIDTH,),
        f"{block}mlp.c_proj.weight": (WIDTH, 4 * WIDTH),
        f"{block}mlp.c_proj.bias": (WIDTH,),
    }
    found = {f"visual.{name}": draw(*shape) for name, shape in shapes.items()}
    for norm in ("ln_pre", "ln_post", f"{block}ln_1", f"{block}ln_2"):
        found |= {f"visual.{norm}.weight": 1 + draw(WIDTH), f"visual.{norm}.bias": draw(WIDTH)}
    return found


def image_embedding(state: dict[str, torch.Tensor], x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """OpenAI's `encode_image` by hand: before and after the projection."""
    of = {name.removeprefix("visual."): tensor for name, tensor in state.items()}

    def norm(h: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(h, (WIDTH,), of[f"{name}.weight"], of[f"{name}.bias"], 1e-5)

    tokens = F.conv2d(x, of["conv1.weight"], stride=32).flatten(2).transpose(1, 2)
    h = torch.cat((of["class_embedding"].expand(len(x), 1, -1), tokens), 1) + of["positional_embedding"]
    h = norm(h, "ln_pre")
    block = "transformer.resblocks.0."
    attention = torch.nn.MultiheadAttention(WIDTH, 12, batch_first=True).eval()
    own = {name.removeprefix(f"{block}attn."): tensor for name, tensor in of.items() if f"{block}attn." in name}
    attention.load_state_dict(own)
    inner = norm(h, f"{block}ln_1")
    h = h + attention(inner, inner, inner, need_weights=False)[0]
    inner = norm(h, f"{block}ln_2") @ of[f"{block}mlp.c_fc.weight"].T + of[f"{block}mlp.c_fc.bias"]
    inner = inner * torch.sigmoid(1.702 * inner)  # QuickGELU
    h = h + inner @ of[f"{block}mlp.c_proj.weight"].T + of[f"{block}mlp.c_proj.bias"]
    before = norm(h[:, 0], "ln_post")
    return before, before @ of["proj"]


def model(path: Path, **more: object) -> TimmModel:
    kwargs = {"depth": 1, "img_size": SIDE}
    return TimmModel(NAME, size=SIDE, kwargs=kwargs, checkpoint=str(path), **more)  # type: ignore[arg-type]


def test_clips_features_are_openais_image_embedding(tmp_path: Path) -> None:
    path = tmp_path / "clip.pth"
    torch.save(openai(), path)
    x = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    with torch.no_grad():
        before, after = image_embedding(openai(), (x - mean.view(3, 1, 1)) / std.view(3, 1, 1))
        projected = model(path, projection=True).network()(x)
        plain = model(path).network()(x)
    assert projected.shape == (2, EMBEDDING)
    # sums of 3,072 float32 terms: 1e-5 of the largest
    assert float((projected - after).abs().max()) < 1e-5 * float(after.abs().max())
    assert float((plain - before).abs().max()) < 1e-5 * float(before.abs().max())
    assert model(path, projection=True).describe() != model(path).describe()


def test_clips_projection_is_no_classifier(tmp_path: Path) -> None:
    path = tmp_path / "clip.pth"
    torch.save(openai(), path)
    with pytest.raises(UserError, match="has no classifier"):
        model(path).network(output="logits")


def test_a_file_without_the_projection_says_so(tmp_path: Path) -> None:
    path = tmp_path / "clip.pth"
    state = openai()
    del state["visual.proj"]
    torch.save(state, path)
    with pytest.raises(UserError, match=r"holds no projection; feature_model\.projection=false"):
        model(path, projection=True).network()


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("vit_base_patch32_clip_224.openai", "vit_base_patch32_clip_quickgelu_224.openai"),
        ("vit_large_patch14_clip_336.openai", "vit_large_patch14_clip_quickgelu_336.openai"),
        ("vit_base_patch16_clip_224.metaclip_400m", "vit_base_patch16_clip_quickgelu_224.metaclip_400m"),
        ("vit_huge_patch14_clip_378.dfn5b", "vit_huge_patch14_clip_quickgelu_378.dfn5b"),
    ],
)
def test_weights_trained_with_quickgelu_are_refused_in_a_network_with_gelu(name: str, right: str) -> None:
    with pytest.raises(UserError, match=f"feature_model.name={right} is right"):
        TimmModel(name)


@pytest.mark.parametrize("name", ["vit_base_patch32_clip_224.laion2b", "vit_base_patch32_clip_224.openai_ft_in1k"])
def test_weights_trained_with_gelu_are_not(name: str) -> None:
    assert TimmModel(name).name == name


@pytest.mark.parametrize("name", ["resnet50.tv_in1k", "vit_base_patch32_clip_224.openai_ft_in1k"])
def test_only_clip_has_a_projection(name: str) -> None:
    with pytest.raises(UserError, match="is for CLIP models"):
        TimmModel(name, projection=True)
