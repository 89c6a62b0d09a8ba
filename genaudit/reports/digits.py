"""Numbers for people: as many digits as the interval supports, or four."""

from __future__ import annotations

import math
from datetime import datetime, timezone

MISSING = "–"


def show(number: float | None, lower: float | None = None, upper: float | None = None) -> str:
    """`number` with digits such that half the interval's width has two, or with four significant digits.

    Thousands are grouped by commas, very small and very large numbers are in scientific form, the minus is a true
    minus sign; a number that is missing or not finite is a dash. An estimate with a lower end and no upper one is a
    lower bound, and the end is shown as that.
    """
    if lower is not None and upper is None and math.isfinite(lower):
        return f"\N{GREATER-THAN OR EQUAL TO} {show(lower)}"
    if number is None or not math.isfinite(number):
        return MISSING
    half = float(f"{(upper - lower) / 2:.6e}") if lower is not None and upper is not None else math.nan
    size = max(abs(number), half) if half > 0 and math.isfinite(half) else abs(number)
    if size == 0:
        return "0"
    leading = math.floor(math.log10(size))
    decimals = 1 - math.floor(math.log10(half)) if half > 0 and math.isfinite(half) else 3 - leading
    decimals = min(decimals, 5 - leading)  # a tiny interval doesn't ask for more than six digits
    if leading < -4 or leading > 8:
        text = f"{number:.{max(0, leading + decimals)}e}"
    elif float(number).is_integer() and not half > 0:
        text = f"{number:,.0f}"
    else:
        text = f"{number:,.{max(0, decimals)}f}"
    return text.replace("-", "\N{MINUS SIGN}") if number < 0 else text


def show_interval(lower: float | None, upper: float | None) -> str:
    """`lower to upper`, each with the digits that the interval supports; empty without an interval."""
    if lower is None and upper is None:
        return ""
    if upper is None:
        return "lower bound"
    return f"{show(lower, lower, upper)} to {show(upper, lower, upper)}"


def show_end(number: float) -> str:
    """The end of an axis, a round number, with the digits that it has.

    >>> show_end(0.14), show_end(-15000.0), show_end(2e-05)
    ('0.14', '−15,000', '2e-05')
    """
    return f"{number:,.6g}".replace("-", "\N{MINUS SIGN}", 1 if number < 0 else 0)


def show_p(p: float | None) -> str:
    """A p-value: two significant digits, below 0.001 as such; empty where there is none."""
    if p is None or not math.isfinite(p):
        return ""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


_MODES = {
    **{"1": "black and white", "L": "grey", "LA": "grey with alpha", "I": "grey, 32 bits", "F": "grey, float"},
    **{"P": "palette", "PA": "palette with alpha", "RGBA": "RGB with alpha", "RGBX": "RGB with padding", "LAB": "Lab"},
    **dict.fromkeys(("I;16", "I;16L", "I;16B", "I;16N"), "grey, 16 bits"),
}


def show_mode(mode: str) -> str:
    """An image mode in plain words: Pillow's code, with `;16` behind colour of 16 bits and ` float` behind floats.

    >>> show_mode("L"), show_mode("RGBA;16"), show_mode("RGB float"), show_mode("CMYK")
    ('grey', 'RGB with alpha, 16 bits', 'RGB, float', 'CMYK')
    """
    if mode in _MODES:
        return _MODES[mode]
    for end, words in ((" float", "float"), (";16", "16 bits")):
        if mode.endswith(end):
            return f"{show_mode(mode.removesuffix(end))}, {words}"
    return mode


def show_seconds(seconds: float) -> str:
    """A duration: `4.2 s`, `3 min 05 s`, `2 h 07 min`."""
    if not math.isfinite(seconds):
        return MISSING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def moment(text: str) -> str:
    """A time for people; what is no time stays as it is.

    >>> moment("2026-11-30T23:12:31+00:00"), moment("today")
    ('2026-11-30 23:12 UTC', 'today')
    """
    try:
        return datetime.fromisoformat(text).astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return text
