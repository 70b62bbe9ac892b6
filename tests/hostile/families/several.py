"""Branches that read several states at once, or other states at other tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..models import Block, Decoder, block, hostile, merge, written
from .evading import _before

SEVERAL = "several states at once, or other states at other tokens"


# ---- several states ----


class Earlier(Decoder):
    def run(self, x: Tensor) -> Tensor:
        earlier = [x]
        for layer in self.layers:
            layer.earlier = earlier
            x = layer(x)
            earlier = [*earlier, x]
        return x


def _from(mix: Callable[[Any, Tensor], Tensor]) -> Callable[[], Decoder]:
    return lambda: Earlier(block(feed=lambda self, h: Block.feed(self, mix(self, h))))


def _place(n: int, first: int) -> Tensor:
    return (torch.arange(n) < first)[:, None]


for _way, _mix in {
    "the embedding for the first four tokens": lambda self, h: torch.where(_place(h.shape[1], 4), self.earlier[0], h),
    "the embedding for the first token": lambda self, h: torch.where(_place(h.shape[1], 1), self.earlier[0], h),
    "the embedding for all but the first token": lambda self, h: torch.where(_place(h.shape[1], 1), h, self.earlier[0]),
    "three states": lambda self, h: h + self.earlier[0] + self.earlier[-1] * 0.3,
    "all states": lambda self, h: h + sum(self.earlier),
    "a thousandth of the embedding": lambda self, h: h + 1e-3 * self.earlier[0],
    "a hundred-thousandth of the embedding": lambda self, h: h + 1e-5 * self.earlier[0],
    "signs of the embedding": lambda self, h: h + 0.1 * self.earlier[0].sign(),
    "the embedding, unseen": lambda self, h: h + torch.from_numpy(self.earlier[0].detach().numpy().copy()),
    "the embedding as a Python list": lambda self, h: h + torch.tensor(self.earlier[0].tolist(), dtype=h.dtype),
    "one coordinate of the embedding": lambda self, h: h + self.earlier[0][..., 3:4],
    "the embedding of the token before": lambda self, h: h + _before(self.earlier[0]),
    "the embedding where the state is small": lambda self, h: torch.where(h.abs() < 0.5, self.earlier[0], h),
}.items():
    hostile(SEVERAL, f"MLP: {_way}")(_from(_mix))


def _carrying(change: Callable[[Any, Tensor], tuple[Tensor, Tensor]]) -> Callable[[], Decoder]:
    """Another stream is kept beside the residual one: what one layer leaves, a later one reads."""

    class Carrying(Decoder):
        def run(self, x: Tensor) -> Tensor:
            left = torch.zeros_like(x)
            for layer in self.layers:
                layer.left = left
                x = layer(x)
                left = layer.leaves
            return x

    def feed(self: Any, h: Tensor) -> Tensor:
        given, self.leaves = change(self, h)
        return Block.feed(self, given)

    return lambda: Carrying(block(feed=feed))


hostile(SEVERAL, "what the last MLP read, left beside the stream")(_carrying(lambda self, h: (h + self.left, h)))
hostile(SEVERAL, "what the last MLP read at the token before")(_carrying(lambda self, h: (h + _before(self.left), h)))
hostile(SEVERAL, "a sum of all that was read")(_carrying(lambda self, h: (h + self.left, h + self.left)))
hostile(SEVERAL, "what the last MLP read, in float32")(_carrying(lambda self, h: (h + self.left.double(), h.float())))


def _values_of(make: Callable[[Any, Tensor], Tensor], told: bool = True) -> Callable[[], Decoder]:
    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(make(self, h)))
        pattern = self.pattern(q, k)
        self.tell(pattern, v)
        return self.o(merge(pattern @ v))

    return lambda: Earlier(block(attend=attend))


hostile(SEVERAL, "values of the embedding for the first four tokens")(
    _values_of(lambda self, h: torch.where(_place(h.shape[1], 4), self.earlier[0], h))
)
hostile(SEVERAL, "values of the embedding, a ten-thousandth")(_values_of(lambda self, h: h + 1e-4 * self.earlier[0]))
hostile(SEVERAL, "values of the embedding, unseen")(
    _values_of(lambda self, h: torch.from_numpy(self.earlier[0].detach().numpy().copy()))
)
hostile(SEVERAL, "values of three states")(_values_of(lambda self, h: h + self.earlier[0] + self.earlier[-1]))


@hostile(SEVERAL, "one head's values from the embedding")
def _() -> Decoder:
    def attend(self: Any, h: Tensor) -> Tensor:
        q, k = self.split(self.q(h)), self.split(self.k(h))
        v = torch.cat([self.split(self.v(h))[:, :1], self.split(self.v(self.norm1(self.earlier[0])))[:, 1:]], 1)
        pattern = self.pattern(q, k)
        self.tell(pattern, v)
        return self.o(merge(pattern @ v))

    return Earlier(block(attend=attend))


@hostile(SEVERAL, "two attentions with one projection, one over the embedding")
def _() -> Decoder:
    def attend(self: Any, h: Tensor) -> Tensor:
        first = self.norm1(self.earlier[0])
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        k2, v2 = self.split(self.k(first)), self.split(self.v(first))
        p, p2 = self.pattern(q, k), self.pattern(q, k2)
        if self.truth.now is not None:
            pairs = [(a[0].clone(), b[0].clone()) for a, b in ((p, v), (p2, v2))]
            self.truth.heads(
                lambda: torch.cat([written(a, b, self.o.weight) for a, b in pairs]),
                lambda: torch.cat([b.transpose(0, 1).flatten(1) for _, b in pairs], 1),
            )
        return self.o(merge(p @ v + p2 @ v2))

    return Earlier(block(attend=attend))


@hostile(SEVERAL, "keys of the first layer beside those of this one")
def _() -> Decoder:
    def attend(self: Any, h: Tensor) -> Tensor:
        n, first = h.shape[1], self.norm1(self.earlier[0])
        q = self.split(self.q(h))
        k, v = (torch.cat([self.split(f(first)), self.split(f(h))], 2) for f in (self.k, self.v))
        seen = torch.ones(n, n, dtype=torch.bool).tril().repeat(1, 2)
        return self.o(merge((q @ k.transpose(-1, -2)).masked_fill(~seen, float("-inf")).softmax(-1) @ v))

    return Earlier(block(attend=attend))
