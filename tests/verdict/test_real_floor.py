"""The real floor: who plays generated, the floor's mean and error against closed forms, its coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from genaudit.verdict.real_floor import Pairing, distinct, pairing, plan, real_floor

NEEDS, MAY = True, False


@pytest.mark.parametrize(
    ("takes", "rows", "mode", "expected"),
    [
        # fd, kd, prdc
        ({"generated": NEEDS, "reference": NEEDS}, "grt", "auto", Pairing("train", ("reference",), "train")),
        ({"generated": NEEDS, "reference": NEEDS}, "gr", "auto", Pairing("reference", (), "reference_halves", True)),
        # a reference of moments has no rows that could be halved
        ({"generated": NEEDS, "reference": NEEDS}, "g", "auto", None),
        # irs, authpct
        (
            {"generated": NEEDS, "reference": MAY, "train": MAY},
            "grt",
            "auto",
            Pairing("reference", ("train",), "reference"),
        ),
        (
            {"generated": NEEDS, "reference": MAY, "train": MAY},
            "gr",
            "auto",
            Pairing("reference", (), "reference_halves", True),
        ),
        ({"generated": NEEDS, "reference": MAY, "train": NEEDS}, "gt", "auto", None),
        # ct, fld, and mifid by its YAML
        (
            {"generated": NEEDS, "reference": NEEDS, "train": NEEDS},
            "grt",
            "auto",
            Pairing("reference", ("train",), "reference_halves", True),
        ),
        (
            {"generated": NEEDS, "reference": MAY, "train": NEEDS},
            "grt",
            "halves",
            Pairing("reference", ("train",), "reference_halves", True),
        ),
        # vendi, as_i
        ({"generated": NEEDS, "reference": MAY}, "grt", "auto", Pairing("train", ("reference",), "train")),
        ({"generated": NEEDS, "reference": MAY}, "gr", "auto", Pairing("reference", ("reference",), "reference")),
        ({"generated": NEEDS, "reference": MAY}, "gr", "none", None),
        ({"generated": NEEDS}, "grt", "auto", None),
    ],
)
def test_real_images_play_generated_against_what_is_left(takes, rows, mode, expected) -> None:
    names = {"g": "generated", "r": "reference", "t": "train"}
    assert pairing(takes, {names[each] for each in rows}, mode) == expected


def mean(**_):
    return lambda generated: {"mean": float(np.asarray(generated[:]).mean())}


def test_the_error_of_a_mean_is_that_of_a_fresh_set_about_the_mean_of_all() -> None:
    # Var(mean of n fresh) + Var(mean of t) = sigma^2 (1/n + 1/t), exactly, for parts below and above 3/4 of the pool
    rng = np.random.default_rng(0)
    pool, generated = rng.exponential(size=(500, 1)), rng.normal(size=(450, 1))
    for n in (200, 450):
        rows = {"generated": generated[:n], "train": pool}
        found = real_floor(mean, rows, Pairing("train", (), "train"), np.arange(500), repeats=4000)["mean"]
        assert found.n == n
        assert found.generated is None
        expected = pool.std(ddof=1) * np.sqrt(1 / n + 1 / 500)
        assert found.error == pytest.approx(expected, rel=4 / np.sqrt(2 * 4000))


def test_a_fresh_set_lies_within_the_ends_as_often_as_they_say() -> None:
    inside = []
    for seed in range(300):
        rng = np.random.default_rng([seed, 3])
        pool, fresh = rng.normal(size=(300, 1)), rng.normal(size=(150, 1))
        rows = {"generated": fresh, "train": pool}
        found = real_floor(mean, rows, Pairing("train", (), "train"), np.arange(300), repeats=20, seed=seed)["mean"]
        inside.append(found.lower <= fresh.mean() <= found.upper)
    assert stats.binom.cdf(sum(inside), 300, 0.95) > 1e-3
    assert stats.binom.sf(sum(inside) - 1, 300, 0.95) > 1e-3


@pytest.mark.parametrize("count", [60, 61])
def test_halves_compare_the_generated_set_at_their_own_number_and_never_an_image_with_itself(count: int) -> None:
    """Of an odd number the larger half is what is compared with."""
    seen = []

    def sizes(*, reference):
        def of(generated) -> dict[str, float]:
            seen.append((len(generated), len(reference)))
            shared = set(np.ravel(generated)) & set(np.ravel(reference))
            return {"shared": float(len(shared)), "first": float(np.mean(generated))}

        return of

    rows = {"generated": -1.0 - np.arange(80.0)[:, None], "reference": np.arange(float(count))[:, None]}
    pair = Pairing("reference", (), "reference_halves", halves=True)
    found = real_floor(sizes, rows, pair, np.arange(count))
    assert set(seen) == {(30, count - 30)}
    assert found["shared"].value == 0
    assert found["first"].n == 30
    assert found["first"].generated < 0 < found["first"].value


def test_fewer_real_images_than_generated_compare_at_the_smaller_number_and_too_few_not_at_all() -> None:
    rng = np.random.default_rng(1)
    rows = {"generated": rng.normal(size=(100, 1)) + 5, "train": rng.normal(size=(40, 1))}
    found = real_floor(mean, rows, Pairing("train", (), "train"), np.arange(40))["mean"]
    assert found.n == 40
    assert found.generated == pytest.approx(5, abs=1)
    assert not real_floor(mean, rows, Pairing("train", (), "train"), np.arange(9))


def test_copies_and_images_of_the_other_role_do_not_play() -> None:
    assert distinct(np.array([0, 1, 0, 3, 3]), np.array([False, True, False, False, False])).tolist() == [0, 3]


def test_longer_passes_are_made_less_often() -> None:
    counts = [plan(n, n, n, 1280)[0] for n in (100, 400, 1000, 5000)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == 40


LARGE = {
    "train": Pairing("train", ("reference",), "train"),
    "halves": Pairing("reference", (), "reference_halves", halves=True),
    "copies": Pairing("reference", ("train",), "reference"),
}


@pytest.mark.parametrize("which", LARGE)
def test_large_sets_are_judged_by_parts_of_equal_number_but_against_all_training_images(which, monkeypatch) -> None:
    monkeypatch.setattr("genaudit.verdict.real_floor.PART", 50)
    monkeypatch.setattr("genaudit.verdict.real_floor.LONG", 9999)
    seen = set()

    def sizes(**kept):
        ((_, other),) = kept.items()

        def of(generated) -> dict[str, float]:
            seen.add((len(generated), len(other)))
            return {"mean": float(np.asarray(generated[:]).mean())}

        return of

    rng = np.random.default_rng(2)
    rows = {role: rng.normal(size=(n, 1)) for role, n in (("generated", 200), ("reference", 220), ("train", 240))}
    rows["generated"] += 5
    pair = LARGE[which]
    found = real_floor(sizes, rows, pair, np.arange(len(rows[pair.plays])))["mean"]
    assert (found.n, found.from_parts) == (50, True)
    assert seen == {(50, 240 if which == "copies" else 50)}
    assert found.lower < 0 < found.upper
    assert found.generated == pytest.approx(5, abs=0.5)
    # one multiplication fewer than the limit asks for: all images
    monkeypatch.setattr("genaudit.verdict.real_floor.LONG", 200 * 240)
    whole = real_floor(sizes, rows, pair, np.arange(len(rows[pair.plays])))["mean"]
    assert (whole.n, whole.from_parts) == (110 if which == "halves" else 200, False)


def test_the_error_of_parts_is_that_of_both_means_of_parts(monkeypatch) -> None:
    # the difference of two sets of real images lies within the floor's ends about as often as they say, or more often
    monkeypatch.setattr("genaudit.verdict.real_floor.PART", 50)
    monkeypatch.setattr("genaudit.verdict.real_floor.LONG", 9999)
    away = []
    for seed in range(300):
        rng = np.random.default_rng([seed, 5])
        rows = {role: rng.normal(size=(n, 1)) for role, n in (("generated", 200), ("train", 200))}
        found = real_floor(mean, rows, Pairing("train", (), "train"), np.arange(200), repeats=20, seed=seed)["mean"]
        away.append(abs(found.generated - found.value) / (found.upper - found.value) > 1)
    assert stats.binom.cdf(sum(away), 300, 0.05) > 1e-3
    assert stats.binom.sf(sum(away) - 1, 300, 0.05) > 1e-3
