"""Images that occur twice, within a role or in two roles: by content digests, and nearly, by distances in features.

Findings `duplicates`, `same-images` and `near-copies`. Copies that were saved again, resized a little or flipped are no
copies byte for byte; their nearest image of the other role lies at nearly no distance. N images, D features.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from genaudit.data.audit.compare import Concerned
from genaudit.data.audit.finding import Finding, percent
from genaudit.data.digest import shared, shared_mask
from genaudit.stats.neighbours import nearest

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
QUERIES = 1000  # images of a role whose nearest neighbours are looked for
# Of the median distance between two images. Between disjoint sets of Fashion-MNIST the nearest of 1,000 pairs lies
# at 0.26 (EfficientNet-Lite0) and 0.12 (pixels); copies saved as JPEG at quality 95 have the median 0.17, copies 5 %
# brighter 0.06, copies of the same pixels 0.
NEAR = 0.15
# of the median distance of an image to its nearest one of its own role: where features are few, all are near
OF_NEAREST = 0.5
FEWEST_COLUMNS = 16  # of fewer features, of which some vary little, neighbours are near by chance
NEAR_SHARE = 0.02  # of the images: a few that look alike are in every set
FEWEST_NEAR = 3
NEAR_MEANING = {
    ("generated", "reference"): "they are compared with themselves, so that values look better than they are",
    ("generated", "train"): "the model repeats training images, or they lie among the samples; quality and diversity "
    "are then the training set's own",
    ("reference", "train"): "the reference is not held out (frames of one film, copies saved again), so that a model "
    "that copies cannot be distinguished from an honest one by it",
}


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


def near_copies(
    rows: Mapping[str, Any], digests: Mapping[str, np.ndarray], concerned: Concerned = lambda pairs: ()
) -> list[Finding]:
    """A finding for each pair of roles of which one holds near copies of the other's images.

    Args:
        rows: role => features (N, D) of one measure. digests: role => (N, 16); equal ones are `same-images`.
    """
    findings = []
    for pair in itertools.combinations((role for role in ("generated", "reference", "train") if role in rows), 2):
        first, second = pair
        sample = _sample(digests[first])
        sample = sample[~shared_mask(digests[first][sample], digests[second])]
        if min(len(sample), len(rows[second])) < FEWEST_NEAR or rows[second].shape[1] < FEWEST_COLUMNS:
            continue
        distances = nearest(np.asarray(rows[first][sample]), rows[second]).distances[:, 0]
        count = int((distances <= _near(rows[second], digests[second])).sum())
        if count < max(FEWEST_NEAR, NEAR_SHARE * len(sample)):
            continue
        message = (
            f"{percent(count / len(sample))} of {len(sample):,} {first} images that were looked up lie at nearly no "
            f"distance from a {second} image (in features), and are no copies byte for byte: {NEAR_MEANING[pair]}. "
            f"Look at the closest pairs. {TO_DO[pair]}."
        )
        findings.append(Finding("near-copies", pair, message, concerned([pair])))
    return findings


def _sample(digests: np.ndarray) -> np.ndarray:
    """Places of the images with the smallest digests, each content once."""
    _, first = np.unique(np.ascontiguousarray(digests).view(">u8")[:, 0], return_index=True)
    return np.sort(first[:QUERIES])


def _near(rows: Any, digests: np.ndarray) -> float:
    """The distance below which an image is a near copy of one of these."""
    rng = np.random.default_rng(0)
    places = rng.permutation(len(rows))[: 2 * QUERIES]
    one, other = np.array_split(places[: len(places) // 2 * 2], 2)
    apart = np.linalg.norm(np.asarray(rows[one], np.float64) - np.asarray(rows[other], np.float64), axis=1)
    sample = _sample(digests)
    own = nearest(np.asarray(rows[sample]), rows, k=2).distances[:, 1]  # the first is the image itself
    return float(min(NEAR * np.median(apart), OF_NEAREST * np.median(own)))
