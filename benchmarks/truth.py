"""How far the picture, estimates and exact effects agree about heads: python -m benchmarks.truth [--model stories]

Of prompts of a bundled model's grammar, or of its stories: how often the five heads that a ranking puts first hold the
three whose exact effect on the log odds is largest, for each ablation; and the correlation of each ranking with the
exact effects. Then how much of the log odds the ten lines and squares that a ranking puts first keep by themselves, the
rest from the contrast prompt, and how often the right answer then still has the larger logit.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

import lmtt_widget as lmtt
from benchmarks._pairs import TASKS, Pair, pairs, story_pairs, story_tasks
from lmtt_widget.faithful import strongest
from lmtt_widget.graph import ATTENTION, PART


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=50, help="of each task")
    parser.add_argument("--model", choices=("grammar", "stories"), default="grammar")
    parser.add_argument("--tasks", nargs="*")
    options = parser.parse_args()
    model = lmtt.bundled_model(options.model)
    of_model, tasks = (story_pairs, story_tasks()) if options.model == "stories" else (pairs, TASKS)
    held: dict[tuple[str, str], list[bool]] = defaultdict(list)
    alike: dict[tuple[str, str], list[float]] = defaultdict(list)
    kept: dict[str, list[float]] = defaultdict(list)
    on_top: dict[str, list[bool]] = defaultdict(list)
    n = 0
    for task in options.tasks or tasks:
        of_task = of_model(model.tokenizer, task, options.prompts)
        n += len(of_task)
        print(f"{task}: {len(of_task)} prompts", flush=True)
        for pair in of_task:
            found, exact = rankings(model, pair)
            for name, alone in ten_alone(model, pair).items():
                kept[name].append(alone.kept)
                on_top[name].append(alone.odds > 0)
            for ablation, truth in exact.items():
                top = set(truth.topk(3).indices.tolist())
                for name, ranking in {**found, f"exact, {ablation}": truth}.items():
                    held[name, ablation].append(top <= set(ranking.topk(5).indices.tolist()))
                    alike[name, ablation].append(spearman(ranking, truth))
    print(f"\n{n} prompts, top 5 hold the causal top 3 (mean Spearman with the exact effects):")
    ablations = ("zero", "mean", "resample")
    print(f"{'':34s}" + "".join(f"{a:>18s}" for a in ablations))
    for name in dict.fromkeys(name for name, _ in held):
        cells = [(held.get((name, a)), alike.get((name, a))) for a in ablations]
        shown = [f"{statistics.mean(h):.0%} ({statistics.mean(s):+.2f})" if h and s else "" for h, s in cells]
        print(f"{name:34s}" + "".join(f"{cell:>18s}" for cell in shown))
    print("\n10 lines and squares alone, the rest from the contrast prompt: log odds kept (median), right one on top")
    for name, shares in kept.items():
        print(
            f"{name:34s}{statistics.mean(shares):>8.0%} ({statistics.median(shares):.0%})"
            f"{statistics.mean(on_top[name]):>8.0%}"
        )


def rankings(model: lmtt.Model, pair: Pair) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Every ranking of the heads, largest first, and the exact effects of three ablations: [head] each."""
    quiet = {"progress": lambda *_: None}
    run, other = (lmtt.record(model, ids, **quiet) for ids in (pair.ids, pair.other))  # type: ignore[arg-type]
    graph = lmtt.attribute(run, **quiet)  # type: ignore[arg-type]
    routes = lmtt.trace(graph, encoding="flow")
    asked = {"token": pair.right, "foil": pair.wrong}
    attention = [p for p in run.parts if p.kind == "attention"]
    flow = [torch.from_numpy(graph.head_sum[p.number, : p.n_heads] @ routes.node_flow[p.state]) for p in attention]
    size = [torch.stack([lmtt.head_output(p, h).norm(dim=-1).sum() for h in range(p.n_heads)]) for p in attention]
    direct = lmtt.direct_logit_attribution(run, token=pair.right, foil=pair.wrong)
    found = {
        "flow": torch.cat(flow),
        "size of the output": torch.cat(size),
        "direct effect": torch.tensor([e.value for e in direct.effects if e.kind == "head"]),
        "estimate, one prompt": -lmtt.estimate(run, **asked).all_heads(),
        "estimate, contrast prompt": -lmtt.estimate(run, **asked, other=other).all_heads(),
        "estimate, contrast, 5 steps": -lmtt.estimate(run, **asked, other=other, steps=5).all_heads(),
    }
    exact = {}
    for name, ablation in (("zero", "zero"), ("mean", "mean"), ("resample", other)):
        effects = lmtt.effects(run, "heads", ablation=ablation, **asked, **quiet)  # type: ignore[arg-type]
        exact[name] = torch.tensor([-v.change for v in effects])
    return found, exact


def ten_alone(model: lmtt.Model, pair: Pair) -> dict[str, lmtt.Faithfulness]:
    """What the ten lines and squares that each ranking puts first keep."""
    quiet = {"progress": lambda *_: None}
    run, other = (lmtt.record(model, ids, **quiet) for ids in (pair.ids, pair.other))  # type: ignore[arg-type]
    asked = {"token": pair.right, "foil": pair.wrong}
    graph = lmtt.attribute(run, **quiet)  # type: ignore[arg-type]
    routes = lmtt.trace(graph, encoding="flow")
    parts = [p for p in run.parts if p.kind in ("attention", "mlp")]
    flow = {p.number: torch.from_numpy(_map_of(routes, p.number)) for p in parts}
    found = {"flow": flow}
    for name, estimated in (
        ("estimate, one prompt", lmtt.estimate(run, **asked)),
        ("estimate, contrast prompt", lmtt.estimate(run, **asked, other=other)),
        ("estimate, contrast, 5 steps", lmtt.estimate(run, **asked, other=other, steps=5)),
    ):
        found[name] = {p.number: -estimated.line(p).sum(0) if p.heads else -estimated.part(p) for p in parts}
    return {
        name: lmtt.faithfulness(strongest(scores, 10), run=run, off=other, **asked) for name, scores in found.items()
    }


def _map_of(routes: lmtt.Routes, part: int) -> np.ndarray:
    """The flow of a part's lines [query, key], or of its squares [pos]."""
    g = routes.graph
    block = next(b for b in g.blocks if b.part == part and b.kind in (ATTENTION, PART))
    size = (g.n_tokens, g.n_tokens) if block.kind == ATTENTION else (g.n_tokens,)
    out = np.zeros(size, np.float32)
    at = (g.query[block.edges], g.key[block.edges])
    out[at if block.kind == ATTENTION else at[0]] = routes.flow[block.edges]
    return out


def spearman(a: Tensor, b: Tensor) -> float:
    """The correlation of two rankings."""
    ranks = [torch.tensor(_ranks(x.tolist())) for x in (a, b)]
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=values.__getitem__)
    found = [0.0] * len(values)
    for rank, k in enumerate(order):
        found[k] = float(rank)
    return found


if __name__ == "__main__":
    main()
