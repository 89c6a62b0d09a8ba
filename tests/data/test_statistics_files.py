"""Files of statistics that other tools write, read as they mean them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genaudit.data import FeatureSet, ImageSet, Moments, open_images
from genaudit.errors import UserError


def _moments(dims: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rows = np.random.default_rng(seed).normal(size=(50, dims))
    return rows.mean(0), np.cov(rows, rowvar=False)


def _open(path: Path) -> Any:
    return open_images(str(path), role="reference")


def _write(path: Path, thing: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(thing, protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_edm2s_file_holds_moments_of_two_networks(protocol: int, tmp_path: Path) -> None:
    (mu, sigma), (mu2, sigma2) = _moments(6), _moments(4, 1)
    thing = {"num_images": 50_000, "fid": {"mu": mu, "sigma": sigma}, "fd_dinov2": {"mu": mu2, "sigma": sigma2}}
    found = _open(_write(tmp_path / "img512.pkl", thing, protocol))
    assert isinstance(found, Moments)
    assert found.n == 50_000
    assert list(found.by_network) == ["fid_inception", "dinov2_l14"]
    assert np.array_equal(found.by_network["fid_inception"].mu, mu)
    assert np.array_equal(found.by_network["dinov2_l14"].sigma, sigma2)


def test_stylegans_file_holds_sums(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(40, 3)) + 2
    rest = {"capture_all": False, "capture_mean_cov": True, "max_items": 40, "num_features": 3, "all_features": None}
    thing = rest | {"num_items": 40, "raw_mean": rows.sum(0), "raw_cov": rows.T @ rows}
    found = _open(_write(tmp_path / "stats.pkl", thing))
    assert isinstance(found, Moments)
    assert found.n == 40
    np.testing.assert_allclose(found.mu, rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.sigma, np.cov(rows, rowvar=False, bias=True), rtol=1e-9)  # it divides by N
    assert found.by_network == {}
    parts = [rows[:25].astype(np.float32), rows[25:].astype(np.float32)]
    features = _open(_write(tmp_path / "all.pkl", rest | {"raw_mean": None, "raw_cov": None, "all_features": parts}))
    assert isinstance(features, FeatureSet)
    assert np.array_equal(np.asarray(features.features), rows.astype(np.float32))


def test_torch_fidelitys_and_clean_fids_files_hold_moments(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    mu, sigma = _moments(5)
    torch.save({"mu": mu, "sigma": sigma}, tmp_path / "x-stat-fid-2048.pt")
    np.savez_compressed(tmp_path / "cifar10_clean_train_32.npz", mu=mu, sigma=sigma)
    for name in ("x-stat-fid-2048.pt", "cifar10_clean_train_32.npz"):
        found = _open(tmp_path / name)
        assert isinstance(found, Moments)
        assert np.array_equal(found.mu, mu)
        assert np.array_equal(found.sigma, sigma)
    images = torch.zeros((3, 3, 8, 8), dtype=torch.uint8)
    torch.save(images, tmp_path / "images.pt")
    assert isinstance(_open(tmp_path / "images.pt"), ImageSet)  # what it was before


def test_adms_file_holds_images_and_moments_of_both_kinds(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)
    (mu, sigma), (mu_s, sigma_s) = _moments(6), _moments(4, 1)
    file = tmp_path / "VIRTUAL_imagenet8.npz"
    np.savez(file, arr_0=images, mu=mu, sigma=sigma, mu_s=mu_s, sigma_s=sigma_s)
    found = _open(file)
    assert isinstance(found, ImageSet)
    assert len(found) == 7
    assert found.moments is not None
    stored = found.moments.by_network["fid_inception"]
    assert np.array_equal(stored.mu, mu)
    assert stored.spatial is not None
    assert np.array_equal(stored.spatial.sigma, sigma_s)
    generated = open_images(str(file), role="generated")
    assert isinstance(generated, ImageSet)
    assert generated.moments is None  # samples are samples
    some = open_images(str(file), role="reference", limit=3)
    assert isinstance(some, ImageSet)
    assert some.moments is None  # of these three nobody stored any


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        ({"a": 1}, "expected mu and sigma"),
        ([1, 2], "holds a list"),
        ({"mu": np.zeros(3), "sigma": np.zeros((2, 2))}, r"expected \(D,\) and \(D, D\)"),
        ({"raw_mean": np.zeros(3), "raw_cov": np.zeros((3, 3)), "num_items": 0}, "no number of images"),
        ({"raw_mean": np.zeros(3), "raw_cov": np.zeros((3, 3)), "num_items": 10**6000}, "no number of images"),
        ({"raw_mean": np.zeros(3), "raw_cov": np.zeros((2, 3)), "num_items": 5}, "raw_cov of shape"),
        ({"all_features": [np.zeros((2, 3)), np.zeros((2, 4))]}, "do not fit together"),
        ({"fid": {"mu": np.zeros(2), "sigma": np.eye(2), "x": Path}}, "nothing in it was run"),
        ({"mu": np.array([0, np.nan]), "sigma": np.eye(2)}, "NaN"),
    ],
)
def test_what_is_no_statistics_is_one_sentence(thing: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        _open(_write(tmp_path / "x.pkl", thing))


def test_a_pickle_beside_images_is_not_opened_by_a_pattern(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "labels.pkl").write_bytes(b"cos\nsystem\n.")
    found = open_images(f"{tmp_path}/*", role="reference")
    assert isinstance(found, ImageSet)
    assert len(found) == 1
