"""The proximities of a tile through torch.compile: one fused kernel per sum, on a GPU or through a C++ compiler."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor

from . import in_torch
from .tiles import Sums, Tile

smallest = in_torch.smallest


@cache
def _compiled() -> tuple[Any, Any]:
    return torch.compile(in_torch.overshoot, dynamic=True), torch.compile(in_torch.first_overshoot, dynamic=True)


def proximities(tile: Tile) -> Tensor:
    """[head, query, key]"""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler, about itself
        return in_torch.proximities(tile, *_compiled())


def add(tile: Tile, into: Sums) -> None:
    """Adds the proximities of a tile to their sums."""
    in_torch.add(tile, into, proximities)


@cache
def why_not(device: str) -> str:
    """Why torch.compile cannot make a kernel for this device; empty if it can."""
    x = torch.ones(2, 3, device=device)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _compiled()[0](x[:, 0], x, x, x)
    except Exception as e:  # noqa: BLE001
        # A missing compiler, driver or platform each fails in a way of its own.
        first = next(iter(str(e).strip().splitlines()), type(e).__name__)
        return f"torch.compile cannot make kernels for {device} here: {first:.200}"
    return ""
