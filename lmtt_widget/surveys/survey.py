"""A survey that is kept in a folder: its rows, and what may be said of all of them; needs no model and no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np

from ..given import integer, number, one_of, told
from . import statistics
from .found import Example, NeuronCases, cases_of
from .roles import ROLES
from .scores import Comparison, ScoreMap, frame, on_map, scattered
from .store import Folder, chunks_in, needed, read_facts, read_table

Where = str | Sequence[bool] | None
_PER_HEAD = ("flow", "effect", "share", "strength")


class Survey:
    """Many prompts through one model, a row each; what is asked of them is computed from the stored rows.

    A prompt that was given twice counts once, a prompt that was refused not at all; both are counted. Scores of heads
    are maps [layer, head]; `where` is a condition in SQL over the columns of the prompts, or a truth value for each.

        >>> many = lmtt.survey(model, [prompt, "The capital of France is Rome."], folder / "survey")
        >>> many.n_prompts, many.flow().value.shape
        (2, (4, 8))
        >>> many.examples(layer=1, head=3, k=1)[0].number
        0
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Folder(folder)
        facts = read_facts(self.folder)
        if facts is None:
            raise ValueError(f"there is no survey in {self.folder.at}: survey(model, prompts, folder) makes one")
        self.facts = facts
        self._files = {table: chunks_in(self.folder.names(), table) for table in facts["options"]["keep"]}
        self._read: dict[str, Any] = {}
        self._stored: dict[str, Any] = {}
        self._names: dict[str, list[str]] = {}
        if not self._files["prompts"]:
            raise ValueError(f"the survey in {self.folder.at} has no rows yet: call survey() again")

    # ---- rows ----

    def column(self, name: str) -> np.ndarray:
        """A column of all rows, in the order of the prompts; of heads [row, layer, head], roles [row, role, ...].

        Raises ValueError for a name that no column has.
        """
        if name not in self._read:
            column, pa = self._arrow(name), needed("pyarrow")
            if pa.types.is_fixed_size_list(column.type):
                flat = column.flatten().to_numpy(zero_copy_only=False)
                self._read[name] = flat.reshape(len(column), *self._shape(name))
            elif pa.types.is_list(column.type):
                self._read[name] = np.empty(len(column), object)
                self._read[name][:] = column.to_pylist()  # lists stay lists, also of the same length
            else:
                self._read[name] = np.array(column.to_pylist())
        return self._read[name]  # type: ignore[no-any-return]

    def columns(self, table: str = "prompts") -> list[str]:
        """The names of a table's columns."""
        if table not in self._names:
            first = next(iter(self._files_of(table).values()))
            self._names[table] = list(read_table(self.folder, [first]).column_names)
        return list(self._names[table])

    def _arrow(self, name: str, *more: str) -> Any:
        """A column as it is stored; more: others that will be asked for next, so that every file is opened once."""
        wanted = [one for one in (name, *more) if one not in self._stored]
        unknown = [one for one in wanted if one not in self.columns()]
        if unknown:
            raise ValueError(f"no column is named {told(unknown[0])}; columns() lists them")
        if wanted:
            table = self._table("prompts", wanted)
            self._stored |= {one: table.column(one).combine_chunks() for one in wanted}
        return self._stored[name]

    def to_frame(self, table: str = "prompts", columns: Sequence[str] | None = None) -> Any:
        """A table, "prompts" or "tokens", as a data frame of Polars or pandas."""
        return frame(self._table(table, columns).to_pydict())

    def sql(self, query: str, **tables: Any) -> Any:
        """What DuckDB answers to a query over `prompts`, `tokens` and tables of your own (frames, by name).

        Raises ValueError with DuckDB's words for a query that fails.
        """
        duckdb = needed("duckdb")
        connection = duckdb.connect()
        for table in self._files:
            connection.register(table, self._table(table))
        for name, mine in tables.items():
            connection.register(name, mine)
        try:
            found = connection.sql(query)
            if found is None:
                return None
            return found.materialize() if hasattr(type(found), "materialize") else found.execute()  # DuckDB 2, 1
        except duckdb.Error as e:
            raise ValueError(f"DuckDB cannot answer {query!r:.80}: {e}") from e

    @cached_property
    def _counted(self) -> np.ndarray:
        """Which rows count: [row], bool; not those that were refused or that say the same as an earlier one."""
        ids = self._arrow("ids", "number", "target", "head_flow", "prompt")
        there, starts, said = ids.is_valid().to_numpy(False), ids.offsets.to_numpy(), ids.values.to_numpy(False)
        seen: set[tuple[tuple[int, ...], Any]] = set()
        counted = np.zeros(len(ids), bool)
        for i, target in enumerate(self.column("target")):
            if there[i]:
                key = tuple(said[starts[i] : starts[i + 1]].tolist()), target
                counted[i] = key not in seen
                seen.add(key)
        return counted

    @property
    def n_prompts(self) -> int:
        """Different prompts that could be split."""
        return int(self._counted.sum())

    @cached_property
    def n_refused(self) -> int:
        """Prompts that could not; `errors` says why."""
        return int(self._arrow("ids").null_count)

    @property
    def n_duplicates(self) -> int:
        return len(self._counted) - self.n_prompts - self.n_refused

    @property
    def errors(self) -> dict[int, str]:
        """What was wrong with a prompt, by its number; also of those that were split, but not exactly."""
        return {int(n): e for n, e in zip(self.column("number"), self.column("error"), strict=True) if e is not None}

    @property
    def layers(self) -> tuple[int | None, ...]:
        """The layer of each row of a map."""
        return tuple(a["layer"] for a in self.facts["layout"]["attention"])

    # ---- scores of heads ----

    def role(self, role: str, of: Literal["attention", "share"] = "attention", where: Where = None) -> ScoreMap:
        """How much of its attention each head pays to keys of one role, or of the state's share it brings from them.

        role: "first", "self", "previous", "duplicate" (earlier tokens that are the same), "induction" (what came after
        those) or "word". The sum over all queries that have such a key by their number; chance is what equal attention
        to all earlier keys would pay. Attention and share may disagree forty times, at a first token that many heads
        look at and take nothing from. (Olsson et al. 2022, arXiv:2209.11895)

        Raises ValueError for another role, and where no row counts.
        """
        one_of(role, tuple(ROLES), "role")
        one_of(of, ("attention", "share"), "of")
        rows, k = self._rows(where), list(ROLES).index(role)
        num, den = self.column(f"{of}_role")[rows, k], self.column("role_n")[rows, k]
        chance = self.column("role_chance")[rows, k] if of == "attention" else None
        spread = None if chance is None else np.broadcast_to(chance[:, None, None], num.shape)
        name = f"{role} of {of}"
        return self._map(name, num, den, spread, n_queries=int(den.sum()))

    def flow(self, where: Where = None) -> ScoreMap:
        """The mean flow to the target that each head carries; chance is that all heads carry the same.

        (Ferrando & Voita 2024, arXiv:2403.00824)
        """
        num = self.column("head_flow")[self._rows(where)]
        even = np.broadcast_to(np.nanmean(num, (1, 2), keepdims=True), num.shape)
        return self._map("flow", num, np.ones(len(num)), even)

    def effect(self, where: Where = None) -> ScoreMap:
        """The mean direct effect of each head on the predicted token's logit, in logits; chance is 0."""
        num = self.column("head_effect")[self._rows(where)]
        return self._map("effect", num, np.ones(len(num)), np.zeros(num.shape))

    def frequency(self, tau: float, where: Where = None) -> ScoreMap:
        """In what part of the prompts each head is on the route at a threshold: its strength is above tau."""
        rows = self._rows(where)
        strength, tau = self.column("head_strength")[rows], number(tau, "tau", 0, 1)
        found = scattered(statistics.share((strength > tau).sum(0)[self._there], len(rows)), self._there)
        return self._scored(f"frequency above {tau:g}", found, None, None, None, len(rows))

    def compare(self, a: Where, b: Where, of: str = "flow", *, times: int = 2000, seed: int = 0) -> Comparison:
        """The mean of a score in the prompts of `a` minus that in the prompts of `b`, for every head.

        of: "flow", "effect", "share", "strength", or a role of attention. p is corrected for all heads together.
        Raises ValueError for sets that overlap or have fewer than two prompts.
        """
        one_of(of, (*_PER_HEAD, *ROLES), "of")
        rows_a, rows_b = self._rows(a), self._rows(b)
        both = np.intersect1d(rows_a, rows_b)
        if len(both):
            raise ValueError(f"the two sets must have no prompt in common, got {len(both)} in both")
        sets = [self._of_prompts(of, rows)[:, self._there] for rows in (rows_a, rows_b)]
        found = statistics.differences(sets[0], sets[1], times=integer(times, "times", 1), seed=seed)
        return Comparison(of, self.layers, **scattered(found, self._there), n_prompts=(len(sets[0]), len(sets[1])))

    def classes(
        self, label: Callable[[str], str | None] | Sequence[str | None], of: Literal["share", "flow"] = "share"
    ) -> dict[str, ScoreMap]:
        """What each head is given at tokens of each class: a part of speech, or whatever `label` says.

        label: of a token's text, or one for every row of the tokens table; None: the token is in no class. Tokens of
        one prompt are summed first, since the unit is the prompt. Needs a survey made with keep=("prompts", "tokens").
        """
        one_of(of, ("share", "flow"), "of")
        tokens = self._table("tokens", ["number", "text", f"head_{of}"])
        texts = tokens.column("text").to_pylist()
        labels = [label(text) for text in texts] if callable(label) else list(label)
        if len(labels) != len(texts):
            raise ValueError(f"labels must be one for each of {len(texts)} tokens, got {len(labels)}")
        values = tokens.column(f"head_{of}").combine_chunks().flatten().to_numpy(zero_copy_only=False)
        values = values.reshape(len(texts), *self._there.shape)
        counted, numbers = np.flatnonzero(self._counted), tokens.column("number").to_numpy()
        row = np.full(len(self._counted), -1)
        row[counted] = np.arange(len(counted))
        found = {}
        for name in sorted({x for x in labels if x is not None}):
            mine = np.flatnonzero(np.array([x == name for x in labels]) & (row[numbers] >= 0))
            num, den = np.zeros((len(counted), *self._there.shape)), np.zeros(len(counted))
            np.add.at(num, row[numbers[mine]], values[mine])
            np.add.at(den, row[numbers[mine]], 1)
            found[name] = self._map(f"{of} at {name}", num, den, None, n_queries=len(mine))
        return found

    def neuron(self, layer: int, neuron: int, expert: int | str | None = None) -> NeuronCases:
        """The cases of gate and up of a neuron over all prompts, and the prompts where each case was strongest.

        Needs a survey made with keep=("prompts", "neurons"). Raises ValueError for a neuron that is not in it.
        """
        layer, neuron = integer(layer, "layer", 0), integer(neuron, "neuron", 0)
        files, asked = self._files_of("neurons"), [("layer", "=", layer), ("neuron", "=", neuron)]
        rows = read_table(self.folder, [files[n] for n in sorted(files)], where=asked).to_pylist()
        rows = [row for row in rows if row["expert"] == (None if expert is None else str(expert))]
        if not rows:
            of = "" if expert is None else f" of expert {expert}"
            raise ValueError(f"layer {layer} has no neuron {neuron}{of} with a gate that saw a token")
        at = {"kind": "neuron", "state": self.facts["layout"]["parts"][rows[0]["part"]]["state"], "neuron": neuron}
        at |= {"part": rows[0]["part"]} | ({} if expert is None else {"expert": expert})
        prompts = dict(zip(self.column("number").tolist(), self.column("prompt"), strict=True))
        return cases_of(rows, layer, at, prompts)

    def examples(self, layer: int, head: int, k: int = 20, by: str = "flow", where: Where = None) -> list[Example]:
        """The k prompts in which a head stands out most: by "flow", "effect", "share", "strength" or a role.

        Raises ValueError for a head that is not there.
        """
        one_of(by, (*_PER_HEAD, *ROLES), "by")
        if layer not in self.layers:
            raise ValueError(f"layer must be one with heads, {self.layers}, got {told(layer)}")
        at = self.layers.index(layer)
        facts = self.facts["layout"]["attention"][at]
        head, rows = integer(head, "head", 0, facts["heads"] - 1), self._rows(where)
        values = self._of_prompts(by, rows, keep_all=True)[:, at, head]
        size = np.abs(values) if by == "effect" else values
        best = np.argsort(-np.nan_to_num(size, nan=-np.inf), kind="stable")[: integer(k, "k", 1)]
        return [self._example(rows[i], float(values[i]), at, head) for i in best]

    def example(self, number: int, layer: int | None, head: int) -> Example:
        """A prompt by its number, to be opened with a head selected; its value is the flow. Raises as `examples`."""
        at = self.layers.index(layer)
        row = int(np.flatnonzero(self.column("number") == number)[0])
        return self._example(row, float(self.column("head_flow")[row, at, head]), at, head)

    def show(self, model: Any = None) -> Any:
        """The map of all heads, layer x head, as a widget; a click lists examples.

        model: the survey's; then an example opens below in the flow widget, its head selected. `save(path)` of what is
        returned saves the map as a page.
        """
        from .shown import SurveyView

        return SurveyView(self, model)

    @property
    def heads(self) -> tuple[int, ...]:
        """How many heads there are in each row of a map."""
        return tuple(a["heads"] for a in self.facts["layout"]["attention"])

    def __repr__(self) -> str:
        less = f", {self.n_duplicates} duplicates" if self.n_duplicates else ""
        less += f", {self.n_refused} refused" if self.n_refused else ""
        return f"Survey({self.facts['model']['name']!r}, {self.n_prompts} prompts{less}, {self.folder.at!r})"

    # ---- inside ----

    def _example(self, row: int, value: float, at: int, head: int) -> Example:
        facts, prompt = self.facts["layout"]["attention"][at], json.loads(self.column("prompt")[row])
        number, target = int(self.column("number")[row]), int(self.column("target")[row])
        return Example(number, prompt, value, facts["layer"], head, target, facts["part"], facts["state"])

    @cached_property
    def _there(self) -> np.ndarray:
        """Where there is a head: [layer, head], bool."""
        heads = np.array([a["heads"] for a in self.facts["layout"]["attention"]], int)
        return np.arange(max(heads, default=0))[None] < heads[:, None]

    def _shape(self, name: str) -> tuple[int, ...]:
        roles, heads = len(self.facts["layout"]["roles"]), self._there.shape
        return (roles, *heads) if name.endswith("_role") else heads if name.startswith("head_") else (-1,)

    def _files_of(self, table: str) -> dict[int, str]:
        if table not in self._files:
            raise ValueError(
                f'the survey has no table {told(table)}: survey(..., keep=("prompts", "{table}")) keeps it'
            )
        return self._files[table]

    def _table(self, table: str, columns: Sequence[str] | None = None) -> Any:
        files = self._files_of(table)
        return read_table(self.folder, [files[n] for n in sorted(files)], columns)

    def _rows(self, where: Where) -> np.ndarray:
        """The rows that count and are asked for. Raises ValueError where there are none."""
        wanted = self._counted
        if isinstance(where, str):
            chosen = self.sql(f"select number from prompts where {where}").fetchnumpy()["number"]
            wanted = wanted & np.isin(self.column("number"), chosen)
        elif where is not None:
            mask = np.asarray(where)
            if mask.dtype != bool or mask.shape != wanted.shape:
                raise ValueError(f"where must be a condition in SQL or {len(wanted)} truth values, got {told(where)}")
            wanted = wanted & mask
        rows = np.flatnonzero(wanted)
        if not len(rows):
            said = f"; the first error: {next(iter(self.errors.values()))}" if self.errors else ""
            raise ValueError(f"no prompt is left{said}")
        return rows

    def _of_prompts(self, of: str, rows: np.ndarray, keep_all: bool = False) -> np.ndarray:
        """A score of every prompt: [row, layer, head]; of roles the prompts that have such keys, or all with NaN."""
        if of in _PER_HEAD:
            return self.column(f"head_{of}")[rows]
        k = list(ROLES).index(of)
        num, den = self.column("attention_role")[rows, k], self.column("role_n")[rows, k]
        per = num / np.where(den > 0, den, np.nan)[:, None, None]
        return per if keep_all else per[den > 0]

    def _map(
        self, name: str, num: np.ndarray, den: np.ndarray, chance: np.ndarray | None, n_queries: int | None = None
    ) -> ScoreMap:
        """sum(num) / sum(den) of every head: num, chance [row, layer, head], den [row]."""
        there = self._there
        found = scattered(statistics.ratio(num[:, there], den), there)
        apart = level = None
        if chance is not None:
            apart = on_map(statistics.apart(num[:, there], chance[:, there], den), there)
            with np.errstate(invalid="ignore"):
                level = on_map(
                    chance[:, there].sum(0) / den.sum() if den.sum() else np.full(there.sum(), np.nan), there
                )
        return self._scored(name, found, level, apart, n_queries, int((den > 0).sum()))

    def _scored(
        self, name: str, found: dict[str, np.ndarray], chance: Any, apart: Any, n_queries: int | None, n: int
    ) -> ScoreMap:
        return ScoreMap(
            name, self.layers, found["value"], found["low"], found["high"], chance, apart, n_queries, n,
            self.n_duplicates, self.n_refused,
        )  # fmt: skip


def load_survey(folder: str | os.PathLike[str]) -> Survey:
    """A survey that lies in a folder, on this machine or elsewhere (s3://...); needs no model and no torch.

    Raises ValueError for a folder without a survey, and for a foreign or damaged file in it; ModuleNotFoundError with
    what to install.

        >>> _ = lmtt.survey(model, [prompt], folder / "kept")
        >>> lmtt.load_survey(folder / "kept").n_prompts
        1
    """
    return Survey(folder)
