"""The demo's images: real Fashion-MNIST and honest samples of small generators, shipped as zips of PNGs.

`scripts/make_demo_data.py` makes every file again; README.md beside this module says how each was made. This module
only names the sets and finds their files; reading the images is `genaudit.data.open_images`'s work.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genaudit.demo.decoder import VAEDecoder

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class DemoSet:
    """One zip of 28 x 28 grey PNGs.

    role: what the set is to a demo run: `train`, `reference` or `generated`.
    count: number of images.
    about: one sentence on where the images come from.
    expect: one sentence on what a good audit says of them.
    """

    role: str
    count: int
    about: str
    expect: str


SETS: dict[str, DemoSet] = {
    "train": DemoSet(
        "train",
        700,
        "Real images that every generator here learned from.",
        "The yardstick of memorisation and of IRS.",
    ),
    "reference": DemoSet(
        "reference",
        400,
        "Real images that no generator saw.",
        "The yardstick of quality and coverage.",
    ),
    "held_out": DemoSet(
        "generated",
        400,
        "Real images that no generator saw, other than the reference: a perfect generator.",
        "The best value that each metric can be expected to show at these counts.",
    ),
    "vae": DemoSet(
        "generated",
        400,
        "Decoder means of a convolutional VAE at latents drawn from the prior, without observation noise.",
        "Blurred, and short of rare shapes: distances, precision, recall and IRS see it; AuthPct finds no copies.",
    ),
    "vae_collapsed": DemoSet(
        "generated",
        400,
        "The same decoder, its latents restricted to 40 points with slight jitter: mode collapse.",
        "Each image looks as good as the VAE's, and FD and KD hardly notice; IRS, recall and Vendi do.",
    ),
    "memorised": DemoSet(
        "generated",
        400,
        "Decodings near the codes of an autoencoder overfitted to the train set: near copies of training images.",
        "Distances, recall and IRS find the set nearly as good as real images; AuthPct and C_T give it away.",
    ),
    "gaussian": DemoSet(
        "generated",
        400,
        "Draws from one Gaussian with the pixel mean and covariance of the training pool, clipped to [0, 1].",
        "Ghosts with nearly the right mean and covariance of pixels: FD on raw pixels forgives them, features do not.",
    ),
}


def path(name: str) -> str:
    """The path of one demo set's zip inside the installed package.

    name: a key of `SETS`. Raises ValueError for another name.

    >>> path("vae").endswith("vae.zip")
    True
    """
    if name not in SETS:
        raise ValueError(f"no demo set is called {name!r}; there are {', '.join(SETS)}")
    return str(FOLDER / f"{name}.zip")


def load_vae_decoder() -> VAEDecoder:
    """The trained decoder behind the sets `vae` and `vae_collapsed`, in evaluation mode on the CPU.

    It maps latents (N, 10) float32, standard normal a priori, to images (N, 1, 28, 28) float32 in [0, 1]. Its attribute
    `sigma2` is the observation variance N(G(z), sigma2 I): the mean squared reconstruction error of the training pool.
    """
    from genaudit.demo.decoder import load

    return load(FOLDER / "vae_decoder.safetensors")
