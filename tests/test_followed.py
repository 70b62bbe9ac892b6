"""Of which token each coordinate was made: what calls move is followed, and what mixes or is not known is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmtt_widget.decomposition.followed import stays_with_its_token
from lmtt_widget.decomposition.nodes import TOLD
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


GATE, EXPERTS = nn.Parameter(torch.randn(WIDTH, 3)), nn.Parameter(torch.randn(3, WIDTH, WIDTH))


def experts(
    h: Tensor, *, asked: slice = slice(None), least: int = 0, most: int = 3, other: int = 0, put_back: bool = True
) -> Tensor:
    """Each token through the two of three experts that it chose: as models write it, but for what is given."""
    x = h.view(N, WIDTH)
    mask = F.one_hot((x @ GATE).softmax(-1).topk(2, -1)[1], 3).permute(2, 1, 0)
    found = torch.greater(mask.sum((-1, -2)), least).nonzero()
    out = torch.zeros_like(x)
    for k, e in enumerate(found[asked]):
        if k == most:
            break
        at = torch.where(mask.roll(other, 0)[e[0]] if other else mask[e[0]])[1]
        if put_back:
            out.index_add_(0, at, F.silu(F.linear(x[at], EXPERTS[e[0]])))
        else:
            out = out + F.linear(x, EXPERTS[e[0]])
    return out.view(1, N, WIDTH)


def compacted(h: Tensor) -> Tensor:
    """The rows of some tokens one after the other."""
    rows = h[0][torch.where(h[0, :, 0] > -99)[0]]
    return torch.cat([rows, rows[:0]])[None]


KEEPS: list[Callable[[Tensor], Tensor]] = [
    turned, fused, complex_numbers, put, lambda h: h.flip(-1), lambda h: h.mT.mT, experts,
]  # fmt: skip


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
    compacted,
    lambda h: experts(h, asked=slice(1)),  # which one that is depends on everybody
    lambda h: experts(h, most=1),
    lambda h: experts(h, least=1),  # one that a token chose alone is left out
    lambda h: experts(h, other=1),  # somebody else's expert
    lambda h: experts(h, put_back=False),  # everybody through each that anybody chose
    lambda h: F.linear(h, EXPERTS[(h[0] @ GATE).mean(0).argmax()]),
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


@pytest.mark.parametrize(("number", "told"), [(3, False), (0, True)])
def test_to_ask_whether_an_expert_is_one_that_there_is_not_tells_nothing(number: int, told: bool) -> None:
    tape, h = Tape(), torch.randn(1, N, WIDTH)
    tape.add(h, "state")
    with torch.no_grad(), tape:
        hits = [bool(e[0] == number) for e in torch.greater(h.abs().sum((0, 1))[:3], 0).nonzero()]
    assert any(hits) == told == (TOLD in tape.calls())
