"""A model and its prompts, without a user interface: what a widget, a terminal or a web service stands on."""

from __future__ import annotations

import itertools
import json
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from . import answers
from .answers.question import Answered, Selection
from .contributions import attribute
from .graph import Graph
from .interventions import Edit, is_prompt, told_edits
from .model import Model
from .prompts import Prompt, plain_prompt
from .readings import Readings
from .run import Run, record

Told = Callable[[str, int, int], None]  # what is being done, how much of it, of how much
_KEPT, _KEPT_ANSWERS = 8, 64  # the latest prompts and answers that stay in memory


@dataclass(frozen=True, eq=False)
class Opened:
    """A prompt that was recorded; its number is given once and never again in its session."""

    number: int
    prompt: Any  # as JSON: text, token ids or messages
    run: Run
    graph: Graph
    edits: tuple[Any, ...] = ()  # as JSON
    clean: Opened | None = None  # the same prompt without the edits
    tested: list[Selection] = field(default_factory=list)  # what was answered by and by

    @cached_property
    def read(self) -> Readings:
        """What answers about it read already."""
        return Readings(self.run, None if self.clean is None else self.clean.run)

    @property
    def label(self) -> str:
        """The prompt in one line."""
        if isinstance(self.prompt, str):
            return self.prompt
        if all(isinstance(x, dict) for x in self.prompt):
            return " / ".join(f"{m.get('role', '')}: {m.get('content', '')}" for m in self.prompt)
        return f"{len(self.prompt)} token ids"


class Session:
    """Opens prompts of one model, keeps the latest, and answers questions about them.

        >>> session = Session(lmtt.bundled_model())
        >>> opened = session.open("Mary went home because")
        >>> session.ask(opened, {"kind": "token", "pos": 3}).next.tokens[0].text
        '·she'

    What is given to `later` waits until `work` is called, a piece at a time: whoever has the user interface knows when
    nobody waits.
    """

    def __init__(self, model: Model, *, keep: int = _KEPT) -> None:
        self.model, self.closed = model, False
        self._keep, self._numbers = keep, itertools.count(1)
        self._opened: OrderedDict[str, Opened] = OrderedDict()
        self._answers: OrderedDict[str, Answered] = OrderedDict()
        self._waiting: deque[Callable[[], object]] = deque()
        self._lock = threading.RLock()

    def open(self, prompt: Prompt, edits: Sequence[Any] = (), *, told: Told | None = None) -> Opened:
        """A prompt recorded and its shares taken, once while it is kept; with edits also as it is without them.

        edits: as `told_edits` takes them; what stands in another prompt is taken from that prompt's run, opened for it.
        told(what, done, total) is called as it goes on; None shows a bar when it takes more than a second. Raises what
        `record` raises, ValueError for a session that was closed.
        """
        prompt, edits = plain_prompt(prompt), told_edits(edits)
        key = json.dumps([prompt, edits])
        with self._lock:
            if self.closed:
                raise ValueError("this session was closed; make another one")
            opened = self._opened.get(key)
            if opened is None:
                clean = self.open(prompt, told=told) if edits else None
                steps = (partial(told, what) for what in ("recording", "attributing")) if told else (None, None)
                first, second = steps
                made = [self._made(edit, told) for edit in edits]
                run = record(self.model, clean.run if clean else prompt, interventions=made, progress=first)
                graph = attribute(run, progress=second)
                opened = Opened(next(self._numbers), prompt, run, graph, tuple(edits), clean)
                self._opened[key] = opened
                while len(self._opened) > self._keep:
                    self._opened.popitem(last=False)
            self._opened.move_to_end(key)
            return opened

    def _made(self, edit: Mapping[str, Any], told: Told | None) -> Edit:
        to = edit["to"]
        return Edit(**{**edit, "to": self.open(to["prompt"], told=told).run if is_prompt(to) else to})

    def go_on(self, opened: Opened, selection: Selection, **asked: Any) -> bool:
        """Runs some of the passes behind an answer that is found by and by; whether there are others.

        `ask` tells what is known so far; arguments as there. Raises what the passes raise.
        """
        with self._lock:
            more = answers.more(opened.run, opened.graph, selection, read=opened.read, **asked)
            if selection not in opened.tested:
                opened.tested.append(selection)
            for key in [key for key, found in self._answers.items() if found.kind == selection["kind"]]:
                del self._answers[key]
            return more

    def ask(
        self,
        opened: Opened,
        selection: Selection,
        *,
        target: int = -1,
        token: int | None = None,
        foil: int | None = None,
        normalise: bool = True,
        beside: Selection | None = None,
    ) -> Answered:
        """The answer to a question, kept for the next time; arguments as of `answers.answer`, but beside: the question
        whose answer it is compared with. Raises ValueError for an unknown selection."""
        asked = {"target": target, "token": token, "foil": foil, "normalise": normalise}
        key = json.dumps([opened.number, selection, beside, asked], sort_keys=True, default=repr)
        with self._lock:
            if key not in self._answers:
                other = None if beside is None else self.ask(opened, beside, **asked)  # type: ignore[arg-type]
                found = answers.answer(opened.run, opened.graph, selection, beside=other, read=opened.read, **asked)  # type: ignore[arg-type]
                self._answers[key] = found
                while len(self._answers) > _KEPT_ANSWERS:
                    self._answers.popitem(last=False)
            self._answers.move_to_end(key)
            return self._answers[key]

    def expect(
        self, opened: Opened, selections: Sequence[Selection], *, normalise: bool = True, lens: bool = True
    ) -> None:
        """Reads together what the answers to these questions will list; `ask` is quick then.

        lens: False leaves out the logit lens of states, the most of it, where that will be there by then.
        """
        with self._lock:
            answers.expect(opened.read, opened.graph, selections, normalise=normalise, lens=lens)

    def token_id(self, opened: Opened, token: Any, what: str = "a foil") -> int | None:
        """The id of one token given as its text or its id; None for no token. `what` is what it was to be.

        Raises ValueError for anything that is not one token of the vocabulary.
        """
        if token is None or token == "":
            return None
        if isinstance(token, int) and not isinstance(token, bool):
            n_vocab = opened.run.logits.shape[-1]
            if not 0 <= token < n_vocab:
                raise ValueError(f"the id of {what} must be in 0..{n_vocab - 1}, got {token}")
            return token
        if not isinstance(token, str) or self.model.tokenizer is None:
            raise ValueError(f"{what} is a token: its text, its id, or None, got {token!r:.60}")
        return self.model.token_id(token.replace("·", " "), what)

    def asked(self, opened: Opened, shown: Any) -> dict[str, Any]:
        """How answers are asked for, as the traits of `shown` say: arguments of `ask`."""
        token = self.token_id(opened, shown.token, "the token explained")
        return {"token": token, "foil": self.token_id(opened, shown.foil), "normalise": shown.normalise}

    def later(self, *work: Callable[[], object]) -> None:
        """Pieces of work to be done when nobody waits, instead of those that were waiting."""
        self._waiting = deque(work)

    def work(self) -> bool:
        """Does the next piece that waits; whether more do. A piece that returns True is not done: it goes on."""
        waiting = self._waiting
        if waiting and not self.closed:
            piece = waiting.popleft()
            if piece() is True and waiting is self._waiting and not self.closed:
                waiting.appendleft(piece)
        return bool(self._waiting)

    def close(self) -> None:
        """Frees everything that was recorded; what still waits is never done."""
        self.closed = True
        for held in (self._waiting, self._opened, self._answers):
            held.clear()


def prompt_list(prompt: Any) -> list[Prompt]:
    """One prompt or a list of them: a list of strings or of lists is several. Raises ValueError for anything else."""
    if isinstance(prompt, (str, bytes, bytearray, memoryview, Mapping, set)) or not isinstance(prompt, Iterable):
        return [plain_prompt(prompt)]
    prompt = list(prompt)
    if not prompt:
        raise ValueError("the prompt is empty; type some text")
    several = all(isinstance(p, str) for p in prompt) or all(isinstance(p, (list, tuple)) for p in prompt)
    return prompt if several else [prompt]
