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
from genaudit.metrics.gate import Estimate, Verdict
from genaudit.metrics.result import Curve
from genaudit.reports.digits import show, show_interval, show_p
from genaudit.reports.gallery import Gallery, Picture
from genaudit.reports.report import MeasureUse, RoleImages, Warning, by_role
from genaudit.reports.values import plain

SCHEMA = "genaudit/decision/1"
CITATION = "Dombrowski et al., Image Generation Diversity Issues and How to Tame Them, CVPR 2025"
WORDS = {"accept": "Accepted", "reject": "Rejected", "undecided": "Undecided"}
STYLES = {"accept": "bold green", "reject": "bold red", "undecided": "bold yellow"}
LISTED = 8  # training images that are shown with the samples that retrieved them
SAMPLES_SHOWN = 6


@dataclass
class GateRun:
    """A checkpoint's way through the gate.

    `thresholds` (P,) are the fewest learned images that are not rejected after `at` (P,) samples. `names` and
    `pictures` are those of "generated" (the samples taken, in their order) and "train"; the rest is as in `Report`.
    """

    verdict: Verdict
    at: np.ndarray
    thresholds: np.ndarray
    created: str
    command: str
    config: Mapping[str, Any]
    seed: int
    roles: dict[str, RoleImages]
    measures: dict[str, MeasureUse]
    warnings: list[Warning] = field(default_factory=list)
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    pictures: Mapping[str, Callable[[int], np.ndarray]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.images: dict[str, Any] = {}  # a gallery asks for it
        self.warnings = [*self.warnings, *_cautions(self.verdict)]

    def to_dict(self) -> dict[str, Any]:
        """decision.json; a number that nothing identifies is None."""
        verdict, target = self.verdict, self.verdict.target
        document = {
            "schema": SCHEMA,
            "genaudit": __version__,
            "created": self.created,
            "command": self.command,
            "decision": verdict.decision,
            "reasons": verdict.reasons,
            "irs_target": target.irs_target,
            "alpha": target.alpha,
            "n_train": target.n_train,
            "n_sampled": verdict.n_sampled,
            "n_learned": verdict.n_learned,
            "threshold": verdict.threshold,
            "first_rejected_at": verdict.first_rejected_at,
            "irs_inf": verdict.irs_inf,
            "mode": verdict.mode,
            "gap_adjusted": target.reach is not None,
            "irs_inf_reference": target.reach.irs_inf if target.reach else None,
            "irs_inf_adjusted": verdict.irs_inf_adjusted,
            "n_reference": len(target.reach.retrieved) if target.reach else None,
            "s_target": target.s_target,
            "test": {"rule": verdict.method, "level": target.level, "horizon": verdict.horizon},
            "detectable_irs": verdict.detectable_irs,
            "bias": {
                "fits": verdict.bias.fits,
                "law_pvalue": verdict.bias.law,
                "law_pvalue_reference": verdict.bias.law_reference,
                "bias_pvalue": verdict.bias.amplified,
            },
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


def _cautions(verdict: Verdict) -> list[Warning]:
    n, k = verdict.n_sampled, verdict.n_learned
    found = []
    if n == 1:
        found.append(("single-sample", "A single sample identifies no diversity: irs_inf is not a number."))
    elif n == k:
        found.append(
            ("no-duplicates", "No two samples retrieve the same training image: 1 is irs_inf's cap, no estimate.")
        )
    early = verdict.first_rejected_at is not None or (verdict.decision == "accept" and n < (verdict.horizon or n))
    if verdict.mode == "sequential" and early and n > 1:
        found.append(
            (
                "nominal-interval",
                "The samples ended with the decision, so irs_inf and its interval lean towards it; "
                "mode=fixed estimates from all samples.",
            )
        )
    if not verdict.bias.fits:
        found.append(
            ("uneven-retrieval", f"The occupancy law does not fit the retrieval counts ({show_p(verdict.bias.law)}).")
        )
    amplified = verdict.bias.amplified
    if amplified is not None and amplified < verdict.target.alpha:
        found.append(
            ("bias-amplified", f"The samples are more uneven than held-out real images ({show_p(amplified)}).")
        )
    return [Warning(code, None, message) for code, message in found]


def curve(run: GateRun) -> Curve:
    """Learned images against samples, the rejection boundary, the expectation at the target, the point of rejection."""
    verdict = run.verdict
    learned = _learned(verdict.retrieved)
    # An early decision is shown with some of what would have followed, not with the whole horizon.
    shown = run.at[run.at <= max(1.5 * verdict.n_sampled, 20)]
    x = np.unique(np.concatenate([shown, np.linspace(1, verdict.n_sampled, 128).round().astype(int)]))
    boundary = np.interp(x, run.at, run.thresholds)
    lines = {
        "generated": np.where(x <= len(learned), learned[np.minimum(x, len(learned)) - 1].astype(float), np.nan),
        "expected at the target": _expected(x, verdict.target.s_target),
        "rejected below": np.where(boundary > 1, boundary, np.nan),
    }
    if verdict.target.reach is not None:
        real = _learned(verdict.target.reach.retrieved)
        lines["reference"] = np.where(x <= len(real), real[np.minimum(x, len(real)) - 1].astype(float), np.nan)
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


def _expected(n: np.ndarray, s: int) -> np.ndarray:
    """s (1 - (1 - 1/s)^n), the occupancy law's mean."""
    return np.asarray(-s * np.expm1(n * np.log1p(-1 / s))) if s > 1 else np.ones(len(n))


@dataclass(frozen=True)
class Fact:
    """A line of the decision's table."""

    name: str
    number: str
    interval: str = ""
    note: str = ""


def facts(verdict: Verdict) -> list[Fact]:
    """The numbers behind the decision."""
    target, bias = verdict.target, verdict.bias
    share = f"{target.irs_target:g} of "
    share += "what held-out real images reach" if target.reach else f"{target.n_train:,} training images"
    ends = f"of at most {verdict.horizon:,}" if verdict.horizon else "without a limit"
    within = verdict.horizon or verdict.n_sampled
    found = [
        Fact("target", f"{target.s_target:,}", "", f"training images: {share}"),
        Fact("samples", f"{verdict.n_sampled:,}", "", f"{verdict.mode}, {ends}"),
        Fact("learned", f"{verdict.n_learned:,}", "", "different training images retrieved"),
        Fact("threshold", f"{verdict.threshold:,}", "", "fewer are rejected after as many samples"),
        _share("irs_inf", verdict.irs_inf, "share of the training set that the model can reach"),
    ]
    if target.reach is not None:
        found.append(_share("irs_inf_reference", target.reach.irs_inf, "the same for held-out real images"))
    if verdict.irs_inf_adjusted is not None:
        found.append(_share("irs_inf_adjusted", verdict.irs_inf_adjusted, "relative to held-out real images"))
    detectable = f"models up to this IRS_inf are rejected with probability 80 % within {within:,} samples"
    if verdict.detectable_irs > 0:
        found.append(Fact("detectable_irs", show(verdict.detectable_irs), "", detectable))
    found.append(Fact("even retrieval", show_p(bias.law), "", "that uniform draws retrieve as unevenly"))
    if bias.amplified is not None:
        found.append(Fact("bias", show_p(bias.amplified), "", "that real images are retrieved as unevenly"))
    return found


def _share(name: str, estimate: Estimate, note: str) -> Fact:
    number = show(estimate.value, estimate.lower, estimate.upper)
    return Fact(name, number, show_interval(estimate.lower, estimate.upper), note)


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
        "level": f"{100 * (1 - 2 * run.verdict.target.alpha):g} %",
        "version": __version__,
    }
    return page("gate.html.j2", names)


def _yaml(document: Any) -> str:
    import yaml

    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, default_flow_style=False))


def show_run(run: GateRun, files: Mapping[str, Path] | None = None) -> None:
    """Prints the decision, its reasons and numbers, and where the files are."""
    from genaudit.reports.console import make_console, new_table, text

    console = make_console()
    decision = run.verdict.decision
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
    console.print(text((WORDS[decision].upper(), STYLES[decision]), (f": {' '.join(run.verdict.reasons)}", "")))
    if files:
        folder = next(iter(files.values())).parent
        console.print(text(("written ", "dim"), (f"{folder}/", ""), (f" {', '.join(files)}", "dim")))
