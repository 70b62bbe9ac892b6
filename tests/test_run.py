"""Recording changes nothing in the model, also when the forward pass fails, and refuses what cannot be explained."""

from __future__ import annotations

import contextlib
import gc
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from lmtt_widget import Check, Fidelity, ForwardError, UndecomposableError, head_output, load_model, record
from lmtt_widget.decomposition.layers import Recorder
from lmtt_widget.decomposition.vectors import constant_vectors

from . import text, zoo
from .untouched import assert_unchanged, everything

IDS = zoo.prompt()


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


@pytest.mark.parametrize("case", EVERY_KIND, ids=str)
def test_what_was_heard_is_gone_with_the_recording(case: zoo.Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and not when Python next looks for cycles: it holds the last layer and the logits."""
    model, heard = load_model(zoo.shared(case)), []
    begin = Recorder.__init__

    def begun(recorder: Recorder, *given: Any) -> None:
        begin(recorder, *given)
        heard.extend([weakref.ref(recorder), weakref.ref(recorder.tape)])

    monkeypatch.setattr(Recorder, "__init__", begun)
    record(model, IDS)
    gc.disable()
    try:
        heard.clear()
        run = record(model, IDS)
        assert heard
        assert not [x for x in heard if x() is not None]
        assert run.n_tokens
    finally:
        gc.enable()


def set_attention(model: Any, name: str) -> None:
    if hasattr(model, "set_attn_implementation"):
        model.set_attn_implementation(name)
    else:  # before transformers 4.53
        model.config._attn_implementation = name


def plain_logits(model: nn.Module, ids: Any = IDS) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([list(ids)])).logits[0]


def _off(got: torch.Tensor, truth: torch.Tensor) -> float:
    """The largest relative distance of a row."""
    return float(((got - truth).norm(dim=-1) / truth.norm(dim=-1)).max())


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
    with pytest.raises(ForwardError, match=r"the model's forward pass failed in .*: Stop: in the middle") as caught:
        record(load_model(model), IDS)
    assert isinstance(caught.value.__cause__, Stop)
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
    pytest.importorskip("transformers.models.inkling2", reason="an older transformers does not have it")
    model = zoo.make("inkling2_text")
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

    registers = [(AttentionInterface, attend)]
    with contextlib.suppress(ImportError):  # before transformers 4.53 a model makes the mask itself
        from transformers import AttentionMaskInterface
        from transformers.masking_utils import sdpa_mask

        registers.append((AttentionMaskInterface, sdpa_mask))
    for register, function in registers:
        register.register("opaque_kernel", function)
    yield "opaque_kernel"
    for register, _ in registers:
        register._global_mapping.pop("opaque_kernel")


@pytest.mark.parametrize("fails", [False, True])
def test_an_attention_kernel_is_switched_to_eager_and_back(opaque_attention: str, fails: bool) -> None:
    model = zoo.make("llama")
    set_attention(model, opaque_attention)
    if fails:
        model.model.layers[2].register_forward_pre_hook(stop, with_kwargs=True)
    before = everything(model)
    assert before["implementations"][0][0] == opaque_attention
    if fails:
        with pytest.raises(ForwardError, match=r"failed in model\.layers\.2 \(LlamaDecoderLayer\): Stop"):
            record(load_model(model), IDS)
    else:
        run = record(load_model(model), IDS, check="all")
        (note,) = run.fidelity.notes
        assert note.startswith(f"attention ran as eager instead of {opaque_attention}; the logits differ by ")
        assert run.fidelity.exact
        own = plain_logits(model)
        assert run.fidelity.identities["own forward"] == pytest.approx(_off(run.logits, own))
    assert_unchanged(model, before)


def test_an_attention_kernel_that_says_something_else_than_eager_is_refused(opaque_attention: str) -> None:
    """The recording would explain another model than the user's."""
    halved = AttentionInterface._global_mapping[opaque_attention]
    AttentionInterface.register(opaque_attention, lambda *args, **kwargs: (halved(*args, **kwargs)[0] / 2, None))
    model = zoo.make("llama")
    set_attention(model, opaque_attention)
    with pytest.raises(
        UndecomposableError, match=r"eager instead of opaque_kernel, and its logits are off by .* from the"
    ):
        record(load_model(model), IDS)
    run = record(load_model(model), IDS, strict=False)
    assert [c.identity for c in run.fidelity.approximate] == ["own forward"]


@pytest.mark.skipif(zoo.IS_OLD, reason="transformers 4 has no grouped experts")
def test_grouped_experts_are_switched_to_eager_and_back() -> None:
    model = zoo.make("mixtral", dtype=torch.float32)
    model.set_experts_implementation("grouped_mm")
    before = everything(model)
    run = record(load_model(model), IDS, check="all")
    (note,) = run.fidelity.notes
    assert note.startswith("experts ran as eager instead of grouped_mm; the logits ")
    assert run.fidelity.identities["own forward"] == pytest.approx(_off(run.logits, plain_logits(model)))
    assert run.fidelity.exact
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
    assert other
    assert all(torch.equal(x, other[0]) for x in other)  # once more in every pass of the probe


def in_threads(*calls: Callable[[], Any]) -> list[Any]:
    """The results of calls that begin together."""
    begin = threading.Barrier(len(calls))
    results: dict[int, Any] = {}

    def run(k: int) -> None:
        begin.wait()
        try:
            results[k] = calls[k]()
        except BaseException as e:  # noqa: BLE001  the test is to see it
            results[k] = e

    threads = [threading.Thread(target=run, args=(k,)) for k in range(len(calls))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return [results[k] for k in range(len(calls))]


def assert_same_bits(run: Any, other: Any) -> None:
    assert torch.equal(run.logits, other.logits)
    assert len(run.parts) == len(other.parts)
    for s, t in zip(run.states, other.states, strict=True):
        assert torch.equal(s.value, t.value)
    for p, q in zip(run.parts, other.parts, strict=True):
        assert torch.equal(p.output(run.n_tokens), q.output(run.n_tokens))
        if p.heads is not None:
            assert torch.equal(p.heads.pattern(), q.heads.pattern())
    assert run.fidelity == other.fidelity


@pytest.mark.parametrize("kind", ["sdpa", "opaque_kernel"])
@pytest.mark.parametrize("case", ["llama", "mixtral"])
def test_three_threads_at_once_get_the_bits_of_three_single_runs(case: str, kind: str, opaque_attention: str) -> None:
    module = zoo.make(case, dtype=torch.float32)
    set_attention(module, kind)
    if case == "mixtral" and not zoo.IS_OLD:
        module.set_experts_implementation("grouped_mm")
    model = load_model(module)
    prompts = [IDS, IDS[::-1], [5, *IDS, 7, 9]]
    single = [record(model, ids) for ids in prompts]
    before = everything(module)
    for _ in range(5):
        together = in_threads(*(lambda ids=ids: record(model, ids) for ids in prompts))
        for one, other in zip(single, together, strict=True):
            assert_same_bits(one, other)
    assert_unchanged(module, before)


def test_a_model_that_another_thread_uses_answers_both_as_alone() -> None:
    module = zoo.make("llama")
    model, other_ids = load_model(module), [*IDS[::-1], 5]
    alone, plain = record(model, IDS), plain_logits(module, other_ids)
    for _ in range(5):
        run, *others = in_threads(lambda: record(model, IDS), *[lambda: plain_logits(module, other_ids)] * 2)
        assert_same_bits(run, alone)
        for logits in others:
            assert torch.equal(logits, plain)


def test_recordings_of_different_models_at_once_leave_compiling_as_it_was() -> None:
    """The stance of torch.compile belongs to the process: whoever ends last has to put it back."""
    models = [load_model(zoo.make("llama")), load_model(zoo.make("gpt2"))]
    waiting = threading.Barrier(2)

    def meet(*_: Any) -> None:
        waiting.wait(30)

    first, second = (m.module.get_input_embeddings().register_forward_pre_hook(meet) for m in models)
    results = in_threads(*(lambda m=m: record(m, IDS).fidelity.exact for m in models))
    first.remove()
    second.remove()
    assert results == [True, True]
    assert _dynamo_stance() == "default"


def _dynamo_stance() -> str:
    from torch._dynamo import eval_frame

    return eval_frame._stance.stance


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


def test_what_is_no_edit_is_no_intervention() -> None:
    with pytest.raises(ValueError, match="an intervention is an Edit, got 'ablate'"):
        record(text.model(), [5], interventions=["ablate"])


def test_parts_that_do_not_add_up_are_refused_with_the_numbers() -> None:
    off, near = (Check("states", 3, "h.3", error, 2e-6, "float32") for error in (1e-3, 2e-7))
    fidelity = Fidelity((near, off), "float32")
    assert not fidelity.exact
    assert (fidelity.worst, fidelity.where) == (1e-3, "layer 3, h.3")
    assert fidelity.approximate == (off,)
    assert fidelity.problems == ("states: parts miss the whole by 1.0e-03 in layer 3, h.3 (allowed 2.0e-06)",)
    assert str(fidelity) == "approximate: off by up to 1e-03"
    assert str(Fidelity((near,), "float32")) == "exact to 2e-07"
    assert not Fidelity((near,), "float32", missing=("layer 2: something",)).exact


class Rounding(nn.Linear):
    """A projection that rounds its inputs, as quantised activations do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.round(decimals=2))


class Bending(nn.Linear):
    """A projection that is none."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(3 * super().forward(x))


def with_projection(kind: type[nn.Linear], path: str) -> Any:
    model = zoo.make("llama")
    old = model.get_submodule(path)
    new = kind(old.in_features, old.out_features).double()
    new.load_state_dict(old.state_dict())
    model.set_submodule(path, new)
    return model


@pytest.mark.parametrize("path", ["model.layers.1.self_attn.o_proj", "model.layers.1.mlp.down_proj"])
def test_a_projection_that_is_not_linear_is_refused(path: str) -> None:
    with pytest.raises(UndecomposableError, match=f"linear maps: parts miss the whole by .* in layer 1, {path}"):
        record(load_model(with_projection(Bending, path)), IDS, check="all")


def test_what_a_projection_rounds_away_is_a_part_of_its_own() -> None:
    path = "model.layers.1.self_attn.o_proj"
    run = record(load_model(with_projection(Rounding, path)), IDS, check="all")
    assert not run.fidelity.exact
    (check,) = run.fidelity.approximate
    assert (check.identity, check.layer, check.module, check.called) == ("linear maps", 1, path, True)
    assert 1e-4 < check.error < 0.1
    (problem,) = run.fidelity.problems
    assert problem.startswith(f"layer 1, {path} is linear only up to ")
    assert str(run.fidelity) == f"approximate: off by up to {check.error:.0e}"

    (rounding,) = [p for p in run.parts if p.kind == "rounding"]
    state = run.states[rounding.state]
    (attention,) = [p for p in state.parts if p.kind == "attention"]
    heads = sum(head_output(attention, h) for h in range(attention.n_heads))
    constant = constant_vectors(attention.linear[0], run.n_tokens)
    torch.testing.assert_close(attention.output(run.n_tokens), heads + constant)
    parts = sum(p.output(run.n_tokens) for p in state.parts)
    torch.testing.assert_close(run.carried(state.index) + parts, run.value(state.index))
    missed = rounding.output(run.n_tokens).norm() / attention.linear[0].output.norm()
    assert 1e-5 < missed < 0.1


def test_a_rounding_projection_of_an_mlp_leaves_its_part_whole() -> None:
    run = record(load_model(with_projection(Rounding, "model.layers.1.mlp.down_proj")), IDS, check="all")
    assert [c.identity for c in run.fidelity.approximate] == ["linear maps"]
    assert not any(p.kind == "rounding" for p in run.parts)


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
