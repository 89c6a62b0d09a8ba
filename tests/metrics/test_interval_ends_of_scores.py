"""Ends of intervals that are bootstrapped from scores, or rest on fitted densities and cells, written out again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import spatial, special, stats
from sklearn.metrics import roc_auc_score

from genaudit.metrics import ais, anomaly_score, ct, flatness, fld, inversion, llr, piad
from genaudit.metrics.generator_rows import AIS, INVERSION
from genaudit.reports.values import describe
from genaudit.stats.subsampling import REPEATS, over_parts

LEVELS = pytest.mark.parametrize("confidence", [0.95, 0.7])
SEED = 3


def ends(result: Any, name: str) -> tuple[float | None, float | None]:
    """(lower, upper) of a value, as the reports show them."""
    shown = describe(result, "metric").values[name]
    return shown.lower, shown.upper


def _resampled(*sizes: int, repeats: int) -> list[tuple[np.ndarray, ...]]:
    rng = np.random.default_rng(SEED)
    return [tuple(rng.integers(0, size, size) for size in sizes) for _ in range(repeats)]


def _percentiles(values: Any, confidence: float) -> Any:
    return pytest.approx(tuple(np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])), rel=1e-6)


def _areas(positive: np.ndarray, negative: np.ndarray, repeats: int) -> list[float]:
    """The share of pairs of every resampling in which the positive one is higher, ties half."""
    higher = (np.sign(positive[:, None] - negative[None, :]) + 1) / 2
    return [float(higher[np.ix_(i, j)].mean()) for i, j in _resampled(len(positive), len(negative), repeats=repeats)]


def _rows(names: tuple[str, ...], **columns: Any) -> np.ndarray:
    """Rows of a measure under a generator: its leading columns, 1 where a test does not care."""
    count = max(np.size(each) for each in columns.values())
    return np.stack([np.broadcast_to(columns.get(name, 1.0), count) for name in names], axis=1).astype(np.float64)


@LEVELS
def test_areas_of_log_likelihood_ratios_and_their_gain_over_the_control(confidence: float) -> None:
    rng = np.random.default_rng(0)

    def role(n: int, shift: float) -> dict[str, np.ndarray]:
        parts, bits = rng.normal(shift, 3, (n, 2)), rng.normal(100, 4, n)
        general = rng.normal(0, 3, n)
        density = np.c_[parts.sum(1), parts]
        return {"density": density, "code": np.stack([-bits * np.log(2), bits], 1), "general": general[:, None]}

    ours, others = role(30, 1.0), role(25, 0.0)
    keys = {"bootstraps": 80, "confidence": confidence, "seed": SEED}
    found = llr.judge(generated=ours, anomalies=others, **keys)
    scores = {
        "raw": lambda r: r["density"][:, 0],
        "last_scale": lambda r: r["density"][:, 2],
        "ratio": lambda r: r["density"][:, 0] - r["general"][:, 0],
        "ratio_code": lambda r: r["density"][:, 0] - r["code"][:, 0],
        "general": lambda r: -r["general"][:, 0],
        "code": lambda r: r["code"][:, 1],
    }
    areas = {name: np.array(_areas(of(ours), of(others), 80)) for name, of in scores.items()}
    for name, each in areas.items():
        assert ends(found, f"auroc_{name}") == _percentiles(each, confidence), name
    gain, *gain_ends = found.ratio_minus_control
    whole = {
        name: roc_auc_score(np.repeat([1, 0], [30, 25]), np.r_[of(ours), of(others)]) for name, of in scores.items()
    }
    assert gain == pytest.approx(whole["ratio"] - whole["general"])
    assert tuple(gain_ends) == _percentiles(areas["ratio"] - areas["general"], confidence)


@LEVELS
def test_piads_mean_and_area(confidence: float) -> None:
    rng = np.random.default_rng(1)
    scores = {"generated": rng.gamma(4, size=30), "anomalies": rng.gamma(6, size=25)}
    rows = {role: each[:, None] for role, each in scores.items()}
    exact = {role: each.astype(np.float32).astype(float) for role, each in scores.items()}
    found = piad.judge(**rows, confidence=confidence, seed=SEED)
    means = [exact["generated"][i].mean() for (i,) in _resampled(30, repeats=1000)]
    assert ends(found, "piad_mean") == _percentiles(means, confidence)
    areas = _areas(exact["anomalies"], exact["generated"], 1000)
    assert ends(found, "auroc") == _percentiles(areas, confidence)


@LEVELS
def test_reconstruction_errors_of_every_role(confidence: float) -> None:
    rng = np.random.default_rng(2)
    sizes = {"generated": 20, "train": 25, "reference": 15, "anomalies": 12}
    errors = {role: rng.gamma(3, 1 + place / 2, n) for place, (role, n) in enumerate(sizes.items())}
    tail = {"label": np.nan, "classes": 0}
    rows = {role: _rows(INVERSION, error=each, **tail) for role, each in errors.items()}
    found = inversion.judge(**rows, confidence=confidence, seed=SEED)
    for role, each in errors.items():
        medians = [np.median(each[i]) for (i,) in _resampled(len(each), repeats=1000)]
        assert ends(found, f"error_{role}") == _percentiles(medians, confidence), role
    means = [errors["train"][i].mean() for (i,) in _resampled(25, repeats=1000)]
    assert ends(found, "sigma2") == _percentiles(means, confidence)
    made, train = errors["generated"], errors["train"]
    ratios = [np.median(train[i]) / np.median(made[j]) for i, j in _resampled(25, 20, repeats=500)]
    assert ends(found, "error_ratio") == _percentiles(ratios, confidence)
    assert ends(found, "auroc_train") == _percentiles(_areas(train, made, 500), confidence)
    of_anomalies = _areas(errors["anomalies"], errors["reference"], 500)
    assert ends(found, "auroc_anomalies") == _percentiles(of_anomalies, confidence)


@LEVELS
def test_bits_of_every_role_and_their_correlation_with_flatness(confidence: float) -> None:
    rng = np.random.default_rng(3)
    sizes = {"generated": 20, "train": 25, "reference": 15, "anomalies": 12}
    bits = {role: rng.normal(place, 2, n) for place, (role, n) in enumerate(sizes.items())}
    rows = {role: _rows(AIS, bits_per_dim=each, sigma2=0.1) for role, each in bits.items()}
    found = ais.judge(**rows, confidence=confidence, seed=SEED)
    for role, each in bits.items():
        means = [each[i].mean() for (i,) in _resampled(len(each), repeats=1000)]
        assert ends(found, f"bits_{role}") == _percentiles(means, confidence), role
    areas = _areas(bits["reference"], bits["anomalies"], 500)
    assert ends(found, "auroc_anomalies") == _percentiles(areas, confidence)
    flat = {role: rng.normal(size=n) + bits[role] / 4 for role, n in sizes.items()}
    both = {
        role: {"likelihood": rows[role], "patches": np.stack([flat[role], np.zeros(n)], axis=1)}
        for role, n in sizes.items()
    }
    correlated = flatness.judge(**both, confidence=confidence, seed=SEED)
    x, y = flat["reference"], bits["reference"]
    for name, of in (("spearman", stats.spearmanr), ("pearson", stats.pearsonr)):
        drawn = [of(x[i], y[i]).statistic for (i,) in _resampled(15, repeats=500)]
        assert ends(correlated, name) == _percentiles(drawn, confidence)


@LEVELS
def test_c_t_has_the_ends_of_its_parts_scaled_to_all_images(confidence: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    left = np.array([-50.0, 0.0])  # two cells that k-means cannot miss
    train, reference, generated = (
        np.r_[rng.normal(size=(n, 2)) * scale, rng.normal(size=(m, 2)) * scale + left]
        for n, m, scale in ((20, 24, 1.0), (18, 10, 1.0), (22, 25, 1.3))
    )
    monkeypatch.setattr(ct, "LISTED", 44)

    def score(made: np.ndarray, held_out: np.ndarray) -> float:
        n, m = len(held_out), len(made)
        u = stats.mannwhitneyu(made, held_out).statistic
        return float((u - n * m / 2) / np.sqrt(n * m * (n + m + 1) / 12))

    def brute(**kept: np.ndarray) -> dict[str, float]:
        total = held = 0.0
        for cell in (True, False):
            sets = {}
            for role, rows in (("train", train), ("reference", reference), ("generated", generated)):
                sets[role] = rows[kept[role] & ((rows[:, 0] < -25) == cell)]
            made, real = (spatial.distance.cdist(sets[r], sets["train"]).min(1) for r in ("generated", "reference"))
            total, held = total + len(real) * score(made, real), held + len(real)
        return {"ct": total / held / np.sqrt(np.mean([each.mean() for each in kept.values()]))}

    sizes = {"train": 44, "reference": 28, "generated": 47}
    spread = over_parts(brute, sizes, halves=0, seed=SEED)["ct"]
    value = brute(**{role: np.ones(n, bool) for role, n in sizes.items()})["ct"]
    half = stats.t.ppf(0.5 + confidence / 2, REPEATS - 1) * spread.error
    keys = {"generated": generated, "reference": reference, "train": train, "cells": 2}
    found = ct.judge(**keys, confidence=confidence, seed=SEED)
    assert describe(found, "ct").values["ct"].value == pytest.approx(value, rel=1e-9)
    assert ends(found, "ct") == pytest.approx((value - half, value + half), rel=1e-6)


@LEVELS
def test_fld_adds_the_scatter_over_reference_images_to_the_jackknifes_of_both_sets_of_centres(
    confidence: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(5)
    generated, reference, train = rng.normal(size=(12, 3)), rng.normal(size=(30, 3)), rng.normal(size=(26, 3))
    densities: list[Any] = []
    fit = fld._Mixture.fit
    monkeypatch.setattr(fld._Mixture, "fit", lambda self, rows: (densities.append(self), fit(self, rows)))
    found = fld.judge(generated=generated, reference=reference, train=train, confidence=confidence)
    points = (reference - reference.mean(axis=0)) / reference.std(axis=0, ddof=1)

    def nll(density: Any, kept: np.ndarray) -> np.ndarray:
        squares = spatial.distance.cdist(points, density.centres[kept], "sqeuclidean")
        variance = np.exp(np.asarray(density.log_variance, np.float64))[kept]
        terms = -squares / (2 * variance) - 1.5 * np.log(2 * np.pi * variance)
        return -(special.logsumexp(terms, axis=1) - np.log(kept.sum())) / 3

    def jackknife(density: Any) -> float:
        count = len(density.centres)
        left_out = [100 * nll(density, np.arange(count) != i).mean() for i in range(count)]
        return float((count - 1) * np.var(left_out))

    made, half_of_train = densities
    excess = 100 * (nll(made, np.ones(12, bool)) - nll(half_of_train, np.ones(12, bool)))
    variance = excess.var(ddof=1) / 30 + jackknife(made) + jackknife(half_of_train)
    half = stats.norm.ppf(0.5 + confidence / 2) * np.sqrt(variance)
    # log terms are float32
    assert describe(found, "fld").values["fld"].value == pytest.approx(excess.mean(), rel=1e-4)
    assert ends(found, "fld") == pytest.approx((excess.mean() - half, excess.mean() + half), rel=1e-4)


def test_hedges_g_is_the_pooled_difference_with_its_small_sample_factor() -> None:
    rng = np.random.default_rng(6)
    made, real = rng.normal(size=(7, 2)) + 1, rng.normal(size=(9, 2))
    result = anomaly_score.judge(generated=made, reference=real, permutations=1, bootstraps=1)
    for column, found in enumerate((result.complexity, result.vulnerability)):
        x, y = made[:, column], real[:, column]
        pooled = np.sqrt((6 * x.var(ddof=1) + 8 * y.var(ddof=1)) / 14)
        # Hedges 1981, Eq. 6e, and its approximation, right to 0.1 % at 14 degrees of freedom
        exact = np.exp(special.gammaln(7) - special.gammaln(6.5)) / np.sqrt(7)
        assert found.hedges_g == pytest.approx((x.mean() - y.mean()) / pooled * exact, rel=1e-3)
        assert exact < 0.95
