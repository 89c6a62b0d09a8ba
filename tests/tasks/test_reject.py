"""`genaudit reject` as a user and a CI job meet it: exit codes, files, streams, checkpoints, the plan."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genaudit.cli import main
from genaudit.errors import DONE, REJECTED, UNDECIDED, USER
from genaudit.store.shards import read_shard

KEYS = {
    "decision", "irs_target", "alpha", "n_train", "n_sampled", "n_learned", "threshold", "first_rejected_at", "irs_inf",
    "mode", "gap_adjusted", "calibration", "detect",
}  # fmt: skip
PIXELS = ("feature_model=pixels", "feature_model.size=8")
N_TRAIN = 100


@pytest.fixture
def train(make_images: Callable[..., Path]) -> Path:
    return make_images("train", N_TRAIN, seed=1)


@pytest.fixture
def sample_from(tmp_path: Path, train: Path) -> Callable[..., Path]:
    """Writes samples of a model that draws uniformly from the first `support` training images, with noise."""

    def sample(name: str, support: int, count: int, *, seed: int = 0) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        rng = np.random.default_rng(seed)
        for index in range(count):
            pixels = np.asarray(Image.open(train / f"{rng.integers(support):04}.png")).astype(int)
            noisy = np.clip(pixels + rng.integers(-9, 10, pixels.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / f"{index:04}.png")
        return folder

    return sample


def _reject(out: Path, samples: Any, train: Any, *keys: str) -> tuple[int, dict[str, Any]]:
    code = main(["reject", str(samples), f"train={train}", *PIXELS, f"out={out}", *keys])
    return code, json.loads((out / "decision.json").read_text())


def _rows_in_store(tmp_path: Path) -> int:
    return sum(len(read_shard(path)) for path in (tmp_path / "store").rglob("*.shard"))


@pytest.fixture
def held_out(sample_from: Callable[..., Path]) -> Path:
    """Real images that the model did not learn from: near training images, all of which they may reach."""
    return sample_from("held_out", N_TRAIN, 100, seed=99)


@pytest.mark.parametrize("mode", ["fixed", "sequential"])
@pytest.mark.parametrize("calibration", ["reference", "absolute"])
@pytest.mark.parametrize(
    ("support", "count", "decision", "code"),
    [(100, 80, "accept", DONE), (8, 60, "reject", REJECTED), (100, 3, "undecided", UNDECIDED)],
)
def test_every_outcome_has_its_exit_code_and_files(
    mode: str,
    calibration: str,
    support: int,
    count: int,
    decision: str,
    code: int,
    sample_from: Callable[..., Path],
    train: Path,
    held_out: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    if (calibration, decision) == ("absolute", "reject"):
        decision, code = "undecided", UNDECIDED  # these features retrieve unevenly: Eq. 9 says nothing
    how = "absolute=true" if calibration == "absolute" else f"reference={held_out}"
    got, document = _reject(out, sample_from("samples", support, count), train, f"mode={mode}", how)
    assert (got, document["decision"], document["calibration"]) == (code, decision, calibration)
    assert set(document) >= KEYS
    assert (document["irs_target"], document["alpha"], document["n_train"]) == (0.8, 0.05, N_TRAIN)
    assert (document["mode"], document["gap_adjusted"]) == (mode, calibration != "absolute")
    assert document["detect"] == 0.5
    assert document["n_learned"] <= document["n_sampled"] <= count
    assert (document["n_learned"] < document["threshold"]) == (support == 8)
    assert (document["first_rejected_at"] is not None) == (decision == "reject")
    assert set(document["irs_inf"]) == {"value", "lower", "upper"}
    page = (out / "decision.html").read_text()
    assert "<svg" in page
    assert 'src="http' not in page
    assert "<script" not in page
    if decision == "reject":
        assert "Most often retrieved" in page
        assert document["most_retrieved"][0]["times"] == max(each["times"] for each in document["most_retrieved"])
        assert int(document["most_retrieved"][0]["train"][:4]) < support
    first = capfd.readouterr().out.splitlines()[0]
    assert first.startswith({"accept": "ACCEPTED: ", "reject": "REJECTED: ", "undecided": "UNDECIDED: "}[decision])


def test_sequential_mode_stops_early_and_measures_no_image_that_it_does_not_need(
    sample_from: Callable[..., Path], train: Path, tmp_path: Path
) -> None:
    samples = sample_from("samples", 3, 80)
    _, document = _reject(tmp_path / "a", samples, train, "mode=sequential")
    assert document["decision"] == "reject"
    assert document["calibration"] == "held_out_train"
    assert (document["n_set_aside"], document["n_retrievable"]) == (20, 80)
    assert document["n_sampled"] == document["first_rejected_at"] < 20
    assert _rows_in_store(tmp_path) == N_TRAIN + document["n_sampled"]
    _, fixed = _reject(tmp_path / "b", samples, train, "mode=fixed", "absolute=true")
    assert fixed["n_sampled"] == 80
    assert _rows_in_store(tmp_path) == N_TRAIN + 80
    counts = [[(use["computed"], use["reused"]) for use in each["measures"].values()] for each in (document, fixed)]
    taken = document["n_sampled"]
    assert counts == [[(N_TRAIN + taken, 0)], [(80 - taken, N_TRAIN + taken)]]


def test_standard_input_streams_paths_and_stops_as_soon_as_the_decision_is_made(
    sample_from: Callable[..., Path], train: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    samples = sorted(sample_from("samples", 3, 40).iterdir())
    # What follows the decision is not even looked at: these files do not exist.
    lines = "".join(f"{path}\n" for path in samples) + "no/such/file.png\n" * 1000
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    code, document = _reject(tmp_path / "out", "-", train)
    assert code == REJECTED
    assert document["n_sampled"] == document["first_rejected_at"] < 40
    assert document["mode"] == "sequential"
    assert document["images"]["generated"]["count"] == document["n_sampled"]
    assert _rows_in_store(tmp_path) == N_TRAIN + document["n_sampled"]


def test_stream_decides_while_its_writer_still_runs(
    sample_from: Callable[..., Path], train: Path, tmp_path: Path
) -> None:
    samples = sorted(sample_from("samples", 3, 40).iterdir())
    command = [sys.executable, "-m", "genaudit", "reject", "-", f"train={train}", f"out={tmp_path / 'out'}", *PIXELS]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    process.stdin.write("".join(f"{path}\n" for path in samples))
    process.stdin.flush()
    assert process.wait(timeout=120) == REJECTED  # standard input is still open
    process.stdin.close()


def test_end_of_the_lines_accepts_or_asks_for_the_samples_that_were_promised(
    sample_from: Callable[..., Path], train: Path, held_out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    samples = sorted(sample_from("samples", 100, 80).iterdir())
    text = "\n".join(map(str, samples)) + "\n\n"
    absolute = ["absolute=true"]
    for keys, code in (
        ([*absolute, "n_max=400"], UNDECIDED),
        (absolute, DONE),
        ([*absolute, "n_max=80"], DONE),
        ([*absolute, "mode=fixed"], DONE),
        ([f"reference={held_out}"], DONE),
        ([f"reference={held_out}", "mode=fixed"], DONE),
    ):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        got, document = _reject(out, "-", train, *keys)
        assert got == code, keys
        # A stream cannot be shuffled, and the decision says so.
        assert document["shuffled"] is False
        assert "not-shuffled" in [each["code"] for each in document["warnings"]]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("gone.png", ["line 2", "'gone.png'", "does not exist"]),
        ("notes.txt", ["line 2", "'notes.txt'", "no image file"]),
        ("broken.png", ["line 2", "'broken.png'"]),
        (".", ["line 2", "is a folder"]),
    ],
)
def test_line_that_cannot_be_used_is_named(
    line: str,
    words: list[str],
    sample_from: Callable[..., Path],
    train: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    import io

    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "broken.png").write_bytes(b"not an image")
    samples = sorted(sample_from("samples", 100, 70).iterdir())
    text = f"{samples[0]}\n{line}\n" + "".join(f"{path}\n" for path in samples[1:])
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert main(["reject", "-", f"train={train}", *PIXELS]) == USER
    message = capfd.readouterr().err
    for word in words:
        assert word in message
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    code, document = _reject(tmp_path / "out", "-", train, "on_error=skip", "max_skipped=0.1", "absolute=true")
    assert code == DONE
    assert [each["name"] for each in document["images"]["generated"]["skipped"]] == [line]
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    # 1 of 71 is more than 1 %
    assert main(["reject", "-", f"train={train}", *PIXELS, "on_error=skip", "absolute=true"]) == USER


def test_reference_makes_the_target_what_real_images_reach_and_the_decision_says_so(
    sample_from: Callable[..., Path], train: Path, tmp_path: Path
) -> None:
    reference = sample_from("reference", 40, 80, seed=9)  # "real" images that reach only 40 of 100
    samples = sample_from("samples", 40, 80, seed=3)
    code, plain = _reject(tmp_path / "a", samples, train)
    assert (code, plain["calibration"]) == (UNDECIDED, "held_out_train")  # too few to tell them from training images
    code, adjusted = _reject(tmp_path / "b", samples, train, f"reference={reference}", "irs_target=0.75")
    assert (code, adjusted["decision"]) == (DONE, "accept")
    assert adjusted["gap_adjusted"] is True
    assert adjusted["n_sampled"] == 60  # three quarters of the real images
    assert adjusted["irs_inf_reference"]["lower"] <= 0.4
    assert adjusted["irs_relative"]["lower"] <= 1 <= adjusted["irs_relative"]["upper"]
    assert "held-out real images" in adjusted["reasons"][0]
    assert "limited-by-reference" in [each["code"] for each in adjusted["warnings"]]


def test_biased_model_is_distinguished_from_one_that_lacks_images(
    sample_from: Callable[..., Path], train: Path, held_out: Path, tmp_path: Path
) -> None:
    samples = sample_from("samples", 100, 60)
    for index in range(60, 100):  # forty more of the same eight training images
        Image.open(train / f"{index % 8:04}.png").save(samples / f"{index:04}.png")
    _, document = _reject(tmp_path / "out", samples, train, f"reference={held_out}", "irs_target=1")
    assert document["bias"]["fits"] is False
    assert document["bias"]["law_pvalue"] < 0.05 < document["bias"]["law_pvalue_reference"]
    assert document["bias"]["bias_pvalue"] < 0.05
    assert document["irs_inf_is"] == "lower_bound"
    assert document["irs_inf"]["upper"] is None
    assert document["copies"]["samples"] == 32  # forty of eight
    assert document["copies"]["samples_in_train"] == 40
    assert {"duplicates", "same-images"} <= {each["code"] for each in document["warnings"]}
    assert {each["train"] for each in document["most_retrieved"]} >= {f"{index:04}.png" for index in range(6)}


def test_folder_that_is_sorted_by_class_is_judged_in_random_order(
    sample_from: Callable[..., Path], train: Path, held_out: Path, tmp_path: Path
) -> None:
    """The first samples by name show one training image only; all together they are diverse."""
    samples = tmp_path / "sorted"
    samples.mkdir()
    for index, path in enumerate(sorted(sample_from("plain", 100, 64).iterdir())):
        path.rename(samples / f"b{index:04}.png")
    for index, path in enumerate(sorted(sample_from("one", 1, 16).iterdir())):
        path.rename(samples / f"a{index:04}.png")
    code, document = _reject(
        tmp_path / "out", samples, train, f"reference={held_out}", "mode=sequential", "irs_target=0.5"
    )
    assert document["decision"] != "reject", document["reasons"]
    assert document["shuffled"] is True
    assert code in (DONE, UNDECIDED)
    # The order is by content: other names, the same decision.
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for index, path in enumerate(sorted(samples.iterdir(), reverse=True)):
        path.rename(renamed / f"{index:04}.png")
    _, again = _reject(tmp_path / "again", renamed, train, f"reference={held_out}", "mode=sequential", "irs_target=0.5")
    assert (again["n_sampled"], again["n_learned"]) == (document["n_sampled"], document["n_learned"])


@pytest.mark.parametrize("how", ["calibrated", "absolute"])
def test_training_set_that_holds_every_image_twice_rejects_no_perfect_model(
    how: str, sample_from: Callable[..., Path], train: Path, held_out: Path, tmp_path: Path
) -> None:
    for path in sorted(train.iterdir()):
        Image.open(path).save(path.with_name(f"copy_{path.name}"), compress_level=0)  # the same pixels, other bytes
    samples = sample_from("samples", 100, 80, seed=4)
    keys = ["absolute=true"] if how == "absolute" else [f"reference={held_out}"]
    code, document = _reject(tmp_path / "out", samples, train, *keys)
    assert (code, document["decision"]) == (DONE, "accept")
    assert document["n_train"] == N_TRAIN
    assert document["copies"]["train"] == N_TRAIN
    assert f"{N_TRAIN} training images are copies of others" in " ".join(e["message"] for e in document["warnings"])


def test_training_images_among_the_reference_are_left_out_and_said(
    sample_from: Callable[..., Path], train: Path, held_out: Path, tmp_path: Path
) -> None:
    for index in range(20):
        Image.open(train / f"{index:04}.png").save(held_out / f"train{index:02}.png")
    samples = sample_from("samples", 100, 80, seed=4)
    _, document = _reject(tmp_path / "out", samples, train, f"reference={held_out}")
    assert document["copies"]["reference"] == 20
    assert document["n_reference"] == 100
    assert "same-images" in [each["code"] for each in document["warnings"]]


def test_real_images_are_not_rejected_by_the_gate_that_calibrates_itself(
    make_images: Callable[..., Path], tmp_path: Path
) -> None:
    """The README's command: training images, held-out images of the same kind as samples."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(900, 48)).astype(np.float32)  # many dimensions: retrieval is uneven
    np.savez(tmp_path / "train.npz", features=rows[:500])
    np.savez(tmp_path / "samples.npz", features=rows[500:])
    for keys, code in (([], DONE), (["mode=sequential"], DONE), (["absolute=true"], UNDECIDED)):
        arguments = ["reject", str(tmp_path / "samples.npz"), f"train={tmp_path / 'train.npz'}", "irs_target=0.8"]
        assert main([*arguments, f"out={tmp_path / 'out'}", *keys]) == code, keys
    document = json.loads((tmp_path / "out" / "decision.json").read_text())
    assert document["calibration"] == "absolute"
    assert document["bias"]["law_pvalue_train"] < 0.05


def test_checkpoints_are_decided_in_natural_order_and_the_last_one_counts(
    sample_from: Callable[..., Path], train: Path, held_out: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for step, support in ((9, 100), (100, 10), (20, 35)):
        sample_from(f"runs/step_{step}", support, 80, seed=step)
    out = tmp_path / "out"
    pattern = str(tmp_path / "runs" / "step_*")
    code, last = _reject(out, pattern, train, f"reference={held_out}")
    document = json.loads((out / "trajectory.json").read_text())
    assert [each["checkpoint"] for each in document["checkpoints"]] == ["step_9", "step_20", "step_100"]
    assert [each["step"] for each in document["checkpoints"]] == [9, 20, 100]
    values = [each["irs_relative"] for each in document["checkpoints"]]
    assert values == sorted(values, reverse=True)
    assert document["decision"] == last["decision"] == document["checkpoints"][-1]["decision"]
    assert (code, document["decision"]) == (REJECTED, "reject")
    with open(out / "trajectory.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["irs_relative"]) for row in rows] == values
    assert "<svg" in (out / "trajectory.html").read_text()
    for step in (9, 20, 100):
        assert (out / f"step_{step}" / "decision.html").exists()
    shown = capfd.readouterr()
    assert shown.out.startswith("REJECTED: ")
    assert "step_20" in shown.out
    assert "step_20: " in shown.err  # said as soon as it is decided
    sample_from("runs/step_200", 100, 2)
    assert _reject(tmp_path / "again", pattern, train, f"reference={held_out}")[0] == UNDECIDED


def test_pattern_of_image_files_is_one_checkpoint(
    sample_from: Callable[..., Path], train: Path, tmp_path: Path
) -> None:
    samples = sample_from("samples", 100, 80)
    assert _reject(tmp_path / "out", f"{samples}/*.png", train, "absolute=true")[0] == DONE
    assert not (tmp_path / "out" / "trajectory.json").exists()


def test_features_stand_in_for_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = rng.uniform(size=(1500, 1)).astype(np.float32) @ np.ones((1, 4), np.float32)  # even: a line
    rows = (np.argsort(np.argsort(rows[:, 0]))[:, None] + np.zeros((1, 4))).astype(np.float32)
    np.savez(tmp_path / "train.npz", features=rows)
    for support, code in ((1500, DONE), (9, REJECTED)):
        np.savez(tmp_path / "samples.npz", features=rows[rng.integers(0, support, 300)] + np.float32(1e-4))
        for keys in (["mode=fixed"], ["mode=sequential"], ["absolute=true"], ["absolute=true", "mode=sequential"]):
            arguments = ["reject", str(tmp_path / "samples.npz"), f"train={tmp_path / 'train.npz'}", *keys]
            assert main([*arguments, f"out={tmp_path / 'out'}"]) == code, keys
    page = (tmp_path / "out" / "decision.html").read_text()
    assert "Most often retrieved training rows" in page


def test_plan_prints_and_writes_how_many_samples_are_needed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["reject", "--plan", "n_train=800", "irs_target=0.8", "alpha=0.05", f"out={out}"]) == DONE
    shown = capfd.readouterr().out
    for word in ("80 %", "90 %", "99 %", "0.8 of what real images reach of 800"):
        assert word in shown
    document = json.loads((out / "plan.json").read_text())
    assert document["powers"] == [0.8, 0.9, 0.99]
    half = next(row for row in document["rows"] if row["images"] == 320)
    assert half["samples"] == sorted(half["samples"])
    with open(out / "plan.csv") as file:
        assert len(list(csv.DictReader(file))) == len(document["rows"])
    assert Image.open(out / "plan.png").size[0] > 600
    assert "data:image/png" in (out / "plan.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x"], ["train=T"]),
        ([], ["generated", "reject SAMPLES"]),
        (["x", "train=y", "irs_target=0"], ["irs_target must", "got 0"]),
        (["x", "train=y", "irs_target=1.2"], ["irs_target must", "1.2"]),
        (["x", "train=y", "irs_target=80"], ["got 80", "irs_target=0.8"]),
        (["x", "train=y", "irs_target=high"], ["irs_target must be a number, got high"]),
        (["x", "train=y", "alpha=0"], ["alpha must", "got 0"]),
        (["x", "train=y", "alpha=0.5"], ["alpha must", "got 0.5"]),
        (["x", "train=y", "detect=1"], ["detect must", "got 1"]),
        (["x", "train=y", "power=0"], ["power must", "got 0"]),
        (["x", "train=y", "absolute=maybe"], ["absolute must be true or false, got maybe"]),
        (["x", "train=y", "mode=quick"], ["mode must be fixed or sequential, got quick"]),
        (["x", "train=y", "n_max=0"], ["n_max must be a positive integer", "got 0"]),
        (["x", "train=y", "distance=far"], ["distance must be euclidean or cosine, got far"]),
        (["x", "train=/does/not/exist"], ["train", "/does/not/exist"]),
        (["x", "train=y", "n_train=5"], ["n_train=5", "--plan"]),
        (["x", "trian=y"], ["trian", "train"]),
        (["--plan"], ["n_train="]),
        (["--plan", "n_train=0"], ["n_train must be a positive integer or null, got 0"]),
        (["--plan", "n_train=100", "diversity=[0.9]"], ["0.9"]),
        (["--plan", "n_train=100", "irs_target=3"], ["irs_target must", "3"]),
    ],
)
def test_what_the_user_got_wrong_is_one_sentence_and_exit_code_2(
    arguments: list[str],
    words: list[str],
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["reject", *arguments]) == USER
    message = capfd.readouterr().err
    assert "Traceback" not in message
    for word in words:
        assert word in message
    assert not (tmp_path / "runs").exists()
