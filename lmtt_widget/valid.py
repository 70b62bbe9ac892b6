"""What a graph, a peek or an answer from outside must be before anything is drawn of it: every number in its range.

    check(message, "graph") -> (meta, sections)      or ValueError with the first thing that is wrong

A file may come from anywhere: a column that is too short, a key after its query or a layer number of ten digits would
end the drawing far from here, or never.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from .given import told
from .wire import unpack

Meta = dict[str, Any]
Sections = dict[str, np.ndarray]
_ROUNDING = 1.01  # the largest share, as a float16
_MOST_HEADS = 1 << 15
_MOST_EDITS = 256
_LARGEST = 1 << 53  # the largest whole number that JavaScript knows
_HEX = re.compile(r"([0-9a-f]{2})*")


def check(message: bytes, kind: str) -> tuple[Meta, Sections]:
    """What a message of this kind says. Raises ValueError for any other, and for what cannot be."""
    found, meta, sections = unpack(message)
    if found != kind:
        raise ValueError(f"expected a message of kind {kind!r}, got {found!r:.40}")
    _CHECKS[kind](meta, sections)
    return meta, sections


def check_answer(answer: Any) -> None:
    """Raises ValueError for what is no answer to a question."""
    _need(isinstance(answer, dict) and isinstance(answer.get("question"), dict), "an answer has no question")
    check_selection(answer["question"])
    maps = answer.get("maps", {})
    _need(isinstance(maps, dict), "an answer has no maps")


def check_selection(selection: Any) -> None:
    """Raises ValueError for what is no selection in any run; which fields a kind has is known where it is answered."""
    _need(
        isinstance(selection, dict) and isinstance(selection.get("kind"), str),
        f'a selection is a dictionary with a "kind", got {selection!r:.60}',
    )
    for name, value in selection.items():
        is_share = isinstance(value, float) and 0 <= value <= 1
        is_word = isinstance(value, str) and len(value) <= 40
        fits = value is None or is_share or is_word or _is_number(value, 0, _LARGEST)
        _need(fits and isinstance(name, str), f"a selection has numbers in its fields, got {name!r:.40}: {value!r:.40}")
        _texts([name, value], "a selection")


def check_edits(edits: Any) -> None:
    """Raises ValueError for what are no edits in any run."""
    _need(isinstance(edits, list) and len(edits) <= _MOST_EDITS, f"edits are a list, got {edits!r:.60}")
    for edit in edits:
        _need(isinstance(edit, dict) and "selection" in edit, f"an edit has a selection, got {edit!r:.60}")
        check_selection(edit["selection"])
        to = edit.get("to", 0)
        fits = to == "mean" or (_is_scalar(to) and type(to) in (int, float))
        if isinstance(to, dict) and set(to) == {"prompt"}:
            check_prompt(to["prompt"])
            fits = True
        elif isinstance(to, dict) and set(to) == {"value"}:
            fits = _is_scalar(to["value"]) and type(to["value"]) in (int, float)
        _need(
            fits and type(edit.get("renormalise", False)) is bool, f"an edit is to a number or a mean, got {edit!r:.60}"
        )


def chosen(include: Any) -> list[Any] | None:
    """The selections that are to be included; None for "auto". Raises ValueError for what is neither."""
    if isinstance(include, (str, dict)) or not isinstance(include, Iterable):
        if include not in ("auto", "nothing"):
            raise ValueError(f'include is "auto", "nothing" or a list of selections, got {told(include)}')
        return None if include == "auto" else []
    found = list(include)
    for selection in found:
        check_selection(selection)
    return found


def check_prompt(prompt: Any) -> None:
    """Raises ValueError for what is no prompt: text, token ids or messages."""
    ids = isinstance(prompt, list) and all(_is_number(x, 0, _LARGEST) for x in prompt)
    messages = isinstance(prompt, list) and all(isinstance(x, dict) for x in prompt)
    _need(isinstance(prompt, str) or ids or messages, f"a prompt is text, token ids or messages, got {prompt!r:.60}")
    _texts(prompt, "a prompt")


def _graph(meta: Meta, sections: Sections) -> None:
    tokens, states, parts = meta.get("tokens"), meta.get("states"), meta.get("parts")
    _need(isinstance(tokens, dict), "there are no tokens")
    n_tokens = _tokens(tokens)  # type: ignore[arg-type]
    _need(isinstance(states, list) and len(states) > 0, "there are no states")
    _need(isinstance(parts, list), "there are no parts")
    n_states = len(states)  # type: ignore[arg-type]
    for k, state in enumerate(states):  # type: ignore[arg-type]
        _state(state, k, n_states)
    for k, part in enumerate(parts):  # type: ignore[arg-type]
        _part(part, k, n_states, n_tokens, sections)
    for name in ("carried", "ended", "truncated"):
        _shares(sections, name, (n_states, n_tokens))
    vocab = _strings(meta, "vocab")
    _predictions(sections, "next.token", "next.p", (n_tokens, None), 0, len(vocab))
    _need(all(isinstance(meta.get(name), str) for name in ("run", "prompt")), "run and prompt are texts")
    _need(_is_share(meta.get("smallest")), "the smallest share is no share")
    model, fidelity = meta.get("model"), meta.get("fidelity")
    _need(isinstance(model, dict) and isinstance(model.get("line"), str), "there is no line about the model")
    _need(all(_is_scalar(x) for x in model.values()), "what is said of the model is no text or number")  # type: ignore[union-attr]
    _fidelity(fidelity)
    _texts(meta, "the graph")


def _tokens(tokens: Mapping[str, Any]) -> int:
    """The columns of the tokens; returns how many there are."""
    texts: dict[str, Callable[[Any], bool]] = {
        "text": lambda x: isinstance(x, str),
        "raw": lambda x: isinstance(x, str),
        "bytes": lambda x: isinstance(x, str) and _HEX.fullmatch(x) is not None,
        "id": lambda x: _is_number(x, 0, _LARGEST),
        "special": lambda x: isinstance(x, bool),
        "role": lambda x: x is None or isinstance(x, str),
        "char": lambda x: x is None or isinstance(x, str),
        "part": _is_fragment,
    }
    n = len(tokens["text"]) if isinstance(tokens.get("text"), list) else 0
    _need(n > 0, "there are no tokens")
    for name, fits in texts.items():
        column = tokens.get(name)
        _need(isinstance(column, list) and len(column) == n, f"there is not one {name} for each of the {n} tokens")
        _need(all(map(fits, column)), f"one {name} of the tokens is none")  # type: ignore[arg-type]
    return n


def _is_fragment(x: Any) -> bool:
    return x is None or (isinstance(x, list) and len(x) == 2 and _is_number(x[1], 1, 64) and _is_number(x[0], 1, x[1]))


def _state(state: Any, number: int, n_states: int) -> None:
    where = f"state {number}"
    _need(isinstance(state, dict) and isinstance(state.get("name"), str), f"{where} has no name")
    _layer(state.get("layer"), n_states, where)
    _need(_is_number(state.get("carried"), -1, number - 1), f"{where} does not continue an earlier one")


def _part(part: Any, number: int, n_states: int, n_tokens: int, sections: Sections) -> None:
    where = f"part {number}"
    _need(isinstance(part, dict), f"{where} is none")
    kind, state, heads = part.get("kind"), part.get("state"), part.get("heads")
    _need(isinstance(kind, str) and isinstance(part.get("label"), str), f"{where} has no kind or label")
    _layer(part.get("layer"), n_states, where)
    _need(_is_number(state, 0, n_states - 1), f"{where} enters no state")
    lowest = 0 if kind == "attention" else -1
    _need(_is_number(part.get("reads"), lowest, state - 1), f"{where} reads no earlier state")
    _need(heads is None or _is_number(heads, 0, _MOST_HEADS), f"{where} has {heads!r:.20} heads")
    if kind != "attention":
        return _shares(sections, f"p{number}.share", (n_tokens,))
    row, key, top = (_column(sections, f"p{number}.{name}") for name in ("row", "key", "top"))
    rows, keys = row.astype(np.int64), key.astype(np.int64)
    _need(row.shape == (n_tokens + 1,) and not rows[0] and bool((np.diff(rows) >= 0).all()), f"{where} has no rows")
    n_edges = int(rows[-1])
    _need(key.shape == top.shape == (n_edges,), f"{where} has not one key and head for each of its {n_edges} edges")
    query = np.repeat(np.arange(n_tokens), np.diff(rows).astype(np.intp))
    _need(bool(((keys >= 0) & (keys <= query)).all()), f"{where} has a key after its query")
    _need(bool(((top >= 0) & (top < (heads or _MOST_HEADS))).all()), f"{where} has no such head")
    for name in ("sum", "max"):
        _shares(sections, f"p{number}.{name}", (n_edges,))
    return None


def _layer(layer: Any, n_states: int, where: str) -> None:
    _need(layer is None or _is_number(layer, 0, 4 * n_states), f"{where} is in layer {layer!r:.20}")


def _fidelity(said: Any) -> None:
    _need(isinstance(said, dict) and isinstance(said.get("text"), str), "nothing is said of the fidelity")
    identities = said.get("identities")
    fits = isinstance(said.get("exact"), bool) and isinstance(said.get("dtype"), str) and isinstance(identities, dict)
    _need(fits and all(_is_error(x) for x in (said.get("worst"), *identities.values())), "the fidelity is none")
    _strings(said, "problems")


def _peek(meta: Meta, sections: Sections) -> None:
    token = _column(sections, "token")
    _need(token.ndim == 2, "a peek has one token for each state and position")
    _predictions(sections, "token", "p", token.shape, -1, len(_strings(meta, "vocab")))
    _texts(meta, "the peek")


def _detail(meta: Meta, _sections: Sections) -> None:
    answers = meta.get("answers")
    _need(isinstance(answers, list), "there are no answers")
    for answer in answers:  # type: ignore[union-attr]
        check_answer(answer)
    _texts(meta, "an answer")


_CHECKS: dict[str, Callable[[Meta, Sections], None]] = {
    "graph": _graph, "peek": _peek, "detail": _detail, "saved": _detail,
}  # fmt: skip


# ---- columns ----


def _predictions(
    sections: Sections, token: str, p: str, shape: tuple[int | None, ...], lowest: int, n_vocab: int
) -> None:
    ids = _column(sections, token)
    fits = ids.ndim == 2 and all(n in (None, m) for n, m in zip(shape, ids.shape, strict=True))
    _need(fits and ids.dtype.kind in "iu", f"section {token} has the shape {ids.shape}")
    _need(bool(((ids >= lowest) & (ids < n_vocab)).all()), f"section {token} names a token that is not there")
    _shares(sections, p, ids.shape)


def _shares(sections: Sections, name: str, shape: tuple[int, ...]) -> None:
    values = _column(sections, name)
    _need(values.shape == shape, f"section {name} has the shape {values.shape}, expected {shape}")
    wide = values.astype(np.float32)
    _need(values.dtype.kind == "f" and bool(((wide >= 0) & (wide <= _ROUNDING)).all()), f"section {name} is no shares")


def _column(sections: Sections, name: str) -> np.ndarray:
    _need(name in sections, f"section {name} is missing")
    return sections[name]


# ---- values ----


def _need(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _is_number(x: Any, lowest: int, largest: int) -> bool:
    return type(x) is int and lowest <= x <= largest


def _is_share(x: Any) -> bool:
    return type(x) in (int, float) and 0 <= x <= _ROUNDING


def _is_error(x: Any) -> bool:
    return x is None or (type(x) in (int, float) and 0 <= x <= _LARGEST)


def _is_scalar(x: Any) -> bool:
    return x is None or isinstance(x, (str, bool)) or (type(x) in (int, float) and abs(x) <= _LARGEST)


def _strings(meta: Mapping[str, Any], name: str) -> list[str]:
    found = meta.get(name)
    _need(isinstance(found, list) and all(isinstance(x, str) for x in found), f"{name} is no list of texts")
    return found  # type: ignore[return-value]


def _texts(x: Any, where: str) -> None:
    """Raises ValueError where a text has half of a character, which cannot be written to a file."""
    stack: list[Iterable[Any]] = [[x]]
    while stack:
        for y in stack.pop():
            if isinstance(y, str):
                _need(y.isascii() or not any("\ud800" <= c <= "\udfff" for c in y), f"{where} has half of a character")
            elif isinstance(y, dict):
                stack += [y.keys(), y.values()]
            elif isinstance(y, list):
                stack.append(y)
