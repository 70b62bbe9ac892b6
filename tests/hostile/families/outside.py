"""What runs before the first listed layer, between layers, or after the last; and rows moved between tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import VOCAB, Block, D, Decoder, hostile

BEFORE = "before the first listed layer"
AFTER = "after the last listed layer"


class Other(Block):
    """The same block by another name, so that it is no layer of the list's kind."""


class First(Decoder):
    def more(self) -> None:
        self.first = Other()

    def run(self, x: Tensor) -> Tensor:
        return super().run(self.first(x))


hostile(BEFORE, "a block of its own")(First)
hostile(BEFORE, "a block, layers given", layers=lambda m: list(m.layers))(First)
hostile(BEFORE, "layers=m.layers[1:]", layers=lambda m: list(m.layers[1:]))(Decoder)
hostile(BEFORE, "layers=m.layers[2:]", layers=lambda m: list(m.layers[2:]))(Decoder)
hostile(BEFORE, "layers=m.layers[::2]", layers=lambda m: list(m.layers[::2]))(Decoder)
hostile(BEFORE, "a list of another class before")(
    lambda: type("Two", (Decoder,), {
        "more": lambda self: setattr(self, "early", nn.ModuleList([Other(), Other()])),
        "run": lambda self, x: Decoder.run(self, self.early[1](self.early[0](x))),
    })()
)  # fmt: skip


class Prepared(Decoder):
    """Something else is done to the embedding, and is added or takes its place."""

    change: Callable[[Any, Tensor], Tensor]

    def embed(self, ids: Tensor) -> Tensor:
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        return self.truth.state(self.change(x))


def _prepared(change: Callable[[Any, Tensor], Tensor], more: Callable[[Any], None] = lambda self: None) -> Any:
    return lambda: type("Own", (Prepared,), {"change": change, "more": more})()


def _with(name: str, make: Callable[[], nn.Module]) -> Callable[[Any], None]:
    return lambda self: setattr(self, name, make())


hostile(BEFORE, "a GRU")(
    _prepared(lambda self, x: self.rnn(x)[0], _with("rnn", lambda: nn.GRU(D, D, batch_first=True)))
)
hostile(BEFORE, "an LSTM beside the embedding")(
    _prepared(lambda self, x: x + self.rnn(x)[0], _with("rnn", lambda: nn.LSTM(D, D, batch_first=True)))
)
hostile(BEFORE, "a convolution")(
    _prepared(
        lambda self, x: self.conv(F.pad(x.transpose(1, 2), (2, 0))).transpose(1, 2),
        _with("conv", lambda: nn.Conv1d(D, D, 3)),
    )
)
hostile(BEFORE, "a convolution beside the embedding")(
    _prepared(
        lambda self, x: x + self.conv(F.pad(x.transpose(1, 2), (2, 0))).transpose(1, 2),
        _with("conv", lambda: nn.Conv1d(D, D, 3, groups=D)),
    )
)
hostile(BEFORE, "the token before, shifted and added (smear)")(
    _prepared(lambda self, x: torch.cat([x[:, :1], x[:, 1:] + 0.3 * x[:, :-1]], 1))
)
hostile(BEFORE, "the token before, by a gate from the token")(
    _prepared(
        lambda self, x: x + torch.sigmoid(self.gate(x)) * F.pad(x, (0, 0, 1, -1)),
        _with("gate", lambda: nn.Linear(D, 1)),
    )
)
hostile(BEFORE, "running mean")(_prepared(lambda self, x: x.cumsum(1) / torch.arange(1, 8, dtype=x.dtype)[:, None]))
hostile(BEFORE, "numbers scaled by the mean of the prompt")(_prepared(lambda self, x: x / x.std()))
hostile(BEFORE, "normalised over tokens")(_prepared(lambda self, x: x / x.std(1, keepdim=True)))
hostile(BEFORE, "attention by a call that is not seen", untrue="after the last")(
    _prepared(
        lambda self, x: x + torch.from_numpy(F.scaled_dot_product_attention(x, x, x, is_causal=True).detach().numpy())
    )
)
hostile(BEFORE, "attention without maps", untrue="after the last")(
    _prepared(lambda self, x: x + F.scaled_dot_product_attention(x, x, x, is_causal=True))
)


@hostile(BEFORE, "embeddings of pairs of tokens (n-grams)")
def _() -> Decoder:
    class Pairs(Decoder):
        def more(self) -> None:
            self.pairs = nn.Embedding(31, D)

        def embed(self, ids: Tensor) -> Tensor:
            pair = (ids * 5 + F.pad(ids, (1, -1)) * 3) % 31
            return self.truth.state(self.wte(ids) + self.pairs(pair) + self.wpe(torch.arange(ids.shape[1])))

    return Pairs()


@hostile(BEFORE, "embedding of the token before")
def _() -> Decoder:
    class Late(Decoder):
        def embed(self, ids: Tensor) -> Tensor:
            return self.truth.state(self.wte(F.pad(ids, (1, -1))) + self.wpe(torch.arange(ids.shape[1])))

    return Late()


@hostile(BEFORE, "positions that count the same tokens before")
def _() -> Decoder:
    class Counted(Decoder):
        def embed(self, ids: Tensor) -> Tensor:
            seen = (ids[0, :, None] == ids[0, None, :]).tril(-1).sum(-1) + (ids[0] > 9).cumsum(0)
            return self.truth.state(self.wte(ids) + self.wpe(seen))

    return Counted()


# ---- after the last layer ----


class Last(Decoder):
    def more(self) -> None:
        self.last = Other()

    def run(self, x: Tensor) -> Tensor:
        return self.last(super().run(x))


hostile(AFTER, "a block of its own")(Last)
hostile(AFTER, "a block, layers given", layers=lambda m: list(m.layers))(Last)
hostile(AFTER, "layers=m.layers[:-1]", layers=lambda m: list(m.layers[:-1]))(Decoder)
hostile(AFTER, "layers=m.layers[:1]", layers=lambda m: list(m.layers[:1]))(Decoder)
hostile(AFTER, "a list of another class after")(
    lambda: type("Two", (Decoder,), {
        "more": lambda self: setattr(self, "late", nn.ModuleList([Other(), Other()])),
        "run": lambda self, x: self.late[1](self.late[0](Decoder.run(self, x))),
    })()
)  # fmt: skip


class Finished(Decoder):
    """Something else happens between the last state and the logits."""

    change: Callable[[Any, Tensor], Tensor]

    def forward(self, input_ids: Tensor) -> Tensor:
        self.truth.begin()
        x = self.run(self.embed(input_ids))
        return self.truth.end(self.change(x))


def _finished(change: Callable[[Any, Tensor], Tensor], more: Callable[[Any], None] = lambda self: None) -> Any:
    return lambda: type("Own", (Finished,), {"change": change, "more": more})()


def _shifted(x: Tensor) -> Tensor:
    return F.pad(x, (0, 0, 1, -1))


hostile(AFTER, "the last state of the token before")(_finished(lambda self, x: self.head(self.norm(_shifted(x)))))
hostile(AFTER, "the last state of the token before, added")(
    _finished(lambda self, x: self.head(self.norm(x + _shifted(x))))
)
hostile(AFTER, "the normalised state of the token before, added")(
    _finished(lambda self, x: self.head(self.norm(x) + 0.5 * _shifted(self.norm(x))))
)
hostile(AFTER, "logits of the token before, added")(
    _finished(lambda self, x: (lambda y: y + 0.3 * _shifted(y))(self.head(self.norm(x))))
)
hostile(AFTER, "logits less their mean over tokens")(
    _finished(lambda self, x: (lambda y: y - y.mean(1, keepdim=True))(self.head(self.norm(x))))
)
hostile(AFTER, "logits scaled by the largest of all tokens")(
    _finished(lambda self, x: (lambda y: y / y.abs().max())(self.head(self.norm(x))))
)
hostile(AFTER, "a GRU")(
    _finished(
        lambda self, x: self.head(self.rnn(self.norm(x))[0]), _with("rnn", lambda: nn.GRU(D, D, batch_first=True))
    )
)
hostile(AFTER, "a convolution")(
    _finished(
        lambda self, x: self.head(self.norm(x) + self.conv(F.pad(x.transpose(1, 2), (1, 0))).transpose(1, 2)),
        _with("conv", lambda: nn.Conv1d(D, D, 2)),
    )
)
hostile(AFTER, "attention without maps")(
    _finished(lambda self, x: self.head(F.scaled_dot_product_attention(*3 * [self.norm(x)], is_causal=True)))
)
hostile(AFTER, "attention by numpy")(
    _finished(
        lambda self, x: self.head(
            torch.from_numpy(F.scaled_dot_product_attention(*3 * [self.norm(x)], is_causal=True).detach().numpy())
        )
    )
)
hostile(AFTER, "running mean")(
    _finished(lambda self, x: self.head(self.norm(x.cumsum(1) / torch.arange(1, 8, dtype=x.dtype)[:, None])))
)
hostile(AFTER, "normalised over tokens")(_finished(lambda self, x: self.head(x / x.std(1, keepdim=True))))


@hostile(AFTER, "a copy head: logits of tokens seen before")
def _() -> Decoder:
    class Copying(Decoder):
        def forward(self, input_ids: Tensor) -> Tensor:
            self.truth.begin()
            seen = F.one_hot(input_ids, VOCAB).to(self.head.weight).cumsum(1)
            return self.truth.end(self.head(self.norm(self.run(self.embed(input_ids)))) + seen)

    return Copying()


@hostile(AFTER, "attention over the embedding, in the read-out")
def _() -> Decoder:
    class Copies(Decoder):
        def forward(self, input_ids: Tensor) -> Tensor:
            self.truth.begin()
            first = self.embed(input_ids)
            x = self.run(first.clone())
            seen = F.scaled_dot_product_attention(x, first, first, is_causal=True)
            return self.truth.end(self.head(self.norm(x) + seen))

    return Copies()


@hostile(AFTER, "the embedding, added before the final norm")
def _() -> Decoder:
    class Skips(Decoder):
        def forward(self, input_ids: Tensor) -> Tensor:
            self.truth.begin()
            first = self.embed(input_ids)
            return self.truth.end(self.head(self.norm(self.run(first.clone()) + first)))

    return Skips()


@hostile(AFTER, "something is done between two layers")
def _() -> Decoder:
    class Between(Decoder):
        def run(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                y = _shifted(x)
                self.truth.write("shift", y)
                x = layer(self.truth.state(x + y))
            return x

    return Between()


@hostile(AFTER, "an unseen MLP between two layers")
def _() -> Decoder:
    class Between(Decoder):
        def more(self) -> None:
            self.beside = nn.Linear(D, D)

        def run(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                y = self.beside(x).tanh()
                self.truth.write("beside", y)
                x = layer(self.truth.state(torch.from_numpy(x.detach().numpy() + y.detach().numpy())))
            return x

    return Between()
