"""The density models that ship load, are invertible, and score what their page says."""

from __future__ import annotations

import math
import runpy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genaudit import demo
from genaudit.data import open_images
from genaudit.likelihood import saved
from genaudit.likelihood.dequantisation import dequantise, noise_free, to_pixels
from genaudit.likelihood.losses import bits_per_dim
from genaudit.likelihood.scoring import log_likelihoods, noisy_log_prob
from genaudit.measures.code_length import code_log_prob
from genaudit.stats.auroc import auroc

ROOT = Path(__file__).resolve().parents[2]


@cache
def _sample() -> dict[str, np.ndarray]:
    """The images that the page's numbers are about."""
    images: dict[str, np.ndarray] = runpy.run_path(str(ROOT / "scripts" / "make_pretrained_glow.py"))["sample"]()
    return images


def _scores(images: np.ndarray) -> dict[str, np.ndarray]:
    rows = log_likelihoods(saved.load("fashion_mnist"), images)
    general = log_likelihoods(saved.load("fashion_mnist_general"), images)[:, 0]
    code = code_log_prob(to_pixels(images, size=32))
    return {
        "likelihood": rows[:, 0],
        "last scale": rows[:, -1],
        "ratio to general model": rows[:, 0] - general,
        "ratio to PNG": rows[:, 0] - code,
        "control: general model alone": -general,
        "control: PNG alone": -code,
    }


@cache
def _scored() -> dict[str, dict[str, np.ndarray]]:
    return {name: _scores(images) for name, images in _sample().items()}


def test_they_are_known_by_name_and_small() -> None:
    assert {"fashion_mnist", "fashion_mnist_general"} <= set(saved.names())
    size = sum(path.stat().st_size for path in saved.PRETRAINED.rglob("*") if path.is_file())
    assert size < 1_000_000


def test_areas_are_those_of_the_page() -> None:
    recorded = saved.describe("fashion_mnist")["about"]["auroc"]
    page = (saved.PRETRAINED / "README.md").read_text()
    scored = _scored()
    assert set(recorded) == set(scored["held_out"])
    for score, of in recorded.items():
        for other, area in of.items():
            # the same images: only pairs whose log-likelihoods agree to rounding may change their order, or, for
            # the code, another zlib; 0.002 is 320 of 160,000 pairs
            assert auroc(scored["held_out"][score], scored[other][score]) == pytest.approx(area, abs=2e-3), score
        assert f"| {score} | {of['MNIST']:.3f} | {of['rotated']:.3f} |" in page


def test_other_images_of_the_same_kind_score_alike() -> None:
    source: Any = open_images(demo.path("reference"))
    other = _scores(np.stack([source.read(i)[..., 0] for i in range(len(source))]))
    recorded = saved.describe("fashion_mnist")["about"]["auroc"]
    for score, of in recorded.items():
        if score == "control: PNG alone":
            continue
        area = of["MNIST"]
        found = auroc(other[score], _scored()["MNIST"][score])
        # the variance of an AUROC is at most A(1 - A)/min(P, Q); two sets of 400 differ by sqrt(2) of that
        assert found == pytest.approx(area, abs=4 * math.sqrt(2 * area * (1 - area) / 400)), score


def test_the_paradox_and_what_mends_it() -> None:
    scored = _scored()
    areas = {
        score: {other: auroc(scored["held_out"][score], scored[other][score]) for other in ("MNIST", "rotated")}
        for score in scored["held_out"]
    }
    assert areas["likelihood"]["MNIST"] < 0.2  # MNIST looks likelier than what the model learned
    assert areas["ratio to general model"]["MNIST"] > 0.95
    # the rotated set has the same pixels: the control is at chance, 0.5 to 4·sqrt(1/12·(1/400 + 1/400)) = 0.08
    assert abs(areas["control: general model alone"]["rotated"] - 0.5) < 0.08
    assert areas["ratio to general model"]["rotated"] > areas["control: general model alone"]["rotated"] + 0.1


def test_bits_per_dimension_are_those_recorded() -> None:
    held_out = _sample()["held_out"]
    recorded = saved.describe("fashion_mnist")["about"]["bits_per_dim"]
    generator = torch.Generator().manual_seed(1)
    bits = bits_per_dim(noisy_log_prob(saved.load("fashion_mnist"), held_out, generator=generator), 1024)
    # the record is of 2,000 other images
    spread = bits.std() * math.sqrt(1 / len(bits) + 1 / 2000)
    assert bits.mean() == pytest.approx(recorded, abs=4 * spread)


@pytest.mark.parametrize("name", ["fashion_mnist", "fashion_mnist_general"])
def test_they_are_invertible_on_real_images(name: str) -> None:
    model = saved.load(name).double()  # in float32 some hundred operations each way come to about 1e-4
    pixels = to_pixels(_sample()["held_out"][:16], size=32)
    for x in (noise_free(pixels), dequantise(pixels, torch.Generator().manual_seed(0))):
        assert (model.decode(model.encode(x.double())) - x.double()).abs().max() < 1e-10
