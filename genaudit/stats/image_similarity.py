"""How alike two images are, pixel by pixel and in local structure.

    PSNR = 10 log10(255^2 / MSE)                                        in decibels
    SSIM = mean over pixels of  (2 m_x m_y + C1)(2 s_xy + C2) / ((m_x^2 + m_y^2 + C1)(s_x^2 + s_y^2 + C2))

SSIM (Wang et al. 2004, Eq. 13) with the authors' Gaussian window of standard deviation 1.5 and 11 pixels,
C1 = (0.01 L)^2, C2 = (0.03 L)^2, L = 255, on the pixels whose window lies within the image, averaged over the channels;
the variances divide by the window's weight, as the authors' do. N pairs, H rows, W columns, C channels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy

PEAK = 255.0
SIGMA, RADIUS = 1.5, 5  # of SSIM's window
SMALLEST = 2 * RADIUS + 1  # pixels of a side
C1, C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2


def psnr(mse: Any) -> np.ndarray:
    """Decibels of mean squared errors (N,) of images with values from 0 to 255; infinite where the error is 0.

    >>> psnr([65025.0, 6.5025]).tolist()
    [0.0, 40.0]
    """
    with np.errstate(divide="ignore"):
        return np.asarray(10 * np.log10(PEAK**2 / np.asarray(mse, np.float64)))


def mean_squared_error(x: np.ndarray, y: np.ndarray) -> float:
    """Of two images (H, W, C), uint8 or values from 0 to 255, over pixels and channels."""
    return float(np.square(x.astype(np.float64) - y).mean())


def ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Structural similarity of two images (H, W, C), uint8 or values from 0 to 255; H, W >= 11.

    Returns:
        in [-1, 1], 1 for equal images.

    Raises:
        ValueError: shapes that differ, or a side below 11 pixels.
    """
    if x.shape != y.shape or x.ndim != 3 or min(x.shape[:2]) < SMALLEST:
        raise ValueError(f"SSIM needs images (H, W, C) of one shape with sides of {SMALLEST} or more, not {x.shape}")
    a, b = (np.ascontiguousarray(each, np.float64) for each in (x, y))
    mean_a, mean_b = _blurred(a), _blurred(b)
    var_a, var_b = _blurred(a * a) - mean_a**2, _blurred(b * b) - mean_b**2
    covariance = _blurred(a * b) - mean_a * mean_b
    similar = (2 * mean_a * mean_b + C1) * (2 * covariance + C2)
    similar /= (mean_a**2 + mean_b**2 + C1) * (var_a + var_b + C2)
    return float(similar.mean())


def _blurred(image: np.ndarray) -> np.ndarray:
    """Means under the Gaussian window, where it lies within the image: (H - 10, W - 10, C)."""
    whole = scipy.ndimage.gaussian_filter(image, (SIGMA, SIGMA, 0), radius=(RADIUS, RADIUS, 0))
    return np.asarray(whole[RADIUS:-RADIUS, RADIUS:-RADIUS])
