"""How near a generator comes to an image: its best reconstruction, as rows for the store.

"Intriguing Properties of Modern GANs", Eq. 3 and appendix B.2; the optimisation is `genaudit.likelihood.inversion`.
An image's row: how far. Beside it: with which latent, and a small picture of the reconstruction; a metric needs no
network.

B images of a batch, C channels, S side, L latent dimensions, K classes, T side of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from genaudit.backbones.generator import Generator
from genaudit.errors import UserError, reason_of
from genaudit.likelihood.inversion import invert, mean_squared_error
from genaudit.measures.generator_images import MeasureOfGenerator, as_generator_images
from genaudit.stats.bounds import MOST_REPEATS, Bounds, Natural, Positive, Repeats, Seed
from genaudit.stats.memory import rows_that_fit

if TYPE_CHECKING:
    import torch

    from genaudit.likelihood.inversion import Distance, Inversion
    from genaudit.measures.measure import Given, Meter

# A change of the mathematics bumps this number, so that stored rows are not reused.
CODE_VERSION = 2
# The first columns, which every row has; K distances by class follow, 0 where the generator has no classes.
HEAD = ("error", "distance", "restart_range", "label", "dims", "classes")
DISTANCES = ("l2", "perceptual", "lpips")


class Inverted(MeasureOfGenerator):
    """Rows: mean squared error per number of the [0, 1] scale, the distance that was minimised, how far the restarts
    lay apart in it, the best class, sizes; then each class' distance (K).

    Attachments: `latent` (L,), the best class' and restart's; `picture` (T, T, C) uint8, what G makes of it.

    Args:
        generator: G.
        distance: what is minimised: "l2", "perceptual" (the embedded network's features) or "lpips" (the package).
        restarts, samples, steps, learning_rate: of `likelihood.inversion.invert`; the paper's are 4, 500, 500 to 750.
        picture: T at most; 0 keeps no pictures.
        seed: of the starts, which all images share.
    """

    kind = "inversion"

    def __init__(
        self,
        generator: Generator | None,
        *,
        distance: str = "l2",
        restarts: Repeats = 4,
        samples: Repeats = 500,
        steps: Annotated[int, Bounds(0, MOST_REPEATS)] = 500,
        learning_rate: Positive = 0.1,
        picture: Natural = 32,
        seed: Seed = 0,
    ) -> None:
        super().__init__(generator)
        if distance not in DISTANCES:
            raise UserError(f"metric.inversion.measure.distance={distance}: one of {', '.join(DISTANCES)} is needed")
        for key, number, least in (
            ("restarts", restarts, 1),
            ("samples", samples, 1),
            ("steps", steps, 0),
            ("picture", picture, 0),
        ):
            if int(number) < least:
                raise UserError(f"metric.inversion.measure.{key}={number}: at least {least} is needed")
        self.settings: dict[str, Any] = {
            "distance": distance,
            "restarts": int(restarts),
            "samples": int(samples),
            "steps": int(steps),
            "learning_rate": float(learning_rate),
            "picture": int(picture),
            "seed": int(seed),
        }

    @property
    def columns(self) -> tuple[str, ...]:
        return (*HEAD, *(f"distance_class_{label}" for label in self.generator.labels if label is not None))

    @property
    def attachments(self) -> dict[str, tuple[str, tuple[int | None, ...]]]:
        side, channels = self._side, self.generator.image_shape[0]
        picture = {"picture": ("uint8", (side, side, channels))} if side else {}
        return {"latent": ("float32", (self.generator.latent_dim,)), **picture}

    @property
    def _side(self) -> int:
        """T; 0 where no pictures are kept."""
        return min(self.generator.image_shape[1], self.settings["picture"])

    def describe(self, precision: str) -> dict[str, Any]:
        return {
            "measure": "inversion",
            "code_version": CODE_VERSION,
            "precision": self.precision(precision),
            "generator": self.generator.describe(),
            **self.settings,
        }

    def batch_size(self, device: str) -> int:
        # rows of one pass: images times restarts
        rows = rows_that_fit(math.prod(self.generator.image_shape), 4096 if device.startswith("cuda") else 64)
        return max(1, rows // self.settings["restarts"])

    def open(self, device: str, precision: str) -> Meter:
        import torch

        dtype = torch.float64 if self.precision(precision) == "float64" else torch.float32
        labels = self.generator.labels
        decoders = [self.generator.decoder(device, dtype, label) for label in labels]
        channels = self.generator.channels
        distance = make_distance(self.settings["distance"], device, dtype)
        names = ("restarts", "samples", "steps", "learning_rate")
        options = {name: self.settings[name] for name in names}

        def meter(images: torch.Tensor, digests: Sequence[bytes]) -> Given:
            x = as_generator_images(images, channels, dtype)
            inversions = [
                invert(
                    decoder,
                    x,
                    latent_dim=self.generator.latent_dim,
                    distance=distance,
                    generator=torch.Generator().manual_seed(self.settings["seed"]),
                    **options,
                )
                for decoder in decoders
            ]
            return self._rows(x, inversions)

        return meter

    def _rows(self, x: torch.Tensor, inversions: Sequence[Inversion]) -> Given:
        """(B, D) float32 of the inversions by class, and the attachments."""
        import torch

        distances = torch.stack([each.distances for each in inversions], dim=1)  # (B, K)
        best = distances.argmin(dim=1)
        place = torch.arange(len(x), device=x.device)

        def chosen(values: Callable[[Inversion], torch.Tensor]) -> torch.Tensor:
            return torch.stack([values(each) for each in inversions], dim=1)[place, best]

        labels = self.generator.labels
        of_label = torch.tensor([math.nan if label is None else label for label in labels], device=x.device)
        classes = 0 if labels == (None,) else len(labels)
        beside = {"latent": chosen(lambda each: each.latents).float()}
        if self._side:
            whole = chosen(lambda each: each.reconstructions)
            small = torch.nn.functional.adaptive_avg_pool2d(whole, self._side).permute(0, 2, 3, 1)
            beside["picture"] = small.float().double().clamp(0, 1).mul(255).round().byte()
        head = torch.stack(
            [
                chosen(lambda each: each.mse),
                distances[place, best],
                chosen(lambda each: each.restarts.amax(1) - each.restarts.amin(1)),
                of_label[best].to(x.dtype),
                *(torch.full_like(distances[:, 0], size) for size in (x[0].numel(), classes)),
            ],
            dim=1,
        )
        return torch.cat([head, distances if classes else distances[:, :0]], dim=1).float(), beside


def make_distance(name: str, device: str, dtype: torch.dtype) -> Distance:
    """What inversion minimises, by its name in `DISTANCES`; reconstructions and images (n, C, S, S) in [0, 1] to (n,).

    "perceptual": mean squared difference of the embedded network's features (EfficientNet-Lite0, stride 8), each
    filter divided by its standard deviation. "lpips": Zhang et al. 2018 with VGG, by the package lpips.

    Raises:
        UserError: the package lpips, or its weights, are not on this machine.
    """

    if name == "l2":
        return mean_squared_error
    if name == "perceptual":
        features = perceptual_features(device, dtype)

        def perceptual(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return (features(a) - features(b)).square().mean(1)

        return perceptual
    try:
        import lpips
    except ImportError:
        raise UserError(
            "distance=lpips needs the package lpips: pip install 'genaudit-images[lpips]'; distance=perceptual "
            "needs nothing more"
        ) from None
    try:
        network = lpips.LPIPS(net="vgg", verbose=False).eval().requires_grad_(False).to(device, dtype)
    except Exception as error:  # whatever a download that fails raises
        raise UserError(
            f"distance=lpips: VGG's weights cannot be downloaded ({reason_of(error)}); "
            "distance=perceptual needs no download"
        ) from None

    def learned(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        whole: torch.Tensor = network(*(_colour(each) * 2 - 1 for each in (a, b)))
        return whole.flatten()

    return learned


def perceptual_features(device: str, dtype: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    """Images (n, C, S, S) in [0, 1] to the embedded perceptual network's scaled features (n, F·h·w), differentiable."""
    from genaudit.piad.perceptual import efficientnet_lite0

    network = efficientnet_lite0().to(device, dtype)

    def features(images: torch.Tensor) -> torch.Tensor:
        assert network.std is not None
        scaled: torch.Tensor = network(images * 2 - 1) / network.std[:, None, None]
        return scaled.flatten(1)

    return features


def _colour(images: torch.Tensor) -> torch.Tensor:
    return images.expand(-1, 3, -1, -1)
