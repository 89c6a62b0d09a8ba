"""A saved PIAD: the same scores after a move, and no other perceptual network than the one trained with."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genaudit.errors import UserError
from genaudit.piad import perceptual as P
from genaudit.piad import saved
from genaudit.piad.networks import Architecture, PIADNetworks, architecture, build
from genaudit.piad.scoring import anomaly_score

TINY = Architecture(latent=4, generator=(6, 4), encoder=(4, 6), critic=(4, 6), latent_critic=8)
PIXELS = {"size": 8, "channels": 1, "interpolation": "bilinear", "fit": "squash", "crop": None}
LITE0 = {"_target_": "genaudit.piad.perceptual.efficientnet_lite0"}


@pytest.fixture(scope="module")
def lite0() -> P.Perceptual:
    return P.efficientnet_lite0()


@pytest.fixture
def folder(networks: PIADNetworks, lite0: P.Perceptual, tmp_path: Path) -> Path:
    model = saved.Model(networks, TINY, lite0, "relative_perceptual_l1", PIXELS)
    saved.save(model, tmp_path / "run", LITE0, seed=3, iterations=7)
    return tmp_path / "run"


def test_a_saved_model_scores_as_before(
    folder: Path, networks: PIADNetworks, lite0: P.Perceptual, images: np.ndarray, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    model = saved.load(moved)
    expected = anomaly_score(networks, images, lite0)
    np.testing.assert_array_equal(anomaly_score(model.networks, images, model.perceptual), expected)
    assert model.architecture == TINY
    assert model.pixels == PIXELS
    record = saved.describe(moved)
    assert (record["seed"], record["iterations"]) == (3, 7)
    assert saved.sha256(moved) == hashlib.sha256((moved / saved.WEIGHTS).read_bytes()).hexdigest()
    assert not list(moved.glob("*.tmp"))


def test_a_model_of_pixels_needs_no_perceptual_network(
    networks: PIADNetworks, images: np.ndarray, tmp_path: Path
) -> None:
    saved.save(saved.Model(networks, TINY, None, "mse", PIXELS), tmp_path, None)
    model = saved.load(tmp_path)
    assert model.perceptual is None
    expected = anomaly_score(networks, images, None, reconstruction="mse")
    np.testing.assert_array_equal(anomaly_score(model.networks, images, None, reconstruction="mse"), expected)


def test_statistics_are_those_of_the_training_whatever_the_file_says_now(
    networks: PIADNetworks, images: np.ndarray, tmp_path: Path
) -> None:
    file = tmp_path / "statistics.json"
    P.FilterStatistics(np.full(40, 0.5), np.r_[np.full(39, 2.0), 0.0]).save(file)
    node = {**LITE0, "statistics": str(file)}
    trained_with = P.efficientnet_lite0(statistics=file)
    saved.save(saved.Model(networks, TINY, trained_with, "relative_perceptual_l1", PIXELS), tmp_path / "run", node)
    file.unlink()
    model = saved.load(tmp_path / "run")
    expected = anomaly_score(networks, images, trained_with)
    np.testing.assert_array_equal(anomaly_score(model.networks, images, model.perceptual), expected)
    assert model.perceptual is not None
    assert model.perceptual.std is not None
    assert torch.isinf(model.perceptual.std[-1])


def test_other_perceptual_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    original = P.efficientnet_lite0().weights
    assert original is not None
    state = torch.load(original, weights_only=True)
    first = next(iter(state))
    state[first] = state[first] + 1e-3
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(UserError, match="would not be comparable"):
        saved.load(folder, weights=tmp_path / "other.pth")
    copy = tmp_path / "copy.pth"
    copy.write_bytes(original.read_bytes())
    assert saved.load(folder, weights=copy).perceptual is not None


def test_a_record_makes_nothing_but_perceptual_networks(folder: Path, tmp_path: Path) -> None:
    record = saved.describe(folder)
    record["perceptual"]["node"] = {"_target_": "os.mkdir", "path": str(tmp_path / "made")}
    (folder / saved.RECORD).write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"os\.mkdir"):
        saved.load(folder)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda f: (f / saved.RECORD).unlink(), "no saved model"),
        (lambda f: (f / saved.RECORD).write_text("{"), "no saved model"),
        (lambda f: (f / saved.RECORD).write_text('{"kind": "likelihood"}'), "likelihood model"),
        (lambda f: (f / saved.WEIGHTS).unlink(), "lacks model.safetensors"),
        (lambda f: (f / saved.WEIGHTS).write_bytes(b"torn"), "not the file"),
    ],
)
def test_a_folder_without_a_whole_model_is_named(folder: Path, damage: Any, match: str) -> None:
    damage(folder)
    with pytest.raises(UserError, match=match):
        saved.load(folder)


def test_architectures_by_name_size_and_width() -> None:
    assert architecture("mnist").size == 32
    assert architecture("celeba", size=128).size == 128
    assert architecture("mnist", width=0.5).generator == (16,) * 4
    assert build(architecture("cifar10", size=64, width=0.25), 3).image_shape == (3, 64, 64)
    with pytest.raises(ValueError, match="try 32"):
        architecture("mnist", size=30)
    with pytest.raises(ValueError, match="no PIAD networks"):
        architecture("mnst")
    listed: Any = [6, 4]  # as YAML gives them
    assert Architecture(4, listed, (4, 6), (4, 6), 8) == TINY


def test_a_layer_of_a_feature_model_is_a_perceptual_network(tmp_path: Path) -> None:
    from genaudit.backbones.timm_model import TimmModel

    with pytest.raises(UserError, match="random weights"):
        P.layer_of(TimmModel("test_resnet", pretrained=False), "layer1")
    drawn = TimmModel("test_resnet", pretrained=False)
    torch.save(drawn.weights.state_dict, tmp_path / "trained.pth")  # stands for trained ones
    model = TimmModel("test_resnet", checkpoint=str(tmp_path / "trained.pth"))
    network = P.layer_of(model, "layer1")
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    whole: Any = drawn.build().eval()
    seen: list[torch.Tensor] = []
    whole.layer1.register_forward_hook(lambda module, given, out: seen.append(out))
    mean, std = (torch.tensor(each).reshape(3, 1, 1) for each in (model.mean, model.std))
    with torch.inference_mode():
        whole((x - mean) / std)
        torch.testing.assert_close(network(2 * x - 1), seen[0], rtol=1e-4, atol=1e-5)
    assert network.weights_sha256 == hashlib.sha256((tmp_path / "trained.pth").read_bytes()).hexdigest()
    with pytest.raises(UserError, match="cannot be had"):
        P.layer_of(model, "layer17")
    P.FilterStatistics(np.zeros(3), np.ones(3)).save(tmp_path / "s.json")
    with pytest.raises(UserError, match="3 filters"):
        P.layer_of(model, "layer1", tmp_path / "s.json")
