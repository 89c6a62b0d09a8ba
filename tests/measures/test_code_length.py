"""Code lengths count what the pixels cost, and nothing of the files around them."""

from __future__ import annotations

import io
import math
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from genaudit.measures.code_length import code_length, code_log_prob

NOISE = np.random.default_rng(0).integers(0, 256, (2, 64, 48), dtype=np.uint8)


def test_png_counts_the_compressed_stream_alone() -> None:
    # Pillow's PNG of a flat image: filter type and pixels of each row, deflated. 6 bytes of zlib frame are left out.
    flat = np.zeros((1, 16, 16), np.uint8)
    expected = len(zlib.compress(b"\0" * 17 * 16, 9)) - 6
    assert code_length(flat).tolist() == [8.0 * expected]


@pytest.mark.parametrize(("codec", "options"), [
    ("png", dict(format="PNG", optimize=True)),
    ("webp", dict(format="WEBP", lossless=True, quality=100, method=6, exact=True)),
])  # fmt: skip
def test_headers_are_stripped_from_the_files_length(codec: Any, options: dict[str, Any]) -> None:
    file = io.BytesIO()
    Image.fromarray(NOISE[0]).save(file, **options)
    stripped = len(file.getvalue()) - code_length(NOISE[:1], codec)[0] / 8
    # PNG: signature 8, IHDR 25, IDAT's frame 12, IEND 12, zlib 6. WebP: RIFF 12, chunk 8, VP8L 5, padding 0 or 1.
    assert stripped in ((63,) if codec == "png" else (25, 26))


@pytest.mark.parametrize("codec", ["png", "webp"])
def test_noise_costs_its_entropy_and_simple_images_little(codec: Any) -> None:
    bits = code_length(NOISE, codec)
    entropy = 8 * 64 * 48
    assert ((bits > entropy) & (bits < 1.05 * entropy)).all()
    flat, ramp = np.full((1, 64, 48), 9, np.uint8), np.tile(np.arange(48, dtype=np.uint8), (1, 64, 1))
    assert code_length(flat, codec)[0] < code_length(ramp, codec)[0] < 0.05 * entropy


def test_log_probability_is_minus_the_bits_in_nats() -> None:
    bits = code_length(NOISE)
    np.testing.assert_allclose(code_log_prob(NOISE), -bits * math.log(2))
    density = code_log_prob(NOISE, density=True)
    # On the density models' axis bits per dimension are the code's own bits a pixel.
    np.testing.assert_allclose(8 - density / (64 * 48 * math.log(2)), bits / (64 * 48))


def test_layouts_agree() -> None:
    colour = np.random.default_rng(1).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    assert code_length(colour).tolist() == code_length(torch.from_numpy(colour).permute(0, 3, 1, 2)).tolist()
    assert code_length(NOISE).tolist() == code_length(NOISE[..., None]).tolist()


def test_other_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        code_length(NOISE.astype(float))
    with pytest.raises(ValueError, match="codec"):
        code_length(NOISE, "jpeg")  # type: ignore[arg-type]
