from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

from genaudit.metrics import fld as module
from genaudit.metrics.fld import fld, judge
from genaudit.metrics.result import Unavailable
from genaudit.stats import products
from genaudit.stats.products import NumPyProducts, TorchProducts


class _InOrder:
    """A generator that leaves everything in order, as the authors' code was run for the numbers below."""

    def permutation(self, n: int) -> np.ndarray:
        return np.arange(n)


def _sets(seed: int, dimensions: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    train, reference = rng.normal(size=(200, dimensions)), rng.normal(size=(150, dimensions))
    return {"train": train, "reference": reference, "generated": rng.normal(size=(100, dimensions)) * 1.1 + 0.2}


@pytest.mark.parametrize(
    ("seed", "dimensions", "score", "gap"), [(0, 8, 7.303047, -5.782461), (1, 24, 4.671729, 0.290179)]
)
@pytest.mark.parametrize("worth", [0, np.inf], ids=["torch", "numpy"])
def test_it_equals_the_authors_code(
    seed: int, dimensions: int, score: float, gap: float, worth: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "WORTH_TORCH", worth)
    # Recorded from github.com/marcojira/fld on the same rows with its shuffles taken out. Both hold distances in
    # float32, theirs from float32 products: 1e-6 of a log-likelihood a feature near 1, times 100.
    monkeypatch.setattr(np.random, "default_rng", lambda seed: _InOrder(), raising=True)
    sets = _sets_before_patch[seed]
    result = judge(**sets)
    assert result.fld == pytest.approx(score, abs=3e-4)
    assert result.fld_gap == pytest.approx(gap, abs=3e-4)


_sets_before_patch = {0: _sets(0, 8), 1: _sets(1, 24)}


@pytest.fixture(params=[NumPyProducts(), TorchProducts("cpu")], ids=["numpy", "torch"])
def by(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_the_density_is_the_mixture_of_scipys_normals(by: Any) -> None:
    rng = np.random.default_rng(0)
    centres, x = rng.normal(size=(7, 3)), rng.normal(size=(11, 3))
    mixture = module._Mixture(centres, by)
    mixture.log_variance = by.put(rng.normal(size=7).astype(np.float32))
    variances = np.exp(by.get(mixture.log_variance).astype(np.float64))
    parts = [stats.multivariate_normal(c, v * np.eye(3)) for c, v in zip(centres, variances, strict=True)]
    log_p = np.stack([part.logpdf(x) for part in parts], axis=1)
    expected = -(special.logsumexp(log_p, axis=1) - np.log(7)) / 3
    np.testing.assert_allclose(mixture.nll(x, None, "x"), expected, rtol=2e-6)


def test_the_gradient_is_the_difference_quotient(by: Any) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(30, 4))
    mixture = module._Mixture(rng.normal(size=(5, 4)), by)
    squares = by.put(by.get(mixture._squares(x)).astype(np.float64))
    to_mean = by.put(np.square(x).sum(axis=1))
    start, middle = rng.normal(size=5), np.array(0.3)

    def loss(log_variance: np.ndarray, middle: np.ndarray) -> tuple[float, Any, Any]:
        mixture.log_variance = by.put(log_variance)
        return mixture._gradient(squares, to_mean, by.put(np.asarray(middle)))

    _, gradient, gradient_middle = loss(start, middle)
    gradients = [*gradient.tolist(), float(gradient_middle)]
    step = 1e-5
    for j in range(6):
        shift = np.zeros(6)
        shift[j] = step
        up, down = (loss(start + sign * shift[:5], middle + sign * shift[5])[0] for sign in (1, -1))
        assert gradients[j] == pytest.approx((up - down) / (2 * step), rel=1e-6, abs=1e-9)


def test_it_orders_real_shifted_noisy_collapsed_and_memorised_sets() -> None:
    rng = np.random.default_rng(2)
    law = rng.normal(size=(12, 12)) / 3
    train, reference, honest = (rng.normal(size=(n, 12)) @ law for n in (300, 200, 150))
    scores = {
        "honest": judge(generated=honest, reference=reference, train=train),
        "shifted": judge(generated=honest + 1.5, reference=reference, train=train),
        "noisy": judge(generated=honest + rng.normal(size=honest.shape), reference=reference, train=train),
        "collapsed": judge(generated=honest[np.arange(150) % 5], reference=reference, train=train),
        "copies": judge(generated=train[:150], reference=reference, train=train),
    }
    honest_score = scores["honest"]
    # Centres of the same law as the baseline's, equally many: no excess but chance.
    assert honest_score.fld.lower - 2 < 0 < honest_score.fld.upper + 2
    for name in ("shifted", "noisy", "collapsed", "copies"):
        assert scores[name].fld > honest_score.fld.upper, name
    assert scores["copies"].fld_gap < min(each.fld_gap for name, each in scores.items() if name != "copies") - 50


def test_it_does_not_depend_on_shift_scale_of_features_or_where_the_rows_lie(on_disk) -> None:
    sets = _sets(3, 6)
    expected = fld(**sets)
    scale = np.array([0.01, 1, 5, 100, 2, 3])
    moved = {role: rows * scale + 10 for role, rows in sets.items()}
    # float32 distances: 1e-7 of each, amplified by the 50 rounds of the fit.
    assert fld(**moved) == pytest.approx(expected, abs=1e-3)
    assert fld(**{role: on_disk(rows) for role, rows in sets.items()}) == pytest.approx(expected, abs=1e-9)
    assert fld(**{role: np.c_[rows, np.full(len(rows), 4.0)] for role, rows in sets.items()}) == pytest.approx(
        expected, abs=1e-9
    )  # a feature that is constant says nothing


def test_large_sets_are_drawn_from_and_small_ones_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    sets = _sets(4, 5)
    monkeypatch.setattr(module, "CENTRES", 40)
    monkeypatch.setattr(module, "PAIRS", 40 * 90)
    result = judge(**sets)
    assert (result.n_generated, result.n_train, result.n_reference) == (40, 90, 150)
    assert fld(**sets, seed=1) != result.fld
    assert fld(**sets) == fld(**sets, seed=0) == judge(**sets, seed=0).fld.value
    with pytest.raises(Unavailable, match="at least 2 reference"):
        judge(generated=sets["generated"], reference=sets["reference"][:1], train=sets["train"])
    with pytest.raises(Unavailable, match="4 training"):
        judge(generated=sets["generated"], reference=sets["reference"][:2], train=sets["train"][:3])
    assert judge(generated=sets["generated"], reference=sets["reference"][:2], train=sets["train"][:4]).n_train == 4
    with pytest.raises(Unavailable, match="constant"):
        judge(generated=np.ones((5, 2)), reference=np.ones((5, 2)), train=np.ones((5, 2)))


def test_copies_among_training_images_change_nothing_but_are_said() -> None:
    sets = _sets(3, 6)
    plain = judge(**sets)
    assert plain.cautions == ()
    twice = judge(**{**sets, "train": np.concatenate([sets["train"], sets["train"][:90]])})
    assert twice.fld == plain.fld
    assert [caution.code for caution in twice.cautions] == ["duplicates"]
    assert "90 of 290 training images" in twice.cautions[0].message


def test_reference_images_that_were_learned_are_left_out() -> None:
    sets = _sets(4, 6)
    plain = judge(**sets)
    mixed = judge(**{**sets, "reference": np.concatenate([sets["train"][:30], sets["reference"]])})
    assert mixed.fld == pytest.approx(plain.fld, rel=1e-9)
    assert (mixed.n_reference, [caution.code for caution in mixed.cautions]) == (150, ["same-images"])
    with pytest.raises(Unavailable, match="0 of 200 and 200 of 200"):
        judge(**{**sets, "reference": sets["train"]})


def test_generated_copies_of_training_images_are_said() -> None:
    sets = _sets(5, 6)
    found = judge(**{**sets, "generated": np.concatenate([sets["generated"][:90], sets["train"][:7]])})
    (caution,) = found.cautions
    assert (caution.code, caution.message.partition(" generated")[0]) == ("same-images", "7 of 97")


def test_features_beyond_what_float32_can_square_twice_have_no_value() -> None:
    rng = np.random.default_rng(0)
    generated, reference, train = (rng.normal(size=(25, 4)) for _ in range(3))
    generated[0] *= 1e14
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Unavailable, match=r"generated holds features .* standard deviations away"):
            judge(generated=generated, reference=reference, train=train)
