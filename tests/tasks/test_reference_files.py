"""A reference file gives each metric what its definition uses, and the report says what that was."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import linalg, special
from scipy.spatial import distance

from genaudit.backbones import fid_inception
from genaudit.backbones.layers import Parts
from genaudit.cli import main
from genaudit.data import open_images
from genaudit.errors import DONE, USER
from genaudit.measures.embedding import Embedding
from genaudit.measures.logits import Logits
from genaudit.measures.spatial import SpatialFeatures
from genaudit.store import Engine, Store

WIDTH, SPATIAL = 6, 12


class _Small(fid_inception.FidInception):
    """FID's Inception for everybody who asks which network it is, with six features and a map of 2 x 2 of them."""

    def _maps(self, x: torch.Tensor) -> torch.Tensor:
        pooled = torch.nn.functional.adaptive_avg_pool2d(x, 2)
        return torch.cat([pooled, pooled.square()], dim=1)

    def load_weights(self) -> Any:
        from genaudit.backbones.feature_model import Weights

        return Weights(dict, "none", "", trained=True)

    def find_weights(self) -> str:
        return "none"

    def build_parts(self) -> dict[Any, torch.nn.Module]:
        class Map(torch.nn.Module):
            def forward(inner, x: torch.Tensor) -> torch.Tensor:
                return self._maps(x)

        class Pool(torch.nn.Module):
            def forward(inner, x: torch.Tensor) -> torch.Tensor:
                return x.mean((2, 3))

        with torch.random.fork_rng():
            torch.manual_seed(0)
            classes = torch.nn.Linear(WIDTH, 4, bias=False)
        classes.weight.data *= 100  # sure of some images
        return {"spatial": Map(), "features": Pool(), "logits": classes}

    def _until(self, output: Any) -> torch.nn.Module:
        from genaudit.backbones.layers import FirstChannels

        parts: Any = self.build_parts()

        class One(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.parts = Parts(parts, [output], {"spatial": FirstChannels()})

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                (found,) = self.parts(x)
                return found

        return One()

    def build(self) -> torch.nn.Module:
        return self._until("features")

    def build_spatial(self) -> torch.nn.Module:
        return self._until("spatial")

    def build_classifier(self) -> torch.nn.Module:
        return self._until("logits")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network behind feature_model=fid_inception, small and without a weight file."""
    _Small.__module__, _Small.__qualname__ = fid_inception.__name__, "FidInception"
    monkeypatch.setattr(fid_inception, "FidInception", _Small)


def _run(out: Path, *arguments: str) -> dict[str, Any]:
    assert main(["evaluate", *arguments, "progress=false", "feature_model=fid_inception", f"out={out}"]) == DONE
    document: dict[str, Any] = json.loads((out / "report.json").read_text())
    return document


def _value(document: dict[str, Any], metric: str, name: str) -> float:
    return float(document["metrics"][metric]["values"][name]["value"])


def _moments(dims: int) -> tuple[np.ndarray, np.ndarray]:
    rows = np.random.default_rng(dims).normal(size=(80, dims))
    return rows.mean(0), np.cov(rows, rowvar=False)


@pytest.fixture
def adm(tmp_path: Path) -> dict[str, Path]:
    """Samples and a reference in ADM's layout, whose moments are not those of its images."""
    rng = np.random.default_rng(0)
    files = {name: tmp_path / f"{name}.npz" for name in ("samples", "VIRTUAL_x")}
    (mu, sigma), (mu_s, sigma_s) = _moments(WIDTH), _moments(4 * WIDTH)
    images = [rng.integers(0, 256, (count, 10, 10, 3), dtype=np.uint8) for count in (30, 40)]
    np.savez(files["samples"], images[0], rng.integers(0, 1000, 30))  # arr_1: labels, as ADM's sampler writes them
    np.savez(files["VIRTUAL_x"], arr_0=images[1], mu=mu, sigma=sigma, mu_s=mu_s, sigma_s=sigma_s)
    return files


def _frechet(rows: np.ndarray, mu: np.ndarray, sigma: np.ndarray) -> float:
    """|m - mu|^2 + tr(C + S - 2 (C S)^(1/2)) by SciPy's matrix square root."""
    covariance = np.cov(rows, rowvar=False)
    root = linalg.sqrtm(covariance @ sigma).real
    return float(np.square(rows.mean(0) - mu).sum() + np.trace(covariance + sigma - 2 * root))


def _inside(points: np.ndarray, centres: np.ndarray, k: int) -> float:
    """The share of points within the distance of any centre to its k-th other centre."""
    radii = np.sort(distance.cdist(centres, centres), axis=1)[:, k]  # column 0 is the centre itself
    return float((distance.cdist(points, centres) <= radii).any(axis=1).mean())


def _inception_score(logits: np.ndarray) -> float:
    """exp(E KL(p(y|x) || p(y))) of fewer images than a part of 5,000 holds."""
    p = special.softmax(logits, axis=1)
    return float(np.exp(special.rel_entr(p, p.mean(0)).sum(axis=1).mean()))


def _adms_row(samples: dict[str, np.ndarray], real: dict[str, np.ndarray], stored: Any) -> dict[str, float]:
    """The row of ADM's tables in float64 NumPy and SciPy."""
    return {
        "inception_score": _inception_score(samples["logits"]),
        "fd": _frechet(samples["embedding"], stored["mu"], stored["sigma"]),
        "sfd": _frechet(samples["spatial features"], stored["mu_s"], stored["sigma_s"]),
        "precision": _inside(samples["embedding"], real["embedding"], 3),
        "recall": _inside(real["embedding"], samples["embedding"], 3),
    }


@pytest.mark.usefixtures("small")
def test_adms_row_of_one_command_is_the_definitions_on_equal_features(adm: dict[str, Path], tmp_path: Path) -> None:
    words = ["evaluate", str(adm["samples"]), f"reference={adm['VIRTUAL_x']}", "preset=adm"]
    assert main([*words, "progress=false", f"out={tmp_path / 'out'}"]) == DONE
    document = json.loads((tmp_path / "out" / "report.json").read_text())
    values = {name: each["value"] for entry in document["metrics"].values() for name, each in entry["values"].items()}
    store, engine, network = Store(tmp_path / "rows"), Engine(), _Small(preprocessing="torch-fidelity")
    samples, real = (
        {
            kind.kind: np.asarray(store.measure(open_images(str(adm[name])), kind(network), engine).rows, np.float64)
            for kind in (Embedding, SpatialFeatures, Logits)
        }
        for name in ("samples", "VIRTUAL_x")
    )
    expected = _adms_row(samples, real, np.load(adm["VIRTUAL_x"]))
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, rel=1e-6), name
    # the moments of the reference's images, the sets exchanged, k = 5: all are other rows
    moments = {
        f"{what}{end}": of(real[kind])
        for end, kind in (("", "embedding"), ("_s", "spatial features"))
        for what, of in (("mu", lambda rows: rows.mean(0)), ("sigma", lambda rows: np.cov(rows, rowvar=False)))
    }
    other, exchanged = _adms_row(samples, real, moments), _adms_row(real, samples, moments)
    for name, wrong in (("fd", other), ("sfd", other), ("inception_score", exchanged), ("fd", exchanged)):
        assert wrong[name] != pytest.approx(expected[name], rel=1e-3), name
    assert values["precision"] != values["recall"]
    assert _inside(samples["embedding"], real["embedding"], 5) != expected["precision"]
    (said,) = [each["message"] for each in document["warnings"] if each["code"] == "stored-moments"]
    assert "fd, sfd took the moments and prdc the images" in said
    assert "counts-of-preset" in {each["code"] for each in document["warnings"]}
    # nothing is measured that moments stand for, and the reference's images are not asked for their classes
    assert document["measures"]["spatial features fid_inception"]["computed"] == 30
    assert document["measures"]["logits fid_inception"]["computed"] == 30
    assert document["measures"]["embedding fid_inception"]["computed"] == 70


@pytest.mark.usefixtures("small")
def test_another_network_takes_the_images_and_a_subset_too(adm: dict[str, Path], tmp_path: Path) -> None:
    sets = [str(adm["samples"]), f"reference={adm['VIRTUAL_x']}"]
    words = ["evaluate", *sets, "feature_model=[fid_inception,pixels]", "feature_model.pixels.size=2", "metric=[fd]"]
    assert main([*words, "progress=false", f"out={tmp_path / 'out'}"]) == DONE
    document = json.loads((tmp_path / "out" / "report.json").read_text())
    assert document["metrics"]["fd@pixels"]["n"] == {"generated": 30, "reference": 40}
    (said,) = [each["message"] for each in document["warnings"] if each["code"] == "stored-moments"]
    assert "fd@fid_inception took the moments and fd@pixels the images" in said
    some = _run(tmp_path / "some", *sets, "metric=[fd]", "limit_reference=20")
    assert some["metrics"]["fd"]["n"]["reference"] == 20


@pytest.mark.usefixtures("small")
def test_moments_of_another_width_or_network_skip_the_metric_and_not_the_run(
    make_images: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generated = str(make_images("a", 20))
    mu, sigma = _moments(5)
    np.savez(tmp_path / "other.npz", mu=mu, sigma=sigma)
    words = [generated, f"reference={tmp_path / 'other.npz'}", "metric=[fd,is]", "metric.is.fn.splits=1"]
    document = _run(tmp_path / "out", *words, "skip=true")
    assert list(document["metrics"]) == ["is"]
    assert "moments of 5 features" in document["skipped_metrics"]["fd"]
    assert main(["evaluate", *words, "feature_model=fid_inception", f"out={tmp_path / 'named'}"]) == USER
    assert "cannot be computed" in capsys.readouterr().err
    assert (tmp_path / "named" / "report.json").is_file()  # what could be computed is there
    (mu, sigma), (mu2, sigma2) = _moments(WIDTH), _moments(7)
    both = {"num_images": 80, "fid": {"mu": mu, "sigma": sigma}, "fd_dinov2": {"mu": mu2, "sigma": sigma2}}
    (tmp_path / "edm2.pkl").write_bytes(pickle.dumps(both))
    reference = f"reference={tmp_path / 'edm2.pkl'}"
    found = _run(tmp_path / "edm2", generated, reference, "metric=[fd]")
    assert found["metrics"]["fd"]["n"]["reference"] == 80
    pixels = ["evaluate", generated, reference, "feature_model=pixels", "metric=[fd,vendi]", "skip=true"]
    assert main([*pixels, f"out={tmp_path / 'pixels'}"]) == DONE
    report = json.loads((tmp_path / "pixels" / "report.json").read_text())
    assert "holds those of fid_inception and dinov2_l14" in report["skipped_metrics"]["fd"]
