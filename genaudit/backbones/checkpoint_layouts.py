"""The layouts in which published weight files name the tensors of a network, turned into the network's own names.

Pure: tensors by name in, tensors by name out. ValueError says what does not fit, for people.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

Tensors = Mapping[str, "torch.Tensor"]

COUNTER = "num_batches_tracked"  # BatchNorm's, absent from converted files and never read in evaluation mode
STEM = ("conv1.weight", "bn1.weight", "layer1.0.conv1.weight")
# `nn.Sequential(*list(resnet.children())[:-1])` numbers the children of torchvision's ResNet
NUMBERED = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
NUMBERED_STEM = ("0.weight", "1.weight", "4.0.conv1.weight")
RESNET = re.compile(r"(conv1|bn1|layer\d+)\.")
AVERAGED = re.compile(r"target|momentum|teacher|ema|key_encoder", re.IGNORECASE)


def resnet_tensors(tensors: Tensors, wanted: Tensors, *, prefix: str | None = None) -> dict[str, torch.Tensor]:
    """The tensors of a ResNet in torchvision's names, from a file that holds it with others.

    Layouts that this knows: the bare network (torchvision, BYOL converted from JAX, what byol-pytorch's README saves);
    under a prefix (`module.` of SwAV, `backbone.` of solo-learn and MMSelfSup, `online_encoder.net.` of byol-pytorch's
    learner, `model.` of re-identification networks); with numbered children (`encoder.0.weight`, PyTorch-BYOL). Of an
    online network and its moving average the online one is taken, as BYOL's authors do. Heads, which stand beside the
    network, are dropped.

    Args:
        tensors: of the file. wanted: of the network, for its names and shapes. prefix: where the file holds several.

    Raises:
        ValueError: no ResNet, several that differ, or another ResNet.
    """
    found = {place: _under(tensors, place) for place in _prefixes(tensors)}
    if prefix is not None:
        if prefix not in found:
            raise ValueError(f"no ResNet under the prefix {prefix!r}; {_listed(found)}")
        chosen = found[prefix]
    else:
        online = {place: each for place, each in found.items() if not AVERAGED.search(place)} or found
        if not online:
            raise ValueError("no ResNet of torchvision's names in it")
        chosen = next(iter(online.values()))
        if any(not _equal(chosen, each) for each in online.values()):
            raise ValueError(f"several networks, of which prefix= chooses one; {_listed(online)}")
    _check(chosen, wanted)
    return {name: chosen.get(name, tensor) for name, tensor in wanted.items()}


def _prefixes(tensors: Tensors) -> list[str]:
    """What stands before the names of each ResNet in a file, shortest first."""
    first = (name.removesuffix(stem[0]) for stem in (STEM, NUMBERED_STEM) for name in tensors if name.endswith(stem[0]))
    places = dict.fromkeys(first)
    whole = (
        place for place in places if any(all(place + name in tensors for name in s) for s in (STEM, NUMBERED_STEM))
    )
    return sorted(whole, key=lambda place: (len(place), place))


def _under(tensors: Tensors, place: str) -> dict[str, torch.Tensor]:
    """The ResNet at a prefix, in torchvision's names, without heads."""
    inner = {name[len(place) :]: tensor for name, tensor in tensors.items() if name.startswith(place)}
    if STEM[0] not in inner:
        parts = ((name.partition("."), tensor) for name, tensor in inner.items())
        inner = {f"{NUMBERED[head]}.{tail}": tensor for (head, _, tail), tensor in parts if head in NUMBERED}
    return {name: tensor for name, tensor in inner.items() if RESNET.match(name)}


def _equal(one: Tensors, other: Tensors) -> bool:
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


def _listed(found: Mapping[str, object]) -> str:
    return "prefixes there: " + (", ".join(map(repr, found)) or "none")


def _check(tensors: Tensors, wanted: Tensors) -> None:
    """That names and shapes are those of the network, but for BatchNorm's counters and a classifier."""
    missing = [name for name in wanted if name not in tensors and COUNTER not in name]
    if missing:
        raise ValueError(f"{missing[0]} is missing, one of {len(missing)}")
    extra = [name for name in tensors if name not in wanted]
    if extra:
        raise ValueError(f"{extra[0]} has no place in it, one of {len(extra)}")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape and COUNTER not in name:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, the network's {tuple(wanted[name].shape)}")


LAYER = re.compile(r"encoder\.layer\.(\d+)\.(.+)")
# Hugging Face's names of a layer's tensors => BEiT's, which data2vec's authors use
BEIT = {
    "lambda_1": "gamma_1",
    "lambda_2": "gamma_2",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.output.dense": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}
EMBEDDINGS = {
    "embeddings.cls_token": "cls_token",
    "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "encoder.relative_position_bias.relative_position_bias_table": "rel_pos_bias.relative_position_bias_table",
    "layernorm.weight": "norm.weight",
    "layernorm.bias": "norm.bias",
}
BEIT_NETWORK = ("cls_token", "patch_embed.", "blocks.", "rel_pos_bias.", "norm.")


def data2vec_tensors(tensors: Tensors) -> dict[str, torch.Tensor]:
    """The tensors of a pretrained data2vec image network in BEiT's names (timm's), from either published layout.

    The authors' files (`pretrained_large.pt`) have BEiT's names, with the mask token and the regression head that
    training needed; Hugging Face's (`facebook/data2vec-vision-large`) their own, with separate queries, keys, values.

    Raises:
        ValueError: neither, or a network that was fine-tuned to classes, which pools and normalises otherwise.
    """
    import torch

    plain = {name.removeprefix("data2vec_vision."): tensor for name, tensor in tensors.items()}
    if any((".relative_position_bias_table" in name and "layer." in name) or "attn.relative" in name for name in plain):
        raise ValueError("fine-tuned to classes, with position biases of each layer; the pretrained file is needed")
    found: dict[str, torch.Tensor] = {}
    for name, tensor in plain.items():
        if name.endswith("relative_position_index"):  # follows from the size of the images
            continue
        if name in EMBEDDINGS:
            found[EMBEDDINGS[name]] = tensor
        elif match := LAYER.fullmatch(name):
            _layer(found, f"blocks.{match[1]}.", match[2], tensor)
        elif name.startswith(BEIT_NETWORK):
            found[name] = tensor
    for name in [name for name in found if name.endswith("attn.query.weight")]:
        parts = [found.pop(name.replace("query", part), None) for part in ("query", "key", "value")]
        if any(part is None for part in parts):
            raise ValueError(f"{name} without its key or value")
        found[name.replace("query", "qkv")] = torch.cat([part for part in parts if part is not None])
    if "cls_token" not in found or "rel_pos_bias.relative_position_bias_table" not in found:
        raise ValueError("no data2vec image network with a class token and shared position biases in it")
    return found


def _layer(found: dict[str, torch.Tensor], block: str, rest: str, tensor: torch.Tensor) -> None:
    """Puts a tensor of a Hugging Face layer under its name in BEiT."""
    if rest.startswith("attention.attention."):
        part, _, kind = rest.removeprefix("attention.attention.").partition(".")
        biases = {"query": "attn.q_bias", "value": "attn.v_bias"}
        found[block + (f"attn.{part}.weight" if kind == "weight" else biases.get(part, f"attn.{part}.bias"))] = tensor
        return
    stem, _, kind = rest.rpartition(".")
    if rest in BEIT:
        found[block + BEIT[rest]] = tensor
    else:
        found[f"{block}{BEIT.get(stem, stem)}.{kind}"] = tensor


# diffusers' former names of the attention in a VAE => its present ones
FORMER_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def vae_encoder_tensors(tensors: Tensors) -> dict[str, torch.Tensor]:
    """The encoder of a diffusers `AutoencoderKL`, with its `quant_conv`, in today's names; the decoder is dropped.

    Raises:
        ValueError: no such encoder.
    """
    found = {}
    for name, tensor in tensors.items():
        if not name.startswith(("encoder.", "quant_conv.")):
            continue
        *stem, layer, kind = name.split(".")
        if "attentions" in stem and layer in FORMER_ATTENTION:
            name = ".".join((*stem, FORMER_ATTENTION[layer], kind))
        if "attentions" in name and ".to_" in name and kind == "weight":
            tensor = tensor.flatten(1)  # files converted from latent-diffusion keep 1 x 1 convolutions
        found[name.removeprefix("encoder.")] = tensor
    if "conv_in.weight" not in found or "quant_conv.weight" not in found:
        raise ValueError("no encoder of a diffusers AutoencoderKL in it (encoder.conv_in.weight, quant_conv.weight)")
    return found
