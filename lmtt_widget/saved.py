"""An analysis as data: what a page, a file and a widget without a model carry; needs no torch.

As text it is JSON: the traits as they were, and every prompt as a deflated container (wire.py) in base64: its graph,
its peek, the answers that were included, and their maps, each once. js/src/host.ts reads it too. The widget's menu
writes the messages of the one prompt that it has as they are.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .wire import pack, unpack

FORMAT = "lmtt_widget analysis"
VERSION = (1, 0)  # a file of a newer major version is refused
NOT_SAVED = "The details of this were not saved with it."
TRAITS = (
    "target", "threshold", "encoding", "reading", "renormalise", "normalise", "foil", "selection", "pins", "view",
)  # fmt: skip
_CELL = ("part", "query", "key")  # what may differ between two looks at one head
_LARGEST = 1 << 28  # bytes of one prompt, unpacked

Answer = dict[str, Any]  # as the browser gets it (state.py), with its tensors as arrays under "maps"


@dataclass(frozen=True)
class SavedPrompt:
    """One prompt with its packed graph and peek, and the answers about it."""

    prompt: Any
    graph: bytes
    peek: bytes
    answers: Sequence[Answer]

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the graph says besides its shares: run, tokens, states, parts, model."""
        return unpack(self.graph)[1]

    @cached_property
    def folded(self) -> bytes:
        """The prompt as deflated bytes; a map that several answers share is there once."""
        sections = {"graph": np.frombuffer(self.graph, np.uint8), "peek": np.frombuffer(self.peek, np.uint8)}
        names: dict[tuple[Any, ...], str] = {}
        answers = []
        for answer in self.answers:
            maps = {}
            for name, values in answer["maps"].items():
                key = (values.dtype.name, values.shape, values.tobytes())
                if key not in names:
                    names[key] = f"m{len(names)}"
                    # Half floats travel as their bits: the page hands them on as they are.
                    sections[names[key]] = values.view(np.uint16) if values.dtype == np.float16 else values
                maps[name] = [names[key], values.dtype.name]
            answers.append({**answer, "maps": maps})
        return zlib.compress(pack("saved", {"answers": answers}, sections), 9)

    def detail(self, asked: Sequence[tuple[str, int, Any]]) -> bytes:
        """The message (state.py's "detail") that answers (slot, index, question), each with its answer or NOT_SAVED."""
        metas: list[Answer] = []
        sections: dict[str, np.ndarray] = {}
        for number, (slot, index, question) in enumerate(asked):
            answer = dict(self.answer(question))
            sections |= {f"a{number}.{name}": values for name, values in answer.pop("maps", {}).items()}
            metas.append({**answer, "slot": slot, "index": index, "question": question})
        return pack("detail", {"run": self.facts["run"], "answers": metas}, sections)

    def answer(self, question: Any) -> Answer:
        """The answer to a question; of a head seen at another cell its maps and numbers there; else NOT_SAVED."""
        alike = None
        for answer in self.answers:
            if not _same_part(answer, question):
                continue
            if _less(answer["question"], "part") == _less(question, "part"):
                return answer
            if question.get("kind") == "head" and _less(answer["question"], *_CELL) == _less(question, *_CELL):
                alike = answer
        query, key = question.get("query"), question.get("key")
        n_tokens = len(self.facts["tokens"]["text"])
        if alike is None or query not in range(n_tokens) or not (key is None or key in range(query + 1)):
            return {"error": NOT_SAVED}
        pattern, contribution = alike["maps"]["pattern"], alike["maps"]["contribution"]
        here: Answer = {"attention": None, "share": float(contribution[query].astype(np.float32).sum())}
        if key is not None:
            here = {"attention": float(pattern[query, key]), "share": float(contribution[query, key])}
        unknown = dict.fromkeys(("effect", "effect_key", "all", "this_key"))
        return {**alike, **here, **unknown, "query": query, "key": key, "note": NOT_SAVED}


@dataclass(frozen=True)
class Analysis:
    """What was on show, and every prompt that can be."""

    traits: Mapping[str, Any]
    prompts: Sequence[SavedPrompt]
    at: int  # the prompt on show


def _same_part(answer: Answer, question: Any) -> bool:
    """A question may name the part also where there is only one."""
    return question.get("part", answer["question"].get("part", answer.get("part"))) == answer.get("part")


def _less(question: Any, *names: str) -> dict[str, Any]:
    return {name: value for name, value in question.items() if name not in names}


def answers_of(detail: bytes) -> list[Answer]:
    """The answers in a "detail" message, each with its question and its maps."""
    _, meta, sections = unpack(detail)
    found = []
    for number, answer in enumerate(meta["answers"]):
        begin = f"a{number}."
        maps = {name.removeprefix(begin): values for name, values in sections.items() if name.startswith(begin)}
        found.append({**answer, "question": dict(answer["question"]), "maps": maps})
    return found


def deflated(answer: Answer, known: set[bytes]) -> int:
    """At most how many bytes an answer adds to a folded prompt, less the maps `known`; its own are known then."""
    maps = {values.tobytes() for values in answer["maps"].values()} - known
    known |= maps
    text = json.dumps({**answer, "maps": None}).encode()
    return sum(len(zlib.compress(data)) for data in (text, *maps))


def to_json(analysis: Analysis) -> str:
    """The analysis as text, in ASCII: nothing in it is a line end of JavaScript or turns the reading direction."""
    prompts = [{"prompt": p.prompt, "data": base64.b64encode(p.folded).decode()} for p in analysis.prompts]
    head = {"format": FORMAT, "version": "{}.{}".format(*VERSION), "shown": dict(analysis.traits), "at": analysis.at}
    return json.dumps({**head, "prompts": prompts}, allow_nan=False)


def from_json(text: str) -> Analysis:
    """The analysis in a text. Raises ValueError with a sentence for any other text, a newer one, or a part of one."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        begun = text.lstrip()[:1] == "{" and FORMAT in text[:100]
        raise ValueError("it is cut off" if begun else "it is no analysis saved by lmtt_widget") from None
    if not isinstance(whole, dict) or whole.get("format") != FORMAT:
        raise ValueError("it is no analysis saved by lmtt_widget")
    version = str(whole.get("version"))
    if version.split(".")[0] != str(VERSION[0]):
        raise ValueError(f"it has version {version!r:.20}, which needs a newer lmtt_widget")
    try:
        prompts = [_unfolded(p) if "data" in p else _plain(p) for p in whole["prompts"]]
        traits = {name: whole["shown"][name] for name in TRAITS if name in whole["shown"]}
        at = range(len(prompts))[whole["at"]]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, zlib.error) as e:
        raise ValueError("it is damaged") from e
    return Analysis(traits, prompts, at)


def _unfolded(saved: Mapping[str, Any]) -> SavedPrompt:
    kind, meta, sections = unpack(zlib.decompressobj().decompress(_decoded(saved["data"]), _LARGEST))
    if kind != "saved":
        raise ValueError("not a saved prompt")
    answers = []
    for answer in meta["answers"]:
        maps = {}
        for name, (section, dtype) in answer["maps"].items():
            values = sections[section]
            maps[name] = values.view(np.float16) if dtype == "float16" else values
        answers.append({**answer, "question": dict(answer["question"]), "maps": maps})
    return _checked(SavedPrompt(saved["prompt"], sections["graph"].tobytes(), sections["peek"].tobytes(), answers))


def _plain(saved: Mapping[str, Any]) -> SavedPrompt:
    """A prompt as the widget's menu saves it: the messages of the traits as they are."""
    graph, peek, detail = (_decoded(saved[name]) for name in ("graph", "peek", "detail"))
    answers = [answer for answer in answers_of(detail) if "error" not in answer] if detail else []
    return _checked(SavedPrompt(saved["prompt"], graph, peek, answers))


def _decoded(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _checked(saved: SavedPrompt) -> SavedPrompt:
    kind, facts, sections = unpack(saved.graph)
    n_tokens, n_states = len(facts["tokens"]["text"]), len(facts["states"])
    if kind != "graph" or not n_tokens or sections["carried"].shape != (n_states, n_tokens):
        raise ValueError("not a graph")
    if saved.peek:
        unpack(saved.peek)
    return saved
