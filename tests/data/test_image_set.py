from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from genaudit.data import DamagedImage, ImageSet, Skipped, open_images
from genaudit.data.ignored import HIDDEN, SYSTEM_COPY
from genaudit.errors import UserError

from .conftest import encode, raw_png


def opened(source: object, **options: object) -> ImageSet:
    images = open_images(source, **options)  # type: ignore[arg-type]
    assert isinstance(images, ImageSet)
    return images


def test_a_folder_is_searched_recursively_in_the_order_of_its_paths(folder: Path, files: dict[str, bytes]) -> None:
    images = opened(folder)
    assert images.names == sorted(files)
    assert images.source == str(folder)
    assert images.sizes.tolist() == [[9, 7], [9, 7], [9, 7], [36, 28], [9, 7], [9, 7]]
    assert images.modes == {"L": 1, "P": 1, "RGB": 3, "RGBA": 1}
    assert images.converted == {"L": 1, "P": 1, "RGBA": 1}
    assert images.skipped == []


def test_digests_are_blake2b_of_the_bytes_and_independent_of_names_and_times(
    folder: Path, files: dict[str, bytes], tmp_path: Path
) -> None:
    images = opened(folder)
    for name, digest in zip(images.names, images.digests, strict=True):
        assert digest.tobytes() == hashlib.blake2b(files[name], digest_size=16).digest()
    other = tmp_path / "other"
    other.mkdir()
    for i, name in enumerate(images.names):
        (other / f"{i}.png").write_bytes(files[name])  # another name, time and even extension
    renamed = opened(other)
    np.testing.assert_array_equal(renamed.digests, images.digests)
    assert renamed.digest == images.digest
    assert opened(other, limit=2).digest != images.digest
    assert images.subset([1, 0, 2, 3, 4, 5]).digest != images.digest


def test_other_files_and_hidden_ones_are_ignored_and_counted(folder: Path, pixels: np.ndarray) -> None:
    for name in ("labels.json", "a/x.json", "README", "._B.png", "a/.hidden.png"):
        (folder / name).write_bytes(encode(pixels[0]))
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints" / "B.png").write_bytes(encode(pixels[0]))
    images = opened(folder)
    assert len(images) == 6
    assert images.ignored == {
        "no image: .json": 2,
        "PNG image by its content, without such an extension": 1,
        SYSTEM_COPY: 2,  # ._B.png and .ipynb_checkpoints/B.png
        HIDDEN: 1,
    }


def test_links_are_followed_and_circles_end(folder: Path, tmp_path: Path, files: dict[str, bytes]) -> None:
    (folder / "a" / "up").symlink_to(folder)
    (tmp_path / "linked").symlink_to(folder)
    assert opened(tmp_path / "linked").names == sorted(files)


@pytest.mark.parametrize("workers", [1, 4])
def test_threads_change_nothing(tmp_path: Path, rng: np.random.Generator, workers: int) -> None:
    for i in range(50):
        (tmp_path / f"{i:02}.png").write_bytes(encode(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)))
    for i in (7, 31):
        (tmp_path / f"{i:02}.png").write_bytes(b"broken")
    serial = opened(tmp_path, on_error="skip", max_skipped=0.1)
    threaded = opened(tmp_path, on_error="skip", max_skipped=0.1, workers=workers)
    assert threaded.names == serial.names
    assert threaded.skipped == serial.skipped
    assert threaded.digest == serial.digest
    with pytest.raises(UserError, match=r"07\.png"):
        open_images(tmp_path, workers=workers)


def test_many_threads_read_the_same_pixels(folder: Path) -> None:
    images = opened(folder)
    alone = [images.read(i) for i in range(len(images))]
    order = np.random.default_rng(1).integers(0, len(images), 200)
    with ThreadPoolExecutor(8) as pool:
        for i, pixels in zip(order, pool.map(images.read, order), strict=True):
            np.testing.assert_array_equal(pixels, alone[i])


def test_limit_takes_a_random_subset_that_names_and_their_order_do_not_change(
    folder: Path, files: dict[str, bytes], tmp_path: Path
) -> None:
    everything, few = opened(folder), opened(folder, limit=3, seed=1)
    assert len(few) == 3
    assert few.available == 6
    assert few.names == [name for name in everything.names if name in few.names]
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for place, name in enumerate(reversed(sorted(files))):
        (renamed / f"{place}{Path(name).suffix}").write_bytes(files[name])
    other = opened(renamed, limit=3, seed=1)
    assert sorted(map(bytes, other.digests)) == sorted(map(bytes, few.digests))
    assert len({tuple(opened(folder, limit=3, seed=seed).names) for seed in range(20)}) > 5
    assert set(few.names) < set(opened(folder, limit=4, seed=1).names)
    assert opened(folder, limit=100).available is None
    assert len(opened(folder, limit=100)) == 6


def test_max_skipped_is_a_share_of_the_images_that_a_limit_took(folder: Path) -> None:
    (folder / "bad.png").write_bytes(b"x")
    few = opened(folder, limit=2, on_error="skip", max_skipped=0.2)
    assert len(few.skipped) == 1
    with pytest.raises(UserError, match="1 of 2 images"):
        few.without({0: "is truncated"})


def test_a_limit_is_checked(folder: Path) -> None:
    for limit in (0, -1):
        with pytest.raises(UserError, match="limit must be a positive integer"):
            open_images(folder, limit=limit)


def test_progress_is_told_of_every_image(folder: Path) -> None:
    calls: list[tuple[int, int]] = []
    opened(folder, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(i + 1, 6) for i in range(6)]


def test_subsets_read_their_own_images(folder: Path) -> None:
    images = opened(folder)
    for indices in ([4, 1, 1], np.array([4, 1, 1]), range(1, 3), np.arange(6) > 3, []):
        subset = images.subset(indices)  # type: ignore[arg-type]
        chosen = np.arange(6)[np.asarray(indices, dtype=None if len(indices) else int)]  # type: ignore[arg-type]
        assert subset.names == [images.names[i] for i in chosen]
        for mine, theirs in enumerate(chosen):
            np.testing.assert_array_equal(subset.read(mine), images.read(theirs))
            np.testing.assert_array_equal(subset.digests[mine], images.digests[theirs])
    assert images.subset([1]).converted == {"L": 1}


def test_pickled_sets_read_the_same(folder: Path) -> None:
    images = opened(folder)
    copy = pickle.loads(pickle.dumps(images))
    assert copy.digest == images.digest
    np.testing.assert_array_equal(copy.read(3), images.read(3))


def test_an_open_set_is_passed_through(folder: Path) -> None:
    images = opened(folder)
    assert open_images(images) is images
    assert opened(images, limit=2).digest == opened(folder, limit=2).digest


class TestDamage:
    @pytest.fixture
    def damaged(self, tmp_path: Path, pixels: np.ndarray, rng: np.random.Generator) -> Path:
        """100 images; 3 has a damaged header, 5 is truncated within its data, which only decoding shows."""
        for i in range(100):
            (tmp_path / f"{i:02}.png").write_bytes(encode(pixels[i % 6] ^ np.uint8(i)))
        (tmp_path / "03.png").write_bytes(b"")
        (tmp_path / "05.png").write_bytes(encode(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))[:-1000])
        return tmp_path

    def test_fail_names_the_first_file_and_what_to_do(self, damaged: Path) -> None:
        with pytest.raises(UserError, match=r"^train: in .*, 03.png is empty \(0 bytes\)\. .*on_error=skip"):
            open_images(damaged, role="train")

    def test_skip_leaves_it_out_with_the_reason(self, damaged: Path, pixels: np.ndarray) -> None:
        images = opened(damaged, on_error="skip")
        assert len(images) == len(images.names) == len(images.digests) == 99
        assert images.skipped == [Skipped("03.png", "is empty (0 bytes)")]
        assert images.names[3] == "04.png"
        np.testing.assert_array_equal(images.read(3), pixels[4] ^ np.uint8(4))

    def test_truncated_data_shows_when_read(self, damaged: Path) -> None:
        images = opened(damaged, on_error="skip")
        with pytest.raises(DamagedImage, match=r"05\.png is a truncated PNG file") as caught:
            images.read(4)
        copy = pickle.loads(pickle.dumps(caught.value))  # it crosses processes
        assert (copy.name, copy.reason) == (caught.value.name, caught.value.reason)

    def test_without_counts_what_the_scan_skipped(self, damaged: Path) -> None:
        images = opened(damaged, on_error="skip", max_skipped=0.02)
        rest = images.without({4: "is a truncated PNG file"})
        assert len(rest) == 98
        assert [bad.name for bad in rest.skipped] == ["03.png", "05.png"]
        assert "05.png" not in rest.names
        assert rest.without({}).names == rest.names
        with pytest.raises(UserError, match="3 of 100 images"):
            rest.without({0: "is damaged"})

    def test_without_fails_where_errors_fail(self, damaged: Path) -> None:
        (damaged / "03.png").unlink()
        images = opened(damaged)
        assert images.names[4] == "05.png"
        with pytest.raises(UserError, match=r"05\.png is truncated.*on_error=skip"):
            images.without({4: "is truncated"})

    def test_too_many_are_an_error_that_counts_and_names(self, damaged: Path) -> None:
        for i in range(10, 20):
            (damaged / f"{i}.png").write_bytes(b"no image")
        with pytest.raises(UserError, match=r"11 of 100 images .*max_skipped=0\.01: 03\.png .*and 6 more"):
            open_images(damaged, on_error="skip")
        assert len(opened(damaged, on_error="skip", max_skipped=0.11)) == 89

    def test_a_file_that_changes_after_the_scan_is_damaged(self, damaged: Path, pixels: np.ndarray) -> None:
        images = opened(damaged, on_error="skip")
        (damaged / "00.png").write_bytes(encode(pixels[0][::-1]))
        with pytest.raises(DamagedImage, match="changed"):
            images.read(0)
        (damaged / "01.png").unlink()
        with pytest.raises(DamagedImage, match="No such file"):
            images.read(1)

    def test_nothing_usable_is_an_error_even_when_all_may_be_skipped(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(b"x")
        with pytest.raises(UserError, match="none of the 1 images"):
            open_images(tmp_path, on_error="skip", max_skipped=1.0)

    def test_bombs_are_refused_by_name_when_scanned(self, damaged: Path) -> None:
        (damaged / "03.png").write_bytes(raw_png(40_000, 40_000, 8, 2, b""))
        with pytest.raises(UserError, match=r"03\.png would decode to 40000 x 40000 = 1,600,000,000 pixels"):
            open_images(damaged)
        with pytest.raises(UserError, match="max_pixels=62"):
            open_images(damaged, max_pixels=62)

    def test_policies_are_checked(self, damaged: Path) -> None:
        for options in ({"on_error": "ignore"}, {"max_skipped": 1.5}, {"max_pixels": 0}):
            with pytest.raises(UserError, match=next(iter(options))):
                open_images(damaged, **options)  # type: ignore[arg-type]


def test_importing_the_room_and_reading_a_folder_needs_no_torch(folder: Path) -> None:
    code = (
        "import sys; import genaudit.data as d; s = d.open_images(sys.argv[1]); s.read(0); d.inspect(sys.argv[1]); "
        "sys.exit(any(m in sys.modules for m in ('torch', 'torchvision', 'h5py', 'scipy.stats', 'scipy.special')))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(folder)], check=False).returncode == 0
