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

from genaudit.backbones import fid_inception
from genaudit.backbones.parts import Parts
from genaudit.cli import main
from genaudit.errors import DONE, USER
from genaudit.metrics.frechet import frechet_distance_from_moments
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

        return {"spatial": Map(), "features": Pool(), "logits": torch.nn.Linear(WIDTH, 4, bias=False)}

    def _until(self, output: Any) -> torch.nn.Module:
        from genaudit.backbones.spatial import FirstChannels

        with torch.random.fork_rng():
            torch.manual_seed(0)
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
    images = [rng.integers(0, 256, (count, 10, 10, 3), dtype=np.uint8) for count in (30, 24)]
    np.savez(files["samples"], images[0])
    np.savez(files["VIRTUAL_x"], arr_0=images[1], mu=mu, sigma=sigma, mu_s=mu_s, sigma_s=sigma_s)
    return files


@pytest.mark.usefixtures("small")
def test_adms_row_is_the_definitions_on_equal_features(adm: dict[str, Path], tmp_path: Path) -> None:
    from genaudit.data import open_images
    from genaudit.measures.embedding import Embedding
    from genaudit.measures.spatial import SpatialFeatures
    from genaudit.metrics.prdc import prdc

    words = ["evaluate", str(adm["samples"]), f"reference={adm['VIRTUAL_x']}", "preset=adm", "metric.is.fn.splits=1"]
    assert main([*words, "progress=false", f"out={tmp_path / 'out'}"]) == DONE
    document = json.loads((tmp_path / "out" / "report.json").read_text())
    store, engine, network = Store(tmp_path / "rows"), Engine(), _Small(preprocessing="torch-fidelity")
    rows: dict[str, np.ndarray] = {}
    for role, file in adm.items():
        images: Any = open_images(str(file), role="generated")
        for kind in (Embedding, SpatialFeatures):
            rows[f"{role} {kind.kind}"] = np.asarray(store.measure(images, kind(network), engine).rows, np.float64)
    for metric, kind, names in (("fd", "embedding", ("mu", "sigma")), ("sfd", "spatial features", ("mu_s", "sigma_s"))):
        own = rows[f"samples {kind}"]
        stored = np.load(adm["VIRTUAL_x"])
        expected = frechet_distance_from_moments(
            own.mean(0), np.cov(own, rowvar=False), stored[names[0]], stored[names[1]]
        )
        assert _value(document, metric, metric) == pytest.approx(expected, rel=1e-6)
    expected_pr = prdc(rows["VIRTUAL_x embedding"], rows["samples embedding"], k=3)
    assert _value(document, "prdc", "precision") == expected_pr.precision
    assert _value(document, "prdc", "recall") == expected_pr.recall
    (said,) = [each["message"] for each in document["warnings"] if each["code"] == "stored-moments"]
    assert "fd, sfd took the moments and prdc the images" in said
    assert "counts-of-preset" in {each["code"] for each in document["warnings"]}
    # nothing is measured that moments stand for
    assert document["measures"]["spatial features fid_inception"]["computed"] == 30
    assert document["measures"]["embedding fid_inception"]["computed"] == 54


@pytest.mark.usefixtures("small")
def test_another_network_takes_the_images_and_a_subset_too(adm: dict[str, Path], tmp_path: Path) -> None:
    sets = [str(adm["samples"]), f"reference={adm['VIRTUAL_x']}"]
    words = ["evaluate", *sets, "feature_model=[fid_inception,pixels]", "feature_model.pixels.size=2", "metric=[fd]"]
    assert main([*words, "progress=false", f"out={tmp_path / 'out'}"]) == DONE
    document = json.loads((tmp_path / "out" / "report.json").read_text())
    assert document["metrics"]["fd@pixels"]["n"] == {"generated": 30, "reference": 24}
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
