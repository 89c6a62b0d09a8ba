"""The criteria of Räisä et al. 2025 on curves drawn by hand, and metrics on two of the simulated failures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ks_2samp

from genaudit.metrics.fkea import fkea
from genaudit.metrics.prdc import prdc
from genaudit.metrics.vendi import vendi_score
from genaudit.recipe import Context
from genaudit.stats.neighbours import nearest
from genaudit.stats.occupancy import expected_distinct
from genaudit_papers.published import published
from genaudit_papers.raisa2025 import checks, metric_sanity
from genaudit_papers.raisa2025.checks import CHECKS, applies, desiderata, together
from genaudit_papers.raisa2025.metric_sanity import DESIDERATA, KINDS, PUBLISHED, MetricSanity, k_of_coverage
from genaudit_papers.raisa2025.simulations import Grid

X = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
SMALL = Grid(points=3, sizes=2, largest=200, extra=10, n=60)


def _curve(*values: float) -> np.ndarray:
    return np.array(values)


def test_shapes_are_told_from_each_other() -> None:
    hill, slope, line = _curve(0, 0.5, 1, 0.5, 0), _curve(1, 1, 0.7, 0.3, 0), _curve(1, 0.98, 1, 0.97, 0.96)
    assert [checks.bell(0)(X, each) for each in (hill, slope, line)] == [True, False, False]
    assert [checks.falls()(X, each) for each in (hill, slope, line)] == [False, True, False]
    assert [checks.rises(X, each[::-1]) for each in (hill, slope, line)] == [False, True, False]
    assert [checks.flat(X, each) for each in (hill, slope, line)] == [False, False, True]
    assert checks.falls(by=0)(X, slope)
    assert not checks.falls(by=-1)(X, slope)
    assert checks.settles(X, _curve(0, 0.4, 0.98, 1, 1))
    assert not checks.settles(X, _curve(1, 1, 1, 1, 0.9))
    either = checks.low_or_high(checks.bell(0), checks.rises)
    assert [either(X, each) for each in (hill, slope[::-1], line)] == ["low", "high", False]


def test_a_fall_does_not_rise_again_before_or_after_it() -> None:
    assert not checks.falls()(X, _curve(1, 0.5, 0, 0.6, 0.7))
    assert not checks.falls()(X, _curve(0.7, 1, 0.5, 0.3, 0))
    assert checks.falls()(X, _curve(0.95, 1, 0.5, 0, 0.05))


def test_scores_are_the_metrics_with_the_papers_k_and_relative_to_real_samples() -> None:
    rng = np.random.default_rng(0)
    real, synthetic = rng.normal(size=(60, 3)), rng.normal(size=(60, 3)) + 0.5
    apart = metric_sanity.distances(real, synthetic)
    floors = {name: each / 4 for name, each in apart.items()} | {"kd": -0.1, "fd": 2 * apart["fd"]}
    floors |= {"retrieved": 20.0, "vendi": 2.0, "sigma": 1.0, "fkea": 5.0}
    found = metric_sanity.scores(real, synthetic, floors)
    narrow, wide = prdc(real, synthetic, k=3), prdc(real, synthetic, k=k_of_coverage(60))
    assert (found["precision"], found["recall"]) == (narrow.precision, narrow.recall)
    assert (found["density"], found["coverage"]) == (wide.density, wide.coverage)
    assert narrow.coverage != wide.coverage
    assert found["vendi"] == vendi_score(synthetic) / 2
    assert found["fkea"] == fkea(synthetic, sigma=1.0, frequencies=metric_sanity.FREQUENCIES) / 5
    assert found["irs_relative"] == len(np.unique(nearest(synthetic, real).indices)) / 20
    # a distance below its floor is as real, one of four floors a quarter, and nothing is as near as a floor below 0
    assert (found["fd"], found["kd"]) == (1.0, 0.0)
    assert [found[name] for name in ("cmmd", "swd", "mind")] == pytest.approx([0.25] * 3, rel=1e-12)


def test_samples_are_standardised_by_the_real_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    def scores(real: np.ndarray, synthetic: np.ndarray, floors: dict[str, float]) -> dict[str, float]:
        seen.append((real, synthetic))
        return dict.fromkeys(KINDS, 1.0)

    monkeypatch.setattr(metric_sanity, "scores", scores)
    monkeypatch.setattr(metric_sanity, "_floor", lambda *_: {})
    metric_sanity.curves("Gaussian Std. Deviation Difference", SMALL, (0, 0))
    for real, _ in seen:
        np.testing.assert_allclose(real.mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(real.std(axis=0), 1, rtol=1e-12)
    assert max(synthetic.std() for _, synthetic in seen) > 2


def test_a_bell_may_have_one_end_above_the_minimum_and_none_may_be_in_the_middle() -> None:
    assert checks.bell(0)(X, _curve(0.3, 0, 1, 0.5, 0))  # the right end is the minimum
    assert not checks.bell(0)(X, _curve(0.3, 0, 1, 0.5, 0.4))
    assert not checks.bell(0)(X, _curve(0.85, 0.5, 1, 0.5, 0))  # the left end is 0.15 below the top


def test_values_are_near_within_a_twentieth() -> None:
    y = _curve(0.949, 0.96, 1.0, 0.06, 0.04)
    assert [checks.near(1, at)(X, y) for at in (-np.inf, -1, 0)] == [False, True, True]
    assert [checks.near_either(at)(X, y) for at in (0, 1, np.inf)] == ["high", False, "low"]


def test_high_and_low_do_not_go_together() -> None:
    assert together([True, "high", "high"]) == "high"
    assert together([True, "high", "low"]) is False
    assert together(["low", False]) is False
    assert together([True, True]) is True


def test_every_published_row_is_a_check_and_the_other_way_round() -> None:
    rows = {f"{check.name}: {DESIDERATA[each]}" for check in CHECKS for each in desiderata(check)}
    for table, kind in (("Table 3", "fidelity"), ("Table 4", "diversity")):
        found = published("raisa2025", table)
        assert set(found.rows) == rows
        assert {cell.printed for cell in found.cells.values()} <= set("TFHL")
        assert all(applies(check, each, kind) for check in CHECKS for each in desiderata(check))  # type: ignore[arg-type]
        assert {PUBLISHED[name] for name in PUBLISHED if KINDS[name] == kind} <= set(found.columns)
    # of a distance's checks none has a criterion of one kind
    assert not applies(CHECKS[3], "bounds", "both")
    assert applies(CHECKS[0], "bounds", "both")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_simulation_gives_real_and_synthetic_samples_at_every_degree(check: checks.Check) -> None:
    points = list(check.simulate(np.random.default_rng(0), SMALL))
    for index in {point.index for point in points}:
        degrees = [point.x for point in points if point.index == index]
        assert degrees == sorted(set(degrees))
    for point in points:
        assert point.real.shape[1] == point.synthetic.shape[1] == point.draw(5).shape[1]
        # the real samples are of the law that fresh ones are drawn from, in each coordinate and in length
        fresh = point.draw(len(point.real))
        for of in (lambda each: each[:, 0], lambda each: each[:, -1], lambda each: np.linalg.norm(each, axis=1)):
            assert ks_2samp(of(point.real), of(fresh), method="asymp").pvalue > 1e-6  # of some hundred tests a check
        assert not np.isnan(point.synthetic).any()
    assert {rule.index for rule in check.rules} <= {"", *(point.index for point in points)}


def test_the_simulated_laws_are_those_of_the_paper() -> None:
    """Volumes and radii that the names promise."""
    rng = np.random.default_rng(1)
    grid = Grid(points=3, sizes=2, largest=4000, n=4000)
    by_name = {check.name: list(check.simulate(rng, grid)) for check in CHECKS if "Torus" in check.name or
               "Varying Syn" in check.name or "Surface" in check.name}  # fmt: skip
    for point in by_name["Sphere vs. Torus"]:
        ball, torus = (point.real, point.synthetic) if point.index == "ball is real" else (point.synthetic, point.real)
        assert np.linalg.norm(ball, axis=1).max() <= 0.8
        assert (np.hypot(np.hypot(torus[:, 0], torus[:, 1]) - 1, torus[:, 2]) <= 0.1 + 1e-12).all()
        assert (np.linalg.norm(ball, axis=1) < 0.4).mean() == pytest.approx(1 / 8, abs=0.05)  # uniform in the volume
    for point in by_name["Hypercube, Varying Syn. Size"]:
        if len(point.synthetic) == 4000:
            inside = (point.synthetic <= 1).all(axis=1).mean()
            assert inside == pytest.approx(0.2, abs=5 * np.sqrt(0.2 * 0.8 / 4000))
    for point in by_name["Hypersphere Surface"]:
        np.testing.assert_allclose(np.linalg.norm(point.synthetic, axis=1), point.x, rtol=1e-9)


def test_the_k_of_coverage_is_naeems() -> None:
    k = k_of_coverage(1000)
    covered = [1 - np.prod([(1000 - i) / (2000 - i) for i in range(1, j + 1)]) for j in (k - 1, k)]
    assert covered[0] <= 0.95 < covered[1]
    assert expected_distinct(1, 1) == 1


def test_the_recipe_says_who_passes_what(tmp_path: Path) -> None:
    recipe = MetricSanity(repeats=1, points=3, only=["Mode Dropping + Invention"])
    table = recipe.run(Context("laptop", tmp_path / "steps", None, tmp_path / "store"))
    cells = {(cell.row, cell.column): cell for cell in table.cells}
    bounds, purpose = (f"Mode Dropping + Invention: {each}" for each in ("D4 (bounds)", "D1b (purpose)"))
    # as published; coverage loses where half of the samples are invented (by how much, and how far recall is from 1 for
    # equal laws, are close calls)
    for row in (bounds, purpose):
        assert [cells[row, metric].verdict for metric in ("precision", "density")] == ["reproduced"] * 2
    assert cells[bounds, "coverage"].verdict == "reproduced"
    assert cells[bounds, "coverage"].recomputed == 0
    assert cells[bounds, "clipped_density"].recomputed == cells[purpose, "clipped_density"].recomputed == 1
    assert (purpose, "fd") not in cells  # what is asked depends on the kind
    for metric, kind in KINDS.items():
        own = [c for (row, column), c in cells.items() if column == metric and row != "passed"]
        assert len(own) == (0 if kind == "both" else 2)
        assert cells["passed", metric].recomputed == sum(c.recomputed or 0 for c in own)
        assert cells["passed", metric].note == f"of {len(own)}"
