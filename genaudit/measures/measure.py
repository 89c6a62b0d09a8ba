"""The Measure protocol: how an image becomes a row of numbers, and what identifies that way of measuring.

A measure stands before the row store: it needs a network, a device, time. It is cheap to construct from YAML;
`open` loads the network.

B images of a batch, S side in pixels, D numbers a row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from genaudit.backbones.weight_files import sha256_of_tensors
from genaudit.errors import UserError

if TYPE_CHECKING:
    import torch

    # rows (B, D), of a measure with attachments with these by name, (B, ...) each
    Given = torch.Tensor | tuple[torch.Tensor, Mapping[str, torch.Tensor]]
    # (B, 3, S, S) uint8 on the device and the B digests of the images (16 bytes each) => rows
    Meter = Callable[[torch.Tensor, Sequence[bytes]], Given]


START_RADIUS = 1e-6  # half-width of an attack's uniform start


class Measure(Protocol):
    """What the store and the tasks need to know of a measure.

    A measure may also have `batch_unit(device)`, of which batches are multiples; `preparation`, a value that stands for
    its `prepare`: measures with equal ones share the prepared image; and `shared_network`, a value that stands for its
    network: measures with equal ones (None: none) are given their rows by one forward pass, which
    `open_together(measures, device, precision)` of any of them makes.

    What belongs to an image but is no row of numbers, such as a picture or a map, is an attachment. A measure that has
    some declares them, `attachments = {"map": ("float32", (None, None)), "picture": ("uint8", (32, 32, 3))}`: name =>
    NumPy dtype and shape for one image, None where the network decides a length (the same for all images). Its meter
    then returns `(rows, {"map": ..., "picture": ...})`. They are kept beside the rows and read when asked for.
    """

    @property
    def name(self) -> str:
        """The name in reports, e.g. "embedding efficientnet_lite0"."""

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The names of the row's numbers; None where they have none (features)."""

    def describe(self, precision: str) -> dict[str, Any]:
        """Everything that determines the rows at this precision: it becomes the fingerprint."""

    @property
    def weights_sha256(self) -> str:
        """The SHA-256 of the weights; empty where there are none."""

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 => (S, S, 3) uint8, in a worker thread."""

    def open(self, device: str, precision: str) -> Meter:
        """Loads the network and returns the function that measures a batch, from several threads at a time.

        The row of an image must not depend on the others of its batch; randomness comes from its digest.
        """

    def batch_size(self, device: str) -> int:
        """The batch size that suits the network on this kind of device."""


def fingerprint(measure: Measure, precision: str) -> str:
    """The SHA-256 of the measure's description in canonical JSON: rows are kept under it."""
    return _digest(description(measure, precision))


def features_fingerprint(measure: Measure, precision: str) -> str:
    """The fingerprint without the engine that runs the network: rows that are equal but for rounding have one."""
    return _digest({key: value for key, value in description(measure, precision).items() if key != "engine"})


def description(measure: Measure, precision: str) -> dict[str, Any]:
    """What determines the rows, and what is kept beside them."""
    beside = attachments_of(measure)
    return measure.describe(precision) | ({"attachments": beside} if beside else {})


def attachments_of(measure: Any) -> dict[str, tuple[str, tuple[int | None, ...]]]:
    """The attachments that a measure declares, by name: dtype and shape for one image."""
    return dict(getattr(measure, "attachments", None) or {})


def _digest(description: dict[str, Any]) -> str:
    text = json.dumps(description, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def tensors_of(measure: Any, given: Given) -> list[torch.Tensor]:
    """What a meter gave for a batch: the rows, then the attachments in the order of their declaration."""
    declared = attachments_of(measure)
    return _as_declared(measure.name, declared, given) if declared or isinstance(given, tuple) else [given]


def _as_declared(measure: str, declared: Mapping[str, Any], given: Given) -> list[torch.Tensor]:
    """The same where there are attachments.

    Raises:
        UserError: they are not those that the measure declares, of another type or shape, or not one an image.
    """
    rows, found = given if isinstance(given, tuple) else (given, {})
    if set(found) != set(declared):
        listed = [", ".join(names) or "none" for names in (declared, found)]
        raise UserError(f"{measure} declares the attachments {listed[0]} and gave {listed[1]}")
    for name, (dtype, shape) in declared.items():
        tensor, wanted = found[name], (len(rows), *shape)
        fits = len(wanted) == tensor.ndim and all(w in (None, n) for w, n in zip(wanted, tensor.shape, strict=True))
        kind = str(tensor.dtype).removeprefix("torch.")
        if kind != dtype or not fits:
            said = f"{dtype} {tuple(wanted)} and gave {kind} {tuple(tensor.shape)}"
            raise UserError(f"{measure} declares its attachment {name} as {said}")
    return [rows, *(found[name] for name in declared)]


class EngineRefused(UserError):
    """The engine of some measures does not take their network, or gives other rows than PyTorch.

    Attributes:
        measures: whose network it is. reason: one line.
    """

    def __init__(self, measures: Sequence[Any], reason: str) -> None:
        self.measures, self.reason = list(measures), reason
        model = self.measures[0].feature_model.name
        super().__init__(f"feature_model {model}: OpenVINO does not take it ({reason}); engine=torch measures with it")


class OptionalNetwork:
    """A network of a package that may not be installed, or whose weights may not be to be had.

    Subclasses load it once: `_network`, a cached property that raises `UserError` where it cannot.
    """

    _network: Any

    @property
    def lacks(self) -> str | None:
        """Why the network is not here; None where it is."""
        try:
            self._network  # noqa: B018 (loads it once)
        except UserError as error:
            return str(error)
        return None

    @cached_property
    def weights_sha256(self) -> str:
        """Empty where the network is not here."""
        return "" if self.lacks is not None else sha256_of_tensors(self._network.state_dict())


def torch_dtype(precision: str) -> torch.dtype:
    """The torch type of a `precision` key; of tf32, that of what goes in and comes out."""
    import torch

    return torch.float32 if precision == "tf32" else getattr(torch, precision)


def to_unit_range(images: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """(B, 3, S, S) uint8 => the same in [0, 1], channels-last (which convolutions run fastest on)."""
    import torch

    return images.to(dtype=dtype, memory_format=torch.channels_last).div_(255)
