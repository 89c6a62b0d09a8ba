"""A network as OpenVINO runs it on a CPU: the same function in float32 with fewer passes over memory, no gradients.

OpenVINO (Apache-2.0, the extra `openvino`) compiles the traced graph for the processor at hand. Each core works on a
batch of its own on one thread, as genaudit's own measuring does: rows do not depend on how many cores there are.

B images of a batch, S side in pixels, D numbers a row.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from genaudit.backbones.folding import TRACING
from genaudit.stats.process_state import Shared, Undo

# One reports every import and conversion to OpenVINO's makers. The other, where it is installed, adds a log handler
# that closes the process's standard error when logging is set up again.
UNWANTED = ("openvino_telemetry", "absl")
_IMPORTING = threading.Lock()


class Refused(Exception):
    """OpenVINO does not take a network; the text says why, in one line."""


class CompiledNetwork:
    """A network compiled for this CPU: (n, 3, S, S) in [0, 255] => the rows of each output, (n, D) float32, for any n.

    May be called from several threads at a time: each has requests of its own.

    Args:
        network: (B, 3, S, S) in [0, 1] => a tensor (B, D) or a tuple of them; frozen, in evaluation mode, on the CPU in
            float32. Its forward must not depend on what the images show: what one batch does is what is kept.
        example: (B, 3, S, S) of the type of the images, uint8 or float32; B images are computed at a time, and a
            smaller batch is filled up. threads: cores.

    Raises:
        Refused: the network cannot be traced or compiled.
    """

    def __init__(self, network: nn.Module, example: np.ndarray, threads: int) -> None:
        openvino = _openvino()
        self.batch = len(example)
        # traced on black images, so that `verify` on others sees a graph that depends on what they show
        first = torch.from_numpy(np.zeros_like(example))
        try:
            graph = _graph(_traced(_FromBytes(network), first))
            (images,) = graph.get_parameters()
            images.set_element_type(openvino.Type(example.dtype))
            images.set_partial_shape(openvino.PartialShape(list(example.shape)))
            graph.validate_nodes_and_infer_types()
            self._model = openvino.Core().compile_model(graph, "CPU", _settings(threads))
        except Exception as error:  # of a compiler, about any of its operations
            raise Refused(_first_line(error)) from error
        self._local = threading.local()

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        requests = self._requests(-(-len(images) // self.batch))
        for place, request in enumerate(requests):
            part = images[place * self.batch : (place + 1) * self.batch]
            lacking = self.batch - len(part)
            filled = np.concatenate([part, np.repeat(part[-1:], lacking, axis=0)]) if lacking else part
            request.start_async([np.ascontiguousarray(filled)])
        parts = []
        for request in requests:
            request.wait()
            parts.append([np.array(output.data) for output in request.output_tensors])
        return [np.concatenate(rows)[: len(images)] for rows in zip(*parts, strict=True)]

    def _requests(self, count: int) -> list[Any]:
        """This thread's requests, as many as it needs."""
        held: list[Any] = self._local.__dict__.setdefault("requests", [])
        while len(held) < count:
            held.append(self._model.create_infer_request())
        return held[:count]


class _FromBytes(nn.Module):
    """The network with images in [0, 255] as its input, as they are prepared."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> Any:
        return self.network(images.to(torch.float32) / 255)


def _traced(network: nn.Module, example: torch.Tensor) -> Any:
    # without the two passes more by which `trace` checks itself: `verify` does
    with _QUIET(), TRACING, torch.no_grad():
        return torch.jit.freeze(torch.jit.trace(network.eval(), example, check_trace=False, strict=False))


def _graph(traced: Any) -> Any:
    """OpenVINO's graph of a TorchScript one, as `openvino.convert_model` makes it.

    That sets the root logger's level and handlers meanwhile and reads the command line, which are not ours.
    """
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    manager = FrontEndManager()
    reader = manager.load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced, skip_freeze=True)  # which must live until all is converted
    return reader.convert(reader.load(decoder))


def _settings(threads: int) -> dict[str, Any]:
    return {
        "NUM_STREAMS": threads,
        "INFERENCE_NUM_THREADS": threads,
        # some processors would compute in bfloat16 or float16 unasked
        "INFERENCE_PRECISION_HINT": "f32",
        # pinned to the same cores, two runs on one machine would wait for each other
        "ENABLE_CPU_PINNING": False,
    }


def verify(expected: Sequence[torch.Tensor], rows: Sequence[np.ndarray], tolerance: float) -> None:
    """Whether rows are those of PyTorch: each within `tolerance` of it, relative to its own length.

    Raises:
        Refused: says how far they are.
    """
    for wanted, found in zip(expected, rows, strict=True):
        reference = wanted.double().numpy()
        if reference.shape != found.shape:
            raise Refused(f"it gives rows of shape {found.shape} in place of {reference.shape}")
        if not np.isfinite(found).all():
            raise Refused("it gives numbers that are not finite")
        lengths = np.linalg.norm(reference, axis=1)
        error = float(np.max(np.linalg.norm(found - reference, axis=1) / np.maximum(lengths, np.finfo(float).tiny)))
        if error > tolerance:
            raise Refused(f"its features differ from PyTorch's by {error:.1g} of their length, above {tolerance:.0g}")


def _openvino() -> Any:
    """The package, imported without two others that it would import."""
    with _IMPORTING:
        if "openvino" in sys.modules:
            return sys.modules["openvino"]
        held = {name: sys.modules[name] for name in UNWANTED if name in sys.modules}
        sys.modules.update(dict.fromkeys(UNWANTED))  # type: ignore[arg-type]  # an import of None fails, and it does without
        try:
            import openvino
        finally:
            for name in UNWANTED:
                del sys.modules[name]
            sys.modules.update(held)  # of which TensorBoard, say, had imported a part
    return openvino


def _first_line(error: Exception) -> str:
    """What a compiler complains of: the first line that names an operation, else the first that is no place in code."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(("Exception from", "Check '", "[", "src/"))]
    named = [line.lstrip("- ").removesuffix(" with a message:") for line in told if "aten::" in line]
    return (named or told or [type(error).__name__])[0][:200]


def _ignore_deprecation() -> Undo:
    """torch.jit.trace says that it is deprecated, and that sides of images become constants, as they should."""
    warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
    for category in (FutureWarning, DeprecationWarning):
        warnings.filterwarnings("ignore", category=category, module=r"torch\.jit")
    own = warnings.filters[:3]

    def undo() -> None:
        for each in own:
            if each in warnings.filters:
                warnings.filters.remove(each)  # type: ignore[attr-defined]
        warnings._filters_mutated() if hasattr(warnings, "_filters_mutated") else None

    return undo


_QUIET = Shared(_ignore_deprecation)
