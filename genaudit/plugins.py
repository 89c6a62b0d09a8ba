"""Installed packages that add metrics, feature models, datasets, references, presets and tables: folders of YAML.

A package names a folder of its own in its metadata:

    [project.entry-points."genaudit.configs"]
    my-metrics = "mypackage.configs"

The folder `mypackage/configs` is laid out as genaudit's (`metric/NAME.yaml`, ...), and stands last in Hydra's search
path. The package is not imported before one of its YAML files is used. To install a package is to trust it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

from genaudit.config_files import config_folder
from genaudit.errors import UserError

GROUP = "genaudit.configs"
PROVIDER = "plugin "  # of a plugin's folder in Hydra's search path, followed by its name


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
