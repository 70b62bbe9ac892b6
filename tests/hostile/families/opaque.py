"""Branches inside calls that a recorder cannot look into: custom ops, TorchScript, numpy, filled buffers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import HEADS, D, Decoder, causal, decoder, hostile, merge

ATTENTION = "attention inside an opaque call"


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """[1, head, pos, d_head] three times -> [1, pos, d]"""
    return merge(causal(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5) @ v)


@torch.library.custom_op("hostile::attention", mutates_args=())
def _custom(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return attention(q, k, v).contiguous()


@torch.library.custom_op("hostile::attention_into", mutates_args=("out",))
def _custom_into(q: Tensor, k: Tensor, v: Tensor, out: Tensor) -> None:
    out.copy_(attention(q, k, v))


@torch.library.custom_op("hostile::shift", mutates_args=())
def _custom_shift(h: Tensor) -> Tensor:
    return F.pad(h, (0, 0, 1, -1)).clone()


@torch.library.custom_op("hostile::add", mutates_args=("x",))
def _custom_add(x: Tensor, y: Tensor) -> None:
    x.add_(y)


_library = torch.library.Library("hostile_old", "DEF")
_library.define("attention(Tensor q, Tensor k, Tensor v) -> Tensor")
_library.impl("attention", lambda q, k, v: attention(q, k, v).contiguous(), "CompositeExplicitAutograd")
_library.define("add_(Tensor(a!) x, Tensor y) -> Tensor(a!)")
_library.impl("add_", lambda x, y: x.add_(y), "CompositeExplicitAutograd")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")

    @torch.jit.script
    def _scripted(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        n = q.size(2)
        seen = torch.ones([n, n], dtype=torch.bool).tril()
        score = torch.matmul(q, k.transpose(-1, -2)) / (q.size(3) ** 0.5)
        pattern = score.masked_fill(torch.logical_not(seen), -float("inf")).softmax(-1)
        return torch.matmul(pattern, v).transpose(1, 2).reshape(1, n, -1)

    @torch.jit.script
    def _scripted_shift(h: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(h[:, :1]), h[:, :-1]], 1)

    @torch.jit.script
    def _scripted_add(x: Tensor, y: Tensor) -> Tensor:
        x += y
        return x

    @torch.jit.script
    def _scripted_gelu(x: Tensor) -> Tensor:
        return x * 0.5 * (1.0 + torch.tanh(0.79788456 * x * (1 + 0.044715 * x * x)))


def _by_numpy(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    import numpy as np

    a, b, c = (x.detach().numpy()[0] for x in (q, k, v))
    score = a @ b.transpose(0, 2, 1) / a.shape[-1] ** 0.5
    score = np.where(np.tril(np.ones(score.shape[1:], bool)), score, -np.inf)
    p = np.exp(score - score.max(-1, keepdims=True))
    z = (p / p.sum(-1, keepdims=True)) @ c
    return torch.from_numpy(np.ascontiguousarray(z.transpose(1, 0, 2).reshape(1, a.shape[1], -1)))


def _by_lists(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.tensor(attention(q, k, v).tolist(), dtype=q.dtype)


def _by_filled_buffer(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    out = torch.empty(1, q.shape[2], D, dtype=q.dtype)
    out.numpy()[...] = _by_numpy(q, k, v).numpy()
    return out


def _by_aten(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return merge(torch.ops.aten.scaled_dot_product_attention(q, k, v, is_causal=True))


def _by_flash(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return merge(torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, True)[0])


def _by_aten_pieces(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    a = torch.ops.aten
    n = q.shape[2]
    score = a.matmul.default(q, a.transpose.int(k, -1, -2)) / q.shape[-1] ** 0.5
    score = a.masked_fill.Scalar(score, torch.ones(n, n, dtype=torch.bool).triu(1), float("-inf"))
    return merge(a.matmul.default(a._softmax.default(score, -1, False), v))


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention(q, k, v)


class _Plain(torch.autograd.Function):
    """Its body makes no torch call that Python sees."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with torch._C.DisableTorchFunction():
            return attention(q, k, v)


def _by_vmap(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    one = torch.func.vmap(lambda a, b, c: causal(a @ b.transpose(-1, -2) / a.shape[-1] ** 0.5) @ c)
    return merge(one(q[0], k[0], v[0])[None])


def _by_vmap_of_queries(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    n = q.shape[2]

    def one(a: Tensor, t: Tensor) -> Tensor:
        score = (k[0] @ a[:, :, None])[..., 0] / a.shape[-1] ** 0.5
        score = torch.where(torch.arange(n) <= t, score, float("-inf"))
        return (score.softmax(-1)[:, None] @ v[0])[:, 0].flatten()

    return torch.func.vmap(one)(q[0].transpose(0, 1), torch.arange(n))[None]


def _by_custom_into(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    out = torch.zeros(1, q.shape[2], D, dtype=q.dtype)
    _custom_into(q, k, v, out)
    return out


def _hidden(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    with torch._C.DisableTorchFunction():
        return attention(q, k, v)


def _by_loop(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Never a softmax call, never a product of two matrices."""
    n, out = q.shape[2], []
    for t in range(n):
        e = ((q[:, :, t : t + 1] * k[:, :, : t + 1]).sum(-1) / q.shape[-1] ** 0.5).exp()
        out.append((e[..., None] * v[:, :, : t + 1]).sum(2) / e.sum(-1, keepdim=True))
    return merge(torch.stack(out, 2))


def _own_softmax(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    n = q.shape[2]
    e = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).exp() * torch.ones(n, n, dtype=q.dtype).tril()
    return merge((e / e.sum(-1, keepdim=True)) @ v)


def _divided_later(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    n = q.shape[2]
    e = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).exp() * torch.ones(n, n, dtype=q.dtype).tril()
    return merge((e @ v) / e.sum(-1, keepdim=True))


def _multihead(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """torch's own function for all of multi-head attention, with identity maps."""
    n, eye = q.shape[2], torch.eye(D, dtype=q.dtype)
    a, b, c = (merge(x).transpose(0, 1) for x in (q, k, v))
    out, _ = F.multi_head_attention_forward(
        a, b, c, D, HEADS, None, None, None, None, False, 0.0, eye, None, training=False, need_weights=False,
        attn_mask=torch.ones(n, n, dtype=torch.bool).triu(1), use_separate_proj_weight=True, q_proj_weight=eye,
        k_proj_weight=eye, v_proj_weight=eye,
    )  # fmt: skip
    return out.transpose(0, 1)


CALLS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "torch.library custom op": _custom,
    "torch.library custom op that fills its argument": _by_custom_into,
    "op of an older library": lambda q, k, v: torch.ops.hostile_old.attention(q, k, v),
    "TorchScript function": _scripted,
    "numpy": _by_numpy,
    "numbers through Python lists": _by_lists,
    "buffer filled behind its back": _by_filled_buffer,
    "autograd.Function": lambda q, k, v: _Function.apply(q, k, v),
    "autograd.Function whose body is not seen": lambda q, k, v: _Plain.apply(q, k, v),
    "vmap over heads": _by_vmap,
    "vmap over queries": _by_vmap_of_queries,
    "torch.ops.aten.scaled_dot_product_attention": _by_aten,
    "the flash kernel for the CPU": _by_flash,
    "torch.ops.aten, piece by piece": _by_aten_pieces,
    "torch functions switched off": _hidden,
    "sums over a loop of queries": _by_loop,
    "exp and a division": _own_softmax,
    "divided after the product": _divided_later,
    "multi_head_attention_forward": _multihead,
}


def _attends(call: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Any:
    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        if self.truth.now is not None:
            self.tell(self.pattern(q, k), v)
        return self.o(call(q, k, v))

    return attend


for _way, _call in CALLS.items():
    hostile(ATTENTION, _way)(decoder(attend=_attends(_call)))


class _Whole(nn.Module):
    """Attention with all its maps, to be scripted."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(D, D) for _ in range(4))

    def forward(self, h: Tensor) -> Tensor:
        n = h.size(1)
        q = self.q(h).view(1, n, 2, -1).transpose(1, 2)
        k = self.k(h).view(1, n, 2, -1).transpose(1, 2)
        v = self.v(h).view(1, n, 2, -1).transpose(1, 2)
        score = torch.matmul(q, k.transpose(-1, -2)) / 6**0.5  # d_head; a traced q.size(3) ** 0.5 is a float32
        seen = torch.ones([n, n], dtype=torch.bool).tril()
        pattern = score.masked_fill(torch.logical_not(seen), -float("inf")).softmax(-1)
        return self.o(torch.matmul(pattern, v).transpose(1, 2).reshape(1, n, -1))


def _replaced(wrap: Callable[[nn.Module], Any]) -> Callable[[Any], None]:
    """Puts something else in the place of the attention module of every layer."""

    def change(model: Any) -> None:
        for layer in model.layers:
            layer.whole = wrap(layer.whole)
        for m in model.modules():
            if not isinstance(m, torch.jit.ScriptModule):
                m.truth = model.truth

    return change


def _whole_attention() -> Decoder:
    def more(self: Any) -> None:
        self.whole = _Whole()
        self.q, self.k, self.v, self.o = self.whole.q, self.whole.k, self.whole.v, self.whole.o

    def attend(self: Any, h: Tensor) -> Tensor:
        if self.truth.now is not None:
            q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
            self.tell(self.pattern(q, k), v)
        return self.whole(h)

    return decoder(more=more, attend=attend)()


hostile(ATTENTION, "attention module, plain")(_whole_attention)
hostile(ATTENTION, "attention module by TorchScript", before=_replaced(torch.jit.script))(_whole_attention)
hostile(
    ATTENTION,
    "attention module, traced",
    before=_replaced(lambda m: torch.jit.trace(m, torch.randn(1, 7, D, dtype=torch.float64))),
)(_whole_attention)


class _Unseen(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, h: Tensor) -> Tensor:
        with torch._C.DisableTorchFunction():
            return self.inner(h)


hostile(ATTENTION, "attention module, torch functions switched off", before=_replaced(_Unseen))(_whole_attention)
