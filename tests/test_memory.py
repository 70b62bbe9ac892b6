"""What a recording takes is known before, and asked about when it is more than there is."""

from __future__ import annotations

import mmap
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lmtt_widget import Graph, Model, attribute, load_model, memory, record
from lmtt_widget.decomposition.layers import find_layers
from lmtt_widget.graph import ATTENTION

from . import zoo
from .allocated import peak
from .test_decomposition import plain_model
from .untouched import changed, everything


def kept(*things: object) -> int:
    """Bytes of all different tensors and columns that runs and graphs keep, views counted once."""
    found: dict[int, int] = {}
    stack: list[object] = list(things)
    seen: set[int] = set()
    weights: set[int] = set()
    while stack:
        x = stack.pop()
        if id(x) in seen:
            continue
        seen.add(id(x))
        if isinstance(x, torch.Tensor):
            found[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        elif isinstance(x, np.ndarray):
            found[x.ctypes.data] = x.nbytes
        elif isinstance(x, Model):
            weights |= {p.untyped_storage().data_ptr() for p in x.module.parameters()}
        elif isinstance(x, (list, tuple)):
            stack.extend(x)
        elif isinstance(x, dict):
            stack.extend(x.values())
        elif type(x).__module__.startswith("lmtt_widget"):
            stack.extend(getattr(x, "__dict__", {}).values())
    return sum(n for place, n in found.items() if place not in weights)


def quiet(_done: int, _total: int) -> None:
    pass


def analysed(model: Model, n_tokens: int) -> Graph:
    """Without the probe, which repeats the pass over a few tokens before anything else."""
    run = record(model, zoo.prompt(n_tokens), probe=False, progress=quiet)
    return attribute(run, kernel="numba", progress=quiet)  # not what stands in for it once after an install


def small(case: str, **options: Any) -> Model:
    longer = {"chunk_size": 32} if case == "mamba2" else {"max_position_embeddings": 1024}
    return load_model(zoo.make(zoo.Case(*case.split()), **{"dtype": torch.float32} | longer | options))


def written_out() -> Model:
    """A model without a config that makes its patterns itself."""
    module = plain_model()
    module.wpe = torch.nn.Embedding(1024, 24, dtype=torch.float64)
    return load_model(module)


SHAPES: dict[str, Callable[[], Model]] = {
    "without a config, eager": written_out,
    "gpt2": lambda: small("gpt2"),
    "llama, eager": lambda: small("llama", attention="eager"),
    "llama, sdpa": lambda: small("llama", attention="sdpa"),
    "llama, 16 heads": lambda: small("llama", num_attention_heads=16, num_key_value_heads=2),
    "llama, bfloat16": lambda: small("llama", dtype=torch.bfloat16),
    "llama, float16, eager": lambda: small("llama", dtype=torch.float16, attention="eager"),
    "llama, long vocabulary": lambda: small("llama", vocab_size=5000),
    "gpt_neox": lambda: small("gpt_neox parallel"),
    "mixture of experts": lambda: small("qwen2_moe"),
    "state space": lambda: small("mamba2"),
}


@pytest.mark.parametrize("n_tokens", [20, 300])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_estimate_is_about_what_is_held_at_the_peak(shape: str, n_tokens: int) -> None:
    model = SHAPES[shape]()
    graph = analysed(model, n_tokens)
    columns = sum(x.nbytes for x in vars(graph).values() if isinstance(x, np.ndarray))
    measured = peak(lambda: analysed(model, n_tokens)) + columns
    estimate = memory.needed(model.module, find_layers(model.module), n_tokens)
    assert 1 / 1.5 < estimate / measured < 1.5


def test_the_tape_of_a_layer_is_gone_when_the_next_one_runs() -> None:
    """So a layer more costs what the run keeps of it, and no more."""
    at_peak, in_run = {}, {}
    for n_layers in (2, 6):
        model = small("llama", attention="eager", num_hidden_layers=n_layers)
        record(model, zoo.prompt(200))  # the labels of so long a prompt are known from here on
        at_peak[n_layers] = peak(lambda model=model: record(model, zoo.prompt(200), progress=quiet))  # type: ignore[misc]
        in_run[n_layers] = kept(record(model, zoo.prompt(200)))
    assert at_peak[6] - at_peak[2] < 1.25 * (in_run[6] - in_run[2])


def test_a_prompt_that_surely_fits_is_not_tried_with_fewer_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda device: 1 << 40)
    monkeypatch.setattr(memory, "needed", None)
    record(load_model(zoo.make("llama")), zoo.prompt())


def test_what_may_not_fit_is_tried_with_fewer_tokens_and_the_model_is_left_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = small("llama", attention="eager")
    size = memory.needed(model.module, find_layers(model.module), 300)
    before = everything(model.module)
    for free, fits in ((1.2 * size, True), (0.8 * size, False)):  # two estimates differ by a little
        monkeypatch.setattr(memory, "available", lambda device, free=free: free)
        if fits:
            memory.check_room(model.module, find_layers(model.module), 300, model.device)
        else:
            with pytest.raises(ValueError, match="the analysis of 300 tokens takes about"):
                memory.check_room(model.module, find_layers(model.module), 300, model.device)
    assert changed(before, everything(model.module)) == []


def test_what_is_kept_never_grows_with_heads_times_pairs() -> None:
    """Four times the heads at the same width: the same size; twice the tokens: less than four times."""
    sizes = {}
    for heads in (2, 8):
        module = zoo.make("gpt2", dtype=torch.float32, n_head=heads, n_embd=48)
        for n_tokens in (30, 60):
            run = record(load_model(module), zoo.prompt(n_tokens))
            sizes[heads, n_tokens] = kept(run, attribute(run, kernel="numba"))
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


def test_what_was_freed_is_handed_back_whenever_the_process_has_grown_by_so_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size, handed_back = [0], list[int]()

    def hand_back(_left: int) -> int:
        handed_back.append(size[0])
        size[0] //= 2
        return 1

    monkeypatch.setattr(memory, "_malloc_trim", lambda: hand_back)
    monkeypatch.setattr(memory, "resident", lambda: size[0])
    monkeypatch.setattr(memory, "_EVERY", 0)
    told = list[tuple[int, int]]()
    done = memory.Tidy(torch.device("cpu")).before(lambda *at: told.append(at))
    for k in range(1, 8):
        size[0] += 50 << 20
        done(k, 7)
    assert handed_back == [150 << 20, 225 << 20]
    assert told == [(k, 7) for k in range(1, 8)]
    memory.Tidy(torch.device("meta")).before(lambda *at: told.append(at))(8, 8)
    assert len(handed_back) == 2


def test_the_size_of_this_process_is_known_and_grows_with_it() -> None:
    before = memory.resident()
    with mmap.mmap(-1, 1 << 26) as held:  # pages of its own: a tensor may lie where others were
        for at in range(0, len(held), mmap.PAGESIZE):
            held[at] = 1
        assert before == 0 or memory.resident() > before + len(held) // 2


def test_of_a_state_only_the_copy_stays_that_the_run_keeps() -> None:
    """What the pass itself made is gone two layers later, as in a pass that nobody records."""
    module = zoo.make("llama", num_hidden_layers=5)
    made: list[weakref.ref[torch.Tensor]] = []
    for layer in module.model.layers:
        layer.post_attention_layernorm.register_forward_pre_hook(lambda _, args: made.append(weakref.ref(args[0])))
        layer.register_forward_hook(lambda _module, _args, out: made.append(weakref.ref(out)))
    left: list[int] = []
    module.lm_head.register_forward_pre_hook(lambda *_: left.append(sum(x() is not None for x in made)))
    run = record(load_model(module), zoo.prompt(), probe=False)
    assert len(made) == len(run.states) - 1 == 10
    assert left == [2]  # what the last layer was given and what it gave


def test_queries_keys_and_values_stay_where_the_model_made_them() -> None:
    """No cache holds a second copy of them."""
    run = record(load_model(zoo.make("gpt2", attention="sdpa")), zoo.prompt())
    for p in (p for p in run.parts if p.heads is not None):
        (product,) = p.heads.products
        assert product.scores is not None
        assert len({x.untyped_storage().data_ptr() for x in (*product.scores[:2], product.value)}) == 1
