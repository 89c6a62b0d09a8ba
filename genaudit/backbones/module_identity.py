"""What determines the features of a user's network: the contents of its tensors and settings, and its source.

Stored rows must never be those of another network. So everything that can be seen is hashed: tensors, plain attributes
and the structure of all modules, the source files of their classes and of every file of the user's that these use,
names and versions of installed packages. Where something cannot be seen (no source, an object of an unknown kind), the
identity is good for this object alone: rows are measured again in the next process.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
import sysconfig
import types
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PLAIN = (bool, int, float, complex, str, bytes, type(None))
_PROCESS = uuid.uuid4().hex  # of objects that cannot be seen into


@dataclass(frozen=True)
class Identity:
    """The SHA-256 of what determines the features; `unseen` names what could not be hashed."""

    digest: str
    unseen: tuple[str, ...] = ()


def identity_of(network: Any) -> Identity:
    """The identity of a network: an `nn.Module` or any callable."""
    walk = _Walk()
    walk.add(network, "network")
    walk.add_sources()
    if walk.unseen:
        walk.hash.update(f"{_PROCESS} {id(network)}".encode())
    return Identity(walk.hash.hexdigest(), tuple(walk.unseen))


@dataclass
class _Walk:
    """A walk through the objects that a network is made of, in a fixed order."""

    hash: Any = field(default_factory=hashlib.sha256)
    unseen: list[str] = field(default_factory=list)
    modules: set[str] = field(default_factory=set)  # of Python, whose source counts
    seen: dict[int, int] = field(default_factory=dict)

    def add(self, thing: Any, where: str) -> None:
        """Hashes one object and what it holds."""
        import numpy as np
        import torch

        self.hash.update(f"\0{where}={type(thing).__module__}.{type(thing).__qualname__}".encode())
        if isinstance(thing, (*PLAIN, torch.dtype, torch.device, torch.Size)):
            self.hash.update(repr(thing).encode())
            return
        if id(thing) in self.seen:  # again: which of those before
            self.hash.update(f"#{self.seen[id(thing)]}".encode())
            return
        self.seen[id(thing)] = len(self.seen)
        if isinstance(thing, torch.Tensor):
            self._tensor(thing)
        elif isinstance(thing, np.ndarray) and thing.dtype.kind in "biufcUS":
            self.hash.update(f"{thing.dtype}{thing.shape}".encode() + np.ascontiguousarray(thing).tobytes())
        elif isinstance(thing, (list, tuple)):
            for place, each in enumerate(thing):
                self.add(each, str(place))
        elif isinstance(thing, Mapping):
            for key, each in thing.items():
                self.add(key, "key")
                self.add(each, "value")
        elif isinstance(thing, (set, frozenset)):
            for each in sorted(map(repr, thing)):
                self.hash.update(each.encode())
        else:
            self._object(thing, where)

    def _tensor(self, tensor: Any) -> None:
        import torch

        held = tensor.detach().cpu().contiguous()
        self.hash.update(f"{held.dtype}{tuple(held.shape)}".encode())
        self.hash.update(held.reshape(-1).view(torch.uint8).numpy().tobytes())

    def _object(self, thing: Any, where: str) -> None:
        import torch

        if isinstance(thing, types.ModuleType):
            self.modules.add(thing.__name__)
        elif isinstance(thing, types.MethodType):
            self.add(thing.__self__, "self")
            self.add(thing.__func__, "function")
        elif isinstance(thing, (types.FunctionType, type)):
            self._code(thing)
        elif isinstance(thing, (types.BuiltinFunctionType, types.MethodWrapperType)):
            self.hash.update(f"{thing.__module__}.{thing.__qualname__}".encode())
        elif type(thing).__module__ == "functools" and hasattr(thing, "func"):
            for name in ("func", "args", "keywords"):
                self.add(getattr(thing, name), name)
        elif isinstance(thing, torch.nn.Module) or _is_plain_class(type(thing)):
            self._code(type(thing))
            skipped = {"training"} if isinstance(thing, torch.nn.Module) else set()
            for name in sorted(vars(thing).keys() - skipped):
                self.add(vars(thing)[name], name)
        else:
            self.unseen.append(f"{where} ({type(thing).__module__}.{type(thing).__qualname__})")

    def _code(self, thing: Any) -> None:
        """A function or class by its name and source; a function's defaults and closure with it."""
        self.hash.update(f"{thing.__module__}.{thing.__qualname__}".encode())
        self.modules.add(thing.__module__)
        if isinstance(thing, types.FunctionType):
            self.hash.update(thing.__code__.co_code + repr(thing.__code__.co_names).encode())
            self.add(thing.__defaults__, "defaults")
            self.add(thing.__kwdefaults__, "kwdefaults")
            for cell in thing.__closure__ or ():
                try:
                    self.add(cell.cell_contents, "closure")
                except ValueError:  # empty
                    self.hash.update(b"empty")

    def add_sources(self) -> None:
        """The files of the user's modules, and of those that they use; installed packages by name and version."""
        waiting, done = sorted(self.modules), set()
        packages: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name in done:
                continue
            done.add(name)
            module = sys.modules.get(name)
            path = getattr(module, "__file__", None)
            if module is None or (path is None and name not in sys.builtin_module_names):
                self.unseen.append(f"the source of {name}")
            elif path is None or _installed(path) or name.partition(".")[0] == "genaudit":
                packages.add(name.partition(".")[0])
            else:
                try:
                    self.hash.update(f"\0{name}".encode() + Path(path).read_bytes())
                except OSError:
                    self.unseen.append(f"the source of {name}")
                waiting += sorted(_used(module))
        for package in sorted(packages):
            self.hash.update(f"\0{package}=={_version(package)}".encode())


def _is_plain_class(cls: type) -> bool:
    """Whether instances hold all that they are in `__dict__`: classes of Python's own kind, without slots."""
    return all(base is object or not hasattr(base, "__slots__") for base in cls.__mro__) and bool(cls.__dictoffset__)


def _used(module: Any) -> Iterator[str]:
    """The modules that a module's names come from."""
    for value in list(vars(module).values()):
        name = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
        if isinstance(name, str) and name in sys.modules and name != "__main__":
            yield name


def _installed(path: str) -> bool:
    """Whether a file is of Python or of an installed package, which a version stands for."""
    roots = {Path(sysconfig.get_path(key)).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    resolved = Path(path).resolve()
    in_site = any(part in ("site-packages", "dist-packages") for part in resolved.parts)
    return in_site or any(root in resolved.parents for root in roots)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(sys.modules.get(package), "__version__", ""))
