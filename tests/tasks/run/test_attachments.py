"""Attachments on their way to a metric and out of a run: by role and name, each with the image that it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genaudit.cli import main
from genaudit.data import open_images
from genaudit.data.columns import labelled
from genaudit.errors import DONE, UserError
from genaudit.measures.piad import PIAD, PreparedPixels
from genaudit.piad.saved import load
from genaudit.piad.scoring import score_batches
from genaudit.store import Rows
from genaudit.store.shards import read_shard, write_shard
from genaudit.tasks.run.by_class import _of_class
from genaudit.tasks.run.from_python import compose
from genaudit.tasks.run.judging import SOLE, MetricSpec, judge
from genaudit.tasks.run.measuring import Measurements
from genaudit.tasks.run.settings import Settings
from genaudit.tasks.run.specs import check_measure
from tests.measures.test_piad_measure import write_model


@pytest.fixture
def stored(tmp_path: Path) -> Rows:
    """Rows 0 to 11, each beside a map of its own number, in the order of a set that is not that of the shard."""
    numbers, order = np.arange(12), np.random.default_rng(0).permutation(12)
    digests, maps = np.zeros((12, 16), np.uint8), np.broadcast_to(numbers[:, None, None], (12, 2, 3)).astype(np.int16)
    shard = read_shard(write_shard(tmp_path, digests, numbers[:, None].astype(np.float32), "x", {"map": maps}), "x")
    return Rows(lambda again: ([shard], np.zeros(12, int), order))


def spec(fn: Callable[..., Any], measures: dict[str, str]) -> MetricSpec:
    return MetricSpec("own", fn, measures, False, "")


def test_a_metric_gets_attachments_by_role_and_of_several_measures_by_name(stored: Rows) -> None:
    settings, taken = Settings.of(compose("evaluate", ["generated=x"])), []

    def own(*, generated: Any, train: Any = None, attachments: Any) -> float:
        taken.append(attachments)
        return 0.0

    rows, maps = stored[:], stored.attachments
    by_measure = {"a": {"generated": rows, "train": rows}, "b": {"generated": rows}}
    measurements = Measurements({}, by_measure, {"a": {"generated": maps, "train": {"map": "of train"}}})
    judge(spec(own, {SOLE: "a"}), measurements, settings)
    judge(spec(own, {SOLE: "b"}), measurements, settings)
    judge(spec(own, {"first": "a", "second": "b"}), measurements, settings)
    alone, none, several = taken
    assert alone == {"generated": maps, "train": {"map": "of train"}}
    assert none == {}
    assert several == {"generated": {"first": maps}, "train": {"first": {"map": "of train"}}}


def test_a_class_gets_the_attachments_of_its_own_images(stored: Rows) -> None:
    names = [f"c{int(number) % 3}" for number in stored[:, 0]]
    roles: Any = {"generated": open_images(labelled(stored[:], labels=names))}
    whole = Measurements(roles, {"a": {"generated": stored[:]}}, {"a": {"generated": stored.attachments}})
    for place in range(3):
        members = {"generated": np.flatnonzero(np.array(names) == f"c{place}")}
        own = _of_class(members, whole, {})
        rows, maps = own.rows["a"]["generated"], own.attachments["a"]["generated"]["map"]
        assert sorted(rows[:, 0]) == [place, place + 3, place + 6, place + 9]
        assert maps.shape == (4, 2, 3)
        assert np.array_equal(maps[[3, 0]][:, 1, 2], rows[[3, 0], 0])


@pytest.mark.parametrize(
    "declared",
    [
        *({"map": said} for said in ("float32", ("float", (2,)), ("complex64", (2,)), ("uint8", (0, 2)), ("uint8", 3))),
        *({"map": ("bfloat16", (2,))}, {"a b": ("uint8", (2,))}, {"digests": ("uint8", (2,))}),
    ],
)
def test_a_declaration_that_cannot_be_kept_is_named_before_anything_is_measured(declared: Any) -> None:
    measure = type("Own", (PIAD,), {"attachments": declared, "__init__": lambda self: None})()
    with pytest.raises(UserError, match="Own declares the attachment"):
        check_measure(measure, "own")


def test_a_run_and_its_export_hold_each_images_own_map_and_reconstruction(
    make_images: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_images("gen", 9)
    make_images("other", 5, seed=1)
    write_model(tmp_path / "model", 1, pixels=PreparedPixels(16, 1))
    run = ["evaluate", "gen", "anomalies=other", "metric=[piad]", "piad_model=model", "store=rows", "out=run"]
    assert main([*run, "device=cpu", "progress=false"]) == DONE
    monkeypatch.setattr("genaudit.reports.export.BYTES_AT_ONCE", 2000)  # which takes several parts
    assert main(["export", "run", "what=rows", "store=rows", "out=rows.npz"]) == DONE
    measure, model = PIAD("model"), load(tmp_path / "model")
    with np.load("rows.npz") as file:
        for role, folder in (("generated", "gen"), ("anomalies", "other")):
            images: Any = open_images(folder)
            prepared = np.stack([measure.prepare(images.read(i)) for i in range(len(images))])
            batch = prepared.transpose(0, 3, 1, 2)[:, :1]
            (scored,) = score_batches(model.networks, batch, model.perceptual, batch_size=len(batch))
            assert file[f"{role}_digests"].tolist() == [each.tobytes().hex() for each in images.digests]
            np.testing.assert_allclose(file[role][:, 0], scored.scores, rtol=1e-5)
            np.testing.assert_allclose(file[f"{role}_map"], scored.maps, rtol=1e-3, atol=1e-6)
            made = (scored.reconstructions.clip(-1, 1).transpose(0, 2, 3, 1) + 1) * 127.5
            assert np.abs(file[f"{role}_reconstruction"] - made).max() <= 0.51  # rounding
    assert main(["export", "run", "what=rows", "role=generated", "format=csv", "store=rows", "out=rows.csv"]) == DONE
    assert Path("rows.csv").read_text().splitlines()[0] == "role,digest,score"
    assert (tmp_path / "run" / "report.html").read_text().count("where the score lies") >= 1
