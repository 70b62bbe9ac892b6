"""Writes js/src/core/answers.ts, the browser's types, from the dataclasses of answers: python tools/make_answers.py

A field with a default is optional: it is left out where it has it. Maps come as arrays beside the answer.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from lmtt_widget import answers
from lmtt_widget.answers.question import Answered, Column, Map, Record, Selection, Tokens
from lmtt_widget.lens import TokenList

FILE = Path(__file__).resolve().parents[1] / "js" / "src" / "core" / "answers.ts"
_HEAD = """// What Python answers to each kind of question; written by `python tools/make_answers.py`.
import type { Answer } from "./answer.js";
import type { Selection } from "./select.js";
"""
_PLAIN = {int: "number", float: "number", str: "string", bool: "boolean", type(None): "null", TokenList: "Tokens",
          Selection: "Selection", Any: "unknown"}  # fmt: skip


def page() -> str:
    """The whole file."""
    written: dict[str, str] = {}
    for name, module in answers.KINDS.items():
        if module.__name__.startswith(answers.__name__):
            for record in (Tokens, *_records(module.Answer)):
                if record is not module.Answer:
                    written.setdefault(record.__name__, _interface(record, record.__name__, _base(record), []))
            kind = f'  kind: "{name}";'
            written[name] = _interface(module.Answer, f"{name.capitalize()}Answer", _base(module.Answer), [kind])
    return "\n".join([_HEAD, "\n\n".join(written.values())]) + "\n"


def _records(of: type[Record]) -> Iterator[type[Record]]:
    """What an answer is made of, before what is made of it; each once or more."""
    for hint in _own(of).values():
        for part in _parts(hint):
            if isinstance(part, type) and issubclass(part, Record) and part is not of:
                yield from _records(part)
    if issubclass(of.__mro__[1], Record) and of.__mro__[1] not in (Record, Answered):
        yield from _records(of.__mro__[1])
    yield of


def _parts(hint: Any) -> Iterator[Any]:
    yield hint
    for part in get_args(hint):
        yield from _parts(part)


def _own(record: type[Record]) -> dict[str, Any]:
    """The fields that the class itself declares, with their types."""
    hints = get_type_hints(record, include_extras=True)
    return {name: hints[name] for name in inspect.get_annotations(record)}


def _base(record: type[Record]) -> str | None:
    base = record.__mro__[1]
    return None if base is Record else "Answer" if base is Answered else base.__name__


def _interface(record: type[Record], name: str, base: str | None, lines: list[str]) -> str:
    remarks, defaults = _remarks(record), {f.name: f.default for f in fields(record)}  # type: ignore[arg-type]
    for field, hint in _own(record).items():
        parts = [part for part in _alternatives(hint) if part is not type(None) or defaults[field] is MISSING]
        if Map in parts:
            continue
        optional = "?" if defaults[field] is not MISSING else ""
        remark = f" // {remarks[field]}" if field in remarks else ""
        lines = [*lines, f"  {field}{optional}: {' | '.join(dict.fromkeys(map(_type, parts)))};{remark}"]
    extends = f" extends {base}" if base else ""
    return "\n".join([f"export interface {name}{extends} {{", *lines, "}"])


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _type(hint: Any) -> str:
    if hint == Column:
        return "number[]"
    if get_origin(hint) is list:
        inside = " | ".join(dict.fromkeys(map(_type, _alternatives(get_args(hint)[0]))))
        return f"({inside})[]" if "|" in inside else f"{inside}[]"
    if isinstance(hint, type) and issubclass(hint, Record):
        return hint.__name__
    return _PLAIN[hint]


def _remarks(record: type[Record]) -> dict[str, str]:
    """The comments behind the fields."""
    found = re.findall(r"^    (\w+): .*?  # (.+)$", inspect.getsource(record), re.MULTILINE)
    return {name: remark for name, remark in found if not remark.startswith("[")}


if __name__ == "__main__":
    FILE.write_text(page(), "utf-8")
