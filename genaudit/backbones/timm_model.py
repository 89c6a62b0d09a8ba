"""Any timm model by name as a feature model: pooled features in front of the classifier, or CLIP's projection of them.

Weights come from `checkpoint=FILE`, or from the caches that timm fills (Hugging Face hub, torch hub), or, unless
`offline`, from the hub.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from genaudit.backbones.downloads import said_once
from genaudit.backbones.feature_model import FeatureModel, Weights
from genaudit.backbones.timm_facts import facts_of
from genaudit.backbones.weight_files import hub_checkpoints
from genaudit.data.resize import Fit
from genaudit.errors import UserError, reason_of
from genaudit.stats.bounds import Seed, Share, Side
from genaudit.stats.process_state import seeded

if TYPE_CHECKING:
    import torch


class TimmModel(FeatureModel):
    """A timm model; size, normalisation and interpolation are those of its pretrained configuration unless given.

    Args:
        name: timm's name, with or without a weight tag ("resnet50", "vit_small_patch16_224.dino").
        pretrained: False gives random weights from `weight_seed`; the report then warns.
        kwargs: further arguments of `timm.create_model`, such as `img_size`.
        projection: for a CLIP model: its embedding, (N, 512) for ViT-B/32, in place of the (N, 768) before the
            projection. timm keeps the projection where a classifier would stand.
        position_embedding: how position embeddings of another image size are resampled: "timm" (bicubic, antialiased,
            on the given grid), as DINOv2's models with registers do, or "dinov2", as those without do.
        pooling: "head" as the network's head pools, with the norm that stands there, or "map": the average of its last
            feature map, without that norm.
        other_activation: take GELU for weights that were trained with QuickGELU, as those do who load them by a name
            that means GELU. Without it such a name is refused.
        size, mean, std, interpolation, fit, crop_pct, preprocessing, checkpoint, offline, as_validated: see
            `FeatureModel`.

    Raises:
        UserError: timm knows no such model, or the weights were trained with another activation.
    """

    def __init__(
        self,
        name: str,
        *,
        size: Side | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        interpolation: str | None = None,
        fit: Fit = "squash",
        crop_pct: Share = 1.0,
        preprocessing: str = "genaudit",
        pretrained: bool = True,
        weight_seed: Seed = 0,
        kwargs: Mapping[str, Any] | None = None,
        projection: bool = False,
        position_embedding: Literal["timm", "dinov2"] = "timm",
        pooling: Literal["head", "map"] = "head",
        other_activation: bool = False,
        checkpoint: str | None = None,
        offline: bool = False,
        as_validated: bool = False,
    ) -> None:
        self.facts = facts_of(name)
        self.pretrained = bool(pretrained)
        self.weight_seed = int(weight_seed)
        self.kwargs = dict(kwargs or {})
        self.projection, self.position_embedding = bool(projection), str(position_embedding)
        self.pooling = str(pooling)
        if self.pretrained and not other_activation:
            _refuse_other_activation(name)
        if self.projection and not (_is_clip(name) and self.pretrained):
            raise UserError(f"feature_model.projection=true is for CLIP models with their weights, not for {name}")
        if self.position_embedding not in ("timm", "dinov2"):
            raise UserError(f"feature_model.position_embedding must be timm or dinov2, got {position_embedding}")
        if self.pooling not in ("head", "map") or (self.pooling == "map" and self.projection):
            raise UserError(f"feature_model.pooling must be head, or map without a projection, got {pooling}")
        super().__init__(
            name,
            size=size or self.facts.input_size[-1],
            mean=mean or self.facts.mean,
            std=std or self.facts.std,
            interpolation=interpolation or self.facts.interpolation,
            fit=fit,
            crop_pct=crop_pct,
            preprocessing=preprocessing,
            checkpoint=checkpoint,
            offline=offline,
            as_validated=as_validated,
        )

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "pretrained": self.pretrained}

    def options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"architecture": self.facts.architecture, "kwargs": self.kwargs}
        if self.projection:
            options["projection"] = True
        if self.position_embedding != "timm":
            options["position_embedding"] = self.position_embedding
        if self.pooling != "head":
            options["pooling"] = self.pooling
        return options

    def build(self) -> torch.nn.Module:
        network = self._build()
        if self.pooling == "head":
            return network
        from genaudit.backbones.layers import MapAverage

        return MapAverage(network)

    def _build(self) -> torch.nn.Module:
        if not self.weights.trained:
            return copy.deepcopy(self._untrained)  # the caller folds and casts what it gets
        model, classes = self._with_classifier()
        if self.projection:
            if not classes:
                raise UserError(
                    f"feature_model {self.name}: {self.weights.source} holds no projection; "
                    "feature_model.projection=false takes the features before it"
                )
            return model
        if classes:
            model.reset_classifier(0)  # type: ignore[operator]
        return model

    @property
    def has_classifier(self) -> bool:  # type: ignore[override]
        return self.pretrained and not _is_clip(self.name) and bool(self.facts.num_classes)

    @cached_property
    def has_map(self) -> bool:  # type: ignore[override]
        import timm
        import torch

        from genaudit.backbones.layers import strides_of

        with torch.device("meta"):  # neither memory nor time
            network = timm.create_model(self.name, pretrained=False, num_classes=0, **self.kwargs)
        return strides_of(network).count(16) == 1

    def build_classifier(self) -> torch.nn.Module:
        if not self.weights.trained:
            return super().build_classifier()
        if _is_clip(self.name):
            return super().build_classifier()  # what stands there is a projection, not a classifier
        model, classes = self._with_classifier()
        return model if classes else super().build_classifier()

    def build_spatial(self) -> torch.nn.Module:
        from genaudit.backbones.layers import stage_of_stride_16

        return stage_of_stride_16(self._build(), self.name)

    def _with_classifier(self) -> tuple[torch.nn.Module, int]:
        """The network with the classifier that its weights have, and how many classes that has (0: none)."""
        import timm

        state_dict = self.weights.state_dict
        # With the classifier that the file has, timm loads strictly: a file of another network is an error and not a
        # network with random weights. The classifier is taken off afterwards.
        head = self.facts.classifier
        head = head[0] if isinstance(head, tuple) else head
        classes = len(state_dict[f"{head}.weight"]) if f"{head}.weight" in state_dict else 0
        if "visual.proj" in state_dict:  # OpenAI's and OpenCLIP's names, which timm translates: (width, embedding)
            classes = state_dict["visual.proj"].shape[1]
        if self.position_embedding == "dinov2":
            state_dict = resampled_as_dinov2(state_dict, self.recipe.size)
        # timm adapts old layouts (position embeddings, separate q, k, v) while it loads; load_state_dict would not
        overlay = {"state_dict": state_dict, "custom_load": False, "num_classes": classes}
        try:
            model: torch.nn.Module = timm.create_model(
                self.name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=classes, **self.kwargs
            )
        except (RuntimeError, KeyError) as error:
            raise UserError(
                f"feature_model {self.name}: the weights in {self.weights.source} do not fit the network "
                f"({reason_of(error)})"
            ) from None
        return model, classes

    @cached_property
    def _untrained(self) -> torch.nn.Module:
        import timm

        with seeded(self.weight_seed):
            model: torch.nn.Module = timm.create_model(self.name, pretrained=False, num_classes=0, **self.kwargs)
        return model

    def load_weights(self) -> Weights:
        if not self.pretrained:
            return self.random_weights(self._untrained, self.weight_seed)
        path = self.find_weights() or self._download()
        return self.weights_of_file(path)

    def find_weights(self) -> str | None:
        if not self.pretrained:
            return f"random, weight_seed={self.weight_seed}"
        if self.checkpoint:
            return str(Path(self.checkpoint).expanduser())
        return next((str(path) for path in self._cached() if path is not None), None)

    def _cached(self) -> list[Path | None]:
        from huggingface_hub import try_to_load_from_cache

        paths: list[Path | None] = []
        for filename in self._hub_filenames():
            cached = try_to_load_from_cache(str(self.facts.hf_hub_id), filename)
            paths.append(Path(cached) if isinstance(cached, str) else None)
        if url := self.facts.url:
            path = hub_checkpoints() / url.rsplit("/", 1)[-1]
            # timm reads .npz weights by code of its own; the same weights lie on the hub as tensors
            paths.append(path if path.is_file() and path.suffix != ".npz" else None)
        return paths

    def _hub_filenames(self) -> list[str]:
        if not self.facts.hf_hub_id:
            return []
        if self.facts.hf_hub_filename:
            return [self.facts.hf_hub_filename]
        return ["model.safetensors", "pytorch_model.bin"]

    def _download(self) -> str:
        from huggingface_hub import constants, hf_hub_download

        hub_id = self.facts.hf_hub_id
        reason = "offline=true"
        if not self.offline and hub_id:
            with said_once():
                for filename in self._hub_filenames():
                    try:
                        return str(hf_hub_download(hub_id, filename, etag_timeout=5))
                    except Exception as error:  # no network, no such file, gated: all mean "not to be had this way"
                        reason = f"the download failed: {reason_of(error)}"
        looked = [f"{constants.HF_HUB_CACHE} (repository {hub_id})"] if hub_id else []
        looked.append(str(hub_checkpoints()))
        raise UserError(
            f"feature_model {self.name}: its weights are not on this machine ({reason}). Looked in "
            f"{' and '.join(looked)}. Give feature_model.checkpoint=FILE (safetensors or a torch state dict), run once "
            "with a network connection, or use feature_model=efficientnet_lite0, whose weights come with genaudit."
        )


def resampled_as_dinov2(state_dict: Mapping[str, torch.Tensor], size: int) -> dict[str, torch.Tensor]:
    """Weights of a DINOv2 model without registers with position embeddings for images of another size.

    The authors' `interpolate_pos_encoding` of these models resamples bicubically without antialiasing, on a grid that
    is spaced by M/(m + 0.1) in place of M/m (their `interpolate_offset`), for m of M patches a side. That is how these
    models were evaluated at 224 pixels; timm antialiases and leaves the 0.1 out.

    Args:
        state_dict: with `pos_embed` (1, 1 + M·M, D) and `patch_embed.proj.weight` (D, 3, P, P). size: of the images.
    """
    import torch

    tensors = dict(state_dict)
    if "pos_embed" not in tensors or "patch_embed.proj.weight" not in tensors:
        return tensors  # timm says what is wrong with the file
    positions = tensors["pos_embed"]
    side, new = math.isqrt(positions.shape[1] - 1), size // tensors["patch_embed.proj.weight"].shape[-1]
    if side == new:
        return tensors
    grid = positions[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2).float()
    scale = (new + 0.1) / side
    grid = torch.nn.functional.interpolate(grid, scale_factor=(scale, scale), mode="bicubic", antialias=False)
    patches = grid.permute(0, 2, 3, 1).flatten(1, 2).to(positions.dtype)
    tensors["pos_embed"] = torch.cat((positions[:, :1], patches), dim=1)
    return tensors


def _is_clip(name: str) -> bool:
    """Whether timm's head of this model is CLIP's projection: a CLIP image tower that was not fine-tuned to classes."""
    return "clip" in name and "_ft_" not in name and facts_of(name).num_classes not in (0, 1000, 11821)


def _refuse_other_activation(name: str) -> None:
    """Refuses weights that were trained with QuickGELU for a network that has GELU."""
    if right := facts_of(name).quickgelu:
        raise UserError(
            f"feature_model.name={name}: these weights were trained with QuickGELU, and this network has GELU; "
            f"feature_model.name={right} is right"
        )
