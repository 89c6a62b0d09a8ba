"""How many images there are, how many different ones, and of how many sets: limits, copies, patterns, sweeps."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from PIL import Image

from genaudit import DiversityGate
from genaudit.cli import main
from genaudit.data.features import feature_set
from genaudit.errors import DONE, USER, UserError
from genaudit.tasks.gate.checkpoints import find_sets
from genaudit.tasks.run.auditing import subset_warnings

PIXELS = ("feature_model=pixels", "feature_model.size=3", "progress=false")


def _run(out: Path, *arguments: str) -> dict[str, Any]:
    assert main(["evaluate", *arguments, *PIXELS, f"out={out}"]) == DONE
    document: dict[str, Any] = json.loads((out / "report.json").read_text())
    jsonschema.validate(document, json.loads((resources.files("genaudit.reports") / "schema.json").read_text()))
    return document


def _warnings(document: dict[str, Any], code: str) -> dict[str | None, str]:
    return {each["metric"]: each["message"] for each in document["warnings"] if each["code"] == code}


@pytest.fixture
def classes(tmp_path: Path) -> Callable[[str, int], Path]:
    """Writes a folder of four classes, `count` images of one colour with noise each."""

    def make(name: str, count: int) -> Path:
        for place, colour in enumerate(([200, 40, 40], [40, 200, 40], [40, 40, 200], [200, 200, 40])):
            folder = tmp_path / name / f"class{place}"
            folder.mkdir(parents=True)
            rng = np.random.default_rng([place, len(name)])
            for index in range(count):
                pixels = (np.array(colour) + rng.normal(0, 20, (8, 8, 3))).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{index:03}.png")
        return tmp_path / name

    return make


def test_a_limit_of_sorted_classes_keeps_all_classes_and_the_other_roles(
    classes: Callable[[str, int], Path], tmp_path: Path
) -> None:
    sets = str(classes("gen", 30)), f"reference={classes('reference', 30)}", "metric=[prdc]"
    document = _run(tmp_path / "out", *sets, "limit=40")
    images = document["images"]
    assert (images["generated"]["count"], images["generated"]["available"]) == (40, 120)
    assert images["reference"]["count"] == 120
    assert "available" not in images["reference"]
    # the first 40 of a folder sorted by class hold two of the four classes: recall 0.5 at most
    assert document["metrics"]["prdc"]["values"]["recall"]["value"] > 0.8
    assert _warnings(document, "limited") == {None: "generated: a random 40 of 120 images (limit=40)."}
    names = (tmp_path / "out" / "images.csv").read_text()
    assert all(f"class{place}/" in names for place in range(4))
    assert "<b>40</b> generated of 120" in (tmp_path / "out" / "report.html").read_text()


def test_limits_of_other_roles_are_their_own_and_said_once_with_every_metric_that_takes_them(
    make_images: Callable[..., Path], tmp_path: Path
) -> None:
    roles = [f"{role}={make_images(role, 20, seed=seed)}" for seed, role in enumerate(("reference", "train"))]
    sets = str(make_images("gen", 15, seed=9)), *roles, "metric=[fd,prdc,vendi,authpct]"
    document = _run(tmp_path / "out", *sets, "limit_reference=12", "limit_train=11")
    assert {role: images["count"] for role, images in document["images"].items()} == {
        "generated": 15, "reference": 12, "train": 11
    }  # fmt: skip
    assert [each["message"] for each in document["warnings"] if each["code"] == "limited"] == [
        "reference: a random 12 of 20 images (limit_reference=12): the values of fd, prdc, vendi, authpct are defined "
        "by these, and not comparable with others.",
        "train: a random 11 of 20 images (limit_train=11): the values of authpct are defined by these, and not "
        "comparable with others.",
    ]


def test_a_limit_is_said_once_for_several_networks() -> None:
    rows = np.random.default_rng(0).normal(size=(20, 3))
    roles = {"reference": feature_set(rows, "rows.npz", "rows.npz", "reference").limited(12, seed=0)}
    takes = {f"{metric}@{network}": {"reference": True} for network in ("a", "b") for metric in ("fd", "kd")}
    (said,) = subset_warnings(roles, takes)
    assert said.metric is None
    assert "the values of fd, kd are defined by these" in said.message


@pytest.mark.parametrize(
    ("verb", "keys", "words"),
    [
        ("evaluate", ["limit_train=0"], "limit_train must be a positive integer"),
        ("evaluate", ["limit_reference=2.5"], "limit_reference must be a positive integer or null, got 2.5"),
        ("evaluate", ["reference={moments}", "limit_reference=4"], "limit_reference=4: .*holds mean and covariance"),
        ("evaluate", ["n_samples=5"], "n_samples=5 says how many images a callable draws"),
        ("reject", ["n_samples=5", "train={gen}"], "limit=5 takes so many"),
        ("moments", ["limit=5", "limit_reference=6"], "limit=5 and limit_reference=6 are about the same images"),
    ],
)
def test_a_limit_that_means_nothing_is_refused(
    verb: str,
    keys: list[str],
    words: str,
    make_images: Callable[..., Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder, moments = str(make_images("gen", 8)), tmp_path / "moments.npz"
    np.savez(moments, mu=np.zeros(3), sigma=np.eye(3))
    assert main([verb, folder, *PIXELS, *(key.format(gen=folder, moments=moments) for key in keys)]) == USER
    assert re.search(words, capfd.readouterr().err)


def test_the_gate_limits_samples_and_never_its_training_set(
    make_images: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, train = make_images("gen", 30, seed=1), make_images("train", 40, seed=2)
    for mode in ("fixed", "sequential"):
        for source in (str(samples), "-"):
            monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(map(str, sorted(samples.iterdir())))))
            main(["reject", source, f"train={train}", *PIXELS, f"mode={mode}", "limit=9", f"out={tmp_path / 'out'}"])
            decision = json.loads((tmp_path / "out" / "decision.json").read_text())
            assert decision["n_train"] == 40
            assert decision["n_sampled"] <= 9
    main(["reject", str(samples), f"train={train}", *PIXELS, "limit_train=20", f"out={tmp_path / 'out'}"])
    decision = json.loads((tmp_path / "out" / "decision.json").read_text())
    assert decision["n_train"] == 20
    assert [each["message"] for each in decision["warnings"] if each["code"] == "limited"] == [
        "train: a random 20 of 40 images (limit_train=20)."
    ]


def test_the_gate_says_each_count_once(make_images: Callable[..., Path], tmp_path: Path) -> None:
    sets = {role: make_images(role, 30, seed=seed) for seed, role in enumerate(("generated", "reference", "train"))}
    for role, count in (("reference", 3), ("train", 5)):
        for path in sorted(sets[role].iterdir())[:count]:
            shutil.copy(path, path.with_name(f"copy-{path.name}"))
    roles = [str(sets["generated"]), *(f"{role}={sets[role]}" for role in ("reference", "train"))]
    main(["reject", *roles, *PIXELS, "limit=9", f"out={tmp_path / 'out'}"])
    decision = json.loads((tmp_path / "out" / "decision.json").read_text())
    said = [each["message"] for each in decision["warnings"] if each["code"] in ("duplicates", "limited")]
    assert [message.partition(" exact")[0] for message in said] == [
        "reference: 3 of 33 images are",
        "generated: a random 9 of 30 images (limit=9).",
        "5 training images are copies of others; each content counts once.",
    ]
    counts = {role: (images["duplicates"], images.get("available")) for role, images in decision["images"].items()}
    assert counts == {"generated": (0, 30), "reference": (3, None), "train": (5, None)}


def test_one_set_is_limited_whatever_its_role_is_called(make_images: Callable[..., Path], tmp_path: Path) -> None:
    folder = str(make_images("real", 20))
    for key in ("limit", "limit_reference"):
        assert main(["moments", folder, *PIXELS, f"{key}=12", f"out={tmp_path / 'm.npz'}"]) == DONE
        assert np.load(tmp_path / "m.npz")["n"] == 12


def test_copies_within_a_role_are_counted_and_said_with_the_metrics_that_they_break(
    make_images: Callable[..., Path], tmp_path: Path
) -> None:
    sets = {role: make_images(role, 12, seed=seed) for seed, role in enumerate(("generated", "reference", "train"))}
    for path in sorted(sets["reference"].iterdir())[:5]:
        shutil.copy(path, path.with_name(f"copy-{path.name}"))
    document = _run(
        tmp_path / "out",
        str(sets["generated"]),
        *(f"{role}={sets[role]}" for role in ("reference", "train")),
        "metric=[fd,kd,prdc,authpct]",
    )
    assert {role: images["duplicates"] for role, images in document["images"].items()} == {
        "generated": 0, "reference": 5, "train": 0
    }  # fmt: skip
    said = _warnings(document, "duplicates")
    assert set(said) == {None}
    assert "reference: 5 of 17 images are exact copies of others of them; they make kd, prdc wrong" in said[None]
    assert " kd: the estimate is unbiased over pairs of different images" in said[None]
    (finding,) = [each for each in document["findings"] if each["code"] == "duplicates"]
    assert (finding["roles"], finding["metrics"], finding["breaks"]) == (["reference"], ["kd", "prdc"], False)
    assert finding["message"] == said[None]
    assert "(5 copies)" in (tmp_path / "out" / "report.html").read_text()


def test_images_of_two_roles_are_told_by_content_whatever_their_names(
    make_images: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sets = {role: make_images(role, 12, seed=seed) for seed, role in enumerate(("generated", "reference", "train"))}
    roles = [str(sets["generated"]), *(f"{role}={sets[role]}" for role in ("reference", "train"))]
    assert not _warnings(_run(tmp_path / "a", *roles, "metric=[fd]"), "same-images")
    for place, path in enumerate(sorted(sets["train"].iterdir())[:3]):
        shutil.copy(path, sets["generated"] / f"x{place}.png")
    for place, path in enumerate(sorted(sets["train"].iterdir())[:4]):
        shutil.copy(path, sets["reference"] / f"y{place}.png")
    document = _run(tmp_path / "b", *roles, "metric=[fd,authpct,vendi]")
    said = [each["message"] for each in document["warnings"] if each["code"] == "same-images"]
    assert [message.partition(":")[0] for message in said] == [
        "3 of 15 generated images are byte for byte also reference images",
        "3 of 15 generated images are byte for byte also train images",
        "4 of 16 reference images are byte for byte also train images",
    ]
    assert [message.rpartition("This concerns ")[2] for message in said] == [
        "fd, authpct, vendi.",
        "authpct.",
        "authpct.",
    ]
    assert not any(each["breaks"] for each in document["findings"])  # 3 of 15
    itself = _run(tmp_path / "c", roles[0], f"reference={roles[0]}", "metric=[fd]")
    assert [each["breaks"] for each in itself["findings"] if each["code"] == "same-images"] == [True]
    assert "[same-images]" in capfd.readouterr().out


def test_feature_rows_that_are_copies_are_known_too(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(30, 3))
    np.savez(tmp_path / "g.npz", features=np.concatenate([rows, rows[:4]]))
    np.savez(tmp_path / "r.npz", features=rows[:10])
    document = _run(tmp_path / "out", str(tmp_path / "g.npz"), f"reference={tmp_path / 'r.npz'}", "metric=[fd]")
    assert document["images"]["generated"]["duplicates"] == 4
    assert "14 of 34 generated feature rows" in _warnings(document, "same-images")[None]


class TestPatterns:
    @pytest.fixture
    def samples(self, make_images: Callable[..., Path], tmp_path: Path) -> Path:
        (tmp_path / "samples").mkdir()
        for step in (10, 9, 100):
            make_images(f"samples/step_{step}", 12, seed=step)
        make_images("real", 14, seed=1)
        return tmp_path / "samples"

    def test_a_pattern_of_folders_is_a_run_each_and_a_comparison(
        self, samples: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "out"
        keys = f"reference={tmp_path / 'real'}", "metric=[fd,prdc]", "limit=11", f"out={out}"
        assert main(["evaluate", f"{samples}/step_*", *PIXELS, *keys]) == DONE
        shown = capfd.readouterr().out
        assert shown.index("step_9:") < shown.index("step_10:") < shown.index("step_100:")
        reports = {path.parent.name: json.loads(path.read_text()) for path in out.glob("*/report.json")}
        assert set(reports) == {"step_9", "step_10", "step_100"}
        for label, report in reports.items():
            assert report["images"]["generated"]["count"] == 11
            assert report["config"]["generated"] == f"{samples}/{label}"
            assert f"generated={samples}/{label}" in report["command"]
        assert len({report["images"]["generated"]["digest"] for report in reports.values()}) == 3
        alone = _run(tmp_path / "alone", f"{samples}/step_9", *keys[:3])
        assert reports["step_9"]["metrics"] == alone["metrics"]
        comparison = json.loads((out / "comparison.json").read_text())
        assert [run["label"] for run in comparison["runs"]] == ["step_9", "step_10", "step_100"]

    def test_pooling_is_asked_for(self, samples: Path, tmp_path: Path) -> None:
        keys = f"reference={tmp_path / 'real'}", "metric=[fd]"
        document = _run(tmp_path / "out", f"{samples}/step_*", *keys, "pool=true")
        assert document["images"]["generated"]["count"] == 36
        # image files are one set as they are, and so is a pattern that descends
        for pattern in (f"{samples}/step_9/*.png", f"{samples}/**/*.png"):
            assert "generated" in _run(tmp_path / "out", pattern, *keys)["images"]

    def test_images_beside_the_folders_belong_to_no_set(
        self, samples: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        shutil.copy(samples / "step_9" / "0000.png", samples / "step_x.png")
        (samples / "step_log.json").write_text("{}")
        keys = [*PIXELS, "metric=[vendi]", f"out={tmp_path / 'out'}"]
        assert main(["evaluate", f"{samples}/step_*", *keys]) == USER
        assert "3 folders or archives" in capfd.readouterr().err
        assert main(["evaluate", f"{samples}/step_*", *keys, "pool=maybe"]) == USER
        assert main(["evaluate", f"{samples}/step_*/", *keys]) == DONE
        assert len(list((tmp_path / "out").glob("*/report.json"))) == 3
        assert main(["evaluate", f"{samples}/step_*", *keys, "pool=true"]) == DONE
        assert json.loads((tmp_path / "out" / "report.json").read_text())["images"]["generated"]["count"] == 37

    def test_shards_of_a_tar_are_one_set_and_array_files_are_not(self, samples: Path, tmp_path: Path) -> None:
        for step in (9, 10):
            shutil.make_archive(str(tmp_path / f"s-{step}"), "tar", samples / f"step_{step}")
            shutil.make_archive(str(tmp_path / f"s-{step}"), "gztar", samples / f"step_{step}")
            (tmp_path / f"s-{step}.json.gz").write_bytes(b"")
            np.savez(
                tmp_path / f"s-{step}.npz", images=np.random.default_rng(step).integers(0, 256, (5, 4, 4, 3), np.uint8)
            )
        assert _run(tmp_path / "tars", f"{tmp_path}/s-*.tar", "metric=[vendi]")["images"]["generated"]["count"] == 24
        assert find_sets(f"{tmp_path}/s-*.tar.gz", shards=True) == []
        assert find_sets(f"{tmp_path}/s-*.gz") == [f"{tmp_path}/s-9.tar.gz", f"{tmp_path}/s-10.tar.gz"]
        keys = [*PIXELS, "metric=[vendi]"]
        assert main(["evaluate", f"{tmp_path}/s-*.npz", *keys, f"out={tmp_path / 'npz'}"]) == DONE
        assert sorted(path.parent.name for path in (tmp_path / "npz").glob("*/report.json")) == ["s-10.npz", "s-9.npz"]

    def test_the_gate_pools_where_it_is_asked_to(self, samples: Path, tmp_path: Path) -> None:
        keys = [*PIXELS, f"train={tmp_path / 'real'}", f"out={tmp_path / 'out'}", "mode=fixed", "absolute=true"]
        main(["reject", f"{samples}/step_*", *keys, "pool=true"])
        assert json.loads((tmp_path / "out" / "decision.json").read_text())["n_sampled"] == 36
        assert not (tmp_path / "out" / "step_9").exists()


@pytest.mark.parametrize(
    ("out", "keys", "reports"),
    [
        ("o", ["seed=0,1"], ["o/0", "o/1"]),
        ("a b", ["limit=5,6", "seed=0,1"], ["a b/0", "a b/1", "a b/2", "a b/3"]),
        ("s${seed}", ["seed=0,1"], ["s0", "s1"]),
        ("x,y", ["seed=0"], ["x", "y"]),
    ],
)
def test_every_job_of_a_sweep_keeps_its_report(
    out: str,
    keys: list[str],
    reports: list[str],
    make_images: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [str(make_images("gen", 8)), *PIXELS, "metric=[vendi]", "--multirun", f"out={out}", *keys]
    assert main(["evaluate", *arguments]) == DONE
    assert sorted(str(path.parent) for path in Path().rglob("report.json")) == reports


def test_a_swept_file_of_moments_is_kept_per_job(
    make_images: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = str(make_images("real", 12))
    assert main(["moments", folder, *PIXELS, "--multirun", "limit=9,10", "out=m/real.npz"]) == DONE
    assert [int(np.load(f"m/{job}/real.npz")["n"]) for job in (0, 1)] == [9, 10]


@pytest.mark.parametrize("name", ["my real (1)", "a${x}", "[b]", "~c", "it's, k=1", "d\\", " e"])
def test_odd_names_are_folders_in_every_role_and_for_every_output(
    name: str, make_images: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for role in ("gen", "ref", "train"):
        make_images(role, 8, seed=len(role))
    Path(name).mkdir()
    for role in ("gen", "ref", "train"):
        shutil.move(role, Path(name) / role)
    Path("ref").symlink_to(tmp_path / name / "ref")
    roles = [f"{name}/gen", f"reference={name}/ref", f"train={name}/train", f"store={name}/store", f"out={name}/out"]
    assert main(["evaluate", *roles, *PIXELS, "metric=[fd,authpct]"]) == DONE
    report = json.loads((Path(name) / "out" / "report.json").read_text())
    sources = {role: os.path.abspath(images["source"]) for role, images in report["images"].items()}
    parts = {"generated": "gen", "reference": "ref", "train": "train"}
    assert sources == {role: str(tmp_path / name / part) for role, part in parts.items()}
    assert any((Path(name) / "store").rglob("*.shard"))
    assert main(["evaluate", f"{name}/*/", *PIXELS, "metric=[vendi]", "pool=true", "out=pooled"]) == DONE


def test_a_gate_that_is_fed_batches_has_no_limit_of_each(make_images: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="n_max=5"):
        DiversityGate(str(make_images("train", 12)), limit=5)
