"""`genaudit explain`: superpixel attribution of vulnerability, one overlay picture per image."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from genaudit.backbones.feature_model import FeatureModel
from genaudit.data import ImageSet
from genaudit.errors import DONE, UserError, one_line
from genaudit.reports.explain import Attribution, render
from genaudit.reports.files import write_csv
from genaudit.tasks.run.folder import run_folder
from genaudit.tasks.run.instantiate import instantiate
from genaudit.tasks.run.progress import Progress
from genaudit.tasks.run.roles import open_role, source_of
from genaudit.tasks.run.settings import Settings

COLUMNS = ("name", "superpixel", "pixels", "row", "column", "coefficient", "standard_error", "times_attacked")
SHOWN_SIDE = 224


def main(cfg: Any) -> int:
    """The verb: writes coefficients.csv, overlays/*.png and explain.html."""

    settings = Settings.of(cfg)
    if not cfg.least <= cfg.most <= cfg.superpixels:
        raise UserError("least <= most <= superpixels is needed: a trial attacks `least` to `most` superpixels")
    source = source_of(cfg.generated)
    if source is None:
        raise UserError("images are missing: `genaudit explain IMAGES ...` names them")
    images = open_role("generated", source, settings)
    if not isinstance(images, ImageSet):
        raise UserError(f"generated: {images.source} holds no images")
    model = instantiate(cfg.feature_model)
    if not isinstance(model, FeatureModel):
        raise UserError("feature_model: its YAML must name a feature model")
    out = run_folder(cfg, "explain")
    (out / "overlays").mkdir(parents=True, exist_ok=True)
    print(
        f"{len(images):,} images, {cfg.trials:,} trials of {cfg.attack_steps:,} steps each: "
        f"{len(images) * cfg.trials * cfg.attack_steps:,} gradients of {one_line(model.name)}",
        flush=True,
    )
    rows: list[list[Any]] = []
    attributions: list[Attribution] = []
    with Progress(settings.progress).bar("explaining", len(images)) as advance:
        for index, (labels, result, picture) in enumerate(_explained(images, model, cfg, settings)):
            name = images.names[index]
            file = f"{index:05d}.png"
            (out / "overlays" / file).write_bytes(picture)
            rows += [[name, *row] for row in _rows(labels, result)]
            attributions.append(Attribution(name, file, picture, result.coefficients, result.share_explained))
            advance(1)
    with open(out / "coefficients.csv", "w", encoding="utf-8", newline="") as stream:
        write_csv(COLUMNS, rows, stream)
    page = render(model.name, attributions, trials=cfg.trials, least=cfg.least, most=cfg.most, of=cfg.superpixels)
    (out / "explain.html").write_text(page, encoding="utf-8")
    print(f"{len(images)} images explained; written {out}/ coefficients.csv, overlays/, explain.html")
    return DONE


def _explained(images: ImageSet, model: Any, cfg: Any, settings: Settings) -> Any:
    import torch

    from genaudit.measures.superpixels import attribute, superpixels

    device = settings.engine.device
    dtype = torch.float64 if settings.engine.precision == "float64" else torch.float32
    network = model.network(device, dtype)
    for index in range(len(images)):
        pixels = model.recipe.apply(images.read(index))  # (S, S, 3) uint8
        labels = superpixels(pixels, int(cfg.superpixels))
        if int(labels.max()) + 1 < int(cfg.most):
            raise UserError(
                f"{images.names[index]}: only {int(labels.max()) + 1} superpixels were found, and most={cfg.most}"
            )
        image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).to(device, dtype) / 255
        result = attribute(
            network,
            image,
            labels,
            trials=int(cfg.trials),
            least=int(cfg.least),
            most=int(cfg.most),
            alpha=float(cfg.alpha),
            steps=int(cfg.attack_steps),
            seed=settings.seed,
        )
        yield labels, result, _overlay(pixels, labels, result.coefficients)


def _rows(labels: np.ndarray, result: Any) -> list[list[Any]]:
    rows = []
    for label, (coefficient, error) in enumerate(zip(result.coefficients, result.standard_errors, strict=True)):
        where = np.argwhere(labels == label)
        row, column = where.mean(0)
        rows.append(
            [
                label,
                len(where),
                row,
                column,
                coefficient,
                error if np.isfinite(error) else "",
                result.chosen[:, label].sum(),
            ]
        )
    return rows


def _overlay(pixels: np.ndarray, labels: np.ndarray, coefficients: np.ndarray) -> bytes:
    """The grey image under its coefficients' colours (blue below 0, red above), borders drawn, as PNG."""
    from matplotlib import colormaps
    from PIL import Image

    largest = np.abs(coefficients).max() or 1.0
    colours = colormaps["RdBu_r"](0.5 + 0.5 * coefficients / largest)[:, :3] * 255
    factor = max(1, SHOWN_SIDE // max(labels.shape))
    labels, pixels = (
        np.kron(each, np.ones((factor, factor, *[1] * (each.ndim - 2)), each.dtype)) for each in (labels, pixels)
    )
    mixed = 0.5 * pixels.mean(2, keepdims=True) + 0.5 * colours[labels]
    border = np.zeros(labels.shape, bool)
    border[1:] |= labels[1:] != labels[:-1]
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    mixed[border] = 0
    stream = io.BytesIO()
    Image.fromarray(np.concatenate([pixels, mixed.round().astype(np.uint8)], axis=1)).save(stream, "PNG", optimize=True)
    return stream.getvalue()
