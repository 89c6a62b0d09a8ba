"""Near copies across roles, on features with a known law and known copies."""

from __future__ import annotations

import numpy as np
import pytest

from genaudit.data.audit.copies import near_copies


def _digests(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 16), np.uint8)


def _roles(**rows: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    return rows, {role: _digests(len(each), place) for place, (role, each) in enumerate(rows.items())}


@pytest.mark.parametrize("columns", [2, 16, 30, 200])
def test_independent_samples_of_one_law_are_no_copies(columns: int) -> None:
    """Clustered and scaled, of few features and many."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        law = rng.normal(size=(900, columns)) * rng.uniform(0.1, 3, columns) + 4 * rng.integers(0, 3, (900, 1))
        assert near_copies(*_roles(generated=law[:300], reference=law[300:600], train=law[600:])) == []


@pytest.mark.parametrize(("copies", "found"), [(0.1, True), (0.01, False)])
def test_copies_with_a_little_noise_are_counted(copies: float, found: bool) -> None:
    rng = np.random.default_rng(0)
    generated, train = rng.normal(size=(400, 64)), rng.normal(size=(500, 64))
    count = int(copies * 400)
    generated[:count] = train[:count] + 0.02 * rng.normal(size=(count, 64))
    findings = near_copies(*_roles(generated=generated, train=train), lambda pairs: ("authpct",))
    assert bool(findings) == found
    if found:
        assert (findings[0].code, findings[0].roles, findings[0].metrics) == (
            "near-copies",
            ("generated", "train"),
            ("authpct",),
        )
        assert findings[0].message.startswith("10 % of 400 generated images")


def test_what_is_equal_byte_for_byte_is_told_by_the_other_finding() -> None:
    rng = np.random.default_rng(0)
    train = rng.normal(size=(100, 32))
    generated = np.concatenate([train[:50], rng.normal(size=(50, 32))])
    digests = {"generated": _digests(100, 0), "train": _digests(100, 1)}
    assert near_copies({"generated": generated, "train": train}, digests)[0].message.startswith("50 % of 100")
    digests["generated"][:50] = digests["train"][:50]
    assert near_copies({"generated": generated, "train": train}, digests) == []
