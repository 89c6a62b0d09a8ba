"""A metric that is defined on a network says once, on another, that it is not what its authors define."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from genaudit.backbones.feature_model import FeatureModel
from genaudit.backbones.fid_inception import FidInception
from genaudit.backbones.pixels import Pixels
from genaudit.backbones.timm_model import TimmModel
from genaudit.cli import main
from genaudit.config_files import config_folder
from genaudit.errors import DONE, UserError
from genaudit.tasks.run.judging import SOLE, MetricSpec, make_spec
from genaudit.tasks.run.specs import definition_warnings

CLIP_L = "vit_large_patch14_clip_quickgelu_336.openai"
DEFINED = {"fd": "fid_inception", "fd_infinity": "fid_inception", "kd": "fid_inception", "is": "fid_inception",
           "sfd": "fid_inception", "mind": "fid_inception", "mifid": "fid_inception",
           "cmmd": "clip_vit_l14_336"}  # fmt: skip


def _spec(metric: str) -> MetricSpec:
    node = OmegaConf.load(config_folder() / "metric" / f"{metric}.yaml")[metric]
    return make_spec(metric, node, {SOLE: "measure"}, True)


def _said(metric: str, model: FeatureModel) -> list[str]:
    measures = {"measure": SimpleNamespace(feature_model=model)}
    return [each.message for each in definition_warnings({metric: _spec(metric)}, measures)]


def test_every_metric_whose_definition_names_a_network_declares_it() -> None:
    declared = {}
    for path in (config_folder() / "metric").glob("*.yaml"):
        if "defined_on" in (node := OmegaConf.load(path)[path.stem]):
            ((_, declared[path.stem]),) = node.defined_on.items()
    assert declared == DEFINED
    assert all((config_folder() / "feature_model" / f"{name}.yaml").is_file() for name in declared.values())


@pytest.mark.parametrize("metric", DEFINED)
def test_its_own_network_is_silent_whatever_prepares_the_images_and_another_is_not(metric: str) -> None:
    own: list[FeatureModel] = (
        [FidInception(), FidInception("mine", preprocessing="pytorch-fid", checkpoint="weights.pth")]
        if DEFINED[metric] == "fid_inception"
        else [TimmModel(CLIP_L, projection=True), TimmModel(CLIP_L, projection=True, fit="crop", checkpoint="x")]
    )
    assert [_said(metric, model) for model in own] == [[], []]
    others = [Pixels(), FidInception(pretrained=False), TimmModel(CLIP_L, projection=False), TimmModel("resnet50")]
    for model in others:
        (message,) = _said(metric, model)
        assert f"On {model.name} {metric} is no " in message
        assert f"feature_model={DEFINED[metric]}" in message


def test_clip_in_a_name_is_no_clip_of_cmmds() -> None:
    assert _said("cmmd", TimmModel("vit_base_patch32_clip_quickgelu_224.openai", projection=True))


def test_features_that_were_given_are_of_a_network_that_nobody_named() -> None:
    assert definition_warnings({"fd": _spec("fd")}, {}) == []


def test_a_definition_that_is_no_pair_is_the_users_to_mend() -> None:
    node: Any = OmegaConf.load(config_folder() / "metric" / "fd.yaml")["fd"]
    for wrong in ("fid_inception", {}, {"a": "b", "c": "d"}):
        node.defined_on = wrong
        with pytest.raises(UserError, match="defined_on"):
            make_spec("fd", node, {}, True)


def test_console_and_page_name_networks_and_say_it_once(
    make_images: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = [str(make_images("a", 12)), f"reference={make_images('b', 12, seed=1)}"]
    keys = ["feature_model=[pixels,timm]", "feature_model.pixels.size=4", "feature_model.timm.name=test_vit"]
    keys += ["feature_model.timm.pretrained=false", "feature_model.timm.fit=crop", "feature_model.timm.crop_pct=0.9"]
    assert main(["evaluate", *sets, *keys, "metric=[fd,kd,cmmd]", f"out={tmp_path / 'out'}"]) == DONE
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("network ")] == [
        "network pixels: 4 x 4, bicubic, antialiased, the whole image",
        "network test_vit: 160 x 160, bicubic, antialiased, the central square (0.9 of its side)",
    ]
    page = (tmp_path / "out" / "report.html").read_text().replace("<wbr>", "")
    for name in ("pixels", "test_vit"):
        said = f"On {name} fd is no FID and kd is no KID, which are defined on fid_inception"
        assert "\n".join(lines).count(said) == 1
        assert page.count(said) == 1
        assert page.index(said) < page.index("</header>")
    document = json.loads((tmp_path / "out" / "report.json").read_text())
    assert len([each for each in document["warnings"] if each["code"] == "another-network"]) == 4
