from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from genaudit.data import FeatureSet, ImageSet, open_images
from genaudit.errors import UserError

from .conftest import encode


def opened(source: object, **options: object) -> ImageSet:
    images = open_images(source, **options)  # type: ignore[arg-type]
    assert isinstance(images, ImageSet)
    return images


class TestPaths:
    def test_strings_paths_and_the_home_folder(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(folder.parent))
        assert opened(str(folder)).digest == opened(folder).digest == opened("~/folder").digest

    def test_one_image_file(self, folder: Path, pixels: np.ndarray) -> None:
        images = opened(folder / "B.PNG")
        assert images.names == ["B.PNG"]
        np.testing.assert_array_equal(images.read(0), pixels[0])

    def test_lists_mix_files_folders_and_archives_in_their_order(self, folder: Path, pixels: np.ndarray) -> None:
        np.save(folder / "x.npy", pixels[:2])
        parts = [folder / "c.webp", folder / "a", folder / "x.npy", folder / "B.PNG", folder / "d.tiff"]
        images = opened(parts)
        expected = [f"{folder}/c.webp", f"{folder}/a/b/grey.png", f"{folder}/a/palette.gif", f"{folder}/a/photo.jpeg",
                    "x.npy[0]", "x.npy[1]", f"{folder}/B.PNG", f"{folder}/d.tiff"]  # fmt: skip
        assert images.names == expected
        for i, pixel in ((0, 4), (4, 0), (5, 1), (6, 0)):
            np.testing.assert_array_equal(images.read(i), pixels[pixel])
        assert opened(OmegaConf.create([str(part) for part in parts])).digest == images.digest
        assert len(opened(parts, limit=5)) == 5

    def test_patterns_match_files_and_pass_over_the_rest(self, folder: Path, files: dict[str, bytes]) -> None:
        (folder / "labels.csv").write_text("path\nmissing.png\n")
        assert opened(f"{folder}/*.*").names == [f"{folder}/{name}" for name in ("B.PNG", "c.webp", "d.tiff")]
        assert opened(f"{folder}/*.*").ignored == {"no image: .csv": 1}
        (folder / "README").write_text("text")
        assert opened(f"{folder}/*").ignored == {"no image: .csv": 1, "no image: without extension": 1}
        everything = opened(f"{folder}/**")
        assert everything.names == [f"{folder}/{name}" for name in sorted(files)]  # no image twice

    def test_a_literal_path_wins_over_a_pattern(self, tmp_path: Path, files: dict[str, bytes]) -> None:
        (tmp_path / "[a]").mkdir()
        (tmp_path / "[a]" / "x.png").write_bytes(files["B.PNG"])
        (tmp_path / "a").mkdir()
        assert opened(f"{tmp_path}/[a]").names == ["x.png"]

    @pytest.mark.parametrize("source", ["missing", "missing/*.png", "missing.zip", "missing.csv"])
    def test_what_is_not_there_is_named_with_what_could_be(self, tmp_path: Path, source: str) -> None:
        with pytest.raises(UserError, match=r"reference: .*missing.* a folder, .*\.zip.*\.npz.*glob"):
            open_images(tmp_path / source, role="reference")

    def test_empty_folders_say_what_was_looked_for_and_found(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"holds no images\. Looked for png, .*; found nothing else"):
            open_images(tmp_path)
        for name in ("a.txt", "b.txt", "c.tar"):
            (tmp_path / name).touch()
        with pytest.raises(UserError, match=r"found 2 \.txt, 1 \.tar instead\. To read the archives in it, .*\*\.tar"):
            open_images(tmp_path)

    def test_unknown_kinds_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "x.docx").touch()
        with pytest.raises(UserError, match=r"x\.docx is of no kind"):
            open_images(tmp_path / "x.docx")

    def test_folders_without_permission_are_named(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def scandir(path: str) -> Any:  # the superuser, who may run the tests, may read everything
            if path.endswith("/a"):
                raise PermissionError(errno.EACCES, "Permission denied", path)
            return original(path)

        original = os.scandir
        monkeypatch.setattr(os, "scandir", scandir)
        with pytest.raises(UserError, match=r"cannot be read at .*/a \(Permission denied\)"):
            open_images(folder)

    def test_names_that_no_system_takes_are_user_errors(self) -> None:
        with pytest.raises(UserError, match=r"cannot be read|does not exist"):
            open_images("x" * 5000)


class TestFilesOfNames:
    def test_txt_keeps_its_order_and_takes_relative_and_absolute_names(self, folder: Path, tmp_path: Path) -> None:
        absolute = tmp_path / "folder" / "B.PNG"
        (folder / "list.txt").write_text(f"# chosen by hand\nd.tiff\n\n  a/photo.jpeg  \n{absolute}\nd.tiff\n")
        images = opened(folder / "list.txt")
        assert images.names == ["d.tiff", "a/photo.jpeg", str(absolute), "d.tiff"]
        assert images.read(1).shape == (36, 28, 3)

    @pytest.mark.parametrize(
        "text",
        [
            "path\nB.PNG\na/photo.jpeg\n",
            "label,FileName\n3,B.PNG\n4,a/photo.jpeg\n",
            "B.PNG,3\na/photo.jpeg,4\n",
            "sample,label\nB.PNG,3\na/photo.jpeg,4\n",
            '\ufeff"image"\r\n"B.PNG"\r\n\r\n"a/photo.jpeg"\r\n',
        ],
    )
    def test_csv_columns_are_found(self, folder: Path, text: str) -> None:
        (folder / "list.csv").write_text(text, encoding="utf-8")
        assert opened(folder / "list.csv").names == ["B.PNG", "a/photo.jpeg"]

    def test_missing_files_are_named(self, folder: Path) -> None:
        (folder / "list.txt").write_text("B.PNG\nnowhere.png\n")
        with pytest.raises(UserError, match=r"nowhere\.png cannot be read \(No such file or directory\)"):
            open_images(folder / "list.txt")

    @pytest.mark.parametrize("content", [b"", b"path\n", b"\n\n"])
    def test_lists_without_names_hold_no_images(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "list.csv").write_bytes(content)
        with pytest.raises(UserError, match="holds no images"):
            open_images(tmp_path / "list.csv")

    def test_lists_that_are_no_text_are_refused(self, tmp_path: Path) -> None:
        for name in ("list.csv", "list.txt"):
            (tmp_path / name).write_bytes(b"\xff\xfe\x00")
            with pytest.raises(UserError, match=rf"{name} is not a list of files"):
                open_images(tmp_path / name)


class TestLists:
    def test_lists_of_pictures_arrays_and_tensors_equal_the_array(self, pixels: np.ndarray) -> None:
        expected = opened(pixels).digest
        first = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        for source in (
            [Image.fromarray(each) for each in pixels],
            tuple(pixels),
            list(pixels.transpose(0, 3, 1, 2)),
            list(pixels / np.float32(255)),
            list(first),
            list(first / 255),
            [pixels[:2], pixels[2:]],
            [first[:1], first[1:4], first[4:]],
        ):
            assert opened(source).digest == expected
        mixed = [Image.fromarray(pixels[0]).convert("L"), np.zeros((3, 2), np.uint8)]
        assert opened(mixed).converted == {"L": 2}

    @pytest.mark.parametrize(
        ("source", "message"),
        [([], "the list of paths is empty"), ([1, 2], "type list"), (["x.png", 3], "type list"), ([[3]], "is a int")],
    )
    def test_other_lists_are_refused(self, source: list[Any], message: str) -> None:
        with pytest.raises(UserError, match=f"generated: .*{message}"):
            open_images(source)

    def test_rows_of_floats_are_features(self, rng: np.random.Generator) -> None:
        rows = rng.normal(size=(7, 4)).astype(np.float32)
        for source in (rows, torch.from_numpy(rows), list(rows), list(torch.from_numpy(rows))):
            features = open_images(source, role="reference")
            assert isinstance(features, FeatureSet)
            np.testing.assert_array_equal(features.features, rows)
            assert features.names[6] == "reference[6]"
        with pytest.raises(UserError, match=r"reference: features .* NaN or infinity in row 1"):
            open_images(np.array([[0.0], [np.nan]]), role="reference")
        with pytest.raises(UserError, match=r"reference.*shape \(7, 4\).*must be floats"):
            open_images(rows.astype(int), role="reference")


class TestNames:
    @pytest.mark.parametrize("name", ["a[1]", "~", "~x", "d\\", " ", "a b ", "${x}", "*", "'q'", "a,b"])
    def test_a_name_that_is_there_is_taken_as_it_is_written(
        self, name: str, pixels: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / name).mkdir()
        Image.fromarray(pixels[0]).save(tmp_path / name / "x.png")
        if name.strip():
            assert opened(name).names == ["x.png"]
        assert len(opened(f"{tmp_path}/{name}/*.png")) == 1

    @pytest.mark.parametrize("empty", ["", " "])
    def test_an_empty_path_is_not_the_current_folder(self, empty: str, folder: Path) -> None:
        with pytest.raises(UserError, match="train= is empty"):
            open_images(empty, role="train")
        with pytest.raises(UserError, match="train= is empty"):
            open_images([str(folder), empty], role="train")


@dataclass(frozen=True)
class Wrapped:
    inner: Any

    def __str__(self) -> str:
        return "my samples"

    def open_source(self) -> Any:
        return self.inner


class TestSourceObjects:
    def test_a_source_gives_anything_that_can_be_opened(self, folder: Path, pixels: np.ndarray) -> None:
        for inner in (folder, str(folder), pixels, Wrapped(folder)):
            images = opened(Wrapped(inner))
            assert images.source == "my samples"
            assert images.digest == opened(inner).digest

    def test_an_empty_source_goes_by_its_own_name(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="train: my samples holds no images"):
            open_images(Wrapped(tmp_path), role="train")

    @pytest.mark.parametrize("source", [None, 3, {}, {"path": "x"}, iter([]), [1, 2], object()])
    def test_other_objects_are_refused_by_their_type(self, source: Any) -> None:
        with pytest.raises(UserError, match=f"object of type {type(source).__name__}"):
            open_images(source)

    def test_an_empty_list_is_refused(self) -> None:
        with pytest.raises(UserError, match="list of paths is empty"):
            open_images([])

    def test_lists_take_images_only(self, tmp_path: Path, pixels: np.ndarray) -> None:
        np.savez(tmp_path / "f.npz", features=np.ones((2, 2)))
        (tmp_path / "a.png").write_bytes(encode(pixels[0]))
        with pytest.raises(UserError, match=r"f\.npz holds no images"):
            open_images([tmp_path / "a.png", tmp_path / "f.npz"])
