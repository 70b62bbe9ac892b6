"""The table: its rows and blocks are as its first example says, it travels without its run, and it is small."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lmtt_widget import attribute, load_model, record, trace
from lmtt_widget.graph import ATTENTION, CARRIED, PART, READ, Graph
from lmtt_widget.state import graph_state

from . import zoo

CASES = [zoo.Case(*c.split()) for c in ("gpt2", "gpt_neox parallel", "falcon_h1", "mamba", "hrm_text")]
each_case = pytest.mark.parametrize("case", CASES, ids=str)
ROOT = Path(__file__).resolve().parents[1]


@each_case
def test_every_edge_leaves_its_source_for_a_row_of_a_later_block(case: zoo.Case) -> None:
    graph = attribute(zoo.recorded(case))
    for k, b in enumerate(graph.blocks):
        assert b.start == (graph.blocks[k - 1].stop if k else 0)
        assert all(later.entered != b.source for later in graph.blocks[k + 1 :])
    assert {b.source for b in graph.blocks} | {b.entered for b in graph.blocks} == set(range(graph.n_rows))


@each_case
def test_edges_run_from_what_a_part_reads_to_what_it_enters(case: zoo.Case) -> None:
    run = zoo.recorded(case)
    graph = attribute(run)
    for b in graph.blocks:
        query, key = graph.query[b.edges].astype(int), graph.key[b.edges].astype(int)
        assert (np.diff(query * graph.n_tokens + key) > 0).all()
        if b.kind == ATTENTION:
            part = run.parts[b.part]
            assert (b.source, b.entered) == (part.reads, part.state)
            assert (key <= query).all()
            assert (graph.share_sum[b.edges] > 0).all()
            assert (graph.head[b.edges] < part.n_heads).all()
        else:
            assert query.tolist() == key.tolist() == list(range(graph.n_tokens))
        if b.kind == CARRIED:
            assert b.source == run.states[b.entered].carried
        if b.kind == READ:
            assert b.source == run.parts[b.part].reads
            assert (graph.share_sum[b.edges] == 1).all()


def test_the_first_example_of_the_file_is_true() -> None:
    run = record(load_model(zoo.make("llama", num_hidden_layers=1)), [5, 6])
    kinds = {CARRIED: "carried", ATTENTION: "attention", READ: "read", PART: "part"}
    graph = attribute(run)
    doc = sys.modules[Graph.__module__].__doc__ or ""
    rows = [line.split() for line in doc.splitlines() if line.startswith("    ") and "->" in line][1:]
    assert len(rows) == len(graph.blocks) == 5
    for number, (row, b) in enumerate(zip(rows, graph.blocks, strict=True)):
        part = "-1" if b.part < 0 else str(b.part)
        assert row[:6] == [str(number), kinds[b.kind], part, str(b.source), "->", str(b.entered)]


def test_what_a_part_has_over_all_keys_is_there_by_head_and_by_edge() -> None:
    graph = attribute(zoo.recorded(zoo.Case("llama")))
    for part in graph.parts:
        if part.kind == "attention":
            np.testing.assert_allclose(graph.map(part.number).sum(1), graph.share(part.number), atol=1e-12)
            np.testing.assert_allclose(graph.head_sum[part.number].sum(0), graph.share(part.number), atol=1e-12)
        else:
            assert not graph.head_sum[part.number].any()
            with pytest.raises(ValueError, match=rf"only an attention part has keys, got part {part.number} \(mlp\)"):
                graph.map(part.number)
    with pytest.raises(ValueError, match=r"part must be the number of one with shares, 0\.\.7, got 99"):
        graph.share(99)


@pytest.fixture(scope="module")
def as_gpt2_small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pickled graph of 128 tokens through twelve layers with twelve heads; widths do not matter to it."""
    module = zoo.make(
        "gpt2", num_hidden_layers=12, num_attention_heads=12, max_position_embeddings=128, dtype=torch.float32
    )
    path = tmp_path_factory.mktemp("graph") / "graph.pickle"
    path.write_bytes(pickle.dumps(attribute(record(load_model(module), zoo.prompt(128)))))
    return path


def test_a_pickled_graph_is_small(as_gpt2_small: Path) -> None:
    graph = pickle.loads(as_gpt2_small.read_bytes())
    assert len(graph.states) == 25
    assert len(graph.query) > 12 * 128 * 64
    assert as_gpt2_small.stat().st_size < 6_000_000


def test_a_pickled_graph_is_opened_traced_and_packed_without_torch(as_gpt2_small: Path) -> None:
    code = (
        "import pickle, sys, lmtt_widget as l; from lmtt_widget.state import graph_state;"
        f"g = pickle.load(open({str(as_gpt2_small)!r}, 'rb'));"
        "r = l.trace(g, -1, encoding='flow'); n = len(r.edges(r.automatic_threshold()));"
        "heavy = [m for m in ('torch', 'transformers') if m in sys.modules];"
        "print(g.run, n > 20, len(graph_state(g)) > 100_000, heavy)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "None True True []\n", done.stderr


@each_case
def test_a_pickled_graph_says_what_it_said_before(case: zoo.Case) -> None:
    graph = attribute(zoo.recorded(case))
    message, routes = graph_state(graph), trace(graph, 3)
    back = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(graph))))
    assert back.run is None
    assert graph_state(back) == message
    assert np.array_equal(trace(back, 3).strength, routes.strength)
    assert repr(back) == repr(graph)
    assert back.to_dict() == graph.to_dict()


def test_a_graph_made_without_a_run_says_that_nothing_is_known_of_the_model() -> None:
    from .synthetic import random_graph

    with pytest.raises(ValueError, match="this graph was made without a run, so nothing is known of predictions"):
        assert random_graph(0).facts
    assert pickle.loads(pickle.dumps(random_graph(0))).find_facts is None
