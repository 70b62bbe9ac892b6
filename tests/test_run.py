"""Recording changes nothing in the model, also when the forward pass fails, and refuses what cannot be explained."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.overrides import _get_current_function_mode_stack
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from lmtt_widget import UndecomposableError, load_model, record
from lmtt_widget.run import Fidelity

from . import text, zoo

IDS = zoo.prompt()


def everything(model: nn.Module) -> dict[str, Any]:
    """Whatever a recording could leave behind."""
    modules = list(model.modules())
    config: Any = getattr(model, "config", None)
    return {
        "parameters": {n: p.detach().clone() for n, p in model.named_parameters()},
        "buffers": {n: b.detach().clone() for n, b in model.named_buffers()},
        "identity": [id(p) for p in model.parameters()],
        "hooks": [
            list(getattr(m, name))
            for m in modules
            for name in (
                "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_forward_hooks_with_kwargs",
                "_forward_pre_hooks_with_kwargs", "_forward_hooks_always_called",
            )
        ],
        "attributes": [sorted(vars(m)) for m in modules],
        "classes": [type(m) for m in modules],
        "training": [m.training for m in modules],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "grad": [p.grad is None for p in model.parameters()],
        "attention": getattr(config, "_attn_implementation", None),
        "experts": getattr(config, "_experts_implementation", None),
        "modes": len(_get_current_function_mode_stack()),
        "grad mode": torch.is_grad_enabled(),
    }  # fmt: skip


def assert_unchanged(model: nn.Module, before: dict[str, Any]) -> None:
    after = everything(model)
    for name in ("parameters", "buffers"):
        was, now = before.pop(name), after.pop(name)
        assert was.keys() == now.keys()
        assert [n for n in was if not torch.equal(was[n], now[n])] == []
    assert after == before


EVERY_KIND = [zoo.Case(*c.split()) for c in ("gpt2", "gpt_neox parallel", "gemma2", "mixtral", "qwen3_next", "mamba")]


@pytest.mark.parametrize("case", EVERY_KIND, ids=str)
def test_recording_leaves_the_model_untouched(case: zoo.Case) -> None:
    model = zoo.make(case)
    next(model.parameters()).requires_grad_(False)
    handle = model.get_output_embeddings().register_forward_hook(lambda *a: None)
    before = everything(model)
    record(load_model(model), IDS, check="all")
    assert_unchanged(model, before)
    handle.remove()


class Stop(RuntimeError):
    pass


def stop(*args: Any, **kwargs: Any) -> None:
    raise Stop("in the middle")


@pytest.mark.parametrize("case", EVERY_KIND, ids=str)
def test_an_exception_in_the_middle_leaves_the_model_untouched(case: zoo.Case) -> None:
    model = zoo.make(case)
    inside = [m for m in model.modules() if not any(m.children())]
    handle = inside[len(inside) // 2].register_forward_pre_hook(stop, with_kwargs=True)
    before = everything(model)
    with pytest.raises(Stop, match="in the middle"):
        record(load_model(model), IDS)
    assert_unchanged(model, before)
    handle.remove()
    assert record(load_model(model), IDS).fidelity.exact


def test_an_interrupt_in_the_middle_leaves_the_model_untouched() -> None:
    model = zoo.make("llama")

    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    model.model.layers[2].register_forward_hook(interrupt)
    before = everything(model)
    with pytest.raises(KeyboardInterrupt):
        record(load_model(model), IDS)
    assert_unchanged(model, before)


def test_a_refused_model_is_left_untouched() -> None:
    model = zoo.make("gemma3n_text")
    before = everything(model)
    with pytest.raises(UndecomposableError):
        record(load_model(model), IDS)
    assert_unchanged(model, before)


@pytest.fixture
def opaque_attention() -> Any:
    """An attention implementation that no torch call shows, like a flash kernel."""

    class Kernel(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *args: Any) -> Any:
            return args[0].clone()

    def attend(module: Any, q: Any, k: Any, v: Any, mask: Any, **kwargs: Any) -> Any:
        out, weights = sdpa_attention_forward(module, q, k, v, mask, **kwargs)
        return Kernel.apply(out), weights

    AttentionInterface.register("opaque_kernel", attend)
    yield "opaque_kernel"
    AttentionInterface._global_mapping.pop("opaque_kernel")


@pytest.mark.parametrize("fails", [False, True])
def test_an_attention_kernel_is_switched_to_eager_and_back(opaque_attention: str, fails: bool) -> None:
    model = zoo.make("llama")
    model.set_attn_implementation(opaque_attention)
    if fails:
        model.model.layers[2].register_forward_pre_hook(stop, with_kwargs=True)
    before = everything(model)
    assert before["attention"] == opaque_attention
    if fails:
        with pytest.raises(Stop):
            record(load_model(model), IDS)
    else:
        run = record(load_model(model), IDS, check="all")
        assert run.fidelity.notes == (f"attention ran as eager instead of {opaque_attention}",)
        assert run.fidelity.exact
    assert_unchanged(model, before)


def test_grouped_experts_are_switched_to_eager_and_back() -> None:
    model = zoo.make("mixtral", dtype=torch.float32)
    model.set_experts_implementation("grouped_mm")
    before = everything(model)
    run = record(load_model(model), IDS, check="all")
    assert run.fidelity.notes == ("experts ran as eager instead of grouped_mm",)
    assert_unchanged(model, before)


def test_a_pass_in_another_thread_is_not_recorded() -> None:
    model = zoo.make("llama")
    other: list[torch.Tensor] = []

    def elsewhere(*args: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            with torch.no_grad():
                ids = torch.tensor([[*IDS[::-1], 5]])
                thread = threading.Thread(target=lambda: other.append(model(input_ids=ids).logits))
                thread.start()
                thread.join()

    plain = record(load_model(model), IDS)
    handle = model.model.layers[1].mlp.register_forward_hook(elsewhere)
    run = record(load_model(model), IDS, check="all")
    handle.remove()
    assert torch.equal(run.logits, plain.logits)
    assert len(run.states) == len(plain.states)
    assert len(other) == 1


def test_a_second_recording_is_the_first_again() -> None:
    model = load_model(zoo.make("gemma2"))
    first, second = record(model, IDS), record(model, IDS)
    assert torch.equal(first.logits, second.logits)
    for s, t in zip(first.states, second.states, strict=True):
        assert torch.equal(s.value, t.value)


def test_a_compiled_model_is_recorded_as_it_was_written() -> None:
    model = zoo.make("llama")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.forward = torch.compile(model.forward)
    run = record(load_model(model), IDS, check="all")
    assert torch.equal(run.logits, zoo.recorded(zoo.Case("llama")).logits)


# ---- what is refused ----


def test_a_model_in_training_mode_is_refused() -> None:
    model = zoo.make("gpt2").train()
    with pytest.raises(ValueError, match=r"the model is in training mode, .* call model\.eval\(\) first"):
        record(load_model(model), IDS)
    assert model.training


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_refused(value: float) -> None:
    model = zoo.make("llama")
    with torch.no_grad():
        model.lm_head.weight[3] = value
    with pytest.raises(ValueError, match=r"the model's logits are not finite .* try float32 or bfloat16"):
        record(load_model(model), IDS)


def test_numbers_that_are_not_finite_inside_are_refused_as_such() -> None:
    model = zoo.make("llama")
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match="the model's logits are not finite"):
        record(load_model(model), IDS)


def test_interventions_are_refused_until_they_exist() -> None:
    with pytest.raises(NotImplementedError):
        record(text.model(), [5], interventions=["ablate"])


def test_parts_that_do_not_add_up_are_refused_with_the_numbers() -> None:
    fidelity = Fidelity({"states": 1e-3}, "float32", 2e-6, ("states: parts miss the whole by 1.0e-03",))
    assert not fidelity.exact
    assert str(fidelity) == "approximate: off by up to 1e-03"
    assert str(Fidelity({"states": 2e-7}, "float32", 2e-6)) == "exact to 2e-07"


class Lying(nn.Linear):
    """A projection whose weight is not what it does."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).round(decimals=1)


def test_a_projection_that_is_not_linear_is_refused() -> None:
    model = zoo.make("llama")
    down = model.model.layers[1].mlp.down_proj
    lying = Lying(down.in_features, down.out_features).double()
    lying.load_state_dict(down.state_dict(), strict=False)
    model.model.layers[1].mlp.down_proj = lying
    with pytest.raises(UndecomposableError, match="linear maps: parts miss the whole by"):
        record(load_model(model), IDS, check="all")


# ---- what a run says ----


def test_states_have_their_usual_names() -> None:
    run = zoo.recorded(zoo.Case("llama"))
    for layer in range(zoo.N_LAYERS):
        pre, mid, post = (run.view(name, layer).index for name in ("resid_pre", "resid_mid", "resid_post"))
        assert (pre, mid, post) == (2 * layer, 2 * layer + 1, 2 * layer + 2)
    parallel = zoo.recorded(zoo.Case("gpt_neox", "parallel"))
    assert parallel.view("resid_post", 1).index == 2
    with pytest.raises(ValueError, match="layer 1 has 1 states, so none of them is resid_mid"):
        parallel.view("resid_mid", 1)
    with pytest.raises(ValueError, match=r"layer must be in 0\.\.3, got 4"):
        run.view("resid_pre", 4)
    with pytest.raises(ValueError, match=r"a state is named resid_pre, resid_mid or resid_post, got 'x'"):
        run.view("x", 0)
    with pytest.raises(ValueError, match="the embedding continues no earlier state"):
        run.carried(0)


def test_the_embedding_adds_up_to_state_0() -> None:
    run, model = zoo.recorded(zoo.Case("gpt2")), zoo.shared(zoo.Case("gpt2"))
    with torch.no_grad():
        expected = model.transformer.wte(run.token_ids) + model.transformer.wpe(torch.arange(run.n_tokens))
    assert torch.equal(run.states[0].value, expected)
    (part,) = [p for p in run.parts if p.kind == "embedding"]
    torch.testing.assert_close(part.output(run.n_tokens), expected)
    assert part.module == "transformer.wte, transformer.wpe"


def test_a_run_holds_its_prompt() -> None:
    run = record(text.model(), "the dog\n")
    assert run.prompt == "the dog\n"
    assert b"".join(t.bytes for t in run.tokens) == b"the dog\n"
    assert run.token_ids.tolist() == text.model().encode("the dog\n").ids
    assert "the·dog" in repr(run)


@pytest.mark.parametrize("make", [lambda: text.model(), lambda: load_model(zoo.shared(zoo.Case("qwen3_next")))])
def test_everything_prints_in_one_line(make: Callable[[], Any]) -> None:
    run = record(make(), IDS)
    for thing in (run, run.states[1], run.parts[0], run.fidelity, run.model):
        assert "\n" not in str(thing)
        assert len(str(thing)) < 300
