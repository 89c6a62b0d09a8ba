"""Every end of an interval against its formula, written out again with NumPy and SciPy over all pairs or images.

Each runs at two levels, so that neither the level nor its quantile can be another than the one asked for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import linalg, spatial, special, stats

from genaudit.metrics import (
    anomaly_score,
    authpct,
    cmmd,
    fd_infinity,
    fkea,
    frechet,
    inception_score,
    kernel,
    mind,
    path_length,
    prdc,
    rarity,
    realism,
    spatial_frechet,
    swd,
    vendi,
)
from genaudit.reports.values import describe
from genaudit.stats import balls
from genaudit.stats.ks2d import ks2d_2samp
from genaudit.stats.sliced import random_directions
from genaudit.stats.subsampling import REPEATS, over_parts

LEVELS = pytest.mark.parametrize("confidence", [0.95, 0.7])


def ends(result: Any, name: str) -> tuple[float | None, float | None]:
    """(lower, upper) of a value, as the reports show them."""
    shown = describe(result, "metric").values[name]
    return shown.lower, shown.upper


def wilson(share: float, trials: float, confidence: float) -> tuple[float, float]:
    """Wilson 1927: the two shares x with (share - x)^2 = z^2 x (1 - x) / trials, by the quadratic formula."""
    z2 = _z(confidence) ** 2
    a, b, c = 1 + z2 / trials, -(2 * share + z2 / trials), share**2
    root = max(b * b - 4 * a * c, 0.0) ** 0.5
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def _z(confidence: float) -> float:
    return float(stats.norm.ppf(0.5 + confidence / 2))


def _t(confidence: float) -> float:
    """Student's quantile for an error from as many parts as are drawn."""
    return float(stats.t.ppf(0.5 + confidence / 2, REPEATS - 1))


def _jackknife(statistic, x: np.ndarray, y: np.ndarray) -> float:
    """The delete-one error of a statistic of two sets, by computing it N + M times."""
    without_x = np.array([statistic(np.delete(x, i, axis=0), y) for i in range(len(x))])
    without_y = np.array([statistic(x, np.delete(y, i, axis=0)) for i in range(len(y))])
    variance = sum((len(each) - 1) * each.var() for each in (without_x, without_y))
    return float(np.sqrt(variance))


def _two_sets(seed: int, n: int = 24, m: int = 31, dimensions: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, dimensions)) + 0.6, rng.normal(size=(m, dimensions)) * 1.2


@LEVELS
def test_kernel_distances_are_at_the_delete_one_jackknifes_ends(confidence: float) -> None:
    x, y = _two_sets(0)

    def kd(x: np.ndarray, y: np.ndarray) -> float:
        def mean(a: np.ndarray, b: np.ndarray, same: bool) -> float:
            k = (a @ b.T / a.shape[1] + 1) ** 3
            return float(k[~np.eye(len(a), dtype=bool)].mean() if same else k.mean())

        return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)

    half = _z(confidence) * _jackknife(kd, x, y)
    found = ends(kernel.judge(generated=x, reference=y, confidence=confidence), "kd")
    assert found == pytest.approx((kd(x, y) - half, kd(x, y) + half), rel=1e-9)

    def gaussian(x: np.ndarray, y: np.ndarray) -> float:
        x, y = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (x, y))
        means = [np.exp(-spatial.distance.cdist(a, b, "sqeuclidean") / 2).mean() for a, b in ((x, x), (y, y), (x, y))]
        return 1000 * float(means[0] + means[1] - 2 * means[2])

    half = _z(confidence) * _jackknife(gaussian, x, y)
    result = cmmd.judge(generated=x, reference=y, sigma=1.0, confidence=confidence)
    assert ends(result, "cmmd") == pytest.approx((gaussian(x, y) - half, gaussian(x, y) + half), rel=1e-9)


def _frechet(m1: np.ndarray, s1: np.ndarray, m2: np.ndarray, s2: np.ndarray) -> float:
    root = linalg.sqrtm(s1 @ s2).real
    return float(np.square(m1 - m2).sum() + np.trace(s1 + s2 - 2 * root))


def _frechet_variance(x: np.ndarray, m2: np.ndarray, s2: np.ndarray) -> float:
    """The variance of FD over new images of x: its numerical derivative towards every image."""
    m1, s1 = x.mean(axis=0), np.cov(x.T)
    slopes = []
    for image in x:
        move, spread, step = image - m1, np.outer(image - m1, image - m1) - s1, 1e-4
        here, there = (_frechet(m1 + sign * step * move, s1 + sign * step * spread, m2, s2) for sign in (-1, 1))
        slopes.append((there - here) / (2 * step))
    return float(np.var(slopes, ddof=1)) / len(x)


@LEVELS
def test_frechet_distances_are_at_the_infinitesimal_jackknifes_ends(confidence: float) -> None:
    x, y = _two_sets(1)
    first, second = (x.mean(axis=0), np.cov(x.T)), (y.mean(axis=0), np.cov(y.T))
    value = _frechet(*first, *second)
    half = _z(confidence) * np.sqrt(_frechet_variance(x, *second) + _frechet_variance(y, *first))
    expected = (max(value - half, 0.0), value + half)
    # central differences of step 1e-4 err by 1e-8, relative
    assert ends(frechet.judge(generated=x, reference=y, confidence=confidence), "fd") == pytest.approx(
        expected, rel=1e-6
    )
    as_spatial = spatial_frechet.judge(generated=x, reference=y, confidence=confidence)
    assert ends(as_spatial, "sfd") == pytest.approx(expected, rel=1e-6)

    # moments count as fixed
    class Moments:
        mu, sigma, n = (*second, 31)

    half = _z(confidence) * np.sqrt(_frechet_variance(x, *second))
    found = ends(frechet.judge(generated=x, reference=Moments(), confidence=confidence), "fd")
    assert found == pytest.approx((max(value - half, 0.0), value + half), rel=1e-6)


@LEVELS
def test_fd_infinitys_ends_add_the_scatter_about_the_line_to_the_error_of_fd(confidence: float) -> None:
    x, y = _two_sets(2, 60, 60)
    result = fd_infinity.judge(generated=x, reference=y, points=8, smallest=20, confidence=confidence)
    sizes = np.linspace(20, 60, 8).astype(int)
    distances = result.line.lines["subsets"][1:][::-1]
    line = stats.linregress(1 / sizes, distances)
    of_fd = _frechet_variance(x, y.mean(0), np.cov(y.T)) + _frechet_variance(y, x.mean(0), np.cov(x.T))
    half = _z(confidence) * np.hypot(line.intercept_stderr, np.sqrt(of_fd))
    assert result.slope == pytest.approx(line.slope, rel=1e-9)
    assert ends(result, "fd_infinity") == pytest.approx((line.intercept - half, line.intercept + half), rel=1e-6)


@LEVELS
def test_sliced_distances_of_a_shifted_set_have_ends_in_closed_form(confidence: float) -> None:
    # Along u the transport of x to x + s is the shift u's. The potential of a row of x is then -2 (u's)(u'(x - m)),
    # that of a row of y the opposite one, and the directions' own scatter is that of (u's)^2.
    rng = np.random.default_rng(3)
    x, shift = rng.normal(size=(40, 4)), np.array([2.0, 0.0, -1.0, 0.5])
    drawn = random_directions(30, 4, 0)
    along = drawn @ shift
    influence = -2 * ((x - x.mean(axis=0)) @ (drawn * along[:, None]).T).mean(axis=1)
    variance = 2 * influence.var(ddof=1) / 40 + np.square(along).var(ddof=1) / 30
    value, half = np.square(along).mean(), _z(confidence) * np.sqrt(variance)
    keys = {"generated": x, "reference": x + shift, "directions": 30, "confidence": confidence, "seed": 0}
    expected = np.array([value - half, value + half])
    assert expected[0] > 0
    assert ends(swd.judge(**keys), "swd") == pytest.approx(tuple(np.sqrt(expected)), rel=1e-9)
    assert ends(mind.judge(**keys), "mind") == pytest.approx(tuple(12 * expected), rel=1e-9)


@LEVELS
@pytest.mark.parametrize("q", [1, 2, 3])
def test_vendis_ends_are_the_infinitesimal_jackknifes_on_the_logarithm(confidence: float, q: int) -> None:
    x = np.random.default_rng(4).normal(size=(60, 3)) + 0.5
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)

    def entropy(rho: np.ndarray) -> float:
        p = np.linalg.eigvalsh(rho)
        return float(-(p * np.log(p)).sum() if q == 1 else np.log((p**q).sum()) / (1 - q))

    rho, step = unit.T @ unit / 60, 1e-4
    moved = [[entropy(rho + sign * step * (np.outer(f, f) - rho)) for sign in (-1, 1)] for f in unit]
    slopes = np.diff(moved, axis=1)[:, 0] / (2 * step)
    factor = np.exp(_z(confidence) * slopes.std(ddof=1) / np.sqrt(60))
    score = np.exp(entropy(rho))
    found = ends(vendi.judge(generated=x, q=q, confidence=confidence), "vendi")
    assert found == pytest.approx((max(score / factor, 1.0), min(score * factor, 3.0)), rel=1e-6)


@LEVELS
def test_fkeas_ends_are_vendis_of_its_fourier_features(confidence: float) -> None:
    x, _ = _two_sets(5, 80)
    result = fkea.judge(generated=x, sigma=4.0, frequencies=6, confidence=confidence)
    features = fkea.fourier_rows(x, sigma=4.0, frequencies=6, seed=0)
    for name, q in (("fkea_vendi", 1), ("fkea_rke", 2)):
        assert ends(result, name) == ends(vendi.judge(generated=features, q=q, confidence=confidence), "vendi")
    assert ends(result, "fkea_vendi") != ends(result, "fkea_rke")


@LEVELS
def test_inception_scores_have_students_ends_over_splits_and_the_delta_methods_unsplit(confidence: float) -> None:
    logits = np.random.default_rng(6).normal(size=(50, 4)) * 2
    p = special.softmax(logits, axis=1)

    def score(part: np.ndarray) -> float:
        return float(np.exp(special.rel_entr(part, part.mean(axis=0)).sum(axis=1).mean()))

    order = np.random.RandomState(2020).permutation(50)
    scores = [score(p[order[i * 10 : (i + 1) * 10]]) for i in range(5)]
    half = stats.t.ppf(0.5 + confidence / 2, 4) * stats.sem(scores)
    result = inception_score.judge(generated=logits, splits=5, confidence=confidence)
    assert ends(result, "inception_score") == pytest.approx((np.mean(scores) - half, np.mean(scores) + half), rel=1e-9)
    divergences = special.rel_entr(p, p.mean(axis=0)).sum(axis=1)
    factor = np.exp(_z(confidence) * stats.sem(divergences))
    expected = (score(p) / factor, score(p) * factor)
    assert ends(result, "inception_score_unsplit") == pytest.approx(expected, rel=1e-9)


def _balls(centres: np.ndarray, k: int) -> np.ndarray:
    """Radii: the distance to the k-th neighbour, the image itself left out."""
    own = spatial.distance.cdist(centres, centres)
    np.fill_diagonal(own, np.inf)
    return np.sort(own, axis=1)[:, k - 1]


def _of_share(share: float, spread, n: int, confidence: float) -> tuple[float, float]:
    """Wilson's ends for as many trials as have this error, at Student's quantile in place of the normal one."""
    within = spread.mean * (1 - spread.mean)
    trials = within / spread.error**2 if within > 0 and spread.error > 0 and 0 < share < 1 else n
    return wilson(share, trials * (_z(confidence) / _t(confidence)) ** 2, confidence)


def _of_positive(value: float, spread, confidence: float) -> tuple[float, float]:
    factor = np.exp(_t(confidence) * spread.error / spread.mean)
    return value / factor, value * factor


@LEVELS
def test_precision_recall_density_and_coverage_have_the_ends_of_their_own_parts(confidence: float) -> None:
    x, y = _two_sets(7, 40, 55)
    between = spatial.distance.cdist(y, x)

    def brute(reference: np.ndarray, generated: np.ndarray) -> dict[str, float]:
        near = between[np.ix_(reference, generated)]
        inside = near < _balls(y[reference], 3)[:, None]
        return {
            "precision": float(inside.any(axis=0).mean()),
            "recall": float((near < _balls(x[generated], 3)[None, :]).any(axis=1).mean()),
            "density": float(inside.sum(axis=0).mean() / 3),
            "coverage": float(inside.any(axis=1).mean()),
        }

    spread = over_parts(brute, {"reference": 55, "generated": 40}, seed=5)
    whole = brute(np.ones(55, bool), np.ones(40, bool))
    result = prdc.judge(generated=x, reference=y, k=3, confidence=confidence, seed=5)
    for name, n in (("precision", 40), ("recall", 55), ("coverage", 55)):
        expected = _of_share(whole[name], spread[name], n, confidence)
        assert ends(result, name) == pytest.approx(expected, rel=1e-9), name
    assert ends(result, "density") == pytest.approx(_of_positive(whole["density"], spread["density"], confidence))
    assert len({ends(result, name) for name in whole}) == 4


@LEVELS
def test_authpct_has_the_ends_of_its_parts_in_percent(confidence: float, monkeypatch: pytest.MonkeyPatch) -> None:
    x, train = _two_sets(8, 40, 60)
    between = spatial.distance.cdist(x, train)

    def brute(**kept: np.ndarray) -> dict[str, float]:
        near = between[np.ix_(kept["generated"], kept["train"])]
        return {"share": float((near.min(axis=1) > _balls(train[kept["train"]], 1)[near.argmin(axis=1)]).mean())}

    spread = over_parts(brute, {"generated": 40, "train": 60}, halves=0, seed=2)["share"]
    share = brute(generated=np.ones(40, bool), train=np.ones(60, bool))["share"]
    expected = tuple(100 * each for each in _of_share(share, spread, 40, confidence))
    keys = {"generated": x, "train": train, "confidence": confidence, "seed": 2}
    # four neighbours are listed: 1 in 256 images has none of them in a part
    assert ends(authpct.judge(**keys), "authpct") == pytest.approx(expected, rel=0.02)
    monkeypatch.setattr(authpct, "LISTED", 60)
    assert ends(authpct.judge(**keys), "authpct") == pytest.approx(expected, rel=1e-9)


@LEVELS
def test_rarity_and_realism_have_the_ends_of_their_parts(confidence: float, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = _two_sets(9, 40, 50)
    between = spatial.distance.cdist(y, x)

    def rarities(reference: np.ndarray, generated: np.ndarray) -> dict[str, float]:
        own = _balls(y[reference], 3)[:, None]
        smallest = np.where(between[np.ix_(reference, generated)] < own, own, np.inf).min(axis=0)
        return {"mean": float(smallest[np.isfinite(smallest)].mean())}

    def realisms(reference: np.ndarray, generated: np.ndarray) -> dict[str, float]:
        own = _balls(y[reference], 3)
        kept = own <= np.median(own)
        ratios = (own[kept, None] / between[np.ix_(np.flatnonzero(reference)[kept], generated)]).max(axis=0)
        return {"median": float(np.median(ratios)), "realistic": float((ratios >= 1).mean())}

    everything, sizes = (np.ones(50, bool), np.ones(40, bool)), {"reference": 50, "generated": 40}
    keys = {"generated": x, "reference": y, "k": 3, "confidence": confidence, "seed": 1}
    mean = rarities(*everything)["mean"]
    spread = over_parts(rarities, sizes, halves=0, seed=1)["mean"]
    # distances of the parts are float32 products
    assert ends(rarity.judge(**keys), "rarity_mean") == pytest.approx(_of_positive(mean, spread, confidence), rel=1e-5)
    whole, spreads = realisms(*everything), over_parts(realisms, sizes, halves=0, seed=1)
    median = _of_positive(whole["median"], spreads["median"], confidence)
    realistic = _of_share(whole["realistic"], spreads["realistic"], 40, confidence)
    # the centres of each image that a part may need, the best of several tiles; then all of them in one
    for listed, narrow, tile, tolerance in ((realism.LISTED, realism.NARROW, 12, 0.02), (50, 1.0, 50, 1e-4)):
        monkeypatch.setattr(realism, "LISTED", listed)
        monkeypatch.setattr(realism, "NARROW", narrow)
        monkeypatch.setattr(balls, "CENTRE_TILE", tile)
        result = realism.judge(**keys)
        assert ends(result, "realism_median") == pytest.approx(median, rel=tolerance)
        assert ends(result, "realistic") == pytest.approx(realistic, rel=tolerance)


def _resampled(*sizes: int, seed: int, repeats: int) -> list[tuple[np.ndarray, ...]]:
    rng = np.random.default_rng(seed)
    return [tuple(rng.integers(0, size, size) for size in sizes) for _ in range(repeats)]


@LEVELS
def test_as_has_its_bootstraps_spread_about_the_value_itself(confidence: float) -> None:
    rng = np.random.default_rng(10)
    made, real = rng.gamma(3, size=(20, 2)) + 0.4, rng.gamma(3, size=(25, 2))
    value = ks2d_2samp(real, made, pvalue=None).statistic
    repeats = [ks2d_2samp(real[i], made[j], pvalue=None).statistic for i, j in _resampled(25, 20, seed=3, repeats=80)]
    low, high = np.quantile(repeats, [(1 - confidence) / 2, (1 + confidence) / 2]) - np.mean(repeats)
    assert np.mean(repeats) - value > 0.02  # what recentring takes away
    keys = {"permutations": 9, "bootstraps": 80, "confidence": confidence, "seed": 3}
    result = anomaly_score.judge(generated=made, reference=real, **keys)
    assert ends(result, "as") == pytest.approx((max(value + low, 0), min(value + high, 1)), rel=1e-12)


@LEVELS
@pytest.mark.parametrize("repeats", [None, 70])
def test_mean_and_median_of_as_i_have_percentile_ends(repeats: int | None, confidence: float) -> None:
    rng = np.random.default_rng(11)
    rows = np.stack([rng.uniform(0.1, 0.3, 30), rng.gamma(9, 1, 30)], axis=1)
    scores = rows[:, 1] / rows[:, 0]
    drawn = [scores[i] for (i,) in _resampled(30, seed=4, repeats=repeats or 1000)]
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    keys = {} if repeats is None else {"bootstraps": repeats}
    result = anomaly_score.judge_images(generated=rows, confidence=confidence, seed=4, **keys)
    assert ends(result, "as_i_mean") == pytest.approx(tuple(np.quantile(np.mean(drawn, axis=1), tails)))
    assert ends(result, "as_i_median") == pytest.approx(tuple(np.quantile(np.median(drawn, axis=1), tails)))


@LEVELS
def test_path_lengths_have_the_ends_of_a_bootstrap_t_of_the_trimmed_mean(confidence: float) -> None:
    """Each repeat's deviation over its own error: the Winsorised deviation over the share of lengths that is kept."""
    lengths = np.random.default_rng(11).gamma(2, size=200)

    def trimmed(drawn: np.ndarray) -> tuple[float, float]:
        ordered = np.sort(drawn)
        low, high = ordered[int(np.floor(0.02 * 199))], ordered[int(np.ceil(0.98 * 199))]
        kept = (drawn >= low) & (drawn <= high)
        winsorised = np.minimum(np.maximum(drawn, low), high)
        return drawn[kept].mean(), np.sqrt(winsorised.var(ddof=1) / 200) / kept.mean()

    mean, error = trimmed(lengths)
    repeats = [trimmed(lengths[i]) for (i,) in _resampled(200, seed=4, repeats=500)]
    studentised = [(each - mean) / its for each, its in repeats]
    low, high = np.quantile(studentised, [(1 - confidence) / 2, (1 + confidence) / 2])
    result = path_length.judge(generated=lengths[:, None], discard=2, confidence=confidence, seed=4)
    assert ends(result, "ppl") == pytest.approx((mean - high * error, mean - low * error))
