"""One prompt as one row: a pure function of a recording, every array of the same shape for all prompts of a model.

Knows nothing of files, engines or statistics. Axes: `attention` (the attention parts from the bottom up, mostly one a
layer), `head`, `part` (all parts with shares), `role`. For "A B A B" the role "induction" of the last query is key 2,
the A after which B stood: what a head that continues repetitions looks at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..attribution import direct_logit_attribution
from ..contributions import attributed
from ..decomposition.writes import UndecomposableError
from ..graph import Graph
from ..model import Model
from ..parts import Part
from ..routes import Routes, trace
from ..run import Run, record
from .roles import ROLES

HEADS = ("head_share", "head_flow", "head_strength", "head_effect")  # [attention, head] each
ROLE_SUMS = ("attention_role", "share_role")  # [role, attention, head] each
PARTS = ("part_share", "part_flow", "part_effect")  # [part] each
PER_ROLE = ("role_n", "role_chance")  # [role] each
LISTS = ("ids", "surprisal", "input_share")  # [pos] each
NUMBERS = ("n_tokens", "target", "predicted", "p", "fidelity")
OURS = frozenset(
    ("number", "prompt", "error", *HEADS, *ROLE_SUMS, *PARTS, *PER_ROLE, *LISTS, *NUMBERS, "pos", "id", "text")
)


@dataclass(frozen=True)
class Row:
    """What a prompt leaves behind."""

    columns: dict[str, Any]
    tokens: dict[str, Any] | None = None  # the same of each of its tokens


def layout_of(graph: Graph) -> dict[str, Any]:
    """What the axes stand for, as JSON: the same for every prompt of a model."""
    heads = [p for p in graph.parts if p.n_heads]
    return {
        "attention": [{"layer": p.layer, "part": p.number, "state": p.state, "heads": p.n_heads} for p in heads],
        "parts": [{"kind": p.kind, "layer": p.layer, "state": p.state, "label": p.label} for p in graph.parts],
        "roles": list(ROLES),
    }


def recorded(model: Model, prompt: Any) -> tuple[Run, str | None]:
    """The recording of a prompt, and in words what cannot be split exactly in it."""
    try:
        return record(model, prompt, progress=False), None
    except UndecomposableError as e:  # one prompt may not end a survey; what is wrong stands in its row
        return record(model, prompt, strict=False, progress=False), str(e)


def row_of(run: Run, target: int, *, layout: dict[str, Any] | None = None, tokens: bool = False) -> Row:
    """The row of a recorded prompt; layout: what the survey's other rows have, else its own.

    Raises ValueError for a target that the prompt has not, and for a prompt that is split into other parts.
    """
    looked = _Looked(key_classes(run))
    graph = attributed(run, looked.shares, progress=False)
    layout = layout or layout_of(graph)
    if layout_of(graph) != layout:
        raise ValueError(f"split into {len(graph.parts)} parts here, other ones than in the rest of the survey")
    routes = trace(graph, target)
    heads = _heads(run, graph, routes, layout, looked)
    logits = run.logits.float()
    before = -logits.log_softmax(-1)[:-1].gather(1, run.token_ids[1:, None].to(logits.device))[:, 0].cpu()
    surprisal = np.concatenate([[np.nan], before.numpy()]).astype(np.float32)
    likely = logits[routes.target].softmax(-1)
    best = int(likely.argmax())
    columns: dict[str, Any] = {**heads, **_parts(graph, routes), **_effects(run, routes, layout, best)}
    columns |= {
        "ids": run.token_ids.tolist(), "surprisal": surprisal.tolist(),
        "input_share": routes.input_share.astype(np.float32).tolist(), "n_tokens": run.n_tokens,
        "target": routes.target, "predicted": best, "p": float(likely[best]), "fidelity": float(run.fidelity.worst),
    }  # fmt: skip
    return Row(columns, _tokens(run, graph, routes, layout, surprisal) if tokens else None)


def empty_row(layout: dict[str, Any]) -> dict[str, Any]:
    """The row of a prompt that was refused."""
    n, m = len(layout["attention"]), max((a["heads"] for a in layout["attention"]), default=0)
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(HEADS, (n, m))
    shapes |= {name: (len(ROLES), n, m) for name in ROLE_SUMS}
    shapes |= {name: (len(layout["parts"]),) for name in PARTS} | {name: (len(ROLES),) for name in PER_ROLE}
    arrays: dict[str, Any] = {name: np.full(shape, np.nan, np.float32) for name, shape in shapes.items()}
    return arrays | dict.fromkeys((*LISTS, *NUMBERS))


def key_classes(run: Run) -> Tensor:
    """Which keys play which role for each query, [role, query, key]; a key may play several."""
    n, ids = run.n_tokens, run.token_ids
    query, key = torch.arange(n)[:, None], torch.arange(n)[None]
    same = ids[:, None] == ids[None]
    after = torch.zeros_like(same)
    after[:, 1:] = same[:, :-1]  # the token before the key is the query's
    starts = torch.tensor([i == 0 or t.text[:1] in " ·␣\n⏎" for i, t in enumerate(run.tokens)])
    word = starts.cumsum(0)
    return torch.stack([
        (key == 0) & (query > 0),
        key == query,
        key == query - 1,
        same & (key < query),
        after & (key <= query) & (key > 0),
        (word[:, None] == word[None]) & (key < query),
    ])  # fmt: skip


class _Looked:
    """What is kept of [head, query, key] of each attention part: sums over the keys of each role, and the largest."""

    def __init__(self, classes: Tensor) -> None:
        self.classes = classes  # [role, query, key]
        self.places = classes.flatten(1).float().T  # [query * key, role]
        self.role: dict[int, Tensor] = {}  # [head, role], of the shares
        self.largest: dict[int, Tensor] = {}  # [head, query], over keys, of the shares

    def shares(self, part: Part, shares: Tensor) -> None:
        self.role[part.number], self.largest[part.number] = self.summed(shares), shares.amax(2).float().cpu()

    def summed(self, weights: Tensor) -> Tensor:
        """Weights [head, query, key] summed over the keys of each role: [head, role]."""
        return weights.float().cpu().flatten(1) @ self.places


def _heads(run: Run, graph: Graph, routes: Routes, layout: dict[str, Any], looked: _Looked) -> dict[str, np.ndarray]:
    """What each head is given and where it looks."""
    asked = looked.classes.any(2)  # [role, query]: the queries that have such a key
    every = torch.arange(1, run.n_tokens + 1)
    uniform = (looked.classes.sum(2) / every).sum(1)  # what equal attention to all keys would get
    found = empty_row(layout)
    for i, at in enumerate(layout["attention"]):
        part, h = run.parts[at["part"]], at["heads"]
        assert part.heads is not None
        through = routes.node_strength[part.state].astype(np.float32)
        found["head_share"][i, :h] = graph.head_sum[part.number, :h].mean(1)
        found["head_flow"][i, :h] = routes.head_flow[part.number, :h]
        found["head_strength"][i, :h] = np.minimum(looked.largest[part.number].numpy(), through).max(1)
        for name, sums in zip(ROLE_SUMS, (looked.summed(part.heads.pattern()), looked.role[part.number]), strict=True):
            found[name][:, i, :h] = sums.T.numpy()
    kept = {name: found[name] for name in (*HEADS, *ROLE_SUMS)}
    return kept | {"role_n": asked.sum(1).float().numpy(), "role_chance": uniform.numpy()}


def _parts(graph: Graph, routes: Routes) -> dict[str, np.ndarray]:
    """The share and the flow of each part with shares."""
    share = np.stack([graph.share(p.number) for p in graph.parts])  # [part, pos]
    through = routes.node_flow[[p.state for p in graph.parts]]
    return {"part_share": share.mean(1).astype(np.float32), "part_flow": (share * through).sum(1).astype(np.float32)}


def _effects(run: Run, routes: Routes, layout: dict[str, Any], token: int) -> dict[str, np.ndarray]:
    """The signed direct effects on the predicted token's logit; NaN without a linear read-out."""
    found = {name: empty_row(layout)[name] for name in ("head_effect", "part_effect")}
    if run.readout is None:
        return found
    row = {at["part"]: i for i, at in enumerate(layout["attention"])}
    found["part_effect"][:] = 0
    for effect in direct_logit_attribution(run, routes.target, token).effects:
        if effect.part is None or effect.part >= len(layout["parts"]):
            continue
        found["part_effect"][effect.part] += effect.value
        if effect.head is not None:
            found["head_effect"][row[effect.part], effect.head] = effect.value
    return found


def _tokens(run: Run, graph: Graph, routes: Routes, layout: dict[str, Any], surprisal: np.ndarray) -> dict[str, Any]:
    """What each head is given at each token: classes of tokens can be joined to it afterwards."""
    share, flow = (np.stack([empty_row(layout)["head_share"]] * run.n_tokens) for _ in range(2))  # [pos, .., head]
    for i, at in enumerate(layout["attention"]):
        mine = graph.head_sum[at["part"], : at["heads"]]  # [head, query]
        share[:, i, : at["heads"]] = mine.T
        flow[:, i, : at["heads"]] = (mine * routes.node_flow[at["state"]]).T
    return {
        "pos": list(range(run.n_tokens)), "id": run.token_ids.tolist(), "text": [t.text for t in run.tokens],
        "surprisal": surprisal.tolist(), "input_share": routes.input_share.astype(np.float32).tolist(),
        "head_share": share, "head_flow": flow,
    }  # fmt: skip
