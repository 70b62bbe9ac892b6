"""Layers that are no modules: their pieces stand in lists side by side, and are read like any other layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lmtt_widget import Run, UndecomposableError, load_model, record
from lmtt_widget.decomposition.stacks import find_layers, pieces

from . import zoo
from .oracle import watch
from .test_decomposition import PlainAttention, PlainBlock

IDS = zoo.prompt()
WIDTH, N_LAYERS = 24, 3


class Lists(nn.Module):
    """Norms, attention and MLPs in four lists; `forward` says how they are put together."""

    def __init__(self, block: Callable[[Lists, int, Tensor], Tensor], final_norm: bool = True) -> None:
        super().__init__()
        self.block = block
        self.wte, self.wpe = nn.Embedding(zoo.N_VOCAB, WIDTH), nn.Embedding(16, WIDTH)
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, 5 * WIDTH), nn.GELU(), nn.Linear(5 * WIDTH, WIDTH)) for _ in range(N_LAYERS)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(N_LAYERS))
        self.attentions = nn.ModuleList(PlainAttention(WIDTH, 3) for _ in range(N_LAYERS))
        self.mlp_norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(N_LAYERS))
        self.final_norm = nn.LayerNorm(WIDTH) if final_norm else nn.Identity()
        self.head = nn.Linear(WIDTH, zoo.N_VOCAB, bias=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.wte(input_ids) + self.wpe(torch.arange(input_ids.shape[1]))
        for k in range(N_LAYERS):
            x = self.block(self, k, x)
        return self.head(self.final_norm(x))


def pre_norm(m: Lists, k: int, x: Tensor) -> Tensor:
    x = x + m.attentions[k](m.norms[k](x))
    return x + m.mlps[k](m.mlp_norms[k](x))


def post_norm(m: Lists, k: int, x: Tensor) -> Tensor:
    x = m.norms[k](x + m.attentions[k](x))
    return m.mlp_norms[k](x + m.mlps[k](x))


def parallel(m: Lists, k: int, x: Tensor) -> Tensor:
    return x + m.mlps[k](m.mlp_norms[k](x)) + m.attentions[k](m.norms[k](x))


def made(block: Callable[[Lists, int, Tensor], Tensor], **options: bool) -> Any:
    model = Lists(block, **options).double().eval()
    zoo.randomise(model)
    return model


@pytest.mark.parametrize("final_norm", [True, False])
@pytest.mark.parametrize("block", [pre_norm, post_norm, parallel])
def test_pieces_in_lists_are_read_as_the_layers_they_make(
    block: Callable[[Lists, int, Tensor], Tensor], final_norm: bool
) -> None:
    model = made(block, final_norm=final_norm)
    run = record(load_model(model), IDS, check="all")
    with torch.no_grad():
        assert torch.equal(run.logits, model(torch.tensor([IDS]))[0])
        x = model.wte(torch.tensor([IDS])) + model.wpe(torch.arange(len(IDS)))
        for k in range(N_LAYERS):
            x = block(model, k, x)
            assert torch.equal(run.view("resid_post", k).value, x[0])
    assert run.fidelity.worst < 1e-14
    assert run.readout is not None
    assert len(run.states) == 1 + N_LAYERS * (1 if block is parallel else 2)
    _, seen = watch(model, IDS, *model.attentions, *model.mlps)
    outputs = {p.module: p.linear[0].output for p in run.parts if p.kind in ("attention", "mlp")}
    names = [f"attentions.{k}.out" for k in range(N_LAYERS)] + [f"mlps.{k}.2" for k in range(N_LAYERS)]
    for name, (_, out) in zip(names, seen, strict=True):
        assert torch.equal(outputs[name], out[0])


class TwoKinds(nn.Module):
    """Whole layers of two classes, each with its own residual, in two lists of the same length."""

    def __init__(self, in_turn: bool) -> None:
        super().__init__()
        self.in_turn = in_turn
        self.wte = nn.Embedding(zoo.N_VOCAB, WIDTH)
        self.some = nn.ModuleList(PlainBlock(WIDTH, 3) for _ in range(N_LAYERS))
        self.others = nn.ModuleList(Other(WIDTH, 3) for _ in range(N_LAYERS))
        self.head = nn.Linear(WIDTH, zoo.N_VOCAB, bias=False)

    def order(self) -> list[nn.Module]:
        if self.in_turn:
            return [m for pair in zip(self.some, self.others, strict=True) for m in pair]
        return [*self.some, *self.others]

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.wte(input_ids)
        for m in self.order():
            x = m(x)
        return self.head(x)


class Other(PlainBlock):
    pass


@pytest.mark.parametrize("in_turn", [True, False])
def test_no_layer_of_two_lists_is_taken_for_the_embedding(in_turn: bool) -> None:
    model = TwoKinds(in_turn).double().eval()
    zoo.randomise(model)
    run = record(load_model(model), IDS, check="all")
    _, seen = watch(model, IDS, *model.order())
    assert torch.equal(run.states[0].value, seen[0][0][0])
    for k, (_, out) in enumerate(seen):
        assert torch.equal(run.states[2 * k + 2].value, out[0])
    assert run.fidelity.worst < 1e-14
    assert [p.kind for p in run.parts].count("attention") == 2 * N_LAYERS


def test_helpers_in_a_list_beside_the_layers_are_no_pieces() -> None:
    model = made(pre_norm)
    blocks = nn.ModuleList(PlainBlock(WIDTH, 3) for _ in range(N_LAYERS))
    model.blocks = blocks
    del model.attentions, model.mlps
    assert find_layers(model) == list(blocks)
    assert not pieces(model.modules(), list(blocks))


def test_a_last_layer_that_leads_nowhere_linear_is_refused_by_name() -> None:
    model = made(pre_norm)
    model.final_norm = nn.Tanh()
    with pytest.raises(
        UndecomposableError, match=r"layer 2 \(.*PlainAttention.*\): no linear way from it to the logits"
    ):
        record(load_model(model), IDS)


def test_attention_both_ways_is_refused() -> None:
    with pytest.raises(UndecomposableError, match="attention looks at later tokens"):
        record(load_model(zoo.make("xlm", causal=False)), IDS)


def test_a_layer_of_pieces_can_be_given() -> None:
    model = made(post_norm)
    order = [m for pair in zip(model.attentions, model.norms, model.mlps, model.mlp_norms, strict=True) for m in pair]
    given: Run = record(load_model(model, layers=order), IDS, check="all")
    found = record(load_model(model), IDS, check="all")
    assert [s.name for s in given.states] == [s.name for s in found.states]
    assert all(torch.equal(s.value, t.value) for s, t in zip(given.states, found.states, strict=True))
