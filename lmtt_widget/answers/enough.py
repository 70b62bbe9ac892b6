"""Whether what is drawn is enough: how much of the log odds the drawn lines and squares keep by themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..encodings import REGISTERED
from ..faithful import PASSES, Masks, Trial, drawn
from ..routes import trace
from ..run import Run
from . import question
from .question import Field, Question, Selection


class _Threshold(Field):
    """A share below which no line is drawn."""

    def check(self, run: Run, selection: Selection) -> None:  # noqa: ARG002
        value = selection[self.name]
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 1:
            raise ValueError(f"{self.name} must be a share in [0, 1), got {value!r:.40}")


class _Encoding(Field):
    """How lines are weighed."""

    def check(self, run: Run, selection: Selection) -> None:  # noqa: ARG002
        if selection[self.name] not in [*REGISTERED]:
            raise ValueError(f"{self.name} must be one of {', '.join(REGISTERED)}, got {selection[self.name]!r:.40}")


class _Reading(Field):
    """Of heads, in shares."""

    def check(self, run: Run, selection: Selection) -> None:  # noqa: ARG002
        if selection[self.name] not in ("max", "sum"):
            raise ValueError(f'{self.name} must be "max" or "sum", got {selection[self.name]!r:.40}')


def _none(_run: Run, _selection: Selection) -> int:
    return 0


FIELDS = (
    _Threshold("threshold", _none),
    _Encoding("encoding", _none),
    _Reading("reading", _none),
    # As many as are on the screen, which draws by half precision: one line more or less is above the threshold there.
    Field("n_lines", lambda run, _: len(run.parts) * run.n_tokens**2 + 1, optional=True),
)


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer(question.Answered):
    off: str  # what stands in place of everything else: "mean"
    n_lines: int
    n_squares: int
    passes: int  # that are done
    n_passes: int
    at_stake: float | None  # nats between the whole model and nothing; None where that pass was not made yet
    nothing_to_lose: bool
    kept: float | None  # of what is at stake, patterns of the pass that is left; so all below
    kept_frozen: float | None  # every head with the pattern it had in the whole model
    kept_random: float | None  # as many lines and squares, drawn by chance
    p_before: float
    p: float | None  # of the token, with only these


def check(run: Run, selection: Selection) -> None:  # noqa: ARG001
    if run.interventions:
        raise ValueError("faithfulness is of a pass without edits; take the edits back first")


def answer(q: Question) -> Answer:
    """What is known so far: the passes are made by `more`."""
    trial = _trial(q)
    found = trial.found()
    kept, frozen, random, at_stake, p = (
        None if math.isnan(x) else x
        for x in (found.kept, found.kept_frozen, found.kept_random, found.all - found.none, found.p)
    )
    return Answer(
        **q.said,
        off=found.off,
        n_lines=found.n_lines,
        n_squares=found.n_squares,
        passes=len(trial.odds),
        n_passes=len(PASSES),
        at_stake=at_stake,
        nothing_to_lose=found.nothing_to_lose,
        kept=kept,
        kept_frozen=frozen,
        kept_random=random,
        p_before=found.p_before,
        p=p,
    )


def more(q: Question) -> bool:
    """Runs the next pass; whether there are others."""
    return _trial(q).more()


def _trial(q: Question) -> Trial:
    pos, foil = q.target % q.run.n_tokens, None if q.foil == q.token else q.foil

    def made() -> Trial:
        known = q.read.once(("nothing kept", pos), dict)
        return Trial(q.run, _masks(q, pos), "mean", q.token, foil, pos, known)

    asked = (q.selection.get(f.name) for f in FIELDS)
    found: Trial = q.read.once(("kept", pos, q.token, foil, *asked), made)
    return found


def _masks(q: Question, pos: int) -> Masks:
    routes = trace(q.graph, pos, encoding=q.selection["encoding"], reading=q.selection["reading"])
    n, masks = q.selection.get("n_lines"), drawn(routes, q.selection["threshold"])
    if n is None:
        return masks
    strengths = routes.attention_strengths()
    lines = drawn(routes, float(strengths[n]) if n < len(strengths) else 0.0)
    return {k: lines[k] if mask.ndim == 2 else mask for k, mask in masks.items()}
