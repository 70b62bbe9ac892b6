"""Hand-made graphs: shares without a model."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lmtt_widget import Graph
from lmtt_widget.graph import PartFacts, StateFacts, Table
from lmtt_widget.tokens import tokens


class Entering(NamedTuple):
    """A part of a state: its kind, the state it reads, its shares ([head, query, key] for attention, else [pos])."""

    kind: Any
    reads: int
    share: Tensor


def graph(carried: Tensor, states: list[tuple[int, list[Entering]]]) -> Graph:
    """carried [state, pos]; for each state above the embedding the state it continues and what enters it."""
    n_states, n_tokens = carried.shape
    entering = [(index, e) for index, (_, here) in enumerate(states, 1) for e in here]
    parts = [
        PartFacts(k, e.kind, s - 1, s, e.reads, f"{e.kind} {s}", len(e.share) if e.share.ndim == 3 else 0)
        for k, (s, e) in enumerate(entering)
    ]
    table = Table(n_tokens, n_states, parts, 10_000, carried.numpy().dtype)
    total = carried.clone()
    for index, (continues, _) in enumerate(states, 1):
        table.carried(continues, index, carried[index].numpy())
        for part, (s, e) in zip(parts, entering, strict=True):
            if s == index and e.share.ndim == 3:
                best = e.share.max(0)
                query, key = e.share.sum(0).nonzero(as_tuple=True)
                columns = (query, key, *(x[query, key] for x in (e.share.sum(0), best.values, best.indices)))
                table.attention(part, *(x.numpy() for x in columns))
                total[index] += e.share.sum((0, 2))
            elif s == index:
                table.part(part, e.share.numpy())
                total[index] += e.share
    facts = [StateFacts(None, "embedding", None), *(StateFacts(i, "made", c) for i, (c, _) in enumerate(states))]
    ended, nothing = (total == 0).numpy(), np.zeros(carried.shape)
    ended[0] = False
    constant, head_sum = np.zeros((len(parts), n_tokens)), np.zeros((len(parts), 0, n_tokens))
    return Graph(
        tuple(tokens(None, range(n_tokens))), (None,) * n_tokens, tuple(facts), tuple(parts), **table.filled(),
        ended=ended, truncated=nothing, error=nothing, total=np.ones(carried.shape), constant=constant,
        head_sum=head_sum,
    )  # fmt: skip


def random_graph(seed: int, n_tokens: int = 7, n_heads: int = 3) -> Graph:
    """Sequential, parallel, mixing and skipping blocks in turn; some nodes end."""
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64) ** 3

    def attention(reads: int) -> Entering:
        return Entering("attention", reads, rand(n_heads, n_tokens, n_tokens).tril())

    layout = [
        (0, [attention(0)]),
        (1, [Entering("mlp", 1, rand(n_tokens))]),
        (2, [attention(2), Entering("mlp", 2, rand(n_tokens))]),
        (3, [Entering("mixer", 3, rand(n_tokens)), attention(3)]),
        (3, [attention(4), Entering("mlp", 4, rand(n_tokens)), Entering("mlp", 3, rand(n_tokens))]),
        (5, [attention(5)]),
    ]
    carried = torch.zeros(len(layout) + 1, n_tokens, dtype=torch.float64)
    states = []
    for index, (continues, entering) in enumerate(layout, 1):
        own = rand(n_tokens)
        total = own + sum(e.share.sum((0, 2)) if e.share.ndim == 3 else e.share for e in entering)
        end = torch.rand(n_tokens, generator=generator) < (0.15 if index in (2, 5) else 0)
        per = torch.where(end, 0, 1 / total)
        carried[index] = own * per
        scaled = [e._replace(share=e.share * (per[:, None] if e.share.ndim == 3 else per)) for e in entering]
        states.append((continues, scaled))
    return graph(carried, states)
