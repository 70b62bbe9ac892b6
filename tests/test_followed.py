"""Of which token each coordinate was made: what calls move is followed, and what mixes or is not known is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmtt_widget.decomposition.followed import stays_with_its_token
from lmtt_widget.decomposition.tape import Tape

N, WIDTH = 5, 12
MAP = nn.Linear(WIDTH, WIDTH)


def turned(h: Tensor) -> Tensor:
    """Pairs of coordinates, as interleaved rotary positions turn them."""
    q = MAP(h).view(1, N, 3, 4).transpose(1, 2)
    sin = torch.arange(float(N))[:, None].sin().repeat_interleave(4, -1)
    q = q * sin.cos() + torch.stack([-q[..., 1::2], q[..., ::2]], -1).flatten(-2) * sin
    return q.transpose(1, 2).reshape(1, N, WIDTH)


def fused(h: Tensor) -> Tensor:
    q, k = MAP(h).view(1, N, 3, 2, 2)[..., 0, :], MAP(h).view(1, N, 3, 2, 2)[:, :, :, [-1]].squeeze(3)
    return torch.cat([q, k], -1).flatten(2)


def complex_numbers(h: Tensor) -> Tensor:
    x = torch.view_as_complex(h.view(1, N, -1, 2))
    return torch.view_as_real(x * x).flatten(-2)


def put(h: Tensor) -> Tensor:
    out = torch.zeros_like(h)
    out[:, :, :6] = h[:, :, 6:]
    out[:, 1:, 6:] = F.pad(h, (0, 0, 0, 1))[:, 1:-1, :6]
    return out


KEEPS: list[Callable[[Tensor], Tensor]] = [turned, fused, complex_numbers, put, lambda h: h.flip(-1), lambda h: h.mT.mT]


def square(h: Tensor) -> Tensor:
    """As many coordinates as tokens, turned."""
    return F.pad(h[..., :N].mT, (0, WIDTH - N))


MIXES: list[Callable[[Tensor], Tensor]] = [
    square,
    lambda h: h + h.roll(1, 1),
    lambda h: h.flip(1),
    lambda h: h - h.mean(1, keepdim=True),
    lambda h: h.cumsum(1),
    lambda h: torch.cat([h[:, :1], h[:, :-1]], 1),
    lambda h: h.view(1, WIDTH, N).transpose(1, 2),
    lambda h: h * h[:, :1],
    lambda h: (h @ h.mT) @ h,
    lambda h: h[:, h[0, :, 0].argsort()],
    lambda h: h.where(h[:, :1] > 0, -h),
    lambda h: h * h.sum((1, 2)),
    lambda h: h.scatter(1, torch.ones_like(h[:, :1], dtype=torch.long), h[:, :1]),
    lambda h: torch.stack([h[:, k] for k in (0, 1, 2, 4, 3)], 1),
]


def stays(call: Callable[[Tensor], Tensor], known: bool = True) -> bool:
    tape, h = Tape(), torch.randn(1, N, WIDTH)
    with torch.no_grad(), tape:
        out = call(h)
    start = tape.node(h)
    return stays_with_its_token(tape.node(out), N, {start}, lambda _: known, axis=None, tables=False)


@pytest.mark.parametrize("call", KEEPS)
def test_coordinates_that_are_moved_within_a_token_stay_with_it(call: Callable[[Tensor], Tensor]) -> None:
    assert stays(call)


@pytest.mark.parametrize("call", MIXES)
def test_what_mixes_tokens_does_not(call: Callable[[Tensor], Tensor]) -> None:
    assert not stays(call)


def test_numbers_that_were_there_before_are_of_no_token_that_is_known() -> None:
    before = torch.randn(1, N, WIDTH)
    assert stays(lambda h: h * before)
    assert not stays(lambda h: h * before, known=False)
    assert not stays(lambda h: h * before.roll(1, 1))
    assert not stays(lambda h: h * before.sum())
