"""How many prompts of its own grammar the bundled model is refused on: should be none.

python -m tests.grammar_prompts --n 10000        takes a few minutes
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch

import lmtt_widget as lmtt
from tools.bundled.grammar import TASKS, continuation, draw


@dataclass
class Tally:
    n: int = 0
    refused: int = 0
    worst: float = 0.0  # of all checks, the largest error in units of what its dtype allows
    where: str = ""  # that check, and the prompt


def prompts(n: int, seed: int = 0) -> Iterator[str]:
    """Prompts of every task, every third at the end of a document of other sentences."""
    rng = random.Random(seed)
    for k in range(n):
        task = TASKS[k % len(TASKS)]
        split = rng.choice(("train", "held-out"))
        long = k % 3 == 0
        yield (continuation(task, rng, rng.randint(50, 400)) if long else draw(task, rng, split)).prompt  # type: ignore[arg-type]


def tally(n: int, seed: int = 0) -> Tally:
    """What `record` says of n prompts, every identity checked at every position."""
    model, found = lmtt.bundled_model(), Tally()
    for prompt in prompts(n, seed):
        run = lmtt.record(model, prompt, strict=False, check="all")
        found.n += 1
        found.refused += not run.fidelity.exact
        worst = max(run.fidelity.checks, key=lambda c: c.error / c.tolerance)
        if worst.error / worst.tolerance > found.worst:
            found.worst, found.where = worst.error / worst.tolerance, f"{worst} in {prompt!r}"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    t = tally(options.n, options.seed)
    print(f"{t.n} prompts, {t.refused} refused; the nearest came to {t.worst:.2f} of what is allowed: {t.where}")


if __name__ == "__main__":
    main()
