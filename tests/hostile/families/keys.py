"""Key slots that are no tokens, values that belong to several, masks that look ahead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import HEADS, Block, D, Decoder, block, causal, decoder, hostile, merge, written

SLOTS = "key slots that are no tokens"
MASKS = "masks that look ahead, or at nothing"
C = D // HEADS


def _slots(
    made: Callable[[Any, Tensor, Tensor], tuple[Tensor, Tensor, Tensor | None]],
    more: Callable[[Any], None] = lambda self: None,
    sdpa: bool = False,
    token: bool = True,
) -> Callable[[], Decoder]:
    """Attention over slots: `made` gives their keys and values, and which token each slot is (-1: none).

    token: False where no slot is a token, so that it is no attention over tokens at all.
    """

    def attend(self: Any, h: Tensor) -> Tensor:
        n, q = h.shape[1], self.split(self.q(h))
        k, v, of = made(self, self.split(self.k(h)), self.split(self.v(h)))
        of = torch.arange(k.shape[2]) if of is None else of
        seen = (of[None] <= torch.arange(n)[:, None]) & (of[None] >= -1)
        score = (q @ k.transpose(-1, -2) / C**0.5).masked_fill(~seen, float("-inf"))
        pattern = score.softmax(-1)
        if self.truth.now is not None and token:
            parts = written(pattern[0], v[0], self.o.weight)  # [head, query, slot, d]
            own = torch.zeros(HEADS, n, n, D, dtype=h.dtype).index_add(2, of.clamp_min(0), parts * (of >= 0)[:, None])
            rows = torch.zeros(n, HEADS * C, dtype=h.dtype)
            rows = rows.index_add(0, of.clamp_min(0), v[0].transpose(0, 1).flatten(1) * (of >= 0)[:, None])
            self.truth.heads(lambda: own, lambda: rows)
        z = F.scaled_dot_product_attention(q, k, v, attn_mask=seen) if sdpa else pattern @ v
        return self.o(merge(z))

    return decoder(attend=attend, more=more)


def _null(self: Any, k: Tensor, v: Tensor) -> Any:
    """One slot that is nobody's stands first, and the last token's is left out."""
    k = torch.cat([self.k0.expand(1, -1, 1, -1), k[:, :, :-1]], 2)
    v = torch.cat([self.v0.expand(1, -1, 1, -1), v[:, :, :-1]], 2)
    return k, v, torch.arange(-1, k.shape[2] - 1)


def _null_zero(self: Any, k: Tensor, v: Tensor) -> Any:
    return F.pad(k, (0, 0, 1, -1)), F.pad(v, (0, 0, 1, -1)), torch.arange(-1, k.shape[2] - 1)


def _with_null(self: Any) -> None:
    self.k0, self.v0 = (nn.Parameter(torch.randn(1, HEADS, 1, C)) for _ in range(2))


def _extra_null(self: Any, k: Tensor, v: Tensor) -> Any:
    k = torch.cat([self.k0, k], 2)
    v = torch.cat([self.v0, v], 2)
    return k, v, torch.arange(-1, k.shape[2] - 1)


def _extra_last(self: Any, k: Tensor, v: Tensor) -> Any:
    k, v = torch.cat([k, self.k0], 2), torch.cat([v, self.v0], 2)
    return k, v, torch.cat([torch.arange(k.shape[2] - 1), torch.tensor([-1])])


def _memory(self: Any, k: Tensor, v: Tensor) -> Any:
    n = k.shape[2]
    return self.k0.expand(1, -1, n, -1), self.v0 * torch.arange(1, n + 1)[:, None], torch.full((n,), -1)


def _memory_first_half(self: Any, k: Tensor, v: Tensor) -> Any:
    """As many slots as tokens: three learned ones in the place of the first three."""
    learned = self.k0 * torch.arange(1, 4)[:, None], self.v0 * torch.arange(1, 4)[:, None]
    k, v = torch.cat([learned[0], k[:, :, 3:]], 2), torch.cat([learned[1], v[:, :, 3:]], 2)
    return k, v, torch.cat([torch.full((3,), -1), torch.arange(3, k.shape[2])])


def _values_before(self: Any, k: Tensor, v: Tensor) -> Any:
    """The values of the token before, and its slot is called by it: only the labels of slots are one off."""
    return k, torch.cat([torch.zeros_like(v[:, :, :1]), v[:, :, :-1]], 2), torch.arange(-1, k.shape[2] - 1)


def _reversed(self: Any, k: Tensor, v: Tensor) -> Any:
    return k.flip(2), v.flip(2), torch.arange(k.shape[2]).flip(0)


def _permuted(self: Any, k: Tensor, v: Tensor) -> Any:
    order = torch.tensor([2, 0, 1, 6, 4, 3, 5])
    return k[:, :, order], v[:, :, order], order


def _permuted_by_index_copy(self: Any, k: Tensor, v: Tensor) -> Any:
    order = torch.tensor([2, 0, 1, 6, 4, 3, 5])
    return (
        torch.zeros_like(k).index_copy(2, order, k),
        torch.zeros_like(v).index_copy(2, order, v),
        order.argsort(),
    )


def _ring(self: Any, k: Tensor, v: Tensor) -> Any:
    """A ring buffer that has gone round: the oldest token lies in the middle."""
    return k.roll(3, 2), v.roll(3, 2), torch.arange(k.shape[2]).roll(3)


def _by_size(self: Any, k: Tensor, v: Tensor) -> Any:
    """A cache sorted by how large its keys are."""
    order = k[0].norm(dim=(0, 2)).argsort()
    return k[:, :, order], v[:, :, order], order


def _twice(self: Any, k: Tensor, v: Tensor) -> Any:
    """Every second token kept, each twice: as many slots as tokens."""
    of = torch.tensor([0, 0, 2, 2, 4, 4, 6])
    return k[:, :, of], v[:, :, of], of


def _kept(self: Any, k: Tensor, v: Tensor) -> Any:
    """A cache from which the second and third token were thrown out, filled up with nothing."""
    of = torch.tensor([0, 3, 4, 5, 6])
    fill = torch.zeros_like(k[:, :, :2])
    return torch.cat([k[:, :, of], fill], 2), torch.cat([v[:, :, of], fill], 2), torch.cat([of, torch.tensor([-1, -1])])


def _even_only(self: Any, k: Tensor, v: Tensor) -> Any:
    of = torch.tensor([0, 2, 4, 6])
    return k[:, :, of], v[:, :, of], of


for _way, (_made, _more) in {
    "a null slot first, keys and values one further": (_null, _with_null),
    "a null slot of zeros first, one further": (_null_zero, lambda self: None),
    "a null slot more": (_extra_null, _with_null),
    "a null slot more, last": (_extra_last, _with_null),
    "as many memory slots as tokens": (_memory, _with_null),
    "three of seven slots are memory": (_memory_first_half, _with_null),
    "values of the token before": (_values_before, lambda self: None),
    "reversed": (_reversed, lambda self: None),
    "permuted by index": (_permuted, lambda self: None),
    "permuted by index_copy": (_permuted_by_index_copy, lambda self: None),
    "a ring buffer": (_ring, lambda self: None),
    "sorted by the size of keys": (_by_size, lambda self: None),
    "every second token twice": (_twice, lambda self: None),
    "tokens thrown out of the cache": (_kept, lambda self: None),
    "every second token only": (_even_only, lambda self: None),
}.items():
    hostile(SLOTS, _way)(_slots(_made, _more))
    if _way in (
        "a null slot first, keys and values one further",
        "permuted by index",
        "as many memory slots as tokens",
    ):
        hostile(SLOTS, f"{_way}, under sdpa")(_slots(_made, _more, sdpa=True))


# ---- values of several tokens ----


def _values(change: Callable[[Any, Tensor], Tensor], more: Callable[[Any], None] = lambda self: None) -> Any:
    """Values [1, head, pos, d_head] changed before the product, and no reading as tokens there is."""

    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        return self.o(merge(self.pattern(q, k) @ change(self, v)))

    return decoder(attend=attend, more=more)


def _pairs_averaged(self: Any, v: Tensor) -> Tensor:
    return (v + torch.cat([v[:, :, :1], v[:, :, :-1]], 2)) / 2


hostile(SLOTS, "values averaged over two tokens")(_values(_pairs_averaged))
hostile(SLOTS, "values summed so far")(_values(lambda self, v: v.cumsum(2)))
hostile(SLOTS, "values by a convolution")(
    _values(
        lambda self, v: self.conv(F.pad(merge(v).transpose(1, 2), (2, 0))).view(1, HEADS, C, -1).transpose(2, 3),
        lambda self: setattr(self, "conv", nn.Conv1d(D, D, 3, groups=D)),
    )
)
hostile(SLOTS, "values of a GRU")(
    _values(
        lambda self, v: self.split(self.rnn(merge(v))[0]),
        lambda self: setattr(self, "rnn", nn.GRU(D, D, batch_first=True)),
    )
)
hostile(SLOTS, "values less those of the first token")(_values(lambda self, v: v - v[:, :, :1]))
hostile(SLOTS, "values by a matrix over tokens")(
    _values(lambda self, v: torch.ones(7, 7, dtype=v.dtype).tril() @ v / 7)
)
hostile(SLOTS, "attention over attention (two patterns multiplied)")(
    _values(lambda self, v: causal(v @ v.transpose(-1, -2)) @ v)
)
hostile(SLOTS, "values normalised over tokens")(_values(lambda self, v: v / v.norm(dim=2, keepdim=True)))
hostile(SLOTS, "values of the token before, half of the heads")(
    _values(lambda self, v: torch.cat([v[:, :1], F.pad(v[:, 1:], (0, 0, 1, -1))], 1))
)
hostile(SLOTS, "values scaled by their place (a token's own)")(
    _slots(lambda self, k, v: (k, v * torch.cos(torch.arange(v.shape[2], dtype=v.dtype) * 0.7)[:, None], None))
)
hostile(SLOTS, "values from shifted states")(
    decoder(
        attend=lambda self, h: self.o(
            merge(
                self.pattern(self.split(self.q(h)), self.split(self.k(h))) @ self.split(self.v(F.pad(h, (0, 0, 1, -1))))
            )
        )
    )
)


@hostile(SLOTS, "a pattern made of two softmaxes")
def _() -> Decoder:
    def pattern(self: Any, q: Tensor, k: Tensor) -> Tensor:
        return causal(q @ k.transpose(-1, -2)) @ causal(k @ k.transpose(-1, -2))

    return Decoder(block(pattern=pattern))


@hostile(SLOTS, "a pattern transposed: queries give to keys")
def _() -> Decoder:
    def pattern(self: Any, q: Tensor, k: Tensor) -> Tensor:
        n = q.shape[2]
        score = (q @ k.transpose(-1, -2)).masked_fill(torch.ones(n, n, dtype=torch.bool).tril(-1), float("-inf"))
        return score.softmax(-1).transpose(-1, -2)

    return Decoder(block(pattern=pattern))


@hostile(SLOTS, "a pattern whose columns sum to one")
def _() -> Decoder:
    def pattern(self: Any, q: Tensor, k: Tensor) -> Tensor:
        n = q.shape[2]
        return (q @ k.transpose(-1, -2)).softmax(-2) * torch.ones(n, n, dtype=q.dtype).tril()

    return Decoder(block(pattern=pattern))


@hostile(SLOTS, "attention over coordinates, as many as tokens")
def _() -> Decoder:
    """softmax(..) @ V where the first axis of V is d_head and not tokens."""

    def attend(self: Any, h: Tensor) -> Tensor:
        x = self.v(h)[..., :7]  # [1, 7, 7]: tokens and coordinates are as many
        z = (x.softmax(-1) @ x.transpose(1, 2)).transpose(1, 2)
        return self.o(torch.cat([z, z[..., :5]], -1))

    return Decoder(block(attend=attend))


@hostile(SLOTS, "two slots for each token")
def _() -> Decoder:
    def attend(self: Any, h: Tensor) -> Tensor:
        n = h.shape[1]
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        twice = torch.arange(2 * n) // 2
        score = q @ torch.cat([k, -k], 3).view(1, HEADS, 2 * n, C).transpose(-1, -2)
        pattern = score.masked_fill(twice[None] > torch.arange(n)[:, None], float("-inf")).softmax(-1)
        return self.o(merge(pattern @ v[:, :, twice]))

    return Decoder(block(attend=attend))


# ---- masks ----


def _masked(seen: Callable[[int], Tensor], sdpa: bool = False, big: float = float("-inf")) -> Callable[[], Decoder]:
    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        mask = seen(h.shape[1])
        score = (q @ k.transpose(-1, -2) / C**0.5).masked_fill(~mask, big)
        pattern = score.softmax(-1).nan_to_num(0.0)
        self.tell(pattern, v)
        z = F.scaled_dot_product_attention(q, k, v, attn_mask=mask) if sdpa else pattern @ v
        return self.o(merge(z))

    return decoder(attend=attend)


def _span(first: int, last: int) -> Callable[[int], Tensor]:
    """Causal, but tokens first..last see each other (an image, a bidirectional span)."""

    def seen(n: int) -> Tensor:
        mask = torch.ones(n, n, dtype=torch.bool).tril()
        mask[first : last + 1, first : last + 1] = True
        return mask

    return seen


def _but(row: int, keys: list[int]) -> Callable[[int], Tensor]:
    def seen(n: int) -> Tensor:
        mask = torch.ones(n, n, dtype=torch.bool).tril()
        mask[row] = False
        mask[row, keys] = True
        return mask

    return seen


for _way, _seen in {
    "a bidirectional span in the middle": _span(1, 2),
    "another bidirectional span": _span(4, 5),
    "a prefix that sees itself": _span(0, 2),
    "a last span that sees itself": _span(5, 6),
    "one token sees one later token": _but(1, [0, 1, 4]),
    "one token sees nothing": _but(2, []),
    "one token sees only the first": _but(4, [0]),
    "everything sees everything": lambda n: torch.ones(n, n, dtype=torch.bool),
    "only the token itself": lambda n: torch.eye(n, dtype=torch.bool),
    "strictly before, the first sees nothing": lambda n: torch.ones(n, n, dtype=torch.bool).tril(-1),
    "the anti-diagonal": lambda n: torch.ones(n, n, dtype=torch.bool).triu(0),
}.items():
    hostile(MASKS, _way)(_masked(_seen))
    hostile(MASKS, f"{_way}, under sdpa")(_masked(_seen, sdpa=True))
hostile(MASKS, "a large finite number instead of infinity")(
    _masked(lambda n: torch.ones(n, n, dtype=torch.bool).tril(), big=-9.0)
)


@hostile(MASKS, "the mask depends on the tokens: equal ones see each other")
def _() -> Decoder:
    class Seeing(Decoder):
        def embed(self, ids: Tensor) -> Tensor:
            for layer in self.layers:
                layer.ids = ids[0]
            return super().embed(ids)

    def pattern(self: Any, q: Tensor, k: Tensor) -> Tensor:
        n = q.shape[2]
        even = self.ids % 2 == 0
        seen = torch.ones(n, n, dtype=torch.bool).tril() | (even[:, None] & even[None])
        return (q @ k.transpose(-1, -2)).masked_fill(~seen, float("-inf")).softmax(-1)

    return Seeing(block(pattern=pattern))


@hostile(MASKS, "the causal mask is only in the last layers")
def _() -> Decoder:
    def pattern(self: Any, q: Tensor, k: Tensor) -> Tensor:
        score = q @ k.transpose(-1, -2)
        return score.softmax(-1) if self.number == 0 else causal(score)

    return Decoder(block(pattern=pattern))


class _Block2(Block):
    """For a mask that one head only has."""

    def pattern(self, q: Tensor, k: Tensor) -> Tensor:
        score = q @ k.transpose(-1, -2)
        return torch.cat([causal(score[:, :1]), score[:, 1:].softmax(-1)], 1)


hostile(MASKS, "one head looks ahead")(lambda: Decoder(_Block2))
