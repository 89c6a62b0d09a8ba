"""explain.html: one picture per image, the superpixels coloured by how much attacking them changes its features."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genaudit.reports.html import page


@dataclass(frozen=True)
class Attribution:
    """An image's picture (PNG) and what its regression found; `file` is the picture's name in overlays/."""

    name: str
    file: str
    picture: bytes
    coefficients: np.ndarray
    share_explained: float

    @property
    def uri(self) -> str:
        return f"data:image/png;base64,{base64.b64encode(self.picture).decode()}"

    @property
    def caption(self) -> str:
        """The three largest coefficients, and how well the regression fits."""
        largest = ", ".join(f"{coefficient:.3g}" for coefficient in np.sort(self.coefficients)[::-1][:3])
        return f"largest coefficients {largest}; R² on its own trials {self.share_explained:.2f}"


def render(network: str, attributions: Sequence[Attribution], *, trials: int, least: int, most: int, of: int) -> str:
    """The page as text; each of `trials` attacked `least` to `most` of about `of` superpixels."""
    about = (
        f"{trials} trials per image, each attacking {least} to {most} of about {of} SLIC superpixels in {network}; the "
        "feature change is regressed on which were attacked (Hwang et al. 2024, supplement, section D). Red: attacking "
        "it changes the features much; blue: little or less than none."
    )
    if trials <= of + 1:
        about += (
            " With no more trials than superpixels the regression is not determined and fits its own trials perfectly: "
            "the smallest solution is shown, and there are no standard errors. More trials mend this."
        )
    return page("explain.html.j2", {"about": about, "figures": attributions})
