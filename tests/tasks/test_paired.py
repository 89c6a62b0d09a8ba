"""`paired=true`: generated images against their partners, by name or order; a mismatch ends it before it begins."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import genaudit
from genaudit.errors import UserError
from genaudit.reports.gallery import Gallery
from genaudit.stats.image_similarity import mean_squared_error, psnr, ssim
from tests.reports.synthetic import photograph

N = 14
SHARED: dict[str, Any] = {"feature_model": "pixels", "metrics": ["kd"], "progress": False}


def noisy(index: int) -> np.ndarray:
    noise = np.random.default_rng(index).normal(scale=4 + 2 * index, size=(20, 20, 3))
    return np.clip(photograph(index, 20) + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pairs")
    for index in range(N):
        # other folders and extensions, so that both are in other orders: names alone say which belong together
        ours, real = root / "rec" / "ab"[index % 2] / f"{index}.bmp", root / "real" / f"{index}.png"
        for path, image in ((ours, noisy(index)), (real, photograph(index, 20))):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    return root


@pytest.fixture(scope="module")
def report(folders: Path) -> Any:
    return genaudit.evaluate(folders / "rec", folders / "real", paired=True, store=folders / "store", **SHARED)


def test_each_image_is_compared_with_its_partner(report, folders: Path) -> None:
    expected = {index: mean_squared_error(noisy(index), photograph(index, 20)) for index in range(N)}
    order = [int(Path(name).stem) for name in report.images["name"]]
    assert report.images["psnr"] == pytest.approx(psnr([expected[index] for index in order]), rel=1e-6)
    assert report["psnr"].value == pytest.approx(float(psnr(list(expected.values())).mean()), rel=1e-6)
    similar = [ssim(noisy(index), photograph(index, 20)) for index in order]
    assert report.images["ssim"] == pytest.approx(similar, rel=1e-6)
    assert report["kd"].n == {"generated": N, "reference": N}
    assert "lpips" in report.metrics or "weights" in report.skipped_metrics["lpips"]
    files = report.save(folders / "out")
    with open(files["images.csv"], newline="") as file:
        assert float(next(csv.DictReader(file))["psnr"]) == report.images["psnr"][0]
    page = files["report.html"].read_text()
    assert "Farthest" in page
    assert page.index("How near are they to their partners?") < page.index("Are the samples good?")


def test_each_image_is_shown_beside_its_partner(report) -> None:
    def number(name: str) -> str:
        return Path(name).stem

    assert [number(name) for name in report.images["partner"]] == [number(name) for name in report.images["name"]]
    assert report.pointers["partner"][0] == "reference"
    look = Gallery(report).first_look()
    assert look is not None
    assert [number(each.name) for each in look.generated] == [number(each.name) for each in look.real]
    (extremes, *_) = Gallery(report).extremes()
    assert len(extremes.lowest) == 2 * 4
    for ours, theirs in zip(extremes.lowest[::2], extremes.lowest[1::2], strict=True):
        assert (number(ours.name), theirs.note) == (number(theirs.name), "partner")
    assert extremes.lowest[0].uri != extremes.lowest[1].uri


def test_a_second_run_reads_its_pairs_from_the_store(report, folders: Path) -> None:
    again = genaudit.evaluate(folders / "rec", folders / "real", paired="name", store=folders / "store", **SHARED)
    assert again.measures["pair errors"].computed == 0
    assert again.measures["pair errors"].reused == N
    assert again["psnr"].value == report["psnr"].value


def test_arrays_are_paired_by_order(report, tmp_path: Path) -> None:
    ours, real = (
        np.stack([make(index) for index in range(N)]) for make in (noisy, lambda index: photograph(index, 20))
    )
    by_order = genaudit.evaluate(ours, real, paired=True, store=tmp_path, **SHARED)
    assert by_order["psnr"].value == pytest.approx(report["psnr"].value, rel=1e-12)
    swapped = genaudit.evaluate(ours, real[::-1].copy(), paired=True, store=tmp_path, **SHARED)
    assert swapped["psnr"].value < by_order["psnr"].value - 3
    distances = [each.metrics["kd"].values["kd"].value for each in (by_order, swapped)]
    assert distances[0] == pytest.approx(distances[1], abs=1e-9)  # a distance of sets sees no pairs
    with pytest.raises(UserError, match="every image needs its partner"):
        genaudit.evaluate(ours[1:], real, paired=True, store=tmp_path, **SHARED)


def test_a_mismatch_is_the_users_to_mend(folders: Path, tmp_path: Path) -> None:
    for role in ("rec", "real"):
        for index in range(11):
            (tmp_path / role).mkdir(exist_ok=True)
            Image.fromarray(photograph(index, 16)).save(tmp_path / role / f"{index}.png")
    arguments = {**SHARED, "store": tmp_path / "store", "paired": True}
    (tmp_path / "rec" / "3.png").rename(tmp_path / "rec" / "three.png")
    with pytest.raises(UserError, match=r"1 generated images have no partner \(three\) and 1 reference .*\(3\)"):
        genaudit.evaluate(tmp_path / "rec", tmp_path / "real", **arguments)
    (tmp_path / "rec" / "three.png").rename(tmp_path / "rec" / "3.png")
    Image.fromarray(photograph(3, 17)).save(tmp_path / "rec" / "3.png")
    with pytest.raises(UserError, match=r"3.png is 17x17 pixels and its partner 3.png 16x16 \(1 such"):
        genaudit.evaluate(tmp_path / "rec", tmp_path / "real", **arguments)
    rows = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    with pytest.raises(UserError, match="needs images as generated and as reference"):
        genaudit.evaluate(rows, rows, **arguments)
    with pytest.raises(UserError, match="needs paired=true"):
        genaudit.evaluate(tmp_path / "real", tmp_path / "real", **{**arguments, "paired": False, "metrics": ["pairs"]})
    with pytest.raises(UserError, match="paired must be"):
        genaudit.evaluate(tmp_path / "real", tmp_path / "real", **{**arguments, "paired": "size"})
