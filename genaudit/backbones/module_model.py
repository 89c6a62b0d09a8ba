"""A network of the user's as a feature model: an `nn.Module`, or any callable, with its size, mean and std.

    feature_model=module feature_model.module=mypackage.networks.encoder feature_model.size=224 \\
        feature_model.mean=[0.485,0.456,0.406] feature_model.std=[0.229,0.224,0.225]

In Python `ModuleModel(network, size=224, mean=..., std=...)` is given as `feature_model=`. Rows are kept under what
determines them (`genaudit.backbones.module_identity`).
N images, S side in pixels, D features.
"""

from __future__ import annotations

import copy
import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from genaudit.backbones.feature_model import FeatureModel, Weights
from genaudit.backbones.module_identity import Identity, identity_of
from genaudit.backbones.weight_files import sha256_of_tensors
from genaudit.errors import UserError, reason_of
from genaudit.stats.bounds import Side

if TYPE_CHECKING:
    import torch


class ModuleModel(FeatureModel):
    """A network that is given as it is.

    Args:
        module: normalised images (N, 3, S, S) float => features (N, D), or (N, ...), which are flattened: an
            `nn.Module`, a method of one (`clip.encode_image`), its class, another callable, or the dotted path of one.
            A module is copied, put into evaluation mode and moved to the run's device; any other callable is called
            as it is, with images on that device.
        size, mean, std, more: see `FeatureModel`; `checkpoint` is a file of weights for the `nn.Module`.
        kwargs: `module` is a class or function that makes the network of these arguments; None: a class is called
            without arguments, anything else is the network.
        trained: False where the weights are random, so that reports say so.

    Raises:
        UserError: nothing of this path, or something that is no network: says which method it lacks.
    """

    fixed_graph = False  # it is the user's, and nobody knows what its forward looks at

    def __init__(
        self,
        module: Any,
        *,
        size: Side,
        mean: Sequence[float],
        std: Sequence[float],
        kwargs: Mapping[str, Any] | None = None,
        trained: bool = True,
        **more: Any,
    ) -> None:
        self._given = _network(module, kwargs)
        super().__init__(_name_of(module), size=size, mean=mean, std=std, **more)
        self._trained = trained

    @functools.cached_property
    def _identity(self) -> Identity:
        return identity_of(self._given)

    def _tensors(self) -> dict[str, torch.Tensor]:
        return dict(self._given.state_dict()) if hasattr(self._given, "state_dict") else {}

    def load_weights(self) -> Weights:
        if self.checkpoint:
            return self.weights_of_file(self.checkpoint)
        tensors = self._tensors()
        return Weights(self._tensors, "of the module", sha256_of_tensors(tensors) if tensors else "", self._trained)

    def find_weights(self) -> str | None:
        return self.checkpoint or "of the module"

    def options(self) -> dict[str, Any]:
        return {"module": self._identity.digest}

    def build(self) -> torch.nn.Module:
        import torch

        network = self._given
        if isinstance(network, torch.nn.Module):
            try:
                network = copy.deepcopy(network)
            except Exception as error:  # whatever the user's module holds
                raise UserError(f"feature_model {self.name} cannot be copied ({reason_of(error)})") from None
        if self.checkpoint:
            if not isinstance(network, torch.nn.Module):
                raise UserError(f"feature_model {self.name}: checkpoint= needs an nn.Module, and it is a function")
            try:
                network.load_state_dict(self.weights.state_dict)
            except RuntimeError as error:
                raise UserError(
                    f"feature_model {self.name}: {self.checkpoint} does not fit it ({reason_of(error)})"
                ) from None
        return _Checked(network, self.name)


def checked_features(features: Any, count: int, name: str) -> torch.Tensor:
    """What a network made of `count` images, where it is one row of real numbers an image: (N, D) or (N, ...).

    Raises:
        UserError: it is something else; says what.
    """
    import torch

    expected = f"of {count} images; expected a tensor (N, D) of real numbers"
    if not isinstance(features, torch.Tensor):
        raise UserError(f"feature_model {name} returned a {type(features).__name__} {expected}")
    shape = tuple(features.shape)
    if len(shape) < 2 or shape[0] != count or 0 in shape:
        raise UserError(f"feature_model {name} returned a tensor {shape} {expected}")
    if features.is_complex() or features.is_meta:
        kind = "complex numbers" if features.is_complex() else "a tensor of the device meta, without values,"
        raise UserError(f"feature_model {name} returned {kind} {expected}")
    return features if features.layout == torch.strided else features.to_dense()


def _checked_class() -> type[torch.nn.Module]:
    """Made when torch is there: the package is imported without it."""
    import torch

    class Checked(torch.nn.Module):
        """The network; what it returns must be one row an image."""

        def __init__(self, network: Callable[[torch.Tensor], Any], name: str) -> None:
            super().__init__()
            self.network = network
            self.name = name

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return checked_features(self.network(images), len(images), self.name)

    return Checked


def _Checked(network: Any, name: str) -> torch.nn.Module:
    return _checked_class()(network, name)


def _network(given: Any, kwargs: Mapping[str, Any] | None) -> Any:
    """The network of an object or path."""
    path = given if isinstance(given, str) else None
    found = _imported(path) if path is not None else given
    told = path or _name_of(found)
    if kwargs is not None or isinstance(found, type):
        if not callable(found):
            raise UserError(f"feature_model.kwargs: {told} is no class or function that makes a network")
        try:
            found = found(**(kwargs or {}))
        except TypeError as error:
            raise UserError(f"feature_model.module={told} cannot be made ({error}); feature_model.kwargs=...") from None
    lacking = lacking_methods(found)
    if lacking:
        raise UserError(
            f"feature_model.module: {told} is a {type(found).__name__} and lacks {', '.join(lacking)}; expected an "
            "nn.Module or a callable that maps images (N, 3, S, S) to features (N, D)"
        )
    return _with_owner(found)


def _with_owner(network: Any) -> Any:
    """A method of an `nn.Module` as a module: its owner is copied and moved with it."""
    import torch

    owner = getattr(network, "__self__", None)
    if isinstance(network, torch.nn.Module) or not isinstance(owner, torch.nn.Module):
        return network

    class Method(torch.nn.Module):
        def __init__(self, owner: torch.nn.Module, method: str) -> None:
            super().__init__()
            self.owner = owner
            self.method = method

        def forward(self, images: torch.Tensor) -> Any:
            return getattr(self.owner, self.method)(images)

    return Method(owner, network.__name__)


def lacking_methods(network: Any) -> list[str]:
    """The methods that an object lacks to be a network."""
    import torch

    if isinstance(network, torch.nn.Module):
        own = type(network).forward
        return ["forward"] if own is torch.nn.Module.forward or "_forward_unimplemented" in own.__qualname__ else []
    return [] if callable(network) else ["__call__"]


def _imported(path: str) -> Any:
    """The object of "package.module.attr", attributes of attributes too."""
    parts = path.replace(":", ".").split(".")
    for length in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:length])
        try:
            found: Any = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and not f"{name}.".startswith(f"{error.name}."):
                raise UserError(f"feature_model.module={path} cannot be imported ({reason_of(error)})") from None
            continue
        except Exception as error:  # the user's own code
            raise UserError(f"feature_model.module={path} cannot be imported ({reason_of(error)})") from error
        for place, part in enumerate(parts[length:], length):
            if not hasattr(found, part):
                raise UserError(f"feature_model.module={path}: {'.'.join(parts[:place])} has no {part}")
            found = getattr(found, part)
        return found
    raise UserError(f"feature_model.module={path}: there is no module {parts[0]}; package.attr is needed")


def _name_of(given: Any) -> str:
    if isinstance(given, str):
        return given
    return str(getattr(given, "__qualname__", None) or type(given).__qualname__)
