"""Identities of mixing Fourier amplitudes and phases (supplement S3)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from genaudit.likelihood.fourier import mix_amplitude_phase, mixing_correlations, to_pixel_range


def _images(seed: int, shape: tuple[int, ...] = (3, 2, 16, 12)) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255, shape)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_mixing_an_image_with_itself_gives_it_back(kind: Any) -> None:
    a = kind(_images(0))
    mixed = mix_amplitude_phase(a, a)
    assert isinstance(mixed, type(a))
    assert float(abs(mixed - a).max()) < 1e-10  # 255 times some tens of float64's 1e-16


def test_mix_has_the_amplitudes_of_the_first_and_the_phases_of_the_second() -> None:
    a, b = _images(0), _images(1)
    spectrum = np.fft.fft2(mix_amplitude_phase(a, b))
    np.testing.assert_allclose(np.abs(spectrum), np.abs(np.fft.fft2(a)), atol=1e-8)
    turn = np.angle(spectrum * np.conj(np.fft.fft2(b)))
    np.testing.assert_allclose(turn, 0.0, atol=1e-8)


def test_brightness_of_the_phase_image_does_not_matter_and_that_of_the_amplitude_image_scales() -> None:
    a, b = _images(0), _images(1)
    np.testing.assert_allclose(mix_amplitude_phase(a, 7 * b), mix_amplitude_phase(a, b), atol=1e-9)
    np.testing.assert_allclose(mix_amplitude_phase(3 * a, b), 3 * mix_amplitude_phase(a, b), atol=1e-9)


def test_frequencies_that_the_phase_image_lacks_have_phase_zero() -> None:
    # A flat image has no phase but at frequency 0; the mix is then the image of a's amplitudes, all in phase.
    a = _images(0, (8, 8))
    mixed = mix_amplitude_phase(a, np.full((8, 8), 0.1))
    np.testing.assert_allclose(mixed, np.fft.ifft2(np.abs(np.fft.fft2(a))).real, atol=1e-10)


def test_integer_and_float32_inputs_and_shapes() -> None:
    a, b = _images(0).astype(np.uint8), _images(1).astype(np.uint8)
    mixed = mix_amplitude_phase(a, b)
    assert mixed.dtype == np.float64
    assert mix_amplitude_phase(a.astype(np.float32), b.astype(np.float32)).dtype == np.float32
    tensor = mix_amplitude_phase(torch.from_numpy(a), torch.from_numpy(b))
    np.testing.assert_allclose(tensor.numpy(), mixed, atol=0.01)
    with pytest.raises(ValueError, match="same shape"):
        mix_amplitude_phase(a, b[:1])


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_pixel_range_rounds_clips_and_counts(kind: Any) -> None:
    pixels, outside = to_pixel_range(kind(np.array([-0.4, -0.6, 254.6, 255.6, 100.2])))
    assert pixels.tolist() == [0, 0, 255, 255, 100]
    assert outside == pytest.approx(0.4)


def test_correlations_are_spearmans() -> None:
    amplitude, phase = np.random.default_rng(2).normal(size=(2, 30))
    found = mixing_correlations(np.exp(amplitude), amplitude, phase)
    assert found.amplitude == pytest.approx(1.0)  # a monotone function of it
    first, second = np.argsort(np.argsort([amplitude, phase])).astype(np.float64)
    assert found.phase == pytest.approx(np.corrcoef(first, second)[0, 1])
