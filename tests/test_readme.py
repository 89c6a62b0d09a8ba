"""Every command of the README runs; only sizes are made small."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from genaudit.cli import main
from genaudit.errors import DONE, REJECTED, UNDECIDED

ROOT = Path(__file__).resolve().parent.parent
SHELL = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)
LINES = [line.partition("  #")[0].strip() for block in SHELL for line in block.splitlines() if line.strip()]
COMMANDS = sorted({line for line in LINES if line.startswith("genaudit ")})
# run by tests/tasks/test_evaluate.py, CI or the reader
ELSEWHERE = ("git clone", "cd ", "make ", "pip install", "torchrun ")


SHORT = {
    "likelihood=glow_laptop": ["likelihood.recipe.iterations=2", "likelihood.recipe.batch_size=4"],
    "piad=laptop": ["piad.recipe.iterations=2", "piad.recipe.batch_size=4"],
}


def test_the_readme_has_commands_and_none_that_nothing_runs() -> None:
    assert len(COMMANDS) > 8
    assert all(line.startswith(("genaudit ", *ELSEWHERE)) for line in LINES)


def test_make_knows_the_readmes_targets() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for line in LINES:
        if line.startswith("make "):
            assert f"make {line.split()[1]}" in shown


@pytest.fixture
def workplace(make_images: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folders that the README's commands speak of."""
    for seed, name in enumerate(("samples", "real", "train", "held_out")):
        make_images(name, 24, seed=seed)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_runs(command: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verb, *arguments = shlex.split(command)[1:]
    small = ["feature_model=pixels", "feature_model.size=8"]
    if verb in ("compare", "gate", "export"):
        for name in ("first", "second"):
            assert (
                main(["evaluate", "samples", "reference=real", "metric=[kd,prdc]", *small, f"out=runs/evaluate/{name}"])
                == 0
            )
    for folder, kind in (("runs/glow", "likelihood=glow_laptop"), ("runs/piad", "piad=laptop")):
        if f"_model={folder}" in command:
            assert main(["train", kind, "train=train", f"out={folder}", *SHORT[kind]]) == DONE
    if verb == "train":
        small = SHORT[arguments[0]]
    if (
        verb in ("compare", "gate", "export", "check", "list", "reproduce")
        or "--plan" in arguments
        or "_model=runs" in command
    ):
        small = []
    if verb == "demo":
        small += ["limit=60", "limit_reference=60", "limit_train=60", "sets=[vae,memorised]"]
    if "feature_model=timm" in command:
        small = ["feature_model.pretrained=false", "feature_model.size=32", "limit=8", "limit_reference=8"]
    if "feature_model.checkpoint" in command:
        _write_random_weights(workplace / "vit_s16.safetensors")
        small = ["limit=4", "limit_reference=4", "metric=[kd]"]
    if "--config-dir own" in command:
        _write_the_readmes_metric(workplace)
        for module in [name for name in sys.modules if name.split(".")[0] == "mypackage"]:  # of another page's example
            monkeypatch.delitem(sys.modules, module)
    if "step_*" in command:
        for step in (1, 2):
            (workplace / "runs" / "samples").mkdir(parents=True, exist_ok=True)
            (workplace / "runs" / "samples" / f"step_{step}").symlink_to(workplace / "samples")
    expected = (DONE, REJECTED, UNDECIDED) if verb == "reject" else (DONE,)
    if "require=" in command:
        expected = (DONE, REJECTED)
    assert main([verb, *arguments, *small]) in expected


def _write_random_weights(path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    network = timm.create_model("vit_small_patch16_224.augreg_in21k_ft_in1k", pretrained=False)
    save_file(network.state_dict(), path)


def _write_the_readmes_metric(workplace: Path) -> None:
    """The metric exactly as the README prints it."""
    text = (ROOT / "README.md").read_text()
    for language, where in (("python", "mypackage/spread.py"), ("yaml", "own/metric/spread.yaml")):
        (block,) = re.findall(rf"^```{language}\n# {re.escape(where)}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
        path = workplace / where
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block)
    (workplace / "mypackage" / "__init__.py").touch()


def test_the_readmes_python_runs(workplace: Path) -> None:
    (block,) = (
        block
        for block in re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
        if "genaudit.evaluate(" in block
    )
    program = block.replace('metrics=["irs", "fd"])', 'metrics=["irs", "fd"], feature_model="pixels")')
    assert program != block
    names: dict[str, object] = {"np": np}
    exec(program, names)
    assert (workplace / "runs" / "mine" / "report.html").exists()
