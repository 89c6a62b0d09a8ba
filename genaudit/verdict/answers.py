"""The verdict of a run: four questions, each with an answer, a sentence, the values behind it and what to do next.

The rule is `genaudit.verdict.rule`; docs/verdict.md says it in words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genaudit.verdict import words
from genaudit.verdict.evidence import ALONE, Correction, Vote, votes
from genaudit.verdict.likelihood import likelihood
from genaudit.verdict.rule import COPIES, LEVEL, MARGIN, MOST_MEMORISED, MUCH, RULE, TABLE, Question

WORSE = ("worse", "much_worse")


@dataclass(frozen=True)
class Answer:
    """An answer of the fixed vocabulary, why in a sentence, the values that it rests on, and what would tell more."""

    answer: str
    sentence: str
    evidence: tuple[str, ...] = ()
    next: str | None = None


@dataclass(frozen=True)
class Comparable:
    """Whether the sets may be compared at all: yes, caution or no, and the codes of the audit's findings."""

    answer: str
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What a run says of the model; `likelihood` only where a density model was asked for."""

    comparable: Comparable
    quality: Answer
    diversity: Answer
    memorised: Answer
    likelihood: Answer | None = None
    rule: str = RULE

    @property
    def answers(self) -> dict[str, Answer]:
        """By question, in the order in which they are shown."""
        found = {"quality": self.quality, "diversity": self.diversity, "memorised": self.memorised}
        return found if self.likelihood is None else found | {"likelihood": self.likelihood}

    def to_dict(self) -> dict[str, Any]:
        """As report.json has it."""
        comparable = {"answer": self.comparable.answer, "findings": list(self.comparable.findings)}
        answers = {
            question: {
                "answer": each.answer,
                "sentence": each.sentence,
                "evidence": list(each.evidence),
                "next": each.next,
            }
            for question, each in self.answers.items()
        }
        return {"rule": self.rule, "comparable": comparable, **answers}


def verdict(report: Mapping[str, Any], correction: Correction = ALONE) -> Verdict:
    """Judges a run.

    Args:
        report: report.json's keys `images`, `metrics`, `warnings` and, where there are any, `findings`.
        correction: for the runs that are judged with this one.
    """
    memorised = _memorised(report, correction)
    diversity = _diversity(report, memorised, correction)
    return Verdict(
        comparable=_comparable(report),
        quality=_quality(report, diversity, correction),
        diversity=diversity,
        memorised=memorised,
        likelihood=_likelihood(report),
    )


def _comparable(report: Mapping[str, Any]) -> Comparable:
    found = report.get("findings", ())
    codes = tuple(dict.fromkeys(each["code"] for each in found))
    answer = "no" if any(each["breaks"] for each in found) else "caution" if codes else "yes"
    return Comparable(answer, codes)


def _quality(report: Mapping[str, Any], diversity: Answer, correction: Correction) -> Answer:
    found, silent = votes(report, "quality", correction)
    if missing := words.missing(report, ("reference",)):
        return missing_answer(missing)
    own = [each for each in found if each.voter.kind == "share"]
    distances = [each for each in found if each.voter.kind == "distance"]
    if any(each.worse for each in own):
        return _worse(own, distances, silent)
    if not own:
        apart = [each for each in distances if each.worse]
        sentence, then = words.cannot(
            "precision and density",
            silent,
            _graded("quality"),
            "metric=[prdc,...] distinguishes quality and diversity.",
        )
        if apart:
            sentence += f" {words.listed(apart)}: quality or diversity falls short, and a distance does not say which."
        return Answer("cannot_tell", sentence, _names(apart), then)
    apart = [each for each in distances if each.worse]
    if apart and diversity.answer not in WORSE:
        sentence = (
            f"Worse than real images by distance: {words.listed(apart)}. {words.listed(own)} do not show it, and the "
            f"evidence disagrees about where it comes from."
        )
        return Answer("worse", sentence + words.silent(silent), _names([*apart, *own]))
    answer = _as_real_or_not(own, silent, "samples")
    if apart:
        sentence = f"{answer.sentence} {words.listed(apart)}: the missing diversity explains it."
        return Answer(answer.answer, sentence, (*answer.evidence, *_names(apart)), answer.next)
    return answer


def _diversity(report: Mapping[str, Any], memorised: Answer, correction: Correction) -> Answer:
    found, silent = votes(report, "diversity", correction)
    if missing := words.missing(report, ("reference",)):
        return missing_answer(missing)
    if not found:
        sentence, then = words.cannot(
            "recall, coverage and retrieval", silent, _graded("diversity"), "metric=[irs,prdc,...] measures diversity."
        )
        return Answer("cannot_tell", sentence, (), then)
    if any(each.worse for each in found):
        return _worse(found, (), silent)
    answer = _as_real_or_not(found, silent, "sample set")
    if memorised.answer in ("some", "yes") and answer.answer == "as_real":
        sentence = (
            f"Not to be praised: the samples repeat training images, whose diversity is that of the data "
            f"({words.listed(found)})."
        )
        return Answer(
            "cannot_tell", sentence + words.silent(silent), answer.evidence, "Judge a model that does not copy."
        )
    return answer


def _worse(found: Sequence[Vote], beside: Sequence[Vote], silent: Mapping[str, str]) -> Answer:
    worse = [each for each in found if each.worse]
    others = [each for each in found if not each.worse]
    graded = [each for each in found if each.voter.kind == "share"]
    much = bool(graded) and all(each.worse and (each.ratio or 0.0) <= MUCH for each in graded)
    lead = "Much worse than real images" if much else "Worse than real images"
    sentence = f"{lead}: {words.listed(worse)}."
    along = [each for each in beside if each.worse]
    if along:
        sentence += f" The distance{' agrees' if len(along) == 1 else 's agree'}: {words.listed(along)}."
    if others:
        sentence += f" The evidence disagrees: {words.listed(others)}, within chance of real images."
    names = _names([*worse, *along, *others])
    return Answer("much_worse" if much else "worse", sentence + words.silent(silent), names)


def _as_real_or_not(found: Sequence[Vote], silent: Mapping[str, str], what: str) -> Answer:
    """As real images where the evidence could have shown otherwise; nothing is worse here."""
    graded = [each for each in found if each.voter.kind == "share"] or list(found)
    low = [each for each in graded if each.shortfall >= each.allowed]
    within = [each for each in graded if each.within]
    if within and not low:
        sentence = (
            f"As real images: {words.listed(found)}. A shortfall of {MARGIN:.0%} would have shown in "
            f"{', '.join(each.says for each in within)}."
        )
        return Answer("as_real", sentence + words.silent(silent), _names(found))
    needed = max(each.needed for each in low) if low else min(each.needed for each in graded)
    sentence = (
        f"Too few images to tell: {words.listed(found)}. Nothing is worse beyond chance, but a shortfall of "
        f"{MARGIN:.0%} cannot be excluded."
    )
    return Answer("cannot_tell", sentence + words.silent(silent), _names(found), words.more_images(needed))


def _memorised(report: Mapping[str, Any], correction: Correction) -> Answer:
    if missing := words.missing(report, ("train", "reference")):
        return missing_answer(missing)
    images = report["images"]
    count, copies = images["generated"]["count"], images["generated"].get("in_train") or 0
    held_out, known = images["reference"]["count"], images["reference"].get("in_train") or 0
    found, silent = votes(report, "memorised", correction)
    graded = [each for each in found if each.voter.kind in ("share", "copies")]
    # what counts no images corroborates what does
    worse = [each for each in found if each.worse] if not graded or any(each.worse for each in graded) else []
    by_chance = words.more_copies(copies, count, known, held_out) if copies else 1.0
    by_content = correction.pvalue("memorised", by_chance) <= LEVEL
    told = words.copies_told(copies, count) if copies else ""
    if by_content or worse:
        whole = (by_content and copies >= COPIES * count) or any(_most(each) for each in worse)
        lead = "Memorised" if whole else "Some samples are memorised"
        parts = [text for text in (words.listed(worse), told) if text]
        others = [each for each in found if not each.worse]
        sentence = f"{lead}: {'; '.join(parts)}."
        if others:
            sentence += (
                f" {words.listed(others)}, within chance of held-out real images or farther from the training images."
            )
        return Answer("yes" if whole else "some", sentence + words.silent(silent), _names([*worse, *others]))
    if not found:
        sentence, then = words.cannot(
            "AuthPct and C_T", silent, _graded("memorised"), "metric=[authpct,ct,...] measures memorisation."
        )
        return Answer("cannot_tell", sentence + (f" {told}." if told else ""), (), then)
    graded = [each for each in graded if each.voter.kind == "share"]
    enough = any(each.within for each in graded)
    sentence = f"No nearer to the training images than held-out real images: {words.listed(found)}."
    if told:
        sentence += f" {told}, as real images may be."
    if enough:
        return Answer("no", sentence + words.silent(silent), _names(found))
    needed = min((each.needed for each in graded), default=None)
    sentence = f"Too few images to tell: {words.listed(found)}."
    then = "metric=[authpct,...] says which share is copied." if needed is None else words.more_images(needed)
    return Answer("cannot_tell", sentence + words.silent(silent), _names(found), then)


def smallest_pvalue(report: Mapping[str, Any], question: Question, correction: Correction = ALONE) -> float:
    """The p-value of a question: of the votes corrected for their number, and of exact copies; NaN where none votes."""
    found = [each.corrected for each in votes(report, question, correction)[0]]
    if question == "memorised" and all(report["images"].get(role, {}).get("count") for role in ("train", "reference")):
        images = report["images"]
        copies, known = (images[role].get("in_train") or 0 for role in ("generated", "reference"))
        if copies:
            found.append(words.more_copies(copies, images["generated"]["count"], known, images["reference"]["count"]))
    return min(found, default=math.nan)


def _most(vote: Vote) -> bool:
    """Whether a vote says that most of the samples are copies."""
    if vote.voter.kind == "copies":
        return vote.ours >= 100 * MOST_MEMORISED
    return vote.voter.kind == "share" and vote.ratio is not None and vote.ratio <= MOST_MEMORISED


def _likelihood(report: Mapping[str, Any]) -> Answer | None:
    return Answer(*likelihood(report)) if "llr" in report["metrics"] else None


def missing_answer(missing: tuple[str, str]) -> Answer:
    sentence, then = missing
    return Answer("cannot_tell", sentence, (), then)


def _graded(question: Question) -> tuple[str, ...]:
    """The values that can answer a question; a distance does not say which it speaks of."""
    return tuple(each.value for each in TABLE if each.question == question and each.kind != "distance")


def _names(found: Sequence[Vote]) -> tuple[str, ...]:
    return tuple(each.name for each in found)
