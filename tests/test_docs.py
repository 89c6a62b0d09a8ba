"""The tutorial and the how-to pages: their commands run, in the order of the page; only sizes are made small."""

from __future__ import annotations

import re
import runpy
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from genaudit.cli import main
from genaudit.errors import DONE, REJECTED, UNDECIDED

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = [DOCS / "tutorial.md", *sorted((DOCS / "howto").glob("*.md"))]
MEASURING = ("evaluate", "reject")
LIMITS = ["limit=60", "limit_reference=60", "limit_train=80"]
SMALL = ["feature_model=pixels", "feature_model.size=8"]


def _commands(page: Path) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture
def workplace(make_images: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folders that the pages speak of."""
    for seed, name in enumerate(("samples", "real", "train")):
        make_images(name, 24, seed=seed)
    for step in (1000, 2000):
        (tmp_path / "runs" / "samples").mkdir(parents=True, exist_ok=True)
        (tmp_path / "runs" / "samples" / f"step_{step}").symlink_to(tmp_path / "samples")
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second"):
        arguments = ["evaluate", "samples", "reference=real", "metric=[kd]", *SMALL, f"out=runs/evaluate/{name}"]
        assert main(arguments) == DONE
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_run_in_their_order(page: Path, workplace: Path) -> None:
    commands = _commands(page)
    assert commands
    for command in commands:
        program, verb, *arguments = shlex.split(command)
        if program == "torchrun":  # several processes: tests/tasks/test_ranks.py
            continue
        assert program == "genaudit"
        if verb in MEASURING:
            arguments += SMALL + (LIMITS if "dataset@" in command and verb == "evaluate" else [])
        if verb == "evaluate":
            arguments += ["skip=true"]  # 24 images are too few for some metrics
        if verb == "sample":
            arguments = [each if not each.startswith("n=") else "n=60" for each in arguments]
            (workplace / "samples").rename(workplace / "other samples")
        expected = (DONE, REJECTED, UNDECIDED) if verb in ("reject", "gate") else (DONE,)
        assert main([verb, *arguments]) in expected, command


def test_the_pages_are_in_the_sites_navigation() -> None:
    navigation = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    for page in DOCS.rglob("*.md"):
        assert f": {page.relative_to(DOCS).as_posix()}\n" in navigation, page


def test_the_metrics_notes_are_of_metrics_that_there_are_and_whole() -> None:
    """scripts/metric_notes.yaml, which the site's page of each metric shows."""
    notes = yaml.safe_load((DOCS.parent / "scripts" / "metric_notes.yaml").read_text(encoding="utf-8"))
    metrics = {path.stem for path in (DOCS.parent / "configs" / "metric").glob("*.yaml")}
    assert set(notes) == metrics
    tables = {path.stem for path in (DOCS.parent / "configs" / "table").glob("*.yaml")}
    for name, note in notes.items():
        assert set(note) == {"lies", "images", "published", "source"}, name
        if re.search(r"\d\.\d|\d{2,} ±", note["published"]):
            assert re.search(r"arXiv \d{4}\.\d{5}|README", note["source"]), f"{name} has numbers of nobody"
        assert set(re.findall(r"table=(\w+)", note["published"])) <= tables, name


def test_the_sites_notebooks_were_run_and_are_pages() -> None:
    script = runpy.run_path(str(DOCS.parent / "scripts" / "notebook_page.py"))
    notebooks = sorted((DOCS.parent / "examples" / "notebooks").glob("*.ipynb"))
    assert len(notebooks) >= 2
    navigation = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    for path in notebooks:
        text, pictures = script["notebook_page"](path, path.name)
        assert f": notebooks/{path.stem}.md\n" in navigation
        assert text.startswith("# ")
        for name in pictures:
            assert f"]({name})" in text
