"""`genaudit train likelihood=...` from the command line: it learns, resumes, explains itself; what it writes works."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from genaudit.cli import main
from genaudit.errors import DONE, INTERRUPTED, USER
from genaudit.likelihood import saved
from genaudit.likelihood.scoring import log_likelihoods
from genaudit.likelihood.trainer import Trainer
from genaudit.likelihood.wide_resnet import logits
from genaudit.stats.auroc import auroc
from genaudit.training import read_log
from tests.conftest import free_port, write_images
from tests.forked import codes_of, ranks, start

TINY_GLOW = (
    *("likelihood=glow_laptop", "likelihood.model.size=8", "likelihood.model.scales=2", "likelihood.model.steps=1"),
    *("likelihood.model.hidden=4", "likelihood.recipe.iterations=20", "likelihood.recipe.batch_size=8"),
    *("likelihood.recipe.warmup=2", "samples=4", "every=5", "progress=false", "device=cpu"),
)

Images = Callable[..., Path]


def train(out: Path, source: Path | str, *arguments: str) -> dict[str, np.ndarray]:
    assert main(["train", *TINY_GLOW, f"train={source}", f"out={out}", *arguments]) == DONE
    return read_log(out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["train", *arguments]) == USER
    return capsys.readouterr().err


@pytest.fixture
def images(make_images: Images) -> Path:
    return make_images("images", 24, size=8)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images and a run on them that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    train(folder / "run", write_images(folder / "images", 24, size=8))
    return folder


def test_a_run_leaves_a_model_that_loads_a_log_samples_and_a_page(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = train(tmp_path / "run", images)
    assert log["iteration"].tolist() == [5, 10, 15, 20]
    assert log["bits_per_dim"][-1] < log["bits_per_dim"][0]
    model = saved.load(tmp_path / "run")
    assert model.image_shape == (1, 8, 8)
    about = saved.describe(tmp_path / "run")["about"]
    assert about["bits_per_dim"] == log["bits_per_dim"][-1]
    assert about["n_images"] == 24
    assert about["recipe"]["iterations"] == 20
    with Image.open(tmp_path / "run" / "samples.png") as picture:
        assert picture.width == picture.height  # 2 by 2
    page = (tmp_path / "run" / "train.html").read_text()
    assert "Bits per dimension" in page
    assert "turned to grey" in page
    assert 'src="http' not in page
    said = capsys.readouterr().out
    assert "24 images" in said
    assert f"density_model={tmp_path / 'run'}" in said


def test_a_model_of_one_scale_has_no_column_of_its_last_scale(
    images: Path, make_images: Images, tmp_path: Path
) -> None:
    foreign = make_images("foreign", 12, seed=8, size=8)
    log = train(tmp_path / "run", images, f"anomalies={foreign}", "likelihood.model.scales=1")
    assert "auroc_raw" in log
    assert "auroc_last_scale" not in log


def test_other_images_in_the_same_folder_are_refused(
    images: Path, make_images: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "run", images)
    other = make_images("other", 24, seed=5, size=8)
    said = refused(capsys, *TINY_GLOW, f"train={other}", f"out={tmp_path / 'run'}")
    assert "images_digest" in said
    assert "begin again" in said
    said = refused(capsys, *TINY_GLOW, f"train={images}", f"out={tmp_path / 'run'}", "seed=1")
    assert "seed" in said


def _scores(run: Path, general: Path, folder: Path) -> list[np.ndarray]:
    """Log-likelihood, its last scale and the ratio of a folder's images at a run's end."""
    pixels = np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())])
    own, others = (log_likelihoods(saved.load(each), pixels) for each in (run, general))
    return [own[:, 0], own[:, -1], own[:, 0] - others[:, 0]]


def test_outliers_anomalies_and_finetuning_reach_the_log(images: Path, make_images: Images, tmp_path: Path) -> None:
    photographs = make_images("photographs", 20, seed=7, size=8)
    foreign = make_images("foreign", 12, seed=8, size=8)
    for path in (*images.iterdir(), *foreign.iterdir()):
        Image.open(path).convert("L").save(path)  # so that the pixels below are those that the run reads
    train(tmp_path / "general", photographs)
    log = train(
        tmp_path / "run", images, f"finetune={tmp_path / 'general'}", f"outliers={photographs}",
        f"general={tmp_path / 'general'}", f"anomalies={foreign}", f"reference={images}",
        "likelihood.recipe.iterations=10",
    )  # fmt: skip
    assert set(log) > {"outlier_loss", "reference_bits_per_dim", "auroc_raw", "auroc_last_scale", "auroc_ratio"}
    # so short a run is looked at once, at its end: with the model that it leaves
    known, unknown = (_scores(tmp_path / "run", tmp_path / "general", source) for source in (images, foreign))
    for place, name in enumerate(("auroc_raw", "auroc_last_scale", "auroc_ratio")):
        assert np.isnan(log[name][:-1]).all()
        assert log[name][-1] == pytest.approx(auroc(known[place], unknown[place]), abs=1e-6)
    # Before the first step in-model and general model are one: the loss is 6000 ln 2, and falls.
    assert 0 < log["outlier_loss"][-1] < 4300
    about = saved.describe(tmp_path / "run")["about"]
    assert about["finetune"] == about["general"] == saved.sha256(tmp_path / "general")
    margin = train(tmp_path / "margin", images, f"outliers={photographs}", "+likelihood.recipe.outliers=margin")
    # in units of nats, of which it begins with the margin of 64 or less per image; Eq. S1's begins with thousands
    assert ((margin["outlier_loss"] >= 0) & (margin["outlier_loss"] < 1000)).all()


def test_a_class_conditional_model_learns_the_folders_as_classes(
    tmp_path: Path, make_images: Images, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "classes"
    root.mkdir()
    for name, seed in (("cats", 1), ("dogs", 2)):
        os.rename(make_images(name, 12, seed=seed, size=8), root / name)
    train(tmp_path / "run", root, "likelihood.model.classes=2")
    assert saved.load(tmp_path / "run").classes == 2
    labels = tmp_path / "labels.npy"
    np.save(labels, np.arange(24) // 12)
    train(tmp_path / "same", root, "likelihood.model.classes=2", f"labels={labels}")
    first, second = (saved.load(tmp_path / name).state_dict() for name in ("run", "same"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    rest = (f"train={root}", f"finetune={tmp_path / 'run'}", f"out={tmp_path / 'more'}")
    said = refused(capsys, *TINY_GLOW, *rest, "likelihood.model.classes=3")
    assert "classes (there 2, here 3)" in said


def test_a_class_conditional_model_is_finetuned_from_one_without_classes(tmp_path: Path, make_images: Images) -> None:
    root = tmp_path / "classes"
    root.mkdir()
    for name, seed in (("cats", 1), ("dogs", 2)):
        os.rename(make_images(name, 12, seed=seed, size=8), root / name)
    train(tmp_path / "general", root)
    train(tmp_path / "run", root, "likelihood.model.classes=2", f"finetune={tmp_path / 'general'}",
          "likelihood.recipe.iterations=1", "likelihood.recipe.learning_rate=1e-3")  # fmt: skip
    general, made = saved.load(tmp_path / "general"), saved.load(tmp_path / "run")
    assert (general.classes, made.classes) == (1, 2)
    # the first update of Adam moves no number by more than the rate: where it began is the general model
    begin, end = general.with_classes(2).state_dict(), made.state_dict()
    largest = max(float((end[name].double() - begin[name].double()).abs().max()) for name in begin)
    assert 0 < largest <= 1e-3


def test_mistakes_are_sentences(images: Path, make_images: Images, tmp_path: Path,
                                capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    one, large = make_images("one", 1, size=8), make_images("large", 3, seed=3, size=9)
    empty = tmp_path / "empty"
    empty.mkdir()
    nan = tmp_path / "nan.npy"
    np.save(nan, np.full((4, 8, 8, 3), np.nan, np.float32))
    features = tmp_path / "features.npz"
    np.savez(features, features=np.ones((4, 5), np.float32))
    given = f"train={images}"
    cases: list[tuple[tuple[str, ...], str]] = [
        ((given,), "the model to train is missing"),
        ((given, "likelihood=glow", "piad=mnist"), "both likelihood= and piad="),
        ((given, "likelihood=glwo"), "unknown likelihood"),
        ((*TINY_GLOW,), "train=T is needed"),
        ((*TINY_GLOW, f"train={one}"), "holds one image"),
        ((*TINY_GLOW, f"train={large}"), "9x9, larger than the model's 8x8"),
        ((*TINY_GLOW, f"train={empty}"), "empty"),
        ((*TINY_GLOW, f"train={nan}"), "nan.npy"),
        ((*TINY_GLOW, f"train={features}"), "holds no images"),
        ((*TINY_GLOW, f"train={tmp_path / 'absent'}"), "absent"),
        ((*TINY_GLOW, given, "precision=float16"), "precision=float16: density models are trained in float32"),
        ((*TINY_GLOW, given, "every=0"), "every must be a positive integer or null, got 0"),
        ((*TINY_GLOW, given, "samples=-1"), "samples must be an integer from 0 to 100000 or null, got -1"),
        ((*TINY_GLOW, given, "checkpoint_seconds=-1"), "checkpoint_seconds must be a number of 0 or more"),
        ((*TINY_GLOW, given, "likelihood.recipe.batch_size=0"), "batch_size must be above 0"),
        ((*TINY_GLOW, given, "likelihood.recipe.learning_rate=nan"), "learning_rate must be a number, got nan"),
        ((*TINY_GLOW, given, "likelihood.recipe.learning_rate=fast"), "learning_rate must be a number"),
        ((*TINY_GLOW, given, "likelihood.recipe.optimiser=sgd"), "optimiser must be adamax or adam, got sgd"),
        ((*TINY_GLOW, given, "likelihood.model.steps=0"), "likelihood.model.steps must be a positive integer"),
        ((*TINY_GLOW, given, f"outliers={images}"), "needs general=RUN"),
        ((*TINY_GLOW, given, f"general={tmp_path}"), "general= is for the outlier loss"),
        ((*TINY_GLOW, given, f"finetune={tmp_path}"), "does not hold a trained model"),
        ((*TINY_GLOW, given, "likelihood.model.classes=3"), "folders of images"),
        ((*TINY_GLOW, given, f"labels={nan}"), "class-conditional"),
    ]
    for arguments, message in cases:
        said = refused(capsys, *arguments, f"out={tmp_path / 'refused'}")
        assert message in said, (arguments, said)
    assert not (tmp_path / "refused" / "model.json").exists()


def test_finetuning_another_network_is_refused(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "general", images, "likelihood.recipe.iterations=2")
    rest = (f"train={images}", f"finetune={tmp_path / 'general'}", f"out={tmp_path / 'run'}")
    said = refused(capsys, *TINY_GLOW, *rest, "likelihood.model.hidden=5")
    assert "hidden (there 4, here 5)" in said
    assert "another network" in refused(capsys, *TINY_GLOW, *rest, "+likelihood.model.layers=fully_connected")


def test_two_ranks_train_the_model_of_one_process(images: Path, tmp_path: Path) -> None:
    arguments = ["train", *TINY_GLOW, f"train={images}", "likelihood.recipe.iterations=4", "every=2"]
    together = [start(main, [*arguments, f"out={tmp_path / 'two'}"], environment=each) for each in ranks(free_port())]
    train(tmp_path / "one", images, "likelihood.recipe.iterations=4", "every=2")
    assert codes_of(*together) == [DONE, DONE]
    one, two = (saved.load(tmp_path / name).state_dict() for name in ("one", "two"))
    for name in one:
        # Four float32 steps of Adam at 1.2e-2 whose gradients are summed in another order: Adam divides by the
        # gradient's size, so that rounding of small gradients shows, far below a step.
        torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=2e-3)
    assert read_log(tmp_path / "two")["iteration"].tolist() == [2, 4]


def test_the_trained_model_is_what_llr_judges(images: Path, make_images: Images, tmp_path: Path) -> None:
    train(tmp_path / "density", images)
    train(tmp_path / "general", make_images("photographs", 20, seed=7, size=8))
    foreign = make_images("foreign", 12, seed=8, size=12)
    keys = (str(images), f"anomalies={foreign}", "metric=[llr]", "device=cpu", "progress=false")
    assert main(["evaluate", *keys, f"density_model={tmp_path / 'density'}", f"out={tmp_path / 'a'}"]) == DONE
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    values: dict[str, Any] = report["metrics"]["llr"]["values"]
    assert set(values) == {"auroc_raw", "auroc_last_scale", "auroc_ratio", "auroc_code"}
    assert report["metrics"]["llr"]["n"] == {"generated": 24, "anomalies": 12}
    header = (tmp_path / "a" / "images.csv").read_text().splitlines()[0].split(",")
    assert {"llr", "log_prob", "c_1", "c_2", "log_prob_general", "code_bits"} <= set(header)
    models = (f"density_model={tmp_path / 'density'}", f"general_model={tmp_path / 'general'}")
    assert main(["evaluate", *keys, *models, f"out={tmp_path / 'b'}"]) == DONE
    report = json.loads((tmp_path / "b" / "report.json").read_text())
    assert {"auroc_general", "auroc_ratio_code"} < set(report["metrics"]["llr"]["values"])
    assert "Extreme images by ratio" in (tmp_path / "b" / "report.html").read_text()


def test_llr_without_a_model_says_what_to_give(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(images), f"anomalies={images}", "metric=[llr]", "progress=false"]) == USER
    assert "density_model=RUN" in capsys.readouterr().err


TINY_CLASSIFIER = (
    *("likelihood=wide_resnet", "likelihood.model.size=8", "likelihood.model.depth=10", "likelihood.model.width=1"),
    *("likelihood.recipe.iterations=6", "likelihood.recipe.batch_size=8", "every=2", "progress=false", "device=cpu"),
)


def test_the_discriminative_baseline_scores_reference_images_and_anomalies(
    images: Path, make_images: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photographs, foreign = make_images("photographs", 20, seed=7, size=8), make_images("foreign", 12, seed=8, size=6)
    given = (f"train={images}", f"outliers={photographs}", f"reference={images}", f"anomalies={foreign}")
    out = tmp_path / "run"
    assert main(["train", *TINY_CLASSIFIER, *given, f"out={out}"]) == DONE
    said = capsys.readouterr().out
    rows = [line.split(",") for line in (out / "scores.csv").read_text().splitlines()[1:]]
    ours, others = ([float(row[2]) for row in rows if row[0] == role] for role in ("reference", "anomalies"))
    assert (len(ours), len(others)) == (24, 12)
    assert f"AUROC of reference images against anomalies: {auroc(ours, others):.4f}" in said
    model = saved.load(out, kind=saved.CLASSIFIER)
    with Image.open(images / "0000.png") as picture:
        first = logits(model, np.asarray(picture.convert("RGB"))[None])
    assert first == pytest.approx(ours[:1], abs=1e-4)  # another batch: float32 sums in another order
    assert "kind 'classifier'" in refused(capsys, *TINY_GLOW, f"train={images}", f"finetune={out}")
    assert "outliers=G are needed" in refused(capsys, *TINY_CLASSIFIER, f"train={images}")


@pytest.mark.parametrize("rate", ["1e10", "1e30"])
def test_a_model_that_diverges_is_no_model(
    rate: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 1e10 parameters stay finite and every log-likelihood is NaN, also where the first step is the last."""
    for iterations in (1, 6):
        out = tmp_path / f"run{iterations}"
        keys = ("likelihood.recipe.warmup=0", f"likelihood.recipe.iterations={iterations}", "every=1")
        said = refused(
            capsys, *TINY_GLOW, f"train={images}", f"out={out}", f"likelihood.recipe.learning_rate={rate}", *keys
        )
        assert "diverged" in said
        assert "Traceback" not in said
        assert not (out / "model.safetensors").exists()
        assert not (out / "checkpoint.pt").exists()


def test_the_checkpoint_from_before_a_model_diverged_is_kept(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainer.step

    def poisoned(self: Trainer) -> Any:
        done = step(self)
        if self.iteration == 9:
            next(self.model.parameters()).data.fill_(math.nan)
        return done

    monkeypatch.setattr(Trainer, "step", poisoned)
    keys = (f"train={images}", f"out={tmp_path / 'run'}", "checkpoint_seconds=0")
    said = refused(capsys, *TINY_GLOW, *keys)
    assert "the checkpoint of iteration 8 is kept" in said
    assert not (tmp_path / "run" / "model.json").exists()
    monkeypatch.undo()
    assert main(["train", *TINY_GLOW, *keys]) == DONE
    assert "iteration 8 of 20" in capsys.readouterr().out


def test_a_few_steps_without_an_update_are_no_divergence(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S4.3 leaves out batches whose values are not finite; the run continues, and what it learned is a model."""
    norm = Trainer._gradient_norm
    monkeypatch.setattr(Trainer, "_gradient_norm", lambda self: math.inf if 4 < self.iteration < 9 else norm(self))
    log = train(tmp_path / "run", images)
    assert log["bits_per_dim"][-1] < log["bits_per_dim"][0]
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_a_classifier_that_diverges_is_no_model(
    images: Path, make_images: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    general = make_images("general", 24, seed=9, size=8)
    said = refused(
        capsys, "likelihood=wide_resnet", "likelihood.model.size=8", "likelihood.model.depth=10",
        "likelihood.model.width=1", "likelihood.recipe.iterations=5", "likelihood.recipe.batch_size=8",
        "likelihood.recipe.learning_rate=1e30", f"train={images}", f"outliers={general}", f"out={tmp_path / 'run'}",
        "progress=false", "device=cpu",
    )  # fmt: skip
    assert "diverged" in said
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_resumes_to_the_same_weights(
    number: signal.Signals, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """That a killed process resumes in the same way is tested of the loop itself, in tests/test_training.py."""
    batch = Trainer._batch

    def signalled(self: Trainer, i: int) -> Any:
        if i == 11:
            os.kill(os.getpid(), number)
        return batch(self, i)

    command = ["train", *TINY_GLOW, f"train={whole / 'images'}", f"out={tmp_path / 'cut'}"]
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_batch", signalled)
        assert main(command) == INTERRUPTED
    said = capsys.readouterr()
    assert "interrupted" in said.err
    assert main(command) == DONE
    assert "resuming from its checkpoint, iteration 12 of 20" in capsys.readouterr().out
    for name in ("model.safetensors", "log.csv", "model.json", "samples.png"):
        assert (tmp_path / "cut" / name).read_bytes() == (whole / "run" / name).read_bytes(), name
