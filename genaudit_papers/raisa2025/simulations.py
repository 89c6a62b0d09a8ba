"""The simulated sets of Räisä et al. 2025: for each sanity check real samples, and synthetic ones that fail by degrees.

Written from the authors' experiments (github.com/vanderschaarlab/position-fidelity-diversity-metrics-flawed), whose
numbers of samples, dimensions, laws and ranges these are. `Grid` says how many degrees are taken of each.
N real samples, M synthetic ones, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

Draw = Callable[[int], np.ndarray]  # so many samples of the real law


@dataclass(frozen=True)
class Grid:
    """How finely the paper's ranges are walked.

    Attributes:
        points: degrees of a range that has a midpoint, odd. sizes: of a range of sample sizes. largest: sample size.
        extra: dimensions beside the disjoint one, at most. n: samples of each set.
    """

    points: int = 51
    sizes: int = 20
    largest: int = 10_000
    extra: int = 1000
    n: int = 1000


@dataclass(frozen=True)
class Point:
    """One degree of one simulated failure: `index` distinguishes curves, `x` is the degree."""

    index: str
    x: float
    real: np.ndarray
    synthetic: np.ndarray
    draw: Draw


Simulation = Callable[[np.random.Generator, Grid], Iterator[Point]]


def _normal(rng: np.random.Generator, dimensions: int) -> Draw:
    return lambda count: rng.normal(size=(count, dimensions))


def mean_difference(rng: np.random.Generator, grid: Grid) -> Iterator[Point]:
    """Normal laws whose means differ in every dimension."""
    for dimensions, end in ((1, 6), (8, 3), (64, 1)):
        draw = _normal(rng, dimensions)
        real = draw(grid.n)
        for mean in np.linspace(-end, end, grid.points):
            yield Point(f"D = {dimensions}", mean, real, draw(grid.n) + mean, draw)


def mean_difference_with_outlier(rng: np.random.Generator, grid: Grid) -> Iterator[Point]:
    """The same, with one outlier at the far end among the real or the synthetic samples."""
    for dimensions, end in ((1, 6), (8, 3), (64, 1)):
        draw, outlier = _normal(rng, dimensions), np.full((1, dimensions), float(end))
        real = draw(grid.n)
        with_outlier = np.concatenate([real, outlier])
        for mean in np.linspace(-end, end, grid.points):
            synthetic = draw(grid.n) + mean
            yield Point(f"real outlier, D = {dimensions}", mean, with_outlier, synthetic, draw)
            yield Point(f"outlier, D = {dimensions}", mean, real, np.concatenate([synthetic, outlier]), draw)


def deviation_difference(rng: np.random.Generator, grid: Grid) -> Iterator[Point]:
    """Normal laws whose standard deviations differ."""
    for dimensions, end in ((1, 3.0), (8, 1.0), (64, 0.5)):
        draw = _normal(rng, dimensions)
        real = draw(grid.n)
        for exponent in np.linspace(-end, end, grid.points):
            yield Point(f"D = {dimensions}", 10.0**exponent, real, draw(grid.n) * 10.0**exponent, draw)


def _mixture(rng: np.random.Generator, means: np.ndarray, scale: float, shares: np.ndarray, count: int) -> np.ndarray:
    """Samples (count, D) of Gaussians about `means` (K, D) in these shares (K,)."""
    drawn: np.ndarray = rng.normal(means[rng.choice(len(means), count, p=shares / shares.sum())], scale)
    return drawn


MODES, SCALES = 10, {1: 1 / 6, 8: 1 / 3, 64: 1.0}


def _dropping(rng: np.random.Generator, grid: Grid, shares_of: dict[float, np.ndarray]) -> Iterator[Point]:
    for dimensions, scale in SCALES.items():
        means = np.repeat(np.linspace(0, 10, MODES)[:, None], dimensions, axis=1)

        def draw(count: int, means: np.ndarray = means, scale: float = scale) -> np.ndarray:
            return _mixture(rng, means, scale, np.ones(MODES), count)

        real = draw(grid.n)
        for x, shares in shares_of.items():
            yield Point(f"D = {dimensions}", x, real, _mixture(rng, means, scale, shares, grid.n), draw)


def simultaneous_dropping(rng: np.random.Generator, grid: Grid) -> Iterator[Point]:
    """Ten modes, nine of which fade together."""
    fractions = np.linspace(0, 1, 50) if grid.points > 50 else np.array([0, 0.3, 0.6, 0.8, 0.96, 1.0])
    return _dropping(rng, grid, {x: np.r_[1.0, np.full(MODES - 1, 1 - x)] for x in fractions})


def sequential_dropping(rng: np.random.Generator, grid: Grid) -> Iterator[Point]:
    """Ten modes, which go one after another."""
    return _dropping(rng, grid, {float(gone): (np.arange(MODES) < MODES - gone) * 1.0 for gone in range(MODES)})


INVENTED = np.array(
    [[5.46794328, -4.08481523], [4.87211875, -13.64864684], [-16.39432073, 9.09802249], [-2.15447941, 12.46200019],
     [11.55784483, -4.96049923], [-24.60558474, 14.18020818], [16.84215967, -3.18710751], [-5.47807206, -6.77247129],
     [9.46726546, 1.05922347], [-5.40346201, -17.29490131]]
)  # fmt: skip


def dropping_and_invention(rng: np.random.Generator, grid: Grid) -> Iterator[Point]:
    """One to ten modes in the plane where the real law has the first five."""

    def draw(count: int) -> np.ndarray:
        return _mixture(rng, INVENTED[:5], 0.25, np.ones(5), count)

    real = draw(grid.n)
    for modes in range(1, MODES + 1):
        yield Point("D = 2", modes, real, _mixture(rng, INVENTED[:modes], 0.25, np.ones(modes), grid.n), draw)


def hypersphere_surface(rng: np.random.Generator, grid: Grid) -> Iterator[Point]:
    """Uniform on the surfaces of spheres of other radii."""
    for dimensions in (2, 16, 128):

        def draw(count: int, dimensions: int = dimensions) -> np.ndarray:
            normal = rng.normal(size=(count, dimensions))
            drawn: np.ndarray = normal / np.linalg.norm(normal, axis=1, keepdims=True)
            return drawn

        real = draw(grid.n)
        for radius in np.linspace(0.1, 1.9, grid.points):
            yield Point(f"D = {dimensions}", radius, real, draw(grid.n) * radius, draw)


def _sizes(grid: Grid) -> np.ndarray:
    return np.logspace(2, np.log10(grid.largest), grid.sizes).astype(int)


OVERLAP = 0.2


def _cubes(rng: np.random.Generator, grid: Grid, both: bool) -> Iterator[Point]:
    for dimensions in (1, 8, 64):

        def draw(count: int, dimensions: int = dimensions) -> np.ndarray:
            return rng.uniform(size=(count, dimensions))

        real = draw(grid.n)
        for size in _sizes(grid):
            shifted = draw(size) + 1 - OVERLAP ** (1 / dimensions)
            yield Point(f"D = {dimensions}", float(size), draw(size) if both else real, shifted, draw)


def hypercubes_by_size(rng: np.random.Generator, grid: Grid) -> Iterator[Point]:
    """Two cubes that share a fifth of their volume, at growing numbers of samples."""
    return _cubes(rng, grid, both=True)


def hypercubes_by_synthetic_size(rng: np.random.Generator, grid: Grid) -> Iterator[Point]:
    """The same, at growing numbers of synthetic samples."""
    return _cubes(rng, grid, both=False)


def sphere_and_torus(rng: np.random.Generator, grid: Grid) -> Iterator[Point]:
    """A ball inside a torus that does not touch it, and the other way round."""

    def ball(count: int, dimensions: int = 3, radius: float = 0.8) -> np.ndarray:
        normal = rng.normal(size=(count, dimensions))
        lengths = rng.uniform(size=(count, 1)) ** (1 / dimensions)
        drawn: np.ndarray = normal / np.linalg.norm(normal, axis=1, keepdims=True) * lengths * radius
        return drawn

    def torus(count: int) -> np.ndarray:
        disc, angle = ball(count, 2, 0.1), rng.uniform(0, 2 * np.pi, count)
        outward = 1 + disc[:, 0]
        return np.stack([outward * np.cos(angle), outward * np.sin(angle), disc[:, 1]], axis=1)

    for index, of_real, of_synthetic in (("ball is real", ball, torus), ("torus is real", torus, ball)):
        real = of_real(grid.n)
        for size in _sizes(grid):
            yield Point(index, float(size), real, of_synthetic(size), of_real)


def one_and_two_modes(rng: np.random.Generator, grid: Grid) -> Iterator[Point]:
    """Two real modes that part, and one synthetic mode as wide as both."""
    for dimensions in (1, 8, 64):
        for apart in np.linspace(0, 5, min(grid.points, 20)):
            means = np.repeat(np.array([[-apart / 2], [apart / 2]]), dimensions, axis=1)

            def draw(count: int, means: np.ndarray = means) -> np.ndarray:
                return _mixture(rng, means, 1.0, np.ones(2), count)

            synthetic = rng.normal(scale=np.sqrt(1 + apart**2), size=(grid.n, dimensions))
            yield Point(f"D = {dimensions}", apart, draw(grid.n), synthetic, draw)


def scaling_of_one_dimension(rng: np.random.Generator, grid: Grid) -> Iterator[Point]:
    """Laws that are apart in one dimension, while the unit of the other one grows."""
    for exponent in np.linspace(-3, 3, min(grid.points, 20)):
        unit = np.array([1.0, 10.0**exponent])

        def draw(count: int, unit: np.ndarray = unit) -> np.ndarray:
            drawn: np.ndarray = rng.normal(size=(count, 2)) * unit
            return drawn

        yield Point("D = 2", 10.0**exponent, draw(grid.n), draw(grid.n) + np.array([6.0, 0.0]), draw)


def mean_difference_with_pareto(rng: np.random.Generator, grid: Grid) -> Iterator[Point]:
    """The means' difference in one dimension beside a heavy tail in another."""

    def draw(count: int) -> np.ndarray:
        return np.stack([rng.normal(size=count), 1 + rng.pareto(1.01, count)], axis=1)

    real = draw(grid.n)
    for mean in np.linspace(-6, 6, grid.points):
        yield Point("D = 2", mean, real, draw(grid.n) + np.array([mean, 0.0]), draw)


def one_disjoint_dimension(rng: np.random.Generator, grid: Grid) -> Iterator[Point]:
    """Laws that are apart in one dimension, among ever more that are alike."""
    for extra in np.unique(np.logspace(0, np.log10(grid.extra), min(grid.points, 20)).astype(int)):
        draw = _normal(rng, int(extra) + 1)
        yield Point("", float(extra), draw(grid.n), draw(grid.n) + np.r_[6.0, np.zeros(extra)], draw)


def discrete_and_continuous(rng: np.random.Generator, grid: Grid) -> Iterator[Point]:
    """Whole numbers against numbers, at a growing scale; which of them are real."""
    for index in ("real is discrete", "real is continuous"):
        discrete = index == "real is discrete"
        for scale in np.logspace(0, 3, min(grid.points, 20)):

            def draw(count: int, scale: float = scale, rounded: bool = discrete) -> np.ndarray:
                drawn = rng.normal(size=(count, 1)) * scale
                return np.round(drawn) if rounded else drawn

            yield Point(index, scale, draw(grid.n), draw(grid.n, rounded=not discrete), draw)
