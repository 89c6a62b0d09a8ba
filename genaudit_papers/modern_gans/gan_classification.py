"""Generative classification: which class' generator comes nearest, or finds the image likeliest (Figures 4 and 7)?

"Intriguing Properties of Modern GANs", Eq. 1, sections 3.1 and 4.2. The class-conditional generator is probabilistic
PCA, one a class, fitted in a moment; its exact likelihood stands beside the sampled one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit import demo
from genaudit.backbones.generator import Generator, LoadedNetwork
from genaudit.backbones.weight_files import sha256_of_tensors
from genaudit.data import ImageSet, open_images
from genaudit.likelihood.inference import accuracy, classify, nearest_neighbour_classes
from genaudit.measures.ais import AIS
from genaudit.measures.inversion import HEAD, Inverted, perceptual_features
from genaudit.metrics.generator_rows import AIS as COLUMNS
from genaudit.recipe import Context, Need, Scale
from genaudit.reports.table import Cell, Table
from genaudit.stats.resampling import wilson_interval
from genaudit_papers.measuring import embedded_weights
from genaudit_papers.modern_gans.gan_sets import SOURCE, Groups, labels_of, needs, stored

if TYPE_CHECKING:
    from genaudit.likelihood.linear_gaussian import LinearGaussian

DIFFERS = (
    "The generators are probabilistic PCA, one for each of Fashion-MNIST's ten classes, fitted to the demo's 700 "
    "training images; the paper classifies CIFAR-10, two classes of ImageNet, and AFHQ by GANs, whose weights are not "
    "on this machine."
)


class _Classes(Generator):
    """Probabilistic PCA of each class, as a class-conditional generator."""

    def __init__(self, network: LinearGaussian) -> None:
        classes, _, latent = network.weights.shape
        super().__init__(name="ppca", latent=latent, output_range=None, classes=classes, sigma2=network.sigma2)
        self.network = network.eval()

    def load(self, device: str = "cpu") -> LoadedNetwork:

        return LoadedNetwork(
            self.network.to(device), sha256_of_tensors(self.network.state_dict()), "probabilistic PCA by class"
        )


class ClassificationTable:
    """Accuracy of generative classification beside the nearest neighbour."""

    def __init__(self, *, images: int = 100, latent: int = 8, steps: int = 150, temperatures: int = 150) -> None:
        """
        Args:
            images: held-out ones to classify. latent: dimensions of each class' generator.
            steps: of the inversion. temperatures: of annealed importance sampling, power schedule, 4 chains.
        """
        self.images, self.latent, self.steps, self.temperatures = images, latent, steps, temperatures

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """The perceptual network; at the paper's scale the GANs' weights."""
        return [embedded_weights(), *(needs(scale) if scale == "paper" else [])]

    def run(self, context: Context) -> Table:
        """Fits the classes, inverts, samples; rows that the store holds are read back."""
        train, held_out = (open_images(demo.path(name), role=name) for name in ("train", "held_out"))
        assert isinstance(train, ImageSet)
        assert isinstance(held_out, ImageSet)
        chosen = np.sort(np.random.default_rng(context.seed).permutation(len(held_out))[: self.images])
        held_out = held_out.subset(chosen)
        labels = {"train": labels_of(train.names), "held-out": labels_of(held_out.names)}
        grey = {name: _grey(each) for name, each in (("train", train), ("held-out", held_out))}
        from genaudit.likelihood.linear_gaussian import LinearGaussian

        network = LinearGaussian.fit(grey["train"], labels["train"], latent=self.latent)
        generator = _Classes(network)
        groups = Groups(generator, seed=context.seed, counts={})
        inverted = stored(
            Inverted(generator, steps=self.steps, restarts=1, samples=16, picture=0), held_out, context, "held-out"
        )
        sampled = stored(
            AIS(generator, temperatures=self.temperatures, schedule="power"), held_out, context, "held-out"
        )
        exact = network.log_likelihood(groups.of(held_out))
        estimated = sampled[:, len(COLUMNS) :]
        flat = {name: each.reshape(len(each), -1) for name, each in grey.items()}
        results: dict[str, Any] = {
            "inversion, L2": classify(inverted[:, len(HEAD) + self.latent :], larger_is_likelier=False),
            "likelihood, AIS": classify(estimated, larger_is_likelier=True),
            "likelihood, exact": classify(exact, larger_is_likelier=True),
            "1-NN, L2": nearest_neighbour_classes(flat["held-out"], flat["train"], labels["train"]),
            "1-NN, perceptual": nearest_neighbour_classes(
                _perceptual(grey["held-out"]), _perceptual(grey["train"]), labels["train"]
            ),
        }
        truth = labels["held-out"]
        cells = []
        for judge, classes in results.items():
            ends = wilson_interval(int((classes == truth).sum()), len(truth)).ends
            cells.append(Cell(judge, "accuracy", accuracy(classes, truth), None, *ends))
        error = estimated - exact
        right = error[np.arange(len(truth)), truth]
        cells.append(Cell("AIS minus exact, own class", "mean error", float(right.mean()), unit="nats"))
        cells.append(Cell("AIS minus exact, all classes", "mean error", float(error.mean()), unit="nats"))
        note = (
            "Intervals: Wilson's over images. Chance is 0.1. AIS gives a lower bound, loosest for classes other than "
            "the image's own. The paper's bars carry no numbers; its GANs lose against 1-NN."
        )
        title = "Generative classification beside the nearest neighbour (Figures 4 and 7)"
        return Table("gan_classification", title, SOURCE, tuple(cells), context.scale, DIFFERS, (), (note,))


def _grey(images: ImageSet) -> np.ndarray:
    """(N, 1, S, S) float32 in [0, 1]; the demo's images are grey."""
    return np.stack([images.read(index)[None, :, :, 0] for index in range(len(images))]).astype(np.float32) / 255


def _perceptual(pixels: np.ndarray) -> np.ndarray:
    import torch

    features = perceptual_features("cpu", torch.float32)
    with torch.no_grad():
        return torch.cat([features(part) for part in torch.from_numpy(pixels).split(64)]).numpy()
