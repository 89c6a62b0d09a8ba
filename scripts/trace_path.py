"""How much of genaudit stands between a role's images and a reported AS: `python scripts/trace_path.py [--list]`.

Runs `genaudit evaluate GENERATED reference=REFERENCE metric=[as]` on two folders of a few small images, in this
process, with an empty row store, from the command line's first function to the written report, and counts

    files       files of genaudit of which a function (not only the module's or a class's body) is executed
    functions   functions executed, those that are defined inside another one included
    lines       lines of these functions from `def` to their end, docstrings and comments included; of a function
                inside another executed one the lines are counted once

in all threads. Code that runs because a module is imported is not counted (functions that build annotations, default
values or constants among it), and neither are other packages. The second
line of the result counts from the opened roles to the judged metrics alone (`genaudit.tasks.evaluate.evaluate`):
without the command line, the configuration and the four files of the report. The table before them counts by room.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import inspect
import io
import sys
import tempfile
import threading
from collections import defaultdict
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
from PIL import Image

import genaudit
from genaudit.cli import main as genaudit_main

PACKAGE = Path(genaudit.__file__).parent
Spans = dict[Path, dict[str, tuple[int, int]]]  # file => function => its first and last line


class Tracer:
    """The code objects of genaudit's functions that were called, in all threads."""

    def __init__(self) -> None:
        self.called: set[CodeType] = set()
        self.judging: set[CodeType] = set()  # of these, what was called between images and results
        self._between = False
        self._imports = threading.local()  # `depth`: modules of genaudit that are being imported by this thread

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event not in ("call", "return") or not code.co_filename.startswith(str(PACKAGE)):
            return
        depth = getattr(self._imports, "depth", 0)
        if code.co_name == "<module>":
            self._imports.depth = depth + (1 if event == "call" else -1)
        if depth or not code.co_flags & inspect.CO_NEWLOCALS:
            return
        inside = code.co_qualname == "evaluate" and code.co_filename.endswith("tasks/evaluate.py")
        if inside:
            self._between = event == "call"
        if event == "call":
            self.called.add(code)
            if self._between:
                self.judging.add(code)

    @staticmethod
    def spans(called: set[CodeType]) -> Spans:
        """The functions called; comprehensions and lambdas belong to the function around them."""
        files: Spans = defaultdict(dict)
        for code in called:
            path = Path(code.co_filename)
            first = code.co_firstlineno
            if not code.co_name.startswith("<"):
                files[path][code.co_qualname] = first, _last_lines(path).get(first, first)
        return files


def _last_lines(path: Path, _cache: dict[Path, dict[int, int]] = {}) -> dict[int, int]:  # noqa: B006 (the cache)
    """The last line of each function by its first, that of its first decorator where it has one."""
    if path not in _cache:
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        functions = [node for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
        _cache[path] = {
            min(part.lineno for part in (node, *node.decorator_list)): int(node.end_lineno or node.lineno)
            for node in functions
        }
    return _cache[path]


def trace(arguments: list[str]) -> tuple[Spans, Spans]:
    """What a command executes of genaudit: all of it, and between the images and the results of `evaluate`.

    Raises:
        RuntimeError: the command failed.
    """
    tracer = Tracer()
    threading.setprofile(tracer)
    sys.setprofile(tracer)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            code = genaudit_main(arguments)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    if code:
        raise RuntimeError(f"genaudit {' '.join(arguments)} ended with code {code}")
    return tracer.spans(tracer.called), tracer.spans(tracer.judging)


def lines_of(functions: dict[str, tuple[int, int]]) -> int:
    """Lines of a file's functions, each line once."""
    return len({line for first, last in functions.values() for line in range(first, last + 1)})


def path_of_as(folder: Path) -> tuple[Spans, Spans]:
    """What `evaluate` with AS alone executes of genaudit, on a dozen images a role and an empty row store."""
    rng = np.random.default_rng(0)
    for role in ("generated", "reference"):
        (folder / role).mkdir()
        for index in range(12):
            Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(folder / role / f"{index}.png")
    return trace([
        *("evaluate", f"{folder}/generated", f"reference={folder}/reference", "metric=[as]"),
        *(f"store={folder}/rows", f"out={folder}/out", "progress=false", "device=cpu"),
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="the functions of each file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files, between = path_of_as(Path(folder))
    for path, functions in sorted(files.items()):
        print(f"{lines_of(functions):6,} lines {len(functions):4} functions  {path.relative_to(PACKAGE)}")
        for name, (first, last) in sorted(functions.items(), key=lambda item: item[1]) if options.list else ():
            print(f"{last - first + 1:14,}    {name}")
    rooms: dict[str, Spans] = defaultdict(dict)
    for path, functions in files.items():
        inside = path.relative_to(PACKAGE).parts
        room = inside[0] if len(inside) > 1 else "the package itself"
        rooms["data/audit" if inside[:2] == ("data", "audit") else room][path] = functions
    for room, part in sorted(rooms.items()):
        print(f"{sum(map(lines_of, part.values())):6,} lines {len(part):4} files      {room}")
    for what, part in (("from the command line to the report", files), ("from the roles to the results", between)):
        functions, lines = sum(map(len, part.values())), sum(map(lines_of, part.values()))
        print(f"{what}: {len(part)} files, {functions} functions, {lines:,} lines")


if __name__ == "__main__":
    main()
