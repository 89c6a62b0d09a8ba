"""What a recipe of a paper's table is: it says what it needs, and computes the table step by step.

A recipe is a class in `genaudit.papers.recipes`, made from the YAML of the same name in `configs/table/`. Each costly
part of it is a step whose result is kept in the recipe's folder, so that a run that was cut off goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from genaudit.errors import UserError
from genaudit.papers.table import Table

Scale = Literal["laptop", "paper"]


@dataclass(frozen=True)
class Need:
    """Something that a recipe needs: what, whether this machine has it, and how to get it."""

    what: str
    have: bool
    how: str = ""


def silent(message: str) -> None:
    pass


@dataclass
class Context:
    """Where and how a recipe runs.

    Attributes:
        scale: "laptop" or "paper".
        folder: the recipe's own, kept between runs.
        data: the root of the user's datasets, or None.
        store: the row store. device: for networks. seed: of everything random.
        report: takes a line for the person who waits; where `at_once` is more than 1, pickle must know it.
        at_once: of `steps`, how many run at a time, each in a process of its own.
    """

    scale: Scale
    folder: Path
    data: Path | None
    store: Path
    device: str = "cpu"
    seed: int = 0
    report: Callable[[str], None] = field(default=silent)
    at_once: int = 1

    def step(self, name: str, compute: Callable[[], Any]) -> Any:
        """The result of `compute()`, which JSON must be able to hold; read back where an earlier run left it.

        Args:
            name: of the step, a file name; tells apart everything that the result depends on within this recipe.
        """
        path = self._path(name)
        found, result = _read_step(path)
        if found:
            return result
        self.report(name)
        # what a first and a later run see must not differ: tuples become lists now, not only when read back
        result = json.loads(json.dumps(compute()))
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps({"sha256": _checksum(result), "result": result}))
        os.replace(temporary, path)
        return result

    def steps(self, computes: Mapping[str, Callable[[], Any]]) -> list[Any]:
        """The results of several steps, none of which needs another's.

        `at_once` of them run at a time, each with one thread in a process of its own: a small network keeps one core
        busy and a second one waiting (PIAD's takes as long with two threads as with one). Steps are taken to be alike:
        where their number leaves a last round that is not full, its steps share the threads.

        Args:
            computes: by the steps' names, as for `step`; pickle must know them where `at_once` is more than 1.

        Raises:
            UserError: a process was ended from outside.
        """
        missing = {name: compute for name, compute in computes.items() if not _read_step(self._path(name))[0]}
        if self.at_once > 1 and len(missing) > 1:
            names = list(missing)
            full = len(names) - len(names) % self.at_once
            for group in filter(None, (names[:full], names[full:])):
                self._side_by_side({name: missing[name] for name in group})
        return [self.step(name, compute) for name, compute in computes.items()]

    def _side_by_side(self, computes: Mapping[str, Callable[[], Any]]) -> None:
        workers = min(self.at_once, len(computes))
        spawn = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
        begin, threads = _begin_worker, self.at_once // workers
        with ProcessPoolExecutor(workers, mp_context=spawn, initializer=begin, initargs=(threads,)) as pool:
            running = [pool.submit(self.step, name, compute) for name, compute in computes.items()]
            try:
                for each in running:
                    each.result()
            except BrokenProcessPool:
                raise UserError(
                    f"one of {workers} processes that ran steps side by side was ended, perhaps for want of "
                    "memory; what was finished is kept, and OMP_NUM_THREADS=1 runs one step after the other"
                ) from None
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _path(self, name: str) -> Path:
        return self.folder / "steps" / f"{name}.json"


def _read_step(path: Path) -> tuple[bool, Any]:
    """Whether a step's result is there, and the result. A damaged file is set aside: the step is computed again."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["sha256"] != _checksum(document["result"]):
            raise ValueError
        return True, document["result"]
    except FileNotFoundError:
        return False, None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        with contextlib.suppress(OSError):
            os.replace(path, path.with_suffix(".damaged"))
        return False, None


def _checksum(result: Any) -> str:
    return hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()


def _begin_worker(threads: int) -> None:
    """Threads for networks and linear algebra; the process ends where the one that began it does, killed too."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    threadpool_limits(threads, user_api="blas")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class Recipe(Protocol):
    """A table or figure that can be recomputed."""

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """What it needs at this scale, given the root of the user's datasets."""

    def run(self, context: Context) -> Table:
        """Recomputes it; called only where every need is met."""
