"""The script that checks a device: cpu against cpu within what it allows, and a wrong device found out."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genaudit.backbones.embedded import EfficientNetLite0

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


def _script(name: str) -> Any:
    if str(SCRIPTS) not in sys.path:
        sys.path.insert(0, str(SCRIPTS))
    return importlib.import_module(name)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded network looks at 64 pixels in place of 224."""
    for script in ("check_device", "device_cases"):
        monkeypatch.setattr(_script(script), "EfficientNetLite0", lambda: EfficientNetLite0(size=64))


@pytest.mark.usefixtures("small")
def test_cpu_against_cpu_is_within_what_is_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    check_device = _script("check_device")
    assert check_device.main(["--device", "cpu", "--count", "2", "--no-speed"]) == 0
    said = capsys.readouterr().out
    for name in ("embedding efficientnet_lite0", "anomaly", "ais", "Glow", "PixelCNN++", "PIAD", "classifier"):
        assert name in said
    assert "BEYOND" not in said


@pytest.mark.usefixtures("small")
def test_precision_is_compared_with_float32_of_pytorch_and_its_cost_is_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_device = _script("check_device")
    monkeypatch.setattr(check_device, "SECONDS", 0.0)
    assert check_device.main(["precision", "--device", "cpu", "--count", "8"]) == 0
    said = capsys.readouterr().out
    assert "against float32 by PyTorch (the first line)" in said
    lines = [line.rsplit(maxsplit=5) for line in said.splitlines() if line.strip().startswith(("float", "bfloat"))]
    found = {kind.strip(): [float(each) for each in numbers] for kind, *numbers in lines}
    exact, half, brain = (found[f"{precision}, torch"] for precision in ("float32", "float16", "bfloat16"))
    assert exact[:2] == [0, 0]
    assert exact[3] == 0
    # 10 and 7 bits of mantissa: 5e-4 and 4e-3 a rounding, of which a network has some fifty
    assert 1e-5 < half[0] < 2e-2
    assert 1e-4 < brain[0] < 2e-1
    assert half[0] < brain[0]
    for numbers in (half, brain):
        assert numbers[0] <= numbers[1]
        assert numbers[2] == pytest.approx(exact[2] * (1 + numbers[3]), rel=0.1) or numbers[2] < exact[2]
        assert numbers[3] > 0
    assert all(each[4] > 0 for each in found.values())
    if "float32, openvino" in found:
        assert 0 < found["float32, openvino"][1] < 5e-5


@pytest.mark.usefixtures("small")
def test_without_speed_none_is_measured(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    check_device = _script("check_device")
    monkeypatch.setattr(check_device, "images_per_second", None)
    check_device.main(["precision", "--device", "cpu", "--count", "4", "--no-speed"])
    assert "images/s" not in capsys.readouterr().out


def test_a_device_that_computes_something_else_is_found_out(capsys: pytest.CaptureFixture[str]) -> None:
    check_device = _script("check_device")
    case = _script("device_cases").Case

    def run(wrong: float) -> Any:
        return lambda device: np.ones((3, 4)) * (1 + wrong * (device != "cpu"))

    assert check_device.check([case("right", run(0), 1e-6), case("wrong", run(1e-5), 1e-6)], "other") == 1
    assert check_device.check([case("not a number", run(float("nan")), 1.0)], "other") == 1
    assert check_device.check([case("shapes", lambda device: np.ones(3 + (device != "cpu")), 1.0)], "other") == 1
    assert capsys.readouterr().out.count("BEYOND") == 3


def test_the_difference_is_the_largest_relative_to_a_row() -> None:
    difference = _script("check_device").difference
    rows = np.array([[3.0, 4.0], [300.0, 400.0]])
    assert difference(rows, rows + np.array([0, 0.05])) == pytest.approx(0.01)
    assert difference(np.array([1.0, -2.0]), np.array([1.5, -2.0])) == pytest.approx(0.25)
