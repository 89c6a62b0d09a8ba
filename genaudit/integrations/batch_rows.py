"""Rows of images that come as batches of tensors, as `genaudit evaluate` would measure them; nothing is stored.

Attachments are left out: the metrics' values do not need them.

B images of a batch, C channels (1 or 3), H rows, W columns, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit.data.arrays import Layout, canonical, picture_layout, rounding_of
from genaudit.data.bad_image import BadImage
from genaudit.data.digest import array_digest
from genaudit.errors import UserError
from genaudit.stats.arrays import to_numpy

if TYPE_CHECKING:
    import torch

    from genaudit.measures.measure import Given, Measure, Meter
    from genaudit.tasks.run.judging import MetricSpec
    from genaudit.tasks.run.settings import Settings


class BatchRows:
    """Metrics of the configuration, and their measures on batches.

    Attributes:
        specs: metric => its function. measures: by name, as in a report. settings: the measuring keys.
    """

    def __init__(self, specs: Mapping[str, MetricSpec], measures: Mapping[str, Measure], settings: Settings) -> None:
        self.specs, self.measures, self.settings = specs, measures, settings
        self._meters: dict[tuple[str, str], Meter] = {}

    @classmethod
    def make(cls, metrics: Sequence[str], feature_model: Any, overrides: Sequence[str]) -> BatchRows:
        """The metrics by name.

        Args:
            feature_model: a name, a FeatureModel, or an `nn.Module` (B, 3, H, W) uint8 => (B, D).
            overrides: further keys in the command line's grammar.

        Raises:
            UserError: an unknown name or key. TypeError: no feature model.
        """
        from genaudit.tasks.run.guest import guest

        by_name = isinstance(feature_model, str)
        keys = [f"metric=[{','.join(metrics)}]", "device=cpu", *([f"feature_model={feature_model}"] if by_name else [])]
        with guest():
            from genaudit.tasks.run.from_python import compose
            from genaudit.tasks.run.instantiate import Instances
            from genaudit.tasks.run.settings import Settings
            from genaudit.tasks.run.specs import metrics_of

            cfg = compose("evaluate", [*keys, *overrides])
            instances = Instances()
            if not by_name:
                instances.put(cfg.feature_model, _as_feature_model(feature_model))
            settings = Settings.of(cfg)
            specs, measures = metrics_of(cfg, instances, settings)
            made = next((name for name, spec in specs.items() if spec.of), None)
            if made is not None:
                raise UserError(f"{made} is made of real floors, which batches do not give; genaudit evaluate has it")
            return cls(specs, measures, settings)

    def roles(self, measure: str) -> set[str]:
        """The roles whose rows of a measure some metric takes."""
        from genaudit.tasks.run.specs import roles_of

        return roles_of(measure, self.specs, {})

    def rows(self, name: str, pixels: Sequence[np.ndarray], device: torch.device) -> torch.Tensor:
        """Rows (B, D) float32 of B images (H, W, 3) uint8, on the device.

        Batches are those of the row store, padded to its size: the last bits never depend on how the images come.
        """
        import torch

        from genaudit.measures.measure import tensors_of
        from genaudit.stats.process_state import exact_float32, neutral
        from genaudit.store.measuring import padded, repeated, running, to_device

        measure, place = self.measures[name], str(device)
        size = measure.batch_size(place)
        waiting: list[tuple[int, Callable[[], Given]]] = []
        with neutral(), exact_float32(place), running(place) as run:
            if (name, place) not in self._meters:
                self._meters[name, place] = measure.open(place, self.settings.engine.precision)
            for start in range(0, len(pixels), size):
                part = pixels[start : start + size]
                prepared = np.stack([measure.prepare(image) for image in part]).transpose(0, 3, 1, 2)
                digests = np.stack([np.frombuffer(array_digest(image), np.uint8) for image in part])
                batch = to_device(padded(prepared, size), place)
                waiting.append((len(part), run.start(self._meters[name, place], batch, repeated(digests, size))))
            # a clone: what inference mode made cannot be part of a state that is saved or added to
            return torch.cat([tensors_of(measure, given())[0][:count] for count, given in waiting]).clone().to(device)


class ModuleFeatures:
    """A network of the user's as a measure: (B, 3, H, W) uint8, as the images come, => (B, D)."""

    columns = None
    weights_sha256 = ""

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module
        self.name = f"embedding {type(module).__name__}"

    def describe(self, precision: str) -> dict[str, Any]:
        return {"module": id(self.module), "precision": precision}

    def prepare(self, image: np.ndarray) -> np.ndarray:
        return image

    def batch_size(self, device: str) -> int:
        return 128 if device.startswith("cuda") else 4

    def open(self, device: str, precision: str) -> Meter:
        import torch

        from genaudit.backbones.module_model import checked_features

        network = self.module.to(device).eval()

        @torch.no_grad()
        def meter(images: torch.Tensor, digests: Sequence[bytes]) -> torch.Tensor:
            features = checked_features(network(images.contiguous()), len(images), type(self.module).__name__)
            return features.flatten(1).float()

        return meter


def pixels_of(images: Any) -> list[np.ndarray]:
    """A batch (B, C, H, W), uint8 or floating point in [0, 1], as images (H, W, 3) uint8.

    One picture (3, H, W) or (H, W, C) is a batch of one.

    Raises:
        ValueError: another shape, type or range.
    """
    shape = tuple(getattr(images, "shape", ()))
    layout: Layout = "CHW"
    if len(shape) == 3:
        try:
            found = picture_layout(shape, "CHW", f"images have shape {shape}")
        except UserError as error:
            raise ValueError(str(error)) from None
        if found is not None:
            images, layout = images[None], found
    if getattr(images, "ndim", 0) != 4:
        raise ValueError(f"images must be (B, C, H, W), not of shape {shape}")
    pixels = []
    rounding = rounding_of(images)
    for index, image in enumerate(to_numpy(images)):
        try:
            pixels.append(canonical(image, layout, rounding)[0])
        except BadImage as error:
            raise ValueError(f"image {index} of the batch {error}") from error
    return pixels


def _as_feature_model(given: Any) -> Any:
    import torch

    from genaudit.backbones.feature_model import FeatureModel

    if isinstance(given, FeatureModel):
        return given
    if isinstance(given, torch.nn.Module):
        return ModuleFeatures(given)
    raise TypeError(f"feature_model must be a name, a FeatureModel or an nn.Module, not a {type(given).__name__}")
