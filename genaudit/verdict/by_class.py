"""The verdicts of the classes of a set, each by the rule of a run, corrected for their number.

A class is judged as a run of its own images. With K classes the chance that any class as good as real images is called
worse must stay the rule's level: the p-values of a question, one a class, are adjusted by Holm, and all votes of a
class by the factor of its own. What excludes a shortfall (`as_real`) rests on intervals that share their error over K.
A class has few images, so that a share of them has at least a binomial's error (`Correction.few`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genaudit.stats.two_sets import holm
from genaudit.verdict.answers import Verdict, smallest_pvalue, verdict
from genaudit.verdict.evidence import Correction
from genaudit.verdict.rule import Question

QUESTIONS: tuple[Question, ...] = ("quality", "diversity", "memorised")
SEVERITY = {"much_worse": 3, "yes": 3, "worse": 2, "some": 2, "cannot_tell": 1, "as_real": 0, "no": 0}


def class_verdicts(reports: Sequence[Mapping[str, Any]]) -> list[tuple[Verdict, dict[str, float]]]:
    """A verdict for each class, and its p-values by question, corrected over the classes (no entry: nothing votes).

    Args:
        reports: each class as a run, with the keys that `verdict` reads.
    """
    few = Correction(few=True)
    own = {question: np.array([smallest_pvalue(report, question, few) for report in reports]) for question in QUESTIONS}
    corrected = {question: holm(pvalues) for question, pvalues in own.items()}
    found = []
    for place, report in enumerate(reports):
        factors: dict[str, float] = {
            question: float(corrected[question][place] / pvalues[place]) if pvalues[place] > 0 else float(len(reports))
            for question, pvalues in own.items()
            if not np.isnan(pvalues[place])
        }
        answers = verdict(report, Correction(factors, len(reports), few=True))
        known = {str(question): float(each[place]) for question, each in corrected.items() if question in factors}
        found.append((answers, known))
    return found


def worst_first(verdicts: Sequence[tuple[Verdict, Mapping[str, float]]]) -> list[int]:
    """The places of the verdicts by how bad they are: the worst answer, how many are as bad, the smallest p-value."""

    def badness(place: int) -> tuple[Any, ...]:
        answers, pvalues = verdicts[place]
        grades = sorted((SEVERITY[each.answer] for each in answers.answers.values()), reverse=True)
        smallest = min(pvalues.values(), default=1.0)
        # "cannot tell" is no fault: among classes that are not worse the least likely one comes first
        faults = [grade for grade in grades if grade > 1]
        return [-grade for grade in faults] + [0], smallest, place

    return sorted(range(len(verdicts)), key=badness)
