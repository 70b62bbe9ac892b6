"""How far a route alone leads: what the model says when everything that is not drawn is taken out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from .decomposition.forward import in_plain_precision
from .given import integer, number, of_kind, place, told
from .graph import ATTENTION, PART
from .interventions import Kept
from .parts import wide
from .routes import Routes
from .run import RECORDED, Run, record
from .verdicts import log_odds

Off = Literal["mean", "zero"]
Masks = Mapping[int, Tensor]  # part -> [query, key] of an attention part, [pos] of another; True: stays
_KINDS = {"attention": "edge", "mlp": "mlp", "mixer": "mixer", "skip": "mixer"}
LITTLE = 1.0  # nats: below this there is nothing to lose


@dataclass(frozen=True)
class Faithfulness:
    """How much of the log odds a set of lines and squares keeps by itself.

    >>> found = lmtt.faithfulness(lmtt.trace(graph, encoding="flow"), 0.0)  # every line with a share is drawn
    >>> 0.9 < found.kept < 1.1, found.off
    (True, 'mean')
    """

    off: str  # what stands in place of everything else
    n_lines: int
    n_squares: int
    all: float  # log odds of the whole model, in nats
    none: float  # with every line and square taken out
    odds: float  # with only these
    odds_frozen: float  # the same, every head with the pattern it had in the whole model
    odds_random: float  # with as many lines and squares drawn at random
    p_before: float
    p: float  # of the token, with only these

    @property
    def nothing_to_lose(self) -> bool:
        """Whether less than 1 nat is at stake, so that shares of it say nothing."""
        return abs(self.all - self.none) < LITTLE

    @property
    def kept(self) -> float:
        """(odds - none) / (all - none), not clamped: 1 where the set says all that the model does."""
        return self._of(self.odds)

    @property
    def kept_frozen(self) -> float:
        """The same with frozen patterns."""
        return self._of(self.odds_frozen)

    @property
    def kept_random(self) -> float:
        """The same of a random set."""
        return self._of(self.odds_random)

    def _of(self, odds: float) -> float:
        return (odds - self.none) / (self.all - self.none) if self.all != self.none else float("nan")

    def __repr__(self) -> str:
        what = f"{self.n_lines} lines and {self.n_squares} squares alone (the rest: {self.off})"
        if self.nothing_to_lose:
            return f"Faithfulness({what}: nothing to lose, {abs(self.all - self.none):.2f} nats at stake)"
        return (
            f"Faithfulness({what} keep {self.kept:.0%} of {self.all - self.none:.1f} nats, "
            f"{self.kept_frozen:.0%} with frozen patterns, as many at random {self.kept_random:.0%}; "
            f"p {self.p_before:.1%} -> {self.p:.1%})"
        )


@in_plain_precision
def faithfulness(
    routes: Routes | Masks,
    threshold: float | None = None,
    *,
    off: Off | Run = "mean",
    run: Run | None = None,
    token: int | None = None,
    foil: int | None = None,
    pos: int = -1,
) -> Faithfulness:
    """How much of a prediction's log odds the drawn lines and squares keep when everything else is taken out.

    routes: what is drawn at `threshold` (None: the automatic one) to its target; or, for a set of your own, a mask for
    each part by its number, [query, key] or [pos], and the `run` and `pos` it is about. Kept are these, the carried
    stream, embeddings, biases and norms; every other line becomes the same weight on the mean value ("mean"), nothing
    ("zero"), or what another run wrote there; every other MLP or mixer likewise. Patterns are those of the pass that is
    left, and beside it those of the whole model (frozen). The price is five forward passes.

    (minimality and faithfulness of circuits: Hanna et al. 2024, arXiv:2403.17806; why the ablation is named: Miller et
    al. 2024, arXiv:2407.08734)

    Raises ValueError for a graph that was opened without its run.

        >>> found = lmtt.faithfulness(lmtt.trace(graph, encoding="flow"), foil=model.token_id(" John"))
        >>> found.nothing_to_lose, found.kept > found.kept_random
        (False, True)
    """
    if not isinstance(routes, (Routes, Mapping)):
        raise TypeError(f"routes must be what trace(graph) gives, or a mask for each part, got {told(routes)}")
    if not (isinstance(off, Run) or (isinstance(off, str) and off in ("mean", "zero"))):
        raise ValueError(f'off is "mean", "zero" or another run, got {told(off)}')
    if run is not None:
        of_kind(run, Run, "run", RECORDED)
    if threshold is not None:
        threshold = number(threshold, "threshold")
    if isinstance(routes, Routes):
        place(pos, routes.graph.n_tokens, "pos")
        if run is not None and run is not routes.graph.run:
            raise ValueError("routes know their own run; leave run out")
        run, pos, masks = routes.graph.run, routes.target, drawn(routes, routes.drawn_threshold(threshold))
        if run is None:
            raise ValueError("faithfulness needs the model; this graph was opened without its run")
    elif run is None:
        raise ValueError("a set of your own needs the run it is about: faithfulness(masks, run=run)")
    else:
        masks = dict(routes)
    pos, n_vocab = place(pos, run.n_tokens, "pos"), run.logits.shape[-1]
    token = int(run.logits[pos].argmax()) if token is None else integer(token, "token", 0, n_vocab - 1)
    if foil is not None:
        integer(foil, "foil", 0, n_vocab - 1)
    whole = {p.number: _everything(p, run.n_tokens) for p in _parts(run)}
    given = {k: masks[k].to(torch.bool) & mask if k in masks else mask & False for k, mask in whole.items()}

    def said(masks: Masks, *, frozen: bool = False) -> Tensor:
        edits = [
            Kept(
                {"kind": _KINDS[p.kind], "state": p.state, "part": p.number},
                0.0 if isinstance(off, str) and off == "zero" else off,
                keep=masks[p.number],
                frozen=p.heads.pattern() if frozen and p.heads else None,
            )
            for p in _parts(run)
        ]
        return wide(record(run.model, run, interventions=edits, progress=lambda *_: None).logits[pos])

    def odds(logits: Tensor) -> float:
        return float(log_odds(logits, token, foil))

    left = said(given)
    sizes = [int(sum(m.sum() for k, m in given.items() if (m.ndim == 2) is lines)) for lines in (True, False)]
    return Faithfulness(
        off if isinstance(off, str) else "another prompt", sizes[0], sizes[1],
        all=odds(wide(run.logits[pos])), none=odds(said({k: m & False for k, m in whole.items()})), odds=odds(left),
        odds_frozen=odds(said(given, frozen=True)), odds_random=odds(said(_random(whole, sizes))),
        p_before=float(wide(run.logits[pos]).softmax(-1)[token]), p=float(left.softmax(-1)[token]),
    )  # fmt: skip


def drawn(routes: Routes, threshold: float) -> dict[int, Tensor]:
    """The lines and squares that are drawn at a threshold, as masks by the number of their part."""
    g, found = routes.graph, dict[int, Tensor]()
    for b in g.blocks:
        strong = torch.from_numpy(routes.strength[b.edges] > threshold)
        query, key = (torch.from_numpy(x[b.edges][strong.numpy()].astype("int64")) for x in (g.query, g.key))
        if b.kind == ATTENTION:
            found[b.part] = torch.zeros(g.n_tokens, g.n_tokens, dtype=torch.bool)
            found[b.part][query, key] = True
        elif b.kind == PART:
            found[b.part] = torch.zeros(g.n_tokens, dtype=torch.bool)
            found[b.part][query] = True
    return found


def strongest(scores: Mapping[int, Tensor], n: int) -> dict[int, Tensor]:
    """The n largest of scores [query, key] or [pos] by part, as masks."""
    flat = torch.cat([s.reshape(-1) for s in scores.values()])
    chosen = torch.zeros_like(flat, dtype=torch.bool)
    chosen[flat.topk(min(n, len(flat))).indices] = True
    pieces = chosen.split([s.numel() for s in scores.values()])
    return {k: piece.reshape(s.shape) for (k, s), piece in zip(scores.items(), pieces, strict=True)}


def _parts(run: Run) -> list[Any]:
    return [p for p in run.parts if p.kind in ("attention", "mlp", "mixer", "skip")]


def _everything(part: Any, n: int) -> Tensor:
    return torch.ones(n, n, dtype=torch.bool).tril() if part.heads else torch.ones(n, dtype=torch.bool)


def _random(whole: Mapping[int, Tensor], sizes: list[int]) -> dict[int, Tensor]:
    """As many lines and squares, drawn by chance; the same ones each time."""
    generator = torch.Generator().manual_seed(0)
    found: dict[int, Tensor] = {}
    for dimensions, n in zip((2, 1), sizes, strict=True):
        mine = {k: m for k, m in whole.items() if m.ndim == dimensions}
        if mine:
            found |= strongest({k: torch.rand(m.shape, generator=generator) * m for k, m in mine.items()}, n)
    return found
