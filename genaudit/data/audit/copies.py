"""Copies within a role and images that two roles share, by content digests: findings `duplicates` and `same-images`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from genaudit.data.audit.compare import Concerned
from genaudit.data.audit.finding import Finding
from genaudit.data.copies import shared

# What images that two roles have in common do to the metrics that take both.
MEANING = {
    ("generated", "reference"): "generated images are compared with themselves, so that values look better than they "
    "are",
    ("generated", "train"): "the model repeats training images, or training images lie among the samples",
    ("reference", "train"): "the reference is not held out, and a model that copies cannot be distinguished from an "
    "honest one by it",
}
BOTH_SIDES = "they count on both sides"
TO_DO = {
    ("generated", "reference"): "Take the shared images out of the reference",
    ("generated", "train"): "Make sure that the folder holds samples only",
    ("reference", "train"): "Take real images that the model was not trained on as the reference",
}
COMPARED = ("generated", "reference")
SAME_SHARE = 0.5  # of the generated images: with so many of them in the reference, it is compared with itself


class Counted(Protocol):
    """A role whose images can be counted."""

    @property
    def digests(self) -> np.ndarray: ...

    @property
    def duplicates(self) -> int: ...

    def __len__(self) -> int: ...


def duplicates(
    roles: Mapping[str, Counted], nouns: Mapping[str, str], broken: Mapping[str, Mapping[str, str]]
) -> list[Finding]:
    """Copies within each role.

    Args:
        nouns: role => "images" or "feature rows". broken: role => the metrics that copies make wrong, and how.
    """
    findings = []
    for name, role in roles.items():
        count = role.duplicates
        if not count:
            continue
        reasons = broken.get(name, {})
        what = f"{name}: {count:,} of {len(role):,} {nouns[name]} are exact copies of others of them"
        named = f"; they make {', '.join(reasons)} wrong" if reasons else ""
        message = f"{what}{named}. Intervals take every image for an independent one and are too narrow."
        message += "".join(f" {metric}: {reason}." for metric, reason in reasons.items())
        findings.append(Finding("duplicates", (name,), message, tuple(reasons)))
    return findings


def same_images(
    roles: Mapping[str, Counted], nouns: Mapping[str, str], concerned: Concerned = lambda pairs: ()
) -> list[Finding]:
    """Images that two roles share, byte for byte, for each pair of roles."""
    findings = []
    for pair in itertools.combinations(roles, 2):
        first, second = pair
        count = shared(roles[first].digests, roles[second].digests)
        if not count:
            continue
        users = concerned([pair])
        named = f" This concerns {', '.join(users)}." if users else ""
        to_do = f" {TO_DO[pair]}." if pair in TO_DO else ""
        message = (
            f"{count:,} of {len(roles[first]):,} {first} {nouns[first]} are byte for byte also {second} "
            f"{nouns[second]}: {MEANING.get(pair, BOTH_SIDES)}.{to_do}{named}"
        )
        breaks = pair == COMPARED and count >= SAME_SHARE * len(roles[first])
        findings.append(Finding("same-images", pair, message, users, breaks))
    return findings
