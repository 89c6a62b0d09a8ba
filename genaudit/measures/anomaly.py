"""Complexity and vulnerability of an image in a feature space (Hwang, Lee and Lee, CVPR 2024, "Anomaly Score").

Complexity: how much the features bend along a straight path through image space. Vulnerability: how far an
adversarial attack moves them. `f` is the feature model with its normalisation, images are in [0, 1].

N images, C channels, H, W sides, D features, K path steps, J attack steps.
"""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
import torch.autograd.forward_ad as fwd

from genaudit.backbones.cpu_layout import arrange_for_cpu
from genaudit.errors import UserError
from genaudit.measures.measure import to_unit_range
from genaudit.stats.bounds import MOST_REPEATS, Bounds, Positive, Repeats

if TYPE_CHECKING:
    from genaudit.backbones.feature_model import FeatureModel
    from genaudit.measures.measure import Meter

Network = Callable[[torch.Tensor], torch.Tensor]

# A change of the mathematics below bumps this number, so that stored rows are not reused.
CODE_VERSION = 4
START_RADIUS = 1e-6
GPU_PATHS = 16  # paths that fill a GPU together
CPU_PATH_PIXELS = 160**2  # on a CPU, paths of small images share the cost of reading the network's weights,
CPU_ATTACK_PIXELS = 8 * 224**2  # and attacks of large images go in parts whose activations stay in the cache
# A smooth path's lag-2 angle is 1.4 (random turns) to 2 times (steady turns) its lag-1 angle, pure rounding's 0.75.
# Below this ratio the path is measured again in float64.
DOUBTFUL_RATIO = 1.2
PRECISIONS = ("auto", "float32", "float64")
_FORWARD_MODE = threading.Lock()  # PyTorch has one level of forward-mode differentiation a process


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
    network: Network,
    images: torch.Tensor,
    direction: torch.Tensor,
    eps: float,
    steps: int,
    *,
    together: int | None = None,
) -> torch.Tensor:
    """Features along each image's path, (N, K + 1, D), `together` paths at a time (None: what suits the device).

    A group of paths is one batch, of a size that depends on the image's side alone and filled up with the last path,
    whatever batch the images came in: an angle is a ratio of small differences, in which the last bits that change
    with the shape of a batch would show. It is a power of two, so that the usual batches need no filling.
    """
    usual = GPU_PATHS if images.is_cuda else _paths_together(images.shape[-1] * images.shape[-2])
    group = together or usual
    features = []
    with torch.no_grad():
        for first in range(0, len(images), group):
            points = _path_points(images[first : first + group], direction[first : first + group], eps, steps)
            lacking = group - len(points)
            filled = torch.cat([points, points[-1:].expand(lacking, *points.shape[1:])]) if lacking else points
            batch = filled.flatten(0, 1).contiguous(memory_format=_layout(images))
            features.append(network(batch).flatten(1).unflatten(0, filled.shape[:2])[: len(points)])
    return torch.cat(features)


def _paths_together(pixels: int) -> int:
    """The smallest power of two of paths on a CPU with at least CPU_PATH_PIXELS at a step."""
    return 1 << max(0, math.ceil(math.log2(CPU_PATH_PIXELS / pixels)))


def _layout(images: torch.Tensor) -> torch.memory_format:
    """The memory layout of a batch; where both hold (one image of one channel) channels-last."""
    if images.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


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
    most = len(images) if images.is_cuda else max(1, CPU_ATTACK_PIXELS // (images.shape[-1] * images.shape[-2]))
    if len(images) > most:
        parts = zip(images.split(most), reference.split(most), noise.split(most), strict=True)
        return torch.cat([_attack(model, *part, alpha, steps, radius) for part in parts])
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


def _attack_group(size: int) -> int:
    """Images of an attack on a CPU, by their side in pixels: what fits the cache, at most 64."""
    return max(1, min(64, CPU_ATTACK_PIXELS // size**2))


def _attack_in_groups(
    network: Network, images: torch.Tensor, reference: torch.Tensor, noise: torch.Tensor, *settings: Any
) -> torch.Tensor:
    """`_attack` on a CPU in groups of one size, the last filled up, whatever batch the images came in.

    The last bits of a gradient change with the shape of a batch, and where it is near zero its sign does: an attack
    then takes another way, and of some images in a hundred the vulnerability changes by percents.
    """
    if images.is_cuda or images.device.type == "mps":
        return _attack(network, images, reference, noise, *settings)
    group = _attack_group(images.shape[-1])
    moved = []
    for first in range(0, len(images), group):
        parts = [each[first : first + group] for each in (images, reference, noise)]
        count = len(parts[0])
        filled = [torch.cat([part, part[-1:].expand(group - count, *part.shape[1:])]) for part in parts]
        filled = [part.contiguous(memory_format=_layout(images)) if part.ndim == 4 else part for part in filled]
        moved.append(_attack(network, filled[0], filled[1], filled[2], *settings)[:count])
    return torch.cat(moved)


def _first_gradient(model: Network, images: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """Jᵀ(J·δ) at x, up to the factor 2 that the sign drops; no difference of nearly equal features is taken.

    One pass gives f(x) with its graph and J·δ as its tangent; one reverse pass follows.
    """
    # Fused attention has no forward-mode derivative; its plain form has.
    with (
        _FORWARD_MODE,
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
        fwd.dual_level(),
        torch.enable_grad(),
    ):
        probe = images.detach().requires_grad_(True)
        # the sign does not depend on δ's scale, and at unit scale nothing underflows in half precision
        features, tangent = fwd.unpack_dual(model(fwd.make_dual(probe, change / START_RADIUS)).flatten(1))
    # outside, where no tangent is carried along: not every layer's reverse pass has a forward-mode derivative
    (gradient,) = torch.autograd.grad(features, probe, tangent.detach())
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
        precision: "auto" measures in float32, and in float64 again the paths whose lag-2 angle is not clearly larger
            than their angle (`DOUBTFUL_RATIO`), which is how rounding noise shows; "float32" or "float64" for all.
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
        eps: Positive = 0.01,
        path_steps: Annotated[int, Bounds(2, MOST_REPEATS)] = 10,
        directions: Repeats = 1,
        direction: Literal["gaussian", "uniform"] = "gaussian",
        alpha: Positive = 0.01,
        attack_steps: Repeats = 10,
        radius: Positive | None = None,
        starts: Repeats = 1,
        start: Positive = START_RADIUS,
        seed: int = 0,
        precision: str = "auto",
    ) -> None:
        for key, value, least in (
            ("path_steps", path_steps, 2),
            ("attack_steps", attack_steps, 1),
            ("directions", directions, 1),
            ("starts", starts, 1),
        ):
            if int(value) < least:
                raise UserError(f"anomaly.{key}={value}: at least {least} is needed")
        for key, size in (("eps", eps), ("alpha", alpha), ("start", start)):
            if not size > 0:
                raise UserError(f"anomaly.{key}={size}: a positive number is needed")
        if direction not in ("gaussian", "uniform"):
            raise UserError(f"anomaly.direction={direction}: gaussian or uniform is needed")
        if precision not in PRECISIONS:
            raise UserError(f"anomaly.precision={precision}: one of {', '.join(PRECISIONS)} is needed")
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
            "precision": precision,
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
            # another release sums in another order, and signs of gradients near zero flip
            "torch": ".".join(torch.__version__.split(".")[:2]),
            "feature_model": self.feature_model.describe(),
            **self.settings,
            "precision": self._precision(precision),
        }

    def _precision(self, of_run: str) -> str:
        """What decides the rows: "float64", "float32", or "auto" for float32 with doubtful paths in float64."""
        if "float64" in (of_run, self.settings["precision"]):
            return "float64"
        return str(self.settings["precision"])

    def prepare(self, image: np.ndarray) -> np.ndarray:
        return self.feature_model.recipe.apply(image)

    def batch_size(self, device: str) -> int:
        if device.startswith("cuda"):
            return 64
        return _attack_group(self.feature_model.recipe.size)

    def batch_unit(self, device: str) -> int:
        """Batches are multiples of it: attacks run in groups of that size, which smaller ones would hardly fill."""
        return _attack_group(self.feature_model.recipe.size) if device == "cpu" else 1

    def open(self, device: str, precision: str) -> Meter:
        chosen = self._precision(precision)
        dtype = torch.float64 if chosen == "float64" else torch.float32
        network, layout = self._network(device, dtype)
        exact: list[Network] = []  # the float64 network, loaded when a path first needs it
        settings = self.settings

        def path(x: torch.Tensor, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            """f(x), the mean angle and the mean lag-2 angle of every image."""
            features = _path_features(network, x, u, settings["eps"], settings["path_steps"])
            lag1, lag2 = _path_angles(features), _path_angles(features, lag=2)
            doubtful = ~(lag2 > DOUBTFUL_RATIO * lag1)  # also where an angle is not a number
            if chosen == "auto" and not device.startswith("mps") and bool(doubtful.any()):
                if not exact:
                    exact.append(copy.deepcopy(network).double())
                again = _path_features(
                    exact[0],
                    x[doubtful].double(),
                    u[doubtful].double(),
                    settings["eps"],
                    settings["path_steps"],
                    together=None if x.is_cuda else 1,  # few come: groups would be mostly filling
                )
                lag1[doubtful] = _path_angles(again).float()
                lag2[doubtful] = _path_angles(again, lag=2).float()
            return features[:, 0], lag1, lag2

        def meter(images: torch.Tensor, digests: Sequence[bytes]) -> torch.Tensor:
            batch = to_unit_range(images, dtype).contiguous(memory_format=layout)
            draws = _Draws(batch, digests, settings["seed"])
            paths = [path(batch, u) for u in draws.directions(settings["directions"], settings["direction"])]
            moved = [
                _attack_in_groups(
                    network,
                    batch,
                    paths[0][0],
                    noise * settings["start"],
                    settings["alpha"],
                    settings["attack_steps"],
                    settings["radius"],
                )
                for noise in draws.starts(settings["starts"])
            ]
            lag1, lag2 = (torch.stack([each[place] for each in paths]) for place in (1, 2))
            reached = torch.stack(moved)
            rows = (lag1.mean(0), reached.mean(0), lag2.mean(0), _standard_error(lag1), _standard_error(reached))
            return torch.stack(rows, dim=1).float()

        return meter

    def _network(self, device: str, dtype: torch.dtype) -> tuple[torch.nn.Module, torch.memory_format]:
        """The network, and the memory layout that its images should have."""
        # a copy: a feature model may hand out one and the same network to other measures, in their own arrangement
        network = copy.deepcopy(self.feature_model.network(device, dtype))
        return network, arrange_for_cpu(network) if device == "cpu" else torch.channels_last


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
        return drawn.to(self.images.device, non_blocking=True).contiguous(memory_format=_layout(self.images))
