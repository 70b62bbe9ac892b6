"""What edits make of the writes of one state, and so of the state: exact, in the terms the picture is drawn of.

A cut line's pattern entry becomes 0 and its vector leaves the state; an MLP that is halved enters through a step that
halves it. What cannot be said in the part's own terms (a value from another run, a steering vector) stands beside it as
one vector per position. Knows nothing of a pass: writes in, writes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .decomposition.paths import Path, Scale
from .decomposition.products import Product
from .decomposition.streams import Spread
from .decomposition.writes import LayerState, LinearWrite, Write
from .interventions import Edit, Kept, function_for, is_run, is_value, number_for, part_of, vector_for
from .parts import Part, State, wide

Writes = list[Write]


def edited(state: State, edits: Sequence[Edit], n_tokens: int) -> tuple[list[Part], Writes, Tensor]:
    """The parts of a state after the edits, vectors beside them, and what was added to it all in all: [pos, d_model].

    Raises ValueError where an edit meets nothing there.
    """
    parts = list(state.parts)
    total = torch.zeros_like(wide(state.value))
    constants: Writes = []
    for edit in edits:
        if edit.kind == "state":
            delta = _of_state(wide(state.value) + total, edit)
            constants.append(Write("constant", "edit", Path(), delta))
        else:
            part = part_of(replace(state, parts=parts), edit)
            writes, delta = _of_part(part, edit, n_tokens)
            parts[parts.index(part)] = replace(part, writes=writes)
        total = total + delta.to(total.device, total.dtype)
    return parts, constants, total


def changed(state: LayerState, read: State, edits: Sequence[Edit], n_tokens: int) -> LayerState:
    """The same for a state while its pass is under way: what stands in its place."""
    parts, constants, delta = edited(read, edits, n_tokens)
    place = {id(w): k for k, w in enumerate(state.writes)}
    as_read = sorted(range(len(parts)), key=lambda k: place[id(read.parts[k].writes[0])])
    writes = [*(w for k in as_read for w in parts[k].writes), *constants]
    value = (wide(state.value) + delta).to(state.value.dtype)
    return LayerState(value, state.carried, writes, state.error, state.place, state.simple)


def _of_state(value: Tensor, edit: Edit) -> Tensor:
    rows = _rows(edit)
    to = edit.to
    delta = torch.zeros_like(value)
    if is_run(to):
        theirs = wide(to.states[edit.state].value).to(value)
        delta[rows] = theirs[rows] - value[rows]
    elif isinstance(to, Tensor):
        vector = vector_for(edit, value)
        delta[rows] = vector[rows] if len(vector) == len(value) else vector
    elif isinstance(to, str):
        delta[rows] = value.mean(0) - value[rows]
    elif callable(to):
        delta[rows] = function_for(edit, value[rows]) - value[rows]
    else:
        delta[rows] = (to - 1) * value[rows]
    return delta


def _rows(edit: Edit) -> slice:
    return slice(None) if edit.pos is None else slice(edit.pos, edit.pos + 1)


def _of_part(part: Part, edit: Edit, n: int) -> tuple[Writes, Tensor]:
    theirs = _theirs(part, edit)
    if edit.kind in ("edge", "head", "pattern"):
        write, delta = _of_attention(part.linear[0], edit, n, None if theirs is None else theirs.linear[0])
        return [write, *part.writes[1:]], delta
    if edit.kind == "neuron":
        return _of_neuron(part, edit, n, theirs)
    return _of_whole(part, edit, n, theirs)


def _theirs(part: Part, edit: Edit) -> Part | None:
    """The same part in the other run."""
    if not is_run(edit.to):
        return None
    mine, others = edit.selection.get("part"), edit.to.states[part.state].parts
    alike = [p for p in others if p.kind == part.kind and (p.module == part.module or mine == p.number)]
    alike = alike or [p for p in others if p.kind == part.kind]
    if not alike:
        raise ValueError(f"the other run has no {part.kind} part in state {part.state}")
    found: Part = alike[0]
    return found


# ---- a part as a whole: an MLP, a mixer, a skip ----


def _of_whole(part: Part, edit: Edit, n: int, theirs: Part | None) -> tuple[Writes, Tensor]:
    own, rows = part.output(n), _rows(edit)
    keep = torch.ones(len(own), dtype=own.dtype)
    delta = torch.zeros_like(own)
    if isinstance(edit.to, (int, float)) and isinstance(edit, Kept) and edit.keep is not None:
        keep = edit.keep.to(keep) + edit.to * (1 - edit.keep.to(keep))
        return [_times(w, keep) for w in part.writes], own * (keep.to(own)[:, None] - 1)
    if isinstance(edit.to, (int, float)):
        keep[rows] = edit.to
        delta[rows] = (edit.to - 1) * own[rows]
        return [_times(w, keep) for w in part.writes], delta
    keep[rows] = 0
    if isinstance(edit, Kept) and edit.keep is not None:
        keep = edit.keep.to(keep)
    put = torch.zeros_like(own)
    put[rows] = own.mean(0) if theirs is None else theirs.output(edit.to.n_tokens).to(own)[rows]
    if isinstance(edit, Kept):
        put = put * (1 - keep.to(put)[:, None])
    delta[rows] = put[rows] - own[rows] * (1 - keep.to(own)[rows, None])
    scaled = [_times(w, keep) for w in part.writes]
    return [*scaled, Write(part.writes[0].kind, part.module, Path(), put, part.reads, beside=scaled[0])], delta


def _times(w: Write, factor: Tensor) -> Write:
    """The write, multiplied by a number at every position [pos] where it enters."""
    if isinstance(w.path, Path) and w.path.rows is None and len(w.output) != len(factor):  # the same for several tokens
        total = w.total(len(factor))
        return Write(w.kind, w.module, Path(), wide(total) * factor[:, None].to(total.device), w.reads)
    return replace(w, path=_scaled(w.path, factor.to(w.output.device)))


def _scaled(path: Path | Spread, factor: Tensor) -> Path | Spread:
    if isinstance(path, Spread):
        paths = []
        for p in path.paths:
            into = path._into(p)
            by = factor[path.state.token(into.clamp_min(0)).to(factor.device)]
            paths.append(replace(p, steps=(*p.steps, Scale(by[:, None]))))
        return replace(path, paths=tuple(paths))
    by = factor if path.rows is None else factor[path.rows.clamp_min(0).to(factor.device)]
    return replace(path, steps=(*path.steps, Scale(by[:, None])))


# ---- neurons ----


def _of_neuron(part: Part, edit: Edit, n: int, theirs: Part | None) -> tuple[Writes, Tensor]:
    neuron, expert = edit.selection["neuron"], edit.selection.get("expert")
    writes, met = list(part.writes), False
    delta = torch.zeros_like(part.output(n))
    other = None if theirs is None else _activations(theirs, neuron, expert, edit.to.n_tokens)
    own = _activations(part, neuron, expert, n)
    mean = sum(float(w.input[row, neuron]) for w, row in own.values()) / n
    for k, w in enumerate(part.writes):
        if not isinstance(w, LinearWrite) or neuron >= w.input.shape[1]:
            continue
        new = w.input.clone()
        for pos in range(n) if edit.pos is None else [edit.pos]:
            for row in w.path.leaf_rows(pos):
                if expert is not None and w.expert(row) != (None if expert == "shared" else expert):
                    continue
                met = True
                if other is not None:
                    there = other.get((pos, w.module, w.expert(row)))
                    new[row, neuron] = 0 if there is None else there[0].input[there[1], neuron].to(new)
                elif is_value(edit.to):
                    new[row, neuron] = edit.to["value"]
                elif callable(edit.to):
                    new[row, neuron] = number_for(edit, float(new[row, neuron]))
                else:
                    new[row, neuron] = mean if isinstance(edit.to, str) else new[row, neuron] * edit.to
        change = wide(new) - wide(w.input)
        rows = torch.nonzero(change[:, neuron]).reshape(-1).tolist()
        out = torch.zeros_like(wide(w.output))
        for row in rows:
            per_unit = wide(w.map.outputs(torch.tensor([neuron], device=w.input.device), w.input, row))[0]
            out[row] = change[row, neuron] * per_unit.to(out.device)
        writes[k] = replace(w, input=new, output=(wide(w.output) + out).to(w.output.dtype))
        delta = delta + w.path.total(out, n).to(delta.device)
    if not met:
        raise ValueError(f"{edit}: no expert that saw this token has such a neuron, so nothing would change")
    return writes, delta


def _activations(part: Part, neuron: int, expert: Any, n: int) -> dict[Any, tuple[LinearWrite, int]]:
    """(position, module, expert) -> the write and leaf row where the neuron was active."""
    return {
        (pos, w.module, w.expert(row)): (w, row)
        for w in part.linear
        if neuron < w.input.shape[1]
        for pos in range(n)
        for row in w.path.leaf_rows(pos)
        if expert is None or w.expert(row) == (None if expert == "shared" else expert)
    }


# ---- attention ----


def _of_attention(w: LinearWrite, edit: Edit, n: int, theirs: LinearWrite | None) -> tuple[LinearWrite, Tensor]:
    assert w.heads is not None
    change = torch.zeros_like(wide(w.input))  # of the projection's input
    beside = torch.zeros_like(change)  # what stands in it besides the heads
    products, first = [], 0
    chosen = edit.selection.get("head")
    for p in w.heads.products:
        mine = [h for h in range(p.n_heads) if chosen in (None, first + h)]
        if mine:
            pattern = wide(p.pattern()).clone()  # [head, query, key]
            for h in mine:
                other = None if theirs is None or theirs.heads is None else theirs.heads.head(first + h)
                if isinstance(edit, Kept):
                    delta, put = _kept(p, h, first + h, pattern, edit, other)
                else:
                    delta, put = _of_head(p, h, pattern, edit, other)
                change[:, p.slots[h]] += delta
                beside[:, p.slots[h]] += put
            p = replace(p, made=pattern, scores=None)
        products.append(p)
        first += w.heads.products[len(products) - 1].n_heads
    given = change if w.map.weight() is not None else change.to(w.output.dtype)
    written = wide(w.map(given)).to(w.output.device)
    offset = w.heads.offset
    if bool(beside.any()):
        offset = beside if offset is None else offset + beside.to(offset)
    heads = replace(w.heads, products=products, offset=offset)
    new = replace(
        w,
        input=(wide(w.input) + change).to(w.input.dtype),
        output=(wide(w.output) + written).to(w.output.dtype),
        heads=heads,
    )
    return new, w.path.total(written, n)


def _of_head(
    p: Product, h: int, pattern: Tensor, edit: Edit, other: tuple[Product, int] | None
) -> tuple[Tensor, Tensor]:
    """How a head's output [query, d_head] changes, and what of it no key of its own accounts for; edits its pattern."""
    own, value = pattern[h].clone(), wide(p.values_of(h))
    gate: Tensor | float = 1.0 if p.gate is None else wide(p.gate)[:, p.slots[h]]
    rows, key = _rows(edit), edit.selection.get("key")
    keys = slice(None) if key is None else slice(key, key + 1)
    put = torch.zeros_like(own @ value)
    if edit.kind == "pattern":
        given = edit.to if isinstance(edit.to, Tensor) else other[0].pattern()[other[1]]  # type: ignore[index]
        if given.shape != own.shape:
            raise ValueError(f"the pattern of a head is {list(own.shape)} here, got {list(given.shape)}")
        pattern[h][rows, keys] = given.to(own)[rows, keys]
    elif isinstance(edit.to, (int, float)):
        pattern[h][rows, keys] *= edit.to
        if edit.renormalise:
            _take_over(pattern[h], own, rows, edit)
    else:
        put[rows] = _gated(_elsewhere(own, value, rows, keys, other), p, h, rows, other)
        change = torch.zeros_like(put)
        change[rows] = put[rows] - (own[rows, keys] @ value[keys]) * (gate if isinstance(gate, float) else gate[rows])
        pattern[h][rows, keys] = 0
        return change, put
    return ((pattern[h] - own) @ value) * gate, put


def _kept(
    p: Product, h: int, number: int, pattern: Tensor, edit: Kept, other: tuple[Product, int] | None
) -> tuple[Tensor, Tensor]:
    """The same for a head of which some lines stay; `number` is its own among all heads of the part."""
    assert edit.keep is not None
    own, value = pattern[h].clone(), wide(p.values_of(h))
    keep = edit.keep.to(own)
    given = own
    if edit.frozen is not None:
        given = edit.frozen[number].to(own)
    gate: Tensor | float = 1.0 if p.gate is None else wide(p.gate)[:, p.slots[h]]
    pattern[h] = given * keep
    if other is not None:
        there, at = other
        lost = (wide(there.pattern()[at]).to(own) * (1 - keep)) @ wide(there.values_of(at)).to(value)
        put = _gated(lost, p, h, slice(None), other)
    elif isinstance(edit.to, str):
        put = (given * (1 - keep)).sum(-1, keepdim=True) * value.mean(0) * gate
    else:
        put = torch.zeros_like(own @ value)
    return ((pattern[h] - own) @ value) * gate + put, put


def _elsewhere(own: Tensor, value: Tensor, rows: slice, keys: slice, other: tuple[Product, int] | None) -> Tensor:
    """What a head (or its line from one key) writes on average, or in another run: [query, d_head]."""
    if other is not None:
        p, h = other
        pattern, values = wide(p.pattern()[h]).to(own), wide(p.values_of(h)).to(value)
        return pattern[rows, keys] @ values[keys]
    if keys == slice(None):
        mean = (own @ value).mean(0)
        return mean.expand_as(own[rows] @ value)
    return own[rows, keys] @ value.mean(0, keepdim=True)


def _gated(z: Tensor, p: Product, h: int, rows: slice, other: tuple[Product, int] | None) -> Tensor:
    from_there, number = (p, h) if other is None else other
    if from_there.gate is None:
        return z
    return z * wide(from_there.gate)[rows][:, from_there.slots[number]].to(z)


def _take_over(pattern: Tensor, own: Tensor, rows: slice, edit: Edit) -> None:
    """What is left of each row that lost something takes its place."""
    before, after = own.sum(-1, keepdim=True), pattern.sum(-1, keepdim=True)
    alone = (after <= 1e-12 * before) & (before > 0)
    if edit.selection.get("key") is not None and bool(alone[rows].any()):
        if edit.pos is not None:
            raise ValueError(f"{edit}: the only key that query {edit.pos} looks at cannot be knocked out")
        pattern[:] = torch.where(alone, own, pattern)
    factor = torch.where(alone, 1.0, before / torch.where(alone, 1.0, after))
    pattern[rows] *= factor[rows]
