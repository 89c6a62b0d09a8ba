"""A report in a notebook: its table as text and HTML, values and per-image columns as frames, plots as figures."""

from __future__ import annotations

import io
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit.errors import UserError
from genaudit.metrics.result import Cloud, Curve
from genaudit.reports.files import METRIC_COLUMNS, metric_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from genaudit.reports.report import Report

TEXT_WIDTH = 110


def as_text(report: Report) -> str:
    """The console's table as plain text of at most `TEXT_WIDTH` columns."""
    from rich.console import Console

    from genaudit.reports.console import render

    stream = io.StringIO()
    # in a notebook rich would show the table itself, beside what it is asked to write
    console = Console(file=stream, width=TEXT_WIDTH, highlight=False, color_system=None, force_jupyter=False)
    console.print(render(report, plain=True))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def as_html(report: Report) -> str:
    """The headline table, with what was not computed and the warnings folded below; all from outside is escaped."""
    from genaudit.reports.html import block, page

    absent = [(name, f"not computed: {reason}") for name, reason in report.skipped_metrics.items()]
    warnings = [(each.metric or each.code, each.message) for each in report.warnings]
    metrics = [(name, block(entry, []).lines) for name, entry in report.metrics.items()]
    real = any(line.real for _, lines in metrics for line in lines)
    return page("notebook.html.j2", {"metrics": metrics, "real": real, "remarks": [*absent, *warnings]})


def values_frame(report: Report) -> DataFrame:
    """One row a value, with the columns of metrics.csv; a number that is not there is NaN.

    Raises:
        UserError: pandas is not installed.
    """
    frame = _pandas().DataFrame(list(metric_rows(report)), columns=list(METRIC_COLUMNS))
    words = ("metric", "name", "better", "measure", "real_source")
    numbers = [name for name in METRIC_COLUMNS if name not in words]
    return frame.astype(dict.fromkeys(numbers, "float64"))


def images_frame(report: Report) -> DataFrame:
    """One row a generated image, with the columns of images.csv.

    Raises:
        UserError: pandas is not installed.
    """
    columns = report.images or {"name": [], "digest": []}
    return _pandas().DataFrame({name: _column(column) for name, column in columns.items()})


def _column(column: Any) -> Any:
    return np.asarray(column) if isinstance(column, np.ndarray) else list(column)


def figures(report: Report) -> dict[str, Figure]:
    """The clouds and curves of all metrics as matplotlib figures, by their titles."""
    from genaudit.reports.plots import figure_of

    found: dict[str, Figure] = {}
    for name, entry in report.metrics.items():
        for drawing in entry.parts.drawings:
            if not isinstance(drawing, (Cloud, Curve)):
                continue
            title = drawing.title if drawing.title not in found else f"{drawing.title} ({name})"
            figure = figure_of(drawing)
            if figure is not None:
                found[title] = figure
    return found


def _pandas() -> ModuleType:
    try:
        import pandas
    except ImportError:
        raise UserError("frames need the package pandas: pip install 'genaudit-images[frames]'") from None
    module: ModuleType = pandas
    return module
