"""Mixers, which may look back, that look ahead at a token as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import D_MLP, D, Decoder, block, hostile, merge
from .evading import _fed

AHEAD = "mixers that also look ahead"


# ---- mixers that look ahead ----


def _ahead(a: int, b: int, size: float) -> Callable[[Any, Tensor], Tensor]:
    """A running mean, and token a reads token b."""

    def mix(self: Any, h: Tensor) -> Tensor:
        y = h.cumsum(1) / torch.arange(1, h.shape[1] + 1, dtype=h.dtype)[:, None]
        return torch.cat([y[:, :a], y[:, a : a + 1] + size * h[:, b : b + 1], y[:, a + 1 :]], 1)

    return mix


for _a, _b in ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (0, 6), (3, 6)):
    hostile(AHEAD, f"a running mean, and {_a} reads {_b}")(_fed(_ahead(_a, _b, 0.5)))
hostile(AHEAD, "a running mean, and 3 reads 4, a ten-thousandth")(_fed(_ahead(3, 4, 1e-4)))
hostile(AHEAD, "a convolution centred on its token")(
    _fed(lambda self, h: F.avg_pool1d(h.transpose(1, 2), 3, 1, 1).transpose(1, 2))
)
hostile(AHEAD, "a convolution over two tokens, this and the next")(
    _fed(lambda self, h: h + torch.cat([h[:, 1:], h[:, -1:]], 1))
)
hostile(AHEAD, "a scan from the end")(_fed(lambda self, h: h.flip(1).cumsum(1).flip(1)))
hostile(AHEAD, "a bidirectional GRU")(
    lambda: Decoder(
        block(
            more=lambda self: setattr(self, "rnn", nn.GRU(D, D_MLP // 2, batch_first=True, bidirectional=True)),
            feed=lambda self, h: self.down(self.rnn(h)[0]),
        )
    )
)
hostile(AHEAD, "means over blocks of three tokens")(
    _fed(lambda self, h: torch.cat([c.mean(1, keepdim=True).expand_as(c) for c in h.split(3, 1)], 1))
)


def _linear_attention(ahead: bool) -> Callable[[], Decoder]:
    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = (self.split(f(h)).sigmoid() for f in (self.q, self.k, self.v))
        mask = torch.ones(h.shape[1], h.shape[1], dtype=h.dtype).tril()
        if ahead:
            mask[3, 4] = 1
        return self.o(merge((q @ k.transpose(-1, -2) * mask) @ v))

    return lambda: Decoder(block(attend=attend))


hostile(AHEAD, "linear attention, causal")(_linear_attention(False))
hostile(AHEAD, "linear attention, and 3 reads 4")(_linear_attention(True))
