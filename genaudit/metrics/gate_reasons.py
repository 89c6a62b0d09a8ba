"""The gate's decisions in sentences: what was compared, what follows, and on which assumptions it rests."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genaudit.metrics.gate import Verdict

REAL = {
    "reference": "held-out real images",
    "held_out_train": "training images that were set aside",
}


def reasons(verdict: Verdict) -> list[str]:
    """Sentences for people, the decision's own first."""
    sentences = [_decision(verdict)]
    if verdict.decision == "undecided":
        sentences += _what_would_do(verdict)
    if verdict.calibration == "absolute":
        sentences += _absolute(verdict)
    amplified = verdict.evenness.amplified
    if amplified is not None and amplified < verdict.question.alpha:
        sentences.append(
            "Bias is amplified: the samples favour some training images more than real images do "
            f"(p = {amplified:.2g})."
        )
    return sentences


def _decision(verdict: Verdict) -> str:
    n, k = verdict.n_sampled, verdict.n_learned
    retrieval = f"{n:,} samples retrieve {k:,} different training images"
    asked = _asked(verdict)
    if verdict.decision == "reject":
        return (
            f"{retrieval}, fewer than the {verdict.threshold:,} that {asked} must retrieve (about "
            f"{verdict.expected:,.0f} are expected of it); {_error(verdict)}."
        )
    if verdict.decision == "accept":
        if verdict.s_target is not None and k >= verdict.s_target:
            return f"{retrieval}: as many as the target asks for, {asked}."
        return f"{retrieval}: enough for {asked} ({verdict.threshold:,} or more are not rejected). {_worth(verdict)}"
    if verdict.calibration == "absolute" and not verdict.even and k < verdict.threshold:
        return (
            f"{retrieval}, fewer than the {verdict.threshold:,} that {asked} must retrieve if it draws evenly. It "
            "does not: the retrieval counts reject even draws, so that a perfect model may miss this target and "
            "nothing follows."
        )
    if verdict.horizon is not None and n < verdict.horizon and not verdict.stopped_early:
        return f"{retrieval}; of {verdict.horizon:,} samples {verdict.horizon - n:,} are still to come."
    return f"{retrieval}: not rejected as less than {asked}, but too few to accept it. {_worth(verdict)}"


def _asked(verdict: Verdict) -> str:
    target = verdict.question.irs_target
    if verdict.calibration == "absolute":
        return f"a model that reaches {verdict.s_target:,} of the {verdict.n_train:,} training images"
    real = f"{verdict.n_real:,} {REAL[verdict.calibration]}"
    if target == 1:
        return f"a model as diverse as {real}"
    return f"a model that reaches {target:g} of what {real} reach"


def _error(verdict: Verdict) -> str:
    alpha = verdict.question.alpha
    if verdict.calibration == "absolute":
        return f"one that does, and draws evenly, is rejected with probability at most {alpha:g}"
    sentence = f"such a model is rejected with probability at most {alpha:g}, however uneven retrieval is"
    if verdict.calibration == "held_out_train":
        sentence += ", if the training images are independent draws (not frames of one video, say)"
    return sentence


def _worth(verdict: Verdict) -> str:
    question = verdict.question
    within = verdict.n_sampled if verdict.decision == "accept" else verdict.horizon or verdict.n_sampled
    if verdict.detectable <= 0:
        return f"{within:,} samples would hardly reject any model."
    return (
        f"A model of {verdict.detectable:.2g} times the target or less would have been rejected within {within:,} "
        f"samples with probability {_percent(question.power)} or more."
    )


def _what_would_do(verdict: Verdict) -> list[str]:
    question = verdict.question
    if verdict.detectable >= question.detect:
        return []
    what = f"a model of {question.detect:g} times the target (detect) with probability {_percent(question.power)}"
    if verdict.samples_needed is None:
        return [f"No number of samples detects {what}: real images retrieve too few training images."]
    text = f"About {verdict.samples_needed:,} samples would detect {what}"
    if verdict.real_needed is not None:
        text += f", against {verdict.real_needed:,} held-out real images ({verdict.n_real:,} there are)"
    return [text + "."]


def _absolute(verdict: Verdict) -> list[str]:
    if verdict.even:
        return [
            "This is the absolute test: real images may not reach the target themselves. Without absolute=true the "
            "target is a share of what real images reach."
        ]
    p = verdict.evenness
    uneven = [
        f"{what} (p = {value:.2g})"
        for what, value in (("the samples", p.samples), ("real images", p.real), ("training images", p.train))
        if value is not None and value < verdict.question.alpha
    ]
    return [
        f"Even draws are rejected by the retrieval of {' and of '.join(uneven)}: IRS_inf is a lower bound. Without "
        "absolute=true the gate compares with real images, which needs no even draws."
    ]


def _percent(share: float) -> str:
    return f"{100 * share:g} %"
