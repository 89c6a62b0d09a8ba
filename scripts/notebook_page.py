"""A notebook with its outputs as a Markdown page of the site, and the pictures that it shows.

Text, numbers, tables and pictures are taken as the notebook holds them (`scripts/notebooks.py --write` ran it).
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any


def notebook_page(path: Path, place: str) -> tuple[str, dict[str, bytes]]:
    """The page's Markdown, and pictures by name; `place` is the notebook's path in the repository.

    Raises:
        ValueError: a cell that gave nothing and was never run, or that ended with an error.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for number, cell in enumerate(document["cells"]):
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
            continue
        if cell.get("execution_count") is None:
            raise ValueError(f"{path.name}: cell {number} was not run; scripts/notebooks.py --write runs it")
        parts.append(f"```python\n{text}\n```")
        for output in cell["outputs"]:
            parts += _shown(output, f"{path.stem}_{number}", pictures)
    lead = f"*This page is the notebook `{place}`, which CI runs.*"
    first, *rest = parts
    return "\n\n".join([first, lead, *rest]) + "\n", pictures


def _shown(output: dict[str, Any], name: str, pictures: dict[str, bytes]) -> list[str]:
    if output["output_type"] == "error":
        raise ValueError(f"{name}: the cell ended with {output['ename']}")
    data = output.get("data", {})
    if "image/png" in data:
        file = f"{name}_{len(pictures)}.png"
        pictures[file] = base64.b64decode("".join(data["image/png"]))
        return [f"![what the cell above draws]({file})"]
    if "text/html" in data:
        return ["".join(data["text/html"]).replace("\n", " ").strip()]  # without blank lines it is one block of HTML
    text = "".join(output.get("text", data.get("text/plain", [])))
    return [f"```text\n{text.rstrip()}\n```"] if text.strip() else []
