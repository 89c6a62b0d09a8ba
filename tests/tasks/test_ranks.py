"""Several ranks of one run: what is missing is shared out evenly and counted truly, however long a rank takes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from genaudit.cli import main
from genaudit.errors import DONE
from genaudit.tasks.run.environment import PATIENCE
from tests.conftest import free_port
from tests.forked import codes_of, ranks, start

PIXELS = ("feature_model=pixels", "feature_model.size=4", "progress=false", "metric=[fd]", "device=cpu")

PROGRAM = """
import datetime, sys
import torch.distributed as dist
from genaudit.store import store
from genaudit.tasks.run import environment as ranks
from genaudit.cli import end, main
fill, join = store.fill, ranks.Ranks.join.__func__
own = "own group" in sys.argv
def counted(images, lacking, *rest):
    (one,) = lacking
    print("share", len(one.images), flush=True)
    return fill(images, lacking, *rest)
def joined(cls):
    if own:  # a program that has joined already, with PyTorch's timeout
        dist.init_process_group("gloo", timeout=datetime.timedelta(minutes=30))
    found = join(cls)
    backend = found.group._get_backend(__import__("torch").device("cpu"))
    print("timeout", backend.options._timeout.total_seconds(), flush=True)
    return found
store.fill = counted
ranks.Ranks.join = classmethod(joined)
code = main([word for word in sys.argv[1:] if word != "own group"])
print("left", not dist.is_initialized(), flush=True)
if __name__ == "__main__":
    end(code)
"""


def _of_a_program(arguments: list[str]) -> int:
    sys.argv[1:] = arguments
    names: dict[str, Any] = {"__name__": "program"}
    exec(PROGRAM, names)
    return int(names["code"])


def _together(arguments: list[str], folder: Path) -> list[str]:
    """What each of two ranks of one command printed; a program of its own starts them."""
    files = [folder / f"rank {rank}.txt" for rank in range(2)]
    each = zip(files, ranks(free_port()), strict=True)
    started = [start(_of_a_program, arguments, environment=own, out=file) for file, own in each]
    assert codes_of(*started) == [DONE, DONE]
    return [file.read_text() for file in files]


def _by_torchrun(arguments: list[str], folder: Path) -> list[str]:
    """The same of torchrun, which writes what the ranks print into files."""
    (folder / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "--redirects=3"]
    command += [f"--log-dir={folder / 'ranks'}", str(folder / "program.py"), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == DONE, done.stderr
    return [path.read_text() for path in sorted((folder / "ranks").rglob("stdout.log"))]


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
@pytest.mark.parametrize("own", [False, True])
def test_two_ranks_share_what_is_missing_and_report_what_both_computed(
    own: bool, make_images: Callable[..., Path], tmp_path: Path
) -> None:
    generated = make_images("generated", 12, seed=1)
    known = tmp_path / "known"
    known.mkdir()
    for index in range(0, 12, 2):  # every other image: by place in the set one rank would have nothing to do
        shutil.copy(generated / f"{index:04}.png", known)
    reference = f"reference={make_images('reference', 8, seed=2)}"
    assert main(["evaluate", str(known), reference, *PIXELS, f"out={tmp_path / 'before'}"]) == DONE
    words = ["evaluate", str(generated), reference, *PIXELS, f"out={tmp_path / 'out'}", *(["own group"] if own else [])]
    texts = _together(words, tmp_path) if own else _by_torchrun(words, tmp_path)
    lines = [[line.split(" ", 1) for line in text.splitlines() if " " in line] for text in texts]
    printed = [{words[0]: words[1] for words in each} for each in lines]
    assert [each["share"] for each in printed] == ["3", "3"]
    assert all(float(each["timeout"]) == PATIENCE.total_seconds() for each in printed)
    assert [each["left"] for each in printed] == [str(not own)] * 2
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    (use,) = report["measures"].values()
    assert (use["computed"], use["reused"]) == (6, 14)
    words = [str(generated), reference, *PIXELS, f"out={tmp_path / 'alone'}", f"store={tmp_path / 'own'}"]
    assert main(["evaluate", *words]) == DONE
    assert report["metrics"] == json.loads((tmp_path / "alone" / "report.json").read_text())["metrics"]
