"""What a metric hands to the reports: a frozen dataclass that describes its own fields.

A metric's result is a frozen dataclass. Its fields say, through `dataclasses.field` metadata, what they are, so
that the reports can write any metric's result without knowing the metric:

- `value(better=...)`: a number for the headline table, with its label and its natural range. An `Estimate` brings
  its interval; where the number is a plain float, fields `NAME_lower` and `NAME_upper` may hold the ends. A field
  `pvalue` is the metric's p-value.
- `per_image(...)`: an array `(n_generated,)`, a column of `images.csv`; with `gallery=(HIGHEST, LOWEST)`, captions,
  its highest and lowest images are shown.
- a field that holds a `Curve`, `Cloud`, `Retrieval` or `Pictures`, or a tuple of them, is drawn.
- a field `cautions: tuple[Caution, ...]` holds warnings.
- every other field is a detail: scalars, strings, short sequences and dictionaries of those.

The class attribute `citation` names the source, `explanation` says in a line what the metric tells a reader who does
not know it, and what it is blind to, `hypothesis` what `pvalue` is the chance under, and `unbiased = True` that the
mean does not move with the number of generated images. A metric may also return a plain float or a `dict[str, float]`,
in which `NAME_lower` and `NAME_upper` are the ends of NAME's interval.
"""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from genaudit.stats.estimate import Estimate as Estimate

Better = Literal["lower", "higher", "none"]

ROLES = ("generated", "reference", "train", "anomalies")  # that images play, in the order of the reports

KIND = "genaudit_kind"
DECLARED = "genaudit_declared"


@dataclass(frozen=True)
class Declared:
    """What `value` was told."""

    better: Better = "none"
    label: str = ""
    range: tuple[float, float] | None = None
    held_out: str | float | None = None


SHARE = (0.0, 1.0)  # the range of shares, areas under curves, probabilities
NOT_NEGATIVE = (0.0, math.inf)  # of distances and densities


def value(
    better: Better,
    *,
    name: str | None = None,
    label: str = "",
    range: tuple[float, float] | None = None,
    held_out: str | float | None = None,
    default: Any = MISSING,
) -> Any:
    """A dataclass field that is a headline number: an `Estimate`, a float, or None where there is none.

    Args:
        better: which direction is better for a generative model: "lower", "higher" or "none".
        name: the name in the reports where it cannot be the field's own (`as` is a Python keyword).
        label: a few words that say what it is, beside the name.
        range: the least and the greatest value that there can be; the scale of the interval's bar where both are
            finite. None: no bounds.
        held_out: where neither end is better, what held-out real images reach: the number, or the field that holds it.
        default: the field's default, if it has one.
    """
    declared = Declared(better, label, range, held_out)
    return field(metadata={KIND: "value", "name": name, DECLARED: declared}, default=default)


def declared(cls: Any) -> dict[str, Declared]:
    """What a result class declares of its values, by their names in the reports."""
    fields = getattr(cls, "__dataclass_fields__", {}).values()
    return {each.metadata["name"] or each.name: each.metadata[DECLARED] for each in fields if DECLARED in each.metadata}


def per_image(
    *,
    name: str | None = None,
    gallery: bool | tuple[str, str] = False,
    levels: bool = False,
    refers_to: str | None = None,
) -> Any:
    """A dataclass field `(n_generated,)` that becomes a column of `images.csv`; None where it is absent.

    Args:
        name: the column's name where it is not the field's own.
        gallery: show the images with the highest and the lowest values, under these captions; True: "Highest" and
            "Lowest".
        levels: the values are levels 1, 2, ...; a grid shows some images of each.
        refers_to: a role; the values are indices of that role's images and are written as their names.
    """
    return field(
        metadata={KIND: "per_image", "name": name, "gallery": gallery, "levels": levels, "refers_to": refers_to},
        default=None,
    )


RealSource = Literal["train", "reference", "reference_halves"]


@dataclass(frozen=True)
class RealFloor:
    """What fresh real images score in the place of the generated ones: the real floor of a value.

    Attributes:
        value: the mean score of `n` real images. lower, upper: where a fresh set of as many real images scores, at the
            report's confidence, the other roles held fixed; None where there are too few images or resamplings.
        n: real images that play generated. source: where they come from (`genaudit.verdict.real_floor`).
        generated: the score of `n` of the generated images in the same places; None where that is the value itself.
        error: standard error of a fresh set's score, with that of `value`; None as the ends.
        resamplings: behind the error.
        from_parts: the sets are so large that `value` and `generated` are those of random parts of `n` images.
    """

    value: float
    lower: float | None
    upper: float | None
    n: int
    source: RealSource
    generated: float | None = None
    error: float | None = None
    resamplings: int = 0
    from_parts: bool = False

    def within(self, bounds: tuple[float, float] | None) -> RealFloor:
        """The same with its ends cut at the least and the greatest value that there can be."""
        if bounds is None or self.lower is None or self.upper is None:
            return self
        return replace(self, lower=max(self.lower, bounds[0]), upper=min(self.upper, bounds[1]))


@dataclass(frozen=True)
class Caution:
    """A warning that goes with a metric into every report format.

    `code` is a stable identifier in kebab case ("fewer-samples-than-dimensions"), `message` a sentence for people.
    """

    code: str
    message: str


@dataclass(frozen=True)
class Curve:
    """One or more lines over a common axis, with an optional band, for a line plot.

    `x` has shape (P,), each of `lines` and both ends of `band` have shape (P,); `band_label` names the band. `guides`
    are the lines that nothing was measured for, such as chance, and `controls` those that others are compared with.
    """

    title: str
    x_label: str
    y_label: str
    x: np.ndarray
    lines: dict[str, np.ndarray]
    band: tuple[np.ndarray, np.ndarray] | None = None
    band_label: str = ""
    guides: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cloud:
    """Point clouds in the plane by role, (N, 2) each, for a scatter plot with marginal densities.

    `marker` (x, y), where there is one, is a place in the plane that `marker_label` explains.
    """

    title: str
    x_label: str
    y_label: str
    points: dict[str, np.ndarray]
    marker: tuple[float, float] | None = None
    marker_label: str = ""


@dataclass(frozen=True)
class Marks:
    """Numbers with their errors in rows, for a dot plot.

    Each of `marks` is a kind's values and errors, (R,) both, NaN where a row has none. A kind is named COLOUR, SHAPE
    ("supervised, ratio"): kinds that share the first part have one colour, those that share the second one shape.
    """

    title: str
    x_label: str
    rows: tuple[str, ...]
    marks: dict[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Retrieval:
    """For every generated image the index of, and distance to, its nearest image of another role; (N,) each.

    `held_out` is the median of that distance for held-out real images, where there are any: the yardstick.
    `ratios`, where they are known: the distance over that to the nearest image of other content.
    """

    role: str
    indices: np.ndarray
    distances: np.ndarray
    held_out: float | None = None
    ratios: np.ndarray | None = None


@dataclass(frozen=True)
class RoleImage:
    """The `index`-th image of a role, as it was given."""

    role: str
    index: int


@dataclass(frozen=True)
class PictureRow:
    """A row of a picture grid: uint8 images (H, W) or (H, W, 3), or images of a role."""

    caption: str
    cells: tuple[np.ndarray | RoleImage, ...]


@dataclass(frozen=True)
class Pictures:
    """A grid of pictures, such as images beside their reconstructions; `columns` are its heads."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[PictureRow, ...]
    note: str = ""


class Unavailable(Exception):
    """The metric cannot be computed from what was given; the message says why and what would mend it."""


def base_name(name: str) -> str:
    """The metric of an entry's key: with several networks `fd@dinov2_l14` is an entry of the metric `fd`.

    >>> base_name("fd@dinov2_l14"), base_name("fd")
    ('fd', 'fd')
    """
    return name.partition("@")[0]
