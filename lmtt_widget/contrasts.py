"""A second prompt that asks the question: words swapped, so that the answer turns round, and which token is which.

Knows nothing of pictures and edits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import torch

from .attribution import log_odds
from .decomposition.forward import forward_logits, in_plain_precision, in_turn
from .decomposition.layers import find_layers
from .given import integer, of_kind, place, told
from .model import Model
from .parts import wide
from .prompts import Prompt, plain_prompt
from .run import RECORDED, Run


@dataclass(frozen=True)
class ContrastPrompt:
    """A prompt to hold a run against: how it differs, and what it does to the answer.

    >>> found = lmtt.contrast_prompts(run, foil=model.token_id(" John"))[0]
    >>> found.how, found.prompt
    ('the last ·John is ·Mary', 'When Mary and John went to the store, Mary gave a drink to')
    """

    prompt: Any  # text, where the run's was text; else token ids
    how: str  # in words
    odds_before: float  # log odds of the token against the foil in the run's own prompt, in nats
    odds: float  # in this prompt
    alignment: tuple[tuple[int, int], ...]  # pairs (position, position in this prompt), for `contrast`
    n_tokens: int

    @property
    def turns(self) -> bool:
        """Whether the answer turns round: the token is ahead in the one, the foil in the other."""
        return self.odds < 0 < self.odds_before


@in_plain_precision
def contrast_prompts(run: Run, *, foil: int, token: int | None = None, pos: int = -1) -> list[ContrastPrompt]:
    """Prompts made of the run's own by swapping the token and the foil, the one that turns the answer most first.

    Where both are in the prompt: the last mention of the one as the other, and the two exchanged everywhere; where only
    one is: the other in its place. Each is tried, one forward pass each; none is made where neither is in the prompt
    (swap a word of your own then: `swap_words`). token: an id, by default the prediction at `pos`; foil: an id.

    Raises ValueError for a token that is not in the vocabulary, or a foil that is the token.

        >>> found = lmtt.contrast_prompts(run, foil=model.token_id(" John"))[0]
        >>> other = lmtt.record(model, found.prompt)
        >>> found.turns, other.n_tokens == run.n_tokens
        (True, True)
    """
    of_kind(run, Run, "run", RECORDED)
    n_vocab, pos = run.logits.shape[-1], place(pos, run.n_tokens, "pos")
    token = int(run.logits[pos].argmax()) if token is None else integer(token, "token", 0, n_vocab - 1)
    foil = integer(foil, "foil", 0, n_vocab - 1)
    if foil == token:
        raise ValueError("the foil is the token itself; choose another")
    before, found = float(log_odds(wide(run.logits[pos]), token, foil)), []
    own = run.token_ids.tolist()
    for ids, how in _turned(run, token, foil):
        prompt: Any = _as_text(run, ids) if isinstance(run.prompt, str) else ids
        pairs = align(own, ids)
        there = dict(pairs).get(pos)
        if there is not None:
            odds = float(log_odds(_logits(run.model, ids)[there], token, foil))
            found.append(ContrastPrompt(prompt, how, before, odds, tuple(pairs), len(ids)))
    return sorted(found, key=lambda c: c.odds)


def swap_words(prompt: Prompt, words: Mapping[str, str]) -> Any:
    """The prompt with words exchanged everywhere, all at once: {"Mary": "John", "John": "Mary"} swaps two names.

    Whole words of text, or of every message of a conversation, as they are written. Raises ValueError where none of
    them is there, and for token ids, which have no words.

        >>> lmtt.swap_words(prompt, {"store": "park", "drink": "kiss"})
        'When Mary and John went to the park, John gave a kiss to'
    """
    given = plain_prompt(prompt)
    if (
        not isinstance(words, Mapping)
        or not words
        or not all(isinstance(w, str) and w for pair in words.items() for w in pair)
    ):
        raise ValueError(f'words are {{"what stands there": "what is to stand there"}}, got {told(words)}')
    wanted = re.compile("|".join(rf"(?<!\w){re.escape(w)}(?!\w)" for w in sorted(words, key=len, reverse=True)))
    n = 0

    def swapped(text: str) -> str:
        nonlocal n
        made, k = wanted.subn(lambda m: words[m[0]], text)
        n += k
        return made

    if isinstance(given, str):
        made: Any = swapped(given)
    elif given and isinstance(given[0], dict):
        made = [{**m, "content": swapped(m.get("content", ""))} for m in given]
    else:
        raise ValueError("token ids have no words to swap; give the prompt as text")
    if not n:
        raise ValueError(
            f"none of the words {', '.join(map(repr, words))} is in the prompt; write one as it stands there"
        )
    return made


def align(ids: Sequence[int], other: Sequence[int]) -> list[tuple[int, int]]:
    """Which position of one prompt is which of the other: what is alike, and replaced stretches of one length.

    >>> align([1, 2, 3, 9], [1, 5, 3, 3, 9])
    [(0, 0), (1, 1), (2, 2), (3, 4)]
    """
    if len(ids) == len(other):
        return [(k, k) for k in range(len(ids))]
    found = []
    for what, a, b, c, d in SequenceMatcher(None, list(ids), list(other), autojunk=False).get_opcodes():
        if what == "equal" or (what == "replace" and b - a == d - c):
            found += list(zip(range(a, b), range(c, d), strict=True))
    return found


def _turned(run: Run, token: int, foil: int) -> Iterator[tuple[list[int], str]]:
    """The ids of prompts whose answer may be the foil, and how they were made."""
    ids = run.token_ids.tolist()
    here, there = (_spellings(run.model, i) for i in (token, foil))
    to_foil = {a: b for a, b in zip(here, there, strict=True) if a is not None and b is not None}
    to_token = {b: a for a, b in to_foil.items()}
    one, two = (run.model.vocabulary([i])[0].text for i in (token, foil))
    at_token, at_foil = ([k for k, i in enumerate(ids) if i in m] for m in (to_foil, to_token))
    both = to_foil | to_token
    if at_token and at_foil:
        last = max(at_token + at_foil)
        was, now = (one, two) if last in at_token else (two, one)
        if (was, last) != (one, at_token[0]) and (was, last) != (two, at_foil[0]):
            yield [both[i] if k == last else i for k, i in enumerate(ids)], f"the last {was} is {now}"
        yield [both.get(i, i) for i in ids], f"{one} and {two} exchanged"
    elif at_token:
        yield [to_foil.get(i, i) for i in ids], f"{two} in place of {one}"
    elif at_foil:
        yield [to_token.get(i, i) for i in ids], f"{one} in place of {two}"


def _spellings(model: Model, token: int) -> list[int | None]:
    """A token inside a text, and the same word where a text begins; None where that is no single token."""
    if model.tokenizer is None:
        return [token]
    text = model.tokenizer.decode([token])
    other = text[1:] if text.startswith(" ") else " " + text
    found: list[int | None] = [token]
    try:
        found.append(model.token_id(other))
    except ValueError:
        found.append(None)
    return found if text.startswith(" ") else found[::-1]


def _as_text(run: Run, ids: list[int]) -> Any:
    """The ids as text where that is tokenised to them again; else the ids."""
    text = run.model.tokenizer.decode(ids, skip_special_tokens=True)
    return text if run.model.encode(text).ids == ids else ids


def _logits(model: Model, ids: list[int]) -> torch.Tensor:
    layers = list(model.layers if model.layers is not None else find_layers(model.module))
    with torch.no_grad():
        logits = in_turn(layers, lambda: forward_logits(model.module, model.inputs(ids)))
    return wide(logits.reshape(-1, logits.shape[-1]))
