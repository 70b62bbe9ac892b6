"""A layer that is read by the plan of another one is read as it would be by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lmtt_widget.decomposition import alike, later, layers, plans
from lmtt_widget.decomposition.calls import is_linear_module
from lmtt_widget.decomposition.forward import inputs_of
from lmtt_widget.decomposition.layers import find_layers, run_recorded
from lmtt_widget.decomposition.linear import LinearMap
from lmtt_widget.decomposition.read_layer import LayerReader
from lmtt_widget.decomposition.told import Nth
from lmtt_widget.decomposition.writes import LinearWrite
from lmtt_widget.model import bundled_model
from tests import zoo
from tests.grammar_prompts import prompts

LENGTHS = (7, 4, 12)


def told(x: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Everything in a recording, by where it stands; tensors as their bytes."""
    if isinstance(x, Tensor):
        in_bytes = x.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        yield at, (x.dtype, x.requires_grad, tuple(x.shape), in_bytes)
    elif isinstance(x, LinearMap):
        yield at, (id(x.module) if isinstance(x.module, nn.Module) else type(x.module), x.group)
        yield from told([x.weight(), x._bias], f"{at}.map")
    elif isinstance(x, (list, tuple)):
        yield at, len(x)
        for k, y in enumerate(x):
            yield from told(y, f"{at}[{k}]")
    elif is_dataclass(x) and not isinstance(x, type):
        for f in fields(x):
            yield from told(getattr(x, f.name), f"{at}.{f.name}")
    elif isinstance(x, (str, int, float, bool, frozenset, type(None))):
        yield at, x


def read(model: nn.Module, prompt: int | list[int]) -> list[tuple[str, Any]] | str:
    """What a recording of a prompt, or of some prompt of a length, says of the layers, or why there is none."""
    ids = zoo.prompt(prompt) if isinstance(prompt, int) else prompt
    try:
        found = run_recorded(model, find_layers(model), len(ids), inputs_of(model, torch.tensor([ids])))
    except RuntimeError as e:
        return str(e)
    return [*told(found.layers), *told(found.problems), *told(found.notes)]


def read_whole(
    model: nn.Module, prompt: int | list[int], monkeypatch: pytest.MonkeyPatch
) -> list[tuple[str, Any]] | str:
    with monkeypatch.context() as patch:
        patch.setattr(layers, "kind_of", lambda *_: None)
        return read(model, prompt)


def differing(found: Any, expected: Any) -> list[str]:
    if isinstance(found, str) or isinstance(expected, str):
        return [] if found == expected else [f"{found} and {expected}"]
    one, other = dict(found), dict(expected)
    return [at for at in {**one, **other} if one.get(at, "nothing") != other.get(at, "nothing")]


@pytest.mark.sampled
@pytest.mark.parametrize("case", zoo.cases(), ids=str)
def test_by_plan_and_read_whole_a_recording_is_the_same_to_the_bit(
    case: zoo.Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = zoo.shared(case)
    for n_tokens in LENGTHS:
        expected = read_whole(model, n_tokens, monkeypatch)
        for _ in range(2):  # layers after the first, and layers of a later prompt
            assert differing(read(model, n_tokens), expected) == []


def test_a_hundred_prompts_are_read_as_each_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model = bundled_model()
    every = [model.encode(text).ids for text in prompts(100)]
    assert len({len(ids) for ids in every}) > 1
    for ids in every:
        expected = read_whole(model.module, ids, monkeypatch)
        assert differing(read(model.module, ids), expected) == []


def asked(model: nn.Module, n_tokens: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many questions about its layers had no answer yet."""
    n = 0
    real = plans.Plan._key

    def counted(plan: plans.Plan, *given: Any) -> Any:
        nonlocal n
        key = real(plan, *given)
        n += plan._answers is not None and key not in plan._answers
        return key

    with monkeypatch.context() as patch:
        patch.setattr(plans.Plan, "_key", counted)
        read(model, n_tokens)
    return n


@pytest.mark.parametrize("type_", ["gpt2", "llama", "gemma2", "gpt_neox", "olmo2"])
def test_what_one_layer_was_asked_no_layer_of_its_kind_is_asked_again(
    type_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = zoo.make(type_)
    plans._answers.clear()
    assert asked(model, 5, monkeypatch) > 0
    assert asked(model, 5, monkeypatch) == 0


def read_whole_of(model: nn.Module, n_tokens: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many of its layers were not read as another one was."""
    n = 0
    real = LayerReader.layer

    def counted(reader: LayerReader, *given: Any) -> Any:
        nonlocal n
        n += 1
        return real(reader, *given)

    with monkeypatch.context() as patch:
        patch.setattr(LayerReader, "layer", counted)
        read(model, n_tokens)
    return n


@pytest.mark.parametrize("type_", ["gpt2", "llama", "gpt_neox", "qwen3", "opt", "phi", "olmo"])
def test_of_layers_that_are_alike_one_is_read(type_: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = zoo.make(type_)
    alike._known.clear()
    n_layers = len(find_layers(model))
    first = read_whole_of(model, 5, monkeypatch)
    assert 0 < first < n_layers
    assert read_whole_of(model, 5, monkeypatch) == 0
    assert read_whole_of(model, 6, monkeypatch) == first  # of another length shapes differ


def test_a_reading_that_is_kept_holds_no_number_of_a_prompt() -> None:
    alike._known.clear()
    read(zoo.make("llama"), 6)
    seen: set[int] = set()
    stack: list[Any] = [*alike._known.values()]
    held = []
    while stack:
        x = stack.pop()
        if id(x) in seen:
            continue
        seen.add(id(x))
        if isinstance(x, Tensor):
            held.append(x)
        elif isinstance(x, (tuple, list, frozenset)):
            stack += x
        elif isinstance(x, dict):
            stack += [*x.keys(), *x.values()]
        elif callable(x) and getattr(x, "__closure__", None):
            stack += [cell.cell_contents for cell in x.__closure__]
        elif hasattr(x, "__dict__") and not isinstance(x, type):
            stack += vars(x).values()
    assert len(seen) > 100
    assert not [x for x in held if x.is_floating_point() and not x.isnan().all()]  # NaN: not checked yet


def _bumped(x: Tensor) -> Tensor:
    x.add_(0.5)
    return x


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
@pytest.mark.parametrize("what", ["a buffer between its uses", "what the block gave"])
def test_what_is_written_unheard_is_told_apart_from_before(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, bumped = zoo.make("llama"), torch.jit.script(_bumped)
    read(model, 6)
    layer: Any = find_layers(model)[1]
    block, table = layer.mlp.forward, torch.zeros(1, 1, 1, dtype=layer.mlp.down_proj.weight.dtype)

    def forward(x: Tensor) -> Tensor:
        if what == "what the block gave":
            return bumped(block(x))  # type: ignore[no-any-return]
        mine = table.clone()
        y = block(x + mine)
        bumped(mine)
        return y + mine  # type: ignore[no-any-return]

    layer.mlp.forward = forward
    found = read(model, 6)
    assert differing(found, read_whole(model, 6, monkeypatch)) == []
    assert "written by a call outside torch" in str(found) or "overwritten before it could be read" in found


def _doubled(model: nn.Module) -> None:
    first_map = next(m for m in find_layers(model)[1].modules() if is_linear_module(m))
    first_map.register_forward_hook(lambda _m, _args, out: out * 2 + 1)


def _adapted(model: nn.Module) -> None:
    for layer in find_layers(model):
        for m in [m for m in layer.modules() if any(isinstance(c, nn.Linear) for c in m.children())]:
            for name, c in [*m.named_children()]:
                if isinstance(c, nn.Linear):
                    setattr(m, name, Adapted(c))


class Adapted(nn.Module):
    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.down, self.up = nn.Linear(base.in_features, 2, bias=False), nn.Linear(2, base.out_features, bias=False)
        self.to(base.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x))  # type: ignore[no-any-return]


def _reversed(model: nn.Module) -> None:
    layers = find_layers(model)
    layers[0].forward, layers[1].forward = layers[1].forward, layers[0].forward  # type: ignore[method-assign]


def _in_single_precision(model: nn.Module) -> None:
    model.float()


def _in_place(model: nn.Module) -> None:
    def add(_m: nn.Module, _args: Any, out: Any) -> None:
        (out[0] if isinstance(out, tuple) else out).add_(0.5)

    find_layers(model)[2].register_forward_hook(add)


@pytest.mark.parametrize("change", [_doubled, _adapted, _reversed, _in_single_precision, _in_place])
@pytest.mark.parametrize("type_", ["llama", "gemma2"])
def test_after_a_change_to_the_model_no_older_plan_is_followed(
    type_: str, change: Callable[[nn.Module], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = zoo.make(type_)
    read(model, 6)
    change(model)
    assert differing(read(model, 6), read_whole(model, 6, monkeypatch)) == []


def test_answers_hold_no_tensor_and_no_node() -> None:
    model = zoo.make("llama")
    read(model, 6)

    def leaves(x: Any) -> Iterator[Any]:
        if isinstance(x, (tuple, list)):
            for y in x:
                yield from leaves(y)
        elif isinstance(x, dict):
            for k, v in x.items():
                yield from leaves((k, v))
        else:
            yield x

    kept = {type(x) for x in leaves(plans._answers)}
    plain = {str, int, float, bool, type(None), type, torch.dtype, torch.device, type(...), torch.memory_format}
    assert kept <= plain | {Nth}
    assert len(plans._answers) <= plans._MOST


def checks(model: nn.Module) -> list[list[float]]:
    """What every linear write was found to miss, and to pay to later tokens."""
    ids = torch.tensor([zoo.prompt(6)])
    found = run_recorded(model, find_layers(model), 6, inputs_of(model, ids))
    writes = [w for layer in found.layers for s in layer.states for w in s.writes if isinstance(w, LinearWrite)]
    errors = [[w.error, *([w.heads.error, w.heads.future] if w.heads else [])] for w in writes]
    return [[float(e) for e in of if e is not None] for of in errors]


@pytest.mark.parametrize("type_", ["gpt2", "llama", "gemma2", "bloom", "qwen2", "mpt"])
def test_small_checks_made_together_find_what_each_finds_by_itself(type_: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = zoo.make(type_)
    together = checks(model)
    monkeypatch.setattr(later, "_SMALL", 0)
    alone = checks(model)
    assert [len(of) for of in together] == [len(of) for of in alone]
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, abs=1e-7)


@pytest.mark.parametrize("waiting", ["_heads", "_maps"])
def test_of_checks_made_together_only_the_write_that_is_off_is_found_off(
    waiting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, compare = zoo.make("llama"), later.Later.compare
    before = checks(model)
    changed = 0

    def spoilt(checks: later.Later) -> None:
        nonlocal changed
        if found := getattr(checks, waiting):
            write = found[1] if waiting == "_heads" else found[1].write
            write.input = write.input + 0.1
            changed += 1
        compare(checks)

    monkeypatch.setattr(later.Later, "compare", spoilt)
    after = checks(model)
    off = [max(of) > 1e-3 for of in after]
    assert changed == 1
    assert max(max(of) for of in before) < 1e-5
    assert sum(off) == 1
