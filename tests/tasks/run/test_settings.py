"""The device that a run gets, and what it takes to know."""

from __future__ import annotations

import glob
import sys
from typing import Any

import pytest
import torch

from genaudit.tasks.run.settings import choose_device


@pytest.mark.parametrize("driver", ["/dev/nvidia*", "/dev/nvhost*", "/dev/kfd", "/dev/dxg", None])
@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_torch_is_asked_for_an_accelerator_wherever_there_can_be_one(
    driver: str | None, platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(glob, "glob", lambda pattern: [pattern] if pattern == driver else [])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(asked.append("cuda")))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: bool(asked.append("mps")))
    assert choose_device("auto") == "cpu"
    assert asked == ([] if platform == "linux" and driver is None else ["cuda", "mps"])
    assert choose_device("cpu") == "cpu"
