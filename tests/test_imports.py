"""Imports inside functions stand at the edges of rooms: where what loads something heavy is first asked for."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("genaudit", "genaudit_papers")
# what takes long to load, and what a run that has all its rows, or a module of the library, may do without
HEAVY = {
    *("torch", "torchvision", "timm", "safetensors", "sklearn", "scipy", "matplotlib", "rich", "jinja2", "jsonschema"),
    *("hydra", "omegaconf", "yaml", "h5py", "skimage", "pandas", "pyarrow", "datasets", "mlxtend", "huggingface_hub"),
}
ROOMS = (
    *("backbones", "data", "likelihood", "measures", "piad", "store", "tasks/gate", "tasks/training"),
    "../genaudit_papers",
)


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(path): path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}


def _of_module(nodes: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The imports that run when a module is imported."""
    for node in nodes:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, (ast.If, ast.Try, ast.With)):
            yield from _of_module(node.body)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node


def _targets(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if not isinstance(node, ast.ImportFrom) or node.module is None:
        return set()
    deeper = {f"{node.module}.{alias.name}" for alias in node.names}
    return deeper & set(MODULES) or {node.module}


@functools.cache
def _tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def _loaded(module: str, seen: set[str]) -> set[str]:
    """All modules and packages that importing a module imports."""
    if module in seen:
        return seen
    seen.add(module)
    if module in MODULES:
        parents = {module.rpartition(".")[0]} & set(MODULES)
        for target in parents.union(*(_targets(node) for node in _of_module(_tree(module).body))):
            _loaded(target, seen)
    return seen


@functools.cache
def _heavy(module: str) -> frozenset[str]:
    return frozenset({name.partition(".")[0] for name in _loaded(module, set())} & HEAVY)


@pytest.mark.parametrize("room", ROOMS)
def test_a_function_imports_a_module_of_ours_only_where_it_loads_what_the_importer_does_not(room: str) -> None:
    needless = []
    for path in (ROOT / "genaudit" / room).resolve().rglob("*.py"):
        importer = _name(path)
        functions = [node for node in ast.walk(_tree(importer)) if isinstance(node, ast.FunctionDef)]
        for node in (node for function in functions for node in ast.walk(function)):
            ours = _targets(node) & set(MODULES)
            if ours and not frozenset().union(*map(_heavy, ours)) - _heavy(importer):
                needless.append(f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}")
    assert not needless, "these belong to the head of the file:\n" + "\n".join(sorted(set(needless)))
