"""What reading a tape comes to where that depends only on how its calls hang together, found once for all layers alike.

    layer 0    x -> norm -> query, key, value -> attention -> projection     What was the projection made of? Of x.
    layer 1    y -> norm -> query, key, value -> attention -> projection     The same calls: of what stands where x did.

Two stretches of tape are alike where the same calls were made in the same order on the results of the same calls, with
the same shapes, kinds of numbers and constants. Answers are kept as places in that order, never as tensors, modules or
nodes: they hold for every layer, model and prompt with the same calls; and where a hook, an adapter, a dtype or a layer
was changed the calls differ, or nothing does that an answer depends on, so no plan need be dropped. A stretch with a
call of which it is not known that it is read without a look at numbers (an index that was computed, memory that is
written again, what the pass was forced to go on with) has no plan and is read whole.

Knows nothing of states, heads or models.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, TypeVar

import torch

from .nodes import Node, is_inplace
from .ops import ADD, DIV, IDENTITY, MATMUL, MUL, NEG, NORM, RSUB, SUB, VIEW

_T = TypeVar("_T")
_READ_BLINDLY = IDENTITY | VIEW | ADD | SUB | RSUB | MUL | DIV | NEG | NORM | MATMUL | {
    "param", "const", "call_linear", "linear", "__getitem__", "transpose", "permute", "swapaxes", "chunk", "split",
    "unbind", "narrow", "cat", "stack", "expand", "repeat_interleave", "softmax", "scaled_dot_product_attention",
    "mean", "sum", "var", "norm", "pow", "__pow__", "square", "sqrt", "rsqrt", "reciprocal", "exp", "gelu", "silu",
    "relu", "sigmoid", "tanh", "softplus", "clamp", "abs", "masked_fill", "where", "cos", "sin",
    "tensor", "arange", "full", "ones", "ones_like", "zeros", "zeros_like", "triu", "tril", "__invert__", "__lt__",
    "__le__", "__gt__", "__ge__", "__eq__", "__ne__", "__and__", "__or__", "logical_not",
}  # fmt: skip
_PLANNED = {op for op in _READ_BLINDLY if not is_inplace(op)} - {"forced", "checkpoint", "getattr"}
_BY_NUMBERS = {"__getitem__", "narrow", "repeat_interleave"}  # where more than what is taken from is on the tape
_CONSTANTS = {int, float, bool, str, type(None), type(...), torch.dtype, torch.device, torch.memory_format}
_MOST = 64  # kinds of stretches
_END = type  # no argument of a call
_answers: dict[Hashable, dict[Hashable, Any]] = {}  # to the questions about each kind


class Plan:
    """Answers to questions about the nodes of one stretch of tape: as they are found, or as they were for one alike."""

    def __init__(self, nodes: Sequence[Node], before: Sequence[Node], answers: dict[Hashable, Any] | None) -> None:
        self._nodes, self._before, self._answers = nodes, before, answers
        self._n_before = len(before)  # more may follow

    def answer(self, question: str, about: Sequence[Node], find: Callable[[], _T]) -> _T:
        """find(), which depends on nothing but how the calls hang together; what it gives holds no node."""
        key = None if self._answers is None else self._key(question, about)
        if self._answers is None or key is None:
            return find()
        if key not in self._answers:
            self._answers[key] = find()
        found: _T = self._answers[key]
        return found

    def nodes(self, question: str, about: Sequence[Node], find: Callable[[], Iterable[Node]]) -> list[Node]:
        """The same of some of the nodes, which are the answer."""
        key = None if self._answers is None else self._key(question, about)
        if self._answers is None or key is None:
            return [*find()]
        if key in self._answers:
            return [self._nodes[k] if k >= 0 else self._before[k + self._n_before] for k in self._answers[key]]
        found = [*find()]
        if None not in (numbers := [n.number for n in found]):
            self._answers[key] = numbers
        return found

    def _key(self, question: str, about: Sequence[Node]) -> Hashable:
        numbers = [n.number for n in about]
        return None if None in numbers else (question, *numbers)


NO_PLAN = Plan((), (), None)


def plan_of(nodes: Sequence[Node], before: Sequence[Node], given: Hashable, said: Callable[[Node], Hashable]) -> Plan:
    """The plan of a stretch of tape; `NO_PLAN` where it has none.

    nodes: all of the stretch, by their numbers. before: earlier ones that it may go on from, the last the nearest.
    given: whatever else answers depend on; said: the same of a parameter or constant, None where that cannot be told.
    """
    kind = _kind(nodes, said)
    if kind is None:
        return NO_PLAN
    answers = _answers.setdefault((given, kind), {})
    while len(_answers) > _MOST:
        _answers.pop(next(iter(tuple(_answers))), None)  # another thread may add one meanwhile
    return Plan(nodes, before, answers)


def _kind(nodes: Sequence[Node], said: Callable[[Node], Hashable]) -> Hashable:
    """What two stretches that are alike have in common; None where there is no plan."""
    told: list[Hashable] = []  # one call after the other, each up to `_END`; `Node` stands for a node
    made_from: list[int] = []  # the numbers of these nodes
    tell = told.append
    try:
        for n in nodes:
            op, x = n.op, n._value
            if op not in _PLANNED or n.lost:
                return None
            tell(op)
            tell(x.shape)
            tell(x.dtype)
            first = len(made_from)
            for a in n.args:
                kind = type(a)
                if kind is Node and (k := a.number) is not None and k >= 0:  # mostly
                    made_from.append(k)
                    tell(Node)
                else:
                    tell(a if kind in _CONSTANTS else _constant(a, made_from))
            for name, a in n.kwargs.items() if n.kwargs else ():
                tell(name)
                tell(_constant(a, made_from))
            if op in _BY_NUMBERS and len(made_from) > first + 1:
                return None
            more = said(n) if n.time < 0 else n.item
            if more is None and n.time < 0:
                return None
            tell(more)
            tell(_END)
    except _Unlike:
        return None
    return tuple(told), tuple(made_from)


class _Unlike(Exception):
    """An argument that no two calls are known to share."""


def _constant(x: Any, made_from: list[int]) -> Hashable:
    """An argument; of a node, which enters `made_from`, only that it is one."""
    kind = type(x)
    if kind is Node:
        if x.number is None:
            raise _Unlike
        made_from.append(x.number)
        return Node if x.number >= 0 else (Node, x.shape, x._value.dtype)
    if kind in _CONSTANTS:
        return x  # type: ignore[no-any-return]
    if kind in (tuple, list, torch.Size):
        return (kind, *[_constant(y, made_from) for y in x])
    if kind is slice:
        ends = x.start, x.stop, x.step
        if all(type(y) in _CONSTANTS for y in ends):
            return (slice, *ends)
    raise _Unlike
