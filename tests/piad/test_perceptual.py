"""Perceptual features: the right weights in the right places, statistics, and gradients only to the images."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torchvision.models import vgg19

from genaudit.errors import UserError
from genaudit.piad import perceptual as P
from genaudit.reading import sha256_of_file


@pytest.fixture(scope="module")
def lite0() -> P.Perceptual:
    return P.efficientnet_lite0()


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as torchvision's, with random weights of a size that keeps responses alive."""
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in vgg19().features.state_dict().items() if int(k.split(".")[0]) < 23}
    state = {}
    for name, shape in shapes.items():
        scale = (2 / shape[1:].numel()) ** 0.5 if len(shape) > 1 else 0.1
        state[f"features.{name}"] = torch.randn(shape, generator=generator) * scale
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save(state | {"classifier.0.bias": torch.zeros(1)}, path)
    return path


def test_lite0_is_timms_network_up_to_its_third_stage(lite0: P.Perceptual) -> None:
    whole: Any = timm.create_model("tf_efficientnet_lite0").eval()
    assert lite0.weights is not None
    tensors = torch.load(lite0.weights, weights_only=True).values()
    whole.load_state_dict(dict(zip(whole.state_dict(), tensors, strict=True)))
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        expected = whole.blocks[:2](whole.bn1(whole.conv_stem(x)))
        expected = whole.blocks[2][0](expected)
        features = lite0(x)
    assert features.shape == (2, 40, 4, 4)
    # responses reach 40; folding 11 norms into float32 weights costs some tens of units in the last place (4e-6)
    torch.testing.assert_close(features, expected, rtol=0, atol=2e-4)


def test_lite0_carries_its_last_norms_statistics(lite0: P.Perceptual) -> None:
    assert lite0.weights is not None
    assert lite0.mean is not None
    assert lite0.std is not None
    tensors = list(torch.load(lite0.weights, weights_only=True).items())
    candidates = [v for _, v in tensors if v.shape == (40,)][:2]  # weight and bias of the first norm of 40 filters
    torch.testing.assert_close(lite0.std, candidates[0].abs())
    torch.testing.assert_close(lite0.mean, candidates[1])
    assert float(lite0.mean.abs().max()) < 0.012
    assert 5.2 < float(lite0.std.min()) < float(lite0.std.max()) < 9.6


def test_a_grey_image_is_three_equal_channels(lite0: P.Perceptual) -> None:
    x = torch.rand(2, 1, 32, 32) * 2 - 1
    with torch.inference_mode():
        assert torch.equal(lite0(x), lite0(x.repeat(1, 3, 1, 1)))
    with pytest.raises(ValueError, match="grey or RGB"):
        lite0(torch.zeros(1, 2, 32, 32))


def test_gradients_flow_to_the_images_alone(lite0: P.Perceptual) -> None:
    lite0.train()
    assert not any(module.training for module in lite0.modules())
    exact = copy.deepcopy(lite0).double()
    x, along = torch.randn(2, 1, 1, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 4
    (gradient,) = torch.autograd.grad(exact(x.requires_grad_(True)).square().sum(), x)
    with torch.no_grad():
        ends = [float(exact(x + step * along).square().sum()) for step in (-1e-8, 1e-8)]  # so that no unit changes side
    assert float((gradient * along).sum()) == pytest.approx((ends[1] - ends[0]) / 2e-8, rel=1e-4)
    assert not any(parameter.requires_grad for parameter in lite0.parameters())


def test_vgg19_is_torchvisions_up_to_relu4_2_on_imagenet_normalised_images(vgg_file: Path) -> None:
    model = P.vgg19_relu42(vgg_file)
    state = torch.load(vgg_file, weights_only=True)
    with torch.device("meta"):
        reference = vgg19().features[:23]
    reference.load_state_dict({k[9:]: v for k, v in state.items() if k.startswith("features.")}, assign=True)
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (P.IMAGENET_MEAN, P.IMAGENET_STD))
    with torch.inference_mode():
        features, expected = model(2 * x - 1), reference((x - mean) / std)
    assert features.shape == (1, 512, 4, 4)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)
    assert model.mean is not None
    assert model.mean.shape == (512,)
    assert float(model.mean[0]) == pytest.approx(0.8526182770729065)


def test_missing_or_foreign_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"nowhere\.pth"):
        P.vgg19_relu42(tmp_path / "nowhere.pth")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UserError, match=r"vgg19-dcbb9e9d\.pth"):
        P.vgg19_relu42()
    torn = tmp_path / "torn.pth"
    torn.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(UserError, match=r"torn\.pth"):
        P.vgg19_relu42(torn)
    other = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(3)}, other)
    for load in (P.vgg19_relu42, P.efficientnet_lite0):
        with pytest.raises(UserError, match=r"other\.pth"):
            load(other)


def test_a_file_whose_name_states_another_hash_is_refused(vgg_file: Path, tmp_path: Path) -> None:
    renamed = tmp_path / P.VGG19_FILE
    renamed.hardlink_to(vgg_file)
    with pytest.raises(UserError, match=r"vgg19-dcbb9e9d\.pth is not the file that its name says"):
        P.vgg19_relu42(renamed)
    stated = tmp_path / f"vgg19-{sha256_of_file(vgg_file)[:8]}.pth"
    stated.hardlink_to(vgg_file)
    assert P.vgg19_relu42(stated).weights == stated


def test_code_in_a_weight_file_does_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))  # type: ignore[return-value]

    torch.save({"features.0.weight": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(UserError, match=r"bomb\.pth"):
        P.vgg19_relu42(tmp_path / "bomb.pth")
    assert not (tmp_path / "ran").exists()


def test_filter_statistics_are_those_of_all_images_however_batched() -> None:
    images = torch.randn(50, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 3 + 100
    network = nn.Conv2d(3, 4, 3)
    every = network(images).detach().double().transpose(0, 1).flatten(1).numpy()
    for batch in (1, 7, 50):
        statistics = P.filter_statistics(network, images.split(batch))
        # float32 features may round differently in another batch size: 1e-6 of about 100, against a std of about 2
        np.testing.assert_allclose(statistics.mean, every.mean(1), rtol=0, atol=1e-4)
        np.testing.assert_allclose(statistics.std, every.std(1), rtol=1e-4)


def test_filter_statistics_of_nothing_and_of_nan_are_errors() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        P.filter_statistics(nn.Identity(), [])
    with pytest.raises(ValueError, match="not finite"):
        P.filter_statistics(nn.Identity(), [torch.full((1, 1, 2, 2), torch.nan)])


def test_statistics_survive_a_file_and_a_dead_filter_counts_for_nothing(tmp_path: Path) -> None:
    statistics = P.FilterStatistics(np.array([0.1, 0.2]), np.array([1 / 3, 0.0]))
    statistics.save(tmp_path / "s.json", layer="two", images=5)
    assert json.loads((tmp_path / "s.json").read_text())["layer"] == "two"
    back = P.FilterStatistics.load(tmp_path / "s.json")
    np.testing.assert_array_equal(back.mean, statistics.mean)
    np.testing.assert_array_equal(back.std, statistics.std)
    assert P.Perceptual(nn.Identity(), back).std.tolist() == [pytest.approx(1 / 3), float("inf")]  # type: ignore[union-attr]


@pytest.mark.parametrize("text", ["", "{}", '{"mean": [1], "std": [-1]}', '{"mean": [1], "std": [1, 2]}'])
def test_a_file_without_statistics_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(UserError, match=r"bad\.json"):
        P.FilterStatistics.load(tmp_path / "bad.json")
