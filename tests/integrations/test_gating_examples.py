"""The examples of docs/gating.md as they stand there: a real training, once healthy and once collapsed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "gating.md"


def _examples() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.M | re.S)


def test_examples_of_the_page_run_and_tell_the_collapsed_training_from_the_healthy_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loop, state, lightning = _examples()
    names: dict[str, Any] = {}
    exec(loop, names)
    assert names["healthy"].decision == "accept"
    assert names["collapsed"].decision == "reject"
    assert names["collapsed"].n_sampled <= 40
    exec(state, names)
    assert names["gate"].n_sampled == 2
    if not _has_lightning():
        pytest.skip("PyTorch Lightning is not installed: its example was not run")
    exec(lightning, names)
    history = names["callback"].history
    # stopped at the first epoch that is judged, long before the twentieth
    assert [each["decision"] for each in history] == ["reject"]
    assert names["trainer"].current_epoch == 10
    assert float(names["trainer"].callback_metrics["diversity/rejected"]) == 1


def _has_lightning() -> bool:
    from importlib.util import find_spec

    return any(find_spec(name) is not None for name in ("lightning", "pytorch_lightning"))


def test_lightning_is_named_where_it_is_missing_and_imported_only_by_its_own_module() -> None:
    program = """
import sys
sys.modules["lightning"] = sys.modules["pytorch_lightning"] = None
import genaudit, genaudit.integrations.training_loop
try:
    import genaudit.integrations.lightning
except ImportError as error:
    assert "pip install lightning" in str(error), error
else:
    raise AssertionError("imported without Lightning")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
