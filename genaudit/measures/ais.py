"""The log-likelihood that a generator with Gaussian observation noise gives an image, as rows for the store.

"Intriguing Properties of Modern GANs", section 4.1 and appendix B.1; the sampling is `genaudit.likelihood.ais`.

B images of a batch, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from genaudit.backbones.generator import Generator
from genaudit.errors import UserError
from genaudit.likelihood.ais import ais, log_likelihood_bits
from genaudit.measures.generator_images import MeasureOfGenerator, as_generator_images
from genaudit.stats.bounds import Repeats, Seed, positive_int
from genaudit.stats.memory import rows_that_fit

if TYPE_CHECKING:
    import torch

    from genaudit.measures.measure import Meter

# A change of the mathematics bumps this number, so that stored rows are not reused.
CODE_VERSION = 1
HEAD = (
    "log_likelihood",
    "bits_per_dim",
    "spread",
    "effective_chains",
    "standard_error",
    "acceptance",
    "dims",
    "sigma2",
    "chains",
)


class AIS(MeasureOfGenerator):
    """Rows: log-likelihood (nats, a stochastic lower bound), the same in bits per dimension (higher is likelier, Table
    1), how far the chains agree, acceptance, sizes; then each class' log-likelihood, where there are several.

    With classes, all equally probable, log p(x) = logsumexp over classes of log p(x|class) - log K; spread, effective
    chains and the like are those of the likeliest class.

    Args:
        generator: G, whose `sigma2` must be known.
        temperatures, chains, leapfrog, schedule: of `likelihood.ais.ais`; the defaults are the paper's.
        seed: with the image's digest it seeds the image's noise.
    """

    kind = "ais"

    def __init__(
        self,
        generator: Generator | None,
        *,
        temperatures: Repeats = 500,
        chains: Repeats = 4,
        leapfrog: Repeats = 10,
        schedule: Literal["sigmoidal", "power"] = "sigmoidal",
        seed: Seed = 0,
    ) -> None:
        super().__init__(generator)
        for key, number in (("temperatures", temperatures), ("chains", chains), ("leapfrog", leapfrog)):
            positive_int(f"ais.{key}", number, error=UserError)
        if schedule not in ("sigmoidal", "power"):
            raise UserError(f"ais.schedule={schedule}: sigmoidal or power is needed")
        self.settings: dict[str, Any] = {
            "temperatures": int(temperatures),
            "chains": int(chains),
            "leapfrog": int(leapfrog),
            "schedule": schedule,
            "seed": int(seed),
        }

    @property
    def columns(self) -> tuple[str, ...]:
        labels = [label for label in self.generator.labels if label is not None]
        return (*HEAD, *(f"log_likelihood_class_{label}" for label in labels))

    @property
    def sigma2(self) -> float:
        """The observation noise's variance.

        Raises:
            UserError: neither the configuration nor the network names it.
        """
        sigma2 = self.generator.sigma2
        if sigma2 is None:
            raise UserError(
                f"generator {self.generator.name}: a likelihood needs generator.sigma2=, the variance of the "
                "observation noise on the [0, 1] scale; `genaudit evaluate SAMPLES train=T generator=... "
                "metric=[inversion]` estimates it (value sigma2)"
            )
        return sigma2

    def describe(self, precision: str) -> dict[str, Any]:
        return {
            "measure": "ais",
            "code_version": CODE_VERSION,
            "precision": self.precision(precision),
            "generator": self.generator.describe(),
            "sigma2": self.sigma2,
            **self.settings,
        }

    def batch_size(self, device: str) -> int:
        # rows of one pass: images times chains
        rows = rows_that_fit(math.prod(self.generator.image_shape), 4096 if device.startswith("cuda") else 64)
        return max(1, rows // self.settings["chains"])

    def open(self, device: str, precision: str) -> Meter:
        import torch

        dtype = torch.float64 if self.precision(precision) == "float64" else torch.float32
        labels = self.generator.labels
        decoders = [self.generator.decoder(device, dtype, label) for label in labels]
        channels, sigma2 = self.generator.channels, self.sigma2
        options = {name: self.settings[name] for name in ("temperatures", "chains", "leapfrog", "schedule")}

        def meter(images: torch.Tensor, digests: Sequence[bytes]) -> torch.Tensor:
            x = as_generator_images(images, channels, dtype)
            estimates = [
                ais(
                    decoder,
                    x,
                    sigma2=sigma2,
                    latent_dim=self.generator.latent_dim,
                    generator=[_generator(self.settings["seed"], digest) for digest in digests],
                    **options,
                )
                for decoder in decoders
            ]
            by_class = torch.stack([each.log_likelihood for each in estimates], dim=1)  # (B, K)
            whole = by_class.logsumexp(dim=1) - math.log(len(labels))
            best, place = by_class.argmax(dim=1), torch.arange(len(x))
            dims = x[0].numel()
            columns = [
                torch.stack([getattr(each, name) for each in estimates], dim=1)[place, best]
                for name in ("spread", "effective_chains", "standard_error")
            ]
            acceptance = torch.stack([each.acceptance.mean(dim=1) for each in estimates], dim=1)[place, best]
            sizes = [torch.full_like(whole, size) for size in (dims, sigma2, self.settings["chains"])]
            head = [whole, log_likelihood_bits(whole, dims), *columns, acceptance, *sizes]
            several = by_class if labels != (None,) else by_class[:, :0]
            return torch.cat([torch.stack(head, dim=1), several], dim=1).float()

        return meter


def _generator(seed: int, digest: bytes) -> torch.Generator:
    """An image's own noise: it does not depend on batch, order, worker, rank or device."""
    import torch

    words = np.frombuffer(digest, dtype="<u4").tolist()
    state = np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))
