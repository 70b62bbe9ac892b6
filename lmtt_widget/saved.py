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

from .valid import check, check_edits, check_prompt
from .wire import pack, read_json, unpack

FORMAT = "lmtt_widget analysis"
VERSION = (1, 0)  # a file of a newer major version is refused
NOT_SAVED = "The details of this were not saved with it."
TRAITS = (
    "target", "encoding", "threshold", "reading", "renormalise", "normalise", "token", "foil", "selection", "pins",
    "view",
)  # fmt: skip
_CELL = ("part", "query", "key")  # what may differ between two looks at one head
_UNFOLDED = 32  # bytes that one byte of a file may stand for; those of a real one stand for five at most
_LEAST_ROOM = 1 << 17

Answer = dict[str, Any]  # as the browser gets it (state.py), with its tensors as arrays under "maps"


@dataclass(frozen=True)
class SavedPrompt:
    """One prompt with its packed graph and peek, and the answers about it."""

    prompt: Any
    graph: bytes
    peek: bytes
    answers: Sequence[Answer]
    edits: Sequence[Mapping[str, Any]] = ()
    before: bytes = b""  # the graph without the edits

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the graph says besides its shares: run, tokens, states, parts, model."""
        return unpack(self.graph)[1]

    @cached_property
    def folded(self) -> bytes:
        """The prompt as deflated bytes; a map that several answers share is there once."""
        messages = {"graph": self.graph, "peek": self.peek} | ({"before": self.before} if self.before else {})
        sections = {name: np.frombuffer(message, np.uint8) for name, message in messages.items()}
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
        return zlib.compress(pack("saved", {"answers": answers}, sections))

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
        said = {key: value for key, value in answer.items() if key not in ("slot", "index")}
        found.append({**said, "question": dict(answer["question"]), "maps": maps})
    return found


def deflated(answer: Answer, known: set[bytes]) -> int:
    """At most how many bytes an answer adds to a folded prompt, less the maps `known`; its own are known then."""
    maps = {values.tobytes() for values in answer["maps"].values()} - known
    known |= maps
    text = json.dumps({**answer, "maps": None}).encode()
    return sum(len(zlib.compress(data)) for data in (text, *maps))


def to_json(analysis: Analysis) -> str:
    """The analysis as text, in ASCII: nothing in it is a line end of JavaScript or turns the reading direction."""
    prompts = [
        {"prompt": p.prompt, "data": base64.b64encode(p.folded).decode()} | ({"edits": p.edits} if p.edits else {})
        for p in analysis.prompts
    ]
    head = {"format": FORMAT, "version": "{}.{}".format(*VERSION), "shown": dict(analysis.traits), "at": analysis.at}
    return json.dumps({**head, "prompts": prompts}, allow_nan=False)


def from_json(text: str) -> Analysis:
    """The analysis in a text. Raises ValueError with a sentence for any other text, a newer one, or a part of one."""
    try:
        whole = read_json(text)
    except ValueError as e:
        begun = text.lstrip()[:1] == "{" and FORMAT in text[:100]
        said = "it is cut off" if isinstance(e, json.JSONDecodeError) else f"it is damaged: {e}"
        raise ValueError(said if begun else "it is no analysis saved by lmtt_widget") from None
    if not isinstance(whole, dict) or whole.get("format") != FORMAT:
        raise ValueError("it is no analysis saved by lmtt_widget")
    version = str(whole.get("version"))
    if version.split(".")[0] != str(VERSION[0]):
        raise ValueError(f"it has version {version!r:.20}, which needs a newer lmtt_widget")
    try:
        return _analysis(whole, room=max(_LEAST_ROOM, len(text)) * _UNFOLDED)
    except (ValueError, zlib.error) as e:
        raise ValueError(f"it is damaged: {e}") from e


def _analysis(whole: Mapping[str, Any], room: int) -> Analysis:
    """The parts of a file, all prompts together in `room` bytes."""
    saved, shown, at = whole.get("prompts"), whole.get("shown"), whole.get("at")
    if not isinstance(saved, list) or not isinstance(shown, dict) or not all(isinstance(p, dict) for p in saved):
        raise ValueError("it has no prompts, or nothing is shown of them")
    if type(at) is not int or not 0 <= at < len(saved):
        raise ValueError(f"there is no prompt {at!r:.20} to show")
    prompts = []
    for one in saved:
        prompts.append(_unfolded(one, room) if "data" in one else _plain(one))
        room -= len(prompts[-1].graph)
    return Analysis({name: shown[name] for name in TRAITS if name in shown}, prompts, at)


def _unfolded(saved: Mapping[str, Any], room: int) -> SavedPrompt:
    inflating = zlib.decompressobj()
    message = inflating.decompress(_decoded(saved, "data"), max(1, room))
    if inflating.unconsumed_tail:
        raise ValueError("it takes more memory than an analysis of its size can")
    meta, sections = check(message, "saved")
    answers = []
    for answer in meta["answers"]:
        maps = {}
        for name, place in answer["maps"].items():
            section, dtype = place if isinstance(place, list) and len(place) == 2 else (None, None)
            if not isinstance(section, str) or section not in sections:
                raise ValueError(f"an answer has no map {name:.40}")
            values = sections[section]
            if dtype == "float16" and values.dtype != np.uint16:
                raise ValueError(f"map {name:.40} of an answer is not in half precision")
            maps[name] = values.view(np.float16) if dtype == "float16" else values
        answers.append({**answer, "question": dict(answer["question"]), "maps": maps})
    graph, peek, before = (
        sections[name].tobytes() if name in sections else b"" for name in ("graph", "peek", "before")
    )
    return _checked(SavedPrompt(saved.get("prompt"), graph, peek, answers, saved.get("edits", []), before))


def _plain(saved: Mapping[str, Any]) -> SavedPrompt:
    """A prompt as the widget's menu saves it: the messages of the traits as they are."""
    graph, peek, detail = (_decoded(saved, name) for name in ("graph", "peek", "detail"))
    if detail:
        check(detail, "detail")
    answers = [answer for answer in answers_of(detail) if "error" not in answer] if detail else []
    before = _decoded(saved, "before") if saved.get("edits") else b""
    return _checked(SavedPrompt(saved.get("prompt"), graph, peek, answers, saved.get("edits", []), before))


def _decoded(saved: Mapping[str, Any], name: str) -> bytes:
    text = saved.get(name)
    if not isinstance(text, str):
        raise ValueError(f"{name} is missing")
    return base64.b64decode(text, validate=True)


def _checked(saved: SavedPrompt) -> SavedPrompt:
    check_prompt(saved.prompt)
    facts, _ = check(saved.graph, "graph")
    n_tokens = len(facts["tokens"]["text"])
    check_edits(saved.edits)
    if saved.edits:
        was, _ = check(saved.before, "graph")
        if [len(was[name]) for name in ("states", "parts")] != [len(facts[name]) for name in ("states", "parts")]:
            raise ValueError("the picture without the edits is of another model")
    if saved.peek:
        check(saved.peek, "peek")
    for answer in saved.answers:
        for name, shape in {"pattern": (n_tokens,) * 2, "contribution": (n_tokens,) * 2, "strip": (n_tokens,)}.items():
            values = answer["maps"].get(name)
            if values is not None and values.shape != shape:
                raise ValueError(f"{name} of an answer has the shape {values.shape}, expected {shape}")
        if answer.get("kind") == "head" and not {"pattern", "contribution"} <= answer["maps"].keys():
            raise ValueError("the answer about a head has no pattern")
    return saved
