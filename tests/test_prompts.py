"""Whatever is given as a prompt and whatever the tokenizer does with it: ids, or a sentence that says what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lmtt_widget import Model, record
from lmtt_widget.wire import unpack

from . import text, zoo

IDS = [3, 14, 15]


class Panic(BaseException):
    """What the tokenizers library raises when its own code fails."""


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_args: Any, **_options: Any) -> Any:
        raise error

    return fail


class Tokenizer:
    """A tokenizer of somebody's own."""

    chat_template = "{}"
    added_tokens_decoder: dict[int, Any] = {}  # noqa: RUF012
    all_special_ids = ()

    def __init__(self, **given: Any) -> None:
        self.given = given

    def __call__(self, prompt: str, **options: Any) -> Any:
        return self._given("ids", {"input_ids": IDS})

    def apply_chat_template(self, messages: Any, **options: Any) -> Any:
        return self._given("chat", {"input_ids": IDS})

    def convert_ids_to_tokens(self, i: int) -> Any:
        return self._given("entry", "dog")

    def get_vocab(self) -> Any:
        return self._given("vocabulary", {"dog": 3})

    def _given(self, name: str, otherwise: Any) -> Any:
        found = self.given.get(name, otherwise)
        return found() if callable(found) else found


def model(tokenizer: Any) -> Model:
    return Model(zoo.shared(zoo.Case("llama")), tokenizer, "tiny")


def named(x: object) -> str:
    """The same in every process."""
    return repr(x).split(" at 0x")[0][:30]


ERRORS = [
    Exception("WordPiece error: Missing [UNK] token"),
    TypeError("TextEncodeInput must be Union[...]"),
    KeyError("vocab"),
    RuntimeError("sentencepiece\n  broke"),
    AssertionError(),
    Panic("index out of bounds"),
]
NO_IDS: list[Any] = [
    None, 7, "the dog", {}, {"ids": IDS}, {"input_ids": None}, {"input_ids": ["the"]}, {"input_ids": [1.5]},
    {"input_ids": [IDS, IDS]}, {"input_ids": torch.ones(2, 3, dtype=torch.long)}, {"input_ids": [None]},
    {"input_ids": [True]},
]  # fmt: skip


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("where", ["ids", "chat", "entry", "vocabulary"])
def test_what_a_tokenizer_raises_becomes_a_sentence(error: BaseException, where: str) -> None:
    broken = model(Tokenizer(**{where: raising(error)}))
    with pytest.raises(ValueError, match=r"^the tokenizer \(Tokenizer\) cannot .*; try it by itself, or give") as told:
        record(broken, [{"role": "user", "content": "dog"}] if where == "chat" else "the dog")
    assert type(error).__name__ in str(told.value)
    assert "\n" not in str(told.value)
    assert told.value.__cause__ is error


@pytest.mark.parametrize("given", NO_IDS, ids=str)
@pytest.mark.parametrize("where", ["ids", "chat"])
def test_a_tokenizer_that_gives_no_ids_is_refused(given: Any, where: str) -> None:
    with pytest.raises(
        ValueError, match=r"the tokenizer \(Tokenizer\) gave (no input_ids|input_ids that are no whole)"
    ):
        model(Tokenizer(**{where: given})).encode(
            [{"role": "user", "content": "dog"}] if where == "chat" else "the dog"
        )


@pytest.mark.parametrize(
    "given", [{"input_ids": [IDS]}, {"input_ids": torch.tensor([IDS])}, {"input_ids": np.array(IDS)}, IDS], ids=str
)
def test_ids_are_taken_in_whatever_form_a_tokenizer_gives_them(given: Any) -> None:
    assert model(Tokenizer(ids=given)).encode("the dog").ids == IDS


@pytest.mark.parametrize("entry", [7, 1.5, ["dog"], object()], ids=named)
def test_an_entry_that_is_no_text_is_refused(entry: Any) -> None:
    with pytest.raises(ValueError, match=r"the tokenizer \(Tokenizer\) cannot name its tokens"):
        record(model(Tokenizer(entry=entry)), IDS)


def test_a_keyboard_interrupt_in_a_tokenizer_is_none_of_its_errors() -> None:
    with pytest.raises(KeyboardInterrupt):
        model(Tokenizer(ids=raising(KeyboardInterrupt()))).encode("the dog")


# ---- what is given ----


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        (b"the dog", r"got b'the dog'; decode the bytes first: prompt\.decode\(\)"),
        (bytearray(b"the dog"), r"decode the bytes first"),
        (memoryview(b"the dog"), r"decode the bytes first"),
        ([b"the", b"dog"], r"a prompt is text, a list of token ids, or a list of chat messages, got \[b'the'"),
        (torch.tensor([IDS]), r"without an axis for a batch; pass ids\[0\], got the shape \[1, 3\]"),
        (np.array([IDS]), r"pass ids\[0\], got the shape \[1, 3\]"),
        ([IDS], r"a prompt is text, a list of token ids, .*, got \[\[3, 14, 15\]\]"),
        ([[3], [14]], "a prompt is text"),
        (torch.tensor(3), "a prompt is text"),
        (np.int64(3), "a prompt is text"),
        (torch.tensor([3.0, 4.0]), "a prompt is text"),
        (torch.empty(3, dtype=torch.long, device="meta"), "a prompt is text"),
        ({"input_ids": IDS}, r'got .*; pass prompt\["input_ids"\]'),
        ({3, 14}, "a prompt is text"),
        ([True, False], "a prompt is text"),
        ([3, None], "a prompt is text"),
        ([3, "dog"], "a prompt is text"),
        ([{"role": "user"}, 3], "a prompt is text"),
        (object(), "a prompt is text"),
        ([10**30], r"token ids must be in 0\.\.96; .* got 1000000000000000000000000000000"),
        ([{"content": "dog"}], r'a chat message is {"role": "user", "content": "\.\.\."}, got'),
        ([{}], "a chat message is"),
        ([{"role": 7, "content": "dog"}], "a chat message is"),
        ([{"role": "user", "content": float("nan")}], "a chat message is"),
        ([{"role": "user", "content": {1, 2}}], "a chat message is"),
        ("the \ud83d dog", r"the prompt has half of a character \(the lone surrogate U\+D83D\)"),
        ([{"role": "user", "content": "\udc00"}], r"a message has half of a character .*U\+DC00"),
    ],
    ids=named,
)
def test_what_is_no_prompt_is_refused_with_the_next_step(prompt: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        record(model(Tokenizer()), prompt)


@pytest.mark.parametrize("prompt", [np.array(IDS), torch.tensor(IDS), iter(IDS), range(3, 6), np.array(IDS, np.uint8)])
def test_ids_may_come_in_any_order_that_is_one(prompt: Any) -> None:
    assert len(model(Tokenizer()).encode(prompt).ids) == 3


def test_without_a_vocabulary_ids_are_whole_numbers_from_0() -> None:
    unknown = Model(torch.nn.Linear(2, 2), None, "tiny")
    for bad in (-1, 1 << 64):
        with pytest.raises(ValueError, match=rf"token ids must be in 0\.\.{(1 << 63) - 1}; .*, got {bad}"):
            unknown.encode([3, bad])


def test_a_token_is_one_token() -> None:
    known = text.model()
    assert known.token_id(" dog") == known.tokenizer(" dog")["input_ids"][0]
    for bad in ("the dog", "", "\ud83d"):
        with pytest.raises(ValueError, match=r"a token must be one token|has half of a character"):
            known.token_id(bad)


def test_an_entry_with_half_of_a_character_can_be_written_down() -> None:
    from lmtt_widget import attribute
    from lmtt_widget.state import graph_state

    graph = attribute(record(model(Tokenizer(entry="\ud83dx")), IDS))
    assert unpack(graph_state(graph))[1]["tokens"]["raw"] == ["⟨D83D⟩x"] * 3


# ---- templates ----


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{% for m in messages %}", "TemplateSyntaxError"),
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages[0]['content'].nothing.at_all }}", "UndefinedError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ messages[0]['content'] + 1 }}", "TypeError"),
    ],
)
def test_what_a_template_raises_becomes_a_sentence(template: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = text.model()
    monkeypatch.setattr(known.tokenizer, "chat_template", template)
    with pytest.raises(ValueError, match="cannot write these messages with its chat template") as told:
        known.encode([{"role": "user", "content": "dog"}])
    assert says in str(told.value)
