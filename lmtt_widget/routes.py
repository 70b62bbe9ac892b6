"""Which edges reach the target: strength at every threshold, flow along paths.

Both are one scan over the states from the top down. The same two scans are in js/src/core/routes.ts.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from .contributions import AttentionShare, Flow, Heaviest, LongAttentionShare
from .parts import Part

Reading = Literal["max", "sum"]
Encoding = Literal["share", "flow"]


@dataclass
class PartRoute:
    """One value per edge: [query, key] for an attention part, [pos] for any other."""

    strength: Tensor
    flow: Tensor


class LongPartRoute(PartRoute):
    """The same for an attention part of which only the heaviest keys are kept."""

    def __init__(self, heaviest: Heaviest, strength: Tensor, flow: Tensor) -> None:
        self.__dict__.update(heaviest=heaviest, _kept=[heaviest.kept(x) for x in (strength, flow)])

    heaviest: Heaviest
    strength = property(lambda self: self.heaviest.full(self._kept[0]))
    flow = property(lambda self: self.heaviest.full(self._kept[1]))


@dataclass(frozen=True)
class Edge:
    """One drawn edge; `part` is its index in run.parts, None for the carried state."""

    kind: str
    state: int  # the state entered
    query: int
    key: int
    part: int | None
    share: float
    flow: float
    strength: float


@dataclass
class Routes:
    """The routes into one target, in Flow's layout; `strength > t` is the connected route at threshold t, for all t."""

    source: Flow
    target: int
    heads: Reading
    encoding: Encoding
    carried: PartRoute  # [state, pos]
    parts: list[PartRoute | None]  # None where the part has no share
    node_strength: Tensor  # [state, pos]
    node_flow: Tensor  # [state, pos], the target's is 1
    ended: dict[str, float]  # cause -> flow that reaches no token: "mixer", "no parts", "constants", "truncated"

    @property
    def input_share(self) -> Tensor:
        """The flow that reaches each token's embedding: [pos]. With `ended` it sums to 1."""
        return self.node_flow[0]

    def attention_strengths(self) -> Tensor:
        """The strength of every attention edge, strongest first."""
        return self._attention_strengths().sort(descending=True).values

    def automatic_threshold(self, budget: int = 80) -> float:
        """A threshold at which about `budget` attention edges are drawn; 0 if there are no more."""
        strengths = self._attention_strengths()
        return float(strengths.topk(budget + 1).values[-1]) if len(strengths) > budget else 0.0

    def _attention_strengths(self) -> Tensor:
        strengths = (r.strength for r in self.parts if r is not None)
        return torch.cat([x[x > 0] for x in strengths if x.ndim == 2] or [torch.zeros(0)])

    def coverage(self, threshold: float) -> float:
        """The part of the target's flow that reaches the embedding through drawn edges only, not renormalised."""
        flow, run = self.source, self.source.run
        reach = torch.zeros_like(self.node_flow)
        reach[-1, self.target] = 1
        for s in reversed(run.states[1:]):
            here = reach[s.index]
            reach[s.carried] += torch.where(self.carried.strength[s.index] > threshold, flow.carried[s.index], 0) * here
            for k, part in enumerate(run.parts):
                share, route = flow.parts[k], self.parts[k]
                if part.state != s.index or share is None or route is None or not _goes_on(part):
                    continue
                drawn = route.strength > threshold
                if isinstance(share, AttentionShare):
                    reach[part.reads] += here @ torch.where(drawn, share.share_sum, 0)
                else:
                    reach[part.reads] += here * torch.where(drawn, share.share, 0)
        return float(reach[0].sum())

    def edges(self, threshold: float) -> list[Edge]:
        """The drawn edges, strongest first; an MLP's two edges are one here."""
        run, flow = self.source.run, self.source
        found = []
        for s, t in (self.carried.strength > threshold).nonzero().tolist():
            share, moved, strength = (float(x[s, t]) for x in (flow.carried, self.carried.flow, self.carried.strength))
            found.append(Edge("carried", s, t, t, None, share, moved, strength))
        for k, (part, route) in enumerate(zip(run.parts, self.parts, strict=True)):
            p = flow.parts[k]
            if route is None or p is None:
                continue
            shares = p.share_sum if isinstance(p, AttentionShare) else p.share
            for at in (route.strength > threshold).nonzero().tolist():
                share, moved, strength = (float(x[tuple(at)]) for x in (shares, route.flow, route.strength))
                found.append(Edge(part.kind, part.state, at[0], at[-1], k, share, moved, strength))
        return sorted(found, key=lambda e: -e.strength)

    def to_dict(self, threshold: float | None = None) -> list[dict[str, Any]]:
        """One record for every drawn edge, strongest first, ready for a data frame; None draws the 80 strongest."""
        threshold = self.automatic_threshold() if threshold is None else threshold
        return [asdict(edge) for edge in self.edges(threshold)]

    def __repr__(self) -> str:
        tokens = self.source.run.tokens
        top = self.input_share.topk(min(3, len(tokens)))
        words = ", ".join(
            f"{tokens[i].text!r} {v:.0%}" for v, i in zip(top.values.tolist(), top.indices.tolist(), strict=True)
        )
        return f"Routes(to {tokens[self.target].text!r} at {self.target}, from {words})"


def trace(flow: Flow, target: int = -1, *, heads: Reading = "max", encoding: Encoding = "share") -> Routes:
    """The strength and the flow of every edge on the way to one target position in the last state.

    flow(edge) = share(edge) x flow(node entered); flow(target) = 1.
    strength(edge) = min(own weight, strength(node entered)), a node's being the largest among the edges that leave it
    upward. The weight is the share (heads: summed, or of the one head with the largest) or, with encoding="flow", the
    flow. An MLP passes what reaches it on to the state it read; at a mixer, which has no key axis, flow ends.

    Raises ValueError if the target is out of range. (Ferrando & Voita 2024, arXiv:2403.00824, top-down extraction.)
    """
    run = flow.run
    n_tokens = flow.carried.shape[1]
    if not -n_tokens <= target < n_tokens:
        raise ValueError(
            f"target must be a position in 0..{n_tokens - 1} (the prompt has {n_tokens} tokens), got {target}"
        )
    if heads not in ("max", "sum"):
        raise ValueError(f'heads must be "max" or "sum", got {heads!r}')
    if encoding not in ("share", "flow"):
        raise ValueError(f'encoding must be "share" or "flow", got {encoding!r}')
    target %= n_tokens
    strength, amount = torch.zeros_like(flow.carried), torch.zeros_like(flow.carried)
    strength[-1, target], amount[-1, target] = torch.inf, 1
    carried = PartRoute(torch.zeros_like(flow.carried), torch.zeros_like(flow.carried))
    routes: list[PartRoute | None] = [None] * len(run.parts)
    ended = {"mixer": 0.0, "no parts": 0.0, "constants": 0.0}
    for s in reversed(run.states[1:]):
        here, through = strength[s.index], amount[s.index]
        ended["no parts"] += float(through[flow.ended[s.index]].sum())
        if flow.truncated is not None:
            ended["truncated"] = ended.get("truncated", 0.0) + float((flow.truncated[s.index] * through).sum())
        moved = flow.carried[s.index] * through
        passed = torch.minimum(moved if encoding == "flow" else flow.carried[s.index], here)
        carried.strength[s.index], carried.flow[s.index] = passed, moved
        strength[s.carried] = torch.maximum(strength[s.carried], passed)
        amount[s.carried] += moved
        for k, part in enumerate(run.parts):
            p = flow.parts[k]
            if part.state != s.index or p is None:
                continue
            if isinstance(p, AttentionShare):
                moved = p.share_sum * through[:, None]
                weight = moved if encoding == "flow" else p.share_max if heads == "max" else p.share_sum
                passed = torch.minimum(weight, here[:, None])
                strength[part.reads] = torch.maximum(strength[part.reads], passed.amax(0))
                amount[part.reads] += moved.sum(0)
                if p.constant is not None:
                    ended["constants"] += float((p.constant * through).sum())
            else:
                moved = p.share * through
                passed = torch.minimum(moved if encoding == "flow" else p.share, here)
                if _goes_on(part):
                    strength[part.reads] = torch.maximum(strength[part.reads], passed)
                    amount[part.reads] += moved
                else:
                    ended["mixer" if part.kind == "mixer" else "constants"] += float(moved.sum())
            if isinstance(p, LongAttentionShare):
                routes[k] = LongPartRoute(p.heaviest, passed, moved)
            else:
                routes[k] = PartRoute(passed, moved)
    return Routes(flow, target, heads, encoding, carried, routes, strength, amount, ended)


def _goes_on(part: Part) -> bool:
    """Whether what reaches the part reaches a state below; a mixer has no key axis to say where."""
    return part.kind != "mixer" and part.reads >= 0
