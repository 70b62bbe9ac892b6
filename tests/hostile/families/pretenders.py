"""Modules that have the attributes or the name of a linear map or an embedding, and are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import D_MLP, Block, D, Decoder, block, decoder, hostile

FAMILY = "modules that look like linear maps"


class Linear(nn.Linear):
    """A linear map and something else."""

    def __init__(self, n_in: int, n_out: int, change: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__(n_in, n_out)
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(self, x)


class Called(nn.Linear):
    def __call__(self, x: Tensor) -> Tensor:
        y = super().__call__(x)
        return y + F.pad(y, (0, 0, 1, -1))


class Conv1D(nn.Module):
    """The name of transformers' linear map, and a convolution over tokens."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.nf = n_out
        self.weight, self.bias = nn.Parameter(torch.randn(n_in, n_out)), nn.Parameter(torch.zeros(n_out))

    def forward(self, x: Tensor) -> Tensor:
        return (x + F.pad(x, (0, 0, 1, -1))) @ self.weight + self.bias


class Wrapped(nn.Module):
    """All attributes of a linear map, whose weight is another one than is used."""

    def __init__(self, n_in: int, n_out: int, shift: bool = False) -> None:
        super().__init__()
        self.in_features, self.out_features, self.shift = n_in, n_out, shift
        self.weight, self.used = (nn.Parameter(torch.randn(n_out, n_in)) for _ in range(2))
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.pad(x, (0, 0, 1, -1)) if self.shift else x, self.used, self.bias)


def _plain(self: Any, x: Tensor) -> Tensor:
    return F.linear(x, self.weight, self.bias)


CHANGES: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "its input shifted by one token": lambda self, x: _plain(self, F.pad(x, (0, 0, 1, -1))),
    "its output's mean over tokens added": lambda self, x: (lambda y: y + y.mean(1, keepdim=True))(_plain(self, x)),
    "its output summed so far": lambda self, x: _plain(self, x).cumsum(1),
    "one token's output given to another": lambda self, x: (lambda y: torch.cat([y[:, :4], y[:, 1:2], y[:, 5:]], 1))(
        _plain(self, x)
    ),
    "no map but a tanh": lambda self, x: _plain(self, x).tanh(),
    "a tanh at one token": lambda self, x: (
        lambda y: torch.where((torch.arange(x.shape[1]) == 2)[:, None], y.tanh(), y)
    )(_plain(self, x)),
    "a weight for each place": lambda self, x: _plain(self, x) * torch.arange(1, x.shape[1] + 1)[:, None],
    "rounded to bfloat16": lambda self, x: F.linear(
        x.bfloat16(), self.weight.bfloat16(), self.bias.bfloat16()
    ).double(),
    "its input's mean over coordinates taken off": lambda self, x: _plain(self, x - x.mean(-1, keepdim=True)),
    "attention inside": lambda self, x: _plain(self, F.scaled_dot_product_attention(x, x, x, is_causal=True)),
    "the square of its input": lambda self, x: _plain(self, x * x),
    "the absolute value of its output": lambda self, x: _plain(self, x).abs(),
    "its input sorted": lambda self, x: _plain(self, x.sort(-1).values),
    "weights made from its input": lambda self, x: (
        torch.einsum("btd,td->bt", x, x[0])[..., None] * 0.1 + _plain(self, x)
    ),
    "zero for the second half of the tokens": lambda self, x: _plain(self, x) * (torch.arange(x.shape[1]) < 4)[:, None],
}


def _with(name: str, make: Callable[[], nn.Module]) -> Callable[[], Decoder]:
    return decoder(more=lambda self: setattr(self, name, make()))


for _way, _change in CHANGES.items():
    hostile(FAMILY, f"down: {_way}")(_with("down", lambda c=_change: Linear(D_MLP, D, c)))
    if "token" in _way or "summed" in _way or "tanh" in _way:
        hostile(FAMILY, f"o: {_way}")(
            decoder(more=lambda self, c=_change: setattr(self, "o", Linear(D, D, c)), tell=lambda self, p, v: None)
        )
for _way in ("its input shifted by one token", "its output summed so far", "attention inside"):
    hostile(FAMILY, f"up: {_way}")(_with("up", lambda c=CHANGES[_way]: Linear(D, D_MLP, c)))
    hostile(FAMILY, f"v: {_way}")(
        decoder(more=lambda self, c=CHANGES[_way]: setattr(self, "v", Linear(D, D, c)), tell=lambda self, p, v: None)
    )
hostile(FAMILY, "__call__ does more than forward")(_with("down", lambda: Called(D_MLP, D)))
hostile(FAMILY, "a Conv1D over tokens")(_with("down", lambda: Conv1D(D_MLP, D)))
hostile(FAMILY, "another weight than it shows")(_with("down", lambda: Wrapped(D_MLP, D)))
hostile(FAMILY, "another weight than it shows, and a shift")(_with("down", lambda: Wrapped(D_MLP, D, True)))
hostile(FAMILY, "up is a Conv1D over tokens")(_with("up", lambda: Conv1D(D, D_MLP)))


class Contextual(nn.Embedding):
    def __init__(self, n: int, d: int) -> None:
        super().__init__(n, d)
        self.rnn = nn.GRU(d, d, batch_first=True)

    def forward(self, ids: Tensor) -> Tensor:
        return self.rnn(super().forward(ids))[0]


class Averaged(nn.Embedding):
    def forward(self, ids: Tensor) -> Tensor:
        y = super().forward(ids)
        return y.cumsum(1)


hostile(FAMILY, "an Embedding with a GRU inside")(
    lambda: type("Own", (Decoder,), {"more": lambda self: setattr(self, "wte", Contextual(23, D))})()
)
hostile(FAMILY, "an Embedding that sums so far")(
    lambda: type("Own", (Decoder,), {"more": lambda self: setattr(self, "wte", Averaged(23, D))})()
)


class Norm(nn.LayerNorm):
    """A norm by name, whose statistics are those of all tokens so far."""

    def forward(self, x: Tensor) -> Tensor:
        n = torch.arange(1, x.shape[1] + 1, dtype=x.dtype)[:, None]
        return super().forward(x.cumsum(1) / n)


hostile(FAMILY, "a LayerNorm that mixes tokens")(_with("norm2", lambda: Norm(D)))
hostile(FAMILY, "a final LayerNorm that mixes tokens")(
    lambda: type("Own", (Decoder,), {"more": lambda self: setattr(self, "norm", Norm(D))})()
)


class Same(nn.Identity):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, :1], x[:, :-1]], 1)


class Dropout(nn.Dropout):
    def forward(self, x: Tensor) -> Tensor:
        return x.flip(-2)


hostile(FAMILY, "an Identity that shifts")(
    decoder(more=lambda self: setattr(self, "same", Same()), feed=lambda self, h: Block.feed(self, self.same(h)))
)
hostile(FAMILY, "a Dropout that reverses tokens")(
    decoder(more=lambda self: setattr(self, "drop", Dropout()), feed=lambda self, h: self.drop(Block.feed(self, h)))
)


@hostile(FAMILY, "a class named Linear without a weight")
def _() -> Decoder:
    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.in_features, self.out_features = D_MLP, D

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x[:, :1], x[:, :-1]], 1)[..., :D] * 0.5

    return Decoder(block(more=lambda self: setattr(self, "down", Linear())))
