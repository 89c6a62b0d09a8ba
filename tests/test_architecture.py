"""Who may import whom: data flows one way, from the command line to the reports, between rooms and between files."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE, PAPERS = ROOT / "genaudit", ROOT / "genaudit_papers"
TASK_ROOMS = ("run", "gate", "training")  # of tasks; its other modules are verbs

# what tasks and papers build on
LIBRARY = {
    "atomic",
    "errors",
    "reading",
    "stats",
    "metrics",
    "data",
    "backbones",
    "likelihood",
    "piad",
    "demo",
    "measures",
    "store",
    "remote",
} | {
    *("training", "recipe", "reports"),
}
# room => rooms that it may import besides itself; `errors`, `reading` and `atomic` are open to all but the pure ones.
# `interrupts` and `output` are the process's signals and streams, for those that run long or print.
ALLOWED: dict[str, set[str]] = {
    "stats": set(),
    "metrics": {"stats"},
    "data": {"atomic", "errors", "reading", "stats"},
    "remote": {"atomic", "errors", "reading", "folder_lock"},
    "backbones": {"atomic", "errors", "reading", "output", "stats", "data", "remote"},
    "likelihood": {"atomic", "errors", "reading", "model_folder", "resumed", "sharing", "stats"},
    "piad": {
        "atomic",
        "errors",
        "reading",
        "model_folder",
        "resumed",
        "sharing",
        "stats",
        "backbones",
    },  # the embedded perceptual network
    "demo": {"errors"},
    "verdict": {"errors", "stats", "metrics"},
    "measures": {"errors", "stats", "data", "backbones", "likelihood", "piad"},
    "store": {"atomic", "errors", "reading", "stats", "data", "measures"},
    "reports": {"atomic", "errors", "reading", "metrics"},
    "training.py": {"atomic", "errors", "reading", "resumed", "interrupts", "folder_lock"},
    "recipe.py": {"atomic", "folder_lock", "errors", "reading", "interrupts", "output", "reports"},
    "tasks": LIBRARY
    | {
        *(
            "verdict",
            "config_files",
            "composing",
            "output",
            "hydra_errors",
            "hydra_words",
            "genaudit_papers",
        ),
        "network_words",
    },
    "integrations": {
        *(
            "atomic",
            "errors",
            "stats",
            "metrics",
            "data",
            "backbones",
            "measures",
            "store",
            "reports",
            "tasks",
            "verdict",
        ),
    },
    "genaudit_papers": LIBRARY | {"interrupts", "output"},
    "cli.py": {
        *(
            "completion",
            "errors",
            "interrupts",
            "output",
            "tasks",
            "verbs",
            "hydra_errors",
            "hydra_words",
            "network_words",
            "config_files",
            "composing",
        ),
    },
    "atomic.py": set(),
    "completion.py": {"errors", "hydra_words", "verbs"},
    "verb.py": set(),
    "verbs.py": {"verb"},
    "config_files.py": {"errors"},
    "hydra_errors.py": {"composing", "config_files"},
    "hydra_words.py": set(),
    "network_words.py": {"errors", "config_files"},
    "composing.py": {"config_files"},
    "model_folder.py": {"atomic", "errors", "reading"},
    "folder_lock.py": {"errors"},
    "resumed.py": {"errors"},
    "sharing.py": {"errors"},
    "interrupts.py": set(),
    "output.py": set(),
    "reading.py": set(),
    "errors.py": set(),
}
# room, another room => the only modules of the other one that it may import: plain containers and protocols
ONLY = {
    ("backbones", "data"): {"genaudit.data.resize"},
    ("store", "measures"): {"genaudit.measures.measure"},
    ("verdict", "metrics"): {"genaudit.metrics.result"},
    ("recipe.py", "reports"): {"genaudit.reports.table"},
    ("genaudit_papers", "reports"): {"genaudit.reports.table"},
}
TWINS = ("losses", "recipe", "saved", "scoring", "trainer")  # of likelihood/ and piad/: a file for a job
MOST_LINES = 350


def _files(room: str) -> list[Path]:
    folder = PAPERS if room == PAPERS.name else PACKAGE / room
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module(path): path for package in (PACKAGE, PAPERS) for path in package.rglob("*.py")}


def _imported(path: Path) -> set[str]:
    """The modules of ours that a file imports, inside functions too, but not those under TYPE_CHECKING."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if name in MODULES else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] in (PACKAGE.name, PAPERS.name)} - {_module(path)}


def _room(module: str) -> str:
    first, _, rest = module.partition(".")
    return rest.split(".")[0] if first == PACKAGE.name else first


def _imports(path: Path) -> set[str]:
    return {_room(module) for module in _imported(path)} - {""}  # "": __version__ of the package itself


def test_relative_imports_are_not_used_so_that_these_tests_see_every_import() -> None:
    for path in MODULES.values():
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        assert not [node for node in nodes if isinstance(node, ast.ImportFrom) and node.level], path


def test_every_room_and_module_has_a_rule() -> None:
    there = {path.name for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert there - {"__init__.py", "__main__.py"} == set(ALLOWED) - {PAPERS.name}


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_a_room_imports_only_what_stands_before_it(room: str) -> None:
    for path in _files(room):
        beyond = _imports(path) - ALLOWED[room] - {room.removesuffix(".py")}
        assert not beyond, f"{path.relative_to(ROOT)} imports {sorted(beyond)}"


@pytest.mark.parametrize(("room", "other"), ONLY)
def test_a_room_takes_only_plain_containers_of_another(room: str, other: str) -> None:
    for path in _files(room):
        beyond = {module for module in _imported(path) if _room(module) == other} - ONLY[room, other]
        assert not beyond, f"{path.relative_to(ROOT)} imports {sorted(beyond)}"


def test_the_rooms_of_tasks_import_no_verb_and_run_neither_of_the_others() -> None:
    allowed = {"run": {"run"}, "gate": {"run", "gate"}, "training": {"run", "training"}}
    for room in TASK_ROOMS:
        for path in (PACKAGE / "tasks" / room).rglob("*.py"):
            tasks = {m.split(".")[2] for m in _imported(path) if m.startswith("genaudit.tasks.")}
            assert tasks <= allowed[room], f"{path.relative_to(ROOT)} imports {sorted(tasks - allowed[room])}"


def test_tasks_keep_one_file_a_verb_and_each_verb_has_its_module() -> None:
    from genaudit.verbs import VERBS

    modules = {path.stem for path in (PACKAGE / "tasks").glob("*.py")} - {"__init__"}
    verbs = {verb.module for verb in VERBS.values()}
    assert verbs <= modules
    assert modules - verbs <= {"api"}, "what is no verb belongs into a room of tasks"


def test_nothing_but_tasks_and_the_command_line_imports_tasks() -> None:
    for module, path in MODULES.items():
        if _room(module) not in ("tasks", "cli", "", "integrations", "genaudit"):
            assert "tasks" not in _imports(path), path


def _assert_acyclic(graph: dict[str, set[str]]) -> None:
    while graph:
        leaves = [name for name, imports in graph.items() if not imports & set(graph)]
        assert leaves, f"a cycle among {sorted(graph)}"
        for leaf in leaves:
            del graph[leaf]


def test_no_import_cycles_between_files() -> None:
    """Imports inside functions count too: they hide a cycle, they do not open it."""
    _assert_acyclic({module: _imported(path) & set(MODULES) for module, path in MODULES.items()})


def test_no_import_cycles_between_rooms() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    imports = {room: set().union(*(_imports(path) for path in (PACKAGE / room).rglob("*.py")), set()) for room in rooms}
    _assert_acyclic({room: imports[room] & rooms - {room} for room in rooms})


@pytest.mark.parametrize("job", TWINS)
def test_likelihood_and_piad_have_a_file_of_the_same_name_for_the_same_job(job: str) -> None:
    for room in ("likelihood", "piad"):
        assert (PACKAGE / room / f"{job}.py").is_file()


def test_no_file_is_longer_than_a_reader_holds_in_mind() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in MODULES.values()
    }
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}
