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

from torch import Tensor

from .nodes import Node, is_inplace
from .ops import ADD, DIV, IDENTITY, MATMUL, MUL, NEG, NORM, RSUB, SUB, VIEW
from .told import Heard, Told

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
_MOST = 64  # kinds of stretches
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


def kind_of(stretch: Told, said: Callable[[Tensor], Hashable]) -> Hashable | None:
    """What a stretch of tape has in common with those that are alike.

    None where it is not known that such calls are read without a look at numbers. said: whatever answers depend on of a
    parameter or constant besides its shape, None where that cannot be told.
    """
    if not _PLANNED.issuperset([call.name for call in stretch.calls]):
        return None
    if any(_takes_by_numbers(call) for call in stretch.calls if call.name in _BY_NUMBERS):
        return None
    facts: list[Hashable] = []
    for nth, x in stretch.found:
        more = x.stride() if nth.number < 0 else said(x)
        if more is None:
            return None
        facts.append((nth, x.shape, x.dtype, type(x) is Tensor, more))
    return tuple(stretch.told), tuple(facts)


def _takes_by_numbers(call: Heard) -> bool:
    """Is more than what it takes from a tensor?"""
    index = [y for a in (*call.args[1:], *call.kwargs.values()) for y in (a if type(a) in (tuple, list) else (a,))]
    return any(isinstance(y, Tensor) for y in index)


def plan_of(kind: Hashable, nodes: Sequence[Node], before: Sequence[Node], given: Hashable) -> Plan:
    """The plan of a stretch of tape of some kind.

    nodes: all of the stretch, by their numbers. before: earlier ones that it may go on from, the last the nearest.
    given: whatever else answers depend on.
    """
    answers = _answers.setdefault((given, kind), {})
    while len(_answers) > _MOST:
        _answers.pop(next(iter(tuple(_answers))), None)  # another thread may add one meanwhile
    return Plan(nodes, before, answers)
