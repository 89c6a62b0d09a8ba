"""Rows of the PIAD measure: the score of `genaudit.piad.scoring`, its map and its reconstruction, image by image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from genaudit.data import ImageSet, open_images
from genaudit.errors import UserError
from genaudit.measures.measure import fingerprint
from genaudit.measures.piad import PIAD, PreparedPixels
from genaudit.piad import saved
from genaudit.piad.networks import Architecture, build
from genaudit.piad.perceptual import efficientnet_lite0
from genaudit.piad.scoring import score_batches
from genaudit.store import Engine, Store

ARCHITECTURE = Architecture(latent=4, generator=(6, 4, 4), encoder=(4, 4, 6), critic=(4, 4, 6), latent_critic=8)
NODE = {"_target_": "genaudit.piad.perceptual.efficientnet_lite0"}


def write_model(folder: Path, channels: int, *, seed: int = 0, pixels: PreparedPixels | None = None) -> Path:
    model = saved.Model(
        build(ARCHITECTURE, channels, seed=seed),
        ARCHITECTURE,
        efficientnet_lite0(),
        "relative_perceptual_l1",
        (pixels or PreparedPixels(16, channels)).describe(),
    )
    saved.save(model, folder, NODE, iterations=0)
    return folder


@pytest.mark.parametrize("channels", [1, 3])
def test_a_score_stands_beside_its_map_and_reconstruction(
    channels: int, make_images: Callable[..., Path], tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "run", channels)
    measure, model = PIAD(str(folder)), saved.load(folder)
    images = open_images(make_images("samples", 9))
    assert isinstance(images, ImageSet)
    measured = Store(tmp_path / "rows").measure(images, measure, Engine(batch_size=4))
    assert measured.rows is not None
    rows, beside = np.asarray(measured.rows), measured.rows.attachments
    assert rows.shape == (9, 1)
    prepared = np.stack([measure.prepare(images.read(i)) for i in range(9)]).transpose(0, 3, 1, 2)[:, :channels]
    (scored,) = score_batches(model.networks, prepared, model.perceptual, batch_size=9)
    # a batch of another size rounds otherwise: sums of some hundred float32 terms
    np.testing.assert_allclose(rows[:, 0], scored.scores, rtol=1e-5)
    np.testing.assert_allclose(beside["map"][:], scored.maps, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(beside["map"][:].sum((1, 2)), rows[:, 0], rtol=1e-5)
    made = beside["reconstruction"][:]
    assert (made.shape, made.dtype) == ((9, 16, 16, channels), np.uint8)
    expected = (scored.reconstructions.clip(-1, 1).transpose(0, 2, 3, 1) + 1) * 127.5
    assert np.abs(made - expected).max() <= 0.51  # rounding


def test_a_row_does_not_depend_on_the_batch_it_came_in(make_images: Callable[..., Path], tmp_path: Path) -> None:
    measure = PIAD(str(write_model(tmp_path / "run", 3)))
    images = open_images(make_images("samples", 7))
    assert isinstance(images, ImageSet)
    whole = Store(tmp_path / "a").measure(images, measure, Engine(batch_size=4)).rows
    store = Store(tmp_path / "b")
    parts = [store.measure(images.subset([i]), measure, Engine(batch_size=4)).rows for i in (5, 0, 3)]
    np.testing.assert_array_equal(np.asarray(whole)[[5, 0, 3]], np.concatenate([np.asarray(p) for p in parts]))


def test_the_fingerprint_follows_weights_statistics_and_preparation_but_not_the_place(tmp_path: Path) -> None:
    first = write_model(tmp_path / "a", 1)
    original = fingerprint(PIAD(str(first)), "float32")
    others = [
        write_model(tmp_path / "b", 1, seed=1),
        write_model(tmp_path / "c", 1, pixels=replace(PreparedPixels(16, 1), interpolation="bicubic")),
    ]
    assert len({original, *(fingerprint(PIAD(str(folder)), "float32") for folder in others)}) == 3
    first.rename(tmp_path / "moved")
    assert fingerprint(PIAD(str(tmp_path / "moved")), "bfloat16") == original


def test_grey_is_the_luma_and_grey_images_stay_as_they_are() -> None:
    rng = np.random.default_rng(0)
    colour, grey = rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    grey[:] = grey[..., :1]
    luma = np.asarray(Image.fromarray(colour).convert("L"))
    np.testing.assert_array_equal(PreparedPixels(16, 1).apply(colour), np.repeat(luma[..., None], 3, 2))
    np.testing.assert_array_equal(PreparedPixels(16, 1).apply(grey), grey)
    np.testing.assert_array_equal(PreparedPixels(16, 3).apply(colour), colour)


def test_the_centre_is_cut_out_before_the_resize() -> None:
    image = np.zeros((218, 178, 3), dtype=np.uint8)
    image[39:179, 19:159] = 200  # CelebA's central 140x140
    assert (PreparedPixels(64, 3, crop=140).apply(image) == 200).all()
    with pytest.raises(UserError, match="178x218"):
        PreparedPixels(64, 3, crop=200).apply(image)
    assert PreparedPixels.of(PreparedPixels(64, 3, crop=140).describe()) == PreparedPixels(64, 3, crop=140)


def test_28_pixels_become_32_as_torch_interpolates_them() -> None:
    image = np.repeat(np.random.default_rng(1).integers(0, 256, (28, 28, 1), dtype=np.uint8), 3, 2)
    ours = PreparedPixels(32, 1).apply(image)[..., 0]
    x = torch.from_numpy(image[..., 0].astype(np.float32))[None, None]
    theirs = torch.nn.functional.interpolate(x, 32, mode="bilinear", align_corners=False)[0, 0].numpy()
    assert np.abs(ours - theirs).max() <= 1.01  # Pillow rounds twice, and its coefficients are of 8 bits


@pytest.mark.parametrize(("model", "match"), [(None, "piad_model=RUN"), ("nowhere", "nowhere holds no saved model")])
def test_without_a_model_the_key_is_named(model: str | None, match: str) -> None:
    with pytest.raises(UserError, match=match):
        PIAD(model)
