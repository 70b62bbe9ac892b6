"""Right models in other words: the same sums by calls that hand-written decoders make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import HEADS, Block, D, Decoder, causal, decoder, hostile, merge
from .control import USUAL

ADDED = "other words: how a branch is added"
MAPPED = "other words: how a map is written"
ATTENDED = "other words: how attention is written"
LOGITS = "other words: the logits"


# ---- how a branch is added ----


def _added(add: Callable[[Tensor, Tensor], Tensor], factor: float = 1.0, stays: float = 1.0) -> Callable[[], Decoder]:
    """Blocks that make `stays * x + factor * branch` with this call."""

    def forward(self: Any, x: Tensor) -> Tensor:
        for name, norm, branch in (("attention", self.norm1, self.attend), ("mlp", self.norm2, self.feed)):
            y = branch(norm(x))
            if self.truth.now is not None and self.truth.now.attention is not None:
                heads, values = self.truth.now.attention
                told = heads()
                self.truth.heads(lambda told=told: told * factor, values)  # type: ignore[misc]
            self.truth.write(name, y, through=lambda v: v * factor)
            x = self.truth.state(add(x, y), carried=x if stays != 1 else None)
        return x

    return decoder(forward=forward)


def _written(x: Tensor, y: Tensor) -> Tensor:
    out = torch.empty_like(x)
    torch.add(x, y, out=out)
    return out


def _copied(x: Tensor, y: Tensor) -> Tensor:
    return x.index_copy(1, torch.arange(x.shape[1]), x + y)


def _half_copied(x: Tensor, y: Tensor) -> Tensor:
    return (x + y).index_copy(1, torch.tensor([0, 3]), (x + y)[:, [0, 3]])


def _filled(x: Tensor, y: Tensor) -> Tensor:
    out = torch.empty_like(x)
    out[:, :3] = x[:, :3] + y[:, :3]
    out[:, 3:] = x[:, 3:] + y[:, 3:]
    return out


def _by_rows(x: Tensor, y: Tensor) -> Tensor:
    index = torch.arange(x.shape[1])[None, :, None].expand_as(x)
    return x.scatter_add(1, index, y)


for _way, _add in {
    "torch.add": torch.add,
    "torch.add with out=": _written,
    "torch.add into the branch": lambda x, y: torch.add(x, y, out=y),
    "add with alpha": lambda x, y: torch.add(x, y * 2, alpha=0.5),
    "sub of the negative": lambda x, y: x - (-y),
    "rsub": lambda x, y: torch.rsub(-x, y),
    "addcmul": lambda x, y: torch.addcmul(x, y, torch.full_like(y, 0.5), value=2),
    "addcdiv": lambda x, y: torch.addcdiv(x, y, torch.full_like(y, 2.0), value=2),
    "sum of a stack": lambda x, y: torch.stack([x, y]).sum(0),
    "sum of a cat": lambda x, y: torch.cat([x, y]).sum(0, keepdim=True),
    "Python's sum": lambda x, y: sum([x, y]),  # type: ignore[arg-type, return-value]
    "index_copy of all tokens": _copied,
    "index_copy of some tokens": _half_copied,
    "index_add over tokens": lambda x, y: x.index_add(1, torch.arange(x.shape[1]), y),
    "scatter_add over tokens": _by_rows,
    "rows put into empty memory": _filled,
    "where, both sides": lambda x, y: torch.where(torch.ones(x.shape[1], 1, dtype=torch.bool), x + y, x),
    "where, with zeros": lambda x, y: x + torch.where(y == y, y, torch.zeros_like(y)),
    "where, with the number 0": lambda x, y: x + torch.where(y == y, y, 0.0),
    "torch.ops.aten.add": lambda x, y: torch.ops.aten.add.Tensor(x, y),
    "without the batch axis": lambda x, y: (x[0] + y[0])[None],
    "movedim and back": lambda x, y: (x.movedim(1, 0) + y.movedim(1, 0)).movedim(0, 1),
    "accumulated in place": lambda x, y: x.clone().add_(y),
    "clone and +=": lambda x, y: torch.clone(x).__iadd__(y),
    "in float64 and back": lambda x, y: (x.double() + y.double()).to(x.dtype),
}.items():
    hostile(ADDED, _way, labels=USUAL)(_added(_add))

# These need not be read, but what is said of them must be true.
for _way, _add in {
    "einsum of a stack": lambda x, y: torch.einsum("sbtd,s->btd", torch.stack([x, y]), torch.ones(2, dtype=x.dtype)),
    "flat": lambda x, y: (x.flatten() + y.flatten()).view_as(x),
    "by a convolution": lambda x, y: F.conv1d(torch.stack([x, y], 2).flatten(0, 1), torch.ones(1, 2, 1).to(x))[
        None, :, 0
    ],
}.items():
    hostile(ADDED, _way)(_added(_add))

for _way, _add, _factor, _stays in (
    ("lerp with a number", lambda x, y: torch.lerp(x, y, 0.3), 0.3, 0.7),
    ("lerp with a tensor", lambda x, y: torch.lerp(x, y, torch.full((D,), 0.3, dtype=x.dtype)), 0.3, 0.7),
    ("lerp as a method, in place", lambda x, y: x.clone().lerp_(y, 0.3), 0.3, 0.7),
    ("lerp to the sum", lambda x, y: x.lerp(x + y, 0.3), 0.3, 1.0),
    ("average", lambda x, y: torch.stack([x, y]).mean(0), 0.5, 0.5),
):
    hostile(ADDED, _way, labels=USUAL)(_added(_add, _factor, _stays))


# ---- how a map is written ----


def _mapped(down: Callable[[Any, Tensor], Tensor]) -> Callable[[], Decoder]:
    def feed(self: Any, h: Tensor) -> Tensor:
        return down(self.down, F.gelu(self.up(h)))

    return decoder(feed=feed)


for _way, _down in {
    "F.linear": lambda m, z: F.linear(z, m.weight, m.bias),
    "matmul and add": lambda m, z: z @ m.weight.T + m.bias,
    "matmul with out=": lambda m, z: torch.matmul(z[0], m.weight.T, out=z.new_empty(z.shape[1], D))[None] + m.bias,
    "mm with out=": lambda m, z: torch.mm(z[0], m.weight.T, out=z.new_empty(z.shape[1], D))[None] + m.bias,
    "addmm": lambda m, z: torch.addmm(m.bias, z[0], m.weight.T)[None],
    "addmm with beta": lambda m, z: torch.addmm(m.bias, z[0], m.weight.T, beta=0.5)[None] + m.bias / 2,
    "addmm with beta and alpha": lambda m, z: torch.addmm(m.bias * 2, z[0], m.weight.T * 4, beta=0.5, alpha=0.25)[None],
    "addmm with alpha, as a method": lambda m, z: (m.bias.expand(z.shape[1], D).addmm(z[0] * 2, m.weight.T, alpha=0.5))[
        None
    ],
    "baddbmm": lambda m, z: torch.baddbmm(m.bias, z, m.weight.T[None]),
    "bmm": lambda m, z: torch.bmm(z, m.weight.T[None]) + m.bias,
    "einsum": lambda m, z: torch.einsum("btm,dm->btd", z, m.weight) + m.bias,
    "einsum without dots": lambda m, z: torch.einsum("...m,dm->...d", z, m.weight) + m.bias,
    "tensordot": lambda m, z: torch.tensordot(z, m.weight, dims=([2], [1])) + m.bias,
    "inner": lambda m, z: torch.inner(z, m.weight) + m.bias,
    "weight first": lambda m, z: (m.weight @ z.mT).mT + m.bias,
    "a convolution of width 1": lambda m, z: F.conv1d(z.mT, m.weight[..., None], m.bias).mT,
    "token by token": lambda m, z: torch.stack([m(z[:, t]) for t in range(z.shape[1])], 1),
}.items():
    hostile(MAPPED, _way, labels=USUAL)(_mapped(_down))

for _way, _down in {
    "in two halves": lambda m, z: z[..., :8] @ m.weight.T[:8] + z[..., 8:] @ m.weight.T[8:] + m.bias,
    "outputs in two halves": lambda m, z: torch.cat([z @ m.weight.T[:, :5], z @ m.weight.T[:, 5:]], -1) + m.bias,
    "ones beside the neurons": lambda m, z: (
        torch.cat([z, z.new_ones(1, z.shape[1], 1)], -1) @ torch.cat([m.weight.T, m.bias[None]])
    ),
}.items():
    hostile(MAPPED, _way)(_mapped(_down))


@hostile(MAPPED, "both maps of the MLP are convolutions", labels=USUAL)
def _() -> Decoder:
    def feed(self: Any, h: Tensor) -> Tensor:
        z = F.gelu(F.conv1d(h.mT, self.up.weight[..., None], self.up.bias))
        return F.conv1d(z, self.down.weight[..., None], self.down.bias).mT

    return decoder(feed=feed)()


@hostile(MAPPED, "addmm onto the stream", labels=USUAL)
def _() -> Decoder:
    def forward(self: Any, x: Tensor) -> Tensor:
        a = self.attend(self.norm1(x))
        self.truth.write("attention", a)
        x = self.truth.state(x + a)
        z = F.gelu(self.up(self.norm2(x)))
        if self.truth.now is not None:
            self.truth.write("mlp", self.down(z))
        return self.truth.state(torch.addmm(x[0], z[0], self.down.weight.T)[None] + self.down.bias)

    return decoder(forward=forward)()


# ---- how attention is written ----


def _attended(attend: Callable[[Any, Tensor, Tensor, Tensor, Tensor], Tensor]) -> Callable[[], Decoder]:
    """attend(block, pattern, q, k, v) gives z [1, pos, d] before the projection."""

    def whole(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        pattern = self.pattern(q, k)
        self.tell(pattern, v)
        return self.o(attend(self, pattern, q, k, v))

    return decoder(attend=whole)


def _head_by_head(_m: Any, pattern: Tensor, _q: Tensor, _k: Tensor, v: Tensor) -> Tensor:
    return torch.cat([pattern[:, h] @ v[:, h] for h in range(HEADS)], -1)


def _into_memory(_m: Any, pattern: Tensor, _q: Tensor, _k: Tensor, v: Tensor) -> Tensor:
    out = torch.empty_like(v)
    torch.matmul(pattern, v, out=out)
    return merge(out)


def _in_place(_m: Any, _p: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    score = torch.empty(1, HEADS, q.shape[2], q.shape[2], dtype=q.dtype)
    torch.matmul(q, k.transpose(-1, -2), out=score)
    score /= q.shape[-1] ** 0.5
    score += torch.full_like(score[0, 0], float("-inf")).triu(1)
    return merge(torch.softmax(score, -1, out=torch.empty_like(score)) @ v)


def _by_exp(_m: Any, _p: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    score = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).masked_fill(
        torch.ones(q.shape[2], q.shape[2], dtype=torch.bool).triu(1), float("-inf")
    )
    e = torch.exp(score - score.amax(-1, keepdim=True))
    return merge((e / e.sum(-1, keepdim=True)) @ v)


def _by_where(_m: Any, _p: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    seen = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool).tril()
    score = torch.where(seen, q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, float("-inf"))
    pattern = torch.where(seen, torch.softmax(score, -1), 0.0)
    return merge(pattern @ v)


for _way, _attend in {
    "einsum, q k v": lambda m, p, q, k, v: torch.einsum("bhqk,bhkc->bqhc", p, v).reshape(1, v.shape[2], -1),
    "einsum into a flat axis": lambda m, p, q, k, v: torch.einsum("bhqk,bhkc->bqhc", [p, v]).flatten(2),
    "einsum, values first": lambda m, p, q, k, v: torch.einsum("bhkc,bhqk->bqhc", v, p).flatten(2),
    "bmm over heads": lambda m, p, q, k, v: torch.bmm(p[0], v[0]).transpose(0, 1).reshape(1, v.shape[2], -1),
    "baddbmm": lambda m, p, q, k, v: merge(torch.baddbmm(torch.zeros_like(v[0]), p[0], v[0])[None]),
    "head by head": _head_by_head,
    "matmul with out=": _into_memory,
    "scores in place, softmax with out=": _in_place,
    "softmax by hand": _by_exp,
    "masks by where": _by_where,
    "scaled_dot_product_attention": lambda m, p, q, k, v: merge(
        F.scaled_dot_product_attention(q, k, v, is_causal=True)
    ),
}.items():
    hostile(ATTENDED, _way, labels=USUAL)(_attended(_attend))

for _way, _attend in {
    "values turned": lambda m, p, q, k, v: (v.mT @ p.mT).mT.transpose(1, 2).flatten(2),
    "a sum over keys": lambda m, p, q, k, v: merge((p[..., None] * v[:, :, None]).sum(3)),
    "query by query": lambda m, p, q, k, v: merge(torch.cat([p[:, :, t : t + 1] @ v for t in range(v.shape[2])], 2)),
}.items():
    hostile(ATTENDED, _way)(_attended(_attend))


class Own(Block):
    """torch's own module for attention."""

    def more(self) -> None:
        self.mha = nn.MultiheadAttention(D, HEADS, batch_first=True)
        self.o = self.mha.out_proj

    def attend(self, h: Tensor) -> Tensor:
        n = h.shape[1]
        mask = torch.ones(n, n, dtype=torch.bool).triu(1)
        if self.truth.now is not None:
            q, k, v = (self.split(y) for y in F.linear(h, self.mha.in_proj_weight, self.mha.in_proj_bias).chunk(3, -1))
            self.tell(causal(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5), v)
        return self.asked(h, mask)

    def asked(self, h: Tensor, mask: Tensor) -> Tensor:
        return self.mha(h, h, h, attn_mask=mask, need_weights=False)[0]


hostile(ATTENDED, "nn.MultiheadAttention", labels=USUAL)(lambda: Decoder(Own))


@hostile(ATTENDED, "nn.MultiheadAttention that gives its weights", labels=USUAL)
def _() -> Decoder:
    class Given(Own):
        def asked(self, h: Tensor, mask: Tensor) -> Tensor:
            return self.mha(h, h, h, attn_mask=mask, average_attn_weights=False)[0]

    return Decoder(Given)


@hostile(ATTENDED, "learned keys and values beside the tokens'", says="7 queries over 10 keys")
def _() -> Decoder:
    def more(self: Any) -> None:
        self.keys, self.values = (nn.Parameter(torch.randn(1, HEADS, 3, D // HEADS)) for _ in range(2))

    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        pattern = causal(q @ torch.cat([self.keys, k], 2).mT)
        self.tell(pattern[..., 3:], v)
        return self.o(merge(pattern @ torch.cat([self.values, v], 2)))

    return decoder(more=more, attend=attend)()


# ---- what comes out ----


def _ending(end: Callable[[Decoder, Tensor], Any]) -> Callable[[], Decoder]:
    class Ending(Decoder):
        def forward(self, input_ids: Tensor) -> Any:
            self.truth.begin()
            x = self.run(self.embed(input_ids))
            if self.truth.now is not None:
                self.truth.end(self.head(self.norm(x)))
            return end(self, x)

    return Ending


for _way, _end in {
    "of the last position, kept as a list (nanoGPT)": lambda m, x: (m.head(m.norm(x)[:, [-1], :]), None),
    "of the last position, by a slice": lambda m, x: m.head(m.norm(x)[:, -1:]),
    "of the last position, without an axis": lambda m, x: m.head(m.norm(x)[:, -1]),
    "of the last position, taken before the norm": lambda m, x: m.head(m.norm(x[:, -1:])),
    "of the last position, without any axis": lambda m, x: m.head(m.norm(x[0, -1])),
    "of the last three positions": lambda m, x: m.head(m.norm(x)[:, -3:]),
    "without a batch axis": lambda m, x: m.head(m.norm(x))[0],
    "in a dictionary": lambda m, x: {"logits": m.head(m.norm(x))},
}.items():
    hostile(LOGITS, _way, labels=USUAL)(_ending(_end))
