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
from genaudit.metrics.frechet import frechet_distance

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


def test_lists_loaders_and_either_order_of_axes_agree_with_files(make_images: Callable[..., Path]) -> None:
    generated, reference = make_images("gen", 12, seed=1), make_images("ref", 12, seed=2)
    pixels = _array(generated)
    first = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    expected = _fd(str(generated), str(reference))
    for source in (
        [Image.fromarray(each) for each in pixels],
        list(first),
        first.numpy(),
        pixels / np.float32(255),
        torch.utils.data.DataLoader(torch.utils.data.TensorDataset(first, torch.arange(12)), batch_size=5),
    ):
        assert _fd(source, _array(reference)) == pytest.approx(expected, rel=1e-9)


def test_feature_rows_are_judged_as_they_are() -> None:
    rng = np.random.default_rng(0)
    generated, reference, train = rng.normal(size=(40, 3)), rng.normal(size=(50, 3)) + 1, rng.normal(size=(60, 3))
    report = genaudit.evaluate(
        generated, reference, torch.from_numpy(train), metrics=["fd", "authpct", "as"], skip=True
    )
    assert report.metrics["fd"].values["fd"].value == pytest.approx(frechet_distance(generated, reference), rel=1e-12)
    assert report.metrics["authpct"].n == {"generated": 40, "train": 60, "reference": 50}
    assert "features" in report.skipped_metrics["as"]


@pytest.mark.parametrize(
    "keys",
    [{"metrics": "fd"}, {"metric": "fd"}, {"metric": ["fd"]}, {"metrics": ("fd",)}, {"metrics": "[fd]"}],
)
def test_metric_and_metrics_take_a_name_or_names(keys: dict[str, Any]) -> None:
    rows = np.random.default_rng(0).normal(size=(2, 20, 3))
    assert list(genaudit.evaluate(rows[0], rows[1], **keys).metrics) == ["fd"]
    assert list(genaudit.evaluate(rows[0], rows[1], metrics="fd,kd").metrics) == ["fd", "kd"]


def test_a_limit_is_of_the_generated_images_and_n_samples_of_a_callable(make_images: Callable[..., Path]) -> None:
    drawn = []

    def sampler(n: int, generator: torch.Generator) -> torch.Tensor:
        drawn.append(n)
        return torch.rand(n, 3, 8, 8, generator=generator)

    keys = {"metrics": "fd", "feature_model": "pixels", "feature_model.size": 2, "progress": False}
    report = genaudit.evaluate(sampler, make_images("ref", 20), n_samples=30, **keys).to_dict()
    assert sum(drawn) == report["images"]["generated"]["count"] == 30
    report = genaudit.evaluate(sampler, make_images("real", 20), n_samples=30, limit=9, **keys).to_dict()
    assert {role: images["count"] for role, images in report["images"].items()} == {"generated": 9, "reference": 20}
    assert report["images"]["generated"]["available"] == 30


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"metrics": "fd", "metric": "kd"}, "metrics= and metric= are the same"),
        ({"metrics": [3]}, "names are needed"),
        ({"generated": ""}, "generated= is empty"),
        ({"reference": " "}, "reference= is empty"),
        ({"train": ["", "x.png"]}, "train= is empty"),
        ({"n_samples": 5}, "n_samples=5 says how many images a callable draws"),
        ({"generated": "{folder}/step_*"}, "matches 2 sets, .*step_9 first: evaluate each by itself"),
    ],
)
def test_what_cannot_be_meant_is_a_user_error(
    keys: dict[str, Any], words: str, make_images: Callable[..., Path], tmp_path: Path
) -> None:
    for step in (9, 10):
        make_images(f"step_{step}", 3, seed=step)
    given = {key: each.format(folder=tmp_path) if isinstance(each, str) else each for key, each in keys.items()}
    with pytest.raises(genaudit.UserError, match=words):
        genaudit.evaluate(**{"generated": make_images("gen", 3), "metrics": "vendi", **KEYS, **given})


def test_a_dataset_of_the_configuration_plays_a_role_from_python_too(
    make_images: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_images("my real (1)", 10)
    keys = {"dataset@reference": "imagefolder", "reference.root": str(folder), "reference.split": None}
    report = genaudit.evaluate(make_images("gen", 9, seed=3), metrics="fd", **KEYS, **keys)
    assert report.metrics["fd"].n == {"generated": 9, "reference": 10}


@pytest.mark.parametrize("name", ["a${x}", "[b]", "~c", "it's, k=1", "d\\"])
def test_odd_names_are_paths_from_python(
    name: str, make_images: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_images("gen", 6)
    make_images("ref", 6, seed=1)
    Path(name).mkdir()
    Path("gen").rename(Path(name) / "gen")
    report = genaudit.evaluate(f"{name}/gen", ["ref"], metrics="fd", store=f"{name}/store", **KEYS)
    assert report.to_dict()["images"]["generated"]["source"] == f"{name}/gen"
    assert (Path(name) / "store").is_dir()


def test_a_config_dir_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "own (1), [x]=${y}" / "metric"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(
        "mine:\n  measure: ${feature_model}\n  fn: {_target_: genaudit.metrics.vendi.judge, _partial_: true}\n"
    )
    rows = np.random.default_rng(0).normal(size=(20, 3))
    assert list(genaudit.evaluate(rows, metrics="mine", config_dir=str(folder.parent)).metrics) == ["mine"]
