"""genaudit's configurations composed beside whatever else the process does with Hydra.

`hydra.compose` works on one configuration a process: inside `@hydra.main`, or after `hydra.initialize`, that is the
application's. Here Hydra's loader is used by itself, on genaudit's folder alone. Of the application's nodes in the
ConfigStore only Hydra's own are seen, since one called `evaluate` or `dataset/cifar10` would be taken for a schema of
genaudit's file of that name.
"""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from genaudit.config_files import add_to, installed

VERSION_BASE = "1.3"
REFERENCE = "reference"  # a folder of the configuration, and the key of a role
# Hydra keeps the version base and its plugins once a process
_LOCK = threading.RLock()
# who keeps `reference` a key at the moment, and Hydra's own method
_users = 0
_group_exists: Any = None


def compose(folder: Path, name: str, overrides: Sequence[str] = (), config_dir: str | None = None) -> Any:
    """A primary config of the folder with overrides in Hydra's grammar, without Hydra's own node.

    Args:
        config_dir: a folder with more options, searched after `folder`.

    Raises:
        HydraException, OmegaConfBaseException: as `hydra.compose`.
    """
    from hydra.types import RunMode
    from omegaconf import open_dict

    with _LOCK, _version_base(), references_are_data(folder):
        loader = _loader(folder, config_dir)
        # the job's name would be asked of the process's own Hydra job
        cfg = loader.load_configuration(
            name, ["hydra.job.name=genaudit", *overrides], run_mode=RunMode.RUN, from_shell=False
        )
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


def _loader(folder: Path, config_dir: str | None) -> Any:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
    from hydra.core.plugins import Plugins

    Plugins.instance()  # registers the kinds of config sources
    path = ConfigSearchPathImpl()
    path.append("hydra", "pkg://hydra.conf")
    path.append("main", f"file://{folder}")
    if config_dir:
        path.append("command-line", f"file://{Path(config_dir).expanduser().resolve()}")
    add_to(path)
    path.append("schema", "structured://")
    loader = ConfigLoaderImpl(path)
    loader.repository.sources[-1] = _only_hydras(loader.repository.sources[-1])
    return loader


def _only_hydras(source: Any) -> Any:
    """The ConfigStore without the application's nodes; Hydra knows its last source by the class's name."""
    from hydra._internal.core_plugins import structured_config_source as structured
    from hydra.plugins.config_source import ConfigLoadError

    class StructuredConfigSource(structured.StructuredConfigSource):
        def load_config(self, config_path: str) -> Any:
            if not _of_hydra(config_path):
                raise ConfigLoadError(f"{config_path} is not Hydra's")
            return super().load_config(config_path)

        def is_group(self, config_path: str) -> bool:
            return _of_hydra(config_path) and super().is_group(config_path)

        def is_config(self, config_path: str) -> bool:
            return _of_hydra(config_path) and super().is_config(config_path)

        def list(self, config_path: str, results_filter: Any) -> Any:
            return super().list(config_path, results_filter) if _of_hydra(config_path) else []

    return StructuredConfigSource(provider=source.provider, path=f"structured://{source.path}")


def _of_hydra(config_path: str) -> bool:
    return config_path.split("/", 1)[0] in ("hydra", "_dummy_empty_config_", "")


@contextmanager
def references_are_data(folder: Path) -> Iterator[None]:
    """Keeps `reference=real/` a key and a value where the configuration has a folder `reference`.

    Hydra takes every folder for a group of options and `reference=NAME` for the choice of one. What lies there is data
    that the value is looked up in (`genaudit.tasks.run.sources`). Configurations of other applications see no
    difference.
    """
    from hydra._internal.config_repository import ConfigRepository

    global _users, _group_exists
    with _LOCK:
        if not _users:
            _group_exists = original = ConfigRepository.group_exists

            def group_exists(self: Any, config_path: str) -> bool:
                ours = config_path == REFERENCE and any(source.path == str(folder) for source in self.get_sources())
                return not ours and bool(original(self, config_path))

            ConfigRepository.group_exists = group_exists  # type: ignore[method-assign]
        _users += 1
    try:
        yield
    finally:
        with _LOCK:
            _users -= 1
            if not _users:
                ConfigRepository.group_exists = _group_exists  # type: ignore[method-assign]


def main_options() -> dict[str, str]:
    """What `hydra.main` is told: to behave as Hydra 1.3 does, which from 1.4 on is the only way."""
    from hydra import version

    return {"version_base": VERSION_BASE} if hasattr(version, "Version") else {}


def is_plain(arguments: Sequence[str]) -> bool:
    """Whether a command line has keys and values alone: no switch, and no key of Hydra's own.

    With a plugin installed it is not: an option of its may set Hydra's own keys.
    """
    return not installed() and not any(word.startswith("-") or "hydra" in word for word in arguments)


@contextmanager
def job(folder: Path, name: str, overrides: Sequence[str]) -> Iterator[Any]:
    """The configuration of a plain command, as `hydra.main` would give it, and for its length what Hydra knows of it.

    `hydra.main` composes twice, the first time for `hydra.mode` alone, which a plain command cannot set.

    Raises:
        HydraException, OmegaConfBaseException: as `hydra.main`.
    """
    from hydra._internal.hydra import Hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import open_dict, read_write

    here, known = GlobalHydra.instance(), HydraConfig.instance()
    before = here.hydra, known.cfg
    with _version_base(), references_are_data(folder):
        try:
            here.hydra = Hydra("genaudit", _loader(folder, None))
            cfg = here.hydra.config_loader.load_configuration(name, list(overrides), run_mode=RunMode.RUN)
            with read_write(cfg.hydra), open_dict(cfg.hydra.runtime):
                cfg.hydra.mode = RunMode.RUN
                cfg.hydra.runtime.output_dir = os.path.abspath(cfg.hydra.run.dir)
            known.set_config(cfg)
            own = copy.deepcopy(cfg)
            with read_write(own), open_dict(own):
                del own["hydra"]
            yield own
        finally:
            here.hydra, known.cfg = before


@contextmanager
def _version_base() -> Iterator[None]:
    """Hydra's behaviour of 1.3, where the application has chosen an older one or none yet."""
    from hydra import version
    from hydra.core.singleton import Singleton

    if not hasattr(version, "Version"):  # Hydra 1.4 has but one behaviour, that of 1.3
        yield
        return
    Version, VersionBase = version.Version, version.VersionBase
    instances: dict[Any, Any] = Singleton._instances
    before = instances.get(VersionBase)
    base = getattr(before, "version_base", None)
    if isinstance(base, Version) and base >= Version("1.2"):  # no difference since then
        yield
        return
    ours = VersionBase.__new__(VersionBase)
    ours.setbase(Version(VERSION_BASE))
    instances[VersionBase] = ours
    try:
        yield
    finally:
        if before is None:
            instances.pop(VersionBase, None)
        else:
            instances[VersionBase] = before
