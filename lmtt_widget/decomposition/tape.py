"""Every torch call of one forward pass, in order, as nodes.

`Tape` is a TorchFunctionMode: while it is active each torch call of this thread runs unchanged and is remembered as a
`Node` (function, argument nodes, result). Nothing in the model is modified, so the numbers are bit-identical to an
ordinary forward pass. Modules that *are* linear maps (nn.Linear, Conv1D, LoRA, quantised layers, ...) are entered on
the tape as one node each by `Tape.enter_module` / `leave_module`; their insides are not taped.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from itertools import chain
from operator import is_
from typing import Any

import torch
import torch.overrides
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .aliases import Aliases, is_whole_view, memory, overlap, rows_from, version
from .calls import (
    KERNELS,
    NO_OLD_VALUE,
    OPENED,
    QUIET,
    SAID,
    SHARES_MEMORY,
    TELLS,
    opened,
    property_of,
    replaces_all,
    sets_data,
    written_by,
)
from .nodes import TOLD, Counts, Node, Place, asks_which, behind, is_fresh, is_inplace, overwriting
from .told import Heard, Told

_PLAIN = {int, float, bool, str, type(None), torch.dtype, torch.device}
_How = Callable[["Tape", Any, str, Any, Any], Any]


class Tape(TorchFunctionMode):
    """The nodes of one stretch of a forward pass, found by the tensors they made.

    Calls are heard, and become nodes when one is asked for. A value stays what it was when it was made: where its
    memory is written again, by whatever view of it, the node keeps a copy, and every tensor in that memory becomes a
    node of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self._nodes: dict[int, Node] = {}  # without those of calls that were only heard; a node keeps its tensor alive
        self.time = 0
        self.stretch = 0  # how often it was started anew
        self._met: list[Node] = []  # all of this stretch, in the order in which they were first met
        self.heard = Told()  # the calls of this stretch
        self.has_other = False  # is there anything on it that was not heard so?
        self._n_taken = 0  # of the calls that were heard, how many became nodes
        self._taking = False
        self._counts: dict[tuple[str, tuple[int, ...]], int] = {}  # of the results, by call and shape, if listened to
        self.told = False  # was a number of the stream handed to Python?
        self._known: dict[Any, tuple[str, _How]] = {}  # what was called -> its name, and how it is taped
        self.forced: dict[Place, Tensor] = {}  # what the pass is to go on with in place of what it made there
        self.natural: dict[Place, Tensor] = {}  # what it made there
        self.changes: dict[Place, Callable[[Node], Tensor | None]] = {}  # the same, asked for when it is made
        self.listeners: dict[Place, Callable[[Tensor], object]] = {}  # told what it made there
        self._inside = 0  # > 0 inside a linear module or while paused: nothing is taped
        self._aliases = Aliases()
        self._meet = self._aliases.meet
        self._me: weakref.ref[Counts] = weakref.ref(self)
        self._shared: set[int] = set()  # memory that numpy or others hold, who write without a word
        self._new: list[Callable[[], Iterable[Tensor]]] = []  # tensors that outlive this tape, not yet sorted in
        self._kept: dict[int, list[Tensor]] = {}  # the others, by their memory
        self._reused: set[int] = set()  # memory that was there before the pass and is written in it: a model's buffers

    @property
    def nodes(self) -> dict[int, Node]:
        """By the id of a tensor the node that made it."""
        self._take_in()
        return self._nodes

    @property
    def met(self) -> list[Node]:
        """All nodes of this stretch, in the order in which they were first met."""
        self._take_in()
        return self._met

    def node(self, x: Tensor) -> Node:
        self._take_in()
        return self._node(x)

    def _node(self, x: Tensor) -> Node:
        found = self._nodes.get(id(x))
        if found is not None and (self._taking or (not self._shared and found.version == version(x))):  # nearly always
            return found
        if found is None:
            op = "param" if isinstance(x, nn.Parameter) else "const"
            if self._shared and memory(x) in self._shared:
                op = "shared memory"
            found = self._nodes[id(x)] = Node(op, x, number=len(self._met))
            self._as_heard(found)
            self._aliases.meet(x)
            self._met.append(found)
        elif self._counts_as_its_base(found, x):
            found.version = version(x)
        elif found.version != version(x) or (self._shared and self._changed_unseen(found, x)):
            found.lost = found.lost or found._value is x
            found = self.add(x, "written by a call outside torch", args=(found,))
        return found

    def _counts_as_its_base(self, found: Node, x: Tensor) -> bool:
        """Is it a view that torch has tied to what it is a view of only after the call was heard of?"""
        if found.version or x._base is None or found.version == version(x):
            return False
        base = self._nodes.get(id(x._base))
        return base is not None and base.version == version(x._base) == version(x)

    def _hear(self, call: Heard) -> None:
        if self.has_other or not self.heard.hear(call):
            self._take_in()
            self.has_other = True
            self._tape(call)

    def _take_in(self) -> None:
        """Makes nodes of the calls that were heard since."""
        if self._n_taken == len(self.heard.calls):
            return
        self._taking = True
        for call in self.heard.calls[self._n_taken :]:
            for made in self._tape(call):
                self._as_heard(made)
        self._n_taken, self._taking = len(self.heard.calls), False

    def _as_heard(self, made: Node) -> None:
        """Its memory may have been written since."""
        then = self.heard.version(made._value)
        made.version = made.version if then is None else then

    def _tape(self, call: Heard) -> list[Node]:
        """The nodes of what a call gave."""
        args = tuple([a if type(a) in _PLAIN else self._lift(a) for a in call.args])
        kwargs = self._lift(call.kwargs) if call.kwargs else None
        if isinstance(call.out, Tensor):
            return [self.add(call.out, call.name, call.fn, args, kwargs, None, call.module)]
        several = [(i, x) for i, x in enumerate(call.out) if isinstance(x, Tensor)]
        return [self.add(x, call.name, call.fn, args, kwargs, i) for i, x in several]

    def add(
        self,
        value: Tensor,
        op: str,
        fn: Any = None,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        item: int | None = None,
        module: nn.Module | None = None,
        is_counted: bool = True,
    ) -> Node:
        """A node that stands for `value` from here on."""
        if not self._taking:
            self._take_in()
            self.has_other = True
        self.time += 1
        made = Node(op, value, fn, args, kwargs, self.time, item, module, len(self._met))
        self._nodes[id(value)] = made
        self._meet(value)
        self._met.append(made)
        if is_counted:
            made.place = self._count(made) if self._listens() else self._me  # of most results nobody asks
        return made

    def _listens(self) -> bool:
        return bool(self.forced or self.changes or self.listeners)

    def _count(self, made: Node) -> Place:
        key = made.op, made._value.shape
        self._counts[key] = nth = self._counts.get(key, -1) + 1
        return self.stretch, *key, nth

    def place_of(self, made: Node) -> Place:
        """Where it was made, counted now."""
        op, shape = made.op, made._value.shape
        before = self._met[: made.number]
        return self.stretch, op, shape, sum(n.op == op and n.is_counted and n._value.shape == shape for n in before)

    def _note(self, value: Tensor, op: str, fn: Any = None, args: tuple[Any, ...] = ()) -> Node:
        """The same, of what no call of the pass made."""
        return self.add(value, op, fn, args, is_counted=False)

    def _forced(self, made: Node, x: Tensor) -> Tensor:
        """What the pass is to go on with in place of `x`."""
        if not self._listens():
            return x
        given = self._given(made)
        if made.place in self.listeners:
            self.listeners[made.place](x if given is None else given)
        if given is None:
            return x
        self._note(given, "forced", args=(made,))
        return given

    def _given(self, made: Node) -> Tensor | None:
        change = self.changes.get(made.place) if made.place is not None else None
        if change is not None:
            return change(made)
        if made.place not in self.forced:
            return None
        self.natural[made.place] = made.value.detach().clone()
        return self.forced[made.place].clone()

    def _force_in_place(self, made: Node, x: Tensor) -> Node:
        """The same in the memory of `x`, unless that is not the pass's own."""
        if made.place in self.listeners and made.place not in self.changes:
            self.listeners[made.place](x)
        if made.place not in self.forced and made.place not in self.changes:
            return made
        if any(self.nodes[id(y)].op in ("param", "const") for y in self._aliases.of(x) if id(y) in self.nodes):
            return made
        with self.paused():
            made.value = x.detach().clone()
            given = self._given(made)
            if given is None:
                made.value = x
                return made
            self._keep_old_values(x)
            x.copy_(given)
        return self._note(x, "forced", args=(made,))

    def made(self, x: Any) -> Node | None:
        """The node of a tensor that this tape has met."""
        return self._node(x) if id(x) in self.nodes else None

    def restart(self, nodes: Iterable[Node]) -> None:
        """Forgets everything but these nodes, which are asked for when all others are forgotten."""
        self._nodes.clear()
        self._aliases.clear()
        self._shared.clear()
        self._counts.clear()
        self.told = self.has_other = False
        self._met.clear()
        self.let_go()
        self.stretch += 1
        for n in nodes:
            if n.op != "state":
                n.number = None
            self._nodes[id(n._value)] = n
            self._aliases.meet(n._value)
        self.heard = Told((n.number, n._value) for n in self._nodes.values())

    def now(self) -> int:
        """How many nodes there were so far."""
        self._take_in()
        return self.time

    def let_go(self) -> None:
        """Forgets what was heard, and asked for by nobody."""
        self.time += len(self.heard.calls) - self._n_taken
        self.heard, self._n_taken = Told(), 0

    def calls(self) -> frozenset[str]:
        """The names of what was called since it was started anew."""
        return frozenset([n.op for n in self.met if n.is_counted] + [TOLD] * self.told)

    def keep(self, kept: Callable[[], Iterable[Tensor]]) -> None:
        """These tensors outlive the tape: they get memory of their own before a later call writes to theirs."""
        self._new.append(kept)  # sorted in when something is written, which most layers never do
        if self._reused:
            self._sort_in()

    def _sort_in(self) -> None:
        for x in chain.from_iterable(kept() for kept in self._new):
            where = memory(x)
            if where in self._reused:
                x.data = x.detach().clone()
            elif where is not None:
                self._kept.setdefault(where, []).append(x)
        self._new.clear()

    def paused(self) -> _Without:
        """Nothing is taped inside: for reading the tape while the forward pass waits."""
        return _Without(self)

    def enter_module(self) -> None:
        self._inside += 1

    def leave_module(self, module: nn.Module, x: Tensor | None, out: Any, op: str) -> Any:
        """Tapes what a module gave; returns what the pass is to go on with."""
        self._inside -= 1
        if self._inside or not isinstance(out, Tensor):
            return out
        self._hear(Heard(op, None, () if x is None else (x,), {}, out, module))
        if not self._listens():
            return out
        with self.paused():
            return self._forced(self.nodes[id(out)], out)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._inside:
            return func(*args, **(kwargs or {}))
        name, how = self._known.get(func) or self._learned(func)
        return how(self, func, name, args, kwargs or {})

    def _learned(self, func: Any) -> tuple[str, _How]:
        """The name of what was called, and how it is taped: asked once of each function in a pass."""
        name = getattr(func, "__name__", "?").partition(".")[0]  # torch.ops: add_.Tensor
        name = KERNELS.get(name, name)
        if name in QUIET or (name == "__get__" and property_of(func) in SAID):
            how: _How = Tape._not_taped
        elif name in TELLS:
            how = Tape._tell
        elif name == "__get__":
            how = Tape._attribute
        elif name in OPENED:
            how = Tape._open
        elif name in SHARES_MEMORY:
            how = Tape._lend
        elif is_inplace(name) or sets_data(func, name) or getattr(getattr(func, "_schema", None), "is_mutable", False):
            how = Tape._may_write
        else:
            how = Tape._call
        self._known[func] = name, how
        return name, how

    def _not_taped(self, func: Any, _name: str, args: Any, kwargs: Any) -> Any:
        return func(*args, **kwargs)

    def _tell(self, func: Any, _name: str, args: Any, kwargs: Any) -> Any:
        """A number of the stream that Python goes on with: no later call tells of it."""
        x = self.nodes.get(id(args[0])) if args and not self.told else None
        is_state = lambda n: n.op == "state"  # noqa: E731
        out = func(*args, **kwargs)
        if x is not None and (out is not False or not asks_which(x)) and any(map(is_state, behind([x], is_state))):
            self.told = True
        return out

    def _attribute(self, func: Any, _name: str, args: Any, kwargs: Any) -> Any:
        """.T, .mT, .data: views; what is no tensor of numbers is not taped."""
        out = func(*args, **kwargs)
        if type(out) is Tensor and out.is_floating_point():
            op = "getattr" if args[0].is_floating_point() else "of complex"
            return self._forced(self.add(out, op, fn=func, args=(self.node(args[0]),)), out)
        return out

    def _open(self, func: Any, _name: str, args: Any, kwargs: Any) -> Any:
        with self:
            return opened(func)(*args, **kwargs)

    def _lend(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        if not args or not isinstance(args[0], Tensor):
            return self._call(func, name, args, kwargs)
        self._share(args[0])
        return func(*args, **kwargs)

    def _may_write(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        written = written_by(func, name, args, kwargs)
        return self._write(func, name, args, kwargs, written) if written else self._made(func, name, args, kwargs)

    def _call(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        make = self._may_write if "out" in kwargs else self._made
        return make(func, name, args, kwargs)

    def _made(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        """A call that writes to nothing that was there."""
        out = func(*args, **kwargs)
        if isinstance(out, Tensor):
            if any(out is a for a in args) and self._has_met(out):
                return out  # x.to(same dtype) returns x itself
        elif not isinstance(out, (tuple, list)):
            return out
        self._hear(Heard(name, func, args, kwargs, out))
        if not self._listens():
            return out
        nodes = self.nodes
        if isinstance(out, Tensor):
            return self._forced(nodes[id(out)], out)
        goes_on = [self._forced(nodes[id(y)], y) if isinstance(y, Tensor) else y for y in out]
        return out if all(map(is_, out, goes_on)) else type(out)(goes_on)

    def _has_met(self, x: Tensor) -> bool:
        return self.heard.number(x) is not None or id(x) in self._nodes

    # ---- memory that is written again ----

    def _write(self, func: Any, name: str, args: Any, kwargs: Any, written: list[Tensor]) -> Any:
        self._take_in()
        lifted, named = self._lift(tuple(args)), self._lift({k: v for k, v in kwargs.items() if k != "out"})
        for x in written:
            self.node(x)
            self._keep_old_values(x)
        out = func(*args, **kwargs)
        if replaces_all(name, args):  # x.copy_(y), x[:] = y, x.data = y: from here on x is y
            name, func, lifted, named = "identity", _same, lifted[-1:], {}
        for x in written:
            made = self._force_in_place(self.add(x, name, fn=func, args=lifted, kwargs=named), x)
            if isinstance(out, Tensor) and out is not x and memory(out) == memory(x) and out.shape == x.shape:
                self.nodes[id(out)] = made
                self._aliases.meet(out)
            self._renew_aliases(made, x)
        return out

    def _keep_old_values(self, x: Tensor) -> None:
        """Whatever lies in the memory that is about to be written is copied."""
        self._release(x)
        for y in self._aliases.of(x):
            node = self._nodes.get(id(y))
            if node is None or node._value is not y or not overlap(x, y):
                continue
            if node.op in ("const", "param"):
                self._reused.add(memory(y) or 0)
            if node.op in NO_OLD_VALUE or not y.is_floating_point():
                node.lost = not is_fresh(node)
            elif node.op != "param":
                node.value = y.detach().clone()

    def _renew_aliases(self, made: Node, x: Tensor) -> None:
        """The nodes of the other tensors in the memory of `x`, which `made` has just written."""
        for y in self._aliases.of(x):
            node = self._nodes.get(id(y))
            if node is None or node is made or y is x:
                continue
            if not overlap(x, y):
                node.version = version(y)
            elif is_whole_view(y, x):
                shape = tuple(y.shape)
                self._note(y, "view", fn=torch.reshape, args=(made, shape))
            else:
                over = self.add(y, "overwritten", fn=overwriting(y, x), args=(node, made, rows_from(y, x)))
                if over.place in self.forced and made.op != "forced":
                    self._renew_aliases(self._force_in_place(over, y), y)

    def _share(self, x: Tensor) -> None:
        where = memory(x)
        if where is None:
            return
        self.node(x)
        self._keep_old_values(x)
        self._shared.add(where)

    def _changed_unseen(self, node: Node, x: Tensor) -> bool:
        if memory(x) not in self._shared or node.lost or node._value is x:
            return False
        with _Without(self):
            return not torch.equal(node._value, x)

    def _release(self, x: Tensor) -> None:
        if self._new:
            self._sort_in()
        for kept in self._kept.pop(memory(x) or 0, ()):
            kept.data = kept.detach().clone()

    def _lift(self, x: Any) -> Any:
        kind = type(x)
        if kind is Tensor or kind is nn.Parameter or isinstance(x, Tensor):
            return self._node(x)
        if type(x) in (tuple, list):
            nested = (tuple, list, dict)
            return type(x)(
                [self._node(y) if isinstance(y, Tensor) else self._lift(y) if type(y) in nested else y for y in x]
            )
        if type(x) is dict:
            return {k: self._lift(v) for k, v in x.items()}
        return x


def _same(x: Tensor) -> Tensor:
    return x


class _Without:
    """Nothing is taped, and calls do not go through a mode that is on top.

    No generator: one that an interrupt left behind would push the mode again whenever it is collected. The names are
    torch's own; without them calls only cost more.
    """

    def __init__(self, mode: Tape) -> None:
        self.mode, self.popped = mode, False

    def __enter__(self) -> None:
        self.mode._inside += 1
        top, pop = (getattr(torch.overrides, n, None) for n in ("_get_current_function_mode", "_pop_mode"))
        if top is not None and pop is not None and hasattr(torch.overrides, "_push_mode") and top() is self.mode:
            self.popped = True
            pop()

    def __exit__(self, *_: object) -> None:
        self.mode._inside -= 1
        if self.popped:
            self.popped = False
            torch.overrides._push_mode(self.mode)
