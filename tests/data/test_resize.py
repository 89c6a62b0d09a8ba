from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genaudit.data import ResizeRecipe
from genaudit.data.resize import RecipeOfTool

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
FILTERS = ["bicubic", "bilinear", "box", "lanczos", "nearest"]


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("shape", [(9, 7), (40, 30), (3, 50)])
@pytest.mark.parametrize("fit", ["squash", "crop"])
def test_result_is_square_uint8(rng: np.random.Generator, interpolation: str, shape: tuple, fit: str) -> None:
    image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    result = ResizeRecipe(16, interpolation, fit).apply(image)  # type: ignore[arg-type]
    assert result.shape == (16, 16, 3)
    assert result.dtype == np.uint8
    assert result.flags.writeable


@pytest.mark.parametrize("interpolation", FILTERS)
def test_a_constant_image_stays_constant(interpolation: str) -> None:
    image = np.full((31, 17, 3), (10, 128, 255), dtype=np.uint8)
    result = ResizeRecipe(8, interpolation).apply(image)  # type: ignore[arg-type]
    assert (result == image[0, 0]).all()


def test_box_filter_averages_whole_blocks(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (32, 16, 3), dtype=np.uint8)
    mean = image.reshape(8, 4, 8, 2, 3).mean(axis=(1, 3))
    # two passes, each rounded to 8 bits: at most half a level each
    assert np.abs(ResizeRecipe(8, "box").apply(image) - mean).max() <= 1.0


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "box", "lanczos"])
def test_downsampling_is_antialiased(interpolation: str) -> None:
    # A checkerboard at the finest scale has no content below the new Nyquist frequency: it must become grey,
    # where sampling without a filter gives black, white or moire.
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    image = np.repeat(board[:, :, None], 3, axis=2)
    inner = ResizeRecipe(8, interpolation).apply(image)[1:-1, 1:-1].astype(int)  # type: ignore[arg-type]
    assert np.abs(inner - 127.5).max() <= 4


@pytest.mark.parametrize("interpolation", FILTERS)
def test_crop_equals_a_resize_of_the_short_side_and_a_central_crop(
    rng: np.random.Generator, interpolation: str
) -> None:
    # 40 -> 16 is exact: no rounding of the long side. Values from 64 to 191: negative lobes never reach the clipping.
    image = rng.integers(64, 192, (20, 40, 3), dtype=np.uint8)
    turned = np.ascontiguousarray(image.transpose(1, 0, 2))
    recipe = ResizeRecipe(8, interpolation, "crop")  # type: ignore[arg-type]
    method = Image.Resampling[interpolation.upper()]
    wide = np.asarray(Image.fromarray(image).resize((16, 8), method))[:, 4:12]
    high = np.asarray(Image.fromarray(turned).resize((8, 16), method))[4:12]
    # Pillow may run its two passes in either order. Each rounds by half a level, and the second spreads the first's
    # error by at most 1.4 (the absolute sum of Lanczos' weights): 1.2 levels for each of the two results.
    assert np.abs(recipe.apply(image).astype(int) - wide).max() <= 2
    assert np.abs(recipe.apply(turned).astype(int) - high).max() <= 2


def test_an_image_of_the_right_size_is_returned_as_it_is(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert ResizeRecipe(8).apply(image) is image


def test_squash_equals_pillow(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (20, 33, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((12, 12), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(ResizeRecipe(12).apply(image), expected)


def test_the_algorithm_that_the_fingerprint_names_gives_these_pixels() -> None:
    # A ramp over 0..255. Should a Pillow give other pixels, `_ALGORITHM` is to be bumped together with these.
    image = np.repeat(np.arange(0, 256, 17, dtype=np.uint8).reshape(4, 4)[:, :, None], 3, axis=2)
    bicubic = ResizeRecipe(2).apply(image)[..., 0]
    bilinear = ResizeRecipe(2, "bilinear").apply(image)[..., 0]
    assert bicubic.tolist() == [[50, 81], [174, 205]]
    assert bilinear.tolist() == [[61, 88], [167, 194]]


def test_description_names_every_choice() -> None:
    seen = {tuple(ResizeRecipe(*args).describe().values()) for args in [(8,), (9,), (8, "box"), (8, "bicubic", "crop")]}
    assert len(seen) == 4
    assert ResizeRecipe(8).describe()["antialias"] is True
    assert ResizeRecipe(8, "nearest").describe()["antialias"] is False


@pytest.mark.parametrize("arguments", [(0,), (8, "cubic"), (8, "box", "pad")])
def test_wrong_arguments_are_value_errors(arguments: tuple) -> None:
    with pytest.raises(ValueError, match="must be"):
        ResizeRecipe(*arguments)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_wrong_images_are_value_errors(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        ResizeRecipe(8).apply(image)


def recorded_peers() -> Any:
    """What clean-fid answered: scripts/recorded_peers.py."""
    if str(SCRIPTS) not in sys.path:
        sys.path.insert(0, str(SCRIPTS))
    return importlib.import_module("recorded_peers")


@pytest.mark.parametrize("shape", [(32, 32), (64, 64), (40, 500), (224, 224), (512, 512)])
def test_edm2s_resize_before_dinov2_is_pytorchs_in_floating_point(shape: tuple[int, int]) -> None:
    """Antialiased bicubic, neither rounded to levels nor cut to [0, 255]: EDM2's calculate_metrics.py."""
    import torch

    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    batch = torch.from_numpy(image).permute(2, 0, 1)[None].double()  # float32 errs by 3e-4
    expected = torch.nn.functional.interpolate(batch, (224, 224), mode="bicubic", antialias=True)
    ours = RecipeOfTool(224, "edm2").apply(image)
    assert ours.dtype == np.float32
    # Pillow keeps a float32 image between the two directions: 255·2^-24 of rounding a pixel, of sums of a few dozen
    assert np.abs(ours - expected[0].permute(1, 2, 0).numpy()).max() < 1e-3
    edge = np.where(np.arange(shape[1])[None, :, None] < shape[1] // 2, 0, 255) * np.ones((*shape, 3))
    edged = RecipeOfTool(224, "edm2").apply(edge.astype(np.uint8))
    assert (edged.min() < 0) == (edged.max() > 255) == (shape[1] != 224)


@pytest.mark.parametrize("shape", [(32, 32), (40, 500), (299, 299), (512, 301)])
def test_tools_resizes_are_theirs(shape: tuple[int, int]) -> None:
    import torch
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    recorded = recorded_peers()  # of clean-fid every few pixels
    image = recorded.picture(shape)
    batch = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    theirs = {
        "clean-fid": recorded.arrays()["resized_{}x{}".format(*shape)],
        "pytorch-fid": torch.nn.functional.interpolate(batch, (299, 299), mode="bilinear", align_corners=False),
        "torch-fidelity": interpolate_bilinear_2d_like_tensorflow1x(batch, (299, 299), align_corners=False),
        "torchmetrics": torch.nn.functional.interpolate(
            batch.double(),
            (299, 299),
            mode="bilinear",
            align_corners=False,
            antialias=True,  # float32 errs by 3e-4
        ),
    }
    for tool, expected in theirs.items():
        ours = RecipeOfTool(299, tool).apply(image)  # type: ignore[arg-type]
        assert ours.dtype == np.float32
        ours = ours[:: recorded.EVERY, :: recorded.EVERY] if tool == "clean-fid" else ours
        expected = expected[0].permute(1, 2, 0).numpy() if torch.is_tensor(expected) else expected
        # places in float32 err by 512·2^-24 of a pixel, which 255 levels between neighbours turn into 0.008 at most
        assert np.abs(ours - expected).max() < 0.008
        assert np.abs(ours - expected).mean() < 1e-4


def test_only_antialiased_tools_make_a_fine_checkerboard_grey() -> None:
    board = np.repeat((np.indices((598, 598)).sum(axis=0) % 2 * 255).astype(np.uint8)[:, :, None], 3, axis=2)
    spread = {
        tool: float(np.ptp(RecipeOfTool(299, tool).apply(board)[3:-3, 3:-3]))  # type: ignore[arg-type]
        for tool in ("clean-fid", "torchmetrics", "torch-fidelity")
    }
    assert spread["clean-fid"] < 5
    assert spread["torchmetrics"] < 5
    # every second pixel is taken: the board becomes one colour, black, and its grey is lost
    assert RecipeOfTool(299, "torch-fidelity").apply(board).max() == 0


def test_an_unknown_tool_is_refused() -> None:
    with pytest.raises(ValueError, match="clean-fid"):
        RecipeOfTool(299, "keras")  # type: ignore[arg-type]
