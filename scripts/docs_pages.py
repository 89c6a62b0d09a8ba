"""MkDocs hook: the pages that are made from the README, docstrings, YAML files and help texts when the site is built.

Nothing of them is written into docs/. Links of the repository's files are turned into links of the site.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from notebook_page import notebook_page  # noqa: E402

# files of the repository outside docs/ => their place in the site
ELSEWHERE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security_policy.md",
    "genaudit/demo/README.md": "demo.md",
    "genaudit/reports/schema.json": "reference/report.schema.json",
    "genaudit/reports/gate_schema.json": "reference/gate.schema.json",
}
HIDDEN = ("demo.md", "reference/metrics/")  # linked from other pages, not in the navigation
PYTHON = {
    "Evaluation": ["genaudit.tasks.api.evaluate", "genaudit.reports.report.Report"],
    "The gate": ["genaudit.tasks.gate.diversity_gate.DiversityGate"],
    "Assertions": ["genaudit.integrations.testing.assert_metrics", "genaudit.integrations.testing.assert_diverse"],
    "Statistics": [
        "genaudit.stats.occupancy",
        "genaudit.stats.ks2d",
        "genaudit.stats.neighbours",
        "genaudit.stats.sequential",
        "genaudit.stats.auroc",
    ],
    "Metrics of your own": ["genaudit.metrics.result"],
}


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that are made."""
    for source, target in ELSEWHERE.items():
        files.append(File.generated(config, target, content=(ROOT / source).read_text(encoding="utf-8")))
    made = {
        "reference/metrics.md": _metrics(),
        "reference/commands.md": _commands(),
        "reference/configuration.md": _configuration(),
        "reference/python.md": _python(),
        **{f"reference/metrics/{name}.md": text for name, text in _metric_pages().items()},
    }
    for target, text in made.items():
        page = File.generated(config, target, content=text)
        if target.startswith(HIDDEN):
            page.inclusion = page.inclusion.NOT_IN_NAV
        files.append(page)
    for path in sorted((ROOT / "examples" / "notebooks").glob("*.ipynb")):
        text, pictures = notebook_page(path, path.relative_to(ROOT).as_posix())
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        for name, content in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    for target in ("demo.md",):
        files.get_file_from_path(target).inclusion = page.inclusion.NOT_IN_NAV  # type: ignore[union-attr]
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links as they stand in the repository, made links of the site."""
    target = page.file.src_uri
    source = next((path for path, place in ELSEWHERE.items() if place == target), f"docs/{target}")

    def moved(match: re.Match[str]) -> str:
        link, anchor = match[1], match[2] or ""
        path = os.path.normpath(os.path.join(os.path.dirname(source), link))
        place = ELSEWHERE.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if place is None or "://" in link:
            return match[0]
        return f"]({os.path.relpath(place, os.path.dirname(target) or '.')}{anchor})"

    return re.sub(r"\]\(([^)#\s]+)(#[^)\s]*)?\)", moved, markdown)


def _groups() -> list[tuple[str, Any, str]]:
    from genaudit.tasks.listing import _group

    return list(_group("metric"))


def _metrics() -> str:
    from genaudit.tasks.run.metric_list import in_default, metrics_table

    header, rows = metrics_table(_groups(), in_default())
    place = header.index("metric")
    known = {str(metric) for _, config, _ in _groups() for metric in config}
    lines = ["# Metrics", "", "`genaudit list metrics` prints the same.", ""]
    lines += ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in rows:
        cells = [cell.replace("|", "\\|") for cell in row]
        if cells[place].strip() in known:
            cells[place] = f"[`{cells[place].strip()}`](metrics/{cells[place].strip()}.md)"
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _metric_pages() -> dict[str, str]:
    """A page per metric: what it says, its function's own description, its settings."""
    from genaudit.tasks.run.judging import make_spec
    from genaudit.tasks.run.metric_list import in_default, one_metric

    groups, pages = _groups(), {}
    for name, config, comment in groups:
        for metric, node in config.items():
            function = make_spec(str(metric), node, {}, False).fn
            function = getattr(function, "func", function)
            module = inspect.getmodule(function)
            text = "\n".join(one_metric(str(metric), groups, in_default()))
            pages[str(metric)] = "\n".join(
                [
                    f"# `{metric}`",
                    "",
                    "```text",
                    text,
                    "```",
                    "",
                    *([comment, ""] if comment else []),
                    *_notes(str(metric)),
                    *_bias(str(metric)),
                    "## Definition",
                    "",
                    _prose(inspect.getdoc(module) or ""),
                    "",
                    "## Function",
                    "",
                    f"::: {function.__module__}.{function.__qualname__}",
                    "",
                    "## Settings",
                    "",
                    f"`configs/metric/{name}.yaml`; `metric.{metric}.fn.KEY=VALUE` sets one.",
                    "",
                    "```yaml",
                    (ROOT / "configs" / "metric" / f"{name}.yaml").read_text(encoding="utf-8").rstrip(),
                    "```",
                    "",
                ]
            )
    return pages


def _notes(metric: str) -> list[str]:
    """When it lies, how many images it takes, what is published and where: of scripts/metric_notes.yaml."""
    found = notes().get(metric)
    if found is None:
        return []
    heads = {
        "lies": "When it lies",
        "images": "How many images",
        "published": "Published values",
        "source": "Where that can be checked",
    }
    return [line for key, head in heads.items() if key in found for line in (f"## {head}", "", found[key], "")]


def notes() -> dict[str, dict[str, str]]:
    """scripts/metric_notes.yaml: by metric `lies`, `images`, `published` and `source`."""
    import yaml

    loaded: dict[str, dict[str, str]] = yaml.safe_load((ROOT / "scripts" / "metric_notes.yaml").read_text("utf-8"))
    return loaded


def _bias(metric: str) -> list[str]:
    picture = ROOT / "docs" / "figures" / f"bias_{metric}.svg"
    if not picture.exists():
        return []
    return [
        "## How it depends on the number of images",
        "",
        f"![{metric} of two samples of one law, by the number of images](../../figures/{picture.name})",
        "",
        "Generated and reference images of one law (a mixture of eight Gaussians, 16 and 128 features), equally many "
        "of both: what is not flat is bias. Mean and middle 90 % of the simulations, `scripts/bias_by_n.py`.",
        "",
    ]


def _prose(text: str) -> str:
    """A docstring as Markdown: indented blocks are code, words in angle brackets are text."""
    return text.replace("<", "&lt;") if "<" in text else text


def _commands() -> str:
    from genaudit.verbs import OVERVIEW, VERBS

    parts = ["# Commands", "", "```text", OVERVIEW.rstrip(), "```", ""]
    for name, verb in VERBS.items():
        parts += [f"## {name}", "", "```text", verb.help.rstrip(), "```", ""]
    return "\n".join(parts)


def _configuration() -> str:
    parts = [
        "# Configuration",
        "",
        "Every command is composed from these YAML files; `--cfg job` shows the result.",
        "",
    ]
    folder = ROOT / "configs"
    for path in sorted(folder.glob("*.yaml")):
        parts += [f"## {path.stem}", "", "```yaml", path.read_text(encoding="utf-8").rstrip(), "```", ""]
    for group in sorted(path for path in folder.iterdir() if path.is_dir()):
        parts += [f"## {group.name}/", ""]
        for path in sorted(group.rglob("*.yaml")):
            name = path.relative_to(group).with_suffix("").as_posix()
            parts += [f"### {group.name}={name}", "", "```yaml", path.read_text(encoding="utf-8").rstrip(), "```", ""]
    return "\n".join(parts)


def _python() -> str:
    parts = ["# Python", ""]
    for title, names in PYTHON.items():
        parts += [f"## {title}", ""]
        for name in names:
            parts += [f"::: {name}", ""]
    return "\n".join(parts)
