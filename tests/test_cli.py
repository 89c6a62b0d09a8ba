"""The command line as a user meets it: exit codes and sentences."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from genaudit import composing
from genaudit.cli import hydra_arguments, main
from genaudit.config_files import config_folder
from genaudit.errors import DEFECT, DONE, REJECTED, USER
from genaudit.likelihood import saved
from genaudit.likelihood.glow import Glow
from genaudit.verbs import VERBS


def test_help_and_version_explain_without_importing_torch() -> None:
    program = (
        "import sys; from genaudit.cli import main; codes = [main([]), main(['--help']), main(['--version']),"
        " main(['evaluate', '--help']), *(main(['list', each]) for each in ('tables', 'feature_models', 'metrics'))];"
        " assert codes == [0] * 7; assert not {'torch', 'scipy.special', 'scipy.stats'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "genaudit evaluate" in done.stdout


@pytest.mark.parametrize(("ranks", "code"), [("1", -signal.SIGABRT), ("2", REJECTED)])
def test_a_rank_ends_with_the_verbs_code_whatever_its_libraries_do_at_the_end(ranks: str, code: int) -> None:
    """The threads of gloo may abort an interpreter that shuts down; here an object stands for them."""
    program = (
        "import atexit, os, sys; from genaudit.cli import end\n"
        "class Aborts:\n"
        "    def __del__(self): os.abort()\n"
        "sys.modules['torch'] = Aborts()\n"
        f"atexit.register(print, 'registered'); print('written'); end({REJECTED})"
    )
    environment = {**os.environ, "WORLD_SIZE": ranks}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.returncode == code
    assert done.stdout.split() == ["written", "registered"]


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_explains_itself_and_shows_its_configuration(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == DONE
    assert f"genaudit {verb}" in capsys.readouterr().out
    assert main([verb, "--cfg", "job"]) == DONE
    assert "seed: 0" in capsys.readouterr().out


def test_the_module_is_the_same_program() -> None:
    done = subprocess.run([sys.executable, "-m", "genaudit", "--version"], capture_output=True, text=True)
    assert done.returncode == DONE
    assert done.stdout.startswith("genaudit ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evalute"], ["evalute", "did you mean evaluate"]),
        (["evaluate", "x", "refrence=y"], ["unknown key 'refrence'", "reference"]),
        (["evaluate", "x", "metric.fd.fn.foo=3"], ["unknown key 'metric.fd.fn.foo'"]),
        (["evaluate", "x", "metric=[fdd]"], ["unknown metric 'fdd'", "fd"]),
        (["evaluate", "x", "metric=0"], ["the arguments make no configuration"]),
        (["evaluate", "x", "feature_model=1.5"], ["the arguments make no configuration"]),
        (["evaluate", "x", "metric={a:1}"], ["metric"]),
        (["evaluate", "x", "feature_model=resnet51"], ["unknown feature_model 'resnet51'", "resnet50"]),
        (["evaluate", "x", "dataset@reference=cifar11"], ["unknown dataset 'cifar11'", "cifar10"]),
        (["evaluate", "x", "y"], ["unexpected argument 'y'"]),
        (["evaluate"], ["generated"]),
        (["evaluate", "/does/not/exist"], ["generated", "/does/not/exist"]),
        (["evaluate", "x", "precision=float8"], ["precision must be", "bfloat16", "got float8"]),
        (["evaluate", "x", "device=gpu"], ["device must be", "cuda", "got gpu"]),
        (["evaluate", "x", "seed=${seed}"], ["the configuration cannot be resolved"]),
        (["evaluate", "x", "limit=${nothing.there}"], ["the configuration cannot be resolved", "nothing"]),
        (["evaluate", "x", "batch_size=99999999999"], ["batch_size must be auto or an integer from 1 to 65536"]),
        (["evaluate", "x", "batch_size=0"], ["batch_size must be auto or an integer from 1 to 65536, got 0"]),
        (["evaluate", "x", "confidence=95"], ["confidence must be a number from 0.001 to 0.999999, got 95"]),
        (["evaluate", "x", "limit=0"], ["limit must be a positive integer or null, got 0"]),
        (["evaluate", "x", "seed=a"], ["seed must be an integer from 0 to 2147483647, got a"]),
        (["compare", "only-one"], ["two runs"]),
        (["compare", "a", "b"], ["a"]),
        (["check"], ["path"]),
        (["check", "/does/not/exist"], ["/does/not/exist"]),
        (["list", "metric"], ["did you mean metrics"]),
        (["demo", "sets=[nonesuch]"], ["nonesuch", "vae"]),
    ],
)
def test_what_the_user_got_wrong_is_one_sentence_and_exit_code_2(
    arguments: list[str],
    words: list[str],
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == USER
    message = capfd.readouterr().err
    assert "Traceback" not in message
    for word in words:
        assert word in message
    assert not (tmp_path / "runs").exists()


def test_missing_weights_name_the_model_where_was_looked_and_what_to_do(
    make_images: Callable[..., Path], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = make_images("samples", 2)
    assert main(["evaluate", str(folder), "feature_model=dinov2_s14", "offline=true", "metric=[vendi]"]) == USER
    message = capfd.readouterr().err
    for word in ("vit_small_patch14_dinov2", "offline=true", str(tmp_path / "torch"), "feature_model.checkpoint=FILE"):
        assert word in message


def test_a_run_whose_rows_are_all_stored_does_not_import_torch(
    make_images: Callable[..., Path], tmp_path: Path
) -> None:
    """Importing it takes longer than all else that such a run does."""
    sets = [make_images(name, 12, seed=seed, size=8) for seed, name in enumerate(("samples", "real", "train"))]
    metrics = "[as_i,irs,fd,prdc,authpct,rarity,realism,mifid,cdc,fld,llr]"
    knobs = {"channels": 3, "size": 8, "scales": 2, "steps": 1, "hidden": 4}
    glow = Glow(**knobs)
    glow.initialise(torch.rand(16, 3, 8, 8) - 0.5)
    density = saved.save(glow, tmp_path / "glow", {"_target_": "genaudit.likelihood.glow.Glow", **knobs})
    code = (
        "import sys; from genaudit.cli import main; codes = [main(sys.argv[1:])]; print('torch' in sys.modules, codes)"
    )
    roles = [str(sets[0]), f"reference={sets[1]}", f"train={sets[2]}"]
    command = ["evaluate", *roles, f"metric={metrics}", "device=cpu"]
    keys = [
        *("feature_model=pixels", "feature_model.size=6", "skip=true", f"density_model={density}"),
        f"store={tmp_path / 'store'}",
        f"out={tmp_path / 'out'}",
        "progress=false",
    ]
    assert main([*command, *keys]) == DONE
    again = [sys.executable, "-c", code, *command, *keys]
    said = subprocess.run(again, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[-1] == "False [0]"
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["environment"]["threads"] is None
    assert set(report["metrics"]) >= {
        "as_i",
        "irs",
        "fd",
        "prdc",
        "authpct",
        "rarity",
        "realism",
        "mifid",
        "fld",
        "llr",
    }


def test_a_defect_keeps_its_traceback_in_the_run_folder(
    make_images: Callable[..., Path],
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("genaudit.tasks.evaluate.open_roles", lambda *_: 1 / 0)
    out = tmp_path / "out"
    assert main(["evaluate", str(make_images("samples", 2)), *tiny, "metric=[vendi]", f"out={out}"]) == DEFECT
    assert "ZeroDivisionError" in (out / "traceback.txt").read_text()
    assert "Traceback" not in capfd.readouterr().err


def test_paths_may_hold_anything(tmp_path: Path) -> None:
    odd = tmp_path / "lr=0.1, (run 'a')"
    odd.mkdir()
    assert hydra_arguments("evaluate", [str(odd), "reference=a b (c)"]) == [
        "generated='" + str(odd).replace("'", "\\'") + "'",
        "reference='a b (c)'",
    ]
    assert hydra_arguments("evaluate", ["x", "train=[a,b]", "train=null"]) == [
        "generated='x'",
        "train=[a,b]",
        "train=null",
    ]
    assert hydra_arguments("evaluate", ["--multirun", "x", "reference=a,b"]) == [
        "--multirun",
        "generated='x'",
        "reference=a,b",
    ]


def test_a_run_in_a_folder_with_an_odd_name_works(
    make_images: Callable[..., Path], tiny: list[str], tmp_path: Path
) -> None:
    folder = make_images("lr=0.1, (run 'a') ü", 4)
    out = tmp_path / "out dir"
    assert main(["evaluate", str(folder), *tiny, "metric=[vendi]", f"out={out}"]) == DONE
    assert (out / "report.html").exists()


@pytest.mark.parametrize("name", ["'", '"', "'\"", "''x"])
def test_a_folder_named_by_quotes_is_a_folder(
    name: str, make_images: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = make_images("gen", 2)
    folder.rename(folder.with_name(name))
    monkeypatch.chdir(folder.parent)
    assert main(["check", name]) == DONE
    assert "2 images would be used" in capfd.readouterr().out


def test_check_names_what_would_be_skipped(make_images: Callable[..., Path], capfd: pytest.CaptureFixture[str]) -> None:
    folder = make_images("samples", 3)
    (folder / "broken.png").write_bytes(b"not an image")
    (folder / "notes.md").write_text("hello")
    assert main(["check", str(folder)]) == DONE
    shown = capfd.readouterr().out
    assert "3 images would be used, 1 skipped" in shown
    assert "broken.png" in shown
    assert "20x20 (3)" in shown
    assert ".md" in shown


@pytest.mark.parametrize(
    ("what", "word"), [("metrics", "irs_inf"), ("feature_models", "efficientnet_lite0"), ("datasets", "cifar10")]
)
def test_list_shows_what_there_is(what: str, word: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["list", what]) == DONE
    assert word in capfd.readouterr().out


def test_an_own_yaml_that_is_none_is_the_users_to_mend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "metric").mkdir()
    for text in ("mine: [", "a: b: c", "\x00", "mine: {_target_: x"):
        (tmp_path / "metric" / "mine.yaml").write_text(text)
        assert main(["evaluate", "x", "metric=[mine]", "--config-dir", str(tmp_path)]) == USER
        assert "Traceback" not in capsys.readouterr().err
    (tmp_path / "metric" / "mine.yaml").write_bytes(b"mine: \xff")
    assert main(["evaluate", "x", "metric=[mine]", "--config-dir", str(tmp_path)]) == USER
    assert "mine.yaml is not UTF-8 text" in capsys.readouterr().err


def test_a_plain_command_has_the_configuration_that_hydra_shows_and_leaves_hydra_as_it_was(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    words = ["table=irs_fig6", "seed=3"]
    assert main(["reproduce", *words, "--cfg", "all"]) == DONE
    shown = OmegaConf.create(capsys.readouterr().out)
    before = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    with composing.job(config_folder(), "reproduce", words) as cfg:
        known = HydraConfig.get()
        assert OmegaConf.to_container(cfg) == OmegaConf.to_container(OmegaConf.masked_copy(shown, list(cfg)))
        for key in ("overrides", "sweep", "job_logging"):
            assert OmegaConf.to_container(known[key]) == OmegaConf.to_container(shown.hydra[key]), key
        assert known.runtime.choices == shown.hydra.runtime.choices
        assert known.runtime.output_dir == os.getcwd()
        assert known.mode.name == "RUN"
    assert GlobalHydra.instance().hydra is before[0]
    assert HydraConfig.instance().cfg is before[1]


def test_a_command_composes_its_configuration_once_and_hydras_own_keys_are_still_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    composed: list[str] = []
    outputs: list[str] = []
    load = ConfigLoaderImpl.load_configuration

    def counted(self: ConfigLoaderImpl, *arguments: object, **named: object) -> object:
        composed.append("once")
        return load(self, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", counted)
    (tmp_path / "own").mkdir()
    for words, once, jobs in (
        ([], True, 1),
        (["hydra.mode=MULTIRUN", "seed=1,2", f"hydra.sweep.dir={tmp_path}"], False, 2),
        (["--config-dir", str(tmp_path / "own")], False, 1),  # its YAML may set the mode
        ([], True, 1),
    ):
        composed.clear()
        assert main(["list", "datasets", *words]) == DONE
        assert (len(composed) == 1) == once, words
        outputs.append(capsys.readouterr().out)
        assert outputs[-1].count(outputs[0]) == jobs
