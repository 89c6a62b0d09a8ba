"""`genaudit reproduce`: recomputes a table of a paper next to its published numbers; `table=all` all that it can."""

from __future__ import annotations

import functools
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig

from genaudit.errors import DEFECT, DONE, UserError, environment_fault, visible
from genaudit.output import told
from genaudit.recipe import Context, Scale, silent
from genaudit.reports import tables
from genaudit.reports.console import show_files
from genaudit.reports.styled import make_console
from genaudit.tasks.run.environment import command_line, environment, now
from genaudit.tasks.run.folder import run_folder, saving
from genaudit.tasks.run.recipes import ALL, NamedRecipe, changes, data_of, make, names, of_node
from genaudit.tasks.run.settings import Settings

SCALES = ("laptop", "desk", "paper")
AT_ONCE = 8  # a training of these tables needs a gigabyte and more of memory


def main(cfg: Any) -> int:
    """The verb: prints the table and writes NAME.csv, NAME.json and NAME.html; for all of them an index page too."""

    chosen = HydraConfig.get().runtime.choices.get("table")
    if chosen is None:
        raise UserError(
            "say which table: genaudit reproduce table=NAME, or table=all; `genaudit list tables` shows them"
        )
    settings = Settings.of(cfg)
    scale, data = scale_of(cfg), data_of(cfg)
    if chosen == ALL:
        return _all(cfg, settings, scale, data)
    named = of_node(str(chosen), cfg.table)
    missing = named.missing(scale, data)
    if missing:
        raise UserError(lacking(named.name, scale, [_sentence(need.what, need.how) for need in missing]))
    out = run_folder(cfg, "reproduce")
    told.begin_log()
    recomputed = reproduce(named, cfg, settings, scale, data)
    _show(recomputed)
    with saving("out", out):
        files = tables.write(recomputed, out)
    show_files(files)
    return DONE


def reproduce(named: NamedRecipe, cfg: Any, settings: Settings, scale: Scale, data: Path | None) -> tables.Recomputed:
    """Runs a recipe in its folder, where an earlier run's steps are read back."""
    folder = named.folder(cfg, scale, settings.seed, data)
    folder.mkdir(parents=True, exist_ok=True)
    context = Context(
        scale=scale,
        folder=folder,
        data=data,
        store=settings.store,
        device=settings.engine.device,
        seed=settings.seed,
        report=functools.partial(_report, named.name) if settings.progress else silent,
        at_once=_at_once(settings.engine.device),
        checkpoint_seconds=float(cfg.checkpoint_seconds),
    )
    started = time.perf_counter()
    table = named.recipe.run(context)
    table = replace(table, differs=" ".join(filter(None, (table.differs, changes(named, cfg)))))
    seconds = time.perf_counter() - started
    about = environment(cfg, settings)
    return tables.Recomputed(
        table,
        about={key: about[key] for key in ("python", "platform", "processor", "packages", "device", "device_name")},
        command=command_line("reproduce")
        if sys.argv[0].startswith("genaudit ")
        else f"genaudit reproduce {named.name}",
        created=now(),
        seconds=seconds,
        needs=tuple(need.what for need in named.recipe.needs(scale, data)),
    )


def lacking(name: str, scale: Scale, sentences: list[str]) -> str:
    """The message that lists what is missing."""
    listed = "".join(f"\n  - {sentence}" for sentence in sentences)
    return f"table={name} scale={scale} cannot be made here. Missing:{listed}"


def scale_of(cfg: Any) -> Scale:
    """The key `scale`, checked."""
    if cfg.scale not in SCALES:
        raise UserError(f"scale={cfg.scale}: laptop, desk or paper is needed")
    return cast(Scale, cfg.scale)


def _all(cfg: Any, settings: Settings, scale: Scale, data: Path | None) -> int:
    """Every table that can be made; one that fails does not cost the others."""
    out = run_folder(cfg, "reproduce")
    told.begin_log()
    made: list[tables.Recomputed] = []
    missing: dict[str, list[str]] = {}
    code = DONE
    for name in names():
        try:
            named = make(name, cfg)
            reasons = [_sentence(need.what, need.how) for need in named.missing(scale, data)]
            if not reasons:
                recomputed = reproduce(named, cfg, settings, scale, data)
                with saving("out", out):
                    tables.write(recomputed, out)
                (out / f"{name}.traceback.txt").unlink(missing_ok=True)
                made.append(recomputed)
                _line(f"{name}: {tables.summary(recomputed.table)} ({recomputed.seconds:.0f} s)")
        except UserError as error:
            reasons = [str(error)]
        except Exception as error:  # the others are made all the same, and the exit code tells
            if fault := environment_fault(error):
                raise UserError(fault) from error  # the others would fare no better
            out.mkdir(parents=True, exist_ok=True)
            (out / f"{name}.traceback.txt").write_text(traceback.format_exc())
            reasons = [f"internal error ({type(error).__name__}: {error}): {name}.traceback.txt"]
            code = DEFECT
        if reasons:
            missing[name] = reasons
            _line(f"{name}: not made: {reasons[0]}")
    files = tables.write_index(made, missing, out)
    _line(f"{len(made)} tables made, {len(missing)} not: {files['index.html']}")
    return code


def _show(recomputed: tables.Recomputed) -> None:

    console = make_console()
    console.print(tables.console(recomputed, plain=not console.is_terminal))


def _sentence(what: str, how: str) -> str:
    return f"{what}: {how}" if how else what


def _line(text: str) -> None:
    print(visible(text), flush=True)


def _report(name: str, message: str) -> None:
    told.note(visible(f"{name}: {message}"))


def _at_once(device: str) -> int:
    """On a CPU as many steps at a time as torch would use threads; another device takes one after the other."""
    if device != "cpu":
        return 1
    import torch

    return min(torch.get_num_threads(), AT_ONCE)
