"""The wheel carries everything: installed elsewhere it behaves as in a checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = out.glob("genaudit-*.whl")
    return built


def test_the_wheel_holds_configuration_templates_and_demo_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in [*(ROOT / "configs").rglob("*.yaml")]:
        assert f"genaudit/configs/{path.relative_to(ROOT / 'configs')}" in names
    for path in (*(ROOT / "genaudit").rglob("*"), *(ROOT / "genaudit_papers").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            assert str(path.relative_to(ROOT)) in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.endswith("licenses/NOTICE") for name in names)


def test_an_installed_wheel_works_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    site = Path(
        subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    )
    # the dependencies are those of this environment; genaudit itself is found in the new one first
    (site / "beside.pth").write_text(sysconfig.get_path("purelib"))
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--quiet", str(wheel)]
    subprocess.run(install, check=True)
    program = environment / "bin" / "genaudit"
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*arguments: str) -> str:
        done = subprocess.run([program, *arguments], cwd=tmp_path, env=clean, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = [python, "-c", "import genaudit; print(genaudit.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env=clean, capture_output=True, text=True, check=True).stdout
    assert str(environment) in found
    assert run("--version").startswith("genaudit ")
    assert "irs_inf" in run("list", "metrics")
    assert "Theorem 1" in run("list", "tables")
    assert "EfficientNetLite0" in run("evaluate", "--cfg", "job")
    run(
        "demo",
        "sets=[vae]",
        "limit=24",
        "limit_reference=24",
        "limit_train=24",
        "metric=[fd,irs]",
        "feature_model=pixels",
        f"out={tmp_path / 'out'}",
    )
    assert (tmp_path / "out" / "vae" / "report.html").exists()


def test_the_requirements_are_ranges_that_this_environment_satisfies() -> None:
    from importlib.metadata import version

    from packaging.requirements import Requirement

    text = (ROOT / "pyproject.toml").read_text()
    block = text[text.index("dependencies = [") : text.index("[project.optional-dependencies]")]
    requirements = [Requirement(line) for line in re.findall(r'^    "([^"]+)"', block, flags=re.MULTILINE)]
    assert len(requirements) > 10
    for requirement in requirements:
        assert requirement.specifier.contains(version(requirement.name)), requirement
