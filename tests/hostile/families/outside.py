"""What runs before the first listed layer, between layers, or after the last; and rows moved between tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import VOCAB, Block, D, Decoder, block, decoder, hostile, merge

BEFORE = "before the first listed layer"
AFTER = "after the last listed layer"
MOVED = "rows moved between tokens"


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


def _rolled(x: Tensor) -> Tensor:
    return torch.cat([x[:, :1], x[:, :-1]], 1)


def _alternating(self: Any, x: Tensor, y: Tensor) -> Any:
    out = x.clone()
    out[:, ::2] = (x + y)[:, ::2]
    return out, {"mlp": y * (torch.arange(x.shape[1]) % 2 == 0)[:, None]}


def _even_overwritten(self: Any, x: Tensor, y: Tensor) -> Any:
    out = x + y
    out[:, 2::2] = out[:, 1::2]
    return out, {"mlp": y, "moved": out - x - y}


def _last_overwritten(self: Any, x: Tensor, y: Tensor) -> Any:
    out = x + y
    out[:, -1] = out[:, 0]
    return out, {"mlp": y, "moved": out - x - y}


def _by_length(self: Any, x: Tensor, y: Tensor) -> Any:
    order = x.norm(dim=-1).argsort(1)[0]
    return (x + y)[:, order], {"mlp": y, "moved": (x + y)[:, order] - x - y}


def _by_length_and_back(self: Any, x: Tensor, y: Tensor) -> Any:
    order = x.norm(dim=-1).argsort(1)[0]
    return (x[:, order] + y[:, order])[:, order.argsort()], {"mlp": y}


def _mlp_sorted_only(self: Any, x: Tensor, y: Tensor) -> Any:
    order = x.norm(dim=-1).argsort(1)[0]
    return x + y[:, order], {"mlp": y[:, order]}


def _by_index_copy(self: Any, x: Tensor, y: Tensor) -> Any:
    out = (x + y).index_copy(1, torch.tensor([6]), (x + y)[:, :1])
    return out, {"mlp": y, "moved": out - x - y}


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
    "shift(h + mlp(h))": lambda self, x, y: (_rolled(x + y), {"mlp": y, "moved": _rolled(x + y) - x - y}),
    "reversed order": lambda self, x, y: ((x + y).flip(1), {"mlp": y, "moved": (x + y).flip(1) - x - y}),
    "o[:, ::2] = ...": _alternating,
    "o[:, 2::2] = o[:, 1::2]": _even_overwritten,
    "o[:, -1] = o[:, 0]": _last_overwritten,
    "o.index_copy": _by_index_copy,
    "mlp(h) by scatter_add to the next token": _by_scatter,
    "sorted by length": _by_length,
    "sorted by length and put back": _by_length_and_back,
    "what the MLP wrote sorted, the rest not": _mlp_sorted_only,
    "lerp with the token before": lambda self, x, y: (
        torch.lerp(x + y, _rolled(x + y), 0.3), {"mlp": y, "moved": 0.3 * (_rolled(x + y) - x - y)}
    ),
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
