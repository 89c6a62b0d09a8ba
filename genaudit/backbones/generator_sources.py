"""Where a generator's network comes from: any module, a TorchScript file, a `torch.export` file, an ONNX file.

Each class here is the `_target_` of a YAML in `configs/generator`. Checkpoints hold tensors only, and an ONNX file a
graph of known operations. A TorchScript file and a `torch.export` file are programs: reading one runs what its author
wrote (TorchScript may write files while it is loaded, `torch.export.load` unpickles), so both need `trust=True`.
Arguments that all share: `Generator`.
"""

from __future__ import annotations

import copy
import importlib
import json
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genaudit.backbones.generator import Generator, LoadedNetwork, _first_line
from genaudit.backbones.weight_files import read_state_dict, sha256_of_file, sha256_of_tensors
from genaudit.errors import UserError
from genaudit.stats.process_state import Shared, Undo

if TYPE_CHECKING:
    import torch


class ModuleGenerator(Generator):
    """Any `torch.nn.Module` that Python can import.

    Args:
        module: package.function or package.Class; called with `arguments`, it gives the module.
        arguments: keyword arguments of it.
        checkpoint: a file of tensors that the module loads (.safetensors, or a torch file of tensors); null: the
            module comes with its weights.
    """

    def __init__(
        self,
        *,
        module: str | None,
        arguments: Mapping[str, Any] | None = None,
        checkpoint: str | None = None,
        name: str | None = None,
        **shared: Any,
    ) -> None:
        if not module:
            raise UserError("generator.module=package.function is needed: what it returns maps latents to images")
        super().__init__(name=name or module.rpartition(".")[2], **shared)
        self.module, self.arguments, self.checkpoint = module, dict(arguments or {}), checkpoint

    def load(self, device: str = "cpu") -> LoadedNetwork:
        network = self.build()
        if self.checkpoint:
            tensors = read_state_dict(self.checkpoint, what=f"generator {self.name}")
            try:
                network.load_state_dict(tensors)
            except RuntimeError as error:
                raise UserError(
                    f"generator.checkpoint: {self.checkpoint} does not fit {self.module} ({_first_line(error)})"
                ) from None
        arguments = json.dumps(self.arguments, sort_keys=True, default=str)
        network = _frozen(network.eval())
        sha256 = sha256_of_tensors(network.state_dict())
        return LoadedNetwork(network.to(device), sha256, f"{self.module} {arguments}")

    def build(self) -> torch.nn.Module:
        """The module, before a checkpoint is loaded.

        Raises:
            UserError: it cannot be imported or made, or is no module.
        """
        import torch

        package, _, attribute = self.module.rpartition(".")
        try:
            made = getattr(importlib.import_module(package), attribute)
            # a copy of what is there once: it is moved and converted
            network = copy.deepcopy(made) if isinstance(made, torch.nn.Module) else made(**self.arguments)
        except Exception as error:
            raise UserError(f"generator.module={self.module} cannot be made ({_first_line(error)})") from None
        if not isinstance(network, torch.nn.Module):
            raise UserError(f"generator.module={self.module} gave a {type(network).__name__}, not a torch.nn.Module")
        return network


class FileGenerator(Generator):
    """A network that is a file by itself.

    Args:
        file: its path.
        trust: whether whoever made the file may run programs on this machine; a file that is a program needs it.
    """

    kind = ""
    is_program = False

    def __init__(self, *, file: str | None, name: str | None = None, trust: bool = False, **shared: Any) -> None:
        if not file:
            raise UserError(f"generator.file=FILE is needed: {self.kind}")
        if not isinstance(trust, bool):
            raise UserError(f"trust={trust}: true or false is needed")
        super().__init__(name=name or Path(file).stem, **shared)
        self.file, self.trust = Path(file).expanduser(), trust

    def load(self, device: str = "cpu") -> LoadedNetwork:
        if not self.file.is_file():  # a regular one: neither a pipe nor a device
            raise UserError(f"generator.file: there is no file at {self.file}")
        if self.is_program and not self.trust:
            raise UserError(
                f"generator.file: {self.file} is a program ({self.kind}), and reading it runs what its author wrote; "
                "trust=true reads it, if you trust whoever made it. A checkpoint of tensors (generator=module with "
                "generator.checkpoint) or an ONNX file needs no trust"
            )
        try:
            with _QUIET():  # that TorchScript is old, how an archive could not be read
                network = self.read(device)
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"generator.file: {self.file} cannot be read as {self.kind} ({_first_line(error)}); "
                "generator=torchscript, exported and onnx read those kinds, generator=module a class with a checkpoint"
            ) from None
        return LoadedNetwork(network, sha256_of_file(self.file), self.kind)

    def read(self, device: str) -> Any:
        """The network on the device, in evaluation mode."""
        raise NotImplementedError


class TorchScriptGenerator(FileGenerator):
    """What `torch.jit.save` wrote; needs `trust`."""

    kind = "TorchScript"
    is_program = True

    def read(self, device: str) -> Any:
        import torch

        network = torch.jit.load(str(self.file), map_location=device)
        return _frozen(network.eval())


class ExportedGenerator(FileGenerator):
    """What `torch.export.save` wrote (.pt2), in evaluation mode, with a first axis of any length; needs `trust`."""

    kind = "an exported program"
    is_program = True

    def read(self, device: str) -> Any:
        import torch

        network = torch.export.load(str(self.file)).module()
        return _frozen(network).to(device)

    def advice(self, error: Exception) -> str:
        return (
            "generator.latent= must be what it was exported with, and the first axis must be dynamic: "
            "torch.export.export(network, (latents,), dynamic_shapes=({0: torch.export.Dim('n')},))"
        )


class ONNXGenerator(FileGenerator):
    """An ONNX file, turned into PyTorch by the package onnx2torch, since an ONNX runtime gives no gradients."""

    kind = "ONNX"

    def read(self, device: str) -> Any:
        try:
            from onnx2torch import convert
        except ImportError:
            raise UserError(
                "generator=onnx needs the package onnx2torch, which turns the graph into PyTorch (an ONNX runtime "
                "gives no gradients): pip install 'genaudit-images[onnx]'"
            ) from None
        return _frozen(convert(str(self.file)).eval()).to(device)

    def advice(self, error: Exception) -> str:
        return "generator.latent= must be what it was exported with, and the first axis must be dynamic"


def _quiet() -> Undo:
    """No warnings and no logging: PyTorch logs, with a traceback, what it then raises."""
    ignoring = warnings.catch_warnings()
    ignoring.__enter__()
    warnings.simplefilter("ignore")
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)

    def undo() -> None:
        logging.disable(before)
        ignoring.__exit__(None, None, None)

    return undo


_QUIET = Shared(_quiet)


def _frozen(network: Any) -> Any:
    """Without gradients of its weights; TorchScript lacks `requires_grad_`."""
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network
