"""The parity page: genaudit beside installed peers on the same rows and on the same images and weights, offline.

    python scripts/parity.py                      # all, into docs/parity.md and docs/parity.json
    python scripts/parity.py --images 0           # statistics of equal features only
    python scripts/parity.py --rows 4000 --images 1000

Both sides of a comparison run in a process of their own, one after the other; seconds and memory are those of the call,
without imports and without the inputs: peak resident memory less what was resident before it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import peers
import peers_whole
from parity_page import page
from peer_defects import DEFECTS

ROOT = Path(__file__).resolve().parent.parent
TABLES = {"rows": peers.COMPARISONS, "whole": peers_whole.WHOLE}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1500, help="rows of each role")
    parser.add_argument("--dimensions", type=int, default=512)
    parser.add_argument("--images", type=int, default=200, help="images of each role; 0 leaves the network out")
    parser.add_argument("--size", type=int, default=128, help="their side in pixels")
    parser.add_argument("--folder", default="", help="where images and weights are kept; default: a temporary folder")
    parser.add_argument("--out", default=str(ROOT / "docs" / "parity.md"))
    parser.add_argument("--note", default="", help="a sentence for the page, such as what else the machine was doing")
    parser.add_argument("--side", nargs=3, metavar=("TABLE", "INDEX", "SIDE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(measure(arguments)))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        arguments.folder = arguments.folder or temporary
        if arguments.images:
            peers_whole.prepare(Path(arguments.folder), arguments.images, arguments.size)
        entries = [
            compare(arguments, table, index)
            for table, comparisons in TABLES.items()
            for index in range(len(comparisons))
            if table == "rows" or arguments.images
        ]
    defects = [{"shown": (example.__doc__ or "").strip(), **vars(example())} for example in DEFECTS]
    document = {
        "note": arguments.note,
        "rows": arguments.rows,
        "dimensions": arguments.dimensions,
        "images": arguments.images,
        "size": arguments.size,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {threads()} threads",
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
        "scipy": metadata.version("scipy"),
        "comparisons": entries,
        "defects": defects,
    }
    out = Path(arguments.out)
    out.write_text(page(document))
    out.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
    apart = [entry for entry in entries if not entry["within"]]
    print(f"{len(entries)} comparisons, {len(apart)} beyond what is allowed: {out}")
    return 1 if apart else 0


def threads() -> int:
    import torch

    return int(torch.get_num_threads())


# ------------------------------------------------------------------ one side in a process of its own


def compare(arguments: argparse.Namespace, table: str, index: int) -> dict[str, Any]:
    """Both sides of a comparison, measured."""
    comparison = TABLES[table][index]
    print(f"{comparison.metric}: {comparison.peer} ...", flush=True)
    sides = {side: in_a_process(arguments, table, index, side) for side in ("theirs", "ours")}
    numbers = {
        name: {
            "theirs": value,
            "ours": sides["ours"]["values"][name],
            "difference": peers.relative_difference(value, sides["ours"]["values"][name]),
            **allowed(comparison, name, sides["ours"]["values"]),
        }
        for name, value in sides["theirs"]["values"].items()
    }
    return {
        "table": table,
        "metric": comparison.metric,
        "peer": comparison.peer,
        "version": comparison.version,
        "values": numbers,
        "knows": comparison.knows,
        "within": all(each["difference"] <= each["allowed"] for each in numbers.values()),
        **{f"{what}_{side}": sides[side][what] for side in sides for what in ("seconds", "mebibytes")},
    }


def allowed(comparison: peers.Comparison, name: str, ours: dict[str, float]) -> dict[str, Any]:
    """The relative difference that a value may have, and why."""
    if name == "kd" and comparison.network:
        share = peers_whole.FLOAT32_KERNELS * ours[peers_whole.MEANS] / abs(ours[name])
        return {"allowed": comparison.allowed + share, "why": peers_whole.CANCELS}
    return {"allowed": comparison.allowed, "why": comparison.why}


def in_a_process(arguments: argparse.Namespace, table: str, index: int, side: str) -> dict[str, Any]:
    keys = ("rows", "dimensions", "images", "size", "folder")
    given = [word for key in keys for word in (f"--{key}", str(getattr(arguments, key)))]
    command = [sys.executable, "-W", "ignore", __file__, *given, "--side", table, str(index), side]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Runs one side; small rows first, so that imports are not counted."""
    table, index, side = arguments.side
    comparison = TABLES[table][int(index)]
    run = getattr(comparison, side)
    given: Any
    if table == "rows":
        run(peers.Rows.draw(12, 8))
        given = peers.Rows.draw(arguments.rows, arguments.dimensions)
    else:
        for module in (
            "genaudit.tasks.evaluate",
            "torch",
            "torch_fidelity",
            "torchmetrics.image",
            "pytorch_fid",
            "cleanfid.fid",
        ):
            importlib.import_module(module)
        given = peers_whole.Pictures(Path(arguments.folder))
        if comparison.peer == "clean-fid" and side == "theirs":
            peers_whole.clean_fid_network(given)
    with Peak() as peak:
        started = time.perf_counter()
        values = run(given)
        seconds = time.perf_counter() - started
    return {"values": values, "seconds": seconds, "mebibytes": peak.mebibytes}


class Peak:
    """The most resident memory while it is open, above what was resident before, sampled every 5 ms."""

    mebibytes = 0.0

    def __enter__(self) -> Peak:
        self._done = threading.Event()
        self._before = resident()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self._look()

    def _look(self) -> None:
        self.mebibytes = max(self.mebibytes, resident() - self._before)

    def __exit__(self, *exc_info: Any) -> None:
        self._look()
        self._done.set()
        self._thread.join()


def resident() -> float:
    """Resident memory of this process in MiB (Linux)."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    sys.exit(main())
