"""`genaudit.evaluate` from Python: arrays, tensors, datasets and samplers give what their files give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import genaudit

KEYS: dict[str, Any] = {
    "feature_model": "timm",
    "feature_model.name": "test_resnet",
    "feature_model.pretrained": False,
    "feature_model.size": 32,
}


def _array(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())])


def _fd(generated: Any, reference: Any, **keys: Any) -> float:
    report = genaudit.evaluate(generated, reference, metrics=["fd"], **{**KEYS, **keys})
    return float(report.metrics["fd"].values["fd"].value)


def test_arrays_tensors_datasets_and_samplers_agree_with_files(make_images: Callable[..., Path]) -> None:
    generated, reference = make_images("gen", 12, seed=1), make_images("ref", 12, seed=2)
    pixels = _array(generated)
    channels_first = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    expected = _fd(str(generated), str(reference))

    class Samples(torch.utils.data.Dataset[torch.Tensor]):
        def __len__(self) -> int:
            return 12

        def __getitem__(self, index: int) -> torch.Tensor:
            return channels_first[index]

    def sampler(n: int, generator: torch.Generator) -> torch.Tensor:
        start = sampler.count  # type: ignore[attr-defined]
        sampler.count += n  # type: ignore[attr-defined]
        return channels_first[start : start + n]

    sampler.count = 0  # type: ignore[attr-defined]
    # equal pixels, equal batches: equal features
    for source in (pixels, channels_first, channels_first.float() / 255, Samples(), sampler):
        assert _fd(source, _array(reference), limit=12) == pytest.approx(expected, rel=1e-9)


def test_a_report_has_metrics_images_and_saves(make_images: Callable[..., Path], tmp_path: Path) -> None:
    generated, reference = make_images("gen", 12, seed=1), make_images("ref", 12, seed=2)
    report = genaudit.evaluate(generated=generated, reference=reference, metrics=["as_i", "kd"], seed=3, **KEYS)
    assert report.to_dict()["seed"] == 3
    assert len(report.images["as_i"]) == 12
    assert next(iter(report.images["name"])) == "0000.png"
    report.save(tmp_path / "out")
    assert {"report.json", "metrics.csv", "images.csv", "report.html"} <= {p.name for p in (tmp_path / "out").iterdir()}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"colour": 1}, "unknown key 'colour'"),
        ({"metrics": ["fdd"]}, "unknown metric 'fdd'"),
        ({"generated": np.zeros((3, 8, 8, 2), np.uint8)}, "generated"),
        ({"generated": np.full((3, 8, 8, 3), np.nan)}, "generated"),
    ],
)
def test_mistakes_are_user_errors(keys: dict[str, Any], words: str, make_images: Callable[..., Path]) -> None:
    with pytest.raises(genaudit.UserError, match=words):
        genaudit.evaluate(**{"generated": make_images("gen", 3), **keys})


def test_nested_keys_reach_the_metric(make_images: Callable[..., Path]) -> None:
    generated, reference = make_images("gen", 12, seed=1), make_images("ref", 12, seed=2)
    near = genaudit.evaluate(generated, reference, metrics=["prdc"], **KEYS, **{"metric.prdc.fn.k": 1})
    far = genaudit.evaluate(generated, reference, metrics=["prdc"], **KEYS, **{"metric.prdc.fn.k": 8})
    assert near.metrics["prdc"].values["recall"].value <= far.metrics["prdc"].values["recall"].value
    assert near.to_dict()["config"]["metric"]["prdc"]["fn"]["k"] == 1
