"""How near each part is to the whole.

A node is a state at a position. Its parts are the carried state after its frozen steps, every key and head of its
attention parts, and each MLP or mixer part as a whole; constants (output biases, a post-norm's bias) belong to the
whole but are no part, unless asked for. Each part's share is its proximity to the whole over the sum of all proximities
(Ferrando & Voita 2024, arXiv:2403.00824). Shares depend on this partition: an MLP's is not the sum of its neurons'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from .decomposition.forward import in_plain_precision
from .decomposition.vectors import constant_vectors
from .facts import facts_of
from .given import flag, integer, number, of_kind
from .graph import Graph, PartFacts, StateFacts, Table
from .kernels.sums import KernelName, kernel_for, proximity_sums
from .kernels.threads import Team
from .kernels.tiles import Sums
from .memory import EDGE, MAPS, MOST_KEYS, Tidy
from .parts import Part, State
from .progress import Option, reported
from .run import RECORDED, Run

_NEAR = 1 << 16  # numbers that are compared at a time


def proximity(parts: Tensor, whole: Tensor, p: float = 1) -> Tensor:
    """How much of `whole` each part accounts for, in units of |whole|.

    max(0, |whole|_p - |whole - part|_p)      (Ferrando & Voita 2024, arXiv:2403.00824)
    parts [..., part, d_model], whole [..., d_model] -> [..., part], in float32 or better

        >>> parts = torch.tensor([[3.0, -1.0, 0.0, 0.0], [0.0, 0.0, 2.0, 5.0]])
        >>> lmtt.proximity(parts, parts.sum(0)).tolist()
        [4.0, 7.0]
    """
    for name, x in {"parts": parts, "whole": whole}.items():
        of_kind(x, Tensor, name, "parts [..., part, d_model] of a whole [..., d_model]")
    if parts.ndim < 2 or parts.shape[:-2] != whole.shape[:-1] or parts.shape[-1:] != whole.shape[-1:]:
        found = f"got {list(parts.shape)} and {list(whole.shape)}"
        raise ValueError(f"proximity compares parts [..., part, d_model] with a whole [..., d_model], {found}")
    wide = torch.promote_types(torch.promote_types(parts.dtype, whole.dtype), torch.float32)
    parts, whole = parts.to(wide), whole.to(wide)
    p = number(p, "p", 0)
    size = torch.linalg.vector_norm(whole, p, dim=-1)
    return (size[..., None] - torch.linalg.vector_norm(whole[..., None, :] - parts, p, dim=-1)).clamp_min(0)


@in_plain_precision
def attribute(
    run: Run,
    *,
    bias_part: bool = False,
    tolerance: float = 0.0,
    most_keys: int | None = None,
    kernel: KernelName = "auto",
    progress: Option = None,
) -> Graph:
    """The share of every part of every node: exact unless asked otherwise, never a [query, key, head, d_model] array.

    bias_part: give constants and rounding parts shares too (the papers' partition gives them none).
    tolerance: how far any share may be off. sign(y) . z then stands for the proximity of the smallest vectors z to y,
    which it is never less than; Graph.error says by how much at most the shares of each node are off.
    most_keys: of every query only so many keys are kept, the heaviest; Graph.truncated holds what the others had, and
    nothing is divided anew. None keeps all while they take less than 1 GiB, otherwise 1,024.
    kernel: what computes it; the same numbers up to rounding. "numba" needs numba and works on the CPU, on copies where
    the model is elsewhere; "compiled" goes through torch.compile; where one cannot run, "torch" does, and Graph.kernel
    says why. progress(done, total) is called for every state; None shows a bar when it takes
    more than a second, but not in a notebook; False tells nobody.

    Raises ValueError for a tolerance outside [0, 1), no keys, or an unknown kernel.

        >>> graph = lmtt.attribute(run)
        >>> round(float(graph.carried[1, 3] + graph.share(0)[3]), 6)  # all of state 1 at position 3
        1.0
    """
    options = {"bias_part": bias_part, "tolerance": tolerance, "most_keys": most_keys, "kernel": kernel}
    return attributed(run, None, **options, progress=progress)  # type: ignore[arg-type]


@in_plain_precision
def attributed(
    run: Run,
    heard: Callable[[Part, Tensor], None] | None,
    *,
    bias_part: bool = False,
    tolerance: float = 0.0,
    most_keys: int | None = None,
    kernel: KernelName = "auto",
    progress: Option = None,
) -> Graph:
    """The same; heard(part, share [head, query, key]) is told of each attention part, which is computed anyway."""
    of_kind(run, Run, "run", RECORDED)
    bias_part = flag(bias_part, "bias_part")
    if not 0 <= (tolerance := number(tolerance, "tolerance")) < 1:
        raise ValueError(f"tolerance must be a share in [0, 1), got {tolerance}")
    most_keys = None if most_keys is None else integer(most_keys, "most_keys", 1)
    n_states, n_tokens = len(run.states), run.n_tokens
    parts = tuple(_part_facts(p) for p in run.parts if p.kind in _SHARING or (bias_part and p.state > 0))
    n_maps = sum(p.kind == "attention" for p in parts)
    if most_keys is None:
        most_keys = n_tokens if n_maps * n_tokens * (n_tokens + 1) // 2 * EDGE < MAPS else MOST_KEYS
    first = run.value(0)
    with_kernel = kernel_for(first.device, kernel)
    dtype = first.new_empty(0, device="cpu").numpy().dtype
    most_edges = n_maps * min(n_tokens * (n_tokens + 1) // 2, n_tokens * most_keys)
    table = Table(n_tokens, n_states, parts, most_edges + (2 * len(parts) + n_states) * n_tokens, dtype)
    total, error, truncated = np.zeros((3, n_states, n_tokens), dtype)
    ended = np.zeros((n_states, n_tokens), bool)
    constant = np.zeros((len(parts), n_tokens), dtype)
    head_sum = np.zeros((len(parts), max((p.n_heads for p in parts), default=0), n_tokens), dtype)

    def enter(s: State, of: dict[str, np.ndarray]) -> None:
        """Enters the shares of a state's nodes."""
        assert s.carried is not None
        total[s.index], ended[s.index], error[s.index] = of["total"], of["total"] == 0, of["error"]
        table.carried(s.carried, s.index, of["carried"])
        for p in s.parts:
            n = p.number
            if f"{n} share" in of:
                head_sum[n, : p.n_heads] = of[f"{n} heads"]
                truncated[s.index] += of.get(f"{n} left", 0)
                constant[n] = of.get(f"{n} constant", 0)
                table.maps(parts[n], *(of[f"{n} {name}"] for name in ("share", "largest", "top")))
            elif f"{n}" in of:
                table.part(parts[n], of[f"{n}"])

    def fill(waiting: list[tuple[State, dict[str, Tensor]]]) -> None:
        for (s, _), of in zip(waiting, _numpy([of for _, of in waiting]), strict=True):
            enter(s, of)

    def found(s: State, team: Team) -> dict[str, Tensor]:
        """The shares of a state's nodes."""
        whole = with_kernel.brought(run.value(s.index))
        near_carried = nearness(run.carried(s.index), whole, team)
        biases = {p.number: nearness(c, whole) for p, c in _output_biases(run, s)} if bias_part else {}
        near = {p.number: nearness(v, whole, team) for p, v in summands(run, s, bias_part)}
        summed = sum([*near.values(), *biases.values()], near_carried)
        slack = _slack(tolerance, summed, s) if tolerance else None
        sums: dict[int, Sums] = {}
        each: dict[int, Tensor | None] = {}
        off = torch.zeros_like(summed)
        for p in s.parts:
            if p.kind == "attention":
                n = p.number
                each[n] = None if heard is None else whole.new_zeros(p.n_heads, n_tokens, n_tokens)
                of = proximity_sums(p.linear[0], whole, kernel=with_kernel, slack=slack, team=team, each=each[n])
                summed, off, sums[n] = summed + of.heads.sum(0), off + of.off, of
        per = 1 / torch.where(summed > 0, summed, 1)
        node = {"total": summed, "error": off * per, "carried": near_carried * per}
        node |= {f"{n}": x * per for n, x in near.items()}
        node |= {f"{n} constant": x * per for n, x in biases.items()}
        for n, of in sums.items():
            node |= {f"{n} {name}": x for name, x in _edges(of, per, most_keys).items()}
        if heard is not None:
            for p in s.parts:
                if (shares := each.get(p.number)) is not None:
                    heard(p, shares.mul_(per[:, None]))
        return node

    waiting: list[tuple[State, dict[str, Tensor]]] = []  # an accelerator is asked for several states at once
    with reported("attributing", progress) as told, with_kernel.team(with_kernel.brought(first).device) as team:
        done = Tidy(first.device).before(told)
        for s in run.states[1:]:
            done(s.index - 1, n_states - 1)
            waiting.append((s, found(s, team)))
            has_maps = any(p.kind == "attention" for p in s.parts)
            if has_maps or waiting[-1][1]["total"].device.type == "cpu" or s is run.states[-1]:
                fill(waiting)
                waiting.clear()
        done(n_states - 1, n_states - 1)
    return Graph(
        tokens=tuple(run.tokens),
        roles=tuple(run.roles),
        states=tuple(StateFacts(s.layer, s.name, s.carried) for s in run.states),
        parts=parts,
        **table.filled(),
        ended=ended,
        truncated=truncated,
        error=error,
        total=total,
        constant=constant,
        head_sum=head_sum,
        bias_part=bias_part,
        kernel=str(with_kernel),
        run=run,
        find_facts=partial(facts_of, run),
    )


_SHARING = ("attention", "mlp", "mixer", "skip")  # the kinds of parts that have shares


def _part_facts(p: Part) -> PartFacts:
    return PartFacts(p.number, p.kind, p.layer, p.state, p.reads, p.module, p.n_heads)


def _slack(tolerance: float, near: Tensor, s: State) -> Tensor:
    """How near a vector may be taken to be without being compared, so that all of them miss `tolerance` at most."""
    n_heads = sum(p.n_heads for p in s.parts if p.kind == "attention")
    n_vectors = n_heads * torch.arange(1, len(near) + 1, device=near.device)
    return tolerance * near / n_vectors.clamp_min(1)


def _edges(found: Sums, per: Tensor, most_keys: int) -> dict[str, Tensor]:
    """The shares of every query's heaviest keys, and what the others had."""
    share = found.sum.mul_(per[:, None])
    edges = {"heads": found.heads * per, "share": share, "largest": found.max.mul_(per[:, None]), "top": found.top}
    if most_keys < share.shape[1]:
        heaviest = share.topk(most_keys)
        kept = torch.zeros_like(share).scatter_(1, heaviest.indices, heaviest.values)
        edges |= {"share": kept, "left": share.sum(1) - kept.sum(1)}
    return edges


def _numpy(groups: list[dict[str, Tensor]]) -> list[dict[str, np.ndarray]]:
    """The same on the CPU; from an accelerator all at once, so that it is waited for once."""
    tensors = [x for group in groups for x in group.values()]
    first = tensors[0]
    if any(x.device.type != "cpu" for x in tensors):
        together = torch.cat([x.reshape(-1).to(first.device, first.dtype) for x in tensors]).cpu()
        pieces = together.split([x.numel() for x in tensors])
        tensors = [y.reshape(x.shape).to(x.dtype) for x, y in zip(tensors, pieces, strict=True)]
    found = iter(tensors)
    return [{name: next(found).numpy() for name in group} for group in groups]


# ---- proximities of one node ----


def nearness(part: Tensor, whole: Tensor, team: Team | None = None) -> Tensor:
    """The proximity of one part at every position: [pos]."""
    part = part.to(whole.device, whole.dtype)
    if whole.numel() <= _NEAR:
        return _near(whole, part)
    step = max(1, _NEAR // whole.shape[1]) if whole.device.type == "cpu" else len(whole)  # what stays in the cache

    def some(rows: range) -> list[Tensor]:
        y, z = whole[rows.start : rows.stop].split(step), part[rows.start : rows.stop].split(step)
        return [_near(a, b) for a, b in zip(y, z, strict=True)]

    found = team.spread(some, len(whole)) if team and whole.numel() > 4 * _NEAR else [some(range(len(whole)))]
    return torch.cat([near for piece in found for near in piece])


def _near(whole: Tensor, part: Tensor) -> Tensor:
    return (whole.abs().sum(-1) - (whole - part).abs_().sum(-1)).clamp_min_(0)


def summands(run: Run, s: State, bias_part: bool) -> Iterator[tuple[Part, Tensor]]:
    """The parts of a state that are taken as a whole and get shares, with their vectors [pos, d_model]."""
    for p in s.parts:
        if p.kind != "attention" and (p.kind in _SHARING or bias_part):
            yield p, p.output(run.n_tokens)


def _output_biases(run: Run, s: State) -> Iterator[tuple[Part, Tensor]]:
    """The constants inside the attention parts of a state: [pos, d_model] each."""
    for p in s.parts:
        if p.kind == "attention":
            yield p, constant_vectors(p.linear[0], run.n_tokens)
