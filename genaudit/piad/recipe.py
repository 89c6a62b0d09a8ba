"""How PIAD is trained: the keys of `piad.recipe`, and the supplement's recipes (Tuluptceva et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TrainingRecipe:
    """How long and how fast to train; the defaults are the supplement's, `RECIPES` has one per dataset.

    Attributes:
        iterations: of encoder and generator.
        n_dis: steps of both critics per iteration.
        n_weight: iterations between two updates of gamma_G and gamma_E.
        batch_size: images per step, or all images where there are fewer.
        learning_rate, learning_rate_critics, betas: of Adam, for E and G and for the critics.
        gp_weight, drift, drift_on_fake: see `losses.critic_loss`.
        policy: `paper` (Algorithms 2 and 3 from iteration 0 on, sizes as standard deviations), `released` (the
            authors' code: L2 norms, the median, gamma as it is until iteration n_weight - 1), or `fixed`.
        norm: `std` or `l2`, to have another size than the policy's.
        last, alpha: see `weighting.balance_weight`.
        gamma_generator, gamma_encoder: the weights until the first update, and with `fixed` always.
    """

    iterations: int
    n_dis: int = 2
    n_weight: int = 100
    batch_size: int = 32
    learning_rate: float = 2e-4
    learning_rate_critics: float = 5e-4
    betas: tuple[float, float] = (0.5, 0.99)
    gp_weight: float = 10
    drift: float = 0.001
    drift_on_fake: bool = False
    policy: Literal["paper", "released", "fixed"] = "paper"
    norm: Literal["std", "l2"] | None = None
    last: int = 200
    alpha: float = 0.05
    gamma_generator: float = 1.0
    gamma_encoder: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))  # YAML gives a list
        if self.policy not in ("paper", "released", "fixed"):
            raise ValueError(f"policy must be paper, released or fixed, not {self.policy!r}")
        if min(self.iterations, self.n_dis, self.n_weight, self.last) < 1 or self.batch_size < 2:
            raise ValueError("iterations, n_dis, n_weight and last must be 1 or more, batch_size 2 or more")


# keys of older versions, in checkpoints and configurations
RENAMED = {"lr": "learning_rate", "lr_critics": "learning_rate_critics"}
RECIPES = {
    "coil100": TrainingRecipe(20_000),
    "mnist": TrainingRecipe(50_000),
    "fashion_mnist": TrainingRecipe(50_000),
    "cifar10": TrainingRecipe(100_000),
    "lsun": TrainingRecipe(200_000, n_dis=3),
    "celeba": TrainingRecipe(200_000, n_dis=3),
}
