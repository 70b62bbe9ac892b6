"""Token ids as strings a person can read, exact bytes kept."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any


@dataclass(frozen=True)
class Token:
    """One token as a person can read it, with its exact bytes.

    >>> run.tokens[1].text, run.tokens[1].bytes
    ('·Mary', b' Mary')
    """

    id: int
    raw: str  # the vocabulary entry: "Ġthe", "▁the", "<0xE2>", "##ing"
    bytes: bytes  # what it contributes to the text; those of all tokens together spell the text
    text: str  # for the eye: spaces as "·", newline as "⏎", invisible characters by name; never "�"
    special: bool = False  # a control token (beginning of text, chat markup)
    char: str | None = None  # of a fragment: the whole character that it helps to spell
    part: tuple[int, int] | None = None  # of a fragment: (k, n), the k-th of n tokens that spell `char`


def tokens(tokenizer: Any, ids: Iterable[int]) -> list[Token]:
    """The tokens of one text, in order; without a tokenizer the text of each is its id ("#464")."""
    ids = [int(i) for i in ids]
    if tokenizer is None:
        return [Token(i, str(i), b"", f"#{i}") for i in ids]
    spelling = _Spelling(tokenizer)
    rows = [spelling.entry(i) for i in ids]
    first = next((k for k, (_, _, special) in enumerate(rows) if not special), None)
    if spelling.adds_first_space and first is not None and rows[first][1].startswith(b" "):
        raw, data, _ = rows[first]
        rows[first] = (raw, data[1:], False)  # the tokenizer put it there; it is not in the text
    last = next((k for k in reversed(range(len(rows))) if not rows[k][2]), None)
    if spelling.suffix and last is not None and rows[last][1].endswith(b" "):
        raw, data, _ = rows[last]
        rows[last] = (raw, data[:-1], False)  # the end of a word, and of the text

    out: list[Token] = []
    while len(out) < len(rows):
        k = len(out)
        raw, data, special = rows[k]
        n, char = (1, None) if special or _decoded(data) is not None else _spelled_together(rows, k)
        if char is None:
            out.append(_alone(ids[k], raw, data, special))
        for m in range(n if char else 0):
            raw, data, _ = rows[k + m]
            text = f"{visible(char or '')} {m + 1}/{n}"
            out.append(Token(ids[k + m], _writable(raw), data, text, False, char, (m + 1, n)))
    return out


def vocabulary_tokens(tokenizer: Any, ids: Iterable[int]) -> list[Token]:
    """Entries of the vocabulary, each by itself and not as part of a text."""
    if tokenizer is None:
        return tokens(None, ids)
    spelling = _Spelling(tokenizer)
    return [_alone(int(i), *spelling.entry(int(i))) for i in ids]


def starting_with(tokenizer: Any, typed: str, most: int = 20) -> list[str]:
    """Texts of entries that begin with what was typed, in any case: those with a space first, then by length."""
    typed = typed.replace("·", " ").strip().lower()
    if tokenizer is None or not typed:
        return []
    table = {byte: c for c, byte in _byte_alphabet().items()}
    spelled = "".join(table[byte] for byte in typed.encode("utf-8", "surrogatepass"))
    found = []
    for raw, i in tokenizer.get_vocab().items():
        entry = raw if isinstance(raw, str) else raw.decode("utf-8", "replace")
        # Before the letters an entry may have a mark: "Ġ" or "▁" for a space, "##" for none.
        if typed in entry[: len(typed) + 2].lower() or spelled in entry[: len(spelled) + 2] or entry.startswith("<0x"):
            found.append(i)
    texts = {token.text for token in vocabulary_tokens(tokenizer, found)}
    texts = {shown for shown in texts if shown.lstrip("·").lower().startswith(typed)}
    return sorted(texts, key=lambda text: (not text.startswith("·"), len(text), text))[:most]


def _alone(i: int, raw: str, data: bytes, special: bool) -> Token:
    raw = _writable(raw)
    text = raw if special or not data else _decoded(data)  # no bytes: a space that only the tokenizer put there
    return Token(i, raw, data, _hex(data) if text is None else visible(text), special)


def _writable(raw: str) -> str:
    """An entry with halves of characters by their names, as they can be in no file."""
    return raw if raw.isascii() else "".join(_shown(c) if "\ud800" <= c <= "\udfff" else c for c in raw)


@lru_cache(1 << 12)
def visible(text: str) -> str:
    """`text` with every character that cannot be seen, or that would move others, made visible."""
    lead, trail = len(text) - len(text.lstrip(" ")), len(text) - len(text.rstrip(" "))
    if lead == len(text):
        return "·" * lead
    inside = text[lead : len(text) - trail]
    shown = [_shown(c) for c in inside]
    for end in (0, -1):
        if inside[end] == "·":  # a dot of the text beside those that stand for spaces
            shown[end] = "⟨00B7⟩"
    if unicodedata.category(inside[0])[0] == "M":
        shown.insert(0, "◌")  # a mark needs something to stand on
    return "·" * lead + "".join(shown) + "·" * trail


_NAMES = {
    "\n": "⏎", "\t": "⇥", "\r": "␍", "\0": "␀", "\u00a0": "⍽", "\u00ad": "⟨SHY⟩", "\u200b": "⟨ZWSP⟩",
    "\u200c": "⟨ZWNJ⟩", "\u200d": "⟨ZWJ⟩", "\u200e": "⟨LRM⟩", "\u200f": "⟨RLM⟩", "\u2028": "⟨LS⟩", "\u2029": "⟨PS⟩",
    "\ufe0e": "⟨VS15⟩", "\ufe0f": "⟨VS16⟩", "\ufeff": "⟨BOM⟩",
}  # fmt: skip
# Letters and marks that fonts draw as nothing: joiners, fillers, variation selectors, the blank Braille pattern.
_BLANK = {
    0x034F,
    0x115F,
    0x1160,
    0x17B4,
    0x17B5,
    0x2800,
    0x3164,
    0xFFA0,
    *range(0x180B, 0x1810),
    *range(0xFE00, 0xFE10),
}
_BLANK |= set(range(0xE0100, 0xE01F0))
_DRAWN = set("⏎⇥␍␀⍽◌⟨⟩")  # what stands for something else here; in the text itself it is named
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def _shown(c: str) -> str:
    if c in _NAMES:
        return _NAMES[c]
    unseen = (
        ord(c) in _BLANK
        or c in _DRAWN
        or unicodedata.category(c) in _UNSEEN
        or c == "\ufffd"
        or (c != " " and unicodedata.category(c) == "Zs")
    )
    return f"⟨{ord(c):04X}⟩" if unseen else c


class _Spelling:
    """How a tokenizer's entries spell bytes, read from its decoder."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.steps = _decoder_steps(tokenizer)
        kinds = {s["type"] for s in self.steps}
        self.byte_level, self.byte_fallback = "ByteLevel" in kinds, "ByteFallback" in kinds
        self.prefix = next((s.get("prefix", "##") for s in self.steps if s["type"] == "WordPiece"), None)
        self.suffix = next((s.get("suffix") for s in self.steps if s["type"] == "BPEDecoder"), None)
        self.added = dict(getattr(tokenizer, "added_tokens_decoder", {}) or {})
        self.special = set(getattr(tokenizer, "all_special_ids", ())) | {
            i for i, t in self.added.items() if getattr(t, "special", False)
        }
        strips = any(s["type"] == "Strip" and s.get("start", 0) and s.get("content", " ") == " " for s in self.steps)
        metaspace = any(s["type"] == "Metaspace" and s.get("prepend_scheme", "always") != "never" for s in self.steps)
        self.adds_first_space = strips or metaspace or self.prefix is not None

    def entry(self, i: int) -> tuple[str, bytes, bool]:
        """The vocabulary entry, its bytes, and whether it is special."""
        raw = self.tokenizer.convert_ids_to_tokens(i)
        if raw is None:
            return f"<{i}>", b"", True
        if isinstance(raw, bytes):  # tokenizers of tiktoken's kind, in Python, have bytes for entries
            shown = raw.decode("utf-8", "backslashreplace")
            return shown, raw, i in self.special
        if i in self.special:
            return raw, raw.encode("utf-8", "surrogatepass"), True
        if i in self.added and not self.byte_fallback:
            return raw, raw.encode("utf-8", "surrogatepass"), False
        table = _byte_alphabet()
        if self.byte_level and all(c in table for c in raw):
            return raw, bytes(table[c] for c in raw), False
        if self.byte_fallback and (m := re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", raw)):
            return raw, bytes([int(m[1], 16)]), False
        text = raw
        for s in self.steps:
            if s["type"] == "Replace":
                text = text.replace(s["pattern"].get("String", "\0"), s["content"])
            elif s["type"] == "Metaspace":
                text = text.replace(s.get("replacement", "▁"), " ")
        if self.prefix is not None:
            text = text[len(self.prefix) :] if text.startswith(self.prefix) else " " + text
        if self.suffix and text.endswith(self.suffix):
            text = text[: -len(self.suffix)] + " "
        return raw, text.encode("utf-8", "surrogatepass"), False


@lru_cache(8)
def _decoder_steps(tokenizer: Any) -> list[dict[str, Any]]:
    backend: Any = getattr(tokenizer, "backend_tokenizer", None) or getattr(tokenizer, "_tokenizer", None)
    if hasattr(backend, "to_str"):
        decoder = json.loads(backend.to_str()).get("decoder")
        steps, stack = [], [decoder] if decoder else []
        while stack:
            d = stack.pop()
            stack.extend(reversed(d.get("decoders", [])))
            if "decoders" not in d:
                steps.append(d)
        return steps
    # A tokenizer in Python: told by its entries. (tiktoken's kind has bytes for entries and needs no steps.)
    vocabulary = [t for t in tokenizer.get_vocab() if isinstance(t, str)]
    if getattr(tokenizer, "sp_model", None) is not None or any("▁" in t for t in vocabulary):
        return [{"type": "ByteFallback"}, {"type": "Metaspace"}]
    return [{"type": "ByteLevel"}] if any("Ġ" in t for t in vocabulary) else []


@lru_cache(1)
def _byte_alphabet() -> dict[str, int]:
    """GPT-2's reversible table: the characters that byte-level tokenizers write bytes as."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + k): b for k, b in enumerate(rest)}


def _decoded(data: bytes) -> str | None:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _spelled_together(rows: list[tuple[str, bytes, bool]], k: int, limit: int = 16) -> tuple[int, str | None]:
    """How many tokens from k on spell text only together, and that text; (1, None) if they never do."""
    data = b""
    for n, (_, more, special) in enumerate(rows[k : k + limit], 1):
        if special:
            break
        data += more
        try:
            return n, data.decode("utf-8")
        except UnicodeDecodeError as e:
            if e.reason != "unexpected end of data":
                break
    return 1, None


def _hex(data: bytes) -> str:
    """What can be decoded, with stray bytes as ⟨E2⟩."""
    text, k = "", 0
    while k < len(data):
        n, piece = next(((n, t) for n in (1, 2, 3, 4) if (t := _decoded(data[k : k + n])) is not None), (1, None))
        text += visible(piece) if piece is not None else f"⟨{data[k]:02X}⟩"
        k += n
    return text
