"""What pixels say of an image's history, on real images with a known one."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn

from genaudit.data.audit.facts import TRACES
from genaudit.data.audit.pixels import COLUMNS, _cosines, jpeg_lattice, pixel_facts


def _column(images: list[np.ndarray], name: str) -> np.ndarray:
    return np.array([pixel_facts(image)[COLUMNS.index(name)] for image in images])


def recoded(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def test_the_transform_of_a_block_is_the_orthonormal_cosine_transform() -> None:
    block = np.random.default_rng(0).normal(size=(8, 8))
    expected = dctn(block, norm="ortho").ravel()[1:]
    assert np.allclose(block.ravel() @ _cosines(), expected, atol=1e-5)


def test_grey_means_equal_channels_in_every_pixel() -> None:
    image = np.full((300, 300, 3), 90, np.uint8)
    assert pixel_facts(image)[:2].tolist() == [1, 0]
    image[151, 1] = 90, 90, 91  # one pixel of 90,000, between those that are looked at first
    assert pixel_facts(image)[0] == 0


def test_chroma_is_the_mean_spread_of_the_channels() -> None:
    image = np.full((20, 20, 3), 90, np.uint8)
    image[..., 2] = 100
    assert pixel_facts(image)[1] == pytest.approx(10)


@pytest.mark.parametrize("name", ["fashion", "mnist", "photographs"])
def test_images_that_never_were_jpegs_have_no_traces(real_sets: dict[str, list[np.ndarray]], name: str) -> None:
    """The largest of 60 scores of a normal variable exceeds 4.5 once in 5,000 images."""
    assert (_column(real_sets[name], "jpeg_score") < TRACES).all()


def test_noise_and_flat_images_have_no_traces() -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(50)]
    assert (_column(noise, "jpeg_score") < TRACES).all()
    assert pixel_facts(np.full((64, 64, 3), 7, np.uint8))[2] == 0
    ramp = np.repeat(np.tile(np.arange(64, dtype=np.uint8), (64, 1))[..., None], 3, axis=2)
    assert pixel_facts(ramp)[2] < TRACES


@pytest.mark.parametrize("quality", [60, 75, 90, 95])
def test_jpegs_saved_as_png_are_known_with_their_quality(real_sets: dict[str, list[np.ndarray]], quality: int) -> None:
    images = [recoded(image, quality) for image in real_sets["photographs"][::4]]
    scores = _column(images, "jpeg_score")
    assert (scores >= TRACES).mean() > 0.9
    told = _column(images, "jpeg_quality")[scores >= TRACES]
    assert (np.abs(told - quality) <= 1).mean() > 0.9


def test_smooth_drawings_have_no_traces() -> None:
    rng = np.random.default_rng(0)
    blobs = []
    for size in (20, 32, 64, 128):
        for _ in range(50):
            coarse = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
            blobs.append(np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)))
    assert (_column(blobs, "jpeg_score") < TRACES).mean() > 0.99


def test_traces_go_with_the_lattice_of_the_blocks(real_sets: dict[str, list[np.ndarray]]) -> None:
    """Cut by half a block, the same JPEG has none: what is seen is the lattice, and no property of the picture."""
    images = [recoded(image, 75) for image in real_sets["photographs"][:40]]
    cut = [np.ascontiguousarray(image[4:-4, 4:-4]) for image in images]
    assert (_column(images, "jpeg_score") >= TRACES).mean() > 0.9
    assert (_column(cut, "jpeg_score") < TRACES).mean() > 0.9


def test_a_cosine_of_a_given_frequency_has_its_power_in_its_band() -> None:
    place = np.arange(128)
    for frequency, coarse in ((3 / 16, True), (7 / 8, False)):
        wave = 100 * np.cos(np.pi * frequency * place)
        luma = 128 + (wave[:, None] + wave[None, :]) / 2
        facts = pixel_facts(np.repeat(luma.round().astype(np.uint8)[..., None], 3, axis=2))
        detail = facts[COLUMNS.index("detail")]
        assert detail < -3 if coarse else detail > 3


def test_white_noise_has_a_flat_spectrum() -> None:
    rng = np.random.default_rng(0)
    noise = [np.repeat(rng.integers(0, 256, (128, 128, 1), np.uint8), 3, axis=2) for _ in range(20)]
    # power of uniform levels: (256^2 - 1) / 12
    assert _column(noise, "coarse").mean() == pytest.approx(math.log10((256**2 - 1) / 12), abs=0.05)
    assert _column(noise, "detail").mean() == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(
    ("factor", "column"), [(1.5, "period_3"), (4 / 3, "period_4"), (1.25, "period_5"), (2.5, "period_5_2")]
)
def test_interpolation_leaves_its_period(real_sets: dict[str, list[np.ndarray]], factor: float, column: str) -> None:
    images = real_sets["photographs"][::4]
    enlarged = []
    for image in images:
        small = Image.fromarray(image).resize((round(len(image) / factor),) * 2, Image.Resampling.BICUBIC)
        enlarged.append(np.asarray(small.resize(image.shape[1::-1], Image.Resampling.BILINEAR)))
    before, after = _column(images, column), _column(enlarged, column)
    assert np.quantile(after, 0.25) > np.quantile(before, 0.75)
    others = [name for name in COLUMNS if name.startswith("period") and name != column]
    assert all(np.median(after) > np.median(_column(enlarged, name)) for name in others)


@pytest.mark.parametrize("shape", [(1, 1), (7, 40), (8, 8), (9, 300), (28, 28), (257, 31)])
def test_images_of_any_size_have_finite_facts_that_depend_on_pixels_alone(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    facts = pixel_facts(image)
    assert facts.shape == (len(COLUMNS),)
    assert facts.dtype == np.float32
    assert np.isfinite(facts).all()
    strided = np.zeros((shape[0], 2 * shape[1], 3), np.uint8)[:, ::2]
    strided[:] = image
    assert np.array_equal(pixel_facts(strided), facts)


def test_no_whole_block_has_no_score() -> None:
    assert jpeg_lattice(np.ones((7, 20), np.float32)) == (0.0, 0)


def test_periods_are_the_fourier_sums_of_the_second_differences() -> None:
    """Sums over all pixels, in double precision; slow waves make the periods above 16 pixels the strong ones."""
    rng = np.random.default_rng(3)
    wave = 40 * np.sin(2 * np.pi * np.arange(64) / 24) ** 3
    grey = np.clip(128 + wave[:, None] + wave[None] + rng.normal(scale=6, size=(64, 64)), 0, 255).astype(np.uint8)
    luma = grey.astype(float)
    strength = np.zeros(4)
    for lines in (luma, luma.T):
        profile = np.abs(np.diff(lines, n=2, axis=1)).mean(axis=0)
        profile = (profile - profile.mean()) * np.hanning(len(profile) + 2)[1:-1]

        def power(frequency: float, profile: np.ndarray = profile) -> float:
            return float(abs(np.exp(-2j * np.pi * frequency * np.arange(len(profile))) @ profile) ** 2)

        n = len(profile)
        typical = np.median([power(k / n) for k in range(n // 16, n // 2 + 1)])
        strength += [power(1 / period) / (typical + 1e-4) / 2 for period in (3, 4, 5, 2.5)]
    found = pixel_facts(np.repeat(grey[..., None], 3, axis=2))[6:]
    # the facts are float32, and so is the luminance they are of
    assert found == pytest.approx(np.log10(strength + 1e-3), abs=1e-3)
