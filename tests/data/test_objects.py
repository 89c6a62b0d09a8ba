from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from genaudit.data import DamagedImage, ImageSet, open_images
from genaudit.errors import UserError


def opened(source: object, **options: object) -> ImageSet:
    images = open_images(source, **options)  # type: ignore[arg-type]
    assert isinstance(images, ImageSet)
    return images


class Items(torch.utils.data.Dataset):
    """A map-style dataset over whatever it is given."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        item = self.items[index]
        return item() if callable(item) else item


class TestDatasets:
    def test_items_of_every_kind_are_the_same_image(self, pixels: np.ndarray) -> None:
        image, tensor = pixels[0], torch.from_numpy(pixels[0]).permute(2, 0, 1)
        pil = Image.fromarray(image)
        items = [image, tensor, tensor / 255, pil, (pil, 3), [tensor, 3], {"image": pil}, {"img": image, "label": 3}]
        images = opened(Items(items))
        assert images.names == [f"Items[{i}]" for i in range(8)]
        assert images.converted == {"RGB float": 1}
        for i in range(8):
            np.testing.assert_array_equal(images.read(i), image)
            np.testing.assert_array_equal(images.digests[i], images.digests[0])
        assert len(opened(Items(items), limit=3)) == 3
        assert opened(Items(items), workers=4).digest == images.digest

    def test_random_augmentation_is_noticed(self, rng: np.random.Generator) -> None:
        images = opened(Items([lambda: rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)]))
        with pytest.raises(DamagedImage, match=r"Items\[0\] differs each time"):
            images.read(0)

    @pytest.mark.parametrize(
        ("item", "message"),
        [
            (torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0)), r"must lie in \[0, 1\]"),
            (torch.zeros(2, 8, 8), r"has shape \(2, 8, 8\); expected \(C, H, W\)"),
            (np.zeros((8, 8, 3)), r"has type|holds"),
            ("a.png", "is a str"),
            (lambda: 1 / 0, "raised ZeroDivisionError"),
        ],
    )
    def test_unusable_items_are_named(self, item: Any, message: str) -> None:
        good = np.zeros((4, 4, 3), np.uint8)
        if isinstance(item, np.ndarray):
            item = item.astype(np.int32)
        with pytest.raises(UserError, match=rf"Items\[1\] .*{message}"):
            open_images(Items([good, item]))

    def test_empty_and_iterable_datasets_are_refused(self) -> None:
        class Stream(torch.utils.data.IterableDataset):
            def __iter__(self) -> Any:
                return iter([])

        with pytest.raises(UserError, match="holds no item"):
            open_images(Items([]))
        with pytest.raises(UserError, match="map-style Dataset"):
            open_images(Stream())

    def test_the_image_of_an_item_is_found_by_name_or_as_the_only_one(self, pixels: np.ndarray) -> None:
        image = torch.from_numpy(pixels[0]).permute(2, 0, 1)
        items = [{"label": 3, key: image} for key in ("pixel_values", "png", "jpg", "x")]
        images = opened(Items(items))
        assert len({bytes(row) for row in images.digests}) == 1
        with pytest.raises(UserError, match=r"Items\[0\] has the keys a, b, and none"):
            open_images(Items([{"a": image, "b": image}]))


class TestLoaders:
    def test_a_pass_through_a_loader_equals_the_array(self, pixels: np.ndarray) -> None:
        expected = opened(pixels).digest
        first = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        named = [{"image": each, "label": 1} for each in first]
        pictures = [Image.fromarray(each) for each in pixels]
        for items, keys in (
            (torch.utils.data.TensorDataset(first / 255, torch.arange(6)), {}),
            (torch.utils.data.TensorDataset(first), {}),
            (first, {}),
            (named, {}),
            (pictures, {"collate_fn": list}),
            (first, {"collate_fn": list}),
        ):
            images = opened(torch.utils.data.DataLoader(items, batch_size=4, **keys))  # type: ignore[arg-type]
            assert images.digest == expected
            assert images.names[5] == "DataLoader[5]"
            np.testing.assert_array_equal(images.read(5), pixels[5])

    def test_a_loader_without_batches_gives_pictures_or_its_datasets_batches(self, rng: np.random.Generator) -> None:
        pixels = rng.integers(0, 256, (6, 9, 7, 3), dtype=np.uint8)
        expected = opened(pixels).digest
        first = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        pictures = [Image.fromarray(each) for each in pixels]
        for items, keys in (
            (torch.utils.data.TensorDataset(first, torch.arange(6)), {}),
            (first, {}),
            (pixels, {}),
            (pictures, {"collate_fn": lambda item: item}),
            ([first[:4], first[4:]], {}),
        ):
            assert opened(torch.utils.data.DataLoader(items, batch_size=None, **keys)).digest == expected  # type: ignore[arg-type]
        grey = [torch.from_numpy(pixels[:5, :, :, 0].copy())]
        assert len(opened(torch.utils.data.DataLoader(grey, batch_size=None))) == 5  # type: ignore[arg-type]

    def test_values_that_are_no_images_are_named(self) -> None:
        loader = torch.utils.data.DataLoader(torch.randn(5, 3, 8, 8), batch_size=2)
        with pytest.raises(UserError, match=r"image 0 of the DataLoader holds floats from -"):
            open_images(loader)
        with pytest.raises(UserError, match="is a Tensor"):
            open_images(torch.utils.data.DataLoader(torch.arange(4)))


class TestCallables:
    @staticmethod
    def sample(n: int, generator: torch.Generator) -> torch.Tensor:
        return torch.rand(n, 3, 4, 5, generator=generator)

    def test_draws_are_seeded_and_counted(self) -> None:
        images = opened(self.sample, limit=100, seed=3)
        assert len(images) == 100
        assert images.names[99] == "sample[99]"
        assert images.read(99).shape == (4, 5, 3)
        assert opened(self.sample, limit=100, seed=3).digest == images.digest
        assert opened(self.sample, n_samples=100, seed=3).digest == images.digest
        few = opened(self.sample, n_samples=100, limit=7, seed=3)
        assert (len(few), few.available) == (7, 100)
        assert set(few.names) < set(images.names)
        assert opened(self.sample, limit=100, seed=4).digest != images.digest
        assert len(np.unique(images.digests, axis=0)) == 100
        np.testing.assert_array_equal(opened(self.sample, limit=64, seed=3).digests, images.digests[:64])

    def test_a_thousand_are_drawn_unless_told(self) -> None:
        calls = []

        def grey(n: int, generator: torch.Generator) -> torch.Tensor:
            calls.append(n)
            return torch.zeros(n, 1, 2, 2, dtype=torch.uint8)

        images = opened(grey)
        assert len(images) == sum(calls) == 1000
        assert max(calls) <= 64
        assert images.converted == {"L": 1000}

    @pytest.mark.parametrize(
        ("result", "message"),
        [
            (lambda n: torch.zeros(n + 1, 3, 4, 4), r"returned shape \(65, 3, 4, 4\); expected \(64, C, H, W\)"),
            (lambda n: torch.zeros(n, 4, 4), r"returned shape \(64, 4, 4\)"),
            (lambda n: [0] * n, "returned a list"),
            (lambda n: torch.zeros(n, 3, 4, 4) - 0.5, "image 0 that .* drew holds floats from -0.5"),
            (lambda n: torch.full((n, 3, 4, 4), torch.nan), "NaN"),
            (lambda n: torch.zeros(n, 3, 4, 4, device="meta"), "a batch that .* drew is a tensor of the device meta"),
            (lambda n: torch.zeros(n, 2, 4, 4), r"has shape \(2, 4, 4\)"),
        ],
    )
    def test_wrong_draws_say_what_would_be_right(self, result: Any, message: str) -> None:
        with pytest.raises(UserError, match=message):
            open_images(lambda n, generator: result(n))

    def test_callables_that_take_something_else_are_named_and_their_own_mistakes_come_out_as_they_are(self) -> None:
        def drawn(n: int) -> torch.Tensor:
            return torch.zeros(n, 3, 4, 4)

        with pytest.raises(UserError, match=r"generated: drawn must take \(n, generator\): too many positional"):
            open_images(drawn)

        def faulty(n: int, generator: torch.Generator) -> torch.Tensor:
            return torch.zeros(n, 3, 4, 4) + (lambda: None)(n)  # type: ignore[call-arg]

        with pytest.raises(TypeError, match="positional argument"):
            open_images(faulty)
