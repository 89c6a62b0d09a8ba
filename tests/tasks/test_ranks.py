"""Several ranks of one run: what is missing is shared out evenly and counted truly, however long a rank takes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from genaudit.cli import main
from genaudit.errors import DONE
from genaudit.tasks.run.environment import PATIENCE
from tests.conftest import free_port

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
end(code)
"""


def _together(arguments: list[str]) -> list[str]:
    """What each of two ranks of one command printed; a program of its own starts them."""
    meet = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            env={**os.environ, **meet, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    printed = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [DONE, DONE]
    return printed


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
    texts = _together(words) if own else _by_torchrun(words, tmp_path)
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
