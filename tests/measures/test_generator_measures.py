"""Inversion, AIS and patches as measures: known answers on linear generators, rows that depend on the image alone."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genaudit.backbones.generator import Generator, LoadedNetwork
from genaudit.errors import UserError
from genaudit.likelihood.linear_gaussian import LinearGaussian
from genaudit.measures.ais import AIS
from genaudit.measures.ais import HEAD as AIS_HEAD
from genaudit.measures.generator_images import as_generator_images
from genaudit.measures.inversion import HEAD as INVERSION_HEAD
from genaudit.measures.inversion import Inverted
from genaudit.measures.measure import fingerprint
from genaudit.measures.patches import Patches, patch_variation
from genaudit.metrics import generator_rows

SIDE, LATENT = 4, 3


class Held(Generator):
    """A generator of a network in memory."""

    def __init__(self, network: Callable[..., Any], *, latent: int = LATENT, **shared: Any) -> None:
        super().__init__(name="held", latent=latent, output_range=None, **shared)
        self.network = network

    def load(self, device: str = "cpu") -> LoadedNetwork:
        return LoadedNetwork(self.network, "0" * 64, "a test")


@pytest.fixture
def model() -> LinearGaussian:
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(2, SIDE * SIDE, LATENT, generator=generator) * 0.1
    means = torch.stack([torch.full((SIDE * SIDE,), 0.3), torch.full((SIDE * SIDE,), 0.7)])
    return LinearGaussian(weights, means, (1, SIDE, SIDE), 0.05)


@pytest.fixture
def single(model: LinearGaussian) -> Held:
    """The first class alone."""
    return Held(lambda z: model(z, torch.zeros(len(z), dtype=torch.int64)), sigma2=0.05)


@pytest.fixture
def images() -> torch.Tensor:
    grey = np.random.default_rng(1).integers(0, 256, (5, 1, SIDE, SIDE), dtype=np.uint8)
    return torch.from_numpy(grey.repeat(3, axis=1))


DIGESTS = [bytes([i]) * 16 for i in range(5)]


def test_metrics_read_the_columns_that_the_measures_write() -> None:
    assert generator_rows.INVERSION == INVERSION_HEAD
    assert generator_rows.AIS == AIS_HEAD


def test_grey_images_stay_as_they_are_and_colours_get_their_luma() -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    grey = as_generator_images(levels.expand(-1, 3, -1, -1), 1, torch.float32)
    assert torch.equal(grey, levels.float() / 255)
    colour = torch.tensor([255, 0, 0], dtype=torch.uint8).reshape(1, 3, 1, 1)
    assert float(as_generator_images(colour, 1, torch.float64)) == pytest.approx(0.299)
    assert as_generator_images(colour, 3, torch.float32).flatten().tolist() == [1, 0, 0]


def test_inversion_of_a_linear_generator_is_least_squares(
    single: Held, model: LinearGaussian, images: torch.Tensor
) -> None:
    measure = Inverted(single, steps=400, restarts=2, samples=20)
    rows, beside = measure.open("cpu", "float32")(images, DIGESTS)
    assert rows.shape == (5, len(measure.columns))
    x = images[:, 0].flatten(1).double() / 255
    weights, mean = model.weights[0].double(), model.means[0].double()
    best = torch.linalg.lstsq(weights, (x - mean).T).solution
    error = (weights @ best + mean[:, None] - x.T).square().mean(0)
    torch.testing.assert_close(rows[:, 0].double(), error, atol=1e-6, rtol=0)
    for own, picture, latent in zip(beside["latent"].numpy(), beside["picture"].numpy(), best.T.numpy(), strict=True):
        np.testing.assert_allclose(own, latent, atol=1e-2)
        expected = (model.weights[0].numpy() @ own + model.means[0].numpy()).reshape(SIDE, SIDE, 1)
        np.testing.assert_allclose(picture / 255, expected.clip(0, 1), atol=0.5 / 255 + 1e-5)
    assert rows[:, INVERSION_HEAD.index("label")].isnan().all()
    assert (rows[:, INVERSION_HEAD.index("dims")] == SIDE * SIDE).all()


def test_the_class_that_comes_nearest_is_chosen(model: LinearGaussian, images: torch.Tensor) -> None:
    both = Held(model, classes=2)
    measure = Inverted(both, steps=60, restarts=1, samples=5, picture=0)
    rows, beside = measure.open("cpu", "float32")(images, DIGESTS)
    assert list(beside) == ["latent"]
    rows = rows.numpy()
    by_class = rows[:, -2:]
    label, distance = (rows[:, INVERSION_HEAD.index(name)] for name in ("label", "distance"))
    assert (by_class.argmin(1) == label).all()
    np.testing.assert_array_equal(by_class.min(1), distance)
    only = Inverted(Held(model, classes=2, label=1), steps=60, restarts=1, samples=5, picture=0)
    np.testing.assert_allclose(only.open("cpu", "float32")(images, DIGESTS)[0][:, 0], by_class[:, 1], rtol=1e-5)


def test_a_picture_is_small_where_the_image_is_large(model: LinearGaussian, images: torch.Tensor) -> None:
    generator = Held(model, classes=2, label=0)
    measure = Inverted(generator, steps=0, restarts=1, samples=1, picture=2)
    _, beside = measure.open("cpu", "float32")(images, DIGESTS)
    whole = (beside["latent"] @ model.weights[0].T + model.means[0]).reshape(5, 2, 2, 2, 2)
    expected = 255 * whole.mean((2, 4)).clamp(0, 1)
    np.testing.assert_allclose(beside["picture"][..., 0], expected, atol=0.5 + 1e-3)  # rounding


def test_the_perceptual_distance_is_zero_only_for_equal_images(images: torch.Tensor) -> None:
    from genaudit.measures.inversion import make_distance, perceptual_features

    distance = make_distance("perceptual", "cpu", torch.float32)
    features = perceptual_features("cpu", torch.float32)
    x = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert distance(x, x).tolist() == [0, 0]
    expected = [np.mean((features(a[None]) - features(1 - a[None])).numpy() ** 2) for a in x]
    np.testing.assert_allclose(distance(x, 1 - x).numpy(), expected, rtol=1e-4)  # float32 sums of some thousands
    assert min(expected) > 0.01


def test_ais_comes_near_the_exact_likelihood_and_sums_over_classes(model: LinearGaussian, images: torch.Tensor) -> None:
    both = AIS(Held(model, classes=2, sigma2=0.05), temperatures=150, chains=8)
    rows = dict(zip(both.columns, both.open("cpu", "float32")(images, DIGESTS).double().T, strict=True))
    exact = model.log_likelihood(images[:, :1].numpy() / 255)
    sampled = torch.stack([rows["log_likelihood_class_0"], rows["log_likelihood_class_1"]], dim=1)
    # a stochastic lower bound: above by a nats with probability exp(-a), and near it in these few dimensions
    error = (sampled - torch.from_numpy(exact)).mean()
    assert -1.5 < error < 0.5
    torch.testing.assert_close(rows["log_likelihood"], sampled.logsumexp(1) - math.log(2), rtol=1e-5, atol=1e-4)
    bits = rows["log_likelihood"] / (SIDE * SIDE * math.log(2)) - 8
    torch.testing.assert_close(rows["bits_per_dim"], bits, rtol=1e-5, atol=1e-5)
    assert (rows["sigma2"] - 0.05).abs().max() < 1e-8
    assert set(rows["chains"].tolist()) == {8}


def test_an_images_noise_is_its_own(single: Held, images: torch.Tensor) -> None:
    meter = AIS(single, temperatures=5, chains=2).open("cpu", "float32")
    together = meter(images, DIGESTS)
    backwards = meter(images.flip(0), DIGESTS[::-1]).flip(0)
    torch.testing.assert_close(together, backwards, rtol=1e-5, atol=1e-5)
    alone = meter(images[2:3], DIGESTS[2:3])
    torch.testing.assert_close(together[2:3], alone, rtol=1e-5, atol=1e-5)
    other = AIS(single, temperatures=5, chains=2, seed=1).open("cpu", "float32")(images, DIGESTS)
    assert not torch.allclose(together[:, 0], other[:, 0], atol=1e-3)


def test_rows_are_kept_apart_by_what_they_depend_on(single: Held) -> None:
    prints = {
        fingerprint(measure, "float32")
        for measure in (
            AIS(single),
            AIS(single, temperatures=501),
            AIS(Held(single.network, sigma2=0.06)),
            Inverted(single),
            Inverted(single, steps=501),
            Patches(single),
        )
    }
    assert len(prints) == 6
    # the noise of the likelihood does not change a reconstruction
    assert fingerprint(Inverted(single), "float32") == fingerprint(Inverted(Held(single.network)), "float32")
    assert fingerprint(AIS(single), "float32") == fingerprint(AIS(single), "bfloat16")
    assert fingerprint(AIS(single), "float32") != fingerprint(AIS(single), "float64")


def test_patches_are_those_of_the_image_at_the_generators_size(images: torch.Tensor, single: Held) -> None:
    rows = Patches(single, patch=2).open("cpu", "float32")(images, DIGESTS)
    expected = patch_variation(images[:, 0].numpy().astype(np.float64) / 255, patch=2)
    np.testing.assert_allclose(rows[:, 0], expected, rtol=1e-6)
    with pytest.raises(UserError, match="larger than images"):
        Patches(single).open("cpu", "float32")


def test_an_optional_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from genaudit.backbones.generator_sources import ONNXGenerator
    from genaudit.measures.inversion import make_distance

    for package in ("lpips", "onnx2torch"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"pip install 'genaudit-images\[lpips\]'"):
        make_distance("lpips", "cpu", torch.float32)
    (tmp_path / "g.onnx").touch()
    with pytest.raises(UserError, match=r"pip install 'genaudit-images\[onnx\]'"):
        ONNXGenerator(file=str(tmp_path / "g.onnx"), latent=3).source  # noqa: B018


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda held: Inverted(None), "a generator is needed"),
        (lambda held: AIS(None), "a generator is needed"),
        (lambda held: Inverted(held, distance="l1"), "distance=l1"),
        (lambda held: Inverted(held, restarts=0), "restarts=0"),
        (lambda held: AIS(held, schedule="linear"), "schedule=linear"),
        (lambda held: AIS(held, chains=0), "chains must be a positive integer, got 0"),
        (lambda held: Patches(held, patch=0), "patch must be a positive integer, got 0"),
        (lambda held: AIS(held).describe("float32"), "generator.sigma2="),
    ],
)
def test_settings_out_of_range_are_refused(make: Callable[[Any], Any], words: str) -> None:
    held = Held(lambda z: z.reshape(len(z), 3, 1, 1))
    with pytest.raises(UserError, match=words):
        make(held)
