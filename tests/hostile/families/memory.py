"""Memory that is written again: in place, through views, in buffers that layers share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models import D_MLP, HEADS, Block, D, Decoder, block, decoder, hostile, merge

STREAM = "the stream written in place"
VIEWS = "the stream written through a view"
BUFFERS = "buffers that layers share"

Add = Callable[[Tensor, Tensor], Any]  # adds y to x where x lies


def _iadd(x: Tensor, y: Tensor) -> None:
    x += y


def _isub(x: Tensor, y: Tensor) -> None:
    x -= -y


def _assigned(x: Tensor, y: Tensor) -> None:
    x[:] = x + y


def _ellipsis(x: Tensor, y: Tensor) -> None:
    x[...] += y


def _data(x: Tensor, y: Tensor) -> None:
    x.data += y


def _data_add(x: Tensor, y: Tensor) -> None:
    x.data.add_(y)


def _rows(x: Tensor, y: Tensor) -> None:
    for t in range(x.shape[1]):
        x[:, t] += y[:, t]


def _set(x: Tensor, y: Tensor) -> None:
    x.set_((x + y).contiguous())


IN_PLACE: dict[str, Add] = {
    "x += y": _iadd,
    "x -= -y": _isub,
    "x[:] = x + y": _assigned,
    "x[...] += y": _ellipsis,
    "x.data += y": _data,
    "x.data.add_(y)": _data_add,
    "x[:, t] += y[:, t]": _rows,
    "x.add_(y)": lambda x, y: x.add_(y),
    "x.sub_(-y)": lambda x, y: x.sub_(-y),
    "torch.add(x, y, out=x)": lambda x, y: torch.add(x, y, out=x),
    "torch.add(x, y, alpha=.5, out=x) twice": lambda x, y: [torch.add(x, y, alpha=0.5, out=x) for _ in range(2)],
    "x.copy_(x + y)": lambda x, y: x.copy_(x + y),
    "x[0].index_add_": lambda x, y: x[0].index_add_(0, torch.arange(x.shape[1]), y[0]),
    "x.index_add_(1)": lambda x, y: x.index_add_(1, torch.arange(x.shape[1]), y),
    "x.index_put_ accumulating": lambda x, y: x.index_put_(
        (torch.tensor([0])[:, None], torch.arange(x.shape[1])[None]), y, accumulate=True
    ),
    "x.scatter_add_": lambda x, y: x.scatter_add_(1, torch.arange(x.shape[1])[None, :, None].expand_as(y), y),
    "x.addcmul_(y, 1)": lambda x, y: x.addcmul_(y, torch.ones_like(y)),
    "x.lerp_": lambda x, y: x.lerp_(x + 2 * y, 0.5),
    "x.baddbmm_": lambda x, y: x.baddbmm_(torch.eye(x.shape[1], dtype=x.dtype)[None], y),
    "torch._foreach_add_": lambda x, y: torch._foreach_add_([x], [y]),
    "torch.ops.aten.add_.Tensor": lambda x, y: torch.ops.aten.add_.Tensor(x, y),
    "torch.ops.aten.add_": lambda x, y: torch.ops.aten.add_(x, y),
    "torch.ops.aten.add.out": lambda x, y: torch.ops.aten.add.out(x, y, out=x),
    "torch._C._VariableFunctions.add out": lambda x, y: torch._C._VariableFunctions.add(x, y, out=x),
    "Tensor.__iadd__ called by name": lambda x, y: Tensor.__iadd__(x, y),
    "x.set_(x + y)": _set,
}


def _view_then(x: Tensor, y: Tensor) -> None:
    v = x.view(-1, x.shape[-1])
    v += y[0]


def _kept_view(x: Tensor, y: Tensor) -> None:
    halves = x.view(1, x.shape[1], 2, -1)
    halves[:, :, 0] += y[..., : D // 2]
    halves[:, :, 1] += y[..., D // 2 :]


def _numpy(x: Tensor, y: Tensor) -> None:
    x.detach().numpy()[...] += y.detach().numpy()


def _storage(x: Tensor, y: Tensor) -> None:
    raw = torch.tensor([], dtype=x.dtype).set_(x.untyped_storage())
    raw += y.reshape(-1)


def _chunks(x: Tensor, y: Tensor) -> None:
    for a, b in zip(x.chunk(2, -1), y.chunk(2, -1), strict=True):
        a += b


def _split(x: Tensor, y: Tensor) -> None:
    for a, b in zip(x.split(3, 1), y.split(3, 1), strict=True):
        a.add_(b)


def _unbound(x: Tensor, y: Tensor) -> None:
    for a, b in zip(x.unbind(1), y.unbind(1), strict=True):
        a += b


def _iterated(x: Tensor, y: Tensor) -> None:
    for a, b in zip(x[0], y[0], strict=True):
        a += b


def _diagonals(x: Tensor, y: Tensor) -> None:
    for k in range(1 - x.shape[1], x.shape[2]):
        x[0].diagonal(k).add_(y[0].diagonal(k))


THROUGH_VIEWS: dict[str, Add] = {
    "v = x.view(..); v += y": _view_then,
    "halves of the coordinates": _kept_view,
    "x.narrow(..).add_": lambda x, y: x.narrow(1, 0, x.shape[1]).add_(y),
    "x.narrow over tokens, in two": lambda x, y: [
        x.narrow(1, a, n).add_(y.narrow(1, a, n)) for a, n in ((0, 2), (2, x.shape[1] - 2))
    ],
    "x[:, t].add_": lambda x, y: [x[:, t].add_(y[:, t]) for t in range(x.shape[1])],
    "x[:, 1:].add_ and x[:, :1].add_": lambda x, y: (x[:, 1:].add_(y[:, 1:]), x[:, :1].add_(y[:, :1])),
    "x.chunk, each += ": _chunks,
    "x.split over tokens": _split,
    "x.unbind": _unbound,
    "for row in x[0]": _iterated,
    "x.mT.add_": lambda x, y: x.mT.add_(y.mT),
    "x.transpose(1, 2).add_": lambda x, y: x.transpose(1, 2).add_(y.transpose(1, 2)),
    "x.permute(2, 0, 1).add_": lambda x, y: x.permute(2, 0, 1).add_(y.permute(2, 0, 1)),
    "x.squeeze(0).add_": lambda x, y: x.squeeze(0).add_(y[0]),
    "x.flatten().add_": lambda x, y: x.flatten().add_(y.flatten()),
    "x.select(0, 0).add_": lambda x, y: x.select(0, 0).add_(y[0]),
    "x.as_strided(..).add_": lambda x, y: x.as_strided(x.shape, x.stride()).add_(y),
    "x.unfold(..).add_": lambda x, y: x.unfold(1, 1, 1)[..., 0].add_(y),
    "x.detach().add_": lambda x, y: x.detach().add_(y),
    "x.diagonal, one after the other": _diagonals,
    "x.view_as_complex": lambda x, y: torch.view_as_complex(x.view(1, x.shape[1], -1, 2)).add_(
        torch.view_as_complex(y.view(1, x.shape[1], -1, 2).contiguous())
    ),
    "numpy on the same memory": _numpy,
    "dlpack": lambda x, y: torch.from_dlpack(x.detach()).add_(y),
    "untyped storage": _storage,
    "x.numpy() of a view, one token": lambda x, y: [
        x[0, t].detach().numpy().__iadd__(y[0, t].detach().numpy()) for t in range(x.shape[1])
    ],
}


def _attention_and_mlp(add: Add) -> Any:
    def forward(self: Any, x: Tensor) -> Tensor:
        for name, norm, branch in (("attention", self.norm1, self.attend), ("mlp", self.norm2, self.feed)):
            y = branch(norm(x))
            self.truth.write(name, y)
            add(x, y)
            x = self.truth.state(x)
        return x

    return forward


def _mlp_only(add: Add) -> Any:
    """Attention is added as usual; only the MLP is written where x lies."""

    def forward(self: Any, x: Tensor) -> Tensor:
        a = self.attend(self.norm1(x))
        self.truth.write("attention", a)
        x = self.truth.state(x + a)
        m = self.feed(self.norm2(x))
        self.truth.write("mlp", m)
        add(x, m)
        return self.truth.state(x)

    return forward


for _family, _ways in ((STREAM, IN_PLACE), (VIEWS, THROUGH_VIEWS)):
    for _way, _add in _ways.items():
        hostile(_family, _way)(decoder(forward=_attention_and_mlp(_add)))
for _way in ("x += y", "x.data += y", "torch._foreach_add_", "torch.ops.aten.add_.Tensor", "x.index_add_(1)"):
    hostile(STREAM, f"only the MLP: {_way}")(decoder(forward=_mlp_only(IN_PLACE[_way])))
for _way in ("v = x.view(..); v += y", "x.narrow(..).add_", "numpy on the same memory", "x[:, t].add_", "dlpack"):
    hostile(VIEWS, f"only the MLP: {_way}")(decoder(forward=_mlp_only(THROUGH_VIEWS[_way])))


# ---- buffers that layers share ----


class Shared(Decoder):
    """Every layer has the same scratch memory."""

    def more(self) -> None:
        scratch = {
            "v": torch.zeros(1, HEADS, 7, D // HEADS),
            "k": torch.zeros(1, HEADS, 7, D // HEADS),
            "p": torch.zeros(1, HEADS, 7, 7),
            "act": torch.zeros(1, 7, D_MLP),
            "z": torch.zeros(1, 7, D),
            "out": torch.zeros(1, 7, D),
        }
        for layer in self.layers:
            layer.scratch = {name: x.double() for name, x in scratch.items()}
        for name in scratch:  # the same tensors for all
            for layer in self.layers:
                layer.scratch[name] = self.layers[0].scratch[name]


def _kv(self: Any, h: Tensor) -> Tensor:
    s = self.scratch
    q = self.split(self.q(h))
    s["k"].copy_(self.split(self.k(h)))
    s["v"].copy_(self.split(self.v(h)))
    pattern = self.pattern(q, s["k"])
    self.tell(pattern, s["v"])
    return self.o(merge(pattern @ s["v"]))


def _kv_indexed(self: Any, h: Tensor) -> Tensor:
    s, here = self.scratch, torch.arange(h.shape[1])
    q = self.split(self.q(h))
    s["k"][:, :, here] = self.split(self.k(h))
    s["v"].index_copy_(2, here, self.split(self.v(h)))
    pattern = self.pattern(q, s["k"])
    self.tell(pattern, s["v"])
    return self.o(merge(pattern @ s["v"]))


def _sdpa(self: Any, h: Tensor) -> Tensor:
    s = self.scratch
    q = self.split(self.q(h))
    s["k"].copy_(self.split(self.k(h)))
    s["v"].copy_(self.split(self.v(h)))
    if self.truth.now is not None:
        self.tell(self.pattern(q, s["k"]), s["v"])
    return self.o(merge(F.scaled_dot_product_attention(q, s["k"], s["v"], is_causal=True)))


def _pattern_kept(self: Any, h: Tensor) -> Tensor:
    s = self.scratch
    q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
    s["p"].copy_(self.pattern(q, k))
    self.tell(s["p"], v)
    return self.o(merge(s["p"] @ v))


def _pattern_out(self: Any, h: Tensor) -> Tensor:
    s, n = self.scratch, h.shape[1]
    q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
    torch.matmul(q, k.transpose(-1, -2), out=s["p"])
    s["p"].masked_fill_(torch.ones(n, n, dtype=torch.bool).triu(1), float("-inf"))
    torch.softmax(s["p"].clone(), -1, out=s["p"])
    self.tell(s["p"], v)
    return self.o(merge(s["p"] @ v))


def _z_out(self: Any, h: Tensor) -> Tensor:
    s = self.scratch
    q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
    pattern = self.pattern(q, k)
    s["z"].copy_(merge(pattern @ v))
    self.tell(pattern, v)
    return self.o(s["z"])


def _act(self: Any, h: Tensor) -> Tensor:
    self.scratch["act"].copy_(F.gelu(self.up(h)))
    return self.down(self.scratch["act"])


def _act_out(self: Any, h: Tensor) -> Tensor:
    torch.sigmoid(self.up(h), out=self.scratch["act"])
    return self.down(self.scratch["act"])


def _act_in_place(self: Any, h: Tensor) -> Tensor:
    y = self.up(h)
    out = self.down(F.relu(y, inplace=True))
    y.zero_()  # the memory is given to somebody else
    return out


def _written_over(self: Any, h: Tensor) -> Tensor:
    out = self.scratch["out"]
    torch.addmm(self.down.bias, F.gelu(self.up(h))[0], self.down.weight.t(), out=out[0])
    return out


def _out_copied(self: Any, h: Tensor) -> Tensor:
    self.scratch["out"].copy_(Block.feed(self, h))
    return self.scratch["out"]


def _v_zeroed(self: Any, h: Tensor) -> Tensor:
    q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
    pattern = self.pattern(q, k)
    self.tell(pattern, v)
    y = self.o(merge(pattern @ v))
    v.zero_()
    pattern.fill_(0.5)
    return y


def _v_zeroed_by_numpy(self: Any, h: Tensor) -> Tensor:
    q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
    pattern = self.pattern(q, k)
    self.tell(pattern, v)
    y = self.o(merge(pattern @ v))
    v.detach().numpy()[...] = 0
    return y


for _way, _methods in {
    "keys and values, copied in": {"attend": _kv},
    "keys and values, by index": {"attend": _kv_indexed},
    "keys and values, under sdpa": {"attend": _sdpa},
    "patterns, copied in": {"attend": _pattern_kept},
    "patterns, by out=": {"attend": _pattern_out},
    "input of the output projection": {"attend": _z_out},
    "activations, copied in": {"feed": _act},
    "activations, by out=": {"feed": _act_out},
    "activations zeroed after use": {"feed": _act_in_place},
    "what the MLP wrote, by out=": {"feed": _written_over},
    "what the MLP wrote, copied": {"feed": _out_copied},
    "values and pattern overwritten after use": {"attend": _v_zeroed},
    "values overwritten by numpy": {"attend": _v_zeroed_by_numpy},
}.items():
    hostile(BUFFERS, _way)(lambda methods=_methods: Shared(block(**methods)))


@hostile(BUFFERS, "the stream itself: two buffers in turn")
def _() -> Decoder:
    class Turns(Shared):
        def run(self, x: Tensor) -> Tensor:
            buffers = [torch.empty_like(x), torch.empty_like(x)]
            for i, layer in enumerate(self.layers):
                buffers[i % 2].copy_(layer(x))
                x = buffers[i % 2]
            return x

    return Turns()


@hostile(BUFFERS, "the embedding is overwritten by the last layer")
def _() -> Decoder:
    class Reused(Decoder):
        def run(self, x: Tensor) -> Tensor:
            first = x
            for layer in self.layers:
                x = layer(x)
            first.zero_()
            return x

    return Reused()
