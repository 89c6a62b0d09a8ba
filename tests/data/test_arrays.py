from __future__ import annotations

import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from genaudit.data import ImageSet, open_images
from genaudit.data.digest import array_digest
from genaudit.errors import UserError

N = 6


def opened(source: object, **options: object) -> ImageSet:
    images = open_images(source, **options)  # type: ignore[arg-type]
    assert isinstance(images, ImageSet)
    return images


def chw(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def write(kind: str, path: Path, pixels: np.ndarray) -> Path:
    """The images (N, H, W, 3) in a file of the given kind."""
    tensor = chw(pixels)
    if kind == "npz":
        np.savez(path / "x.npz", pixels, np.arange(N))  # the ADM sample batch: arr_0 with labels
    elif kind == "compressed.npz":
        np.savez_compressed(path / "x.npz", images=pixels)
    elif kind == "fortran.npz":
        np.savez(path / "x.npz", images=np.asfortranarray(pixels))
    elif kind == "npy":
        np.save(path / "x.npy", pixels)
    elif kind == "pt":
        torch.save(tensor, path / "x.pt")
    elif kind == "old.pt":
        torch.save({"labels": torch.arange(N), "x": tensor}, path / "x.pt", _use_new_zipfile_serialization=False)
    elif kind == "float.pt":
        torch.save({"images": tensor / 255}, path / "x.pt")
    elif kind == "safetensors":
        save_file({"labels": torch.arange(N), "x": tensor}, path / "x.safetensors")
    elif kind == "float.safetensors":
        save_file({"data": tensor.double() / 255}, path / "x.safetensors")
    elif kind == "h5":
        with h5py.File(path / "x.h5", "w") as file:
            file["labels"] = np.arange(N)
            file.create_dataset("group/x", data=pixels, compression="gzip")
    return path / f"x.{kind.rpartition('.')[2]}"


KINDS = ["npz", "compressed.npz", "fortran.npz", "npy", "pt", "old.pt", "float.pt", "safetensors",
         "float.safetensors", "h5"]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("workers", [0, 4])
def test_array_files_hold_what_the_array_holds(tmp_path: Path, pixels: np.ndarray, kind: str, workers: int) -> None:
    path = write(kind, tmp_path, pixels)
    images = opened(path, workers=workers)
    assert images.names == [f"{path.name}[{i}]" for i in range(N)]
    assert images.digest == opened(pixels).digest
    assert images.converted == ({"RGB float": N} if "float" in kind else {})
    copy = pickle.loads(pickle.dumps(images))
    with ThreadPoolExecutor(4) as pool:
        for i, mine in enumerate(pool.map(copy.read, range(N))):
            assert mine.dtype == np.uint8
            np.testing.assert_array_equal(mine, pixels[i])
    assert opened(path, limit=2).digest == opened(pixels, limit=2).digest


def test_the_digest_of_an_array_is_that_of_its_canonical_pixels(pixels: np.ndarray) -> None:
    assert opened(pixels).digests[2].tobytes() == array_digest(pixels[2])
    assert array_digest(pixels[2]) != array_digest(pixels[2].reshape(7, 9, 3))  # the shape counts
    assert array_digest(pixels[2]) != array_digest(pixels[2].view(np.int8))  # and the type


@pytest.mark.parametrize("scale", [torch.uint8, torch.float16, torch.float32, torch.float64])
def test_tensors_of_any_type_equal_the_array(pixels: np.ndarray, scale: torch.dtype) -> None:
    tensor = chw(pixels) if scale == torch.uint8 else (chw(pixels).double() / 255).to(scale)
    assert opened(tensor.requires_grad_(scale.is_floating_point)).digest == opened(pixels).digest


def test_either_order_of_axes_and_floats_are_taken_in_arrays_and_tensors(pixels: np.ndarray) -> None:
    expected = opened(pixels).digest
    first = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    unit = pixels.astype(np.float32) / 255
    tensors = torch.from_numpy(pixels), torch.from_numpy(unit)
    for source in (first, unit, unit.astype(np.float64), unit.transpose(0, 3, 1, 2), *tensors):
        assert opened(source).digest == expected
    # where both axes could be channels the library's own order holds
    both = pixels[:, :3]
    assert opened(both).read(0).shape == (3, 7, 3)
    np.testing.assert_array_equal(opened(torch.from_numpy(both)).read(0), both[0].transpose(1, 2, 0))


def test_bfloat16_is_read_within_its_precision(pixels: np.ndarray) -> None:
    images = opened((chw(pixels) / 255).to(torch.bfloat16))
    # 8 bits of significand: x is off by at most 2^-9 relative, so half a level at 255, and rounding adds another half
    assert max(np.abs(images.read(i).astype(int) - pixels[i]).max() for i in range(N)) <= 1


def test_grey_and_alpha_are_converted_and_counted(rng: np.random.Generator) -> None:
    grey = rng.integers(0, 256, (3, 5, 4), dtype=np.uint8)
    rgba = rng.integers(0, 256, (3, 5, 4, 4), dtype=np.uint8)
    for source in (grey, grey[..., None], torch.from_numpy(grey), torch.from_numpy(grey)[:, None]):
        images = opened(source)
        assert images.converted == {"L": 3}
        np.testing.assert_array_equal(images.read(1), np.stack([grey[1]] * 3, axis=-1))
    for source in (rgba, torch.from_numpy(rgba).permute(0, 3, 1, 2)):
        images = opened(source)
        assert images.converted == {"RGBA": 3}
        np.testing.assert_array_equal(images.read(1), rgba[1, ..., :3])


def test_views_of_arrays_are_read_rightly(pixels: np.ndarray) -> None:
    assert opened(pixels[::2, ::-1]).digest == opened(np.ascontiguousarray(pixels[::2, ::-1])).digest


class TestRefusals:
    @pytest.mark.parametrize(
        ("source", "message"),
        [
            (np.zeros((2, 8, 8, 2), np.uint8), r"2 channels; images must be .*with C 1, 3 or 4"),
            (np.full((2, 8, 8, 3), 255.0), r"generated\[0\] holds floats from 255 to 255.*255"),
            (np.zeros((2, 8, 8, 3), np.int64), "type int64; images must be"),
            (np.zeros((2, 8), np.uint8), r"shape \(2, 8\).*features"),
            (np.zeros((0, 8, 8, 3), np.uint8), "holds no image"),
            (np.zeros((2, 8, 0, 3), np.uint8), "no pixels"),
            (torch.zeros(2, 8, 8, 5), r"8 channels; images must be"),
            (torch.zeros(2, 3, 8, 8, dtype=torch.int64), "type int64"),
            (torch.zeros(2, 3, 8, 8) - 1, r"generated\[0\] holds floats from -1 to -1.*\(x \+ 1\) / 2"),
            (torch.zeros(2, 3, 8, 8) + 200, r"from 200 to 200.*dividing by 255"),
            (torch.full((2, 3, 8, 8), torch.nan), r"generated\[0\] holds NaN"),
            (torch.full((2, 3, 8, 8), torch.inf), r"generated\[0\] holds NaN or infinity"),
        ],
    )
    def test_arrays_of_wrong_shape_type_or_range_say_what_would_be_right(self, source: Any, message: str) -> None:
        with pytest.raises(UserError, match=f"^generated: .*{message}"):
            open_images(source)

    def test_a_nan_in_one_image_names_it_or_is_skipped(self) -> None:
        tensor = torch.zeros(100, 3, 4, 4)
        tensor[42, 0, 1, 1] = torch.nan
        with pytest.raises(UserError, match=r"reference\[42\] holds NaN"):
            open_images(tensor, role="reference")
        assert [bad.name for bad in opened(tensor, on_error="skip").skipped] == ["generated[42]"]

    def test_large_images_are_refused_in_arrays_too(self, pixels: np.ndarray) -> None:
        with pytest.raises(UserError, match="max_pixels=62"):
            open_images(pixels, max_pixels=62)

    def test_pickled_objects_are_never_loaded(self, tmp_path: Path, pixels: np.ndarray) -> None:
        objects = np.array([Trap()], dtype=object)
        np.save(tmp_path / "x.npy", objects, allow_pickle=True)
        np.savez(tmp_path / "x.npz", images=objects)
        np.savez(tmp_path / "f.npz", features=objects)
        torch.save({"images": chw(pixels), "extra": Trap()}, tmp_path / "x.pt")
        (tmp_path / "y.pt").write_bytes(pickle.dumps(Trap(), protocol=2))
        for name in ("x.npy", "x.npz", "f.npz", "x.pt", "y.pt"):
            with pytest.raises(UserError, match=rf"{name} .*never (loaded|unpickled)"):
                open_images(tmp_path / name)
        assert not Trap.sprung

    @pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.pt", "x.safetensors", "x.h5"])
    @pytest.mark.parametrize("content", [b"", b"nonsense", b"nonsense" * 100])
    def test_damaged_files_are_named(self, tmp_path: Path, name: str, content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=name):
            open_images(tmp_path / name)

    @pytest.mark.parametrize("kind", ["npz", "compressed.npz", "npy", "pt", "safetensors", "h5"])
    def test_truncated_files_are_named(self, tmp_path: Path, pixels: np.ndarray, kind: str) -> None:
        path = write(kind, tmp_path, pixels)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(UserError, match=path.name):
            open_images(path)

    def test_files_without_images_say_what_they_hold(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "x.npz", weights=np.zeros(3))
        save_file({"w": torch.zeros(3, 2)}, tmp_path / "x.safetensors")
        torch.save({"a": torch.zeros(1, 3, 2, 2), "b": torch.zeros(1, 3, 2, 2)}, tmp_path / "x.pt")
        torch.save([1, 2], tmp_path / "y.pt")
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["w"] = np.zeros(3)
        messages = {
            "x.npz": "holds weights; images would be named arr_0 or images",
            "x.safetensors": r"holds w \(3, 2\); images would be named images or data",
            "x.pt": r"holds a \(1, 3, 2, 2\), b \(1, 3, 2, 2\);",
            "y.pt": "holds a list",
            "x.h5": r"holds w \(3,\)",
        }
        for name, message in messages.items():
            with pytest.raises(UserError, match=message):
                open_images(tmp_path / name)


class Trap:
    """Unpickling it would spring it."""

    sprung = False

    def __reduce__(self) -> Any:
        return spring, ()


def spring() -> None:
    Trap.sprung = True


class TestOnePicture:
    """One picture without the axis of images is one image, wherever it lies."""

    @pytest.mark.parametrize("kind", ["npy", "npz", "pt", "h5", "array", "tensor", "tensor, channels last"])
    def test_a_picture_is_one_image(self, tmp_path: Path, rng: np.random.Generator, kind: str) -> None:
        picture = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        source: Any = {
            "array": picture,
            "tensor": torch.from_numpy(picture).permute(2, 0, 1),
            "tensor, channels last": torch.from_numpy(picture),
        }.get(kind, tmp_path / f"x.{kind}")
        if kind == "npy":
            np.save(source, picture)
        elif kind == "npz":
            np.savez(source, picture)
        elif kind == "pt":
            torch.save(torch.from_numpy(picture).permute(2, 0, 1), source)
        elif kind == "h5":
            with h5py.File(source, "w") as file:
                file["images"] = picture
        images = opened(source)
        assert len(images) == 1
        np.testing.assert_array_equal(images.read(0), picture)
        assert "is one picture, not" in images.notes[0].text

    def test_other_channels_at_the_end_are_a_picture_too(self, rng: np.random.Generator) -> None:
        for channels, mode in ((1, {"L": 1}), (4, {"RGBA": 1}), (3, {})):
            picture = rng.integers(0, 256, (20, 30, channels), dtype=np.uint8)
            assert opened(picture).converted == mode

    @pytest.mark.parametrize("source", [np.zeros((3, 20, 30), np.uint8), np.zeros((4, 20, 30), np.uint8),
                                        torch.zeros(4, 20, 30), np.zeros((3, 20, 3), np.uint8)])  # fmt: skip
    def test_what_may_be_both_is_refused(self, source: Any) -> None:
        if source.shape == (3, 20, 3):
            assert len(opened(source)) == 3  # three pixels wide is no picture
            return
        with pytest.raises(UserError, match=r"may be one picture of \d channels or \d grey images.*\(1, "):
            open_images(source)

    def test_stacks_of_grey_images_stay_stacks(self, rng: np.random.Generator) -> None:
        for shape in ((5, 20, 30), (1, 20, 30), (2, 20, 30), (20, 30, 30), (6, 4, 4), (6, 3, 3)):
            grey = rng.integers(0, 256, shape, dtype=np.uint8)
            assert len(opened(grey)) == len(opened(torch.from_numpy(grey))) == shape[0]

    def test_files_of_one_picture_each_are_as_many_images(self, tmp_path: Path, pixels: np.ndarray) -> None:
        for i, image in enumerate(pixels):
            np.save(tmp_path / f"{i}.npy", image)
        np.savez(tmp_path / "all.npz", *pixels)
        for source in (f"{tmp_path}/*.npy", tmp_path / "all.npz"):
            images = opened(source)
            assert images.digest == opened(pixels).digest
            assert images.notes == ()


class TestRounding:
    @pytest.mark.parametrize("value", [1 + 1e-7, 1 + 1e-4, 1 + 1e-3, -1e-7, -1e-3])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_values_beyond_an_end_by_rounding_are_clamped(self, value: float, dtype: torch.dtype) -> None:
        x = torch.rand(2, 3, 8, 8, dtype=dtype, generator=torch.Generator().manual_seed(0))
        x[0, 0, 0, 0] = value
        assert opened(x).digest == opened(x.clamp(0, 1)).digest

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_the_next_number_above_one_of_a_half_is_rounding(self, dtype: torch.dtype) -> None:
        x = torch.ones(1, 3, 8, 8, dtype=dtype) + torch.finfo(dtype).eps
        assert x.max() > 1
        assert opened(x).read(0).min() == 255

    @pytest.mark.parametrize(
        ("low", "high", "hint", "never"),
        [
            (0.0, 1.05, "clamping", "255"),
            (-0.02, 1.0, "clamping", "255|2 would"),
            (0.0, 255.0, "dividing by 255", "clamping"),
            (-1.0, 1.0, r"\(x \+ 1\) / 2", "255"),
            (-3.0, 3.0, r"must lie in \[0, 1\]\.?", "255|clamping"),
        ],
    )
    def test_advice_fits_the_range(self, low: float, high: float, hint: str, never: str) -> None:
        x = torch.full((1, 3, 8, 8), (low + high) / 2)
        x[0, 0, 0, :2] = torch.tensor([low, high])
        with pytest.raises(UserError, match=hint) as caught:
            open_images(x)
        assert not re.search(never, str(caught.value).replace("1.0255", ""))
