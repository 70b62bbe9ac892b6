"""How far a route alone leads: what the model says when everything that is not drawn is taken out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from .attribution import log_odds
from .decomposition.forward import in_plain_precision
from .given import integer, number, of_kind, place, told
from .graph import ATTENTION, PART
from .interventions import Edit, Kept
from .parts import wide
from .progress import Option, reported
from .routes import Routes
from .run import RECORDED, Run, last_state, record

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
    progress: Option = None,
) -> Faithfulness:
    """How much of a prediction's log odds the drawn lines and squares keep when everything else is taken out.

    routes: what is drawn at `threshold` (None: the automatic one) to its target; or, for a set of your own, a mask for
    each part by its number, [query, key] or [pos], and the `run` and `pos` it is about. Kept are these, the carried
    stream, embeddings, biases and norms; every other line becomes the same weight on the mean value ("mean"), nothing
    ("zero"), or what another run wrote there; every other MLP or mixer likewise. Patterns are those of the pass that is
    left, and beside it those of the whole model (frozen). The price is four passes; progress(done, total) counts them.

    (minimality and faithfulness of circuits: Hanna et al. 2024, arXiv:2403.17806; why the ablation is named: Miller et
    al. 2024, arXiv:2407.08734)

    Raises ValueError for a graph that was opened without its run, a run with interventions, and a mask of no part or of
    another shape.

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
    trial = Trial(run, masks, off, token, foil, pos)
    with reported("faithfulness", progress) as done:
        while trial.more():
            done(len(trial.odds), len(PASSES))
        done(len(PASSES), len(PASSES))
    return trial.found()


PASSES = ("kept", "none", "random", "frozen")


class Trial:
    """The passes behind one faithfulness, one at a time; what is known so far stays."""

    def __init__(
        self,
        run: Run,
        masks: Masks,
        off: Off | Run = "mean",
        token: int | None = None,
        foil: int | None = None,
        pos: int = -1,
        known: dict[str, Tensor] | None = None,
    ) -> None:
        """known: logits of earlier trials of this run, ablation and position, where everything was taken out."""
        if run.interventions:
            raise ValueError("faithfulness is of a run that nothing was edited in; ask it of the run without edits")
        self.run, self.off, self.pos, n_vocab = run, off, place(pos, run.n_tokens, "pos"), run.logits.shape[-1]
        self.before = wide(run.logits[self.pos])
        self.token = int(self.before.argmax()) if token is None else integer(token, "token", 0, n_vocab - 1)
        self.foil = None if foil is None else integer(foil, "foil", 0, n_vocab - 1)
        self.known = {} if known is None else known
        self.whole = {p.number: _everything(p, run.n_tokens) for p in _parts(run)}
        for k, mask in masks.items():
            _check_mask(run, k, mask, self.whole.get(k))
        self.masks = {
            k: masks[k].to(m.device, torch.bool) & m if k in masks else m & False for k, m in self.whole.items()
        }
        lines, squares = (int(sum(m.sum() for m in self.masks.values() if m.ndim == n)) for n in (2, 1))
        self.sizes = [lines, squares]
        self.odds: dict[str, float] = {}
        self.p: float | None = None  # of the token, with only these

    def more(self) -> bool:
        """Runs the next pass; whether there are others. Raises what `record` raises."""
        left = [name for name in PASSES if name not in self.odds]
        if left:
            logits = self._said(left[0])
            self.odds[left[0]] = float(log_odds(logits, self.token, self.foil))
            if left[0] == "kept":
                self.p = float(logits.softmax(-1)[self.token])
        return len(left) > 1

    def found(self) -> Faithfulness:
        """What they say; NaN for what was not tried yet."""
        kept, none, random, frozen = (self.odds.get(name, float("nan")) for name in PASSES)
        return Faithfulness(
            self.off if isinstance(self.off, str) else "another prompt", self.sizes[0], self.sizes[1],
            all=float(log_odds(self.before, self.token, self.foil)), none=none, odds=kept, odds_frozen=frozen,
            odds_random=random, p_before=float(self.before.softmax(-1)[self.token]),
            p=float("nan") if self.p is None else self.p,
        )  # fmt: skip

    def _said(self, name: str) -> Tensor:
        if name == "none":
            if name not in self.known:
                self.known[name] = self._alone({k: m & False for k, m in self.whole.items()})
            return self.known[name]
        return self._alone(_random(self.whole, self.sizes) if name == "random" else self.masks, frozen=name == "frozen")

    def _alone(self, masks: Masks, *, frozen: bool = False) -> Tensor:
        """The logits [d_vocab] of a pass with these lines and squares only."""
        run, edits = self.run, self.edits(masks, frozen=frozen)
        last = None if run.readout is None else last_state(run, edits)
        if last is not None and bool(last.isfinite().all()):
            assert run.readout is not None
            return wide(run.readout.unembed(run.readout.final(last, [self.pos]))[0])
        return wide(record(run.model, run, interventions=edits, progress=False).logits[self.pos])

    def edits(self, masks: Masks, *, frozen: bool = False) -> list[Edit]:
        """Everything but these lines and squares taken out."""
        off = 0.0 if isinstance(self.off, str) and self.off == "zero" else self.off
        return [
            Kept(
                {"kind": _KINDS[p.kind], "state": p.state, "part": p.number},
                off,
                keep=masks[p.number],
                frozen=p.heads.pattern() if frozen and p.heads else None,
            )
            for p in _parts(self.run)
        ]


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


def _check_mask(run: Run, number: Any, mask: Any, whole: Tensor | None) -> None:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < len(run.parts):
        raise ValueError(f"masks go by the number of a part, 0..{len(run.parts) - 1}, got {told(number)}")
    if whole is None:  # what is always kept
        return
    if not isinstance(mask, Tensor) or mask.shape != whole.shape:
        axes, got = ("[query, key]" if whole.ndim == 2 else "[pos]"), told(mask)
        raise ValueError(f"the mask of part {number} is a tensor {axes} = {list(whole.shape)}, got {got}")
    if mask.is_floating_point() and not bool(mask.isfinite().all()):
        raise ValueError(f"the mask of part {number} has entries that are not finite (NaN or infinite)")


def _random(whole: Mapping[int, Tensor], sizes: list[int]) -> dict[int, Tensor]:
    """As many lines and squares, drawn by chance; the same ones each time."""
    generator = torch.Generator().manual_seed(0)
    found: dict[int, Tensor] = {}
    for dimensions, n in zip((2, 1), sizes, strict=True):
        mine = {k: m for k, m in whole.items() if m.ndim == dimensions}
        if mine:
            found |= strongest({k: torch.rand(m.shape, generator=generator) * m for k, m in mine.items()}, n)
    return found
