"""The attention patterns of all heads of a part, small enough to look at side by side."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .decomposition.heads import Heads

SIDE = 64  # of a small pattern, in cells
_BLOCK = 1 << 20  # numbers of patterns that are made at a time


def pooled(heads: Heads, n_tokens: int, most: int = SIDE) -> Tensor:
    """The patterns of all heads, each cell the largest of what it stands for: [head, side, side], a side up to `most`.

    Made some queries at a time, since whole patterns of all heads take 0.5 GiB at 2,048 tokens and 32 heads.
    """
    side = min(n_tokens, most)
    cells = [range(k * n_tokens // side, -(-(k + 1) * n_tokens // side)) for k in range(side)]  # of adaptive_max_pool
    at_once = max(1, _BLOCK * side // (heads.n_heads * n_tokens**2))
    rows = []
    for some in (cells[k : k + at_once] for k in range(0, side, at_once)):
        first = some[0].start
        pattern = heads.pattern(slice(first, some[-1].stop))
        rows += [pattern[:, c.start - first : c.stop - first].amax(1) for c in some]
    return F.adaptive_max_pool1d(torch.stack(rows, 1).float(), side).cpu()


def largest(heads: Heads, n_tokens: int) -> float:
    """The largest attention of all heads, found some queries at a time."""
    at_once = max(1, _BLOCK // (heads.n_heads * n_tokens))
    found = [heads.pattern(slice(q, min(q + at_once, n_tokens))).amax() for q in range(0, n_tokens, at_once)]
    return float(torch.stack(found).max())


def thumbs(small: Tensor) -> tuple[Tensor, Tensor]:
    """Small patterns [head, query, key] as bytes on a square-root scale, each to its largest."""
    largest = small.amax((1, 2))
    scaled = (small / largest.clamp_min(1e-30)[:, None, None]).sqrt()
    return (scaled * 255).round().to(torch.uint8), largest


SCORES = ("previous", "first", "duplicate", "induction")


def scores(heads: Heads, ids: Tensor) -> dict[str, Tensor]:
    """How much each head looks, on average, at four places of this prompt: [head] each, nan where it has none.

    previous: the token before. first: the first token. duplicate: earlier tokens that are the same one. induction: the
    tokens that came after those. (Olsson et al. 2022, arXiv:2209.11895)
    """
    n = len(ids)
    sums = torch.zeros(len(SCORES), heads.n_heads)
    counts = torch.zeros(len(SCORES))
    at_once = max(1, _BLOCK // (heads.n_heads * n))
    key = torch.arange(n)
    for start in range(0, n, at_once):
        query = torch.arange(start, min(start + at_once, n))[:, None]
        same = (ids[query] == ids[None]) & (key < query)
        after = torch.zeros_like(same)
        after[:, 1:] = same[:, :-1]
        after &= key < query
        places = torch.stack([key == query - 1, (key == 0) & (query > 0), same, after])  # [score, query, key]
        pattern = heads.pattern(slice(start, int(query[-1]) + 1)).float().cpu()
        sums += torch.einsum("hqk,sqk->sh", pattern, places.float())
        counts += places.any(-1).sum(-1)
    return dict(zip(SCORES, sums / torch.where(counts > 0, counts, torch.nan)[:, None], strict=True))
