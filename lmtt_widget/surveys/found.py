"""What a survey finds for a reader: prompts in which a head or a neuron stands out; each opens in the flow widget."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .cases import CASES, COLUMNS, N_CONTEXTS, strongest


@dataclass(frozen=True)
class Example:
    """A prompt in which a head stands out; `open(model)` shows it in the flow widget with that head selected.

    >>> many = lmtt.survey(model, [prompt], folder / "example")
    >>> widget = many.examples(layer=1, head=3)[0].open(model)
    >>> widget.selection["head"]
    3
    """

    number: int
    prompt: Any
    value: float  # of what was asked for, in this prompt
    layer: int | None
    head: int
    target: int
    part: int
    state: int

    def open(self, model: Any) -> Any:
        """The flow widget of this prompt, its head selected at the query where it carries most of the flow."""
        from ..widget import explore

        widget = explore(model, self.prompt)
        widget.target = self.target
        carried = widget.routes.graph.head_sum[self.part, self.head] * widget.routes.node_flow[self.state]
        chosen = {"kind": "head", "state": self.state, "head": self.head, "query": int(carried.argmax())}
        widget.selection = chosen | {"part": self.part}
        return widget


@dataclass(frozen=True)
class Context:
    """A prompt and the token at which a neuron was strong; `open(model)` shows it with that neuron selected.

    >>> many = lmtt.survey(model, [prompt], folder / "context", keep=("prompts", "neurons"))
    >>> context = max(many.neuron(2, 5).contexts.values(), key=len)[0]
    >>> context.open(model).selection["neuron"]
    5
    """

    number: int
    prompt: Any
    pos: int
    value: float  # the neuron's activation there
    selection: dict[str, Any]

    def open(self, model: Any) -> Any:
        """The flow widget of this prompt with the neuron selected."""
        from ..widget import explore

        return explore(model, self.prompt, target=self.pos, selection=self.selection)


@dataclass(frozen=True, eq=False)
class NeuronCases:
    """How often a gated neuron was in each case of its signs over all prompts, and where most.

    >>> many = lmtt.survey(model, [prompt], folder / "cases", keep=("prompts", "neurons"))
    >>> sum(many.neuron(2, 5).count.values()) == 14
    True
    """

    layer: int | None
    neuron: int
    expert: str | None
    count: dict[str, int]  # of tokens, by the signs of gate and up: "+ +", "+ -", "- +", "- -"
    contexts: dict[str, list[Context]]  # strongest first, one a prompt, at most eight

    def __repr__(self) -> str:
        said = []
        for case, n in self.count.items():
            best = self.contexts[case][:1]
            said.append(f"{case}: {n}" + (f", most {best[0].value:+.3g} in prompt {best[0].number}" if best else ""))
        expert = "" if self.expert is None else f" of expert {self.expert}"
        return f"NeuronCases({self.layer}.{self.neuron}{expert}; " + "; ".join(said) + ")"


def cases_of(
    rows: Sequence[Mapping[str, Any]], layer: int | None, selection: dict[str, Any], prompts: Mapping[int, str]
) -> NeuronCases:
    """The rows of a neuron from several files as one; selection: the neuron's, without a position; prompts as JSON."""
    shape = len(CASES), N_CONTEXTS
    kept = strongest([{name: np.reshape(row[name], shape) for name in COLUMNS[1:]} for row in rows])
    contexts: dict[str, list[Context]] = {}
    for case, *columns in zip(CASES, *(kept[name].tolist() for name in ("number", "pos", "value")), strict=True):
        contexts[case] = [
            Context(number, json.loads(prompts[number]), pos, value, selection | {"pos": pos})
            for number, pos, value in zip(*columns, strict=True)
            if number >= 0
        ]
    count = np.sum([row["count"] for row in rows], 0).tolist()
    return NeuronCases(layer, selection["neuron"], rows[0]["expert"], dict(zip(CASES, count, strict=True)), contexts)
