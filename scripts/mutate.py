"""Makes small wrong edits, one at a time, and counts those that the tests catch: the mutation score.

    python scripts/mutate.py --seed 0 --sample 300                  # 300 edits of all packages together
    python scripts/mutate.py --package stats --sample 300           # of one package
    python scripts/mutate.py --again                                # the survivors once more, after new tests
    python scripts/mutate.py --only genaudit/metrics/swd.py --all   # every edit of one file

    python scripts/mutate.py --mirrored                             # no tracing: whole test files, the mirrored first

Needs `pip install genaudit-images[mutation]` (coverage). First every test runs once, traced, to learn its lines
(some minutes; kept in --state until the test file changes); then each edit is tried against the tests that run its
line: the mirrored test file first, then others, the quickest first, up to --budget seconds of each. An edit is caught
where a test that passes without it fails or does not end. Edits are sampled from all packages together by a hash of
seed and text, so that the sample stays while the code around it changes, and a run that was stopped (--minutes)
resumes. `mutants_equivalent.json` lists edits that change nothing anybody can see, with the reason; they are left out
of the score. Writes score.json, each score with its 95 % interval (Wilson), and survivors.json.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import itertools
import json
import math
import os
import re
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from mutants import Mutant, mutants
from mutation_loop import Edit, run_loop
from mutation_tests import Tree, Verdict, in_child, preload, trace, try_tests, verdict

PACKAGES = {
    "metrics": ["genaudit/metrics"],
    "measures": ["genaudit/measures"],
    "stats": ["genaudit/stats"],
    "run": ["genaudit/tasks/run/judging.py", "genaudit/tasks/run/measuring.py"],
    "gate": ["genaudit/tasks/gate"],
}
TRACED = ("tests/stats", "tests/metrics", "tests/measures", "tests/tasks/gate", "tests/tasks/run",
          "tests/tasks/test_evaluate.py", "tests/tasks/test_reject.py", "tests/tasks/test_counting.py",
          "tests/test_doctests.py")  # fmt: skip
BATCH = 20  # edits whose tests are collected together
EXAMPLES = "tests/test_doctests.py::test_the_examples_of_a_module_give_what_they_say"
MISSED = ("survived", "uncovered")
Name = tuple[str, str, str, str]


def files_of(root: Path, places: list[str]) -> list[str]:
    """The Python files at these places, relative to the repository."""
    found: list[Path] = []
    for place in places:
        found += [root / place] if place.endswith(".py") else sorted((root / place).rglob("*.py"))
    return [str(path.relative_to(root)) for path in found]


def sample(root: Path, files: list[str], count: int | None, seed: int) -> list[Mutant]:
    """The `count` edits of the files with the smallest hashes (None: all) that compile, in that order."""
    every = [mutant for file in files for mutant in mutants(root, file)]
    every.sort(key=lambda m: hashlib.sha256(f"{seed}:{m.key}".encode()).digest())
    return list(itertools.islice(filter(functools.partial(_compiles, root), every), count))


def _compiles(root: Path, mutant: Mutant) -> bool:
    try:
        compile(mutant.apply((root / mutant.file).read_text(encoding="utf-8")), mutant.file, "exec")
    except SyntaxError:
        return False
    return True


class Cover:
    """Which tests run a line, in the order in which to try them."""

    def __init__(self, folder: Path) -> None:
        self.lines: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
        self.seconds: dict[str, float] = {}
        for path in sorted(folder.glob("trace-*.json")):  # one a test file
            traced = json.loads(path.read_text())
            self.seconds |= traced["seconds"]
            for file, tests in traced["lines"].items():
                for test, lines in tests.items():
                    self.lines[file][test] |= set(lines)

    def tests(self, mutant: Mutant, budget: float) -> list[list[str]]:
        """The mirrored file's tests that run the edit, then others, each up to `budget` seconds."""
        tests = self.lines[mutant.file]
        first, last = mutant.lines
        touched = set(range(first, last + 1)) | set(range(mutant.line, mutant.end_line + 1))
        found = [test for test, lines in tests.items() if test and lines & touched]
        if not found and tests[""] & touched:  # a default or a constant: any test of the file may notice
            found = [test for test in tests if test]
        found.sort(key=lambda test: self.seconds.get(test, 0.0))
        name = f"test_{Path(mutant.file).stem}"
        mirrored = [test for test in found if Path(test.split("::")[0]).stem.startswith(name)]
        stages = [self._within(mirrored, budget), self._within([t for t in found if t not in mirrored], budget)]
        return [stage for stage in stages if stage]

    def _within(self, tests: list[str], budget: float) -> list[str]:
        totals = itertools.accumulate(self.seconds.get(test, 0.0) for test in tests)
        kept = sum(total <= budget for total in totals)
        return tests[: max(kept, 1)]


class Mirror:
    """Whole test files in place of traced tests: the mirrored ones, those that import the module, and the mirrored ones
    of modules that import it."""

    PATIENCE = 60.0  # seconds beyond what is usual, of which nothing is known

    def __init__(self, root: Path, stages: int) -> None:
        self.seconds: dict[str, float] = {}
        self._stages = stages
        self._tests, self._code = (
            {str(path.relative_to(root)): path.read_text("utf-8") for path in sorted(root.glob(pattern))}
            for pattern in ("tests/**/test_*.py", "genaudit/**/*.py")
        )

    def tests(self, mutant: Mutant, budget: float) -> list[list[str]]:
        """Test files, in up to three stages."""
        *parent, stem = Path(mutant.file).with_suffix("").parts
        package = ".".join(parent)
        imports = re.compile(rf"\b{package}\.{stem}\b|from {package} import (?:\([^)]*|[^\n]*)\b{stem}\b")
        stages = [
            self._mirrored(mutant.file),
            [test for test, text in self._tests.items() if imports.search(text)],
            [test for file, text in self._code.items() if imports.search(text) for test in self._mirrored(file)],
        ]
        seen: set[str] = set()
        fresh = [[test for test in dict.fromkeys(stage) if test not in seen and not seen.add(test)] for stage in stages]  # type: ignore[func-returns-value]
        files = [stage for stage in fresh if stage][: self._stages]
        return [self._examples(mutant.file), *files] if ">>> " in self._code[mutant.file] else files

    def _examples(self, file: str) -> list[str]:
        return [f"{EXAMPLES}[{file.removesuffix('.py').replace('/', '.')}]"]

    def _mirrored(self, file: str) -> list[str]:
        folder, stem = "/".join(["tests", *Path(file).parts[1:-1]]), Path(file).stem
        return [test for test in self._tests if test.startswith(f"{folder}/test_{stem}")]


class Trial:
    """Tries edits, quickly where that goes, and keeps a journal of what the tests said."""

    def __init__(self, root: Path, state: Path, cover: Cover | Mirror, budget: float, end: float) -> None:
        self.root, self.state, self.cover, self.budget = root, state, cover, budget
        self.began, self.end = time.monotonic(), end
        self.sound: dict[str, bool] = {}
        self.log, self.journal = state / "child.log", state / "results.jsonl"
        self.journal.touch()

    def done(self) -> dict[str, dict[str, Any]]:
        """The last outcome of every edit that was ever tried, by its key."""
        return {result["key"]: result for result in map(json.loads, self.journal.read_text().splitlines())}

    def run(self, tree: Tree, todo: list[Mutant]) -> None:
        """All of them, some files at a time, so that a run that has little time collects few tests."""
        todo = sorted(todo, key=lambda mutant: mutant.file)
        for start in range(0, len(todo), BATCH):
            if time.monotonic() < self.end:
                self._batch(tree, [self._edit(mutant) for mutant in todo[start : start + BATCH]])

    def _batch(self, tree: Tree, edits: list[Edit]) -> None:
        """Those inside functions in one session, the others in a session each."""
        files = sorted({test.split("::")[0] for edit in edits for stage in edit[3] for test in stage})
        before = len(self.journal.read_text().splitlines())
        if files:
            self._quickly(tree, edits, files)
        tried = {json.loads(line)["key"] for line in self.journal.read_text().splitlines()[before:]}
        for mutant, _, edited, stages, cpu_seconds in edits:
            if mutant.key in tried or time.monotonic() > self.end:
                continue
            outcome, test = "uncovered", ""
            for tests in stages:
                outcome, test = self._try(tree, mutant.file, edited, tests, cpu_seconds)
                if outcome != "survived":
                    break
            self._note(mutant, outcome, test)

    def _quickly(self, tree: Tree, edits: list[Edit], files: list[str]) -> None:
        def inside(write: int) -> None:
            run_loop(tree, edits, self._note, self.log, files)
            os.write(write, b"done")

        log = self.state / "loop.log"
        if in_child(inside, log) != "done":
            raise SystemExit(f"{log}: {log.read_text()[-1000:]}")

    def _try(self, tree: Tree, file: str, edited: str, tests: list[str], cpu_seconds: int) -> Verdict:
        def with_edit(names: Sequence[str]) -> Verdict:
            with tree.edited(file, edited):
                return try_tests(tree, names, self.log, cpu_seconds)

        return verdict(tests, with_edit, lambda names: try_tests(tree, names, self.log, cpu_seconds), self.sound)

    def _edit(self, mutant: Mutant) -> Edit:
        source = (self.root / mutant.file).read_text(encoding="utf-8")
        stages = self.cover.tests(mutant, self.budget)
        usual = sum(self.cover.seconds.get(test, 0.0) for stage in stages for test in stage)
        patience = getattr(self.cover, "PATIENCE", 20)
        return mutant, source, mutant.apply(source), stages, math.ceil(patience + 3 * usual)

    def _note(self, mutant: Mutant, outcome: str, test: str) -> bool:
        """Writes an outcome down; whether there is time for more."""
        seconds, self.began = round(time.monotonic() - self.began, 2), time.monotonic()
        with self.journal.open("a") as out:
            out.write(json.dumps({**_shown(mutant), "outcome": outcome, "test": test, "seconds": seconds}) + "\n")
        if outcome in MISSED:
            print(outcome, f"{mutant.file}:{mutant.line} {mutant.before!r} -> {mutant.after!r}", flush=True)
        return time.monotonic() < self.end


def _shown(mutant: Mutant) -> dict[str, Any]:
    return {name: getattr(mutant, name) for name in ("key", "file", "function", "line", "operator", "before", "after")}


def equivalents(path: Path) -> set[Name]:
    """Edits that change nothing: (file, function, before, after). Each is listed with its reason."""
    listed = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    without = [edit for edit in listed if not edit["reason"]]
    if without:
        raise SystemExit(f"{path}: {without[0]} has no reason")
    return {_name(edit) for edit in listed}


def _name(result: dict[str, Any]) -> Name:
    return result["file"], result["function"], result["before"], result["after"]


def score(results: list[dict[str, Any]], same: set[Name]) -> dict[str, Any]:
    """Counts and score; edits that are equivalent and survive are left out, what no test runs counts as missed."""
    counted = [r for r in results if r["outcome"] not in MISSED or _name(r) not in same]
    counts = Counter(r["outcome"] for r in counted)
    caught = counts["killed"] + counts["timeout"]
    interval = binomtest(caught, len(counted)).proportion_ci(method="wilson") if counted else (None, None)
    return {
        "mutants": len(results),
        "equivalent": len(results) - len(counted),
        **{name: counts[name] for name in ("killed", "timeout", *MISSED)},
        "score": caught / len(counted) if counted else None,
        "interval": [None if end is None else round(float(end), 4) for end in interval],
    }


def report(
    state: Path, done: dict[str, Any], chosen: list[Mutant], places: dict[str, list[str]], same: set[Name]
) -> None:
    """Prints the score of each package and of all, and writes score.json and survivors.json."""
    tried = [done[mutant.key] for mutant in chosen if mutant.key in done]
    groups = {name: [r for r in tried if r["file"].startswith(tuple(starts))] for name, starts in places.items()}
    table = {name: score(results, same) for name, results in (groups | {"all": tried}).items()}
    for name, row in table.items():
        print(name, json.dumps(row))
    if len(tried) < len(chosen):
        print(f"{len(chosen) - len(tried)} of {len(chosen)} edits are not tried yet: run again")
    left = [r for r in tried if r["outcome"] in MISSED and _name(r) not in same]
    (state / "score.json").write_text(json.dumps(table, indent=1) + "\n")
    (state / "survivors.json").write_text(json.dumps(left, indent=1) + "\n")


def _keys() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sample", type=int, default=300, help="edits of all packages together")
    parser.add_argument("--all", action="store_true", help="every edit")
    parser.add_argument("--package", choices=PACKAGES, action="append", help="default: all of them")
    parser.add_argument("--only", action="append", help="these files in place of packages")
    parser.add_argument("--again", action="store_true", help="try survivors again")
    parser.add_argument("--tests", action="append", help="which tests to trace; default: those of the packages")
    parser.add_argument("--trace", metavar="TESTS", action="append", help="trace these tests again, then stop")
    parser.add_argument("--mirrored", type=int, nargs="?", const=3, metavar="STAGES", help="trace nothing: see Mirror")
    parser.add_argument("--budget", type=float, default=20.0, help="processor seconds of tests an edit")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so long; the next run resumes")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1], help="the repository")
    parser.add_argument("--equivalent", default="scripts/mutants_equivalent.json", help="edits that change nothing")
    parser.add_argument("--state", type=Path, help="default: build/mutation in the repository")
    return parser.parse_args()


def main() -> None:
    keys = _keys()
    root = keys.root.resolve()
    state = (keys.state or root / "build" / "mutation").resolve()
    state.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the children too
    end = time.monotonic() + 60 * keys.minutes
    preload(root)
    tree = Tree(root, state / f"tree-{os.getpid()}")
    try:
        again = bool(keys.trace)
        traced = bool(keys.mirrored) or trace(
            tree, keys.trace or keys.tests or TRACED, state, again=again, minutes=keys.minutes
        )
        if again or not traced:
            raise SystemExit(None if traced else f"not all tests are traced yet: run again ({state / 'trace.log'})")
        places = {"files": keys.only} if keys.only else {name: PACKAGES[name] for name in keys.package or PACKAGES}
        files = files_of(root, [place for part in places.values() for place in part])
        chosen = sample(root, files, None if keys.all else keys.sample, keys.seed)
        trial = Trial(root, state, Mirror(root, keys.mirrored) if keys.mirrored else Cover(state), keys.budget, end)
        done = trial.done()
        trial.run(tree, [m for m in chosen if m.key not in done or (keys.again and done[m.key]["outcome"] in MISSED)])
        report(state, trial.done(), chosen, places, equivalents(root / keys.equivalent))
    finally:
        tree.remove()


if __name__ == "__main__":
    main()
