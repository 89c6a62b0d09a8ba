"""Reads any metric's result, by the metadata of `genaudit.metrics.result`, into what the reports write.

A result is a frozen dataclass, a plain number or a `dict[str, float]`; `describe` takes it apart into headline
values, p-value, details, per-image columns, drawings and cautions. `plain` turns anything into JSON's own types.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from genaudit.metrics.result import (
    DECLARED,
    KIND,
    Better,
    Caution,
    Cloud,
    Curve,
    Declared,
    Estimate,
    Pictures,
    RealFloor,
    Retrieval,
)

Drawing = Curve | Cloud | Retrieval | Pictures

LONGEST_DETAIL = 64  # elements; longer arrays belong into images.csv or a Curve
P_VALUE_NAMES = ("pvalue", "p_value")


@dataclass(frozen=True)
class Value:
    """A headline number with its interval; `lower` and `upper` are None where there is no interval.

    `about` says over what new draws the interval holds the value, and at what numbers; empty where nothing says it.
    `label` and `range` are those that the metric declares.
    `real` is what fresh real images of the same number score; None where that is not known.
    """

    value: float
    lower: float | None = None
    upper: float | None = None
    better: Better = "none"
    about: str = ""
    label: str = ""
    range: tuple[float, float] | None = None
    real: RealFloor | None = None

    @property
    def real_ratio(self) -> float | None:
        """The value, at the floor's number of images, over the real floor (1: as real images).

        None where one of the two is not positive, or the floor is not known to a half of itself.
        """
        if self.real is None or (self.real.lower is not None and self.real.lower <= self.real.value / 2):
            return None
        ours = self.value if self.real.generated is None else self.real.generated
        return ours / self.real.value if ours > 0 and self.real.value > 0 else None


@dataclass(frozen=True)
class Column:
    """A per-image column `(n_generated,)` of images.csv; `refers_to` names the role that its values index.

    `gallery` asks for its extreme images, under these captions of the highest and the lowest; `levels` for some images
    of each of its levels.
    """

    name: str
    values: np.ndarray
    gallery: tuple[str, str] | None = None
    refers_to: str | None = None
    levels: bool = False


@dataclass(frozen=True)
class Parts:
    """A metric's result taken apart; `explanation` says what it tells, in a line, and is empty where nothing does.

    `hypothesis` is what the p-value is the chance under.
    """

    values: dict[str, Value]
    p_value: float | None = None
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
    columns: tuple[Column, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    cautions: tuple[Caution, ...] = ()
    citation: str = ""
    explanation: str = ""
    hypothesis: str = ""


def describe(result: Any, name: str) -> Parts:
    """What a metric returned, taken apart for the reports.

    Args:
        result: a dataclass instance, a number (also of NumPy, or a tensor of one element) or a dictionary of numbers.
        name: the metric's name: the value's name where the result is a plain number.

    Raises:
        TypeError: the result is none of these.
    """
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        return _describe_dataclass(result)
    if isinstance(result, Mapping):
        return _describe_mapping({str(key): _number(item, f"{name}[{key!r}]") for key, item in result.items()})
    return Parts({name: Value(_required(_number(result, name), name))})


def _describe_mapping(numbers: dict[str, float | None]) -> Parts:
    """As for a dataclass: NAME_lower and NAME_upper are NAME's interval, `pvalue` is the p-value, None is absent."""
    ends = {name + end for name in numbers for end in ("_lower", "_upper")}
    values = {
        name: Value(number, numbers.get(name + "_lower"), numbers.get(name + "_upper"))
        for name, number in numbers.items()
        if number is not None and name not in ends and name not in P_VALUE_NAMES
    }
    p_value = next((numbers[key] for key in P_VALUE_NAMES if numbers.get(key) is not None), None)
    return Parts(values, p_value)


def _describe_dataclass(result: Any) -> Parts:
    fields = {field.name: field for field in dataclasses.fields(result)}
    held = {name: getattr(result, name) for name in fields}
    kinds = {name: field.metadata.get(KIND) for name, field in fields.items()}
    if not any(kinds.values()):  # a result without any metadata: its floats are numbers of no direction
        kinds |= {name: "value" for name, item in held.items() if isinstance(item, (float, np.floating))}
    headline = [name for name, kind in kinds.items() if kind == "value" and name not in P_VALUE_NAMES]
    ends = {name + end for name in headline for end in ("_lower", "_upper")}
    values: dict[str, Value] = {}
    columns: list[Column] = []
    drawings: list[Drawing] = []
    details: dict[str, Any] = {}
    for name, item in held.items():
        metadata = fields[name].metadata
        if name in ends or name in P_VALUE_NAMES or name == "cautions":
            continue
        if name in headline:
            number = _number(item, name)
            if number is not None:
                lower, upper = _ends(item, held, name)
                about = "" if lower is None and upper is None else str(held.get("interval") or "")
                said = metadata.get(DECLARED, Declared())
                values[metadata.get("name") or name] = Value(
                    number, lower, upper, said.better, about, said.label, said.range
                )
        elif kinds[name] == "per_image":
            if item is not None:
                gallery = ("Highest", "Lowest") if metadata["gallery"] is True else metadata["gallery"] or None
                shown = metadata["name"] or name
                columns.append(Column(shown, _array(item), gallery, metadata["refers_to"], metadata["levels"]))
        elif found := _drawings(item):
            drawings.extend(found)
        elif _is_short(item):
            details[name] = item
    for drawing in drawings:
        if isinstance(drawing, Retrieval):
            column = f"nearest_{drawing.role}"
            columns.append(Column(column, _array(drawing.indices), refers_to=drawing.role))
            columns.append(Column(f"{column}_distance", _array(drawing.distances)))
    p_value = next((_number(held[key], key) for key in P_VALUE_NAMES if held.get(key) is not None), None)
    cautions = tuple(held.get("cautions") or ())
    citation = str(getattr(type(result), "citation", "") or "")
    about, under = explanation(type(result)), str(getattr(type(result), "hypothesis", "") or "")
    return Parts(values, p_value, details, tuple(columns), tuple(drawings), cautions, citation, about, under)


def _ends(item: Any, held: Mapping[str, Any], name: str) -> tuple[float | None, float | None]:
    """Of an `Estimate` its own, else what stands in NAME_lower and NAME_upper; a NaN there stands for no interval."""
    if isinstance(item, Estimate):
        return item.ends
    lower, upper = (_number(held.get(name + end), name + end) for end in ("_lower", "_upper"))
    if any(end is not None and math.isnan(end) for end in (lower, upper)):
        return None, None
    return lower, upper


def _number(item: Any, name: str) -> float | None:
    if item is None:
        return None
    if hasattr(item, "item") and getattr(item, "size", None) != 0:  # NumPy scalar, array or tensor of one element
        item = item.item()
    if isinstance(item, (bool, int, float)):
        return float(item)
    raise TypeError(f"{name} must be a number, not {type(item).__name__}")


def _required(number: float | None, name: str) -> float:
    if number is None:
        raise TypeError(f"metric {name} returned None; it must return a dataclass, a number or a dictionary of numbers")
    return number


def _array(item: Any) -> np.ndarray:
    return np.asarray(item.detach().cpu() if hasattr(item, "detach") else item)


def _drawings(item: Any) -> list[Drawing]:
    """The item itself, or the items of a tuple or list, where all of them can be drawn; else nothing."""
    items = list(item) if isinstance(item, (tuple, list)) else [item]
    return items if all(isinstance(each, (Curve, Cloud, Retrieval, Pictures)) for each in items) else []


def _is_short(item: Any) -> bool:
    if hasattr(item, "shape"):
        return math.prod(item.shape) <= LONGEST_DETAIL
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return all(_is_short(getattr(item, field.name)) for field in dataclasses.fields(item))
    if isinstance(item, Mapping):
        return len(item) <= LONGEST_DETAIL and all(_is_short(each) for each in item.values())
    if isinstance(item, (Sequence, AbstractSet)) and not isinstance(item, (str, bytes)):
        return len(item) <= LONGEST_DETAIL and all(_is_short(each) for each in item)
    return True


def explanation(cls: Any) -> str:
    """What a metric with this result class tells a reader: its `explanation`, else its docstring's first line."""
    if declared := getattr(cls, "explanation", ""):
        return str(declared)
    text = (cls.__doc__ or "").strip()
    if text.startswith(f"{cls.__name__}("):  # what @dataclass writes where there is no docstring
        return ""
    return text.splitlines()[0].strip() if text else ""


def plain(item: Any, lost: list[str], where: str = "") -> Any:
    """`item` in JSON's own types; what is not finite becomes None and its place is appended to `lost`.

    Args:
        item: mappings, sequences, sets (sorted), dataclasses, arrays, tensors, scalars of Python and NumPy; of any
            other object only the type's name remains, since a repr may hold an address and differ between runs.
        lost: receives the dotted place of every number that is not finite.
        where: the dotted place of `item` itself.
    """
    if item is None or isinstance(item, (str, bool)):
        return str(item) if isinstance(item, str) else item
    if isinstance(item, Enum):
        return plain(item.value, lost, where)
    if isinstance(item, int):
        return int(item)
    if isinstance(item, Estimate):
        return plain({"value": item.value, "lower": item.lower, "upper": item.upper}, lost, where)
    if isinstance(item, float):
        if math.isfinite(item):
            return float(item)
        lost.append(where)
        return None
    if isinstance(item, np.generic):
        return plain(item.item(), lost, where)
    if isinstance(item, np.ndarray) or hasattr(item, "detach"):
        return plain(_array(item).tolist(), lost, where)
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        item = {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}
    if isinstance(item, Mapping):
        return {str(key): plain(each, lost, f"{where}.{key}" if where else str(key)) for key, each in item.items()}
    if isinstance(item, AbstractSet):
        return sorted((plain(each, lost, where) for each in item), key=json.dumps)
    if isinstance(item, bytes):
        return item.hex()
    if isinstance(item, Sequence):
        return [plain(each, lost, f"{where}[{index}]") for index, each in enumerate(item)]
    if hasattr(item, "isoformat"):
        return item.isoformat()
    if hasattr(item, "__fspath__"):
        return str(item)
    named = item if hasattr(item, "__qualname__") else type(item)
    return f"{named.__module__}.{named.__qualname__}"
