"""How PIAD's losses follow the contrast of an image: perceptual loss and relative-perceptual-L1 of a shifted pair.

Tuluptceva et al. 2019, "Perceptual Image Anomaly Detection", section 3.1, Figures 1 and 3. An image and the
same one shifted by 5 pixels are compared at full contrast (a), and at 0.2 (b) and 0.4 (c) less: the perceptual loss
falls with the contrast, the relative loss hardly does. Less contrast means a narrower range of grey values around its
middle. Figure 3 (left), the standard deviations of VGG-19's filters over ImageNet, is drawn from the authors' own
statistics, which ship with genaudit, beside those of the embedded network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from genaudit.metrics.result import Curve, PictureRow, Pictures
from genaudit.recipe import Context, Need, Scale
from genaudit.reports.table import Cell, Table
from genaudit_papers import datasets
from genaudit_papers.measuring import embedded_weights
from genaudit_papers.published import PublishedTable, published
from genaudit_papers.tuluptceva2019.piad_runs import vgg19_weights

PERC, RELATIVE = "perc", "rel-perc-L1"
PAIRS = {"a": 0.0, "b": 0.2, "c": 0.4}
LOWERED = tuple(round(0.1 * k, 1) for k in range(10))  # how much contrast is taken away; 1 would be a grey image
LSUN = "lsun/bedroom"
FILTERS = "deviations of VGG-19's filters"
# of the 512: all of them, and without the outermost hundredth and twentieth on both sides
SPANS = {"largest / smallest": 0.0, "99th / 1st percentile": 0.01, "95th / 5th percentile": 0.05}
WORDS = 2.5, 0.5  # "differ by a factor of 2-3"


class PIADFig1:
    """Both losses at three contrasts, over several images.

    Args:
        size: side of the images in pixels; LSUN's images have 256 at least. shift: of the pair, in pixels.
        images: of LSUN, at scale=paper.
    """

    def __init__(self, *, size: int = 256, shift: int = 5, images: int = 100) -> None:
        self.size, self.shift, self.images = size, shift, images

    def needs(self, scale: Scale, data: Path | None) -> list[Need]:
        """Photographs; at the paper's scale LSUN's bedrooms and VGG-19."""
        if scale == "laptop":
            return [datasets.photographs_need(), embedded_weights()]
        paths = tuple(self._lsun(data))
        how = f"data=DIR with images in {LSUN}"
        return [Need("images of LSUN's bedrooms", bool(paths), how, paths), vgg19_weights()]

    def run(self, context: Context) -> Table:
        """Measures both losses of every image at every contrast."""
        measured = context.step(f"{context.scale}-{self.size}-{self.shift}", lambda: self._measure(context))
        # (images, contrasts)
        losses = {name: np.array(measured[name]) for name in (PERC, RELATIVE, "size of features")}
        paper = published("tuluptceva2019", "Fig. 1")
        cells = [cell for name in (PERC, RELATIVE) for cell in _cells(name, losses[name], paper)]
        drop = 100 * (1 - losses[PERC][:, LOWERED.index(0.2)] / losses[PERC][:, 0])
        printed = paper["drop from a to b in percent", PERC].value
        cells.append(_over_images("drop from a to b", PERC, drop, printed, unit="%", tolerance=0.5))
        deviations = filter_deviations()
        cells += _spans(deviations["VGG-19, relu4_2"])
        return Table(
            name="piad_fig1",
            title="Two perceptual losses of a pair of images at three contrasts",
            source=paper.source,
            cells=tuple(cells),
            scale=context.scale,
            differs="Six photographs instead of one LSUN image, which the paper doesn't name; EfficientNet-Lite0's "
            "blocks.2.0 instead of VGG-19's relu4_2, so that the perceptual loss itself has another unit."
            if context.scale == "laptop"
            else "",
            figures=(_curve(losses), _histogram(deviations), self._pictures(context)),
            notes=(
                "Means over the images, with the lowest and the highest of them.",
                "The rows 'b / a' and 'c / a' don't depend on the network's unit: what counts is that the relative "
                "loss keeps more of its value than the perceptual loss.",
                "Their expected values are quotients of the rounded numbers that the paper prints; the tolerance is "
                "what rounding leaves open.",
                "The paper says that the filters' deviations differ by a factor of 2 to 3, and not which share of the "
                "512 it means. They are the authors' own numbers, over a subset of ImageNet.",
            ),
        )

    def _measure(self, context: Context) -> dict[str, list[list[float]]]:
        import torch

        from genaudit.piad import losses
        from genaudit.piad.perceptual import efficientnet_lite0, vgg19_relu42

        perceptual = (efficientnet_lite0 if context.scale == "laptop" else vgg19_relu42)().to(context.device)
        found: dict[str, list[list[float]]] = {PERC: [], RELATIVE: [], "size of features": []}
        for whole in self._wider(context):
            # (contrasts, 3, size, size) in [-1, 1]; both of the pair are lowered by the same map
            pair = np.stack([lowered(whole, c).transpose(2, 0, 1) for c in LOWERED]).astype(np.float32)
            x, y = pair[..., : -self.shift], pair[..., self.shift :]
            with torch.inference_mode():
                fx, fy = (perceptual(torch.from_numpy(np.ascontiguousarray(a)).to(context.device)) for a in (x, y))
                found[PERC].append(losses.perceptual(fx, fy).tolist())
                found[RELATIVE].append(losses.relative_perceptual_l1(fx, fy, perceptual.mean, perceptual.std).tolist())
                found["size of features"].append(fx.abs().mean((1, 2, 3)).tolist())
        return found

    def _wider(self, context: Context) -> list[np.ndarray]:
        """Images (size, size + shift, 3) in [-1, 1]: both of a pair are windows of one."""
        from PIL import Image

        if context.scale == "laptop":
            images = datasets.photographs()
        else:
            images = [np.asarray(Image.open(path).convert("RGB")) for path in self._lsun(context.data)]
        wide = []
        for image in images:
            side = min(image.shape[:2])
            top, left = ((length - side) // 2 for length in image.shape[:2])
            square = Image.fromarray(image[top : top + side, left : left + side])
            larger = self.size + self.shift
            pixels = np.asarray(square.resize((larger, larger), Image.Resampling.BICUBIC), np.float64)
            wide.append(pixels[: self.size] / 127.5 - 1)
        return wide

    def _lsun(self, data: Path | None) -> list[Path]:
        folder = None if data is None else data / LSUN
        if folder is None or not folder.is_dir():
            return []
        return sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".png", ".webp"))[: self.images]

    def _pictures(self, context: Context) -> Pictures:
        whole = self._wider(context)[0]
        rows = []
        for pair, c in PAIRS.items():
            pixels = np.rint((np.clip(lowered(whole, c), -1, 1) + 1) * 127.5).astype(np.uint8)
            rows.append(PictureRow(pair, (pixels[:, : -self.shift], pixels[:, self.shift :])))
        return Pictures("One of the pairs", ("image", f"shifted by {self.shift} pixels"), tuple(rows))


def lowered(image: np.ndarray, contrast: float) -> np.ndarray:
    """An image whose grey values fill 1 - `contrast` of their range, around its middle."""
    middle = (image.min() + image.max()) / 2
    narrower: np.ndarray = middle + (1 - contrast) * (image - middle)
    return narrower


def _cells(name: str, values: np.ndarray, given: PublishedTable) -> list[Cell]:
    """A loss at the three contrasts, and the last two as shares of the first."""
    cells = []
    first = given["a", name]
    for pair, contrast in PAIRS.items():
        printed = given[pair, name]
        at = values[:, LOWERED.index(contrast)]
        cells.append(_over_images(pair, name, at, printed.value, tolerance=printed.half_unit))
        if pair != "a":
            assert printed.value is not None and first.value is not None  # noqa: PT018
            share = printed.value / first.value
            rounding = (printed.half_unit + share * first.half_unit) / first.value
            relative = _over_images(f"{pair} / a", name, at / values[:, 0], None, tolerance=rounding, expected=share)
            cells.append(relative)
    return cells


def _over_images(row: str, column: str, values: np.ndarray, printed: float | None, **more: Any) -> Cell:
    return Cell(row, column, float(values.mean()), printed, float(values.min()), float(values.max()), **more)


def filter_deviations() -> dict[str, np.ndarray]:
    """Network => deviation (F,) of each filter over ImageNet: the authors' of VGG-19, the embedded network's."""
    from importlib import resources

    from genaudit.piad.perceptual import FilterStatistics, efficientnet_lite0

    with resources.as_file(resources.files("genaudit.piad") / "vgg19_relu42_stats.json") as file:
        authors = FilterStatistics.load(file).std
    embedded = efficientnet_lite0().std
    assert embedded is not None
    return {"VGG-19, relu4_2": authors, "EfficientNet-Lite0, blocks.2.0": embedded.double().numpy()}


def _spans(deviations: np.ndarray) -> list[Cell]:
    expected, tolerance = WORDS
    cells = []
    for row, outside in SPANS.items():
        low, high = np.quantile(deviations, (outside, 1 - outside))
        cells.append(Cell(row, FILTERS, float(high / low), expected=expected, tolerance=tolerance))
    return cells


def _histogram(deviations: dict[str, np.ndarray], bins: int = 24) -> Curve:
    """Figure 3 (left); each network's in units of its median, since their features have other units."""
    relative = {name: values / np.median(values) for name, values in deviations.items()}
    edges = np.linspace(0, max(float(values.max()) for values in relative.values()) * 1.0001, bins + 1)
    shares = {name: 100 * np.histogram(values, edges)[0] / len(values) for name, values in relative.items()}
    return Curve(
        "How far filters vary over ImageNet (Fig. 3, left)",
        "standard deviation of a filter, over the median of the layer's filters",
        "share of filters in a bin, %",
        (edges[1:] + edges[:-1]) / 2,
        shares,
    )


def _curve(losses: dict[str, np.ndarray]) -> Curve:
    shares = {name: (values / values[:, :1]).mean(0) for name, values in losses.items()}
    return Curve(
        "Losses and features at lower contrast",
        "contrast taken away",
        "share of full contrast's",
        np.array(LOWERED),
        shares,
    )
