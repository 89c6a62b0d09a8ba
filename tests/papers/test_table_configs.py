"""Every YAML of configs/table makes a recipe that says what it needs; nothing is claimed without a recipe."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from genaudit.config_files import config_folder
from genaudit.errors import UserError
from genaudit.recipe import Context
from genaudit.tasks.run.recipes import NamedRecipe, _sources, of_node, table_node
from genaudit_papers.published import papers, published, tables
from genaudit_papers.published_only import PublishedOnly

NAMES = sorted(path.stem for path in (config_folder() / "table").glob("*.yaml") if path.stem != "all")


@pytest.fixture(scope="module", autouse=True)
def _hydra() -> Iterator[None]:
    from hydra import initialize_config_dir

    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        yield


@functools.cache
def recipe(name: str, *overrides: str) -> NamedRecipe:
    from hydra import compose

    return of_node(name, compose("reproduce", overrides=[f"table={name}", "offline=true", *overrides]).table)


@pytest.mark.parametrize("name", NAMES)
def test_every_table_makes_a_recipe_that_states_its_needs(name: str, tmp_path: Path) -> None:
    made = recipe(name).recipe
    for scale in ("laptop", "paper"):
        for need in made.needs(scale, tmp_path):  # type: ignore[arg-type]
            assert need.what
            assert need.have or need.how or isinstance(made, PublishedOnly), need


def test_what_is_put_together_without_hydra_is_what_hydra_composes() -> None:
    from hydra import compose
    from omegaconf import OmegaConf

    with_defaults = [
        name for name in NAMES if "\ndefaults:" in (config_folder() / "table" / f"{name}.yaml").read_text()
    ]
    for name in [*with_defaults, *NAMES[:2]]:
        composed = compose(f"table/{name}").table
        assert table_node(name) == OmegaConf.to_container(composed), name


@pytest.mark.parametrize("name", NAMES)
def test_every_table_says_in_its_head_what_it_is_and_where_that_is_published(name: str) -> None:
    first, second = (config_folder() / "table" / f"{name}.yaml").read_text().splitlines()[:2]
    assert first.startswith("# ")
    assert second.startswith("# Source: ")
    assert any(paper in second for paper in papers())


def test_published_tables_name_recipes_that_exist_and_recipes_have_a_published_table() -> None:
    named = {recipe for table in tables() for recipe in table.recipes}
    assert named == set(NAMES)


@pytest.mark.parametrize("name", ["irs_table4", "irs_table5", "irs_table6", "irs_fig10", "irs_fig11"])
def test_at_the_papers_scale_the_feature_models_are_the_papers_nine(name: str) -> None:
    made: Any = recipe(name).recipe
    rows = published("dombrowski2025", "Table 5" if name == "irs_table5" else "Table 4").rows
    assert list(made.models) == [row for row in rows if row != "Idealized"]
    models = {label: model.describe() if label == "Random" else model for label, model in made.models.items()}
    assert models["Random"]["class"].endswith("FidInception")
    assert (models["ConvNeXt"].name, models["MAE"].name) == ("convnext_xlarge.fb_in22k", "vit_large_patch16_224.mae")
    assert models["CLIP"].projection
    # resize and crop of the authors' code: side, filter, fit
    recipes = {label: (m.recipe.describe(), m.mean[0]) for label, m in made.models.items()}
    assert recipes["BYOL"][0]["size"] == 512
    assert recipes["BYOL"][1] == 0
    assert recipes["ConvNeXt"][0]["crop_pct"] == 0.875
    for label, kind in {"CLIP": "bilinear", "DINOv2": "bilinear", "SwAV": "bilinear", "MAE": "bicubic"}.items():
        assert recipes[label][0]["interpolation"] == kind
    for label in ("Inception", "Random"):
        assert recipes[label][0]["tool"] == "pytorch-fid"


def test_a_table_without_recipe_is_never_run_and_says_why() -> None:
    made = recipe("likelihood_section_s6").recipe
    for scale in ("laptop", "paper"):
        assert not all(need.have for need in made.needs(scale, None))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="published numbers only"):
        made.run(Context("laptop", Path(), None, Path()))


def test_other_settings_code_data_or_weights_have_another_folder(tmp_path: Path) -> None:
    cfg: dict[str, Any] = {"store": str(tmp_path / "store")}
    one = recipe("irs_theorem1").folder(cfg, "laptop", 0, None)
    assert recipe("irs_theorem1").folder(cfg, "laptop", 0, None) == one
    others = {
        recipe("irs_theorem1", "table=irs_theorem1", "+table.repeats=3").folder(cfg, "laptop", 0, None),
        recipe("irs_theorem1").folder(cfg, "laptop", 1, None),
        recipe("irs_theorem1").folder(cfg, "paper", 0, None),
    }
    assert len(others | {one}) == 4
    # data that a table does not read, and where data lies, change no number: `test_steps_by_content` replaces data
    assert recipe("irs_theorem1").folder(cfg, "laptop", 0, tmp_path) == one
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"one")
    keys = (f"table.laptop_model.checkpoint={weights}",)
    before = recipe("as_table_b1", *keys).folder(cfg, "laptop", 0, None)
    weights.write_bytes(b"another")
    assert recipe("as_table_b1", *keys).folder(cfg, "laptop", 0, None) != before


def test_the_folder_depends_on_the_helpers_that_a_recipe_imports() -> None:
    module = "genaudit_papers.tuluptceva2019.piad_fashion_mnist"
    importlib.import_module(module)  # as for every recipe that runs
    code = "\n".join(_sources(module))
    assert "class PIADFashionMNIST" in code
    assert "def train_and_score" in code  # of a helper
    assert "def find_cifar10" in code  # of another one, through it or not
    assert "class PublishedTable" not in code  # how results are printed changes no step
    assert "class LikelihoodLaptop" not in code
