"""Feature likelihood divergence: how well a density of the generated images explains unseen real ones (FLD).

Jiralerspong et al. 2023. Features are standardised by the reference's mean and deviation. Each generated image is the
centre of an isotropic Gaussian whose variance s_j is fitted to the *training* images by maximum likelihood, and

    p(x) = mean over j of N(x; g_j, s_j I),     NLL = -mean over reference images of log p(x) / D
    FLD = 100 (NLL - NLL of the same density with half of the training images as centres, fitted to the other half)

Copies of training images get variances near 0, which cost likelihood at unseen images: so FLD rises with lost quality,
lost diversity and memorisation. The same density's NLL at training less that at reference images, times 100, is the
generalisation gap `fld_gap`: far below 0 points to memorisation.

The fit is the authors' and defines the number: Adam on log s_j with rate 0.5 from the optimum for each centre's nearest
training image, at most 50 rounds, with one more component of weight 1 at the training mean that gives every image some
likelihood during the fit. Departures: distances are float64 before they are stored (theirs are float32 products, whose
rounding hides near copies); features that are constant over the reference are left out; copies of a training image
among the training images, and reference images that are training images, are left out; at most 10,000 generated
images and as many training images as fit 2^28 pairs (1 GiB) are used, by a seeded draw.
N training, M generated, R reference images, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy

from genaudit.metrics.result import Caution, Estimate, Unavailable, value
from genaudit.stats.arrays import RowsLike, as_rows, blocks, out_of_range
from genaudit.stats.chosen import Chosen
from genaudit.stats.equal_rows import first_of_each, row_keys
from genaudit.stats.products import NumPyProducts, TorchProducts, products

CENTRES = 10_000  # the authors' number of generated images
PAIRS = 2**28  # float32 distances of the fit: 1 GiB
FARTHEST = 1e7  # standard deviations of the reference
ROUNDS, RATE, BATCH = 50, 0.5, 10_000
SHRINK = 0.9**2  # of squared distances to the training mean, the authors'
PAIR_WORK = 1e5  # what the fit does with a pair of images takes as long as so many multiplications
BLOCK = 1024
LEAST = 10  # images of a set: with fewer there is no interval


@dataclass(frozen=True, kw_only=True)
class FLDResult:
    """100 times the excess negative log-likelihood a feature, in nats, lower is better; about 0 for training images.

    `fld_gap`, at training less at reference images, is near 0 for an honest model and far below it for one that
    copies.
    """

    explanation: ClassVar[str] = (
        "How well samples, as centres of a density fitted to the training images, explain unseen real images; rises "
        "with lost quality, lost diversity and memorisation alike."
    )
    citation: ClassVar[str] = (
        "Jiralerspong, Bose, Gemp, Qin, Bachrach, Gidel. Feature likelihood divergence: evaluating the generalization "
        "of generative models using samples. NeurIPS 2023."
    )
    fld: Estimate = value("lower", label="100 times the excess nats per feature")
    fld_gap: float = value("none", label="density at training minus unseen images")
    nll: float
    nll_baseline: float
    dimensions: int
    n_generated: int
    n_train: int
    n_reference: int
    interval: str = (
        "over new generated, reference and training images in these numbers: normal, from the reference images' spread "
        "and the jackknife over the centres of both densities, whose variances are held fixed; fld_gap has none"
    )
    cautions: tuple[Caution, ...] = ()


def fld(train: Any, reference: Any, generated: Any, *, seed: int = 0, device: str = "cpu") -> float:
    """Feature likelihood divergence, Jiralerspong et al. 2023; arguments as `judge`'s.

    Raises:
        ValueError: shapes that do not fit, too few images, or values that are not finite.
    """
    return judge(generated=generated, reference=reference, train=train, seed=seed, device=device).fld.value


def judge(
    *, generated: Any, reference: Any, train: Any, confidence: float = 0.95, seed: int = 0, device: str = "cpu"
) -> FLDResult:
    """FLD of generated images, with the generalisation gap.

    Args:
        generated: rows (M, D).
        reference: rows (R, D) of real images that the model did not learn from, R >= 2.
        train: rows (N, D) of the images that it learned from, N >= 4.
        confidence: of the interval, in (0, 1).
        seed: of the halves of the training images and of the draws from large sets.
        device: where the fit runs.

    Raises:
        Unavailable: too few images, or all features constant over the reference.
    """
    real = as_rows(reference, "reference")
    samples = as_rows(generated, "generated", columns=real.shape[1])
    training = as_rows(train, "train", columns=real.shape[1])
    if len(real) < 2 or len(training) < 4:
        raise Unavailable("FLD needs at least 2 reference and 4 training images")
    scale = _Scale(real)
    if not scale.kept.any():
        raise Unavailable("all features are constant over the reference images: there is nothing to compare")
    keys = row_keys(training, "train")
    distinct = first_of_each(keys)
    unseen = np.flatnonzero(~np.isin(row_keys(real, "reference"), keys))
    if len(unseen) < 2 or len(distinct) < 4:
        raise Unavailable(
            f"FLD needs at least 2 reference images that are no training images and 4 different training images; there "
            f"are {len(unseen)} of {len(real)} and {len(distinct)} of {len(training)}"
        )
    cautions = _copies(
        len(training), len(distinct), len(real), len(unseen), np.isin(row_keys(samples, "generated"), keys)
    )
    if len(unseen) < len(real):
        real = Chosen(real, unseen)
        scale = _Scale(real)
    rng = np.random.default_rng(seed)
    centres = scale.read(samples, "generated", _draw(rng, len(samples), CENTRES))
    learned = scale.read(training, "train", distinct[_draw(rng, len(distinct), PAIRS // len(centres))])
    by = products(device, PAIR_WORK * len(centres) * len(learned))
    density = _Mixture(centres, by)
    density.fit(learned)
    at_reference, without_centre = density.nll_and_gains(real, scale, "reference")

    shuffled = learned[rng.permutation(len(learned))]
    half = min(len(centres), len(learned) // 2)
    baseline = _Mixture(shuffled[:half], by)
    baseline.fit(shuffled[half:])
    at_baseline, without_half = baseline.nll_and_gains(real, scale, "reference")
    excess = 100 * (at_reference - at_baseline)
    variances = (excess.var(ddof=1) / len(excess), *(_jackknife(100 * each) for each in (without_centre, without_half)))
    mean, enough = float(excess.mean()), min(len(real), len(centres), half) >= LEAST
    margin = float(scipy.special.ndtri(0.5 + confidence / 2) * np.sqrt(sum(variances))) if enough else float("nan")
    if half < len(centres):
        cautions.append(
            Caution(
                "unequal-baseline",
                f"The baseline density has {half} centres, half of the training images, where the generated one has "
                f"{len(centres)}: FLD is lower than with as many generated images as half the training images.",
            )
        )
    return FLDResult(
        fld=Estimate(mean, mean - margin, mean + margin),
        fld_gap=100 * float(density.nll(learned, None, "train").mean() - at_reference.mean()),
        nll=float(at_reference.mean()),
        nll_baseline=float(at_reference.mean() - excess.mean() / 100),
        dimensions=int(scale.kept.sum()),
        n_generated=len(centres),
        n_train=len(learned),
        n_reference=len(real),
        cautions=tuple(cautions),
    )


def _copies(trained: int, distinct: int, referred: int, unseen: int, memorised: np.ndarray) -> list[Caution]:
    """What copies among training images, and images of two roles, do: see the module's text."""
    cautions = []
    if distinct < trained:
        message = (
            f"{trained - distinct:,} of {trained:,} training images are exact copies of others (in features) and are "
            f"left out: a density fitted to copies of its own centres has variances near 0."
        )
        cautions.append(Caution("duplicates", message))
    if unseen < referred:
        message = (
            f"{referred - unseen:,} of {referred:,} reference images are training images (in features) and are left "
            f"out: FLD is about images that were not learned from."
        )
        cautions.append(Caution("same-images", message))
    if memorised.any():
        message = (
            f"{np.count_nonzero(memorised):,} of {len(memorised):,} generated images are training images (in features) "
            f"and get variances at the fit's bound: FLD shows that there are copies, and its size means nothing."
        )
        cautions.append(Caution("same-images", message))
    return cautions


def _draw(rng: np.random.Generator, n: int, most: int) -> np.ndarray:
    """Indices of `most` of n rows, in order; all where there are no more."""
    return np.arange(n) if n <= most else np.sort(rng.choice(n, size=most, replace=False))


class _Scale:
    """The reference's mean and deviation (ddof 1) by feature, and which features vary at all."""

    def __init__(self, reference: RowsLike) -> None:
        n, dimensions = reference.shape
        self.mean = sum((block.sum(axis=0) for _, block in blocks(reference, "reference")), np.zeros(dimensions)) / n
        squares = sum(
            (np.square(block - self.mean).sum(axis=0) for _, block in blocks(reference, "reference")),
            np.zeros(dimensions),
        )
        self.deviation = np.sqrt(squares / (n - 1))
        self.kept = self.deviation > 1e-12 * np.abs(self.mean)

    def apply(self, block: np.ndarray) -> np.ndarray:
        result: np.ndarray = (block[:, self.kept] - self.mean[self.kept]) / self.deviation[self.kept]
        return result

    def read(self, rows: RowsLike, name: str, chosen: np.ndarray) -> np.ndarray:
        """The chosen rows, standardised, float64.

        Raises:
            Unavailable: a feature so far off that its square, summed and squared again by the descent, leaves float32.
        """
        parts = []
        for start in range(0, len(chosen), BLOCK):
            block = np.asarray(rows[chosen[start : start + BLOCK]], np.float64)
            if fault := out_of_range(block):
                raise ValueError(f"{name} {fault}")
            parts.append(self.apply(block))
        result = np.concatenate(parts)
        if (largest := float(np.abs(result).max())) > FARTHEST:
            raise Unavailable(
                f"{name} holds features {largest:.2g} standard deviations away from the mean of the reference: no "
                f"density of normal laws describes both"
            )
        return result


class _Mixture:
    """Equal-weight isotropic Gaussians about centres (M, D) with variances exp(log_variance), arrays of `by`."""

    def __init__(self, centres: np.ndarray, by: NumPyProducts | TorchProducts) -> None:
        self.centres, self.by = centres, by
        self.half_dims = centres.shape[1] / 2
        self.log_variance = by.full((len(centres),), 0.0)

    def _squares(self, block: np.ndarray) -> Any:
        """Squared distances (B, M) of rows to the centres, float64 and then float32."""
        squares = np.square(block).sum(axis=1)[:, None] + np.square(self.centres).sum(axis=1)
        squares -= 2 * (block @ self.centres.T)
        return self.by.put(np.maximum(squares, 0.0).astype(np.float32))

    def _log_terms(self, squares: Any, log_variance: Any) -> Any:
        """log N(x; centre, variance) but for the constant -D/2 log 2 pi."""
        return squares * (-0.5 * self.by.namespace.exp(-log_variance)) - self.half_dims * log_variance

    def fit(self, rows: np.ndarray) -> None:
        """Fits the variances to standardised rows (N, D) by the authors' descent."""
        xp = self.by.namespace
        squares = xp.concatenate([self._squares(rows[i : i + BLOCK]) for i in range(0, len(rows), BLOCK)])
        dims = 2 * self.half_dims
        self.log_variance = xp.log((xp.amin(squares, 0) + 1e-3) / dims)
        middle = self.by.full((), 0.0)  # log variance of the component at the mean
        to_mean = self.by.put((SHRINK * np.square(rows - rows.mean(axis=0)).sum(axis=1)).astype(np.float32))
        optimiser = _Adam(self.by, self.log_variance, middle)
        losses: list[float] = []
        for _ in range(ROUNDS):
            total = 0.0
            for start in range(0, len(rows), BATCH):
                part = slice(start, min(start + BATCH, len(rows)))
                loss, *gradients = self._gradient(squares[part], to_mean[part], middle)
                optimiser.step(*gradients)
                total += loss
                xp.clip(self.log_variance, -40, 40, out=self.log_variance)
            losses.append(total / -(-len(rows) // BATCH))
            if len(losses) > 6 and max(abs(losses[-1] - each) for each in losses[-5:]) < 5e-4:
                break

    def _gradient(self, squares: Any, to_mean: Any, middle: Any) -> tuple[float, Any, Any]:
        """The mean NLL per feature and its gradients by the log variances, by the components' responsibilities."""
        xp = self.by.namespace
        count, dims = len(squares), 2 * self.half_dims
        gradient, gradient_middle, loss = 0 * self.log_variance, 0 * middle, 0.0
        for start in range(0, count, BLOCK):
            part = squares[start : start + BLOCK]
            scaled = part * xp.exp(-self.log_variance)
            terms = -0.5 * scaled - self.half_dims * self.log_variance - float(np.log(len(self.log_variance)))
            own = to_mean[start : start + BLOCK] * xp.exp(-middle)
            other = -0.5 * own - self.half_dims * middle
            log_p = xp.logaddexp(self.by.logsumexp(terms), other)
            terms -= log_p[:, None]
            share = xp.exp(terms, out=terms)
            gradient = gradient + (share * (dims - scaled)).sum(0)
            gradient_middle = gradient_middle + (xp.exp(other - log_p) * (dims - own)).sum()
            loss -= float(self.by.get(log_p).astype(np.float64).sum())
        nll = loss / (count * dims) + 0.5 * float(np.log(2 * np.pi))
        return nll, gradient / (2 * count * dims), gradient_middle / (2 * count * dims)

    def nll(self, rows: RowsLike | np.ndarray, scale: _Scale | None, name: str) -> np.ndarray:
        """Negative log-likelihood a feature of each row (N,), in nats; rows are standardised by `scale` if given."""
        return self.nll_and_gains(rows, scale, name)[0]

    def nll_and_gains(
        self, rows: RowsLike | np.ndarray, scale: _Scale | None, name: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Negative log-likelihood a feature of each row (N,), and what its mean gains without each centre (M,).

        In nats; rows are standardised by `scale` if given. Without a centre whose share of p(x) is r, log p(x) falls by
        -log(1 - r), but for a constant.
        """
        xp = self.by.namespace
        found, gains = [], np.zeros(len(self.centres))
        for _, block in blocks(rows, name, size=BLOCK):
            squares = self._squares(block if scale is None else scale.apply(block))
            terms = self._log_terms(squares, self.log_variance)
            total = self.by.logsumexp(terms)
            terms -= total[:, None]
            share = xp.clip(xp.exp(terms, out=terms), 0, 1 - 1e-6)
            gains -= self.by.get(xp.log1p(-share).sum(0)).astype(np.float64)
            log_p = self.by.get(total).astype(np.float64)
            found.append((np.log(len(self.centres)) - log_p) / (2 * self.half_dims) + 0.5 * np.log(2 * np.pi))
        return np.concatenate(found), gains / (len(rows) * 2 * self.half_dims)


def _jackknife(changes: np.ndarray) -> float:
    """The variance of a value that changes by `changes` (N,), up to a constant, when an image is left out."""
    return (len(changes) - 1) * float(changes.var())


class _Adam:
    """Adam (Kingma & Ba 2015) with its usual constants; torch.optim's would import the compiler for ten lines."""

    def __init__(self, by: NumPyProducts | TorchProducts, *parameters: Any) -> None:
        self.parameters, self.root = parameters, by.namespace.sqrt
        self.moments = [(by.full(tuple(each.shape), 0.0), by.full(tuple(each.shape), 0.0)) for each in parameters]
        self.steps = 0

    def step(self, *gradients: Any) -> None:
        self.steps += 1
        for parameter, gradient, (first, second) in zip(self.parameters, gradients, self.moments, strict=True):
            first *= 0.9  # in place, as all that follows
            first += 0.1 * gradient
            second *= 0.999
            second += 0.001 * (gradient * gradient)
            parameter -= RATE / (1 - 0.9**self.steps) * (first / (self.root(second / (1 - 0.999**self.steps)) + 1e-8))
