"""What edits, estimates and reasons cost at GPT-2-small shape, in forward passes: python -m benchmarks.verdicts"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch

import lmtt_widget as lmtt
from benchmarks._measure import gpt2_small, machine, quiet, random_prompt

_TARGETS = {"edited record": 1.5, "one effect from the middle": 0.5, "the same in batches of 8": 0.3,
            "all 144 heads": 45, "estimates of all lines": 2.6, "faithfulness": 5, "reasons, first of a layer": 0.3,
            "reasons, the next": 0.3}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="*", default=[32, 128])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--heads", action="store_true", help="all heads of the model, too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = gpt2_small()
    print(f"{machine()}; in plain forward passes, smallest of {options.rounds} [target]")
    for n in options.tokens:
        prompt = random_prompt(model.module, n)
        run = lmtt.record(model, prompt, progress=quiet)
        lmtt.effects(
            run, [lmtt.Edit({"kind": "mlp", "state": 12, "pos": n - 1})], progress=quiet
        )  # sees how layers run
        with torch.no_grad():
            forward = _seconds(partial(model.module, run.token_ids[None], use_cache=False), options.rounds)
        print(f"\n{n} tokens, {forward:.3f} s a forward pass", flush=True)
        for name, (work, times) in _work(model, run, n).items():
            if name != "all 144 heads" or options.heads:
                rounds = 1 if name == "all 144 heads" else options.rounds
                target = f" [{_TARGETS[name]}]" if _TARGETS[name] else ""
                print(f"{name:32s}{_seconds(work, rounds) / forward / times:8.2f}{target}", flush=True)


def _work(model: lmtt.Model, run: lmtt.Run, n: int) -> dict[str, tuple[Callable[[], object], int]]:
    """Name -> what is measured, and how many of it that is."""
    edits = [lmtt.Edit({"kind": "head", "state": 13, "head": h}) for h in range(8)]
    graph = lmtt.attribute(run, progress=quiet)
    routes = lmtt.trace(graph, encoding="flow")
    part = run.part("attention", layer=11)
    effects = partial(lmtt.effects, run, progress=quiet)

    def estimates() -> None:
        found = lmtt.estimate(run)
        for p in run.parts:
            if p.kind == "attention":
                found.line(p)

    def first() -> None:
        run.asked.clear()
        lmtt.attention_reasons(run, part, 3, n - 1, n // 2)

    return {
        "edited record": (lambda: lmtt.record(model, run, interventions=edits[:1], progress=quiet), 1),
        "one effect from the middle": (lambda: effects(edits[:1]), 1),
        "the same in batches of 8": (lambda: effects(edits), 8),
        "all 144 heads": (lambda: effects("heads"), 1),
        "estimates of all lines": (estimates, 1),
        "faithfulness": (lambda: lmtt.faithfulness(routes), 1),
        "reasons, first of a layer": (first, 1),
        "reasons, the next": (lambda: lmtt.attention_reasons(run, part, 5, n - 1, n // 3), 1),
    }


def _seconds(work: Callable[[], object], rounds: int) -> float:
    found = []
    for _ in range(rounds):
        start = time.process_time()  # of the one thread: other work on the machine does not count
        work()
        found.append(time.process_time() - start)
    return min(found)


if __name__ == "__main__":
    main()
