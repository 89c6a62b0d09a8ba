"""genaudit's metrics as `torchmetrics.Metric`s: fed batch by batch, synchronised across ranks. Needs torchmetrics.

    from genaudit.integrations.torchmetrics import PRDC, FrechetDistance

    fd = FrechetDistance(feature_model="dinov2_s14").to("cuda")
    fd.update(real_images, real=True)         # (B, C, H, W) uint8, or floating point in [0, 1]
    fd.update(generated_images, real=False)
    fd.compute()

An image's role is `real=True` (reference), `real=False` (generated) or, where a metric compares with the images that
the model learned from, `role="train"`. Values are those of `genaudit.evaluate` on the same images, feature model and
seed, in the order of the ranks. `Audit(["fd", "kd", "prdc"])` judges several metrics of one pass of the network.

B images of a batch, C channels (1 or 3), H rows, W columns, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from genaudit.integrations.batch_rows import BatchRows, pixels_of
from genaudit.metrics.result import ROLES

try:
    from torchmetrics import Metric
except ImportError as missing:
    raise ImportError(
        "genaudit.integrations.torchmetrics needs torchmetrics: `pip install torchmetrics`; genaudit.evaluate works "
        "without it"
    ) from missing

if TYPE_CHECKING:
    from genaudit.backbones.feature_model import FeatureModel


class Audit(Metric):
    """Any of genaudit's metrics by their names, on one pass of each network that they need.

    The rows of every image are kept (4·D bytes each) and judged by `compute`.

    Args:
        metrics: names as `genaudit list metrics` shows them.
        feature_model: a name as `genaudit list feature_models` shows them, a `genaudit` FeatureModel, or any
            `nn.Module` that maps (B, 3, H, W) uint8 to (B, D), as torchmetrics takes them.
        overrides: further keys in the command line's grammar: `["metric.irs.fn.alpha=0.01", "seed=1"]`.
        reset_real_features: False keeps the images of all roles but the generated ones at `reset`, so that the
            reference is measured once for many checkpoints.
        kwargs: torchmetrics' own (`dist_sync_on_step`, `process_group`, `compute_on_cpu`, ...).

    After `compute`, `results` holds each metric's whole result by its name: a frozen dataclass with intervals, cautions
    and details.

    Raises:
        genaudit.UserError: an unknown name or key, or a network that the metric cannot use.
    """

    is_differentiable = False
    full_state_update = False
    higher_is_better: bool | None = None
    value: ClassVar[str | None] = None  # the one value that compute() returns bare; None: a dictionary of all

    def __init__(
        self,
        metrics: Sequence[str],
        *,
        feature_model: str | FeatureModel | torch.nn.Module = "efficientnet_lite0",
        overrides: Sequence[str] = (),
        reset_real_features: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.metrics = tuple(metrics)
        self.reset_real_features = reset_real_features
        self.results: dict[str, Any] = {}
        # in a list: a network that is an attribute would become part of this module's parameters and state
        self._feature_model = [feature_model]
        self._overrides = (overrides,) if isinstance(overrides, str) else tuple(overrides)
        self._plan: BatchRows | None = None
        self._add_states()

    def _add_states(self) -> None:
        for index, name in enumerate(self.plan.measures):
            for role in sorted(self.plan.roles(name)):
                self.add_state(_state(index, role), default=[], dist_reduce_fx="cat")

    @property
    def plan(self) -> BatchRows:
        """The metrics' functions and measures; made again after unpickling."""
        if self._plan is None:
            self._plan = BatchRows.make(self.metrics, self._feature_model[0], self._overrides)
        return self._plan

    def update(self, images: Any, real: bool | None = None, *, role: str | None = None) -> None:
        """Measures a batch. Roles that no metric takes are passed over, so that a collection can be fed all of them.

        Args:
            images: (B, C, H, W) uint8, or floating point in [0, 1].
            real: True for reference images, False for generated ones; None where `role` says it.
            role: "generated", "reference", "train" or "anomalies".

        Raises:
            ValueError: neither or both of `real` and `role`, or images of another shape, type or range.
        """
        role = _role(real, role)
        wanted = [(i, name) for i, name in enumerate(self.plan.measures) if role in self.plan.roles(name)]
        if not wanted:
            return
        pixels = pixels_of(images)
        if not pixels:  # a batch of which a filter left nothing
            return
        for index, name in wanted:
            self._take(index, role, self.plan.rows(name, pixels, self.device))

    def _take(self, index: int, role: str, rows: torch.Tensor) -> None:
        getattr(self, _state(index, role)).append(rows)

    def compute(self) -> Any:
        """The metrics' values by name, tensors of float64; a tensor where the class has only one.

        Raises:
            ValueError: images of a role are missing or too few; says what.
        """
        from genaudit.tasks.run.judging import judge, why_not
        from genaudit.tasks.run.measuring import Measurements

        measurements = Measurements({})
        for index, name in enumerate(self.plan.measures):
            for role in sorted(self.plan.roles(name)):
                rows = self._gathered(_state(index, role))
                if rows is not None:
                    measurements.rows.setdefault(name, {})[role] = rows
        played: Any = {role: None for by_role in measurements.rows.values() for role in by_role}
        values: dict[str, torch.Tensor] = {}
        self.results = {}
        for name, spec in self.plan.specs.items():
            entry = why_not(spec, played) or judge(spec, measurements, self.plan.settings)
            if isinstance(entry, str):
                raise ValueError(f"{name}: {entry}; `update(images, real=True)`, `real=False` or `role=` gives images")
            self.results[name] = entry.result
            values |= {each: self._number(v.value) for each, v in entry.values.items() if v.value is not None}
        return values if self.value is None else values[self.value]

    def _gathered(self, state: str) -> np.ndarray | None:
        """All rows of a state: a list of batches, or one tensor where ranks were synchronised."""
        held = getattr(self, state)
        parts = held if isinstance(held, list) else [held]
        parts = [part for part in parts if part.ndim == 2 and len(part)]
        return torch.cat(parts).cpu().numpy() if parts else None

    def _number(self, value: float) -> torch.Tensor:
        kind = torch.float32 if self.device.type == "mps" else torch.float64  # MPS has no float64
        return torch.tensor(value, dtype=kind, device=self.device)

    def _sync_dist(self, *args: Any, **kwargs: Any) -> None:
        # torchmetrics' placeholder of a rank without images, a vector, cannot be gathered beside matrices
        for index, name in enumerate(self.plan.measures):
            states = [state for state in self._defaults if state.startswith(f"rows{index}_")]
            held = [part for state in states for part in getattr(self, state) if len(part)]
            if not all(getattr(self, state) for state in states):
                probe = held[0] if held else self.plan.rows(name, [np.zeros((32, 32, 3), np.uint8)], self.device)
                for state in states:
                    if not getattr(self, state):
                        setattr(self, state, [probe[:0]])
        super()._sync_dist(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> None:
        """`update`: a batch has no value of its own, since it holds images of one role."""
        self.update(*args, **kwargs)

    def reset(self) -> None:
        """Forgets the images; with `reset_real_features=False` only the generated ones."""
        kept = {} if self.reset_real_features else self._kept()
        super().reset()
        for name, state in kept.items():
            setattr(self, name, state)

    def _kept(self) -> dict[str, Any]:
        """The states of real images; lists as copies, since torchmetrics empties them in place."""
        held = {name: getattr(self, name) for name in self._defaults if not name.endswith("generated")}
        return {name: list(state) if isinstance(state, list) else state for name, state in held.items()}

    def __getstate__(self) -> dict[str, Any]:
        # networks are read again where they are needed: a pickled metric is its states and names
        return {**super().__getstate__(), "_plan": None}


def _state(index: int, role: str) -> str:
    return f"rows{index}_{role}"


def _role(real: bool | None, role: str | None) -> str:
    if (real is None) == (role is None):
        raise ValueError('update needs either real=True, real=False or role="train" (generated, reference, anomalies)')
    if role is None:
        return "reference" if real else "generated"
    if role not in ROLES:
        raise ValueError(f"role must be one of {', '.join(ROLES)}, not {role!r}")
    return role


class FrechetDistance(Audit):
    """Fréchet distance from running sums of the features: no row is kept, whatever the number of images.

    Sums are float64 about the origin, which loses (mean/sd)² of its 16 digits. There is no interval.
    """

    higher_is_better = False
    value = "fd"

    def __init__(self, feature_model: Any = "efficientnet_lite0", **kwargs: Any) -> None:
        super().__init__(("fd",), feature_model=feature_model, **kwargs)

    def _add_states(self) -> None:
        (name,) = self.plan.measures
        columns = self.plan.rows(name, [np.zeros((32, 32, 3), np.uint8)], self.device).shape[1]
        for role in ("generated", "reference"):
            self.add_state(f"n_{role}", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
            self.add_state(f"sum_{role}", torch.zeros(columns, dtype=torch.float64), dist_reduce_fx="sum")
            self.add_state(f"squares_{role}", torch.zeros(columns, columns, dtype=torch.float64), dist_reduce_fx="sum")

    def _take(self, index: int, role: str, rows: torch.Tensor) -> None:
        rows = rows.double()
        for name, more in (("n", len(rows)), ("sum", rows.sum(0)), ("squares", rows.T @ rows)):
            setattr(self, f"{name}_{role}", getattr(self, f"{name}_{role}") + more)

    def compute(self) -> torch.Tensor:
        from genaudit.metrics.frechet import frechet_distance_from_moments

        fitted: list[np.ndarray] = []
        for role in ("generated", "reference"):
            n = float(getattr(self, f"n_{role}"))
            if n < 1:
                raise ValueError(f"fd: no {role} images yet: update(images, real={role == 'reference'}) gives them")
            mean = getattr(self, f"sum_{role}") / n
            centred = getattr(self, f"squares_{role}") - n * torch.outer(mean, mean)
            fitted += [mean.cpu().numpy(), (centred / max(n - 1, 1)).cpu().numpy()]
        return self._number(frechet_distance_from_moments(*fitted))


class _One(Audit):
    """One metric as a class."""

    metric: ClassVar[str]

    def __init__(self, feature_model: Any = "efficientnet_lite0", **kwargs: Any) -> None:
        super().__init__((self.metric,), feature_model=feature_model, **kwargs)


class KernelDistance(_One):
    """Kernel distance (unbiased squared MMD, cubic kernel) over all pairs."""

    metric, value, higher_is_better = "kd", "kd", False


class PRDC(_One):
    """Precision, recall, density, coverage: a dictionary."""

    metric, higher_is_better = "prdc", True


class VendiScore(_One):
    """Vendi score of the generated images; real images are judged beside them (`results["vendi"].vendi_reference`)."""

    metric, value, higher_is_better = "vendi", "vendi", True


class AuthPct(_One):
    """Percent of authentic generated images: `update(images, role="train")` gives the training images."""

    metric, value, higher_is_better = "authpct", "authpct", True


class ImageRetrievalScore(_One):
    """IRS: a dictionary with irs_alpha, irs_inf and irs_chao1; with real images, irs_relative and the adjusted ones.

    `update(images, role="train")` gives the training images; without any, half of the real ones stand in for them.
    """

    metric, higher_is_better = "irs", True


class AnomalyScore(_One):
    """Anomaly score: the two-dimensional Kolmogorov-Smirnov statistic of complexity and vulnerability."""

    metric, value, higher_is_better = "as", "as", False


class AnomalyScoreOfImages(_One):
    """AS-i: a dictionary with its mean and median; `results["as_i"]` holds every image's."""

    metric, higher_is_better = "as_i", False


__all__ = [
    "PRDC",
    "AnomalyScore",
    "AnomalyScoreOfImages",
    "Audit",
    "AuthPct",
    "FrechetDistance",
    "ImageRetrievalScore",
    "KernelDistance",
    "VendiScore",
]
