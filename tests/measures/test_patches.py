"""Closed forms of the patch variation (DEFINITIONS, section 6)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genaudit.measures.patches import patch_variation, patch_variation_counted


def test_a_checkerboard_of_0_and_2_has_variation_one_and_a_flat_image_none() -> None:
    board = np.tile([[0, 2], [2, 0]], (8, 8)).astype(np.uint8)  # mean 1, population deviation 1
    assert patch_variation(np.stack([board, np.full_like(board, 7)])).tolist() == [1.0, 0.0]


def test_uniform_steps_have_the_discrete_uniforms_variation() -> None:
    # 64 values 0 ... 63 in each patch: mean 31.5, population variance (64² - 1)/12.
    image = np.tile(np.arange(64).reshape(8, 8), (2, 3))
    assert patch_variation(image) == pytest.approx(np.sqrt((64**2 - 1) / 12) / 31.5)


def test_black_patches_are_left_out_and_counted() -> None:
    image = np.zeros((3, 16, 16), np.uint8)
    image[0, :8, :8] = np.tile([[0, 4], [4, 0]], (4, 4))  # variation 1
    image[0, 8:, 8:] = 5  # variation 0
    image[1] = 9
    found = patch_variation_counted(image)
    assert found.variation[:2].tolist() == [0.5, 0.0]
    assert np.isnan(found.variation[2])
    assert found.left_out.tolist() == [2, 0, 4]
    assert found.patches == 4


def test_scale_does_not_matter_and_order_does_not_either() -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 24, 32, 3))
    whole = patch_variation(images)
    np.testing.assert_allclose(patch_variation(images / 255.0), whole, rtol=1e-12)
    np.testing.assert_array_equal(patch_variation(images[::-1]), whole[::-1])


def test_matches_a_loop_over_patches_of_another_size() -> None:
    images = np.random.default_rng(1).uniform(0, 1, (4, 13, 11))
    expected = [
        np.mean([np.std(p) / np.mean(p) for p in (im[r : r + 4, c : c + 4] for r in (0, 4, 8) for c in (0, 4))])
        for im in images
    ]
    np.testing.assert_allclose(patch_variation(images, patch=4), expected, rtol=1e-12)


def test_channels_may_stand_first_or_last_and_tensors_stay_tensors() -> None:
    images = np.random.default_rng(2).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    last = patch_variation(images)
    np.testing.assert_allclose(patch_variation(images.transpose(0, 3, 1, 2)), last, rtol=1e-14)
    tensor = patch_variation(torch.from_numpy(images).permute(0, 3, 1, 2))
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_allclose(tensor.numpy(), last, rtol=1e-14)


@pytest.mark.parametrize("images", [np.zeros((2, 7, 16)), np.full((2, 8, 8), -1.0), np.full((2, 8, 8), np.nan),
                                    np.zeros((2, 8, 8, 4)), np.zeros(8), np.full((2, 8, 8), "a")])  # fmt: skip
def test_nonsense_is_refused(images: np.ndarray) -> None:
    with pytest.raises(ValueError):
        patch_variation(images)
