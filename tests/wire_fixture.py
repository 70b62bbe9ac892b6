"""Writes the graph and the numbers that the TypeScript tests compare their scans with: python -m tests.wire_fixture"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmtt_widget import Flow, Routes, attribute, load_model, record, trace
from lmtt_widget.contributions import AttentionShare, PartShare
from lmtt_widget.decomposition.paths import Path as Steps
from lmtt_widget.parts import Part, State
from lmtt_widget.state import graph_state
from lmtt_widget.wire import unpack

from . import zoo

FOLDER = Path(__file__).resolve().parents[1] / "js" / "test" / "fixtures"
MAX_EDGES, N_THRESHOLDS = 150, 6
TARGETS = (6, 3, 0)
WEIGHTS = (("flow", "max"), ("share", "max"), ("share", "sum"))
ABOUT = (
    "Written by `python -m tests.wire_fixture` for graph.bin, a random model with attention and a mixer in one state, "
    "from the numbers on the wire (float16, the weakest attention edges cut). Per case: `automatic` is the threshold "
    "that null stands for; `carried` holds strength and flow as [state][pos]; `parts` holds them for each entry of "
    "meta.parts, of an attention part one number per edge in the order of its CSR sections, of any other part one per "
    "pos. `attention_edges` is how many attention edges have strength > threshold; no threshold is close to a strength."
)


def graph() -> bytes:
    run = record(load_model(zoo.make("falcon_h1", num_hidden_layers=6)), zoo.prompt())
    return graph_state(run, attribute(run), run_id="fixture", label="a random prompt", max_edges=MAX_EDGES)


def flow_of_wire(meta: Mapping[str, Any], sections: Mapping[str, np.ndarray]) -> Flow:
    """A Flow that holds exactly what the browser is told, in float64."""
    n = len(meta["tokens"]["id"])
    states = [
        State(i, s["layer"], s["name"], torch.zeros(n, 1), None if s["carried"] < 0 else s["carried"], Steps())
        for i, s in enumerate(meta["states"])
    ]
    parts: list[Part] = []
    shares: list[AttentionShare | PartShare | None] = []
    for k, p in enumerate(meta["parts"]):
        kind = "constant" if p["kind"] == "other" else p["kind"]
        parts.append(Part(kind, p["layer"], p["state"], p["reads"], p["label"], []))
        if kind != "attention":
            shares.append(PartShare(_wide(sections[f"p{k}.share"])))
            continue
        at = edges_of(sections, k)
        full = [torch.zeros(n, n, dtype=torch.float64) for _ in range(3)]
        for x, name in zip(full, ("sum", "max", "top"), strict=True):
            x[at] = _wide(sections[f"p{k}.{name}"])
        shares.append(AttentionShare(*full))
    run: Any = SimpleNamespace(states=states, parts=parts, n_tokens=n, tokens=[])
    carried, ended = _wide(sections["carried"]), _wide(sections["ended"]) > 0
    return Flow(run, carried, shares, ended, torch.ones_like(carried))


def edges_of(sections: Mapping[str, np.ndarray], k: int) -> tuple[Tensor, Tensor]:
    """(query, key) of every edge of an attention part, in the order of the wire."""
    rows = torch.from_numpy(sections[f"p{k}.row"].astype(np.int64))
    query = torch.repeat_interleave(torch.arange(len(rows) - 1), rows.diff())
    return query, torch.from_numpy(sections[f"p{k}.key"].astype(np.int64))


def expected(message: bytes) -> dict[str, Any]:
    _, meta, sections = unpack(message)
    flow = flow_of_wire(meta, sections)
    cases = []
    for target in TARGETS:
        for encoding, reading in WEIGHTS:
            routes = trace(flow, target, heads=reading, encoding=encoding)  # type: ignore[arg-type]
            cases.append(_case(routes, sections))
    return {"about": ABOUT, "cases": cases}


def _case(routes: Routes, sections: Mapping[str, np.ndarray]) -> dict[str, Any]:
    parts = []
    for k, route in enumerate(routes.parts):
        assert route is not None
        at = edges_of(sections, k) if route.flow.ndim == 2 else slice(None)
        parts.append({"strength": _list(route.strength[at]), "flow": _list(route.flow[at])})
    truncated = float((routes.node_flow * _wide(sections["truncated"])).sum())
    strengths = routes.attention_strengths()
    return {
        "target": routes.target,
        "encoding": routes.encoding,
        "reading": routes.heads,
        "automatic": 0.04 if routes.encoding == "share" else routes.automatic_threshold(),
        "input_share": _list(routes.input_share),
        "ended": {**routes.ended, "truncated": truncated},
        "carried": {"strength": _list(routes.carried.strength), "flow": _list(routes.carried.flow)},
        "parts": parts,
        "thresholds": [
            {
                "threshold": t,
                "attention_edges": int((strengths > t).sum()),
                "coverage": routes.coverage(t),
            }
            for t in _between(strengths)
        ],
    }


def _between(strengths: Tensor) -> list[float]:
    """0 and a few thresholds in the widest gaps between strengths, which float32 cannot blur."""
    ladder = strengths.unique()
    if len(ladder) < 2:
        return [0.0]
    gaps = (ladder[1:] / ladder[:-1]).topk(min(N_THRESHOLDS, len(ladder) - 1)).indices
    return [0.0, *sorted(float(f"{float((ladder[i] * ladder[i + 1]).sqrt()):.6g}") for i in gaps)]


def _wide(x: np.ndarray) -> Tensor:
    return torch.from_numpy(x.astype(np.float64))


def _list(x: Tensor) -> Any:
    """Nested lists of numbers with seven digits."""
    if x.ndim > 1:
        return [_list(row) for row in x]
    return [float(f"{v:.7g}") for v in x.tolist()]


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    message = graph()
    (FOLDER / "graph.bin").write_bytes(message)
    (FOLDER / "expected.json").write_text(json.dumps(expected(message), separators=(",", ":")) + "\n", "utf-8")


if __name__ == "__main__":
    main()
