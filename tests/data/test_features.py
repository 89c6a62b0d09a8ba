from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genaudit.data import FeatureSet, ImageSet, Moments, file_rows, open_images
from genaudit.errors import UserError


def opened(source: object, **options: object) -> ImageSet:
    images = open_images(source, **options)  # type: ignore[arg-type]
    assert isinstance(images, ImageSet)
    return images


class TestFeatures:
    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_rows_come_back_with_names_and_digests(self, tmp_path: Path, rng: Any, save: Any, dtype: type) -> None:
        rows = rng.normal(size=(5000, 3)).astype(dtype)
        rows[7] = rows[5]
        save(tmp_path / "x.npz", features=rows)
        features = open_images(tmp_path / "x.npz")
        assert isinstance(features, FeatureSet)
        np.testing.assert_array_equal(features.features, rows)
        assert features.names[4999] == "x.npz[4999]"
        assert features.digests.shape == (5000, 16)
        assert (features.digests[7] == features.digests[5]).all()
        assert len(np.unique(features.digests, axis=0)) == len(np.unique(rows, axis=0))
        few = open_images(tmp_path / "x.npz", limit=10)
        assert isinstance(few, FeatureSet)
        assert len(few) == 10
        assert few.digest != features.digest
        again = open_images(features, limit=10)
        assert isinstance(again, FeatureSet)
        assert again.digest == few.digest

    def test_rows_of_a_large_file_are_read_when_asked_for(
        self, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows = rng.normal(size=(9, 3))
        np.savez(tmp_path / "x.npz", features=rows)
        held = open_images(tmp_path / "x.npz")
        monkeypatch.setattr(file_rows, "HELD_BYTES", 0)
        features = open_images(tmp_path / "x.npz")
        assert isinstance(features, FeatureSet)
        assert isinstance(held, FeatureSet)
        assert isinstance(held.features, np.ndarray)
        assert features.digest == held.digest
        for item in (3, slice(1, 8, 2), [4, 1], (slice(None), slice(0, 2))):
            np.testing.assert_array_equal(features.features[item], rows[item])
        np.testing.assert_array_equal(np.asarray(features.features), rows)

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            (np.ones((4, 3, 2)), r"shape \(4, 3, 2\)"),
            (np.ones((0, 3)), r"shape \(0, 3\)"),
            (np.ones((4, 3), int), "type int64"),
            (np.where(np.arange(12).reshape(4, 3) == 7, np.nan, 1.0), "NaN or infinity in row 2"),
        ],
    )
    def test_wrong_rows_are_refused(self, tmp_path: Path, rows: np.ndarray, message: str) -> None:
        np.savez(tmp_path / "x.npz", features=rows)
        with pytest.raises(UserError, match=message):
            open_images(tmp_path / "x.npz")

    def test_the_size_of_a_set_is_that_of_all_its_rows(self, tmp_path: Path, rng: np.random.Generator) -> None:
        """More rows than are read at once: all too small is refused, and one large value anywhere makes a set."""
        rows = rng.normal(size=(4100, 2)) * 1e-25
        np.savez(tmp_path / "x.npz", features=rows)
        with pytest.raises(UserError, match=r"x.npz holds no value above .*e-25 in size"):
            open_images(tmp_path / "x.npz")
        rows[-1, 1] = 1.0
        np.savez(tmp_path / "x.npz", features=rows)
        assert len(open_images(tmp_path / "x.npz")) == 4100
        rows[0, 0] = -1e20
        np.savez(tmp_path / "x.npz", features=rows)
        with pytest.raises(UserError, match=r"x.npz holds values of 1e\+20 in size"):
            open_images(tmp_path / "x.npz")

    def test_images_win_where_a_file_has_both(self, tmp_path: Path, pixels: np.ndarray) -> None:
        np.savez(tmp_path / "x.npz", arr_0=pixels, features=np.ones((6, 2)), mu=np.ones(2), sigma=np.eye(2))
        assert opened(tmp_path / "x.npz").digest == opened(pixels).digest


class TestMoments:
    def test_mean_and_covariance_come_back(self, tmp_path: Path, rng: np.random.Generator) -> None:
        x = rng.normal(size=(50, 4)).astype(np.float32)
        mu, sigma = x.mean(axis=0), np.cov(x, rowvar=False).astype(np.float32)
        np.savez(tmp_path / "x.npz", mu=mu, sigma=sigma)
        moments = open_images(tmp_path / "x.npz")
        assert isinstance(moments, Moments)
        np.testing.assert_array_equal(moments.mu, mu)
        np.testing.assert_array_equal(moments.sigma, sigma)
        assert moments.n is None
        assert moments.mu.dtype == moments.sigma.dtype == np.float64
        np.savez_compressed(tmp_path / "y.npz", mu=mu, sigma=sigma, n=50)
        with_n = open_images(tmp_path / "y.npz")
        assert isinstance(with_n, Moments)
        assert with_n.n == 50
        assert with_n.digest == moments.digest

    @pytest.mark.parametrize(
        ("mu", "sigma", "message"),
        [
            (np.zeros(3), np.eye(4), r"mu of shape \(3,\) and sigma of shape \(4, 4\)"),
            (np.zeros((1, 3)), np.eye(3), r"mu of shape \(1, 3\)"),
            (np.full(3, np.nan), np.eye(3), "NaN"),
            (np.zeros(2), np.array([[1.0, 0.5], [0.0, 1.0]]), "symmetric"),
            (np.zeros(2), -np.eye(2), "variances"),
            (np.zeros(2) + 1j, np.eye(2), "complex128"),
            (np.array([0.0, -2e15]), np.eye(2), r"mu or the root of sigma of .* holds values of 2e\+15 in size"),
            (np.zeros(2), 4e30 * np.eye(2), r"mu or the root of sigma of .* holds values of 2e\+15 in size"),
        ],
    )
    def test_what_is_no_mean_and_covariance_is_refused(
        self, tmp_path: Path, mu: np.ndarray, sigma: np.ndarray, message: str
    ) -> None:
        np.savez(tmp_path / "x.npz", mu=mu, sigma=sigma)
        with pytest.raises(UserError, match=message):
            open_images(tmp_path / "x.npz")
