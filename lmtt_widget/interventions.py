"""What may be changed in a forward pass, as data: a selection, and what stands there instead.

Knows nothing of how a pass is run; `edited` has what an edit does to the writes of a state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .parts import Part, State
from .prompts import plain_prompt

# kind -> the fields its selection needs, those it may have (one that is missing means all), and the parts it is about
_KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "edge": ((), ("query", "key", "part"), ("attention",)),
    "head": (("head",), ("query", "key", "part"), ("attention",)),
    "pattern": (("head",), ("query", "key", "part"), ("attention",)),
    "mlp": ((), ("pos", "part"), ("mlp",)),
    "mixer": ((), ("pos", "part"), ("mixer", "skip")),
    "neuron": (("neuron",), ("pos", "part", "expert"), ("mlp",)),
    "state": ((), ("pos",), ()),
    "reading": ((), ("pos", "part", "head"), ("attention", "mlp", "mixer")),
}
_FREE = ("state", "reading")  # kinds that take a vector, and a function of it


@dataclass(frozen=True)
class Edit:
    """One thing that is different in a forward pass: what a selection names, and what stands there instead.

    selection: as of the widget, {"kind": "head", "state": 7, "head": 1, "query": 9, "key": 3}; a kind "edge" (a line),
    "head", "mlp", "mixer", "neuron", "state", "pattern" or "reading". `state` is the state written into. A query, key
    or pos that is missing means all of them.
    to: a number scales what was written (0 cuts it, 2 doubles it); "mean" is its mean over the prompt's positions (of a
    line: the same attention weight on the mean value); a Run is what that run has there. Of kind "state" also a tensor
    [d_model] or [pos, d_model], which is added (steering), and a function of the state [pos, d_model] that returns
    another (`Reft` is one). Of kind "neuron" also {"value": 3.0}, which its activation is set to, and a function of its
    activation, a number, that returns another. Of kind "pattern" a tensor [query, key] or a Run, whose pattern the head
    is clamped to; its values stay its own. Of kind "reading" whatever may become of a state, but only as one part (or
    one head of it) reads it at a position: path patching (Goldowsky-Dill et al. 2023, arXiv:2304.05969), or a token
    knocked out of a state-space mixer. What the part then writes stands beside it, without keys.
    renormalise: what a cut line leaves of its row of attention takes over (attention knock-out, arXiv:2304.14767);
    `knock_outs` makes these for several layers. Without a query, a row that looks at nothing else keeps what it has.

    Raises ValueError for a selection or a value that cannot be meant.

        >>> cut = lmtt.Edit({"kind": "edge", "state": 5, "query": 13, "key": 1})
        >>> edited = lmtt.record(model, prompt, interventions=[cut])
        >>> lmtt.top_tokens(edited, k=1).tokens[0].text
        '·John'
    """

    selection: Mapping[str, Any]
    to: Any = 0.0  # a number, "mean", {"value": number}, a Run, a tensor or a function
    renormalise: bool = False

    def __post_init__(self) -> None:
        kind = self.selection.get("kind") if isinstance(self.selection, Mapping) else None
        if kind not in _KINDS:
            raise ValueError(f"an edit is of one of the kinds {', '.join(_KINDS)}, got {self.selection!r:.80}")
        needed, more, _ = _KINDS[kind]
        for name in ("state", *needed):
            if name not in self.selection:
                raise ValueError(f"an edit of kind {kind!r} needs {', '.join(('state', *needed))}; {name} is missing")
        for name, value in self.selection.items():
            if name not in ("kind", "state", *needed, *more):
                raise ValueError(
                    f"an edit of kind {kind!r} has the fields {', '.join(('state', *needed, *more))}, got {name!r:.40}"
                )
            if name not in ("kind", "expert") and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
                raise ValueError(f"{name} must be a number from 0 on, got {value!r:.40}")
        self._check_value(kind)

    def _check_value(self, kind: str) -> None:
        if self.renormalise and (kind not in ("edge", "head") or self.to != 0):
            raise ValueError("renormalise knocks out attention: kind edge or head, to=0")
        to = self.to
        number = to["value"] if is_value(to) else to
        known = isinstance(number, (int, float)) or callable(to) or is_run(to) or isinstance(to, Tensor) or to == "mean"
        if isinstance(number, bool) or not known:
            raise ValueError(
                f'to is a number, "mean", {{"value": number}}, a Run, a tensor or a function, got {to!r:.60}'
            )
        if isinstance(number, (int, float)) and not abs(number) < float("inf"):
            raise ValueError(f"to must be a finite number, got {number}")
        if is_value(to) and kind != "neuron":
            raise ValueError(f'{{"value": {number}}} sets the activation of an edit of kind "neuron", not {kind!r}')
        if isinstance(to, Tensor) and not bool(to.isfinite().all()):
            raise ValueError("the tensor of an edit has entries that are not finite (NaN or infinite)")
        if isinstance(to, Tensor) and kind not in (*_FREE, "pattern"):
            raise ValueError(f'a tensor goes to an edit of kind "state", "reading" or "pattern", not {kind!r}')
        if callable(to) and not is_run(to) and not isinstance(to, Tensor) and kind not in (*_FREE, "neuron"):
            raise ValueError(f'a function goes to an edit of kind "state", "reading" or "neuron", not {kind!r}')
        if kind == "pattern" and not (isinstance(to, Tensor) or is_run(to)):
            raise ValueError(f"a pattern is clamped to a tensor [query, key] or to a Run's, got {to!r:.60}")

    @property
    def kind(self) -> str:
        return str(self.selection["kind"])

    @property
    def state(self) -> int:
        return int(self.selection["state"])

    @property
    def pos(self) -> int | None:
        """The position where it writes; None: all."""
        found: int | None = self.selection.get("query", self.selection.get("pos"))
        return found

    def __str__(self) -> str:
        where = " ".join(f"{name} {value}" for name, value in self.selection.items() if name != "kind")
        to = self.to
        if isinstance(to, (int, float)):
            what = "knocked out" if self.renormalise else "cut" if to == 0 else f"times {to:g}"
        elif is_value(to):
            what = f"set to {to['value']:g}"
        else:
            what = "its mean" if isinstance(to, str) else "from another run" if is_run(to) else "changed"
        return f"{self.kind} {where}: {what}"


def told_edits(edits: Any) -> list[dict[str, Any]]:
    """Edits as JSON, {"selection": {...}, "to": 0.0, "renormalise": False} each; takes `Edit`s and such dictionaries.

    In a dictionary `to` may also be {"prompt": text, ids or messages}: what stands there in that prompt. Raises
    ValueError for what is neither, and for an edit to a run, a tensor or a function, which no file can keep.
    """
    if not isinstance(edits, (list, tuple)):
        raise ValueError(f"edits are a list, got {edits!r:.60}")
    found = []
    for edit in edits:
        if isinstance(edit, Mapping):
            unknown = sorted(set(edit) - {"selection", "to", "renormalise"})
            if unknown:
                raise ValueError(f"an edit has a selection, to and renormalise, got {unknown[0]!r:.40}")
            if is_prompt(edit.get("to")):
                found.append(_from_prompt(edit))
                continue
            edit = Edit(**{"selection": None, **edit})
        if not isinstance(edit, Edit):
            raise ValueError(f"an edit is an Edit, or a dictionary with its selection, got {edit!r:.60}")
        if not isinstance(edit.to, (int, float, str)) and not is_value(edit.to):
            raise ValueError(
                f'{edit}: what a widget shows is edited to a number, to "mean", to {{"value": ...}} or to '
                '{"prompt": ...}, which a file can keep; record(model, prompt, interventions=...) takes runs, tensors '
                "and functions, too"
            )
        to = dict(edit.to) if is_value(edit.to) else edit.to
        found.append({"selection": dict(edit.selection), "to": to, "renormalise": edit.renormalise})
    return found


def is_prompt(to: Any) -> bool:
    """Does another prompt's value stand there, in what a file keeps of an edit?"""
    return isinstance(to, Mapping) and set(to) == {"prompt"}


def is_value(to: Any) -> bool:
    """Is an activation set to a number, in what a file keeps of an edit?"""
    return isinstance(to, Mapping) and set(to) == {"value"}


def _from_prompt(edit: Mapping[str, Any]) -> dict[str, Any]:
    checked = Edit(edit.get("selection", {}))
    if edit.get("renormalise", False):
        raise ValueError(f"{checked}: renormalise knocks out attention, so nothing of another prompt stands there")
    to = {"prompt": plain_prompt(edit["to"]["prompt"])}
    return {"selection": dict(checked.selection), "to": to, "renormalise": False}


@dataclass(frozen=True)
class Kept(Edit):
    """Of a part only some lines or positions as they are; everything else of it is what `to` says."""

    keep: Tensor | None = None  # [query, key] of an attention part, [pos] of another: 1 where it stays
    frozen: Tensor | None = None  # [head, query, key]: patterns that the heads have instead of their own


@dataclass(frozen=True)
class Reft:
    """A trained representation finetuning as a function of a state: h + R^T (W h + b - R h).

    rotate [rank, d_model] with orthonormal rows, weight [rank, d_model], bias [rank]. `Reft.of` takes the tensors as
    the pyreft library saves them. (LoReFT: Wu et al. 2024, arXiv:2404.03592)

        >>> rotate = torch.eye(2, run.value(3).shape[1])
        >>> reft = lmtt.Reft(rotate, torch.zeros_like(rotate), torch.ones(2))
        >>> edit = lmtt.Edit({"kind": "state", "state": 3, "pos": 5}, reft)
        >>> lmtt.record(model, prompt, interventions=[edit]).value(3)[5, :2]
        tensor([1., 1.])
    """

    rotate: Tensor
    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, saved: Mapping[str, Tensor]) -> Reft:
        """From the saved tensors `rotate_layer` [d_model, rank], `weight` [rank, d_model] and `bias` [rank].

        Raises ValueError where one is missing or of another shape.
        """
        missing = [name for name in ("rotate_layer", "weight", "bias") if name not in saved]
        if missing:
            raise ValueError(f"a saved ReFT has rotate_layer, weight and bias; {', '.join(missing)} is missing")
        rotate, weight, bias = saved["rotate_layer"].T, saved["weight"], saved["bias"]
        if rotate.shape != weight.shape or bias.shape != weight.shape[:1]:
            shapes = [list(saved[name].shape) for name in ("rotate_layer", "weight", "bias")]
            raise ValueError(
                f"expected rotate_layer [d_model, rank], weight [rank, d_model], bias [rank], got {shapes}"
            )
        return cls(rotate, weight, bias)

    def __call__(self, state: Tensor) -> Tensor:
        """The state [pos, d_model] with the intervention at each position."""
        if state.shape[-1] != self.rotate.shape[-1]:
            raise ValueError(f"this ReFT is for states of width {self.rotate.shape[-1]}, got {state.shape[-1]}")
        rotate, weight, bias = (x.to(state) for x in (self.rotate, self.weight, self.bias))
        return state + (state @ (weight - rotate).T + bias) @ rotate


def is_run(x: Any) -> bool:
    """Is it a recorded run?"""
    return hasattr(x, "token_ids") and hasattr(x, "states")


def part_of(state: State, edit: Edit) -> Part:
    """The part that an edit is about. Raises ValueError where there is none, or where it may be one of several."""
    kinds = _KINDS[edit.kind][2]
    named = edit.selection.get("part")
    there = [p for p in state.parts if p.kind in kinds and named in (None, p.number)]
    if not there:
        about = " or ".join(kinds)
        number = "" if named is None else f" of the number {named}"
        raise ValueError(f"state {edit.state} ({state.name}) has no {about} part{number}, so {edit} would do nothing")
    if len(there) > 1:
        numbers = ", ".join(str(p.number) for p in there)
        raise ValueError(f"state {edit.state} has several such parts; say which by part, one of {numbers}")
    return there[0]


def checked_edits(edits: Sequence[Any], states: Sequence[State], n_tokens: int) -> dict[int, list[Edit]]:
    """The edits of a run by the state they are about, each naming something that is there.

    Raises ValueError for one that would do nothing here.
    """
    found: dict[int, list[Edit]] = {}
    for edit in edits:
        if not isinstance(edit, Edit):
            raise ValueError(f"an intervention is an Edit, got {edit!r:.60}")
        if edit.state >= len(states):
            raise ValueError(f"state must be in 0..{len(states) - 1}, got {edit.state}")
        for name in ("query", "key", "pos"):
            pos = edit.selection.get(name)
            if pos is not None and pos >= n_tokens:
                raise ValueError(
                    f"{name} must be a position in 0..{n_tokens - 1} (the prompt has {n_tokens} tokens), got {pos}"
                )
        query, key = edit.selection.get("query"), edit.selection.get("key")
        if query is not None and key is not None and key > query:
            raise ValueError(f"a line from the future: query {query} cannot look at the later key {key}")
        if edit.kind != "state":
            _check_part(edit, part_of(states[edit.state], edit))
        if states[edit.state].place is None:
            raise ValueError(f"{edit}: state {edit.state} is made outside the recorded calls, so it cannot be changed")
        if is_run(edit.to):
            _check_other(edit, states, n_tokens)
        found.setdefault(edit.state, []).append(edit)
    return found


def as_read(edit: Edit, states: Sequence[State]) -> tuple[Edit, dict[str, Any]]:
    """An edit of a reading as one of the state that is read, and the selection of the part that alone sees it."""
    part = part_of(states[edit.state], edit)
    where = {"pos": edit.pos} if edit.pos is not None else {}
    head = edit.selection.get("head")
    kind = "head" if head is not None else {"attention": "edge", "mlp": "mlp"}.get(part.kind, "mixer")
    of = {"kind": kind, "state": part.state, "part": part.number} | ({} if head is None else {"head": head})
    return Edit({"kind": "state", "state": part.reads, **where}, edit.to), of


def _check_part(edit: Edit, part: Part) -> None:
    head = edit.selection.get("head")
    if head is not None and part.n_heads and head >= part.n_heads:
        raise ValueError(f"head must be in 0..{part.n_heads - 1}, got {head}")
    if edit.kind == "reading" and part.reads < 0:
        raise ValueError(f"{edit}: it is not known which state this part reads ({part.module})")
    if edit.kind == "reading" and head is not None and part.kind != "attention":
        raise ValueError(f"only an attention part has heads; part {part.number} is of kind {part.kind}")
    query, key = edit.selection.get("query"), edit.selection.get("key")
    if edit.kind in ("edge", "head") and None not in (query, key) and not is_run(edit.to) and not _looks(part, edit):
        raise ValueError(f"{edit}: query {query} does not look at key {key} there (a mask?), so nothing would change")
    if edit.kind == "neuron":
        neuron, widths = edit.selection["neuron"], [w.input.shape[1] for w in part.linear]
        if neuron >= max(widths, default=0):
            raise ValueError(f"neuron must be in 0..{max(widths, default=0) - 1}, got {neuron}")


def _looks(part: Part, edit: Edit) -> bool:
    """Does any head that is meant look from the query at the key at all?"""
    if part.heads is None:
        return True
    query, head = edit.selection["query"], edit.selection.get("head")
    row = part.heads.pattern(slice(query, query + 1))[:, 0, edit.selection["key"]]
    return bool((row if head is None else row[head]).any())


def _check_other(edit: Edit, states: Sequence[State], n_tokens: int) -> None:
    other = edit.to
    if len(other.states) != len(states):
        raise ValueError(
            f"the other run has {len(other.states)} states and this one {len(states)}; both must be of the same model"
        )
    if other.states[edit.state].value.shape[1] != states[edit.state].value.shape[1]:
        raise ValueError("the other run's states have another width; both must be of the same model")
    if other.n_tokens == n_tokens:
        return
    reaches = [edit.selection.get(name) for name in ("query", "key", "pos") if edit.selection.get(name) is not None]
    if edit.pos is None or any(pos >= other.n_tokens for pos in reaches) or edit.kind == "pattern":
        raise ValueError(
            f"{edit}: the positions must exist in both runs, which have {n_tokens} and {other.n_tokens} tokens"
        )


def vector_for(edit: Edit, like: Tensor) -> Tensor:
    """The steering vector of an edit [pos or 1, d_model]. Raises ValueError for another width."""
    vector = edit.to.to(like)
    rows = len(vector) if vector.ndim == 2 else 1
    if vector.ndim not in (1, 2) or vector.shape[-1] != like.shape[-1] or rows not in (1, len(like)):
        raise ValueError(f"a steering vector is [d_model] = [{like.shape[-1]}], got {list(edit.to.shape)}")
    return vector.reshape(-1, like.shape[-1])


def function_for(edit: Edit, value: Tensor) -> Tensor:
    """A state [pos, d_model] as the edit's function makes it. Raises ValueError for another shape, or NaN."""
    got = edit.to(value)
    if not isinstance(got, Tensor) or got.shape != value.shape:
        shape = list(got.shape) if isinstance(got, Tensor) else type(got).__name__
        raise ValueError(f"the function of an edit must return a state {list(value.shape)}, got {shape}")
    if not bool(torch.isfinite(got).all()):
        raise ValueError("the function of an edit returned entries that are not finite (NaN or infinite)")
    return got


def number_for(edit: Edit, activation: float) -> float:
    """A neuron's activation as the edit's function makes it. Raises ValueError for what is no finite number."""
    got = edit.to(activation)
    try:
        value = float(got)
    except (TypeError, ValueError, RuntimeError):  # torch raises the last where there are several numbers
        value = float("nan")
    if not abs(value) < float("inf"):
        raise ValueError(f"the function of a neuron's edit must return a finite number, got {got!r:.60}")
    return value
