"""Batch normalisation folded into the convolution before it: the same function with fewer passes over memory.

In evaluation mode `bn(conv(x)) = g·(W*x + b - m)/sqrt(v + eps) + h` is itself a convolution with weights
`W·s`, `s = g/sqrt(v + eps)`, and bias `(b - m)·s + h`. On a CPU the network spends a large share of its time on such
element-wise layers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

TRACING = threading.Lock()


class _Tracer(fx.Tracer):
    """Keeps convolutions and normalisations whole, whoever's subclass they are (timm's have control flow inside).

    While it traces, PyTorch calls the modules of the whole process through it: those of other threads run as ever.
    """

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: Any) -> Any:
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        whole = isinstance(m, (nn.Conv2d, nn.BatchNorm2d)) or getattr(m, "traced_whole", False)
        return whole or super().is_leaf_module(m, module_qualified_name)


def fold_batch_norms(network: nn.Module) -> int:
    """Folds, in place, every BatchNorm2d whose only input is a Conv2d that nothing else reads.

    The wiring is proved on the traced graph; a network that cannot be traced (dynamic control flow) is left as it
    is, which changes its speed and not its features.

    Args:
        network: in evaluation mode, on the CPU.

    Returns:
        How many normalisations were folded.
    """
    try:
        with TRACING:
            graph = _Tracer().trace(network)
    except Exception:  # tracing runs the network's own code on proxies: any exception means "not traceable"
        return 0
    calls = [node.target for node in graph.nodes if node.op == "call_module"]
    folded = 0
    for node in graph.nodes:
        if node.op != "call_module":
            continue
        norm = network.get_submodule(node.target)
        before = node.args[0] if node.args and isinstance(node.args[0], fx.Node) else None
        if not isinstance(norm, nn.BatchNorm2d) or before is None or before.op != "call_module":
            continue
        conv = network.get_submodule(str(before.target))
        used_once = calls.count(node.target) == 1 and calls.count(before.target) == 1
        if not isinstance(conv, nn.Conv2d) or len(before.users) != 1 or not used_once or norm.running_mean is None:
            continue
        _fold(conv, norm)
        parent, _, name = str(node.target).rpartition(".")
        setattr(network.get_submodule(parent), name, _what_follows(norm))
        folded += 1
    return folded


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    gain = torch.ones_like(mean) if norm.weight is None else norm.weight.double()
    offset = torch.zeros_like(mean) if norm.bias is None else norm.bias.double()
    bias = torch.zeros_like(mean) if conv.bias is None else conv.bias.double()
    scale = gain / torch.sqrt(variance + norm.eps)
    with torch.no_grad():
        conv.weight.copy_(conv.weight.double() * scale.view(-1, 1, 1, 1))
        conv.bias = nn.Parameter(((bias - mean) * scale + offset).to(conv.weight.dtype), requires_grad=False)


def _what_follows(norm: nn.BatchNorm2d) -> nn.Module:
    """What is left of a normalisation layer: timm's `BatchNormAct2d` carries an activation, the plain one nothing."""
    activation = getattr(norm, "act", None)
    return activation if isinstance(activation, nn.Module) else nn.Identity()
