"""How near each part is to the whole.

A node is a state at a position. Its parts are the carried state after its frozen steps, every key and head of its
attention parts, and each MLP or mixer part as a whole; constants (output biases, a post-norm's bias) belong to the
whole but are no part, unless asked for. Each part's share is its proximity to the whole over the sum of all proximities
(Ferrando & Voita 2024, arXiv:2403.00824). Shares depend on this partition: an MLP's is not the sum of its neurons'.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .decomposition.forward import in_plain_precision
from .facts import facts_of
from .given import flag, integer, number, of_kind
from .graph import Graph, PartFacts, StateFacts, Table
from .kernels.sums import KernelName, kernel_for
from .memory import EDGE, MAPS, MOST_KEYS, Tidy
from .parts import Part
from .progress import Option, reported
from .run import RECORDED, Run
from .shares import SHARING, Heard, Shares, shares_of, state_groups


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
    heard: Heard | None,
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
    parts = tuple(_part_facts(p) for p in run.parts if p.kind in SHARING or (bias_part and p.state > 0))
    n_maps = sum(p.kind == "attention" for p in parts)
    if most_keys is None:
        most_keys = n_tokens if n_maps * n_tokens * (n_tokens + 1) // 2 * EDGE < MAPS else MOST_KEYS
    how: Any = {"bias_part": bias_part, "tolerance": tolerance, "most_keys": most_keys}
    first = run.value(0)
    with_kernel = kernel_for(first.device, kernel)
    dtype = first.new_empty(0, device="cpu").numpy().dtype
    most_edges = n_maps * min(n_tokens * (n_tokens + 1) // 2, n_tokens * most_keys)
    table = Table(n_tokens, n_states, parts, most_edges + (2 * len(parts) + n_states) * n_tokens, dtype)
    total, error, truncated = np.zeros((3, n_states, n_tokens), dtype)
    ended = np.zeros((n_states, n_tokens), bool)
    constant = np.zeros((len(parts), n_tokens), dtype)
    head_sum = np.zeros((len(parts), max((p.n_heads for p in parts), default=0), n_tokens), dtype)

    def enter(found: Shares, of: dict[str, np.ndarray]) -> None:
        """Enters the shares of the nodes of some states, which follow one another."""
        at = slice(found.states[0].index, found.states[-1].index + 1)
        total[at], ended[at], error[at] = of["total"], of["total"] == 0, of["error"]
        for s, carried in zip(found.states, of["carried"], strict=True):
            assert s.carried is not None
            table.carried(s.carried, s.index, carried)
            for p in s.parts:
                n = p.number
                name, row = found.rows.get(n, ("", 0))
                if p.kind == "attention":
                    head_sum[n, : p.n_heads] = of[f"{name} heads"][row]
                    table.maps(parts[n], *(of[f"{name} {what}"][row] for what in ("share", "largest", "top")))
                    if most_keys < n_tokens:
                        truncated[s.index] += of[f"{name} left"][row]
                elif name:
                    table.part(parts[n], of[name][row])
        for n, (name, row) in found.constants.items():
            constant[n] = of[name][row]

    def fill(waiting: list[Shares]) -> None:
        for found, of in zip(waiting, _numpy([found.of for found in waiting]), strict=True):
            enter(found, of)

    waiting: list[Shares] = []  # an accelerator is asked for several states at once
    with reported("attributing", progress) as told, with_kernel.team(with_kernel.brought(first).device) as team:
        done = Tidy(first.device).before(told)
        for states in state_groups(run):
            for s in states:
                done(s.index - 1, n_states - 1)
            waiting.append(shares_of(run, states, with_kernel, team, heard, **how))
            has_maps = any(p.kind == "attention" for s in states for p in s.parts)
            if has_maps or first.device.type == "cpu" or states[-1] is run.states[-1]:
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


def _part_facts(p: Part) -> PartFacts:
    return PartFacts(p.number, p.kind, p.layer, p.state, p.reads, p.module, p.n_heads)


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
