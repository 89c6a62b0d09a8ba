"""The measure of log-likelihoods: the rows are the model's, on the pixels that training would show it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from genaudit.data.resize import ResizeRecipe
from genaudit.errors import UserError
from genaudit.likelihood import saved
from genaudit.likelihood.dequantisation import to_pixels
from genaudit.likelihood.glow import Glow
from genaudit.likelihood.scoring import log_likelihoods
from genaudit.measures.canvas import Canvas
from genaudit.measures.code_length import CodeLength, code_length, code_log_prob
from genaudit.measures.likelihood import Likelihood, general_model
from genaudit.measures.likelihood import code_length as code_beside
from genaudit.measures.measure import Measure, fingerprint

KNOBS = {"size": 8, "scales": 2, "steps": 1, "hidden": 4}
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)


def save(folder: Path, channels: int, seed: int = 0, **knobs: int) -> str:
    torch.manual_seed(seed)
    knobs = {**KNOBS, "channels": channels, **knobs}
    model = Glow(**knobs)
    size = knobs["size"]
    model.initialise(torch.rand(16, channels, size, size) - 0.5)
    return str(saved.save(model, folder, {"_target_": "genaudit.likelihood.glow.Glow", **knobs}))


def rows(measure: Measure, images: np.ndarray, precision: str = "float32") -> np.ndarray:
    pixels = np.stack([measure.prepare(image) for image in images]).transpose(0, 3, 1, 2)
    return measure.open("cpu", precision)(torch.from_numpy(pixels), [b""] * len(images)).numpy()


@pytest.mark.parametrize("channels", [1, 3])
def test_rows_are_the_models_log_likelihoods_by_scale(channels: int, tmp_path: Path) -> None:
    measure = Likelihood(save(tmp_path, channels))
    assert measure.columns == ("log_prob", "c_1", "c_2")
    found = rows(measure, IMAGES)
    expected = log_likelihoods(saved.load(tmp_path), IMAGES)
    assert found.dtype == np.float32
    # float32 sums of a few hundred terms
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(found[:, 0], found[:, 1:].sum(1), rtol=1e-6)
    np.testing.assert_allclose(rows(measure, IMAGES, "float64"), expected, rtol=1e-5, atol=1e-3)


def test_smaller_images_are_padded_as_for_training_and_larger_ones_resized() -> None:
    canvas = Canvas(9)
    padded = to_pixels(IMAGES, size=9).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(np.stack([canvas.place(image) for image in IMAGES]), padded)
    larger = np.random.default_rng(1).integers(0, 256, (5, 10, 3), dtype=np.uint8)
    np.testing.assert_array_equal(canvas.place(larger), ResizeRecipe(9).apply(larger))


def test_the_fingerprint_follows_weights_and_precision_not_places(tmp_path: Path) -> None:
    first, other = Likelihood(save(tmp_path / "a", 1)), Likelihood(save(tmp_path / "b", 1, seed=1))
    same = Likelihood(save(tmp_path / "c", 1))
    assert fingerprint(first, "float32") == fingerprint(same, "float32") == fingerprint(same, "bfloat16")
    assert fingerprint(first, "float32") != fingerprint(other, "float32")
    assert fingerprint(first, "float32") != fingerprint(first, "float64")


def test_no_density_model_says_what_to_give() -> None:
    with pytest.raises(UserError, match="density_model=RUN"):
        Likelihood(None)


@pytest.mark.parametrize("codec", ["png", "webp"])
def test_code_length_rows_are_bits_and_their_log_probability(codec: str) -> None:
    found = rows(CodeLength(codec), IMAGES)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found[:, 1], code_length(IMAGES, codec))  # type: ignore[arg-type]
    expected = code_log_prob(IMAGES, codec, density=True)  # type: ignore[arg-type]
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-7 * 2, atol=1e-4)  # float32 rounding


def test_code_lengths_count_what_the_density_model_sees(tmp_path: Path) -> None:
    density = save(tmp_path, 1)
    found = rows(code_beside(None, density), IMAGES)
    np.testing.assert_array_equal(found[:, 1], code_length(to_pixels(IMAGES, channels=1, size=8)))
    sizes = [np.zeros((h, 5, 3), np.uint8) for h in (3, 20)]  # of several sizes at once, no canvas
    assert rows(CodeLength(), sizes).shape == (2, 2)  # type: ignore[arg-type]


def test_the_general_model_is_a_code_length_or_a_model_of_the_same_images(tmp_path: Path) -> None:
    density, general = save(tmp_path / "in", 1), save(tmp_path / "general", 1, seed=3)
    for codec in (None, "png", "webp"):
        made, beside = general_model(codec, density), code_beside(codec, density)
        assert isinstance(made, CodeLength)
        assert fingerprint(made, "float32") == fingerprint(beside, "float32")
    made = general_model(general, density)
    assert isinstance(made, Likelihood)
    assert made.weights_sha256 == saved.sha256(general)
    assert code_beside(general, density).codec == "png"
    with pytest.raises(UserError, match=r"1x8x8.*cannot be compared"):
        general_model(save(tmp_path / "colour", 3), density)
