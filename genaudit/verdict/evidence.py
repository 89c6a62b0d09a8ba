"""What each value of a finished run says against real images: the votes behind a verdict.

Everything is read from the report as `report.json` has it, so that a finished run is judged as a fresh one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import scipy

from genaudit.metrics.result import base_name
from genaudit.stats.two_sets import holm
from genaudit.verdict.rule import (
    COSTS_NO_VOTE,
    LEVEL,
    MARGIN,
    NEAR_COPIES,
    NEGLIGIBLE,
    OF_THE_RUN,
    TABLE,
    Question,
    Voter,
    images_for,
)

CONFIDENCE = 0.95  # of the interval of a difference
TAILS = 5.0  # kurtosis of an image's influence on a score; 3 is a normal law's
# degrees of freedom at most of a distance: its law, a sum of squares where sets are alike, has a long tail
SKEWED = 5.0


@dataclass(frozen=True)
class Vote:
    """A value against its real floor.

    Attributes:
        name: of the value; with its network where the run has several.
        ours: the generated images' score at the floor's number. floor: that of real images. n: their number.
        error: of a fresh set's score about the floor. pvalue: one-sided, for a worse set. corrected: by Holm.
        half: half the width of the difference's interval.
        from_parts: whether both scores are those of random parts of n images. fewer: whether `ours` is of n of the
            generated images, fewer than the value is of.
    """

    voter: Voter
    name: str
    ours: float
    floor: float
    lower: float
    upper: float
    n: int
    error: float
    pvalue: float
    half: float
    corrected: float = math.nan
    from_parts: bool = False
    fewer: bool = False

    @property
    def says(self) -> str:
        """What it is, in words; on which network, where the run has several."""
        network = self.name.partition("@")[2].rpartition(".")[0]
        return f"{self.voter.says} on {network}" if network else self.voter.says

    @property
    def worse(self) -> bool:
        if self.voter.kind == "copies":
            return self.corrected <= LEVEL and self.ours >= NEAR_COPIES
        enough = self.voter.kind != "share" or self.shortfall >= NEGLIGIBLE * abs(self.floor)
        return self.corrected <= LEVEL and enough

    @property
    def ratio(self) -> float | None:
        return self.ours / self.floor if self.ours >= 0 and self.floor > 0 else None

    @property
    def shortfall(self) -> float:
        """By how much the set is worse than real images, below 0 where it is better."""
        return self.floor - self.ours if self.voter.better == "higher" else self.ours - self.floor

    @property
    def allowed(self) -> float:
        return MARGIN * abs(self.floor)

    @property
    def within(self) -> bool:
        """Whether the interval of the difference excludes a shortfall beyond the margin."""
        return self.shortfall + self.half < self.allowed

    @property
    def needed(self) -> float:
        """About how many images of each role would exclude it; infinite where real images score 0."""
        room = self.allowed - self.shortfall
        return images_for(self.n, self.half, room if room > 0 else self.allowed / 2)


@dataclass(frozen=True)
class Correction:
    """How much stricter a run is judged because others are judged with it, the classes of a set (`by_class`).

    Attributes:
        factor: of the p-values, by question. runs: among which as many intervals share their error (Bonferroni).
        few: the sets may be of some dozens of images. All may lie inside all parts' balls: a share of images has at
            least the error of a difference of two binomial shares. And the error itself rests on few images
            (`_freedom`), which the far tails of many comparisons feel.
    """

    factor: Mapping[str, float] = field(default_factory=dict)
    runs: int = 1
    few: bool = False

    def pvalue(self, question: str, pvalue: float) -> float:
        return min(1.0, self.factor.get(question, 1.0) * pvalue)


ALONE = Correction()


def votes(
    report: Mapping[str, Any], question: Question, correction: Correction = ALONE
) -> tuple[list[Vote], dict[str, str]]:
    """The votes on a question, corrected for their number, and the values that have none: name => why."""
    found: list[Vote] = []
    silent: dict[str, str] = {}
    several = any("@" in name for name in report["metrics"])
    for metric, entry in report["metrics"].items():
        for voter in TABLE:
            value = entry["values"].get(voter.value)
            if voter.question != question or voter.metric != base_name(metric) or value is None:
                continue
            name = f"{metric}.{voter.value}" if several else voter.value
            broken = _stopped(report, entry, question) or _broken(report, metric)
            vote = None if broken else _vote(voter, name, value, entry, report, correction)
            if broken:
                silent[name] = f"validity in doubt ({', '.join(broken)})"
            elif vote is None:
                silent[name] = "what real images score is not known with its error"
            else:
                found.append(vote)
    corrected = [replace(each, corrected=correction.pvalue(question, each.corrected)) for each in _corrected(found)]
    return corrected, silent


def _stopped(report: Mapping[str, Any], entry: Mapping[str, Any], question: Question) -> list[str]:
    """Codes of the run's warnings that cost a metric its votes: those about a network, whose name is their first word,
    concern the metrics on it."""
    network = report.get("measures", {}).get(entry.get("measure"), {}).get("about", {}).get("feature_model")
    return sorted(
        {
            each["code"]
            for each in report["warnings"]
            if each["metric"] is None
            and question in OF_THE_RUN.get(each["code"], ())
            and (network is None or each["message"].startswith(f"{network} "))
        }
    )


def _broken(report: Mapping[str, Any], metric: str) -> list[str]:
    codes = {each["code"] for each in report["warnings"] if each["metric"] == metric} - COSTS_NO_VOTE
    codes |= {each["code"] for each in report.get("findings", ()) if each["breaks"] and metric in each["metrics"]}
    return sorted(codes)


def _vote(
    voter: Voter,
    name: str,
    value: Mapping[str, Any],
    entry: Mapping[str, Any],
    report: Mapping[str, Any],
    correction: Correction,
) -> Vote | None:
    if voter.kind == "copies":
        details, inf = entry["details"], math.inf
        real = 100 * details["held_out_below"] / details["n_reference"]
        return Vote(voter, name, value["value"], real, real, real, entry["n"]["generated"], inf, entry["p_value"], inf)
    real = value.get("real")
    if not real or value["value"] is None or real.get("error") is None or real.get("lower") is None:
        return None
    ours = value["value"] if real.get("generated") is None else real["generated"]
    freedom = _freedom(voter, real, few=correction.few)
    difference = real["value"] - ours if voter.better == "higher" else ours - real["value"]
    # a floor that does not vary: any difference is beyond it
    error = max(real["error"], 1e-12 * abs(real["value"]), 1e-300)
    if correction.few and voter.whole:
        error = max(error, voter.whole * _binomial_error(ours / voter.whole, real, report["images"], voter.whole))
    return Vote(
        voter=voter,
        name=name,
        ours=ours,
        floor=real["value"],
        lower=real["lower"],
        upper=real["upper"],
        n=real["n"],
        error=error,
        pvalue=float(scipy.special.stdtr(freedom, -difference / error)),
        half=float(scipy.special.stdtrit(freedom, 1 - (1 - CONFIDENCE) / 2 / correction.runs)) * error,
        from_parts=bool(real.get("from_parts")),
        fewer=real.get("generated") is not None,
    )


def _freedom(voter: Voter, real: Mapping[str, Any], *, few: bool) -> float:
    """Degrees of freedom of a floor's error: of its parts, and, with few images, of the images that all parts share.

    A variance of n draws has itself the relative variance (kurtosis - 1) / n, one with v degrees of freedom 2 / v.
    """
    of_parts = float(max(real["resamplings"] - 1, 1))
    if not few:
        return of_parts
    of_images = 1 / (1 / of_parts + (TAILS - 1) / 2 / real["n"])
    return min(of_images, SKEWED) if voter.kind == "distance" else of_images


def _binomial_error(ours: float, real: Mapping[str, Any], images: Mapping[str, Any], whole: float) -> float:
    """Of the difference of two shares of images, by what both have in common, with two images more of each kind."""
    n = real["n"]
    players = n if real["source"] == "reference_halves" else max(images[real["source"]]["count"], n)
    floor = min(max(real["value"] / whole, 0.0), 1.0)
    common = (n * ours + players * floor + 2) / (n + players + 4)
    return math.sqrt(common * (1 - common) * (1 / n + 1 / players))


def _corrected(found: Sequence[Vote]) -> list[Vote]:
    """Holm (1979): the chance that any vote of as good a set as real images is worse is at most LEVEL."""
    adjusted = holm([each.pvalue for each in found])
    return [replace(each, corrected=float(pvalue)) for each, pvalue in zip(found, adjusted, strict=True)]
