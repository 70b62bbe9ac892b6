"""A question about a run: its fields, the part it is about, and what every answer needs and says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache, cached_property
from typing import Annotated, Any, get_type_hints

import torch
from torch import Tensor

from ..attribution import direct_effects
from ..graph import Graph
from ..lens import TokenList, update_logits
from ..parts import Part
from ..readings import Entered, Readings
from ..run import Run
from ..verdicts import Verdict

Selection = dict[str, Any]
Column = Annotated[Tensor, "column"]  # [row], one number for each row of a list
Map = Annotated[Tensor, "map"]  # travels as an array beside the answer

UPDATE_ROWS = 15


# ---- fields of a selection ----


@dataclass(frozen=True)
class Field:
    """A number in a selection, from 0 up to what the run has; where it may be left out it may be None, too."""

    name: str
    size: Callable[[Run, Selection], int]
    optional: bool = False

    def check(self, run: Run, selection: Selection) -> None:
        """Raises ValueError where the selection has another value."""
        value = selection.get(self.name)
        if self.optional and value is None:
            return
        size = self.size(run, selection)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < size:
            raise ValueError(f"{self.name} must be in 0..{size - 1}, got {value!r:.40}")


STATE = Field("state", lambda run, _: len(run.states))
POS = Field("pos", lambda run, _: run.n_tokens)
QUERY = Field("query", lambda run, _: run.n_tokens)


def _keys(run: Run, selection: Selection) -> int:
    query, key = selection["query"], selection["key"]
    if isinstance(key, int) and query < key < run.n_tokens:
        raise ValueError(f"a query reads keys up to itself, 0..{query}, got key {key}")
    return int(query) + 1 if key is None else run.n_tokens


KEY = Field("key", _keys)
PART = Field("part", lambda run, _: len(run.parts), optional=True)


def find_part(run: Run, selection: Selection, kinds: Sequence[str]) -> Part:
    """The part a selection is about: by its number, or the first of these kinds that enters the state.

    Raises ValueError if there is none.
    """
    state, number = selection["state"], selection.get("part")
    here = [p for p in run.states[state].parts if p.kind in kinds and number in (None, p.number)]
    if not here:
        raise ValueError(f"no {kinds[0]} part enters state {state} ({run.states[state].name})")
    return here[0]


HEAD = Field("head", lambda run, selection: find_part(run, selection, ("attention",)).n_heads)


# ---- answers ----


class Record(Mapping[str, Any]):
    """A frozen dataclass that is also read as a mapping: answer.heads.share or answer["heads"]["share"].

    A field with a default that has it is not among the keys: there is nothing to say.
    """

    def __getitem__(self, name: str) -> Any:
        if name in self.__dataclass_fields__:  # type: ignore[attr-defined]
            return getattr(self, name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        for f in fields(self):  # type: ignore[arg-type]
            if f.default is MISSING or getattr(self, f.name) is not f.default:
                yield f.name

    def __len__(self) -> int:
        return sum(1 for _ in self)  # not of a list, which would ask for the length

    def __contains__(self, name: object) -> bool:
        return any(name == own for own in self)


@dataclass(frozen=True, eq=False)
class Tokens(Record):
    """Tokens with their scores, best first; what `TokenList` is to the browser."""

    id: Column
    text: list[str]
    score: Column
    p: Column | None = None
    rank: Column | None = None
    change: list[int] | None = None  # rank before minus rank now: positive moved up
    also: Tokens | None = None  # what only the answer it is compared with lists


@dataclass(frozen=True, eq=False)
class Named(Record):
    """A token of the vocabulary."""

    id: int
    text: str


@dataclass(frozen=True, eq=False)
class EffectOn(Record):
    """What signed direct effects are on: a token's logit, minus the foil's."""

    token: Named
    foil: Named | None
    pos: int


@dataclass(frozen=True, eq=False)
class Update(Record):
    """The tokens that something added to a state promotes and suppresses."""

    promoted: TokenList
    suppressed: TokenList
    also: TokenList | None = None  # what only the answer it is compared with lists


@dataclass(frozen=True, eq=False, kw_only=True)
class Answered(Record):
    """What every answer says; each kind adds its own."""

    kind: str
    layer: int | None
    effect_on: EffectOn | None  # None without a linear read-out
    normalised: bool

    @classmethod
    @cache
    def map_names(cls) -> list[str]:
        """The fields that travel as arrays."""
        return [name for name, hint in get_type_hints(cls, include_extras=True).items() if _is_map(hint)]


@dataclass(frozen=True, eq=False, kw_only=True)
class Judged(Answered):
    """What an edit did to the prediction."""

    p_before: float
    p: float
    odds_before: float  # nats, against the foil; without one log p / (1 - p)
    odds: float
    kl: float  # nats
    moved: TokenList  # the tokens whose probability changed most, and by how much


def judged(verdict: Verdict) -> dict[str, Any]:
    """The fields of `Judged`."""
    names = [f.name for f in fields(Judged) if f.name in Verdict.__dataclass_fields__]
    return {name: getattr(verdict, name) for name in names}


def _is_map(hint: Any) -> bool:
    return hint == Map or Map in getattr(hint, "__args__", ())


@dataclass(frozen=True)
class Question:
    """One question, with what every kind of answer needs."""

    run: Run
    graph: Graph
    selection: Selection
    kinds: tuple[str, ...]  # of parts it may be about
    target: int
    chosen: int | None  # the token explained; None is the one predicted at the target
    foil: int | None
    normalise: bool
    read: Readings

    @property
    def state(self) -> int:
        return int(self.selection.get("state", 0))

    @property
    def pos(self) -> int:
        return int(self.selection["pos"] if "pos" in self.selection else self.selection["query"])

    @cached_property
    def token(self) -> int:
        """The token explained, which signed effects are on: the one predicted at the target, or one that was chosen."""
        return int(self.run.logits[self.target].argmax()) if self.chosen is None else self.chosen

    @cached_property
    def part(self) -> Part:
        return find_part(self.run, self.selection, self.kinds)

    @property
    def said(self) -> dict[str, Any]:
        """What every answer says."""
        effect_on = None
        if self.run.readout is not None:
            foil = None if self.foil is None else self.named(self.foil)
            effect_on = EffectOn(self.named(self.token), foil, self.target % self.run.n_tokens)
        layer = self.run.states[self.state].layer if "state" in self.selection else None
        kind = self.selection["kind"]
        return {"kind": kind, "layer": layer, "effect_on": effect_on, "normalised": self.normalise}

    def named(self, token: int) -> Named:
        return Named(token, self.run.model.vocabulary([token])[0].text)

    def effects(self, vectors: Tensor) -> Tensor | None:
        """Signed direct effects of vectors [n, d_model] that entered the state here: [n].

        None where there cannot be any: without a read-out, and on a token that was predicted before this one was read.
        """
        if self.run.readout is None or self.pos > self.target % self.run.n_tokens:
            return None
        return direct_effects(self.run, vectors, self.pos, self.state, self.token, self.foil).cpu()

    def effect(self, vector: Tensor) -> float | None:
        found = self.effects(vector[None])
        return None if found is None else float(found[0])

    def update(self, vector: Tensor) -> Update | None:
        """The tokens a vector that entered the state here promotes and suppresses."""
        if self.run.readout is None:
            return None
        p = self.read.promoted(vector, self.pos, self.state, UPDATE_ROWS)
        return Update(p.promoted, p.suppressed)

    def entered(self, *vectors: Tensor) -> list[Entered]:
        """Vectors that entered the state here, as they are expected to be read."""
        return [(vector, self.pos, self.state) for vector in vectors]

    def beside(self, update: Update | None, vector: Tensor, others: Sequence[Update | None]) -> Update | None:
        """The same with the tokens that only the others list."""
        if update is None:
            return None
        theirs = {t.id for other in others if other for side in (other.promoted, other.suppressed) for t in side.tokens}
        ids = sorted(theirs - {t.id for side in (update.promoted, update.suppressed) for t in side.tokens})
        scores = update_logits(self.run, vector, self.pos, state=self.state)[ids].cpu()
        return replace(update, also=TokenList(self.run.model.vocabulary(ids), scores))

    @property
    def output(self) -> Tensor:
        """What the part added here: [d_model]."""
        return self.part.output_at(self.pos, self.run.n_tokens)

    def written(self) -> dict[str, Any]:
        """What there is to say of any part without a key axis: its place, share, effect and tokens."""
        number, output = self.part.number, self.output
        share = float(self.graph.share(number)[self.pos]) if number < len(self.graph.parts) else 0.0
        place = {"state": self.state, "pos": self.pos, "part": number}
        return self.said | place | {"share": share, "effect": self.effect(output), "update": self.update(output)}


def wide(logits: Tensor) -> Tensor:
    """In float32 or better."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
