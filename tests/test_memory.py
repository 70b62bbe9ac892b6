"""What a recording takes is known before, and asked about when it is more than there is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lmtt_widget import Run, attribute, load_model, memory, record
from lmtt_widget.graph import ATTENTION

from . import zoo


def kept(run: Run) -> int:
    """Bytes of all different tensors that a run keeps, views counted once, and of the columns of its graph."""
    found: dict[int, int] = {}
    graph = attribute(run)
    stack: list[object] = [run.states, run.parts, run.logits, replace(graph, run=None, find_facts=None)]
    seen: set[int] = set()
    weights = {p.untyped_storage().data_ptr() for p in run.model.module.parameters()}
    while stack:
        x = stack.pop()
        if id(x) in seen:
            continue
        seen.add(id(x))
        if isinstance(x, torch.Tensor):
            storage = x.untyped_storage()
            if storage.data_ptr() not in weights:
                found[storage.data_ptr()] = storage.nbytes()
        elif isinstance(x, np.ndarray):
            found[x.ctypes.data] = x.nbytes
        elif isinstance(x, (list, tuple)):
            stack.extend(x)
        elif isinstance(x, dict):
            stack.extend(x.values())
        elif type(x).__module__.startswith("lmtt_widget") and not isinstance(x, type(run.model)):
            stack.extend(getattr(x, "__dict__", {}).values())
    return sum(found.values())


@pytest.mark.parametrize("case", ["gpt2", "llama", "gpt_neox parallel"])
@pytest.mark.parametrize("n_tokens", [20, 60])
def test_the_estimate_is_about_what_is_kept(case: str, n_tokens: int) -> None:
    module = zoo.make(zoo.Case(*case.split()), dtype=torch.float32)
    model = load_model(module)
    run = record(model, zoo.prompt(n_tokens))
    estimate = memory.needed(module, module.base_model.get_submodule(_layers(module)), n_tokens)  # type: ignore[operator, union-attr, arg-type]
    assert 0.5 < estimate / kept(run) < 2


def test_what_is_kept_never_grows_with_heads_times_pairs() -> None:
    """Four times the heads at the same width: the same size; twice the tokens: less than four times."""
    sizes = {}
    for heads in (2, 8):
        module = zoo.make("gpt2", dtype=torch.float32, n_head=heads, n_embd=48)
        for n_tokens in (30, 60):
            sizes[heads, n_tokens] = kept(record(load_model(module), zoo.prompt(n_tokens)))
    assert sizes[8, 60] <= 1.02 * sizes[2, 60]
    assert sizes[2, 60] < 3 * sizes[2, 30]


def test_too_long_a_prompt_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    module = zoo.make("llama")
    model = load_model(module)
    monkeypatch.setattr(memory, "available", lambda device: 1000)
    calls = []
    module.register_forward_pre_hook(lambda *_: calls.append(1))
    with pytest.raises(ValueError, match=r"the analysis of 7 tokens takes about .* GiB and cpu has .* GiB free"):
        record(model, zoo.prompt())
    assert not calls
    assert record(model, zoo.prompt(), force=True).n_tokens == 7


def test_where_nothing_is_known_of_the_memory_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory.available(torch.device("meta")) is None
    monkeypatch.setattr(memory, "available", lambda device: None)
    graph = attribute(record(load_model(zoo.make("llama")), zoo.prompt()))
    assert any(b.kind == ATTENTION for b in graph.blocks)


def test_this_machine_has_some_memory() -> None:
    free = memory.available(torch.device("cpu"))
    assert free is None or free > 1 << 20


def _layers(module: torch.nn.Module) -> str:
    return next(name for name, m in module.base_model.named_children() if isinstance(m, torch.nn.ModuleList))  # type: ignore[operator, union-attr]
