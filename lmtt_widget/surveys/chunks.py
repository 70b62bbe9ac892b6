"""One chunk of prompts made into files, here or in any worker; whoever maps this over chunks is an engine.

Knows nothing of statistics or screens. A task says everything, so it may be done twice, anywhere, in any order: what it
leaves is a file named by what is in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from torch import nn

from ..contributions import attribute
from ..decomposition.writes import ForwardError
from ..given import told
from ..model import Model
from ..prompts import one_line
from . import rows
from .neurons import Tally
from .store import VERSION, Folder, chunk_name, is_whole, needed, parquet

Make = Callable[[], Model]
Engine = Callable[[Callable[["Task"], "Done"], Iterable["Task"]], Iterable["Done"]]
REFUSED = (ValueError, TypeError, ForwardError, RuntimeError)
_SAMPLED = 64  # numbers of each weight that the fingerprint reads
_PATIENCE = 5  # seconds between two looks at whether there are workers
_TRIES = 6  # such looks without one


@dataclass(frozen=True)
class Task:
    """A chunk to be made."""

    model: Model | Make
    facts: dict[str, Any]  # what survey.json says
    folder: str
    number: int
    first: int  # the number of its first prompt
    prompts: list[dict[str, Any]]
    again: frozenset[int] = frozenset()  # the numbers of prompts that an earlier one says already

    @property
    def names(self) -> dict[str, str]:
        """The file of each table."""
        mark = mark_of(self.facts)
        return {table: chunk_name(table, self.number, mark, self.prompts) for table in self.facts["options"]["keep"]}


@dataclass(frozen=True)
class Done:
    number: int
    n: int


def mark_of(facts: dict[str, Any]) -> str:
    """What the rows depend on beside the prompts."""
    return json.dumps([VERSION, facts["model"], facts["options"], facts["layout"]], sort_keys=True)


def fingerprint(model: Model) -> str:
    """A hash of the config, the tokenizer's size, and of every weight: name, shape, dtype and some of its numbers."""
    h = hashlib.blake2b(digest_size=8)
    config: Any = getattr(model.module, "config", None)
    if hasattr(config, "to_json_string"):
        h.update(config.to_json_string().encode())
    h.update(f"{type(model.tokenizer).__name__} {getattr(model.tokenizer, 'vocab_size', 0)}".encode())
    for name, p in model.module.named_parameters():
        h.update(f"{name} {tuple(p.shape)} {p.dtype}".encode())
        if type(p) is nn.Parameter and p.device.type != "meta" and p.is_floating_point():  # else only its own calls can
            some = p.detach().reshape(-1)[:: max(1, p.numel() // _SAMPLED)]
            h.update(repr(some.double().cpu().tolist()).encode())
    return h.hexdigest()


def described(task: Task) -> dict[str, Any]:
    """What is to be known of the model: its fingerprint, name, and what the axes of a row stand for.

    Raises ValueError where none of these prompts can be split.
    """
    model, why = _model_of(task), ""
    for given in task.prompts:
        try:
            run, _ = rows.recorded(model, given["prompt"])
            layout = rows.layout_of(attribute(run, progress=False))
            if "neurons" in task.facts["options"]["keep"]:
                Tally().add(run, 0)
        except REFUSED as e:
            why = why or one_line(e)
            continue
        return {"model": {"name": model.name, "fingerprint": fingerprint(model)}, "layout": layout}
    raise ValueError(f"none of the first {len(task.prompts)} prompts can be split into parts; the first: {why}")


def make_chunk(task: Task) -> Done:
    """Leaves the files of a chunk, the table of prompts last: a chunk is done when that is there.

    Raises ValueError where the model that is made here is another one than that of the survey.
    """
    folder, names = Folder(task.folder), task.names
    if is_done(folder, folder.names(), task):
        return Done(task.number, len(task.prompts))
    model, options, layout = _model_of(task), task.facts["options"], task.facts["layout"]
    made: list[dict[str, Any]] = []
    tokens: list[dict[str, Any]] = []
    neurons = Tally() if "neurons" in names else None
    for number, given in enumerate(task.prompts, task.first):
        row, of_tokens = _row(
            model, given["prompt"], options, layout, None if number in task.again else neurons, number
        )
        made.append({"number": number} | given | {"prompt": json.dumps(given["prompt"])} | row)
        if of_tokens is not None:
            tokens.append({"number": [number] * len(of_tokens["pos"])} | of_tokens)
    if "tokens" in names:
        folder.write(names["tokens"], parquet(_long(tokens, layout)))
    if neurons is not None:
        folder.write(names["neurons"], parquet(neurons.columns()))
    folder.write(names["prompts"], parquet(_wide(made)))
    return Done(task.number, len(made))


def is_done(folder: Folder, there: Iterable[str], task: Task) -> bool:
    """Whether a chunk's files are all there, and whole."""
    names = task.names
    return set(names.values()) <= set(there) and is_whole(folder, names["prompts"], len(task.prompts))


def _row(
    model: Model, prompt: Any, options: dict[str, Any], layout: dict[str, Any], neurons: Tally | None, number: int
) -> tuple[Any, Any]:
    """A prompt's row, and its tokens; of a prompt that is refused an empty one with what is wrong."""
    try:
        run, error = rows.recorded(model, prompt)
        row = rows.row_of(run, options["target"], layout=layout, tokens="tokens" in options["keep"])
        if neurons is not None:
            neurons.add(run, number)
    except REFUSED as e:
        return rows.empty_row(layout) | {"error": one_line(e)}, None
    return row.columns | {"error": error}, row.tokens


def _wide(made: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows as columns."""
    pa = needed("pyarrow")
    kinds = dict.fromkeys(("number", "n_tokens", "target", "predicted"), pa.int64())
    kinds |= {"p": pa.float64(), "fidelity": pa.float64(), "prompt": pa.string(), "error": pa.string()}
    kinds |= {"ids": pa.list_(pa.int32()), "surprisal": pa.list_(pa.float32()), "input_share": pa.list_(pa.float32())}
    columns: dict[str, Any] = {}
    for name in dict.fromkeys(name for row in made for name in row):  # a column of the caller's may be in some only
        column: list[Any] = [row.get(name) for row in made]
        if isinstance(column[0], np.ndarray):
            columns[name] = np.stack(column).reshape(len(made), -1)
        else:
            columns[name] = pa.array(column, kinds.get(name))
    return columns


def _long(tokens: list[dict[str, Any]], layout: dict[str, Any]) -> dict[str, Any]:
    """The tokens of all prompts below one another."""
    pa = needed("pyarrow")
    n = len(layout["attention"]) * max((a["heads"] for a in layout["attention"]), default=0)
    kinds = {"number": pa.int64(), "pos": pa.int32(), "id": pa.int32(), "text": pa.string()}
    columns: dict[str, Any] = {
        name: pa.array([x for some in tokens for x in some[name]], kind)
        for name, kind in (kinds | dict.fromkeys(("surprisal", "input_share"), pa.float32())).items()
    }
    for name in ("head_share", "head_flow"):
        columns[name] = np.concatenate([np.zeros((0, n), np.float32), *(t[name].reshape(-1, n) for t in tokens)])
    return columns


# ---- models in workers ----

_made: dict[int, Model] = {}  # what this process made last; a worker works for one survey at a time


def _model_of(task: Task) -> Model:
    """The model of a task: the one it carries, or made here once.

    Raises RuntimeError where it cannot be made, ValueError where it is another one than the survey's.
    """
    if isinstance(task.model, Model):
        return task.model
    wanted = task.facts.get("model", {}).get("fingerprint")
    key = hash((task.folder, wanted))
    if key not in _made:
        try:
            model = task.model()
        except Exception as e:
            raise RuntimeError(f"the model cannot be made in a worker ({one_line(e)})") from e
        if not isinstance(model, Model):
            raise TypeError(f"what makes the model must return a Model, as load_model does, got {told(model)}")
        if wanted is not None and fingerprint(model) != wanted:
            raise ValueError(f"the worker made another model ({model.name}) than the one of the survey")
        _made.clear()
        _made[key] = model
    return _made[key]


# ---- engines ----


def engine_of(engine: Any) -> Engine:
    """How a function is mapped over tasks: in this process, on a distributed.Client, or by a function of the caller's.

    Raises TypeError for anything else.
    """
    if engine is None:
        return map
    if type(engine).__module__.partition(".")[0] == "distributed" and hasattr(engine, "submit"):
        return _OverDask(engine)
    if callable(engine):
        return engine  # type: ignore[no-any-return]
    raise TypeError(
        "engine must be None, a distributed.Client, or a function of (function, tasks) that returns the results in any "
        f"order, such as a pool's imap_unordered, got {told(engine)}"
    )


class _OverDask:
    """Chunks on the workers of a Dask cluster, a few for each of them in flight."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def __call__(self, function: Callable[[Task], Done], tasks: Iterable[Task]) -> Iterator[Done]:
        """Raises RuntimeError when there have been no workers for half a minute."""
        distributed = needed("distributed")
        flying: set[Any] = set()
        tasks, alone = iter(tasks), 0
        try:
            while True:
                room = 2 * sum(self._threads()) or 1
                flying |= {
                    self.client.submit(function, task, pure=False, retries=3)
                    for task in islice(tasks, max(0, room - len(flying)))
                }
                if not flying:
                    return
                try:
                    done = distributed.wait(flying, timeout=_PATIENCE, return_when="FIRST_COMPLETED").done
                except (TimeoutError, distributed.TimeoutError):
                    alone = 0 if self._threads() else alone + 1
                    if alone >= _TRIES:
                        raise RuntimeError("the engine has no workers any more") from None
                    continue
                flying -= done
                for future in done:
                    yield future.result()
        finally:
            self.client.cancel(list(flying))

    def _threads(self) -> list[int]:
        return [w["nthreads"] for w in self.client.scheduler_info(n_workers=-1)["workers"].values()]


def plain_columns(given: Mapping[str, Any]) -> dict[str, Any]:
    """The caller's own columns of a prompt. Raises ValueError for one that shadows ours, or that is no plain value."""
    columns = {}
    for name, value in given.items():
        if name in rows.OURS and name != "prompt":
            raise ValueError(f"the column {name!r} is one of the survey's own; give yours another name")
        value = value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value
        if name != "prompt" and not isinstance(value, (str, int, float, bool, type(None))):
            raise ValueError(f"the column {name!r} must hold texts, numbers or truth values, got {told(value)}")
        columns[str(name)] = value
    return columns
