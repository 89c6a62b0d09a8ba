"""PSNR and SSIM against scikit-image and torchmetrics, LPIPS against its own package; what pairs may lack."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from skimage import metrics as skimage
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from genaudit.measures.pair_quality import PairErrors, PairLpips
from genaudit.metrics.pair_quality import judge, judge_distance
from genaudit.stats.image_similarity import mean_squared_error, psnr, ssim


def noisy_pair(seed: int, shape: tuple[int, int] = (24, 37), noise: float = 25.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    smooth = np.cumsum(rng.normal(size=(*shape, 3)), axis=1) * 12 + 128
    return tuple(np.clip(smooth + noise * rng.normal(size=(*shape, 3)) * k, 0, 255).astype(np.uint8) for k in (0, 1))  # type: ignore[return-value]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", [(24, 37), (11, 11)])
def test_ssim_and_psnr_are_scikit_images_and_torchmetrics(seed: int, shape: tuple[int, int]) -> None:
    x, y = noisy_pair(seed, shape)
    theirs = skimage.structural_similarity(
        x, y, channel_axis=-1, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(x, y) == pytest.approx(theirs, abs=1e-10)  # both in float64
    tensors = [torch.from_numpy(each.astype(np.float64)).permute(2, 0, 1)[None] for each in (x, y)]
    # torchmetrics takes the mean over mirrored borders too, as the authors do not
    _, whole = structural_similarity_index_measure(*tensors, data_range=255.0, return_full_image=True)
    assert ssim(x, y) == pytest.approx(float(whole[..., 5:-5, 5:-5].mean()), abs=1e-6)
    ours = float(psnr([mean_squared_error(x, y)])[0])
    assert ours == pytest.approx(skimage.peak_signal_noise_ratio(x, y, data_range=255), rel=1e-12)
    assert ours == pytest.approx(float(peak_signal_noise_ratio(*tensors, data_range=255.0)), rel=1e-6)


def test_ssim_of_an_image_with_itself_is_one_and_it_is_symmetric() -> None:
    x, y = noisy_pair(5)
    assert ssim(x, x) == pytest.approx(1.0, abs=1e-12)
    assert ssim(x, y) == pytest.approx(ssim(y, x), abs=1e-12)
    with pytest.raises(ValueError, match="sides of 11"):
        ssim(x[:10], y[:10])


def test_the_measure_carries_its_numbers_to_float32() -> None:
    rows = []
    for x, y in (noisy_pair(1), noisy_pair(2, (10, 30))):
        prepared = PairErrors().prepare(np.concatenate([x, y]))
        batch = torch.from_numpy(prepared).permute(2, 0, 1)[None]
        rows.append(PairErrors().open("cpu", "float32")(batch, [b""]).numpy()[0])
        assert rows[-1][0] == np.float32(mean_squared_error(x, y))
    assert rows[0][1] == np.float32(ssim(*noisy_pair(1)))
    assert np.isnan(rows[1][1])  # ten rows are fewer than the window


def test_psnr_of_equal_images_is_infinite_and_no_reason_to_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert psnr([0.0, 255.0**2]).tolist() == [np.inf, 0.0]


def test_identical_pairs_and_small_images_are_left_out_of_the_means_and_said() -> None:
    rows = np.array([[0.0, 1.0], [100.0, 0.5], [400.0, np.nan]] * 10, np.float32)
    found = judge(generated=rows)
    assert found.identical == 10
    assert found.psnr.value == pytest.approx(10 * np.log10(255**2 / np.array([100, 400])).mean())
    assert found.psnr_of_mean_error == pytest.approx(10 * np.log10(255**2 / (500 / 3)))
    assert found.ssim.value == pytest.approx(0.75)
    assert {each.code for each in found.cautions} == {"identical-pairs", "too-small-for-ssim"}
    assert found.psnr.lower < found.psnr < found.psnr.upper
    assert np.isnan(found.psnr_of_image[0])


@pytest.mark.parametrize("net", ["alex", "squeeze"])
def test_lpips_is_the_packages_own(net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lpips = pytest.importorskip("lpips")
    # the package's learned weights on a random network: torchvision's would be downloaded
    torch.manual_seed(0)
    network = lpips.LPIPS(net=net, pnet_rand=True, verbose=False).eval()
    measure = PairLpips(net)
    measure.__dict__["_network"] = network
    pairs = [noisy_pair(seed, (64, 70)) for seed in range(3)]
    batch = torch.stack([torch.from_numpy(np.concatenate(pair)).permute(2, 0, 1) for pair in pairs])
    rows = measure.open("cpu", "float32")(batch, [b""] * 3)
    for (x, y), row in zip(pairs, rows, strict=True):
        theirs = network(lpips.im2tensor(x), lpips.im2tensor(y))
        assert float(row) == pytest.approx(float(theirs), rel=1e-4)
    assert judge_distance(generated=rows.numpy()).lpips.value == pytest.approx(float(rows.mean()), rel=1e-6)
    assert measure.lacks is None
    other = PairLpips(net)
    other.__dict__["_network"] = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    assert other.weights_sha256 != measure.weights_sha256


def test_lpips_without_its_package_or_weights_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "lpips", None)
    assert "pip install 'genaudit-images[lpips]'" in str(PairLpips().lacks)
