"""Spatial features of an image: a feature map of stride 16 with its positions, (N, 3, S, S) => (N, h·w·c).

c first channels of the map, h, w its sides; see `genaudit.backbones.layers` for which map and how many channels.
"""

from __future__ import annotations

from typing import Any

from genaudit.backbones.feature_model import Output
from genaudit.measures.embedding import NetworkOutput


class SpatialFeatures(NetworkOutput):
    """The first channels of a feature model's map of stride 16: 17 x 17 x 7 in FID's Inception (Nash et al. 2021).

    A feature model without such a map (transformers, raw pixels) raises a `UserError` when it is opened.
    """

    kind = "spatial features"
    output: Output = "spatial"

    def describe(self, precision: str) -> dict[str, Any]:
        return super().describe(precision) | {"order": "positions, channels", "folded": True}
