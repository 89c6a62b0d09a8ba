"""What makes the values of finished runs not comparable: other networks, settings, images or numbers of images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from genaudit.reports.decisions import settings_of
from genaudit.reports.entries import ReportWarning
from genaudit.reports.networks import features_of

if TYPE_CHECKING:
    from genaudit.reports.comparison import Run


def incomparable(runs: Sequence[Run]) -> Iterable[ReportWarning]:
    """What makes values of different runs not comparable, one warning for all metrics that it concerns alike."""
    metrics = list(dict.fromkeys(metric for run in runs for metric in run.report["metrics"]))

    def entries(metric: str) -> list[tuple[str, dict[str, Any], Run]]:
        return [(run.label, run.report["metrics"][metric], run) for run in runs if metric in run.report["metrics"]]

    fingerprints: dict[str, list[str]] = {}
    numbers: dict[str, list[str]] = {}
    for metric in metrics:
        prints = {label: features_of(run.report, entry["measure"]) for label, entry, run in entries(metric)}
        counts = {label: _count_text(entry["n"]) for label, entry, _ in entries(metric)}
        if len(set(prints.values())) > 1:
            groups = _groups({label: str(each)[:12] for label, each in prints.items()})
            fingerprints.setdefault(groups, []).append(metric)
        if len(set(counts.values())) > 1:
            numbers.setdefault(_groups(counts), []).append(metric)
    for groups, concerned in fingerprints.items():
        yield ReportWarning(
            "different-measure",
            concerned[0] if len(concerned) == 1 else None,
            f"{', '.join(concerned)}: measured differently (feature model, weights, preprocessing or precision), so "
            f"the values of these runs cannot be ranked against each other: {groups}.",
        )
    for metric in metrics:
        settings = {label: settings_of(run, metric) for label, _, run in entries(metric)}
        if any(each != settings[label] for label in settings for each in settings.values()):
            yield ReportWarning(
                "different-settings",
                metric,
                f"{metric}: computed with other settings of its own (metric.{metric}.fn in the configuration), "
                "so the values of these runs cannot be ranked against each other.",
            )
    for role in ("reference", "train"):
        digests = {run.label: run.report["images"][role]["digest"] for run in runs if role in run.report["images"]}
        if len(set(digests.values())) > 1:
            groups = _groups({label: digest[:12] for label, digest in digests.items()})
            yield ReportWarning(f"different-{role}", None, f"The {role} images differ between the runs: {groups}.")
    for groups, concerned in numbers.items():
        yield ReportWarning(
            "different-n",
            concerned[0] if len(concerned) == 1 else None,
            f"{', '.join(concerned)}: judged on different numbers of images, on which the values depend: {groups}.",
        )


def _count_text(n: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {role}" for role, count in sorted(n.items()))


def _groups(kinds: dict[str, str]) -> str:
    """`kind (run, run); kind (run)`."""
    by_kind: dict[str, list[str]] = {}
    for label, kind in kinds.items():
        by_kind.setdefault(kind, []).append(label)
    return "; ".join(f"{kind} ({', '.join(labels)})" for kind, labels in by_kind.items())
