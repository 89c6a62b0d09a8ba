"""`genaudit reject` as a user and a CI job meet it: exit codes, files, streams, checkpoints, the plan."""

from __future__ import annotations

import csv
import json
import os
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
    "mode", "gap_adjusted",
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


@pytest.mark.parametrize("mode", ["fixed", "sequential"])
@pytest.mark.parametrize(
    ("support", "count", "decision", "code"),
    [(100, 60, "accept", DONE), (8, 60, "reject", REJECTED), (100, 3, "undecided", UNDECIDED)],
)
def test_every_outcome_has_its_exit_code_and_files(
    mode: str,
    support: int,
    count: int,
    decision: str,
    code: int,
    sample_from: Callable[..., Path],
    train: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    got, document = _reject(out, sample_from("samples", support, count), train, f"mode={mode}")
    assert (got, document["decision"]) == (code, decision)
    assert set(document) >= KEYS
    assert (document["irs_target"], document["alpha"], document["n_train"]) == (0.8, 0.05, N_TRAIN)
    assert (document["mode"], document["gap_adjusted"]) == (mode, False)
    assert document["n_learned"] <= document["n_sampled"] <= count
    assert (document["n_learned"] < document["threshold"]) == (decision == "reject")
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
    shown = capfd.readouterr().out
    assert {"accept": "ACCEPTED", "reject": "REJECTED", "undecided": "UNDECIDED"}[decision] in shown


def test_sequential_mode_stops_early_and_measures_no_image_that_it_does_not_need(
    sample_from: Callable[..., Path], train: Path, tmp_path: Path
) -> None:
    samples = sample_from("samples", 5, 80)
    _, document = _reject(tmp_path / "a", samples, train, "mode=sequential")
    assert document["decision"] == "reject"
    assert document["n_sampled"] == document["first_rejected_at"] < 20
    assert _rows_in_store(tmp_path) == N_TRAIN + document["n_sampled"]
    _, fixed = _reject(tmp_path / "b", samples, train, "mode=fixed")
    assert fixed["n_sampled"] == 80
    assert _rows_in_store(tmp_path) == N_TRAIN + 80


def _pipe(arguments: list[str], lines: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "genaudit", "reject", "-", *arguments, *PIXELS]
    return subprocess.run(command, input=lines, capture_output=True, text=True, env=os.environ)


def test_standard_input_streams_paths_and_stops_as_soon_as_the_decision_is_made(
    sample_from: Callable[..., Path], train: Path, tmp_path: Path
) -> None:
    samples = sorted(sample_from("samples", 5, 40).iterdir())
    # What follows the decision is not even looked at: these files do not exist.
    lines = "".join(f"{path}\n" for path in samples) + "no/such/file.png\n" * 1000
    done = _pipe([f"train={train}", f"out={tmp_path / 'out'}"], lines)
    assert done.returncode == REJECTED, done.stderr
    document = json.loads((tmp_path / "out" / "decision.json").read_text())
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
    sample_from: Callable[..., Path], train: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    samples = sorted(sample_from("samples", 100, 50).iterdir())
    text = "\n".join(map(str, samples)) + "\n\n"
    for keys, code in ((["n_max=400"], UNDECIDED), ([], DONE), (["n_max=50"], DONE), (["mode=fixed"], DONE)):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        assert _reject(out, "-", train, *keys)[0] == code, keys


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
    samples = sorted(sample_from("samples", 100, 50).iterdir())
    text = f"{samples[0]}\n{line}\n" + "".join(f"{path}\n" for path in samples[1:])
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert main(["reject", "-", f"train={train}", *PIXELS]) == USER
    message = capfd.readouterr().err
    for word in words:
        assert word in message
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    code, document = _reject(tmp_path / "out", "-", train, "on_error=skip", "max_skipped=0.1")
    assert code == DONE
    assert [each["name"] for each in document["images"]["generated"]["skipped"]] == [line]
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert main(["reject", "-", f"train={train}", *PIXELS, "on_error=skip"]) == USER  # 1 of 51 is more than 1 %


def test_reference_makes_the_target_what_real_images_reach_and_the_decision_says_so(
    sample_from: Callable[..., Path], make_images: Callable[..., Path], train: Path, tmp_path: Path
) -> None:
    reference = sample_from("held_out", 40, 60, seed=9)  # "real" images that reach only 40 of 100
    samples = sample_from("samples", 40, 80, seed=3)
    code, plain = _reject(tmp_path / "a", samples, train)
    assert (code, plain["decision"]) == (REJECTED, "reject")
    code, adjusted = _reject(tmp_path / "b", samples, train, f"reference={reference}")
    assert (code, adjusted["decision"]) == (DONE, "accept")
    assert adjusted["gap_adjusted"] is True
    assert adjusted["n_sampled"] == 60  # as many as there are real images
    assert adjusted["irs_inf_reference"]["lower"] <= 0.4 <= adjusted["irs_inf_reference"]["upper"]
    assert adjusted["irs_inf_adjusted"]["lower"] <= 1 <= adjusted["irs_inf_adjusted"]["upper"]
    assert "held-out real images" in adjusted["reasons"][0]
    assert "limited-by-reference" in [each["code"] for each in adjusted["warnings"]]


def test_biased_model_is_told_from_one_that_lacks_images(
    sample_from: Callable[..., Path], train: Path, tmp_path: Path
) -> None:
    samples = sample_from("samples", 100, 60)
    for index in range(60, 100):  # forty more of the same eight training images
        Image.open(train / f"{index % 8:04}.png").save(samples / f"{index:04}.png")
    reference = sample_from("held_out", 100, 100, seed=5)
    _, document = _reject(tmp_path / "out", samples, train, f"reference={reference}")
    assert document["bias"]["fits"] is False
    assert document["bias"]["law_pvalue"] < 0.05 < document["bias"]["law_pvalue_reference"]
    assert document["bias"]["bias_pvalue"] < 0.05
    assert any("does not fit" in reason for reason in document["reasons"])
    assert {each["train"] for each in document["most_retrieved"]} >= {f"{index:04}.png" for index in range(6)}


def test_checkpoints_are_decided_in_natural_order_and_the_last_one_counts(
    sample_from: Callable[..., Path], train: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for step, support in ((9, 100), (100, 10), (20, 35)):
        sample_from(f"runs/step_{step}", support, 60, seed=step)
    out = tmp_path / "out"
    pattern = str(tmp_path / "runs" / "step_*")
    code, last = _reject(out, pattern, train)
    document = json.loads((out / "trajectory.json").read_text())
    assert [each["checkpoint"] for each in document["checkpoints"]] == ["step_9", "step_20", "step_100"]
    assert [each["step"] for each in document["checkpoints"]] == [9, 20, 100]
    values = [each["irs_inf"] for each in document["checkpoints"]]
    assert values == sorted(values, reverse=True)
    assert document["decision"] == last["decision"] == document["checkpoints"][-1]["decision"]
    assert (code, document["decision"]) == (REJECTED, "reject")
    with open(out / "trajectory.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["irs_inf"]) for row in rows] == values
    assert "<svg" in (out / "trajectory.html").read_text()
    for step in (9, 20, 100):
        assert (out / f"step_{step}" / "decision.html").exists()
    assert "step_20" in capfd.readouterr().out
    sample_from("runs/step_200", 100, 2)
    assert _reject(tmp_path / "again", pattern, train)[0] == UNDECIDED


def test_pattern_of_image_files_is_one_checkpoint(
    sample_from: Callable[..., Path], train: Path, tmp_path: Path
) -> None:
    samples = sample_from("samples", 100, 60)
    assert _reject(tmp_path / "out", f"{samples}/*.png", train)[0] == DONE
    assert not (tmp_path / "out" / "trajectory.json").exists()


def test_features_stand_in_for_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 4)).astype(np.float32)
    np.savez(tmp_path / "train.npz", features=rows)
    for support, code in ((200, DONE), (9, REJECTED)):
        np.savez(tmp_path / "samples.npz", features=rows[rng.integers(0, support, 90)] + np.float32(1e-3))
        for mode in ("fixed", "sequential"):
            arguments = ["reject", str(tmp_path / "samples.npz"), f"train={tmp_path / 'train.npz'}", f"mode={mode}"]
            assert main([*arguments, f"out={tmp_path / 'out'}"]) == code
    page = (tmp_path / "out" / "decision.html").read_text()
    assert "Most often retrieved training rows" in page


def test_plan_prints_and_writes_how_many_samples_are_needed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["reject", "--plan", "n_train=800", "irs_target=0.8", "alpha=0.05", f"out={out}"]) == DONE
    shown = capfd.readouterr().out
    for word in ("80 %", "90 %", "99 %", "640 of 800"):
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
        (["x", "train=y", "irs_target=0"], ["irs_target=0"]),
        (["x", "train=y", "irs_target=1.2"], ["irs_target=1.2"]),
        (["x", "train=y", "irs_target=80"], ["irs_target=80", "irs_target=0.8"]),
        (["x", "train=y", "irs_target=high"], ["irs_target=high"]),
        (["x", "train=y", "alpha=0"], ["alpha=0"]),
        (["x", "train=y", "alpha=0.5"], ["alpha=0.5"]),
        (["x", "train=y", "mode=quick"], ["mode=quick", "sequential"]),
        (["x", "train=y", "n_max=0"], ["n_max=0"]),
        (["x", "train=y", "distance=far"], ["distance=far", "cosine"]),
        (["x", "train=/does/not/exist"], ["train", "/does/not/exist"]),
        (["x", "train=y", "n_train=5"], ["n_train=5", "--plan"]),
        (["x", "trian=y"], ["trian", "train"]),
        (["--plan"], ["n_train="]),
        (["--plan", "n_train=0"], ["n_train must be a positive integer or null, got 0"]),
        (["--plan", "n_train=100", "diversity=[0.9]"], ["0.9"]),
        (["--plan", "n_train=100", "irs_target=3"], ["irs_target=3"]),
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
