"""Re-identification networks: one branch of the siamese file, stretched inputs, latents through the VAE's encoder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision

from genaudit.backbones.reidentification import ReIdentification
from genaudit.backbones.vae_encoder import vae_encoder
from genaudit.errors import UserError

State = dict[str, torch.Tensor]


def branch(channels: int, features: int = 5) -> torch.nn.Module:
    """A ResNet-50 as the authors change it; few blocks would be another network, so weights are saved in half."""
    torch.manual_seed(channels)
    network = torchvision.models.resnet50(weights=None).eval()
    network.conv1 = torch.nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    network.fc = torch.nn.Linear(2048, features)
    return network.half().float()


def siamese(network: torch.nn.Module) -> State:
    state = {f"model.{name}": tensor.half() for name, tensor in network.state_dict().items()}
    return state | {"fc_end.weight": torch.ones(1, 5), "fc_end.bias": torch.zeros(1)}


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, str]:
    network = branch(3)
    path = tmp_path_factory.mktemp("reid") / "frames_best_network.pth"
    torch.save(siamese(network), path)
    return network, str(path)


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, str]:
    network = branch(4)
    path = tmp_path_factory.mktemp("reid") / "latents_best_network.pth"
    torch.save(siamese(network), path)
    return network, str(path)


def images(count: int = 2, size: int = 32) -> torch.Tensor:
    return torch.rand((count, 3, size, size), generator=torch.Generator().manual_seed(0))


def stretched(x: torch.Tensor) -> torch.Tensor:
    return torch.stack([2 * (each - each.min()) / (each.max() - each.min()) - 1 for each in x])


def test_the_feature_is_the_sigmoid_of_a_branch_on_the_stretched_frame(frames: tuple[torch.nn.Module, str]) -> None:
    network, path = frames
    model = ReIdentification(checkpoint=path).network()
    with torch.no_grad():
        features, expected = model(images()), torch.sigmoid(network(stretched(images())))
        assert features.shape == (2, 5)
        # folding rounds each of fifty layers' weights once more; a sigmoid's slope is at most 1/4
        assert torch.allclose(features, expected, atol=2e-5)
        # brightness and contrast of a frame drop out
        assert torch.allclose(model(0.2 + 0.5 * images()), features, atol=1e-4)
        even = torch.sigmoid(network(-torch.ones(1, 3, 32, 32)))  # a frame of one colour is its own minimum
        assert torch.allclose(model(torch.full((1, 3, 32, 32), 0.5)), even, atol=2e-5)


def vae(seed: int = 0, width: int = 32) -> State:
    """A miniature of a diffusers autoencoder's file: two blocks, attention in the middle, part of the decoder."""
    generator = torch.Generator().manual_seed(seed)

    def layer(*shape: int) -> torch.Tensor:
        return 0.2 * torch.randn(shape, generator=generator)

    shapes: dict[str, tuple[int, ...]] = {"conv_in": (width, 3, 3, 3), "conv_out": (8, 2 * width, 3, 3)}
    for block, (before, after) in enumerate([(width, width), (width, 2 * width)]):
        place = f"down_blocks.{block}.resnets.0."
        shapes |= {f"{place}norm1": (before,), f"{place}conv1": (after, before, 3, 3)}
        shapes |= {f"{place}norm2": (after,), f"{place}conv2": (after, after, 3, 3)}
        if before != after:
            shapes[f"{place}conv_shortcut"] = (after, before, 1, 1)
    wide = 2 * width
    shapes["down_blocks.0.downsamplers.0.conv"] = (width, width, 3, 3)
    for place in ("mid_block.resnets.0.", "mid_block.resnets.1."):
        shapes |= {f"{place}norm{i}": (wide,) for i in (1, 2)} | {f"{place}conv{i}": (wide, wide, 3, 3) for i in (1, 2)}
    attention = "mid_block.attentions.0."
    shapes |= {f"{attention}{name}": (wide, wide) for name in ("to_q", "to_k", "to_v", "to_out.0")}
    shapes |= {f"{attention}group_norm": (wide,), "conv_norm_out": (wide,)}
    state = {f"encoder.{name}.weight": layer(*shape) for name, shape in shapes.items()}
    state |= {f"encoder.{name}.bias": layer(shape[0]) for name, shape in shapes.items()}
    return state | {
        "quant_conv.weight": layer(8, 8, 1, 1),
        "quant_conv.bias": layer(8),
        "decoder.conv_in.bias": layer(4),
    }


def encoded_by_hand(state: State, x: torch.Tensor) -> torch.Tensor:
    """The posterior's mean of the miniature above."""

    def conv(h: torch.Tensor, name: str, padding: int = 1, stride: int = 1) -> torch.Tensor:
        return F.conv2d(h, state[f"{name}.weight"], state[f"{name}.bias"], stride, padding)

    def norm(h: torch.Tensor, name: str) -> torch.Tensor:
        return F.group_norm(h, 32, state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    def residual(h: torch.Tensor, name: str, shortcut: bool = False) -> torch.Tensor:
        inner = conv(F.silu(norm(h, f"{name}.norm1")), f"{name}.conv1")
        inner = conv(F.silu(norm(inner, f"{name}.norm2")), f"{name}.conv2")
        return (conv(h, f"{name}.conv_shortcut", 0) if shortcut else h) + inner

    h = residual(conv(x, "encoder.conv_in"), "encoder.down_blocks.0.resnets.0")
    h = conv(F.pad(h, (0, 1, 0, 1)), "encoder.down_blocks.0.downsamplers.0.conv", 0, 2)
    h = residual(h, "encoder.down_blocks.1.resnets.0", shortcut=True)
    h = residual(h, "encoder.mid_block.resnets.0")
    place = "encoder.mid_block.attentions.0."
    rows = norm(h, f"{place}group_norm").flatten(2).transpose(1, 2)
    q, k, v = (rows @ state[f"{place}{n}.weight"].T + state[f"{place}{n}.bias"] for n in ("to_q", "to_k", "to_v"))
    mixed = F.scaled_dot_product_attention(q, k, v)  # one head
    out = mixed @ state[f"{place}to_out.0.weight"].T + state[f"{place}to_out.0.bias"]
    h = residual(h + out.transpose(1, 2).reshape(h.shape), "encoder.mid_block.resnets.1")
    h = conv(F.silu(norm(h, "encoder.conv_norm_out")), "encoder.conv_out")
    return conv(h, "quant_conv", 0)[:, :4]


@pytest.mark.parametrize("layout", ["today", "former names", "former names, 1 x 1 convolutions"])
def test_the_vaes_encoder_gives_the_posteriors_mean(layout: str) -> None:
    state = vae()
    theirs = dict(state)
    if layout != "today":
        former = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        for today, before in former.items():
            for kind in ("weight", "bias"):
                tensor = theirs.pop(f"encoder.mid_block.attentions.0.{today}.{kind}")
                wide = "convolutions" in layout and kind == "weight"
                theirs[f"encoder.mid_block.attentions.0.{before}.{kind}"] = tensor[..., None, None] if wide else tensor
    x = 2 * images(size=16) - 1
    with torch.no_grad():
        found, expected = vae_encoder(theirs)(x), encoded_by_hand(state, x)
    assert found.shape == (2, 4, 8, 8)
    assert float((found - expected).abs().max()) < 1e-5 * float(expected.abs().max())


def test_a_network_on_latents_sees_the_stretched_latents_of_the_grey_frame(
    latents: tuple[torch.nn.Module, str], tmp_path: Path
) -> None:
    network, path = latents
    torch.save(vae(), tmp_path / "vae.pth")
    model = ReIdentification(checkpoint=path, vae=str(tmp_path / "vae.pth"))
    grey = images().mean(1, keepdim=True).repeat(1, 3, 1, 1)
    with torch.no_grad():
        encoded = encoded_by_hand(vae(), grey * 255 / 128 - 1)
        assert float((model.build()[0](images()) - encoded).abs().max()) < 1e-5 * float(encoded.abs().max())
        expected = torch.sigmoid(network(stretched(encoded)))
        assert torch.allclose(model.network()(images()), expected, atol=1e-4)
    torch.save(vae(seed=1), tmp_path / "other.pth")
    other = ReIdentification(checkpoint=path, vae=str(tmp_path / "other.pth"))
    assert model.describe()["vae_sha256"] != other.describe()["vae_sha256"]


def test_what_does_not_fit_is_said(
    frames: tuple[torch.nn.Module, str], latents: tuple[torch.nn.Module, str], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"takes latents of a VAE; give feature_model\.vae=FILE"):
        ReIdentification(checkpoint=latents[1]).network()
    torch.save(vae(), tmp_path / "vae.pth")
    with pytest.raises(UserError, match=r"takes frames; feature_model\.vae has no use"):
        ReIdentification(checkpoint=frames[1], vae=str(tmp_path / "vae.pth")).network()
    torch.save({"quant_conv.weight": torch.ones(1)}, tmp_path / "no_vae.pth")
    with pytest.raises(UserError, match="not the encoder of a diffusers VAE"):
        ReIdentification(checkpoint=latents[1], vae=str(tmp_path / "no_vae.pth")).network()
    torch.save({"model.conv1.weight": torch.ones(64, 3, 7, 7)}, tmp_path / "headless.pth")
    with pytest.raises(UserError, match=r"model.fc.weight is missing"):
        ReIdentification(checkpoint=str(tmp_path / "headless.pth")).network()


def test_a_vae_that_is_not_there_counts_as_missing_weights(frames: tuple[torch.nn.Module, str], tmp_path: Path) -> None:
    model = ReIdentification(checkpoint=frames[1], vae=str(tmp_path / "absent.safetensors"))
    assert model.find_weights() is None
    with pytest.raises(UserError, match="vae: no weight file at"):
        model.network()
    (tmp_path / "vae.safetensors").write_bytes(b"")
    both = ReIdentification(checkpoint=frames[1], vae=str(tmp_path / "vae.safetensors")).weight_files()
    assert both == [frames[1], str(tmp_path / "vae.safetensors")]
    assert "table.models.x.vae: no weight file" in model.how_to_get("table.models.x")
