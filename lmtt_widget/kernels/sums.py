"""The proximities of every head and key of an attention write, summed over heads or one by one."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Literal

import torch
from torch import Tensor

from ..decomposition.heads import Heads
from ..decomposition.linear import LinearMap
from ..decomposition.paths import Path
from ..decomposition.products import Product
from ..decomposition.writes import LinearWrite
from .threads import Team, side_by_side
from .tiles import Sums, Tile, tiles, whole_for

_BAND = 1 << 22  # queries times keys that are summed at a time: every thread holds sums of its own

KernelName = Literal["auto", "torch", "numba", "compiled"]


@dataclass(frozen=True)
class Kernel:
    """One way to compute the same numbers."""

    name: str
    proximities: Callable[[Tile], Tensor]  # [head, query, key]
    add: Callable[[Tile, Sums], None]
    smallest: Callable[[Tensor], tuple[Tensor, Tensor]]
    block: int = 0  # of so many keys it wants the OV outputs together; 0: key by key
    add_each: Callable[[Tile, Sums], None] | None = None  # the same of tiles of several writes, if it can at once
    why: str = ""  # not the one that was asked for, or that would be faster

    def team(self, device: torch.device) -> AbstractContextManager[Team]:
        """The threads it works in; what torch.compile makes has threads of its own."""
        return nullcontext(Team()) if self.name == "compiled" else side_by_side(device)

    def brought(self, x: Tensor) -> Tensor:
        """x where it can work on it; everything else follows."""
        return x.cpu() if self.name == "numba" else x

    def __str__(self) -> str:
        return f"{self.name} ({self.why})" if self.why else self.name


def kernel_for(device: torch.device, name: KernelName = "auto") -> Kernel:
    """The kernel of that name, or the fastest there is; plain torch with the reason where it cannot run.

    Raises ValueError for an unknown name.
    """
    if name not in ("auto", "torch", "numba", "compiled"):
        raise ValueError(f'kernel must be "auto", "numba", "compiled" or "torch", got {name!r}')
    if name == "auto" and device.type == "cpu":
        return _on_cpu()
    if name == "auto":
        name = "compiled"
    made = _kernel(name, device.type)
    if made.name == "numba" and device.type != "cpu":
        return replace(made, why=f"on copies, the model is on {device}")
    return made


@cache
def _kernel(name: KernelName, device: str) -> Kernel:
    if name == "torch":
        return _torch()
    try:
        made: Any = importlib.import_module(f"{__package__}.in_numba" if name == "numba" else f"{__package__}.compiled")
    except ImportError as e:
        return _torch(f"numba is not installed ({e}); pip install 'lmtt-widget[fast]'")
    if name == "compiled":
        why = made.why_not(device)
        if why:
            return _torch(why)
    each = getattr(made, "add_each", None)
    return Kernel(name, made.proximities, made.add, made.smallest, getattr(made, "BLOCK", 0), each)


def _on_cpu() -> Kernel:
    """numba's; where it has no machine code yet (once after an install), torch's until the process ends."""
    made = _kernel("numba", "cpu")
    if made.name != "numba" or _has_machine_code():
        return made
    return _torch("numba makes its machine code, once after an install; the next session uses it")


@cache
def _has_machine_code() -> bool:
    """Looked up once, so that the numbers of a process all come from one kernel; else it is made meanwhile."""
    numba: Any = importlib.import_module(f"{__package__}.in_numba")
    if numba.is_made():
        return True
    threading.Thread(target=_make, name="lmtt numba").start()  # no daemon: a compiler must not be cut off
    return False


def _make() -> None:
    """Has numba make its machine code: one head that moves three tokens, by itself and beside another one."""
    n, d_model, d_head = 3, 32, 4
    product = Product(torch.ones(1, n, d_head), 1, torch.ones(1, n, n), None, torch.arange(d_head)[None])
    z, nothing = torch.ones(n, d_head), torch.zeros(())
    write = LinearWrite(
        "attention", "", Path(), torch.ones(n, d_model), map=LinearMap(weight=torch.ones(d_head, d_model)), input=z,
        heads=Heads([product], None, nothing, nothing),
    )  # fmt: skip
    kernel, whole = _kernel("numba", "cpu"), torch.ones(2, n, d_model)
    proximity_sums(write, whole[0], kernel=kernel)
    alike: Any = importlib.import_module(f"{__package__}.alike")  # which needs this file
    alike.sums_of_alike([write, write], whole, kernel=kernel, slack=None, team=Team(), each=None)


def _torch(why: str = "") -> Kernel:
    from . import in_torch

    return Kernel("torch", in_torch.proximities, in_torch.add, in_torch.smallest, why=why)


def proximity_sums(
    write: LinearWrite,
    whole: Tensor,
    *,
    kernel: Kernel,
    slack: Tensor | None = None,
    team: Team | None = None,
    each: Tensor | None = None,
) -> Sums:
    """Sum, maximum and top head over the heads of max(0, |y|_1 - |y - z|_1), for every query and key, and head sums.

    whole [query, d_model], the state y that the write enters. slack [query]: a vector z whose sign(y) . z, which is
    never less than its proximity, is not above it is taken to be that near. each [head, query, key], zeros: where the
    proximities themselves go, for whoever needs them too. (Ferrando & Voita 2024, arXiv:2403.00824)
    """
    assert write.heads is not None
    n, n_heads, team = len(whole), write.heads.n_heads, team or Team()
    prepared = whole_for(write, whole, slack, kernel.smallest, team)

    def summed(queries: range, heads: range) -> Sums:
        here = replace(prepared.rows(queries.start, queries.stop), taken=whole.new_zeros(len(queries)))
        found = Sums.zeros(whole, len(queries), queries.stop, n_heads)
        for tile in tiles(write, here, queries, heads, team, kernel.block):
            kernel.add(tile, found.rows(tile.start - queries.start, tile.stop - queries.start))
            if each is not None:
                each[tile.first_head : tile.first_head + len(tile.dot), tile.start : tile.stop, : tile.stop] = tile.dot
        return replace(found, off=here.taken)

    bands, step = [], max(1, _BAND // n)
    for start in range(0, n, step):
        queries = range(start, min(start + step, n))
        bands.append(_over_heads(_among_heads(write, team).spread(partial(summed, queries), n_heads)))
    return bands[0] if len(bands) == 1 else _stacked(bands, n)


def head_proximities(
    write: LinearWrite, whole: Tensor, queries: range, heads: range | None = None, *, kernel: Kernel
) -> Tensor:
    """The proximity of every head's vectors at some queries: [head, query, key].

    whole [query, d_model]: the state at all queries. heads: consecutive ones; None: all.
    """
    assert write.heads is not None
    first = 0 if heads is None else heads.start
    found = whole.new_zeros(write.heads.n_heads if heads is None else len(heads), len(queries), len(whole))
    with kernel.team(whole.device) as team:
        prepared = whole_for(write, whole[queries.start : queries.stop], None, kernel.smallest, team)

        def fill(some: range) -> None:
            for tile in tiles(
                write, prepared, queries, range(some.start + first, some.stop + first), team, kernel.block
            ):
                head, row = tile.first_head - first, tile.start - queries.start
                near = kernel.proximities(tile)
                found[head : head + len(near), row : row + near.shape[1], : tile.stop] = near

        _among_heads(write, team).spread(fill, len(found))
    return found


def _among_heads(write: LinearWrite, team: Team) -> Team:
    """Those who may work on heads at the same time: one where a module is called, which may not stand two calls at once
    (its weights may be moved in before it and out after it)."""
    return team if write.map.weight() is not None else Team()


def _over_heads(found: list[Sums]) -> Sums:
    """The sums over several groups of heads, in their order."""
    into = found[0]
    for more in found[1:]:
        into.sum += more.sum
        into.top = torch.where(more.max > into.max, more.top, into.top)
        torch.maximum(into.max, more.max, out=into.max)
        into.heads += more.heads
        into.off += more.off
    return into


def _stacked(bands: list[Sums], n_keys: int) -> Sums:
    """Bands of queries below one another; a band has the keys up to its last query."""

    def full(of: Callable[[Sums], Tensor]) -> Tensor:
        return torch.cat([torch.nn.functional.pad(of(b), (0, n_keys - b.sum.shape[1])) for b in bands])

    heads, off = torch.cat([b.heads for b in bands], 1), torch.cat([b.off for b in bands])
    return Sums(full(lambda b: b.sum), full(lambda b: b.max), full(lambda b: b.top), heads, off)
