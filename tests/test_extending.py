"""docs/extending.md: its files, written as printed, and its commands, run as a user would."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genaudit.cli import main
from genaudit.config_files import importable
from genaudit.errors import DONE, USER
from genaudit.store import Store

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
FILES = {
    first.removeprefix("# "): rest
    for language, text in BLOCKS
    if language in ("python", "yaml")
    for first, _, rest in [text.partition("\n")]
}
COMMANDS = [line for language, text in BLOCKS if language == "sh" for line in text.splitlines()]
SMALL = ["out=runs/last", "workers=0"]


@pytest.fixture
def project(make_images: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The page's project in a folder that Python does not import from, with samples and real images."""
    for seed, name in enumerate(("samples", "real")):
        make_images(name, 24, seed=seed)
    np.random.default_rng(0).integers(0, 256, (30, 28, 28), dtype=np.uint8).tofile(tmp_path / "real.raw")
    for where, text in FILES.items():
        if where.startswith(("mypackage/", "own/")):
            (tmp_path / where).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / where).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each not in ("", str(tmp_path))])
    yield tmp_path
    _forget()


def _forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "mypackage"]:
        del sys.modules[name]


@pytest.mark.parametrize("command", [each for each in COMMANDS if "own" in each])
def test_a_command_of_the_page_runs(command: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _forget()
    before = list(sys.path)
    verb, *arguments = shlex.split(command)[1:]
    small = SMALL if verb == "evaluate" else []
    pixels = ["feature_model=pixels", "feature_model.size=4"] if "=[spread" in command else []
    assert main([verb, *arguments, *small, *pixels]) == DONE
    assert sys.path == before
    shown = capsys.readouterr().out
    for word in ("spread", "brightness", "edges", "kd", "fd", "frechet_bias"):
        assert word not in re.findall(r"\w+", command.partition("metric=")[2]) or word in shown


def test_every_file_of_the_page_is_used_and_every_command_is_run() -> None:
    assert sum("own" in each for each in COMMANDS) >= 8
    assert [each for each in COMMANDS if "own" not in each] == ["genaudit count samples/"]
    for where in FILES:
        assert where.startswith(("mypackage/", "own/", "configs/", "genaudit/")), where


def test_the_example_metric_and_measure_are_right(project: Path) -> None:
    """Against NumPy and Pillow: a white and a black image, and rows whose spread is known."""
    import torch

    sys.path.append(str(project))
    from mypackage.brightness import Brightness  # type: ignore[import-not-found]
    from mypackage.edges import Edges  # type: ignore[import-not-found]
    from mypackage.histogram import SoftHistogram  # type: ignore[import-not-found]
    from mypackage.spread import spread  # type: ignore[import-not-found]

    rows = np.random.default_rng(1).normal(size=(40, 3))
    assert spread(generated=2 * rows, reference=rows).spread == pytest.approx(2)
    images = torch.stack([torch.zeros(3, 64, 64), torch.full((3, 64, 64), 255)]).to(torch.uint8)
    measured = Brightness().open("cpu", "float32")(images, [b"", b""])
    np.testing.assert_allclose(measured, [[0, 0], [1, 0]], atol=1e-6)
    images[1, :, :, 32:] = 0  # white on the left: an edge in one of 63 columns, across one of two directions
    strength, beside = Edges().open("cpu", "float32")(images, [b"", b""])
    np.testing.assert_allclose(strength, [[0], [0.5 / 63]], rtol=1e-6)
    assert np.unique(np.argwhere(beside["map"].numpy() == 128)[:, ::2], axis=0).tolist() == [[1, 31]]
    features = SoftHistogram(bins=4).build()(torch.full((1, 3, 2, 2), 0.125))
    np.testing.assert_allclose(features.reshape(3, 4), np.tile(np.exp(-(np.arange(4.0) ** 2)), (3, 1)), rtol=1e-6)


def test_a_setting_outside_its_range_is_the_users_to_mend(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["evaluate", "samples", "reference=real", "--config-dir", "own", "metric=[spread]", *SMALL]
    assert main([*arguments, "feature_model=pixels", "metric.spread.fn.least=0"]) == USER
    assert "least" in capsys.readouterr().err


def test_the_console_script_imports_from_the_working_folder_only_where_the_users_code_is_named(project: Path) -> None:
    (project / "torch.py").write_text("raise SystemExit('the working folder shadows torch')")
    (project / "hydra_plugins").mkdir()
    (project / "hydra_plugins" / "stranger.py").write_text("raise SystemExit('a stranger was imported')")
    program = "import sys; from genaudit.cli import main; sys.exit(main())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-c", program, *arguments, "feature_model=pixels", *SMALL]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=project)

    good = run("evaluate", "samples", "reference=real", "--config-dir", "own", "metric=[brightness]")
    assert good.returncode == DONE, good.stderr
    assert "brightness" in good.stdout
    missing = run("evaluate", "samples", "reference=real", "--config-dir", "own", "metric=[brightness]",
                  "metric.brightness.fn._target_=mypackage.nowhere.it")  # fmt: skip
    assert missing.returncode == USER
    assert "mypackage.nowhere" in missing.stderr
    assert "HYDRA_FULL_ERROR" not in missing.stderr
    for arguments in (["samples", "reference=real"], ["samples", "reference.path=module"], ["checks/--config-dir"]):
        with importable(arguments), pytest.raises(ModuleNotFoundError):
            importlib.import_module("mypackage.spread")
    for arguments in (["--config-dir=own"], ["generator.module=mypackage.spread"], ["+metric.a={_target_: b}"]):
        _forget()
        with importable(arguments):
            importlib.import_module("mypackage.spread")


def test_a_verb_of_the_page_runs_in_a_copy_of_genaudit(project: Path) -> None:
    copy = project / "copy"
    for folder in ("genaudit", "genaudit_papers", "configs"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for where, text in FILES.items():
        name, _, place = where.partition(", into ")
        if not name.startswith(("configs/", "genaudit/")):
            continue
        if not place:
            (copy / name).write_text(text)
            continue
        source = (copy / name).read_text()
        (start,) = re.findall(rf"^{place}\b.*= {{\n", source, flags=re.MULTILINE)
        (copy / name).write_text(source.replace(start, start + text))
    command = [sys.executable, "-P", "-m", "genaudit", "count", "samples/"]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=project, env=environment)
    assert (done.returncode, done.stdout.strip()) == (DONE, "24"), done.stderr


class _Installed:
    """An environment with a package that names a folder of YAML files."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, name: str = "mypackage") -> None:
        (root / "site").mkdir(exist_ok=True)
        self.package = root / "site" / name
        shutil.copytree(root / "mypackage", self.package)
        (self.package / "__init__.py").write_text("LOADED = True\n")
        shutil.copytree(root / "own", self.package / "configs")
        about = root / "site" / f"{name}-3.1.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 3.1\n")
        (about / "entry_points.txt").write_text(f"[genaudit.configs]\n{name} = {name}.configs\n")
        monkeypatch.syspath_prepend(str(root / "site"))
        importlib.invalidate_caches()


def _spread(report: Any) -> float:
    """Mean distance from the centre, of generated rows in that of real ones."""
    (use,) = report.measures.values()
    rows = [
        np.asarray(Store(os.environ["GENAUDIT_STORE"]).rows_of(report.roles[role].digest, use.fingerprint))
        for role in ("generated", "reference")
    ]
    means = [np.sqrt(((each - each.mean(axis=0)) ** 2).sum(axis=1)).mean() for each in rows]
    return float(means[0] / means[1])


def test_an_installed_packages_options_work_without_config_dir(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import genaudit

    _Installed(project, monkeypatch)
    monkeypatch.setenv("COLUMNS", "250")
    assert main(["list", "metrics"]) == DONE
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("spread "))
    assert line.split()[-2:] == ["plugin", "mypackage"]
    assert (
        main(["evaluate", "samples", "reference=real", "metric=[spread]", "feature_model=soft_histogram", *SMALL]) == 0
    )
    report = genaudit.evaluate(
        generated="samples", reference="real", metrics=["spread"], feature_model="soft_histogram"
    )
    assert report.environment["packages"]["mypackage"] == "3.1"
    # own calculation of the page's metric, from the rows that the page's network gave
    assert report.metrics["spread"].values["spread"].value == pytest.approx(_spread(report), rel=1e-6)


def test_an_option_that_exists_already_names_both_owners(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installed = _Installed(project, monkeypatch)
    (installed.package / "configs" / "metric" / "fd.yaml").write_text("fd: {}\n")
    assert main(["list", "metrics"]) == USER
    assert "mypackage has metric/fd, as genaudit has already" in capsys.readouterr().err


def test_a_plugin_without_its_folder_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installed = _Installed(project, monkeypatch)
    shutil.rmtree(installed.package / "configs")
    assert main(["list", "metrics"]) == USER
    assert "pip uninstall mypackage" in capsys.readouterr().err


def test_a_package_is_not_imported_before_one_of_its_options_is_used(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _Installed(project, monkeypatch)
    assert main(["evaluate", "samples", "reference=real", "metric=[kd]", "feature_model=pixels", *SMALL]) == DONE
    assert "mypackage" not in sys.modules
