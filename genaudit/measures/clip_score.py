"""CLIP's embeddings of an image and of its prompt, whose cosine is the CLIPScore (Hessel et al. 2021).

The network is one of open_clip's, an optional package: it depends on what genaudit has already (torch, timm,
huggingface-hub), holds its tokeniser's vocabulary, and reads OpenAI's weights as well as LAION's, from the hub or from
a file. transformers would bring tokenizers of its own and reads other files of the same weights.
B images of a batch, S side in pixels, E dimensions of the embeddings.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit.backbones.downloads import said_once
from genaudit.data.resize import ResizeRecipe
from genaudit.errors import UserError, reason_of
from genaudit.measures.measure import OptionalNetwork, to_unit_range, torch_dtype

if TYPE_CHECKING:
    import torch

    from genaudit.measures.measure import Meter

PACKAGE = "CLIPScore needs the package open_clip_torch: pip install 'genaudit-images[clip]'"


class ClipScore(OptionalNetwork):
    """Rows (2E + 1,): the image's embedding, the prompt's, both of length 1, and 1 where the prompt was cut.

    Args:
        model: open_clip's name of the network. The default is that of the paper, with OpenAI's weights.
        weights: open_clip's name of its weights, or a file of them.
    """

    columns: tuple[str, ...] | None = None
    view = "prompts"

    def __init__(self, model: str = "ViT-B-32-quickgelu", weights: str = "openai") -> None:
        self.model, self.weights = model, weights
        self._by_digest: dict[bytes, str] = {}

    def with_prompts(self, prompts: Sequence[str], digests: np.ndarray) -> ClipScore:
        """The measure for images of these addresses (N, 16) with these prompts (N,)."""
        measure = copy.copy(self)
        measure._by_digest = {digest.tobytes(): prompt for digest, prompt in zip(digests, prompts, strict=True)}
        return measure

    @property
    def name(self) -> str:
        return f"clip {self.model} {Path(self.weights).name}"

    @cached_property
    def _network(self) -> Any:
        try:
            import open_clip
        except ImportError:
            raise UserError(PACKAGE) from None
        if self.model not in open_clip.list_models():
            raise UserError(f"metric.clip_score.measure.model={self.model}: open_clip has no network of this name")
        try:
            with said_once():
                network = open_clip.create_model(self.model, pretrained=self.weights)
        except Exception as error:  # whatever a download or a file of other tensors raises
            raise UserError(
                f"CLIP's weights {self.weights} for {self.model} cannot be loaded ({reason_of(error)}); "
                "metric.clip_score.measure.weights=FILE names a file of them"
            ) from None
        return network.eval().requires_grad_(False)

    @cached_property
    def _recipe(self) -> ResizeRecipe:
        size = self._network.visual.image_size
        return ResizeRecipe(int(size[0] if isinstance(size, (tuple, list)) else size), "bicubic", "crop", 1.0)

    def describe(self, precision: str) -> dict[str, Any]:
        described = {"measure": "clip_score", "version": 1, "model": self.model, "precision": precision}
        if self.lacks is not None:
            return described
        return described | {"weights_sha256": self.weights_sha256, "resize": self._recipe.describe()}

    @property
    def settings(self) -> dict[str, Any]:
        """For the report."""
        return {"model": self.model, "weights": self.weights, "resize": self._recipe.describe()}

    def prepare(self, image: np.ndarray) -> np.ndarray:
        return self._recipe.apply(image)

    def batch_size(self, device: str) -> int:
        return 128 if device.startswith("cuda") else 8

    def open(self, device: str, precision: str) -> Meter:
        import open_clip
        import torch

        dtype = torch_dtype(precision)
        network = copy.deepcopy(self._network).to(device, dtype)
        tokenise, visual = open_clip.get_tokenizer(self.model), self._network.visual
        length = int(getattr(self._network, "context_length", 77))
        longer = open_clip.get_tokenizer(self.model, context_length=length + 1)
        mean, std = (
            torch.tensor(each, device=device, dtype=dtype).view(1, 3, 1, 1)
            for each in (visual.image_mean, visual.image_std)
        )

        @torch.inference_mode()
        def meter(images: torch.Tensor, digests: Sequence[bytes]) -> torch.Tensor:
            prompts = [self._by_digest[digest] for digest in digests]
            of_images = network.encode_image((to_unit_range(images, dtype) - mean) / std, normalize=True)
            of_texts = network.encode_text(tokenise(prompts).to(images.device), normalize=True)
            cut = (longer(prompts)[:, -1] != 0).to(of_images.device, of_images.dtype)[:, None]
            return torch.cat([of_images, of_texts, cut], dim=1).float()

        return meter
