"""How large the graph trait is, how long it takes to make and how much is cut: python -m benchmarks.wire"""

from __future__ import annotations

import argparse

import torch

from benchmarks._measure import gpt2_small, machine, medians, quiet, random_prompt
from lmtt_widget import attribute, record
from lmtt_widget.state import graph_state
from lmtt_widget.wire import unpack

_TARGETS = {128: 0.15, 512: 1.0, 1024: 3.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="*", default=list(_TARGETS))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    model = gpt2_small(max(options.tokens))
    print(f"GPT-2 small's shape, random weights. {machine()}\n")
    print("| tokens | graph, MB | edges | largest mass cut of a node | mean | pack, ms | forward, ms |")
    print("|---|---|---|---|---|---|---|")
    for n_tokens in options.tokens:
        prompt = random_prompt(model.module, n_tokens)
        run = record(model, prompt, progress=quiet)
        graph = attribute(run, progress=quiet)
        message = graph_state(graph)
        sections = unpack(message)[2]
        n_edges = sum(len(x) for name, x in sections.items() if name.endswith(".key"))
        cut = sections["truncated"][1:].astype("float32")

        def forward(prompt: list[int] = prompt) -> None:
            with torch.no_grad():
                model.module(torch.tensor([prompt]))

        pack = lambda graph=graph: graph_state(graph)  # noqa: E731
        seconds = medians({"forward": forward, "pack": pack}, options.rounds)
        target = f" [{_TARGETS[n_tokens]}]" if n_tokens in _TARGETS else ""
        print(
            f"| {n_tokens} | {len(message) / 1e6:.2f}{target} | {n_edges:,} | {cut.max():.3f} | {cut.mean():.3f} "
            f"| {seconds['pack'] * 1e3:.0f} | {seconds['forward'] * 1e3:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
