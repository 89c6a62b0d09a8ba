"""Tries edits inside one pytest session whose tests are collected once: the fast way of `mutate.py`.

An edit within a function is made by giving the function the edited one's code object, in a fork of the session. Every
reference to the function sees it, and an edit costs as much as the tests that it takes to notice. Edits of defaults,
constants and class bodies take the slow way, a session each.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest
from mutants import Mutant
from mutation_tests import QUIET, Tree, module_of, verdict_of_child


class Loop:
    """A pytest plugin that tries edits in place of the tests; `finished` gets each outcome."""

    def __init__(
        self,
        tree: Tree,
        edits: Sequence[tuple[Mutant, str, str, list[list[str]], int]],
        finished: Callable[[Mutant, str, str], bool],
        log: Path,
    ) -> None:
        self.tree, self.edits, self.finished, self.log = tree, edits, finished, log

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: Any) -> bool:
        items = {item.nodeid: item for item in session.items}
        for mutant, source, edited, stages, cpu_seconds in self.edits:
            change = swap_of(mutant, source, edited)
            if change is None:
                continue
            outcome, test = "uncovered", ""
            with self.tree.edited(mutant.file, edited):  # for processes that tests start
                for stage in stages:
                    wanted = [items[name] for name in stage if name in items]
                    run = functools.partial(_run_items, session, wanted, change, self.log.with_suffix(".tmp"))
                    outcome, test = verdict_of_child(run, self.log, cpu_seconds)
                    if outcome != "survived":
                        break
            if not self.finished(mutant, outcome, test):
                break
        return True


def _run_items(session: Any, items: Sequence[Any], change: tuple[FunctionType, CodeType], place: Path) -> list[Any]:
    """In a fork: makes the edit, runs the items until one fails; [exit code, the one that failed]."""
    shutil.rmtree(place, ignore_errors=True)
    session.config._tmp_path_factory._given_basetemp = place
    function, code = change
    function.__code__ = code
    failed: list[str] = []

    class Watch:
        def pytest_runtest_logreport(self, report: Any) -> None:
            if report.failed:
                failed.append(report.nodeid)

    session.config.pluginmanager.register(Watch())
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if failed:
            break
    return [int(bool(failed)), failed[0] if failed else ""]


def run_loop(
    tree: Tree, edits: Sequence[Any], finished: Callable[[Mutant, str, str], bool], log: Path, files: Sequence[str]
) -> None:
    """Collects the test files once and tries the edits that swapping a function's code can make."""
    sys.dont_write_bytecode = True
    tree.enter()
    for file in sorted({mutant.file for mutant, *_ in edits}):
        with contextlib.suppress(ImportError):
            importlib.importmodule_of(module_of(file))
    pytest.main([*QUIET, "--capture=sys", *files], plugins=[Loop(tree, edits, finished, log)])


def swap_of(mutant: Mutant, source: str, edited: str) -> tuple[FunctionType, CodeType] | None:
    """The function to change and its edited code; None where the edit is in no function's code."""
    module = sys.modules.get(module_of(mutant.file))
    if module is None:
        return None
    path = str(getattr(module, "__file__", mutant.file))
    before, after = (dict(_functions(compile(text, path, "exec"), "")) for text in (source, edited))
    for name, code in before.items():
        new = after.get(name)
        if new is None or new == code or len(new.co_freevars) != len(code.co_freevars):
            continue
        function = _find(module, name)
        if function is not None and function.__code__.co_firstlineno == code.co_firstlineno:
            return function, new
    return None


def _functions(code: CodeType, prefix: str) -> Iterator[tuple[str, CodeType]]:
    """Names and code of the functions of a module and of its classes; what is inside functions belongs to them."""
    for part in code.co_consts:
        if not isinstance(part, CodeType) or part.co_name.startswith("<"):
            continue
        name = f"{prefix}{part.co_name}"
        if part.co_flags & 0x2:  # CO_NEWLOCALS: a function
            yield name, part
        else:
            yield from _functions(part, f"{name}.")


def _find(module: Any, name: str) -> FunctionType | None:
    """The function of that dotted name, out of what wraps it."""
    found: Any = module
    for part in name.split("."):
        found = vars(found).get(part) if isinstance(found, type) else getattr(found, part, None)
    for _ in range(5):
        if isinstance(found, FunctionType) and found.__code__.co_name == name.split(".")[-1]:
            return found
        if isinstance(found, (staticmethod, classmethod)):
            found = found.__func__
        elif isinstance(found, property):
            found = found.fget
        elif isinstance(found, functools.cached_property):
            found = found.func
        else:
            found = getattr(found, "__wrapped__", None)
    return None
