"""Networks at lower precision, compiled, and the settings of the process around them."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from genaudit.backbones.timm_model import TimmModel
from genaudit.measures import runners
from genaudit.measures.embedding import Embedding
from genaudit.measures.measure import EngineRefused, features_fingerprint, fingerprint
from genaudit.stats.process_state import exact_float32, neutral, tf32

PRECISIONS = ("float32", "tf32", "bfloat16", "float16", "float64")
DIGESTS: list[bytes] = []


@pytest.fixture(scope="module")
def model() -> TimmModel:
    return TimmModel("test_resnet", pretrained=False, size=32)


@pytest.fixture
def images() -> torch.Tensor:
    pixels = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return pixels.permute(0, 3, 1, 2)


# a rounding is half of 2^-8 (bfloat16) or 2^-11 (float16); the network adds those of its 20 layers
@pytest.mark.parametrize(("precision", "rounding"), [("bfloat16", 2**-9), ("float16", 2**-12)])
def test_low_precision_is_near_float32_and_not_the_same(
    model: TimmModel, images: torch.Tensor, precision: str, rounding: float
) -> None:
    exact = Embedding(model).open("cpu", "float32")(images, DIGESTS)
    rows = Embedding(model).open("cpu", precision)(images, DIGESTS)
    assert rows.dtype == torch.float32
    error = float((rows - exact).norm() / exact.norm())
    assert rounding / 20 < error < 20 * rounding


def test_precision_and_engine_are_part_of_the_fingerprint_and_the_engine_not_of_the_features(model: TimmModel) -> None:
    plain, other = Embedding(model), Embedding(model)
    assert len({fingerprint(plain, precision) for precision in PRECISIONS}) == len(PRECISIONS)
    for engine in ("openvino", "torch.compile"):
        other.engine = engine
        assert fingerprint(other, "float32") != fingerprint(plain, "float32")
        assert features_fingerprint(other, "float32") == fingerprint(plain, "float32")
        assert other.shared_network != plain.shared_network or plain.shared_network is None


def test_a_compiled_network_gives_the_same_rows_from_several_threads(
    model: TimmModel, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the graph as TorchDynamo captures it, without Inductor's compiler, which takes half a minute
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    exact = Embedding(model).open("cpu", "float32")(images, DIGESTS)
    compiled = Embedding(model)
    compiled.engine = "torch.compile"
    with neutral():
        meter = compiled.open("cpu", "float32")
        with ThreadPoolExecutor(2) as pool:
            for rows in pool.map(lambda _: meter(images, DIGESTS), range(4)):
                torch.testing.assert_close(rows, exact, rtol=1e-4, atol=1e-6 * float(exact.abs().max()))


def _flags() -> list[object]:
    backends = torch.backends
    flags: list[object] = [backends.cudnn.benchmark]
    if not hasattr(backends.cudnn, "conv"):  # before PyTorch 2.9; later this one refuses to be asked beside the others
        flags.append(torch.get_float32_matmul_precision())
    else:
        flags += [leaf.fp32_precision for leaf in (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn)]
    return flags


@pytest.mark.parametrize("asked", [True, False])
def test_cudnn_times_no_algorithms_inside_and_does_what_the_caller_asked_for_afterwards(asked: bool) -> None:
    cudnn = torch.backends.cudnn
    before, cudnn.benchmark = cudnn.benchmark, asked
    try:
        with exact_float32("cuda"):
            assert not cudnn.benchmark
        assert cudnn.benchmark is asked
        with exact_float32("cpu"):
            assert cudnn.benchmark is asked  # where it is of no consequence
    finally:
        cudnn.benchmark = before


@pytest.mark.parametrize("caller", ["highest", "high"])
def test_tf32_holds_inside_and_the_caller_has_its_own_again(caller: str) -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(caller)
    try:
        own = _flags()
        with exact_float32("cuda"):
            exact = _flags()
            with tf32():
                if hasattr(torch.backends.cudnn, "conv"):
                    assert torch.backends.cuda.matmul.fp32_precision == "tf32"
                    assert torch.backends.cudnn.conv.fp32_precision == "tf32"
                assert _flags() != exact
            assert _flags() == exact
            with pytest.raises(RuntimeError), tf32():
                raise RuntimeError
            assert _flags() == exact
        assert _flags() == own
        assert torch.get_float32_matmul_precision() == caller
    finally:
        torch.set_float32_matmul_precision(before)


def test_only_a_run_in_tf32_takes_tf32(images: torch.Tensor) -> None:
    seen: list[list[object]] = []

    class Watching(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(_flags())
            return x.mean((2, 3))

    with exact_float32("cuda"):
        for precision in ("float32", "tf32", "bfloat16"):
            runners.pytorch_runner(Watching(), "cpu", precision)(images, DIGESTS)
        exact = _flags()
        with tf32():
            assert seen == [exact, _flags(), exact]


@pytest.mark.parametrize(("away", "taken"), [(1e-5, True), (1e-4, False)])
def test_openvinos_rows_may_differ_from_pytorchs_by_rounding_alone(
    away: float, taken: bool, model: TimmModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    import genaudit.backbones.openvino_network as openvino

    probe = np.full((2, 3, 4, 4), 100, np.uint8)

    def compiled(network: torch.nn.Module, example: np.ndarray, threads: int) -> object:
        return lambda batch: [np.full((len(batch), 3), 100 / 255 * (1 + away), np.float32)]

    class Mean(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3))

    monkeypatch.setattr(openvino, "CompiledNetwork", compiled)
    if taken:
        rows = runners.openvino_runner(Mean(), probe, [Embedding(model)])(torch.from_numpy(probe), DIGESTS)
        assert isinstance(rows, torch.Tensor)
        assert rows.shape == (2, 3)
    else:
        with pytest.raises(EngineRefused, match=r"differ from PyTorch's by 0\.0001"):
            runners.openvino_runner(Mean(), probe, [Embedding(model)])
