"""The folders of YAML files, genaudit's own, installed packages' and the user's, and the user's code beside them.

An installed package may add metrics, feature models, datasets, references, presets and tables. It names a folder of its
own in its metadata:

    [project.entry-points."genaudit.configs"]
    my-metrics = "mypackage.configs"

The folder `mypackage/configs` is laid out as genaudit's (`metric/NAME.yaml`, ...), and stands last in Hydra's search
path. The package is not imported before one of its YAML files is used. To install a package is to trust it.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

from genaudit.errors import UserError

CONFIG_DIR = ("--config-dir", "-cd")
# keys that name a module of the user's: generator.module=PACKAGE.ATTRIBUTE
MODULE_KEY = ".module"
GROUP = "genaudit.configs"
PROVIDER = "plugin "  # of a plugin's folder in Hydra's search path, followed by its name
OURS = "genaudit"


def config_folder() -> Path:
    """`configs/`: inside the package where genaudit is installed from a wheel, beside it in a checkout."""
    here = Path(__file__).resolve().parent
    return here / "configs" if (here / "configs").is_dir() else here.parent / "configs"


def names_own_code(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for code of the user's own: a folder of YAML files, a module or target by name."""
    return any(
        word.startswith(CONFIG_DIR) or word.partition("=")[0].endswith(MODULE_KEY) or "_target_" in word
        for word in arguments
    )


@contextmanager
def importable(arguments: Sequence[str]) -> Iterator[None]:
    """The working folder can be imported from where the command line names code of the user's own, last of all places.

    A console script, unlike `python -m`, does not see the working folder. It is left so for every other command: a
    folder of strangers' images may hold modules, which must not be imported. Last, so that none of them takes the place
    of an installed package.
    """
    here = os.getcwd()
    if not names_own_code(arguments) or here in sys.path or "" in sys.path:
        yield
        return
    sys.path.append(here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)


@dataclass(frozen=True)
class Plugin:
    """An installed package's folder of YAML files; `name` is the entry point's."""

    name: str
    distribution: str
    version: str
    folder: Path


def installed() -> list[Plugin]:
    """All plugins of this environment, by name.

    Raises:
        UserError: a plugin whose folder is not there, or one that has an option which exists already.
    """
    found = [_plugin(entry) for entry in sorted(metadata.entry_points(group=GROUP), key=lambda entry: entry.name)]
    owners = dict.fromkeys(_options(config_folder()), "genaudit") if found else {}
    for plugin in found:
        for option in _options(plugin.folder):
            if option in owners:
                raise UserError(
                    f"the installed package {plugin.distribution} has {option}, as {owners[option]} has already; "
                    "one of them must be renamed or uninstalled"
                )
            owners[option] = plugin.distribution
    return found


def _plugin(entry: Any) -> Plugin:
    distribution = entry.dist.name if entry.dist else entry.name
    package, *inside = entry.value.split(".")
    spec = util.find_spec(package)  # of a package alone, which imports nothing of it
    for root in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(root, *inside)
        if folder.is_dir():
            return Plugin(entry.name, distribution, entry.dist.version if entry.dist else "", folder)
    raise UserError(
        f"the installed package {distribution} names {entry.value!r} in the entry-point group {GROUP}, and that is no "
        f"folder of it; `pip uninstall {distribution}` removes it"
    )


def _options(folder: Path) -> list[str]:
    """`metric/fd` and so on: every option that a folder of YAML files has."""
    return [str(path.relative_to(folder).with_suffix("").as_posix()) for path in sorted(folder.glob("*/**/*.yaml"))]


def join_hydra() -> None:
    """Puts the plugins' folders last into the search path of genaudit's commands, from now on in this process."""
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    if _plugin_folders() not in Plugins.instance().discover(SearchPathPlugin):
        Plugins.instance().register(_plugin_folders())


@functools.cache
def _plugin_folders() -> Any:
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    class PluginFolders(SearchPathPlugin):
        def manipulate_search_path(self, search_path: Any) -> None:
            # other applications of the process have search paths of their own
            paths = [str(element.path).removeprefix("file://") for element in search_path.get_path()]
            if str(config_folder()) in paths:
                add_to(search_path)

    return PluginFolders


def add_to(search_path: Any) -> None:
    """Appends the plugins' folders to a search path of Hydra's."""
    for plugin in installed():
        search_path.append(PROVIDER + plugin.name, f"file://{plugin.folder}")


def config_folders(config_dir: str | None = None) -> Iterator[tuple[str, Path]]:
    """(whose, folder), in the order in which Hydra searches them.

    Args:
        config_dir: a folder of the user's, from Python; the command line's is known to Hydra.
    """
    from hydra.core.global_hydra import GlobalHydra

    yield OURS, config_folder()
    if config_dir is not None:
        yield "config_dir", Path(config_dir).expanduser()
    hydra = GlobalHydra.instance().hydra
    elements = hydra.config_loader.get_search_path().get_path() if hydra is not None else []
    paths = [(str(each.provider), str(each.path or "").removeprefix("file://")) for each in elements]
    if ("main", str(config_folder())) in paths:  # the command line's, and not another application's
        yield from (
            ("--config-dir" if whose == "command-line" else whose, Path(path))
            for whose, path in paths
            if whose == "command-line" or whose.startswith(PROVIDER)
        )
    else:
        yield from ((f"{PROVIDER}{plugin.name}", plugin.folder) for plugin in installed())
