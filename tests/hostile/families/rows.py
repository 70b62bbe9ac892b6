"""Rows moved from token to token, on the stream or in what is added to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models import Decoder, block, decoder, hostile, merge
from .outside import _shifted

MOVED = "rows moved between tokens"


# ---- rows moved between tokens ----


def _moved(add: Callable[[Any, Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]) -> Callable[[], Decoder]:
    """The MLP's step: what becomes of x and y, and what that adds by name beside x where it was."""

    def forward(self: Any, x: Tensor) -> Tensor:
        a = self.attend(self.norm1(x))
        self.truth.write("attention", a)
        x = self.truth.state(x + a)
        y = self.feed(self.norm2(x))
        out, added = add(self, x, y)
        for name, v in added.items():
            self.truth.write(name, v)
        return self.truth.state(out)

    return decoder(forward=forward)


def _then(change: Callable[[Tensor], Tensor]) -> Callable[[], Decoder]:
    """What the MLP makes is complete before its rows are moved."""

    def forward(self: Any, x: Tensor) -> Tensor:
        a = self.attend(self.norm1(x))
        self.truth.write("attention", a)
        x = self.truth.state(x + a)
        y = self.feed(self.norm2(x))
        self.truth.write("mlp", y)
        x = self.truth.state(x + y)
        before = x.clone() if self.truth.now is not None else x
        out = change(x)
        self.truth.write("moved", out - before)
        return self.truth.state(out)

    return decoder(forward=forward)


def _rolled(x: Tensor) -> Tensor:
    return torch.cat([x[:, :1], x[:, :-1]], 1)


def _alternating(self: Any, x: Tensor, y: Tensor) -> Any:
    out = x.clone()
    out[:, ::2] = (x + y)[:, ::2]
    return out, {"mlp": y * (torch.arange(x.shape[1]) % 2 == 0)[:, None]}


def _even_overwritten(x: Tensor) -> Tensor:
    x[:, 2::2] = x[:, 1::2]
    return x


def _last_overwritten(x: Tensor) -> Tensor:
    x[:, -1] = x[:, 0]
    return x


def _by_length(self: Any, x: Tensor, y: Tensor) -> Any:
    order = x.norm(dim=-1).argsort(1)[0]
    return (x + y)[:, order], {"mlp": y, "moved": (x + y)[:, order] - x - y}


def _by_length_and_back(self: Any, x: Tensor, y: Tensor) -> Any:
    order = x.norm(dim=-1).argsort(1)[0]
    return (x[:, order] + y[:, order])[:, order.argsort()], {"mlp": y}


def _mlp_sorted_only(self: Any, x: Tensor, y: Tensor) -> Any:
    order = x.norm(dim=-1).argsort(1)[0]
    return x + y[:, order], {"mlp": y[:, order]}


def _by_scatter(self: Any, x: Tensor, y: Tensor) -> Any:
    to = (torch.arange(7) + 1).clamp_max(6)[None, :, None].expand_as(y)
    moved = torch.zeros_like(y).scatter_add(1, to, y)
    return x + moved, {"moved": moved}


for _way, _change in {
    "h + mlp(h) + shift(h)": lambda self, x, y: (x + y + _shifted(x), {"mlp": y, "shift": _shifted(x)}),
    "h + shift(h)": lambda self, x, y: (x + _shifted(x), {"shift": _shifted(x)}),
    "h + shift(mlp(h))": lambda self, x, y: (x + _shifted(y), {"mlp": _shifted(y)}),
    "h + shift(mlp(h)) by roll": lambda self, x, y: (x + y.roll(1, 1), {"mlp": y.roll(1, 1)}),
    "h + shift(mlp(h)) by cat": lambda self, x, y: (x + _rolled(y), {"mlp": _rolled(y)}),
    "h + shift(mlp(h)) by index": lambda self, x, y: (
        x + y[:, (torch.arange(7) - 1).clamp_min(0)], {"mlp": y[:, (torch.arange(7) - 1).clamp_min(0)]}
    ),
    "h + mlp(h) by cumsum": lambda self, x, y: (x + y.cumsum(1), {"mlp": y.cumsum(1)}),
    "h + mean of mlp(h) so far": lambda self, x, y: (
        x + y.cumsum(1) / torch.arange(1, 8, dtype=y.dtype)[:, None],
        {"mlp": y.cumsum(1) / torch.arange(1, 8, dtype=y.dtype)[:, None]},
    ),
    "h + matrix over tokens @ mlp(h)": lambda self, x, y: (
        x + torch.ones(7, 7, dtype=x.dtype).tril() @ y / 7, {"mlp": torch.ones(7, 7, dtype=x.dtype).tril() @ y / 7}
    ),
    "shift(h) + mlp(h)": lambda self, x, y: (_rolled(x) + y, {"mlp": y, "moved": _rolled(x) - x}),
    "reversed order": lambda self, x, y: ((x + y).flip(1), {"mlp": y, "moved": (x + y).flip(1) - x - y}),
    "o[:, ::2] = ...": _alternating,
    "mlp(h) by scatter_add to the next token": _by_scatter,
    "sorted by length": _by_length,
    "sorted by length and put back": _by_length_and_back,
    "what the MLP wrote sorted, the rest not": _mlp_sorted_only,
    "where: odd tokens take the token before": lambda self, x, y: (
        torch.where((torch.arange(7) % 2 == 1)[:, None], _rolled(x), x) + y,
        {"mlp": y, "moved": torch.where((torch.arange(7) % 2 == 1)[:, None], _rolled(x), x) - x},
    ),
    "half of the coordinates from the token before": lambda self, x, y: (
        torch.cat([x[..., :6], _rolled(x)[..., 6:]], -1) + y,
        {"mlp": y, "moved": torch.cat([x[..., :6], _rolled(x)[..., 6:]], -1) - x},
    ),
}.items():  # fmt: skip
    hostile(MOVED, _way)(_moved(_change))
for _way, _move in {
    "shift(h + mlp(h))": _rolled,
    "o[:, 2::2] = o[:, 1::2]": _even_overwritten,
    "o[:, -1] = o[:, 0]": _last_overwritten,
    "o.index_copy": lambda x: x.index_copy(1, torch.tensor([6]), x[:, :1]),
    "lerp with the token before": lambda x: torch.lerp(x, _rolled(x), 0.3),
}.items():
    hostile(MOVED, _way)(_then(_move))


@hostile(MOVED, "attention's output shifted")
def _() -> Decoder:
    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        pattern = self.pattern(q, k)
        y = _shifted(self.o(merge(pattern @ v)))
        if self.truth.now is not None:
            self.tell(pattern, v)
            heads, values = self.truth.now.attention
            self.truth.heads(lambda: F.pad(heads(), (0, 0, 0, 0, 1, -1)), values)
        return y

    return Decoder(block(attend=attend))


@hostile(MOVED, "attention's input to the projection shifted")
def _() -> Decoder:
    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        pattern = self.pattern(q, k)
        if self.truth.now is not None:
            self.tell(pattern, v)
            heads, values = self.truth.now.attention
            self.truth.heads(lambda: F.pad(heads(), (0, 0, 0, 0, 1, -1)), values)
        return self.o(_shifted(merge(pattern @ v)))

    return Decoder(block(attend=attend))
