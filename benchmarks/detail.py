"""How long the answer to each kind of selection takes at GPT-2 small's shape: python -m benchmarks.detail"""

from __future__ import annotations

import argparse
from functools import partial

import torch

from benchmarks._measure import gpt2_small, medians, random_prompt
from lmtt_widget import attribute, record
from lmtt_widget.answers import answer as answered
from lmtt_widget.state import detail_state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    model = gpt2_small()
    run = record(model, random_prompt(model.module, options.tokens))
    graph = attribute(run)
    query, key = options.tokens - 1, options.tokens // 2
    attention, mlp = 13, 14
    questions = [
        {"kind": "state", "state": mlp, "pos": query},
        {"kind": "carried", "state": mlp, "pos": query},
        {"kind": "edge", "state": attention, "query": query, "key": key},
        {"kind": "head", "state": attention, "head": 3, "query": query, "key": key},
        {"kind": "mlp", "state": mlp, "pos": query},
        {"kind": "neuron", "state": mlp, "pos": query, "neuron": 17},
        {"kind": "token", "pos": query},
    ]

    def answer(question: dict[str, object]) -> bytes:
        return detail_state([("selection", 0, question, answered(run, graph, question))])

    print(f"GPT-2 small's shape, {options.tokens} tokens, {torch.get_num_threads()} threads, torch {torch.__version__}")
    seconds = medians({str(q["kind"]): partial(answer, q) for q in questions}, options.rounds)
    for kind, question in zip(seconds, questions, strict=True):
        print(f"{kind:8s} {seconds[kind] * 1000:6.1f} ms, {len(answer(question)) / 1000:5.0f} kB")


if __name__ == "__main__":
    main()
