"""Where the configuration lies: the YAML files that every verb is composed from."""

from __future__ import annotations

from pathlib import Path


def config_folder() -> Path:
    """`configs/`: inside the package where genaudit is installed from a wheel, beside it in a checkout."""
    here = Path(__file__).resolve().parent
    return here / "configs" if (here / "configs").is_dir() else here.parent / "configs"
