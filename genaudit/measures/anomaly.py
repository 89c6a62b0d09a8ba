"""Complexity and vulnerability of an image in a feature space (Hwang, Lee and Lee, CVPR 2024, "Anomaly Score").

Complexity: how much the features bend along a straight path through image space. Vulnerability: how far an
adversarial attack moves them. `f` is the feature model with its normalisation, images are in [0, 1].

N images, C channels, H, W sides, D features, K path steps, J attack steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from genaudit.errors import UserError
from genaudit.measures.measure import to_unit_range

if TYPE_CHECKING:
    from genaudit.backbones.feature_model import FeatureModel
    from genaudit.measures.measure import Meter

Network = Callable[[torch.Tensor], torch.Tensor]

# A change of the mathematics below bumps this number, so that stored rows are not reused.
CODE_VERSION = 1
START_RADIUS = 1e-6
GPU_PATHS = 16  # paths that fill a GPU together


def complexity(
    model: Network,
    images: torch.Tensor,
    *,
    eps: float = 0.01,
    steps: int = 10,
    direction: torch.Tensor | str | None = None,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """The mean angle between consecutive feature differences along a random straight path, per image.

    Points `p_k = clip(x + eps·k·u, 0, 1)`, k = 0..K, differences `d_k = f(p_{k+1}) - f(p_k)`; the mean of the K - 1
    angles between `d_k` and `d_{k+1}` (Hwang et al. 2024, Eq. 1 to 3). The angle is 2·atan2(|a - b|, |a + b|) of unit
    vectors: the released code's arccos of a rounded cosine above 1 is NaN.

    Args:
        model: f, (N, C, H, W) in [0, 1] => (N, D); computes at the images' precision. Use float32 without TF32 or
            float64: at eps = 0.01 half precision leaves only rounding noise.
        images: (N, C, H, W), floating point, in [0, 1].
        eps: length of a step in L2 over C, H, W.
        steps: K >= 2.
        direction: u, (N, C, H, W), used as given (the paper's have unit L2 norm); or "gaussian" (default) or "uniform"
            on {-1, 0, 1}, drawn per image and scaled to unit norm.
        generator: for the draw.

    Returns:
        (N,) radians in [0, pi]; 0 for a linear f, about pi/2 or more for rounding noise; NaN where a difference is 0.
        Images of a good model have complexities distributed like those of real images.
    """
    if not isinstance(direction, torch.Tensor):
        direction = random_directions(images, direction or "gaussian", generator)
    points = _path_points(images, direction, eps, steps)
    with torch.no_grad():
        features = torch.stack([model(points[:, k]).flatten(1) for k in range(steps + 1)], dim=1)
    return _path_angles(features)


def vulnerability(
    model: Network,
    images: torch.Tensor,
    *,
    alpha: float = 0.01,
    steps: int = 10,
    radius: float | None = None,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """How far an untargeted iterated sign attack moves the features, per image.

    From `clip(x + U(-1e-6, 1e-6), 0, 1)`, J times `a <- a + alpha·sign(grad_a ||f(a) - f(x)||²)`, the change clipped to
    [-radius, radius], then `a` to [0, 1]; `V = ||f(a_J) - f(x)||` (Hwang et al. 2024, Eq. 4 and 5). It ascends; the
    released code differentiates the negative loss and then adds, so it descends.

    The first gradient is 2·Jᵀ(J·δ), by a forward-mode and a reverse-mode product at x: from a start of 1e-6 the
    difference f(a) - f(x) itself is rounding noise in float32, and so would be the signs.

    Args:
        model: f, (N, C, H, W) in [0, 1] => (N, D), differentiable.
        images: (N, C, H, W), floating point, in [0, 1].
        alpha: step per pixel; steps: J >= 1.
        radius: largest change per pixel; None means alpha·steps, where nothing clips (Table B.1 settles this).
        generator: for the start.

    Returns:
        (N,) in the units of f, >= 0. Generated images tend to have larger values than real ones.
    """
    noise = _uniform(images, generator) * START_RADIUS
    with torch.no_grad():
        reference = model(images).flatten(1)
    return _attack(model, images, reference, noise, alpha, steps, radius)


def random_directions(images: torch.Tensor, kind: str, generator: torch.Generator | None = None) -> torch.Tensor:
    """Random directions like `images`, unit L2 norm over C, H, W: "gaussian", or "uniform" on {-1, 0, 1}."""
    device = generator.device if generator is not None else torch.device("cpu")
    if kind == "gaussian":
        drawn = torch.randn(images.shape, generator=generator, device=device, dtype=torch.float32)
    elif kind == "uniform":
        drawn = torch.randint(-1, 2, images.shape, generator=generator, device=device).float()
    else:
        raise ValueError(f'direction must be a tensor, "gaussian" or "uniform", not {kind!r}')
    drawn = drawn.to(images.device, images.dtype)
    return drawn / drawn.flatten(1).norm(dim=1).clamp_min(torch.finfo(images.dtype).tiny).view(-1, 1, 1, 1)


def angle(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The angle between vectors of a and b, (..., D) => (...) radians, exact near 0 and pi; NaN for a zero vector."""
    a = a / a.norm(dim=-1, keepdim=True)
    b = b / b.norm(dim=-1, keepdim=True)
    return 2 * torch.atan2((a - b).norm(dim=-1), (a + b).norm(dim=-1))


def _path_points(images: torch.Tensor, direction: torch.Tensor, eps: float, steps: int) -> torch.Tensor:
    """The K + 1 points of each image's path, (N, K + 1, C, H, W)."""
    if steps < 2:
        raise ValueError(f"steps must be at least 2 (an angle needs two differences), not {steps}")
    lengths = eps * torch.arange(steps + 1, device=images.device, dtype=images.dtype)
    return (images.unsqueeze(1) + lengths.view(1, -1, 1, 1, 1) * direction.unsqueeze(1)).clamp_(0, 1)


def _path_features(
    network: Network, images: torch.Tensor, direction: torch.Tensor, eps: float, steps: int
) -> torch.Tensor:
    """Features along each image's path, (N, K + 1, D).

    The path of one image (on a GPU: of GPU_PATHS) is one batch, whatever batch the images came in: an angle is a
    ratio of small differences, in which the last bits that change with the shape of a batch would show.
    """
    group = GPU_PATHS if images.is_cuda else 1
    features = []
    with torch.no_grad():
        for first in range(0, len(images), group):
            points = _path_points(images[first : first + group], direction[first : first + group], eps, steps)
            together = points.flatten(0, 1).contiguous(memory_format=torch.channels_last)
            features.append(network(together).flatten(1).unflatten(0, points.shape[:2]))
    return torch.cat(features)


def _path_angles(features: torch.Tensor, lag: int = 1) -> torch.Tensor:
    """The mean angle between differences `lag` steps apart, (N, K + 1, D) => (N,); NaN where there is no pair.

    On a smooth path the lag-2 angle is larger than the lag-1 angle. If the features were a constant plus independent
    rounding, lag-1 would tend to 2·pi/3 and lag-2 to pi/2: lag-2 below lag-1 flags noise.
    """
    # differences of nearly equal numbers: float64 keeps every bit that the network gave
    differences = features.double().diff(dim=1)
    return angle(differences[:, :-lag], differences[:, lag:]).mean(1).to(features.dtype)


def _attack(
    model: Network,
    images: torch.Tensor,
    reference: torch.Tensor,
    noise: torch.Tensor,
    alpha: float,
    steps: int,
    radius: float | None,
) -> torch.Tensor:
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    radius = alpha * steps if radius is None else radius
    attacked = (images + noise).clamp_(0, 1)
    for step in range(steps):
        if step == 0 and float(noise.abs().amax()) <= START_RADIUS:
            gradient = _first_gradient(model, images, attacked - images)
        else:
            attacked.requires_grad_(True)
            with torch.enable_grad():
                distance = (model(attacked).flatten(1) - reference).square().sum()
                (gradient,) = torch.autograd.grad(distance, attacked)
        with torch.no_grad():
            change = (attacked.detach() + alpha * gradient.sign() - images).clamp_(-radius, radius)
            attacked = (images + change).clamp_(0, 1)
    with torch.no_grad():
        return (model(attacked).flatten(1) - reference).norm(dim=1)


def _first_gradient(model: Network, images: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """Jᵀ(J·δ) at x, up to the factor 2 that the sign drops; no difference of nearly equal features is taken."""

    def flat(x: torch.Tensor) -> torch.Tensor:
        return model(x).flatten(1)

    # Fused attention has no forward-mode derivative; its plain form has.
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        # the sign does not depend on δ's scale, and at unit scale nothing underflows in half precision
        tangent = torch.func.jvp(flat, (images,), (change / START_RADIUS,))[1]
        probe = images.detach().requires_grad_(True)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(flat(probe), probe, tangent)
    return gradient


def _uniform(images: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """U(-1, 1) like `images`, drawn on the generator's device."""
    device = generator.device if generator is not None else torch.device("cpu")
    drawn = torch.rand(images.shape, generator=generator, device=device, dtype=torch.float32)
    return (2 * drawn - 1).to(images.device, images.dtype)


class Anomaly:
    """Complexity and vulnerability of every image, in one pass that shares f(x) between them.

    Rows: complexity, vulnerability, the lag-2 angle (noise check), standard errors of the first two (NaN for one
    direction or one start). Whatever `precision` says for the rest, it runs in float32 without TF32, or float64:
    half precision leaves rounding noise of the angles.

    Args:
        feature_model: f.
        eps, path_steps: the path's step length and K. directions: independent paths per image, averaged.
        direction: "gaussian" or "uniform".
        alpha, attack_steps, radius: the attack's step, J, and radius (None: alpha·J).
        starts: independent attacks per image, averaged. start: half-width of the attack's uniform start.
        seed: with the image's digest it seeds every draw.
    """

    columns: tuple[str, ...] | None = (
        "complexity",
        "vulnerability",
        "complexity_lag2",
        "complexity_se",
        "vulnerability_se",
    )

    def __init__(
        self,
        feature_model: FeatureModel,
        *,
        eps: float = 0.01,
        path_steps: int = 10,
        directions: int = 1,
        direction: str = "gaussian",
        alpha: float = 0.01,
        attack_steps: int = 10,
        radius: float | None = None,
        starts: int = 1,
        start: float = START_RADIUS,
        seed: int = 0,
    ) -> None:
        for key, value, least in (
            ("path_steps", path_steps, 2),
            ("attack_steps", attack_steps, 1),
            ("directions", directions, 1),
            ("starts", starts, 1),
        ):
            if int(value) < least:
                raise UserError(f"measure.{key}={value}: at least {least} is needed")
        for key, size in (("eps", eps), ("alpha", alpha), ("start", start)):
            if not size > 0:
                raise UserError(f"measure.{key}={size}: a positive number is needed")
        if direction not in ("gaussian", "uniform"):
            raise UserError(f"measure.direction={direction}: gaussian or uniform is needed")
        self.feature_model = feature_model
        self.settings: dict[str, Any] = {
            "eps": float(eps),
            "path_steps": int(path_steps),
            "directions": int(directions),
            "direction": direction,
            "alpha": float(alpha),
            "attack_steps": int(attack_steps),
            "radius": None if radius is None else float(radius),
            "starts": int(starts),
            "start": float(start),
            "seed": int(seed),
        }

    @property
    def name(self) -> str:
        return f"anomaly {self.feature_model.name}"

    @property
    def weights_sha256(self) -> str:
        return self.feature_model.weights.sha256

    def describe(self, precision: str) -> dict[str, Any]:
        return {
            "measure": "anomaly",
            "code_version": CODE_VERSION,
            "precision": "float64" if precision == "float64" else "float32",
            "feature_model": self.feature_model.describe(),
            **self.settings,
        }

    def prepare(self, image: np.ndarray) -> np.ndarray:
        return self.feature_model.recipe.apply(image)

    def batch_size(self, device: str) -> int:
        return 64 if device.startswith("cuda") else 8

    def open(self, device: str, precision: str) -> Meter:
        dtype = torch.float64 if precision == "float64" else torch.float32
        network = self.feature_model.network(device, dtype)
        settings = self.settings

        def meter(images: torch.Tensor, digests: Sequence[bytes]) -> torch.Tensor:
            batch = to_unit_range(images, dtype)
            draws = _Draws(batch, digests, settings["seed"])
            paths = [
                _path_features(network, batch, u, settings["eps"], settings["path_steps"])
                for u in draws.directions(settings["directions"], settings["direction"])
            ]
            reference = paths[0][:, 0]
            moved = [
                _attack(
                    network,
                    batch,
                    reference,
                    noise * settings["start"],
                    settings["alpha"],
                    settings["attack_steps"],
                    settings["radius"],
                )
                for noise in draws.starts(settings["starts"])
            ]
            lag1 = torch.stack([_path_angles(path) for path in paths])
            lag2 = torch.stack([_path_angles(path, lag=2) for path in paths])
            reached = torch.stack(moved)
            rows = (lag1.mean(0), reached.mean(0), lag2.mean(0), _standard_error(lag1), _standard_error(reached))
            return torch.stack(rows, dim=1).float()

        return meter


def _standard_error(draws: torch.Tensor) -> torch.Tensor:
    """Standard error of the mean over the first axis, (R, N) => (N,); NaN for R = 1."""
    if len(draws) == 1:
        return torch.full_like(draws[0], math.nan)
    return draws.std(0) / math.sqrt(len(draws))


class _Draws:
    """Random draws per image from (seed, digest): they do not depend on batch, order, worker, rank or device."""

    def __init__(self, images: torch.Tensor, digests: Sequence[bytes], seed: int) -> None:
        self.images = images
        self.generators = []
        for digest in digests:
            words = np.frombuffer(digest, dtype="<u4").tolist()
            state = np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)[0]
            self.generators.append(torch.Generator().manual_seed(int(state >> np.uint64(1))))

    def directions(self, count: int, kind: str) -> Iterator[torch.Tensor]:
        for _ in range(count):
            yield self._each(lambda one, generator: random_directions(one, kind, generator))

    def starts(self, count: int) -> Iterator[torch.Tensor]:
        for _ in range(count):
            yield self._each(_uniform)

    def _each(self, draw: Callable[[torch.Tensor, torch.Generator], torch.Tensor]) -> torch.Tensor:
        shape = self.images[:1]
        plain = torch.empty(shape.shape, dtype=self.images.dtype)
        drawn = torch.cat([draw(plain, generator) for generator in self.generators])
        return drawn.to(self.images.device, non_blocking=True).contiguous(memory_format=torch.channels_last)
