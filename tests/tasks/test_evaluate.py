"""The main job end to end, on real files with a tiny network."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import sys
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from genaudit.cli import main
from genaudit.errors import DONE, USER
from genaudit.store import Store
from tests.conftest import TINY, write_images
from tests.forked import codes_of, start

ALL = "metric=[as,as_i,irs,fd,kd,prdc,vendi,authpct,ct]"


def _run(out: Path, *arguments: str) -> dict[str, Any]:
    assert main(["evaluate", *arguments, f"out={out}"]) == DONE
    document: dict[str, Any] = json.loads((out / "report.json").read_text())
    return document


def _exempt(document: dict[str, Any], *, counts: bool = True) -> dict[str, Any]:
    """A report without the fields that may differ between runs; with `counts`, without those that the store changes."""
    document = json.loads(json.dumps(document))
    for key in ("created", "environment"):
        del document[key]
    for use in document["measures"].values():
        del use["seconds"]
        if counts:
            del use["computed"], use["reused"]
    return document


QUICK = ("anomaly.path_steps=3", "anomaly.attack_steps=2")
KEYS = (*TINY, *QUICK, "workers=0", "batch_size=64", "progress=false")


@pytest.fixture(scope="module")
def same_sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    """Three folders that no test changes."""
    folder = tmp_path_factory.mktemp("sets")
    generated, reference, train = (str(write_images(folder / f"{seed}", 30, seed=seed)) for seed in (1, 2, 3))
    return generated, f"reference={reference}", f"train={train}"


@pytest.fixture(scope="module")
def finished(same_sets: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose `out` and `store` are of a run with the metrics that run by default."""
    folder = tmp_path_factory.mktemp("finished")
    _run(folder / "out", *same_sets, *KEYS, f"store={folder / 'store'}")
    return folder


@pytest.fixture
def sets(make_images: Callable[..., Path]) -> tuple[str, str, str]:
    generated, reference, train = (str(make_images(n, 30, seed=s)) for n, s in (("gen", 1), ("ref", 2), ("train", 3)))
    return generated, f"reference={reference}", f"train={train}"


def test_evaluate_writes_four_files_that_agree(sets: tuple[str, ...], tiny: list[str], tmp_path: Path) -> None:
    document = _run(tmp_path / "out", *sets, *tiny, *QUICK, ALL, "skip=true")
    schema = json.loads((resources.files("genaudit.reports") / "schema.json").read_text())
    jsonschema.validate(document, schema)
    assert set(document["metrics"]) | set(document["skipped_metrics"]) == {
        "as", "as_i", "irs", "fd", "kd", "prdc", "vendi", "authpct", "ct",
    }  # fmt: skip
    assert document["images"]["generated"]["count"] == 30
    with open(tmp_path / "out" / "metrics.csv") as file:
        for row in csv.DictReader(file):
            assert float(row["value"]) == document["metrics"][row["metric"]]["values"][row["name"]]["value"]
    with open(tmp_path / "out" / "images.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [f"{i:04}.png" for i in range(30)]
    assert {"complexity", "vulnerability", "as_i", "nearest_train", "nearest_train_distance"} <= set(rows[0])
    assert all(row["nearest_train"].endswith(".png") for row in rows)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )  # names of XML vocabularies are not links
    assert 'src="http' not in page


def _report(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return document


def test_the_same_command_gives_the_same_bytes(same_sets: tuple[str, ...], finished: Path, tmp_path: Path) -> None:
    second = _run(tmp_path / "b", *same_sets, *KEYS, f"store={tmp_path / 's2'}")
    first = _report(finished / "out")
    assert json.dumps(_exempt(first, counts=False)) == json.dumps(_exempt(second, counts=False))


def test_a_warm_run_measures_nothing_and_says_the_same(
    same_sets: tuple[str, ...], finished: Path, tmp_path: Path
) -> None:
    cold = _report(finished / "out")
    warm = _run(tmp_path / "b", *same_sets, *KEYS, f"store={finished / 'store'}")
    assert all(use["computed"] == 0 for use in warm["measures"].values())
    assert all(use["reused"] == 0 for use in cold["measures"].values())
    assert sum(use["computed"] for use in cold["measures"].values()) == sum(
        use["reused"] for use in warm["measures"].values()
    )
    assert _exempt(cold) == _exempt(warm)


@pytest.mark.parametrize(("batch", "workers"), [(1, 0), (7, 2)])
def test_batch_size_and_workers_do_not_change_the_report(
    batch: int,
    workers: int,
    same_sets: tuple[str, ...],
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Against all images in one batch without a worker."""
    # of images this small an attack takes 64 at a time, whatever the batch: here 4, so that batches differ for it too
    monkeypatch.setattr("genaudit.measures.vulnerability.attack_group", lambda size: 4)
    base = _report(finished / "out")
    keys = (*TINY, *QUICK, "progress=false", f"batch_size={batch}", f"workers={workers}")
    other = _run(tmp_path / "b", *same_sets, *keys, f"store={tmp_path / 's2'}")
    columns = {}
    for name, folder in (("a", finished / "out"), ("b", tmp_path / "b")):
        with open(folder / "images.csv") as file:
            columns[name] = list(csv.DictReader(file))
    for left, right in zip(columns["a"], columns["b"], strict=True):
        assert left["name"] == right["name"]
        assert left["nearest_train"] == right["nearest_train"]
        assert float(left["complexity"]) == pytest.approx(float(right["complexity"]), rel=1e-5)
        # the sign of a gradient that is zero to rounding may flip with the shape of the batch
        assert float(left["vulnerability"]) == pytest.approx(float(right["vulnerability"]), rel=1e-3)
    for metric in ("irs", "fd", "prdc"):
        for name, value in base["metrics"][metric]["values"].items():
            assert other["metrics"][metric]["values"][name]["value"] == pytest.approx(value["value"], rel=1e-5)
    # kd is a difference of means of kernels near 1: 1e-5 of those
    assert other["metrics"]["kd"]["values"]["kd"]["value"] == pytest.approx(
        base["metrics"]["kd"]["values"]["kd"]["value"], abs=1e-5
    )


def test_a_users_own_metric_runs_without_touching_genaudit(
    sets: tuple[str, ...], tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "mypackage"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "brightness.py").write_text(
        "from dataclasses import dataclass\n"
        "import numpy as np\n"
        "@dataclass(frozen=True)\n"
        "class Spread:\n"
        "    spread: float\n"
        "def spread(*, generated, reference, power=1):\n"
        "    return Spread(float(np.std(np.asarray(generated)) ** power - np.std(np.asarray(reference)) ** power))\n"
        "def mean_shift(generated, reference):\n"
        "    return float(np.asarray(generated).mean() - np.asarray(reference).mean())\n"
    )
    own = tmp_path / "own" / "metric"
    own.mkdir(parents=True)
    (own / "spread.yaml").write_text(
        "spread:\n  measure: ${feature_model}\n"
        "  fn: {_target_: mypackage.brightness.spread, _partial_: true, power: 2}\n"
    )
    (own / "shift.yaml").write_text(
        "shift:\n  measure: ${feature_model}\n  fn: {_target_: mypackage.brightness.mean_shift, _partial_: true}\n"
    )
    monkeypatch.chdir(tmp_path)  # as a user: the working folder is not on the path of a console script
    out = tmp_path / "out"
    document = _run(out, *sets, *tiny, "--config-dir", str(own.parent), "metric=[spread,shift,fd]")
    assert set(document["metrics"]) == {"spread", "shift", "fd"}
    (use,) = document["measures"].values()
    generated, reference = (
        np.asarray(Store(tmp_path / "store").rows_of(document["images"][role]["digest"], use["fingerprint"]))
        for role in ("generated", "reference")
    )
    values = {name: document["metrics"][name]["values"][name]["value"] for name in ("shift", "spread")}
    rounding = float(1e-6 * np.abs(generated).max())  # of float32 sums of some thousand features
    assert values["shift"] == pytest.approx(float(generated.mean() - reference.mean()), abs=rounding)
    assert values["spread"] == pytest.approx(float(generated.std() ** 2 - reference.std() ** 2), rel=1e-4)


def _slowly(arguments: list[str]) -> int:
    """A shard per batch, and a pause after each, so that the kill comes in the middle."""
    from genaudit.store import measuring

    measuring.FIRST_SHARD_SECONDS = measuring.LAST_SHARD_SECONDS = 0.0
    original = measuring.write_shard

    def slow(*given: Any) -> Path:
        path = original(*given)
        time.sleep(0.2)
        return path

    measuring.write_shard = slow
    return main(arguments)


def test_a_killed_run_resumes_and_reports_the_same(
    make_images: Callable[..., Path], tiny: list[str], tmp_path: Path
) -> None:
    generated, reference = str(make_images("gen", 40, seed=1)), str(make_images("ref", 40, seed=2))
    arguments = [generated, f"reference={reference}", *tiny, *QUICK, "metric=[as_i,fd]", "batch_size=4"]
    undisturbed = _run(tmp_path / "a", *arguments, f"store={tmp_path / 's1'}")
    store = tmp_path / "s2"
    process = start(_slowly, ["evaluate", *arguments, f"store={store}", f"out={tmp_path / 'killed'}"])
    deadline = time.monotonic() + 120
    while len(list(store.rglob("*.shard"))) < 4:
        assert process.exitcode is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["log.txt"]
    kept = len(list(store.rglob("*.shard")))
    resumed = _run(tmp_path / "b", *arguments, f"store={store}")
    assert sum(use["reused"] for use in resumed["measures"].values()) >= 4 * (kept - 1)
    assert _exempt(resumed) == _exempt(undisturbed)


def test_two_processes_fill_one_store(make_images: Callable[..., Path], tmp_path: Path) -> None:
    keys = ["evaluate", str(make_images("gen", 24, seed=1)), "feature_model=pixels", "metric=[vendi]", "progress=false"]
    processes = [start(main, [*keys, f"out={tmp_path / name}"], out=tmp_path / f"{name}.txt") for name in "ab"]
    assert codes_of(*processes) == [DONE, DONE]
    first, second = (json.loads((tmp_path / name / "report.json").read_text()) for name in "ab")
    assert _exempt(first) == _exempt(second)


def test_damaged_images_fail_or_are_skipped_by_name(
    sets: tuple[str, ...], tiny: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = Path(sets[0]) / "0007.png"
    data = broken.read_bytes()
    broken.write_bytes(data[: len(data) // 2])
    assert main(["evaluate", *sets, *tiny, *QUICK, "metric=[as_i,fd]", f"out={tmp_path / 'x'}"]) == USER
    assert "0007.png" in capfd.readouterr().err
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["log.txt"]
    document = _run(tmp_path / "y", *sets, *tiny, *QUICK, "metric=[as_i,fd]", "on_error=skip", "max_skipped=0.1")
    (skipped,) = document["images"]["generated"]["skipped"]
    assert skipped["name"] == "0007.png"
    assert document["images"]["generated"]["count"] == 29
    assert document["metrics"]["fd"]["n"]["generated"] == 29
    assert "images-skipped" in {warning["code"] for warning in document["warnings"]}
    assert main(["evaluate", *sets, *tiny, "metric=[fd]", "on_error=skip", "max_skipped=0.01"]) == USER
    assert "max_skipped" in capfd.readouterr().err


def test_a_report_counts_what_a_source_left_out(
    make_images: Callable[..., Path], tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generated, reference = make_images("generated", 6), make_images("reference", 6, seed=1)
    (generated / "0007.tga").write_bytes(b"")
    (generated / "0001.mask.png").write_bytes((generated / "0001.png").read_bytes())
    (generated / "labels.json").write_text("{}")
    document = _run(tmp_path / "out", str(generated), f"reference={reference}", "metric=[fd]", *tiny)
    assert document["images"]["generated"]["count"] == 6
    assert document["images"]["generated"]["ignored"] == {
        "beside the image of the same name: .mask.png": 1,
        "image format that is not read: .tga": 1,
        "no image: .json": 1,
    }
    assert document["images"]["reference"]["ignored"] == {}
    schema = json.loads((resources.files("genaudit.reports") / "schema.json").read_text())
    jsonschema.validate(document, schema)
    (warning,) = [each for each in document["warnings"] if each["code"] == "images-ignored"]
    assert warning["message"].startswith("generated: 2 that may be images are not used (1: ")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "image format that is not read: .tga" in page
    assert "[images-ignored]" in capsys.readouterr().out


def test_an_array_file_that_is_rewritten_while_it_is_measured_leaves_no_rows_of_other_images(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genaudit.store import passes as loop

    first, second = (np.random.default_rng(seed).integers(0, 256, (9, 20, 20, 3), dtype=np.uint8) for seed in (0, 1))
    monkeypatch.setattr("genaudit.data.file_rows.HELD_BYTES", 0)
    np.save(tmp_path / "x.npy", first)
    np.save(tmp_path / "y.npy", second)
    original = loop.prepared_images

    def rewritten(*args: Any, **keys: Any) -> Any:
        (tmp_path / "x.npy").write_bytes((tmp_path / "y.npy").read_bytes())
        return original(*args, **keys)

    arguments = [f"{tmp_path}/x.npy", f"reference={tmp_path}/y.npy", "metric=[fd]", *tiny]
    with monkeypatch.context() as patch:
        patch.setattr(loop, "prepared_images", rewritten)
        assert main(["evaluate", *arguments, f"out={tmp_path}/out"]) == USER
    np.save(tmp_path / "x.npy", first)
    after = _run(tmp_path / "after", *arguments)
    fresh = _run(tmp_path / "fresh", *arguments, f"store={tmp_path}/other-store")
    assert after["metrics"]["fd"]["values"] == fresh["metrics"]["fd"]["values"]


def test_metrics_that_lack_a_role_are_absent_and_say_why(
    sets: tuple[str, ...], tiny: list[str], tmp_path: Path
) -> None:
    document = _run(tmp_path / "out", sets[0], *tiny, ALL, "skip=true")
    assert set(document["metrics"]) == {"as_i", "vendi"}
    assert "reference=" in document["skipped_metrics"]["fd"]
    assert "train=" in document["skipped_metrics"]["authpct"]


def test_features_stand_in_for_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    paths = {}
    for role, shift in (("generated", 0.5), ("reference", 0.0), ("train", 0.0)):
        paths[role] = tmp_path / f"{role}.npz"
        np.savez(paths[role], features=(rng.normal(size=(60, 4)) + shift).astype(np.float32))
    document = _run(
        tmp_path / "out",
        str(paths["generated"]),
        *(f"{k}={paths[k]}" for k in ("reference", "train")),
        ALL,
        "skip=true",
    )
    assert {"irs", "fd", "kd", "prdc", "vendi", "authpct"} <= set(document["metrics"])
    assert "features" in document["skipped_metrics"]["as"]
    from genaudit.metrics.frechet import frechet_distance

    features = {role: np.load(path)["features"] for role, path in paths.items()}
    assert document["metrics"]["fd"]["values"]["fd"]["value"] == frechet_distance(
        features["reference"], features["generated"]
    ) or document["metrics"]["fd"]["values"]["fd"]["value"] == pytest.approx(
        frechet_distance(features["reference"], features["generated"]), rel=1e-12
    )


def test_moments_stand_in_for_the_reference(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    features = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    np.savez(tmp_path / "generated.npz", features=features)
    np.savez(tmp_path / "moments.npz", mu=np.ones(4), sigma=np.cov(features.T.astype(float)))
    arguments = [str(tmp_path / "generated.npz"), f"reference={tmp_path / 'moments.npz'}"]
    document = _run(tmp_path / "out", *arguments, "metric=[fd,kd]", "skip=true")
    # equal covariances: what is left is the distance of the means
    expected = float(((1 - features.astype(float).mean(0)) ** 2).sum())
    assert document["metrics"]["fd"]["values"]["fd"]["value"] == pytest.approx(expected, rel=1e-9)
    assert "moments" in document["skipped_metrics"]["kd"] or "mean and covariance" in document["skipped_metrics"]["kd"]
    np.savez(tmp_path / "moments.npz", mu=np.ones(5), sigma=np.eye(5))
    assert main(["evaluate", *arguments, "metric=[fd]"]) == USER
    assert "5 features" in capfd.readouterr().err


def test_features_and_images_do_not_mix(
    sets: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "f.npz", features=np.ones((10, 4), np.float32))
    assert main(["evaluate", sets[0], f"reference={tmp_path / 'f.npz'}"]) == USER
    assert "reference holds features" in capfd.readouterr().err


def test_multirun_sweeps_into_folders_of_their_own(
    sets: tuple[str, ...], tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *sets[:2], *tiny, "metric=[kd]", "--multirun", "seed=0,1"]) == DONE
    reports = sorted(tmp_path.glob("runs/multirun/*/*/report.json"))
    assert [json.loads(path.read_text())["seed"] for path in reports] == [0, 1]


def test_a_half_precision_embedding_has_rows_of_its_own(sets: tuple[str, ...], tiny: list[str], tmp_path: Path) -> None:
    full = _run(tmp_path / "a", sets[0], *tiny, "metric=[vendi]")
    half = _run(tmp_path / "b", sets[0], *tiny, "metric=[vendi]", "precision=bfloat16")
    assert next(iter(half["measures"].values()))["computed"] == 30
    value, other = (d["metrics"]["vendi"]["values"]["vendi"]["value"] for d in (full, half))
    assert other == pytest.approx(value, rel=0.05)  # bfloat16 has 8 bits
    assert other != value


def test_compare_ranks_two_runs(sets: tuple[str, ...], tiny: list[str], tmp_path: Path) -> None:
    _run(tmp_path / "a", *sets, *tiny, "metric=[fd,irs,kd]")
    _run(tmp_path / "b", sets[2].partition("=")[2], *sets[1:], *tiny, "metric=[fd,irs,kd]")
    out = tmp_path / "comparison"
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), f"out={out}"]) == DONE
    assert {path.name for path in out.iterdir()} >= {"comparison.csv", "comparison.json", "comparison.html"}
    rows = {row["name"]: row for row in json.loads((out / "comparison.json").read_text())["rows"]}
    assert "relabelling" in rows["kd"]["test"]  # the rows were found in the store
    assert rows["fd"]["unranked"] == "there is no interval"  # fewer images than dimensions


def test_renaming_a_folder_measures_nothing_again(sets: tuple[str, ...], tiny: list[str], tmp_path: Path) -> None:
    _run(tmp_path / "a", sets[0], *tiny, "metric=[vendi]")
    moved = shutil.move(sets[0], tmp_path / "moved")
    again = _run(tmp_path / "b", str(moved), *tiny, "metric=[vendi]")
    assert next(iter(again["measures"].values()))["computed"] == 0


def _several(*, generated: Any, anomalies: Any = None, seed: int = 0) -> dict[str, float]:
    """A metric of two measures: what it is handed, by the names of its YAML."""
    assert set(generated) == {"features", "size"}
    ours = float(np.asarray(generated["features"]).mean())
    return {"mean": ours, "others": 0.0 if anomalies is None else float(np.asarray(anomalies["features"]).mean())}


def test_a_metric_of_several_measures_gets_rows_by_their_names(
    make_images: Callable[..., Path], tiny: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "own" / "metric"
    folder.mkdir(parents=True)
    function = f"{__name__}._several"
    sys.modules[__name__.rpartition(".")[2]] = sys.modules[__name__]
    (folder / "pair.yaml").write_text(
        "pair:\n"
        "  measure:\n"
        "    features: ${feature_model}\n"
        "    size: {_target_: genaudit.backbones.pixels.Pixels, size: 4}\n"
        "    absent: null\n"
        f"  fn: {{_target_: {function}, _partial_: true}}\n"
    )
    generated, odd = str(make_images("gen", 6, seed=1)), str(make_images("odd", 4, seed=2))
    document = _run(
        tmp_path / "out", generated, f"anomalies={odd}", *tiny, "--config-dir", str(tmp_path / "own"), "metric=[pair]"
    )
    entry = document["metrics"]["pair"]
    assert entry["n"] == {"generated": 6, "anomalies": 4}
    assert entry["measure"].count(" + ") == 1
    assert set(entry["measure"].split(" + ")) == set(document["measures"])
    assert entry["values"]["mean"]["value"] != entry["values"]["others"]["value"]
    assert document["images"]["anomalies"]["count"] == 4
