"""A network in parts, with an output after each: one forward pass gives spatial features, features and logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn


class Parts(nn.Module):
    """Parts that run one after the other, of which some outputs are wanted: (N, 3, S, S) => a tuple of tensors.

    Args:
        parts: output => the part that ends with it, in the order in which they run; those after the last that is
            wanted do not run.
        wanted: the outputs, in the order of the tuple.
        ends: what a part's output still goes through where it leaves the network there, and not on its way to the next.
    """

    def __init__(self, parts: Mapping[str, nn.Module], wanted: Sequence[str], ends: Mapping[str, nn.Module]) -> None:
        super().__init__()
        last = max(list(parts).index(each) for each in wanted)
        self.names = list(parts)[: last + 1]
        self.wanted = list(wanted)
        self.parts = nn.ModuleList(parts[name] for name in self.names)
        self.ends = nn.ModuleDict({name: ends.get(name, nn.Identity()) for name in self.names})

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = {}
        for name, part in zip(self.names, self.parts, strict=True):
            x = part(x)
            if name in self.wanted:
                outputs[name] = self.ends[name](x)
        return tuple(outputs[name] for name in self.wanted)
