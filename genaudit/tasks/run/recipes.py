"""The recipes of `configs/table/`: by name, made from their YAML, and where each keeps its steps.

A step of `reproduce` knows its images and weights by the digest of what a file or a folder holds.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import json
import os
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from omegaconf import OmegaConf

from genaudit import __version__, demo
from genaudit.config_files import config_folder
from genaudit.errors import UserError
from genaudit.reading import sha256_of_file
from genaudit.recipe import USUAL, Need, Scale, TableRecipe
from genaudit.tasks.run.folder import STEPS, store_folder
from genaudit.tasks.run.instantiate import instantiate

ALL = "all"
PAPERS = "genaudit_papers"
PRINTING = (f"{PAPERS}.published",)
SHARED = ("seed", "offline", "generator", "trust", "piad_model")  # keys that a recipe's YAML may refer to


@dataclass(frozen=True)
class NamedRecipe:
    """A recipe with its name and resolved YAML."""

    name: str
    recipe: TableRecipe
    node: dict[str, Any]

    @property
    def scales(self) -> tuple[Scale, ...]:
        """Those that the recipe knows."""
        return getattr(self.recipe, "scales", USUAL)

    def missing(self, scale: Scale, data: Path | None) -> list[Need]:
        """What this machine lacks."""
        scales = self.scales
        if scale not in scales:
            return [Need(f"no scale={scale}", False, f"this table has scale={' and scale='.join(scales)}")]
        return [need for need in self.recipe.needs(scale, data) if not need.have]

    def folder(self, cfg: Any, scale: Scale, seed: int, data: Path | None) -> Path:
        """Where its steps are kept: another folder where settings, code, weights or data are others.

        The code is the recipe's own module with the helpers that it imports, and genaudit's version. Data and weights
        are named by content, never by path, size or time: images that were replaced under the same names, or a model
        that was trained again in the same folder, are others.
        """
        code = _sources(type(self.recipe).__module__)
        needs = [[need.what, *map(contents, need.paths)] for need in self.recipe.needs(scale, data)]
        shipped = [contents(path) for kind in ("*.zip", "*.safetensors") for path in sorted(demo.FOLDER.glob(kind))]
        identity = [self.node, __version__, code, needs, shipped, sorted(_weights(self.recipe))]
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()
        return store_folder(cfg["store"]) / STEPS / f"{self.name}-{scale}-{seed}-{digest[:12]}"


def _sources(module: str) -> list[str]:
    """Source of a recipe's module and of all of `genaudit_papers` that it imports, but what only prints results."""
    sources = {module: inspect.getsource(sys.modules[module])}
    waiting = [module]
    while waiting:
        for node in ast.walk(ast.parse(sources[waiting.pop()])):
            if not isinstance(node, ast.ImportFrom) or node.module is None or not node.module.startswith(PAPERS):
                continue
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                file = _file(name)
                if name not in sources and file.is_file():
                    sources[name] = file.read_text(encoding="utf-8")
                    waiting.append(name)
    return [sources[name] for name in sorted(sources) if name not in PRINTING]


def names() -> list[str]:
    """Every table that there is, those of --config-dir included."""

    loader = GlobalHydra.instance().config_loader()
    return [name for name in sorted(loader.get_group_options("table", ObjectType.CONFIG)) if name != ALL]


def data_of(cfg: Any) -> Path | None:
    """The key `data`, checked."""
    if cfg.data is None:
        return None
    data = Path(str(cfg.data)).expanduser()
    if not data.is_dir():
        raise UserError(f"data={data}: there is no such folder")
    return data


def make(name: str, cfg: Any) -> NamedRecipe:
    """The recipe of a name, with the keys that the verb was given.

    Raises:
        UserError: its YAML cannot be made into a recipe.
    """

    node = table_node(name)
    if node is not None and "${" not in json.dumps(node):  # most: none of their values refers to another key
        return _of_resolved(name, node)
    shared = dict.fromkeys(SHARED) | {key: cfg[key] for key in SHARED if key in cfg}
    table = compose(config_name=f"table/{name}").table if node is None else node
    return of_node(name, OmegaConf.create({**shared, "table": table}).table)


def table_node(name: str) -> dict[str, Any] | None:
    """The YAML of a table of ours with the nodes of its defaults list, which takes Hydra a tenth of a second a table.

    None where it is not of the plain form `/group@package: option`, or another folder of configurations is in use: then
    Hydra composes it. A test compares the two.
    """
    elements = GlobalHydra.instance().config_loader().get_search_path().get_path()
    others = {element.provider for element in elements} - {"hydra", "main", "schema"}
    return None if others else _plain(f"table/{name}")


def _plain(name: str) -> dict[str, Any] | None:
    """A YAML of ours merged with those of its defaults list, each in its package; None where Hydra must do it."""
    if not (config_folder() / f"{name}.yaml").is_file():
        return None
    yaml = dict(_loaded(name))
    node: dict[str, Any] = {}
    for entry in yaml.pop("defaults", ["_self_"]):
        if entry == "_self_":
            node = _merged(node, yaml)
            continue
        key, option = next(iter(entry.items()))
        group, _, package = str(key).partition("@")
        chosen = _plain(f"{group[1:]}/{option}") if group.startswith("/") and package else None
        if chosen is None:
            return None
        for part in reversed(package.split(".")):
            chosen = {part: chosen}
        node = _merged(node, chosen)
    return node


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """As OmegaConf merges plain mappings, in a fraction of the time: a table has a dozen of them."""
    both = dict(below)
    for key, value in above.items():
        known = both.get(key)
        if isinstance(known, dict) and isinstance(value, dict):
            both[key] = _merged(known, value)
        elif value != "???" or key not in both:
            both[key] = value
    return both


@functools.cache
def _loaded(name: str) -> dict[str, Any]:
    text = (config_folder() / f"{name}.yaml").read_text(encoding="utf-8")
    # libyaml's reader, where PyYAML has it, takes an eighth of the time of OmegaConf's own
    return dict(yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {})


def of_node(name: str, node: Any) -> NamedRecipe:
    """The recipe of a composed YAML node."""

    resolved = OmegaConf.to_container(node, resolve=True)
    assert isinstance(resolved, dict)
    return _of_resolved(name, {str(key): each for key, each in resolved.items()})


def _of_resolved(name: str, node: dict[str, Any]) -> NamedRecipe:
    return NamedRecipe(name, instantiate(node), node)


def changes(named: NamedRecipe, cfg: Any) -> str:
    """Every key of the table's YAML that was replaced, with both values; empty where none was."""
    then, now = _flat(make(named.name, cfg).node), _flat(named.node)
    keys = sorted(key for key in then.keys() | now.keys() if then.get(key) != now.get(key))
    listed = ", ".join(f"{key}={now.get(key)} ({then.get(key)})" for key in keys)
    return f"Replaced, with the YAML's own value in brackets: {listed}." if listed else ""


def _flat(node: Any, head: str = "table") -> dict[str, Any]:
    """Dotted keys of a resolved YAML."""
    if not isinstance(node, dict):
        return {head: node}
    return {key: each for name, value in node.items() for key, each in _flat(value, f"{head}.{name}").items()}


def _weights(recipe: Any) -> Iterator[str]:
    """The SHA-256 of every weight file that the recipe's feature models would read."""
    for value in vars(recipe).values():
        for each in value.values() if isinstance(value, dict) else [value]:
            files = getattr(each, "weight_files", None)
            for path in files() if files else []:
                yield contents(Path(path))


def _file(module: str) -> Path:
    """Where a module of the papers' package lies, whether or not there is one of this name."""
    package = find_spec(PAPERS)
    assert package is not None  # a recipe's module imports it
    assert package.origin is not None
    return Path(package.origin).parents[1].joinpath(*module.split(".")).with_suffix(".py")


def contents(path: Path) -> str:
    """The SHA-256, in hex, of a file, or of all files below a folder with their names.

    Names count: labels and splits are read from them. Where the folder lies, times and permissions do not. Within a
    process a file that nobody touched since is not read again.

    Raises:
        UserError: something cannot be read.
    """
    try:
        if not path.is_dir():
            return _of_file(path)
        files = sorted(each for each in path.rglob("*") if each.is_file() and "__pycache__" not in each.parts)
        with ThreadPoolExecutor() as pool:  # reading and hashing release the interpreter's lock
            digests = pool.map(_of_file, files)
            listed = (f"{file.relative_to(path).as_posix()}\0{one}\n" for file, one in zip(files, digests, strict=True))
            digest = hashlib.sha256()
            for line in listed:
                digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()
    except OSError as error:
        raise UserError(f"{error.filename or path} cannot be read ({error.strerror or error})") from error


def _of_file(path: Path) -> str:
    stat = path.stat()
    return _hashed(os.fspath(path), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@functools.lru_cache(maxsize=1 << 16)
def _hashed(path: str, *_stat: int) -> str:
    return sha256_of_file(path)
