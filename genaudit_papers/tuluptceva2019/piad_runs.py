"""One training of PIAD in a recipe's folder, where it resumes, and its scores of the test images.

Tuluptceva et al. 2019, "Perceptual Image Anomaly Detection". N images, C channels, S side in pixels.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit.backbones.weight_files import VGG19_FILE, hub_checkpoints
from genaudit.measures.piad import PreparedPixels
from genaudit.piad.recipe import TrainingRecipe
from genaudit.recipe import Context, Need
from genaudit.training import fit, read_log
from genaudit_papers.measuring import digest_of
from genaudit_papers.tuluptceva2019 import one_class

if TYPE_CHECKING:
    from genaudit.piad.convergence import Convergence
    from genaudit.piad.perceptual import Perceptual

LOG = ("critic_image", "critic_latent", "reconstruction", "gamma_generator", "gamma_encoder")
SHOWN = 8
LOSS = "relative_perceptual_l1"


@dataclass(frozen=True)
class PIADSettings:
    """What a training depends on besides its images and seed.

    Attributes:
        width: of the networks, times that of `architecture`. recipe: of `genaudit.piad.recipe.TrainingRecipe`.
        network: of the perceptual features, a function of `genaudit.piad.perceptual`.
        architecture: of `genaudit.piad.networks`. reconstruction: the loss, which is the score too.
    """

    width: float
    recipe: Mapping[str, Any]
    network: str
    architecture: str = "mnist"
    reconstruction: str = LOSS

    @property
    def key(self) -> str:
        """Tells runs with other settings apart."""
        usual = (self.architecture, self.reconstruction) == ("mnist", LOSS)
        more = [] if usual else [self.architecture, self.reconstruction]
        return key([self.width, dict(self.recipe), self.network, *more])


@dataclass(frozen=True)
class ScoredRun:
    """Scores (N,) of the test images, their reconstructions (N, C, S, S) in [-1, 1], and the training's log.

    `seconds`: CPU seconds of training and scoring, those of an earlier call that was cut off estimated. `reached`: how
    the loss of the normal test images compares with that of the class mean and of PCA-8; it chooses nothing.
    """

    scores: np.ndarray
    reconstructions: np.ndarray
    log: dict[str, np.ndarray]
    seconds: float
    reached: Convergence


def train_and_score(
    context: Context,
    split: one_class.OneClassImages,
    settings: PIADSettings,
    perceptual: Perceptual,
    *,
    name: str,
    seed: int,
) -> ScoredRun:
    """Trains on a split's normal images and scores its test images; the model can be had as `piad_model=FOLDER`.

    Args:
        name: of the training's folder, for people: the folder is named by content.
    """
    from genaudit.piad.convergence import convergence
    from genaudit.piad.networks import ARCHITECTURES, build
    from genaudit.piad.saved import RECORD, Model, identity, save
    from genaudit.piad.scoring import score_batches
    from genaudit.piad.trainer import Trainer

    architecture = ARCHITECTURES[settings.architecture]
    architecture = architecture if settings.width == 1 else architecture.widened(settings.width)
    loss: Any = settings.reconstruction
    networks = build(architecture, split.train.shape[1], seed=seed)
    trainer = Trainer(
        networks,
        split.train,
        perceptual,
        TrainingRecipe(**settings.recipe),
        reconstruction=loss,
        seed=seed,
        device=context.device,
    )
    content = {"settings": asdict(settings), "seed": seed, "images": digest_of(split.train), **identity(perceptual)}
    folder = context.training_folder(f"piad-{name}", content)

    def record(step: Any) -> dict[str, float]:
        numbers: dict[str, float] = step.numbers()
        return {name: numbers[name] for name in LOG}

    start = time.process_time()
    fitted = fit(trainer, folder, record=record, log=LOG, every=10, checkpoint_seconds=context.checkpoint_seconds)
    # what a run that was cut off had spent is not on this process's clock
    done = trainer.iteration - fitted.resumed
    training = (time.process_time() - start) * trainer.iteration / done if done else fitted.seconds
    start = time.process_time()
    scored = list(score_batches(networks, split.test, perceptual, loss))
    seconds = training + time.process_time() - start
    pixels = PreparedPixels(architecture.size, networks.image_shape[0]).describe()
    node = {"_target_": f"genaudit.piad.perceptual.{settings.network}"}
    if not (folder / RECORD).exists():
        save(
            Model(networks, architecture, perceptual, loss, pixels),
            folder,
            node,
            seed=seed,
            recipe=dict(settings.recipe),
        )
    reached = convergence(networks, split.train, split.test[: split.normal], perceptual, loss, held_out=True)
    context.report(f"{name}: {reached.sentence}")
    return ScoredRun(
        np.concatenate([part.scores for part in scored]),
        np.concatenate([part.reconstructions for part in scored]),
        read_log(folder),
        seconds,
        reached,
    )


def extremes(scored: ScoredRun, split: one_class.OneClassImages) -> dict[str, list[Any]]:
    """The least and most anomalous of both kinds above their reconstructions: caption => uint8 images, for JSON.

    Grey images are (S, S), colour images (S, S, 3).
    """
    pixels = np.rint((np.clip(scored.reconstructions, -1, 1) + 1) * 127.5).astype(np.uint8)
    order = np.argsort(scored.scores, kind="stable")
    normal, anomalies = order[order < split.normal], order[order >= split.normal]
    scores = {}
    for caption, chosen in (
        ("least anomalous normal", normal[:SHOWN]),
        ("most anomalous normal", normal[::-1][:SHOWN]),
        ("least anomalous anomalies", anomalies[:SHOWN]),
        ("most anomalous anomalies", anomalies[::-1][:SHOWN]),
    ):
        scores[caption] = shown(split.test[chosen])
        scores[f"{caption}, reconstructed"] = shown(pixels[chosen])
    return scores


def shown(images: np.ndarray) -> list[Any]:
    """Images (N, C, S, S) as lists (N, S, S) or (N, S, S, 3)."""
    pictures = images[:, 0] if images.shape[1] == 1 else images.transpose(0, 2, 3, 1)
    listed: list[Any] = pictures.tolist()
    return listed


def key(settings: Sequence[Any]) -> str:
    """Tells settings apart that JSON can hold."""
    return hashlib.blake2b(json.dumps(settings).encode(), digest_size=4).hexdigest()


def perceptual_network(name: str, device: str) -> Perceptual:
    """A function of `genaudit.piad.perceptual` by its name, called, on the device."""
    from genaudit.piad import perceptual

    network: Perceptual = getattr(perceptual, name)().to(device)
    return network


def vgg19_weights() -> Need:
    """The paper's perceptual network."""
    path = hub_checkpoints() / VGG19_FILE
    have, how = path.is_file(), f"torchvision's file {VGG19_FILE}, put at {path}"
    return Need("VGG-19's ImageNet weights", have, how, (path,) if have else ())
