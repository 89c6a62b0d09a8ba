"""A short form of scripts/verdict_simulation.py: real images are hardly ever called worse, bad sets are found out."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "verdict_simulation.py"
RUNS = 10


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verdict_simulation", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _dataset(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of ten classes, (3000, 8), and their labels: unequal Gaussians."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, 3000)
    centres, widths = 3 * rng.normal(size=(10, 8)), rng.uniform(0.5, 1.5, 10)
    return (centres[labels] + widths[labels, None] * rng.normal(size=(3000, 8))).astype(np.float32), labels


def test_real_images_are_called_worse_in_a_twentieth_of_the_runs_at_most(simulation: ModuleType) -> None:
    """With probability 0.05 a run, four of ten happen once in a thousand: 1 - binom.cdf(3, 10, 0.05) = 0.00103."""
    rows, labels = _dataset(0)
    worse: Counter[str] = Counter()
    for seed in range(RUNS):
        found = simulation.run(rows, labels, rows, "real", 200, seed, train=True)
        worse.update(name for name, answer in found.items() if answer in ("worse", "much_worse", "some", "yes"))
    assert all(worse[question] <= 3 for question in simulation.QUESTIONS), worse


@pytest.mark.parametrize(
    ("kind", "question", "answers"),
    [
        ("one_class", "diversity", {"worse", "much_worse"}),
        ("modes", "diversity", {"worse", "much_worse"}),
        ("noisy", "quality", {"worse", "much_worse"}),
        ("other", "quality", {"worse", "much_worse"}),
        ("copies", "memorised", {"yes"}),
    ],
)
def test_bad_sets_are_found_out(simulation: ModuleType, kind: str, question: str, answers: set[str]) -> None:
    rows, labels = _dataset(0)
    other, _ = _dataset(1)
    found = simulation.run(rows, labels, other, kind, 300, 0, train=True)
    assert found[question] in answers, found
    if kind == "copies":  # a copying model's diversity is not praised
        assert found["diversity"] != "as_real"
