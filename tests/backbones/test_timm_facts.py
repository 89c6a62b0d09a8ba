"""What is known of timm's models without timm: the same that timm says, of the installed version only."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from genaudit.backbones import timm_facts
from genaudit.backbones.timm_facts import SHIPPED, ask_timm, facts_of

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "timm_models.py"
MODEL = "test_vit.r160_in1k"


@pytest.fixture(autouse=True)
def _asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    facts_of.cache_clear()
    yield
    facts_of.cache_clear()


def test_the_shipped_facts_are_timms_and_cover_our_yaml_files() -> None:
    spec = importlib.util.spec_from_file_location("timm_models", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    shipped = json.loads(SHIPPED.read_text())
    assert sorted(shipped["models"]) == script.names(), "scripts/timm_models.py writes it"
    if shipped["timm"] != metadata.version("timm"):
        pytest.skip(f"the facts are timm {shipped['timm']}'s: with another version they are asked for")
    for name in script.names():
        assert shipped["models"][name] == json.loads(json.dumps(asdict(ask_timm(name)))), name


def test_facts_are_asked_for_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = facts_of(MODEL)
    assert first == ask_timm(MODEL)
    (kept,) = (tmp_path / "genaudit").iterdir()
    facts_of.cache_clear()
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "timm", None)
        assert facts_of(MODEL) == first
    for damage in (
        "",
        "{",
        json.dumps({"timm": "0", "models": {MODEL: {}}}),
        kept.read_text().replace('"mean"', '"m"'),
    ):
        kept.write_text(damage)
        facts_of.cache_clear()
        assert facts_of(MODEL) == first


def test_facts_of_another_version_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {**asdict(ask_timm(MODEL)), "num_classes": 7}
    monkeypatch.setattr(timm_facts, "SHIPPED", SHIPPED.with_name("no.json"))
    path = timm_facts._kept(metadata.version("timm"))
    timm_facts.write(path, "0.0.1", {MODEL: wrong})
    assert facts_of(MODEL).num_classes == ask_timm(MODEL).num_classes
    facts_of.cache_clear()
    timm_facts.write(path, metadata.version("timm"), {MODEL: wrong})
    assert facts_of(MODEL).num_classes == 7  # of this version they are


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert facts_of(MODEL) == ask_timm(MODEL)
