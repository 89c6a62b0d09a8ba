"""Images for a density model's training: the same pixels from memory and from disk, of one size or padded to one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genaudit.errors import UserError
from genaudit.likelihood.dequantisation import to_pixels
from genaudit.tasks.run.from_python import compose
from genaudit.tasks.run.settings import Settings
from genaudit.tasks.training import likelihood_images
from genaudit.tasks.training.likelihood_images import LikelihoodImages, labels_of


def opened(source: Path, shape: tuple[int, int, int], **keys: object) -> LikelihoodImages:
    images = likelihood_images.likelihood_images({"train": str(source)}, "train", shape, settings(**keys))
    assert images is not None
    return images


def settings(**keys: object) -> Settings:
    return Settings.of(compose("train", [f"{key}={value}" for key, value in {"device": "cpu", **keys}.items()]))


def test_pixels_from_disk_are_those_from_memory(
    make_images: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_images("images", 7, size=6)
    Image.new("L", (4, 5), 200).save(folder / "grey.png")  # of another size: all are padded
    for channels in (1, 3):
        held = opened(folder, (channels, 8, 8))
        assert held[np.arange(8)].shape == (8, 8, 8, channels)
        with monkeypatch.context() as patched:
            patched.setattr(likelihood_images, "IN_MEMORY_BYTES", 0)
            read = opened(folder, (channels, 8, 8))
        chosen = np.array([3, 7, 0, 3])
        np.testing.assert_array_equal(held[chosen], read[chosen])
        expected = to_pixels(held.set.read(0)[None], channels=channels, size=8)[0].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(held[np.array([0])][0], expected)


def test_images_of_one_size_keep_it_for_the_augmentation(make_images: Callable[..., Path]) -> None:
    images = opened(make_images("images", 3, size=6), (1, 8, 8))
    assert images[np.arange(3)].shape == (3, 6, 6, 1)


def test_damaged_images_are_left_out_or_named(make_images: Callable[..., Path]) -> None:
    folder = make_images("images", 5, size=8)
    path = sorted(folder.iterdir())[2]
    path.write_bytes(path.read_bytes()[:-30])  # its header is whole: the damage shows when it is decoded
    with pytest.raises(UserError, match=path.name):
        opened(folder, (1, 8, 8))
    images = opened(folder, (1, 8, 8), on_error="skip", max_skipped=0.5)
    assert len(images) == len(images[np.arange(4)]) == 4
    assert path.name not in images.set.names


def test_labels_must_be_one_known_class_an_image(make_images: Callable[..., Path], tmp_path: Path) -> None:
    images = opened(make_images("images", 4, size=8), (1, 8, 8))
    assert labels_of(None, images, 1) is None
    file = tmp_path / "labels.txt"
    file.write_text("0\n1\n1\n0\n")
    labels = labels_of(str(file), images, 2)
    assert labels is not None
    assert labels.tolist() == [0, 1, 1, 0]
    cases = [
        ("0\n1\n", "2 labels"),
        ("0\n1\n2\n0\n", "outside 0 to 1"),
        ("0\n0.5\n1\n1\n", "integer"),
        ("a\nb\n", "cannot be read"),
    ]
    for text, message in cases:
        file.write_text(text)
        with pytest.raises(UserError, match=message):
            labels_of(str(file), images, 2)
