"""Synthetic results and runs for the tests of the reports: hostile names, values that are not finite, pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genaudit.metrics.result import Caution, Cloud, Curve, Retrieval, per_image, value
from genaudit.reports.report import MeasureUse, MetricEntry, Report, ReportWarning, RoleImages

HOSTILE = [
    "<script>alert('name')</script>.png",
    'quote" onerror="alert(1).png',
    "comma, and\nnewline.png",
    "carriage\rreturn.png",
    "ünïcødé 漢字 🙂.png",
    "\x1b[31mred\x1b[0m.png",
    "not-utf-8-\udcff.png",
    "{{ 7 * 7 }}&amp;.png",
]


@dataclass(frozen=True)
class Clouds:
    """Two clouds.

    More text that is no summary."""

    citation = "Nobody et al., CVPR 2024"

    statistic: float = value("lower", name="as")
    statistic_lower: float | None = None
    statistic_upper: float | None = None
    pvalue: float | None = None
    null_mean: float = 0.11
    null_95: float = 0.15
    complexity: np.ndarray | None = per_image(gallery=("Most complex", "Least complex"))
    vulnerability: np.ndarray | None = per_image()
    cloud: Cloud | None = None
    counts: np.ndarray | None = None
    cautions: tuple[Caution, ...] = ()


@dataclass(frozen=True)
class Retrieved:
    learned: int = value("none")
    irs_inf: float = value("higher", default=float("nan"))
    irs_inf_lower: float | None = None
    irs_inf_upper: float | None = None
    reference_only: float | None = value("higher", default=None)
    nearest: np.ndarray | None = per_image(name="nearest_train", refers_to="train")
    retrieval: Retrieval | None = None
    curve: Curve | None = None
    settings: Any = None
    cautions: tuple[Caution, ...] = ()


def photograph(index: int, size: int = 96, seed: int = 0) -> np.ndarray:
    """A smooth coloured field with some blobs, uint8 (size, size, 3): something that looks like a picture."""
    generator = np.random.default_rng((seed, index))
    y, x = np.mgrid[0 : 1 : size * 1j, 0 : 1 : size * 1j]
    image = np.zeros((size, size, 3))
    base, slope = generator.uniform(0.1, 0.8, 3), generator.uniform(-0.4, 0.4, (2, 3))
    image += base + y[..., None] * slope[0] + x[..., None] * slope[1]
    for _ in range(5):
        cy, cx, r = generator.uniform(0, 1), generator.uniform(0, 1), generator.uniform(0.05, 0.25)
        blob = np.exp(-((((y - cy) ** 2 + (x - cx) ** 2) / r**2) ** 2))[..., None]
        image = image * (1 - blob) + blob * generator.uniform(0, 1, 3)
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def make_report(
    n: int = 40,
    *,
    pictures: bool = True,
    names: list[str] | None = None,
    size: int = 96,
    seed: int = 0,
    created: str = "2025-01-02T03:04:05+00:00",
    photograph: Callable[..., np.ndarray] = photograph,
    shift: float = 0.0,
) -> Report:
    """A run of `n` generated images with every kind of result."""
    generator = np.random.default_rng(seed)
    names = names if names is not None else (HOSTILE + [f"sample_{i:04d}.png" for i in range(n)])[:n]
    train = [f"train/{i:03d}.png" for i in range(30)]
    complexity, vulnerability = generator.gamma(9, 0.03, n), generator.gamma(3, 2.0, n)
    if n > 3:
        complexity[3] = np.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        as_i = vulnerability / complexity
    nearest = generator.integers(0, 30, n) ** 2 // 30
    distances = generator.gamma(5, 1.0, n)
    clouds = Cloud(
        "Complexity and vulnerability",
        "complexity (rad)",
        "vulnerability",
        {
            "generated": np.stack([complexity, vulnerability], 1),
            "reference": np.stack([generator.gamma(10, 0.025, 60), generator.gamma(4, 2.0, 60)], 1),
        },
    )
    steps = np.arange(1, n + 1)
    curve = Curve(
        "Distinct training images",
        "samples drawn",
        "training images retrieved",
        steps,
        {"generated": np.maximum.accumulate(steps * 0.6), "reference": steps * 0.8},
        (steps * 0.7, steps * 0.9),
        "acceptance band",
    )
    metrics = {
        "as": Clouds(
            0.2 + shift,
            0.15 + shift,
            0.26 + shift,
            pvalue=0.01,
            complexity=complexity,
            vulnerability=vulnerability,
            cloud=clouds,
            counts=np.zeros(5000),
            cautions=(Caution("model-not-validated", "The authors didn't validate <b>this</b> feature model."),),
        ),
        "as_i": {"as_i_mean": float(np.mean(as_i)) if n else float("nan"), "as_i_median": 24.5 + shift},
        "irs": Retrieved(
            learned=17,
            irs_inf=0.6 - shift,
            irs_inf_lower=0.5 - shift,
            irs_inf_upper=0.7 - shift,
            nearest=nearest,
            retrieval=Retrieval("train", nearest, distances),
            curve=curve,
            settings={"alpha": np.float32(0.5), "path": Path("a/b"), "kinds": {"b", "a"}},
        ),
        "mine": np.float64(1234567.125),
    }
    n_of = {"train": 30, "reference": 60, "generated": n}
    return Report(
        created=created,
        command="genaudit evaluate samples reference=real train=train",
        config={"seed": seed, "metric": ["as", "irs"], "note": "<i>ünï</i>", "confidence": 0.95},
        environment={"torch": "2.0", "device": "cpu"},
        seed=seed,
        roles={
            "train": RoleImages("train", 30, "aa" * 16),
            "reference": RoleImages("real", 60, "bb" * 16, [], {"P": 2, "L": 60}),
            "generated": RoleImages(
                "samples/<b>", n, "cc" * 16, [("z.png", "truncated"), ("a<script>.png", "not an image")]
            ),
        },
        measures={
            "embedding": MeasureUse("ff" * 16, "ee" * 32, n, 90, 1.5, {"model": "efficientnet_lite0", "size": 224}),
            "anomaly": MeasureUse("dd" * 16, None, n, 0, 12.25),
        },
        metrics={
            name: MetricEntry(name, result, n_of, "anomaly" if name.startswith("as") else "embedding")
            for name, result in metrics.items()
        },
        skipped_metrics={"authpct": "needs <train> images"},
        warnings=[ReportWarning("images-skipped", None, "2 files were skipped: a<script>.png, z.png")],
        images={"name": names, "digest": generator.integers(0, 256, (n, 16), dtype=np.uint8)},
        names={"generated": names, "reference": [f"real/{i}.png" for i in range(60)], "train": train},
        pictures={
            "generated": lambda i: photograph(i, size, 1),
            "train": lambda i: photograph(i, size, 2),
        }
        if pictures
        else {},
    )
