"""Feeds spoilt inputs to genaudit's readers, and finds what ends otherwise than in a result or a UserError.

    python scripts/fuzz_inputs.py --seconds 600 [--seed 0] [--kind model ...] [--only 1234] [--keep findings]

Image files, archives, array files, lists, shards of the row store, model folders, reports, checkpoints and command
lines are spoilt at random (`fuzz_mutations`, `fuzz_targets`). Case N of a seed is the same on every run. A finding is

    an exception that is no UserError      a case that does not end (--patience seconds)
    a file written or removed outside the case's own folder
    code that ran: a canary that was imported, called or unpickled, a process that was started, a socket
    memory beyond --gigabytes

Cases run in a process of their own, which is replaced when it dies or hangs. The exit code is 0 where nothing was
found, 1 where something was; the inputs of findings stay under --keep.
"""

from __future__ import annotations

import argparse
import faulthandler
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
STARTS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "subprocess.Popen", "socket.connect")
# What Python's standard library itself asks the system for where a library is imported that wants to know its machine.
QUESTIONS = {"ctypes/util.py": ("ldconfig", "gcc", "cc", "ld", "objdump"), "platform.py": ("uname", "file")}
KINDS = ["image", "archive", "array", "list", "data", "shard", "model", "report", "checkpoint", "config"]
CHANGES = {"os.mkdir": 0, "os.rename": 1, "os.remove": 0, "os.rmdir": 0, "os.link": 1, "os.symlink": 1, "os.chmod": 0,
           "os.truncate": 0, "shutil.rmtree": 0}  # fmt: skip


class Watch:
    """Notes what Python does to the world outside a case's folder, by an audit hook."""

    def __init__(self) -> None:
        self.allowed: tuple[str, ...] | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.allowed is None:
            return
        if event in STARTS:
            if not _question(event, arguments):
                who = "".join(traceback.format_stack(sys._getframe(1))[-12:])
                self.seen.append(f"{event}{arguments[:2]} by\n{who}")
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES:
            self._write(event, arguments[0])
        elif event in CHANGES:
            self._write(event, arguments[CHANGES[event]])

    def _write(self, event: str, path: Any) -> None:
        if isinstance(path, int):
            return
        where = os.path.abspath(os.fsdecode(path))
        if event in ("os.mkdir", "open") and os.path.isdir(where):  # makedirs of what is there, files without a name
            return
        if not where.startswith(self.allowed or ()) and where != os.devnull:
            self.seen.append(f"{event} {where}")


def _question(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether the standard library asks the system what it is: a named program, started by a named module."""
    if event not in ("subprocess.Popen", "os.posix_spawn"):
        return False
    program = os.path.basename(os.fsdecode(arguments[0] or arguments[1][0]))
    frame = sys._getframe(2)
    while frame.f_back is not None:
        for module, programs in QUESTIONS.items():
            if frame.f_code.co_filename == os.path.join(os.path.dirname(os.__file__), module):
                return program in programs
        frame = frame.f_back
    return False


def serve(pipe: Any, seed: int, kinds: list[str], home: Path, gigabytes: float) -> None:
    """The process that runs cases: takes their numbers, sends back (outcome, what was found)."""
    import genaudit.tasks.check  # noqa: F401
    from genaudit.errors import UserError

    faulthandler.enable()
    warnings.simplefilter("ignore")
    canary = home / "canary"
    canary.mkdir(exist_ok=True)
    os.environ |= {"FUZZ_CANARY": str(canary), "HF_HUB_OFFLINE": "1", "GENAUDIT_STORE": str(home / "store")}
    os.environ |= {"TORCHINDUCTOR_CACHE_DIR": str(home / "cache"), "XDG_CACHE_HOME": str(home / "cache")}
    mark = f"import os\nos.mkdir({str(canary / 'ran')!r})\ndef run(*a, **k):\n    pass\n"
    (home / "fuzz_canary.py").write_text(mark)
    (home / "cache").mkdir(exist_ok=True)
    tempfile.tempdir = str(home / "cache")
    sys.path.insert(0, str(home))
    from fuzz_targets import TARGETS

    runs = {}
    for kind in kinds:
        (home / kind).mkdir(exist_ok=True)
        runs[kind] = TARGETS[kind](Path(tempfile.mkdtemp(dir=home / kind)))
    resource.setrlimit(resource.RLIMIT_AS, (int((gigabytes + 30) * 2**30),) * 2)
    os.chdir(home)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    watch = Watch()
    pipe.send("ready")
    while (number := pipe.recv()) is not None:
        rng = random.Random(f"{seed} {number}")
        kind = rng.choice(kinds)
        folder = home / "case"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        watch.seen, watch.allowed = [], (str(folder), str(home / "cache"), str(home / "store"), "/dev/shm")
        found, outcome = "", "result"
        try:
            runs[kind](rng, folder)
        except UserError:
            outcome = "refused"
        except BaseException:
            found = traceback.format_exc()
        finally:
            watch.allowed = None
        if watch.seen:
            found += f"outside its folder: {'; '.join(watch.seen[:5])}\n"
        if left := list(canary.iterdir()):
            found += f"a canary sang: {[path.name for path in left]}\n"
            for path in left:
                shutil.rmtree(path, ignore_errors=True)
        if (peak := resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20) > gigabytes:
            found += f"{peak:.1f} GB of memory\n"
        pipe.send((kind, "finding" if found else outcome, found))


class Server:
    """The process, started again where it is gone."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, *self.arguments), daemon=True)
        self.process.start()
        theirs.close()
        self.pipe.recv()

    def run(self, number: int, patience: float) -> tuple[str, str, str]:
        self.pipe.send(number)
        try:
            if self.pipe.poll(patience):
                answer: tuple[str, str, str] = self.pipe.recv()
                if "GB of memory" in answer[2]:  # the peak stays: begin with a small process again
                    self.stop()
                    self.start()
                return answer
            found = f"no end after {patience:g} s"
        except EOFError:
            self.process.join()
            found = f"the process died (exit code {self.process.exitcode})"
        self.stop()
        self.start()
        return "?", "finding", found

    def stop(self) -> None:
        self.process.kill()
        self.process.join()


def last_lines(found: str) -> str:
    """Where genaudit was, and what was raised."""
    lines = [line.strip() for line in found.strip().splitlines()]
    where = next((line for line in reversed(lines) if line.startswith("File") and "/genaudit/" in line), "")
    return f"{lines[-1][:300]}  {where}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", nargs="*", help="of inputs; all by default")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of cases")
    parser.add_argument("--patience", type=float, default=30)
    parser.add_argument("--gigabytes", type=float, default=4)
    parser.add_argument("--keep", type=Path, default=Path("fuzz_findings"))
    options = parser.parse_args()
    kinds = options.kind or KINDS
    counts: Counter[tuple[str, str]] = Counter()
    seen: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="fuzz") as text:
        home = Path(text)
        server = Server(options.seed, kinds, home, options.gigabytes)
        end = time.monotonic() + options.seconds
        numbers = iter(options.only) if options.only else iter(range(10**12))
        for number in numbers:
            if time.monotonic() > end:
                break
            kind, outcome, found = server.run(number, options.patience)
            counts[kind, outcome] += 1
            if found:
                what = last_lines(found)
                seen[what] += 1
                if seen[what] <= 3 or options.only:
                    kept = options.keep / f"{options.seed}-{number}"
                    shutil.copytree(home / "case", kept / "case", dirs_exist_ok=True, symlinks=True, ignore=_special)
                    (kept / "found.txt").write_text(found, errors="backslashreplace")
                    print(f"case {number} ({kind}): {what}", flush=True)
        server.stop()
    for kind in sorted({kind for kind, _ in counts}):
        parts = ", ".join(f"{counts[kind, each]:,} {each}s" for each in ("result", "refused", "finding"))
        print(f"{kind}: {parts}".replace("refuseds", "refused"))
    total = sum(seen.values())
    print(f"{sum(counts.values()):,} cases of seed {options.seed}: {total:,} findings, {len(seen)} different")
    return 1 if total else 0


def _special(folder: str, names: list[str]) -> list[str]:
    paths = {name: os.path.join(folder, name) for name in names}
    return [name for name, path in paths.items() if not (os.path.isdir(path) or os.path.isfile(path))]


if __name__ == "__main__":
    sys.exit(main())
