"""Two streams that layers hand on beside each other: each continues its own states, and both are read at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lmtt_widget import (
    Edit,
    UndecomposableError,
    attribute,
    direct_logit_attribution,
    lens_logits,
    load_model,
    record,
    trace,
)
from lmtt_widget.lens import update_logits

from . import zoo
from .test_decomposition import PlainAttention

IDS = zoo.prompt()
WIDTH = 24


class Reversible(nn.Module):
    """y1 = x1 + attention(x2), y2 = x2 + mlp(y1). (Gomez et al. 2017)"""

    def __init__(self, swapped: bool) -> None:
        super().__init__()
        self.swapped = swapped
        self.attention, self.norm, self.norm2 = PlainAttention(WIDTH, 3), nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        one, other = (other, one) if self.swapped else (one, other)
        one = one + self.attention(self.norm(other))
        other = other + self.mlp(self.norm2(one))
        return (other, one) if self.swapped else (one, other)


class Model(nn.Module):
    def __init__(self, end: Callable[[Tensor, Tensor], Tensor], begin: Any, swapped: bool = False) -> None:
        super().__init__()
        self.begin, self.end = begin, end
        self.embed, self.place = nn.Embedding(zoo.N_VOCAB, WIDTH), nn.Embedding(16, WIDTH)
        self.layers = nn.ModuleList(Reversible(swapped) for _ in range(3))
        wide = end(torch.zeros(1, 1, WIDTH), torch.zeros(1, 1, WIDTH)).shape[-1]
        self.norm, self.head = nn.LayerNorm(wide), nn.Linear(wide, zoo.N_VOCAB)

    def forward(self, input_ids: Tensor) -> Tensor:
        one, other = self.begin(self.embed(input_ids) + self.place(torch.arange(input_ids.shape[1])))
        for layer in self.layers:
            one, other = layer(one, other)
        return self.head(self.norm(self.end(one, other)))


ENDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "side by side": lambda x, y: torch.cat([x, y], -1),
    "their sum": lambda x, y: x + y,
    "their mean": lambda x, y: (x + y) / 2,
}
BEGINS: dict[str, Callable[[Tensor], Any]] = {
    "one tensor twice": lambda x: (x, x),
    "a copy": lambda x: (x, x.clone()),
    "two pieces": lambda x: torch.cat([x, x], -1).chunk(2, -1),
}


def made(end: str, begin: str = "one tensor twice", swapped: bool = False) -> nn.Module:
    torch.manual_seed(0)
    return Model(ENDS[end], BEGINS[begin], swapped).double().eval()


def hidden(model: Any) -> list[Tensor]:
    """The values of both streams in the order in which they are made, by formulas of their own."""
    with torch.no_grad():
        x = model.embed(torch.tensor([IDS])) + model.place(torch.arange(len(IDS)))
        one = other = x
        values = [x]
        for layer in model.layers:
            one = one + layer.attention(layer.norm(other))
            other = other + layer.mlp(layer.norm2(one))
            values += [one, other]
    return [v[0] for v in values]


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("begin", BEGINS)
@pytest.mark.parametrize("end", ENDS)
def test_each_stream_continues_its_own_states(end: str, begin: str, swapped: bool) -> None:
    model = made(end, begin, swapped)
    run = record(load_model(model), IDS, check="all")
    assert run.fidelity.exact
    assert run.fidelity.labels == "labels probed"
    for state, value in zip(run.states, hidden(model), strict=False):
        assert torch.equal(state.value, value)
    assert [s.carried for s in run.states[1:7]] == [0, 0, 1, 2, 3, 4]
    assert [[p.kind for p in s.parts] for s in run.states[1:7]] == [["attention"], ["mlp"]] * 3
    assert [p.reads for s in run.states[1:7] for p in s.parts] == [0, 1, 2, 3, 4, 5]
    last = run.states[7]
    assert ({last.carried} | {p.reads for p in last.parts}, {p.kind for p in last.parts}) == ({5, 6}, {"skip"})
    assert len(run.states) == 8


@pytest.mark.parametrize("end", ENDS)
def test_answers_of_two_streams_add_up_and_meet_the_logits(end: str) -> None:
    run = record(load_model(made(end)), IDS)
    graph = attribute(run)
    trace(graph, len(IDS) - 1)
    torch.testing.assert_close(lens_logits(run, -1, [-1])[0], run.logits[-1])
    effects = direct_logit_attribution(run)
    assert abs(effects.sum - effects.logit) < 1e-5


def test_what_enters_the_first_stream_is_read_where_that_ends() -> None:
    """The update of state 3 through the last norm, frozen, where its stream stands beside the other."""
    model: Any = made("side by side")
    run = record(load_model(model), IDS)
    update = run.part("attention", layer=1).output(len(IDS))[-1]
    x = run.value(7)[-1]
    centred = torch.cat([update, torch.zeros(WIDTH, dtype=x.dtype)])
    centred = (centred - centred.mean()) * (x.var(unbiased=False) + model.norm.eps).rsqrt() * model.norm.weight
    torch.testing.assert_close(update_logits(run, update, -1, state=3), model.head.weight @ centred)


def test_a_state_of_the_second_stream_can_be_steered() -> None:
    model = made("side by side")
    run = record(load_model(model), IDS)
    by = torch.linspace(-1, 1, WIDTH, dtype=torch.float64)
    steered = record(
        load_model(model), run, interventions=[Edit({"kind": "state", "state": 2, "pos": len(IDS) - 1}, by)]
    )
    with torch.no_grad():
        one, other = hidden(model)[1:3]
        other = other[None].clone()
        one = one[None]
        other[0, -1] += by
        for layer in model.layers[1:]:
            one, other = layer(one, other)
        expected = model.head(model.norm(torch.cat([one, other], -1)))[0]
    torch.testing.assert_close(steered.logits, expected)


def test_a_stream_that_the_logits_do_not_read_ends_where_it_is() -> None:
    torch.manual_seed(0)
    model = Model(lambda x, _y: x, lambda x: (x, x)).double().eval()
    run = record(load_model(model), IDS, check="all")
    assert run.fidelity.exact
    assert len(run.states) == 6  # the last MLP is read by nothing


def test_streams_that_are_read_apart_are_refused() -> None:
    class Apart(Model):
        def forward(self, input_ids: Tensor) -> Tensor:
            one = other = self.embed(input_ids)
            for layer in self.layers:
                one, other = layer(one, other)
            return self.head(self.norm(one)) + self.head(self.norm(other))

    with pytest.raises(UndecomposableError, match="after the last layer: the logits read two streams"):
        record(load_model(Apart(lambda x, _y: x, None).eval()), IDS)


def test_reformer_is_read_in_full() -> None:
    model = zoo.make("reformer")
    run = record(load_model(model), IDS, check="all")
    with torch.no_grad():
        assert torch.equal(run.logits, model(input_ids=torch.tensor([IDS])).logits[0])
    assert run.fidelity.exact
    assert run.readout is not None
    assert {p.kind for p in run.parts} == {"attention", "mlp", "skip", "embedding"}
