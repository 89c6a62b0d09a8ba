"""The folders of YAML files: genaudit's own, installed packages' and the user's (--config-dir), and whose they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra

from genaudit.config_files import config_folder
from genaudit.plugins import PROVIDER, installed

OURS = "genaudit"


def config_folders(config_dir: str | None = None) -> Iterator[tuple[str, Path]]:
    """(whose, folder), in the order in which Hydra searches them.

    Args:
        config_dir: a folder of the user's, from Python; the command line's is known to Hydra.
    """
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
