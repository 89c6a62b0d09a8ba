"""Complexity and vulnerability: genaudit's measure beside the straightforward schedule, in one run.

    python scripts/bench_anomaly.py [--batch N] [--images N] [--threads 1] [--rounds 3]

The straightforward schedule is that of the score's released code: complexity and vulnerability in separate passes over
the batch, the network as its package makes it (not folded, parameters with gradients, plain layout), all path points of
the batch in one pass. Only the attack's sign is put right. Both sides see the same images, directions and starts, the
same threads and the same batch size, as the measure chooses it for a CPU (8 at 224 pixels, 64 at 64); times are CPU
seconds of this process, alternating, the best of several rounds.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import torch

from genaudit.backbones.embedded import EfficientNetLite0
from genaudit.backbones.feature_model import FeatureModel
from genaudit.backbones.layers import Normalised
from genaudit.backbones.timm_model import TimmModel
from genaudit.measures import anomaly, complexity, vulnerability
from genaudit.measures.anomaly import Anomaly

EPS, K, ALPHA, J = 0.01, 10, 0.01, 10


class Straightforward:
    """The released schedule, written again; see the module docstring."""

    def __init__(self, model: FeatureModel, dtype: torch.dtype = torch.float32) -> None:
        self.network = Normalised(model.build().eval(), model.mean, model.std).to(dtype).eval()

    def complexity(self, images: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
        steps = torch.arange(K + 1, dtype=images.dtype).view(1, -1, 1, 1, 1)
        points = (images[:, None] + EPS * steps * direction[:, None]).clamp(0, 1)
        features = self.network(points.flatten(0, 1)).detach().unflatten(0, points.shape[:2])
        d = features.diff(dim=1)
        d = d / d.norm(dim=2, keepdim=True)
        return torch.arccos((d[:, 1:] * d[:, :-1]).sum(2).clamp(-1, 1)).mean(1)

    def vulnerability(self, images: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        features = self.network(images).detach()
        attacked = (images + noise).clamp(0, 1)
        for _ in range(J):
            attacked.requires_grad_(True)
            distance = (self.network(attacked) - features).square().mean()
            (gradient,) = torch.autograd.grad(distance, attacked)
            change = (attacked.detach() + ALPHA * gradient.sign() - images).clamp(-ALPHA * J, ALPHA * J)
            attacked = (images + change).clamp(0, 1).detach()
        return (self.network(attacked) - features).norm(dim=1).detach()


def compare(name: str, model: FeatureModel, args: argparse.Namespace) -> None:
    size = model.recipe.size
    batch = args.batch or Anomaly(model).batch_size("cpu")
    count = args.images or batch
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((count, 3, 8, 8), generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1)
    pixels = (smooth * 255).round().to(torch.uint8)
    digests = [i.to_bytes(16) for i in range(count)]
    meter = Anomaly(model).open("cpu", "float32")
    plain = Straightforward(model)
    batches = [slice(first, first + batch) for first in range(0, count, batch)]

    def ours() -> torch.Tensor:
        return torch.cat([meter(pixels[b], digests[b])[:, :2] for b in batches])

    def straightforward(of: Straightforward, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        rows = []
        for b in batches:
            images = pixels[b].to(dtype) / 255
            draws = anomaly._Draws(images, digests[b], 0)
            (u,) = draws.directions(1, "gaussian")
            (start,) = draws.starts(1)
            u, start = u.contiguous(), start.contiguous() * anomaly.START_RADIUS
            rows.append(torch.stack([of.complexity(images, u), of.vulnerability(images, start)], 1))
        return torch.cat(rows)

    seconds: dict[str, list[float]] = {"ours": [], "straightforward": []}
    for _ in range(args.rounds + 1):
        for side, run in (("ours", ours), ("straightforward", lambda: straightforward(plain))):
            started = time.process_time()
            rows = run()
            seconds[side].append(time.process_time() - started)
            if side == "ours":
                got = rows
            else:
                naive = rows
    best = {side: min(taken[1:]) for side, taken in seconds.items()}
    print(f"\n{name}, {size} pixels, {count} images, batches of {batch}, {args.threads} threads")
    for side, taken in best.items():
        print(f"  {side:<16}{count / taken:8.2f} images per CPU second   {1e3 * taken / count:8.1f} ms per image")
    print(f"  ratio           {best['straightforward'] / best['ours']:8.2f}")
    few = slice(0, min(args.exact, batch))
    exact_meter = Anomaly(model).open("cpu", "float64")
    exact = exact_meter(pixels[few], digests[few])[:, :2]
    for side, rows in (("ours", got), ("straightforward", naive)):
        off = (rows[few].double() - exact.double()).abs()
        relative = off[:, 1] / exact[:, 1]
        print(
            f"  {side:<16}from float64: complexity at most {off[:, 0].max():.1e} rad, "
            f"vulnerability {relative.mean():.1e} relative in the mean, {relative.max():.1e} at most"
        )
    with torch.no_grad():
        images = anomaly.to_unit_range(pixels, torch.float32)
        (u,) = anomaly._Draws(images, digests, 0).directions(1, "gaussian")
        features = complexity.path_features(plain.network, images, u, EPS, K)
        doubtful = ~(complexity.path_angles(features, 2) > anomaly.DOUBTFUL_RATIO * complexity.path_angles(features))
    print(f"  paths that genaudit measured again in float64, as doubtful: {int(doubtful.sum())} of {count}")
    parts(model, pixels[:batch], digests[:batch])


def parts(model: FeatureModel, pixels: torch.Tensor, digests: list[bytes]) -> None:
    """Where an image's CPU time goes."""
    measure = Anomaly(model)
    network, layout = measure._network("cpu", torch.float32)
    images = anomaly.to_unit_range(pixels, torch.float32).contiguous(memory_format=layout)
    draws = anomaly._Draws(images, digests, 0)
    (u,) = draws.directions(1, "gaussian")
    (noise,) = draws.starts(1)
    reference = network(images)
    start = noise * anomaly.START_RADIUS

    def timed(work: Callable[[], object]) -> float:
        work()
        started = time.process_time()
        work()
        return 1e3 * (time.process_time() - started) / len(images)

    shares = {
        "drawing directions and starts": timed(lambda: (list(draws.directions(1, "gaussian")), list(draws.starts(1)))),
        f"the path, {K + 1} points": timed(lambda: complexity.path_features(network, images, u, EPS, K)),
        "first attack step": timed(lambda: vulnerability.first_gradient(network, images, start)),
        "a later attack step": timed(
            lambda: vulnerability.attack(network, images, reference, noise * 0.01, ALPHA, 1, None)
        ),
    }
    for what, taken in shares.items():
        print(f"    {what:<32}{taken:8.1f} ms per image")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=0, help="default: one batch")
    parser.add_argument("--batch", type=int, default=0, help="default: the measure's own")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--exact", type=int, default=2, help="images compared with float64")
    parser.add_argument("--only", choices=("efficientnet", "resnet"), default=None)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.only != "resnet":
        compare("EfficientNet-Lite0", EfficientNetLite0(), args)
    if args.only != "efficientnet":
        compare("ResNet-18", TimmModel("resnet18", size=64, pretrained=False), args)
    print(f"\npeak memory of both sides together: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
