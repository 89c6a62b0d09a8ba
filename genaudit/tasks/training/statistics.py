"""`genaudit train piad-statistics images=DIR`: mean and deviation of a perceptual network's filters over images.

The relative-perceptual-L1 loss divides every filter by them (Tuluptceva et al. 2019, Eq. 3). They are gathered in one
pass in float64; the file is what `piad.perceptual.statistics=FILE` reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from genaudit import __version__
from genaudit.config_files import config_folder
from genaudit.data import ImageSet
from genaudit.errors import DONE, UserError
from genaudit.measures.piad import PreparedPixels
from genaudit.output import told
from genaudit.piad.networks import Architecture
from genaudit.piad.perceptual import filter_statistics
from genaudit.piad.saved import identity
from genaudit.stats.process_state import exact_float32
from genaudit.store.measuring import prepared_batches, to_device
from genaudit.tasks.run.folder import run_folder
from genaudit.tasks.run.instantiate import instantiate
from genaudit.tasks.run.progress import Progress
from genaudit.tasks.run.settings import Settings
from genaudit.tasks.training.images import images_of
from genaudit.tasks.training.piad import make_perceptual

if TYPE_CHECKING:
    from torch import Tensor

FILE = "statistics.json"
BATCH = 32


def run(cfg: Any, settings: Settings) -> int:
    """Computes and writes OUT/statistics.json, or the file itself where `out` ends in .json."""

    node = _node(cfg)
    architecture = instantiate(node.networks)
    if not isinstance(architecture, Architecture):
        raise UserError("piad.networks: its YAML must make a genaudit.piad.networks.Architecture")
    role = "images" if cfg.get("images") is not None else "train"
    images = images_of(cfg, role, settings)
    if images is None:
        raise UserError("images=DIR is needed: genaudit train piad-statistics images=photos/ out=statistics.json")
    try:
        pixels = PreparedPixels(architecture.size, node.channels, **node.pixels)
    except (ValueError, TypeError) as error:
        raise UserError(f"piad: {error}") from None
    perceptual = make_perceptual(node.perceptual).to(settings.engine.device)
    damaged: dict[int, str] = {}
    with exact_float32(settings.engine.device):
        try:
            measured = filter_statistics(perceptual, _batches(images, pixels, settings, damaged))
        except ValueError as error:
            raise UserError(f"{role}: {error}") from None
    if damaged:
        images = images.without(damaged)
    out = run_folder(cfg, "train")
    path = out if out.suffix == ".json" else out / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    if out != path:
        told.begin_log()
    about = {key: value for key, value in identity(perceptual).items() if key != "statistics"}
    measured.save(
        path,
        **about,
        filters=len(measured.mean),
        images=len(images),
        images_digest=images.digest,
        source=images.source,
        pixels=pixels.describe(),
        genaudit=__version__,
    )
    print(f"{path}: {len(measured.mean)} filters of {perceptual.name} over {len(images):,} images")
    return DONE


def _node(cfg: Any) -> Any:
    """The `piad` configuration; without one that of 32x32 images with the embedded network."""

    if cfg.get("piad") is not None:
        return cfg.piad
    folder = config_folder() / "piad"
    return OmegaConf.merge(
        OmegaConf.load(folder / "mnist.yaml"),
        {"perceptual": OmegaConf.load(folder / "perceptual" / "efficientnet_lite0.yaml"), "channels": 3},
    )


def _batches(images: ImageSet, pixels: PreparedPixels, settings: Settings, damaged: dict[int, str]) -> Iterator[Tensor]:
    """The images in [-1, 1], batch by batch; fills in `damaged`."""
    batches = prepared_batches(
        images,
        range(len(images)),
        pixels.apply,
        batch_size=settings.engine.batch_size or BATCH,
        workers=settings.engine.decode_workers,
    )
    with Progress(settings.progress).bar("statistics", len(images)) as advance:
        for indices, batch, bad in batches:
            damaged |= {index: error.reason for index, error in bad}
            if bad and settings.on_error == "fail":
                images.without(damaged)
            if indices:
                yield to_device(batch[:, : pixels.channels], settings.engine.device).float().div(127.5).sub(1)
            advance(len(indices) + len(bad))
