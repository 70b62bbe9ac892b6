"""How often the host waits for an accelerator, per layer: python -m benchmarks.syncs [--where]

Counted on a pretended device (tests/devices.py), so no hardware is needed: numbers that Python asks for, copies to the
CPU and from it, results whose size depends on numbers. Models of two and of six layers are read; the difference is what
a layer costs. "the model's own" are those of its plain forward pass; `record` has them too, and here they are left out.
--where lists the lines of the package that wait, with how often per layer.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from lmtt_widget import attribute, load_model, record
from tests import devices, zoo
from tests.devices import Wait

SHAPES = {"GPT-2": "gpt2", "Llama": "llama", "Mixtral": "mixtral"}
FEW, MANY = 2, 6
N_TOKENS = 64
OWN = "the model"


def waits(model: nn.Module, n_tokens: int) -> dict[str, Counter[Wait]]:
    """What is done -> what the host waited for in it."""
    ids = torch.randint(3, zoo.N_VOCAB, (n_tokens,), generator=torch.Generator().manual_seed(3)).tolist()
    loaded = load_model(model.to(devices.device()))
    given = torch.tensor([ids], device=devices.device())
    run = record(loaded, ids)  # whatever is only done the first time
    found: dict[str, Counter[Wait]] = {}

    def counted(name: str, f: Callable[[], Any]) -> None:
        with devices.waits() as found[name]:
            f()

    with torch.no_grad():
        counted("the model's own", lambda: model(input_ids=given))
    counted("record", lambda: record(loaded, ids))
    counted("attribute", lambda: attribute(run, kernel="torch"))
    return found


def per_layer(type_: str) -> dict[str, tuple[dict[Wait, float], dict[Wait, float]]]:
    """What is done -> (what is waited for in every layer, what besides)."""
    few, many = (waits(zoo.make(type_, dtype=torch.float32, **_layers(n)), N_TOKENS) for n in (FEW, MANY))
    found = {}
    for name in few:
        keys = {k for k in {**few[name], **many[name]} if name == "the model's own" or k[1] != OWN}
        each = {k: (many[name][k] - few[name][k]) / (MANY - FEW) for k in keys}
        found[name] = each, {k: few[name][k] - FEW * each[k] for k in keys}
    return found


def _layers(n: int) -> dict[str, Any]:
    return {"num_hidden_layers": n, "max_position_embeddings": N_TOKENS}


def table(where: bool = False) -> Iterator[str]:
    yield f"| {N_TOKENS} tokens | for | kinds, per layer | per layer | besides |"
    yield "|---|---|---|---|---|"
    for shape, type_ in SHAPES.items():
        for name, (each, besides) in per_layer(type_).items():
            kinds = Counter[str]()
            for (kind, _), n in each.items():
                kinds[kind] += n  # type: ignore[assignment]
            listed = ", ".join(f"{kind} {n:g}" for kind, n in kinds.most_common() if n)
            yield f"| {shape} | {name} | {listed} | {sum(each.values()):g} | {sum(besides.values()):g} |"
            for (kind, place), n in sorted(each.items(), key=lambda found: -found[1]) if where else ():
                if n or besides[kind, place]:
                    yield f"|  | {kind} | {place} | {n:g} | {besides[kind, place]:g} |"


if __name__ == "__main__":
    for line in table("--where" in sys.argv[1:]):
        print(line, flush=True)
