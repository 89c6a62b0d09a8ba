"""The numbers behind a decision of the gate, as lines of a table."""

from __future__ import annotations

from dataclasses import dataclass

from genaudit.metrics.gate import Verdict
from genaudit.metrics.result import Estimate
from genaudit.reports.digits import show, show_interval, show_p


@dataclass(frozen=True)
class Fact:
    """A line of the decision's table."""

    name: str
    number: str
    interval: str = ""
    note: str = ""


COMPARED_WITH = {
    "reference": "what held-out real images reach",
    "held_out_train": "what training images that were set aside reach of the others",
}


def facts(verdict: Verdict) -> list[Fact]:
    """The numbers behind the decision."""
    question, p = verdict.question, verdict.evenness
    ends = f"of at most {verdict.horizon:,}" if verdict.horizon else "without a limit"
    within = verdict.horizon or verdict.n_sampled
    if verdict.calibration == "absolute":
        target = Fact("target", f"{verdict.s_target:,}", "", f"of {verdict.n_train:,} training images, drawn evenly")
    else:
        target = Fact("target", f"{question.irs_target:g}", "", f"of {COMPARED_WITH[verdict.calibration]}")
    found = [
        target,
        Fact("samples", f"{verdict.n_sampled:,}", "", f"{verdict.mode}, {ends}"),
        Fact("learned", f"{verdict.n_learned:,}", "", "different training images retrieved"),
        Fact("expected", f"{verdict.expected:,.1f}", "", "of a model at the target, with as many samples"),
        Fact("threshold", f"{verdict.threshold:,}", "", "fewer are rejected after as many samples"),
    ]
    if verdict.irs_relative is not None:
        found.append(_share("irs_relative", verdict.irs_relative, "learned, relative to as many held-out real images"))
    found.append(_irs_inf(verdict))
    if verdict.detectable > 0:
        percent = f"{100 * question.power:g} %"
        note = f"times the target: what {within:,} samples reject with probability {percent}"
        note += f" (asked: {question.detect:g})"
        found.append(Fact("detectable", show(verdict.detectable), "", note))
    found.append(Fact("even retrieval", show_p(p.samples), "", "the chance that uniform draws retrieve as unevenly"))
    if p.amplified is not None:
        found.append(Fact("bias", show_p(p.amplified), "", "the chance that real images retrieve as unevenly"))
    return found


def _irs_inf(verdict: Verdict) -> Fact:
    estimate = verdict.irs_inf
    if verdict.even:
        return _share("irs_inf", estimate, "share of the training set that the model can reach, if it draws evenly")
    note = "at least this share of the training set can be reached; retrieval is uneven"
    return Fact("irs_inf", f"≥ {show(estimate.lower)}", "", note)


def _share(name: str, estimate: Estimate, note: str) -> Fact:
    number = show(estimate.value, estimate.lower, estimate.upper)
    return Fact(name, number, show_interval(estimate.lower, estimate.upper), note)
