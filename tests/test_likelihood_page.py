"""Every command of docs/likelihood.md runs, at toy size."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from genaudit.cli import main
from genaudit.errors import DONE

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "likelihood.md").read_text()
LINES = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL) for line in block.splitlines()]
TRAINING = ["likelihood.recipe.iterations=2", "likelihood.recipe.batch_size=4", "samples=0"]
ELSEWHERE = ("genaudit reproduce", "torchrun ")  # tests of the tables, tests/test_sharing.py


@pytest.fixture
def workplace(make_images: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folders that the page's commands speak of."""
    for seed, name in enumerate(("samples", "held_out", "other", "images", "general")):
        make_images(name, 12, seed=seed, size=28)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_pages_commands_run_in_their_order(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [line for line in LINES if not line.startswith(ELSEWHERE)]
    assert len(commands) >= 6
    for command in commands:
        verb, *arguments = shlex.split(command)[1:]
        if verb == "train":
            arguments = [each for each in arguments if ".iterations=" not in each] + TRAINING
        if verb == "demo":
            arguments += ["limit=30", "limit_reference=30", "limit_train=30", "sets=[vae]"]
        assert main([verb, *arguments]) == DONE, command
    assert "auroc_ratio" in capsys.readouterr().out


def test_the_pages_python_writes_what_training_reads(workplace: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    exec(block.replace("30_000", "20"), {})
    assert main(["train", "likelihood=glow_laptop", "train=general.npy", "out=runs/npy", *TRAINING]) == DONE
