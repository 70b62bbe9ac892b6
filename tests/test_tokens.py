"""The bytes of all tokens spell the text; what is shown can be read and does no harm."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtt_widget.tokens import Token, tokens, visible, vocabulary_tokens

from . import text

LOSSLESS = {"byte level": text.byte_level, "split": text.split_byte_level, "byte fallback": text.byte_fallback}
ALL = {**LOSSLESS, "unigram": text.unigram, "word piece": text.word_piece}
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
    if kind == "byte fallback":
        prompt = prompt.replace("▁", " ")  # which this kind cannot tell from a space
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
    assert [t.raw for t in entries] == tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    assert all(t.text and harmless(t.text) for t in entries)


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
    entry = {"byte fallback": "<0xE2>"}.get(kind, "â")
    i = tokenizer.convert_tokens_to_ids(entry)
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


def test_characters_that_fonts_draw_as_nothing_are_named() -> None:
    """Fillers, blank Braille and variation selectors count as letters, symbols and marks."""
    codes = [0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x180B, 0x200B, 0x2060, 0x2800, 0x3164, 0xFE00, 0xFE0E]
    codes += [0xFFA0, 0xE0041, 0xE0100]
    assert [hex(code) for code in codes if visible(f"a{chr(code)}b") == f"a{chr(code)}b"] == []
