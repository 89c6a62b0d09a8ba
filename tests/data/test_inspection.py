from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from genaudit.data import Skipped, inspect, open_images
from genaudit.errors import UserError

from .conftest import encode, raw_png


@pytest.fixture
def mixed(folder: Path, files: dict[str, bytes], rng: np.random.Generator) -> Path:
    noise = encode(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))
    (folder / "copy.png").write_bytes(files["B.PNG"])
    (folder / "e-empty.png").write_bytes(b"")
    (folder / "e-truncated.png").write_bytes(noise[:-100])
    (folder / "e-bomb.png").write_bytes(raw_png(60_000, 60_000, 8, 0, b""))
    (folder / "labels.json").touch()
    return folder


@pytest.mark.parametrize("workers", [0, 4])
def test_everything_is_decoded_and_nothing_fails(mixed: Path, workers: int) -> None:
    calls: list[tuple[int, int]] = []
    found = inspect(mixed, workers=workers, progress=lambda done, total: calls.append((done, total)))
    assert (found.kind, found.count, found.columns, found.source) == ("images", 7, 0, str(mixed))
    assert found.modes == {"L": 1, "P": 1, "RGB": 4, "RGBA": 1}
    assert found.sizes == {(9, 7): 6, (36, 28): 1}
    assert list(found.sizes) == [(9, 7), (36, 28)]
    assert {bad.name for bad in found.skipped} == {"e-empty.png", "e-truncated.png", "e-bomb.png"}
    assert Skipped("e-empty.png", "is empty (0 bytes)") in found.skipped
    assert found.ignored == {"no image: .json": 1}
    assert found.duplicates == 1
    assert found.duplicate_names == [("copy.png", "B.PNG")]
    assert calls[-1] == (8, 8)  # what the scan let through


def test_what_inspection_counts_is_what_would_be_measured(mixed: Path) -> None:
    images = open_images(mixed, on_error="skip", max_skipped=1.0)
    damaged = {images.names.index("e-truncated.png"): "is truncated"}
    assert inspect(mixed).digest == images.without(damaged).digest  # type: ignore[union-attr]


def test_a_source_of_which_nothing_can_be_used_is_reported(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(b"x")
    found = inspect(tmp_path)
    assert found.count == 0
    assert len(found.skipped) == 3


def test_limit_archives_and_arrays(mixed: Path, pixels: np.ndarray, tmp_path: Path) -> None:
    assert inspect(mixed, limit=1).count == 1
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(mixed / "B.PNG", "B.PNG")
    assert inspect(tmp_path / "x.zip").modes == {"RGB": 1}
    found = inspect(np.concatenate([pixels, pixels, pixels]))
    assert found.duplicates == 12
    assert found.duplicate_names[0] == ("generated[6]", "generated[0]")


def test_features_and_moments_are_described(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", features=np.array([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]]))
    np.savez(tmp_path / "m.npz", mu=np.zeros(3), sigma=np.eye(3), n=10)
    features, moments = inspect(tmp_path / "f.npz"), inspect(tmp_path / "m.npz")
    assert (features.kind, features.count, features.columns, features.duplicates) == ("features", 3, 2, 1)
    assert (moments.kind, moments.count, moments.columns) == ("moments", 10, 3)


def test_what_cannot_be_opened_is_a_user_error(tmp_path: Path) -> None:
    for source in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UserError):
            inspect(source)
