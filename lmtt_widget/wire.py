"""The byte container of everything the browser and a saved file are told; js/src/wire.ts is its mirror.

"LMTW", the length of a JSON header, the header (version, kind, meta, sections with dtype, shape and offset), then the
sections, each 8-aligned, little endian, in C order; no two share a byte.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NoReturn

import numpy as np

VERSION = 1
_MAGIC = b"LMTW"
_DTYPES = ("float32", "float16", "uint8", "uint16", "int32", "uint32")
_MOST_DIGITS = 20
_MOST_HEADER = 1 << 25  # bytes
_MOST_VALUES = 1 << 20  # in one JSON text: each takes up to a hundred times its bytes once it is read


def pack(kind: str, meta: Mapping[str, Any], sections: Mapping[str, np.ndarray]) -> bytes:
    """One message of the wire. Floats in `meta` must be finite: JSON has no others."""
    arrays = {
        name: np.ascontiguousarray(a.astype(a.dtype.newbyteorder("<"), copy=False)) for name, a in sections.items()
    }
    table, offset = {}, 0
    for name, a in arrays.items():
        table[name] = {"dtype": a.dtype.name, "shape": list(a.shape), "offset": offset}
        offset += _aligned(a.nbytes)
    header = {"version": VERSION, "kind": kind, "meta": meta, "sections": table}
    text = json.dumps(header, allow_nan=False, separators=(",", ":")).encode()
    text += b" " * (_aligned(len(text)) - len(text))
    body = [a.tobytes().ljust(_aligned(a.nbytes), b"\0") for a in arrays.values()]
    return b"".join([_MAGIC, len(text).to_bytes(4, "little"), text, *body])


def unpack(message: bytes) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    """(kind, meta, sections) of one message.

    Raises ValueError for anything else: cut off, of another version, or with sections that are not what they say. The
    memory taken is a small multiple of the message, whatever it says.
    """
    if message[:4] != _MAGIC or len(message) < 8:
        raise ValueError("not a message of lmtt_widget")
    start = 8 + int.from_bytes(message[4:8], "little")
    if start > len(message):
        raise ValueError("the message is cut off")
    if start > _MOST_HEADER:
        raise ValueError(f"the header of the message has {start:,} bytes, more than the {_MOST_HEADER:,} allowed")
    try:
        header = read_json(message[8:start])
    except (json.JSONDecodeError, UnicodeDecodeError) as e:
        raise ValueError("the header of the message is no JSON") from e
    if not isinstance(header, dict) or not isinstance(header.get("version"), int):
        raise ValueError("the header of the message says no version")
    if header["version"] != VERSION:
        raise ValueError(f"the message has version {header['version']}, this is version {VERSION}")
    kind, meta, table = header.get("kind"), header.get("meta"), header.get("sections")
    if not isinstance(kind, str) or not isinstance(meta, dict) or not isinstance(table, dict):
        raise ValueError("the header of the message lacks its kind, meta or sections")
    sections, places = {}, []
    for name, said in table.items():
        sections[name] = _section(name, said, message, start)
        places.append((said["offset"], said["offset"] + sections[name].nbytes, name))
    places = sorted(place for place in places if place[0] < place[1])
    for before, after in pairwise(places):
        if before[1] > after[0]:
            raise ValueError(f"sections {before[2]} and {after[2]} of the message share bytes")
    return kind, meta, sections


def read_json(text: str | bytes) -> Any:
    """What a JSON text says. Raises ValueError for anything else, for numbers that JSON has not, and for too much."""
    comma, bracket, brace = (",", "[", "{") if isinstance(text, str) else (b",", b"[", b"{")
    if text.count(comma) + text.count(bracket) + text.count(brace) > _MOST_VALUES:  # type: ignore[arg-type]
        raise ValueError(f"there are more than {_MOST_VALUES:,} values")
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_finite, parse_int=_whole)
    except RecursionError as e:
        raise ValueError("values lie too deep in one another") from e


def _section(name: str, said: Any, message: bytes, start: int) -> np.ndarray:
    said = said if isinstance(said, dict) else {}
    dtype, shape, offset = said.get("dtype"), said.get("shape"), said.get("offset")
    sizes = [*shape, offset] if isinstance(shape, list) and len(shape) <= 8 else [None]
    is_whole = all(type(n) is int and 0 <= n <= len(message) for n in sizes)
    if dtype not in _DTYPES or not is_whole or offset % 8:
        raise ValueError(f"section {name:.40} of the message has dtype {dtype!r:.20} and shape {shape!r:.60}")
    kind, count = np.dtype(dtype), math.prod(shape)
    if start + offset + count * kind.itemsize > len(message):
        raise ValueError(f"section {name:.40} of the message is cut off")
    return np.frombuffer(message, kind.newbyteorder("<"), count, start + offset).reshape(shape)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is too large for a number")
    return number


def _whole(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"{text[:20]}... is too large for a number")
    return int(text)


def _aligned(n: int) -> int:
    return (n + 7) // 8 * 8
