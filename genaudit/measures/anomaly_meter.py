"""Runs the anomaly measure's network: complexity and vulnerability of a batch, drawn per image from seed and digest.

Apart from `genaudit.measures.anomaly`, which a run whose rows are stored needs: this imports torch. N images, D
features.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from genaudit.backbones.cpu_layout import arrange_for_cpu
from genaudit.measures.complexity import Network, layout_of, path_angles, path_features, random_directions
from genaudit.measures.measure import to_unit_range
from genaudit.measures.vulnerability import attack_in_groups, uniform

if TYPE_CHECKING:
    from genaudit.backbones.feature_model import FeatureModel
    from genaudit.measures.measure import Meter

# A smooth path's lag-2 angle is 1.4 (random turns) to 2 times (steady turns) its lag-1 angle, pure rounding's 0.75.
# Below this ratio the path is measured again in float64.
DOUBTFUL_RATIO = 1.2


def open_meter(feature_model: FeatureModel, settings: Mapping[str, Any], device: str, chosen: str) -> Meter:
    """The meter of `Anomaly` with these settings; `chosen` is what decides the rows: "float64", "float32" or "auto"."""
    dtype = torch.float64 if chosen == "float64" else torch.float32
    network, layout = _network(feature_model, device, dtype)
    exact: list[Network] = []  # the float64 network, loaded when a path first needs it

    def path(x: torch.Tensor, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """f(x), the mean angle and the mean lag-2 angle of every image."""
        features = path_features(network, x, u, settings["eps"], settings["path_steps"])
        lag1, lag2 = path_angles(features), path_angles(features, lag=2)
        doubtful = ~(lag2 > DOUBTFUL_RATIO * lag1)  # also where an angle is not a number
        if chosen == "auto" and not device.startswith("mps") and bool(doubtful.any()):
            if not exact:
                exact.append(copy.deepcopy(network).double())
            again = path_features(
                exact[0],
                x[doubtful].double(),
                u[doubtful].double(),
                settings["eps"],
                settings["path_steps"],
                together=None if x.is_cuda else 1,  # few come: groups would be mostly filling
            )
            lag1[doubtful] = path_angles(again).float()
            lag2[doubtful] = path_angles(again, lag=2).float()
        return features[:, 0], lag1, lag2

    def meter(images: torch.Tensor, digests: Sequence[bytes]) -> torch.Tensor:
        batch = to_unit_range(images, dtype).contiguous(memory_format=layout)
        draws = _Draws(batch, digests, settings["seed"])
        paths = [path(batch, u) for u in draws.directions(settings["directions"], settings["direction"])]
        moved = [
            attack_in_groups(
                network,
                batch,
                paths[0][0],
                noise * settings["start"],
                settings["alpha"],
                settings["attack_steps"],
                settings["radius"],
            )
            for noise in draws.starts(settings["starts"])
        ]
        lag1, lag2 = (torch.stack([angles[place] for angles in paths]) for place in (1, 2))
        reached = torch.stack(moved)
        rows = (lag1.mean(0), reached.mean(0), lag2.mean(0), _standard_error(lag1), _standard_error(reached))
        return torch.stack(rows, dim=1).float()

    return meter


def _network(
    feature_model: FeatureModel, device: str, dtype: torch.dtype
) -> tuple[torch.nn.Module, torch.memory_format]:
    """The network, and the memory layout that its images should have."""
    # a copy: a feature model may hand out one and the same network to other measures, in their own arrangement
    network = copy.deepcopy(feature_model.network(device, dtype))
    return network, arrange_for_cpu(network) if device == "cpu" else torch.channels_last


def _standard_error(draws: torch.Tensor) -> torch.Tensor:
    """Standard error of the mean over the first axis, (R, N) => (N,); NaN for R = 1."""
    if len(draws) == 1:
        return torch.full_like(draws[0], math.nan)
    return draws.std(0) / math.sqrt(len(draws))


class _Draws:
    """Random draws per image from (seed, digest): they do not depend on batch, order, worker, rank or device."""

    def __init__(self, images: torch.Tensor, digests: Sequence[bytes], seed: int) -> None:
        self.images = images
        self.generators = []
        for digest in digests:
            words = np.frombuffer(digest, dtype="<u4").tolist()
            state = np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)[0]
            self.generators.append(torch.Generator().manual_seed(int(state >> np.uint64(1))))

    def directions(self, count: int, kind: str) -> Iterator[torch.Tensor]:
        for _ in range(count):
            yield self._each(lambda one, generator: random_directions(one, kind, generator))

    def starts(self, count: int) -> Iterator[torch.Tensor]:
        for _ in range(count):
            yield self._each(uniform)

    def _each(self, draw: Callable[[torch.Tensor, torch.Generator], torch.Tensor]) -> torch.Tensor:
        shape = self.images[:1]
        plain = torch.empty(shape.shape, dtype=self.images.dtype)
        drawn = torch.cat([draw(plain, generator) for generator in self.generators])
        return drawn.to(self.images.device, non_blocking=True).contiguous(memory_format=layout_of(self.images))
