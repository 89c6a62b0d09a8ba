"""Makes small wrong edits, one at a time, and counts those that the tests catch: the mutation score.

    python scripts/mutate.py --seed 0 --sample 100                  # 100 edits of each package
    python scripts/mutate.py --package stats --sample 300           # one package, more of them
    python scripts/mutate.py --again                                # the survivors once more, after new tests
    python scripts/mutate.py --only genaudit/metrics/swd.py --all   # every edit of one file

Needs `pip install genaudit-images[mutation]` (coverage). First every test runs once, traced, to learn its lines
(some minutes; kept in --state until `--trace TESTS` traces some again); then each edit is tried against the tests that
run its line: the mirrored test file first, then others, the quickest first, up to --budget seconds of each. An edit is
caught where a test fails or does not end. Edits are sampled by a hash of seed and text, so that the sample stays while
the code around it changes, and a run that was stopped resumes. `mutants_equivalent.json` lists edits that change
nothing anybody can see, with the reason; they are left out of the score. Writes score.json and survivors.json.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import itertools
import json
import math
import os
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from mutants import Mutant, mutants
from mutation_loop import run_loop
from mutation_tests import Tree, in_child, preload, trace, try_tests

PACKAGES = {
    "metrics": ["genaudit/metrics"],
    "measures": ["genaudit/measures"],
    "stats": ["genaudit/stats"],
    "run": ["genaudit/tasks/run/judging.py", "genaudit/tasks/run/measuring.py"],
    "gate": ["genaudit/tasks/gate"],
}
TRACED = ("tests/stats", "tests/metrics", "tests/measures", "tests/tasks/gate", "tests/tasks/run",
          "tests/tasks/test_evaluate.py", "tests/tasks/test_reject.py", "tests/tasks/test_counting.py")  # fmt: skip
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
        for path in sorted(folder.glob("trace-*.json")):
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


class Trial:
    """Tries edits, quickly where that goes, and keeps a journal of what the tests said."""

    def __init__(self, root: Path, state: Path, budget: float, minutes: float) -> None:
        self.root, self.state, self.cover, self.budget = root, state, Cover(state), budget
        self.began = time.monotonic()
        self.end = self.began + 60 * minutes
        self.log, self.journal = state / "child.log", state / "results.jsonl"
        self.journal.touch()

    def done(self) -> dict[str, dict[str, Any]]:
        """The last outcome of every edit that was ever tried, by its key."""
        return {result["key"]: result for result in map(json.loads, self.journal.read_text().splitlines())}

    def run(self, tree: Tree, todo: list[Mutant]) -> None:
        """All of them: those inside functions in one session, the others in a session each."""
        edits = [self._edit(mutant) for mutant in todo]
        files = sorted({test.split("::")[0] for edit in edits for stage in edit[3] for test in stage})
        before = len(self.journal.read_text().splitlines())
        if files:
            in_child(lambda _: run_loop(tree, edits, self._note, self.log, files), self.state / "loop.log")
        tried = {json.loads(line)["key"] for line in self.journal.read_text().splitlines()[before:]}
        for mutant, _, edited, stages, cpu_seconds in edits:
            if mutant.key in tried or time.monotonic() > self.end:
                continue
            outcome, test = "uncovered", ""
            with tree.edited(mutant.file, edited):
                for tests in stages:
                    outcome, test = try_tests(tree, tests, self.log, cpu_seconds)
                    if outcome != "survived":
                        break
            self._note(mutant, outcome, test)

    def _edit(self, mutant: Mutant) -> tuple[Mutant, str, str, list[list[str]], int]:
        source = (self.root / mutant.file).read_text(encoding="utf-8")
        stages = self.cover.tests(mutant, self.budget)
        usual = sum(self.cover.seconds.get(test, 0.0) for stage in stages for test in stage)
        return mutant, source, mutant.apply(source), stages, math.ceil(20 + 3 * usual)

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
    without = [each for each in listed if not each["reason"]]
    if without:
        raise SystemExit(f"{path}: {without[0]} has no reason")
    return {(each["file"], each["function"], each["before"], each["after"]) for each in listed}


def _name(result: dict[str, Any]) -> Name:
    return result["file"], result["function"], result["before"], result["after"]


def score(results: list[dict[str, Any]], same: set[Name]) -> dict[str, Any]:
    """Counts and score; edits that are equivalent and survive are left out, what no test runs counts as missed."""
    counted = [each for each in results if each["outcome"] not in MISSED or _name(each) not in same]
    counts = Counter(each["outcome"] for each in counted)
    caught = counts["killed"] + counts["timeout"]
    return {
        "mutants": len(results),
        "equivalent": len(results) - len(counted),
        **{name: counts[name] for name in ("killed", "timeout", *MISSED)},
        "score": caught / len(counted) if counted else None,
    }


def report(state: Path, done: dict[str, Any], samples: dict[str, list[Mutant]], seed: int, same: set[Name]) -> None:
    """Prints the score of each package and writes score.json and survivors.json."""
    tried = {package: [done[m.key] for m in chosen if m.key in done] for package, chosen in samples.items()}
    table = {package: score(results, same) for package, results in tried.items()}
    left = [r for results in tried.values() for r in results if r["outcome"] in MISSED and _name(r) not in same]
    for package, each in table.items():
        print(package, json.dumps(each))
    (state / "score.json").write_text(json.dumps({"seed": seed, "packages": table}, indent=1) + "\n")
    (state / "survivors.json").write_text(json.dumps(left, indent=1) + "\n")


def _keys() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sample", type=int, default=100, help="edits of each package")
    parser.add_argument("--all", action="store_true", help="every edit")
    parser.add_argument("--package", choices=PACKAGES, action="append", help="default: all of them")
    parser.add_argument("--only", action="append", help="these files in place of packages")
    parser.add_argument("--again", action="store_true", help="try survivors again")
    parser.add_argument("--tests", action="append", help="which tests to trace; default: those of the packages")
    parser.add_argument("--trace", metavar="TESTS", action="append", help="trace these tests again and stop there")
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
    os.nice(10)
    os.environ["OMP_NUM_THREADS"] = "1"
    preload(root)
    tree = Tree(root, state / f"tree-{os.getpid()}")
    try:
        for place in keys.trace or keys.tests or TRACED:
            trace(tree, place, state / f"trace-{place.replace('/', '-')}.json", again=bool(keys.trace))
        if keys.trace:
            return
        groups = {"files": keys.only} if keys.only else {name: PACKAGES[name] for name in keys.package or PACKAGES}
        count = None if keys.all else keys.sample
        samples = {name: sample(root, files_of(root, places), count, keys.seed) for name, places in groups.items()}
        trial = Trial(root, state, keys.budget, keys.minutes)
        done = trial.done()
        wanted = [mutant for chosen in samples.values() for mutant in chosen]
        trial.run(tree, [m for m in wanted if m.key not in done or (keys.again and done[m.key]["outcome"] in MISSED)])
        report(state, trial.done(), samples, keys.seed, equivalents(root / keys.equivalent))
    finally:
        tree.remove()


if __name__ == "__main__":
    main()
