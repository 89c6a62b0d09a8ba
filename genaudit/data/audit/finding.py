"""What the audit of the roles found: a code, a sentence, and whether the comparison still means something."""

from __future__ import annotations

from dataclasses import dataclass

CODES = (
    "formats-differ",
    "jpeg-quality-differs",
    "jpeg-traces",
    "sizes-differ",
    "aspect-differs",
    "upscaled",
    "colour-differs",
    "bit-depth-differs",
    "alpha-differs",
    "orientation-differs",
    "counts-differ",
    "same-images",
    "duplicates",
    "near-copies",
)


@dataclass(frozen=True)
class Finding:
    """A difference between the roles, or within one, that moves metrics without any image being better or worse.

    Attributes:
        code: one of `CODES`; the warning of a report that says the same has this code too.
        roles: the roles concerned, in the order generated, reference, train.
        message: what was seen, what it does to which metrics, and what to do, in sentences for people.
        metrics: the names of the metrics concerned, those of the run where there is one.
        breaks: the comparison means nothing; else it needs caution.
    """

    code: str
    roles: tuple[str, ...]
    message: str
    metrics: tuple[str, ...] = ()
    breaks: bool = False

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"code must be one of {', '.join(CODES)}, got {self.code!r}")
        if not self.roles or not self.message:
            raise ValueError(f"{self.code}: a finding needs roles and a message")
