"""How near each part is to the whole.

A node is a state at a position. Its parts are the carried state after its frozen steps, every key and head of its
attention parts, and each MLP or mixer part as a whole; constants (output biases, a post-norm's bias) belong to the
whole but are no part, unless asked for. Each part's share is its proximity to the whole over the sum of all proximities
(Ferrando & Voita 2024, arXiv:2403.00824). Shares depend on this partition: an MLP's is not the sum of its neurons'.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from .decomposition.forward import in_plain_precision
from .decomposition.vectors import constant_vectors, neuron_vectors
from .decomposition.writes import LinearWrite
from .kernels.sums import KernelName, head_proximities, kernel_for, proximity_sums
from .kernels.threads import Team
from .kernels.tiles import Sums
from .parts import Part
from .progress import Progress, reported
from .run import Run

_EDGE = 10  # bytes of one query and key: share_sum, share_max, top_head
_MAPS = 1 << 30  # bytes that the maps of all attention parts may take
_MOST_KEYS = 1024  # kept of every query where they would take more
_NEAR = 1 << 16  # numbers that are compared at a time
_BLOCK = 1 << 21  # numbers in one block of [neuron, d_model]: a few MB, so that it stays in the cache


@dataclass(frozen=True)
class AttentionShare:
    """The shares of an attention part, over its heads."""

    share_sum: Tensor  # [query, key], summed over heads
    share_max: Tensor  # [query, key], of the one head with the largest share
    top_head: Tensor  # [query, key], that head
    constant: Tensor | None = None  # [query], of the output bias, where constants are parts


class Heaviest:
    """Which keys of every query are kept of a [query, key] map; the others are 0 when it is made again."""

    def __init__(self, share: Tensor, n: int) -> None:
        self.size = share.shape[1]
        self.key = share.topk(n).indices.int()  # [query, n]

    def kept(self, values: Tensor) -> Tensor:
        """[query, key] -> [query, n]"""
        return values.gather(1, self.key.long())

    def full(self, values: Tensor) -> Tensor:
        """[query, n] -> [query, key]"""
        return values.new_zeros(len(values), self.size).scatter_(1, self.key.long(), values)


class LongAttentionShare(AttentionShare):
    """The same where only the heaviest keys of every query are kept; the maps are made each time they are asked for."""

    def __init__(self, share: AttentionShare, n: int) -> None:
        heaviest = Heaviest(share.share_sum, n)
        kept = [heaviest.kept(x) for x in (share.share_sum, share.share_max, share.top_head)]
        self.__dict__.update(heaviest=heaviest, _kept=kept, constant=share.constant)

    heaviest: Heaviest
    share_sum = property(lambda self: self.heaviest.full(self._kept[0]))
    share_max = property(lambda self: self.heaviest.full(self._kept[1]))
    top_head = property(lambda self: self.heaviest.full(self._kept[2]))

    def __repr__(self) -> str:
        return f"LongAttentionShare({self.heaviest.key.shape[1]} keys of every query)"


@dataclass(frozen=True)
class PartShare:
    """The share of a part that is taken as a whole."""

    share: Tensor  # [pos]


@dataclass
class Flow:
    """The shares of every node of a run; those of one node sum to 1, or to 0 where nothing points towards the whole."""

    run: Run
    carried: Tensor  # [state, pos], share of the carried state; row 0 (the embedding) is 0
    parts: list[AttentionShare | PartShare | None]  # in the order of run.parts; None: no share (a constant)
    ended: Tensor  # [state, pos], bool: no part of this node has any proximity to it
    total: Tensor  # [state, pos], the sum of all proximities, which shares are fractions of
    bias_part: bool = False
    error: Tensor | None = None  # [state, pos]: no share is further from the exact one; None: all are exact
    truncated: Tensor | None = None  # [state, pos]: shares of edges that were not kept; None: all are kept
    kernel: str = ""  # what computed it, and why not something faster
    partition: str = field(init=False)

    def __post_init__(self) -> None:
        constants = "constants as one part" if self.bias_part else "constants no part"
        self.partition = f"carried state; every key and head; each MLP and mixer as a whole; {constants}"

    def to_dict(self, smallest: float = 0.0) -> list[dict[str, Any]]:
        """One record for every edge whose share is above `smallest`, ready for a data frame."""
        states = self.run.states
        records = [
            {
                "kind": "carried",
                "layer": states[s].layer,
                "state": s,
                "query": t,
                "key": t,
                "share": float(self.carried[s, t]),
            }
            for s, t in (self.carried > smallest).nonzero().tolist()
        ]
        for part, p in zip(self.run.parts, self.parts, strict=True):
            if p is None:
                continue
            shares = p.share_sum if isinstance(p, AttentionShare) else p.share
            for at in (shares > smallest).nonzero().tolist():
                record = {"kind": part.kind, "layer": part.layer, "state": part.state, "query": at[0], "key": at[-1]}
                record["share"] = float(shares[tuple(at)])
                if isinstance(p, AttentionShare):
                    record |= {"head": int(p.top_head[tuple(at)]), "head_share": float(p.share_max[tuple(at)])}
                records.append(record)
        return records

    def __repr__(self) -> str:
        n = sum(int((p.share_sum > 0).sum()) for p in self.parts if isinstance(p, AttentionShare))
        return f"Flow({len(self.carried)} states x {self.carried.shape[1]} tokens, {n} attention edges)"


def proximity(parts: Tensor, whole: Tensor, p: float = 1) -> Tensor:
    """How much of `whole` each part accounts for, in units of |whole|.

    max(0, |whole|_p - |whole - part|_p)      (Ferrando & Voita 2024, arXiv:2403.00824)
    parts [..., part, d_model], whole [..., d_model] -> [..., part], in float32 or better
    """
    wide = torch.promote_types(torch.promote_types(parts.dtype, whole.dtype), torch.float32)
    parts, whole = parts.to(wide), whole.to(wide)
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
    progress: Progress | None = None,
) -> Flow:
    """The share of every part of every node: exact unless asked otherwise, never a [query, key, head, d_model] array.

    bias_part: give constants and rounding parts shares too (the papers' partition gives them none).
    tolerance: how far any share may be off. sign(y) . z then stands for the proximity of the smallest vectors z to y,
    which it is never less than; Flow.error says by how much at most the shares of each node are off.
    most_keys: of every query only so many keys are kept, the heaviest; Flow.truncated holds what the others had, and
    nothing is divided anew. None keeps all while they take less than 1 GiB, otherwise 1,024.
    kernel: what computes it; the same numbers up to rounding. "numba" needs numba, "compiled" goes through
    torch.compile; where one cannot run, "torch" does, and Flow.kernel says why. progress(done, total) is called for
    every state; None shows a bar when it takes more than a second.

    Raises ValueError for a tolerance outside [0, 1), no keys, or an unknown kernel.
    """
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance must be a share in [0, 1), got {tolerance}")
    if most_keys is not None and most_keys < 1:
        raise ValueError(f"most_keys must be at least 1, got {most_keys}")
    n_states, n_tokens = len(run.states), run.n_tokens
    n_maps = sum(p.kind == "attention" for p in run.parts)
    if most_keys is None:
        most_keys = n_tokens if n_maps * n_tokens**2 * _EDGE < _MAPS else _MOST_KEYS
    first = run.value(0)
    with_kernel = kernel_for(first.device, kernel)
    carried = torch.zeros(n_states, n_tokens, dtype=first.dtype)
    totals, ended = torch.zeros_like(carried), torch.zeros(n_states, n_tokens, dtype=torch.bool)
    error, truncated = torch.zeros_like(carried), torch.zeros_like(carried)
    shares: dict[int, AttentionShare | PartShare] = {}
    with reported("attributing", progress) as done, with_kernel.team(first.device) as team:
        for s in run.states[1:]:
            done(s.index - 1, n_states - 1)
            whole = run.value(s.index)
            near_carried = _near(run.carried(s.index), whole, team)
            biases = {id(p): _near(c, whole) for p, c in _output_biases(run, s.index)} if bias_part else {}
            near = {id(p): _near(v, whole, team) for p, v in _summands(run, s.index, bias_part)}
            total = sum([*near.values(), *biases.values()], near_carried)
            sums, slack = {}, None
            attention = [p for p in s.parts if p.kind == "attention"]
            if tolerance:
                n_vectors = sum(p.n_heads for p in attention) * torch.arange(1, n_tokens + 1, device=whole.device)
                slack = tolerance * total / n_vectors.clamp_min(1)
            for p in attention:
                found = sums[id(p)] = proximity_sums(p.linear[0], whole, kernel=with_kernel, slack=slack, team=team)
                total = total + found.sum.sum(1)
                error[s.index] += found.off.cpu()
            per = 1 / torch.where(total > 0, total, 1)
            totals[s.index] = total.cpu()
            error[s.index] *= per.cpu()
            carried[s.index], ended[s.index] = (near_carried * per).cpu(), (total == 0).cpu()
            for p in s.parts:
                if id(p) in sums:
                    share = _attention_share(sums[id(p)], per, biases.get(id(p)))
                    if most_keys < n_tokens:
                        before = share.share_sum.sum(1)
                        share = LongAttentionShare(share, most_keys)
                        truncated[s.index] += before - share.share_sum.sum(1)
                    shares[id(p)] = share
                elif id(p) in near:
                    shares[id(p)] = PartShare((near[id(p)] * per).cpu())
        done(n_states - 1, n_states - 1)
    return Flow(
        run,
        carried,
        [shares.get(id(p)) for p in run.parts],
        ended,
        totals,
        bias_part,
        error if tolerance else None,
        truncated if most_keys < n_tokens else None,
        str(with_kernel),
    )


@in_plain_precision
def head_shares(run: Run, part: Part, query: int | None = None, *, flow: Flow | None = None) -> Tensor:
    """The share of every head and key of an attention part: [head, query, key], or [head, key] for one query.

    flow: the run's, whose totals are then used instead of computed again.

    Raises ValueError if the part has no heads, IndexError if the query is out of range.
    """
    if part.heads is None:
        raise ValueError(f"only an attention part has heads, got {part!r}")
    n = run.n_tokens
    if query is not None and not 0 <= query < n:
        raise IndexError(f"query must be in 0..{n - 1}, got {query}")
    start, stop = (0, n) if query is None else (query, query + 1)
    whole = run.value(part.state)
    near = head_proximities(part.linear[0], whole, range(start, stop), kernel=kernel_for(whole.device))
    if flow is None:
        total = near.sum((0, 2)) + _others(run, part, start, stop)
    else:
        total = flow.total[part.state, start:stop].to(near)
    shares = (near / torch.where(total > 0, total, 1)[:, None]).cpu()
    return shares if query is None else shares[:, 0]


@in_plain_precision
def head_map(flow: Flow, part: Part, head: int) -> Tensor:
    """The share of every query-key pair of one head: [query, key].

    Raises ValueError if the part has no such head.
    """
    if not 0 <= head < part.n_heads:
        raise ValueError(f"head must be in 0..{part.n_heads - 1}, got {head}")
    whole = flow.run.value(part.state)
    heads = range(head, head + 1)
    near = head_proximities(part.linear[0], whole, range(len(whole)), heads, kernel=kernel_for(whole.device))[0]
    total = flow.total[part.state]
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
    Raises ValueError if the part is no MLP, IndexError if the position is out of range.
    """
    if part.kind != "mlp":
        raise ValueError(f"only an MLP part has neurons, got {part!r}")
    if not 0 <= pos < run.n_tokens:
        raise IndexError(f"position must be in 0..{run.n_tokens - 1}, got {pos}")
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


def renormalize(flow: Flow, threshold: float) -> Flow:
    """The flow as the papers draw it at one threshold, `heads="max"`.

    Heads at or below the threshold are dropped one by one; what survives of a node (heads, carried state, other parts)
    is divided by its sum, and then heads are summed. (Tufanov et al. 2024, arXiv:2404.07004)
    """
    run = flow.run
    carried = torch.where(flow.carried > threshold, flow.carried, 0)
    kept: list[AttentionShare | PartShare | None] = []
    total = carried.clone()
    for part, p in zip(run.parts, flow.parts, strict=True):
        if isinstance(p, AttentionShare):
            summed = torch.zeros_like(p.share_sum)
            for q in (p.share_max > threshold).any(1).nonzero().reshape(-1).tolist():  # only these keep a head
                heads = head_shares(run, part, q, flow=flow).to(summed)
                summed[q] = torch.where(heads > threshold, heads, 0).sum(0)
            constant = None if p.constant is None else torch.where(p.constant > threshold, p.constant, 0)
            p = AttentionShare(summed, torch.where(p.share_max > threshold, p.share_max, 0), p.top_head, constant)
            total[part.state] += summed.sum(1) + (0 if constant is None else constant)
        elif p is not None:
            p = replace(p, share=torch.where(p.share > threshold, p.share, 0))
            total[part.state] += p.share
        kept.append(p)
    per = 1 / torch.where(total > 0, total, 1)
    ended = total == 0
    ended[0] = False
    parts: list[AttentionShare | PartShare | None] = []
    for part, p in zip(run.parts, kept, strict=True):
        scale = per[part.state]
        if isinstance(p, AttentionShare):
            bias = None if p.constant is None else p.constant * scale
            summed, largest = p.share_sum * scale[:, None], p.share_max * scale[:, None]
            p = replace(p, share_sum=summed, share_max=largest, constant=bias)
        elif p is not None:
            p = replace(p, share=p.share * scale)
        parts.append(p)
    return replace(flow, carried=carried * per, parts=parts, ended=ended, error=None, truncated=None)


# ---- proximities of one node ----


def _attention_share(found: Sums, per: Tensor, bias: Tensor | None) -> AttentionShare:
    share_sum, share_max = (x.mul_(per[:, None]).cpu() for x in (found.sum, found.max))
    return AttentionShare(share_sum, share_max, found.top.cpu(), None if bias is None else (bias * per).cpu())


def _near(part: Tensor, whole: Tensor, team: Team | None = None) -> Tensor:
    """The proximity of one part at every position: [pos]."""
    part = part.to(whole.device, whole.dtype)
    step = max(1, _NEAR // whole.shape[1]) if whole.device.type == "cpu" else len(whole)  # what stays in the cache

    def some(rows: range) -> list[Tensor]:
        y, z = whole[rows.start : rows.stop].split(step), part[rows.start : rows.stop].split(step)
        return [(a.abs().sum(-1) - (a - b).abs_().sum(-1)).clamp_min_(0) for a, b in zip(y, z, strict=True)]

    found = team.spread(some, len(whole)) if team and whole.numel() > 4 * _NEAR else [some(range(len(whole)))]
    return torch.cat([near for piece in found for near in piece])


def _summands(run: Run, state: int, bias_part: bool) -> Iterator[tuple[Part, Tensor]]:
    """The parts of a state that are taken as a whole and get shares, with their vectors [pos, d_model]."""
    for p in run.states[state].parts:
        if p.kind in ("mlp", "mixer", "skip") or (bias_part and p.kind != "attention"):
            yield p, p.output(run.n_tokens)


def _output_biases(run: Run, state: int) -> Iterator[tuple[Part, Tensor]]:
    """The constants inside the attention parts of a state: [pos, d_model] each."""
    for p in run.states[state].parts:
        if p.kind == "attention":
            yield p, constant_vectors(p.linear[0], run.n_tokens)


def _others(run: Run, part: Part, start: int, stop: int) -> Tensor:
    """The proximities of everything else in the node of `part`, summed, for positions start..stop."""
    whole = run.value(part.state)
    total = _near(run.carried(part.state)[start:stop], whole[start:stop])
    for other, vectors in _summands(run, part.state, False):
        if other is not part:
            total = total + _near(vectors[start:stop], whole[start:stop])
    kernel = kernel_for(whole.device)
    for other in run.states[part.state].parts:
        if other.kind == "attention" and other is not part:
            near = head_proximities(other.linear[0], whole, range(start, stop), kernel=kernel)
            total = total + near.sum((0, 2))
    return total
