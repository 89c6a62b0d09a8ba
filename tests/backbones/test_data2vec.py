"""data2vec's two layouts give the class token of a BEiT with shared position biases, computed here by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from genaudit.backbones.data2vec import Data2Vec
from genaudit.errors import UserError

WIDTH, DEPTH, HEADS, PATCH, GRID, HIDDEN = 16, 2, 4, 4, 3, 24
SIDE = PATCH * GRID
State = dict[str, torch.Tensor]


def beit(seed: int = 0) -> State:
    """A miniature of the authors' file, with what training left in it."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return 0.4 * torch.randn(shape, generator=generator)

    state = {
        "cls_token": draw(1, 1, WIDTH),
        "mask_token": draw(1, 1, WIDTH),
        "patch_embed.proj.weight": draw(WIDTH, 3, PATCH, PATCH),
        "patch_embed.proj.bias": draw(WIDTH),
        "rel_pos_bias.relative_position_bias_table": draw((2 * GRID - 1) ** 2 + 3, HEADS),
        "rel_pos_bias.relative_position_index": torch.zeros(GRID**2 + 1, GRID**2 + 1),
        "norm.weight": draw(WIDTH),
        "norm.bias": draw(WIDTH),
        "lm_head.weight": draw(WIDTH, WIDTH),
        "lm_head.bias": draw(WIDTH),
    }
    for block in (f"blocks.{i}." for i in range(DEPTH)):
        state |= {
            f"{block}gamma_1": draw(WIDTH),
            f"{block}gamma_2": draw(WIDTH),
            f"{block}norm1.weight": draw(WIDTH),
            f"{block}norm1.bias": draw(WIDTH),
            f"{block}attn.q_bias": draw(WIDTH),
            f"{block}attn.v_bias": draw(WIDTH),
            f"{block}attn.qkv.weight": draw(3 * WIDTH, WIDTH),
            f"{block}attn.proj.weight": draw(WIDTH, WIDTH),
            f"{block}attn.proj.bias": draw(WIDTH),
            f"{block}norm2.weight": draw(WIDTH),
            f"{block}norm2.bias": draw(WIDTH),
            f"{block}mlp.fc1.weight": draw(HIDDEN, WIDTH),
            f"{block}mlp.fc1.bias": draw(HIDDEN),
            f"{block}mlp.fc2.weight": draw(WIDTH, HIDDEN),
            f"{block}mlp.fc2.bias": draw(WIDTH),
        }
    return state


def hugging_face(state: State) -> State:
    """The same weights as Hugging Face's conversion names them."""
    found = {
        "embeddings.cls_token": state["cls_token"],
        "embeddings.mask_token": state["mask_token"],
        "embeddings.patch_embeddings.projection.weight": state["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": state["patch_embed.proj.bias"],
        "encoder.relative_position_bias.relative_position_bias_table": state[
            "rel_pos_bias.relative_position_bias_table"
        ],
        "encoder.relative_position_bias.relative_position_index": state["rel_pos_bias.relative_position_index"],
        "layernorm.weight": state["norm.weight"],
        "layernorm.bias": state["norm.bias"],
    }
    for i in range(DEPTH):
        layer, block = f"encoder.layer.{i}.", f"blocks.{i}."
        query, key, value = state[f"{block}attn.qkv.weight"].chunk(3)
        found |= {
            f"{layer}lambda_1": state[f"{block}gamma_1"],
            f"{layer}lambda_2": state[f"{block}gamma_2"],
            f"{layer}attention.attention.query.weight": query,
            f"{layer}attention.attention.query.bias": state[f"{block}attn.q_bias"],
            f"{layer}attention.attention.key.weight": key,
            f"{layer}attention.attention.value.weight": value,
            f"{layer}attention.attention.value.bias": state[f"{block}attn.v_bias"],
        }
        names = {
            "layernorm_before": "norm1",
            "layernorm_after": "norm2",
            "attention.output.dense": "attn.proj",
            "intermediate.dense": "mlp.fc1",
            "output.dense": "mlp.fc2",
        }
        for kind in ("weight", "bias"):
            found |= {f"{layer}{theirs}.{kind}": state[f"{block}{ours}.{kind}"] for theirs, ours in names.items()}
    return found


def position_bias(table: torch.Tensor) -> torch.Tensor:
    """(heads, tokens, tokens) from the table, by a loop over pairs of tokens; the class token is first."""
    tokens = GRID**2 + 1
    bias = torch.zeros(tokens, tokens, HEADS)
    last = len(table)
    for i in range(tokens):
        for j in range(tokens):
            if i == j == 0:
                row = last - 1
            elif j == 0:
                row = last - 2  # patch to class
            elif i == 0:
                row = last - 3  # class to patch
            else:
                (a, b), (c, d) = divmod(i - 1, GRID), divmod(j - 1, GRID)
                row = (a - c + GRID - 1) * (2 * GRID - 1) + (b - d + GRID - 1)
            bias[i, j] = table[row]
    return bias.permute(2, 0, 1)


def by_hand(state: Mapping[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """The class token after the last normalisation, for images (N, 3, S, S) that are normalised already."""
    weight = state["patch_embed.proj.weight"]
    tokens = F.conv2d(x, weight, state["patch_embed.proj.bias"], stride=PATCH).flatten(2).transpose(1, 2)
    h = torch.cat((state["cls_token"].expand(len(x), -1, -1), tokens), dim=1)
    bias = position_bias(state["rel_pos_bias.relative_position_bias_table"])

    def norm(values: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(values, (WIDTH,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-12)

    for block in (f"blocks.{i}." for i in range(DEPTH)):
        biases = torch.cat((state[f"{block}attn.q_bias"], torch.zeros(WIDTH), state[f"{block}attn.v_bias"]))
        qkv = norm(h, f"{block}norm1") @ state[f"{block}attn.qkv.weight"].T + biases
        q, k, v = (part.unflatten(2, (HEADS, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=2))
        weights = (q @ k.transpose(2, 3) * (WIDTH // HEADS) ** -0.5 + bias).softmax(-1)
        out = (weights @ v).transpose(1, 2).flatten(2)
        h = h + state[f"{block}gamma_1"] * (out @ state[f"{block}attn.proj.weight"].T + state[f"{block}attn.proj.bias"])
        inner = F.gelu(norm(h, f"{block}norm2") @ state[f"{block}mlp.fc1.weight"].T + state[f"{block}mlp.fc1.bias"])
        h = h + state[f"{block}gamma_2"] * (inner @ state[f"{block}mlp.fc2.weight"].T + state[f"{block}mlp.fc2.bias"])
    return norm(h, "norm")[:, 0]


def saved(tmp_path: Path, state: object) -> str:
    path = tmp_path / "data2vec.bin"
    torch.save(state, path)
    return str(path)


@pytest.mark.parametrize("layout", ["authors", "hugging face", "hugging face, prefixed"])
def test_both_layouts_give_the_normalised_class_token(tmp_path: Path, layout: str) -> None:
    state = beit()
    prefix = "data2vec_vision." if "prefixed" in layout else ""
    theirs = {prefix + name: tensor for name, tensor in hugging_face(state).items()}
    path = saved(tmp_path, {"model": state, "epoch": 1} if layout == "authors" else theirs)
    x = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        features = Data2Vec(size=SIDE, checkpoint=path).network()(x)
        expected = by_hand(state, (x - 0.5) / 0.5)
    assert features.shape == (2, WIDTH)
    # two blocks of float32 matrix products of 24 terms: some 1e-6 of the largest
    assert float((features - expected).abs().max()) < 1e-5 * float(expected.abs().max())


def test_the_images_must_have_the_size_of_the_network(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"takes images of {SIDE} pixels; feature_model.size={SIDE}"):
        Data2Vec(checkpoint=saved(tmp_path, beit())).network()


def test_a_network_that_was_fine_tuned_to_classes_is_refused(tmp_path: Path) -> None:
    table = torch.zeros((2 * GRID - 1) ** 2 + 3, HEADS)
    for name in (
        "blocks.0.attn.relative_position_bias_table",
        "data2vec_vision.encoder.layer.0.attention.attention.relative_position_bias.relative_position_bias_table",
    ):
        with pytest.raises(UserError, match="fine-tuned to classes"):
            Data2Vec(size=SIDE, checkpoint=saved(tmp_path, beit() | {name: table})).network()


@pytest.mark.parametrize("lacking", ["blocks.1.gamma_1", "norm.bias", "cls_token", "blocks.0.mlp.fc1.weight"])
def test_a_file_that_lacks_a_tensor_is_refused(tmp_path: Path, lacking: str) -> None:
    state = beit()
    del state[lacking]
    with pytest.raises(UserError, match="do not fit the network"):
        Data2Vec(size=SIDE, checkpoint=saved(tmp_path, state)).network()
