"""What it costs to see that labels and sums are right, in plain forward passes: python -m benchmarks.checks

The self-test is done in every recording: sums of states, heads, linear maps, logits. The probe is done once per model.
Plain passes and recordings run in turn, and medians of the processor's time are divided; targets stand in brackets.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from benchmarks._measure import gpt2_small, machine, quiet, random_prompt
from lmtt_widget import known_labels, record, run
from lmtt_widget.decomposition import heads, mapped, read_layer, readout

# What is timed: the functions whose only result is an error, and the probe.
_TIMED = {
    "self-test": [(read_layer, "_kept"), (mapped, "row_errors"), (heads, "_checked"), (readout, "_error"),
                  (run, "checks_of")],
    "probe": [(known_labels, "probed_ahead"), (known_labels, "probed_labels")],
}  # fmt: skip
_TARGETS = {"self-test": 0.05, "probe": 3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="*", default=[512])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    model = gpt2_small(max(options.tokens))
    print(f"GPT-2 small's shape, random weights, float32. {machine()}\n")
    print("| tokens | forward, s | self-test | probe |\n|---|---|---|---|")
    for n_tokens in options.tokens:
        prompt = random_prompt(model.module, n_tokens)
        rounds = [_round(model, prompt) for _ in range(options.rounds + 1)][1:]
        median = {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}
        costs = [f"{median[name] / median['forward']:.3f} [{_TARGETS[name]}]" for name in _TIMED]
        print("|", " | ".join([f"{n_tokens}", f"{median['forward']:.3f}", *costs]), "|", flush=True)


def _round(model: Any, prompt: list[int]) -> dict[str, float]:
    """Seconds of a plain pass, and of what is timed in a recording that probes."""
    start = time.process_time()
    with torch.no_grad():
        model.module(torch.tensor([prompt]))
    forward = time.process_time() - start
    with _timed() as probing:
        known_labels.forget()
        record(model, prompt, progress=quiet)
    with _timed() as seconds:  # without what the probe's own passes check
        record(model, prompt, progress=quiet)
    return {"forward": forward, "self-test": seconds["self-test"], "probe": probing["probe"]}


@contextmanager
def _timed() -> Iterator[dict[str, float]]:
    seconds: dict[str, float] = defaultdict(float)

    def timing(name: str, f: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return f(*args, **kwargs)
            finally:
                seconds[name] += time.process_time() - start

        return timed

    before = [(room, f, getattr(room, f)) for functions in _TIMED.values() for room, f in functions]
    for name, functions in _TIMED.items():
        for room, f in functions:
            setattr(room, f, timing(name, getattr(room, f)))
    try:
        yield seconds
    finally:
        for room, f, own in before:
            setattr(room, f, own)


if __name__ == "__main__":
    main()
