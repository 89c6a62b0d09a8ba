"""`genaudit list`: what there is, what each needs, and whether it is on this machine."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from omegaconf import OmegaConf

from genaudit.config_files import OURS, config_folders
from genaudit.errors import DONE, UserError
from genaudit.reports.styled import make_console
from genaudit.tasks.run.instantiate import instantiate
from genaudit.tasks.run.metric_list import in_default, metrics_table, one_metric
from genaudit.tasks.run.recipes import data_of, make, names
from genaudit.tasks.run.sources import registered
from genaudit_papers.published import recipes_time, tables


def main(cfg: Any) -> int:
    """The verb: prints a table."""
    from rich.markup import escape
    from rich.table import Table

    kinds: dict[str, Callable[[], tuple[list[str], list[list[str]]]]] = {
        "metrics": lambda: metrics_table(list(_group("metric")), in_default()),
        "feature_models": _feature_models,
        "presets": _presets,
        "datasets": _datasets,
        "references": _references,
        "generators": _generators,
        "tables": functools.partial(_tables, cfg),
    }
    what = str(cfg.what) if cfg.what else ""
    if what not in kinds:
        close = difflib.get_close_matches(what, kinds, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        wrong = f"not {what!r}{hint}" if what else "say which"
        raise UserError(f"list shows {', '.join(kinds)}; {wrong}")
    if cfg.name:
        if what != "metrics":
            raise UserError(f"{cfg.name}: `genaudit list metrics NAME` tells of one metric; of {what} all are listed")
        print("\n".join(one_metric(str(cfg.name), list(_group("metric")), in_default())))
        return DONE
    header, rows = kinds[what]()
    origins = _origins(what.removesuffix("s"))
    if set(origins.values()) - {OURS}:
        header, rows = [*header, "from"], [[*row, origins.get(row[0], "")] for row in rows]
    table = Table(box=None, pad_edge=False)
    for column in header:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    make_console().print(table)
    return DONE


def _origins(group: str) -> dict[str, str]:
    """Whose each option of a group is."""
    return {
        path.relative_to(folder / group).with_suffix("").as_posix(): whose
        for whose, folder in config_folders()
        for path in (folder / group).rglob("*.yaml")
    }


def _group(name: str) -> Iterator[tuple[str, Any, str]]:
    """Name, configuration and leading comment of every YAML in a config group, those of --config-dir included."""

    for stem, text in _texts(name):
        yield stem, OmegaConf.create(text), _leading_comment(text)


def _texts(name: str) -> Iterator[tuple[str, str]]:
    """Name and text of every YAML in a config group."""
    files = {path.stem: path for _, folder in config_folders() for path in sorted((folder / name).glob("*.yaml"))}
    for stem, path in sorted(files.items()):
        yield stem, path.read_text(encoding="utf-8")


def _leading_comment(text: str) -> str:
    lines: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.lstrip("# ").rstrip())
    return " ".join(lines)


def _presets() -> tuple[list[str], list[list[str]]]:
    rows = []
    for name, config, comment in _group("preset"):
        counts = ", ".join(f"{count:,} {role}" for role, count in (config.preset.get("counts") or {}).items())
        rows.append([name, comment, counts, str(config.preset.source)])
    return ["preset", "gives", "images", "source"], rows


def _feature_models() -> tuple[list[str], list[list[str]]]:

    rows = []
    for name, config, comment in _group("feature_model"):
        if any(OmegaConf.is_missing(config, key) for key in config):
            rows.append([name, "", "", comment])
            continue
        config.offline = True
        try:
            model = instantiate(config)
            where = model.find_weights()
            shown = "yes" if where else "no"
            size = str(model.recipe.size)
        except UserError as error:
            shown, size = f"no: {error}", ""
        rows.append([name, size, shown, comment])
    return ["feature model", "size", "weights here", "what it is"], rows


def _references() -> tuple[list[str], list[list[str]]]:
    rows = []
    for name, entry in sorted(registered().items()):
        count = "" if entry.n is None else f"{entry.n:,}"
        hashed = "known" if entry.sha256 else "trusted on first use"
        here = "yes" if entry.here() is not None else "no"
        rows.append([name, entry.about, count, entry.needs, hashed, here, entry.license])
    return ["reference", "what it is", "images", "needs", "SHA-256", "here", "licence"], rows


def _generators() -> tuple[list[str], list[list[str]]]:
    return ["generator", "what it is"], [[name, comment] for name, _, comment in _group("generator")]


def _datasets() -> tuple[list[str], list[list[str]]]:
    rows = [[name, comment or str(config.get("_target_", ""))] for name, config, comment in _group("dataset")]
    return ["dataset", "what it is"], rows


def _tables(cfg: Any) -> tuple[list[str], list[list[str]]]:
    """The papers' tables in the order of the papers, then recipes of nothing published (a user's own)."""

    data = data_of(cfg)
    about = {name: _leading_comment(text).partition(" Source: ")[0] for name, text in _texts("table")}
    here = set(names())
    of: dict[str, dict[str, list[str]]] = {}
    rows = []
    for table in tables():
        for name in table.recipes:
            of.setdefault(name, {}).setdefault(table.paper, []).append(table.table)
        if not set(table.recipes) & here:
            rows.append(["", f"{table.paper} {table.table}", table.title, "published numbers only", "", ""])
    recipes = [*(name for name in of if name in here), *sorted(here - set(of))]
    shown = []
    for name in recipes:
        recipe = make(name, cfg).recipe
        reason = getattr(recipe, "published_only", "")
        times = recipes_time(name)
        states = []
        for scale in ("laptop", "paper"):
            needs = recipe.needs(scale, data)
            missing = [need.what for need in needs if not need.have]
            states.append(f"needs {_joined(missing)}" if missing else "ready")
        if reason:
            used = "; ".join(need.what for need in recipe.needs("paper", data)[1:])
            states = ["published numbers only", f"{reason.partition(': ')[2]} The authors used {used}"]
        what = about.get(name, "")
        time = ", ".join(f"{scale} {value}" for scale, value in times.items())
        shown.append([name, _published_as(of.get(name, {})), what, *states, time])
    return ["table", "published as", "what it recomputes", "laptop", "paper's scale", "time"], shown + rows


def _joined(needs: list[str]) -> str:
    """What is missing in few words: `weights of A, B; images of C`."""
    kinds: dict[str, list[str]] = {}
    for need in needs:
        head, of, tail = need.partition(" of ")
        kinds.setdefault(head + of, []).append(tail)
    return "; ".join(f"{kind}{', '.join(filter(None, tails))}" for kind, tails in kinds.items())


def _published_as(tables: dict[str, list[str]]) -> str:
    """`dombrowski2025 Fig. 13, Table 6`: the tables of each paper that a recipe recomputes."""
    return "; ".join(f"{paper} {', '.join(names)}" for paper, names in tables.items())
