"""What a saved analysis has of each prompt: its graph, its peek, and the answers that fit."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, islice
from typing import Any, Literal

import numpy as np

from .answers import follow_ups
from .answers.question import Answered, Selection
from .lens import likely_tokens
from .page import static
from .routes import Edge, Routes, trace
from .run import Run
from .saved import TRAITS, Analysis, Answer, SavedPrompt, answers_of, deflated
from .session import Opened, Session
from .state import detail_state, graph_state, peek_state

Include = Literal["auto", "nothing"] | Iterable[Selection]
Ask = Callable[[Selection], Answered]
_PEEKED_EDGES = 200  # the nodes on this many edges are read as tokens for the hover
_MOST = 500  # questions answered for one prompt


def analysis_of(session: Session, shown: Any, include: Any, max_bytes: int) -> Analysis:
    """What is on show, as the traits of `shown` say, with all its prompts; those that were not yet are opened."""
    prompts = shown.prompts if shown.prompt in shown.prompts else [shown.prompt, *shown.prompts]
    at = prompts.index(shown.prompt)
    chosen = _chosen(include)
    own = [question for question in (shown.selection, *shown.pins) if question is not None]
    asked = {"foil": session.token_id(shown.opened, shown.foil), "normalise": shown.normalise}
    saved: dict[int, SavedPrompt] = {}
    for i in sorted(range(len(prompts)), key=lambda i: i != at):  # what is on show has the first choice of the room
        opened = shown.opened if i == at else session.open(prompts[i])
        target = shown.target if i == at else -1
        routes = trace(opened.graph, target, reading=shown.reading, encoding=shown.encoding)
        ask = partial(session.ask, opened, target=routes.target, **asked)
        questions: Iterable[Selection] = [*own, *(chosen or [])] if i == at else []
        room = math.inf
        if chosen is None:
            threshold = routes.drawn_threshold(shown.threshold if i == at else None)
            questions = chain(questions, visible(routes, threshold, ask))
            room = (room_of(max_bytes) - sum(len(p.folded) for p in saved.values())) / (len(prompts) - len(saved))
        saved[i] = saved_prompt(opened, f"saved {i}", routes, questions, ask, room)
    return Analysis({name: getattr(shown, name) for name in TRAITS}, [saved[i] for i in sorted(saved)], at)


def peek_of(routes: Routes, run_id: str) -> bytes:
    """The packed top tokens of the nodes on the strongest edges; nothing without a linear read-out."""
    run, n_states = routes.graph.run, len(routes.graph.states)
    if run.readout is None:
        return b""
    ids, p = likely_tokens(run, routes.node_strength[:n_states] > routes.automatic_threshold(_PEEKED_EDGES))
    named = np.unique(ids[ids >= 0]).tolist()
    vocabulary = {i: t.text for i, t in zip(named, run.model.vocabulary(named), strict=True)}
    return peek_state(ids, p, vocabulary, run_id=run_id)


def room_of(max_bytes: int) -> float:
    """Bytes left for deflated prompts in a page of `max_bytes`: base64 makes three bytes four."""
    return 0.74 * (max_bytes - len(static("page.js")) - 8_000)


def saved_prompt(
    opened: Opened, run_id: str, routes: Routes, questions: Iterable[Selection], ask: Ask, room: float
) -> SavedPrompt:
    """A prompt with its graph and the answers, in the order of the questions, that fit into `room` bytes, deflated."""
    graph = graph_state(routes.graph, run_id=run_id, label=opened.label)
    in_flow = routes if routes.encoding == "flow" else trace(routes.graph, routes.target, encoding="flow")
    peeked = peek_of(in_flow, run_id)
    room -= len(SavedPrompt(opened.prompt, graph, peeked, []).folded)
    answers: list[Answer] = []
    known: set[bytes] = set()
    for question in islice(_once(questions), _MOST):
        (answer,) = answers_of(detail_state([("selection", 0, question, ask(question))], run_id=run_id))
        room -= deflated(answer, known)
        if room < 0:
            break
        answers.append(answer)
    return SavedPrompt(opened.prompt, graph, peeked, answers)


def visible(routes: Routes, threshold: float, ask: Ask) -> Iterator[Selection]:
    """What can be clicked on the drawn routes: states, edges and heads, the strongest first; then what is beside."""
    run, n_states = routes.graph.run, len(routes.graph.states)
    edges = routes.edges(threshold)
    yield {"kind": "state", "state": len(run.states) - 1, "pos": routes.target}
    for edge in edges:
        yield {"kind": "state", "state": edge.state, "pos": edge.query}
        if edge.kind == "attention":
            yield (question := _question(run, edge))
            yield from follow_ups(run, question, ask(question))
    for state, pos in np.argwhere(routes.node_strength[:n_states] > threshold).tolist():
        yield {"kind": "state", "state": state, "pos": pos}
    yield from ({"kind": "token", "pos": pos} for pos in range(run.n_tokens))
    for edge in edges:
        if edge.kind in ("carried", "mlp", "mixer", "skip"):
            yield (question := _question(run, edge))
            if edge.kind == "mlp":
                yield from follow_ups(run, question, ask(question))


def _chosen(include: Any) -> list[Selection] | None:
    """The selections that were chosen; None where the visible routes choose."""
    if isinstance(include, str) or not isinstance(include, Iterable):
        if include not in ("auto", "nothing"):
            raise ValueError(f'include is "auto", "nothing" or a list of selections, got {include!r:.60}')
        return None if include == "auto" else []
    return list(include)


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
        key = json.dumps(question, sort_keys=True)
        if key not in seen:
            seen.add(key)
            yield question
