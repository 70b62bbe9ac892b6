"""The bytes of all tokens spell the text; what is shown can be read and does no harm."""

from __future__ import annotations

import copy
import json
import unicodedata

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtt_widget import Model
from lmtt_widget.tokens import Token, starting_with, tokens, visible, vocabulary_tokens

from . import text

BYTE_LEVEL = {"byte level": text.byte_level, "split": text.split_byte_level, "tiktoken": text.tiktoken_style}
PIECES = {  # with ▁ for a space, which they cannot tell from a ▁ of the text
    "byte fallback": text.byte_fallback,
    "byte fallback, no prefix": text.byte_fallback_without_prefix,
    "unigram with bytes": text.unigram_with_bytes,
    "sentencepiece unigram": lambda: text.sentence_piece("unigram"),
    "sentencepiece bpe": lambda: text.sentence_piece("bpe"),
}
LOSSLESS = {**BYTE_LEVEL, **PIECES}
OTHERS = {"unigram": text.unigram, "word piece": text.word_piece, "word ends": text.word_ends}
ALL = {**LOSSLESS, **OTHERS}
UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def read(kind: str, prompt: str) -> list[Token]:
    tokenizer = ALL[kind]()
    return tokens(tokenizer, tokenizer(prompt, add_special_tokens=False)["input_ids"])


def harmless(shown: str) -> bool:
    """Nothing invisible, nothing that moves other text, no replacement character; it can be written as UTF-8."""
    shown.encode("utf-8")
    return "\ufffd" not in shown and not any(unicodedata.category(c) in UNSEEN for c in shown)


@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize("name", text.TEXTS)
def test_the_bytes_of_all_tokens_spell_the_text(kind: str, name: str) -> None:
    got, prompt = read(kind, text.TEXTS[name]), text.TEXTS[name]
    if kind in PIECES:
        prompt = prompt.replace("▁", " ")
    if kind == "unigram with bytes":
        prompt = prompt.replace("<0x41>", "A")  # tokenizers takes the byte's entry for the text that it looks like
    assert b"".join(t.bytes for t in got) == prompt.encode()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.text(min_size=1, max_size=20).filter(lambda prompt: "▁" not in prompt))
def test_the_bytes_of_any_text_spell_it(prompt: str) -> None:
    for kind in LOSSLESS:
        got = read(kind, prompt)
        assert b"".join(t.bytes for t in got) == prompt.encode()
        assert all(harmless(t.text) for t in got)


@pytest.mark.parametrize("prompt", text.LINES[:6])
def test_a_unigram_model_spells_what_it_knows(prompt: str) -> None:
    assert b"".join(t.bytes for t in read("unigram", prompt)) == prompt.encode()


@pytest.mark.parametrize("kind", LOSSLESS)
def test_a_page_of_twelve_scripts_is_spelled_exactly_and_readably(kind: str) -> None:
    got = read(kind, text.PAGE)
    assert b"".join(t.bytes for t in got) == text.PAGE.encode()
    assert all(harmless(t.text) for t in got)
    shown = "".join(t.text for t in got)
    for name in ("⏎", "⇥", "⍽", "⟨202F⟩", "⟨ZWJ⟩", "⟨ZWNJ⟩", "⟨ZWSP⟩", "⟨VS16⟩"):
        assert name in shown
    scripts = {unicodedata.name(c).split()[0] for t in got for c in t.text + (t.char or "") if c.isalpha()}
    assert scripts >= {
        "LATIN", "GREEK", "CYRILLIC", "GEORGIAN", "ARMENIAN", "ARABIC", "HEBREW", "DEVANAGARI", "TAMIL", "THAI",
        "HANGUL", "CJK", "HIRAGANA", "KATAKANA",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["word piece", "word ends"])
def test_words_are_spelled_with_the_spaces_between_them(kind: str) -> None:
    for prompt in (text.LINES[0], text.LINES[1], text.LINES[5]):
        assert b"".join(t.bytes for t in read(kind, prompt)) == prompt.encode()


def test_word_pieces_spell_words_with_single_spaces() -> None:
    prompt = "the dog gave John a drink to Mary."
    got = read("word piece", prompt)
    assert b"".join(t.bytes for t in got) == prompt.encode()
    assert any(t.raw.startswith("##") for t in got)
    assert not any(t.text.startswith("##") for t in got)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("name", text.TEXTS)
def test_what_is_shown_can_be_seen_and_moves_nothing(kind: str, name: str) -> None:
    for t in read(kind, text.TEXTS[name]):
        assert harmless(t.text)
        assert t.text == t.text.strip()


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("prompt", ["dog", "7", "🎉", "猫"])
def test_no_token_is_shown_as_nothing(kind: str, prompt: str) -> None:
    """Also one that is only the space which the tokenizer put in front."""
    assert [t.raw for t in read(kind, prompt) if not t.text] == []


@pytest.mark.parametrize("kind", ALL)
def test_every_entry_of_the_vocabulary_can_be_shown(kind: str) -> None:
    tokenizer = ALL[kind]()
    entries = vocabulary_tokens(tokenizer, range(len(tokenizer)))
    assert [t.id for t in entries] == list(range(len(tokenizer)))
    raw = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    assert [t.bytes if isinstance(r, bytes) else t.raw for t, r in zip(entries, raw, strict=True)] == raw
    assert all(t.text and harmless(t.text) for t in entries)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("typed", ["d", "Do", "é", "猫", "·d", "", "zzzz"])
def test_completions_are_the_entries_that_begin_with_what_was_typed(kind: str, typed: str) -> None:
    tokenizer = ALL[kind]()
    wanted = typed.strip("·").lower()
    every = {t.text for t in vocabulary_tokens(tokenizer, range(len(tokenizer)))}
    begins = {shown for shown in every if wanted and shown.lstrip("·").lower().startswith(wanted)}
    found = starting_with(tokenizer, typed, 10_000)
    assert set(found) == begins
    assert found == sorted(found, key=lambda shown: not shown.startswith("·"))
    assert starting_with(tokenizer, typed, 3) == found[:3]


@pytest.mark.parametrize("kind", LOSSLESS)
def test_a_character_of_several_tokens_is_named_on_each(kind: str) -> None:
    got = read(kind, "a 𝄞 b")
    parts = [t for t in got if t.char is not None]
    n = len(parts)
    assert n > 1
    assert [t.part for t in parts] == [(k + 1, n) for k in range(n)]
    assert all("𝄞" in (t.char or "") for t in parts)
    assert all(t.text.endswith(f" {k + 1}/{n}") for k, t in enumerate(parts))
    assert b"".join(t.bytes for t in parts).decode().strip() == "𝄞"


@pytest.mark.parametrize("kind", LOSSLESS)
def test_a_lone_byte_is_shown_in_hex(kind: str) -> None:
    tokenizer = ALL[kind]()
    i = (
        tokenizer.get_vocab()[b"\xe2"]
        if kind == "tiktoken"
        else tokenizer.convert_tokens_to_ids("<0xE2>" if kind in PIECES else "â")
    )
    assert vocabulary_tokens(tokenizer, [i])[0].bytes == b"\xe2"
    assert vocabulary_tokens(tokenizer, [i])[0].text == "⟨E2⟩"
    cut = tokens(tokenizer, [i, *tokenizer("dog", add_special_tokens=False)["input_ids"]])
    assert cut[0].text == "⟨E2⟩"
    assert (cut[0].char, cut[0].part) == (None, None)
    assert tokens(tokenizer, [i, i])[1].text == "⟨E2⟩"


@pytest.mark.parametrize("kind", ALL)
def test_special_tokens_are_marked_and_shown_as_they_are_written(kind: str) -> None:
    tokenizer = ALL[kind]()
    ids = [tokenizer.bos_token_id, *tokenizer("dog", add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    got = tokens(tokenizer, ids)
    assert [t.special for t in got] == [True, *[False] * (len(got) - 2), True]
    assert (got[0].text, got[-1].text) == ("<s>", "</s>")
    chat = tokens(tokenizer, tokenizer("<|im_start|>dog<|im_end|>", add_special_tokens=False)["input_ids"])
    assert [t.text for t in chat if t.special] == ["<|im_start|>", "<|im_end|>"]


@pytest.mark.parametrize("kind", ["byte fallback", "unigram"])
def test_the_space_that_a_tokenizer_puts_in_front_is_not_in_the_text(kind: str) -> None:
    tokenizer = ALL[kind]()
    ids = tokenizer("dog and dog", add_special_tokens=False)["input_ids"]
    after_special = tokens(tokenizer, [tokenizer.bos_token_id, *ids])
    assert b"".join(t.bytes for t in after_special if not t.special) == b"dog and dog"
    assert vocabulary_tokens(tokenizer, ids[:1])[0].text[0] == "·"  # by itself it is what follows a space


@pytest.mark.parametrize("kind", ALL)
def test_the_token_of_the_beginning_is_there_exactly_when_the_tokenizer_puts_it(kind: str) -> None:
    tokenizer = ALL[kind]()
    ids = Model(torch.nn.Identity(), tokenizer, kind).encode("dog").ids
    assert ids == tokenizer("dog")["input_ids"]
    got = tokens(tokenizer, ids)
    begins = kind == "byte fallback, no prefix"
    assert [t.special for t in got] == [begins] + [False] * (len(got) - 1)
    assert (ids[0] == tokenizer.bos_token_id) == begins


CHAT = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "the dog 🎉"}]


@pytest.mark.parametrize("kind", ["byte level", "split", "tiktoken", *PIECES])
def test_messages_keep_their_roles_and_begin_once(kind: str) -> None:
    tokenizer = copy.deepcopy(ALL[kind]())
    tokenizer.chat_template = "{{ bos_token }}" + text.byte_level().chat_template
    encoded = Model(torch.nn.Identity(), tokenizer, kind).encode(CHAT)
    assert encoded.ids.count(tokenizer.bos_token_id) == 1
    assert encoded.ids[0] == tokenizer.bos_token_id
    assert list(dict.fromkeys(encoded.roles)) == ["system", "user", "assistant"]
    got = tokens(tokenizer, encoded.ids)
    spelled = b"".join(t.bytes for t, role in zip(got, encoded.roles, strict=True) if role == "user" and not t.special)
    assert spelled.decode().split() == ["user", "the", "dog", "🎉"]
    assert [t.text for t in got if t.special] == ["<s>", *["<|im_start|>", "<|im_end|>"] * 2, "<|im_start|>"]


def test_a_fragment_does_not_reach_over_a_special_token() -> None:
    tokenizer = text.byte_level()
    first, *rest = tokenizer("🎉", add_special_tokens=False)["input_ids"]
    got = tokens(tokenizer, [first, tokenizer.bos_token_id, *rest])
    assert got[0].char is None
    assert got[1].special


def test_without_a_tokenizer_a_token_is_its_number() -> None:
    got = tokens(None, [464, 3])
    assert [t.text for t in got] == ["#464", "#3"]
    assert [t.text for t in vocabulary_tokens(None, [7])] == ["#7"]


def test_an_id_that_the_tokenizer_does_not_know_is_shown() -> None:
    """Models pad their vocabulary beyond the tokenizer's."""
    tokenizer = text.byte_level()
    (got,) = vocabulary_tokens(tokenizer, [len(tokenizer) + 5])
    assert got.text
    assert harmless(got.text)


def test_spaces_and_line_ends_are_drawn() -> None:
    assert visible(" the") == "·the"
    assert visible("  ") == "··"
    assert visible("a b") == "a b"
    assert visible("x ") == "x·"
    assert visible("\n\n") == "⏎⏎"
    assert visible("\t") == "⇥"
    assert visible("\u00a0") == "⍽"
    assert visible("\u0301") == "◌\u0301"
    assert visible("\u202e") == "⟨202E⟩"
    assert visible("\ufffd") == "⟨FFFD⟩"


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(st.characters(), max_size=12))
def test_any_string_can_be_shown(hostile: str) -> None:
    shown = visible(hostile)
    assert harmless(shown)
    assert bool(shown) == bool(hostile)
    assert json.loads(json.dumps(shown)) == shown


@pytest.mark.parametrize("mark", ["\u093f", "\u0941", "\u0e31", "\u0bca", "\u3099", "\u064e", "\u20e3"])
def test_a_mark_by_itself_stands_on_a_circle(mark: str) -> None:
    """Also those that take room of their own (vowel signs) or have no combining class."""
    assert visible(mark + "x") == f"◌{mark}x"


@settings(max_examples=500, deadline=None, derandomize=True)
@given(*[st.text(" ·⏎\n⟨⟩ZWJ\u200d◌\u0301a⍽\u00a0\t⇥", max_size=4)] * 2)
def test_different_texts_are_shown_differently(one: str, other: str) -> None:
    """What stands for a space, a newline or a joiner is named where the text itself has it."""
    assert (visible(one) == visible(other)) == (one == other)


def test_characters_that_fonts_draw_as_nothing_are_named() -> None:
    """Fillers, blank Braille and variation selectors count as letters, symbols and marks."""
    codes = [0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x180B, 0x200B, 0x2060, 0x2800, 0x3164, 0xFE00, 0xFE0E]
    codes += [0xFFA0, 0xE0041, 0xE0100]
    assert [hex(code) for code in codes if visible(f"a{chr(code)}b") == f"a{chr(code)}b"] == []
