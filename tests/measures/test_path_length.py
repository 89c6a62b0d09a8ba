from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from genaudit.backbones.generator import Generator, LoadedNetwork
from genaudit.errors import UserError
from genaudit.measures.inversion import make_distance
from genaudit.measures.measure import fingerprint
from genaudit.measures.path_length import PathLength

LATENT, SIDE = 5, 3
WEIGHTS = torch.randn(LATENT, SIDE * SIDE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
DIGESTS = [np.random.default_rng(i).bytes(16) for i in range(400)]
BLANK = torch.zeros(len(DIGESTS), 3, 1, 1, dtype=torch.uint8)


class Held(Generator):
    """A generator of a network in memory."""

    def __init__(self, network: Callable[..., Any], **shared: Any) -> None:
        super().__init__(name="held", latent=LATENT, output_range=None, **shared)
        self.network = network

    def load(self, device: str = "cpu") -> LoadedNetwork:
        return LoadedNetwork(copy.deepcopy(self.network), "0" * 64, "a test")


class Linear(torch.nn.Module):
    """G(z) = W'z, twice that for class 1."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(WEIGHTS.float())

    def forward(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        scale = 1 if label is None else (1 + label[:, None]).to(z.dtype)
        return (z @ self.weights * scale).view(-1, 1, SIDE, SIDE)


def _lengths(measure: PathLength, precision: str = "float64") -> np.ndarray:
    rows = measure.open("cpu", precision)(BLANK, DIGESTS)
    assert rows.shape == (len(DIGESTS), 1)
    return rows[:, 0].double().numpy()


@pytest.mark.parametrize("sampling", ["full", "end"])
def test_a_linear_generators_straight_paths_have_a_closed_form(sampling: str) -> None:
    # |W'(z2 - z1)|^2 / pixels at every t; its mean is 2 tr(W'W) / pixels.
    measure = PathLength(Held(Linear()), distance="l2", interpolation="lerp", sampling=sampling)
    lengths = _lengths(measure)
    expected = []
    for digest in DIGESTS:
        random = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") % 2**63)
        z = torch.randn(2, LATENT, generator=random, dtype=torch.float64)
        expected.append(float(((z[1] - z[0]) @ WEIGHTS.float().double()).square().mean()))
    # Pixels near 1 differ by 1e-4: float64 differences keep 1e-12, the returned float32 2^-24.
    np.testing.assert_allclose(lengths, expected, rtol=1e-6)
    mean = 2 * float(WEIGHTS.square().sum()) / (SIDE * SIDE)
    assert lengths.mean() == pytest.approx(mean, abs=4 * lengths.std() / np.sqrt(len(lengths)))


def test_a_step_on_the_sphere_is_as_long_as_its_arc() -> None:
    # G = identity: |dz/dt|^2 of slerp between ends of equal length r and angle w is (r w)^2, for every t.
    measure = PathLength(Held(Linear()), epsilon=1e-5)
    a, b = torch.eye(LATENT, dtype=torch.float64)[:2] * 2
    for t in (0.0, 0.3, 0.9):
        step = (measure._between(a, b, t + 1e-5) - measure._between(a, b, t)).norm() / 1e-5
        assert float(step) == pytest.approx(2 * np.pi / 2, rel=1e-4)
        assert float(measure._between(a, b, t).norm()) == pytest.approx(2.0, rel=1e-12)
    assert torch.equal(measure._between(a, a, 0.5), a)


def test_float32_agrees_with_float64() -> None:
    measure = PathLength(Held(Linear()), distance="l2")
    # The images' rounding, 2^-24 of values near 3, against steps of 1e-4 times some: 1e-3 of a length.
    np.testing.assert_allclose(_lengths(measure, "float32"), _lengths(measure), rtol=0.02)


def test_rows_belong_to_digests_and_classes_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = PathLength(Held(Linear(), classes=2), distance="l2", interpolation="lerp")
    whole = measure.open("cpu", "float64")
    rows = whole(BLANK, DIGESTS)
    torch.testing.assert_close(whole(BLANK[:3], DIGESTS[5:8]), rows[5:8], rtol=1e-6, atol=0)
    single = _lengths(PathLength(Held(Linear(), classes=2, label=0), distance="l2", interpolation="lerp"))
    ratio = rows[:, 0].double().numpy() / single  # class 1 changes twice as much: 4 times squared
    assert set(np.round(ratio, 3)) == {1.0, 4.0}


def test_settings_are_part_of_the_fingerprint_and_wrong_ones_are_named() -> None:
    generator = Held(Linear())
    prints = {
        fingerprint(PathLength(generator, **settings), "float32")  # type: ignore[arg-type]
        for settings in ({}, {"distance": "l2"}, {"epsilon": 1e-3}, {"interpolation": "lerp"}, {"sampling": "end"})
    }
    assert len(prints) == 5
    with pytest.raises(UserError, match="a generator is needed"):
        PathLength(None)
    with pytest.raises(UserError, match=r"metric\.ppl\.measure\.distance=vgg"):
        PathLength(generator, distance="vgg")
    with pytest.raises(UserError, match=r"metric\.ppl\.measure\.epsilon"):
        PathLength(generator, epsilon=0)


def _vgg_of_random_weights(**_: Any) -> Any:
    """VGG-16's layers as both packages ask torchvision for them, with weights of a seed in place of a download."""
    from torchvision.models.vgg import cfgs, make_layers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SimpleNamespace(features=make_layers(cfgs["D"]))


@pytest.mark.parametrize("channels", [1, 3])
def test_lpips_is_torchmetrics_lpips(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ship the learned weights of its layers; VGG's own come from elsewhere and are random here."""
    monkeypatch.setattr("torchvision.models.vgg16", _vgg_of_random_weights)
    images = torch.rand(2, 4, channels, 40, 40, generator=torch.Generator().manual_seed(1))
    found = make_distance("lpips", "cpu", torch.float32)(images[0], images[1])
    peer = pytest.importorskip("torchmetrics.functional.image.lpips")._LPIPS(net="vgg")
    with torch.no_grad():
        expected = peer(*(2 * each.expand(-1, 3, -1, -1) - 1 for each in images)).flatten()
    assert found.shape == (4,)
    assert float(expected.min()) > 0.01
    # sums of 64 to 512 float32 products, over thirteen layers
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


def test_path_length_under_lpips_is_the_distance_of_the_steps_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.models.vgg16", _vgg_of_random_weights)
    network = torch.nn.Sequential(
        torch.nn.Linear(LATENT, 40 * 40), torch.nn.Sigmoid(), torch.nn.Unflatten(1, (1, 40, 40))
    )
    measure = PathLength(Held(network), distance="lpips", epsilon=0.5, interpolation="lerp", sampling="end")
    rows = measure.open("cpu", "float32")(BLANK[:3], DIGESTS[:3])[:, 0]
    ends = [torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") % 2**63) for digest in DIGESTS[:3]]
    z = torch.stack([torch.randn(2, LATENT, generator=random, dtype=torch.float64) for random in ends]).float()
    with torch.no_grad():
        a, b = network(z[:, 0]), network(torch.lerp(z[:, 0], z[:, 1], 0.5))
        expected = make_distance("lpips", "cpu", torch.float32)(a, b) / 0.25
    torch.testing.assert_close(rows, expected, rtol=1e-3, atol=0)
