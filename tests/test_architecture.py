"""Who may import whom: data flows one way, from the command line to the reports, between rooms and between files."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE, PAPERS = ROOT / "genaudit", ROOT / "genaudit_papers"
TASK_ROOMS = ("run", "gate", "training")  # of tasks; its other modules are verbs

# room => rooms that it may import besides itself; `errors` and `reading` are open to all but the pure ones.
# `interrupts` and `output` are the process's signals and streams, for those that run long or print.
ALLOWED = {
    "stats": set(),
    "metrics": {"stats"},
    "data": {"errors", "reading", "stats"},
    "backbones": {"errors", "reading", "stats", "data"},  # of data only the resize recipe, a plain container
    "likelihood": {"errors", "reading", "model_folder", "stats"},
    "piad": {"errors", "reading", "model_folder", "stats", "backbones"},  # the embedded perceptual network
    "demo": {"errors"},
    "verdict": {"errors", "stats", "metrics"},  # of metrics only the result types
    "measures": {"errors", "stats", "data", "backbones", "likelihood", "piad"},
    "store": {"errors", "reading", "stats", "data", "measures"},  # of measures only the protocol
    "reports": {"errors", "reading", "metrics"},
    "training.py": {"errors", "reading", "interrupts", "folder_lock"},
    "recipe.py": {"errors", "reading", "interrupts", "output", "reports"},  # of reports only the table that it returns
    "tasks": {
        *(
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
            "verdict",
        ),
        *(
            "training",
            "recipe",
            "reports",
            "config_files",
            "composing",
            "hydra_errors",
            "hydra_words",
            "plugins",
            "genaudit_papers",
        ),
    },
    "integrations": {
        "errors",
        "stats",
        "backbones",
        "data",
        "measures",
        "metrics",
        "reports",
        "store",
        "tasks",
        "verdict",
    },
    "genaudit_papers": {
        *(
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
        ),
        *("training", "recipe", "reports", "interrupts", "output"),
    },
    "cli.py": {
        *("errors", "interrupts", "output", "tasks", "verbs", "hydra_errors", "hydra_words", "config_files"),
        "plugins",
    },
    "verbs.py": set(),
    "config_files.py": set(),
    "plugins.py": {"errors", "config_files"},
    "hydra_errors.py": {"composing", "plugins"},
    "hydra_words.py": set(),
    "composing.py": {"plugins"},
    "model_folder.py": {"errors", "reading"},
    "folder_lock.py": {"errors"},
    "interrupts.py": set(),
    "output.py": set(),
    "reading.py": set(),
    "errors.py": set(),
}


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


def test_backbones_take_only_the_resize_recipe_from_data() -> None:
    for path in _files("backbones"):
        assert {m for m in _imported(path) if _room(m) == "data"} <= {"genaudit.data.resize"}, path


def test_the_store_takes_only_the_protocol_from_measures() -> None:
    for path in _files("store"):
        assert {m for m in _imported(path) if _room(m) == "measures"} <= {"genaudit.measures.measure"}, path


def test_the_verdict_takes_only_the_result_types_from_metrics() -> None:
    for path in _files("verdict"):
        assert {m for m in _imported(path) if _room(m) == "metrics"} <= {"genaudit.metrics.result"}, path


def test_recipes_and_papers_take_only_plain_containers_from_reports() -> None:
    for path in [*_files("recipe.py"), *_files(PAPERS.name)]:
        assert {m for m in _imported(path) if _room(m) == "reports"} <= {"genaudit.reports.table"}, path


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


def test_no_import_cycles_between_files() -> None:
    """Imports inside functions count too: they hide a cycle, they do not open it."""
    graph = {module: _imported(path) & set(MODULES) for module, path in MODULES.items()}
    while graph:
        leaves = [module for module, imports in graph.items() if not imports & set(graph)]
        assert leaves, f"a cycle among {sorted(graph)}"
        for leaf in leaves:
            del graph[leaf]


def test_no_import_cycles_between_rooms() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    graph = {
        room: set().union(*(_imports(path) for path in (PACKAGE / room).rglob("*.py")), set()) & rooms - {room}
        for room in rooms
    }
    while graph:
        leaves = [room for room, imports in graph.items() if not imports & set(graph)]
        assert leaves, f"a cycle among {sorted(graph)}"
        for leaf in leaves:
            del graph[leaf]
