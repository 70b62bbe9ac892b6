"""A graph's table as whole tensors, read edge by edge: what tests compare with formulas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lmtt_widget import Graph
from lmtt_widget.graph import ATTENTION, PART


@dataclass(frozen=True)
class AttentionShare:
    share_sum: Tensor  # [query, key]
    share_max: Tensor  # [query, key]
    top_head: Tensor  # [query, key]
    constant: Tensor  # [query]


@dataclass(frozen=True)
class PartShare:
    share: Tensor  # [pos]


def tensor(x: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(x))


class Dense:
    """The nodes as [state, pos]; `parts` has one for every part of the run, None where it has no share."""

    def __init__(self, graph: Graph, n_parts: int | None = None) -> None:
        self.graph, self.run = graph, graph.run
        self.carried, self.ended, self.total = tensor(graph.carried), tensor(graph.ended), tensor(graph.total)
        self.error, self.truncated = tensor(graph.error), tensor(graph.truncated)
        n = len(graph.parts if graph.run is None else graph.run.parts) if n_parts is None else n_parts
        self.parts: list[AttentionShare | PartShare | None] = [None] * n
        for b in graph.blocks:
            if b.kind == ATTENTION:
                columns = (graph.share_sum, graph.share_max, graph.head)
                whole = (edges(graph, b.part, x) for x in columns)
                self.parts[b.part] = AttentionShare(*whole, tensor(graph.constant[b.part]))
            elif b.kind == PART:
                self.parts[b.part] = PartShare(tensor(graph.share_sum[b.edges]))


def edges(graph: Graph, part: int, column: np.ndarray) -> Tensor:
    """A column of edges of a part: [query, key] of attention, else [pos]."""
    (b,) = [b for b in graph.blocks if b.part == part and b.kind in (ATTENTION, PART)]
    if b.kind == PART:
        return tensor(column[b.edges])
    n = len(graph.tokens)
    found = torch.zeros(n, n, dtype=tensor(column[:0]).dtype)
    for query, key, value in zip(*(x[b.edges].tolist() for x in (graph.query, graph.key, column)), strict=True):
        found[query, key] = value
    return found
