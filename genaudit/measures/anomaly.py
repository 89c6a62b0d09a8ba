"""Complexity and vulnerability of an image in a feature space (Hwang, Lee and Lee, CVPR 2024, "Anomaly Score").

Complexity: how much the features bend along a straight path through image space. Vulnerability: how far an
adversarial attack moves them. `f` is the feature model with its normalisation, images are in [0, 1]. The functions
take any f and any generator; the measure `Anomaly` draws per image, from seed and digest.

N images, D features, K path steps, J attack steps.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch

from genaudit.backbones.cpu_layout import arrange_for_cpu
from genaudit.errors import UserError
from genaudit.measures.complexity import (
    Network,
    angle,
    complexity,
    layout_of,
    path_angles,
    path_features,
    random_directions,
)
from genaudit.measures.measure import to_unit_range
from genaudit.measures.vulnerability import START_RADIUS, attack_group, attack_in_groups, uniform, vulnerability
from genaudit.stats.bounds import MOST_REPEATS, Bounds, Positive, Repeats

if TYPE_CHECKING:
    from genaudit.backbones.feature_model import FeatureModel
    from genaudit.measures.measure import Meter


__all__ = ["START_RADIUS", "Anomaly", "angle", "complexity", "random_directions", "vulnerability"]

# A change of the mathematics bumps this number, so that stored rows are not reused.
CODE_VERSION = 5
# A smooth path's lag-2 angle is 1.4 (random turns) to 2 times (steady turns) its lag-1 angle, pure rounding's 0.75.
# Below this ratio the path is measured again in float64.
DOUBTFUL_RATIO = 1.2
PRECISIONS = ("auto", "float32", "float64")


class Anomaly:
    """Complexity and vulnerability of every image, in one pass that shares f(x) between them.

    Rows: complexity, vulnerability, the lag-2 angle (noise check), standard errors of the first two (NaN for one
    direction or one start). Whatever `precision` says for the rest, it runs in float32 without TF32, or float64:
    half precision leaves rounding noise of the angles.

    Args:
        feature_model: f.
        eps, path_steps: the path's step length and K. directions: independent paths per image, averaged.
        direction: "gaussian" or "uniform".
        alpha, attack_steps, radius: the attack's step, J, and radius (None: alpha·J).
        starts: independent attacks per image, averaged. start: half-width of the attack's uniform start.
        seed: with the image's digest it seeds every draw.
        precision: "auto" measures in float32, and in float64 again the paths whose lag-2 angle is not clearly larger
            than their angle (`DOUBTFUL_RATIO`), which is how rounding noise shows; "float32" or "float64" for all.
    """

    columns: tuple[str, ...] | None = (
        "complexity",
        "vulnerability",
        "complexity_lag2",
        "complexity_se",
        "vulnerability_se",
    )

    def __init__(
        self,
        feature_model: FeatureModel,
        *,
        eps: Positive = 0.01,
        path_steps: Annotated[int, Bounds(2, MOST_REPEATS)] = 10,
        directions: Repeats = 1,
        direction: Literal["gaussian", "uniform"] = "gaussian",
        alpha: Positive = 0.01,
        attack_steps: Repeats = 10,
        radius: Positive | None = None,
        starts: Repeats = 1,
        start: Positive = START_RADIUS,
        seed: int = 0,
        precision: str = "auto",
    ) -> None:
        for key, value, least in (
            ("path_steps", path_steps, 2),
            ("attack_steps", attack_steps, 1),
            ("directions", directions, 1),
            ("starts", starts, 1),
        ):
            if int(value) < least:
                raise UserError(f"anomaly.{key}={value}: at least {least} is needed")
        for key, size in (("eps", eps), ("alpha", alpha), ("start", start)):
            if not size > 0:
                raise UserError(f"anomaly.{key}={size}: a positive number is needed")
        if direction not in ("gaussian", "uniform"):
            raise UserError(f"anomaly.direction={direction}: gaussian or uniform is needed")
        if precision not in PRECISIONS:
            raise UserError(f"anomaly.precision={precision}: one of {', '.join(PRECISIONS)} is needed")
        self.feature_model = feature_model
        self.settings: dict[str, Any] = {
            "eps": float(eps),
            "path_steps": int(path_steps),
            "directions": int(directions),
            "direction": direction,
            "alpha": float(alpha),
            "attack_steps": int(attack_steps),
            "radius": None if radius is None else float(radius),
            "starts": int(starts),
            "start": float(start),
            "seed": int(seed),
            "precision": precision,
        }

    @property
    def name(self) -> str:
        return f"anomaly {self.feature_model.name}"

    @property
    def passes(self) -> float:
        """The work for an image in forward passes of the network; one with its gradient is three."""
        path = self.settings["path_steps"] * self.settings["directions"]
        return path + 1.0 + 3 * self.settings["attack_steps"] * self.settings["starts"]

    @property
    def weights_sha256(self) -> str:
        return self.feature_model.weights.sha256

    def describe(self, precision: str) -> dict[str, Any]:
        return {
            "measure": "anomaly",
            "code_version": CODE_VERSION,
            # another release sums in another order, and signs of gradients near zero flip
            "torch": ".".join(torch.__version__.split(".")[:2]),
            "feature_model": self.feature_model.describe(),
            **self.settings,
            "precision": self._precision(precision),
        }

    def _precision(self, of_run: str) -> str:
        """What decides the rows: "float64", "float32", or "auto" for float32 with doubtful paths in float64."""
        if "float64" in (of_run, self.settings["precision"]):
            return "float64"
        return str(self.settings["precision"])

    def prepare(self, image: np.ndarray) -> np.ndarray:
        return self.feature_model.recipe.apply(image)

    @property
    def preparation(self) -> Hashable:
        """What stands for `prepare`: measures with equal ones share the prepared image."""
        return self.feature_model.recipe

    def batch_size(self, device: str) -> int:
        if device.startswith("cuda"):
            return 64
        return attack_group(self.feature_model.recipe.size)

    def batch_unit(self, device: str) -> int:
        """Batches are multiples of it: attacks run in groups of that size, which smaller ones would hardly fill."""
        return attack_group(self.feature_model.recipe.size) if device == "cpu" else 1

    def open(self, device: str, precision: str) -> Meter:
        chosen = self._precision(precision)
        dtype = torch.float64 if chosen == "float64" else torch.float32
        network, layout = self._network(device, dtype)
        exact: list[Network] = []  # the float64 network, loaded when a path first needs it
        settings = self.settings

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

    def _network(self, device: str, dtype: torch.dtype) -> tuple[torch.nn.Module, torch.memory_format]:
        """The network, and the memory layout that its images should have."""
        # a copy: a feature model may hand out one and the same network to other measures, in their own arrangement
        network = copy.deepcopy(self.feature_model.network(device, dtype))
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
