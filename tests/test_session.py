"""A session without a user interface: what is opened is recorded once, known by its number, and freed."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest

from lmtt_widget import FlowWidget, answers, explore, session
from lmtt_widget import widget as widget_module
from lmtt_widget.session import Session, prompt_list

from . import text

ROOT = Path(__file__).resolve().parents[1]
TOKEN = {"kind": "token", "pos": 1}


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The prompts that go through the recorder."""
    prompts: list[Any] = []
    record = session.record

    def counted(model: Any, prompt: Any, **options: Any) -> Any:
        prompts.append(prompt)
        return record(model, prompt, **options)

    monkeypatch.setattr(session, "record", counted)
    return prompts


def test_a_prompt_is_recorded_once_while_it_is_kept(recorded: list[Any]) -> None:
    s = Session(text.model(), keep=2)
    first = s.open("the dog")
    assert s.open("the dog") is first
    s.open("and")
    s.open([5, 6])
    assert recorded == ["the dog", "and", [5, 6]]
    again = s.open("the dog")
    assert recorded[3:] == ["the dog"]
    assert [first.number, again.number] == [1, 4]


def test_explore_opens_its_prompt_once(recorded: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[Any] = []
    opens = Session.open

    def counted(self: Session, prompt: Any, *args: Any, **options: Any) -> Any:
        entered.append(prompt)
        return opens(self, prompt, *args, **options)

    monkeypatch.setattr(Session, "open", counted)
    monkeypatch.setattr(widget_module, "bundle", dict)
    w = explore(text.model(), ["the dog", "and"], selection=TOKEN, pins=[TOKEN], encoding="share", foil=" dog")
    assert entered == recorded == ["the dog"]
    assert w.selected is not None
    w.close()


def test_an_answer_is_of_the_prompt_that_was_asked_about() -> None:
    """Also after others were freed, whose place in memory it may have."""
    s = Session(text.model(), keep=2)
    for n in range(40):
        prompt = [3 + n, 4 + n % 7, 5]
        opened = s.open(prompt)
        answer = s.ask(opened, {"kind": "token", "pos": 0})
        assert answer["id"] == prompt[0]
        direct = answers.answer(opened.run, opened.graph, TOKEN)
        assert s.ask(opened, TOKEN)["next"].scores.tolist() == direct["next"].scores.tolist()
    assert s.open(prompt).number == 40


def test_an_answer_is_kept_for_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    s = Session(text.model())
    opened = s.open("the dog")
    first = s.ask(opened, TOKEN)
    with monkeypatch.context() as m:
        m.setattr(answers, "answer", None)
        assert s.ask(opened, TOKEN) is first
        assert s.ask(opened, dict(reversed(TOKEN.items()))) is first
    assert s.ask(opened, TOKEN, normalise=False) is not first
    assert s.ask(opened, TOKEN, beside={"kind": "token", "pos": 0})["also"] is not None


def test_what_waits_is_done_a_piece_at_a_time_and_given_up_for_what_is_newer() -> None:
    s, done = Session(text.model()), []
    s.later(lambda: done.append(1), lambda: done.append(2))
    assert s.work()
    s.later(lambda: done.append(3), lambda: s.later(lambda: done.append(4)))
    while s.work():
        pass
    assert done == [1, 3, 4]
    assert not s.work()


def test_a_closed_session_frees_what_it_recorded_and_does_nothing_more() -> None:
    s, done = Session(text.model()), []
    opened = s.open("the dog")
    s.ask(opened, {"kind": "head", "state": 1, "head": 0, "query": 1})
    ref = weakref.ref(opened.run)
    s.later(lambda: done.append(1))
    s.close()
    assert not s.work()
    assert not done
    del opened
    gc.collect()
    assert ref() is None
    with pytest.raises(ValueError, match="this session was closed; make another one"):
        s.open("the dog")


def test_a_closed_widget_is_not_woken_by_a_timer(recorded: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(widget_module, "bundle", dict)
    monkeypatch.setattr(widget_module, "_IDLE", 0.0)
    problems: list[Any] = []

    async def shown() -> FlowWidget:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(context))
        w = explore(text.model(), "the dog", selection={"kind": "mlp", "state": 2, "pos": 1})
        assert w.peek == b""  # the picture comes first
        for _ in range(20):
            await asyncio.sleep(0)
        assert w.peek
        w.selection = {"kind": "mlp", "state": 4, "pos": 1}
        w.close()
        for _ in range(20):
            await asyncio.sleep(0)
        return w

    w = asyncio.run(shown())
    assert not problems
    assert recorded == ["the dog"]
    with pytest.raises(ValueError, match="this widget was closed; call explore again"):
        assert w.run


def test_nothing_is_prepared_before_the_browser_shows_the_picture(
    recorded: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(widget_module, "bundle", dict)
    monkeypatch.setattr(widget_module, "_IDLE", 1e-6)
    monkeypatch.setattr(widget_module, "_UNSEEN", 1e9)

    async def shown() -> None:
        w = explore(text.model(), "the dog")
        for _ in range(20):
            await asyncio.sleep(1e-3)
        assert w.peek == b""
        w.drawn = True
        for _ in range(1000):
            await asyncio.sleep(1e-3)
            if w.peek:
                break
        assert w.peek
        w.close()

    asyncio.run(shown())


def test_where_nothing_is_ever_drawn_only_the_beginning_waits(
    recorded: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(widget_module, "bundle", dict)
    monkeypatch.setattr(widget_module, "_AT_ONCE", 1)

    async def shown() -> None:
        loop = asyncio.get_running_loop()
        later = loop.call_later

        def soon(wait: float, *work: Any) -> Any:
            waits.append(wait)
            return later(0, *work)

        monkeypatch.setattr(loop, "call_later", soon)
        w = explore(text.model(), "the dog")
        for _ in range(200):
            await asyncio.sleep(0)
        w.close()

    asyncio.run(shown())
    begins = waits.count(pytest.approx(3))  # one for each change that is followed by preparing
    assert 0 < begins < len(waits) / 2
    assert waits[begins:] == [widget_module._IDLE] * (len(waits) - begins)


def test_what_is_no_edit_is_said() -> None:
    with pytest.raises(ValueError, match="an edit is an Edit, or a dictionary with its selection, got 'cut'"):
        Session(text.model()).open("the dog", edits=["cut"])


def test_a_terminal_needs_nothing_of_a_notebook() -> None:
    code = (
        "import sys, lmtt_widget as l; from lmtt_widget.session import Session;"
        "s = Session(l.bundled_model()); o = s.open('Mary went home because');"
        "print(s.ask(o, {'kind': 'token', 'pos': 3}).next.tokens[0].text,"
        "[m for m in ('anywidget', 'traitlets', 'ipywidgets', 'IPython') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["·she []"], done.stderr


@pytest.mark.parametrize("prompt", [b"dog", bytearray(b"dog"), memoryview(b"dog"), {"input_ids": [3]}, {3, 4}, 7, None])
def test_what_is_no_prompt_is_no_list_of_prompts(prompt: Any) -> None:
    with pytest.raises(ValueError, match="a prompt is text, a list of token ids, or a list of chat messages, got"):
        prompt_list(prompt)
    with pytest.raises(ValueError, match="a prompt is text, a list of token ids, or a list of chat messages, got"):
        Session(text.model()).open(prompt)


def test_half_of_a_character_is_no_foil() -> None:
    session = Session(text.model())
    with pytest.raises(ValueError, match=r"a foil has half of a character \(the lone surrogate U\+D83D\)"):
        session.token_id(session.open("the dog"), "\ud83d")
