"""The simulated figures of dombrowski2025: a toy dataset (Fig. 6), low diversity (7), bounds (8), the law (9).

Dombrowski et al. 2025, sections 6 and 7. What the paper doesn't print (how diverse the simulated models of Figs. 7 and
8 are) is chosen here and said in the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import scipy

from genaudit.metrics.result import Cloud, Curve
from genaudit.recipe import Context
from genaudit.reports.table import Cell, Table
from genaudit.stats.occupancy import (
    cdf,
    estimate_support,
    pmf,
    rejection_power,
    rejection_threshold,
    samples_needed,
)
from genaudit_papers.dombrowski2025.irs_exact import PAPER, Exact
from genaudit_papers.published import compared, published


class Fig6(Exact):
    """A mixture of six classes of five modes each in the plane; modes are taken from the synthetic set.

    Args:
        count: real, test and synthetic samples each. repeats: datasets. spread: standard deviation of a mode, whose
            five centres lie on a circle of radius 1 around their class, the classes on one of radius 6.
    """

    classes, modes = 6, 5

    def __init__(self, count: int = 1000, repeats: int = 20, spread: float = 0.15) -> None:
        self.count, self.repeats, self.spread = count, repeats, spread

    def run(self, context: Context) -> Table:
        """IRS_inf,a for every number of classes kept, and of modes kept in every class."""
        paper = published(PAPER, "Fig. 6")
        cells = []
        lines: dict[str, np.ndarray] = {}
        for what, kind, total in (("classes", "between", self.classes), ("modes in every class", "within", self.modes)):
            shares, means = [], []
            for kept in range(1, total + 1):
                scores = context.step(f"{kind}_{kept}", partial(self._scores, kind, kept, context.seed))
                low, high = (float(np.quantile(scores, q)) for q in (0.025, 0.975))
                mean = float(np.mean(scores))
                shares.append(kept / total)
                means.append(mean)
                cells.append(
                    Cell(
                        f"{kept} of {total} {what}",
                        "IRS_inf,a",
                        mean,
                        lower=low,
                        upper=high,
                        tolerance=0.05,
                        expected=kept / total,
                        note="Expected: the real share. The paper calls the score very close to it.",
                    )
                )
            # without any mode there are no samples: no line begins left of the first share
            lines[f"{kind} classes"] = np.interp(np.linspace(0, 1, 61), shares, means, left=np.nan)
        lines["the real share"] = np.linspace(0, 1, 61)
        title, label = "Diversity of the toy dataset", "IRS_inf,a"
        figures = (
            Curve(title, "share of modes kept", label, np.linspace(0, 1, 61), lines, guides=("the real share",)),
            Cloud("One dataset, 2 classes kept", "x", "y", self._sets("between", 2, context.seed)),
        )
        return paper.recomputed(
            "irs_fig6",
            cells,
            context.scale,
            differs="The paper doesn't print the modes' places and widths: chosen here so that modes hardly overlap.",
            figures=figures,
            notes=(
                f"Mean over {self.repeats} datasets, with the interval of 95 % of them. Tolerance: 0.05, what 'very "
                "close' is taken to mean.",
            ),
        )

    def _scores(self, kind: str, kept: int, seed: int) -> list[float]:
        scores: list[float] = []
        for repeat in range(self.repeats):
            sets = self._sets(kind, kept, seed + repeat)
            supports = []
            tree = scipy.spatial.cKDTree(sets["train"])
            for role in ("generated", "reference"):
                _, retrieved = tree.query(sets[role])
                supports.append(estimate_support(len(np.unique(retrieved)), self.count, upper=self.count).value)
            scores.append(supports[0] / supports[1])
        return scores

    def _sets(self, kind: str, kept: int, seed: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([seed, kept, kind == "within"])

        def draw(classes: int, modes: int) -> np.ndarray:
            which = rng.integers(0, classes, self.count) / self.classes, rng.integers(0, modes, self.count) / self.modes
            outer, inner = (2 * np.pi * angle for angle in which)
            centres = np.stack([6 * np.cos(outer) + np.cos(inner), 6 * np.sin(outer) + np.sin(inner)], 1)
            return centres + self.spread * rng.standard_normal((self.count, 2))

        full = (self.classes, self.modes)
        some = (kept, self.modes) if kind == "between" else (self.classes, kept)
        return {"train": draw(*full), "reference": draw(*full), "generated": draw(*some)}


class Fig7(Exact):
    """How fast models of low diversity give themselves away among 800 training images.

    Args:
        shares: diversities of the simulated models; the paper's are not printed. alpha: level. power: of the rejection.
    """

    def __init__(
        self, shares: Sequence[float] = (0.1, 0.2, 0.3, 0.5, 0.8), alpha: float = 0.05, power: float = 0.9
    ) -> None:
        self.shares, self.alpha, self.power = list(shares), alpha, power

    def run(self, context: Context) -> Table:
        """The threshold at 60 samples, and the number of samples that rejects each diversity."""
        paper = published(PAPER, "Fig. 7")
        images = int(paper["training images", "value"].value or 0)
        n = int(paper["samples that reject a low-diversity model", "value"].value or 0)
        threshold = rejection_threshold(n, images, self.alpha)
        # the power falls with the number of images that a model knows
        below, above = 1, images
        while above - below > 1:
            middle = (below + above) // 2
            enough = rejection_power(n, middle, images, self.alpha) >= self.power
            below, above = (middle, above) if enough else (below, middle)
        most_diverse = below / images
        cells = [
            Cell(f"threshold after {n} samples", "learned images", threshold, note="reject below"),
            Cell(
                f"most diverse model that {n} samples reject",
                "diversity",
                most_diverse,
                note=f"with a probability of {self.power:.0%}; the paper's model is not more diverse than this",
            ),
        ]
        for share in self.shares:
            support = round(share * images)
            name = f"model of diversity {share:g}"
            power = rejection_power(n, support, images, self.alpha)
            needed = samples_needed(support, images, self.alpha, self.power)
            cells.append(Cell(name, f"rejected after {n} samples", power, unit="probability"))
            cells.append(Cell(name, "samples needed", needed, note=f"for a probability of {self.power:.0%}"))
        x = np.unique(np.linspace(1, 400, 120).astype(int))
        rng = np.random.default_rng(context.seed)
        lines = {}
        for share in self.shares[:3]:
            draws = rng.integers(0, round(share * images), x[-1])
            lines[f"diversity {share:g}"] = np.array([len(np.unique(draws[:m])) for m in x], float)
        least = np.array([rejection_threshold(int(m), images, self.alpha) for m in x], float)
        figure = Curve(
            "Learned images of simulated models",
            "samples drawn",
            "distinct training images",
            x,
            lines,
            (least, np.minimum(x, images).astype(float)),
            "not rejected",
        )
        return paper.recomputed(
            "irs_fig7",
            cells,
            context.scale,
            differs="The diversities of the models are chosen here; the paper doesn't print its own.",
            figures=(figure,),
        )


class Fig8(Exact):
    """Estimates of IRS_inf and their bounds for simulated models of ImageNet's size.

    Args:
        n_train: ImageNet's training images. shares: diversities; the paper's are not printed. rates: sampling rates.
        alpha: level of each bound. repeats: simulations behind the coverage.
    """

    def __init__(
        self,
        n_train: int = 1_281_166,
        shares: Sequence[float] = (0.25, 0.5, 0.75),
        rates: Sequence[float] = (0.01, 0.039, 0.1, 0.3),
        alpha: float = 0.05,
        repeats: int = 200,
    ) -> None:
        self.n_train, self.shares, self.rates = n_train, list(shares), list(rates)
        self.alpha, self.repeats = alpha, repeats

    def run(self, context: Context) -> Table:
        """One simulated path a model, and how often the bounds hold the true diversity."""
        paper = published(PAPER, "Fig. 8")
        cells, lines = [], {}
        band = None
        for share in self.shares:
            path = context.step(f"path_{share:g}", partial(self._path, share, context.seed))
            for alpha, (value, low, high) in zip(self.rates, path, strict=True):
                row = f"diversity {share:g}, alpha = {alpha:g}"
                cells.append(
                    Cell(
                        row,
                        "IRS_inf",
                        value,
                        lower=low,
                        upper=high,
                        tolerance=0.0,
                        expected=share,
                        note="expected: the simulation's truth",
                    )
                )
            lines[f"diversity {share:g}"] = np.array([value for value, _, _ in path])
            if share == self.shares[1]:
                band = (np.array([low for _, low, _ in path]), np.array([high for *_, high in path]))
        for alpha in self.rates[:2]:
            held = context.step(f"coverage_{alpha:g}", partial(self._coverage, alpha, context.seed))
            nominal = 1 - 2 * self.alpha
            error = 2.576 * (nominal * (1 - nominal) / self.repeats) ** 0.5
            cells.append(
                Cell(
                    f"interval at alpha = {alpha:g}",
                    "holds the truth",
                    held,
                    lower=held - error,
                    upper=min(1.0, held + error),
                    tolerance=0.0,
                    expected=nominal,
                    note=f"share of {self.repeats} simulations; expected: the nominal level",
                )
            )
        figure = Curve(
            "IRS_inf of simulated ImageNet models",
            "sampling rate alpha",
            "IRS_inf",
            np.array(self.rates),
            lines,
            band,
            f"{1 - 2 * self.alpha:.0%} interval, diversity {self.shares[1]:g}",
        )
        return paper.recomputed(
            "irs_fig8",
            cells,
            context.scale,
            differs="The diversities of the models are chosen here; the paper doesn't print its own.",
            figures=(figure,),
            notes=("alpha = 0.039 is the 50,000 samples of the figure's vertical line.",),
        )

    def _path(self, share: float, seed: int) -> list[list[float]]:
        support = round(share * self.n_train)
        rng = np.random.default_rng([seed, support])
        draws = rng.integers(0, support, round(max(self.rates) * self.n_train))
        estimates = []
        for alpha in self.rates:
            n = round(alpha * self.n_train)
            k = len(np.unique(draws[:n]))
            reached = estimate_support(k, n, alpha=self.alpha, upper=self.n_train).map(lambda s: s / self.n_train)
            estimates.append([reached.value, *(each for each in reached.ends if each is not None)])
        return estimates

    def _coverage(self, alpha: float, seed: int) -> float:
        known = round(self.shares[1] * self.n_train)
        n = round(alpha * self.n_train)
        rng = np.random.default_rng([seed, n, 1])
        held = 0
        for _ in range(self.repeats):
            k = len(np.unique(rng.integers(0, known, n)))
            estimate = estimate_support(k, n, alpha=self.alpha, upper=self.n_train)
            held += estimate.holds(known)
        return held / self.repeats


class Fig9(Exact):
    """The law after 15 samples, and what it rejects.

    Args:
        supports: training-set sizes that are drawn. alpha: level.
    """

    def __init__(self, supports: Sequence[int] = (16, 32, 39, 64, 128), alpha: float = 0.05) -> None:
        self.supports, self.alpha = list(supports), alpha

    def run(self, context: Context) -> Table:
        """The range of different images expected of 32, and the smallest support that 10 different images reject."""
        paper = published(PAPER, "Fig. 9")
        n = 15
        fewest = rejection_threshold(n, 32, self.alpha)
        # above the range: the largest k with P(K >= k) at least alpha
        most = max(k for k in range(1, n + 1) if 1 - float(cdf(k - 1, n, 32)) >= self.alpha)
        rejected = next(s for s in range(10, 1000) if float(cdf(10, n, s)) < self.alpha)
        cells = [
            compared(paper["fewest different images expected of 32", "value"], fewest, column="count", tolerance=0.0),
            compared(paper["most different images expected of 32", "value"], most, column="count", tolerance=0.0),
            compared(
                paper["support rejected at 10 different images", "value"], rejected, column="count", tolerance=0.0
            ),
            Cell("P(K <= 9) of 32", "probability", 100 * float(cdf(9, n, 32)), unit="%"),
            Cell("P(K = 15) of 32", "probability", 100 * float(pmf(15, n, 32)), unit="%"),
            Cell("P(K <= 10) of 38", "probability", 100 * float(cdf(10, n, 38)), unit="%"),
            Cell("P(K <= 10) of 39", "probability", 100 * float(cdf(10, n, 39)), unit="%"),
        ]
        k = np.arange(1, n + 1)
        figures = (
            Curve(
                "Law after 15 samples",
                "different images",
                "P(K = k)",
                k,
                {f"{s} images": pmf(k, n, s) for s in self.supports},
            ),
            Curve(
                "Distribution function after 15 samples",
                "different images",
                "P(K <= k)",
                k,
                {f"{s} images": cdf(k, n, s) for s in self.supports},
            ),
        )
        return paper.recomputed(
            "irs_fig9",
            cells,
            context.scale,
            figures=figures,
            notes=(
                f"Each side of the range is at level {self.alpha:.0%}. The training-set sizes other than 32 and 39 are "
                "chosen here.",
            ),
        )
