"""Every model of the zoo is read exactly, and reading it changes nothing."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lmtt_widget import Run, UndecomposableError, attribute, load_model, record
from lmtt_widget.decomposition.layers import find_layers
from lmtt_widget.decomposition.vectors import constant_vectors, head_vectors, neuron_vectors

from . import zoo
from .oracle import watch

CASES = zoo.cases()
IDS = zoo.prompt()
# Types that return their attention weights under eager attention.
SAID_BY_THE_MODEL = {
    "gpt2", "gpt_neo", "gpt_neox", "bloom", "phi", "llama", "gemma2", "mixtral", "gpt_oss", "olmo2", "glm4",
    "deepseek_v3",
}  # fmt: skip
each_case = pytest.mark.parametrize("case", CASES, ids=str)


@pytest.mark.slow
def test_every_model_of_the_zoo_is_exact() -> None:
    assert len(CASES) == 71 or zoo.IS_OLD
    for case in CASES:
        assert zoo.recorded(case).fidelity.worst < 1e-6, case


@each_case
def test_recording_leaves_the_forward_pass_bit_identical(case: zoo.Case) -> None:
    with torch.no_grad():
        plain = zoo.shared(case)(input_ids=torch.tensor([IDS])).logits[0]
    assert torch.equal(zoo.recorded(case).logits, plain)


@each_case
def test_parts_add_up_to_the_next_state(case: zoo.Case) -> None:
    run = zoo.recorded(case)
    assert run.fidelity.exact
    assert not run.fidelity.problems
    assert len({*run.fidelity.identities} & {"states", "embedding", "linear maps", "logits"}) == 4
    for s in run.states[1:]:
        total = run.carried(s.index) + sum(p.output(run.n_tokens) for p in s.parts)
        assert _off(total, run.value(s.index)) < 1e-6


@each_case
def test_states_are_what_the_layers_returned(case: zoo.Case) -> None:
    run, model = zoo.recorded(case), zoo.shared(case)
    layers = find_layers(model)
    n_run = len({s.layer for s in run.states if s.layer is not None})
    if n_run > len(layers):  # layers that run again and again: only their last runs are seen
        assert case.type == "hrm_text"
        layers = layers[:0]
    _, seen = watch(model, IDS, *layers)
    for index, (_, out) in enumerate(seen):
        out = out[0] if isinstance(out, tuple) else out
        out = out.movedim(0, 2) if out.ndim == 4 else out  # [stream, 1, pos, d_model]
        assert torch.equal(run.view("resid_post", index).value, out.reshape(run.n_tokens, -1))


@each_case
def test_parts_come_by_the_state_they_enter_and_constants_last(case: zoo.Case) -> None:
    parts = zoo.recorded(case).parts
    with_shares = {"attention", "mlp", "mixer", "skip"}
    n = sum(p.kind in with_shares for p in parts)
    assert all(p.kind in with_shares for p in parts[:n])
    assert [p.state for p in parts[:n]] == sorted(p.state for p in parts[:n])
    assert all(p.reads < p.state for p in parts)


@each_case
def test_parts_are_what_the_named_modules_returned(case: zoo.Case) -> None:
    run, model = zoo.recorded(case), zoo.shared(case)
    modules = dict(model.named_modules())
    named = {w.module: w for p in run.parts for w in p.linear if w.module in modules and w.path.rows is None}
    assert named
    _, seen = watch(model, IDS, *[modules[name] for name in named])
    for write, (_, out) in zip(named.values(), seen, strict=True):
        assert torch.equal(write.output, out.reshape(write.output.shape))


@each_case
def test_single_vectors_add_up_to_their_part(case: zoo.Case) -> None:
    run = zoo.recorded(case)
    for p in run.parts:
        if p.kind == "attention":
            write, n = p.linear[0], run.n_tokens
            blocks = sum(head_vectors(write, h).block(0, n).sum(1) for h in range(p.n_heads))
            sums = sum(head_vectors(write, h).output() for h in range(p.n_heads))
            constant = constant_vectors(write, n)
            assert _off(blocks + constant, p.output(n)) < 1e-6
            assert _off(sums + constant, p.output(n)) < 1e-6
        elif p.kind == "mlp":
            total = sum(_neurons(w, run.n_tokens) + constant_vectors(w, run.n_tokens) for w in p.linear)
            total = total + sum(w.total(run.n_tokens) for w in p.writes if w.kind == "skip")
            assert _off(total, p.output(run.n_tokens)) < 1e-6


@each_case
def test_a_block_of_queries_is_that_piece_of_all(case: zoo.Case) -> None:
    run = zoo.recorded(case)
    for p in run.parts:
        if p.kind == "attention":
            vectors = head_vectors(p.linear[0], p.n_heads - 1)
            whole = vectors.block(0, run.n_tokens)
            torch.testing.assert_close(vectors.block(2, 5), whole[2:5, :5])
            assert not whole[2, 3:].any()  # later keys are no parts
            return


@pytest.mark.parametrize("case", [c for c in CASES if c.type in SAID_BY_THE_MODEL], ids=str)
def test_patterns_are_the_attention_weights_of_the_eager_model(case: zoo.Case) -> None:
    if zoo.VERSION < (5, 23) and str(case) in ("gemma2", "gpt2-inverse-layer-scale"):
        pytest.skip("there its sdpa leaves out what its eager does: the cap of the scores, the scale of the layer")
    run = zoo.recorded(case)
    with torch.no_grad():
        weights = zoo.make(case, attention="eager")(input_ids=torch.tensor([IDS]), output_attentions=True).attentions
    parts = [p for p in run.parts if p.kind == "attention"]
    assert len(parts) == len(weights)
    for p, w in zip(parts, weights, strict=True):
        assert p.heads is not None
        assert p.heads.pattern().shape == w[0].shape
        torch.testing.assert_close(p.heads.pattern().to(w), w[0], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(p.heads.pattern([4]).to(w), w[0][:, 4:5], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("case", ["gpt2", "llama", "gemma2", "falcon 7b", "qwen3_next", "mixtral", "bloom"])
def test_a_head_writes_what_is_missing_when_its_slice_is_zero(case: str) -> None:
    """The output projection called on z with one head's coordinates left out."""
    run = zoo.recorded(zoo.Case(*case.split()))
    for p in run.parts:
        if p.kind == "attention":
            write = p.linear[0]
            d_head = write.input.shape[1] // p.n_heads
            module = zoo.shared(zoo.Case(*case.split())).get_submodule(write.module)
            for h in range(p.n_heads):
                without = write.input.clone()
                without[:, h * d_head : (h + 1) * d_head] = 0
                with torch.no_grad():
                    missing = write.path.apply(module(write.input[None])[0] - module(without[None])[0])
                assert _off(head_vectors(write, h).output(), missing) < 1e-6


def test_value_biases_belong_to_the_heads_and_output_biases_to_the_constant() -> None:
    run = zoo.recorded(zoo.Case("gpt2"))
    part = next(p for p in run.parts if p.kind == "attention")
    module = zoo.shared(zoo.Case("gpt2")).get_submodule(part.linear[0].module)
    constant = constant_vectors(part.linear[0], run.n_tokens)
    torch.testing.assert_close(constant, module.bias.detach().expand_as(constant))


def test_sinks_take_probability_and_write_nothing() -> None:
    run = zoo.recorded(zoo.Case("gpt_oss"))
    for p in run.parts:
        if p.kind == "attention":
            assert p.heads is not None
            rows = p.heads.pattern().sum(-1)
            assert bool((rows < 1 - 1e-6).all())


def test_a_parallel_block_is_one_state_that_reads_one_earlier_state() -> None:
    run = zoo.recorded(zoo.Case("gpt_neox", "parallel"))
    assert [s.name for s in run.states] == ["embedding"] + 4 * ["after attention and MLP"]
    assert all({p.reads for p in s.parts} == {s.index - 1} for s in run.states[1:])


def test_a_sequential_block_is_two_states() -> None:
    run = zoo.recorded(zoo.Case("gpt_neox", "sequential"))
    assert [s.name for s in run.states] == ["embedding"] + 4 * ["after attention", "after MLP"]
    assert all({p.reads for p in s.parts} == {s.index - 1} for s in run.states[1:])


@pytest.mark.skipif(zoo.IS_OLD, reason="in transformers 4 every expert is a module of its own")
def test_experts_of_a_mixture_are_one_part() -> None:
    run = zoo.recorded(zoo.Case("mixtral"))
    for p in run.parts:
        if p.kind == "mlp":
            assert len(p.linear) > 1
            assert all("experts.down_proj[" in w.module for w in p.linear)


def test_sdpa_and_eager_give_the_same_parts() -> None:
    sdpa, eager = (record(load_model(zoo.make("llama", attention=a)), IDS, check="all") for a in ("sdpa", "eager"))
    for p, q in zip(sdpa.parts, eager.parts, strict=True):
        torch.testing.assert_close(p.output(len(IDS)), q.output(len(IDS)), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("case", ["gpt2", "gemma2", "mixtral"])
def test_low_precision_is_exact_within_what_the_dtype_explains(case: str, dtype: torch.dtype) -> None:
    run = record(load_model(zoo.make(case, dtype=dtype)), IDS, check="all")
    assert run.fidelity.exact
    assert run.fidelity.dtype == str(dtype).removeprefix("torch.")
    assert run.states[-1].value.dtype == dtype
    assert run.value(-1).dtype == torch.float32


# ---- models that transformers does not know ----


class PlainAttention(nn.Module):
    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, t, d = x.shape
        q, k, v = (y.view(b, t, self.n_heads, -1).transpose(1, 2) for y in self.qkv(x).split(d, dim=2))
        score = (q @ k.transpose(-2, -1)) / q.shape[-1] ** 0.5
        score = score.masked_fill(torch.ones(t, t, dtype=torch.bool).triu(1), float("-inf"))
        return self.out((score.softmax(-1) @ v).transpose(1, 2).contiguous().view(b, t, d))


class PlainBlock(nn.Module):
    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = PlainAttention(width, n_heads)
        self.mlp = nn.Sequential(nn.Linear(width, 5 * width), nn.GELU(), nn.Linear(5 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class PlainModel(nn.Module):
    """nanoGPT's layout: no config, ids in, logits out."""

    def __init__(self, as_list: bool = True) -> None:
        super().__init__()
        width = 24
        self.wte, self.wpe = nn.Embedding(zoo.N_VOCAB, width), nn.Embedding(16, width)
        blocks = [PlainBlock(width, 3) for _ in range(2)]
        self.h = nn.ModuleList(blocks) if as_list else nn.Sequential(*blocks)
        self.ln_f, self.lm_head = nn.LayerNorm(width), nn.Linear(width, zoo.N_VOCAB, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


def plain_model(as_list: bool = True) -> Any:
    model = PlainModel(as_list).double().eval()
    zoo.randomise(model)
    return model


def test_a_plain_torch_module_is_read_exactly() -> None:
    model = plain_model()
    run = record(load_model(model), IDS, check="all")
    with torch.no_grad():
        assert torch.equal(run.logits, model(torch.tensor([IDS]))[0])
    assert run.fidelity.worst < 1e-14
    assert [s.name for s in run.states] == ["embedding"] + 2 * ["after attention", "after MLP"]
    assert [p.n_heads for p in run.parts if p.kind == "attention"] == [3, 3]
    assert run.readout is not None


def test_layers_can_be_given() -> None:
    model = plain_model(as_list=False)
    with pytest.raises(UndecomposableError, match=r"PlainModel: no list of decoder layers found; pass layers=\.\.\."):
        record(load_model(model), IDS)
    given = record(load_model(model, layers=model.h), IDS, check="all")
    found = record(load_model(plain_model()), IDS, check="all")
    assert given.fidelity.worst < 1e-14
    for s, t in zip(given.states, found.states, strict=True):
        assert torch.equal(s.value, t.value)


class Doubling(PlainBlock):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) ** 3


class Wave(PlainBlock):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.sin(3 * x)


class Fourier(PlainBlock):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.fft.fft(x, dim=-1).real


class Peeking(PlainAttention):
    def forward(self, x: Tensor) -> Tensor:
        b, t, d = x.shape
        q, k, v = (y.view(b, t, self.n_heads, -1).transpose(1, 2) for y in self.qkv(x).split(d, dim=2))
        return self.out(((q @ k.transpose(-2, -1)).softmax(-1) @ v).transpose(1, 2).contiguous().view(b, t, d))


def test_a_layer_without_a_residual_path_is_refused_by_name() -> None:
    model = plain_model()
    model.h[1] = Doubling(24, 3).double().eval()
    with pytest.raises(UndecomposableError, match=r"layer 1 \(Doubling\): no linear residual path"):
        record(load_model(model), IDS)


def test_a_vector_of_unknown_origin_is_refused_or_shown_as_rounding() -> None:
    model = plain_model()
    model.h[1] = Wave(24, 3).double().eval()
    with pytest.raises(
        UndecomposableError, match=r"layer 1 \(Wave\): adds a vector made by `sin` that is not the output"
    ):
        record(load_model(model), IDS)
    run = record(load_model(model), IDS, strict=False)
    assert not run.fidelity.exact
    assert run.fidelity.problems
    (part,) = [p for p in run.parts if p.kind == "rounding"]
    last = run.states[-1]
    assert part in last.parts
    total = run.carried(last.index) + sum(p.output(run.n_tokens) for p in last.parts)
    assert _off(total, run.value(last.index)) < 1e-12
    assert part.output(run.n_tokens).norm() > 1


def test_a_fourier_layer_is_refused_in_words() -> None:
    model = plain_model()
    model.h[1] = Fourier(24, 3).double().eval()
    with pytest.raises(UndecomposableError, match=r"layer 1 \(Fourier\): adds a vector made by"):
        record(load_model(model), IDS)


def test_attention_to_later_tokens_is_refused() -> None:
    model = plain_model()
    model.h[0].attn = Peeking(24, 3).double().eval()
    with pytest.raises(UndecomposableError, match="attention looks at later tokens, so this is not a causal"):
        record(load_model(model), IDS)


def test_something_between_the_layers_is_named() -> None:
    model = plain_model()
    model.h[1].register_forward_pre_hook(lambda m, args: (args[0].tanh(),))
    with pytest.raises(UndecomposableError, match=r"layer 1 \(PlainBlock\): its input is not the previous layer's out"):
        record(load_model(model), IDS)


def test_wrapped_projections_are_read_by_calling_them() -> None:
    """LoRA: the weight of the projection is not what it does."""
    peft = pytest.importorskip("peft")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # between the releases of peft and transformers
        config = peft.LoraConfig(r=3, target_modules=["o_proj", "down_proj", "v_proj"])
        lora = peft.get_peft_model(zoo.make("llama"), config).eval()
    with torch.no_grad():
        for name, p in lora.named_parameters():
            if "lora_B" in name:
                p.normal_(generator=torch.Generator().manual_seed(1), std=0.3)
        plain = lora(input_ids=torch.tensor([IDS])).logits[0]
    run = record(load_model(lora), IDS, check="all")
    assert torch.equal(run.logits, plain)
    assert not torch.allclose(run.logits, zoo.recorded(zoo.Case("llama")).logits)
    for p in run.parts:
        if p.kind == "attention":
            total = sum(head_vectors(p.linear[0], h).output() for h in range(p.n_heads))
            assert _off(total + constant_vectors(p.linear[0], run.n_tokens), p.output(run.n_tokens)) < 1e-6
        if p.kind == "mlp":
            write = p.linear[0]
            assert _off(_neurons(write, run.n_tokens) + constant_vectors(write, run.n_tokens), p.output(7)) < 1e-6


def _neurons(write: Any, n_tokens: int) -> Tensor:
    index = torch.arange(write.input.shape[1])
    nothing = torch.zeros_like(write.total(n_tokens)[0])
    return torch.stack(
        [
            sum((neuron_vectors(write, row, index).sum(0) for row in write.path.leaf_rows(pos)), nothing)
            for pos in range(n_tokens)
        ]
    )


def _off(got: Tensor, truth: Tensor) -> float:
    return float((got - truth).norm() / truth.norm())


def test_runs_of_different_prompts_share_nothing() -> None:
    model = load_model(zoo.shared(zoo.Case("llama")))
    first: Run = record(model, IDS)
    before = [s.value.clone() for s in first.states]
    record(model, IDS[::-1])
    assert all(torch.equal(a, s.value) for a, s in zip(before, first.states, strict=True))


def test_parallel_streams_are_one_state_per_token() -> None:
    run = zoo.recorded(zoo.Case("hy_v4"))
    assert {s.value.shape[1] for s in run.states} == {4 * 48}
    embedding = run.value(0).reshape(7, 4, 48)
    assert torch.equal(embedding, embedding[:, :1].expand(7, 4, 48))  # before the first layer all streams are alike
    assert all(p.output(7).shape == (7, 4 * 48) for p in run.parts)


def test_an_earlier_state_added_again_is_a_part_that_reads_it() -> None:
    run = zoo.recorded(zoo.Case("hrm_text"))
    skips = [p for p in run.parts if p.kind == "skip"]
    assert skips
    assert all(0 <= p.reads < (run.states[p.state].carried or 0) for p in skips)
    graph = attribute(run)
    assert all(float(graph.share(p.number).min()) > 0 for p in skips)


def test_an_expert_that_hands_on_its_input_belongs_to_the_mixture() -> None:
    run = zoo.recorded(zoo.Case("longcat_flash"))
    mixtures = [p for p in run.parts if p.kind == "mlp" and len(p.writes) > 1]
    assert {w.kind for p in mixtures for w in p.writes} == {"mlp", "skip"}
    assert all(w.reads == p.reads for p in mixtures for w in p.writes)


def test_attention_over_the_keys_of_an_earlier_layer_reads_that_layers_state() -> None:
    own, shared = (zoo.recorded(zoo.Case("gemma3n_text", v)) for v in ("", "shared keys"))
    reads = [[p.reads for p in run.parts if p.kind == "attention"] for run in (own, shared)]
    assert reads[0][:2] == reads[1][:2]
    assert reads[1][3] == reads[1][1] < reads[0][3]


def test_a_state_written_through_a_view_keeps_its_old_value() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.up(x)
            y = x.clone()
            y[:, :2] += self.up(x)[:, :2]
            return y

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.h = nn.Embedding(11, 8), nn.ModuleList(Half() for _ in range(3))
            self.head = nn.Linear(8, 11)

        def forward(self, ids: Tensor) -> Tensor:
            x = self.embed(ids)
            for layer in self.h:
                x = layer(x)
            return self.head(x)

    torch.manual_seed(0)
    run = record(load_model(Model().eval()), [1, 2, 3, 4], check="all")
    assert run.fidelity.exact
