"""How a file was stored, told by its header, against what the encoder was asked for."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from genaudit.data.decode import probe
from genaudit.data.encoding import Encoding, jpeg_quality, standard_table, webp_format

LIMIT = 10**8


def _saved(mode: str = "RGB", kind: str = "PNG", **options: object) -> bytes:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)).convert(mode)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("quality", [1, 10, 25, 49, 50, 51, 75, 80, 90, 95, 99, 100])
def test_the_quality_of_a_jpeg_is_the_one_that_pillow_was_asked_for(quality: int, mode: str) -> None:
    encoding = probe(_saved(mode, "JPEG", quality=quality), LIMIT).encoding
    assert (encoding.format, encoding.quality, encoding.exact) == ("JPEG", quality, True)


def test_every_quality_is_found_from_its_table_in_any_order() -> None:
    rng = np.random.default_rng(0)
    for quality in range(1, 101):
        table = standard_table(quality)
        assert jpeg_quality({0: rng.permutation(table).tolist(), 1: [99] * 64}) == (quality, True)


@pytest.mark.parametrize("quality", [30, 60, 85, 95])
def test_a_table_of_its_own_has_about_the_quality_of_the_nearest(quality: int) -> None:
    custom = standard_table(quality).copy()
    custom[::7] += 1
    assert custom.sum() != standard_table(quality).sum()
    told, exact = jpeg_quality({0: custom.tolist()})
    assert not exact
    assert abs(told - quality) <= 2
    data = _saved("RGB", "JPEG", qtables=[custom.tolist(), custom.tolist()])
    assert not probe(data, LIMIT).encoding.exact


def test_what_has_no_table_has_no_quality() -> None:
    assert jpeg_quality({}) == (0, False)
    assert probe(_saved(), LIMIT).encoding == Encoding("RGB", "PNG")


@pytest.mark.parametrize(("options", "name"), [({}, "WEBP"), ({"lossless": True}, "WEBP lossless")])
def test_webp_is_lossy_or_not(options: dict[str, object], name: str) -> None:
    for extra in ({}, {"save_all": True, "append_images": [Image.new("RGB", (16, 16))]}):
        encoding = probe(_saved("RGB", "WEBP", **options, **extra), LIMIT).encoding
        assert encoding.format == name
        assert encoding.compression == ("WEBP" if name == "WEBP" else "lossless")
    assert webp_format(b"RIFF\x00\x00\x00\x00WEBPVP8X") == "WEBP"  # cut off


@pytest.mark.parametrize(
    ("mode", "depth", "alpha"),
    [
        ("RGB", "8 bits", False),
        ("L", "8 bits", False),
        ("P", "palette", False),
        ("1", "1 bit", False),
        ("RGBA", "8 bits", True),
        ("LA", "8 bits", True),
        ("I;16", "16 bits", False),
        ("RGB;16", "16 bits", False),
        ("RGBA;16", "16 bits", True),
        ("F", "float", False),
        ("RGBA float", "float", True),
        ("CMYK", "8 bits", False),
    ],
)
def test_depth_and_alpha_follow_from_the_mode(mode: str, depth: str, alpha: bool) -> None:
    assert (Encoding(mode).depth, Encoding(mode).alpha) == (depth, alpha)
