"""Which network and settings the anomaly score should have by default, where no weights can be downloaded.

    python scripts/choose_anomaly_network.py --out choice [--candidates efficientnet_lite0:64:robust ...] [--tables]

The rule, written before anything was measured:

1. Five series of sets, each of 100 images beside 100 other real ones (Fashion-MNIST of the demo): noise (standard
   deviation 6, 12, 24, 48 of 255), blur (radius 0.5, 0.8, 1.2, 2.0 pixels), a share of 25, 50, 75, 100 % of VAE
   samples, the same shares of another dataset (MNIST), and a collapse (50, 25, 12, 6 different images, repeated).
   Grade 0 of every series is the same untouched real images.
2. A series' score is Kendall's tau-b over its five grades between AS and the Fréchet distance (EfficientNet-Lite0
   at 64 pixels, the same images). A candidate's score is the mean over the five series.
3. A candidate passes where (a) its score is 0.8 or more; (b) in each of noise, blur, VAE and other dataset tau is
   0.6 or more and AS of the last grade has a permutation p of 0.01 at most (collapse is not asked for: AS is blind
   to it by definition); (c) the untouched images have p above 0.05; (d) complexity and vulnerability of the 200
   real images correlate by 0.5 or more between two seeds; (e) a, b and c hold again with MNIST as the real images
   and Fashion-MNIST as the other dataset, where a Gaussian of 20 principal components stands for the VAE.
4. Of those that pass, the one with the highest mean score over both kinds of images becomes the default; within
   0.05 of it, the cheapest. Where none passes, AS has no default network that means something, and is computed
   when asked for.

CANDIDATES was fixed with the rule. Rows are kept in the folder `--out`, so that a run which was stopped resumes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from anomaly_reliability import settings_of
from scipy.stats import kendalltau

from genaudit.backbones import embedded
from genaudit.backbones.feature_model import FeatureModel
from genaudit.data import ImageSet, open_images
from genaudit.measures.anomaly import Anomaly
from genaudit.measures.embedding import Embedding
from genaudit.metrics.anomaly_rows import is_noise
from genaudit.metrics.frechet import frechet_distance
from genaudit.stats.ks2d import ks2d_2samp
from genaudit.store import Engine, Store
from genaudit_papers.datasets import mnist
from genaudit_papers.hwang2024.as_correlations import blurred, noisy
from genaudit_papers.measuring import pixels_of

COUNT = 100
NOISE, BLUR = (6.0, 12.0, 24.0, 48.0), (0.5, 0.8, 1.2, 2.0)
SHARES = (0.25, 0.5, 0.75, 1.0)
DIFFERENT = (50, 25, 12, 6)
ASKED = ("noise", "blur", "generator", "other dataset")
# a path ten times as long: its angles are farther from chance, and eight directions in place of four
WIDE = {"eps": 0.1, "directions": 8}
CANDIDATES = (
    "efficientnet_lite0:224:paper",  # the default before this choice
    "efficientnet_lite0:64:paper",  # the demo's
    "efficientnet_lite0:64:robust",
    "efficientnet_lite0:64:wide",
    "efficientnet_lite0.logits:64:robust",
    "efficientnet_lite0.6:64:robust",
    "efficientnet_lite0.5:64:robust",
    "efficientnet_lite0.4:64:robust",
    "efficientnet_lite0.3:64:robust",
    "efficientnet_lite0.2:64:robust",
    "efficientnet_lite0.1:64:robust",
    "efficientnet_lite0.5:64:wide",
    "efficientnet_lite0.3:64:wide",
    "efficientnet_lite0.2:64:wide",
    "efficientnet_lite1:64:robust",
    "efficientnet_lite2:64:robust",
    "efficientnet_lite1.3:64:robust",
    "efficientnet_lite2.3:64:robust",
    "efficientnet_lite0:112:robust",
    "self_supervised:32:robust",
    "self_supervised:32:wide",
)


@dataclass(frozen=True)
class Outcome:
    """Of a candidate on one kind of real images.

    tau, p: by series. scores: AS by series, at grades 0 to 4. p_untouched: of grade 0. seconds: CPU, an image.
    reliability: of complexity, of vulnerability; None where it was not asked for. noise: share without an AS-i.
    """

    tau: dict[str, float]
    p: dict[str, float]
    scores: dict[str, list[float]]
    p_untouched: float
    seconds: float
    noise: float
    reliability: tuple[float, float] | None

    @property
    def score(self) -> float:
        return float(np.mean(list(self.tau.values())))

    def fails(self) -> list[str]:
        """Which of the rule's conditions a to d do not hold."""
        failed = ["score"] if self.score < 0.8 else []
        failed += [f"order of {name}" for name in ASKED if self.tau[name] < 0.6]
        failed += [f"{name} not seen" for name in ASKED if self.p[name] > 0.01]
        failed += ["untouched images seen"] if self.p_untouched <= 0.05 else []
        failed += ["reliability"] if self.reliability is not None and min(self.reliability) < 0.5 else []
        return failed


class Logits(embedded.EfficientNetLite0):
    """EfficientNet-Lite0 up to its logits, the deepest layer that there is."""

    def build(self) -> Any:
        return self.build_classifier()


def feature_model(name: str, size: int, out: Path) -> FeatureModel:
    """The network of a candidate, NAME or NAME.STAGE."""
    name, _, stage = name.partition(".")
    if name == "self_supervised":
        from self_supervised import trained

        return trained(out / "self_supervised", size)
    if stage == "logits":
        return Logits("efficientnet_lite0.logits", size=size)
    kinds = {f"efficientnet_lite{n}": getattr(embedded, f"EfficientNetLite{n}") for n in range(3)}
    model: FeatureModel = kinds[name](size=size, stage=int(stage) if stage else None)
    return model


def settings(preset: str) -> dict[str, Any]:
    return settings_of("robust") | WIDE if preset == "wide" else settings_of(preset)


def digits(count: int, seed: int) -> np.ndarray:
    """Images (N, 28, 28, 3) uint8 of MNIST."""
    images, _ = mnist()
    picked = np.random.default_rng(seed).choice(len(images), count, replace=False)
    return np.repeat(images[picked].astype(np.uint8)[..., None], 3, axis=3)


def gaussian_of_components(images: np.ndarray, count: int, components: int = 20) -> np.ndarray:
    """Draws of a Gaussian in the space of the first principal components: smooth images, as a small VAE's."""
    flat = images[..., 0].reshape(len(images), -1).astype(float)
    mean = flat.mean(0)
    _, spread, axes = np.linalg.svd(flat - mean, full_matrices=False)
    drawn = np.random.default_rng(0).normal(size=(count, components)) * spread[:components] / np.sqrt(len(flat))
    pixels = (mean + drawn @ axes[:components]).round().clip(0, 255).astype(np.uint8)
    return np.repeat(pixels.reshape(count, *images.shape[1:3], 1), 3, axis=3)


@cache
def material(kind: str) -> dict[str, np.ndarray]:
    """Reference, untouched, generator's and other images (100, 28, 28, 3) uint8 of "fashion" or "digits"."""
    fashion = {name: pixels_of(None, f"demo:{name}")[:COUNT] for name in ("reference", "held_out", "vae")}
    drawn = digits(3 * COUNT, seed=1)
    if kind == "fashion":
        return {
            "reference": fashion["reference"],
            "untouched": fashion["held_out"],
            "generator": fashion["vae"],
            "other dataset": drawn[:COUNT],
        }
    return {
        "reference": drawn[COUNT : 2 * COUNT],
        "untouched": drawn[2 * COUNT :],
        "generator": gaussian_of_components(digits(2000, seed=2), COUNT),
        "other dataset": fashion["held_out"],
    }


def series(kind: str) -> dict[str, list[np.ndarray]]:
    """The five series, each of the sets of grades 1 to 4."""
    images = material(kind)
    clean = images["untouched"]

    def mixed(other: np.ndarray, share: float) -> np.ndarray:
        first = round(share * len(clean))
        return np.concatenate([other[:first], clean[first:]])

    return {
        "noise": [noisy(clean, sd) for sd in NOISE],
        "blur": [blurred(clean, radius) for radius in BLUR],
        "generator": [mixed(images["generator"], share) for share in SHARES],
        "other dataset": [mixed(images["other dataset"], share) for share in SHARES],
        "collapse": [clean[np.arange(len(clean)) % different] for different in DIFFERENT],
    }


def rows(out: Path, measure: Any, pixels: np.ndarray) -> np.ndarray:
    images = open_images(pixels)
    assert isinstance(images, ImageSet)
    measured = Store(out / "store").measure(images, measure, Engine(device="cpu"))
    assert measured.rows is not None
    return np.asarray(measured.rows[:], float)


@cache
def frechet(out: Path, kind: str) -> dict[str, list[float]]:
    """The Fréchet distance of every series at grades 0 to 4."""
    measure = Embedding(embedded.EfficientNetLite0(size=64))
    reference = rows(out, measure, material(kind)["reference"])

    def distance(pixels: np.ndarray) -> float:
        return frechet_distance(reference, rows(out, measure, pixels))

    untouched = distance(material(kind)["untouched"])
    return {name: [untouched, *map(distance, sets)] for name, sets in series(kind).items()}


def outcome(out: Path, candidate: str, kind: str) -> Outcome:
    """Measures a candidate on the series of a kind of real images; on Fashion-MNIST its reliability too."""
    name, size, preset = candidate.split(":")
    model = feature_model(name, int(size), out)
    measure = Anomaly(model, **settings(preset))
    started, images = time.process_time(), material(kind)
    reference, untouched = (rows(out, measure, images[each]) for each in ("reference", "untouched"))
    seconds = (time.process_time() - started) / (2 * COUNT)

    def points(table: np.ndarray) -> np.ndarray:
        return table[np.isfinite(table[:, :2]).all(1), :2]

    def score(table: np.ndarray, permutations: int = 0) -> tuple[float, float]:
        pvalue = "permutation" if permutations else None
        found = ks2d_2samp(points(reference), points(table), pvalue=pvalue, permutations=permutations or 1)
        return found.statistic, found.pvalue or 0.0

    start, p_untouched = score(untouched, 999)
    tau, p, scores = {}, {}, {}
    for name, sets in series(kind).items():
        tables = [rows(out, measure, pixels) for pixels in sets]
        scores[name] = [start, *(score(table)[0] for table in tables)]
        tau[name] = float(kendalltau(scores[name], frechet(out, kind)[name]).statistic)
        p[name] = score(tables[-1], 999)[1]
    reliability = None
    if kind == "fashion":
        again = Anomaly(model, **settings(preset) | {"seed": 1})
        first = np.concatenate([reference, untouched])
        second = np.concatenate([rows(out, again, images[each]) for each in ("reference", "untouched")])
        known = np.isfinite(first[:, :2]).all(1) & np.isfinite(second[:, :2]).all(1)
        both = [float(np.corrcoef(first[known, column], second[known, column])[0, 1]) for column in (0, 1)]
        reliability = (both[0], both[1])
    noise = float(is_noise(reference).mean())
    return Outcome(tau, p, scores, p_untouched, seconds, noise, reliability)


def kept(out: Path, candidate: str, kind: str, make: Callable[[], Outcome] | None) -> Outcome | None:
    """An outcome that the folder holds, or a new one; None where there is none and `make` is None."""
    file = out / f"{candidate.replace(':', '-')}-{kind}.json"
    if file.exists():
        return Outcome(**json.loads(file.read_text()))
    if make is None:
        return None
    made = make()
    file.write_text(json.dumps(asdict(made)))
    return made


def table(found: Mapping[str, Outcome]) -> str:
    """Markdown: a row for each candidate, the best first."""
    names = ("noise", "blur", "generator", "other dataset", "collapse")
    heads = ("network : side : settings", "score", *names, "p, untouched", "reliability C, V", "CPU s", "fails")
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for candidate, one in sorted(found.items(), key=lambda each: -each[1].score):
        series_cells = [f"{one.tau[name]:+.1f} ({one.scores[name][-1]:.2f}, {one.p[name]:.3f})" for name in names]
        both = "" if one.reliability is None else ", ".join(f"{each:.2f}" for each in one.reliability)
        cells = (candidate, f"{one.score:.2f}", *series_cells, f"{one.p_untouched:.3f}", both, f"{one.seconds:.2f}")
        lines.append(f"| {' | '.join(cells)} | {'; '.join(one.fails()) or 'none'} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of rows and outcomes")
    parser.add_argument("--candidates", nargs="+", default=list(CANDIDATES))
    parser.add_argument("--kind", nargs="+", default=["fashion"], choices=["fashion", "digits"])
    parser.add_argument("--tables", action="store_true", help="prints what the folder holds; measures nothing")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for kind in args.kind:
        found = {}
        for candidate in args.candidates:
            make = None if args.tables else lambda candidate=candidate, kind=kind: outcome(args.out, candidate, kind)
            one = kept(args.out, candidate, kind, make)
            if one is not None:
                found[candidate] = one
                print(f"{candidate} {kind}: {one.score:.2f}", file=sys.stderr, flush=True)
        distances = {
            name: " ".join(f"{each:.0f}" for each in values) for name, values in frechet(args.out, kind).items()
        }
        print(f"\n{kind}; Fréchet distance by grade: {distances}\n\n{table(found)}")


if __name__ == "__main__":
    main()
