"""A network that OpenVINO runs gives PyTorch's rows, whatever the size of a batch, and says what it does not take."""

from __future__ import annotations

import importlib.util
import sys
import types
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

if importlib.util.find_spec("openvino") is None:  # not imported: that is for genaudit, without its telemetry
    pytest.skip("OpenVINO is not installed: pip install 'genaudit-images[openvino]'", allow_module_level=True)

from genaudit.backbones import openvino_network
from genaudit.backbones.openvino_network import CompiledNetwork, Refused, verify

SIDE = 64


def _images(count: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 3, SIDE, SIDE)).astype(dtype)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model("test_efficientnet", num_classes=0).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def compiled(network: torch.nn.Module) -> CompiledNetwork:
    return CompiledNetwork(network, _images(4), threads=2)


def _expected(network: torch.nn.Module, images: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        return network(torch.from_numpy(images).float() / 255)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"])
def test_rows_are_pytorchs(name: str, network: torch.nn.Module, compiled: CompiledNetwork) -> None:
    if name != "test_efficientnet":
        torch.manual_seed(0)
        size = {"img_size": SIDE} if name == "test_vit" else {}
        network = timm.create_model(name, num_classes=0, **size).eval().requires_grad_(False)
        compiled = CompiledNetwork(network, _images(4), threads=1)
    images = _images(7)
    (rows,) = compiled(images)
    # sums of float32 in another order, each a rounding of 6e-8: a hundred of them in a row is far more than there are
    verify([_expected(network, images)], [rows], 6e-6)


def test_a_row_does_not_depend_on_its_batch_and_comes_alike_from_any_thread(compiled: CompiledNetwork) -> None:
    images = _images(9)
    (rows,) = compiled(images)
    for count in (1, 4, 6):
        np.testing.assert_array_equal(compiled(images[:count])[0], rows[:count])
    with ThreadPoolExecutor(4) as pool:
        for (again,) in pool.map(compiled, [images] * 8):
            np.testing.assert_array_equal(again, rows)


def test_images_of_floats_and_several_outputs() -> None:
    class Two(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x.mean((2, 3)), x.flatten(1).amax(1, keepdim=True)

    images = _images(3, np.float32) / 3
    mean, most = CompiledNetwork(Two(), images[:2], threads=1)(images)
    np.testing.assert_allclose(mean, images.mean((2, 3)) / 255, rtol=1e-5)
    np.testing.assert_allclose(most[:, 0], images.max((1, 2, 3)) / 255, rtol=1e-6)


def test_a_network_of_other_operations_is_refused_in_one_line() -> None:
    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvalsh(x[:, 0] + x[:, 0].mT)

    with pytest.raises(Refused) as refused:
        CompiledNetwork(Odd(), _images(1), threads=1)
    assert "\n" not in str(refused.value)
    assert "eigvalsh" in str(refused.value)


def test_a_network_whose_way_depends_on_the_images_is_found_out() -> None:
    class Fickle(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3)) if bool(x.max() > 0.5) else -x.mean((2, 3))

    images = _images(2)
    rows = CompiledNetwork(Fickle(), images, threads=1)(images)
    with pytest.raises(Refused, match=r"differ from PyTorch's by 2"):
        verify([_expected(Fickle(), images)], rows, 1e-4)


def test_rows_of_another_shape_or_that_are_not_finite_are_refused() -> None:
    with pytest.raises(Refused, match="shape"):
        verify([torch.ones(2, 3)], [np.ones((2, 4), np.float32)], 1)
    with pytest.raises(Refused, match="not finite"):
        verify([torch.ones(2, 3)], [np.full((2, 3), np.nan, np.float32)], 1)
    verify([torch.zeros(2, 3)], [np.zeros((2, 3), np.float32)], 1e-9)  # of black images, say


def test_nothing_is_told_to_its_makers_and_the_process_is_as_it_was(compiled: CompiledNetwork) -> None:
    assert sys.modules["openvino.tools.ovc.telemetry_utils"].tm.__name__.endswith("telemetry_stub")
    assert "openvino_telemetry" not in sys.modules
    threads = torch.get_num_threads()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        CompiledNetwork(torch.nn.Flatten(), _images(1), threads=1)
        assert warnings.filters == before
    assert not told
    assert torch.get_num_threads() == threads


def test_openvino_is_imported_without_the_packages_that_change_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of absl, TensorBoard imports a part: the rest would add a handler that closes standard error when it is done."""
    (tmp_path / "openvino").mkdir()
    (tmp_path / "openvino" / "__init__.py").write_text(
        "found = []\n"
        "for name in ('openvino_telemetry', 'absl', 'absl.logging'):\n"
        "    try:\n"
        "        found.append(__import__(name).__name__)\n"
        "    except ImportError:\n"
        "        pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "openvino"]:
        monkeypatch.delitem(sys.modules, name)
    absl = types.ModuleType("absl")
    monkeypatch.setitem(sys.modules, "absl", absl)
    monkeypatch.setitem(sys.modules, "absl.logging", types.ModuleType("absl.logging"))
    monkeypatch.delitem(sys.modules, "openvino_telemetry", raising=False)
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "openvino")
    assert openvino_network._openvino().found == []
    assert sys.modules["absl"] is absl
    assert "openvino_telemetry" not in sys.modules
