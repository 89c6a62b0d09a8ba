"""The axis that density models live on, and what brings pixels there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genaudit.likelihood.dequantisation import augment, dequantise, from_unit_axis, noise_free, pad, to_pixels

EVERY_VALUE = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)


def test_noise_never_leaves_a_pixels_cell() -> None:
    pixels = EVERY_VALUE.expand(500, -1, -1, -1)  # 128,000 draws: the rounding that this guards against has p = 1e-5
    x = dequantise(pixels, torch.Generator().manual_seed(0))
    assert torch.equal(from_unit_axis(x), pixels)
    assert -0.5 <= float(x.min()) < float(x.max()) < 0.5


def test_noise_free_input_is_the_middle_of_the_cell() -> None:
    x = noise_free(EVERY_VALUE)
    assert torch.equal(from_unit_axis(x), EVERY_VALUE)
    assert x.min().item() == -0.5 + 0.5 / 256
    assert x.max().item() == 0.5 - 0.5 / 256


def test_values_outside_the_axis_become_the_nearest_pixel() -> None:
    assert from_unit_axis(torch.tensor([-3.0, 3.0, float("nan")])).tolist() == [0, 255, 0]


def test_padding_is_black_and_centred() -> None:
    padded = pad(torch.ones(1, 1, 28, 28, dtype=torch.uint8), 32)
    assert padded.shape == (1, 1, 32, 32)
    assert padded[0, 0, 2:30, 2:30].all()
    assert int(padded.sum()) == 28 * 28
    with pytest.raises(ValueError, match="larger"):
        pad(torch.ones(1, 1, 40, 40, dtype=torch.uint8), 32)


def test_grey_is_the_papers_weighting() -> None:
    colour = np.array([[[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]]], dtype=np.uint8)
    assert to_pixels(colour, channels=1).flatten().tolist() == [76, 150, 29, 255]
    assert to_pixels(colour[..., 0], channels=3).shape == (1, 3, 1, 4)
    with pytest.raises(ValueError, match="uint8"):
        to_pixels(colour.astype(np.float32))


def test_augmentation_only_moves_and_mirrors() -> None:
    pixels = torch.zeros(64, 1, 20, 20, dtype=torch.uint8)
    pixels[:, :, 10, 9] = 200
    moved = augment(pixels, torch.Generator().manual_seed(0), flip=True, shift=0.1)
    assert moved.dtype == torch.uint8
    assert (moved.flatten(1).sum(1) == 200).all()
    _, _, y, x = moved.nonzero(as_tuple=True)
    # Two pixels each way around row 10 and columns 9 and, mirrored, 10.
    assert set(y.tolist()) == {8, 9, 10, 11, 12}
    assert set(x.tolist()) == {7, 8, 9, 10, 11, 12}
    assert torch.equal(augment(pixels, torch.Generator()), pixels)
