"""Unusual shapes and calls: layers that run twice, other orders of axes, axes of equal length, extra positions."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models import D_MLP, HEADS, Block, D, Decoder, block, hostile

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
