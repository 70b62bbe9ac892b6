"""Hand-made graphs: shares without a model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lmtt_widget import Flow
from lmtt_widget.contributions import AttentionShare, PartShare
from lmtt_widget.decomposition.paths import Path
from lmtt_widget.parts import Part, State
from lmtt_widget.tokens import tokens


class Entering(NamedTuple):
    """A part of a state: its kind, the state it reads, its shares ([head, query, key] for attention, else [pos])."""

    kind: Any
    reads: int
    share: Tensor


def flow(carried: Tensor, states: list[tuple[int, list[Entering]]]) -> Flow:
    """carried [state, pos]; for each state above the embedding the state it continues and what enters it."""
    n_tokens = carried.shape[1]
    nothing = torch.zeros(n_tokens, 1)
    made = [State(0, None, "embedding", nothing, None, Path())]
    parts, shares = [], []
    ended = torch.zeros(carried.shape, dtype=torch.bool)
    for index, (continues, entering) in enumerate(states, 1):
        total = carried[index].clone()
        here = [Part(e.kind, index - 1, index, e.reads, f"{e.kind} {index}", []) for e in entering]
        for e in entering:
            if e.share.ndim == 3:
                best = e.share.max(0)
                shares.append(AttentionShare(e.share.sum(0), best.values, best.indices))
                total += e.share.sum((0, 2))
            else:
                shares.append(PartShare(e.share))
                total += e.share
        parts += here
        ended[index] = total == 0
        made.append(State(index, index - 1, "made", nothing, continues, Path(), here))
    run: Any = SimpleNamespace(
        states=made, parts=parts, n_tokens=n_tokens, tokens=tokens(None, range(n_tokens)), readout=None
    )
    return Flow(run, carried, shares, ended, torch.ones(carried.shape))


def random_flow(seed: int, n_tokens: int = 7, n_heads: int = 3) -> Flow:
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
    return flow(carried, states)
