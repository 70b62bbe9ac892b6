"""Unusual shapes and calls: layers that run twice, other orders of axes, axes of equal length, extra positions."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import D_MLP, HEADS, VOCAB, Block, D, Decoder, block, decoder, hostile, merge
from ..oracle import logits_of

CALLS = "unusual layers and calls"
EQUAL = "control: axes of equal length, short prompts"
USUAL = " ".join(3 * ["attention mlp"])

# ---- axes of equal length ----

for _way, _make in {
    "as many tokens as d_model": lambda: Decoder(lambda: Block(8, 2, D_MLP), d=8),
    "as many tokens as d_head": lambda: Decoder(lambda: Block(16, 2, D_MLP), d=16),
    "as many tokens as heads": lambda: Decoder(lambda: Block(32, 8, D_MLP), d=32),
    "as many tokens as neurons": lambda: Decoder(lambda: Block(D, HEADS, 8)),
    "as many tokens as layers": lambda: Decoder(layers=8),
    "as many neurons as d_model": lambda: Decoder(lambda: Block(D, HEADS, D)),
    "as many words as d_model": lambda: Decoder(lambda: Block(24, HEADS, D_MLP), d=24, vocab=24),
    "one head": lambda: Decoder(lambda: Block(D, 1, D_MLP)),
    "one number per head": lambda: Decoder(lambda: Block(D, D, D_MLP)),
    "one neuron": lambda: Decoder(lambda: Block(D, HEADS, 1)),
    "all of length 8": lambda: Decoder(lambda: Block(8, 8, 8), d=8, layers=8),
}.items():
    _n = 8 if "layers" in _way or "all of" in _way else 3
    hostile(EQUAL, _way, ids=(3, 11, 7, 19, 2, 14, 8, 5), labels=" ".join(_n * ["attention mlp"]))(_make)
for _ids in ((3,), (3, 11), (5, 5, 5), (0, 0), (22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12)):
    hostile(EQUAL, f"a prompt of {len(_ids)}, {_ids[0]} first", ids=_ids, labels=USUAL)(Decoder)


# ---- layers and calls ----


@hostile(CALLS, "one layer that runs three times")
def _() -> Decoder:
    class Again(Decoder):
        def run(self, x: Tensor) -> Tensor:
            for _ in range(3):
                x = self.layers[0](x)
            return x

    return Again(layers=1)


@hostile(CALLS, "layers that run in another order")
def _() -> Decoder:
    class Ordered(Decoder):
        def run(self, x: Tensor) -> Tensor:
            for i in (2, 0, 1):
                x = self.layers[i](x)
            return x

    return Ordered()


@hostile(CALLS, "the same module twice in the list")
def _() -> Decoder:
    model = Decoder()
    model.layers[2] = model.layers[0]
    return model


@hostile(CALLS, "a layer that is never called")
def _() -> Decoder:
    class Lazy(Decoder):
        def run(self, x: Tensor) -> Tensor:
            return self.layers[2](self.layers[0](x))

    return Lazy()


@hostile(CALLS, "layers beside each other, summed")
def _() -> Decoder:
    class Beside(Decoder):
        def run(self, x: Tensor) -> Tensor:
            out = x
            for layer in self.layers:
                y = layer.feed(layer.norm2(x))
                out = out + y
                self.truth.write("branch", y)
            return self.truth.state(out)

    return Beside()


@hostile(CALLS, "two towers, one after the other in the list")
def _() -> Decoder:
    class Towers(Decoder):
        def run(self, x: Tensor) -> Tensor:
            a = self.layers[0](x.clone())
            b = self.layers[1](x.clone())
            y = b
            self.truth.write("other", y)
            return self.layers[2](self.truth.state(a + y))

    return Towers()


@hostile(CALLS, "a layer whose first step is another layer")
def _() -> Decoder:
    class Inside(Decoder):
        def run(self, x: Tensor) -> Tensor:
            return self.layers[2](x)

    def forward(self: Any, x: Tensor) -> Tensor:
        if self.number:
            x = self.inner[0](x)
        return Block.forward(self, x)

    model = Inside(block(forward=forward))
    for a, b in zip(model.layers, list(model.layers)[1:], strict=False):
        b.inner = [a]
    return model


class _Returns(Decoder):
    def run(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            out = layer(x)
            x = self.taken(out)
        return x

    taken: Callable[[Any], Tensor]


def _returned(give: Callable[[Tensor], Any], take: Callable[[Any], Tensor]) -> Callable[[], Decoder]:
    def forward(self: Any, x: Tensor) -> Any:
        return give(Block.forward(self, x))

    return lambda: type("Own", (_Returns,), {"taken": lambda self, out: take(out)})(block(forward=forward))


for _way, _give, _take in (
    ("a tuple", lambda x: (x,), lambda out: out[0]),
    ("a tuple, the stream second", lambda x: (x.mean(), x), lambda out: out[1]),
    ("a tuple, another tensor like it first", lambda x: (x * 0.5, x), lambda out: out[1]),
    ("a tuple, its double last", lambda x: (x, 2 * x), lambda out: out[0]),
    ("a list", lambda x: [x], lambda out: out[0]),
    ("a dictionary", lambda x: {"hidden_states": x}, lambda out: out["hidden_states"]),
    ("an object", lambda x: SimpleNamespace(hidden_states=x), lambda out: out.hidden_states),
    ("an object with another name", lambda x: SimpleNamespace(h=x), lambda out: out.h),
    ("None, and writes in place", lambda x: None, lambda out: out),
    ("an expanded view", lambda x: x.expand(1, -1, -1), lambda out: out),
    ("a transposed view", lambda x: x.transpose(0, 1), lambda out: out.transpose(0, 1)),
    ("rows only", lambda x: x[0], lambda out: out[None]),
    ("rows only, batch last", lambda x: x[0][..., None], lambda out: out[..., 0][None]),
):  # fmt: skip
    if not _way.startswith("None"):
        hostile(CALLS, f"a layer returns {_way}")(_returned(_give, _take))


@hostile(CALLS, "a layer returns nothing, and writes in place")
def _() -> Decoder:
    class InPlace(Decoder):
        def run(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                layer(x)
            return x

    def forward(self: Any, x: Tensor) -> None:
        for name, norm, branch in (("attention", self.norm1, self.attend), ("mlp", self.norm2, self.feed)):
            y = branch(norm(x))
            self.truth.write(name, y)
            x += y
            self.truth.state(x)

    return InPlace(block(forward=forward))


def _apart(join: bool) -> Callable[[], Decoder]:
    """The stream and what is to be added travel apart, as where norms and additions are fused."""

    class Apart(Decoder):
        def run(self, x: Tensor) -> Tensor:
            h, rest = x, None
            for layer in self.layers:
                h, rest = layer(h, rest)
            return self.truth.state(h + rest)

    def forward(self: Any, h: Tensor, rest: Tensor | None) -> tuple[Tensor, Tensor]:
        rest = h if rest is None else self.truth.state(h + rest)
        a = self.attend(self.norm1(rest))
        self.truth.write("attention", a)
        rest = self.truth.state(rest + a)
        m = self.feed(self.norm2(rest))
        self.truth.write("mlp", m)
        return m, rest

    return lambda: Apart(block(forward=forward))


hostile(CALLS, "the stream and the last branch travel apart")(_apart(True))


class _Axes(Decoder):
    """The stream in another order of axes between the layers."""

    there: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]

    def run(self, x: Tensor) -> Tensor:
        x = type(self).there(x)
        for layer in self.layers:
            x = layer(x)
        return type(self).back(x)


for _way, _there, _back in (
    ("tokens first", lambda x: x.transpose(0, 1), lambda x: x.transpose(0, 1)),
    ("tokens first, contiguous", lambda x: x.transpose(0, 1).contiguous(), lambda x: x.transpose(0, 1)),
    ("coordinates before tokens", lambda x: x.transpose(1, 2), lambda x: x.transpose(1, 2)),
    ("no batch", lambda x: x[0], lambda x: x[None]),
    ("one axis more", lambda x: x[:, None], lambda x: x[:, 0]),
    ("two batches", lambda x: x.expand(2, -1, -1), lambda x: x[:1]),
    ("flat", lambda x: x.flatten(), lambda x: x.view(1, -1, D)),
    ("reversed tokens", lambda x: x.flip(1), lambda x: x.flip(1)),
    ("one more token, padded", lambda x: F.pad(x, (0, 0, 0, 1)), lambda x: x[:, :-1]),
    ("four more tokens before", lambda x: F.pad(x, (0, 0, 4, 0)), lambda x: x[:, 4:]),
    ("twice the tokens", lambda x: torch.cat([x, x], 1), lambda x: x[:, :7]),
):

    def _forward(self: Any, x: Tensor, there: Any = _there, back: Any = _back) -> Tensor:
        return there(Block.forward(self, back(x)))

    hostile(CALLS, f"the stream has {_way}")(
        lambda f=_forward, t=_there, b=_back: type(
            "Own", (_Axes,), {"there": staticmethod(t), "back": staticmethod(b)}
        )(block(forward=f))
    )


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
            return self.truth.end(self.head(x[:, [-1], :]))

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
