"""Whether a density model finds the samples as likely as real images: the verdict's fourth question.

Each area is the share of pairs in which a real image is likelier than a generated one; 0.5 is chance. The likelihood
ratio grades. The raw likelihood, which finds simple images likely whatever they show (Nalisnick et al. 2019), says only
that samples are less likely: a ratio can be high where the general model finds an image still stranger. A ratio that
does not exceed its general part alone says nothing of the density model, and has no vote for less likely.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import scipy

from genaudit.verdict import words
from genaudit.verdict.rule import LEVEL, MARGIN, MUCH, images_for

SAYS = {"auroc_ratio": "by the likelihood ratio", "auroc_raw": "by the likelihood itself"}
OTHER_SETS = "The density model compared other images than reference and generated ones."
TOLD = "A real image is likelier than a generated one"


@dataclass(frozen=True)
class Area:
    """An area with its interval, and how much wider that is at the verdict's levels than at the report's."""

    name: str
    value: float
    lower: float
    upper: float
    confidence: float

    @property
    def less_likely(self) -> bool:
        """Whether generated images are less likely; the level is shared by both areas (Bonferroni)."""
        return self.value - (self.value - self.lower) * self._wider(LEVEL / len(SAYS)) > 0.5

    @property
    def highest(self) -> float:
        return self.value + (self.upper - self.value) * self._wider(LEVEL)

    def needed(self, count: int) -> float:
        """About how many images would exclude a shortfall beyond the margin."""
        room = 0.5 + MARGIN / 2 - self.value
        return images_for(count, self.highest - self.value, room if room > 0 else MARGIN / 4)

    def _wider(self, level: float) -> float:
        return float(scipy.special.ndtri(1 - level) / scipy.special.ndtri(0.5 + self.confidence / 2))

    def __str__(self) -> str:
        return f"{SAYS[self.name]} in {self.value:.0%} of pairs ({self.lower:.0%} to {self.upper:.0%})"


def likelihood(report: Mapping[str, Any]) -> tuple[str, str, tuple[str, ...], str | None]:
    """Answer, sentence, evidence and what to do next, of a report with the metric `llr`."""
    entry = report["metrics"]["llr"]
    details = entry["details"]
    ratio, raw = _area(report, entry, "auroc_ratio"), _area(report, entry, "auroc_raw")
    if (details.get("in_distribution"), details.get("out_of_distribution")) != ("reference", "generated"):
        then = "reference= without anomalies= compares the samples with real images."
        return "cannot_tell", OTHER_SETS, (), then
    if ratio is None or raw is None:
        sentence = "There is no likelihood ratio with an interval."
        return "cannot_tell", sentence, (), "Give general_model=, or leave the code length on."
    names = (ratio.name, raw.name)
    above = _above_control(details)
    if ratio.less_likely and above:
        much = ratio.value >= 1 - MUCH / 2
        told = f"{'Much less' if much else 'Less'} likely than real images: {_lower(TOLD)} {ratio}; 50 % is chance."
        told += f" The evidence {'agrees' if raw.less_likely else 'disagrees'}: {raw}."
        return "much_worse" if much else "worse", told, names, None
    silent = "" if above or not ratio.less_likely else f" No vote of auroc_ratio ({ratio}): {_CONTROL}."
    if raw.less_likely:
        other = "" if silent else f" The evidence disagrees: {ratio}."
        told = f"Less likely than real images: {_lower(TOLD)} {raw}; 50 % is chance.{other}{silent}"
        return "worse", told, names, None
    if silent:
        return (
            "cannot_tell",
            f"Cannot tell:{silent}",
            names,
            "Another general_model= may show the density model's part.",
        )
    told = f"{_lower(TOLD)} {ratio} and {raw}; 50 % is chance."
    wide = [each for each in (ratio, raw) if each.highest >= 0.5 + MARGIN / 2]
    if not wide:
        return "as_real", f"As likely as real images, or likelier: {told}", names, None
    needed = max(each.needed(report["images"]["generated"]["count"]) for each in wide)
    return "cannot_tell", f"Too few images to tell: {told}", names, words.more_images(needed)


_CONTROL = "it is not clearly above that of its general part alone"


def _area(report: Mapping[str, Any], entry: Mapping[str, Any], name: str) -> Area | None:
    found = entry["values"].get(name)
    if found is None or any(found[key] is None for key in ("value", "lower", "upper")):
        return None
    confidence = float(report.get("config", {}).get("confidence", 0.95))
    return Area(name, found["value"], found["lower"], found["upper"], confidence)


def _above_control(details: Mapping[str, Any]) -> bool:
    """`ratio_minus_control` is the gain and its interval's ends."""
    gain = details.get("ratio_minus_control")
    return not gain or gain[1] is None or gain[1] > 0


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
