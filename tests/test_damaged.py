"""Whatever was done to a saved analysis, it opens and is drawn, or is refused with a sentence."""

from __future__ import annotations

import base64
import copy
import json
import random
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmtt_widget as lmtt
from lmtt_widget.wire import pack, unpack

FIXTURES = Path(__file__).parent / "fixtures" / "v0_1"
HOSTILE: list[Any] = [
    None, True, -1, 0, 1, 7, 1 << 16, 1 << 31, 1 << 64, 10**400, 1.5, -0.5, "", "x", "\ud800", "<img>", [], {}, [[]],
    [10**400, 0], [-1], {"kind": "state"}, float("inf"), float("nan"),
]  # fmt: skip
BITS = {2: [0x7E00, 0x7C00, 0xFC00, 0xBC00, 0x7BFF, 0xFFFF, 0], 4: [1 << 31, (1 << 32) - 1, 0x7FC00000, 1 << 16, 0]}


def whole_of(name: str) -> dict[str, Any]:
    return json.loads((FIXTURES / name).read_text("utf-8"))  # type: ignore[no-any-return]


def places(x: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a JSON value."""
    items = x.items() if isinstance(x, dict) else enumerate(x) if isinstance(x, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def damaged(x: Any, rng: random.Random) -> None:
    """One thing in a JSON value replaced, left out or doubled."""
    found = [p for p in places(x) if p[-1] not in ("data", "graph", "peek", "detail")]
    by_depth = {len(p) for p in found}
    depth = rng.choice(sorted(by_depth))
    path = rng.choice([p for p in found if len(p) == depth])  # so that the many numbers far below are not all there is
    for key in path[:-1]:
        x = x[key]
    what = rng.randrange(4)
    if what == 0:
        del x[path[-1]]
    elif what == 1 and isinstance(x, list):
        x.insert(rng.randrange(len(x) + 1), copy.deepcopy(x[path[-1]]))
    else:
        x[path[-1]] = rng.choice(HOSTILE)


def repacked(message: bytes, rng: random.Random) -> bytes:
    """A message with something else in its header or in one of its sections."""
    kind, meta, sections = unpack(message)
    arrays = {name: a.copy() for name, a in sections.items()}
    filled = [name for name, a in arrays.items() if a.size]
    if filled and rng.random() < 0.4:
        name = rng.choice(filled)
        bits = arrays[name].reshape(-1).view(f"u{arrays[name].itemsize}")
        for _ in range(rng.choice([1, 1, 5])):
            bits[rng.randrange(len(bits))] = rng.choice(BITS.get(bits.itemsize, [255, 0]))
        return pack(kind, meta, arrays)
    start = 8 + int.from_bytes(message[4:8], "little")
    header = json.loads(message[8:start])
    damaged(header if rng.random() < 0.3 else header["meta"], rng)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return message[:4] + len(text).to_bytes(4, "little") + text + message[start:]


def mutation(seed: int) -> dict[str, Any]:
    rng = random.Random(seed)
    whole = whole_of(rng.choice(["analysis.json", "menu.json"]))
    saved = rng.choice(whole["prompts"])
    what = rng.random()
    if what < 0.15:
        damaged(whole, rng)
    elif "data" not in saved:
        name = rng.choice(["graph", "graph", "peek", "detail"])
        saved[name] = base64.b64encode(repacked(base64.b64decode(saved[name]), rng)).decode()
    else:
        outer = zlib.decompress(base64.b64decode(saved["data"]))
        kind, meta, sections = unpack(outer)
        if what < 0.4:
            outer = repacked(outer, rng)
        else:
            name = "graph" if what < 0.9 else "peek"
            inner = np.frombuffer(repacked(sections[name].tobytes(), rng), np.uint8)
            outer = pack(kind, meta, {**sections, name: inner})
        saved["data"] = base64.b64encode(zlib.compress(outer)).decode()
    return whole


def refusal(path: Path) -> str | None:
    """Why an analysis cannot be opened; None where it opens and each of its prompts is drawn."""
    try:
        w = lmtt.load_json(path)
    except ValueError as e:
        return str(e)
    for prompt in w.prompts:
        w.prompt = prompt
        assert w.svg().encode().rstrip().endswith(b"</svg>")
    w.page("nothing")
    w.close()
    return None


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_analysis_is_drawn_or_refused_in_words(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "it.json"
    for n in range(seed * 25, seed * 25 + 25):
        path.write_text(json.dumps(mutation(n)))
        said = refusal(path)
        assert said is None or len(said.removeprefix(f"{path} cannot be opened: ").split()) > 2, n


def opened(path: Path, whole: dict[str, Any]) -> str:
    """Why an analysis is not opened; what is allocated on the way there is a small multiple of the file."""
    path.write_text(json.dumps(whole))
    size = path.stat().st_size
    tracemalloc.start()
    try:
        with pytest.raises(ValueError) as error:
            lmtt.load_json(path)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 50e6 + 50 * size
    return str(error.value).removeprefix(f"{path} cannot be opened: it is damaged: ")


def holding(message: bytes) -> dict[str, Any]:
    whole = whole_of("analysis.json")
    whole["prompts"][0]["data"] = base64.b64encode(zlib.compress(message, 9)).decode()
    return whole


def headed(header: str) -> bytes:
    text = header.encode() + b" " * (-len(header) % 8)
    return b"LMTW" + len(text).to_bytes(4, "little") + text


def test_a_small_file_cannot_take_much_memory(tmp_path: Path) -> None:
    start = '{"version": 1, "kind": "saved", "sections": {}, "meta": {"answers": ['
    bomb = holding(b"\0" * (1 << 29))
    assert opened(tmp_path / "zeros.json", bomb) == "it takes more memory than an analysis of its size can"
    numbers = ",".join(random.Random(0).choices("0123456789", k=1_100_000))
    many = holding(headed(start + numbers + "]}}"))
    assert opened(tmp_path / "values.json", many) == "there are more than 1,048,576 values"
    deep = holding(headed(start + "[" * 900_000))
    assert opened(tmp_path / "deep.json", deep) == "values lie too deep in one another"
    whole = whole_of("analysis.json")
    twice = {**whole, "prompts": [{**whole["prompts"][0], "prompt": [0] * 1_100_000}]}
    assert opened(tmp_path / "outer.json", twice) == "there are more than 1,048,576 values"


def test_sections_that_share_bytes_are_refused() -> None:
    """Otherwise a thousand parts could all be drawn from the same megabyte."""
    section = '{"dtype": "uint8", "shape": [64], "offset": 0}'
    table = ", ".join(f'"p{k}.share": {section}' for k in range(2))
    message = headed(f'{{"version": 1, "kind": "graph", "meta": {{}}, "sections": {{{table}}}}}') + bytes(64)
    with pytest.raises(ValueError, match=r"sections p0\.share and p1\.share of the message share bytes"):
        unpack(message)


@pytest.mark.parametrize(
    "shape", [[10**400], [10**400, 0], [-1], [1.5], ["1"], [True], 7, None, [1] * 70, [1 << 62, 0]]
)
def test_a_shape_that_cannot_be_is_refused(shape: Any) -> None:
    said = json.dumps({"a": {"dtype": "uint8", "shape": shape, "offset": 0}})
    with pytest.raises(ValueError, match=r"section a of the message|too large for a number"):
        unpack(headed(f'{{"version": 1, "kind": "graph", "meta": {{}}, "sections": {said}}}') + bytes(64))


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": -Infinity}', '{"a": 1e999}'])
def test_a_number_that_json_has_not_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        unpack(headed(f'{{"version": 1, "kind": "graph", "meta": {text}, "sections": {{}}}}'))
