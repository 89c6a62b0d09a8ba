"""Findings between roles: each planted fault is found, and what is no fault is not."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from genaudit.data import ImageSet, open_images
from genaudit.data.audit.compare import compare, counts_differ
from genaudit.data.audit.facts import SetFacts
from genaudit.data.audit.finding import CODES, Finding
from tests.data.audit.conftest import demo, facts

Change = Callable[[np.ndarray], np.ndarray]
SETS = ("fashion", "mnist", "photographs")


def _codes(generated: SetFacts, reference: SetFacts) -> list[str]:
    return [finding.code for finding in compare({"generated": generated, "reference": reference})]


def _halves(images: list[np.ndarray], seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    order = np.random.default_rng(seed).permutation(len(images))
    return tuple([images[i] for i in half] for half in np.array_split(order, 2))  # type: ignore[return-value]


def _jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def _enlarged(image: np.ndarray, factor: float, kernel: Image.Resampling) -> np.ndarray:
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize((round(width / factor), round(height / factor)), Image.Resampling.BICUBIC)
    return np.asarray(small.resize((width, height), kernel))


def _blurred(image: np.ndarray, radius: float) -> np.ndarray:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


@pytest.fixture(scope="session")
def real_facts(real_sets: dict[str, list[np.ndarray]]) -> dict[str, SetFacts]:
    return {name: facts(images) for name, images in real_sets.items()}


def _picked(whole: SetFacts, places: np.ndarray) -> SetFacts:
    """The facts of some of the sampled images, as if they were a set."""
    kept = tuple(whole.sampled[i] for i in places)
    (shape,) = whole.sizes
    encodings = {encoding: kept.count(encoding) for encoding in set(kept)}
    return SetFacts(len(places), encodings, {shape: len(places)}, kept, whole.pixels[places])


@pytest.mark.parametrize("name", SETS)
def test_random_parts_of_one_set_raise_no_alarm(real_facts: dict[str, SetFacts], name: str) -> None:
    whole = real_facts[name]
    for seed in range(40):
        order = np.random.default_rng(seed).permutation(len(whole.pixels))
        size = (len(order) // 2, 30, len(order) * 2 // 3)[seed % 3]
        first, second = (_picked(whole, part) for part in (order[:size], order[size:]))
        assert _codes(first, second) == []


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("quality", [75, 95])
def test_jpegs_saved_as_png_on_one_side_are_found(
    real_sets: dict[str, list[np.ndarray]], name: str, quality: int
) -> None:
    first, second = _halves(real_sets[name])
    (finding,) = compare({"generated": facts([_jpeg(image, quality) for image in first]), "reference": facts(second)})
    assert finding.code == "jpeg-traces"
    told = int(finding.message.partition("quality about ")[2].partition(")")[0])
    assert abs(told - quality) <= 2  # of 28x28 pixels nine blocks must do
    both = {"generated": facts([_jpeg(i, quality) for i in first]), "reference": facts([_jpeg(i, 90) for i in second])}
    assert compare(both) == [], "on both sides it is no difference"


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("factor", [1.5, 2])
@pytest.mark.parametrize("kernel", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
def test_an_enlarged_side_is_found_and_named(
    real_sets: dict[str, list[np.ndarray]], name: str, factor: float, kernel: Image.Resampling
) -> None:
    first, second = _halves(real_sets[name])
    sides = {"generated": facts(first), "reference": facts([_enlarged(image, factor, kernel) for image in second])}
    (finding,) = compare(sides)
    assert finding.code == "upscaled"
    assert finding.message.startswith("reference: above 3/4 of the highest frequency")
    if factor == 1.5:
        assert "enlarging by 1.5" in finding.message
    else:
        assert "Either they were enlarged, or something blurs them" in finding.message
    assert not finding.breaks


@pytest.mark.parametrize("name", SETS)
def test_blur_is_said_to_be_one_of_two_causes_where_it_takes_all_detail(
    real_sets: dict[str, list[np.ndarray]], name: str
) -> None:
    first, second = _halves(real_sets[name])
    plain = facts(second)
    assert _codes(facts([_blurred(image, 0.5) for image in first]), plain) == []
    (finding,) = compare({"generated": facts([_blurred(image, 1.0) for image in first]), "reference": plain})
    assert "or something blurs them: a generator's decoder" in finding.message


@pytest.mark.parametrize("name", SETS)
def test_noise_is_neither_jpeg_nor_makes_the_other_side_enlarged(
    real_sets: dict[str, list[np.ndarray]], name: str
) -> None:
    rng = np.random.default_rng(0)
    first, second = _halves(real_sets[name])
    grey_noise = [np.clip(image + rng.normal(0, 25, (*image.shape[:2], 1)), 0, 255).astype(np.uint8) for image in first]
    assert _codes(facts(grey_noise), facts(second)) == []
    white = [np.repeat(rng.integers(0, 256, (*image.shape[:2], 1), np.uint8), 3, axis=2) for image in first]
    assert set(_codes(facts(white), facts(second))) <= {"colour-differs"}  # some photographs have colours


def test_sets_of_the_demo_differ_in_nothing_but_what_they_show() -> None:
    known = {
        name: facts(demo(name))
        for name in ("reference", "held_out", "train", "vae", "vae_collapsed", "memorised", "gaussian")
    }
    for first, second in itertools.combinations(known, 2):
        assert _codes(known[first], known[second]) == []


def test_other_pictures_are_no_fault(real_facts: dict[str, SetFacts]) -> None:
    assert _codes(real_facts["mnist"], real_facts["fashion"]) == []


def test_brightness_and_contrast_are_no_fault(real_sets: dict[str, list[np.ndarray]]) -> None:
    first, second = _halves(real_sets["photographs"])
    assert _codes(facts([(image * 0.7 + 60).astype(np.uint8) for image in first]), facts(second)) == []


# ------------------------------------------------------------------ how files are stored


Save = Callable[[Image.Image, Path], None]


def _exif(turn: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x112] = turn
    return exif


def _sixteen(image: Image.Image, path: Path) -> None:
    Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(path.with_suffix(".png"))


def _tiled(image: Image.Image, path: Path) -> None:
    Image.fromarray(np.tile(np.asarray(image), (1, 2, 1))[:20, :29]).save(path.with_suffix(".png"))


def _save(mode: str | None = None, suffix: str = ".png", **options: object) -> Save:
    return lambda image, path: (image.convert(mode) if mode else image).save(path.with_suffix(suffix), **options)


PLANTED: dict[str, tuple[Save, Save, list[str]]] = {
    "png against jpeg": (_save(suffix=".jpg", quality=90), _save(), ["formats-differ"]),
    "jpeg against lossy webp": (_save(suffix=".jpg"), _save(suffix=".webp"), ["formats-differ"]),
    "jpeg qualities": (_save(suffix=".jpg", quality=70), _save(suffix=".jpg", quality=95), ["jpeg-quality-differs"]),
    "near qualities": (_save(suffix=".jpg", quality=94), _save(suffix=".jpg", quality=95), []),
    "png against bmp": (_save(suffix=".bmp"), _save(), []),
    "lossless webp against png": (_save(suffix=".webp", lossless=True), _save(), []),
    "alpha": (_save("RGBA"), _save(), ["alpha-differs"]),
    "16 bits": (_sixteen, _save("L"), ["bit-depth-differs"]),
    "palette": (_save("P"), _save(), ["bit-depth-differs"]),
    "grey files against colour": (_save("L"), _save(), ["colour-differs"]),
    "orientation": (_save(exif=_exif(3)), _save(), ["orientation-differs"]),
    "sizes": (lambda i, p: i.resize((20, 20)).save(p.with_suffix(".png")), _save(), ["sizes-differ"]),
    "aspect": (_tiled, _save(), ["aspect-differs"]),
}


def _folder(root: Path, images: np.ndarray, save: Save) -> ImageSet:
    root.mkdir()
    for index, pixels in enumerate(images):
        save(Image.fromarray(pixels), root / f"{index:03}")
    opened = open_images(str(root))
    assert isinstance(opened, ImageSet)
    return opened


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_difference_of_files_is_found_and_no_other(fault: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 24, 24, 3), np.uint8)
    first, second, expected = PLANTED[fault]
    generated, reference = _folder(tmp_path / "a", images[:20], first), _folder(tmp_path / "b", images[20:], second)
    findings = compare({"generated": facts(generated), "reference": facts(reference)})
    assert [finding.code for finding in findings] == expected
    for finding in findings:
        assert finding.roles == ("generated", "reference")
        assert finding.message.endswith(".")
        assert not finding.breaks


@pytest.mark.parametrize(
    ("size", "code"), [((6, 6), "sizes-differ"), ((48, 12), "aspect-differs")], ids=["four times", "four to one"]
)
def test_a_difference_that_leaves_nothing_to_compare_says_so(size: tuple[int, int], code: str) -> None:
    rng = np.random.default_rng(0)
    usual = facts(rng.integers(0, 256, (20, 24, 24, 3), np.uint8))
    other = facts(
        [np.asarray(Image.fromarray(image).resize(size)) for image in rng.integers(0, 256, (20, 24, 24, 3), np.uint8)]
    )
    assert {finding.code: finding.breaks for finding in compare({"generated": other, "reference": usual})}[code]


def test_one_side_in_part_is_found_and_a_few_images_are_not() -> None:
    """A quarter of the images is a difference of shares; one in fifty is none that moves a metric."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (400, 16, 16, 3), np.uint8)
    grey = np.repeat(images[..., :1], 3, axis=3)
    plain = facts(images[:200])
    assert _codes(facts([*grey[200:250], *images[250:]]), plain) == ["colour-differs"]
    assert _codes(facts([*grey[200:204], *images[204:]]), plain) == []


def test_a_model_that_misses_grey_by_a_level_is_grey() -> None:
    rng = np.random.default_rng(0)
    grey = np.repeat(rng.integers(2, 250, (60, 16, 16, 1), np.uint8), 3, axis=3)
    nearly = grey[:30] + rng.integers(0, 3, (30, 16, 16, 3), np.uint8)
    seen = facts(nearly)
    assert seen.grey == 0
    assert _codes(seen, facts(grey[30:])) == []


def test_a_finding_names_the_roles_that_differ_and_the_metrics_that_take_them() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 16, 16, 3), np.uint8)
    grey = np.repeat(images[..., :1], 3, axis=3)
    roles = {"generated": facts(images[:20]), "reference": facts(images[20:40]), "train": facts(grey[40:])}
    (finding,) = compare(roles, lambda pairs: tuple("-".join(pair) for pair in pairs))
    assert (finding.code, finding.roles, finding.metrics) == (
        "colour-differs",
        ("generated", "reference", "train"),
        ("generated-train", "reference-train"),
    )
    assert "generated: 0 %; reference: 0 %; train: 100 %" in finding.message


@pytest.mark.parametrize(("counts", "differs"), [((1000, 1000), False), ((1000, 1249), False), ((1000, 1251), True)])
def test_counts_differ_from_a_quarter_on(counts: tuple[int, int], differs: bool) -> None:
    finding = counts_differ(dict(zip(("generated", "reference"), counts, strict=True)))
    assert (finding is not None) == differs
    assert counts_differ({"generated": 100, "train": 10_000}) is None, "a training set is no second sample"


def test_a_finding_has_a_known_code_roles_and_a_sentence() -> None:
    for arguments in (("other", ("generated",), "x"), ("upscaled", (), "x"), ("upscaled", ("generated",), "")):
        with pytest.raises(ValueError, match=r"code must be|needs roles"):
            Finding(*arguments)
    assert len(set(CODES)) == 14
