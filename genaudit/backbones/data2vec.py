"""data2vec for images (Baevski et al. 2022): a BEiT that was pretrained to predict its own averaged features.

The IRS paper takes the class token of the last layer, normalised, from Hugging Face's `data2vec-vision-large`. The
architecture (width, depth, heads, patch) follows from the file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from genaudit.backbones.checkpoint_layouts import data2vec_tensors
from genaudit.backbones.feature_model import HALF
from genaudit.backbones.local_checkpoint import LocalCheckpoint
from genaudit.errors import UserError
from genaudit.stats.bounds import Side

if TYPE_CHECKING:
    import torch

EPS = 1e-12  # of Hugging Face's configuration; the authors' own code has 1e-6
SPECIAL = 3  # rows of the bias table beside those of patch pairs: class to patch, patch to class, class to class


class Data2Vec(LocalCheckpoint):
    """The class token: (N, 3, S, S) => (N, 1024) for the large network at S = 224.

    Args:
        size, mean, std, interpolation, fit, checkpoint, offline: see `FeatureModel`; the size is the network's.
    """

    def __init__(
        self,
        name: str = "data2vec_l16",
        *,
        size: Side = 224,
        mean: Sequence[float] = HALF,
        std: Sequence[float] = HALF,
        **more: Any,
    ) -> None:
        super().__init__(name, size=size, mean=mean, std=std, **more)

    def build(self) -> torch.nn.Module:
        try:
            tensors = data2vec_tensors(self.weights.state_dict)
            network = _beit(tensors)
            network.load_state_dict(tensors)
        except (ValueError, RuntimeError, KeyError) as error:
            raise self.unfit(error) from None
        side = network.patch_embed.img_size[0]  # type: ignore[union-attr,index]
        if side != self.recipe.size:
            raise UserError(
                f"feature_model {self.name}: the network in {self.weights.source} takes images of {side} pixels; "
                f"feature_model.size={side}"
            )
        return network


def _beit(tensors: dict[str, torch.Tensor]) -> torch.nn.Module:
    """timm's BEiT of the size that the tensors have; the class token leaves after the last normalisation."""
    from timm.models.beit import Beit
    from torch import nn

    weight = tensors["patch_embed.proj.weight"]
    width, patch = weight.shape[0], weight.shape[-1]
    pairs, heads = tensors["rel_pos_bias.relative_position_bias_table"].shape
    grid = (math.isqrt(pairs - SPECIAL) + 1) // 2  # (2g - 1)² pairs of a grid of g x g patches
    depth = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blocks."))
    return Beit(
        img_size=grid * patch,
        patch_size=patch,
        num_classes=0,
        global_pool="token",
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        mlp_ratio=tensors["blocks.0.mlp.fc1.weight"].shape[0] / width,
        norm_layer=partial(nn.LayerNorm, eps=EPS),  # type: ignore[arg-type]
        init_values=0.1,
        use_abs_pos_emb=False,
        use_shared_rel_pos_bias=True,
    ).eval()
