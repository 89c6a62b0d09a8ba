"""Generative classification: which class' generator comes nearest, or finds the image likeliest (Figures 4 and 7)?

"Intriguing Properties of Modern GANs", Eq. 1, sections 3.1 and 4.2. The class-conditional generator is one of the
user's (`generator=`), or probabilistic PCA, one a class, fitted in a moment to the demo's images; the latter's exact
likelihood stands beside the sampled one. N images, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit import demo
from genaudit.backbones.generator import Generator, LoadedNetwork
from genaudit.backbones.weight_files import sha256_of_tensors
from genaudit.data import ImageSet, open_images
from genaudit.data.columns import CLASS
from genaudit.errors import UserError
from genaudit.likelihood.inference import accuracy, classify
from genaudit.measures.ais import AIS
from genaudit.measures.inversion import HEAD, Inverted
from genaudit.metrics.generator_rows import AIS as COLUMNS
from genaudit.recipe import Context, Need, Scale
from genaudit.reports.table import Cell, Table
from genaudit.stats.class_names import outputs_of
from genaudit.stats.estimate import wilson_interval
from genaudit.stats.neighbours import nearest
from genaudit_papers.measuring import embedded_weights, embedding, find_set, weights_need
from genaudit_papers.modern_gans.gan_baselines import embeddings, nearest_of
from genaudit_papers.modern_gans.gan_sets import SOURCE, Groups, Subject, labels_of, needs, stored

if TYPE_CHECKING:
    from genaudit.likelihood.linear_gaussian import LinearGaussian

KINDS = ("train", "held-out")
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


@dataclass(frozen=True)
class _Task:
    """What is classified: held-out images by a generator of K classes, with the labels (T,), (N,) of both sets."""

    generator: Generator
    groups: Groups
    train: ImageSet
    held_out: ImageSet
    labels: dict[str, np.ndarray]
    exact: np.ndarray | None = None  # (N, K) log-likelihoods, where there is a formula


class ClassificationTable:
    """Accuracy of generative classification beside the nearest neighbour."""

    def __init__(
        self,
        *,
        images: int = 100,
        latent: int = 8,
        steps: int = 150,
        temperatures: int = 150,
        restarts: int = 1,
        samples: int = 16,
        generator: Any = None,
        sets: Any = None,
        vit: Any = None,
    ) -> None:
        """
        Args:
            images: held-out ones to classify. latent: dimensions of each class' probabilistic PCA.
            steps, restarts, samples: of the inversion. temperatures: of annealed importance sampling, power schedule.
            generator, sets: of `Subject`; the generator knows classes, which both sets name too.
            vit: a feature model whose nearest neighbours are one more baseline where its weights are here.
        """
        self.images, self.latent, self.steps, self.temperatures = images, latent, steps, temperatures
        self.inversion = {"restarts": restarts, "samples": samples}
        self.subject, self.vit = Subject(generator, sets or {}), vit
        if generator is not None and len(generator.labels) < 2:
            raise UserError(
                f"generator {generator.name}: classification asks several classes: generator.classes=K of a network "
                "that takes a label as its second argument, and no generator.label"
            )

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """The perceptual network and the image sets; without a generator, at the paper's scale, the GANs' weights."""
        if self.subject.given is not None:
            return [*self.subject.needs(scale, data, KINDS), embedded_weights()]
        return [embedded_weights(), *(needs(scale) if scale == "paper" else [])]

    def run(self, context: Context) -> Table:
        """Fits the classes where no generator is given, inverts, samples; rows that the store holds are read back."""
        task = self._demo(context) if self.subject.given is None else self._given(context)
        truth = task.labels["held-out"]
        keys: dict[str, Any] = {"steps": self.steps, "picture": 0, **self.inversion}
        inverted = stored(Inverted(task.generator, **keys), task.held_out, context, "held-out")
        measure = AIS(task.generator, temperatures=self.temperatures, schedule="power")
        estimated = stored(measure, task.held_out, context, "held-out")[:, len(COLUMNS) :]
        results = {
            "inversion, L2": classify(inverted[:, len(HEAD) :], larger_is_likelier=False),
            "likelihood, AIS": classify(estimated, larger_is_likelier=True),
        }
        if task.exact is not None:
            results["likelihood, exact"] = classify(task.exact, larger_is_likelier=True)
        found, lacking = self._baselines(context, task)
        results |= {f"1-NN, {name}": task.labels["train"][places] for name, places in found.items()}
        cells = []
        for judge, classes in results.items():
            ends = wilson_interval(int((classes == truth).sum()), len(truth)).ends
            cells.append(Cell(judge, "accuracy", accuracy(classes, truth), None, *ends))
        cells += [Cell(f"1-NN, {name}", "accuracy", None, note=reason) for name, reason in lacking.items()]
        if task.exact is not None:
            error = estimated - task.exact
            right = error[np.arange(len(truth)), truth]
            cells.append(Cell("AIS minus exact, own class", "mean error", float(right.mean()), unit="nats"))
            cells.append(Cell("AIS minus exact, all classes", "mean error", float(error.mean()), unit="nats"))
        chance = 1 / inverted[0, HEAD.index("classes")]
        note = (
            f"Intervals: Wilson's over images. Chance is {chance:.3g}. AIS gives a lower bound, loosest for "
            "classes other than the image's own. The paper's bars carry no numbers; its GANs lose against 1-NN."
        )
        title = "Generative classification beside the nearest neighbour (Figures 4 and 7)"
        differs = DIFFERS if self.subject.given is None else self.subject.differs_of(KINDS)
        return Table("gan_classification", title, SOURCE, tuple(cells), context.scale, differs, (), (note,))

    def _demo(self, context: Context) -> _Task:
        """Probabilistic PCA of the demo's classes."""
        from genaudit.likelihood.linear_gaussian import LinearGaussian

        train, held_out = (open_images(demo.path(name), role=name) for name in ("train", "held_out"))
        assert isinstance(train, ImageSet)
        assert isinstance(held_out, ImageSet)
        held_out = self._some(held_out, context)
        labels = {"train": labels_of(train.names), "held-out": labels_of(held_out.names)}
        network = LinearGaussian.fit(_grey(train), labels["train"], latent=self.latent)
        generator = _Classes(network)
        groups = Groups(generator, seed=context.seed, counts={})
        return _Task(generator, groups, train, held_out, labels, network.log_likelihood(groups.of(held_out)))

    def _given(self, context: Context) -> _Task:
        """The user's generator, and the classes that the image sets name.

        Raises:
            UserError: a set names no classes, or others than the generator knows.
        """
        generator, names = self.subject.generator, {}
        groups = Groups(generator, seed=context.seed, counts={}, subject=self.subject, data=context.data)
        sets: dict[str, ImageSet] = {}
        for kind in KINDS:
            images = open_images(str(find_set(context.data, self.subject.place(kind))), role=kind)
            if not isinstance(images, ImageSet):
                raise UserError(f"table.sets.{kind}: {images.source} holds no images")
            sets[kind] = images if kind == "train" else self._some(images, context)
            column = sets[kind].column(CLASS)
            if column is None or "" in column:
                raise UserError(f"table.sets.{kind}: {images.source} names no class of each image: a folder per class")
            names[kind] = column
        places, how = outputs_of(sorted({name for each in names.values() for name in each}), len(generator.labels))
        if places is None:
            raise UserError(f"table.sets: {how}; both sets must name the generator's classes")
        labels = {kind: np.array([places[name] for name in each]) for kind, each in names.items()}
        return _Task(generator, groups, sets["train"], sets["held-out"], labels)

    def _some(self, images: ImageSet, context: Context) -> ImageSet:
        chosen = np.random.default_rng(context.seed).permutation(len(images))[: self.images]
        return images.subset(np.sort(chosen))

    def _baselines(self, context: Context, task: _Task) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        """The nearest training image of each held-out one, by the kind of distance; and the kinds that are missing."""
        kinds, lacking = embeddings(context.device)
        found = {}
        for name, embed in kinds.items():
            key = f"nearest-{name}-{self.images}-{context.seed}"
            found[name] = np.array(context.step(key, partial(_nearest, task, embed)))
        if self.vit is not None:
            need = weights_need(self.vit.name, self.vit, "table.vit")
            if need.have:
                rows = [stored(embedding(self.vit), each, context, "") for each in (task.held_out, task.train)]
                found[self.vit.name] = nearest(*rows).indices[:, 0]
            else:
                lacking[self.vit.name] = f"{need.what} are not on this machine: {need.how}"
        return found, lacking


def _nearest(task: _Task, embed: Any) -> list[int]:
    places: list[int] = nearest_of(embed, task.groups.of(task.held_out), task.groups.blocks(task.train)).index.tolist()
    return places


def _grey(images: ImageSet) -> np.ndarray:
    """(N, 1, S, S) float32 in [0, 1]; the demo's images are grey."""
    return np.stack([images.read(index)[None, :, :, 0] for index in range(len(images))]).astype(np.float32) / 255
