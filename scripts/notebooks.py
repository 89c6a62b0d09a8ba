"""Runs the notebooks of examples/notebooks, each from its first cell in a fresh kernel: `make notebooks`, in CI.

    python scripts/notebooks.py            # a cell that fails ends it with its error
    python scripts/notebooks.py --write    # and keeps what the cells gave, which the site shows

nbclient is what Jupyter itself runs notebooks with; nbmake would put a pytest plugin and its options around the same
call, and the notebooks into the tests' time.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "examples" / "notebooks"
SECONDS = 900  # a cell may take


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="parts of their names; default all")
    parser.add_argument("--write", action="store_true", help="keep what the cells gave")
    arguments = parser.parse_args()
    failed = 0
    for path in sorted(FOLDER.glob("*.ipynb")):
        if arguments.names and not any(name in path.stem for name in arguments.names):
            continue
        started = time.perf_counter()
        try:
            executed = execute(path)
        except CellExecutionError as error:
            print(f"{path.name}: {error}", file=sys.stderr)
            failed += 1
            continue
        print(f"{path.name}: {len(executed.cells)} cells in {time.perf_counter() - started:.0f} s")
        if arguments.write:
            path.write_text(json.dumps(plain(executed), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 1 if failed else 0


def execute(path: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs of all its cells, run in a folder and with a row store of its own."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory(prefix="genaudit_notebook_") as folder:
        os.environ["GENAUDIT_STORE"] = str(Path(folder) / "store")
        # the kernel warns that its sockets are not encrypted, which between processes of one machine says nothing
        NotebookClient(
            notebook,
            timeout=SECONDS,
            resources={"metadata": {"path": folder}},
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
        ).execute()
    return notebook


def plain(notebook: nbformat.NotebookNode) -> dict[str, object]:
    """Without times, identifiers of a run and this machine's folders; progress on standard error is left out."""
    document: dict[str, object] = json.loads(json.dumps(notebook))
    for cell in document["cells"]:  # type: ignore[attr-defined]
        cell["metadata"] = {}
        if cell["cell_type"] != "code":
            continue
        cell["outputs"] = [each for each in cell["outputs"] if each.get("name") != "stderr"]
        for output in cell["outputs"]:
            output.pop("execution_count", None)
            if output["output_type"] == "execute_result":
                output["execution_count"] = cell["execution_count"]
            output["metadata"] = {} if "metadata" in output else output.get("metadata", {})
            if output["output_type"] == "stream":
                output.pop("metadata", None)
    text = json.dumps(document)
    text = re.sub(re.escape(str(ROOT)), "...", text)
    return dict(json.loads(text))


if __name__ == "__main__":
    sys.exit(main())
