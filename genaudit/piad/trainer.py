"""Training PIAD (Algorithm 1), one iteration at a time.

Tuluptceva et al. 2019, "Perceptual Image Anomaly Detection", sections 3.2 and 3.3 and supplement. One iteration: n_dis
steps of both critics, then one step of encoder E and generator G together, whose reconstruction gradients are
weighted by gamma_E and gamma_G so that they match the adversarial ones.
Under torchrun each rank takes its part of every batch; losses and gradients are summed, so that the update is the
one that a single process makes.
N images, B images of a batch, C channels, S side.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from genaudit.errors import Diverged, UserError
from genaudit.piad import losses
from genaudit.piad.networks import PIADNetworks
from genaudit.piad.perceptual import Perceptual
from genaudit.piad.recipe import RENAMED, TrainingRecipe
from genaudit.piad.scoring import Reconstruction, check_reconstruction, dissimilarity, prepare
from genaudit.piad.weighting import balance_weight, gradient_sizes
from genaudit.resumed import check_same
from genaudit.sharing import Share


@dataclass(frozen=True)
class StepLosses:
    """One iteration's losses (scalar tensors, on the device: reading one waits for it) and weights gamma."""

    critic_image: Tensor
    critic_latent: Tensor
    adversarial_generator: Tensor
    adversarial_encoder: Tensor
    reconstruction: Tensor
    gamma_generator: float
    gamma_encoder: float

    def numbers(self) -> dict[str, float]:
        """All as plain numbers."""
        return {name: float(value) for name, value in vars(self).items()}


class Trainer:
    """Algorithm 1. `step()` is one iteration; `state_dict()` after it resumes bit for bit on the same machine.

    Every random number comes from a generator on the CPU that is part of the state: one seed gives the same run on
    one CPU, and the same data order, latents and mixes on any device.

    Args:
        networks: moved to `device` and trained in place.
        images: N >= 2 normal images, `images[indices]` giving (B, C, S, S), uint8 or floating in [-1, 1]: a tensor on
            any device, an array, a memory map.
        perceptual: the features of the reconstruction loss; moved to `device`. Only `mse` needs none.
        recipe: one of `RECIPES`, or your own.
        reconstruction: the loss of Eq. 7, or one of the ablation's.

    Raises:
        UserError: fewer than two images, images that the networks don't read, or more processes than images of a batch.
    """

    def __init__(
        self,
        networks: PIADNetworks,
        images: Any,
        perceptual: Perceptual | None,
        recipe: TrainingRecipe,
        *,
        reconstruction: Reconstruction = "relative_perceptual_l1",
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        check_reconstruction(reconstruction, perceptual)
        if len(images) < 2:
            raise UserError(f"PIAD trains on two images or more, and there is {len(images) or 'none'}")
        self.device = torch.device(device)
        self.networks = networks.to(self.device, channels_last=True)
        self.perceptual = perceptual
        if perceptual is not None:
            perceptual.to(self.device).to(memory_format=torch.channels_last)
        self.images, self.recipe, self.reconstruction = images, recipe, reconstruction
        self.iteration = 0
        self._latest: StepLosses | None = None
        self.gamma_generator, self.gamma_encoder = recipe.gamma_generator, recipe.gamma_encoder
        self._random = torch.Generator().manual_seed(seed)
        self._order, self._position = torch.empty(0, dtype=torch.int64), 0
        self._batch = min(recipe.batch_size, len(images))
        self.share = Share.here()
        self.share.check(self._batch, "piad.recipe.batch_size")
        self.share.begin_alike(p for network in self.networks for p in network.state_dict().values())
        self._weights = {
            "generator": dict(networks.generator.named_parameters()),
            "encoder": dict(networks.encoder.named_parameters()),
        }
        self._critics = [*networks.image_critic.parameters(), *networks.latent_critic.parameters()]
        # Adam works on each number by itself, so that one over two networks is the same as one for each
        self._adam_critics = torch.optim.Adam(self._critics, lr=recipe.learning_rate_critics, betas=recipe.betas)
        both = [*self._weights["encoder"].values(), *self._weights["generator"].values()]
        self._adam = torch.optim.Adam(both, lr=recipe.learning_rate, betas=recipe.betas)
        # [network][loss][layer]: the sizes of the loss's gradients at each update (Algorithm 2)
        self._history: dict[str, dict[str, dict[str, list[float]]]] = {
            network: {loss: {layer: [] for layer in _layers(weights)} for loss in ("adversarial", "reconstruction")}
            for network, weights in self._weights.items()
        }
        prepare(self._rows(torch.zeros(1, dtype=torch.int64)), networks, self.device)  # complain before the first step

    @property
    def iterations(self) -> int:
        """How many there will be."""
        return self.recipe.iterations

    @property
    def finished(self) -> bool:
        """Whether the recipe's iterations are done."""
        return self.iteration >= self.recipe.iterations

    def step(self) -> StepLosses:
        """One iteration of Algorithm 1; the critics' losses are those of its last critic step.

        Raises:
            Diverged: the training did (looked for once in n_weight iterations). UserError: an image is bad.
        """
        with self.share.whole_batches():
            for _ in range(self.recipe.n_dis):
                critic_image, critic_latent = self._step_critics()
            adversarial_generator, adversarial_encoder, reconstruction = self._step_generator()
        result = StepLosses(
            critic_image, critic_latent, adversarial_generator, adversarial_encoder, reconstruction,
            self.gamma_generator, self.gamma_encoder,
        )  # fmt: skip
        if self.iteration % self.recipe.n_weight == 0:
            # the authors' code stops at 1e6 too; written so that NaN stops as well
            bad = [name for name, value in result.numbers().items() if not abs(value) <= 1e6]
            if bad:
                raise Diverged(f"PIAD's training diverged at iteration {self.iteration}: {', '.join(bad)} beyond 1e6")
        self.iteration += 1
        self._latest = result
        return result

    @torch.inference_mode()
    def finite(self, look: bool = False) -> bool:
        """Whether losses and parameters are finite; `look`: also the scores of a batch, from the networks as they are.

        Reads the latest losses from the device, and so waits for it.
        """
        numbers = {} if self._latest is None else self._latest.numbers()
        weights = (p for network in self.networks for p in network.state_dict().values())
        if not all(map(math.isfinite, numbers.values())) or not all(bool(torch.isfinite(p).all()) for p in weights):
            return False
        if not look:
            return True
        n = self.networks
        x = prepare(self._rows(torch.arange(self._batch)), n, self.device)
        scores = dissimilarity(x, n.generator(n.encoder(x)), self.perceptual, self.reconstruction)
        judged = torch.cat([scores.flatten(), n.image_critic(x).flatten()])
        return bool(torch.isfinite(judged).all())

    def _step_critics(self) -> tuple[Tensor, Tensor]:
        """Lines 3 to 5."""
        n, s = self.networks, self.recipe
        x, z = self._draw()
        mixes = torch.rand(2, self._batch, generator=self._random)
        mix_x, mix_z = (self.share.mine(mix).to(self.device) for mix in mixes)
        for parameter in self._critics:
            parameter.requires_grad_(True)
        with torch.no_grad():
            fake, code = n.generator(z), n.encoder(x)
        knobs: dict[str, Any] = {"gp_weight": s.gp_weight, "drift": s.drift, "drift_on_fake": s.drift_on_fake}
        image = losses.critic_loss(n.image_critic, x, fake, mix=mix_x, **knobs)
        latent = losses.critic_loss(n.latent_critic, z, code, mix=mix_z, **knobs)
        image, latent = image * self._weight, latent * self._weight
        # not backward(): that would also walk on to the gradient of the mixed images
        own = torch.autograd.grad(image + latent, self._critics)
        image, latent, *gradients = self.share.added([image, latent, *own])
        for parameter, gradient in zip(self._critics, gradients, strict=True):
            parameter.grad = gradient
        self._adam_critics.step()
        return image.detach(), latent.detach()

    def _step_generator(self) -> tuple[Tensor, Tensor, Tensor]:
        """Lines 7 to 17."""
        n, s = self.networks, self.recipe
        x, z = self._draw()
        for parameter in self._critics:
            parameter.requires_grad_(False)
        generator, encoder = list(self._weights["generator"].values()), list(self._weights["encoder"].values())

        # The graph is cut at the code: E is walked back once, with the weighted sum of what both losses ask of the
        # code, where Algorithm 1 walks it back once for each loss. G's two graphs are apart, so none is retained.
        encoded = n.encoder(x)
        code = encoded.detach().requires_grad_(True)
        rec = dissimilarity(x, n.generator(code), self.perceptual, self.reconstruction).mean() * self._weight
        *g_rec, code_rec = torch.autograd.grad(rec, [*generator, code])
        adv_e = losses.generator_loss(n.latent_critic, code) * self._weight
        (code_adv,) = torch.autograd.grad(adv_e, code)
        adv_g = losses.generator_loss(n.image_critic, n.generator(z)) * self._weight
        g_adv = torch.autograd.grad(adv_g, generator)

        offset = 1 if s.policy == "released" else 0
        if s.policy != "fixed" and (self.iteration + offset) % s.n_weight == 0:
            e_rec = torch.autograd.grad(encoded, encoder, code_rec, retain_graph=True)
            e_adv = torch.autograd.grad(encoded, encoder, code_adv, retain_graph=True)
            self.gamma_generator = self._balance("generator", self.share.added(g_adv), self.share.added(g_rec))
            self.gamma_encoder = self._balance("encoder", self.share.added(e_adv), self.share.added(e_rec))

        of_encoder = torch.autograd.grad(encoded, encoder, code_adv + self.gamma_encoder * code_rec)
        of_generator = [a.add(r, alpha=self.gamma_generator) for a, r in zip(g_adv, g_rec, strict=True)]
        adv_g, adv_e, rec, *gradients = self.share.added([adv_g, adv_e, rec, *of_encoder, *of_generator])
        for parameter, gradient in zip([*encoder, *generator], gradients, strict=True):
            parameter.grad = gradient
        self._adam.step()
        return adv_g.detach(), adv_e.detach(), rec.detach()

    @property
    def _weight(self) -> float:
        """Of a mean over this rank's images in that over the batch; 1 alone."""
        return self.share.of(self._batch)

    def _balance(self, network: str, adversarial: Sequence[Tensor], reconstruction: Sequence[Tensor]) -> float:
        """Algorithms 2 and 3: adds to one network's history and gives its gamma."""
        s = self.recipe
        norm = s.norm or ("l2" if s.policy == "released" else "std")
        names, history = list(self._weights[network]), self._history[network]
        for loss, gradients in (("adversarial", adversarial), ("reconstruction", reconstruction)):
            of_layer = {name: g for name, g in zip(names, gradients, strict=True) if name in history[loss]}
            for name, size in zip(of_layer, gradient_sizes(of_layer.values(), norm), strict=True):
                history[loss][name].append(size)
        variant: Literal["paper", "released"] = "released" if s.policy == "released" else "paper"
        try:
            return balance_weight(
                history["adversarial"], history["reconstruction"], last=s.last, alpha=s.alpha, variant=variant
            )
        except ValueError as error:
            raise Diverged(f"PIAD's training diverged at iteration {self.iteration}, {network}: {error}") from error

    def _draw(self) -> tuple[Tensor, Tensor]:
        """Fresh x from shuffled epochs, whose incomplete last batch is dropped, and fresh z from the prior."""
        if self._position + self._batch > len(self._order):
            self._order, self._position = torch.randperm(len(self.images), generator=self._random), 0
        chosen = self._order[self._position : self._position + self._batch]
        self._position += self._batch
        z = torch.randn(self._batch, *self.networks.latent_shape, generator=self._random)
        x = prepare(self._rows(self.share.mine(chosen)), self.networks, self.device)
        return x, self.share.mine(z).to(self.device)

    def _rows(self, chosen: Tensor) -> Any:
        return self.images[chosen if isinstance(self.images, Tensor) else chosen.numpy()]

    def state_dict(self) -> dict[str, Any]:
        """A snapshot of everything that the next step depends on but images and perceptual network.

        Tensors, numbers, strings, lists and dictionaries only: `torch.load(..., weights_only=True)` reads it back.
        """
        return copy.deepcopy(
            {
                "iteration": self.iteration,
                "networks": {name: network.state_dict() for name, network in self.networks._asdict().items()},
                "adam": self._adam.state_dict(),
                "adam_critics": self._adam_critics.state_dict(),
                "gammas": [self.gamma_generator, self.gamma_encoder],
                "history": self._history,
                "random": self._random.get_state(),
                "order": self._order,
                "position": self._position,
                "settings": self._settings(),
            }
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resumes from a `state_dict`; a longer recipe is fine, other changed settings are not.

        Raises:
            UserError: the state comes from other settings, images or networks.
        """
        check_same(self._settings(), state.get("settings"), renamed=RENAMED)
        state = copy.deepcopy(state)  # Adam would continue with the tensors that it is given
        for name, network in self.networks._asdict().items():
            try:
                network.load_state_dict(state["networks"][name])
            except RuntimeError as error:
                raise UserError(f"the checkpoint holds another {name}: {error}") from error
        self._adam.load_state_dict(state["adam"])
        self._adam_critics.load_state_dict(state["adam_critics"])
        self.gamma_generator, self.gamma_encoder = state["gammas"]
        self.iteration, self._position, self._history = state["iteration"], state["position"], state["history"]
        self._random.set_state(state["random"].cpu())
        self._order = state["order"].cpu()

    def _settings(self) -> dict[str, Any]:
        settings = asdict(self.recipe)
        del settings["iterations"]
        settings["betas"] = list(settings["betas"])
        settings |= {"reconstruction": self.reconstruction, "images": len(self.images)}
        return settings | {"perceptual": self.perceptual.name if self.perceptual is not None else None}

    def samples(self, count: int, *, seed: int = 0) -> Tensor:
        """Generated images (count, C, S, S) in [-1, 1] on the CPU, from the same latents every time."""
        z = torch.randn(count, *self.networks.latent_shape, generator=torch.Generator().manual_seed(seed))
        with torch.inference_mode():
            return self.networks.generator(z.to(self.device)).clamp(-1, 1).cpu()


def _layers(weights: dict[str, nn.Parameter]) -> list[str]:
    """Every convolution's weight, skip connections included, biases not: as in the authors' code."""
    return [name for name in weights if name.endswith("weight")]
