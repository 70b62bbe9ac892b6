"""What a saved analysis has of each prompt: its graph, its peek, and the answers that fit."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, Literal

import numpy as np

from .answers import follow_ups, why_not
from .answers.question import Answered, Selection
from .page import static
from .progress import Progress
from .readings import Node, Peek, Readings
from .routes import Edge, Routes, trace
from .run import Run
from .saved import TRAITS, Analysis, Answer, SavedPrompt, answers_of, deflated
from .session import Opened, Session
from .state import detail_state, graph_state, peek_state
from .valid import chosen

Include = Literal["auto", "nothing"] | Iterable[Selection]
Ask = Callable[[Selection], Answered]
_PEEKED_EDGES = 200  # the nodes on this many edges are read as tokens for the hover
_BESIDE = 80  # of the strongest attention lines, drawn or not, also those that a lower threshold would draw
_NEXT = 3  # tokens whose own routes can be looked into, too
_REASONS = 4  # of the strongest lines it is said why a head looked there; another layer is another pass
_MOST = 500  # questions answered for one prompt
_AHEAD = 96  # of which so many are read together


def analysis_of(session: Session, shown: Any, include: Any, max_bytes: int, progress: Progress) -> Analysis:
    """What is on show, as the traits of `shown` say, with all its prompts; those that were not yet are opened.

    progress(done, total) is called for every answer. An interrupt while it answers ends the answering, with a warning;
    what there is by then is saved.
    """
    prompts = shown.prompts if shown.prompt in shown.prompts else [shown.prompt, *shown.prompts]
    at = prompts.index(shown.prompt)
    named = chosen(include)  # None where the visible routes choose
    own = [question for question in (shown.selection, *shown.pins) if question is not None]
    own += [*([{"kind": "edits"}] if shown.edits else []), *shown.opened.tested]
    asked = session.asked(shown.opened, shown)
    saved: dict[int, SavedPrompt] = {}
    answering = Answering(session, asked, progress, len(prompts))
    for i in sorted(range(len(prompts)), key=lambda i: i != at):  # what is on show has the first choice of the room
        opened = shown.opened if i == at else session.open(prompts[i])
        target = shown.target if i == at else -1
        routes = trace(opened.graph, target, reading=shown.reading, encoding=shown.encoding)
        questions: Iterable[Selection] = [*own, *(named or [])] if i == at else []
        drawn: Iterable[Selection] = []
        room = math.inf
        if named is None:
            threshold = routes.drawn_threshold(shown.threshold if i == at else None)
            threshold = min(threshold, routes.automatic_threshold(_BESIDE))
            drawn = _states(routes, threshold)
            beyond = (visible(r, r.drawn_threshold(), answering.ask) for r in _next_routes(routes))
            questions = chain(questions, visible(routes, threshold, answering.ask), *beyond)
            room = (room_of(max_bytes) - sum(len(p.folded) for p in saved.values())) / (len(prompts) - len(saved))
        answering.about(opened, routes.target, drawn)
        saved[i] = saved_prompt(opened, f"saved {i}", routes, questions, answering, room)
    if answering.stopped:
        warnings.warn("interrupted: what was not answered by then will say that it was not saved", stacklevel=4)
    return Analysis({name: getattr(shown, name) for name in TRAITS}, [saved[i] for i in sorted(saved)], at)


def peek_at(routes: Routes, step: int | None = None, read: Readings | None = None, also: Any = False) -> Peek:
    """The top tokens of the nodes on the strongest edges, to be read `step` at a time; read, also: as `Peek` says."""
    at = routes.node_strength[: len(routes.graph.states)] > routes.automatic_threshold(_PEEKED_EDGES)
    return Peek(routes.graph.run, at & (routes.graph.run.readout is not None), step, read, also)


def peek_bytes(peek: Peek, run_id: str) -> bytes:
    """What was read, packed; nothing without a linear read-out."""
    if peek.run.readout is None:
        return b""
    named = np.unique(peek.ids[peek.ids >= 0]).tolist()
    vocabulary = {i: t.text for i, t in zip(named, peek.run.model.vocabulary(named), strict=True)}
    return peek_state(peek.ids, peek.p, vocabulary, run_id=run_id)


def room_of(max_bytes: int) -> float:
    """Bytes left for deflated prompts in a page of `max_bytes`: base64 makes three bytes four."""
    return 0.74 * (max_bytes - len(static("page.js")) - 8_000)


class Answering:
    """Answers to the questions of a page: what they list is read together, and each node once."""

    def __init__(self, session: Session, asked: dict[str, Any], progress: Progress, n_prompts: int) -> None:
        self._session, self._asked, self._progress = session, asked, progress
        self._done, self._total, self.stopped = 0, _MOST * n_prompts, False

    def about(self, opened: Opened, target: int, drawn: Iterable[Selection]) -> None:
        """A prompt and the states of it that will be asked about; forgets the one before."""
        self._opened, self._target = opened, target
        self._known: dict[str, Answered] = {}
        self._drawn: dict[int, list[Selection]] = {}  # position -> what is not answered there
        for question in drawn:
            self._drawn.setdefault(question["pos"], []).append(question)

    def ask(self, question: Selection) -> Answered:
        """The answer; of a state with those of all that are drawn at its position and at the next few."""
        key = _key(question)
        if key not in self._known:
            for q in (question, *self._beside(question)):
                self._known[_key(q)] = self._session.ask(self._opened, q, target=self._target, **self._asked)
        return self._known[key]

    def drawn(self) -> np.ndarray:
        """What the drawn states list is read but for their lens, of nodes that are told: [state, pos], bool."""
        states = self._opened.run.states
        self._expect([*chain(*self._drawn.values())], lens=False)
        found = np.zeros((len(states), self._opened.run.n_tokens), bool)
        for question in chain(*self._drawn.values()):
            state, pos = question["state"], question["pos"]
            found[[s for s in (state, states[state].carried) if s is not None], pos] = True
        return found

    def read_ahead(self, until: int) -> None:
        """Answers what will be asked of the states before a position, while their lens is at hand."""
        found = [q for pos in [*self._drawn] if pos < until for q in self._drawn.pop(pos)]
        self._expect(found)
        for question in found:
            self._known[_key(question)] = self._session.ask(self._opened, question, target=self._target, **self._asked)

    def answers(self, questions: Iterable[Selection]) -> Iterator[tuple[Selection, Answered]]:
        """Every question with its answer, in their order, none twice."""
        end = self._done + _MOST
        left = islice(_once(questions), 0 if self.stopped else _MOST)
        while some := list(islice(left, _AHEAD)):
            self._expect([q for q in some if q["kind"] != "state"])
            for question in some:
                if (found := self._answer(question)) is not None:
                    yield question, found
                    del self._known[_key(question)]  # of which many have large maps
                self._done += 1
                self._progress(self._done, self._total)
        self._done = end
        self._progress(end, self._total)

    def _answer(self, question: Selection) -> Answered | None:
        """None where the question is one, but has no answer in this prompt: the panel says why."""
        try:
            return self.ask(question)
        except ValueError:
            if why_not(self._opened.run, question):
                raise
            return None

    @contextmanager
    def until_interrupted(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            self.stopped = True

    def _beside(self, question: Selection) -> list[Selection]:
        if question["kind"] != "state" or question["pos"] not in self._drawn:
            return []
        found = self._drawn.pop(question["pos"])
        for pos in [*self._drawn]:
            if 2 * (len(found) + len(self._drawn[pos])) > self._opened.read.at_once:
                break
            found += self._drawn.pop(pos)
        self._expect(found)
        return found

    def _expect(self, questions: list[Selection], lens: bool = True) -> None:
        self._session.expect(self._opened, questions, normalise=self._asked["normalise"], lens=lens)


def saved_prompt(
    opened: Opened, run_id: str, routes: Routes, questions: Iterable[Selection], answering: Answering, room: float
) -> SavedPrompt:
    """A prompt with its graph and the answers, in the order of the questions, that fit into `room` bytes, deflated."""
    graph = graph_state(routes.graph, run_id=run_id, label=opened.label)
    clean = opened.clean
    before = b"" if clean is None else graph_state(clean.graph, run_id=f"{run_id} before", label=opened.label)
    edits = list(opened.edits)
    in_flow = routes if routes.encoding == "flow" else trace(routes.graph, routes.target, encoding="flow")
    peek, more = peek_at(in_flow, read=opened.read, also=answering.drawn()), True
    with answering.until_interrupted():
        while more:
            more = peek.more()
            answering.read_ahead(peek.read_until)
    peeked = peek_bytes(peek, run_id)
    room -= len(SavedPrompt(opened.prompt, graph, peeked, [], edits, before).folded)
    answers: list[Answer] = []
    known: set[bytes] = set()
    with answering.until_interrupted():
        for question, found in answering.answers(questions):
            (answer,) = answers_of(detail_state([("selection", 0, question, found)], run_id=run_id))
            room -= deflated(answer, known)
            if room < 0:
                break
            answers.append(answer)
    return SavedPrompt(opened.prompt, graph, peeked, answers, edits, before)


def visible(routes: Routes, threshold: float, ask: Ask) -> Iterator[Selection]:
    """What can be clicked on the drawn routes: states, edges and heads, the strongest first; then what is beside."""
    run, n_states = routes.graph.run, len(routes.graph.states)
    edges, n_reasons = routes.edges(threshold), 0
    yield {"kind": "heads"}
    yield _state(len(run.states) - 1, routes.target)
    for edge in edges:
        yield _state(edge.state, edge.query)
        if edge.kind == "attention":
            yield (question := _question(run, edge))
            yield from (heads := follow_ups(run, question, ask(question)))
            if n_reasons < _REASONS:
                n_reasons += 1
                yield heads[0] | {"kind": "reasons"}
    for state, pos in np.argwhere(routes.node_strength[:n_states] > threshold).tolist():
        yield _state(state, pos)
    yield from ({"kind": "token", "pos": pos} for pos in range(run.n_tokens))
    for edge in edges:
        if edge.kind in ("carried", "mlp", "mixer", "skip"):
            yield (question := _question(run, edge))
            if edge.kind == "mlp":
                yield from follow_ups(run, question, ask(question))


def _states(routes: Routes, threshold: float) -> Iterator[Selection]:
    """The states among them that there will be room for, without asking anything."""
    n_states, room, met = len(routes.graph.states), _MOST, set[Node]()
    drawn = np.argwhere(routes.node_strength[:n_states] > threshold).tolist()
    # A line of attention takes three answers: its own and those of two heads.
    lines = (((e.state, e.query), 3 * (e.kind == "attention")) for e in routes.edges(threshold))
    for node, beside in chain([((n_states - 1, routes.target), 0)], lines, (((s, pos), 0) for s, pos in drawn)):
        room -= beside + (node not in met)
        if room < 0:
            return
        if node not in met:
            met.add(node)
            yield _state(*node)


def _state(state: int, pos: int) -> Selection:
    return {"kind": "state", "state": state, "pos": pos}


def _next_routes(routes: Routes) -> Iterator[Routes]:
    """The routes to the tokens that are likely to be explained next: those that most of this target came from."""
    for pos in np.argsort(-routes.input_share, kind="stable")[:_NEXT].tolist():
        if pos != routes.target:
            yield trace(routes.graph, pos, reading=routes.reading, encoding=routes.encoding)


def _question(run: Run, edge: Edge) -> Selection:
    """The selection that a click on an edge makes; it names the part where there are several of its kind."""
    alike = [part for part in run.states[edge.state].parts if part.kind == edge.kind]
    part = {} if len(alike) < 2 else {"part": edge.part}
    if edge.kind == "attention":
        return {"kind": "edge", "state": edge.state, "query": edge.query, "key": edge.key, **part}
    kind = "mixer" if edge.kind == "skip" else edge.kind
    return {"kind": kind, "state": edge.state, "pos": edge.query, **part}


def _once(questions: Iterable[Selection]) -> Iterator[Selection]:
    seen = set()
    for question in questions:
        key = _key(question)
        if key not in seen:
            seen.add(key)
            yield question


def _key(question: Selection) -> str:
    return json.dumps(question, sort_keys=True)
