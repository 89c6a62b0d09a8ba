"""The gate's power analysis: plan.csv, plan.json, plan.png, plan.html and the console table."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path
from typing import TextIO

from genaudit import __version__
from genaudit.atomic import atomic_write
from genaudit.metrics.power import Plan

SCHEMA = "genaudit/plan/1"
COLOURS = ("#2f7fc1", "#d9822b", "#009e73", "#b56aa0")


def write(plan: Plan, out: Path, created: str, command: str) -> dict[str, Path]:
    """Writes the four files into the folder `out`; returns their paths by name."""
    from genaudit.reports.files import json_text, write_csv, write_together
    from genaudit.reports.html import page

    columns = ["irs_inf", "images", *(f"samples_{power:g}" for power in plan.powers)]
    rows = [
        [diversity, round(diversity * plan.n_train), *map(_whole, samples)]
        for diversity, samples in zip(plan.diversities, plan.samples, strict=True)
    ]
    real = None if plan.real is None else [[*map(_whole, row)] for row in plan.real]
    question = plan.question
    document = {
        "schema": SCHEMA,
        "genaudit": __version__,
        "created": created,
        "command": command,
        "n_train": plan.n_train,
        "irs_target": question.irs_target,
        "alpha": question.alpha,
        "detect": question.detect,
        "power": question.power,
        "absolute": plan.real is None,
        "s_target": plan.s_target,
        "samples_needed": _whole(plan.detect_samples),
        "reference_needed": None if plan.detect_real is None else _whole(plan.detect_real),
        "powers": list(plan.powers),
        "rows": [
            {"irs_inf": row[0], "images": row[1], "samples": row[2:], "reference": real[at] if real else None}
            for at, row in enumerate(rows)
        ],
    }
    picture = draw(plan)
    names = {
        "plan": plan,
        "rows": [(f"{row[0]:.3g}", f"{row[1]:,}", [*map(_text, row[2:])]) for row in rows],
        "powers": [percent(power) for power in plan.powers],
        "title": title(plan),
        "command": command,
        "uri": f"data:image/png;base64,{base64.b64encode(picture).decode()}",
    }

    def text(content: str, stream: TextIO) -> None:
        stream.write(content)

    with atomic_write(out / "plan.png") as temporary:
        temporary.write_bytes(picture)
    written = write_together(
        out,
        {
            "plan.csv": lambda stream: write_csv(columns, rows, stream),
            "plan.html": lambda stream: text(page("plan.html.j2", names), stream),
            "plan.json": lambda stream: text(json_text(document), stream),
        },
    )
    return {**written, "plan.png": out / "plan.png"}


def draw(plan: Plan) -> bytes:
    """Samples against the diversity of the model to reject, a line for each power, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    for column, (power, colour) in enumerate(zip(plan.powers, COLOURS * 9, strict=False)):
        axes.plot(
            plan.diversities, plan.samples[:, column], color=colour, marker="o", markersize=4, label=percent(power)
        )
    axes.axvline(plan.question.irs_target, color="#80868f", linestyle="dashed", linewidth=1, label="target")
    axes.set(xlabel="diversity of the model to reject (IRS_inf)", ylabel="samples", yscale="log")
    axes.set_xlim(left=0)
    axes.grid(color="#e3e6ea", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(title="probability of rejection", frameon=False, fontsize=9, title_fontsize=9)
    stream = io.BytesIO()
    FigureCanvasAgg(figure).print_png(stream)
    return stream.getvalue()


def show(plan: Plan) -> None:
    """Prints the table."""
    from genaudit.reports.styled import make_console, new_table, text

    console = make_console()
    table = new_table(not console.is_terminal)
    table.add_column("IRS_inf")
    table.add_column("images", justify="right")
    for power in plan.powers:
        table.add_column(f"rejected with {percent(power)}", justify="right")
    for diversity, samples in zip(plan.diversities, plan.samples, strict=True):
        images = f"{round(diversity * plan.n_train):,}"
        table.add_row(text((f"{diversity:.3g}", "bold")), images, *map(_text, map(_whole, samples)))
    console.print(text((title(plan), "")))
    console.print(table)


def title(plan: Plan) -> str:
    question = plan.question
    if plan.real is None:
        target = f"{plan.s_target:,} of {plan.n_train:,} training images, drawn evenly"
        real = ""
    else:
        target = f"{question.irs_target:g} of what real images reach of {plan.n_train:,} training images"
        real = (
            f", each held against 1/{question.irs_target:g} as many held-out real images "
            f"({_text(_whole(plan.detect_real or math.inf))} for that); retrieval is taken to be even"
        )
    return (
        f"Samples needed to reject a model of a given diversity: target {target}, alpha={question.alpha:g}, "
        f"mode=fixed. A model is accepted from {_text(_whole(plan.detect_samples))} samples on "
        f"(detect={question.detect:g}, "
        f"power={question.power:g}){real}. With mode=sequential models far below the target are rejected much earlier."
    )


def _whole(number: float) -> int | None:
    """A number of images; None where there is none."""
    return int(number) if math.isfinite(number) else None


def _text(number: float | None) -> str:
    return "none" if number is None else f"{number:,.0f}"


def percent(power: float) -> str:
    return f"{100 * power:g} %"
