"""The shipped demo sets are what their page says: counts, sizes, disjointness, memorisation and collapse."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from genaudit import demo

CONFIGS = Path(__file__).parent.parent / "configs" / "dataset"
REAL = ("train", "reference", "held_out")


@cache
def pixels(name: str) -> np.ndarray:
    """One set's images as rows (N, 784) float64 in [0, 1]."""
    with zipfile.ZipFile(demo.path(name)) as archive:
        assert archive.testzip() is None
        pictures = [Image.open(io.BytesIO(archive.read(member))) for member in archive.namelist()]
        assert {(picture.format, picture.mode, picture.size) for picture in pictures} == {("PNG", "L", (28, 28))}
        return np.stack([np.asarray(picture) for picture in pictures]).reshape(len(pictures), -1) / 255.0


@cache
def nearest_train(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Index of and Euclidean distance to each image's nearest training image; for `train`, the nearest other one."""
    query, train = pixels(name), pixels("train")
    squared = (query**2).sum(1)[:, None] + (train**2).sum(1)[None] - 2 * query @ train.T
    if name == "train":
        np.fill_diagonal(squared, np.inf)
    return squared.argmin(1), np.sqrt(np.maximum(squared.min(1), 0))


@pytest.mark.parametrize("name", demo.SETS)
def test_every_set_has_its_count_of_pngs_in_at_most_500_kb(name: str) -> None:
    assert len(pixels(name)) == demo.SETS[name].count
    assert Path(demo.path(name)).stat().st_size <= 500_000


def test_there_is_one_train_one_reference_and_several_generated_sets() -> None:
    roles = [demo_set.role for demo_set in demo.SETS.values()]
    assert roles.count("train") == roles.count("reference") == 1
    assert roles.count("generated") == len(roles) - 2 > 1


def test_no_two_real_images_are_equal_within_or_between_sets() -> None:
    everything = np.concatenate([pixels(name) for name in REAL])
    assert len(np.unique(everything, axis=0)) == len(everything)


def test_real_sets_hold_all_ten_classes() -> None:
    for name in REAL:
        with zipfile.ZipFile(demo.path(name)) as archive:
            assert len({member.split("-")[1] for member in archive.namelist()}) == 10


def test_no_generated_image_is_a_copy_of_a_real_one() -> None:
    real = {row.tobytes() for name in REAL for row in pixels(name)}
    for name in ("vae", "vae_collapsed", "memorised", "gaussian"):
        assert not real & {row.tobytes() for row in pixels(name)}


def test_memorised_images_lie_much_nearer_to_train_than_held_out_images_do() -> None:
    assert np.median(nearest_train("memorised")[1]) < 0.2 * np.median(nearest_train("held_out")[1])


def test_memorised_images_are_nearer_to_train_than_train_is_to_itself_and_others_are_not() -> None:
    def authentic(name: str) -> float:
        """Share of images farther from their nearest training image than that one from its own nearest."""
        index, distance = nearest_train(name)
        return float(np.mean(distance > nearest_train("train")[1][index]))

    assert authentic("memorised") < 0.2
    assert min(authentic("held_out"), authentic("vae")) > 0.4


def test_memorised_images_retrieve_as_many_training_images_as_uniform_draws_would() -> None:
    # Expected number of distinct images in n draws from s: s (1 - (1 - 1/s)^n) = 305 of 400 draws; its standard
    # deviation is below 9, so 250 would be a loss of diversity by 6 deviations.
    assert len(np.unique(nearest_train("memorised")[0])) > 250


def test_collapsed_set_retrieves_far_fewer_training_images_than_the_vae() -> None:
    collapsed, vae = (len(np.unique(nearest_train(name)[0])) for name in ("vae_collapsed", "vae"))
    assert collapsed < 0.5 * vae


def test_gaussian_set_has_the_pixel_mean_of_train_but_not_its_empty_corners() -> None:
    # Clipping at 0 lifts the dark pixels' mean, so the means agree to a tenth, not to the sampling error.
    assert np.abs(pixels("gaussian").mean(0) - pixels("train").mean(0)).mean() < 0.1
    assert np.mean(pixels("gaussian") == 0) < np.mean(pixels("train") == 0) - 0.1


def test_page_names_every_set_with_its_count_and_digest_and_the_licence_is_there() -> None:
    page = (demo.FOLDER / "README.md").read_text()
    for name, demo_set in demo.SETS.items():
        digest = hashlib.sha256(Path(demo.path(name)).read_bytes()).hexdigest()
        assert f"| `{name}` | {demo_set.role} | {demo_set.count} |" in page
        assert f"`{digest[:16]}`" in page
        assert demo_set.about in page
        assert demo_set.expect in page
    licence = (demo.FOLDER / "LICENSE-fashion-mnist").read_text()
    assert "Zalando SE" in licence
    assert "MIT License" in licence


def test_every_set_has_a_dataset_config_that_gives_its_path() -> None:
    for name in demo.SETS:
        config = yaml.safe_load((CONFIGS / f"demo_{name}.yaml").read_text())
        assert config == {"_target_": "genaudit.demo.path", "name": name}


def test_unknown_set_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no demo set is called 'vea'"):
        demo.path("vea")


def test_importing_the_demo_does_not_import_torch() -> None:
    code = "import sys, genaudit.demo; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_decoder_is_small_and_draws_images_like_the_vae_set() -> None:
    import torch

    assert (demo.FOLDER / "vae_decoder.safetensors").stat().st_size < 400_000
    decoder = demo.load_vae_decoder()
    latents = torch.randn(500, decoder.latent_dim, generator=torch.Generator().manual_seed(9))
    images = decoder(latents)
    assert images.shape == (500, 1, 28, 28)
    assert bool(((images >= 0) & (images <= 1)).all())
    assert 0 < decoder.sigma2 < 0.05
    # Two samples of the same model, 500 and 400 images: a pixel's mean differs by a standard deviation of at most
    # 0.4 sqrt(1/500 + 1/400) = 0.027, so their mean absolute difference is far below 0.05.
    assert np.abs(images.flatten(1).numpy().mean(0) - pixels("vae").mean(0)).mean() < 0.05
