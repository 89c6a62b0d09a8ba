"""What the audit knows of an image's pixels, as a measure: its rows are kept in the store like any other's.

So a warm run, which decodes no image, knows them too (`genaudit.data.audit.pixels`). No network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit.data.audit.pixels import COLUMNS, VERSION, pixel_facts

if TYPE_CHECKING:
    import torch

    from genaudit.measures.measure import Meter


class PixelFacts:
    """Rows (10,), `genaudit.data.audit.pixels.COLUMNS`."""

    name = "pixel facts"
    columns: tuple[str, ...] = COLUMNS
    weights_sha256 = ""

    def describe(self, precision: str) -> dict[str, Any]:
        return {"measure": "pixel_facts", "version": VERSION, "columns": list(COLUMNS)}

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """Computes here, where many images are prepared at a time; the numbers travel as the bytes of an image."""
        return np.resize(pixel_facts(image).view(np.uint8), (1, 14, 3))  # 40 bytes, and two that are not read

    def batch_size(self, device: str) -> int:
        return 64

    def open(self, device: str, precision: str) -> Meter:
        import torch

        def meter(images: torch.Tensor, digests: Sequence[bytes]) -> torch.Tensor:
            written = images.permute(0, 2, 3, 1).flatten(1)[:, : 4 * len(COLUMNS)].cpu().numpy()
            return torch.from_numpy(np.ascontiguousarray(written).view(np.float32).copy())

        return meter
