"""What edits do to a prediction: exact, in batches, from the layer concerned on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from .attribution import log_odds
from .decomposition.forward import in_plain_precision
from .decomposition.readout import Readout
from .edited import edited
from .estimates import estimate
from .fingerprint import fingerprint
from .given import flag, integer, of_kind, place, places, told
from .interventions import Edit, checked_edits
from .lens import TokenList
from .parts import wide
from .progress import Progress, reported
from .rest import Rest
from .run import RECORDED, Run, record
from .tokens import Token

Ablation = Literal["zero", "mean"]
_MOVED, _BATCH = 8, 16
_NO_ROOM = ("out of memory", "can't allocate memory")  # as devices and the processor's allocator say it
_FIRST = 8  # heads that are tried strictly in the order of their estimates


@dataclass(frozen=True)
class Verdict:
    """What one edit does to a prediction: exact, by a forward pass with it and one without.

    >>> cut = lmtt.Edit({"kind": "edge", "state": 5, "query": 13, "key": 1})
    >>> verdict = lmtt.effects(run, [cut])[0]
    >>> round(verdict.p_before, 3), round(verdict.p, 3)
    (1.0, 0.088)
    """

    edits: tuple[Edit, ...]
    token: Token
    foil: Token | None
    pos: int  # of the prediction
    p_before: float
    p: float
    logit_before: float
    logit: float
    odds_before: float  # nats: the logit minus the foil's; without a foil log p / (1 - p)
    odds: float
    kl: float  # nats, KL(before || after)
    moved: TokenList  # the tokens whose probability changed most; scores are the changes, probabilities those after

    @property
    def change(self) -> float:
        """Of the log odds, in nats: negative where what was edited held the answer up."""
        return self.odds - self.odds_before

    def __repr__(self) -> str:
        against = "" if self.foil is None else f" against {self.foil.text}"
        what = " and ".join(map(str, self.edits))
        return (
            f"With {what}, {self.token.text} goes from {self.p_before:.1%} to {self.p:.1%}; log odds{against} "
            f"{self.odds_before:.2f} -> {self.odds:.2f} ({self.change:+.2f}, exact)"
        )


@dataclass(frozen=True)
class Effects(Sequence[Verdict]):
    """Verdicts, in the order of the edits; `left` edits were not tried, since it was stopped.

    >>> heads = lmtt.effects(run, "heads", foil=model.token_id(" John"))
    >>> len(heads), heads.strongest(1)[0].edits[0].selection["state"]
    (32, 1)
    """

    verdicts: tuple[Verdict, ...]
    ablation: str  # what stood in place of what was edited, in a word
    left: int = 0

    def __getitem__(self, index: Any) -> Any:
        return self.verdicts[index]

    def __len__(self) -> int:
        return len(self.verdicts)

    def strongest(self, n: int = 10) -> list[Verdict]:
        """Those that lower the log odds most, first."""
        return sorted(self.verdicts, key=lambda v: v.change)[:n]

    def to_dict(self) -> list[dict[str, Any]]:
        """One record for each verdict, ready for a data frame."""
        return [
            {"edit": " and ".join(map(str, v.edits)), "token": v.token.text, "p_before": v.p_before, "p": v.p,
             "logit_before": v.logit_before, "logit": v.logit, "odds_before": v.odds_before, "odds": v.odds,
             "change": v.change, "kl": v.kl}
            for v in self.verdicts
        ]  # fmt: skip

    def __repr__(self) -> str:
        left = f", {self.left} not tried" if self.left else ""
        lines = [f"Effects of {len(self)} edits ({self.ablation}, exact{left}); the strongest:"]
        return "\n  ".join([*lines, *map(repr, self.strongest(8))])


@in_plain_precision
def effects(
    run: Run,
    edits: Sequence[Edit | Sequence[Edit]] | Literal["heads"],
    *,
    token: int | None = None,
    foil: int | None = None,
    pos: int = -1,
    ablation: Ablation | Run = "zero",
    whole_pass: bool = False,
    progress: Progress | None = None,
) -> Effects:
    """What each edit does to a prediction, exactly: the same numbers as of `record(interventions=...)`.

    edits: each an Edit, or several that act together; "heads" is every head of the model by itself, each replaced by
    what `ablation` says: "zero", "mean" (over the prompt's positions), or another run (resample).
    token: an id, by default the model's prediction at `pos`; foil: an id it is set against.
    "heads" are tried best estimates first: the first eight strictly so, then layer by layer, that of the best first.
    Edits of one state are tried in batches, and only the layers above it run; where those do not give the model's own
    pass to the bit (which is tried), or with whole_pass=True, every edit is a pass of its own.
    progress(done, total) is called as it goes on. An interrupt ends it early and keeps what is there.

    What follows from one prompt need not hold on another, an effect of 0 does not mean that a part is not used (others
    may step in: arXiv:2402.15390), and effects of zero, mean and another prompt differ. (arXiv:2309.16042)

    Raises ValueError for an edit that would meet nothing or a token that is not in the vocabulary.

        >>> found = lmtt.effects(run, [lmtt.Edit({"kind": "mlp", "state": 4})], foil=model.token_id(" John"))
        >>> found[0].token.text, found[0].change < 0
        ('·Mary', True)
    """
    of_kind(run, Run, "run", RECORDED)
    flag(whole_pass, "whole_pass")
    jobs = _jobs(run, edits, ablation)
    named = "as the edits say" if edits != "heads" else ablation if isinstance(ablation, str) else "another prompt"
    asked = _Asked(run, token, foil, pos)
    found: dict[int, Verdict] = {}
    with reported("effects", progress) as done:
        try:
            for some in _turns(asked, ablation) if isinstance(edits, str) else [range(len(jobs))]:
                for numbers, logits in _answers(run, {k: jobs[k] for k in some}, asked.pos, whole_pass):
                    for number, row in zip(numbers, logits, strict=True):
                        found[number] = asked.verdict(jobs[number], row)
                    done(len(found), len(jobs))
        except KeyboardInterrupt:
            if not found:
                raise
    return Effects(tuple(found[k] for k in sorted(found)), named, len(jobs) - len(found))


def _turns(asked: _Asked, ablation: Any) -> Iterator[list[int]]:
    """The numbers of all heads, the largest estimates first, then all others, since a layer's heads share passes."""
    other = ablation if isinstance(ablation, Run) and ablation.n_tokens == asked.run.n_tokens else None
    try:
        found = estimate(asked.run, token=asked.token, foil=asked.foil, pos=asked.pos, other=other).all_heads()
        order = found.abs().argsort(descending=True, stable=True).tolist()
    except ValueError:  # no gradient goes back
        order = list(range(len(heads_of(asked.run))))
    at, size = 0, _FIRST
    while at < len(order):
        yield order[at : at + size]
        at, size = at + size, len(order)


def verdict_of(run: Run, clean: Run, *, token: int | None = None, foil: int | None = None, pos: int = -1) -> Verdict:
    """What the edits of a run did to what the same prompt says without them at a position. No pass is run."""
    asked = _Asked(clean, token, foil, pos)
    return asked.verdict(run.interventions, run.logits[asked.pos])


def heads_of(run: Run, ablation: Ablation | Run = "zero") -> list[Edit]:
    """One edit for every head of the model."""
    to: Any = 0.0 if isinstance(ablation, str) and ablation == "zero" else ablation
    return [
        Edit({"kind": "head", "state": p.state, "part": p.number, "head": h}, to)
        for p in run.parts
        if p.kind == "attention"
        for h in range(p.n_heads)
    ]


def knock_outs(run: Run, key: int, query: int | None = None, layers: Iterable[int] | None = None) -> list[Edit]:
    """That no head of some layers (None: all) looks from a query (None: any) at a key: an edit for each such part.

    What is left of each row takes over. Single layers show little, since others see the token as well; give the edits
    together. A part that does not look there (behind a mask) is left out. (Geva et al. 2023, arXiv:2304.14767)

    Raises ValueError where no part of these layers looks from the query at the key, or at it alone.

        >>> edits = lmtt.knock_outs(run, key=1, query=13, layers=range(2, 4))
        >>> lmtt.effects(run, [edits], foil=model.token_id(" John"))[0].change < -5
        True
    """
    of_kind(run, Run, "run", RECORDED)
    key = place(key, run.n_tokens, "key")
    query = None if query is None else place(query, run.n_tokens, "query")
    numbers = {p.layer for p in run.parts if p.layer is not None}
    wanted = numbers if layers is None else set(places(layers, 1 + max(numbers, default=-1), "layers"))
    if query is not None and key > query:
        raise ValueError(f"a line from the future: query {query} cannot look at the later key {key}")
    here = {"key": key} if query is None else {"query": query, "key": key}
    rows = slice(key, run.n_tokens) if query is None else slice(query, query + 1)
    found = [
        Edit({"kind": "edge", "state": p.state, "part": p.number, **here}, renormalise=True)
        for p in run.parts
        if p.heads is not None and p.layer in wanted and bool(p.heads.pattern(rows)[:, :, key].any())
    ]
    if not found:
        whence = "" if query is None else f"from query {query} "
        raise ValueError(f"no attention of these layers looks {whence}at key {key}, so there is nothing to knock out")
    return found


def _jobs(run: Run, edits: Any, ablation: Any) -> list[tuple[Edit, ...]]:
    if isinstance(edits, str) and edits != "heads":
        raise ValueError(f'edits are a list of Edit, or "heads", got {edits!r:.40}')
    known = isinstance(edits, str) or (
        isinstance(edits, (list, tuple)) and all(isinstance(e, (Edit, list, tuple)) for e in edits)
    )
    if not known:
        raise TypeError(f'edits must be a list of Edits, or "heads", got {told(edits)}')
    if not (isinstance(ablation, Run) or (isinstance(ablation, str) and ablation in ("zero", "mean"))):
        raise ValueError(f'an ablation is "zero", "mean" or another run, got {told(ablation)}')
    if run.interventions:
        raise ValueError("effects are of a run that nothing was edited in; give the edits together instead")
    with_: Any = ablation
    given = heads_of(run, with_) if isinstance(edits, str) else edits
    jobs = [(e,) if isinstance(e, Edit) else tuple(e) for e in given]
    for job in jobs:
        if not checked_edits(job, run.states, run.n_tokens):
            raise ValueError("an edit is missing: several that act together are at least one")
    return jobs


class _Asked:
    """What is asked about a prediction, and what was said without edits."""

    def __init__(self, run: Run, token: int | None, foil: int | None, pos: int) -> None:
        n, n_vocab = run.n_tokens, run.logits.shape[-1]
        self.run, self.pos = run, place(pos, n, "pos")
        self.before = wide(run.logits[self.pos]).cpu()
        self.token, self.foil = int(self.before.argmax()) if token is None else token, foil
        for i, name in ((self.token, "token"), (foil, "foil")):
            if i is not None:
                integer(i, name, 0, n_vocab - 1)
        if self.foil == self.token:
            raise ValueError("the foil is the token itself; choose another, or none")

    def odds(self, logits: Tensor) -> float:
        """Log odds, in nats."""
        return float(log_odds(logits, self.token, self.foil))

    def verdict(self, edits: tuple[Edit, ...], logits: Tensor) -> Verdict:
        model, after = self.run.model, wide(logits).cpu()
        p, q = self.before.log_softmax(-1), after.log_softmax(-1)
        change = q.exp() - p.exp()
        ids = change.abs().topk(min(_MOVED, len(change))).indices
        named = model.vocabulary([self.token] if self.foil is None else [self.token, self.foil])
        return Verdict(
            edits, named[0], None if self.foil is None else named[1], self.pos,
            float(p[self.token].exp()), float(q[self.token].exp()),
            float(self.before[self.token]), float(after[self.token]), self.odds(self.before), self.odds(after),
            float((p.exp() * (p - q)).sum().clamp_min(0)),
            TokenList(model.vocabulary(ids.tolist()), change[ids], q.exp()[ids]),
        )  # fmt: skip


# ---- passes ----


def _answers(
    run: Run, jobs: dict[int, tuple[Edit, ...]], pos: int, whole_pass: bool
) -> Iterator[tuple[list[int], list[Tensor]]]:
    """Numbers of jobs, and the logits [d_vocab] of each."""
    groups: dict[int, list[int]] = {}
    alone = []
    for number, job in jobs.items():
        states = {e.state for e in job}
        if len(states) == 1 and not whole_pass and all(e.kind != "reading" for e in job):
            groups.setdefault(states.pop(), []).append(number)
        else:
            alone.append(number)
    rest = _rest(run) if groups and run.readout is not None else None
    for state, numbers in groups.items():
        if rest is None:
            alone += numbers
            continue
        tried = 0
        try:
            for some, logits in _batches(run, rest, state, [(k, jobs[k]) for k in numbers], pos):
                yield some, logits
                tried += len(some)
        except Exception:  # noqa: BLE001  (a whole pass says what is wrong, if anything is)
            alone += numbers[tried:]
    for number in alone:
        yield [number], [record(run.model, run, interventions=jobs[number]).logits[pos]]


def _unembedded(readout: Readout, last: Tensor, pos: int) -> Tensor:
    """The logits of several last states [n, pos, d_model] at one position: [n, d_vocab]."""
    return readout.unembed(torch.cat([readout.final(x, [pos]) for x in last]))


def _rest(run: Run) -> Rest | None:
    def whole(value: Tensor) -> Tensor:
        edit = Edit({"kind": "state", "state": 0}, lambda _: wide(value))
        return record(run.model, run, interventions=[edit]).states[-1].value

    now = fingerprint(run.model.module)
    if run.above is None or run.above[0] != now:
        try:
            run.above = now, Rest(run, whole)
        except Exception:  # noqa: BLE001  (whatever the model raises when it is called in another way than its own)
            run.above = now, None
    found: Rest | None = run.above[1]
    return found


def _batches(
    run: Run, rest: Rest, state: int, jobs: list[tuple[int, tuple[Edit, ...]]], pos: int
) -> Iterator[tuple[list[int], list[Tensor]]]:
    assert run.readout is not None
    s, at, size = run.states[state], 0, _BATCH if rest.batched else 1
    while at < len(jobs):
        some = jobs[at : at + size]
        values = []
        for _, job in some:
            delta = edited(s, job, run.n_tokens)[2]
            values.append((wide(s.value) + delta).to(s.value.dtype))
        try:
            last = rest.last_states(state, torch.stack(values))
        except RuntimeError as e:
            if not any(said in str(e) for said in _NO_ROOM) or size == 1:
                raise
            size = size // 2  # what does not fit is tried in halves
            continue
        yield [k for k, _ in some], list(_unembedded(run.readout, last, pos))
        at += len(some)
