"""Traits and observers, nothing else: the widget shows what its session opened, and keeps what the reader chose."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import traitlets as t

from . import answers
from .answers.question import Answered, Selection
from .decomposition.writes import ForwardError, UndecomposableError
from .earlier import told
from .graph import Graph
from .included import Include, analysis_of, peek_at, peek_bytes
from .interventions import told_edits
from .model import Model
from .progress import Progress, reported, sometimes
from .prompts import Prompt, plain_prompt
from .readings import Peek
from .routes import trace
from .run import Run
from .saved import Analysis
from .session import Opened, Session, prompt_list
from .shown import ASKED, BUDGET, INTERRUPTED, Shown, asked_of, bundle, status_of
from .state import detail_state, graph_state

HEADS: Selection = {"kind": "heads"}
_IDLE = 0.15  # seconds of quiet before something is prepared
_UNSEEN = 20  # times as long to begin, where no browser said yet that it shows the picture
_AT_ONCE = 32  # nodes that are read as tokens before a click is heard


class _WhenRead(t.Bytes):
    """Bytes that are made when somebody asks for them, where nobody could before."""

    def get(self, obj: Any, cls: Any = None) -> Any:
        obj._overdue()
        return super().get(obj, cls)


class FlowWidget(Shown):
    """The information flow of one or more prompts through a model, alive in a notebook.

    Every trait is state that may be read or set; see `explore`. What cannot be is refused with a sentence and leaves
    the picture as it was. `close()` frees the recorded runs.

        >>> widget = lmtt.explore(model, prompt)
        >>> widget.target = 3
        >>> widget.run.tokens[widget.target].text
        '·John'
    """

    peek = _WhenRead(b"").tag(sync=True, echo_update=False)
    typed = t.Unicode("").tag(sync=True)  # where the browser asks for a token
    completions: Any = t.List([]).tag(sync=True, echo_update=False)  # of it, in the vocabulary
    drawn = t.Bool(False).tag(sync=True, echo_update=False)  # the browser shows the first picture
    _is_read = True  # the nodes on show as tokens
    _reading: Peek | None = None
    _verified = HEADS  # what is put to the test
    _refused = (*Shown._refused, ForwardError, UndecomposableError)

    def __init__(self, model: Model, prompts: Sequence[Prompt], **traits: Any) -> None:
        """Raises what `record` raises for the first prompt; nothing is shown then."""
        self._session = Session(model)
        first = self._session.open(prompts[0])
        super().__init__(**bundle(), prompts=[plain_prompt(p) for p in prompts], **_picture(first))
        self._ready = True
        for name, value in traits.items():
            if name not in self.trait_names():
                raise TypeError(f"explore has no option {name!r}")
            setattr(self, name, value)
        self._afterwards("prompt")

    @property
    def run(self) -> Run:
        """The recorded forward pass on show."""
        return self._shown().run

    @property
    def flow(self) -> Graph:
        """The old name of `opened.graph`."""
        told("FlowWidget.flow", "FlowWidget.opened.graph")
        return self._shown_graph()

    @property
    def selected(self) -> Answered | None:
        """Everything the panel shows of the selection, as names, numbers, token lists and tensors; see answers."""
        return None if self.selection is None else self._answer(self.selection, self)

    def analysis(
        self, include: Include = "auto", max_bytes: int = BUDGET, progress: Progress | None = None
    ) -> Analysis:
        """What `save_json` saves and `save_html` shows; arguments as there. Records prompts that were not yet shown."""
        before, tell = self.status, sometimes(self._tell)
        try:
            with reported("saving", progress) as done:

                def both(n: int, total: int) -> None:
                    done(n, total)
                    tell("saving", n, total)

                return analysis_of(self._session, self, include, max_bytes, both)
        finally:
            self.status = before

    def close(self) -> None:
        """Ends the widget and frees what it recorded; ipywidgets keeps every widget alive until then."""
        self._session.close()
        self._is_read, self._reading = True, None
        self.opened = None
        super().close()

    def _shown(self) -> Opened:
        if self.opened is None:
            raise ValueError("this widget was closed; call explore again")
        return self.opened

    def _shown_graph(self) -> Graph:
        return self._shown().graph

    def _n_tokens(self) -> int:
        return self._shown().run.n_tokens

    # ---- what follows what is set ----

    def _with_prompt(self, prompt: Any) -> dict[str, Any]:
        opened = self._open(prompt)
        why = answers.why_not(opened.run, self.selection)
        said = f"what was selected is not in this prompt: {why}" if why else ""
        known = self.prompts if opened.prompt in self.prompts else [*self.prompts, opened.prompt]
        # What was pinned is of the prompt it was pinned in, and would be something else in this one.
        kept = {"selection": None if why else self.selection, "pins": [], "prompts": known}
        return _picture(opened) | kept | {"threshold": None, "status": status_of("idle", said)}

    def _with_edits(self, edits: Any) -> dict[str, Any]:
        """The picture as the edits make it, beside the one without; the panel then says what they did."""
        edits = told_edits(edits)
        opened = self._open(self.prompt, edits)
        clean, selection = opened.clean, self.selection
        if clean is not None:
            selection = {"kind": "edits"}
        elif selection is not None and selection["kind"] == "edits":
            selection = None
        before = b"" if clean is None else _graph(clean)
        told = {"opened": opened, "graph": _graph(opened), "before": before}
        return told | {"edits": edits, "selection": selection, "status": status_of()}

    def _with_token(self, token: Any) -> dict[str, Any]:
        self._session.token_id(self._shown(), token, "the token explained")
        return {"token": token}

    def _with_verify(self, verify: bool) -> dict[str, Any]:
        if verify and self.edits and self._testable() == HEADS:
            raise t.TraitError("what is verified is a pass without edits; take the edits back first")
        return {"verify": verify}

    def _with_foil(self, foil: Any) -> dict[str, Any]:
        self._session.token_id(self._shown(), foil)
        return {"foil": foil}

    def _with_normalise(self, normalise: bool) -> dict[str, Any]:
        return {"normalise": normalise}

    def _checked(self, selection: Any) -> Selection:
        return answers.check(self.run, selection)

    @t.validate("prompts")
    def _prompts_are_prompts(self, proposal: Any) -> list[Any]:
        if not isinstance(proposal["value"], (list, tuple)):
            raise t.TraitError(f"prompts is a list of prompts, got {proposal['value']!r:.60}")
        try:
            return [plain_prompt(p) for p in proposal["value"]]
        except ValueError as e:
            raise t.TraitError(str(e)) from e

    @t.observe("typed")
    def _complete(self, change: Any) -> None:
        self.completions = self._session.model.starting_with(change.new)

    # ---- answers ----

    def _detail(self, now: Mapping[str, Any]) -> bytes:
        shown = t.Bunch(now)
        told = []
        for slot, index, question in asked_of(now):
            answer: Any
            try:
                answer = self._answer(question, shown, answers.beside(question, shown.selection, shown.pins))
            except ValueError as e:
                answer = {"error": str(e)}
            told.append((slot, index, question, answer))
        return detail_state(told, run_id=str(shown.opened.number))

    def _answer(self, question: Selection, shown: Any, beside: Selection | None = None) -> Answered:
        """The answer as the traits of `shown` ask for it."""
        asked = self._session.asked(shown.opened, shown)
        return self._session.ask(shown.opened, question, target=shown.target, beside=beside, **asked)

    # ---- when nobody waits ----

    def _afterwards(self, name: str) -> None:
        if name in ("prompt", "edits"):
            self._is_read, self._reading = False, None
        peek = [] if self._is_read else [self._read_on]
        if name == "verify":
            self._verified = self._testable()
        elif name == "selection" and answers.has_more(self.selection) and len(self.selection) > 1:
            self._verified = self.selection  # which names what is to be tested
        prepare = [self._prepare] if self.selection is not None else []
        self._session.later(*peek, *prepare, *self._verifying())
        self._when_idle(1 if self.drawn else _UNSEEN)
        if self.verify and not _has_loop():  # in a script nothing happens when nobody waits
            while self._verify_on():
                pass

    def _when_idle(self, times: float = 1) -> None:
        """After what is waiting in the event loop, if there is one, and a while of quiet."""
        if _has_loop():
            asyncio.get_running_loop().call_later(times * _IDLE, self._idle)

    @t.observe("drawn")
    def _on_drawn(self, _change: Any) -> None:
        self._when_idle()

    def _idle(self) -> None:
        if self._session.work():
            self._when_idle()

    def _read_on(self) -> bool:
        """Reads a few more nodes as tokens, and sends what was read at the end; whether that is still to come."""
        opened = self._shown()
        if self._reading is None:
            self._reading = peek_at(trace(opened.graph, self.target, encoding="flow"), _AT_ONCE)
        if self._reading.more():
            return True
        self._is_read = True
        self.peek = peek_bytes(self._reading, str(opened.number))
        return False

    def _testable(self) -> Selection:
        """What is put to the test: the selection, where its answer is found by and by, else all heads."""
        return self.selection if answers.has_more(self.selection) else HEADS

    def _verifying(self) -> list[Callable[[], bool]]:
        return [self._verify_on] if self.verify else []

    def _verify_on(self) -> bool:
        """Runs a few more passes; whether there are others. What is known so far stays, whatever ends it."""
        shown, more = self._shown(), False
        said: dict[str, Any] = {}
        try:
            asked = self._session.asked(shown, self)
            more = self._session.go_on(shown, self._verified, target=self.target, **asked)
        except KeyboardInterrupt:
            said = {"status": status_of("error", INTERRUPTED)}
        except Exception as e:  # noqa: BLE001
            # Nobody waits for this, so only the status can say what went wrong.
            said = {"status": status_of("error", str(e))}
        self._put({"detail": self._detail({n: getattr(self, n) for n in ASKED}), "verify": more} | said)
        return more

    def _overdue(self) -> None:
        """A script has no event loop, so what would be read when nobody waits is read when it is asked for."""
        if not self._is_read and not _has_loop():
            while self._read_on():
                pass

    def _prepare(self) -> None:
        """Answers what is likely to be asked next, one question at a time, until something else is."""
        if self.selection is not None:
            likely = answers.follow_ups(self.run, self.selection, self._answer(self.selection, self))
            self._session.later(*(partial(self._answer, question, self) for question in likely), *self._verifying())

    # ---- recording ----

    def _beforehand(self, name: str, value: Any) -> None:
        """Records it while the status travels, which says so until the new picture is there."""
        if name == "edits":
            self._open(self.prompt, told_edits(value))
        else:
            self._open(value)
        self.status = status_of("running", "drawing")

    def _tell(self, what: str, done: int, total: int) -> None:
        self.status = status_of("running", what, done, total)

    def _open(self, prompt: Prompt, edits: Sequence[Mapping[str, Any]] = ()) -> Opened:
        """The status says how far it is; afterwards it is what it was, or says that it was interrupted."""
        before = self.status
        try:
            return self._session.open(prompt, edits, told=sometimes(self._tell))
        except KeyboardInterrupt:
            before = status_of("error", INTERRUPTED)
            raise
        finally:
            self.status = before


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
    the last. threshold: edges below it are not drawn, None draws the fewest that carry 80 %. encoding: "flow" (shares
    multiplied along paths to the target) or "share" (the papers' local shares). Other traits of `FlowWidget` may be
    given by name.

    Raises ValueError for a prompt the model cannot take or an option out of range, UndecomposableError if the model
    cannot be split exactly. (Information flow routes: Ferrando & Voita 2024, arXiv:2403.00824; Tufanov et al. 2024,
    arXiv:2404.07004)

        >>> widget = lmtt.explore(model, prompt, threshold=0.05)
        >>> widget.selection = {"kind": "head", "state": 5, "head": 6, "query": 13, "key": 1}
        >>> widget.selected.all.promoted.tokens[0].text
        '·Mary'
    """
    prompts = prompt_list(prompt)
    try:
        return FlowWidget(model, prompts, target=target, encoding=encoding, threshold=threshold, **traits)
    except t.TraitError as e:
        raise ValueError(str(e)) from e


def _has_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _picture(opened: Opened) -> dict[str, Any]:
    """The traits that are of a prompt."""
    own = {"prompt": opened.prompt, "opened": opened, "graph": _graph(opened), "target": opened.run.n_tokens - 1}
    return own | {"edits": [], "before": b""}


def _graph(opened: Opened) -> bytes:
    return graph_state(opened.graph, run_id=str(opened.number), label=opened.label)
