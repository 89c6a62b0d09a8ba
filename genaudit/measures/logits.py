"""Class logits of an image by the classifier on top of a feature model, (N, 3, S, S) => (N, C); C classes."""

from __future__ import annotations

from genaudit.backbones.feature_model import Output
from genaudit.measures.embedding import NetworkOutput


class Logits(NetworkOutput):
    """Logits of a feature model's own classifier: ImageNet's 1,000 classes of EfficientNet-Lite0, for example.

    Probabilities are their softmax. A feature model without a trained classifier (DINOv2, CLIP, random weights)
    raises a `UserError` when it is opened.
    """

    kind = "logits"
    output: Output = "logits"
