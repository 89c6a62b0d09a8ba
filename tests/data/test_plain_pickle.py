"""Pickles of arrays are read, and a pickle that would do anything else does nothing."""

from __future__ import annotations

import builtins
import collections
import contextlib
import os
import pickle
import pickletools
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from genaudit.data.plain_pickle import NotPlain, read_plain

NUMBERS = arrays.arrays(
    st.sampled_from([np.dtype(code) for code in ("<f8", ">f8", "<f4", "f2", "<i8", ">i4", "u1", "?", "i2")]),
    arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary() | NUMBERS,
    lambda each: st.lists(each, max_size=4) | st.dictionaries(st.text(max_size=3), each, max_size=4),
    max_leaves=12,
)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        same = isinstance(b, np.ndarray) and (a.dtype.kind, a.itemsize, a.shape) == (b.dtype.kind, b.itemsize, b.shape)
        return same and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(_equal, a, b))
    return type(a) is type(b) and a == b


@settings(deadline=None, max_examples=60)
@given(PLAIN, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_what_pickle_writes_of_plain_things_is_read_as_pickle_reads_it(thing: Any, protocol: int) -> None:
    data = pickle.dumps(thing, protocol)
    assert _equal(read_plain(data), pickle.loads(data))


def test_shared_things_columns_first_numbers_and_dictionaries_of_other_kinds_are_read() -> None:
    shared = np.arange(6.0)
    thing = {"a": [shared, shared], "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "n": np.float32(2.5)}
    found = read_plain(pickle.dumps(collections.OrderedDict(thing)))
    assert found["a"][0] is found["a"][1]
    assert np.array_equal(found["f"], thing["f"])
    assert found["n"] == 2.5


class _Call:
    """Pickled as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def _raw(*parts: bytes) -> bytes:
    return b"\x80\x04" + b"".join(parts) + b"."


def _text(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


def _named(module: str, name: str) -> bytes:
    return _text(module) + _text(name) + b"\x93"


RECONSTRUCT = _named("numpy.core.multiarray", "_reconstruct")
NDARRAY, DTYPE = _named("numpy", "ndarray"), _named("numpy", "dtype")
F8 = DTYPE + _text("f8") + b"\x85R"
PAYLOADS: dict[str, Callable[[str], bytes]] = {
    "os.system": lambda file: pickle.dumps(_Call(os.system, f"touch {file}")),
    "os.system, protocol 0": lambda file: f"cposix\nsystem\n(S'touch {file}'\ntR.".encode(),
    "eval": lambda file: pickle.dumps(_Call(eval, f"open({file!r}, 'w')")),
    "in a dictionary": lambda file: pickle.dumps({"mu": np.zeros(2), "x": [_Call(os.mkdir, file)]}),
    "as a key": lambda file: _raw(b"}(", pickle.dumps(_Call(os.mkdir, file))[2:-1], b"K\x01u"),
    "as a state": lambda file: _raw(b"}", pickle.dumps(_Call(os.mkdir, file))[2:-1], b"b"),
    "in an array of objects": lambda file: pickle.dumps(np.array([_Call(os.mkdir, file), 1], object)),
    "INST": lambda file: f"(S'touch {file}'\nios\nsystem\n.".encode(),
    "OBJ": lambda file: _raw(b"(", _named("os", "mkdir"), _text(file[-200:]), b"o"),
    "NEWOBJ": lambda file: _raw(_named("subprocess", "Popen"), _text(f"touch {file}")[:1] + b"\x05touch", b"\x85\x81"),
    "NEWOBJ_EX": lambda file: _raw(_named("subprocess", "Popen"), _text("touch"), b"\x85}\x92"),
    "EXT1": lambda file: _raw(b"\x82\x01"),
    "a persistent id": lambda file: _raw(_text("module"), b"Q"),
    "an out-of-band buffer": lambda file: _raw(b"\x97"),
    "a name by its memo": lambda file: _raw(_named("os", "mkdir"), b"\x940h\x00", _text(file[-200:]), b"\x85R"),
    "a call of a call": lambda file: _raw(_named("builtins", "getattr"), _named("os", "mkdir"), _text("x"), b"\x86R)R"),
    "numpy.load": lambda file: pickle.dumps(_Call(np.load, file)),
    "numpy.ndarray itself": lambda file: _raw(NDARRAY, b"K\x02\x85\x85R"),
    "numpy.testing's runner": lambda file: _raw(
        _named("numpy.testing._private.utils", "runstring"), _text("1"), b"}\x86R"
    ),
    "an array of another kind": lambda file: _raw(RECONSTRUCT, _named("numpy", "memmap"), b"K\x00\x85C\x01b\x87R"),
    "a dtype of records": lambda file: pickle.dumps(np.zeros(2, [("a", "f8")])),
    "a dtype of a name": lambda file: _raw(DTYPE, _named("os", "mkdir"), b"\x85R"),
    "a dtype of objects": lambda file: _raw(DTYPE, _text("O8"), b"\x85R", b"N\x86b"),
    "text": lambda file: pickle.dumps(np.array(["a"])),
    "dates": lambda file: pickle.dumps(np.array(["2020-01-01"], "M8[D]")),
    "a name in place of a value": lambda file: _raw(_named("os", "mkdir")),
    "a name in a list": lambda file: pickle.dumps([os.mkdir]),
    "a type in a list": lambda file: pickle.dumps([np.dtype("f8")]),
    "a class": lambda file: pickle.dumps(_Call),
    "a set": lambda file: pickle.dumps({1, 2}),
    "a complex number": lambda file: pickle.dumps(1j),
}


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_pickle_of_anything_else_is_refused_and_runs_nothing(
    payload: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ran"
    data = PAYLOADS[payload](str(file))
    imported: list[str] = []
    original = builtins.__import__

    def watched(name: str, *rest: Any) -> Any:
        imported.append(name)
        return original(name, *rest)

    refused, before = False, set(sys.modules)
    with monkeypatch.context() as patch:
        patch.setattr(builtins, "__import__", watched)
        for owner, function in ((os, "system"), (os, "mkdir"), (subprocess, "Popen"), (pickle, "loads")):
            patch.setattr(owner, function, lambda *_: pytest.fail("it ran"))
        imported.clear()
        try:
            read_plain(data)
        except NotPlain:
            refused = imported == []
    assert refused
    assert not file.exists()
    assert set(sys.modules) == before


ARRAY = RECONSTRUCT + NDARRAY + b"K\x00\x85C\x01b\x87R"


WIDE = b"\x8a\x06\x00\x00\x00\x00\x00\x01\x85"  # (1 << 40,)
DIGITS = b"\x8b" + struct.pack("<i", 1 << 20) + b"\x01" * (1 << 20) + b"\x85"


def _state(shape: bytes, data: bytes) -> bytes:
    return b"(K\x01" + shape + F8 + b"\x89" + data + b"tb"


HUGE: dict[str, bytes] = {
    "an array that claims a terabyte": _raw(ARRAY, _state(WIDE, b"C\x08" + bytes(8))),
    "made with a huge shape": _raw(RECONSTRUCT, NDARRAY, WIDE + b"C\x01b\x87R"),
    "a side of a million digits": _raw(ARRAY, _state(DIGITS, b"C\x00")),
    "a negative side": _raw(ARRAY, _state(b"J\xff\xff\xff\xffJ\xf8\xff\xff\xff\x86", b"C\x08" + bytes(8))),
    "a memo of four billion": _raw(b"N", b"r\xff\xff\xff\xff"),
    "bytes that are not there": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"x.",
    "a bytearray that is not there": b"\x80\x05\x96" + struct.pack("<Q", 1 << 60) + b"x.",
    "text that is not there": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"x.",
    "a frame of an exabyte": b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"N.",
    "lists in lists that double": _raw(b"]\x94(K\x01e0", *(b"](h\x00h\x00e\x940" for _ in range(60)), b"h\x00"),
    "a long number of digits": b"L" + b"9" * (1 << 20) + b"L\n.",
}


@pytest.mark.parametrize("payload", HUGE)
def test_what_claims_much_takes_little(payload: str) -> None:
    data = HUGE[payload]
    tracemalloc.start()
    try:
        with contextlib.suppress(NotPlain):
            read_plain(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < (16 << 20) + 8 * len(data)


def test_deep_nesting_and_circles_end() -> None:
    nested, depth = read_plain(_raw(b"]" * 50_000, b"a" * 49_999)), 0
    while nested:
        (nested,), depth = nested, depth + 1
    assert (nested, depth) == ([], 49_999)
    circle = read_plain(_raw(b"]\x94h\x00a"))
    assert circle[0] is circle


@pytest.mark.parametrize(
    "junk", [b"", b".", b"\x80\x04.", b"(.", b"0.", b"u.", b"}K\x01s.", b"]a.", b"h\x05.", b"t.", b"\x85."]
)
def test_damaged_ones_are_refused(junk: bytes) -> None:
    with pytest.raises(NotPlain):
        read_plain(junk)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=6))
def test_a_change_of_any_byte_is_read_or_refused(place: int, bytes_: bytes) -> None:
    data = bytearray(pickle.dumps({"mu": np.arange(3.0), "sigma": np.eye(3), "n": [1, "x", None]}))
    place %= len(data)
    data[place : place + len(bytes_)] = bytes_
    with contextlib.suppress(NotPlain):
        read_plain(bytes(data))


def test_every_instruction_of_pickle_is_carried_out_or_refused_by_name() -> None:
    """None falls through: what is not known is refused, whatever a later Python adds."""
    from genaudit.data import plain_pickle

    known = plain_pickle._PUSHED | set(plain_pickle._CONSTANTS) | set(plain_pickle._STEPS) | {"STOP"}
    others = {each.name for each in pickletools.opcodes} - known
    assert others == {
        *("PERSID", "BINPERSID", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"),
        *("EMPTY_SET", "ADDITEMS", "FROZENSET"),
    }
