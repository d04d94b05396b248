"""JSON files and checkpoints with one fault each, decided by a seed."""

from __future__ import annotations

import copy
import json
import struct
from typing import Any

import numpy as np

Rng = np.random.Generator
ODD: list[Any] = [
    *(None, True, -1, 0, 3, 10**9, 10**30, 1.5, 1e308, float("nan"), float("inf")),
    *("", "a", "\n" * 3, "\ud800", "x" * 5000, "../a"),
    *([], [None], [[]], {}, {"a": {"b": []}}, [10**9] * 3),
]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside nested lists and dictionaries, the whole included."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in items for place in places(inner, (*path, key)))]


def changed(value: Any, rng: Rng) -> Any:
    """The value with one part replaced by something odd, or taken away, or twice there."""
    value = copy.deepcopy(value)
    known = places(value)
    *way, last = known[rng.integers(1, len(known))]
    inner = value
    for key in way:
        inner = inner[key]
    match rng.integers(5):
        case 0:
            del inner[last]
        case 1 if isinstance(inner, list):
            inner.append(inner[last])
        case _:
            inner[last] = ODD[rng.integers(len(ODD))]
    return value


def damaged_bytes(content: bytes, rng: Rng) -> bytes:
    """A file cut off, with a few bytes changed, taken away or put in, or another file."""
    position = int(rng.integers(len(content)))
    match rng.integers(6):
        case 0:
            return content[:position]
        case 1:
            return content[:position] + rng.bytes(3) + content[position:]
        case 2:
            return content[:position] + content[position + 1 :]
        case 3:
            return [b"", b"null", b"[" * 200_000, b'{"a":' * 100_000, b"\xff\xfe\0", rng.bytes(300)][rng.integers(6)]
        case _:
            noisy = bytearray(content)
            for place in rng.integers(0, len(content), 3):
                noisy[place] = rng.integers(256)
            return bytes(noisy)


def damaged_json(value: Any, seed: int) -> bytes:
    """The JSON file of a value, of which a part is odd or some bytes are wrong."""
    rng = np.random.default_rng(seed)
    if rng.random() < 0.7:
        return json.dumps(changed(value, rng)).encode()
    return damaged_bytes(json.dumps(value).encode(), rng)


def damaged_checkpoint(content: bytes, seed: int) -> bytes:
    """A safetensors file with odd facts, an odd list of tensors, odd numbers, or wrong bytes."""
    rng = np.random.default_rng(seed)
    (size,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    match rng.integers(6):
        case 0 | 1:
            facts = json.loads(header["__metadata__"]["lrnet_edu"])
            header["__metadata__"]["lrnet_edu"] = json.dumps(changed(facts, rng))
        case 2:
            header = changed(header, rng)
        case 3:
            name = list(header)[rng.integers(1, len(header))]
            header[name]["dtype"] = ["F64", "F16", "I32", "U8", "BOOL", "C64", "F8_E4M3", "F4", "X"][rng.integers(9)]
        case 4:
            odd = rng.choice(np.array([np.nan, np.inf, 3e38, -3e38, 1e-45], "<f4"), rng.integers(1, 4)).tobytes()
            place = 4 * int(rng.integers(len(data) // 4 - 4))
            data = data[:place] + odd + data[place + len(odd) :]
        case _:
            length = struct.pack("<Q", rng.choice(np.array([0, 7, 10**6, 2**62, 2**63 + 5], np.uint64)))
            return length + content[8:] if rng.random() < 0.3 else damaged_bytes(content, rng)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data
