"""Where the configuration lies, genaudit's own and the user's, and the user's code beside it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

CONFIG_DIR = ("--config-dir", "-cd")
# keys that name a module of the user's: generator.module=PACKAGE.ATTRIBUTE
MODULE_KEY = ".module"


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
