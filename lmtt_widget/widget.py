"""Traits and observers, nothing else: the widget shows what state.py packs and keeps what the reader chose."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import operator
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain
from typing import Any

import traitlets as t

from .contributions import attribute
from .decomposition.writes import ForwardError, UndecomposableError
from .detail import Selection, check_selection, follow_ups, inspect
from .graph import Graph
from .included import Include, chosen_of, peek_of, remembering, room_of, saved_prompt, visible
from .model import NO_PROMPT, Model, Prompt
from .progress import Progress
from .routes import Routes, trace
from .run import Run, record
from .saved import TRAITS, Analysis, SavedPrompt
from .shown import BUDGET, INTERRUPTED, Shown, bundle, status_of
from .state import detail_state, graph_state

_KEPT = 8  # recorded prompts that stay in memory, the latest ones
_KEPT_ANSWERS = 64
_OFTEN = 0.1  # seconds between two reports of progress
_IDLE = 0.15  # seconds of quiet before something is prepared


class FlowWidget(Shown):
    """The information flow of one or more prompts through a model, alive in a notebook.

    Every trait is state that may be read or set; see `explore`. What cannot be is refused with a sentence and leaves
    the picture as it was. `close()` frees the recorded runs.
    """

    _refused = (*Shown._refused, ForwardError, UndecomposableError)

    def __init__(self, model: Model, prompts: Sequence[Prompt], **traits: Any) -> None:
        """Raises what `record` raises for the first prompt; nothing is shown then."""
        self._model = model
        self._runs: OrderedDict[str, tuple[Run, Graph]] = OrderedDict()
        self._answers: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._lock = threading.RLock()
        self._changing_prompt = self._is_shown = False
        self._recorded(prompts[0])
        first = {"_esm": bundle(), "prompts": [_as_json(p) for p in prompts]}
        super().__init__(**first)
        self._is_shown = True
        self.prompt = _as_json(prompts[0])
        for name, value in traits.items():
            if name not in self.trait_names():
                raise TypeError(f"explore has no option {name!r}")
            setattr(self, name, value)

    @property
    def run(self) -> Run:
        """The recorded forward pass on show."""
        return self._recorded(self.prompt)[0]

    @property
    def flow(self) -> Graph:
        """The shares on show."""
        return self._recorded(self.prompt)[1]

    @property
    def routes(self) -> Routes:
        """The routes on show: to the present target, in the present encoding and reading."""
        return trace(self.flow, self.target, reading=self.reading, encoding=self.encoding)  # type: ignore[arg-type]

    def close(self) -> None:
        """Ends the widget and frees what it recorded; ipywidgets keeps every widget alive until then."""
        self._runs.clear()
        self._answers.clear()
        super().close()

    @property
    def selected(self) -> dict[str, Any] | None:
        """Everything the panel shows of the selection, as names, numbers, token lists and tensors; see detail.py."""
        return None if self.selection is None else self._answer(self.selection)

    def analysis(self, include: Include = "auto", max_bytes: int = BUDGET) -> Analysis:
        """What `save_json` saves and `save_html` shows; arguments as there. Records prompts that were not yet shown."""
        prompts = self.prompts if self.prompt in self.prompts else [self.prompt, *self.prompts]
        at = prompts.index(self.prompt)
        chosen = chosen_of(include)
        own = [question for question in (self.selection, *self.pins) if question is not None]
        saved: dict[int, SavedPrompt] = {}
        for i in sorted(range(len(prompts)), key=lambda i: i != at):  # what is on show has the first choice of the room
            run, graph = self._recorded(prompts[i])
            routes = self.routes if i == at else trace(graph, -1, reading=self.reading, encoding=self.encoding)  # type: ignore[arg-type]
            ask = remembering(partial(self._inspected, run, graph, routes.target))
            questions: Iterable[Selection] = [*own, *(chosen or [])] if i == at else []
            room = math.inf
            if chosen is None:
                threshold = routes.drawn_threshold(self.threshold if i == at else None)
                questions = chain(questions, visible(routes, threshold, ask))
                room = (room_of(max_bytes) - sum(len(p.folded) for p in saved.values())) / (len(prompts) - len(saved))
            saved[i] = saved_prompt(prompts[i], _label(prompts[i]), f"saved {i}", routes, questions, ask, room)
        return Analysis({name: getattr(self, name) for name in TRAITS}, [saved[i] for i in sorted(saved)], at)

    def _n_tokens(self) -> int:
        return self.run.n_tokens

    # ---- answering ----

    @t.observe("selection", "pins", "target", "foil", "normalise")
    def _send_answers(self, _change: Any) -> None:
        if self._changing_prompt:
            return
        run = self.run
        asked = [("selection", 0, self.selection)] if self.selection is not None else []
        asked += [("pin", i, pin) for i, pin in enumerate(self.pins)]
        answers = []
        for slot, index, question in asked:
            try:
                answer = self._answer(question)
                other = self._beside(question)
                if other is not None:
                    answer = self._answer(question, other)
            except ValueError as e:
                answer = {"error": str(e)}
            answers.append({"slot": slot, "index": index, "question": question, **answer})
        self.detail = detail_state(answers, run_id=_run_id(run))
        if self.selection is not None:
            self._when_idle(lambda: self._prepare(self.selection))

    def _beside(self, question: Selection) -> Selection | None:
        """What a question is compared with: the first pin with the selection, and the other way round."""
        if self.selection is None or not self.pins or self.pins[0] == self.selection:
            return None
        other = self.pins[0] if question == self.selection else self.selection if question == self.pins[0] else None
        return other if other is not None and other["kind"] == question["kind"] else None

    def _answer(self, question: Selection, beside: Selection | None = None) -> dict[str, Any]:
        """An answer of detail.py, kept for the next time it is asked."""
        run, graph = self._recorded(self.prompt)
        key = json.dumps([_run_id(run), question, beside, self.target, self.foil, self.normalise])
        with self._lock:
            if key not in self._answers:
                other = None if beside is None else self._answer(beside)
                self._answers[key] = self._inspected(run, graph, self.target, question, other)
                while len(self._answers) > _KEPT_ANSWERS:
                    self._answers.popitem(last=False)
            self._answers.move_to_end(key)
            return self._answers[key]

    def _inspected(
        self, run: Run, graph: Graph, target: int, question: Selection, beside: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        foil = self._token_id(self.foil)
        return inspect(run, graph, question, target=target, foil=foil, normalise=self.normalise, beside=beside)

    def _prepare(self, question: Selection | None) -> None:
        """Answers what is likely to be asked next, one question at a time, until something else is selected."""
        if question is None:
            return
        for following in follow_ups(self.run, question, self._answer(question)):
            self._when_idle(partial(self._prepare_one, following, question))

    def _prepare_one(self, following: Selection, question: Selection) -> None:
        if self.selection == question:
            self._answer(following)

    def _send_peek(self) -> None:
        routes = trace(self.flow, self.target, encoding="flow")
        self.peek = peek_of(routes, _run_id(self.run))

    def _when_idle(self, work: Callable[[], Any]) -> None:
        """After what is waiting in the event loop; where there is none (a script), not at all."""
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop().call_later(_IDLE, work)

    # ---- recording ----

    def _recorded(self, prompt: Prompt) -> tuple[Run, Graph]:
        key = json.dumps(_as_json(prompt))
        with self._lock:
            if key not in self._runs:
                self._runs[key] = self._analysed(prompt)
                while len(self._runs) > _KEPT:
                    self._runs.popitem(last=False)
            self._runs.move_to_end(key)
            return self._runs[key]

    def _analysed(self, prompt: Prompt) -> tuple[Run, Graph]:
        """The status says how far it is; afterwards it is what it was, or says that it was interrupted."""
        if not self._is_shown:
            run = record(self._model, prompt)
            return run, attribute(run)
        before = self.status
        try:
            run = record(self._model, prompt, progress=self._telling("recording"))
            graph = attribute(run, progress=self._telling("attributing"))
        except KeyboardInterrupt:
            self.status = status_of("error", INTERRUPTED)
            raise
        except BaseException:
            self.status = before
            raise
        self.status = before
        return run, graph

    def _telling(self, what: str) -> Progress:
        """Sets the status, but not more often than it can be read."""
        last = -math.inf

        def tell(done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last > _OFTEN:
                last = time.monotonic()
                self.status = status_of("running", what, done, total)

        return tell

    @t.validate("prompt")
    def _prompt_can_be_recorded(self, proposal: Any) -> Any:
        try:
            prompt = _as_json(proposal["value"])
            self._recorded(prompt)
        except (ValueError, ForwardError, UndecomposableError) as e:
            raise t.TraitError(str(e)) from e
        return prompt

    @t.observe("prompt")
    def _show_prompt(self, _change: Any) -> None:
        run, graph = self._recorded(self.prompt)
        with self.hold_sync():
            self._changing_prompt = True  # questions about the old prompt are not asked of the new one
            try:
                if self.prompt not in self.prompts:
                    self.prompts = [*self.prompts, self.prompt]
                self.graph = graph_state(graph, run_id=_run_id(run), label=_label(self.prompt))
                self.target = run.n_tokens - 1
                self.threshold = None
                self.status = status_of("idle", self._drop_what_is_gone())
            finally:
                self._changing_prompt = False
            self._send_answers(None)
        self._send_peek()

    def _drop_what_is_gone(self) -> str:
        """Forgets a selection and pins that the new prompt does not have; says so."""
        said = [_why_gone(self.run, question) for question in (self.selection, *self.pins)]
        if said[0]:
            self.selection = None
        if any(said[1:]):
            self.pins = [pin for pin, why in zip(self.pins, said[1:], strict=True) if not why]
        return next((f"what was selected is not in this prompt: {why}" for why in said if why), "")

    # ---- what may be set ----

    @t.validate("prompts")
    def _prompts_are_prompts(self, proposal: Any) -> list[Any]:
        if not isinstance(proposal["value"], (list, tuple)):
            raise t.TraitError(f"prompts is a list of prompts, got {proposal['value']!r:.60}")
        try:
            return [_as_json(p) for p in proposal["value"]]
        except ValueError as e:
            raise t.TraitError(str(e)) from e

    @t.validate("selection")
    def _selection_exists(self, proposal: Any) -> dict[str, Any] | None:
        return None if proposal["value"] is None else self._checked(proposal["value"])

    @t.validate("pins")
    def _pins_exist(self, proposal: Any) -> list[Any]:
        return [self._checked(pin) for pin in proposal["value"]]

    @t.validate("foil")
    def _foil_is_one_token(self, proposal: Any) -> Any:
        self._token_id(proposal["value"])
        return proposal["value"]

    def _checked(self, selection: Any) -> Selection:
        try:
            return check_selection(self.run, selection)
        except ValueError as e:
            raise t.TraitError(str(e)) from e

    def _token_id(self, foil: Any) -> int | None:
        """The id of a foil given as text or id; a text must be one token."""
        if foil is None or foil == "":
            return None
        if isinstance(foil, int) and not isinstance(foil, bool):
            n_vocab = self.run.logits.shape[-1]
            if not 0 <= foil < n_vocab:
                raise t.TraitError(f"a foil's id must be in 0..{n_vocab - 1}, got {foil}")
            return foil
        if not isinstance(foil, str) or self._model.tokenizer is None:
            raise t.TraitError(f"a foil is a token: its text, its id, or None, got {foil!r:.60}")
        ids = self._model.tokenizer(foil.replace("·", " "), add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            pieces = " + ".join(token.text for token in self._model.vocabulary(ids)) or "nothing"
            raise t.TraitError(
                f"a foil must be one token; {foil!r} is {pieces} (a word inside a text starts with a space)"
            )
        return int(ids[0])

    # ---- the browser ----

    def _before_prompt(self, prompt: Prompt) -> None:
        """Records it while the status travels."""
        self._recorded(prompt)


def explore(
    model: Model,
    prompt: Prompt | Sequence[Prompt],
    *,
    target: int = -1,
    threshold: float | None = None,
    encoding: str = "flow",
    **traits: Any,
) -> FlowWidget:
    """Where a prediction comes from: the information flow of a prompt, as a widget.

    prompt: text, token ids, chat messages, or a list of several prompts. target: the position to explain, by default
    the last. threshold: edges below it are not drawn, None draws the 80 strongest. encoding: "flow" (shares multiplied
    along paths to the target) or "share" (the papers' local shares). Other traits of `FlowWidget` may be given by name.

    Raises ValueError for a prompt the model cannot take or an option out of range, UndecomposableError if the model
    cannot be split exactly. (Information flow routes: Ferrando & Voita 2024, arXiv:2403.00824; Tufanov et al. 2024,
    arXiv:2404.07004)
    """
    prompts = _prompt_list(prompt)
    try:
        return FlowWidget(model, prompts, target=target, encoding=encoding, threshold=threshold, **traits)
    except t.TraitError as e:
        raise ValueError(str(e)) from e


def _prompt_list(prompt: Any) -> list[Prompt]:
    """One prompt or a list of them: a list of strings or of lists is several."""
    if isinstance(prompt, str):
        return [prompt]
    if not isinstance(prompt, Iterable):
        raise ValueError(NO_PROMPT.format(prompt))
    prompt = list(prompt)
    if not prompt:
        raise ValueError("the prompt is empty; type some text")
    several = all(isinstance(p, str) for p in prompt) or all(isinstance(p, (list, tuple)) for p in prompt)
    return prompt if several else [prompt]


def _as_json(prompt: Any) -> Any:
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, (str, bytes, dict)) or not isinstance(prompt, Iterable):
        raise ValueError(NO_PROMPT.format(prompt))
    items = list(prompt)
    if items and all(isinstance(x, dict) for x in items):
        return items
    try:
        return [operator.index(x) for x in items]
    except TypeError:
        raise ValueError(NO_PROMPT.format(prompt)) from None


def _label(prompt: Any) -> str:
    if isinstance(prompt, str):
        return prompt
    if all(isinstance(x, dict) for x in prompt):
        return " / ".join(f"{m.get('role', '')}: {m.get('content', '')}" for m in prompt)
    return f"{len(prompt)} token ids"


def _why_gone(run: Run, question: Selection | None) -> str:
    """Why a run has no such selection; empty if it has."""
    try:
        if question is not None:
            check_selection(run, question)
    except ValueError as e:
        return str(e)
    return ""


def _run_id(run: Run) -> str:
    return f"{id(run):x}"
