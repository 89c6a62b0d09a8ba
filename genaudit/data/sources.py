"""`open_images`: every kind of source that a user may name, as an ImageSet, a FeatureSet or Moments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from genaudit.data.folder import list_folder
from genaudit.data.image_set import (
    FeatureSet,
    ImageSet,
    Moments,
    OnError,
    Policy,
    Progress,
    scan,
)
from genaudit.errors import UserError


def open_images(
    source: Any,
    *,
    role: str = "generated",
    limit: int | None = None,
    on_error: OnError = "fail",
    max_skipped: float = 0.01,
    max_pixels: int = 100_000_000,
    workers: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> ImageSet | FeatureSet | Moments:
    policy = Policy(role, on_error, max_skipped, max_pixels)
    path = Path(source).expanduser()
    if not path.is_dir():
        raise UserError(f"{role}: {source} does not exist.")
    listing = list_folder(path)
    return scan(listing.first(limit), str(source), policy, workers=workers, progress=progress)
