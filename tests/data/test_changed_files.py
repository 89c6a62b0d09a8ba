"""Arrays in files that change between listing and measuring: an error with a name, no other rows and no signal."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from genaudit.data import DamagedImage, FeatureSet, ImageSet, file_rows, open_images
from genaudit.errors import UserError

N, SIDE = 6, 40
KINDS = ["npy", "npz", "pt", "safetensors", "h5"]


@pytest.fixture(autouse=True)
def _nothing_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small arrays as large ones are: read by rows."""
    monkeypatch.setattr(file_rows, "HELD_BYTES", 0)
    monkeypatch.setattr("genaudit.data.tensor_files.HELD_BYTES", 0)


def write(path: Path, images: np.ndarray) -> None:
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    kind = path.suffix[1:]
    if kind == "npy":
        np.save(path, images)
    elif kind == "npz":
        np.savez(path, images)
    elif kind == "pt":
        torch.save({"labels": torch.arange(N), "images": tensor.contiguous()}, path)
    elif kind == "safetensors":
        save_file({"images": tensor.contiguous()}, path)
    else:
        with h5py.File(path, "w") as file:
            file["images"] = images


def images_of(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (N, SIDE, SIDE, 3), dtype=np.uint8)


def opened(source: object) -> ImageSet:
    found = open_images(source)
    assert isinstance(found, ImageSet)
    return found


def reason(images: ImageSet, index: int, expected: np.ndarray) -> str:
    """Why an image cannot be read; "" where it can, and is what was hashed."""
    try:
        np.testing.assert_array_equal(images.read(index), expected)
    except DamagedImage as error:
        return error.reason
    return ""


@pytest.mark.parametrize("kind", KINDS)
def test_other_images_in_the_same_place_are_noticed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    write(path, images_of(0))
    images = opened(path)
    np.testing.assert_array_equal(images.read(1), images_of(0)[1])
    write(tmp_path / f"y.{kind}", images_of(1))
    path.write_bytes((tmp_path / f"y.{kind}").read_bytes())  # in place, as a program that rewrites its output does
    reasons = [reason(images, index, images_of(0)[index]) for index in range(N)]
    assert all(why in ("", "has changed since it was first read") or "cannot be read" in why for why in reasons)
    assert all(reasons) or kind == "h5"  # HDF5 holds a part of the file: what was hashed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, 600])
def test_a_file_that_is_shortened_is_an_error_and_no_signal(tmp_path: Path, kind: str, size: int) -> None:
    path = tmp_path / f"x.{kind}"
    write(path, images_of(0))
    images = opened(path)
    os.truncate(path, size)
    why = reason(images, N - 1, images_of(0)[N - 1])
    assert why.startswith("cannot be read (") or (kind == "h5" and why == "")


def test_an_array_in_memory_that_is_overwritten_is_noticed() -> None:
    array = images_of(0)
    tensor = torch.from_numpy(images_of(0)).permute(0, 3, 1, 2)
    for images, change in ((opened(array), array), (opened(tensor), tensor)):
        change[2] = 0
        images.read(1)
        with pytest.raises(DamagedImage, match="has changed since it was first read"):
            images.read(2)


@pytest.mark.parametrize("change", ["rewritten", "shortened"])
def test_features_that_change_are_the_users_to_mend(tmp_path: Path, change: str) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, features=np.random.default_rng(0).normal(size=(50, 30)))
    features = open_images(path)
    assert isinstance(features, FeatureSet)
    if change == "rewritten":
        np.savez(path, features=np.random.default_rng(1).normal(size=(50, 30)))
    else:
        os.truncate(path, 5_000)
    with pytest.raises(UserError, match=r"generated: .*x\.npz (has changed|cannot be read)"):
        np.asarray(features.features)


def layouts() -> dict[str, torch.Tensor]:
    base = torch.from_numpy(images_of(3)).permute(0, 3, 1, 2)
    padded = torch.zeros(N + 2, 3, SIDE, SIDE, dtype=torch.uint8)
    padded[2:] = base
    return {
        "contiguous": base.contiguous(),
        "channels last": base,
        "a part of a larger one": padded[2:],
        "images last": base.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
        "float": base.contiguous().float() / 255,
        "double": base.contiguous().double() / 255,
    }


@pytest.mark.parametrize("layout", layouts())
def test_tensors_of_any_layout_are_read_at_their_place(tmp_path: Path, layout: str) -> None:
    torch.save(
        {"images": layouts()[layout], "masks": torch.zeros(N, 3, SIDE, SIDE, dtype=torch.uint8)}, tmp_path / "x.pt"
    )
    images = opened(tmp_path / "x.pt")
    for index, image in enumerate(images_of(3)):
        np.testing.assert_array_equal(images.read(index), image)


@pytest.mark.parametrize("kind", ["pt", "safetensors"])
def test_bfloat16_in_files_is_read_as_in_memory(tmp_path: Path, kind: str) -> None:
    tensor = (torch.from_numpy(images_of(4)).permute(0, 3, 1, 2).contiguous() / 255).to(torch.bfloat16)
    tensor[0, 0, 0, 0] = 1 + 2**-7  # the number above 1
    path = tmp_path / f"x.{kind}"
    torch.save(tensor, path) if kind == "pt" else save_file({"images": tensor}, path)
    assert opened(path).digest == opened(tensor).digest
