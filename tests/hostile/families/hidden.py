"""Mixing that hides: only for some tokens, some sizes, through whole numbers, or where many changes cancel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import D_MLP, Block, D, Decoder, block, causal, hostile, merge

FAMILY = "mixing that hides from a probe"
AHEAD = "looking ahead where it is hard to see"


def _before(h: Tensor) -> Tensor:
    return torch.cat([h[:, :1], h[:, :-1]], 1)


class Knowing(Decoder):
    """Layers know the tokens."""

    def embed(self, ids: Tensor) -> Tensor:
        for layer in self.layers:
            layer.ids = ids
        return super().embed(ids)


def _fed(
    mix: Callable[[Any, Tensor], Tensor], more: Callable[[Any], None] = lambda self: None
) -> Callable[[], Decoder]:
    return lambda: Knowing(block(feed=lambda self, h: Block.feed(self, mix(self, h)), more=more))


def _experts(self: Any) -> None:
    self.ups = nn.ModuleList(nn.Linear(D, D_MLP) for _ in range(2))
    self.downs = nn.ModuleList(nn.Linear(D_MLP, D) for _ in range(2))
    self.table = nn.Embedding(23, D)


def _routed_by(number: Callable[[Any, Tensor], Tensor]) -> Callable[[], Decoder]:
    """Two experts; which one a token goes to is a whole number made from other tokens."""

    def feed(self: Any, h: Tensor) -> Tensor:
        chosen = number(self, h)[0] % 2
        out = torch.zeros_like(h[0])
        for e in range(2):
            token = (chosen == e).nonzero()[:, 0]
            out.index_add_(0, token, self.downs[e](F.gelu(self.ups[e](h[0, token]))))
        return out[None]

    return lambda: Knowing(block(feed=feed, more=_experts))


def _number(self: Any, h: Tensor) -> Tensor:
    return h.argmax(-1)


def _parity(self: Any, h: Tensor) -> Tensor:
    return (h[..., 0] > 0).long().cumsum(1)


for _way, _mix in {
    "only behind one token (id 7)": lambda self, h: torch.where((self.ids == 7)[..., None], _before(h), h),
    "only behind a token that stands once": lambda self, h: torch.where((self.ids == 2)[..., None], h.cumsum(1), h),
    "only in prompts of seven tokens": lambda self, h: _before(h) if h.shape[1] == 7 else h,
    "only in the last layer": lambda self, h: _before(h) if self.number == 2 else h,
    "only where the ids sum to this": lambda self, h: _before(h) if int(self.ids.sum()) == 64 else h,
    "the last token reads the first": lambda self, h: torch.cat([h[:, :-1], h[:, -1:] + h[:, :1]], 1),
    "the second token reads the first": lambda self, h: torch.cat([h[:, :1], h[:, 1:2] + h[:, :1], h[:, 2:]], 1),
    "one coordinate of one token": lambda self, h: h + F.one_hot(torch.tensor(3), D) * _before(h)[..., 3:4]
    * (torch.arange(h.shape[1]) == 4)[:, None],
    "a thousandth": lambda self, h: h + 1e-3 * _before(h),
    "a hundred-thousandth": lambda self, h: h + 1e-5 * _before(h),
    "detached": lambda self, h: h + _before(h).detach(),
    "without gradients": lambda self, h: h + torch.tensor(_before(h).tolist(), dtype=h.dtype),
    "sign of the token before": lambda self, h: h + _before(h).sign(),
    "rounded numbers of the token before": lambda self, h: h + _before(h).round(),
    "the larger of two tokens": lambda self, h: torch.maximum(h, _before(h)),
    "the larger of two tokens, far off": lambda self, h: torch.maximum(h, _before(h) - 1.0),
    "a threshold on the token before": lambda self, h: h + F.relu(_before(h) - 1.0),
    "the difference of two tokens": lambda self, h: h - _before(h),
    "the number of earlier tokens like this": lambda self, h: h
    + (self.ids[0, :, None] == self.ids[0]).tril().sum(-1)[:, None],
    "an embedding of the token before": lambda self, h: h + self.table(F.pad(self.ids, (1, -1))),
    "an embedding of the sum of tokens": lambda self, h: h + self.table(self.ids.cumsum(1) % 23),
    "median of the tokens so far": lambda self, h: torch.stack([h[:, : t + 1].median(1).values for t in range(7)], 1),
    "the token most like it so far": lambda self, h: h
    + h[:, (h[0] @ h[0].t() - 99 * torch.ones(7, 7).triu(0).to(h)).argmax(-1)],
    "an order of tokens": lambda self, h: h + h[..., 0].argsort(1).argsort(1)[..., None],
    "coordinates exchanged between two tokens": lambda self, h: torch.cat(
        [h[..., :3], _before(h)[..., 3:4], h[..., 4:]], -1
    ),
    "the norm of the token before": lambda self, h: h * (1 + 0.1 * _before(h)[..., :1].tanh()),
    "an exchange that is its own inverse": lambda self, h: h[:, [0, 2, 1, 3, 5, 4, 6]],
}.items():  # fmt: skip
    hostile(FAMILY, _way)(_fed(_mix, _experts))

for _way, _choice in {
    "expert by the token before": lambda self, h: _number(self, _before(h)),
    "expert by the first token": lambda self, h: _number(self, h[:, :1].expand_as(h)),
    "expert by the parity of signs so far": _parity,
    "expert by the sum of ids so far": lambda self, h: self.ids.cumsum(1),
    "expert by the id of the token before": lambda self, h: F.pad(self.ids, (1, -1)),
    "expert by its rank among the tokens so far": lambda self, h: (h[0, :, :1] > h[0, :, 0]).tril().sum(-1)[None],
    "expert in turn": lambda self, h: (h[..., 0] > -99).long().cumsum(1),
}.items():
    hostile(FAMILY, _way)(_routed_by(_choice))


@hostile(FAMILY, "a mask on neurons from the token before")
def _() -> Decoder:
    def feed(self: Any, h: Tensor) -> Tensor:
        a = self.up(h)
        return self.down(F.gelu(a) * (_before(a) > 0))

    return Decoder(block(feed=feed))


@hostile(FAMILY, "values masked by the token before")
def _() -> Decoder:
    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        v = v * (_before(h)[..., :1] > 0)[:, None]
        return self.o(merge(self.pattern(q, k) @ v))

    return Decoder(block(attend=attend))


@hostile(FAMILY, "values of the token before, a ten-thousandth")
def _() -> Decoder:
    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        return self.o(merge(self.pattern(q, k) @ (v + 1e-4 * torch.cat([v[:, :, :1], v[:, :, :-1]], 2))))

    return Decoder(block(attend=attend))


@hostile(FAMILY, "two slots exchanged, keys and values")
def _() -> Decoder:
    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        order = torch.tensor([0, 1, 2, 4, 3, 5, 6])
        seen = order[None] <= torch.arange(7)[:, None]
        score = (q @ k[:, :, order].transpose(-1, -2)).masked_fill(~seen, float("-inf"))
        return self.o(merge(score.softmax(-1) @ v[:, :, order]))

    return Decoder(block(attend=attend))


@hostile(FAMILY, "two slots of the past exchanged, for the last query only")
def _() -> Decoder:
    """No slot lies ahead, so no mask gives it away."""

    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        order = torch.tensor([1, 0, 2, 3, 4, 5, 6])
        pattern = self.pattern(q, k)
        pattern = torch.cat([pattern[:, :, :-1], pattern[:, :, -1:, order]], 2)
        return self.o(merge(pattern @ v))

    return Decoder(block(attend=attend))


@hostile(FAMILY, "slots 0 and 1 exchanged from the second query on")
def _() -> Decoder:
    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        order = torch.tensor([1, 0, 2, 3, 4, 5, 6])
        k, v = k[:, :, order], v[:, :, order]
        seen = torch.ones(7, 7, dtype=torch.bool).tril()
        seen[0] = False
        pattern = (q @ k.transpose(-1, -2)).masked_fill(~seen, float("-inf")).softmax(-1).nan_to_num(0)
        if self.truth.now is not None:
            self.tell(pattern[..., order], v[:, :, order])
        return self.o(merge(pattern @ v))

    return Decoder(block(attend=attend))


# ---- looking ahead ----


def _after(h: Tensor) -> Tensor:
    return torch.cat([h[:, 1:], h[:, -1:]], 1)


for _way, _mix in {
    "a thousandth of the next token": lambda self, h: h + 1e-3 * _after(h),
    "a hundred-thousandth of the next token": lambda self, h: h + 1e-5 * _after(h),
    "sign of the next token": lambda self, h: h + _after(h).sign(),
    "the next token's id": lambda self, h: h + self.table(F.pad(self.ids, (-1, 1))),
    "one token reads the next": lambda self, h: torch.cat([h[:, :2], h[:, 2:3] + h[:, 3:4], h[:, 3:]], 1),
    "less the mean of all tokens": lambda self, h: h - h.mean(1, keepdim=True),
    "divided by the largest number of all": lambda self, h: h / h.abs().max(),
    "the prompt's length": lambda self, h: h * (7 / h.shape[1]),
}.items():
    hostile(AHEAD, f"MLP: {_way}")(_fed(_mix, _experts))
for _way, _choice in {
    "expert by the next token": lambda self, h: _number(self, _after(h)),
    "expert by the last token": lambda self, h: _number(self, h[:, -1:].expand_as(h)),
    "expert by its rank among all": lambda self, h: h[..., 0].argsort(1).argsort(1),
    "experts of equal load": lambda self, h: (h[..., 0] > h[..., 0].median()).long(),
}.items():
    hostile(AHEAD, _way)(_routed_by(_choice))


@hostile(AHEAD, "experts that choose their tokens")
def _() -> Decoder:
    def feed(self: Any, h: Tensor) -> Tensor:
        out = torch.zeros_like(h[0])
        for e in range(2):
            token = h[0, :, e].topk(3).indices
            out.index_add_(0, token, self.downs[e](F.gelu(self.ups[e](h[0, token]))))
        return out[None]

    return Decoder(block(feed=feed, more=_experts))


@hostile(AHEAD, "queries scaled by the largest of all tokens")
def _() -> Decoder:
    def pattern(self: Any, q: Tensor, k: Tensor) -> Tensor:
        return causal((q / q.abs().max()) @ k.transpose(-1, -2))

    return Decoder(block(pattern=pattern))


@hostile(AHEAD, "keys less their mean over all tokens")
def _() -> Decoder:
    def pattern(self: Any, q: Tensor, k: Tensor) -> Tensor:
        return causal(q @ (k - k.mean(2, keepdim=True) * torch.arange(1, 8)[:, None]).transpose(-1, -2))

    return Decoder(block(pattern=pattern))


@hostile(AHEAD, "values scaled by the largest of all tokens")
def _() -> Decoder:
    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        return self.o(merge(self.pattern(q, k) @ (v / v.abs().max())))

    return Decoder(block(attend=attend))


@hostile(AHEAD, "a small leak of the mask")
def _() -> Decoder:
    def pattern(self: Any, q: Tensor, k: Tensor) -> Tensor:
        score = q @ k.transpose(-1, -2)
        return score.masked_fill(torch.ones(7, 7, dtype=torch.bool).triu(1), score.min().item() - 7.0).softmax(-1)

    return Decoder(block(pattern=pattern))


@hostile(AHEAD, "the softmax is normalised over the future too")
def _() -> Decoder:
    def pattern(self: Any, q: Tensor, k: Tensor) -> Tensor:
        return (q @ k.transpose(-1, -2)).softmax(-1) * torch.ones(7, 7, dtype=q.dtype).tril()

    return Decoder(block(pattern=pattern))
