"""Is the generator a density that fits the data? Tables 1 and 2, Figures 7, 9 and 12: annealed importance sampling.

"Intriguing Properties of Modern GANs", section 4 and appendix B, at a size that a CPU does in minutes. Log-likelihoods
are stochastic lower bounds; where the truth can be had (simulated images) the gap to an upper bound stands beside them.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from genaudit.likelihood.ais import ais_log_likelihood, bidirectional, simulate
from genaudit.likelihood.inference import outlier_auroc
from genaudit.measures.ais import AIS
from genaudit.metrics.generator_rows import densities
from genaudit.metrics.result import Curve
from genaudit.recipe import Context
from genaudit.reports.table import Cell, Table
from genaudit.stats.estimate import bootstrap_mean
from genaudit.stats.process_state import exact_float32
from genaudit.stats.typicality import SIZES, typicality_test
from genaudit_papers.modern_gans.gan_sets import KINDS, SOURCE, Groups, OfAGenerator, Subject, column
from genaudit_papers.published import compared, published

OUTLIERS = ("MNIST", "single colour")
OF_TABLE_2 = {"generated (control)": "generated", "train": "train", "MNIST": "svhn"}
GANS = (
    "BigGAN-DiffAug CIFAR10",
    "StyleGAN-XL CIFAR10",
    "BigGAN ImageNet",
    "StyleGAN-XL ImageNet",
    "StyleGAN2-ADA AFHQ",
)


class LikelihoodTable(OfAGenerator):
    """Log-likelihoods of image groups in bits per dimension, with the gap between the bounds on simulated images."""

    def __init__(
        self,
        *,
        images: int = 10,
        simulated: int = 6,
        temperatures: int = 500,
        chains: int = 4,
        schedule: str = "sigmoidal",
        generator: Any = None,
        sets: Any = None,
        paper_row: str | None = None,
    ) -> None:
        """
        Args:
            images: of each group. simulated: images that both bounds are computed for.
            temperatures, chains, schedule: of annealed importance sampling. paper_row: of `Subject`.
        """
        self.images, self.simulated = images, simulated
        self.subject = Subject(generator, sets or {}, paper_row)
        self.subject.among(GANS)
        self.settings: dict[str, Any] = {"temperatures": temperatures, "chains": chains, "schedule": schedule}

    def run(self, context: Context) -> Table:
        """Samples every group; rows that the store holds are read back."""
        groups = self._groups(context, dict.fromkeys(KINDS, self.images))
        measure = AIS(groups.generator, seed=context.seed, **self.settings)
        rows = groups.rows(measure, context)
        bits = {kind: column(each, "bits_per_dim") for kind, each in rows.items()}
        printed, cells = published("modern_gans", "Table 1"), []
        for kind, each in bits.items():
            row = f"{groups.generator.name}, {kind}"
            mean = bootstrap_mean(each, seed=context.seed)
            ends: dict[str, Any] = {"lower": mean.lower, "upper": mean.upper}
            if kind == "held-out" and self.subject.paper_row is not None:  # the paper's are of test images
                given = printed[self.subject.paper_row, "LL bits a dimension"]
                note = f"published: {self.subject.paper_row}"
                cells.append(compared(given, mean.value, row=row, column="LL", unit="bits/dim", note=note, **ends))
            else:
                cells.append(Cell(row, "LL", mean.value, unit="bits/dim", **ends))
            spread = column(rows[kind], "spread")
            cells.append(
                Cell(row, "chains disagree", float((spread > 2).mean()), unit="share", note="by more than 2 nats")
            )
        gap = context.step(self._key("gap", context.seed), lambda: self._gap(groups, measure, context.seed))
        cells.append(
            Cell(
                "simulated images",
                "gap of the bounds",
                float(np.mean(gap)),
                unit="nats",
                note=f"largest {max(gap):.3g}",
            )
        )
        cells += [
            Cell(f"outlier detection: {kind}", "AUROC", outlier_auroc(-bits["held-out"], -bits[kind]), note="Figure 7")
            for kind in OUTLIERS
        ]
        why = "weights not at hand" if self.subject.given is None else "another generator"
        cells += [
            compared(printed[name, "LL bits a dimension"], None, column="LL", unit="bits/dim", note=why)
            for name in GANS
            if name != self.subject.paper_row
        ]
        notes = (
            "LL is log p/(D ln 2) - 8, higher is likelier; density models report minus these numbers. sigma² = "
            f"{measure.sigma2:.4g}, the decoder's own.",
            "The gap is the upper minus the lower bound of bidirectional Monte Carlo, nats per image, on images "
            "simulated from the model; it bounds the mean error of the lower bound there. Generated images carry no "
            "observation noise here, which makes them likelier than simulated ones by about D/2 nats.",
        )
        title = "Log-likelihoods by annealed importance sampling (Table 1, Figures 7, 8 and 12)"
        figure = densities(
            "Log-likelihoods by group (Figures 8 and 12)", "bits per dimension, higher is likelier", bits
        )
        figures = () if figure is None else (figure,)
        return Table("gan_likelihood", title, SOURCE, tuple(cells), context.scale, self.subject.differs, figures, notes)

    def _key(self, name: str, seed: int) -> str:
        return f"{name}-{self.simulated}-{'-'.join(map(str, self.settings.values()))}-{seed}"

    def _gap(self, groups: Groups, measure: AIS, seed: int) -> list[float]:
        import torch

        like = torch.empty(self.simulated, *groups.generator.image_shape).zero_()
        with exact_float32():
            bounds = bidirectional(
                groups.generator.decoder(),
                like,
                sigma2=measure.sigma2,
                latent_dim=groups.generator.latent_dim,
                generator=torch.Generator().manual_seed(seed),
                **self.settings,
            )
        gap: list[float] = bounds.gap.tolist()
        return gap


class Convergence(OfAGenerator):
    """Figure 9: the estimate against the number of temperatures."""

    def __init__(
        self,
        *,
        images: int = 4,
        temperatures: tuple[int, ...] = (25, 50, 100, 250, 500, 1000),
        generator: Any = None,
        sets: Any = None,
    ) -> None:
        """
        Args:
            images: held-out ones. temperatures: numbers of intermediate distributions, rising.
        """
        self.images, self.temperatures = images, tuple(temperatures)
        self.subject = Subject(generator, sets or {})

    def run(self, context: Context) -> Table:
        """One run of the sampler for each number; rows that the store holds are read back."""
        groups = self._groups(context, {"held-out": self.images})
        estimates = {
            schedule: np.stack(
                [
                    column(
                        groups.rows(AIS(groups.generator, temperatures=n, schedule=schedule), context)["held-out"],
                        "log_likelihood",
                    )
                    for n in self.temperatures
                ]
            )
            for schedule in ("sigmoidal", "power")
        }
        last = np.maximum(*(each[-1] for each in estimates.values()))
        cells = [
            Cell(
                f"{n} temperatures", f"{schedule}: behind the best of {self.temperatures[-1]}",
                float((last - each[place]).mean()), unit="nats", note=f"largest {(last - each[place]).max():.3g}",
            )
            for schedule, each in estimates.items()
            for place, n in enumerate(self.temperatures)
        ]  # fmt: skip
        x = np.asarray(self.temperatures, float)
        curve = Curve(
            "Estimated log-likelihood by number of temperatures (Figure 9)",
            "temperatures",
            "nats behind the longest run, paper's schedule",
            x,
            {f"image {index}": line for index, line in enumerate((estimates["sigmoidal"] - last).T)},
        )
        note = (
            "The paper finds most estimates converged at 500 temperatures of its sigmoidal schedule, with variances of "
            "0.008 to 0.021; (t/T)³ is this project's alternative."
        )
        title = "Convergence of annealed importance sampling (Figure 9)"
        return Table("gan_fig9", title, SOURCE, tuple(cells), context.scale, self.subject.differs, (curve,), (note,))


class TypicalityTable(OfAGenerator):
    """Table 2: how often batches of N images are typical, with and without observation noise on the model's samples."""

    def __init__(
        self,
        *,
        images: int = 80,
        samples: int = 160,
        temperatures: int = 100,
        chains: int = 4,
        schedule: str = "power",
        generator: Any = None,
        sets: Any = None,
        paper_row: str | None = None,
    ) -> None:
        """
        Args:
            images: of each group under test. samples: of the generator; for the control one half judges the other.
            temperatures, chains, schedule: of annealed importance sampling. paper_row: of `Subject`.
        """
        self.images, self.samples = images, samples
        self.subject = Subject(generator, sets or {}, paper_row)
        self.subject.among(published("modern_gans", "Table 2").rows)
        self.settings: dict[str, Any] = {"temperatures": temperatures, "chains": chains, "schedule": schedule}

    def run(self, context: Context) -> Table:
        """Samples every group; rows that the store holds are read back."""
        counts = dict.fromkeys(("train", "held-out", "MNIST"), self.images) | {"generated": self.samples}
        groups = self._groups(context, counts)
        measure = AIS(groups.generator, seed=context.seed, **self.settings)
        rows = groups.rows(measure, context)
        nats = {kind: column(each, "log_likelihood") for kind, each in rows.items()}
        nats["simulated"] = np.array(self._simulated(groups.generator, measure, context))
        printed, cells = published("modern_gans", "Table 2"), list[Cell]()
        for model in ("generated", "simulated"):
            own, control = np.array_split(np.random.default_rng(context.seed).permutation(nats[model]), 2)
            tested = {kind: (nats[kind], nats[model]) for kind in ("train", "held-out", "MNIST")}
            for kind, (each, samples) in {f"{model} (control)": (control, own), **tested}.items():
                tests = typicality_test(each, generated=samples, sizes=SIZES, seed=context.seed)
                row = f"model {model}: {kind}"
                for size, share in zip(SIZES, tests.typical_fraction, strict=True):
                    place: Any = {"row": row, "column": f"N = {size}", "unit": "of 100 trials"}
                    # the paper's reading, of the groups that it tests
                    if model == "generated" and kind in OF_TABLE_2 and self.subject.paper_row is not None:
                        given = printed[self.subject.paper_row, f"N={size} {OF_TABLE_2[kind]}"]
                        cells.append(compared(given, share, **place))
                    else:
                        cells.append(Cell(recomputed=share, **place))
                detectable = f"80 % of batches of 75 would show a shift of {tests.detectable[-1]:.3g}"
                cells.append(Cell(row, "mean LL - model's", tests.deviation, unit="nats", note=detectable))
        notes = (
            "'generated': images of the generator as they are, the paper's reading. 'simulated': the same with the "
            "observation noise that the density has, which is what samples of that density look like; they lie about "
            "D/2 nats lower. A batch is typical if its mean log-likelihood is within eps_N of the model's own. "
            "Batches of 75 from few images overlap almost wholly: it speaks of these images, not of all like them.",
        )
        why = "weights not at hand" if self.subject.given is None else "another generator"
        cells += [
            compared(cell, None, unit="of 100 trials", note=why)
            for cell in printed
            if cell.row != self.subject.paper_row
        ]
        title = "Typicality of image groups under the generator (Table 2)"
        return Table("gan_typicality", title, SOURCE, tuple(cells), context.scale, self.subject.differs, (), notes)

    def _simulated(self, generator: Any, measure: AIS, context: Context) -> list[float]:
        """Log-likelihoods of samples with observation noise, in steps of 16 images."""
        gaps: list[float] = []
        for start in range(0, self.samples, 16):
            size = min(16, self.samples - start)
            key = "-".join(map(str, ("simulated", *self.settings.values(), context.seed, start, size)))
            part = functools.partial(_simulate, generator, measure, size, start, self.settings, context)
            gaps += context.step(key, part)
        return gaps


def _simulate(
    generator: Any, measure: AIS, size: int, start: int, settings: dict[str, Any], context: Context
) -> list[float]:
    import torch

    common: dict[str, Any] = dict(sigma2=measure.sigma2, latent_dim=generator.latent_dim)
    random = torch.Generator().manual_seed(context.seed * 100_003 + start)
    like = torch.zeros(size, *generator.image_shape)
    x, _ = simulate(generator.decoder(), like, generator=random, **common)
    nats: list[float] = ais_log_likelihood(generator.decoder(), x, generator=random, **common, **settings).tolist()
    return nats
