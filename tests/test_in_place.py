"""Models that write to memory again are read as if every value had memory of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lmtt_widget import Run, UndecomposableError, load_model, record

_D_MODEL, _HEADS, _D_MLP, _N_VOCAB = 12, 3, 20, 31
_PROMPT = [3, 17, 9, 30, 4, 11, 8]

Way = Callable[[Tensor, Tensor], Tensor]  # (stream, update) -> the stream afterwards


def _setitem(x: Tensor, y: Tensor) -> Tensor:
    x[:] = x + y
    return x


def _data(x: Tensor, y: Tensor) -> Tensor:
    x.data += y
    return x


def _new_data(x: Tensor, y: Tensor) -> Tensor:
    x.data = x + y
    return x


def _through_a_view(x: Tensor, y: Tensor) -> Tensor:
    rows = x.view(-1, _D_MODEL)
    rows += y.view(-1, _D_MODEL)
    return x


def _row_by_row(x: Tensor, y: Tensor) -> Tensor:
    for t in range(x.shape[1]):
        x[:, t].add_(y[:, t])
    return x


def _narrow(x: Tensor, y: Tensor) -> Tensor:
    for t in range(x.shape[1]):
        x.narrow(1, t, 1).add_(y.narrow(1, t, 1))
    return x


def _into_new_memory(x: Tensor, y: Tensor) -> Tensor:
    z = torch.empty_like(x)
    z.copy_(x)
    z += y
    return z


_READ = {
    "+=": lambda x, y: x.__iadd__(y),
    "add_": lambda x, y: x.add_(y),
    "out=": lambda x, y: torch.add(x, y, out=x),
    "aten": lambda x, y: torch.ops.aten.add_.Tensor(x, y),
    "setitem": _setitem,
    "data": _data,
    "new data": _new_data,
    "view": _through_a_view,
    "row by row": _row_by_row,
    "narrow": _narrow,
    "copy_": _into_new_memory,
}


def _numpy(x: Tensor, y: Tensor) -> Tensor:
    x.numpy()[...] += y.numpy()
    return x


def _foreach(x: Tensor, y: Tensor) -> Tensor:
    torch._foreach_add_([x], [y])
    return x


_REFUSED = {"numpy": _numpy, "foreach": _foreach}


class _Block(nn.Module):
    """One layer; with `scratch` its keys, values, pattern and activations lie in memory that all layers share."""

    def __init__(self, add: Way, scratch: dict[str, Tensor] | None) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(_D_MODEL, 3 * _D_MODEL), nn.Linear(_D_MODEL, _D_MODEL)
        self.up, self.down = nn.Linear(_D_MODEL, _D_MLP), nn.Linear(_D_MLP, _D_MODEL)
        self.norm_1, self.norm_2 = nn.LayerNorm(_D_MODEL), nn.LayerNorm(_D_MODEL)
        self.add, self.scratch = add, scratch

    def _here(self, name: str, x: Tensor) -> Tensor:
        if self.scratch is None:
            return x
        memory = self.scratch.setdefault(name, torch.zeros(4096, dtype=x.dtype))[: x.numel()].view(x.shape)
        return memory.copy_(x)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            t.view(1, -1, _HEADS, _D_MODEL // _HEADS).transpose(1, 2)
            for t in self.qkv(self.norm_1(x)).split(_D_MODEL, -1)
        )
        later = torch.full((x.shape[1], x.shape[1]), float("-inf"), dtype=x.dtype).triu(1)
        pattern = self._here("pattern", torch.softmax(q @ self._here("k", k).transpose(-1, -2) / 2 + later, -1))
        z = pattern @ self._here("v", v)
        x = self.add(x, self.out(z.transpose(1, 2).reshape(1, -1, _D_MODEL)))
        return self.add(x, self.down(self._here("neurons", functional.gelu(self.up(self.norm_2(x))))))


class _Decoder(nn.Module):
    def __init__(self, add: Way, scratch: dict[str, Tensor] | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(_N_VOCAB, _D_MODEL)
        self.layers = nn.ModuleList(_Block(add, scratch) for _ in range(3))
        self.norm, self.head = nn.LayerNorm(_D_MODEL), nn.Linear(_D_MODEL, _N_VOCAB)
        self.double().eval().requires_grad_(False)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.embed(input_ids)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


def _recorded(model: nn.Module) -> Run:
    run = record(load_model(model), _PROMPT, check="all")
    model(torch.tensor([[5, 1, 2, 28, 19, 6, 7, 13]]))  # what was kept must not lie in the model's memory
    return run


def _same(run: Run, truth: Run) -> None:
    assert [str(p) for p in run.parts] == [str(p) for p in truth.parts]
    for s, t in zip(run.states, truth.states, strict=True):
        torch.testing.assert_close(s.value, t.value, rtol=0, atol=1e-12)
    for p, q in zip(run.parts, truth.parts, strict=True):
        n = run.n_tokens
        torch.testing.assert_close(p.output(n), q.output(n), rtol=0, atol=1e-12)
        for u, w in zip(p.linear, q.linear, strict=True):
            torch.testing.assert_close(u.input, w.input, rtol=0, atol=1e-12)
        if p.heads is not None:
            assert q.heads is not None
            torch.testing.assert_close(p.heads.pattern(), q.heads.pattern(), rtol=0, atol=1e-12)
            for a, b in zip(p.heads.products, q.heads.products, strict=True):
                torch.testing.assert_close(a.value, b.value, rtol=0, atol=1e-12)


@pytest.mark.parametrize("way", _READ)
def test_a_stream_written_in_place_is_read_as_if_it_were_not(way: str) -> None:
    _same(_recorded(_Decoder(_READ[way])), _recorded(_Decoder(lambda x, y: x + y)))


@pytest.mark.parametrize("way", _REFUSED)
def test_a_write_that_cannot_be_followed_is_refused(way: str) -> None:
    with pytest.raises(UndecomposableError, match="layer 0"):
        record(load_model(_Decoder(_REFUSED[way])), _PROMPT)


def test_what_is_kept_does_not_lie_in_memory_that_layers_share() -> None:
    _same(_recorded(_Decoder(lambda x, y: x + y, {})), _recorded(_Decoder(lambda x, y: x + y)))
