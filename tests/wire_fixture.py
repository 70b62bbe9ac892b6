"""Writes the graph and the numbers that the TypeScript tests compare their scans with: python -m tests.wire_fixture"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lmtt_widget import Graph, Routes, attribute, load_model, record, trace
from lmtt_widget.graph import CARRIED
from lmtt_widget.state import graph_state, read_graph

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
    return graph_state(attribute(run), run_id="fixture", label="a random prompt", max_edges=MAX_EDGES)


def graph_of_wire(message: bytes) -> Graph:
    """A graph that holds exactly what the browser is told, in float64."""
    told = read_graph(message)
    columns = {name: getattr(told, name).astype(np.float64) for name in ("share_sum", "share_max", "truncated")}
    return replace(told, **columns)


def expected(message: bytes) -> dict[str, Any]:
    told = graph_of_wire(message)
    cases = []
    for target in TARGETS:
        for encoding, reading in WEIGHTS:
            cases.append(_case(trace(told, target, reading=reading, encoding=encoding)))  # type: ignore[arg-type]
    return {"about": ABOUT, "cases": cases}


def _case(routes: Routes) -> dict[str, Any]:
    g = routes.graph
    parts = [
        {"strength": _list(routes.strength[b.edges]), "flow": _list(routes.flow[b.edges])}
        for b in (g.block(part.number) for part in g.parts)
    ]
    carried = {name: np.zeros(g.ended.shape) for name in ("strength", "flow")}
    for b in g.blocks:
        if b.kind == CARRIED:
            for name, values in carried.items():
                values[b.entered] = getattr(routes, name)[b.edges]
    strengths = routes.attention_strengths()
    return {
        "target": routes.target,
        "encoding": routes.encoding,
        "reading": routes.reading,
        "automatic": routes.drawn_threshold(),
        "input_share": _list(routes.input_share),
        "ended": routes.ended,
        "carried": {name: _list(values) for name, values in carried.items()},
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


def _between(strengths: np.ndarray) -> list[float]:
    """0 and a few thresholds in the widest gaps between strengths, which float32 cannot blur."""
    ladder = np.unique(strengths)
    if len(ladder) < 2:
        return [0.0]
    gaps = np.argsort(-(ladder[1:] / ladder[:-1]), kind="stable")[:N_THRESHOLDS]
    return [0.0, *sorted(float(f"{(ladder[i] * ladder[i + 1]) ** 0.5:.6g}") for i in gaps)]


def _list(x: np.ndarray) -> Any:
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
