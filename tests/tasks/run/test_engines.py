"""Which engine runs a network: as asked, as fits, and PyTorch where OpenVINO does not take it."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import genaudit.tasks.run.settings as engines
from genaudit.backbones.module_model import ModuleModel
from genaudit.backbones.timm_model import TimmModel
from genaudit.cli import main
from genaudit.errors import DONE, USER, UserError
from genaudit.measures.embedding import Embedding
from genaudit.measures.measure import EngineRefused
from genaudit.store import Store
from genaudit.tasks.run.from_python import compose
from genaudit.tasks.run.settings import EngineChoice, Settings, chosen

HERE = importlib.util.find_spec("openvino") is not None
needs_openvino = pytest.mark.skipif(not HERE, reason="OpenVINO is not installed: genaudit-images[openvino]")


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO as if it were installed."""
    monkeypatch.setattr(engines, "_openvino_is_installed", lambda: True)
    monkeypatch.setattr(engines.metadata, "version", lambda name: "1")


@pytest.fixture
def refusing(there: None, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """OpenVINO takes no network; the list grows with each that it was asked to take."""
    import genaudit.backbones.openvino_network as network

    tried: list[int] = []

    def refuse(*arguments: Any) -> None:
        tried.append(1)
        raise network.Refused("No conversion rule for aten::odd")

    monkeypatch.setattr(network, "CompiledNetwork", refuse)
    return tried


def _settings(*overrides: str) -> Settings:
    return Settings.of(compose("evaluate", ["generated=x", "device=cpu", *overrides]))


@pytest.mark.parametrize(
    ("overrides", "engine"),
    [
        (["engine=auto"], "openvino"),
        (["engine=openvino"], "openvino"),
        (["engine=torch"], "torch"),
        (["engine=auto", "precision=float64"], "torch"),
        (["engine=auto", "precision=bfloat16"], "torch"),
        (["engine=auto", "compile=true"], "torch.compile"),
    ],
)
def test_the_engine_is_the_one_that_was_asked_for_or_fits(there: None, overrides: list[str], engine: str) -> None:
    assert chosen(_settings(*overrides)) == engine


def test_several_processes_and_machines_without_openvino_take_pytorch(
    there: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen(_settings("engine=auto"), ranks=2) == "torch"
    assert chosen(_settings("engine=openvino"), ranks=2) == "openvino"
    monkeypatch.setattr(engines, "_openvino_is_installed", lambda: False)
    assert chosen(_settings("engine=auto")) == "torch"
    with pytest.raises(UserError, match=r"pip install 'genaudit-images\[openvino\]'"):
        chosen(_settings("engine=openvino"))


@pytest.mark.parametrize("other", ["precision=float64", "compile=true"])
def test_openvino_by_name_beside_what_it_cannot_do_is_an_error(there: None, other: str) -> None:
    with pytest.raises(UserError, match=other.partition("=")[0]):
        chosen(_settings("engine=openvino", other))


def test_tf32_is_of_a_gpu() -> None:
    with pytest.raises(UserError, match="precision=tf32 is of NVIDIA's GPUs"):
        _settings("precision=tf32")


@pytest.fixture
def command(make_images: Callable[..., Path], tiny: list[str], tmp_path: Path) -> Callable[..., Any]:
    sets = [str(make_images("gen", 9, seed=1)), f"reference={make_images('ref', 9, seed=2)}"]

    def run(out: str, *overrides: str, code: int = DONE) -> dict[str, Any]:
        words = ["evaluate", *sets, *tiny, "metric=[fd,kd]", "progress=false", f"out={tmp_path / out}", *overrides]
        assert main(words) == code
        return json.loads((tmp_path / out / "report.json").read_text()) if code == DONE else {}

    return run


def _values(report: dict[str, Any]) -> dict[str, float]:
    return {name: each["values"][name]["value"] for name, each in report["metrics"].items()}


@needs_openvino
def test_a_run_by_openvino_gives_pytorchs_values_under_a_fingerprint_of_its_own(
    command: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, openvino = command("torch", "engine=torch"), command("openvino", "engine=openvino")
    assert "run by OpenVINO" in capsys.readouterr().out
    assert "run by OpenVINO" in (tmp_path / "openvino" / "report.html").read_text()
    # the distance of nine images is a difference of sums of a hundred variances, each within 2·1e-6
    assert _values(openvino) == pytest.approx(_values(plain), rel=1e-4)
    ((name, ours),), (theirs,) = openvino["measures"].items(), plain["measures"].values()
    assert ours["fingerprint"] != theirs["fingerprint"]
    assert ours["computed"] == 18
    assert ours["about"]["engine"] == "openvino"
    assert ours["about"]["features"] == theirs["fingerprint"]
    again = command("again", "engine=auto")
    assert again["measures"][name]["reused"] == 18
    assert again["metrics"] == openvino["metrics"]
    # runs of the two engines are comparable
    assert main(["compare", str(tmp_path / "torch"), str(tmp_path / "openvino"), f"out={tmp_path / 'both'}"]) == DONE
    warnings = json.loads((tmp_path / "both" / "comparison.json").read_text())["warnings"]
    assert "different-measure" not in {each["code"] for each in warnings}


def test_a_network_that_openvino_does_not_take_is_run_by_pytorch_and_tried_once(
    refusing: list[int], command: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = command("auto", "engine=auto")
    said = capsys.readouterr()
    assert said.err.count("is run by PyTorch, since OpenVINO does not take it (No conversion rule for aten::odd)") == 1
    assert "run by PyTorch (OpenVINO does not take it: No conversion rule for aten::odd)" in " ".join(said.out.split())
    assert "since OpenVINO does not take it" in (tmp_path / "auto" / "log.txt").read_text()
    plain = command("torch", "engine=torch", f"store={tmp_path / 'other'}")
    assert report["metrics"] == plain["metrics"]
    ((ours, theirs),) = zip(report["measures"].values(), plain["measures"].values(), strict=True)
    assert ours["fingerprint"] == theirs["fingerprint"]
    assert len(refusing) == 1
    again = command("again", "engine=auto")
    assert len(refusing) == 1
    assert next(iter(again["measures"].values()))["reused"] == 18


def test_another_version_of_openvino_is_asked_again(
    refusing: list[int], command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    command("first", "engine=auto", "metric=[kd]")
    monkeypatch.setattr(engines.metadata, "version", lambda name: "2")
    command("second", "engine=auto", "metric=[kd]")
    assert len(refusing) == 2


def test_a_network_of_the_users_is_run_by_pytorch_unless_openvino_is_named(there: None, tmp_path: Path) -> None:
    """Its forward may depend on what the images show, which a trace of one batch cannot know."""
    network = torch.nn.AdaptiveAvgPool2d(1)
    model = ModuleModel(network, size=8, mean=[0.5] * 3, std=[0.5] * 3)
    measures, told = [Embedding(model), Embedding(TimmModel("test_resnet", pretrained=False))], []
    EngineChoice(_settings("engine=auto"), Store(tmp_path), told.append).assign(measures)
    assert [each.engine for each in measures] == ["torch", "openvino"]
    assert "network of yours" in measures[0].engine_note
    (said,) = told
    assert "is run by PyTorch" in said
    with pytest.raises(EngineRefused, match="network of yours"):
        EngineChoice(_settings("engine=openvino"), Store(tmp_path)).assign(measures[:1])


def test_openvino_by_name_with_a_network_that_it_does_not_take_is_an_error(
    refusing: list[int], command: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    command("named", "engine=openvino", code=USER)
    said = capsys.readouterr().err
    assert "OpenVINO does not take it (No conversion rule for aten::odd); engine=torch measures with it" in said


def test_a_gate_and_moments_fall_back_too(
    refusing: list[int], make_images: Callable[..., Path], tiny: list[str], tmp_path: Path
) -> None:
    train = make_images("train", 12, seed=3)
    words = [*tiny, "engine=auto", "progress=false"]
    assert main(["moments", str(train), *words, f"out={tmp_path / 'm.npz'}"]) == DONE
    assert refusing == [1]
    code = main(["reject", str(train), f"train={train}", "absolute=true", *words, f"out={tmp_path / 'gate'}"])
    assert code != USER
    assert refusing == [1]  # the store remembers it
