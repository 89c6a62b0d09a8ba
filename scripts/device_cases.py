"""What `check_device.py` runs on a device and on the CPU: every measure, a training step of each model, distances.

A case is a function of the device that gives numbers. Where float32 would let rounding decide (the sign of a gradient,
an acceptance of a Markov chain) the case runs in float64 on devices that have it.

N images, S side in pixels, D numbers a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from genaudit.backbones.embedded import EfficientNetLite0
from genaudit.backbones.generator_sources import ModuleGenerator
from genaudit.backbones.timm_model import TimmModel
from genaudit.measures.ais import AIS
from genaudit.measures.anomaly import Anomaly
from genaudit.measures.code_length import CodeLength
from genaudit.measures.embedding import Embedding
from genaudit.measures.inversion import Inverted
from genaudit.measures.likelihood import Likelihood
from genaudit.measures.logits import Logits
from genaudit.measures.measure import tensors_of
from genaudit.measures.patches import Patches
from genaudit.measures.path_length import PathLength
from genaudit.measures.pixel_facts import PixelFacts
from genaudit.measures.spatial import SpatialFeatures
from genaudit.stats.process_state import exact_float32, neutral

# A float32 network sums some thousand products a layer, in another order on another device: about 1e-6 of a row. Fifty
# times that is still far below an error of a kernel.
FLOAT32 = 5e-5
FLOAT64 = 2e-7  # of float64 nothing is left but the rounding of the rows, which are float32: 6e-8 on either side
# An attack goes by the signs of gradients. One near 0 may have another sign on another device, even in float64,
# though seldom; it moves one pixel by two steps.
SIGNS = 1e-3
TRAINING = 1e-4  # the loss after a step, which moved by gradients: differences, with a hundred times the rounding


@dataclass(frozen=True)
class Case:
    """A name, what is run, and the allowed difference: of rows relative to their length, of others to the largest."""

    name: str
    run: Callable[[str], np.ndarray]
    allowed: float


def cases(images: list[np.ndarray], device: str) -> Iterator[Case]:
    """All of them; `images` are (H, W, 3) uint8. `device` says whether there is float64."""
    has_float64 = not device.startswith("mps")
    double, exact = ("float64", FLOAT64) if has_float64 else ("float32", 1e-2)
    lite, small = EfficientNetLite0(), TimmModel("test_resnet", pretrained=False, size=64)
    vae = ModuleGenerator(name="demo_vae", module="genaudit.demo.load_vae_decoder", latent=10)
    measures: list[tuple[Any, str, float]] = [
        (Embedding(lite), "float32", FLOAT32),
        (Logits(lite), "float32", FLOAT32),
        (SpatialFeatures(lite), "float32", FLOAT32),
        (Embedding(TimmModel("test_vit", pretrained=False)), "float32", FLOAT32),
        (Embedding(small), "float32", FLOAT32),
        # EfficientNet's grouped convolutions take half a minute of a CPU in float64
        (Anomaly(small, path_steps=4, attack_steps=4), double, SIGNS if has_float64 else exact),
        (Likelihood("fashion_mnist"), "float32", FLOAT32),
        (CodeLength(), "float32", 0.0),
        (PixelFacts(), "float32", 0.0),
        (AIS(vae, temperatures=20, chains=2, leapfrog=4), double, exact),
        (Inverted(vae, restarts=2, samples=16, steps=10), double, exact),
        (PathLength(vae), double, exact),
        (Patches(vae), "float32", FLOAT32),
    ]
    for measure, precision, allowed in measures:
        yield Case(measure.name, rows_of(measure, images, precision), allowed)
    yield Case("training step, Glow", _density("glow"), TRAINING)
    yield Case("training step, PixelCNN++", _density("pixelcnn"), TRAINING)
    yield Case("training step and scores, PIAD", _piad, TRAINING)
    yield Case("training step, classifier", _classifier, TRAINING)
    for metric in ("euclidean", "cosine"):
        yield Case(f"nearest neighbours, {metric}", _nearest(metric), 1e-9)
    yield Case("precision, recall, density, coverage", _prdc, 0.0)


def rows_of(measure: Any, images: list[np.ndarray], precision: str) -> Callable[[str], np.ndarray]:
    """The measure's rows (N, D) of the images, as the row store measures them."""

    def run(device: str) -> np.ndarray:
        prepared = np.stack([measure.prepare(image) for image in images]).transpose(0, 3, 1, 2)
        digests = [index.to_bytes(16, "little") for index in range(len(images))]
        with neutral(), exact_float32(device):
            meter = measure.open(device, precision)
            given = meter(torch.from_numpy(np.ascontiguousarray(prepared)).to(device), digests)
        rows, *_ = tensors_of(measure, given)
        return np.nan_to_num(rows.detach().cpu().numpy().astype(np.float64))

    return run


def _pictures(count: int, side: int, channels: int = 1) -> np.ndarray:
    """Smooth images (N, S, S[, 3]) uint8."""
    rng, ramp = np.random.default_rng(side), np.linspace(0, 1, side)
    slopes = rng.uniform(0, 1, (2, count, 1, 1, channels))
    smooth = slopes[0] * ramp[:, None, None] + slopes[1] * ramp[None, :, None]
    pixels = (127 * smooth + rng.uniform(0, 8, smooth.shape)).astype(np.uint8)
    return pixels[..., 0] if channels == 1 else pixels


def _density(kind: str) -> Callable[[str], np.ndarray]:
    def run(device: str) -> np.ndarray:
        from genaudit.likelihood.glow import Glow
        from genaudit.likelihood.pixelcnnpp import PixelCNNpp
        from genaudit.likelihood.recipe import TrainingRecipe
        from genaudit.likelihood.trainer import Trainer

        torch.manual_seed(0)
        model = (
            Glow(1, 8, scales=2, steps=2, hidden=8)
            if kind == "glow"
            else PixelCNNpp(1, 8, filters=4, blocks=1, components=2, resolutions=2)
        )
        recipe = TrainingRecipe(iterations=2, batch_size=8, optimiser="adam", learning_rate=1e-3, initial_images=16)
        trainer = Trainer(model, _pictures(24, 8), recipe, device=device)
        return np.array([trainer.step().bits_per_dim for _ in range(2)])  # the second one sees what the first has moved

    return run


def _piad(device: str) -> np.ndarray:
    from genaudit.piad.networks import build
    from genaudit.piad.perceptual import efficientnet_lite0
    from genaudit.piad.recipe import TrainingRecipe
    from genaudit.piad.scoring import anomaly_score
    from genaudit.piad.trainer import Trainer

    networks = build("mnist", 1, seed=0)
    images = torch.from_numpy(_pictures(8, networks.image_shape[1]))[:, None]
    trainer = Trainer(networks, images, efficientnet_lite0(), TrainingRecipe(1, batch_size=4, n_dis=1), device=device)
    return np.array([*trainer.step().numbers().values(), *anomaly_score(trainer.networks, images, trainer.perceptual)])


def _classifier(device: str) -> np.ndarray:
    from genaudit.likelihood.wide_resnet import ClassifierRecipe, ClassifierTrainer, WideResNet

    torch.manual_seed(0)
    # without dropout, which draws on the device itself
    model = WideResNet(1, 8, depth=10, width=1, dropout=0.0)
    recipe = ClassifierRecipe(iterations=2, batch_size=8, learning_rate=0.01)
    trainer = ClassifierTrainer(model, _pictures(16, 8), 255 - _pictures(16, 8), recipe, device=device)
    return np.array([float(trainer.step().loss) for _ in range(2)])


def _features(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((count, 64)) @ rng.standard_normal((64, 256))).astype(np.float32)


def _nearest(metric: Any) -> Callable[[str], np.ndarray]:
    def run(device: str) -> np.ndarray:
        from genaudit.stats.neighbours import nearest

        found = nearest(_features(300, 1), _features(2000, 2), k=5, metric=metric, device=device)
        return np.concatenate([found.indices, found.distances], axis=1).astype(np.float64)

    return run


def _prdc(device: str) -> np.ndarray:
    from genaudit.metrics.prdc import prdc

    found = prdc(_features(400, 1), _features(400, 2) * 0.8, k=5, device=device)
    return np.array([found.precision, found.recall, found.density, found.coverage])
