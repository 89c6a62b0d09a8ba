"""What the gate found: decision.json, decision.html and the console's account.

decision.json has the keys that INTERFACE.md fixes, and beside them what is needed to understand and repeat it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from genaudit import __version__
from genaudit.metrics.gate import Verdict
from genaudit.metrics.result import Curve
from genaudit.reports.digits import show_p
from genaudit.reports.entries import by_role
from genaudit.reports.gallery import Gallery, Picture
from genaudit.reports.gate_facts import facts
from genaudit.reports.report import MeasureUse, ReportWarning, RoleImages, counts_of
from genaudit.reports.values import plain

SCHEMA = "genaudit/decision/2"
CITATION = "Dombrowski et al., Image Generation Diversity Issues and How to Tame Them, CVPR 2025"
WORDS = {"accept": "Accepted", "reject": "Rejected", "undecided": "Undecided"}
STYLES = {"accept": "bold green", "reject": "bold red", "undecided": "bold yellow"}
LISTED = 8  # training images that are shown with the samples that retrieved them
SAMPLES_SHOWN = 6


@dataclass(frozen=True)
class Copies:
    """Images that are copies, by their bytes or their features; each content of the training set is counted once.

    `train`: training images that are copies of others. `reference`: reference images that are training images, and
    were left out. `set_aside`: training images that play held-out ones. `samples`: samples that are
    copies of other samples, by their bytes. `samples_in_train`: samples that are training images, by their features.
    """

    train: int = 0
    reference: int = 0
    set_aside: int = 0
    samples: int = 0
    samples_in_train: int = 0


@dataclass
class GateRun:
    """A checkpoint's way through the gate.

    `boundary` (P,) is about the fewest learned images that are not rejected after `at` (P,) samples, `expectation`
    (P,) what a model at the target learns. `shuffled`: the samples were judged in random order. `names` and `pictures`
    are those of "generated" (the samples taken, in their order) and "train"; the rest is as in `Report`.
    """

    verdict: Verdict
    at: np.ndarray
    boundary: np.ndarray
    expectation: np.ndarray
    copies: Copies
    shuffled: bool
    created: str
    command: str
    config: Mapping[str, Any]
    seed: int
    roles: dict[str, RoleImages]
    measures: dict[str, MeasureUse]
    warnings: list[ReportWarning] = field(default_factory=list)
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    pictures: Mapping[str, Callable[[int], np.ndarray]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.images: dict[str, Any] = {}  # a gallery asks for it
        self.warnings = [*self.warnings, *_cautions(self)]

    def to_dict(self) -> dict[str, Any]:
        """decision.json; a number that nothing identifies is None."""
        verdict, question = self.verdict, self.verdict.question
        document = {
            "schema": SCHEMA,
            "genaudit": __version__,
            "created": self.created,
            "command": self.command,
            "decision": verdict.decision,
            "reasons": verdict.reasons,
            "calibration": verdict.calibration,
            "irs_target": question.irs_target,
            "alpha": question.alpha,
            "detect": question.detect,
            "power": question.power,
            "n_train": verdict.n_train + self.copies.set_aside,
            "n_retrievable": verdict.n_train,
            "n_set_aside": self.copies.set_aside,
            "n_reference": verdict.n_real,
            "n_sampled": verdict.n_sampled,
            "n_learned": verdict.n_learned,
            "expected": verdict.expected,
            "threshold": verdict.threshold,
            "p_value": verdict.pvalue,
            "first_rejected_at": verdict.first_rejected_at,
            "irs_inf": verdict.irs_inf,
            "irs_inf_is": "estimate" if verdict.even else "lower_bound",
            "irs_relative": verdict.irs_relative,
            "irs_inf_reference": verdict.irs_inf_reference,
            "stopped_early": verdict.stopped_early,
            "mode": verdict.mode,
            "gap_adjusted": verdict.calibration != "absolute",
            "s_target": verdict.s_target,
            "test": {"rule": verdict.method, "level": verdict.level, "horizon": verdict.horizon},
            "detectable": verdict.detectable,
            "detectable_irs": verdict.detectable * question.irs_target,
            "samples_needed": verdict.samples_needed,
            "reference_needed": verdict.real_needed,
            "bias": {
                "fits": verdict.even,
                "law_pvalue": verdict.evenness.samples,
                "law_pvalue_reference": verdict.evenness.real,
                "law_pvalue_train": verdict.evenness.train,
                "bias_pvalue": verdict.evenness.amplified,
            },
            "copies": self.copies,
            "shuffled": self.shuffled,
            "most_retrieved": [
                {"train": self._name("train", image), "times": len(samples), "samples": [
                    self._name("generated", sample) for sample in samples[:SAMPLES_SHOWN]]}
                for image, samples in self.favourites()
            ],
            "seed": self.seed,
            "config": self.config,
            "images": {
                role: {
                    "source": str(images.source),
                    "count": images.count,
                    "digest": images.digest,
                    "skipped": [{"name": str(name), "reason": str(reason)} for name, reason in images.skipped],
                    "converted": dict(sorted(images.converted.items())),
                    "ignored": dict(sorted(images.ignored.items())),
                    **counts_of(images),
                }
                for role, images in by_role(self.roles).items()
            },
            "measures": self.measures,
            "warnings": self.warnings,
            "citation": CITATION,
        }  # fmt: skip
        result: dict[str, Any] = plain(document, [])
        return result

    def favourites(self) -> list[tuple[int, np.ndarray]]:
        """The training images retrieved most often, at least twice, each with the samples that retrieved it."""
        retrieved = self.verdict.retrieved
        images, counts = np.unique(retrieved, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:LISTED]
        return [(int(images[at]), np.flatnonzero(retrieved == images[at])) for at in order if counts[at] > 1]

    def _name(self, role: str, index: int) -> str:
        return str(self.names[role][index]) if role in self.names else f"#{index}"

    def write(self, out: str | Path) -> dict[str, Path]:
        """Writes decision.html and decision.json into the folder `out`; returns their paths by name."""
        from genaudit.reports.files import json_text, write_together

        def text(content: str, stream: TextIO) -> None:
            stream.write(content)

        return write_together(
            Path(out),
            {
                "decision.html": lambda stream: text(render(self), stream),
                "decision.json": lambda stream: text(json_text(self.to_dict()), stream),
            },
        )


def _cautions(run: GateRun) -> list[ReportWarning]:
    verdict, copies = run.verdict, run.copies
    n, k = verdict.n_sampled, verdict.n_learned
    found = []
    if n == 1:
        found.append(("single-sample", "A single sample identifies no diversity: irs_inf is not a number."))
    elif n == k:
        found.append(
            ("no-duplicates", "No two samples retrieve the same training image: 1 is irs_inf's cap, no estimate.")
        )
    if verdict.stopped_early and n > 1:
        found.append(
            (
                "nominal-interval",
                "The samples ended with the decision, so irs_inf and irs_relative lean towards it; mode=fixed "
                "estimates from all samples.",
            )
        )
    if not verdict.even:
        found.append(
            (
                "uneven-retrieval",
                "Retrieval is uneven: irs_inf, which assumes even draws, is a lower bound of the share of the training "
                "set that the model can reach.",
            )
        )
    amplified = verdict.evenness.amplified
    if amplified is not None and amplified < verdict.question.alpha:
        found.append(("bias-amplified", f"The samples are more uneven than real images ({show_p(amplified)})."))
    if not run.shuffled:
        found.append(
            (
                "not-shuffled",
                "The samples were judged in the order in which they came. A stream that is sorted, by class for "
                "example, is judged by its beginning.",
            )
        )
    if copies.train:
        found.append(
            ("duplicates", f"{copies.train:,} training images are copies of others; each content counts once.")
        )
    if copies.samples:
        found.append(("duplicates", f"{copies.samples:,} of the {n:,} samples are copies of other samples."))
    if copies.samples_in_train:
        found.append(
            (
                "same-images",
                f"{copies.samples_in_train:,} of the {n:,} samples are training images (equal features): the gate asks "
                "for diversity only; authpct and ct say whether a model has memorised.",
            )
        )
    return [ReportWarning(code, None, message) for code, message in found]


def curve(run: GateRun) -> Curve:
    """Learned images against samples, the rejection boundary, the expectation at the target, the point of rejection."""
    verdict = run.verdict
    learned = _learned(verdict.retrieved)
    # An early decision is shown with some of what would have followed, not with the whole horizon.
    shown = run.at[run.at <= max(1.5 * verdict.n_sampled, 20)]
    x = np.unique(np.concatenate([shown, np.linspace(1, verdict.n_sampled, 128).round().astype(int)]))
    boundary = np.interp(x, run.at, run.boundary)
    lines = {
        "generated": np.where(x <= len(learned), learned[np.minimum(x, len(learned)) - 1].astype(float), np.nan),
        "expected at the target": np.interp(x, run.at, run.expectation),
        "rejected below, about": np.where(boundary > 1, boundary, np.nan),
    }
    if verdict.real is not None:
        real = _learned(verdict.real)
        lines["held-out real"] = np.where(x <= len(real), real[np.minimum(x, len(real)) - 1].astype(float), np.nan)
    at = verdict.first_rejected_at
    if at is not None:
        # two points above one another: a line from the axis to the curve
        place = int(np.searchsorted(x, at))
        x = np.insert(x, place, [at, at])
        lines = {name: np.insert(line, place, [np.nan, np.nan]) for name, line in lines.items()}
        mark = np.full(len(x), np.nan)
        mark[place : place + 2] = 0, learned[at - 1]
        lines = {name: _bridged(x, line, place) for name, line in lines.items()}
        lines[f"rejected after {at:,} samples"] = mark
    return Curve("Distinct training images retrieved", "samples drawn", "distinct training images", x, lines)


def _bridged(x: np.ndarray, line: np.ndarray, place: int) -> np.ndarray:
    """The line with its value at the two inserted points, so that it is not cut there."""
    known = np.isfinite(line)
    out = line.copy()
    before, after = known[:place].any(), known[place + 2 :].any()
    if before and after:
        out[place : place + 2] = np.interp(x[place], x[known], line[known])
    return out


def _learned(retrieved: np.ndarray) -> np.ndarray:
    fresh = np.zeros(len(retrieved), np.int64)
    fresh[np.unique(retrieved, return_index=True)[1]] = 1
    return np.cumsum(fresh)


@dataclass(frozen=True)
class Mode:
    """A training image that is retrieved often, beside samples that retrieved it."""

    train: Picture
    samples: list[Picture]
    times: int


def render(run: GateRun) -> str:
    """decision.html as text."""
    from genaudit.reports.html import page
    from genaudit.reports.plots import draw

    gallery = Gallery(run)  # type: ignore[arg-type]
    modes = [
        Mode(
            gallery.picture("train", image, f"{len(samples):,}\N{MULTIPLICATION SIGN}"),
            [gallery.picture("generated", int(sample), f"sample {sample + 1:,}") for sample in samples[:SAMPLES_SHOWN]],
            len(samples),
        )
        for image, samples in run.favourites()
    ]
    names = {
        "run": run,
        "word": WORDS[run.verdict.decision],
        "facts": facts(run.verdict),
        "plot": draw(curve(run)),
        "modes": modes if run.pictures else [],
        "counts": [] if run.pictures else [(run._name("train", image), len(s)) for image, s in run.favourites()],
        "roles": by_role(run.roles),
        "config": _yaml(plain(run.config, [])),
        "citation": CITATION,
        "level": f"{100 * (1 - 2 * run.verdict.question.alpha):g} %",
        "version": __version__,
    }
    return page("gate.html.j2", names)


def _yaml(document: Any) -> str:
    import yaml

    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, default_flow_style=False))


def show_run(run: GateRun, files: Mapping[str, Path] | None = None) -> None:
    """Prints the decision and its reasons first, then its numbers, and where the files are."""
    from genaudit.reports.styled import make_console, new_table, text

    console = make_console()
    decision = run.verdict.decision
    console.print(text((WORDS[decision].upper(), STYLES[decision]), (f": {' '.join(run.verdict.reasons)}", "")))
    table = new_table(not console.is_terminal)
    for header, justify in (("value", "left"), ("", "right"), ("interval", "left"), ("", "left")):
        table.add_column(header, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for fact in facts(run.verdict):
        table.add_row(
            text((fact.name, "bold")), text((fact.number, "")), text((fact.interval, "dim")), text((fact.note, "dim"))
        )
    console.print(table)
    favourites = run.favourites()
    if favourites:
        listed = ", ".join(f"{run._name('train', image)} {len(samples):,}×" for image, samples in favourites[:5])
        console.print(text(("most retrieved ", "dim"), (listed, "")))
    for warning in run.warnings:
        console.print(text(("warning ", "yellow"), (warning.message, ""), (f" [{warning.code}]", "dim")))
    if files:
        folder = next(iter(files.values())).parent
        console.print(text(("written ", "dim"), (f"{folder}/", ""), (f" {', '.join(files)}", "dim")))
