"""What a recipe of a paper's table is: it says what it needs, and computes the table step by step.

A recipe is a class in `genaudit_papers`, made from the YAML of the same name in `configs/table/`. Each costly
part of it is a step whose result is kept in the recipe's folder, so that a run that was interrupted resumes.
"""

from __future__ import annotations

import _thread
import contextlib
import hashlib
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from genaudit import __version__, interrupts, output
from genaudit.atomic import atomic_write
from genaudit.errors import INTERRUPTED, UserError
from genaudit.folder_lock import LockedElsewhere, locked
from genaudit.reports.table import Table

Scale = Literal["laptop", "desk", "paper"]
USUAL: tuple[Scale, ...] = ("laptop", "paper")
POLL_SECONDS = 1.0  # between two looks at a step that another process computes
PATIENCE_SECONDS = 8.0  # that a step has, when the run is interrupted, to keep what it has in hand


@dataclass(frozen=True)
class Need:
    """Something that a recipe needs: what, whether this machine has it, and how to get it.

    `paths`: the files and folders that it is read from. What they hold is part of every step's place, so that a step
    is never read back for other images or weights: a recipe names everything that it reads.
    """

    what: str
    have: bool
    how: str = ""
    paths: tuple[Path, ...] = ()


def silent(message: str) -> None:
    pass


@dataclass
class Context:
    """Where and how a recipe runs.

    Attributes:
        scale: "laptop", "desk" or "paper".
        folder: the recipe's own, kept between runs.
        data: the root of the user's datasets, or None.
        store: the row store. device: for networks. seed: of everything random.
        report: takes a line for the person who waits; where `at_once` is more than 1, pickle must know it.
        checkpoint_seconds: of trainings, see `genaudit.training.fit`.
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
    checkpoint_seconds: float = 30.0

    def step(self, name: str, compute: Callable[[], Any]) -> Any:
        """The result of `compute()`, which JSON must be able to hold; read back where an earlier run left it.

        Args:
            name: of the step, a file name; distinguishes everything that the result depends on within this recipe.
        """
        return self._step(name, compute, wait=True)

    def _step(self, name: str, compute: Callable[[], Any], *, wait: bool) -> Any:
        """`step`; a process that computes the same one is waited for, or `_Busy` is raised."""
        path = self._path(name)
        place = self.folder / "locks" / name
        told = False
        while True:
            found, result = _read_step(path)
            if found:
                return result
            place.mkdir(parents=True, exist_ok=True)
            try:
                with locked(place, "computed"):
                    found, result = _read_step(path)  # another process may just have ended it
                    return result if found else self._compute(path, compute)
            except LockedElsewhere:
                if not wait:
                    raise
            if not told:
                self.report(f"{name}: waiting for another process, which computes it")
            told = True
            time.sleep(POLL_SECONDS)

    def _compute(self, path: Path, compute: Callable[[], Any]) -> Any:
        self.report(path.stem)
        # what a first and a later run see must not differ: tuples become lists now, not only when read back
        result = json.loads(json.dumps(compute()))
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps({"sha256": _checksum(result), "result": result}))
        return result

    def steps(self, computes: Mapping[str, Callable[[], Any]]) -> list[Any]:
        """The results of several steps, none of which needs another's.

        `at_once` of them run at a time, each with one thread in a process of its own: a small network keeps one core
        busy and a second one waiting (PIAD's takes as long with two threads as with one). Steps are taken to be alike:
        where their number leaves a last round that is not full, its steps share the threads. Several processes
        that make one table, on hosts that share the folder too, divide its steps among them.

        Args:
            computes: by the steps' names, as for `step`; pickle must know them where `at_once` is more than 1.

        Raises:
            UserError: a process was ended from outside.
            KeyboardInterrupt: the run was interrupted; the processes keep what they have, and end within seconds.
        """
        missing = {name: compute for name, compute in computes.items() if not _read_step(self._path(name))[0]}
        if self.at_once > 1 and len(missing) > 1:
            names = list(missing)
            full = len(names) - len(names) % self.at_once
            for group in filter(None, (names[:full], names[full:])):
                self._side_by_side({name: missing[name] for name in group})
        results: dict[str, Any] = {}
        for wait in (False, True):  # what another process computes is left to it, and waited for at the end
            for name, compute in computes.items():
                if name not in results:
                    with contextlib.suppress(LockedElsewhere):
                        results[name] = self._step(name, compute, wait=wait)
        return [results[name] for name in computes]

    def _side_by_side(self, computes: Mapping[str, Callable[[], Any]]) -> None:
        workers = min(self.at_once, len(computes))
        spawn = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
        stop = spawn.Event()
        given = (self.at_once // workers, stop)
        with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_begin_worker, initargs=given) as pool:
            running = [pool.submit(_step_in_worker, self, name, compute) for name, compute in computes.items()]
            try:
                for each in running:
                    each.result()
            except BrokenProcessPool:
                raise UserError(
                    f"one of {workers} processes that ran steps side by side was ended, perhaps because there was "
                    "too little memory; what was finished is kept, and OMP_NUM_THREADS=1 runs one step after the other"
                ) from None
            except KeyboardInterrupt:
                stop.set()
                pool.shutdown(cancel_futures=True)
                raise
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def training_folder(self, name: str, content: Mapping[str, Any]) -> Path:
        """The folder of a training, beside the recipes' own: other tables and later versions of a recipe find it.

        Args:
            name: for people. content: everything that the trained model depends on (settings, digests of images and
                weights, seed), as JSON takes it: the folder is named by it, another content has another one.
        """
        text = json.dumps({**content, "genaudit": __version__}, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        return self.folder.parent / "models" / f"{name}-{digest[:12]}"

    def shared_file(self, kind: str, name: str, make: Callable[[Path], None]) -> Path:
        """A large file beside the recipes' folders that every table reads; made by one process, while others wait.

        Args:
            kind: of files, the name of their folder. name: of the file; tells apart whatever differs in content.
            make: writes it to the path that it is given.
        """
        path = self.folder.parent / kind / name
        place = path.parent / "locks" / name
        told = False
        while not path.exists():
            place.mkdir(parents=True, exist_ok=True)
            try:
                with locked(place, "made"):
                    if not path.exists():  # another process may just have ended it
                        with atomic_write(path) as temporary:
                            make(temporary)
            except LockedElsewhere:
                if not told:
                    self.report(f"{name}: waiting for another process, which makes it")
                told = True
                time.sleep(POLL_SECONDS)
        return path

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


def _begin_worker(threads: int, stop: Any) -> None:
    """Threads for networks and linear algebra; the process ends with the one that began it, or where `stop` is set.

    A terminal sends its Ctrl-C to every process: only the one that began them acts on it, by `stop`.
    """
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    threadpool_limits(threads, user_api="blas")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_in_time, args=(stop,), daemon=True).start()


_working = threading.Event()  # a step is running in this process


def _step_in_worker(context: Context, name: str, compute: Callable[[], Any]) -> Any:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which `interrupts` takes over, for `_end_in_time`
    with output.forgiving(), interrupts.handled():
        _working.set()
        try:
            return context.step(name, compute)
        except KeyboardInterrupt:  # what there was is kept
            os._exit(INTERRUPTED)
        finally:
            _working.clear()
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end_in_time(stop: Any) -> None:
    parent = multiprocessing.parent_process()
    while not stop.wait(0.5):
        if parent is not None and not parent.is_alive():
            os._exit(1)
    if _working.is_set():
        if hasattr(signal, "pthread_kill"):  # to that thread itself, so that it wakes where it waits
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        else:
            _thread.interrupt_main()
        time.sleep(PATIENCE_SECONDS)
    os._exit(INTERRUPTED)


class TableRecipe(Protocol):
    """A table or figure that can be recomputed."""

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """What it needs at this scale, given the root of the user's datasets."""

    # and `scales: tuple[Scale, ...]`, where they are not `USUAL`: "desk" is the laptop's method with hours for minutes

    def run(self, context: Context) -> Table:
        """Recomputes it; called only where every need is met."""
