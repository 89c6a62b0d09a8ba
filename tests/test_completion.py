"""Completion offers words that the command line takes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from genaudit.cli import main
from genaudit.completion import BARE, SCRIPTS, VALUES, candidates
from genaudit.config_files import config_folder
from genaudit.errors import DONE, USER
from genaudit.tasks.run.keys import MEASURING, VERB_KEYS
from genaudit.verbs import VERBS


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("genaudit eva", ["evaluate"]),
        ("genaudit evaluate samples/ refer", ["reference="]),
        (
            "genaudit evaluate samples/ feature_model=efficientnet_lite",
            [f"feature_model=efficientnet_lite{i}" for i in "012"],
        ),
        (
            "genaudit evaluate metric=[as,f",
            [f"metric=[as,{each}" for each in ("fd", "fd_infinity", "fdr", "fkea", "flatness", "fld")],
        ),
        ("genaudit evaluate metric=[fd,fd", ["metric=[fd,fd_infinity", "metric=[fd,fdr"]),
        ("genaudit evaluate dataset@reference=fash", ["dataset@reference=fashion_mnist"]),
        ("genaudit gate run strict=", ["strict=true", "strict=false"]),
        ("genaudit list ", list(BARE["list"])),
        ("genaudit reject --pl", ["--plan"]),
        ("genaudit evaluate out=some", []),
        ("genaudit nothing ", []),
    ],
)
def test_what_a_word_may_become(line: str, expected: list[str]) -> None:
    assert candidates(line, config_folder()) == expected


def test_every_verb_is_offered_and_every_word_is_one_that_its_key_takes() -> None:
    assert candidates("genaudit ", config_folder())[: len(VERBS)] == list(VERBS)
    assert candidates("", config_folder())[: len(VERBS)] == list(VERBS)
    for verb in VERBS:
        checks = {**MEASURING, **VERB_KEYS[verb]}
        for key, words in VALUES.items():
            for word in words if key in checks else ():
                value = {"true": True, "false": False}.get(word, word)
                assert checks[key].accepts(value), (verb, key, word)


def test_bash_completes(tmp_path: Path) -> None:
    """Through bash's own splitting of words, which takes "=" for the end of one."""
    if shutil.which("bash") is None:
        pytest.skip("there is no bash here")
    program = tmp_path / "genaudit"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m genaudit "$@"\n')
    program.chmod(0o755)
    (tmp_path / "script").write_text(SCRIPTS["bash"])
    code = (
        'PATH="$1:$PATH"; . "$1/script"; COMP_LINE="$2"; COMP_POINT=${#2}; _genaudit; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    said = {}
    for line in ("genaudit evaluate samples/ feature_model=pix", "genaudit rep"):
        done = subprocess.run(
            ["bash", "-c", code, "x", str(tmp_path), line], capture_output=True, text=True, check=True
        )
        said[line] = done.stdout.split()
    assert list(said.values()) == [["pixels"], ["reproduce"]]


def test_scripts_versions_and_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    for shell in SCRIPTS:
        assert main(["--completion", shell]) == DONE
        assert "genaudit --complete" in capsys.readouterr().out
    assert main(["--completion", "csh"]) == USER
    assert "bash, zsh, fish" in capsys.readouterr().err
    assert main(["--version"]) == DONE
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("genaudit ")
    assert any(line.startswith("torch ") for line in shown)
    assert any(line.startswith("python 3.") for line in shown)
