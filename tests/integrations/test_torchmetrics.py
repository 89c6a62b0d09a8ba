"""torchmetrics classes: the values of `genaudit.evaluate`, whatever the batches, ranks and pickles on the way."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torchmetrics

import genaudit
from genaudit.backbones.timm_model import TimmModel
from genaudit.errors import UserError
from genaudit.integrations.torchmetrics import (
    PRDC,
    AnomalyScore,
    AnomalyScoreOfImages,
    Audit,
    AuthPct,
    FrechetDistance,
    ImageRetrievalScore,
    KernelDistance,
    VendiScore,
)
from tests.forked import codes_of, start

OF_RANKS = (FrechetDistance, PRDC, AuthPct)
ONE_OF_EACH = [
    PRDC,
    AnomalyScore,
    AnomalyScoreOfImages,
    AuthPct,
    FrechetDistance,
    ImageRetrievalScore,
    KernelDistance,
    VendiScore,
]
NAMES = {
    **{PRDC: "prdc", AnomalyScore: "as", AnomalyScoreOfImages: "as_i", AuthPct: "authpct", FrechetDistance: "fd"},
    **{ImageRetrievalScore: "irs", KernelDistance: "kd", VendiScore: "vendi"},
}


def _images(seed: int, count: int = 26) -> torch.Tensor:
    """(N, 3, 20, 20) uint8, smooth."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (20, 20), mode="bilinear")
    return (smooth * 255).to(torch.uint8)


ROLES = {"generated": _images(1), "reference": _images(2), "train": _images(3)}


def _model() -> TimmModel:
    return TimmModel("test_resnet", pretrained=False, size=32)


QUICK: dict[str, Any] = {"anomaly.path_steps": 3, "anomaly.attack_steps": 2}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return genaudit.evaluate(
        **ROLES,  # type: ignore[arg-type]
        metrics=sorted(NAMES.values()),
        feature_model="timm",
        store=str(tmp_path_factory.mktemp("store")),
        device="cpu",
        **{"feature_model.name": "test_resnet", "feature_model.pretrained": False, "feature_model.size": 32},
        **QUICK,
    )


def _feed(metric: Any, batch: int = 10) -> Any:
    for role, images in ROLES.items():
        for part in images.split(batch):
            metric.update(part, role=role)
    return metric


def _flat(computed: Any, name: str) -> dict[str, float]:
    values = computed if isinstance(computed, dict) else {name: computed}
    return {key: float(value) for key, value in values.items()}


def test_overrides_are_texts_or_one_text() -> None:
    with pytest.raises(genaudit.UserError, match="an override must be text such as 'seed=1', got 1"):
        FrechetDistance(_model(), overrides=[1]).update(torch.zeros(1, 3, 8, 8), role="generated")
    with pytest.raises(genaudit.UserError, match="unknown key 'sead'"):
        FrechetDistance(_model(), overrides="sead=1").update(torch.zeros(1, 3, 8, 8), role="generated")


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_values_are_those_of_evaluate(kind: Any, report: Any) -> None:
    name = NAMES[kind]
    quick = [f"{key}={steps}" for key, steps in QUICK.items()]
    found = _flat(_feed(kind(_model(), overrides=quick)).compute(), name)
    expected = {key: each.value for key, each in report.metrics[name].values.items() if each.value is not None}
    # The same rows of the same batches; FD alone comes from sums, of 26 images in 96 dimensions: the roots of
    # eigenvalues that are rounding, 1e-16 of the largest, enter with 1e-8 each.
    assert found == pytest.approx(expected, rel=1e-5 if name == "fd" else 1e-12)


def test_floats_and_batches_of_other_sizes_change_nothing() -> None:
    whole, parts = KernelDistance(_model()), KernelDistance(_model())
    _feed(whole, 26)
    for role in ("generated", "reference"):
        for part in ROLES[role].split(7):
            parts.update(part.float() / 255, real=role == "reference")
    assert float(whole.compute()) == float(parts.compute())


def test_sums_of_frechet_distance_hold_no_rows() -> None:
    metric = _feed(FrechetDistance(_model()))
    before = sum(tensor.numel() for tensor in metric.metric_state.values())
    _feed(metric)
    assert sum(tensor.numel() for tensor in metric.metric_state.values()) == before == 2 * (1 + 96 + 96 * 96)


def test_several_metrics_take_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    from genaudit.measures.embedding import Embedding

    seen: list[int] = []
    inner = Embedding.open

    def counting(self: Embedding, device: str, precision: str) -> Any:
        meter = inner(self, device, precision)
        return lambda images, digests: (seen.append(1), meter(images, digests))[1]

    monkeypatch.setattr(Embedding, "open", counting)
    metric = Audit(["fd", "kd", "prdc", "vendi", "irs", "authpct"], feature_model=_model())
    values = _feed(metric, 8).compute()
    assert {"fd", "kd", "precision", "coverage", "vendi", "irs_inf", "authpct"} <= set(values)
    assert len(seen) == 3 * (2 + 2 + 2 + 1)  # three roles in batches of 8, 8, 8 and 2, the network's batch is 4
    assert metric.results["prdc"].precision.lower <= float(values["precision"])


class Means(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert images.dtype == torch.uint8
        return images.float().mean((2, 3))


def test_a_module_stands_for_a_feature_model() -> None:
    metric = _feed(FrechetDistance(Means()))
    rows = [ROLES[role].double().mean((2, 3)).numpy() for role in ("generated", "reference")]
    from genaudit.metrics.frechet import frechet_distance

    assert float(metric.compute()) == pytest.approx(frechet_distance(*rows), rel=1e-6)  # features are float32
    assert not list(metric.parameters())
    with pytest.raises(TypeError, match=r"nn\.Module"):
        FrechetDistance(lambda images: images)
    with pytest.raises(UserError, match="feature_model"):
        KernelDistance("efficientnet_lite1")


def test_pickles_copies_and_resets() -> None:
    metric = KernelDistance(_model())
    _feed(metric)
    value = float(metric.compute())
    for twin in (pickle.loads(pickle.dumps(metric)), copy.deepcopy(metric)):
        twin._computed = None
        assert float(twin.compute()) == value
        twin.update(ROLES["generated"][:3], real=False)
        assert float(twin.compute()) != value
    metric.reset()
    with pytest.warns(UserWarning, match="before"), pytest.raises(ValueError, match="needs generated"):
        metric.compute()


@pytest.mark.parametrize("kind", [KernelDistance, FrechetDistance])
def test_the_reference_may_outlive_a_reset(kind: Any) -> None:
    metric = _feed(kind(_model(), reset_real_features=False))
    value = float(metric.compute())
    metric.reset()
    metric.update(ROLES["generated"], real=False)
    assert float(metric.compute()) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("kind", [KernelDistance, FrechetDistance])
def test_a_persistent_state_is_saved_and_loaded(kind: Any) -> None:
    metric = kind(_model())
    metric.persistent(True)
    _feed(metric)
    state = {name: copy.deepcopy(value) for name, value in metric.state_dict().items()}
    assert state
    other = kind(_model())
    other.persistent(True)
    other.load_state_dict(state)
    other._update_count = 1
    assert float(other.compute()) == float(metric.compute())
    assert not kind(_model()).state_dict()  # weights never are part of it


def test_a_collection_is_fed_with_every_role() -> None:
    collection = torchmetrics.MetricCollection({"fd": FrechetDistance(_model()), "authpct": AuthPct(_model())})
    for role, images in ROLES.items():
        collection.update(images, role=role)
    alone = {"fd": _feed(FrechetDistance(_model())), "authpct": _feed(AuthPct(_model()))}
    for name, value in collection.compute().items():
        assert float(value) == pytest.approx(float(alone[name].compute()), rel=1e-9)


def test_wrong_calls_say_what_is_right() -> None:
    metric = KernelDistance(_model())
    for arguments in ({}, {"real": True, "role": "train"}, {"role": "fake"}):
        with pytest.raises(ValueError, match=r"real=|role"):
            metric.update(ROLES["generated"], **arguments)
    with pytest.raises(ValueError, match=r"\(B, C, H, W\)"):
        metric.update(ROLES["generated"][:2, 0], real=True)
    with pytest.raises(ValueError, match="one picture of 4 channels or 4 grey images"):
        metric.update(ROLES["generated"][:4, 0], real=True)
    with pytest.raises(ValueError, match=r"\(x \+ 1\) / 2"):
        metric.update(ROLES["generated"].float() / 127.5 - 1, real=True)


def test_a_batch_of_no_images_adds_none() -> None:
    metric = PRDC(feature_model=_model())
    metric.update(ROLES["generated"][:0], real=False)
    with pytest.raises(ValueError, match="generated"):
        metric.compute()


def test_one_picture_without_its_batch_is_one_image() -> None:
    from genaudit.integrations.batch_rows import pixels_of

    picture = ROLES["generated"][0]
    for alone in (picture, picture.permute(1, 2, 0), picture.float() / 255 + 1e-4):
        (pixels,) = pixels_of(alone)
        np.testing.assert_array_equal(pixels, picture.permute(1, 2, 0).numpy())


def _rank(rank: int, folder: Path) -> None:
    """Its share of the images, unevenly, and none of the training images for rank 1."""
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=2)
    metrics = [kind(Means()) for kind in OF_RANKS]
    for role, batch in ROLES.items():
        share = batch[:20] if rank == 0 else batch[20:]
        if role == "train" and rank == 1:
            continue
        for metric in metrics:
            metric.update(batch if role == "train" else share, role=role)
    values: dict[str, float] = {}
    for metric in metrics:
        values |= _flat(metric.compute(), metric.value)
    (folder / f"{rank}.json").write_text(json.dumps(values))
    dist.destroy_process_group()


def test_two_ranks_find_what_one_finds(tmp_path: Path) -> None:
    assert codes_of(*(start(_rank, rank, tmp_path) for rank in range(2))) == [0, 0]
    said = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    alone: dict[str, float] = {}
    for kind in OF_RANKS:
        alone |= _flat(_feed(kind(Means())).compute(), NAMES[kind])
    assert said[0] == said[1]
    assert said[0] == pytest.approx(alone, rel=1e-9)  # sums in float64, added in another order


def test_torchmetrics_is_named_where_it_is_missing() -> None:
    program = """
import sys
sys.modules["torchmetrics"] = None
import genaudit.integrations.batch_rows
try:
    import genaudit.integrations.torchmetrics
except ImportError as error:
    assert "pip install torchmetrics" in str(error), error
else:
    raise AssertionError("imported without torchmetrics")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_images_are_read_as_evaluate_reads_them() -> None:
    from genaudit.integrations.batch_rows import pixels_of

    grey = torch.tensor([[[[0.0, 0.5, 1.0]]]])
    (image,) = pixels_of(grey)
    np.testing.assert_array_equal(image, np.array([0, 128, 255], np.uint8)[None, :, None].repeat(3, 2))
