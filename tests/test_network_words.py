"""`feature_model=[a,b]` is one option per network, and keys of networks say which network they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from genaudit.cli import main
from genaudit.config_files import config_folder
from genaudit.errors import USER, UserError
from genaudit.network_words import as_typed, with_networks
from genaudit.tasks.run.from_python import compose
from genaudit.tasks.run.networks import entries_of, networks_of

LISTS = [
    ["feature_model=[pixels,timm]", "feature_model.timm.name=test_resnet", "feature_model.pixels.size=4"],
    ["metric=[fd,kd]", "metric.fd.feature_model=pixels", "metric.fd.feature_model.size=4"],
    ["metric.kd.feature_model=[pixels,efficientnet_lite0]", "seed=3"],
]
NETWORKS: list[dict[str, tuple[str, Any]]] = [  # of some metrics: the class, and its size or name
    {"fd@pixels": ("Pixels", 4), "fd@timm": ("TimmModel", "test_resnet")},
    {"fd": ("Pixels", 4), "kd": ("EfficientNetLite0", 224)},
    {
        "kd@pixels": ("Pixels", 32),
        "kd@efficientnet_lite0": ("EfficientNetLite0", 224),
        "fd": ("EfficientNetLite0", 224),
    },
]


def _entries(*overrides: str) -> dict[str, str]:
    return {name: node.measure.get("_target_", "") for name, _, node in entries_of(compose("evaluate", overrides))}


@pytest.mark.parametrize(("words", "networks"), zip(LISTS, NETWORKS, strict=True))
def test_a_list_of_networks_is_composed_and_shown_as_it_was_typed(
    words: list[str], networks: dict[str, tuple[str, Any]]
) -> None:
    assert as_typed(with_networks(words, "evaluate")) == words
    config = compose("evaluate", words)
    assert config.seed == 3 * ("seed=3" in words)
    measures = {name: node.measure for name, _, node in entries_of(config)}
    for name, (kind, setting) in networks.items():
        assert measures[name]["_target_"].endswith(f".{kind}")
        assert setting in (measures[name].get("size"), measures[name].get("name"))


def test_every_metric_of_features_is_judged_on_each_network_and_others_once() -> None:
    entries = _entries("feature_model=[pixels,efficientnet_lite0]", "metric=[fd,as,llr]", "density_model=fashion_mnist")
    assert list(entries) == ["fd@pixels", "fd@efficientnet_lite0", "as@pixels", "as@efficientnet_lite0", "llr"]
    assert entries["fd@pixels"].endswith("Pixels")
    assert entries["fd@efficientnet_lite0"].endswith("EfficientNetLite0")
    assert list(_entries("feature_model=[pixels]", "metric=[fd]")) == ["fd"]


def test_a_metrics_own_network_holds_for_it_alone_and_for_all_that_it_refers_to() -> None:
    cfg = compose("evaluate", ["metric=[fd,as,is]", "metric.as.feature_model=pixels", "metric.as.feature_model.size=4"])
    nodes = {name: node for name, _, node in entries_of(cfg)}
    assert nodes["fd"].measure._target_.endswith("EfficientNetLite0")
    assert nodes["as"].measure.feature_model._target_.endswith("Pixels")
    assert nodes["as"].measure.feature_model.size == 4
    several = _entries("feature_model=[pixels,timm]", "feature_model.timm.name=x", "metric=[fd]",
                       "metric.fd.feature_model=efficientnet_lite0")  # fmt: skip
    assert list(several) == ["fd"]


def test_a_plain_key_of_a_file_is_set_in_every_network_that_has_it() -> None:
    networks = networks_of(compose("demo", ["feature_model=[pixels,fid_inception]"]).feature_model)
    assert networks["pixels"].size == 64  # demo_settings.yaml
    assert "size" not in networks["fid_inception"]


@pytest.mark.parametrize(
    ("verb", "words", "said"),
    [
        ("evaluate", ["feature_model=[]"], "names no network"),
        ("evaluate", ["feature_model=[pixels,pixels]"], "names pixels twice"),
        ("evaluate", ["feature_model=[pixels,'a b']"], "a b is no name of a network"),
        ("evaluate", ["feature_model=[pixels,timm]", "feature_model.size=3"], r"feature_model.pixels.size=3 sets it"),
        ("evaluate", ["feature_model=[pixels,timm]", "+feature_model.size=3"], r"feature_model.pixels.size=3 sets it"),
        ("reject", ["feature_model=[pixels,timm]"], "reject takes one network"),
        ("moments", ["feature_model=[pixels,timm]"], "moments takes one network"),
        ("evaluate", ["feature_model=[pixels,timm],vit_s16"], "several networks are one list"),
        ("evaluate", ["feature_model=[pixels,nix]"], "unknown feature_model 'nix'"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(verb: str, words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        compose(verb, words)


def test_sweeps_and_single_networks_pass_as_they_are() -> None:
    for words in (["feature_model=pixels"], ["feature_model=pixels,timm"], ["feature_model={size:3}"], ["x=[a,b]"]):
        assert with_networks(words, "evaluate") == words
    assert (config_folder() / "feature_model" / "pixels.yaml").is_file()


LISTED = "defaults:\n  - evaluate\n{}  - _self_\n{}"


@pytest.mark.parametrize("several", [False, True])
def test_a_list_in_a_file_says_how_to_write_it_and_that_way_works(
    several: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packages = "".join(f"  - feature_model@feature_model.{name}: {name}\n" for name in ("pixels", "efficientnet_lite0"))
    listed = "  - override feature_model: {}\n"
    texts = (packages, listed.format("[]")) if several else ("", listed.format("[pixels, efficientnet_lite0]"))
    (tmp_path / "mine.yaml").write_text(LISTED.format(*texts))
    words = ["evaluate", "nowhere", f"--config-dir={tmp_path}", "--config-name=mine"]
    assert main(words) == USER
    said = capsys.readouterr().err
    assert ("`- feature_model@feature_model.pixels: pixels`" in said) is not several
    assert ("nowhere" in said) is several  # the networks are fine: what is missing is the images


def test_a_list_of_presets_is_refused_where_hydra_would_merge_them() -> None:
    with pytest.raises(UserError, match=r"one preset; --multirun preset=adm,cmmd"):
        with_networks(["preset=[adm,cmmd]"], "evaluate")
    assert with_networks(["preset=[adm]", "seed=1"], "evaluate") == ["preset=adm", "seed=1"]


@pytest.mark.parametrize("networks", ["pixels", "[pixels,efficientnet_lite0]"])
def test_a_preset_of_several_networks_takes_no_other(networks: str) -> None:
    with pytest.raises(UserError, match="preset=edm2 is defined on fid_inception, dinov2_l14; omit feature_model="):
        with_networks(["preset=edm2", f"feature_model={networks}"], "evaluate")
    one = ["preset=adm", "feature_model=pixels"]  # goes over the preset's
    assert with_networks(one, "evaluate") == one
