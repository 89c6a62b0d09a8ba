"""The command line: `genaudit VERB [SAMPLES] [key=value ...]`.

Each verb is one Hydra primary config in `configs/` and one module of `genaudit.tasks`. This module turns arguments
into Hydra's, runs the verb and turns what was raised into exit codes (`genaudit.errors`). It imports nothing heavy:
torch is loaded by the tasks that need it.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import difflib
import importlib
import json
import os
import platform
import shlex
import sys
import tempfile
import traceback
import warnings
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from genaudit import __version__, completion, interrupts, output
from genaudit.config_files import CONFIG_DIR, config_folder, importable
from genaudit.errors import DEFECT, DONE, INTERRUPTED, USER, UserError, environment_fault, one_line
from genaudit.hydra_words import escaped as hydra_escaped
from genaudit.hydra_words import is_override, literal, override_of, own_folders
from genaudit.network_words import with_networks
from genaudit.output import told
from genaudit.verbs import OVERVIEW, VERBS

if TYPE_CHECKING:
    from omegaconf import DictConfig

# Hydra's switches that are followed by a value; every other word without "=" is a path.
SWITCHES_WITH_VALUE = {
    "--cfg", "-c", "--package", "-p", "--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp",
    "--experimental-rerun",
}  # fmt: skip
PACKAGES = ("torch", "torchvision", "timm", "numpy", "scipy", "scikit-learn", "pillow", "hydra-core", "omegaconf")
INFO_TOPICS = {"all", "config", "defaults", "defaults-tree", "plugins", "searchpath"}

_said: list[str] = []  # what went wrong, for --json
# Verbs whose run folder keeps a log of what was said; of those that resume a run, or judge a finished one, it goes on.
LOGGED = {"evaluate": "w", "reject": "w", "demo": "w", "train": "a", "gate": "a", "reproduce": "a"}

INTERRUPTION = "genaudit: interrupted; what was measured or trained is kept, and the same command resumes"


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code, which is the verb's own whatever becomes of the output."""
    argv = list(sys.argv[1:] if argv is None else argv)
    as_json, quiet = ("--json" in argv), bool({"--json", "--quiet", "-q"} & set(argv))
    argv = [word for word in argv if word not in ("--json", "--quiet", "-q")]
    before, told.quiet, told.results = (told.quiet, told.results), quiet, []
    told.command = shlex.join(["genaudit", *argv])
    with output.forgiving(muted=quiet) as stdout:
        try:
            code = _code(argv)
            if as_json:
                for facts in told.results or [{"error": _said[-1]} if _said else {}]:
                    stdout.write(json.dumps({**facts, "exit_code": facts.get("exit_code", code)}) + "\n")
            return code
        finally:
            told.end_log()
            told.quiet, told.results = before


def _code(argv: list[str]) -> int:
    _said.clear()
    try:
        with interrupts.handled():
            return _main(argv)
    except UserError as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        beside = "\n" if sys.stderr.isatty() else ""  # a terminal has written ^C there
        print(f"{beside}{INTERRUPTION}", file=sys.stderr)
        told.log(f"{INTERRUPTION}\n")
        return INTERRUPTED
    except Exception as error:
        return _failed(error)


def run() -> None:
    """The program `genaudit`: ends the process with the exit code of `main`."""
    end(main())


def end(code: int) -> NoReturn:
    """Ends the process with the code, whatever libraries still run.

    The threads of PyTorch's gloo may outlive their process group, and abort an interpreter that shuts down: one of
    several ranks ends without that, after everything that was registered for the end.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1" and "torch" in sys.modules:
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def _main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(OVERVIEW, end="")
        return DONE
    if argv[0] == "--version":
        print("\n".join(_versions()))
        return DONE
    if argv[0] == "--completion":
        print(completion.script(argv[1] if len(argv) > 1 else ""), end="")
        return DONE
    if argv[0] == "--complete":
        print("\n".join(completion.candidates(" ".join(argv[1:]), config_folder())))
        return DONE
    verb, rest = argv[0], argv[1:]
    if verb not in VERBS:
        close = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(VERBS)}"
        return _complain(f"there is no verb {verb!r}{hint}")
    if "-h" in rest or "--help" in rest:
        print(VERBS[verb].help, end="")
        return DONE
    # timm and torch announce their own future changes on import: nothing that a user of genaudit can act on
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    _look_around()
    return _run(verb, hydra_arguments(verb, rest))


def _versions() -> list[str]:
    """genaudit's version and those of what its numbers depend on; nothing is imported for it."""
    lines = [f"genaudit {__version__}", f"python {platform.python_version()} on {platform.platform()}"]
    for package in PACKAGES:
        try:
            lines.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{package} is not installed")
    return lines


def _look_around() -> None:
    """Hydra asks for the working folder before anything of ours runs."""
    try:
        os.getcwd()
    except OSError as error:
        raise UserError(environment_fault(error)) from error


def hydra_arguments(verb: str, arguments: list[str]) -> list[str]:
    """Turns bare arguments into the verb's key and quotes paths for Hydra's grammar; a sweep's jobs get own folders.

    Raises:
        UserError: more bare arguments than the verb takes.
    """
    bare: list[str] = []
    overrides: list[str] = []
    switches: list[str] = []
    words = iter(arguments)
    configs = config_folder()
    own_configs = any(word.startswith(CONFIG_DIR) for word in arguments)
    for word in words:
        if word in SWITCHES_WITH_VALUE:
            switches += [word, next(words, "")]
        elif word in ("--info", "-i") or (switches[-1:] in (["--info"], ["-i"]) and word in INFO_TOPICS):
            switches.append(word)
        elif word in VERBS[verb].flags:
            overrides.append(f"{word.lstrip('-')}=true")
        elif word.startswith("-") and word != "-":
            switches.append(word)
        elif is_override(word, configs, verb, own_configs=own_configs):
            overrides.append(word)
        else:
            bare.append(word)
    _refuse_empty(bare, overrides, verb)
    sweeping = bool({"--multirun", "-m"} & set(switches))
    pairs = [override.partition("=") for override in overrides]
    overrides = [override_of(key, value, configs, verb, sweeping=sweeping) for key, _, value in pairs]
    overrides = with_networks(own_folders(overrides) if sweeping else overrides, verb)
    return [*switches, *_bare_arguments(verb, bare), *overrides]


def _refuse_empty(bare: list[str], overrides: list[str], verb: str) -> None:
    """An unset shell variable: the empty path would be the current folder with all below it.

    Raises:
        UserError: names the key.
    """
    values = [(VERBS[verb].bare_key or "argument", word) for word in bare]
    values += [(key, value) for key, _, value in (override.partition("=") for override in overrides)]
    for key, value in values:
        bare_value = value.strip()
        if bare_value[:1] == bare_value[-1:] and bare_value[:1] in ("'", '"') and len(bare_value) > 1:
            bare_value = bare_value[1:-1].strip()  # quotes that the shell left; one alone is a name
        if not bare_value and not key.startswith("hydra"):
            raise UserError(
                f"{key}= is empty and needs a value (is a shell variable not set?); omit it for its default"
            )


def _bare_arguments(verb: str, bare: list[str]) -> list[str]:
    key, many = VERBS[verb].bare_key, VERBS[verb].bare_many
    if not bare:
        return []
    second = VERBS[verb].second_key
    if VERBS[verb].takes_second and len(bare) == 2:
        return [f"{key}={literal(bare[0])}", f"{second}={literal(bare[1])}"]
    if key is None or (len(bare) > 1 and not many):
        unexpected = bare[0] if key is None else bare[1]
        meant = f"did you mean {second}={unexpected}? S" if second and len(bare) == 2 else "s"
        raise UserError(
            f"unexpected argument {unexpected!r}: {meant}ettings are written key=value, and a pattern of several paths "
            f"is quoted (see `genaudit {verb} --help`)"
        )
    return [f"{key}=[{','.join(literal(word) for word in bare)}]" if many else f"{key}={literal(bare[0])}"]


def _run(verb: str, arguments: list[str]) -> int:
    from genaudit.composing import is_plain, job

    before, sys.argv = sys.argv, [f"genaudit {verb}", *arguments]
    try:
        if not is_plain(arguments):
            return _run_by_hydra(verb, arguments)
        with job(config_folder(), verb, arguments) as cfg, importable(arguments):
            return _run_task(verb, cfg)
    except SystemExit as stop:  # Hydra's own switches, and argparse's complaints about them
        return stop.code if isinstance(stop.code, int) else DEFECT
    except (UserError, KeyboardInterrupt):
        raise
    except Exception as error:
        from genaudit.hydra_errors import explain
        from genaudit.tasks.run.finished import metrics_with

        raise UserError(explain(error, verb, arguments, config_folder(), metrics_with)) from error
    finally:
        sys.argv = before


def _run_by_hydra(verb: str, arguments: list[str]) -> int:
    """Hydra's own switches, sweeps and folders of the user's: its program runs the job, or several."""
    import hydra

    from genaudit.composing import main_options, references_are_data
    from genaudit.config_files import join_hydra

    join_hydra()
    codes: list[int] = []

    def job(cfg: DictConfig) -> None:
        with importable(arguments):  # not before: Hydra looks for plugins on the path
            codes.append(_run_task(verb, cfg))

    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions come here, where they become one sentence
    with references_are_data(config_folder()):
        hydra.main(config_path=str(config_folder()), config_name=verb, **main_options())(job)()
    return max(codes, default=DONE)


def _run_task(verb: str, cfg: DictConfig) -> int:
    """One job: the verb's task, with whatever it raises turned into an exit code."""
    try:
        from genaudit.tasks.run.keys import before

        before(verb, cfg)
        if verb in LOGGED and not cfg.get("plan"):
            _keep_log(verb, cfg)
        task = importlib.import_module(f"genaudit.tasks.{VERBS[verb].module}")
        code: int = task.main(cfg)
        told.end_log(f"exit code {code}\n")
        return code
    except UserError as error:
        return _complain(str(error))
    except Exception as error:  # an interruption is passed on: it ends the other jobs of a sweep too
        return _failed(error, verb, cfg)


def _keep_log(verb: str, cfg: DictConfig) -> None:
    """A log in the run folder, whose name is settled here; it begins with the command."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    folder = _run_folder(verb, cfg)
    if not cfg.get("out") and HydraConfig.get().mode != RunMode.MULTIRUN:
        cfg.out = hydra_escaped(str(folder))
    started = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    told.keep_log(folder / "log.txt", f"{started} genaudit {__version__}\n{told.command}\n", mode=LOGGED[verb])


def _failed(error: Exception, verb: str = "", cfg: DictConfig | None = None) -> int:
    """The machine's fault as a sentence, exit code 2; else an internal error, whose traceback is kept in a file."""
    if fault := environment_fault(error):
        return _complain(fault)
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, OmegaConfBaseException):  # ${...} in a value that leads nowhere, or back to itself
        return _complain(f"the configuration cannot be resolved: {str(error).splitlines()[0]}")
    path = _keep_traceback("".join(traceback.format_exception(error)), verb, cfg)
    where = f"Please report it with {path}" if path else "Please report it; its traceback could not be written anywhere"
    message = f"genaudit: internal error ({type(error).__name__}: {one_line(error)}). {where}"
    print(message, file=sys.stderr)
    told.log(f"{message}\n")
    return DEFECT


def _keep_traceback(text: str, verb: str, cfg: DictConfig | None) -> Path | None:
    """Writes the traceback into the run folder, or where that cannot be into the folder of temporary files."""
    for folder in (_run_folder, lambda *_: Path(tempfile.mkdtemp(prefix="genaudit_"))):
        try:
            path = folder(verb, cfg) / "traceback.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
            return path
        except Exception:  # whatever it is, the next place may do
            continue
    return None


def _run_folder(verb: str, cfg: DictConfig | None) -> Path:
    from genaudit.tasks.run.folder import run_folder

    if cfg is None:
        raise LookupError("there is no configuration yet, and so no run folder")
    folder = run_folder(cfg, verb)
    return folder.parent if folder.suffix in (".npz", ".json") else folder  # moments writes a file


def _complain(message: str) -> int:
    print(f"genaudit: {one_line(message)}", file=sys.stderr)
    told.log(f"genaudit: {one_line(message)}\n")
    _said.append(one_line(message))
    return USER


if __name__ == "__main__":
    run()
