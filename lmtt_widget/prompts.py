"""Prompts as token ids: whatever a tokenizer or a template does, ids come out or a sentence that says what to do."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Prompt = str | Sequence[int] | Sequence[dict[str, str]]
NO_PROMPT = "a prompt is text, a list of token ids, or a list of chat messages, got {!r:.80}"
_BYTES = (bytes, bytearray, memoryview)
_NOT_IN_ORDER = (Mapping, set, frozenset)


def plain_prompt(prompt: Any) -> Any:
    """A prompt as JSON knows it: text, a list of whole numbers, or a list of messages.

    Raises ValueError for anything else; bytes are no list of token ids.
    """
    if isinstance(prompt, str):
        return whole_text(prompt, "the prompt")
    if isinstance(prompt, _BYTES):
        raise ValueError(f"{NO_PROMPT.format(prompt)}; decode the bytes first: prompt.decode()")
    if getattr(prompt, "ndim", 1) > 1:
        shape = list(prompt.shape)
        raise ValueError(f"token ids are one list, without an axis for a batch; pass ids[0], got the shape {shape}")
    if isinstance(prompt, _NOT_IN_ORDER) or not isinstance(prompt, Iterable) or getattr(prompt, "ndim", 1) < 1:
        more = '; pass prompt["input_ids"]' if isinstance(prompt, Mapping) and "input_ids" in prompt else ""
        raise ValueError(NO_PROMPT.format(prompt) + more)
    items = list(prompt)
    if items and all(isinstance(x, dict) for x in items):
        return [_message(x) for x in items]
    return whole_numbers(items, NO_PROMPT.format(prompt))


def whole_numbers(items: Iterable[Any], otherwise: str) -> list[int]:
    """The items as Python's whole numbers. Raises ValueError with `otherwise` where one is none."""
    found = []
    for x in items:
        if isinstance(x, (bool, *_BYTES)):
            raise ValueError(otherwise)
        try:
            found.append(operator.index(x))
        except Exception as e:  # a tensor without numbers raises what it likes
            raise ValueError(otherwise) from e
    return found


def whole_text(text: str, what: str) -> str:
    """The text, if it can be written down. Raises ValueError for half of a character."""
    half = next((c for c in text if "\ud800" <= c <= "\udfff"), None)
    if half is not None:
        raise ValueError(
            f"{what} has half of a character (the lone surrogate U+{ord(half):04X}), which no file can hold; "
            'leave it out: text.encode("utf-8", "ignore").decode()'
        )
    return text


def text_ids(tokenizer: Any, text: str, **options: Any) -> list[int]:
    """The token ids of a text, as the tokenizer makes them by default.

    Raises ValueError with what the tokenizer says where it cannot.
    """
    return _ids(asked(tokenizer, f"tokenise {text!r:.60}", lambda: tokenizer(text, **options)), tokenizer)


def chat_ids(tokenizer: Any, messages: list[dict[str, str]]) -> tuple[list[int], list[str | None]]:
    """The token ids of a conversation in the words of the tokenizer's template, and whose words each token is.

    Raises ValueError where there is no template or where it refuses the messages.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError("the tokenizer has no chat template; give the prompt as text")

    def ids(upto: int, ask: bool) -> list[int]:
        def write() -> Any:
            return tokenizer.apply_chat_template(
                messages[:upto], tokenize=True, add_generation_prompt=ask, return_dict=True
            )

        return _ids(asked(tokenizer, "write these messages with its chat template", write), tokenizer)

    asks = messages[-1].get("role") != "assistant"
    whole = ids(len(messages), asks)
    roles: list[str | None] = [None] * len(whole)
    start = 0
    for k, message in enumerate(messages):  # it reaches as far as the shorter conversation agrees with the whole
        try:
            prefix = ids(k + 1, False)
        except ValueError:  # some templates refuse a conversation that ends early; roles are only labels
            continue
        differs = (i for i, (a, b) in enumerate(zip(prefix, whole, strict=False)) if a != b)
        end = next(differs, min(len(prefix), len(whole)))
        roles[start:end] = [message.get("role")] * max(0, end - start)
        start = max(start, end)
    if asks:
        roles[start:] = ["assistant"] * (len(whole) - start)
    return whole, roles


def asked(tokenizer: Any, what: str, ask: Callable[[], Any]) -> Any:
    """What `ask` gives. Raises ValueError where it raises anything."""
    cannot = f"the tokenizer ({type(tokenizer).__name__}) cannot {what}"
    return tried(ask, cannot, "try it by itself, or give the prompt as token ids")


def tried(work: Callable[[], Any], otherwise: str, then: str, *, but: tuple[type[Exception], ...] = ()) -> Any:
    """What `work` gives: code of other libraries. Raises ValueError for whatever it raises, but for `but`.

    The sentence is: what could not be done (otherwise), what was raised, what to do (then).
    """
    try:
        return work()
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except but:
        raise
    except BaseException as e:  # a panic of the tokenizers library is no Exception
        raise ValueError(f"{otherwise} ({one_line(e)}); {then}") from e


def one_line(e: BaseException, most: int = 200) -> str:
    """An exception as a sentence has it."""
    text = " ".join(str(e).split())
    return f"{type(e).__name__}: {text[:most]}" + ("..." if len(text) > most else "")


def _ids(got: Any, tokenizer: Any) -> list[int]:
    """The ids in what a tokenizer gave: its "input_ids", a list, or one row of a batch."""
    if isinstance(got, Mapping) or hasattr(got, "input_ids"):
        got = got["input_ids"] if isinstance(got, Mapping) and "input_ids" in got else getattr(got, "input_ids", None)
    if hasattr(got, "tolist"):
        got = got.tolist()
    if isinstance(got, (list, tuple)) and len(got) == 1 and isinstance(got[0], (list, tuple)):
        got = got[0]
    name = type(tokenizer).__name__
    if not isinstance(got, (list, tuple)):
        raise ValueError(f"the tokenizer ({name}) gave no input_ids, got {got!r:.60}; give the prompt as token ids")
    return whole_numbers(got, f"the tokenizer ({name}) gave input_ids that are no whole numbers, got {got!r:.60}")


def _message(message: dict[str, Any]) -> dict[str, Any]:
    """A message, if it says who speaks and can be written down. Raises ValueError otherwise."""
    try:
        fits = isinstance(message.get("role"), str) and json.loads(json.dumps(message, allow_nan=False)) == message
    except (ValueError, TypeError, RecursionError):
        fits = False
    if not fits:
        raise ValueError(f'a chat message is {{"role": "user", "content": "..."}}, got {message!r:.80}')
    whole_text(json.dumps(message, ensure_ascii=False), "a message")
    return message
