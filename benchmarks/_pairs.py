"""Prompts that the bundled models know, each with another of the same length that has another answer."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tools.bundled import grammar as g

TASKS = ("indirect object", "induction", "binding", "overridden fact", "fact", "agreement", "pronoun")

_LONGEST = 64  # tokens of a story's prompt


@dataclass(frozen=True)
class Pair:
    ids: list[int]
    other: list[int]  # the prompt that turns the answer round
    right: int
    wrong: int


def pairs(tokenizer: Any, task: str, n: int) -> list[Pair]:
    """n held-out pairs of a task, always the same."""
    rng = random.Random(task)
    found: list[Pair] = []
    for _ in range(200 * n):
        pair = _induction(tokenizer, rng) if task == "induction" else _of_grammar(tokenizer, task, rng)
        if pair is not None and len(pair.ids) == len(pair.other) and pair.right != pair.wrong:
            found.append(pair)
        if len(found) == n:
            break
    return found


def story_tasks() -> tuple[str, ...]:
    """What the model of stories can be asked."""
    from tools.stories.text import TASKS

    return TASKS


def story_pairs(tokenizer: Any, task: str, n: int) -> list[Pair]:
    """n held-out pairs of a word that can be known in a story, always the same; answers are their first tokens."""
    from tools.stories.text import question

    rng = random.Random(task)
    found: list[Pair] = []
    for _ in range(50 * n):
        q = question(task, rng)
        ids, other, right, wrong = (
            tokenizer(x)["input_ids"] for x in (q.prompt, q.other_prompt, q.answer, q.other_answer)
        )
        if len(ids) == len(other) <= _LONGEST and right[0] != wrong[0]:
            found.append(Pair(ids, other, right[0], wrong[0]))
        if len(found) == n:
            break
    return found


def _of_grammar(tokenizer: Any, task: str, rng: random.Random) -> Pair | None:
    sample = g.draw(task, rng, "held-out", {})
    answer = sample.answers[0].strip()
    turned = _TURNED[task](sample, answer, rng)
    if turned is None:
        return None
    other, wrong = turned
    right_ids, wrong_ids = (tokenizer(" " + w, add_special_tokens=False)["input_ids"] for w in (answer, wrong))
    if len(right_ids) != 1 or len(wrong_ids) != 1:
        return None
    return Pair(tokenizer(sample.prompt)["input_ids"], tokenizer(other)["input_ids"], right_ids[0], wrong_ids[0])


def _induction(tokenizer: Any, rng: random.Random, n: int = 8) -> Pair | None:
    words = [i for i in range(len(tokenizer)) if i not in tokenizer.all_special_ids]
    block = g.random_block(rng, words, n, "held-out")
    k, new = rng.randrange(3, n - 1), rng.choice(words)
    if len(set(block)) < n or new in block:
        return None
    bad = [new if i == k else t for i, t in enumerate(block)]
    return Pair(block + block[:k], bad + block[:k], block[k], new)


def _swapped(text: str, word: str, other: str) -> str:
    return re.sub(rf"\b{re.escape(word)}\b", other, text)


def _indirect_object(sample: Any, answer: str, _rng: random.Random) -> tuple[str, str] | None:
    names = re.match(r"\w+ (\w+) and (\w+) ", sample.prompt)
    if names is None:
        return None
    giver = next(n for n in names.groups() if n != answer)
    head, tail = sample.prompt.rsplit(giver, 1)
    return head + answer + tail, giver


def _fact(sample: Any, answer: str, rng: random.Random) -> tuple[str, str]:
    frame, _ = sample.combination
    kind = next(k for k, frames in g.FACT.items() if frame in frames)
    column = ("capital", "language", "continent").index(kind)
    other = rng.choice([c for c in g.COUNTRIES if g.COUNTRIES[c][column] != answer])
    return frame.format(country=other), g.COUNTRIES[other][column]


def _overridden(sample: Any, _answer: str, rng: random.Random) -> tuple[str, str]:
    country, city = sample.combination
    other = rng.choice([v[0] for v in g.COUNTRIES.values() if v[0] not in (city, g.COUNTRIES[country][0])])
    return _swapped(sample.prompt, city, other), other


def _binding(sample: Any, _answer: str, _rng: random.Random) -> tuple[str, str] | None:
    owner, thing, _ = sample.combination
    facts = re.findall(r"(\w+) (?:has|bought) a (\w+) (\w+)\.", sample.prompt)
    other = next((f for f in facts if f[0] != owner and f[2] == thing), None)
    if other is None:
        return None
    head, tail = sample.prompt.rsplit(owner, 1)
    return head + other[0] + tail, other[1]


def _agreement(sample: Any, answer: str, _rng: random.Random) -> tuple[str, str]:
    subject, _ = sample.combination
    one, many = subject, g.NOUNS[subject]
    word, other = (many, one) if answer == "are" else (one, many)
    return sample.prompt.replace("The " + word, "The " + other, 1), "is" if answer == "are" else "are"


def _pronoun(sample: Any, _answer: str, rng: random.Random) -> tuple[str, str]:
    name, _ = sample.combination
    pool = g.COMMON_MEN if name in g.WOMEN else g.COMMON_WOMEN
    return _swapped(sample.prompt, name, rng.choice(pool)), "he" if name in g.WOMEN else "she"


_TURNED: dict[str, Callable[[Any, str, random.Random], tuple[str, str] | None]] = {
    "indirect object": _indirect_object,
    "fact": _fact,
    "overridden fact": _overridden,
    "binding": _binding,
    "agreement": _agreement,
    "pronoun": _pronoun,
}
