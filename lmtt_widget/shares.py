"""The shares of the nodes of one state, or of many small ones at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

import torch
from torch import Tensor

from .decomposition.later import layout
from .decomposition.vectors import constant_vectors
from .kernels.alike import sums_of_alike, together
from .kernels.sums import Kernel
from .kernels.threads import Team
from .kernels.tiles import Sums
from .memory import STATES
from .parts import Part, State, wide
from .run import Run

SHARING = ("attention", "mlp", "mixer", "skip")  # the kinds of parts that have shares
_NEAR = 1 << 16  # numbers that are compared at a time

Heard = Callable[[Part, Tensor], None]  # told of an attention part and its shares [head, query, key]
_Places = list[int] | slice  # some of the states
_Rows = dict[int, tuple[str, int]]  # number of a part -> name and row of what is known of it


@dataclass
class Shares:
    """The shares of the nodes of some states that follow one another."""

    states: Sequence[State]
    of: dict[str, Tensor]  # "total", "error", "carried" [state, pos]; of parts [part, ...] under names of their own
    rows: _Rows = field(default_factory=dict)
    constants: _Rows = field(default_factory=dict)  # those inside attention parts, where constants are parts


def state_groups(run: Run) -> Iterator[list[State]]:
    """All states but the embedding, in their order: those that are looked at together."""
    some: list[State] = []
    for s in run.states[1:]:
        size = run.n_tokens * (s.value.shape[-1] + run.n_tokens)
        if some and ((len(some) + 1) * size > STATES or layout(s.value) != layout(some[0].value)):
            yield some
            some = []
        some.append(s)
    yield some


def shares_of(
    run: Run,
    states: Sequence[State],
    kernel: Kernel,
    team: Team,
    heard: Heard | None,
    *,
    bias_part: bool,
    tolerance: float,
    most_keys: int,
) -> Shares:
    """The shares of the nodes of some states; what is alike in them is computed at once."""
    n_tokens, found = run.n_tokens, Shares(states, {})
    value = {i: wide(run.states[i].value) for s in states for i in (s.index, s.carried or 0)}
    whole = kernel.brought(_beside([value[s.index] for s in states]))  # [state, pos, d_model]
    carried = nearness(_beside([s.path.apply(value[s.carried or 0]) for s in states]), whole, team)
    near: list[tuple[str, _Places, Tensor]] = []

    def compare(name: str, vectors: Iterable[Iterable[tuple[Part, Tensor]]], rows: _Rows) -> None:
        """Of every state its first part, then of those that have one the second, ..."""
        for k, some in enumerate(zip_longest(*vectors)):
            here = [i for i, x in enumerate(some) if x is not None]
            rows |= {some[i][0].number: (f"{name} {k}", row) for row, i in enumerate(here)}
            at = _places(here)
            near.append((f"{name} {k}", at, nearness(_beside([some[i][1] for i in here]), whole[at], team)))

    compare("part", (summands(run, s, bias_part) for s in states), found.rows)
    if bias_part:
        compare("constant", (_output_biases(run, s) for s in states), found.constants)
    summed, off = carried.clone(), torch.zeros_like(carried)
    for _, at, x in near:
        summed[at] += x
    slack = _slack(tolerance, summed, states) if tolerance else None

    maps: list[tuple[str, _Places, Sums, Tensor | None]] = []
    attention = [(i, k, p) for i, s in enumerate(states) for k, p in enumerate(s.parts) if p.kind == "attention"]
    writes = [p.linear[0] for *_, p in attention]
    for group in together(writes, [k for _, k, _ in attention]):  # no two of one state
        name, at = f"map {len(maps)}", _places([attention[g][0] for g in group])
        found.rows |= {attention[g][2].number: (name, row) for row, g in enumerate(group)}
        n_heads = attention[group[0]][2].n_heads
        each = None if heard is None else whole.new_zeros(len(group), n_heads, n_tokens, n_tokens)
        here = None if slack is None else slack[at]
        sums = sums_of_alike([writes[g] for g in group], whole[at], kernel=kernel, slack=here, team=team, each=each)
        summed[at] += sums.heads.sum(1)
        off[at] += sums.off
        maps.append((name, at, sums, each))

    per = 1 / torch.where(summed > 0, summed, 1)
    found.of |= {"total": summed, "error": off * per, "carried": carried * per}
    found.of |= {name: x * per[at] for name, at, x in near}
    for name, at, sums, _ in maps:
        found.of |= {f"{name} {what}": x for what, x in _edges(sums, per[at], most_keys).items()}
    if heard is not None:
        shares = {name: each.mul_(per[at][:, None, :, None]) for name, at, _, each in maps if each is not None}
        for *_, p in attention:
            name, row = found.rows[p.number]
            heard(p, shares[name][row])
    return found


def _places(numbers: list[int]) -> _Places:
    """As a slice, where they are equally far apart: nothing is copied then, and no accelerator is waited for."""
    first, step = numbers[0], numbers[1] - numbers[0] if len(numbers) > 1 else 1
    even = range(first, first + step * len(numbers), step)
    return slice(even.start, even.stop, step) if numbers == list(even) else numbers


def _beside(tensors: Sequence[Tensor]) -> Tensor:
    """With an axis more; of one no copy."""
    return tensors[0][None] if len(tensors) == 1 else torch.stack([x.to(tensors[0].device) for x in tensors])


def _slack(tolerance: float, near: Tensor, states: Sequence[State]) -> Tensor:
    """How near a vector may be taken to be without being compared, so that all of them miss `tolerance` at most."""
    n_heads = [sum(p.n_heads for p in s.parts if p.kind == "attention") for s in states]
    n_keys = torch.arange(1, near.shape[1] + 1, device=near.device)
    return torch.stack([tolerance * x / (n * n_keys).clamp_min(1) for n, x in zip(n_heads, near, strict=True)])


def _edges(found: Sums, per: Tensor, most_keys: int) -> dict[str, Tensor]:
    """The shares of every query's heaviest keys, and what the others had; per [part, query]."""
    share, largest = found.sum.mul_(per[..., None]), found.max.mul_(per[..., None])
    edges = {"heads": found.heads * per[:, None], "share": share, "largest": largest, "top": found.top}
    if most_keys < share.shape[-1]:
        heaviest = share.topk(most_keys)
        kept = torch.zeros_like(share).scatter_(-1, heaviest.indices, heaviest.values)
        edges |= {"share": kept, "left": share.sum(-1) - kept.sum(-1)}
    return edges


# ---- proximities of parts that are taken as a whole ----


def nearness(part: Tensor, whole: Tensor, team: Team | None = None) -> Tensor:
    """The proximity of a part to a whole [.., d_model], at every position: [..]."""
    part = part.to(whole.device, whole.dtype)
    if whole.numel() <= _NEAR:
        return _near(whole, part)
    step = max(1, _NEAR // whole.shape[-1]) if whole.device.type == "cpu" else whole.numel()  # what stays in the cache
    y, z = (x.reshape(-1, x.shape[-1]) for x in (whole, part))

    def some(rows: range) -> list[Tensor]:
        here = slice(rows.start, rows.stop)
        return [_near(a, b) for a, b in zip(y[here].split(step), z[here].split(step), strict=True)]

    found = team.spread(some, len(y)) if team and whole.numel() > 4 * _NEAR else [some(range(len(y)))]
    return torch.cat([near for piece in found for near in piece]).reshape(whole.shape[:-1])


def _near(whole: Tensor, part: Tensor) -> Tensor:
    return (whole.abs().sum(-1) - (whole - part).abs_().sum(-1)).clamp_min_(0)


def summands(run: Run, s: State, bias_part: bool) -> Iterator[tuple[Part, Tensor]]:
    """The parts of a state that are taken as a whole and get shares, with their vectors [pos, d_model]."""
    for p in s.parts:
        if p.kind != "attention" and (p.kind in SHARING or bias_part):
            yield p, p.output(run.n_tokens)


def _output_biases(run: Run, s: State) -> Iterator[tuple[Part, Tensor]]:
    """The constants inside the attention parts of a state: [pos, d_model] each."""
    for p in s.parts:
        if p.kind == "attention":
            yield p, constant_vectors(p.linear[0], run.n_tokens)
