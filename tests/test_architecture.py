"""Who may import whom: data flows one way, from the command line to the reports."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "genaudit"

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
    "measures": {"errors", "stats", "data", "backbones", "likelihood", "piad"},
    "store": {"errors", "reading", "stats", "data", "measures"},  # of measures only the protocol
    "reports": {"errors", "reading", "metrics", "papers"},  # of papers only the tables' containers
    "training.py": {"errors", "reading", "interrupts", "folder_lock"},
    "reading.py": set(),
    "model_folder.py": {"errors", "reading"},
    "papers": {
        *("errors", "reading", "stats", "metrics", "data", "backbones", "likelihood", "piad", "demo", "measures"),
        *("store", "training", "interrupts", "output"),
    },
}


def _imports(path: Path) -> set[str]:
    """The rooms of genaudit that a module imports, anywhere in it but under TYPE_CHECKING."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module]
            if node.module == "genaudit":
                names = [f"genaudit.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("genaudit.")}
    return found


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_a_room_imports_only_what_stands_before_it(room: str) -> None:
    for path in sorted((PACKAGE / room).rglob("*.py")) or [PACKAGE / room]:
        beyond = _imports(path) - ALLOWED[room] - {room, "__version__"}
        assert not beyond, f"{path.relative_to(PACKAGE)} imports {sorted(beyond)}"


def test_backbones_take_only_the_resize_recipe_from_data() -> None:
    for path in (PACKAGE / "backbones").glob("*.py"):
        lines = [line for line in path.read_text().splitlines() if "genaudit.data" in line]
        assert all("genaudit.data.resize import Recipe" in line for line in lines), path


def test_reports_take_only_the_containers_of_tables_from_papers() -> None:
    for path in (PACKAGE / "reports").glob("*.py"):
        lines = [line for line in path.read_text().splitlines() if "genaudit.papers" in line and "import" in line]
        assert all(re.search("genaudit.papers.(table|recipe) import", line) for line in lines), path


def test_the_store_takes_only_the_protocol_from_measures() -> None:
    for path in (PACKAGE / "store").glob("*.py"):
        lines = [line for line in path.read_text().splitlines() if "genaudit.measures" in line]
        assert all("genaudit.measures.measure import" in line for line in lines), path


def test_nothing_but_tasks_and_the_command_line_imports_tasks() -> None:
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0]
        if room not in ("tasks", "cli.py", "__init__.py", "integrations"):
            assert "tasks" not in _imports(path), path


def test_the_command_line_imports_only_tasks_and_texts() -> None:
    assert _imports(PACKAGE / "cli.py") <= {
        *("tasks", "errors", "verbs", "hydra_errors", "hydra_words", "__version__", "interrupts", "output"),
    }


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
