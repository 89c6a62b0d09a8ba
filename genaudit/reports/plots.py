"""Draws the results' `Cloud`, `Curve` and `Marks` fields as SVG for the HTML page, by matplotlib without a display.

Ink and lines are drawn in marker colours that become CSS variables, so that one drawing follows the page into light
and dark; the colours of roles keep a contrast above 3 on both. Text stays text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit.metrics.result import Cloud, Curve, Marks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Tell apart with every common colour blindness: blue, orange, grey; then Okabe and Ito's green, purple and sky blue.
ROLE_COLOURS = {"generated": "#2f7fc1", "reference": "#d9822b", "train": "#80868f", "anomalies": "#b5483a"}
MORE_COLOURS = ("#009e73", "#b56aa0", "#4aa3d6", "#a08a2c")
INK, MUTED, LINE = "#010203", "#010204", "#010205"  # stand for the page's colours
VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", LINE: "var(--line)"}
FEWEST_FOR_DENSITY = 8  # points of a role: fewer have no density to draw in the margins
MOST_VECTOR_POINTS = 1500  # more points are drawn as an embedded bitmap
MOST_DENSITY_POINTS = 200_000
POINTS = ((500, (16, 0.7)), (3000, (9, 0.5)), (20_000, (4, 0.35)), (np.inf, (1.5, 0.25)))  # up to n: (size, opacity)
MARKERS = ("o", "s", "^", "D")
STYLES = ("solid", "dashed", "dashdot", "dotted")


@dataclass(frozen=True)
class Plot:
    """A drawing: `svg` markup that is safe to place in a page, with a title and a remark in plain text."""

    title: str
    svg: str
    remark: str = ""


def draw(drawing: Cloud | Curve | Marks) -> Plot | None:
    """The drawing, or None where it holds nothing to draw."""
    with _style(drawing.title):
        drawn = _drawn(drawing)
        return None if drawn is None else Plot(drawing.title, _svg(drawn[0], drawing.title), drawn[1])


def figure_of(drawing: Cloud | Curve) -> Figure | None:
    """The drawing as a matplotlib figure with its title on a white ground, or None where it holds nothing to draw."""
    with _style(drawing.title):
        drawn = _drawn(drawing)
        if drawn is None:
            return None
        drawn[0].suptitle(drawing.title)
        drawn[0].set_facecolor("white")
        return drawn[0]


def scatter(title: str, x_label: str, y_label: str, points: Sequence[tuple[str, float, float]]) -> Plot:
    """Points (name, x, y), each with its name beside it; names are drawn as they are, without markup."""
    with _style(title):
        figure = _figure(5.6, 4.2)
        axes = figure.add_subplot()
        axes.set(xlabel=x_label, ylabel=y_label)
        _, x, y = zip(*points, strict=True)
        axes.scatter(x, y, s=26, color=ROLE_COLOURS["generated"], linewidths=0)
        middle = (min(x) + max(x)) / 2
        for name, across, up in points:
            # towards the middle, so that no name leaves the frame
            left = across > middle
            axes.annotate(
                name, (across, up), (-5 if left else 5, 3), textcoords="offset points", fontsize=8, color=MUTED,
                ha="right" if left else "left",
            )  # fmt: skip
        return Plot(title, _svg(figure, title))


def _style(title: str) -> Any:
    """The drawings' common settings, as a context."""
    import matplotlib

    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": hashlib.sha256(title.encode("utf-8", "backslashreplace")).hexdigest()[:12],
        "text.parse_math": False,
        "font.size": 10,
        "axes.edgecolor": LINE,
        "axes.labelcolor": MUTED,
        "axes.titlecolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": LINE,
        "ytick.color": LINE,
        "xtick.labelcolor": MUTED,
        "ytick.labelcolor": MUTED,
        "text.color": INK,
        "legend.labelcolor": INK,
        "legend.frameon": False,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
    }
    return matplotlib.rc_context(settings)


def alike(first: Cloud | Curve, second: Cloud | Curve) -> bool:
    """The same data on the same axes."""
    if (first.x_label, first.y_label) != (second.x_label, second.y_label) or type(first) is not type(second):
        return False
    ours, theirs = ({"": each.x, **each.lines} if isinstance(each, Curve) else each.points for each in (first, second))
    return ours.keys() == theirs.keys() and all(
        np.array_equal(np.asarray(ours[name], float), np.asarray(theirs[name], float), equal_nan=True) for name in ours
    )


def _drawn(drawing: Cloud | Curve | Marks) -> tuple[Figure, str] | None:
    if isinstance(drawing, Cloud):
        return _cloud(drawing)
    return _curve(drawing) if isinstance(drawing, Curve) else _marks(drawing)


def _cloud(cloud: Cloud) -> tuple[Figure, str] | None:
    """The figure, and a remark on what it leaves out."""
    points: dict[str, np.ndarray] = {}
    dropped = 0
    for role, given in cloud.points.items():
        rows = np.asarray(given, dtype=float).reshape(-1, 2)
        finite = np.isfinite(rows).all(axis=1)
        dropped += int((~finite).sum())
        if finite.any():
            points[role] = rows[finite]
    if not points:
        return None
    together = np.concatenate(list(points.values()))
    limits = [_limits(together[:, axis]) for axis in (0, 1)]
    lowest, highest = np.array(limits).T
    inside = ((together >= lowest) & (together <= highest)).all(axis=1)
    figure = _figure(5.6, 4.6)
    if min(map(len, points.values())) < FEWEST_FOR_DENSITY:
        axes, margins = figure.add_subplot(), []
    else:
        grid = figure.add_gridspec(2, 2, width_ratios=(5, 1), height_ratios=(1, 5), wspace=0.04, hspace=0.04)
        axes = figure.add_subplot(grid[1, 0])
        margins = [figure.add_subplot(grid[0, 0], sharex=axes), figure.add_subplot(grid[1, 1], sharey=axes)]
    axes.set(xlim=limits[0], ylim=limits[1], xlabel=cloud.x_label, ylabel=cloud.y_label)
    for role, colour in _colours(points).items():
        x, y = points[role].T
        size, alpha = next(look for most, look in POINTS if len(x) <= most)
        axes.scatter(
            x, y, s=size, alpha=alpha, color=colour, linewidths=0, label=role,
            zorder=3 - len(x) / len(together),  # the biggest cloud lies lowest, so that it doesn't hide the others
            rasterized=len(together) > MOST_VECTOR_POINTS,
        )  # fmt: skip
        for axis, margin in enumerate(margins):
            at = np.linspace(*limits[axis], 240)
            density = _density((x, y)[axis], at)
            if axis == 0:
                margin.fill_between(at, density, color=colour, alpha=0.18, linewidth=0)
                margin.plot(at, density, color=colour, linewidth=1.4)
            else:
                margin.fill_betweenx(at, density, color=colour, alpha=0.18, linewidth=0)
                margin.plot(density, at, color=colour, linewidth=1.4)
    if cloud.marker is not None and np.isfinite(cloud.marker).all():
        axes.axvline(cloud.marker[0], color=MUTED, linewidth=0.9, linestyle="dashed", zorder=4)
        axes.axhline(
            cloud.marker[1], color=MUTED, linewidth=0.9, linestyle="dashed", zorder=4, label=cloud.marker_label or None
        )
    if margins:
        for margin in margins:
            margin.set_axis_off()
        margins[0].set_ylim(bottom=0)
        margins[1].set_xlim(left=0)
    _legend(axes, len(points) + bool(cloud.marker is not None and cloud.marker_label))
    counts = ((int((~inside).sum()), "outside the frame"), (dropped, "not finite and not drawn"))
    remark = ", ".join(f"{count:,} of {len(together) + dropped:,} points {what}" for count, what in counts if count)
    return figure, remark


def _curve(curve: Curve) -> tuple[Figure, str] | None:
    x = np.asarray(curve.x, dtype=float)
    if x.size == 0 or not curve.lines:
        return None
    figure = _figure(5.6, 4.2)
    axes = figure.add_subplot()
    axes.grid(axis="y", color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set(xlabel=curve.x_label, ylabel=curve.y_label)
    keep = _thinned(x.size)
    if curve.band is not None:
        lower, upper = (np.asarray(end, dtype=float)[keep] for end in curve.band)
        axes.fill_between(x[keep], lower, upper, color=MUTED, alpha=0.16, linewidth=0, label=curve.band_label or None)
    colours = _colours(name for name in curve.lines if name not in curve.guides)
    main = [name for name in colours if name not in curve.controls]
    for name, line in curve.lines.items():
        y = np.asarray(line, dtype=float)[keep]
        if name in curve.guides:  # grey: it is no result
            look: dict[str, Any] = {"color": MUTED, "linewidth": 1.1, "linestyle": "dashed", "zorder": 1.5}
        elif name in curve.controls:
            look = {"color": colours[name], "linewidth": 1.0, "linestyle": "dotted"}
        else:
            look = {"color": colours[name], "linewidth": 1.9, "linestyle": STYLES[main.index(name) // 4 % 4]}
        axes.plot(x[keep], y, label=name, marker="o" if len(y) < 3 else None, **look)
    axes.margins(x=0.01)
    _legend(axes, len(curve.lines) + (curve.band is not None and bool(curve.band_label)))
    return figure, ""


def _marks(marks: Marks) -> tuple[Figure, str] | None:
    values = [value for value, _ in marks.marks.values()]
    if not values or not np.isfinite(np.concatenate(values)).any():
        return None
    kinds = [tuple(name.partition(", ")[::2]) for name in marks.marks]
    colours = _colours(dict.fromkeys(colour for colour, _ in kinds))
    shapes = list(dict.fromkeys(shape for _, shape in kinds))
    figure = _figure(5.6, 1.6 + 0.42 * len(marks.rows))
    axes = figure.add_subplot()
    axes.grid(axis="x", color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    places = np.arange(len(marks.rows))
    for number, ((name, (value, error)), (colour, shape)) in enumerate(zip(marks.marks.items(), kinds, strict=True)):
        # kinds of a row stand a little apart, so that none hides another
        apart = 0.6 * ((number + 0.5) / len(kinds) - 0.5)
        axes.errorbar(
            value, places + apart, xerr=error, label=name, color=colours[colour], linestyle="none", markersize=5,
            marker=MARKERS[shapes.index(shape) % len(MARKERS)], elinewidth=1.1,
        )  # fmt: skip
    axes.set_yticks(places, marks.rows)
    axes.invert_yaxis()
    axes.set_xlabel(marks.x_label)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, fontsize=9)
    return figure, ""


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=180, layout="constrained")


def _colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name: a role's own, or the next that no role among them has."""
    names = list(names)
    free = [
        colour for role, colour in ROLE_COLOURS.items() if role not in names and role != "train"
    ]  # grey is a guide's
    spare = cycle(free + list(MORE_COLOURS))
    return {name: ROLE_COLOURS.get(name) or next(spare) for name in names}


def _legend(axes: Axes, entries: int) -> None:
    if entries > 1:
        legend = axes.legend(loc="best", fontsize=9, handlelength=1.4, borderaxespad=0.2)
        for handle in legend.legend_handles:
            if handle is not None and handle.get_alpha() is not None and hasattr(handle, "set_sizes"):
                handle.set_alpha(1)
                handle.set_sizes([28])


def _limits(values: np.ndarray) -> tuple[float, float]:
    """The frame of an axis: all values, unless few of them would stretch it to more than three times the rest."""
    low, high = float(values.min()), float(values.max())
    inner_low, inner_high = np.quantile(values, (0.005, 0.995))
    width = float(inner_high - inner_low)
    if width > 0 and high - low > 3 * width:
        low, high = max(low, inner_low - 0.3 * width), min(high, inner_high + 0.3 * width)
    margin = 0.04 * (high - low) or max(abs(low), 1.0) * 0.05
    return low - margin, high + margin


def _density(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Gaussian kernel density of `values` on the even grid `at`, Scott's bandwidth n^(-1/5), through a histogram."""
    values = values[:: -(-len(values) // MOST_DENSITY_POINTS)]
    step = at[1] - at[0]
    spread = min(float(values.std()), float(np.subtract(*np.quantile(values, (0.75, 0.25)))) / 1.34 or np.inf)
    width = max(spread * len(values) ** -0.2, step)
    counts, _ = np.histogram(values, bins=len(at), range=(at[0] - step / 2, at[-1] + step / 2))
    reach = min(int(np.ceil(4 * width / step)), (len(at) - 1) // 2)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * step / width) ** 2)
    return np.convolve(counts, kernel / kernel.sum(), mode="same") / (len(values) * step)


def _thinned(count: int, most: int = 2000) -> np.ndarray:
    """Indices of at most `most` points, evenly spread, first and last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def _svg(figure: Figure, title: str) -> str:
    import io

    from markupsafe import escape
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    stream = io.StringIO()
    FigureCanvasSVG(figure).print_svg(stream, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    for marker, variable in VARIABLES.items():
        text = text.replace(marker, variable)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # figure_1, axes_1, ...: they would repeat within the page
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)
