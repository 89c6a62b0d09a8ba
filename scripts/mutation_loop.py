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
from mutation_tests import QUIET, Tree, Verdict, module_of, verdict, verdict_of_child

Change = tuple[FunctionType, CodeType]
Edit = tuple[Mutant, str, str, list[list[str]], int]  # the file's text before and after, stages of tests, seconds


class Loop:
    """A pytest plugin that tries edits in place of the tests; `finished` gets each outcome."""

    def __init__(
        self,
        tree: Tree,
        edits: Sequence[Edit],
        finished: Callable[[Mutant, str, str], bool],
        log: Path,
    ) -> None:
        self.tree, self.edits, self.finished, self.log = tree, edits, finished, log
        self.sound: dict[str, bool] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: Any) -> bool:
        items = {item.nodeid: item for item in session.items}
        of_file: dict[str, list[str]] = {}
        for name in items:
            of_file.setdefault(name.split("::")[0], []).append(name)
        for edit in self.edits:
            mutant, source, text, stages, _ = edit
            change = swap_of(mutant, source, text)
            if change is None:
                continue
            outcome, test = "uncovered", ""
            for stage in stages:
                tests = [name for wanted in stage for name in of_file.get(wanted, [wanted]) if name in items]
                outcome, test = self._try(session, items, tests, edit, change)
                if outcome != "survived":
                    break
            if not self.finished(mutant, outcome, test):
                break
        return True

    def _try(self, session: Any, items: dict[str, Any], tests: Sequence[str], edit: Edit, change: Change) -> Verdict:
        mutant, _, text, _, cpu_seconds = edit

        def run(names: Sequence[str], change: Change | None) -> Verdict:
            wanted = [items[name] for name in names]
            work = functools.partial(_run_items, session, wanted, change, self.log.with_suffix(".tmp"))
            return verdict_of_child(work, self.log, cpu_seconds)

        def edited(names: Sequence[str]) -> Verdict:
            with self.tree.edited(mutant.file, text):  # for processes that tests start
                return run(names, change)

        return verdict(tests, edited, functools.partial(run, change=None), self.sound)


def _run_items(session: Any, items: Sequence[Any], change: Change | None, place: Path) -> list[Any]:
    """In a fork: makes the edit, runs the items until one fails; [exit code, the one that failed]."""
    shutil.rmtree(place, ignore_errors=True)
    session.config._tmp_path_factory._given_basetemp = place
    if change is not None:
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
    tree: Tree, edits: Sequence[Edit], finished: Callable[[Mutant, str, str], bool], log: Path, files: Sequence[str]
) -> None:
    """Collects the test files once and tries the edits that swapping a function's code can make."""
    tree.enter()
    for file in sorted({mutant.file for mutant, *_ in edits}):
        with contextlib.suppress(ImportError):
            importlib.import_module(module_of(file))
    pytest.main([*QUIET, "--capture=sys", *files], plugins=[Loop(tree, edits, finished, log)])


def swap_of(mutant: Mutant, source: str, edited: str) -> Change | None:
    """The function to change and its edited code; None where the edit is in no function's code."""
    module = sys.modules.get(module_of(mutant.file))
    if module is None:
        return None
    path = str(getattr(module, "__file__", mutant.file))
    before, after = (dict(_functions(compile(text, path, "exec"), "")) for text in (source, edited))
    # an edit may take lines away, which moves the functions after it: the first that differs is the edited one
    name = next((name for name, code in before.items() if after.get(name) != code), None)
    function = None if name is None else _find(module, name)
    if function is None or function.__code__.co_firstlineno != before[name].co_firstlineno:
        return None
    new = after.get(name)
    return (function, new) if new is not None and new.co_freevars == before[name].co_freevars else None


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
