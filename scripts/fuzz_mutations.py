"""Mutations of bytes and JSON documents for `fuzz_inputs.py`: what a damaged disk does, and what a stranger would."""

from __future__ import annotations

import copy
import random
import struct
from typing import Any

NUMBERS = (0, 1, -1, 127, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**64 - 1)
TEXTS = (
    *("", "\0", "\x1b[31m", "\u202egnp.x", "=1+1", "../../x", "/dev/zero", "/dev/stdin", "/proc/self/mem", "x" * 5000),
    *("${oc.env:HOME}", "${now:%Y}", "???", "null", "nan", "1e999", "{{7*7}}", "<script>x</script>", "\n\n", "\udcff"),
    *("os.system", "fuzz_canary.run", "genaudit.backbones.generator_sources.ModuleGenerator", "torch.load", "exec"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 0.5, -0.0, 1e308, 5e-324, 10**12, -(10**12), 10**40, [], {}, [[]], [0] * 300),
    *TEXTS,
    {"_target_": "fuzz_canary.run"},
    {"_target_": "os.system", "_args_": ["touch canary"]},
    {"_target_": "genaudit.backbones.generator_sources.ModuleGenerator", "module": "fuzz_canary.run", "latent": 2},
    {"_target_": "genaudit.piad.perceptual.layer_of", "feature_model": {"_target_": "fuzz_canary.run"}, "layer": "x"},
)
RAW = ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 400, "[" * 3000, '"\\ud800"', "{", "")


def of_bytes(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """One to four changes of a file; `other` is a file to take pieces from."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        rng.choice((_flip, _flip, _number, _number, _cut, _remove, _repeat, _splice, _ascii_number, _zeros))(
            changed, other, rng
        )
    return bytes(changed)


def _place(data: bytearray, rng: random.Random) -> int:
    # headers and directories stand at the ends, and decide most
    near = rng.choice((64, 512, len(data)))
    at = rng.randrange(max(1, min(near, len(data))))
    return at if rng.random() < 0.7 else max(0, len(data) - 1 - at)


def _flip(data: bytearray, other: bytes, rng: random.Random) -> None:
    if data:
        data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _number(data: bytearray, other: bytes, rng: random.Random) -> None:
    code = rng.choice(("<B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
    size, at = struct.calcsize(code), _place(data, rng)
    data[at : at + size] = struct.pack(code, rng.choice(NUMBERS) % 2 ** (8 * size))


def _ascii_number(data: bytearray, other: bytes, rng: random.Random) -> None:
    """Another number where digits stand: shapes in headers, sizes of tar members."""
    digits = [i for i, byte in enumerate(data[:4096]) if 48 <= byte <= 57]
    if digits:
        at = rng.choice(digits)
        new = rng.choice((b"9", b"0", b"-1", b"7777777", b"99999999999", b"1e9", b"nan"))
        data[at : at + rng.choice((1, len(new)))] = new


def _cut(data: bytearray, other: bytes, rng: random.Random) -> None:
    del data[_place(data, rng) :]


def _remove(data: bytearray, other: bytes, rng: random.Random) -> None:
    at = _place(data, rng)
    del data[at : at + rng.choice((1, 4, 64, 512))]


def _repeat(data: bytearray, other: bytes, rng: random.Random) -> None:
    at = _place(data, rng)
    data[at:at] = data[at : at + rng.choice((1, 8, 512))] * rng.choice((1, 3, 50))


def _splice(data: bytearray, other: bytes, rng: random.Random) -> None:
    at, begin = _place(data, rng), rng.randrange(max(1, len(other)))
    data[at:] = other[begin:]


def _zeros(data: bytearray, other: bytes, rng: random.Random) -> None:
    at = _place(data, rng)
    data[at:at] = bytes(rng.choice((1, 512, 4096)))


def of_document(document: Any, rng: random.Random) -> Any:
    """A JSON document with one to three values changed, removed, added or moved."""
    changed = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(changed))
        holder, key = rng.choice(places)
        what = rng.random()
        if what < 0.65:
            holder[key] = copy.deepcopy(rng.choice(VALUES))
        elif what < 0.8:
            del holder[key]
        elif what < 0.9 and isinstance(holder, dict):
            holder[rng.choice(TEXTS) or "more"] = copy.deepcopy(rng.choice(VALUES))
        else:
            other, name = rng.choice(places)
            holder[key] = copy.deepcopy(other[name]) if _has(other, name) else None
        if not list(_places(changed)):
            break
    return changed


def of_text(text: str, rng: random.Random) -> str:
    """A serialised document with a token that JSON writers do not write."""
    at = [i for i, each in enumerate(text) if each in ":,["]
    if not at:
        return text
    place = rng.choice(at) + 1
    return text[:place] + rng.choice(RAW) + (text[place:] if rng.random() < 0.5 else "," + text[place:])


def _places(node: Any) -> Any:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in list(items):
        yield node, key
        yield from _places(value)


def _has(holder: Any, key: Any) -> bool:
    return key in holder if isinstance(holder, dict) else isinstance(key, int) and key < len(holder)
