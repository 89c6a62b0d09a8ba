"""The generator of a trained PIAD, to be inverted and asked for likelihoods like any other.

Its latent prior is N(0, I), its images lie in [-1, 1] but for what an output without tanh exceeds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from genaudit.backbones.generator import Generator, LoadedNetwork
from genaudit.errors import UserError
from genaudit.piad.networks import Architecture
from genaudit.piad.saved import describe, load_networks, sha256


class PIADGenerator(Generator):
    """The generator of a folder that `genaudit train piad=...` wrote.

    Args:
        folder: the folder.
        name, sigma2: see `Generator`.
    """

    range_is_known: ClassVar[bool] = True

    def __init__(self, *, folder: str | None, name: str | None = None, sigma2: float | None = None) -> None:
        if not folder:
            raise UserError("generator.folder=FOLDER is needed: one that `genaudit train piad=...` wrote")
        record = describe(folder, scores=False)
        self.folder = Path(folder).expanduser()
        self.architecture = Architecture(**record["architecture"])
        shared: dict[str, Any] = {"latent": self.architecture.latent_shape, "output_range": (-1.0, 1.0)}
        super().__init__(name=name or self.folder.name, sigma2=sigma2, **shared)

    def load(self, device: str = "cpu") -> LoadedNetwork:
        networks, _ = load_networks(self.folder)
        return LoadedNetwork(networks.generator.to(device), sha256(self.folder), "PIAD")
