"""The shares inside one part: of its heads, of its neurons, of its experts; and a graph with the weak ones dropped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .contributions import proximity
from .decomposition.forward import in_plain_precision
from .decomposition.vectors import neuron_vectors
from .decomposition.writes import LinearWrite
from .earlier import renamed
from .given import integer, number, of_kind, one_of
from .graph import ATTENTION, READ, SHARED, Block, Graph
from .kernels.sums import head_proximities, kernel_for
from .parts import Part
from .run import Run, need_own
from .shares import nearness, summands

_BLOCK = 1 << 21  # numbers in one block of [neuron, d_model]: a few MB, so that it stays in the cache


@renamed(flow="graph")
@in_plain_precision
def head_shares(run: Run, part: Part, query: int | None = None, *, graph: Graph | None = None) -> Tensor:
    """The share of every head and key of an attention part: [head, query, key], or [head, key] for one query.

    graph: the run's, whose totals are then used instead of computed again.

    Raises ValueError if the part has no heads or is another run's, and for a query out of range.

        >>> lmtt.head_shares(run, run.parts[0], 13, graph=graph).shape  # [head, key] of one query
        torch.Size([8, 14])
    """
    need_own(run, part)
    if part.heads is None:
        raise ValueError(f"only an attention part has heads, got {part!r}")
    if graph is not None:
        of_kind(graph, Graph, "graph", SHARED)
        if not (graph.run is None or graph.run is run) or graph.ended.shape != (len(run.states), run.n_tokens):
            raise ValueError("the graph is of another run; pass attribute(run), or no graph")
    n = run.n_tokens
    query = None if query is None else integer(query, "query", 0, n - 1)
    start, stop = (0, n) if query is None else (query, query + 1)
    whole = run.value(part.state)
    near = head_proximities(part.linear[0], whole, range(start, stop), kernel=kernel_for(whole.device))
    if graph is None:
        total = near.sum((0, 2)) + _others(run, part, start, stop)
    else:
        total = torch.from_numpy(graph.total[part.state, start:stop]).to(near)
    shares = (near / torch.where(total > 0, total, 1)[:, None]).cpu()
    return shares if query is None else shares[:, 0]


@in_plain_precision
def head_map(run: Run, graph: Graph, part: Part, head: int) -> Tensor:
    """The share of every query-key pair of one head: [query, key].

    Raises ValueError if the part has no such head.
    """
    if not 0 <= head < part.n_heads:
        raise ValueError(f"head must be in 0..{part.n_heads - 1}, got {head}")
    whole = run.value(part.state)
    heads = range(head, head + 1)
    near = head_proximities(part.linear[0], whole, range(len(whole)), heads, kernel=kernel_for(whole.device))[0]
    total = torch.from_numpy(graph.total[part.state])
    return near.cpu() / torch.where(total > 0, total, 1)[:, None]


@dataclass(frozen=True)
class NeuronShares:
    """The neurons that were active for one token, in the order of the part's writes."""

    share: Tensor  # [n]
    value: Tensor  # [n], the activation (after the gate) that multiplies the neuron's output row
    write: Tensor  # [n], which of the part's linear writes it belongs to
    row: Tensor  # [n], the leaf row of that write
    neuron: Tensor  # [n], its number there


@in_plain_precision
def neuron_shares(run: Run, part: Part, pos: int) -> NeuronShares:
    """The share of every neuron of an MLP part at one position, when the part is split into its neurons.

    The parts of the node are n_u w_u for every neuron u (of every expert that saw this token) and all other parts.
    Raises ValueError if the part is no MLP or is another run's, and for a position out of range.

        >>> shares = lmtt.neuron_shares(run, run.parts[1], 13)
        >>> 0 <= float(shares.share.sum()) <= 1
        True
    """
    need_own(run, part)
    if part.kind != "mlp":
        raise ValueError(f"only an MLP part has neurons, got {part!r}")
    pos = integer(pos, "position", 0, run.n_tokens - 1)
    whole = run.value(part.state)[pos]
    near, value, write_of, row_of, number = [], [], [], [], []
    for k, write in enumerate(part.linear):
        n_neurons = write.input.shape[1]
        step = max(1, _BLOCK // whole.shape[0])
        for row in write.path.leaf_rows(pos):
            for index in torch.arange(n_neurons, device=whole.device).split(step):
                near.append(proximity(neuron_vectors(write, row, index).to(whole.device), whole))
                value.append(write.input[row, index].to(whole))
                write_of.append(torch.full_like(index, k))
                row_of.append(torch.full_like(index, row))
                number.append(index)
    if not near:
        empty = torch.zeros(0)
        return NeuronShares(empty, empty, empty.long(), empty.long(), empty.long())
    prox = torch.cat(near)
    total = prox.sum() + _others(run, part, pos, pos + 1)[0]
    return NeuronShares(
        (prox / total.clamp_min(1e-30)).cpu(),
        torch.cat(value).cpu(),
        torch.cat(write_of).cpu(),
        torch.cat(row_of).cpu(),
        torch.cat(number).cpu(),
    )


@in_plain_precision
def expert_shares(run: Run, part: Part, pos: int) -> list[tuple[LinearWrite, int, float]]:
    """(write, leaf row, share) of every expert that saw the token, when the part is split into its experts."""
    whole = run.value(part.state)[pos]
    found = [(w, row) for w in part.linear for row in w.path.leaf_rows(pos)]
    if not found:
        return []
    outputs = torch.stack([w.path.apply(w.output[row].to(whole.dtype), row).to(whole.device) for w, row in found])
    near = proximity(outputs, whole)
    shares = near / (near.sum() + _others(run, part, pos, pos + 1)[0]).clamp_min(1e-30)
    return [(w, row, share) for (w, row), share in zip(found, shares.tolist(), strict=True)]


def expert_name(part: Part, write: LinearWrite, row: int) -> int | str | None:
    """The number of an expert, "shared" for one that sees every token; None where there are no experts."""
    number = write.expert(row)
    return "shared" if number is None and len(part.linear) > 1 else number


def has_experts(part: Part) -> bool:
    """Whether an MLP part is a mixture."""
    return len(part.linear) > 1 or any(w.map.group for w in part.linear)


def renormalise(graph: Graph, threshold: float, by: Literal["head", "max", "sum"] = "head") -> Graph:
    """The graph as it is drawn at one threshold: what is at or below it is dropped, what survives of a node divided.

    by="head", as the papers draw it: heads are dropped one by one, and what survives of a node (heads, carried state,
    other parts) is divided by its sum; then heads are summed. (Tufanov et al. 2024, arXiv:2404.07004)
    by="max" or "sum", as the widget's `renormalise` does in that reading, which has no single heads: edges are dropped
    whole, by the share of their largest head or of all heads, and that share is divided.

    Raises ValueError for another `by`, or by="head" for a graph that was opened without its run.

        >>> drawn = lmtt.renormalise(graph, 0.04)
        >>> drawn.share(0).sum() <= graph.n_tokens
        np.True_
    """
    of_kind(graph, Graph, "graph", SHARED)
    threshold = number(threshold, "threshold")
    one_of(by, ("head", "max", "sum"), "by")
    if by == "head" and graph.run is None:
        raise ValueError('heads are dropped one by one only beside the recorded run; use by="max" or by="sum"')
    share = np.where(graph.share_sum > threshold, graph.share_sum, 0)
    largest = np.where(graph.share_max > threshold, graph.share_max, 0)
    share = largest.copy() if by == "max" else share
    head_sum = np.zeros_like(graph.head_sum if by == "head" else graph.head_sum[:, :0])  # of edges no heads are known
    if by == "head":
        for b in graph.blocks:
            if b.kind == ATTENTION:
                share[b.edges], head_sum[b.part] = _strong_heads(graph, b, threshold)
    constant = np.where(graph.constant > threshold, graph.constant, 0)
    total = np.zeros(graph.ended.shape)
    for part in graph.parts:
        total[part.state] += constant[part.number]
    entering = [b for b in graph.blocks if b.kind != READ]
    for b in entering:
        total[b.entered] += np.bincount(graph.query[b.edges], share[b.edges], graph.n_tokens)
    per = 1 / np.where(total > 0, total, 1)
    for b in entering:
        for column in (share, largest):
            column[b.edges] *= per[b.entered, graph.query[b.edges]]
    for part in graph.parts:
        constant[part.number] *= per[part.state]
        head_sum[part.number] *= per[part.state]
    ended, nothing = total == 0, np.zeros_like(graph.error)
    ended[0] = False
    return replace(
        graph, share_sum=share, share_max=share if by == "sum" else largest, ended=ended, constant=constant,
        head_sum=head_sum, error=nothing, truncated=nothing,
    )  # fmt: skip


def _strong_heads(graph: Graph, b: Block, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """The heads above the threshold: summed over heads for the edges of an attention part, over keys [head, query]."""
    part = graph.run.parts[b.part]
    share, over_keys = np.zeros(b.stop - b.start, graph.share_sum.dtype), np.zeros_like(graph.head_sum[b.part])
    query, key = graph.query[b.edges], graph.key[b.edges]
    for q in np.unique(query[graph.share_max[b.edges] > threshold]).tolist():  # only these keep a head
        heads = head_shares(graph.run, part, q, graph=graph).numpy()
        strong = np.where(heads > threshold, heads, 0)
        share[query == q] = strong.sum(0)[key[query == q]]
        over_keys[: len(strong), q] = strong.sum(1)
    return share, over_keys


def _others(run: Run, part: Part, start: int, stop: int) -> Tensor:
    """The proximities of everything else in the node of `part`, summed, for positions start..stop."""
    whole, state = run.value(part.state), run.states[part.state]
    total = nearness(run.carried(part.state)[start:stop], whole[start:stop])
    for other, vectors in summands(run, state, False):
        if other is not part:
            total = total + nearness(vectors[start:stop], whole[start:stop])
    kernel = kernel_for(whole.device)
    for other in state.parts:
        if other.kind == "attention" and other is not part:
            near = head_proximities(other.linear[0], whole, range(start, stop), kernel=kernel)
            total = total + near.sum((0, 2))
    return total
