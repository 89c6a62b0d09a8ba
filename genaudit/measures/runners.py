"""How a network is run where no gradient is taken: by PyTorch, by PyTorch compiled, or by OpenVINO.

B images of a batch, S side in pixels, D numbers a row.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit.measures.measure import EngineRefused, to_unit_range, torch_dtype
from genaudit.stats.process_state import tf32

if TYPE_CHECKING:
    import torch

    Rows = torch.Tensor | tuple[torch.Tensor, ...]
    Runner = Callable[[torch.Tensor, Sequence[bytes]], Rows]

PYTORCH, COMPILED, OPENVINO = "torch", "torch.compile", "openvino"

# OpenVINO's rows against PyTorch's, relative to a row's length. Both sum in float32 in an order of their own, which
# leaves 1e-6 to 5e-6 in the networks that genaudit knows (`docs/feature_models.md`); an error of a graph is far larger.
TOLERANCE = 5e-5


def weights_dtype(precision: str) -> torch.dtype:
    """The type of a network's weights: float64 for float64, else float32."""
    import torch

    return torch.float64 if torch_dtype(precision) is torch.float64 else torch.float32


def pytorch_runner(network: torch.nn.Module, device: str, precision: str, *, compiled: bool = False) -> Runner:
    """The network run by PyTorch, (B, 3, S, S) uint8 on the device => rows (B, D) float32, of each of its outputs.

    `bfloat16` and `float16` run it under autocast with float32 weights; `tf32` lets a GPU round the inputs of products
    and convolutions to 10 bits.
    """
    import torch

    from genaudit.backbones.cpu_layout import arrange_for_cpu

    weights, low = weights_dtype(precision), {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision)
    layout = torch.channels_last
    if device == "cpu" and not compiled:
        layout = arrange_for_cpu(network, gradients=False)
    run: Any = torch.compile(network, dynamic=False) if compiled else network

    @torch.inference_mode()
    def runner(images: torch.Tensor, digests: Sequence[bytes]) -> Rows:
        autocast = torch.autocast(images.device.type, low, enabled=low is not None)
        with tf32() if precision == "tf32" else contextlib.nullcontext(), autocast:
            rows = run(to_unit_range(images, weights).contiguous(memory_format=layout))
        return rows.float() if isinstance(rows, torch.Tensor) else tuple(each.float() for each in rows)

    return runner


def openvino_runner(network: torch.nn.Module, probe: np.ndarray, measures: Sequence[Any]) -> Runner:
    """The network run by OpenVINO, after a batch of images gave PyTorch's rows within `TOLERANCE`.

    Args:
        network: on the CPU in float32. probe: (B, 3, S, S) prepared images. measures: whose rows these are, for the
            exception.

    Raises:
        EngineRefused: OpenVINO does not take it, or gives other rows.
    """
    import torch

    from genaudit.backbones.openvino_network import CompiledNetwork, Refused, verify

    try:
        compiled = CompiledNetwork(network, probe, torch.get_num_threads())
        with torch.inference_mode():
            expected = network(to_unit_range(torch.from_numpy(probe), torch.float32))
        alone = isinstance(expected, torch.Tensor)
        verify([expected] if alone else expected, compiled(probe), TOLERANCE)
    except Refused as refused:
        raise EngineRefused(measures, str(refused)) from refused

    def runner(images: torch.Tensor, digests: Sequence[bytes]) -> Rows:
        rows = [torch.from_numpy(each) for each in compiled(images.numpy())]
        return rows[0] if alone else tuple(rows)

    return runner
