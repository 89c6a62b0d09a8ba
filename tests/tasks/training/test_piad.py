"""`genaudit train piad=...` from the command line: the same run twice, killed and resumed, and what is wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from torchvision.models import vgg19

from genaudit.cli import main
from genaudit.errors import DONE, USER
from genaudit.measures.piad import PreparedPixels
from genaudit.piad import saved
from genaudit.piad.perceptual import FilterStatistics, efficientnet_lite0
from genaudit.piad.scoring import anomaly_score
from genaudit.piad.trainer import StepLosses, Trainer
from genaudit.training import read_log

# Table 1 at a tenth of its widths for 16 pixels, four images per step: 30 iterations are a few seconds
SMALL = (
    *("piad=mnist", "piad.networks.size=16", "piad.networks.width=0.1"),
    *("piad.recipe.batch_size=4", "piad.recipe.n_weight=3"),
)
ITERATIONS = 30


class CutOff(BaseException):
    """Ends a run without a word, as a signal would that nobody can catch."""


def train(*keys: str) -> int:
    return main(["train", *SMALL, "device=cpu", "progress=false", *keys])


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve smooth images of 28 pixels to learn, and five noisy ones beside them."""
    folder = tmp_path_factory.mktemp("grey")
    rng = np.random.default_rng(0)
    for kind, count, coarse in (("train", 12, 4), ("noise", 5, 28)):
        (folder / kind).mkdir()
        for i in range(count):
            image = Image.fromarray(rng.integers(0, 256, (coarse, coarse), dtype=np.uint8))
            image.resize((28, 28), Image.Resampling.BICUBIC).save(folder / kind / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def keys(grey: Path) -> list[str]:
    return [
        f"train={grey / 'train'}",
        f"anomalies={grey / 'noise'}",
        f"piad.recipe.iterations={ITERATIONS}",
        "every=1",
    ]


@pytest.fixture(scope="module")
def finished(keys: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    assert train(*keys, f"out={out}") == DONE
    return out


def test_a_run_leaves_model_log_pictures_and_page(finished: Path, grey: Path) -> None:
    log = read_log(finished)
    assert log["iteration"].tolist() == list(range(1, ITERATIONS + 1))
    assert np.flatnonzero(np.isfinite(log["auroc"])).tolist() == list(range(1, ITERATIONS, 2))
    names = [f"{i:08d}.png" for i in range(2, ITERATIONS + 1, 2)]
    for kind in ("samples", "reconstructions"):
        assert sorted(path.name for path in (finished / kind).iterdir()) == names
        assert (finished / f"{kind}.png").read_bytes() == (finished / kind / names[-1]).read_bytes()
    said = (finished / "log.txt").read_text().splitlines()
    assert said[1].startswith("genaudit train piad=mnist")
    assert "iterations on cpu" in said[2]
    assert said[-1] == "exit code 0"
    text = (finished / "train.html").read_text()
    assert "reconstruction" in text
    assert "which flatters it" in text
    record = saved.describe(finished)
    assert (record["iterations"], record["seed"], record["images"]) == (ITERATIONS, 0, 12)
    model = saved.load(finished)
    assert model.architecture.generator == (3, 3, 3)
    assert PreparedPixels.of(model.pixels) == PreparedPixels(16, 1)
    scores = []
    for kind in ("train", "noise"):
        read = [np.asarray(Image.open(path).convert("RGB")) for path in (grey / kind).iterdir()]
        pixels = np.stack([PreparedPixels(16, 1).apply(image)[None, ..., 0] for image in read])
        scores.append(anomaly_score(model.networks, pixels, model.perceptual, reconstruction=model.reconstruction))
    area = roc_auc_score(np.repeat([0, 1], [12, 5]), np.concatenate(scores))
    assert log["auroc"][-1] == pytest.approx(area, abs=1e-9)
    assert not [path for path in finished.rglob("*") if path.suffix in (".partial", ".tmp")]


def test_a_run_that_was_cut_off_resumes_bit_for_bit(
    keys: list[str], finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That a killed process resumes in the same way is tested of the loop itself, in tests/test_training.py."""
    out = tmp_path / "cut"
    step = Trainer.step

    def cut_off(self: Trainer) -> StepLosses:
        if self.iteration == 14:
            raise CutOff
        return step(self)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "step", cut_off)
        with pytest.raises(CutOff):
            train(*keys, f"out={out}", "checkpoint_seconds=0")
    assert read_log(out)["iteration"][-1] == 14
    assert (out / "checkpoint.pt").exists()
    torch.manual_seed(7)  # the global generator has no say
    assert train(*keys, f"out={out}") == DONE
    assert (out / "log.csv").read_bytes() == (finished / "log.csv").read_bytes()
    assert saved.sha256(out) == saved.sha256(finished)
    assert (out / "samples.png").read_bytes() == (finished / "samples.png").read_bytes()


def test_another_seed_or_other_images_do_not_resume_a_run(
    keys: list[str], finished: Path, grey: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "model.json").read_bytes()
    assert train(*keys, f"out={finished}", "seed=1") == USER
    assert "seed (now 1, then 0)" in capsys.readouterr().err
    assert train(*keys, f"out={finished}", "limit_train=11") == USER
    assert "images" in capsys.readouterr().err
    assert train(*keys, f"out={finished}", "piad.recipe.n_dis=3") == USER
    assert "n_dis (now 3, then 2)" in capsys.readouterr().err
    assert (finished / "model.json").read_bytes() == before


@pytest.mark.parametrize(
    ("extra", "match"),
    [
        (["limit_train=1"], "two images or more"),
        (["limit=1"], "limit_train=N"),
        (["train=null"], "train=T is needed"),
        (["train={empty}"], "empty"),
        (["train={nan}"], "nan.npy"),
        (["train={features}"], "holds no images"),
        (["piad.networks.size=30"], "4, 5, 6 or 7 times a power of two, not 30"),
        (["piad.networks.name=minst"], "no PIAD networks are called 'minst'"),
        (["piad.channels=2"], "channels must be 1 or 3"),
        (["piad.channels=null"], "channels must be 1 or 3"),
        (["piad.pixels.crop=500"], "smaller than what is cut out"),
        (["piad.pixels.interpolation=sharp"], "interpolation must be one of"),
        (["piad.recipe.policy=none"], "policy must be paper, released or fixed"),
        (["piad.recipe.batch_size=1"], "batch_size 2 or more"),
        (["piad.reconstruction=l2"], "reconstruction must be one of"),
        (["piad/perceptual=vgg19", "piad.perceptual.weights=nowhere.pth"], "nowhere.pth"),
        (["piad.perceptual.statistics=nowhere.json"], "nowhere.json"),
        (["every=0"], "every must be a positive integer or null, got 0"),
        (["checkpoint_seconds=null"], "checkpoint_seconds must be a number of 0 or more, got null"),
        (["piad.recipe.iteration=5"], "iteration"),
        (["piad.schedule.iterations=5"], "did you mean piad.recipe.iterations?"),
        (["piad.schedule.lr=1e-3"], "did you mean piad.recipe.learning_rate?"),
        (["piad.recipe.lr_critics=1e-3"], "did you mean piad.recipe.learning_rate_critics?"),
        (["+piad.schedule.iterations=5"], "did you mean piad.recipe?"),  # as a YAML of an older version has it
        (["piad=minst"], "did you mean mnist"),
        (["piad/perceptual=vgg"], "vgg19"),
        (["precision=bfloat16"], "PIAD is trained in float32"),
        (["compile=true"], "gradients of gradients"),
    ],
)
def test_what_a_user_gets_wrong_is_a_sentence(
    extra: list[str], match: str, grey: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    np.save(tmp_path / "nan.npy", np.full((4, 8, 8, 3), np.nan, np.float32))
    np.savez(tmp_path / "features.npz", features=np.zeros((4, 8), np.float32))
    places = {"empty": tmp_path / "empty", "nan": tmp_path / "nan.npy", "features": tmp_path / "features.npz"}
    extra = [key.format(**places) if "{" in key else key for key in extra]
    if not any(key.startswith("train=") for key in extra):
        extra.append(f"train={grey / 'train'}")
    small = [key for key in SMALL if key.split("=")[0] not in [each.split("=")[0] for each in extra]]
    assert main(["train", *small, "device=cpu", "progress=false", f"out={tmp_path / 'out'}", *extra]) == USER
    shown = capsys.readouterr().err
    assert match in shown
    assert "Traceback" not in shown


def test_statistics_are_numpys_over_all_images_and_positions(
    grey: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "statistics.json"
    common = ["progress=false", "device=cpu", "batch_size=5"]
    assert main(["train", "piad-statistics", "piad=mnist", f"images={grey / 'train'}", f"out={file}", *common]) == DONE
    assert "40 filters of efficientnet_lite0:blocks.2.0 over 12 images" in capsys.readouterr().out
    pixels = PreparedPixels(32, 1)
    paths = sorted((grey / "train").iterdir(), key=lambda path: path.name)
    images = np.stack([pixels.apply(np.asarray(Image.open(path).convert("RGB"))) for path in paths])
    x = torch.from_numpy(images.transpose(0, 3, 1, 2)[:, :1].astype(np.float32)) / 127.5 - 1
    with torch.inference_mode():
        features = efficientnet_lite0()(x).double().transpose(0, 1).flatten(1).numpy()
    found = FilterStatistics.load(file)
    # float32 features of about 10 that round differently in another batch: 1e-6 each, and averaged
    np.testing.assert_allclose(found.mean, features.mean(1), atol=1e-5)
    np.testing.assert_allclose(found.std, features.std(1), atol=1e-5)
    record = json.loads(file.read_text())
    assert (record["images"], record["filters"]) == (12, 40)
    network = efficientnet_lite0(statistics=file)
    assert network.mean is not None
    np.testing.assert_allclose(network.mean, found.mean, rtol=1e-6)


def test_statistics_without_images_or_of_another_layer_are_refused(
    grey: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "piad-statistics"]) == USER
    assert "images=DIR is needed" in capsys.readouterr().err
    FilterStatistics(np.zeros(3), np.ones(3)).save(tmp_path / "three.json")
    assert train(f"train={grey / 'train'}", f"piad.perceptual.statistics={tmp_path / 'three.json'}") == USER
    assert "statistics of 3 filters; this layer has 40" in capsys.readouterr().err


def test_vgg19_trains_and_scores_from_a_weights_file(grey: Path, tmp_path: Path, tiny: list[str]) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in vgg19().features.state_dict().items() if int(k.split(".")[0]) < 23}
    state = {}
    for name, shape in shapes.items():
        scale = (2 / shape[1:].numel()) ** 0.5 if len(shape) > 1 else 0.1
        state[f"features.{name}"] = torch.randn(shape, generator=generator) * scale
    weights = tmp_path / "vgg19.pth"
    torch.save(state, weights)
    out = tmp_path / "run"
    keys = ["piad/perceptual=vgg19", f"piad.perceptual.weights={weights}", "piad.recipe.iterations=2"]
    assert train(f"train={grey / 'train'}", f"out={out}", *keys) == DONE
    record = saved.describe(out)
    assert record["perceptual"]["name"] == "vgg19:relu4_2"
    assert len(record["perceptual"]["statistics"]["mean"]) == 512
    moved = tmp_path / "moved.pth"
    weights.rename(moved)
    evaluate = ["evaluate", str(grey / "noise"), "metric=[piad]", f"piad_model={out}", *tiny, "device=cpu"]
    assert main([*evaluate, f"out={tmp_path / 'a'}"]) == USER  # its weights are gone
    assert main([*evaluate, f"out={tmp_path / 'b'}", f"metric.piad.measure.weights={moved}"]) == DONE


def test_the_metric_scores_a_run(
    finished: Path, grey: Path, tmp_path: Path, make_images: Callable[..., Path], tiny: list[str]
) -> None:
    out = tmp_path / "report"
    samples = make_images("samples", 6)
    keys = [f"reference={grey / 'train'}", f"anomalies={grey / 'noise'}", f"piad_model={finished}"]
    assert main(["evaluate", str(samples), "metric=[piad]", *keys, *tiny, "device=cpu", f"out={out}"]) == DONE
    report = json.loads((out / "report.json").read_text())
    assert set(report["metrics"]["piad"]["values"]) == {"piad_mean", "auroc"}
    assert report["metrics"]["piad"]["n"] == {"generated": 6, "reference": 12, "anomalies": 5}
    assert report["measures"]["piad"]["weights_sha256"] == saved.sha256(finished)
    assert "piad" in (out / "images.csv").read_text().splitlines()[0].split(",")
    page = (out / "report.html").read_text()
    assert "where the score lies" in page
    assert "Least and most anomalous images: anomalies" in page


def test_a_piad_that_diverges_is_no_model_and_its_last_finite_checkpoint_is_kept(
    grey: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looks before the divergence saved models of their moment: they are not what was asked for."""
    step = Trainer.step

    def poisoned(self: Trainer) -> StepLosses:
        done = step(self)
        if self.iteration == 4:
            next(self.networks.generator.parameters()).data.fill_(math.nan)
        return done

    monkeypatch.setattr(Trainer, "step", poisoned)
    keys = [f"train={grey / 'train'}", "piad.recipe.iterations=6", "every=1", f"out={tmp_path / 'run'}"]
    assert train(*keys, "checkpoint_seconds=0") == USER
    said = capsys.readouterr()
    assert "diverged: at iteration 4" in said.err
    assert "checkpoint of iteration 3 is kept" in said.err
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert not (tmp_path / "run" / "model.json").exists()
    monkeypatch.undo()
    assert train(*keys, "checkpoint_seconds=0") == DONE
    assert (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize("iterations", [1, 3])
def test_a_rate_that_is_far_too_high_leaves_no_piad(iterations: int, grey: Path, tmp_path: Path) -> None:
    keys = (
        "piad.recipe.learning_rate=1e20",
        "+piad.recipe.learning_rate_critics=1e20",
        f"piad.recipe.iterations={iterations}",
    )
    assert train(f"train={grey / 'train'}", *keys, "every=1", f"out={tmp_path / 'run'}") == USER
    assert not (tmp_path / "run" / "model.safetensors").exists()
