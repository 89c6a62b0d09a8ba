"""The rule of the verdict, version verdict/1: one table of what votes on which question, and the numbers that decide.

A value votes by its difference from the real floor, in standard errors of a fresh set of real images, against Student's
t (`genaudit.verdict.evidence`). docs/verdict.md says the same in words; a test compares the two.

- worse: a vote whose one-sided p-value, corrected by Holm over the votes of the question, is below LEVEL, and whose
  shortfall is at least NEGLIGIBLE of the floor (shares of images; what is no share has no such bound).
- much worse: every vote that grades is worse, and none reaches MUCH of the floor. A set that one metric puts at a fifth
  and another at a half is worse: the evidence does not agree on more.
- as real images: no vote is worse, and the evidence could have shown it: some vote that grades excludes, by the
  interval of its difference, that the set falls short of the floor by MARGIN of it, and none lies as low as that.
- cannot tell: neither.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

RULE = "verdict/1"
LEVEL = 0.025  # one-sided: chance of calling as diverse a set as real images worse, for a question
NEGLIGIBLE = 0.1  # of the floor: a smaller shortfall is none, however sure
MARGIN = 0.2  # of the floor: a set that falls short by less is as real images
MUCH = 1 / 3  # of the floor
MOST_MEMORISED = 0.5  # of AuthPct's floor, or of the images: at or beyond it the set is memorised, not only some of it
NEAR_COPIES = 2.0  # percent of the generated images, 1 of real ones: fewer are none, however sure
COPIES = 0.1  # share of the generated images that are exact copies of training images: memorised, not only some

Question = Literal["quality", "diversity", "memorised"]
Kind = Literal["share", "distance", "count", "copies"]


@dataclass(frozen=True)
class Voter:
    """A value that votes.

    Attributes:
        better: the end at which a set is as it should be.
        kind: a "share" (of images) grades, by its ratio to the floor; a "count" only says whether the set falls short;
            a "distance" falls with quality and diversity alike, and speaks of quality where nothing else explains it;
            "copies" are a percentage of images with an exact p-value of the metric's own.
        says: what it is, in words, for the sentence.
        whole: of a share of a set's images what all of them are, 1 or 100 (percent); 0: it is no such share.
    """

    metric: str
    value: str
    question: Question
    better: Literal["higher", "lower"]
    kind: Kind
    says: str
    whole: float = 0.0


TABLE = (
    Voter("prdc", "precision", "quality", "higher", "share", "precision", 1.0),
    Voter("prdc", "density", "quality", "higher", "share", "density"),
    Voter("kd", "kd", "quality", "lower", "distance", "kernel distance"),
    Voter("fd", "fd", "quality", "lower", "distance", "Fr\N{LATIN SMALL LETTER E WITH ACUTE}chet distance"),
    Voter("prdc", "recall", "diversity", "higher", "share", "recall", 1.0),
    Voter("prdc", "coverage", "diversity", "higher", "share", "coverage", 1.0),
    Voter("irs", "irs_alpha", "diversity", "higher", "share", "share of training images retrieved"),
    Voter("vendi", "vendi", "diversity", "higher", "count", "Vendi score"),
    Voter("authpct", "authpct", "memorised", "higher", "share", "authentic images (AuthPct, in percent)", 100.0),
    Voter("train_distance", "near_copies", "memorised", "lower", "copies", "near copies of training images (percent)"),
    Voter("ct", "ct", "memorised", "higher", "count", "C_T"),
)

# Cautions of things that meet the real images in the same way, or that are what the question asks: they cost no vote.
COSTS_NO_VOTE = frozenset(
    {
        *("few-images", "fewer-samples-than-dimensions", "unequal-sets", "unequal-counts", "counts-differ", "limited"),
        *(
            "uneven-retrieval",
            "bias-amplified",
            "no-duplicates",
            "train-from-reference",
            "cells-left-out",
            "duplicates",
        ),
        "another-network",  # real images are measured on the same one
        *("same-images", "non-finite", "near-copies"),
    }
)
# Warnings of the run, of no metric, that cost the votes of these questions.
OF_THE_RUN: dict[str, tuple[Question, ...]] = {"untrained-feature-model": ("quality", "diversity")}


def images_for(count: int, half: float, room: float) -> float:
    """About how many images make an interval of half width `half` at `count` images as narrow as `room`.

    Its width falls with the root of the number. Infinite where no number does, or more than a float can say.
    """
    if room <= 0:
        return math.inf
    wider = half / room
    needed = count * wider * wider  # `wider ** 2` would raise where this is infinite
    return math.ceil(needed) if math.isfinite(needed) else math.inf
