"""Presets are differences only, name their source, and give their authors' networks, preprocessing and settings."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from genaudit.backbones.feature_model import FeatureModel
from genaudit.backbones.fid_inception import FidInception
from genaudit.cli import main
from genaudit.config_files import config_folder
from genaudit.data.resize import RecipeOfTool, ResizeRecipe
from genaudit.errors import DONE, UserError
from genaudit.tasks.run.auditing import preset_warnings
from genaudit.tasks.run.from_python import compose
from genaudit.tasks.run.instantiate import instantiate
from genaudit.tasks.run.networks import entries_of, networks_of

FILES = {path.stem: path for path in (config_folder() / "preset").glob("*.yaml")}
TF1 = RecipeOfTool(299, "torch-fidelity")  # TensorFlow 1's resize
EDM2 = ("vit_large_patch14_dinov2.lvd142m", RecipeOfTool(224, "edm2"))
DINO = ("vit_large_patch14_dinov2.lvd142m", ResizeRecipe(224))
CLIP = ("vit_large_patch14_clip_quickgelu_336.openai", ResizeRecipe(336, fit="cut"))
# FD of ImageNet's validation images, Yang et al. 2026
PUBLISHED = {
    **{"fid_inception": 1.68, "fdr_convnextv2_b": 56.87, "fdr_dinov2_l14": 14.19},
    **{"fdr_mae_l16": 0.04, "fdr_siglip2_so400m": 0.60, "fdr_clip_l14": 5.60},
}
# written from the authors' code: networks with their preprocessing, metrics, settings that are not genaudit's defaults
AUTHORS: dict[str, tuple[list[tuple[str, Any]], list[str], dict[str, Any]]] = {
    "adm": (
        [("fid_inception", TF1)],
        ["is", "fd", "sfd", "prdc"],
        {"prdc.k": 3, "is.shuffle_seed": None, "is.splits": None, "is.split_size": 5000},
    ),
    "edm2": ([("fid_inception", TF1), EDM2], ["fd@fid_inception", "fd@dinov2_l14"], {}),
    "pytorch_fid": ([("fid_inception", RecipeOfTool(299, "pytorch-fid"))], ["fd"], {}),
    "torch_fidelity": ([("fid_inception", TF1)], ["is", "fd", "kd"], {"is.splits": 10, "is.shuffle_seed": 2020}),
    "clean_fid": ([("fid_inception", RecipeOfTool(299, "clean-fid"))], ["fd", "kd"], {}),
    "dgm_eval": ([DINO], ["fd", "kd", "prdc", "authpct", "ct"], {"prdc.k": 5}),
    "cmmd": ([CLIP], ["cmmd"], {"cmmd.sigma": 10}),
    "dinov2": ([DINO], ["fd"], {}),
    "fdr6": (
        [
            ("fid_inception", TF1),
            ("convnextv2_base.fcmae_ft_in22k_in1k", RecipeOfTool(224, "edm2")),
            ("vit_large_patch14_dinov2.lvd142m", RecipeOfTool(256, "edm2")),
            ("vit_large_patch16_224.mae", RecipeOfTool(224, "edm2")),
            ("vit_so400m_patch16_siglip_256.v2_webli", RecipeOfTool(224, "edm2")),
            ("vit_large_patch14_clip_224.openai", RecipeOfTool(256, "edm2")),
        ],
        [*(f"fd@{name}" for name in PUBLISHED), "fdr"],
        {"fdr.published": PUBLISHED},
    ),
}


def _models(cfg: Any) -> list[FeatureModel]:
    return [instantiate(node) for node in networks_of(cfg.feature_model).values()]


def test_there_is_a_preset_for_each_of_the_fields_tables() -> None:
    assert FILES.keys() == AUTHORS.keys()


@pytest.mark.parametrize("name", AUTHORS)
def test_a_preset_is_what_its_authors_do(name: str) -> None:
    networks, metrics, values = AUTHORS[name]
    cfg = compose("evaluate", [f"preset={name}", "offline=true"])
    models = _models(cfg)
    assert [(model.name, model.recipe) for model in models] == networks
    assert all(model.pretrained for model in models if isinstance(model, FidInception))
    entries = {entry: node for entry, _, node in entries_of(cfg)}
    assert list(entries) == metrics
    for key, value in values.items():
        metric, setting = key.split(".")
        assert entries[metric].fn[setting] == value
    # `metric=` and `feature_model.checkpoint=` of one's own go with it
    assert [entry for entry, _, _ in entries_of(compose("evaluate", [f"preset={name}", "metric=[vendi]"]))]


@pytest.mark.parametrize("name", FILES)
def test_a_preset_holds_differences_only_and_names_its_source(name: str) -> None:
    text = FILES[name].read_text(encoding="utf-8")
    document = yaml.safe_load(text)
    assert document["preset"]["name"] == name
    assert "/" in document["preset"]["source"]
    assert set(document) <= {"defaults", "preset", "feature_model", "metric"}
    assert text.startswith("# @package _global_\n# ")
    assert len(text.splitlines()) < 25


@pytest.mark.parametrize("tool", ["pytorch-fid", "torch-fidelity", "clean-fid"])
def test_what_the_parity_page_compares_is_what_the_preset_gives(tool: str) -> None:
    (model,) = _models(compose("evaluate", [f"preset={tool.replace('-', '_')}", "offline=true"]))
    other = FidInception(preprocessing=tool)
    assert (model.identity(), model.recipe, model.mean, model.std) == (
        other.identity(), other.recipe, other.mean, other.std,
    )  # fmt: skip


def test_other_counts_than_the_authors_are_said() -> None:
    cfg = compose("evaluate", ["preset=cmmd"])
    (said,) = preset_warnings(cfg, {"generated": [0] * 30_000, "reference": [0] * 500})  # type: ignore[dict-item]
    assert said.code == "counts-of-preset"
    assert "30,000 reference images" in said.message
    assert "these are 500" in said.message
    assert preset_warnings(compose("evaluate", []), {"generated": [0]}) == []  # type: ignore[dict-item]
    assert preset_warnings(compose("evaluate", ["preset=pytorch_fid"]), {"generated": [0]}) == []  # type: ignore[dict-item]


def test_all_of_it_can_be_seen_and_an_unknown_name_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "preset=adm", "--cfg", "job"]) == DONE
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["metric"]["prdc"]["fn"]["k"] == 3
    assert shown["feature_model"]["preprocessing"] == "torch-fidelity"
    assert main(["list", "presets"]) == DONE
    listed = capsys.readouterr().out
    assert all(name in listed for name in AUTHORS)
    assert "@package" not in listed
    with pytest.raises(UserError, match="unknown preset 'adn'; did you mean adm"):
        compose("evaluate", ["preset=adn"])


def test_a_key_that_another_network_does_not_take_is_named_with_its_preset() -> None:
    cfg = compose("evaluate", ["preset=pytorch_fid", "feature_model=pixels"])
    with pytest.raises(UserError) as told:
        _models(cfg)
    assert str(told.value).startswith("feature_model.preprocessing: Pixels has no such key; it has name, size, ")
    assert "preset=pytorch_fid sets keys of its own network: ~feature_model.preprocessing leaves" in str(told.value)
    words = ["preset=pytorch_fid", "feature_model=pixels", "~feature_model.preprocessing"]
    (model,) = _models(compose("evaluate", words))
    assert model.name == "pixels"
    with pytest.raises(UserError, match=r"feature_model\.sise: Pixels has no such key; did you mean size"):
        _models(compose("evaluate", ["feature_model=pixels", "+feature_model.sise=4"]))
