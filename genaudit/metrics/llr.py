"""Log-likelihood ratios: how well a density model distinguishes its own kind of images from out-of-distribution images.

Schirrmeister et al. 2020, "Understanding Anomaly Detection with Deep Invertible Networks through Hierarchies of
Distributions and Features": a density model alone often finds foreign images likelier than its own; its last scale, or
the difference to a general model, log p_in(x) - log p_general(x), tells them apart. The general model is a trained one
or a code length (Serrà et al. 2020). Each log-likelihood is clipped at a floor, which stands for values that are not
finite too (supplement S4.5).

In-distribution images are the positive class: the reference images, or the generated ones where there are none. Images
that are out of distribution are the anomalies, or the generated ones where there are none.

N images, K scales. Rows "density" (N, 1 + K): log p, c_1 ... c_K; "general" (N, 1 or more): log p_general; "code"
(N, 2): log p_general of the code length, its bits (`genaudit.measures.likelihood`, `code_length`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from genaudit.metrics.result import (
    SHARE,
    Caution,
    Curve,
    Estimate,
    PictureRow,
    Pictures,
    RoleImage,
    Unavailable,
    per_image,
    value,
)
from genaudit.stats.auroc import area_interval, auroc, bootstrap_areas, roc
from genaudit.stats.bounds import Bounds, Repeats
from genaudit.stats.estimate import percentile_interval

FLOOR = -3e6  # nats, S4.5
POINTS = 401  # of a drawn curve
SHOWN = 12  # images a row of the gallery

Rows = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class LLR:
    """How well log-likelihoods distinguish in-distribution images (the positive class) from others.

    Every value is the probability that an image of `in_distribution` scores above one of `out_of_distribution`, ties
    counting half: 0.5 is chance, below it the foreign images look likelier. `auroc_general` and `auroc_code` are the
    controls: the ratio without the density model. A ratio that does not beat its control shows nothing of the model.

    Attributes:
        auroc_raw: by log p(x). auroc_last_scale: by c_K, the contribution of the last scale; None for a model of one
            scale (PixelCNN++, local Glow), of which it would be the log-likelihood again.
        auroc_ratio: by log p(x) - log p_general(x), with the general model, or the code length where there is none.
        auroc_ratio_code: the same with the code length, beside a general model.
        auroc_general: by -log p_general alone. auroc_code: by the code's length alone.
        ratio_minus_control: auroc_ratio less that of its control, with an interval from the same resamplings.
    """

    explanation: ClassVar[str] = (
        "How well log-likelihoods tell the model's own kind of images from others: raw, at the last scale, and as a "
        "ratio to a general model; the controls are the ratio without the density model."
    )
    citation: ClassVar[str] = (
        "Schirrmeister, Zhou, Ball, Zhang. Understanding Anomaly Detection with Deep Invertible Networks through "
        "Hierarchies of Distributions and Features. NeurIPS 2020."
    )
    auroc_raw: Estimate = value("none", label="by log-likelihood alone", range=SHARE)
    auroc_last_scale: Estimate | None = value("none", label="by the last scale alone", range=SHARE, default=None)
    auroc_ratio: Estimate = value("none", label="by the ratio to a general model", range=SHARE)
    auroc_ratio_code: Estimate | None = value("none", label="by the ratio to a code length", range=SHARE, default=None)
    auroc_general: Estimate | None = value(
        "none", label="control: by the general model alone", range=SHARE, default=None
    )
    auroc_code: Estimate = value("none", label="control: by code length alone", range=SHARE)
    in_distribution: str
    out_of_distribution: str
    n_in: int
    n_out: int
    ratio_to: str
    ratio_minus_control: tuple[float, float | None, float | None]  # and its interval's ends
    interval: str = "over new images of both sides in these numbers, the models held fixed: percentile bootstrap"
    llr: np.ndarray | None = per_image(
        gallery=("Most like the density model's images", "Least like the density model's images")
    )
    log_prob: np.ndarray | None = per_image(gallery=("Highest log-likelihood", "Lowest log-likelihood"))
    log_prob_general: np.ndarray | None = per_image()
    code_bits: np.ndarray | None = per_image()
    curves: Curve
    pictures: tuple[Pictures, ...] = ()
    cautions: tuple[Caution, ...] = ()


def judge(
    *,
    generated: Rows,
    reference: Rows | None = None,
    anomalies: Rows | None = None,
    bootstraps: Repeats = 1000,
    floor: Annotated[float, Bounds(high=0)] = FLOOR,
    confidence: float = 0.95,
    seed: int = 0,
) -> LLR:
    """AUROC of the log-likelihood, of its last scale and of the ratio, with controls and every image's components.

    All rows are held in memory: 8·(4 + K) bytes per image.

    Args:
        generated, reference, anomalies: rows by the names "density", "code" and, where there is a general model,
            "general" ("general" that is the code's rows counts as none).
        bootstraps: repeats behind an interval.
        floor: nats below which log-likelihoods are clipped.
        confidence, seed: of the intervals.

    Raises:
        Unavailable: neither reference nor anomalies.
        ValueError: rows of other shapes.
    """
    if reference is None and anomalies is None:
        raise Unavailable(
            "needs images to distinguish: anomalies= (out-of-distribution images), or "
            "reference= (in-distribution images, which the generated ones are distinguished from), or both"
        )
    by_role = {"generated": generated, "reference": reference, "anomalies": anomalies}
    roles = {role: _Scored(rows, role, floor) for role, rows in by_role.items() if rows is not None}
    inside = "reference" if reference is not None else "generated"
    outside = "anomalies" if anomalies is not None else "generated"
    ours, others = roles[inside].scores, roles[outside].scores
    numbers: dict[str, Estimate] = {}
    areas: dict[str, np.ndarray] = {}
    for name in ours:
        areas[name] = bootstrap_areas(ours[name], others[name], repeats=bootstraps, seed=seed)
        area = auroc(ours[name], others[name])
        smaller = min(len(ours[name]), len(others[name]))
        numbers[f"auroc_{name}"] = area_interval(area, areas[name], smaller, confidence)
    control = "general" if "general" in ours else "code"
    gains = {}
    for ratio, alone in (("ratio", control), ("ratio_code", "code")):
        if ratio in areas:
            gain = numbers[f"auroc_{ratio}"] - numbers[f"auroc_{alone}"]
            gains[ratio] = percentile_interval(gain, areas[ratio] - areas[alone], confidence)
    grid = np.linspace(0, 1, POINTS)
    scored = roles["generated"]
    return _with_contributions(scored.contributions.shape[1])(
        **numbers,  # type: ignore[arg-type]
        in_distribution=inside,
        out_of_distribution=outside,
        n_in=len(roles[inside].log_prob),
        n_out=len(roles[outside].log_prob),
        ratio_to="a general model" if control == "general" else "a code length",
        ratio_minus_control=(gains["ratio"].value, *gains["ratio"].ends),
        llr=scored.scores["ratio"],
        log_prob=scored.log_prob,
        log_prob_general=scored.log_prob_general,
        code_bits=scored.code[:, 1],
        **{f"c_{i + 1}": column for i, column in enumerate(scored.contributions.T)},
        curves=Curve(
            f"{inside} images against {outside}",
            f"false positive rate: share of {outside} above the threshold",
            f"true positive rate: share of {inside}",
            grid,
            {LABELS[name]: roc(ours[name], others[name], grid) for name in ours} | {"chance": grid},
            guides=("chance",),
            controls=tuple(label for label in LABELS.values() if label.startswith("control")),
        ),
        pictures=tuple(
            _extremes(roles, name, (inside, outside)) for name in ("raw", "last_scale", "ratio") if name in ours
        ),
        cautions=_cautions(roles, numbers, gains, floor),
    )


LABELS = {
    "raw": "log-likelihood",
    "last_scale": "last scale",
    "ratio": "ratio",
    "ratio_code": "ratio to code length",
    "general": "control: general model alone",
    "code": "control: code length alone",
}


class _Scored:
    """A role's log-likelihoods and the scores that they give, higher meaning more like in-distribution images."""

    def __init__(self, rows: Rows, role: str, floor: float) -> None:
        density, self.code = _matrix(rows, "density", 2, role), _matrix(rows, "code", 2, role)
        general = _matrix(rows, "general", 1, role) if "general" in rows else self.code
        self.general = None if np.array_equal(general, self.code) else general[:, 0]
        self.log_prob, self.contributions = density[:, 0], density[:, 1:]
        self.log_prob_general = self.code[:, 0] if self.general is None else self.general
        terms = (self.log_prob, self.contributions[:, -1], self.log_prob_general, self.code[:, 0])
        clipped, last, divisor, code = (_clip(term, floor) for term in terms)
        self.scores = {"raw": clipped, "last_scale": last, "ratio": clipped - divisor, "code": -code}
        if self.contributions.shape[1] == 1:
            del self.scores["last_scale"]
        if self.general is not None:
            self.scores |= {"ratio_code": clipped - code, "general": -divisor}
        self.at_floor = {
            "the log-likelihood": int((clipped == floor).sum()),
            "the last scale": int((last == floor).sum()),
            "the general model's log-likelihood": int((divisor == floor).sum()),
        }


def _matrix(rows: Rows, name: str, least: int, role: str) -> np.ndarray:
    if name not in rows:
        raise ValueError(f"{role}: the metric needs rows of the measure {name!r}")
    matrix = np.asarray(rows[name][:], np.float64)
    if matrix.ndim != 2 or matrix.shape[0] == 0 or matrix.shape[1] < least:
        raise ValueError(f"{role}: rows of {name!r} must be (N, {least} or more), not {matrix.shape}")
    return matrix


def _clip(log_prob: np.ndarray, floor: float) -> np.ndarray:
    return np.maximum(np.where(np.isfinite(log_prob), log_prob, floor), floor)


def _with_contributions(scales: int) -> type[LLR]:
    """`LLR` with a column of every image for each scale."""
    columns = [(f"c_{i + 1}", Any, per_image()) for i in range(scales)]
    return make_dataclass("LLR", columns, bases=(LLR,), frozen=True, kw_only=True, namespace={"__doc__": LLR.__doc__})


def _extremes(roles: Mapping[str, _Scored], name: str, sides: tuple[str, str]) -> Pictures:
    """The images of both sides with the highest and the lowest scores (the paper's Figures S7 and S8)."""
    rows = []
    for role in sides:
        order = np.argsort(-roles[role].scores[name], kind="stable")
        most = max(1, min(SHOWN, len(order) // 2))
        rows.append(PictureRow(f"{role}, highest", tuple(RoleImage(role, int(i)) for i in order[:most])))
        rows.append(PictureRow(f"{role}, lowest", tuple(RoleImage(role, int(i)) for i in order[::-1][:most])))
    width = max(len(row.cells) for row in rows)
    return Pictures(f"Extreme images by {LABELS[name]}", tuple(str(i + 1) for i in range(width)), tuple(rows))


def _cautions(
    roles: Mapping[str, _Scored],
    numbers: Mapping[str, Estimate],
    gains: Mapping[str, Estimate],
    floor: float,
) -> tuple[Caution, ...]:
    cautions = []
    for role, scored in roles.items():
        if any(scored.at_floor.values()):
            what = ", ".join(f"{name} of {count:,}" for name, count in scored.at_floor.items() if count)
            message = (
                f"{role}: of {len(scored.log_prob):,} images, {what} was not finite or below {floor:,.0f} nats and is "
                "counted as that. images.csv has the values as they were."
            )
            cautions.append(Caution("log-likelihood-clipped", message))
    for ratio, gain in gains.items():
        area = numbers[f"auroc_{ratio}"]
        if area > 0.5 and gain.lower is not None and gain.upper is not None and gain.lower <= 0:
            message = (
                f"auroc_{ratio} ({area:.3f}) is not clearly above that of its general part alone ({area - gain:.3f}; "
                f"difference {gain.lower:.3f} to {gain.upper:.3f}): it may only show that one side's images are more "
                "complex, and not that the density model knows its own."
            )
            cautions.append(Caution("ratio-not-above-control", message))
    upper = numbers["auroc_raw"].upper
    if upper is not None and upper < 0.5:
        message = (
            "Out-of-distribution images have higher log-likelihoods than in-distribution ones: the raw "
            "log-likelihood does not find such images (Nalisnick et al. 2019)."
        )
        cautions.append(Caution("foreign-images-likelier", message))
    return tuple(cautions)
