"""What is left out of a source is counted with a reason, and what may be images is warned of."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genaudit.data import ImageSet, inspect, open_images
from genaudit.data.ignored import HIDDEN, NO_NAME, ONE_PICTURE, PAGES, SEVERAL, SYSTEM_COPY, is_loss
from genaudit.tasks.run.measuring import skipped_images, source_warnings

from .conftest import encode


def opened(source: object, **options: object) -> ImageSet:
    found = open_images(source, **options)  # type: ignore[arg-type]
    assert isinstance(found, ImageSet)
    return found


def fill(root: Path, names: list[str], pixels: np.ndarray) -> Path:
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encode(pixels[i % len(pixels)]))
    return root


def as_tar(root: Path, path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        for file in sorted(root.rglob("*")):
            if file.is_file():
                archive.add(file, file.relative_to(root).as_posix())
    return path


def test_other_formats_and_odd_names_are_counted_and_warned_of(tmp_path: Path, pixels: np.ndarray) -> None:
    names = ["a.png", "b.tga", "c.svg", "noext", "d.dat", ".hidden.png", "._a.png", ".cache/x.png", ".odd/y.png"]
    root = fill(tmp_path / "x", names, pixels)
    (root / "labels.json").write_text("{}")
    (root / "README").write_text("text")
    (root / "more.tar").write_bytes(b"")
    expected = {
        "image format that is not read: .tga": 1,
        "image format that is not read: .svg": 1,
        "PNG image by its content, without such an extension": 2,
        "archive in a folder or archive: .tar": 1,
        HIDDEN: 2,
        SYSTEM_COPY: 2,
        "no image: .json": 1,
        "no image: without extension": 1,
    }
    folder = opened(root)
    assert folder.names == ["a.png"]
    assert folder.ignored == expected
    assert opened(as_tar(root, tmp_path / "x.tar")).ignored == expected  # one rule on every route
    (warning,) = skipped_images({"train": folder})
    assert warning.code == "images-ignored"
    assert warning.message.startswith("train: 7 that may be images are not used (")
    assert "README" not in warning.message
    assert [reason for reason in expected if not is_loss(reason)] == [
        SYSTEM_COPY,
        "no image: .json",
        "no image: without extension",
    ]


def test_labels_and_text_beside_images_bring_no_warning(tmp_path: Path, pixels: np.ndarray) -> None:
    root = fill(tmp_path, ["a.png", "b.png"], pixels)
    for name in ("a.txt", "a.json", "labels.csv", "features.npz", "LICENSE", ".DS_Store"):
        (root / name).write_text("x")
    assert skipped_images({"train": opened(root)}) == []


def test_pages_and_frames_behind_the_first_are_counted(tmp_path: Path, pixels: np.ndarray) -> None:
    frames = [Image.fromarray(each) for each in pixels[:4]]
    for kind, options in (("tiff", {}), ("gif", {}), ("png", {}), ("webp", {"lossless": True})):
        frames[0].save(tmp_path / f"{kind}.{kind}", save_all=True, append_images=frames[1:], **options)
    images = opened(tmp_path)
    assert len(images) == 4
    assert images.ignored == {PAGES: 12}
    assert [warning.code for warning in skipped_images({"generated": images})] == ["images-ignored"]


@pytest.mark.parametrize("route", ["folder", "tar"])
@pytest.mark.parametrize(
    ("names", "kept"),
    [
        (["0.jpg", "0.mask.png", "1.jpg", "1.mask.png"], ["0.jpg", "1.jpg"]),
        (["0.image.png", "0.depth.png", "1.image.png", "1.depth.png"], ["0.image.png", "1.image.png"]),
        (["a.png", "a_mask.png", "b.jpg", "b-depth.png", "c_mask.png"], ["a.png", "b.jpg", "c_mask.png"]),
        # numbers are no kinds: Kaggle's cat.0.jpg, and seeds and scales with a point
        (["cat.0.jpg", "cat.1.jpg", "dog.0.jpg", "dog.1.jpg"], ["cat.0.jpg", "cat.1.jpg", "dog.0.jpg", "dog.1.jpg"]),
        (["x_1.5.png", "x_1.png", "x_2.png"], ["x_1.5.png", "x_1.png", "x_2.png"]),
        (["x/0.png", "y/0.mask.png"], ["x/0.png", "y/0.mask.png"]),
    ],
)
def test_masks_beside_an_image_are_no_images(
    tmp_path: Path, pixels: np.ndarray, route: str, names: list[str], kept: list[str]
) -> None:
    root = fill(tmp_path / "x", names, pixels)
    images = opened(root if route == "folder" else as_tar(root, tmp_path / "x.tar"))
    assert images.names == sorted(kept)
    left = {reason: n for reason, n in images.ignored.items() if reason.startswith("beside the image of the same name")}
    assert sum(left.values()) == len(names) - len(kept)
    assert bool(skipped_images({"train": images})) == bool(left)


def test_names_that_hold_several_images_are_said_and_a_pattern_chooses(tmp_path: Path, pixels: np.ndarray) -> None:
    root = fill(tmp_path / "x", ["0.jpg", "0.png", "1.jpg", "1.png"], pixels)
    for source in (root, as_tar(root, tmp_path / "x.tar")):
        images = opened(source)
        assert len(images) == 4
        assert [note.code for note in images.notes] == [SEVERAL]
        assert "2 names hold several images each (.jpg, .png)" in images.notes[0].text
        chosen = opened(f"{source}/*.png")
        assert len(chosen) == 2
        assert chosen.notes == ()
    masks = as_tar(fill(tmp_path / "m", ["0.jpg", "0.mask.png"], pixels), tmp_path / "m.tar")
    assert opened(f"{masks}/*.mask.png").names == ["0.mask.png"]


def test_a_folder_of_masks_beside_a_folder_of_images_is_said(tmp_path: Path, pixels: np.ndarray) -> None:
    images = opened(fill(tmp_path / "x", ["images/0.png", "masks/0.png", "images/1.png", "masks/1.png"], pixels))
    assert len(images) == 4
    assert images.notes[0].text.startswith(
        "2 images lie in folders of the name masks/, beside images of the same names"
    )
    assert opened(fill(tmp_path / "y", ["cat/0.png", "dog/0.png", "masks/7.png"], pixels)).notes == ()


def test_further_arrays_of_a_file_are_counted(tmp_path: Path, pixels: np.ndarray) -> None:
    np.savez(tmp_path / "x.npz", images=pixels, masks=pixels[..., 0], labels=np.arange(6))
    assert opened(tmp_path / "x.npz").ignored == {"images of another array of the file: masks": 6}


def test_one_array_is_one_picture_and_says_so(pixels: np.ndarray) -> None:
    images = opened(pixels[0])
    assert [note.code for note in images.notes] == [ONE_PICTURE]


def test_check_names_what_is_left_out(tmp_path: Path, pixels: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    from genaudit.cli import main

    buffer = io.BytesIO()
    Image.fromarray(pixels[0]).save(buffer, "png")
    fill(tmp_path, ["a.png", "b.tga", "a.mask.png"], pixels)
    assert main(["check", str(tmp_path), "progress=false"]) == 0
    printed = capsys.readouterr().out
    assert "ignored    1: image format that is not read: .tga" in printed
    assert "ignored    1: beside the image of the same name: .mask.png" in printed
    assert inspect(tmp_path).count == 1


def test_what_was_left_out_most_often_is_named_first() -> None:
    images: Any = SimpleNamespace(ignored={HIDDEN: 1, NO_NAME: 3, SYSTEM_COPY: 9}, turned=0, notes=())
    (warning,) = source_warnings("generated", images)
    assert f"generated: 4 that may be images are not used (3: {NO_NAME}; 1: {HIDDEN})." == warning.message
