"""Paths on the command line and from Python: whatever a name holds, it arrives as it was written."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from genaudit.cli import hydra_arguments
from genaudit.composing import references_are_data
from genaudit.config_files import config_folder
from genaudit.hydra_words import (
    PATH_NAMES,
    from_python,
    is_override,
    known_keys,
    literal,
    names_path,
    override_of,
    own_folders,
)

ODD = [
    "my real (1)/x.npz", "a b", " a ", "a,b", "a=b", "lr=0.1, (run 'a')", "d\\", "\\\\", "a\\'", "'a'", '"a"', "it's",
    "[a]", "[a,b]", "{a}", "{a:1}", "${x}", "a${b}", "$${a}", "\\${a}", "${", "${a", "~x", "a~", "007", "2024_01",
    "1e3", "true", "nan", "???", "*", "a:b", "#a", "@a", "!a", "%a", "&a", "choice(a)", "range(1,2)", "é", "a\tb", "-",
]  # fmt: skip
KEYS = {
    "evaluate": [
        "generated", "reference", "train", "anomalies", "out", "store", "density_model", "general_model", "piad_model",
        "feature_model.checkpoint",
    ],
    "reject": ["generated", "reference", "train", "out", "store", "feature_model.checkpoint"],
    "train": ["train", "reference", "anomalies", "outliers", "general", "finetune", "labels", "images", "out"],
    "moments": ["reference", "out", "store"],
    "compare": ["column", "out"],
    "sample": ["out", "store", "piad_model"],
    "explain": ["generated", "out"],
    "reproduce": ["data", "out"],
    "list": ["data"],
}  # fmt: skip
NESTED = {
    ("evaluate", "dataset@reference=huggingface", "generator=torchscript"): ("reference.path", "generator.file"),
    ("evaluate", "dataset@generated=imagefolder", "generator=module"): ("generated.root", "generator.checkpoint"),
    ("evaluate", "dataset@train=moments", "generator=piad"): ("train.path", "generator.folder"),
    ("train", "piad=mnist"): ("piad.perceptual.weights",),
}


def _composed(verb: str, arguments: list[str]) -> Any:
    folder = config_folder()
    with references_are_data(folder), hydra.initialize_config_dir(str(folder), version_base="1.3"):
        return hydra.compose(verb, overrides=hydra_arguments(verb, arguments))


def _same(found: Any, name: str) -> bool:
    """As it was written; an absolute path where a home folder or a missing value would be seen in the name."""
    return str(found) in (name, os.path.abspath(name))


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("verb", sorted(KEYS))
def test_a_path_arrives_as_it_was_written_in_every_key(
    verb: str, exists: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [name for name in ODD if exists or name[0] not in "'\"[{"]  # Hydra's own quotes, lists and mappings
    for name in names if exists else []:
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    parser = OverridesParser.create()
    for name in names:
        for word in hydra_arguments(verb, [f"{key}={name}" for key in KEYS[verb]]):
            override = parser.parse_override(word)
            assert _same(OmegaConf.create({"it": override.value()}).it, name), (word, name)


@pytest.mark.parametrize("words", sorted(NESTED))
@pytest.mark.parametrize("name", ["/my real (1)/x.npz", "it's ${a}, [1]=\\"])
def test_nested_keys_of_paths_take_them_too(words: tuple[str, ...], name: str) -> None:
    verb, *groups = words
    cfg = _composed(verb, [*groups, *(f"{key}={name}" for key in NESTED[words])])
    for key in NESTED[words]:
        assert OmegaConf.select(cfg, key) == name


def test_every_configuration_key_that_names_a_path_in_its_comment_is_known_to_name_one() -> None:
    said = re.compile(r"(?m)^ *(\w+): (?:null|\?\?\?) *# .*\b(?:folder|file|path|root of|images|CSV)\b")
    found = {key for file in config_folder().rglob("*.yaml") for key in said.findall(file.read_text())}
    assert {"train", "data", "checkpoint", "column", "outliers"} <= found
    no_paths = {
        "limit",
        "limit_reference",
        "limit_train",
        "pool",
        "n_samples",
        "samples",
        "piad",
        "prefix",
        "require",
        "sets",
    }
    assert found - no_paths <= PATH_NAMES


@pytest.mark.parametrize("name", ODD)
def test_bare_arguments_and_python_strings_are_literal(name: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir(parents=True)
    (word,) = hydra_arguments("evaluate", [name]) if name != "-" else hydra_arguments("reject", [name])
    parser = OverridesParser.create()
    for override in (word, f"generated={literal(name)}", from_python("generated.path", name)):
        assert _same(OmegaConf.create({"it": parser.parse_override(override).value()}).it, name)
    listed = parser.parse_override(from_python("train", [name, name])).value()
    assert all(_same(OmegaConf.create({"it": each}).it, name) for each in listed)


def test_lists_nulls_quotes_sweeps_and_references_keep_their_meaning() -> None:
    configs = config_folder()

    def of(key: str, value: str, **keys: Any) -> str:
        return override_of(key, value, configs, "evaluate", **keys).partition("=")[2]

    assert of("train", "null") == "null"
    assert of("train", "[a,b]") == "[a,b]"
    assert of("train", "[my (1)/a,b c]") == "['my (1)/a','b c']"
    assert of("train", "'a b'") == "'a b'"
    assert of("reference", "a,b", sweeping=True) == "a,b"
    assert of("reference", "1,2", sweeping=True) == "'1','2'"
    assert of("reference", "my (1)/a,b", sweeping=True) == "'my (1)/a','b'"
    assert of("reference", "choice(a,b)", sweeping=True) == "choice(a,b)"
    assert of("out", "runs/${seed}") == "'runs/${seed}'"
    assert of("out", "${oc.env:HOME}/runs") == "'${oc.env:HOME}/runs'"
    assert of("seed", "3") == "3"
    assert of("seed", "0,1", sweeping=True) == "0,1"
    assert of("metric", "[fd") == "[fd"
    assert of("column_name", "error rate (%)") == "'error rate (%)'"


def test_a_word_with_an_equals_sign_is_a_path_only_where_it_cannot_be_a_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("lr=0.1", "seed=1"):
        (tmp_path / name).mkdir()
    configs = config_folder()
    for word in ("seed=1", "metric.fd.fn.x=1", "dataset@train=cifar10", "hydra/launcher=joblib", "+a=1", "typo=1"):
        assert is_override(word, configs, "evaluate"), word
    for word in ("lr=0.1", "lr=*", "runs/lr=0.3/x", "./seed=1", "samples"):
        assert not is_override(word, configs, "evaluate"), word
    assert is_override("mine/group=x", configs, "evaluate", own_configs=True)
    assert {"generated", "limit_train", "feature_model", "hydra"} <= known_keys(configs, "evaluate")


@pytest.mark.parametrize(
    ("overrides", "out"),
    [
        (["out='o'", "seed=0,1"], "out='o/${hydra:job.num}'"),
        (["out='m.npz'", "seed=0,1"], "out='${hydra:job.num}/m.npz'"),
        (["out='a b'", "reference='x','y'"], "out='a b/${hydra:job.num}'"),
        (["out='r/${seed}'", "seed=0,1"], "out='r/${seed}'"),
        (["out='r/${seed}'", "seed=0,1", "k=1,2"], "out='r/${seed}/${hydra:job.num}'"),
        (["out='a','b'"], "out='a','b'"),
        (["out='a','b'", "seed=0,1"], "out='a/${hydra:job.num}','b/${hydra:job.num}'"),
        (["out=null", "seed=0,1"], "out=null"),
    ],
)
def test_no_two_jobs_of_a_sweep_share_a_folder(overrides: list[str], out: str) -> None:
    assert own_folders(overrides) == [out, *overrides[1:]]


def test_a_tables_images_are_a_number_and_those_of_a_verb_a_path() -> None:
    assert names_path("images")
    assert names_path("+table.models.a.checkpoint")
    assert not names_path("table.images")
    assert not names_path("++table.images")
