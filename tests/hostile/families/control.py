"""Right models: these must be read in full, so that refusing everything is no way out."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import D_MLP, HEADS, Block, D, Decoder, block, causal, decoder, hostile, merge

FAMILY = "control: right models"
USUAL = " ".join(3 * ["attention mlp"])


class RMSNorm(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


hostile(FAMILY, "GPT-2's layout", labels=USUAL)(Decoder)


@hostile(FAMILY, "Llama's layout", labels=USUAL)
def _() -> Decoder:
    def turned(x: Tensor) -> Tensor:
        angle = torch.arange(x.shape[2])[:, None] * 0.4 ** torch.arange(x.shape[3] // 2)
        cos, sin = (torch.cat([f(angle)] * 2, -1).to(x) for f in (torch.cos, torch.sin))
        a, b = x.chunk(2, -1)
        return x * cos + torch.cat([-b, a], -1) * sin

    def more(self: Any) -> None:
        self.norm1, self.norm2, self.heads = RMSNorm(D), RMSNorm(D), 3
        self.k, self.v = nn.Linear(D, D // 3, bias=False), nn.Linear(D, D // 3, bias=False)
        self.gate = nn.Linear(D, D_MLP)

    def attend(self: Any, h: Tensor) -> Tensor:
        q = turned(self.split(self.q(h)))
        k, v = (y.view(1, h.shape[1], 1, -1).transpose(1, 2).repeat_interleave(3, 1) for y in (self.k(h), self.v(h)))
        k = turned(k)
        if self.truth.now is not None:
            self.tell(self.pattern(q, k), v)
        z = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o(merge(z))

    def feed(self: Any, h: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(h)) * self.up(h))

    return decoder(more=more, attend=attend, feed=feed)()


@hostile(FAMILY, "parallel attention and MLP", labels="attention+mlp attention+mlp attention+mlp")
def _() -> Decoder:
    def forward(self: Any, x: Tensor) -> Tensor:
        h = self.norm1(x)
        a = self.attend(h)
        self.truth.write("attention", a)
        m = self.feed(self.norm2(x))
        self.truth.write("mlp", m)
        return self.truth.state(x + a + m)

    return decoder(forward=forward)()


class PostNorm(Block):
    def forward(self, x: Tensor) -> Tensor:
        for norm, branch in ((self.norm1, self.attend), (self.norm2, self.feed)):
            y = branch(x)
            x = self.closed(norm, x, y)
        return x

    def closed(self, norm: Any, x: Tensor, y: Tensor) -> Tensor:
        whole = x + y
        if self.truth.now is not None:
            factor = norm.weight * torch.rsqrt(whole.var(-1, unbiased=False, keepdim=True) + norm.eps)
            centered = lambda v: (v - v.mean(-1, keepdim=True)) * factor  # noqa: E731
            if self.truth.now.attention is not None:
                heads, values = self.truth.now.attention
                before = heads()
                self.truth.heads(lambda: (before - before.mean(-1, keepdim=True)) * factor[0, None, :, None], values)
            self.truth.write("branch", y, through=centered)
            self.truth.write("bias", norm.bias.expand_as(x))
        return self.truth.state(norm(whole), carried=x)


hostile(FAMILY, "post-norm", labels=USUAL)(lambda: Decoder(PostNorm))


class Routed(Block):
    """Each token goes to two of four experts."""

    def more(self) -> None:
        self.router = nn.Linear(D, 4)
        self.experts = nn.ModuleList(
            nn.ModuleDict({"up": nn.Linear(D, D_MLP), "down": nn.Linear(D_MLP, D)}) for _ in range(4)
        )

    def feed(self, h: Tensor) -> Tensor:
        x = h[0]
        weight, chosen = self.router(x).softmax(-1).topk(2, -1)
        out = torch.zeros_like(x)
        for e, expert in enumerate(self.experts):
            token, place = (chosen == e).nonzero(as_tuple=True)
            y = expert["down"](F.gelu(expert["up"](x[token]))) * weight[token, place, None]
            out.index_add_(0, token, y)
        return out[None]


hostile(FAMILY, "mixture of experts", labels=USUAL)(lambda: Decoder(Routed))


@hostile(FAMILY, "convolution mixer", labels=" ".join(3 * ["mixer mlp"]))
def _() -> Decoder:
    def more(self: Any) -> None:
        self.conv = nn.Conv1d(D, D, 3, groups=D)

    def attend(self: Any, h: Tensor) -> Tensor:
        return self.o(self.conv(F.pad(self.q(h).transpose(1, 2), (2, 0))).transpose(1, 2))

    return decoder(more=more, attend=attend)()


@hostile(FAMILY, "linear attention by a running state", labels=" ".join(3 * ["mixer mlp"]))
def _() -> Decoder:
    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        state, out = torch.zeros(HEADS, D // HEADS, D // HEADS, dtype=h.dtype), []
        for t in range(h.shape[1]):
            state = state * 0.9 + k[0, :, t, :, None] * v[0, :, t, None, :]
            out.append((q[0, :, t, None, :] @ state)[:, 0])
        return self.o(merge(torch.stack(out, 1)[None]))

    return decoder(attend=attend)()


@hostile(FAMILY, "nanoGPT's layout, one map for q, k and v", labels=USUAL)
def _() -> Decoder:
    def more(self: Any) -> None:
        self.qkv = nn.Linear(D, 3 * D)

    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = (self.split(y) for y in self.qkv(h).split(D, dim=2))
        score = (q @ k.transpose(-2, -1)) * (1.0 / k.size(-1) ** 0.5)
        mask = torch.tril(torch.ones(h.shape[1], h.shape[1])).view(1, 1, h.shape[1], h.shape[1])
        pattern = F.softmax(score.masked_fill(mask == 0, float("-inf")), dim=-1)
        self.tell(pattern, v)
        return self.o((pattern @ v).transpose(1, 2).contiguous().view(1, h.shape[1], D))

    return decoder(more=more, attend=attend)()


@hostile(FAMILY, "scores and values by einsum", labels=USUAL)
def _() -> Decoder:
    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        pattern = causal(torch.einsum("bhqc,bhkc->bhqk", q, k) / q.shape[-1] ** 0.5)
        self.tell(pattern, v)
        return self.o(torch.einsum("bhqk,bhkc->bqhc", pattern, v).reshape(1, h.shape[1], -1))

    return decoder(attend=attend)()


@hostile(FAMILY, "gate on the output of attention", labels=USUAL)
def _() -> Decoder:
    def more(self: Any) -> None:
        self.gate = nn.Linear(D, D)

    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        pattern, gate = self.pattern(q, k), torch.sigmoid(self.gate(h))
        if self.truth.now is not None:
            w, g = self.o.weight.reshape(D, HEADS, -1), gate[0].reshape(h.shape[1], HEADS, -1)
            self.truth.heads(
                lambda: torch.einsum("hqk,hkc,qhc,dhc->hqkd", pattern[0], v[0], g, w),
                lambda: v[0].transpose(0, 1).flatten(1),
            )
        return self.o(merge(pattern @ v) * gate)

    return decoder(more=more, attend=attend)()


@hostile(FAMILY, "sigmoid gate per token on the MLP", labels=USUAL)
def _() -> Decoder:
    def more(self: Any) -> None:
        self.gate = nn.Linear(D, 1)

    def feed(self: Any, h: Tensor) -> Tensor:
        return self.down(F.relu(self.up(h))) * torch.sigmoid(self.gate(h))

    return decoder(more=more, feed=feed)()


@hostile(FAMILY, "no norms, no biases", labels=USUAL)
def _() -> Decoder:
    def more(self: Any) -> None:
        self.norm1 = self.norm2 = nn.Identity()
        self.up, self.down = nn.Linear(D, D_MLP, bias=False), nn.Linear(D_MLP, D, bias=False)

    return decoder(more=more)()


@hostile(FAMILY, "layer scale on both branches", labels=USUAL)
def _() -> Decoder:
    def more(self: Any) -> None:
        self.scale1, self.scale2 = nn.Parameter(torch.randn(D)), nn.Parameter(torch.randn(D))

    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        pattern = self.pattern(q, k)
        if self.truth.now is not None:
            self.tell(pattern, v)
            heads, values = self.truth.now.attention
            self.truth.heads(lambda: heads() * self.scale1, values)
        return self.o(merge(pattern @ v)) * self.scale1

    def feed(self: Any, h: Tensor) -> Tensor:
        return Block.feed(self, h) * self.scale2

    return decoder(more=more, attend=attend, feed=feed)()


@hostile(FAMILY, "sliding window", labels=USUAL)
def _() -> Decoder:
    def pattern(self: Any, q: Tensor, k: Tensor) -> Tensor:
        n = q.shape[2]
        seen = torch.ones(n, n, dtype=torch.bool).tril() & torch.ones(n, n, dtype=torch.bool).triu(-2)
        return (q @ k.transpose(-1, -2)).masked_fill(~seen, float("-inf")).softmax(-1)

    return Decoder(block(pattern=pattern))
