"""A report's numbers in an experiment tracker: TensorBoard, Weights & Biases, MLflow.

    report = genaudit.evaluate(generated=samples, reference="real/")
    to_tensorboard(report, writer, step)

Every value stands under METRIC/VALUE, the ends of its interval under METRIC/VALUE_lower and _upper, a p-value under
METRIC/p_value. No tracker is imported but the one that is called, and that only where nothing is passed in.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from genaudit.errors import UserError

if TYPE_CHECKING:
    from genaudit.reports.report import Report


def numbers(report: Report, prefix: str = "") -> dict[str, float]:
    """The report's finite numbers by name: values, their intervals, p-values.

    Args:
        prefix: stands before each name: "ema/" gives "ema/fd/fd".
    """
    found: dict[str, float | None] = {}
    for metric, entry in report.metrics.items():
        shown = metric.replace("@", "/")  # MLflow has no "@" in names: fd@dinov2_l14 is fd/dinov2_l14
        for name, each in entry.values.items():
            place = f"{prefix}{shown}/{name}"
            found |= {place: each.value, f"{place}_lower": each.lower, f"{place}_upper": each.upper}
        found[f"{prefix}{shown}/p_value"] = entry.p_value
    return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}


def warnings(report: Report) -> list[str]:
    """The report's warnings, a sentence each, with the metric that they concern."""
    return [f"{each.metric}: {each.message}" if each.metric else each.message for each in report.warnings]


def to_tensorboard(report: Report, writer: Any, step: int, *, prefix: str = "genaudit/") -> dict[str, float]:
    """Writes scalars, and the warnings as text, with a `torch.utils.tensorboard.SummaryWriter`.

    Args:
        writer: anything with `add_scalar(tag, value, step)` and `add_text(tag, text, step)`. step: of the training.

    Returns:
        what was written.
    """
    found = numbers(report, prefix)
    for name, value in found.items():
        writer.add_scalar(name, value, step)
    if said := warnings(report):
        writer.add_text(f"{prefix}warnings", "\n".join(f"- {text}" for text in said), step)
    return found


def to_wandb(
    report: Report, run: Any = None, step: int | None = None, *, prefix: str = "genaudit/", table: bool = False
) -> dict[str, float]:
    """Logs the numbers to a Weights & Biases run.

    Args:
        run: a run (`wandb.init()`); None takes the one that is active.
        step: of the training; None lets the run count.
        table: also logs the columns of the generated images as a table.

    Raises:
        UserError: wandb is needed (no run is given, or a table asked for) and not installed, or no run is active.
    """
    found: dict[str, Any] = dict(numbers(report, prefix))
    if run is None or table:
        wandb = _imported("wandb")
        run = wandb.run if run is None else run
        if run is None:
            raise UserError("to_wandb: no run is active; wandb.init() starts one")
        if table:
            columns = list(report.images)
            rows = zip(*(list(report.images[name]) for name in columns), strict=True)
            found[f"{prefix}images"] = wandb.Table(columns=columns, data=[list(row) for row in rows])
    run.log(found, step=step)
    return numbers(report, prefix)


def to_mlflow(
    report: Report, client: Any = None, step: int | None = None, *, prefix: str = "genaudit/", document: bool = True
) -> dict[str, float]:
    """Logs the numbers, and report.json as an artifact, to the active MLflow run.

    Args:
        client: the module `mlflow`, or anything with its `log_metrics(metrics, step)` and `log_text(text, file)`;
            None imports it.
        document: whether report.json is logged too, as genaudit/report.json.

    Raises:
        UserError: mlflow is needed and not installed.
    """
    client = _imported("mlflow") if client is None else client
    found = numbers(report, prefix)
    client.log_metrics(found, step=step)
    if document:
        client.log_text(json.dumps(report.to_dict(), indent=1), "genaudit/report.json")
    return found


def _imported(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f"logging to {name} needs the package {name}: pip install {name}") from None
