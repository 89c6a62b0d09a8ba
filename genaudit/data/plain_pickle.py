"""Reads pickles of plain containers and numeric NumPy arrays without Python's unpickler: nothing of the file is called.

A pickle is a program. Here its instructions are read with `pickletools` and carried out on a stack of our own. Those
that would import, call or set up objects are understood for NumPy's own arrays, types and numbers alone, which are then
made from checked bytes, and are refused otherwise: no name in a file is ever looked up, whatever the file says. EDM2
and StyleGAN keep statistics as such files, torch-fidelity inside a file of torch.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

MOST_INSTRUCTIONS = 2_000_000
MOST_DIMENSIONS = 8
_ORDERS = ("<", ">", "|", "=")
_MODULES = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
_DICTIONARIES = {("collections", "OrderedDict"), ("dnnlib.util", "EasyDict"), ("builtins", "dict")}


class NotPlain(ValueError):
    """The pickle is damaged, or holds something else than plain containers, numbers, text and arrays of numbers."""


@dataclass(frozen=True)
class _Name:
    """What a pickle names to be imported; it is compared and never looked up."""

    module: str
    name: str

    def is_numpy(self, name: str) -> bool:
        return self.module in _MODULES and self.name == name


@dataclass
class _Type:
    """A NumPy type; `order` comes with its state."""

    code: str
    order: str = "="

    def dtype(self) -> np.dtype:
        if len(self.code) > 3 or self.code[:1] not in "fiub" or not self.code[1:].isdigit():
            raise NotPlain(f"it holds an array of type {self.code[:20]}, not of numbers")
        try:
            found = np.dtype(self.code)
        except TypeError:
            raise NotPlain(f"it holds an array of type {self.code}, not of numbers") from None
        return {"<": found.newbyteorder("<"), ">": found.newbyteorder(">")}.get(self.order, found)


@dataclass
class _Array:
    """An array that is not there before its state comes; `value` then holds it."""

    value: np.ndarray | None = None


@dataclass
class _Machine:
    """The stack, its marks and the memo."""

    stack: list[Any] = field(default_factory=list)
    marks: list[list[Any]] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def pop(self) -> Any:
        if not self.stack:
            raise NotPlain("it takes more from its stack than there is")
        return self.stack.pop()

    def top(self, kind: type) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise NotPlain(f"it adds to something that is no {kind.__name__}")
        return self.stack[-1]

    def to_mark(self) -> list[Any]:
        if not self.marks:
            raise NotPlain("a mark is missing")
        items, self.stack = self.stack, self.marks.pop()
        return items


def read_plain(data: bytes) -> Any:
    """What a pickle holds: dictionaries, lists, tuples, text, numbers, None and arrays of numbers, nested.

    Raises:
        NotPlain: damaged, or something else is in it.
    """
    machine = _Machine()
    for count, (name, argument) in enumerate(_instructions(data)):
        if count > MOST_INSTRUCTIONS:
            raise NotPlain(f"it has more than {MOST_INSTRUCTIONS:,} instructions")
        if name == "STOP":
            return _finished(machine.pop())
        _step(machine, name, argument)
    raise NotPlain("it ends before its last instruction")


def _instructions(data: bytes) -> Iterator[tuple[str, Any]]:
    stream = pickletools.genops(io.BytesIO(data))
    while True:
        try:
            instruction, argument, _ = next(stream)
        except StopIteration:
            return
        except Exception as error:  # pickletools raises whatever a damaged argument makes of it
            raise NotPlain(f"it is damaged ({error})") from None
        yield instruction.name, argument


def _step(machine: _Machine, name: str, argument: Any) -> None:
    if name in _PUSHED:
        machine.stack.append(argument)
    elif name in _CONSTANTS:
        machine.stack.append(_CONSTANTS[name]())
    elif name in _STEPS:
        _STEPS[name](machine, argument)
    else:
        raise NotPlain(f"it has the instruction {name}, which plain containers and arrays do without")


def _mark(machine: _Machine, _: Any) -> None:
    machine.marks.append(machine.stack)
    machine.stack = []


def _take(count: int) -> Callable[[_Machine, Any], None]:
    def step(machine: _Machine, _: Any) -> None:
        items = [machine.pop() for _ in range(count)]
        machine.stack.append(tuple(reversed(items)))

    return step


def _collect(kind: type) -> Callable[[_Machine, Any], None]:
    def step(machine: _Machine, _: Any) -> None:
        items = machine.to_mark()
        machine.stack.append(kind(items))

    return step


def _set(machine: _Machine, pairs: list[Any]) -> None:
    target = machine.top(dict)
    if len(pairs) % 2:
        raise NotPlain("a key has no value")
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        if not isinstance(key, (str, bytes, int, float, bool, type(None))):
            raise NotPlain("a key is neither text nor bytes nor a number")
        target[key] = value


def _set_item(machine: _Machine, _: Any) -> None:
    value, key = machine.pop(), machine.pop()
    _set(machine, [key, value])


def _set_items(machine: _Machine, _: Any) -> None:
    _set(machine, machine.to_mark())


def _dictionary(machine: _Machine, _: Any) -> None:
    pairs = machine.to_mark()
    machine.stack.append({})
    _set(machine, pairs)


def _append(machine: _Machine, _: Any) -> None:
    item = machine.pop()
    machine.top(list).append(item)


def _extend(machine: _Machine, _: Any) -> None:
    items = machine.to_mark()
    machine.top(list).extend(items)


def _put(machine: _Machine, argument: Any) -> None:
    machine.memo[len(machine.memo) if argument is None else argument] = machine.top(object)


def _get(machine: _Machine, argument: Any) -> None:
    if argument not in machine.memo:
        raise NotPlain("it asks for something that it has not kept")
    machine.stack.append(machine.memo[argument])


def _name(machine: _Machine, argument: Any) -> None:
    if argument is None:
        name, module = machine.pop(), machine.pop()
    else:
        module, _, name = str(argument).partition(" ")
    if not (isinstance(module, str) and isinstance(name, str)):
        raise NotPlain("it names something by what is no text")
    machine.stack.append(_Name(module, name))


def _call(machine: _Machine, _: Any) -> None:
    arguments, function = machine.pop(), machine.pop()
    if not isinstance(function, _Name) or not isinstance(arguments, tuple):
        raise NotPlain("it calls something that it does not name")
    machine.stack.append(_called(function, arguments))


def _called(function: _Name, arguments: tuple[Any, ...]) -> Any:
    """What a call of NumPy's would give, for those few that make arrays, types and numbers."""
    if function.is_numpy("_reconstruct") and len(arguments) == 3:
        if not (isinstance(arguments[0], _Name) and arguments[0].is_numpy("ndarray")):
            raise NotPlain("it holds an array of a kind of its own")
        return _Array()
    if function.is_numpy("dtype") and 1 <= len(arguments) <= 3 and isinstance(arguments[0], str):
        return _Type(arguments[0])
    if function.is_numpy("scalar") and len(arguments) == 2 and isinstance(arguments[0], _Type):
        return _array(arguments[0], (), arguments[1], False).item()
    if function.is_numpy("_frombuffer") and len(arguments) == 4 and isinstance(arguments[1], _Type):
        data, kind, shape, order = arguments
        return _Array(_array(kind, shape, data, order == "F"))
    if (function.module, function.name) in _DICTIONARIES and not arguments:
        return {}
    if function in _BYTES and not arguments:
        return b""
    if (function.module, function.name) == ("_codecs", "encode") and len(arguments) == 2 and arguments[1] == "latin1":
        return _latin(arguments[0])  # bytes in the pickles of protocol 2
    raise NotPlain(f"it asks for {function.module}.{function.name}, which is neither a container nor an array")


def _latin(text: Any) -> bytes:
    try:
        return str(text).encode("latin1") if isinstance(text, str) else b""
    except UnicodeEncodeError:
        raise NotPlain("its bytes are damaged") from None


def _new(machine: _Machine, _: Any) -> None:
    """An object without its own call: of a dictionary's kind only."""
    arguments, kind = machine.pop(), machine.pop()
    if not (isinstance(kind, _Name) and (kind.module, kind.name) in _DICTIONARIES and arguments == ()):
        raise NotPlain("it makes an object that is neither a container nor an array")
    machine.stack.append({})


def _build(machine: _Machine, _: Any) -> None:
    """The state of an array or a type."""
    state = machine.pop()
    target = machine.top(object)
    if isinstance(target, _Array) and target.value is None and isinstance(state, tuple) and len(state) == 5:
        _, shape, kind, fortran, data = state
        if not isinstance(kind, _Type):
            raise NotPlain("an array has no type")
        target.value = _array(kind, shape, data, bool(fortran))
    elif isinstance(target, _Type) and isinstance(state, tuple) and len(state) >= 2 and state[1] in _ORDERS:
        if any(each is not None for each in state[2:5]):
            raise NotPlain("it holds an array of records")
        target.order = state[1]
    else:
        raise NotPlain("it sets up something that is neither an array nor its type")


def _array(kind: _Type, shape: Any, data: Any, fortran: bool) -> np.ndarray:
    """The array of checked bytes."""
    if not (isinstance(shape, tuple) and len(shape) <= MOST_DIMENSIONS and all(type(side) is int for side in shape)):
        raise NotPlain("an array has no shape")
    if isinstance(data, str):  # as Python 2 wrote bytes
        data = _latin(data)
    if not isinstance(data, (bytes, bytearray)):
        raise NotPlain("an array's values are no bytes")
    dtype = kind.dtype()
    if any(not 0 <= side <= 1 << 48 for side in shape):  # before it is multiplied, or shown
        raise NotPlain("an array has a side that no array has")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise NotPlain(f"an array of shape {str(shape)[:80]} and type {dtype} has {len(data):,} bytes")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _finished(found: Any) -> Any:
    """The containers with their arrays in place; each container once, so that shared ones stay shared."""
    if isinstance(found, _Array):
        return _value(found)
    if isinstance(found, (_Name, _Type)):
        raise NotPlain("it holds a name in place of a value")
    waiting, seen = [found], set()
    while waiting:
        each = waiting.pop()
        if id(each) in seen or not isinstance(each, (dict, list, tuple)):
            if isinstance(each, (_Name, _Type)):
                raise NotPlain("it holds a name in place of a value")
            continue
        seen.add(id(each))
        items = each.items() if isinstance(each, dict) else enumerate(each)
        for key, item in list(items):
            if isinstance(item, _Array):
                if isinstance(each, tuple):
                    raise NotPlain("it holds an array within a tuple")
                each[key] = _value(item)
            else:
                waiting.append(item)
    return found


def _value(array: _Array) -> np.ndarray:
    if array.value is None:
        raise NotPlain("an array has no values")
    return array.value


_BYTES = {_Name("__builtin__", "bytes"), _Name("builtins", "bytes")}  # empty ones, in the pickles of protocol 2
_PUSHED = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    **{"NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False},
    **{"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple},
}
_STEPS: dict[str, Callable[[_Machine, Any], Any]] = {
    **{"PROTO": lambda machine, _: None, "FRAME": lambda machine, _: None, "MARK": _mark},
    **{"POP": lambda machine, _: machine.pop(), "DUP": lambda machine, _: machine.stack.append(machine.top(object))},
    **{"TUPLE1": _take(1), "TUPLE2": _take(2), "TUPLE3": _take(3)},
    **{"TUPLE": _collect(tuple), "LIST": _collect(list), "POP_MARK": lambda machine, _: machine.to_mark()},
    **{"DICT": _dictionary, "SETITEM": _set_item, "SETITEMS": _set_items, "APPEND": _append, "APPENDS": _extend},
    **{"PUT": _put, "BINPUT": _put, "LONG_BINPUT": _put, "MEMOIZE": _put},
    **{"GET": _get, "BINGET": _get, "LONG_BINGET": _get},
    **{"GLOBAL": _name, "STACK_GLOBAL": _name, "REDUCE": _call, "NEWOBJ": _new, "BUILD": _build},
}
