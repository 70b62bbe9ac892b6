"""The byte container of everything the browser and a saved file are told; js/src/wire.ts is its mirror.

"LMTW", the length of a JSON header, the header (version, kind, meta, sections with dtype, shape and offset), then the
sections, each 8-aligned, little endian, in C order.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

VERSION = 1
_MAGIC = b"LMTW"
_DTYPES = ("float32", "float16", "uint8", "uint16", "int32", "uint32")


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
    """(kind, meta, sections) of one message. Raises ValueError for anything else, also for one that was cut off."""
    if message[:4] != _MAGIC or len(message) < 8:
        raise ValueError("not a message of lmtt_widget")
    start = 8 + int.from_bytes(message[4:8], "little")
    try:
        header = json.loads(message[8:start])
    except (ValueError, RecursionError) as e:
        raise ValueError("the message is cut off") from e
    if header["version"] != VERSION:
        raise ValueError(f"the message has version {header['version']}, this is version {VERSION}")
    sections = {}
    for name, s in header["sections"].items():
        if s["dtype"] not in _DTYPES or min(s["shape"], default=0) < 0 or s["offset"] < 0:
            raise ValueError(f"section {name} of the message has dtype {s['dtype']} and shape {s['shape']}")
        dtype, count = np.dtype(s["dtype"]), math.prod(s["shape"])
        if start + s["offset"] + count * dtype.itemsize > len(message):
            raise ValueError("the message is cut off")
        sections[name] = np.frombuffer(message, dtype.newbyteorder("<"), count, start + s["offset"]).reshape(s["shape"])
    return header["kind"], header["meta"], sections


def _aligned(n: int) -> int:
    return (n + 7) // 8 * 8
