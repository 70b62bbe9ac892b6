"""Many prompts through one model, into a folder that remembers how far it is.

An engine only maps one function over chunks. That nothing is lost or double is the business of the files.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from itertools import chain, islice
from typing import Any

from ..given import integer, told
from ..model import Model
from ..progress import Option, reported
from ..prompts import plain_prompt
from .chunks import Engine, Task, described, engine_of, is_done, make_chunk, plain_columns
from .store import VERSION, Folder, chunks_in, needed, read_facts, write_facts
from .survey import Survey

KEPT = ("prompts", "tokens", "neurons")
_TRIED = 20  # prompts at the beginning, until one can be split


def survey(
    model: Model | Callable[[], Model],
    prompts: Iterable[Any],
    folder: str | os.PathLike[str],
    *,
    target: int = -1,
    keep: Sequence[str] = ("prompts",),
    chunk: int = 50,
    engine: Any = None,
    progress: Option = None,
) -> Survey:
    """Many prompts through one model: a row each, in Parquet files, with what every head and part did.

    model: one, or a function that makes one; engines need the function. prompts: texts, lists of token ids, lists of
    chat messages, or mappings with "prompt" (or "text") and columns of your own, as a Hugging Face dataset has; any
    iterable. folder: on this machine or where fsspec writes (s3://...). Called again with the same arguments it goes on
    where it was stopped, however that was. A prompt that is refused is a row with its error. target: a position, -1 the
    last. keep: "prompts"; "tokens" for a table with a row for each token; "neurons" for the signs of gate and up of
    every gated neuron and the prompts where each is strongest. chunk: prompts in a file.

    engine: None (this process), a distributed.Client, or any function of (function, tasks) that returns the results in
    any order, as a pool's imap_unordered. progress(done, total) counts prompts; total is what is known of it.

    Raises ValueError for no prompts, a column that has the name of one of ours, a folder with a survey of another
    model, other options or other prompts, and where none of the first 20 prompts can be split; RuntimeError where an
    engine or the disk gives up (what is there stays, and the next call goes on).

        >>> many = lmtt.survey(model, [prompt, "The capital of France is Rome."], folder / "many")
        >>> many
        Survey(...2 prompts...)
    """
    needed("pyarrow")
    keep, chunk, target = _kept(keep), integer(chunk, "chunk", 1), integer(target, "target", -(1 << 31))
    run_tasks = engine_of(engine)
    if not isinstance(model, Model) and not callable(model):
        raise TypeError(f"model must be a Model or a function that makes one, got {told(model)}")
    if isinstance(model, Model) and engine is not None:
        raise ValueError("an engine's workers make the model themselves: pass a function, lambda: load_model(...)")
    if engine is None and not isinstance(model, Model):
        model = model()
    total = len(prompts) if isinstance(prompts, Sized) else 0
    given = _given(prompts)
    first = list(islice(given, _TRIED))
    if not first:
        raise ValueError("there are no prompts")
    at, options = Folder(folder), {"target": target, "keep": keep, "chunk": chunk}
    task = Task(model, {"options": options}, at.at, 0, 0, first)
    facts = {"version": VERSION, "options": options} | _once(run_tasks, task)
    known = read_facts(at)
    if known is not None:
        _same(known, facts, at.at)
    else:
        chunks_in(at.names())  # a folder with files of another kind is refused before anything is written
        write_facts(at, facts)
    _make(run_tasks, Task(model, facts, at.at, 0, 0, []), chain(first, given), total, progress)
    at.tidy()
    return Survey(folder)


def _make(run_tasks: Engine, like: Task, prompts: Iterator[dict[str, Any]], total: int, progress: Option) -> None:
    """Makes the chunks that are missing."""
    folder, size = Folder(like.folder), like.facts["options"]["chunk"]
    names = folder.names()
    there, wanted, read, done = chunks_in(names), {}, 0, 0
    seen: set[bytes] = set()

    def repeated(some: list[dict[str, Any]]) -> frozenset[int]:
        """Which of these prompts were there before."""
        marks = [
            hashlib.blake2b(repr(one["prompt"]).encode("utf-8", "replace"), digest_size=12).digest() for one in some
        ]
        found = {read + k for k, mark in enumerate(marks) if mark in seen or mark in marks[:k]}
        seen.update(marks)
        return frozenset(found)

    def missing() -> Iterator[Task]:
        nonlocal read, done
        for number in range(1 << 62):
            some = list(islice(prompts, size))
            if not some:
                return
            task = Task(like.model, like.facts, like.folder, number, read, some, repeated(some))
            name = task.names["prompts"]
            if there.get(number, name) != name:
                raise ValueError(
                    f"the folder has a survey of other prompts: they differ in {read}..{read + len(some) - 1} "
                    f"({there[number]}); take another folder"
                )
            wanted[number], read = name, read + len(some)
            if is_done(folder, names, task):
                done += len(some)
                told_to(done, max(total, read))
            else:
                yield task

    with reported("surveying", progress) as told_to:
        try:
            for result in run_tasks(make_chunk, missing()):
                done += result.n
                told_to(done, max(total, read))
        except OSError as e:
            raise RuntimeError(
                f"a file could not be written ({e}); {done} prompts are kept, call again with the same arguments when "
                "there is room"
            ) from e
    lost = sorted(set(wanted) - set(chunks_in(folder.names())))
    if lost:
        raise RuntimeError(f"the engine ended without the chunks {lost[:5]}; call again with the same arguments")
    if max(there, default=0) > max(wanted):
        raise ValueError(f"the folder has rows of more prompts than the {read} that were given; take another folder")


def _once(run_tasks: Engine, task: Task) -> dict[str, Any]:
    """What a worker says of the model."""
    found: Any = list(run_tasks(described, [task]))  # type: ignore[arg-type]
    return dict(found[0])


def _same(known: dict[str, Any], facts: dict[str, Any], at: str) -> None:
    """Raises ValueError, with what differs, where a folder has another survey."""
    differs = []
    if known["model"]["fingerprint"] != facts["model"]["fingerprint"]:
        differs.append(f"the model is {known['model']['name']} there and {facts['model']['name']} here, by its weights")
    for name, value in facts["options"].items():
        if known["options"].get(name) != value:
            differs.append(f"{name} is {known['options'].get(name)} there and {value} here")
    if not differs and known["layout"] != facts["layout"]:
        differs.append("the model is split into other parts here")
    if differs:
        raise ValueError(f"{at} has another survey: {'; '.join(differs)}; take another folder")


def _kept(keep: Sequence[str]) -> list[str]:
    """The tables in their order. Raises ValueError for one that there is not."""
    wanted = {keep} if isinstance(keep, str) else set(keep) if isinstance(keep, (list, tuple, set)) else {None}
    if not wanted <= set(KEPT):
        raise ValueError(f"keep must be some of {', '.join(KEPT)}, as a list, got {told(keep)}")
    return [table for table in KEPT if table in wanted or table == "prompts"]


def _given(prompts: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Each prompt with its columns, as JSON knows it; what is none is kept in words, and refused when it is read."""
    if isinstance(prompts, (str, bytes, Mapping)) or not isinstance(prompts, Iterable):
        raise TypeError(f"prompts must be a list of prompts, or another iterable, got {told(prompts)}")
    for item in prompts:
        columns: dict[str, Any] = {}
        prompt = item
        if isinstance(item, Mapping):
            name = next((name for name in ("prompt", "text") if name in item), None)
            if name is None:
                raise ValueError(f'a mapping must have a "prompt" or a "text", got the columns {list(item)!r:.80}')
            prompt = item[name]
            columns = plain_columns({key: value for key, value in item.items() if key != name})
        try:
            prompt = plain_prompt(prompt)
        except ValueError:
            prompt = {"refused": repr(prompt)[:80]}
        yield {"prompt": prompt} | columns
