"""A small decoder in pieces that a hostile model replaces one by one, and the list of all such models."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .truth import Truth

IDS = (3, 11, 7, 19, 2, 14, 8)
OTHER = (5, 1, 16, 9, 12, 20, 4)
D, HEADS, LAYERS, D_MLP, VOCAB = 12, 2, 3, 20, 23


@dataclass(frozen=True)
class Case:
    """One hostile model: how to make it, and what a user does with it before it is recorded."""

    family: str
    way: str
    make: Callable[[], Any]
    ids: tuple[int, ...] = IDS
    layers: Callable[[Any], list[nn.Module]] | None = None  # what the user passes as layers
    before: Callable[[Any], Any] | None = None  # what the user does to the model before load_model
    after: Callable[[Any], Any] | None = None  # and after
    first: tuple[int, ...] = ()  # a prompt that is recorded before
    between: Callable[[Any], Any] | None = None  # what the user does to the model between the two
    labels: str = ""  # of a model that must be accepted: its parts, state by state
    untrue: str = ""  # what a refusal must not say (a pattern)
    says: str = ""  # what a refusal must say (a pattern)
    by_prompt: bool = False  # which layers run depends on the tokens, and may
    memory: bool = False  # what the model does depends on its earlier calls

    def __str__(self) -> str:
        return f"{self.family}: {self.way}"

    def build(self) -> Any:
        """The model with random weights, always the same, gains and biases not zero."""
        torch.manual_seed(zlib.crc32(str(self).encode()) % 100_000)
        model = self.make().eval()
        for m in model.modules():
            m.truth = model.truth
        return model


CASES: list[Case] = []


def hostile(family: str, way: str, **fields: Any) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Puts a function that makes a model on the list."""

    def add(make: Callable[[], Any]) -> Callable[[], Any]:
        CASES.append(Case(family, way, make, **fields))
        return make

    return add


def random(*modules: nn.Module) -> None:
    """Weights for which values stay near 1, gains and biases that matter."""
    for m in modules:
        for name, p in m.named_parameters():
            with torch.no_grad():
                if p.ndim < 2:
                    p.copy_(torch.randn_like(p) * 0.3 + (1 if "norm" in name and name.endswith("weight") else 0))
                else:
                    p.copy_(torch.randn_like(p) * p.shape[-1] ** -0.5 * 1.4)


def causal(score: Tensor) -> Tensor:
    n, m = score.shape[-2:]
    return score.masked_fill(torch.ones(n, m, dtype=torch.bool).triu(1 + m - n), float("-inf")).softmax(-1)


def merge(z: Tensor) -> Tensor:
    """[1, head, pos, d_head] -> [1, pos, head * d_head]"""
    return z.transpose(1, 2).reshape(1, z.shape[2], -1)


def written(pattern: Tensor, v: Tensor, weight: Tensor) -> Tensor:
    """What attention adds, by its formula: pattern, v -> [head, query, key, d]."""
    w = weight.reshape(weight.shape[0], v.shape[0], v.shape[2])  # [d, head, d_head]
    return torch.einsum("hqk,hkc,dhc->hqkd", pattern, v, w)


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed(norm(x)): a model replaces what it wants to write otherwise."""

    truth: Truth
    number: int
    edit: Callable[[Tensor], Tensor] | None = None  # what a user's hook makes of [head, query, key, d]

    def __init__(self, d: int = D, heads: int = HEADS, d_mlp: int = D_MLP) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))
        self.up, self.down = nn.Linear(d, d_mlp), nn.Linear(d_mlp, d)
        self.more()

    def more(self) -> None:
        """Further modules."""

    def forward(self, x: Tensor) -> Tensor:
        a = self.attend(self.norm1(x))
        self.truth.write("attention", a)
        x = self.truth.state(x + a)
        m = self.feed(self.norm2(x))
        self.truth.write("mlp", m)
        return self.truth.state(x + m)

    def split(self, x: Tensor) -> Tensor:
        """[1, pos, d] -> [1, head, pos, d_head]"""
        return x.view(1, x.shape[1], self.heads, -1).transpose(1, 2)

    def attend(self, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        pattern = self.pattern(q, k)
        z = pattern @ v
        self.tell(pattern, v)
        return self.o(merge(z))

    def pattern(self, q: Tensor, k: Tensor) -> Tensor:
        return causal(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5)

    def tell(self, pattern: Tensor, v: Tensor) -> None:
        """What the next write is made of: `v` [1, head, token, d_head] by this pattern."""
        if self.truth.now is not None:
            p, u = pattern.detach()[0].double(), v.detach()[0].double()
            p, u = p.clone(), u.clone()
            self.told = p, u
            edit = self.edit or (lambda heads: heads)
            self.truth.heads(lambda: edit(written(p, u, self.o.weight.double())), lambda: u.transpose(0, 1).flatten(1))

    def feed(self, h: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(h)))


class Decoder(nn.Module):
    """Tokens and positions in, blocks in a list, logits out."""

    def __init__(
        self, block: Callable[[], nn.Module] = Block, *, d: int = D, layers: int = LAYERS, vocab: int = VOCAB
    ) -> None:
        super().__init__()
        self.truth = Truth()
        self.wte, self.wpe = nn.Embedding(vocab, d), nn.Embedding(64, d)
        self.layers = nn.ModuleList(block() for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, vocab)
        self.more()
        random(self)
        for i, layer in enumerate(self.layers):
            layer.number = i
        self.double()

    def more(self) -> None:
        """Further modules."""

    def embed(self, ids: Tensor) -> Tensor:
        return self.truth.state(self.wte(ids) + self.wpe(torch.arange(ids.shape[1])))

    def run(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x

    def forward(self, input_ids: Tensor) -> Tensor:
        self.truth.begin()
        return self.truth.end(self.head(self.norm(self.run(self.embed(input_ids)))))


def block(**methods: Any) -> type[Block]:
    """A Block with some methods replaced."""
    return type("OwnBlock", (Block,), methods)


def decoder(**methods: Any) -> Callable[[], Decoder]:
    """Makes decoders whose blocks have some methods replaced."""
    return lambda: Decoder(block(**methods))
