"""Generators from the command line: samples, metrics under a generator, rows that are read back, what users forget."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from genaudit import demo
from genaudit.cli import main
from genaudit.errors import DONE, USER
from genaudit.tasks.run.settings import LIMIT_KEYS

SMALL = [*(f"{key}=12" for key in LIMIT_KEYS.values()), "ais.temperatures=2", "ais.chains=2", "progress=false"]
INVERSION = [
    "metric.inversion.measure.steps=2",
    "metric.inversion.measure.restarts=1",
    "metric.inversion.measure.samples=8",
]
METRICS = "metric=[inversion,ais,typicality,flatness]"


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    folder = tmp_path / "samples"
    assert main(["sample", "generator=demo_vae", "n=44", f"out={folder}", "progress=false"]) == DONE
    assert len(list(folder.glob("*.png"))) == 44
    return folder


def read(out: Path) -> dict:
    return json.loads((out / "report.json").read_text())


def test_all_metrics_under_a_generator_in_one_run_and_again_from_the_store(samples: Path, tmp_path: Path) -> None:
    arguments = [
        *("evaluate", str(samples), f"train={demo.path('train')}", f"reference={demo.path('reference')}"),
        *(
            f"anomalies={demo.path('gaussian')}",
            "generator=demo_vae",
            METRICS,
            *SMALL,
            *INVERSION,
            *(f"{key}=44" for key in LIMIT_KEYS.values()),
        ),
    ]
    assert main([*arguments, f"out={tmp_path / 'first'}"]) == DONE
    first = read(tmp_path / "first")
    assert first["skipped_metrics"] == {}
    assert set(first["metrics"]) == {"inversion", "ais", "typicality", "flatness"}
    values = first["metrics"]["inversion"]["values"]
    assert {"error_generated", "error_train", "error_ratio", "sigma2", "psnr", "auroc_anomalies"} <= set(values)
    assert {"typical_fraction_10", "typical_fraction_25"} <= set(first["metrics"]["typicality"]["values"])
    with open(tmp_path / "first" / "images.csv", newline="") as stream:
        columns = next(csv.reader(stream))
    assert {"inversion_error", "log_likelihood", "log_likelihood_spread", "patch_variation"} <= set(columns)
    assert "what the generator makes of them" in (tmp_path / "first" / "report.html").read_text()
    # other batches, from the same store: nothing is measured again, nothing changes
    assert main([*arguments, "batch_size=3", f"out={tmp_path / 'second'}"]) == DONE
    second = read(tmp_path / "second")
    assert all(use["computed"] == 0 for use in second["measures"].values())
    assert second["metrics"] == first["metrics"]


def test_batches_do_not_change_the_rows(samples: Path, tmp_path: Path) -> None:
    found = []
    for size in (1, 5):
        out = tmp_path / f"batch{size}"
        keys = [f"batch_size={size}", f"store={tmp_path / f'store{size}'}", f"out={out}"]
        assert main(["evaluate", str(samples), "generator=demo_vae", "metric=[ais]", *keys, *SMALL]) == DONE
        with open(out / "images.csv", newline="") as stream:
            found.append([float(row["log_likelihood"]) for row in csv.DictReader(stream)])
    # float32 through the decoder, summed in float64, on numbers of some hundred nats
    assert found[0] == pytest.approx(found[1], abs=0.05)


def test_a_file_of_ones_own_is_judged(samples: Path, tmp_path: Path) -> None:
    network = demo.load_vae_decoder()
    torch.jit.save(torch.jit.trace(network, torch.zeros(2, 10)), tmp_path / "own.pt")
    keys = ["generator=torchscript", f"generator.file={tmp_path / 'own.pt'}", "generator.latent=10", "trust=true"]
    keys += ["generator.output_range=[0,1]", "generator.sigma2=0.013", f"out={tmp_path / 'run'}", *SMALL, *INVERSION]
    assert main(["evaluate", str(samples), METRICS, "skip=true", *keys]) == DONE
    report = read(tmp_path / "run")
    assert report["metrics"]["ais"]["details"]["sigma2"] == pytest.approx(0.013)
    assert "reference= or train=" in report["skipped_metrics"]["typicality"]


def test_what_users_forget_is_told(samples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(samples), "metric=[inversion]"]) == USER
    assert "generator=demo_vae" in capsys.readouterr().err
    assert main(["evaluate", str(samples), "metric=[ais]", "generator=onnx"]) == USER
    assert "generator.file=FILE is needed" in capsys.readouterr().err
    assert (
        main(["evaluate", str(samples), "metric=[ais]", "generator=module", "generator.module=torch.nn.Identity"])
        == USER
    )
    assert "latent=None" in capsys.readouterr().err
    assert main(["sample", "n=3"]) == USER
    assert "generator=demo_vae" in capsys.readouterr().err
    assert main(["sample", "generator=demo_vae", "n=3", f"out={samples}"]) == USER
    assert "not empty" in capsys.readouterr().err
    assert main(["sample", "generator=demo_vae", "n=0"]) == USER
    assert "n must be an integer from 1 to 100000000, got 0" in capsys.readouterr().err


def test_trust_is_a_key_of_every_verb_that_takes_a_generator(
    samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.jit.save(torch.jit.trace(demo.load_vae_decoder(), torch.zeros(2, 10)), tmp_path / "own.pt")
    keys = ["generator=torchscript", f"generator.file={tmp_path / 'own.pt'}", "generator.latent=10"]
    keys += ["generator.output_range=[0,1]"]
    for verb in (["sample", "n=2", f"out={tmp_path / 'drawn'}"], ["evaluate", str(samples), "metric=[ais]"]):
        assert main([*verb, *keys]) == USER
        assert "trust=true" in capsys.readouterr().err
        assert main([verb[0], "--help"]) == DONE
        assert "is a program" in capsys.readouterr().out
    assert main(["sample", "n=2", f"out={tmp_path / 'drawn'}", *keys, "trust=true"]) == DONE
    assert len(list((tmp_path / "drawn").iterdir())) == 2


class Levels(torch.nn.Module):
    """Class k's images are a ramp around the grey level (2k + 1)/8."""

    def forward(self, z: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        level = ((2 * label + 1) / 8)[:, None, None, None] + 0.01 * z[:, 0][:, None, None, None]
        return (level + torch.linspace(-0.05, 0.05, 16)).expand(-1, 3, 16, 16)


def test_a_class_conditional_generator_classifies_any_labelled_set(tmp_path: Path) -> None:
    torch.jit.script(Levels()).save(tmp_path / "levels.pt")
    for name in ("ant", "bee", "cow"):
        (tmp_path / "real" / name).mkdir(parents=True)
    for label, name in enumerate(("ant", "bee", "cow")):
        for index in range(3):
            level = round(255 * (2 * label + 1) / 8) + index
            # one of three images lies in the wrong folder
            folder = name if index else ("bee", "cow", "ant")[label]
            Image.new("RGB", (16, 16), (level,) * 3).save(tmp_path / "real" / folder / f"{name}{index}.png")
    keys = ["generator=torchscript", f"generator.file={tmp_path / 'levels.pt'}", "generator.latent=2", "trust=true"]
    keys += ["generator.classes=3", "generator.output_range=[0,1]", "generator.sigma2=0.001", *SMALL, *INVERSION]
    assert main(["sample", "n=12", f"out={tmp_path / 'drawn'}", *keys[:6]]) == DONE
    run = ["evaluate", str(tmp_path / "drawn"), f"reference={tmp_path / 'real'}", "metric=[inversion,ais]", *keys]
    assert main([*run, f"out={tmp_path / 'run'}"]) == DONE
    metrics = read(tmp_path / "run")["metrics"]
    for name in ("inversion", "ais"):
        assert metrics[name]["values"]["accuracy"]["value"] == pytest.approx(2 / 3)
