"""What the browser is told: the only Python file where arrays become bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .graph import ATTENTION, PART, Facts, Graph, PartFacts, StateFacts, Table
from .tokens import Token
from .valid import check
from .wire import pack

_OF_EACH = 4  # attention edges of a node that travel however light they are
_NOTHING = 2.0**-25  # the largest number that is 0 as a float16


def graph_state(graph: Graph, *, run_id: str = "", label: str = "", max_edges: int | None = None) -> bytes:
    """The graph of one prompt, for all targets: tokens, states, parts, shares, predictions, fidelity.

    At most `max_edges` attention edges travel: the heaviest, and of every node the heaviest few, so that a target that
    looks at everything a little is not left without lines. What was cut is reported per node, never renormalised.
    None: as many as make .15 MB at 128 tokens, 1 at 512, 3 at 1,024.
    """
    n_tokens, facts = graph.n_tokens, graph.facts
    smallest, of_each = _smallest_kept(graph, _edge_budget(n_tokens) if max_edges is None else max_edges)
    sections = {"carried": _half(graph.carried), "ended": _half(graph.ended)}
    truncated = graph.truncated.copy()
    for b in graph.blocks:
        name, share = f"p{b.part}", graph.share_sum[b.edges]
        if b.kind == PART:
            sections[f"{name}.share"] = _half(share)
        elif b.kind == ATTENTION:
            query = graph.query[b.edges]
            keep = (share >= smallest) | _heaviest(share, query, n_tokens, of_each, smallest)
            keep &= share > _NOTHING
            truncated[b.entered] += np.bincount(query[~keep], share[~keep], n_tokens)
            rows = np.bincount(query[keep], minlength=n_tokens).cumsum()
            sections[f"{name}.row"] = np.concatenate([[0], rows]).astype(np.uint32)
            sections[f"{name}.key"] = graph.key[b.edges][keep]
            sections[f"{name}.sum"] = _half(share[keep])
            sections[f"{name}.max"] = _half(graph.share_max[b.edges][keep])
            sections[f"{name}.top"] = graph.head[b.edges][keep].astype(np.uint16)
    sections["truncated"] = _half(truncated)
    ids = sorted(facts.vocabulary)
    sections["next.token"] = np.searchsorted(ids, facts.next_id).astype(np.int32)
    sections["next.p"] = _half(facts.next_p)
    meta = {
        "run": run_id,
        "prompt": label,
        "tokens": _token_columns(graph),
        "states": [
            {"layer": s.layer, "name": s.name, "carried": -1 if s.carried is None else s.carried} for s in graph.states
        ],
        "parts": [_told(part) for part in graph.parts],
        "vocab": [facts.vocabulary[i] for i in ids],
        "model": facts.model,
        "fidelity": facts.fidelity,
        "smallest": smallest,
    }
    return pack("graph", meta, sections)


def read_graph(message: bytes) -> Graph:
    """The graph in a message: what the browser is told, in float32; edges that did not travel are in `truncated`.

    Raises ValueError for anything else.
    """
    meta, sections = check(message, "graph")
    shape = n_states, n_tokens = len(meta["states"]), len(meta["tokens"]["text"])
    parts = tuple(
        PartFacts(k, p["kind"], p["layer"], p["state"], p["reads"], p["label"], p["heads"] or 0)
        for k, p in enumerate(meta["parts"])
    )
    states = tuple(
        StateFacts(s["layer"], s["name"], None if s["carried"] < 0 else s["carried"]) for s in meta["states"]
    )
    wide = {name: x.astype(np.float32) if x.dtype == np.float16 else x for name, x in sections.items()}
    n_edges = sum(len(x) for name, x in sections.items() if name.endswith(".key"))
    table = Table(n_tokens, n_states, parts, n_edges + (2 * len(parts) + n_states) * n_tokens, np.dtype(np.float32))
    for s, state in enumerate(states):
        if state.carried is not None:
            table.carried(state.carried, s, wide["carried"][s])
        for part in (p for p in parts if p.state == s):
            name = f"p{part.number}"
            if part.kind == "attention":
                n_keys = np.diff(sections[f"{name}.row"]).astype(np.intp)
                query = np.repeat(np.arange(n_tokens), n_keys)
                table.attention(part, query, *(wide[f"{name}.{x}"] for x in ("key", "sum", "max", "top")))
            else:
                table.part(part, wide[f"{name}.share"])
    texts = dict(enumerate(meta["vocab"]))
    facts = Facts(wide["next.token"], wide["next.p"], texts, meta["model"], meta["fidelity"])
    nothing = np.zeros(shape, np.float32)
    return Graph(
        tokens=_tokens(meta["tokens"]),
        roles=tuple(meta["tokens"]["role"]),
        states=states,
        parts=parts,
        **table.filled(),
        ended=wide["ended"] > 0,
        truncated=wide["truncated"],
        error=nothing,
        total=nothing,
        constant=np.zeros((len(parts), n_tokens), np.float32),
        head_sum=np.zeros((len(parts), 0, n_tokens), np.float32),
        find_facts=lambda: facts,
    )


def peek_state(ids: np.ndarray, p: np.ndarray, vocabulary: Mapping[int, str], *, run_id: str = "") -> bytes:
    """The most likely token of some nodes: ids [state, pos], -1 where nothing is said, and their probabilities."""
    known = sorted(vocabulary)
    place = np.where(ids >= 0, np.searchsorted(known, ids), -1)
    meta = {"run": run_id, "vocab": [vocabulary[i] for i in known]}
    return pack("peek", meta, {"token": place.astype(np.int32), "p": _half(p)})


Told = tuple[str, int, Mapping[str, Any], Mapping[str, Any]]  # slot, index, question and the answer to it


def detail_state(told: Sequence[Told], *, run_id: str = "") -> bytes:
    """The answers to the selection and to each pin, each with its question, so that a late one can be dropped.

    The maps of an answer travel as sections "a{number}.{name}", the rest as JSON.
    """
    sections: dict[str, np.ndarray] = {}
    metas = []
    for number, (slot, index, question, answer) in enumerate(told):
        maps: Sequence[str] = answer.map_names() if hasattr(answer, "map_names") else ()
        for name in maps:
            values = np.asarray(answer[name])
            sections[f"a{number}.{name}"] = values if values.dtype == np.uint8 else _half(values)
        said = {name: _plain(value) for name, value in answer.items() if name not in maps}
        metas.append({"slot": slot, "index": index, "question": question, **said})
    return pack("detail", {"run": run_id, "answers": metas}, sections)


def _plain(x: Any) -> Any:
    """As JSON: token lists as columns, numbers finite (else null)."""
    kind = type(x)
    if kind is float:
        return x if math.isfinite(x) else None
    if kind is str or kind is int or x is None:
        return x
    if hasattr(x, "columns"):
        return _plain(x.columns())
    if hasattr(x, "tolist"):
        return _plain(x.tolist())
    if isinstance(x, Mapping):
        return {k: _plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [_plain(v) for v in x]
    if isinstance(x, float) and not math.isfinite(x):
        return None
    return x


def _token_columns(graph: Graph) -> dict[str, list[Any]]:
    t = graph.tokens
    return {
        "id": [x.id for x in t],
        "text": [x.text for x in t],
        "raw": [x.raw for x in t],
        "bytes": [x.bytes.hex() for x in t],
        "special": [x.special for x in t],
        "role": list(graph.roles),
        "char": [x.char for x in t],
        "part": [None if x.part is None else list(x.part) for x in t],
    }


def _tokens(columns: Mapping[str, Sequence[Any]]) -> tuple[Token, ...]:
    names = ("id", "raw", "bytes", "text", "special", "char", "part")
    rows = zip(*(columns[name] for name in names), strict=True)
    return tuple(
        Token(i, raw, bytes.fromhex(spelled), text, special, char, None if part is None else tuple(part))
        for i, raw, spelled, text, special, char, part in rows
    )


def _told(part: PartFacts) -> dict[str, Any]:
    kind = part.kind if part.kind in ("attention", "mlp", "mixer") else "other"
    return {
        "kind": kind,
        "layer": part.layer,
        "state": part.state,
        "reads": part.reads,
        "label": part.label,
        "heads": part.n_heads or None,
    }


def _edge_budget(n_tokens: int) -> int:
    """Edges of eight bytes; a prompt of some sixty tokens through twelve layers keeps them all."""
    return max(12_000, int(8.8 * n_tokens**1.5))


def _smallest_kept(graph: Graph, max_edges: int) -> tuple[float, int]:
    """The share from which edges travel, 0 where all do; and how many of every node do anyway."""
    attention = [graph.share_sum[b.edges] for b in graph.blocks if b.kind == ATTENTION]
    if sum(map(len, attention)) <= max_edges:
        return 0.0, 0
    n_nodes = len(attention) * graph.n_tokens
    of_each = min(_OF_EACH, graph.n_tokens, max_edges // (2 * n_nodes))
    last = max_edges - of_each * n_nodes
    return float(np.partition(np.concatenate(attention), -last)[-last]), of_each


def _heaviest(share: np.ndarray, query: np.ndarray, n_tokens: int, n: int, smallest: float) -> np.ndarray:
    """Which edges are among the `n` heaviest of their query, where fewer than `n` reach the smallest share: [edge]."""
    found = np.zeros(len(share), bool)
    few = np.bincount(query[share >= smallest], minlength=n_tokens) < n
    at = np.flatnonzero(few[query])
    left, query = share[at], query[at]
    for _ in range(n if len(at) else 0):
        first = np.flatnonzero(np.diff(query, prepend=-1))
        counts = np.diff(first, append=len(query))
        best = np.flatnonzero(left == np.repeat(np.maximum.reduceat(left, first), counts))
        found[at[best]], left[best] = True, -1
    return found


def _half(x: Any) -> np.ndarray:
    return np.asarray(x).astype(np.float16)
