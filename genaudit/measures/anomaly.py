"""Complexity and vulnerability of an image in a feature space (Hwang, Lee and Lee, CVPR 2024, "Anomaly Score").

Complexity: how much the features bend along a straight path through image space. Vulnerability: how far an
adversarial attack moves them. `f` is the feature model with its normalisation, images are in [0, 1]. The functions
take any f and any generator; the measure `Anomaly` draws per image, from seed and digest.

N images, D features, K path steps, J attack steps.
"""

from __future__ import annotations

from collections.abc import Hashable
from importlib import metadata
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from genaudit.errors import UserError
from genaudit.measures.measure import START_RADIUS
from genaudit.stats.bounds import MOST_REPEATS, Bounds, Positive, Repeats, Seed

if TYPE_CHECKING:
    from genaudit.backbones.feature_model import FeatureModel
    from genaudit.measures.complexity import angle, complexity, random_directions
    from genaudit.measures.measure import Meter
    from genaudit.measures.vulnerability import vulnerability

__all__ = ["START_RADIUS", "Anomaly", "angle", "complexity", "random_directions", "vulnerability"]

# A change of the mathematics bumps this number, so that stored rows are not reused.
CODE_VERSION = 5
PRECISIONS = ("auto", "float32", "float64")


class Anomaly:
    """Complexity and vulnerability of every image, in one pass that shares f(x) between them.

    Rows: complexity, vulnerability, the lag-2 angle (noise check), standard errors of the first two (NaN for one
    direction or one start). Whatever `precision` says for the rest, it runs in float32 without TF32, or float64:
    half precision leaves rounding noise of the angles.

    Args:
        feature_model: f.
        layer: "last" takes f as it is; "auto" what `FeatureModel.for_anomaly_score` names, which is an earlier layer of
            the embedded network and f itself of every other.
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
        seed: Seed = 0,
        precision: str = "auto",
        layer: Literal["auto", "last"] = "last",
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
        if layer not in ("auto", "last"):
            raise UserError(f"anomaly.layer={layer}: auto or last is needed")
        self.feature_model = feature_model.for_anomaly_score() if layer == "auto" else feature_model
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
            "torch": ".".join(metadata.version("torch").split(".")[:2]),
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
        from genaudit.measures.vulnerability import attack_group

        return attack_group(self.feature_model.recipe.size)

    def batch_unit(self, device: str) -> int:
        """Batches are multiples of it: attacks run in groups of that size, which smaller ones would hardly fill."""
        return self.batch_size(device) if device == "cpu" else 1

    def open(self, device: str, precision: str) -> Meter:
        from genaudit.measures.anomaly_meter import open_meter

        return open_meter(self.feature_model, self.settings, device, self._precision(precision))


_ELSEWHERE = {
    **dict.fromkeys(("angle", "complexity", "random_directions"), "complexity"),
    "vulnerability": "vulnerability",
}


def __getattr__(name: str) -> Any:
    """The functions of the two files beside this one, which import torch when they are first asked for."""
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"genaudit.measures.{_ELSEWHERE[name]}"), name)
