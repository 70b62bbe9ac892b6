"""Unusual ways to logits, to a sum of the stream and to heads."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import HEADS, VOCAB, Block, D, Decoder, decoder, hostile, merge
from ..oracle import logits_of
from .shapes import CALLS


def _logits(change: Callable[[Tensor], Any]) -> Callable[[], Decoder]:
    class Own(Decoder):
        def forward(self, input_ids: Tensor) -> Any:
            self.truth.begin()
            out = change(self.head(self.norm(self.run(self.embed(input_ids)))))
            self.truth.end(logits_of(out))
            return out

    return Own


for _way, _change in {
    "in an object": lambda y: SimpleNamespace(logits=y),
    "in a tuple with a loss": lambda y: (y, None),
    "as log probabilities": lambda y: y.log_softmax(-1),
    "as probabilities": lambda y: y.softmax(-1),
    "capped by tanh": lambda y: 5 * torch.tanh(y / 5),
    "divided by a temperature": lambda y: y / 0.7,
    "less their largest": lambda y: y - y.amax(-1, keepdim=True),
    "of half of the words": lambda y: y[..., :11],
    "words sorted": lambda y: y.sort(-1).values,
    "in float32": lambda y: y.float(),
    "cloned and masked": lambda y: y.masked_fill(torch.arange(VOCAB) == 3, -1e4),
}.items():
    hostile(CALLS, f"logits {_way}")(_logits(_change))


@hostile(CALLS, "logits of the last position only")
def _() -> Decoder:
    class Last(Decoder):
        def forward(self, input_ids: Tensor) -> Tensor:
            self.truth.begin()
            x = self.norm(self.run(self.embed(input_ids)))
            if self.truth.now is not None:
                self.truth.end(self.head(x))
            return self.head(x[:, [-1], :])

    return Last()


@hostile(CALLS, "the word embedding is the unembedding")
def _() -> Decoder:
    model = Decoder()
    model.head.weight = model.wte.weight
    return model


@hostile(CALLS, "learned tokens before the prompt")
def _() -> Decoder:
    class Prefixed(Decoder):
        def more(self) -> None:
            self.prefix = nn.Parameter(torch.randn(1, 3, D))

        def run(self, x: Tensor) -> Tensor:
            return super().run(torch.cat([self.prefix, x], 1))[:, 3:]

    return Prefixed()


@hostile(CALLS, "the prompt's first token seen twice")
def _() -> Decoder:
    class Twice(Decoder):
        def embed(self, ids: Tensor) -> Tensor:
            return super().embed(torch.cat([ids[:, :1], ids[:, :-1]], 1))

    return Twice()


@hostile(CALLS, "tokens in reversed order inside")
def _() -> Decoder:
    class Reversed(Decoder):
        def forward(self, input_ids: Tensor) -> Tensor:
            self.truth.begin()
            x = self.run(self.embed(input_ids.flip(1)))
            return self.truth.end(self.head(self.norm(x)).flip(1))

    return Reversed()


def _weighted(change: Callable[[Any, Tensor, Tensor], Tensor], more: Callable[[Any], None] = lambda self: None) -> Any:
    """What becomes of x and y where the MLP is added, y as `written` says."""

    def forward(self: Any, x: Tensor) -> Tensor:
        a = self.attend(self.norm1(x))
        self.truth.write("attention", a)
        x = self.truth.state(x + a)
        return change(self, x, self.feed(self.norm2(x)))

    return decoder(forward=forward, more=more)


def _highway(self: Any, x: Tensor, y: Tensor) -> Tensor:
    """The carried state and the MLP share a gate per coordinate, made from the state (a frozen factor)."""
    g = torch.sigmoid(self.gate(x))
    self.truth.write("mlp", g * y)
    return self.truth.state(g * y + (1 - g) * x)


def _gate(self: Any) -> None:
    self.gate = nn.Linear(D, D)


hostile(CALLS, "highway: a gate between x and y")(_weighted(_highway, _gate))


def _overwritten(self: Any, x: Tensor, y: Tensor) -> Tensor:
    self.truth.write("mlp", y)
    self.truth.write("gone", -x)
    return self.truth.state(y)


hostile(CALLS, "no residual: the MLP takes the place of x")(_weighted(_overwritten))


def _multiplied(self: Any, x: Tensor, y: Tensor) -> Tensor:
    self.truth.write("product", x * y - x)
    return self.truth.state(x * y)


hostile(CALLS, "x times the MLP")(_weighted(_multiplied))


def _larger(self: Any, x: Tensor, y: Tensor) -> Tensor:
    self.truth.write("larger", torch.maximum(x, y) - x)
    return self.truth.state(torch.maximum(x, y))


hostile(CALLS, "the larger of x and the MLP")(_weighted(_larger))


def _clamped(self: Any, x: Tensor, y: Tensor) -> Tensor:
    self.truth.write("rest", (x + y).clamp(-2, 2) - x)
    return self.truth.state((x + y).clamp(-2, 2))


hostile(CALLS, "x + MLP, clamped")(_weighted(_clamped))


def _rounded(self: Any, x: Tensor, y: Tensor) -> Tensor:
    out = (x + y).to(torch.float16).double()
    self.truth.write("mlp", out - x)
    return self.truth.state(out)


hostile(CALLS, "x + MLP, rounded to float16")(_weighted(_rounded))


@hostile(CALLS, "two parallel streams")
def _() -> Decoder:
    class Streams(Decoder):
        def run(self, x: Tensor) -> Tensor:
            a, b = x, x.clone()
            for layer in self.layers:
                y = layer.attend(layer.norm1(b))
                a = a + y
                b = b + layer.feed(layer.norm2(a))
            self.truth.write("all", a + b - x)
            return self.truth.state(a + b)

    return Streams()


@hostile(CALLS, "the head count changes inside attention")
def _() -> Decoder:
    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        pattern = self.pattern(q, k)
        z = (pattern @ v).transpose(1, 2).reshape(1, h.shape[1], D // 3, 3).transpose(2, 3).reshape(1, h.shape[1], D)
        if self.truth.now is not None:
            at = torch.arange(D).reshape(D // 3, 3).t().reshape(-1)  # the old coordinate at each new one
            w = self.o.weight[:, at.argsort()].reshape(D, HEADS, -1)
            p, u = pattern[0].clone(), v[0].clone()
            self.truth.heads(lambda: torch.einsum("hqk,hkc,dhc->hqkd", p, u, w), lambda: u.transpose(0, 1).flatten(1))
        return self.o(z)

    return decoder(attend=attend)()


@hostile(CALLS, "z times z")
def _() -> Decoder:
    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        z = merge(self.pattern(q, k) @ v)
        return self.o(z * z)

    return decoder(attend=attend)()


@hostile(CALLS, "an activation between attention and its projection")
def _() -> Decoder:
    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        return self.o(F.gelu(merge(self.pattern(q, k) @ v)))

    return decoder(attend=attend)()


@hostile(CALLS, "LayerNorm over heads before the projection")
def _() -> Decoder:
    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        return self.o(F.layer_norm(merge(self.pattern(q, k) @ v), (D,)))

    return decoder(attend=attend)()


@hostile(CALLS, "attention twice, one after the other, one projection")
def _() -> Decoder:
    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        once = self.pattern(q, k) @ v
        return self.o(merge(self.pattern(k, q) @ once))

    return decoder(attend=attend)()


@hostile(CALLS, "the difference of two patterns")
def _() -> Decoder:
    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        pattern = self.pattern(q, k) - 0.4 * self.pattern(k, q)
        self.tell(pattern, v)
        return self.o(merge(pattern @ v))

    return decoder(attend=attend)()


@hostile(CALLS, "no projection after attention")
def _() -> Decoder:
    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        pattern = self.pattern(q, k)
        if self.truth.now is not None:
            p, u, eye = pattern[0].clone(), v[0].clone(), torch.eye(D, dtype=h.dtype).reshape(D, HEADS, -1)
            self.truth.heads(lambda: torch.einsum("hqk,hkc,dhc->hqkd", p, u, eye), lambda: u.transpose(0, 1).flatten(1))
        return merge(pattern @ v)

    return decoder(attend=attend)()


@hostile(CALLS, "a norm after the projection, over tokens and coordinates")
def _() -> Decoder:
    def attend(self: Any, h: Tensor) -> Tensor:
        y = Block.attend(self, h)
        return F.layer_norm(y, y.shape[1:])

    return decoder(attend=attend, tell=lambda self, p, v: None)()
