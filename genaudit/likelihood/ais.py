"""Annealed importance sampling: the log-likelihood that a generator with Gaussian observation noise gives an image.

"Intriguing Properties of Modern GANs", Eq. 2 and 4, sections 2.2 and 4.1, appendices A (Eq. 6) and B.1 (Eq. 7). The
method is that of Wu et al. 2016 (arXiv:1611.04273) after Neal 2001; the two-sided bounds are those of Grosse et al.
2015 (arXiv:1511.02543).

The model is x = G(z) + sigma·noise with z ~ N(0, I), on the scale of the images given. Chains move from the prior to
the posterior through Q_t(z) ∝ p(z)·p(x|z)^beta_t:

    log w += (beta_t - beta_{t-1})·log p(x|z_{t-1}),   z_t ~ a Hamiltonian step that leaves Q_t invariant    (Eq. 6, 7)
    log p̂(x) = logsumexp over chains of log w - log C

E[w] = p(x), so log p̂ is a stochastic lower bound: below log p(x) on average, and above it by more than a nats with
probability at most exp(-a). Backwards from an exact posterior sample, E[1/w] = 1/p(x) gives a stochastic upper bound.

N images of D numbers each, C chains, L latent dimensions, T temperatures, n = N·C rows (an image's chains adjoin).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from genaudit.likelihood.hmc import FIRST_STEP, TARGET_ACCEPTANCE, State, adapt_step, hmc_transition
from genaudit.likelihood.latent_space import Draws, as_images
from genaudit.likelihood.losses import bits_per_dim
from genaudit.stats.bounds import positive_int

if TYPE_CHECKING:
    import torch

    from genaudit.likelihood.hmc import LogLikelihood
    from genaudit.likelihood.latent_space import Decoder, Randomness

Schedule = Literal["sigmoidal", "power"]

DISAGREEMENT = 2.0  # nats


def sigmoidal_schedule(temperatures: int) -> list[float]:
    """The paper's inverse temperatures, beta_0 = 0 to beta_T = 1: (s_t - s_0)/(s_T - s_0), s_t = sigmoid(8t/T - 4)."""
    s = [1 / (1 + math.exp(4 - 8 * t / temperatures)) for t in range(temperatures + 1)]
    return [(s_t - s[0]) / (s[-1] - s[0]) for s_t in s]


def power_schedule(temperatures: int, *, power: float = 3.0) -> list[float]:
    """Inverse temperatures (t/T)^power: many close to the prior, where a small sigma² changes the target fastest."""
    return [(t / temperatures) ** power for t in range(temperatures + 1)]


@dataclass(frozen=True)
class AISRun:
    """One run of annealed importance sampling; CPU tensors, float64 where not said otherwise.

    Attributes:
        log_weights: (N, C) log w of each chain, nats per image: one chain's own estimate of log p(x).
        acceptance: (N, C) fraction of Hamiltonian proposals that were accepted, in [0, 1].
        step: (N, C) step size after the last temperature.
        latents: (N, C, L) where the chains ended, in the decoder's type: posterior samples, prior samples if reverse.
        reverse: whether the chains ran from the posterior to the prior.
    """

    log_weights: torch.Tensor
    acceptance: torch.Tensor
    step: torch.Tensor
    latents: torch.Tensor
    reverse: bool = False

    @property
    def log_likelihood(self) -> torch.Tensor:
        """(N,) nats per image; a stochastic lower bound of log p(x), upper if `reverse`; higher is likelier."""
        sign = -1 if self.reverse else 1
        pooled: torch.Tensor = (sign * self.log_weights).logsumexp(dim=1) - math.log(self.log_weights.shape[1])
        return sign * pooled

    @property
    def effective_chains(self) -> torch.Tensor:
        """(N,) effective sample size (sum w)²/sum w², in [1, C]: how many chains carry the estimate."""
        log_w = -self.log_weights if self.reverse else self.log_weights
        ess: torch.Tensor = (2 * log_w.logsumexp(dim=1) - (2 * log_w).logsumexp(dim=1)).exp()
        return ess

    @property
    def standard_error(self) -> torch.Tensor:
        """(N,) nats: that of `log_likelihood` to first order, sqrt((C/ESS - 1)/(C - 1)); NaN with one chain.

        It is at most 1 by construction, so it understates where the chains disagree.
        """
        chains = self.log_weights.shape[1]
        if chains == 1:
            return self.log_weights[:, 0] * math.nan
        return ((chains / self.effective_chains - 1).clamp(min=0) / (chains - 1)).sqrt()

    @property
    def spread(self) -> torch.Tensor:
        """(N,) nats: standard deviation of log w over the chains; NaN with one chain."""
        if self.log_weights.shape[1] == 1:
            return self.log_weights[:, 0] * math.nan
        return self.log_weights.std(dim=1)

    @property
    def disagree(self) -> torch.Tensor:
        """(N,) bool: the spread exceeds 2 nats, so that few chains carry the estimate; one chain cannot disagree.

        Where weights are log-normal with spread s, one chain is s²/2 nats off on average: 2 nats at the threshold, of
        which four chains together keep about half.
        """
        return self.spread > DISAGREEMENT


def ais_log_likelihood(
    decoder: Decoder,
    x: Any,
    *,
    sigma2: float,
    latent_dim: int,
    temperatures: int = 500,
    chains: int = 4,
    leapfrog: int = 10,
    generator: Randomness = None,
    schedule: Schedule = "sigmoidal",
) -> torch.Tensor:
    """Log-likelihood of each image under x = decoder(z) + N(0, sigma2·I), z ~ N(0, I), by annealed importance sampling.

    Returns (N,) float64 on the CPU, nats per image, higher is likelier: a stochastic lower bound. `ais` takes the same
    arguments, explains them, and also tells how far to trust the estimate.
    """
    return ais(
        decoder,
        x,
        sigma2=sigma2,
        latent_dim=latent_dim,
        temperatures=temperatures,
        chains=chains,
        leapfrog=leapfrog,
        generator=generator,
        schedule=schedule,
    ).log_likelihood


def ais(
    decoder: Decoder,
    x: Any,
    *,
    sigma2: float,
    latent_dim: int,
    temperatures: int = 500,
    chains: int = 4,
    leapfrog: int = 10,
    generator: Randomness = None,
    schedule: Schedule = "sigmoidal",
    start: torch.Tensor | None = None,
    first_step: float | torch.Tensor = FIRST_STEP,
) -> AISRun:
    """Annealed importance sampling with everything that it tells about itself; the defaults are the paper's (B.1).

    All images and chains are one batch: `decoder` is called `temperatures`·`leapfrog` + 1 times with N·C rows, and one
    backward pass gives all their gradients. Cut a large set into batches of images to bound memory.

    Args:
        decoder: maps (n, latent_dim) to (n, ...), the shape of an image, row by row, on the scale of `x`;
            differentiable, in evaluation mode. Another prior than N(0, I), an output range: put them inside. For a
            class-conditional generator, one call per class.
        x: images (N, ...), floating, array or tensor; computed on its device in the decoder's type, float32 or float64.
        sigma2: variance of the observation noise per number of `x` (`inversion.observation_variance`), > 0.
        temperatures, chains, leapfrog: numbers of intermediate distributions, chains per image, leapfrog steps.
        generator: source of randomness, on any device; a sequence of N generators, one per image, makes an image's
            noise independent of the batch that it is in.
        schedule: "sigmoidal", the paper's, or "power", (t/T)³, which is closer to log p(x) where sigma2 is small.
        start: exact posterior samples (N, latent_dim), as `simulate` returns them: the chains then run in reverse, for
            the upper bound.
        first_step: first step size, one number or (N, C); `hmc.adapt_step` says how it changes.

    Raises:
        ValueError: an argument out of range, a decoder in training mode or of another shape, values not finite.
    """
    import torch

    if not (sigma2 > 0 and math.isfinite(sigma2)):
        raise ValueError(f"sigma2 must be positive, not {sigma2}")
    numbers = dict(latent_dim=latent_dim, temperatures=temperatures, chains=chains, leapfrog=leapfrog)
    for name, number in numbers.items():
        positive_int(name, number)
    if schedule not in ("sigmoidal", "power"):
        raise ValueError(f"schedule must be 'sigmoidal' or 'power', not {schedule!r}")
    x = as_images(decoder, x)
    count = x.shape[0]
    betas = sigmoidal_schedule(temperatures) if schedule == "sigmoidal" else power_schedule(temperatures)
    draws = Draws(generator, count, chains, latent_dim, x)
    log_likelihood = _log_likelihood(decoder, x, sigma2, chains)

    if start is None:
        z = next(draws.normal(1))
    elif start.shape != (count, latent_dim):
        raise ValueError(f"start must have shape ({count}, {latent_dim}), not {tuple(start.shape)}")
    else:
        z = start.to(x).repeat_interleave(chains, dim=0)
    state = State(z, *log_likelihood(z))
    step = torch.as_tensor(first_step).to(x).broadcast_to(count, chains).reshape(-1)
    average = torch.full_like(step, TARGET_ACCEPTANCE)
    total = torch.zeros_like(step)
    history = state.log_lik.new_empty(temperatures, count * chains)

    order = range(temperatures, 0, -1) if start is not None else range(1, temperatures + 1)
    for t, (momentum, log_uniform) in zip(order, draws.momenta(temperatures), strict=True):
        if start is None:
            history[t - 1] = state.log_lik
        state, accepted = hmc_transition(
            log_likelihood, state, betas[t], step, leapfrog=leapfrog, momentum=momentum, log_uniform=log_uniform
        )
        if start is not None:
            history[t - 1] = state.log_lik
        step, average = adapt_step(step, average, accepted)
        total = total + accepted

    # The only transfer: weights are summed in float64 whatever the device can do.
    change = torch.tensor(betas, dtype=torch.float64).diff()
    normaliser = -0.5 * x[0].numel() * math.log(2 * math.pi * sigma2)
    log_weights = (change @ history.cpu().double() + normaliser).view(count, chains)
    if not log_weights.isfinite().all():
        raise ValueError("the decoder gave values that are not finite for latents of its own prior")
    return AISRun(
        log_weights=log_weights,
        acceptance=(total.cpu().double() / temperatures).view(count, chains),
        step=step.cpu().double().view(count, chains),
        latents=state.z.cpu().view(count, chains, latent_dim),
        reverse=start is not None,
    )


def simulate(
    decoder: Decoder, like: torch.Tensor, *, sigma2: float, latent_dim: int, generator: Randomness = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of the model itself with their latents, which are exact samples of the posterior given the image.

    Args:
        like: (N, ...): how many images, and of which type and device; its values are not used.

    Returns:
        Images (N, ...) with observation noise, latents (N, latent_dim).
    """
    import torch

    like = as_images(decoder, like)
    z = next(Draws(generator, like.shape[0], 1, latent_dim, like).normal(1))
    noise = next(Draws(generator, like.shape[0], 1, like[0].numel(), like).normal(1))
    with torch.no_grad():
        mean = decoder(z)
    return mean + math.sqrt(sigma2) * noise.view_as(mean), z


@dataclass(frozen=True)
class LikelihoodBounds:
    """Bidirectional Monte Carlo on simulated images: log p(x) lies between `lower` and `upper`, but for their noise.

    Attributes:
        lower, upper: forward and reverse runs on the same N images.
    """

    lower: AISRun
    upper: AISRun

    @property
    def gap(self) -> torch.Tensor:
        """(N,) nats: upper minus lower bound, >= 0 on average; its mean bounds the mean error of either."""
        return self.upper.log_likelihood - self.lower.log_likelihood


def bidirectional(
    decoder: Decoder,
    like: torch.Tensor,
    *,
    sigma2: float,
    latent_dim: int,
    temperatures: int = 500,
    chains: int = 4,
    leapfrog: int = 10,
    generator: Randomness = None,
    schedule: Schedule = "sigmoidal",
) -> LikelihoodBounds:
    """How tight AIS with these settings is on this decoder: both bounds on images simulated from it.

    `like` (N, ...) gives the number, type and device of the images; the other arguments are those of `ais`.
    """
    x, z = simulate(decoder, like, sigma2=sigma2, latent_dim=latent_dim, generator=generator)
    settings: dict[str, Any] = dict(
        sigma2=sigma2,
        latent_dim=latent_dim,
        temperatures=temperatures,
        chains=chains,
        leapfrog=leapfrog,
        generator=generator,
        schedule=schedule,
    )
    lower = ais(decoder, x, **settings)
    # Reverse chains begin where forward chains end, so with the step sizes that those arrived at.
    upper = ais(decoder, x, start=z, first_step=lower.step, **settings)
    return LikelihoodBounds(lower, upper)


def log_likelihood_bits(log_likelihood: torch.Tensor, dims: int, *, bins: int = 256) -> torch.Tensor:
    """Log-likelihood in bits per dimension as Table 1 prints it, log p/(D ln 2) - log2(bins): higher is better.

    Minus the density models' bits per dimension, so that the table's columns compare. `log_likelihood` (N,) in nats is
    that of images scaled to [0, 1], `dims` is D, channels included.
    """
    return -bits_per_dim(log_likelihood, dims, bins)


def _log_likelihood(decoder: Decoder, x: torch.Tensor, sigma2: float, chains: int) -> LogLikelihood:
    """log p(x|z) without its constant, and its gradient, for all rows by one backward pass."""
    import torch

    target = x[:, None]  # broadcasts over chains: no copy
    # Differences of numbers near D/2 nats decide: sums in float64, which Apple's devices do not have.
    wide = torch.float32 if x.device.type == "mps" else torch.float64

    def evaluate(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            image = decoder(z)
        if image.shape != (z.shape[0], *x.shape[1:]):
            raise ValueError(f"the decoder gave {tuple(image.shape)} for images of shape {tuple(x.shape[1:])}")
        # The loss is quadratic, so its own backward pass is the residual: only the decoder is differentiated.
        with torch.no_grad():
            residual = (image.view(x.shape[0], chains, *x.shape[1:]) - target).flatten(0, 1)
            log_lik = residual.flatten(1).square().sum(1, dtype=wide) / (-2 * sigma2)
        (gradient,) = torch.autograd.grad(image, z, residual.mul_(-1 / sigma2))
        return log_lik, gradient

    return evaluate
