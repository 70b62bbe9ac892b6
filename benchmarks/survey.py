"""What a survey costs beside the plain forward pass, and what it leaves on disk: python -m benchmarks.survey"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from functools import partial

import torch

import lmtt_widget as lmtt
from benchmarks._measure import gpt2_small, medians, quiet, random_prompt
from lmtt_widget.surveys import rows
from tests.grammar_prompts import prompts


def forward(model: lmtt.Model, ids: list[int]) -> None:
    with torch.no_grad():
        model.module(**model.inputs(ids))


def row(model: lmtt.Model, ids: list[int]) -> None:
    run, _ = rows.recorded(model, ids)
    rows.row_of(run, -1)


def cost(name: str, model: lmtt.Model, ids: list[int], rounds: int) -> None:
    seconds = medians({"forward": partial(forward, model, ids), "row": partial(row, model, ids)}, rounds)
    ratio = seconds["row"] / seconds["forward"]
    print(
        f"{name}, {len(ids)} tokens: forward {1e3 * seconds['forward']:.1f} ms, record + attribute + row {ratio:.2f} x"
    )


def stored(n: int) -> None:
    given = list(prompts(n, 8))
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        lmtt.survey(lmtt.bundled_model(), given, folder, progress=quiet)
        spent = (time.process_time() - start) / n
        size = sum(entry.stat().st_size for entry in os.scandir(folder)) / n
        start = time.perf_counter()
        many = lmtt.load_survey(folder)
        many.examples(layer=1, head=3)
        first = time.perf_counter() - start
        start = time.perf_counter()
        view = many.show()
        shown = time.perf_counter() - start
        start = time.perf_counter()
        view.map.cell = [2, 3]
        clicked = time.perf_counter() - start
    print(
        f"{n} prompts of the grammar: {1e3 * spent:.1f} CPU ms and {size:,.0f} bytes a prompt; examples {first:.2f} s, "
        f"the map {shown:.2f} s, a click on it {clicked:.3f} s"
    )


def workers(n: int, rounds: int) -> None:
    """Two of Dask's workers against one, in turns, each with its model made before; wants two free cores."""
    from distributed import Client, LocalCluster

    given, taken = list(prompts(n, 8)), {1: [], 2: []}  # type: tuple[list[str], dict[int, list[float]]]
    options = {"threads_per_worker": 1, "dashboard_address": None}
    for _ in range(rounds):
        for n_workers, seconds in taken.items():
            with (
                LocalCluster(n_workers=n_workers, **options) as cluster,
                Client(cluster) as client,
                tempfile.TemporaryDirectory() as folder,
            ):
                for part in ("warm", "many"):  # every worker makes its model in the first
                    start = time.perf_counter()
                    lmtt.survey(lmtt.bundled_model, given, f"{folder}/{part}", engine=client, chunk=10, progress=quiet)
                seconds.append(time.perf_counter() - start)
    ratios = [one / two for one, two in zip(taken[1], taken[2], strict=True)]
    print(
        f"{n} prompts: one worker {min(taken[1]):.1f} s, two {min(taken[2]):.1f} s; ratios",
        *(f"{r:.2f}" for r in ratios),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--workers", action="store_true", help="only two of Dask's workers against one")
    options = parser.parse_args()
    if options.workers:
        workers(options.prompts, 3)
        return
    torch.set_num_threads(1)
    bundled, gpt2 = lmtt.bundled_model(), gpt2_small()
    cost("bundled model", bundled, bundled.encode("When Mary and John went to the store, John gave a drink to").ids,
         options.rounds)  # fmt: skip
    cost("GPT-2 small's shape", gpt2, random_prompt(gpt2.module, 64), options.rounds)
    seconds = medians({"search": lambda: lmtt.promoters(gpt2, 17, progress=quiet)}, 3)
    print(f"search by word at GPT-2 small's shape: {seconds['search']:.2f} s")
    stored(options.prompts)


if __name__ == "__main__":
    main()
