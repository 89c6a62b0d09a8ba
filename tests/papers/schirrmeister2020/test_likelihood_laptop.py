"""The laptop's likelihood table at toy size, and the known answers of what it is made of."""

from __future__ import annotations

import gzip
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from genaudit import demo
from genaudit.data import open_images
from genaudit.measures.code_length import code_length
from genaudit.recipe import Context
from genaudit_papers import datasets
from genaudit_papers.cutouts import cutouts, silhouette
from genaudit_papers.schirrmeister2020 import small_glows
from genaudit_papers.schirrmeister2020.likelihood_laptop import NEGATIVES, LikelihoodLaptop, _cell, _Data

ROOT = Path(__file__).resolve().parents[3]
TOY: dict[str, Any] = {
    "seeds": 2, "general_iterations": 4, "iterations": 3, "outlier_iterations": 2, "cutouts": 70, "images": 12,
    "mnist": 12, "noise_images": 4, "noise_samples": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root whose Fashion-MNIST is the demo's real images, in the format of the original."""
    folder = tmp_path_factory.mktemp("data")
    for split, name in (("train", "train"), ("test", "held_out")):
        source: Any = open_images(demo.path(name))
        pixels = np.stack([source.read(i)[..., 0] for i in range(80)])
        for array, file in zip((pixels, np.zeros(80, np.uint8)), datasets.FILES[split], strict=True):  # type: ignore[index]
            head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (folder / f"{file}.gz").write_bytes(gzip.compress(head + array.tobytes()))
    return folder


class Stopped(Exception):
    pass


def _context(folder: Path, root: Path, *, stop: str | None = None) -> tuple[Context, list[str]]:
    told: list[str] = []

    def report(message: str) -> None:
        told.append(message)
        if stop is not None and stop in message:
            raise Stopped

    return Context("laptop", folder / "run", root, folder, report=report), told


def test_a_run_that_was_cut_off_ends_with_the_numbers_of_one_that_was_not(root: Path, tmp_path: Path) -> None:
    recipe = LikelihoodLaptop(**{**TOY, "seeds": 1})  # that seeds resume one by one is tested of Table S1
    whole = recipe.run(_context(tmp_path / "whole", root)[0])
    with pytest.raises(Stopped):
        recipe.run(_context(tmp_path / "cut", root, stop="seed 0: images")[0])
    context, _ = _context(tmp_path / "cut", root)
    resumed = recipe.run(context)
    assert [cell for cell in resumed.cells if cell.unit != "min"] == [
        cell for cell in whole.cells if cell.unit != "min"
    ]
    again, told = _context(tmp_path / "cut", root)
    assert recipe.run(again).cells == resumed.cells
    assert told == []  # nothing was computed

    assert {cell.verdict for cell in whole.cells} == {"one training"}
    areas = {(cell.row, cell.column): cell for cell in whole.cells if cell.column.startswith("AUROC")}
    scores = ("likelihood", "last scale", "ratio to general model", "ratio to PNG", "ratio to WebP")
    controls = [f"control: {other} alone" for other in ("general model", "PNG", "WebP")]
    rows = [*scores, *(small_glows.AFTER + score for score in scores), *controls]
    assert set(areas) == {(row, f"AUROC against {negative}") for row in rows for negative in NEGATIVES}
    # of one training nothing is known of the scatter
    assert {(cell.trainings, cell.lower, cell.upper) for cell in whole.cells} == {(1, None, None)}
    (skipped,) = (cell for cell in whole.cells if cell.column == "count")
    assert skipped.recomputed == 0


def test_another_budget_is_another_run(root: Path, tmp_path: Path) -> None:
    one, two = LikelihoodLaptop(**TOY), LikelihoodLaptop(**{**TOY, "iterations": 5})
    judged = LikelihoodLaptop(**{**TOY, "images": 13})
    assert len({recipe._key() for recipe in (one, two, judged)}) == 3
    context, _ = _context(tmp_path, root)
    folders = [recipe._folder(context, 0, _Data(root, recipe)) for recipe in (one, judged, two)]
    assert folders[0] == folders[1] != folders[2]  # judging more images trains nothing again


def test_needs_say_what_is_missing_and_how_to_get_it(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "DEBIAN", tmp_path / "nowhere")
    missing = [need for need in LikelihoodLaptop().needs("laptop", None) if not need.have]
    assert ["Fashion-MNIST" in need.what for need in missing] == [True]
    assert "make data" in missing[0].how
    assert all(need.have for need in LikelihoodLaptop().needs("laptop", root))
    assert any(not need.have for need in LikelihoodLaptop().needs("paper", root))


def test_a_row_whose_seeds_disagree_is_called_unstable() -> None:
    unstable = _cell("last scale", "AUROC against MNIST", [0.34, 0.99, 0.98])
    assert unstable.note.startswith("unstable over seeds; seeds: 0.340, 0.990, 0.980")
    assert unstable.recomputed == pytest.approx(0.77)
    assert (unstable.lower, unstable.upper) == (0.34, 0.99)
    assert "unstable" not in _cell("ratio", "AUROC against MNIST", [0.91, 0.99, 0.98]).note
    assert "unstable" not in _cell("Fashion-MNIST", "bits per dimension", [2.9, 3.2]).note


def test_network_and_settings_are_those_of_the_yaml() -> None:
    config = OmegaConf.load(ROOT / "configs" / "likelihood" / "glow_laptop.yaml")
    assert OmegaConf.to_container(config.model) == small_glows.NETWORK
    assert asdict(instantiate(config.recipe)) == asdict(small_glows.recipe(2000, 0))
    table = OmegaConf.load(ROOT / "configs" / "table" / "likelihood_laptop.yaml")
    assert vars(instantiate(table)) == vars(LikelihoodLaptop())


class Fixed(nn.Module):
    """A density that a test knows: `fn` of images (N, 1, 32, 32) gives log p (N,)."""

    image_shape = (1, 32, 32)

    def __init__(self, fn: Any) -> None:
        super().__init__()
        self.fn = fn
        self.nothing = nn.Parameter(torch.zeros(()))

    def contributions(self, x: Tensor) -> Tensor:
        log_prob = self.fn(x)
        return torch.stack([log_prob - 3.0, torch.full_like(log_prob, 3.0)], dim=1)

    def log_prob(self, x: Tensor) -> Tensor:
        log_prob: Tensor = self.fn(x)
        return log_prob


def _flat(x: Tensor) -> Tensor:
    return x.new_zeros(len(x))


def test_scores_are_the_ratios_and_controls_that_they_are_called(root: Path) -> None:
    images = datasets.fashion_mnist("test", root)[0][:5].copy()
    bits = code_length(images)
    inside, general = Fixed(lambda x: -x.flatten(1).sum(1)), Fixed(lambda x: 0.25 * x.flatten(1).sum(1))
    after = Fixed(lambda x: x.new_full((len(x),), -math.inf))
    models = small_glows.Trained(general, inside, after, {}, {})  # type: ignore[arg-type]
    scores = {name: of["a"] for name, of in small_glows.judge(models, {"a": images}, {"PNG": {"a": bits}}).items()}
    # sum of (pixel + 1/2)/256 - 1/2 over 1,024 pixels; float32 sums of about 500 are right to 1e-4
    total = (np.pad(images, ((0, 0), (2, 2), (2, 2))).sum((1, 2)) + 512) / 256 - 512
    for name, expected in {
        "likelihood": -total,
        "last scale": np.full(5, 3.0),
        "ratio to general model": -1.25 * total,
        "ratio to PNG": -total + bits * math.log(2),
        "control: general model alone": -0.25 * total,
        "control: PNG alone": bits * math.log(2),
        "after the outlier loss: likelihood": np.full(5, -3e6),  # clipped (S4.5)
        "after the outlier loss: ratio to general model": -3e6 - 0.25 * total,
    }.items():
        np.testing.assert_allclose(scores[name], expected, atol=1e-3, err_msg=name)


def test_the_uniform_density_takes_eight_bits_however_often_noise_is_drawn() -> None:
    images = np.zeros((3, 28, 28), np.uint8)
    for samples in (1, 5):
        assert small_glows.bits(Fixed(_flat), images, samples=samples) == pytest.approx(8.0, abs=1e-12)  # type: ignore[arg-type]


def test_more_draws_of_noise_bound_the_bits_from_above_more_tightly() -> None:
    # each pixel's noise moves the sine's argument by up to 2000/256, a whole turn: log p varies by sqrt(1024/2) nats
    rough = Fixed(lambda x: (2000 * x).sin().flatten(1).sum(1))
    images = np.zeros((40, 28, 28), np.uint8)
    one, many = (small_glows.bits(rough, images, samples=samples) for samples in (1, 64))  # type: ignore[arg-type]
    assert many < one


def test_a_density_of_the_amplitudes_follows_them_through_the_mix(root: Path) -> None:
    def log_prob(x: Tensor) -> Tensor:
        return -torch.fft.fft2(x).abs()[:, 0, 8:24, 8:24].sum((1, 2))  # fine structure, wherever it is

    amplitude, phase = small_glows.amplitude_and_phase(Fixed(log_prob), datasets.fashion_mnist("test", root)[0])  # type: ignore[arg-type]
    assert amplitude > 0.7  # not 1: the mix is clipped and rounded
    assert abs(phase) < 4 / math.sqrt(79)  # chance: a Spearman correlation of n pairs has sd 1/sqrt(n - 1)


def test_cutouts_are_repeatable_shapes_on_black_without_a_favoured_direction() -> None:
    flat = np.full((40, 50, 3), 120, np.uint8)
    images = cutouts([flat], 1500, seed=3)
    assert (images == cutouts([flat], 1500, seed=3)).all()
    assert (images[:20] != cutouts([flat], 20, seed=4)).any()
    assert images.shape == (1500, 28, 28)
    # of a flat photograph: one brightness times sixteenths of a pixel, each rounded, and so is the brightest
    for image in images[:200].astype(int):
        sixteenths = np.rint(image * 16 / max(1, image.max()))
        assert np.abs(image - sixteenths * image.max() / 16).max() <= 1
    covered = (images > 0).astype(float)
    mean, turned = covered.mean(0), np.rot90(covered, axes=(1, 2)).mean(0)
    # each pixel is a share of 1,500 draws; the difference of a pixel from its turned one has a standard deviation of
    # at most sqrt(2·0.25/1500) = 0.018, and 5.5 of it are not reached by any of 784 but once in 30,000 runs
    assert np.abs(mean - turned).max() < 0.1
    assert mean[14, 14] > 0.6 > mean[0, 0]


def test_silhouettes_are_shares_of_pixels() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        shape = silhouette(28, rng)
        assert shape.shape == (28, 28)
        np.testing.assert_allclose(shape * 16, np.rint(shape * 16), atol=1e-9)  # sixteenths
        assert 0 <= shape.min() <= shape.max() <= 1


def test_cutouts_refuse_photographs_that_are_too_small() -> None:
    with pytest.raises(ValueError, match="at least 28"):
        cutouts([np.zeros((20, 50), np.uint8)], 1)
    with pytest.raises(ValueError, match="photographs"):
        cutouts([], 1)
