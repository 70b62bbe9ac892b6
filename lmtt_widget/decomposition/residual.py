"""The residual sum read off a tape, every norm and gate frozen.

`Walk(width, stops).terms(node)` turns a node whose last axis is the residual width into a list of terms

    value = sum_k  path_k( leaf_k )          exactly

A leaf is an earlier state (a stop), the output of a linear map, a constant, or, where a call is not linear, whatever
that call made. A path is a chain of steps that act on one row (token) at a time, multiplication by a frozen factor or
subtraction of the mean, so that it can be applied later to any part of the leaf.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .tape import Node, is_fresh, plain

IDENTITY = {
    "to", "type", "type_as", "float", "double", "half", "bfloat16", "contiguous", "clone", "detach", "dropout",
    "alpha_dropout", "getattr", "__deepcopy__", "cpu", "cuda", "identity", "checkpoint",
}  # fmt: skip
VIEW = {"view", "reshape", "flatten", "unflatten", "unsqueeze", "squeeze", "_unsafe_view", "view_as", "reshape_as"}
ADD = {"add", "__add__", "__radd__", "__iadd__", "add_"}
SUB = {"sub", "__sub__", "__isub__", "sub_", "subtract"}
RSUB = {"__rsub__", "rsub"}
MUL = {"mul", "__mul__", "__rmul__", "__imul__", "mul_", "multiply"}
DIV = {"div", "__truediv__", "__itruediv__", "div_", "true_divide", "divide"}
NEG = {"neg", "__neg__", "negative"}
MATMUL = {"matmul", "__matmul__", "mm", "bmm", "__rmatmul__"}
NORM = {"layer_norm", "rms_norm"}

_OF_CONSTANTS = IDENTITY | VIEW | MUL | ADD | DIV | NEG | {
    "__getitem__", "exp", "sigmoid", "tanh", "ones_like", "zeros_like", "full", "expand", "expand_as",
}  # fmt: skip
_OF_WEIGHTS = {
    "__getitem__", "select", "t", "transpose", "getattr", "to", "unbind", "type", "contiguous", "chunk", "view",
    "float", "squeeze",
}  # fmt: skip


# ---- paths ----


@dataclass(frozen=True)
class Scale:
    factor: Tensor  # [], [1, d_model], [row, 1] or [row, d_model]; frozen at its value in this forward pass


@dataclass(frozen=True)
class Center:
    """Subtraction of the mean over d_model."""


@dataclass(frozen=True)
class Path:
    """How the rows of a leaf enter a state: frozen steps, then the row of the state each one is added to."""

    steps: tuple[Scale | Center, ...] = ()
    rows: Tensor | None = None  # [leaf row] -> row of the state, -1: dropped; None: the same row

    def apply(self, x: Tensor, row: int | None = None) -> Tensor:
        """The steps applied to x [row, d_model], or to vectors x [..., d_model] that all belong to leaf row `row`."""
        for step in self.steps:
            if isinstance(step, Center):
                x = x - x.mean(-1, keepdim=True)
                continue
            factor = step.factor.to(x.device, x.dtype)
            if row is not None and factor.ndim == 2:
                factor = factor[row if factor.shape[0] > 1 else 0]
            x = x * factor
        return x

    def total(self, x: Tensor, n_rows: int) -> Tensor:
        """What a leaf of values x [leaf row, d_model] adds to each of the state's rows: [row, d_model]."""
        y = self.apply(x)
        if self.rows is None:
            return y if y.shape[0] == n_rows else y.repeat(n_rows // y.shape[0], 1)
        keep = self.rows >= 0
        return y.new_zeros(n_rows, y.shape[-1]).index_add_(0, self.rows[keep].to(y.device), y[keep])

    def factor(self, row: int) -> float | None:
        """The product of the steps that are one number for leaf row `row` (a routing weight, a multiplier), if any."""
        numbers = [
            float(s.factor if s.factor.ndim == 0 else s.factor[row, 0])
            for s in self.steps
            if isinstance(s, Scale) and (s.factor.ndim == 0 or (s.factor.shape[1] == 1 and s.factor.shape[0] > row))
        ]
        return math.prod(numbers) if numbers else None

    def described(self, row: int) -> list[str]:
        """The steps in words, as they are for leaf row `row`."""
        words = []
        for step in self.steps:
            if isinstance(step, Center):
                words.append("minus its mean")
            elif step.factor.ndim == 0 or step.factor.shape[1] == 1:
                f = step.factor if step.factor.ndim == 0 else step.factor[row if step.factor.shape[0] > 1 else 0, 0]
                words.append(f"times {float(f):.3g}")
            else:
                words.append("times a frozen factor per coordinate")
        return words

    def leaf_rows(self, row: int) -> list[int]:
        """The rows of the leaf that are added to this row of the state."""
        return [row] if self.rows is None else (self.rows == row).nonzero().reshape(-1).tolist()

    def per_query(self) -> tuple[Path, Tensor | None] | None:
        """The steps that are the same for all rows, and the product [row] of those that are one number per row.

        None if some step has a factor per row and coordinate, which commutes with nothing.
        """
        shared: list[Scale | Center] = []
        factor: Tensor | None = None
        for step in self.steps:
            if isinstance(step, Center) or step.factor.ndim == 0 or step.factor.shape[0] == 1:
                shared.append(step)
            elif step.factor.shape[1] == 1:
                factor = step.factor[:, 0] if factor is None else factor * step.factor[:, 0]
            else:
                return None
        return Path(tuple(shared)), factor

    def scaled(self, factor: Tensor | float, shape: tuple[int, ...]) -> Path:
        if not isinstance(factor, Tensor):
            return (
                self
                if factor == 1
                else replace(self, steps=(*self.steps, Scale(torch.tensor(float(factor), dtype=torch.float64))))
            )
        if factor.numel() == 1:
            factor = factor.reshape(())
        elif all(n == 1 for n in factor.shape[:-1]):
            factor = factor.reshape(1, -1)
        else:
            factor = factor.expand(*shape[:-1], factor.shape[-1]).reshape(-1, factor.shape[-1])
            if self.rows is not None:
                factor = factor[self.rows.clamp_min(0)]
        return replace(self, steps=(*self.steps, Scale(factor)))

    def centered(self) -> Path:
        return replace(self, steps=(*self.steps, Center()))

    def moved(self, mapping: Tensor) -> Path:
        """The same rows, each added where `mapping` [row] says."""
        rows = mapping if self.rows is None else torch.where(self.rows >= 0, mapping[self.rows.clamp_min(0)], -1)
        return replace(self, rows=rows)


@dataclass(frozen=True)
class Streams:
    """How the rows of a value of the residual stream are laid out: one per token and parallel stream."""

    n: int = 1
    shape: tuple[int, ...] = ()  # of the value: [1, pos, stream, d_model] or [stream, 1, pos, d_model]

    @classmethod
    def of(cls, shape: tuple[int, ...], n_tokens: int) -> Streams | None:
        """The layout of a value of this shape, or None if it is none of `n_tokens` tokens."""
        if len(shape) == 3 and shape[:2] == (1, n_tokens):
            return cls(1, shape)
        if len(shape) == 4 and shape[:2] == (1, n_tokens):
            return cls(shape[2], shape)
        if len(shape) == 4 and shape[1:3] == (1, n_tokens):
            return cls(shape[0], shape)
        return None

    @property
    def n_tokens(self) -> int:
        return self.shape[1] if self._token_first else self.shape[2]

    @property
    def _token_first(self) -> bool:
        return self.shape[0] == 1

    def rows(self, value: Tensor) -> Tensor:
        """One vector per token, its streams one after the other: [pos, stream * d_model]."""
        value = value.detach()
        if self.n > 1 and not self._token_first:
            value = value.permute(1, 2, 0, 3)
        return value.reshape(-1, self.n * self.shape[-1])

    def shaped(self, rows: Tensor) -> Tensor:
        """The inverse of `rows`; a value of one stream only is put into all of them."""
        if rows.shape[-1] != self.n * self.shape[-1]:
            rows = rows.repeat(1, self.n)
        if self.n == 1 or self._token_first:
            return rows.reshape(self.shape)
        return rows.reshape(self.n_tokens, self.n, -1).transpose(0, 1).reshape(self.shape)

    def token(self, row: Tensor) -> Tensor:
        """The token that each row belongs to."""
        return row // self.n if self._token_first else row % self.n_tokens

    def stream(self, row: Tensor) -> Tensor:
        """The stream that each row belongs to."""
        return row % self.n if self._token_first else row // self.n_tokens


@dataclass(frozen=True)
class Spread:
    """The paths of one leaf from or into several parallel streams, taken together: what `Path` is for one stream."""

    paths: tuple[Path, ...]
    leaf: Streams | None  # the leaf's layout; None: its rows are no tokens (one expert's)
    state: Streams

    @property
    def steps(self) -> tuple[Spread]:
        return (self,)

    @cached_property
    def rows(self) -> Tensor | None:
        """[leaf row] -> token; None: the same."""
        if self.leaf is not None:
            return None
        into = torch.stack([self._into(p) for p in self.paths]).amax(0)
        tokens = torch.where(into >= 0, self.state.token(into), -1)
        same = len(tokens) == self.state.n_tokens and bool((tokens == torch.arange(len(tokens)).to(tokens)).all())
        return None if same else tokens

    def apply(self, x: Tensor, row: int | None = None) -> Tensor:
        """x [leaf row, stream * d_model], or vectors [..., stream * d_model] of one leaf row, as they enter."""
        n_in = self.leaf.n if self.leaf else 1
        width = x.shape[-1] // n_in
        x = x.reshape(*x.shape[:-1], n_in, width)
        out = x.new_zeros(*x.shape[:-2], self.state.n, width)
        for path in self.paths:
            into = self._into(path).to(x.device)
            stream = torch.where(into >= 0, self.state.stream(into), -1)
            for s in range(n_in):
                leaf_rows = self._leaf_rows(s, len(into), x.device)
                if row is not None:
                    r = int(leaf_rows[row])
                    if stream[r] >= 0:
                        out[..., stream[r], :] += path.apply(x[..., s, :], r)
                    continue
                y = replace(path, steps=tuple(_of_rows(step, leaf_rows) for step in path.steps)).apply(x[:, s])
                to = stream[leaf_rows]
                keep = to >= 0
                out.index_put_((keep.nonzero()[:, 0], to[keep]), y[keep], accumulate=True)
        return out.flatten(-2)

    def total(self, x: Tensor, n_rows: int) -> Tensor:
        """What a leaf of values x adds to each of the state's tokens: [pos, stream * d_model]."""
        return Path(rows=self.rows).total(self.apply(x), n_rows)

    def leaf_rows(self, row: int) -> list[int]:
        return Path(rows=self.rows).leaf_rows(row)

    def factor(self, _row: int) -> None:
        return None

    def described(self, _row: int) -> list[str]:
        return [f"from {self.leaf.n if self.leaf else 1} into {self.state.n} parallel streams, by frozen weights"]

    def per_query(self) -> None:
        return None

    def _into(self, path: Path) -> Tensor:
        if path.rows is not None:
            return path.rows
        assert self.leaf is not None
        return torch.arange(self.leaf.n * self.leaf.n_tokens)

    def _leaf_rows(self, stream: int, n_rows: int, device: torch.device) -> Tensor:
        every = torch.arange(n_rows, device=device)
        if self.leaf is None or self.leaf.n == 1:
            return every
        mine = every[self.leaf.stream(every) == stream]
        return mine[self.leaf.token(mine).argsort()]


def _of_rows(step: Scale | Center, rows: Tensor) -> Scale | Center:
    """The step as it is for some of the leaf's rows."""
    if isinstance(step, Center) or step.factor.ndim == 0 or step.factor.shape[0] == 1:
        return step
    return Scale(step.factor[rows.to(step.factor.device)])


@dataclass(frozen=True)
class Term:
    leaf: Node
    path: Path = field(default_factory=Path)
    shape: tuple[int, ...] = ()  # of the leaf after broadcasting

    def with_path(self, path: Path) -> Term:
        return replace(self, path=path)

    def rows(self) -> Tensor:
        """The leaf's values as [leaf row, d_model]."""
        value = self.leaf.value.detach()
        return (value if tuple(value.shape) == self.shape else value.expand(self.shape)).reshape(-1, self.shape[-1])


def together(terms: list[Term], n_tokens: int, state: tuple[int, ...]) -> list[tuple[Node, Path | Spread, Tensor]]:
    """Each leaf with its way into a value of shape `state` and its rows; of parallel streams all ways as one."""
    into = Streams.of(state, n_tokens)
    if into is None or not (into.n > 1 or any(len(t.shape) == 4 for t in terms)):
        return [(t.leaf, t.path, t.rows()) for t in terms]
    by_leaf: dict[int, list[Term]] = {}
    for t in terms:
        by_leaf.setdefault(id(t.leaf), []).append(t)
    found: list[tuple[Node, Path | Spread, Tensor]] = []
    for ts in by_leaf.values():
        laid_out, paths = Streams.of(ts[0].shape, n_tokens), tuple(t.path for t in ts)
        rows = laid_out.rows(ts[0].leaf.value.expand(ts[0].shape)) if laid_out else ts[0].rows()
        unchanged = laid_out == into and len(ts) == 1 and not paths[0].steps and paths[0].rows is None
        found.append((ts[0].leaf, Path() if unchanged else Spread(paths, laid_out, into), rows))
    return found


# ---- linear maps ----


class LinearMap:
    """y = x W (+ b) as a function: Conv1D, LoRA, quantised, offloaded and sliced expert weights all look the same.

    Weights are read only when they are plain tensors of the layer's own; otherwise the module is called.
    """

    def __init__(
        self,
        *,
        module: Callable[[Tensor], Any] | None = None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        group: int = 0,
    ) -> None:
        self.module: Any = module
        self._weight, self._bias = weight, bias
        self.group = group  # > 0: one weight per this many rows ([expert, in, out])

    def weight(self, row: int = 0) -> Tensor | None:
        """[in, out], or None if there is no plain tensor to read."""
        if self._weight is not None:
            return self._weight[row // self.group] if self.group else self._weight
        w: Any = getattr(self.module, "weight", None)
        if not _is_plain(w) or w.device.type == "meta" or not w.is_floating_point() or w.element_size() < 2:
            return None
        if "forward" in vars(self.module):  # replaced (offloading, a user's patch): what it does is not in the weight
            return None
        if type(self.module).forward is nn.Linear.forward:
            return w.detach().t()
        return w.detach() if type(self.module).__name__ == "Conv1D" else None

    def bias(self, like: Tensor) -> Tensor | None:
        """[out], or None. `like` gives the dtype, device and width of an input."""
        if self.module is None:
            return self._bias
        if self.weight() is not None:
            b = getattr(self.module, "bias", None)
            return None if b is None else b.detach()
        return self._call(like.new_zeros(1, like.shape[-1]))[0]

    def __call__(self, x: Tensor, row: int = 0, outputs: slice | Tensor = slice(None)) -> Tensor:
        """x W without the bias, or some of its outputs: [n, in] -> [n, out]."""
        w = self.weight(row)
        if w is not None:
            w, wide = w[:, outputs], torch.promote_types(x.dtype, w.dtype)
            return x.to(w.device, wide) @ w.to(wide)
        y = self._call(torch.cat([x, x.new_zeros(1, x.shape[-1])]))
        return (y[:-1] - y[-1:])[:, outputs]

    def outputs(self, index: Tensor, like: Tensor, row: int = 0) -> Tensor:
        """What each input coordinate in `index` writes per unit: [len(index), out]."""
        w = self.weight(row)
        if w is not None:
            return w[index]
        unit = like.new_zeros(len(index), like.shape[-1])
        unit[torch.arange(len(index), device=unit.device), index] = 1
        return self(unit)

    def _call(self, x: Tensor) -> Tensor:
        # Half-precision inputs of a module that is not in half precision: it ran under autocast, and does again.
        own = {p.dtype for p in getattr(self.module, "parameters", tuple)() if p.is_floating_point()}
        autocast = x.dtype in (torch.bfloat16, torch.float16) and bool(own) and x.dtype not in own
        with torch.no_grad(), torch.autocast(x.device.type, dtype=x.dtype if autocast else None, enabled=autocast):
            return self.module(x[None])[0]


def linear_leaf(n: Node) -> tuple[LinearMap, Node] | None:
    """The linear map that made this node and the node it was applied to, or None."""
    if n.op == "call_linear":
        return LinearMap(module=n.module), n.args[0]
    if n.op == "linear":
        w, b = n.argument(1, "weight"), n.argument(2, "bias")
        x = n.argument(0, "input")
        if is_weight(w) and not _is_plain(w.value):
            return LinearMap(module=lambda x: functional.linear(x, w.value, _value(b))), x
        if is_weight(w):
            return LinearMap(weight=w.value.detach().t(), bias=_value(b)), x
    if n.op == "addmm" and len(n.args) == 3 and is_weight(n.args[2]) and _is_plain(n.args[2].value):
        return LinearMap(weight=n.args[2].value.detach(), bias=_value(n.args[0])), n.args[1]
    if (
        n.op in MATMUL
        and len(n.args) == 2
        and all(isinstance(x, Node) for x in n.args)
        and is_weight(n.args[1])
        and _is_plain(n.args[1].value)
        and not is_constant(n.args[0])
    ):
        w = n.args[1].value.detach()
        if w.ndim == 2:
            return LinearMap(weight=w), n.args[0]
        if w.ndim == 3 and len(n.args[0].shape) == 3:
            return LinearMap(weight=w, group=n.args[0].shape[1]), n.args[0]
    return None


def _is_plain(weight: Any) -> bool:
    """Not a tensor of some class of its own (quantised, sharded), whose numbers only its own calls understand."""
    return type(weight) in (nn.Parameter, Tensor)


def is_linear(n: Node) -> bool:
    return linear_leaf(n) is not None


def weight_label(n: Node, parameter_names: dict[int, str]) -> str:
    """The parameter a linear map read, with the indices it was sliced by: 'experts.down_proj[3]'."""
    w = n.argument(1, "weight") if n.op != "addmm" else n.args[2]
    index = ""
    while w.op != "param":
        if w.op in ("__getitem__", "select"):
            index = f"[{_index_label(w.args[-1])}]{index}"
        elif w.op == "unbind":
            index = f"[{w.item}]{index}"
        w = w.args[0]
    return parameter_names.get(id(w.value), "parameter") + index


def is_weight(n: Any) -> bool:
    """Made from a parameter only, by slicing, transposing or casting."""
    while isinstance(n, Node):
        if n.op == "param":
            return True
        if n.op not in _OF_WEIGHTS or not n.args:
            return False
        n = n.args[0]
    return False


def is_constant(n: Node) -> bool:
    """Does not depend on anything taped: parameters, buffers, and what was made from them alone."""
    seen: dict[int, Node] = {}
    stack = [n]
    while stack:
        m = stack.pop()
        if id(m) in seen:
            continue
        seen[id(m)] = m
        if m.op in ("param", "const") or is_weight(m):
            continue
        if m.op == "expand_as":
            stack.append(m.args[0])
        elif m.op in _OF_CONSTANTS:
            stack.extend(m.parents())
        else:
            return False
    return True


# ---- the walk ----

Rule = Callable[["Walk", Node], "list[Term] | None"]
_RULES: dict[str, Rule] = {}


def _rule(*ops: str) -> Callable[[Rule], Rule]:
    def register(f: Rule) -> Rule:
        _RULES.update(dict.fromkeys(ops, f))
        return f

    return register


class Walk:
    """Reads nodes of the residual width as sums; the nodes in `stops` are earlier states and are not looked behind."""

    def __init__(self, width: int, stops: list[Node] = ()) -> None:  # type: ignore[assignment]
        self.width = width
        self.stops = {id(n): n for n in stops}
        self.memo: dict[int, list[Term]] = {}

    def terms(self, node: Node) -> list[Term]:
        # Parents first, oldest first, without recursion: a mixture of 256 experts is a chain of 256 sums.
        for n in sorted(self._behind(node), key=lambda n: n.time):
            if id(n) not in self.memo:
                found = None if self.is_leaf(n) else _RULES[n.op](self, n) if n.op in _RULES else None
                self.memo[id(n)] = [Term(n, shape=n.shape)] if found is None else found
        return self.memo[id(node)]

    def is_leaf(self, n: Node) -> bool:
        return (
            id(n) in self.stops
            or not n.shape
            or n.shape[-1] != self.width
            or n.op == "embedding"
            or is_constant(n)
            or is_linear(n)
        )

    def carries(self, terms: list[Term]) -> bool:
        """Something of the stream is in it: a state, an embedding, or what a linear map wrote."""
        return any(
            id(t.leaf) in self.stops
            or (t.shape and t.shape[-1] == self.width and (t.leaf.op == "embedding" or is_linear(t.leaf)))
            for t in terms
        )

    def signal(self, n: Any) -> list[Term] | None:
        """The terms of an operand that carries something of the stream, else None."""
        if not isinstance(n, Node) or not n.shape or n.shape[-1] != self.width:
            return None
        terms = self.memo.get(id(n)) or self.terms(n)
        return terms if self.carries(terms) else None

    def broadcast(self, n: Node, shape: tuple[int, ...]) -> list[Term] | None:
        """The terms of a summand that is broadcast to `shape`, or None if they cannot be."""
        terms = self.memo.get(id(n)) or self.terms(n)
        if n.shape == shape:
            return terms
        if not self.carries(terms):
            return [Term(n, shape=shape)]
        return terms if n.value.numel() == _numel(shape) else _copied(terms, n.shape, shape)

    def _behind(self, node: Node) -> list[Node]:
        seen: dict[int, Node] = {}
        stack = [node]
        while stack:
            n = stack.pop()
            if id(n) in seen or id(n) in self.memo:
                continue
            seen[id(n)] = n
            if not self.is_leaf(n):
                stack.extend(p for p in n.parents() if p.shape and p.shape[-1] == self.width)
        return list(seen.values())


@_rule(*IDENTITY)
def _identity(walk: Walk, n: Node) -> list[Term] | None:
    x = _first(n)
    return walk.terms(x) if x is not None and x.shape == n.shape else None


@_rule(*VIEW)
def _view(walk: Walk, n: Node) -> list[Term] | None:
    x = _first(n)
    return walk.terms(x) if x is not None and x.shape and x.shape[-1] == walk.width else None


@_rule(*ADD, *SUB, *RSUB)
def _sum(walk: Walk, n: Node) -> list[Term] | None:
    if len(n.args) < 2:
        return None
    x, y = (n.args[1], n.args[0]) if n.op in RSUB else (n.args[0], n.args[1])
    minus = n.op in SUB | RSUB
    if minus and isinstance(y, Node) and y.op == "mean" and y.args and y.args[0] is x and _over_last_axis(y):
        terms = walk.signal(x)
        if terms is not None:
            return [t.with_path(t.path.centered()) for t in terms]
    alpha = n.kwargs.get("alpha", 1)
    out: list[Term] = []
    for z, sign in ((x, 1), (y, -alpha if minus else alpha)):
        if not isinstance(z, Node):
            if z != 0:
                return None
            continue
        terms = walk.broadcast(z, n.shape)
        if terms is None:
            return None
        out += [t.with_path(t.path.scaled(sign, n.shape)) for t in terms]
    return [t for t in out if not is_fresh(t.leaf)]


@_rule(*MUL, *DIV)
def _product(walk: Walk, n: Node) -> list[Term] | None:
    if len(n.args) < 2:
        return None
    x, y = n.args[0], n.args[1]
    pairs = [(x, y), (y, x)] if n.op in MUL else [(x, y)]
    found = []
    for u, factor in pairs:
        terms = walk.signal(u)
        if terms is not None:
            found.append((terms if u.value.numel() == n.value.numel() else _copied(terms, u.shape, n.shape), factor))
    if len(found) == 2:  # both factors come from the stream: the gate is the one that is a number per token
        found = [(ts, f) for ts, f in found if isinstance(f, Node) and f.shape and f.shape[-1] == 1]
    if len(found) != 1:
        return None
    terms, factor = found[0]
    value = factor.value.detach() if isinstance(factor, Node) else factor
    return [t.with_path(t.path.scaled(value if n.op in MUL else 1 / value, n.shape)) for t in terms]


@_rule(*NEG)
def _negative(walk: Walk, n: Node) -> list[Term] | None:
    terms = walk.signal(_first(n))
    return None if terms is None else [t.with_path(t.path.scaled(-1, n.shape)) for t in terms]


@_rule(*NORM)
def _norm(walk: Walk, n: Node) -> list[Term] | None:
    x = _first(n)
    terms = walk.signal(x)
    if x is None or terms is None:
        return None
    paths = [t.path.centered() if n.op == "layer_norm" else t.path for t in terms]
    paths = [p.scaled(norm_factor(n), n.shape) for p in paths]
    weight, bias = n.argument(2, "weight"), n.argument(3, "bias") if n.op == "layer_norm" else None
    if isinstance(weight, Node):
        paths = [p.scaled(weight.value.detach(), n.shape) for p in paths]
    out = [t.with_path(p) for t, p in zip(terms, paths, strict=True)]
    return out + ([Term(bias, shape=n.shape)] if isinstance(bias, Node) else [])


def norm_factor(n: Node) -> Tensor:
    """1 / sigma of a layer_norm or rms_norm call, frozen: [..., 1], in float32 or better."""
    x = n.argument(0, "input").value.detach()
    x = x if x.dtype == torch.float64 else x.float()
    if n.op == "layer_norm":
        return torch.rsqrt(x.var(-1, unbiased=False, keepdim=True) + n.argument(4, "eps", 1e-5))
    eps = n.argument(3, "eps")
    return torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + (torch.finfo(x.dtype).eps if eps is None else eps))


@_rule("masked_fill", "masked_fill_")
def _masked(walk: Walk, n: Node) -> list[Term] | None:
    if len(n.args) < 3 or isinstance(n.args[2], Node) or n.args[2] != 0:
        return None
    terms = walk.signal(_first(n))
    keep = (~n.args[1].value).to(n.value.dtype)
    return None if terms is None else [t.with_path(t.path.scaled(keep, n.shape)) for t in terms]


@_rule("index_add_", "index_add")
def _index_add(walk: Walk, n: Node) -> list[Term] | None:
    if len(n.args) < 4 or n.args[1] != 0 or len(n.shape) != 2 or n.kwargs.get("alpha", 1) != 1:
        return None
    old, index, source = n.args[0], n.args[2].value.reshape(-1), n.args[3]
    earlier = [] if is_fresh(old) else walk.terms(old)
    return earlier + [t.with_path(t.path.moved(index)) for t in walk.terms(source)]


@_rule("sum", "mean")
def _reduced(walk: Walk, n: Node) -> list[Term] | None:
    x, dim = _first(n), n.argument(1, "dim")
    if isinstance(dim, (tuple, list)) and len(dim) == 1:
        dim = dim[0]
    if x is None or not isinstance(dim, int) or dim % len(x.shape) == len(x.shape) - 1:
        return None
    terms = walk.signal(x)
    if terms is None:
        return None
    lead, dim = list(x.shape[:-1]), dim % len(x.shape)
    rest = lead[:dim] + lead[dim + 1 :]
    to = torch.arange(_numel(rest), device=n.value.device).reshape(rest or [1]).unsqueeze(dim).expand(lead).reshape(-1)
    paths = [t.path.moved(to) for t in terms]
    if n.op == "mean":
        paths = [p.scaled(1 / lead[dim], n.shape) for p in paths]
    return [t.with_path(p) for t, p in zip(terms, paths, strict=True)]


@_rule("matmul", "__matmul__", "bmm")
def _mixed(walk: Walk, n: Node) -> list[Term] | None:
    """Parallel streams mixed by frozen weights: [.., out stream, in stream] @ [.., in stream, d_model]."""
    if len(n.args) != 2 or not all(isinstance(x, Node) and len(x.shape) > 2 for x in n.args):
        return None
    weights, x = n.args
    terms = walk.signal(x)
    if terms is None or walk.signal(weights) is not None or weights.shape[:-2] != x.shape[:-2]:
        return None
    factor = weights.value.detach()
    numbers = torch.arange(_numel(n.shape[:-1]), device=factor.device).reshape(n.shape[:-1])
    out = []
    for k in range(n.shape[-2]):
        to = numbers[..., k : k + 1].expand(x.shape[:-1]).reshape(-1)
        out += [t.with_path(t.path.scaled(factor[..., k, :, None], x.shape).moved(to)) for t in terms]
    return out


@_rule("expand", "expand_as", "repeat", "repeat_interleave")
def _repeated(walk: Walk, n: Node) -> list[Term] | None:
    """One stream copied into several."""
    x = _first(n)
    terms = walk.signal(x)
    if x is None or terms is None:
        return None
    try:
        got = getattr(_row_numbers(x), n.op)(*[plain(a) for a in n.args[1:]], **plain(n.kwargs))
    except (RuntimeError, IndexError, TypeError):
        return None
    if tuple(got.shape) != n.shape or not bool((got == got[..., :1]).all()):
        return None
    return _moved_to(terms, got[..., 0].reshape(-1), _numel(x.shape[:-1]))


@_rule("stack")
def _stacked(walk: Walk, n: Node) -> list[Term] | None:
    pieces, dim = n.args[0], n.argument(1, "dim", 0) % len(n.shape)
    if dim == len(n.shape) - 1:
        return None
    numbers = torch.arange(_numel(n.shape[:-1]), device=n.value.device).reshape(n.shape[:-1])
    rows = [numbers.select(dim, k).reshape(-1) for k in range(len(pieces))]
    return [t.with_path(t.path.moved(to)) for piece, to in zip(pieces, rows, strict=True) for t in walk.terms(piece)]


@_rule(
    "transpose", "permute", "swapaxes", "__getitem__", "select", "index_select", "narrow", "unbind", "chunk", "split"
)
def _selected(walk: Walk, n: Node) -> list[Term] | None:
    """Rows taken or moved: replayed on row numbers, which must come out once each and whole."""
    x = _first(n)
    terms = walk.signal(x)
    if x is None or terms is None:
        return None if x is None or n.op != "permute" else _mixed_beside(walk, n, x)
    numbers = _row_numbers(x)
    try:
        rest = [plain(a) for a in n.args[1:]]
        got = getattr(numbers, n.op)(*rest, **{k: plain(v) for k, v in n.kwargs.items() if k != "input"})
        got = got if n.item is None else got[n.item]
    except (RuntimeError, IndexError, TypeError):
        return None
    source = _whole_rows(got, n.shape)
    if source is None:
        return None
    total = _numel(x.shape[:-1])
    to = torch.full((total,), -1, dtype=torch.long, device=source.device)
    to[source] = torch.arange(source.numel(), device=source.device)
    if source.numel() == total and bool((to == torch.arange(total, device=to.device)).all()):
        return terms
    return [t.with_path(t.path.moved(to)) for t in terms]


def _mixed_beside(walk: Walk, n: Node, product: Node) -> list[Term] | None:
    """Streams mixed along the last axis, beside d_model: permute([.., d_model, in] @ weights [.., in, out])."""
    if product.op not in MATMUL or not all(isinstance(a, Node) for a in product.args):
        return None
    left, weights = product.args
    x = _first(left) if left.op == "permute" else None
    terms = walk.signal(x)
    if x is None or terms is None or walk.signal(weights) is not None:
        return None
    axes, back = _axes(left), _axes(n)
    if axes[-2] != len(x.shape) - 1 or back[-1] != len(n.shape) - 2 or left.shape[:-2] != weights.shape[:-2]:
        return None
    source = _row_numbers(x).permute(axes)[..., 0, :]  # [.., in]
    target = _row_numbers(n).permute(torch.tensor(back).argsort().tolist())[..., 0, :]  # [.., out]
    factor = weights.value.detach()
    out = []
    for k in range(target.shape[-1]):
        to = torch.empty(source.numel(), dtype=torch.long, device=source.device)
        by = factor.new_empty(source.numel())
        to[source.reshape(-1)] = target[..., k : k + 1].expand(source.shape).reshape(-1)
        by[source.reshape(-1)] = factor[..., k].expand(source.shape).reshape(-1)
        out += [t.with_path(t.path.scaled(by.reshape(*x.shape[:-1], 1), x.shape).moved(to)) for t in terms]
    return out


def _axes(n: Node) -> list[int]:
    """The axes of a permute call."""
    axes = n.args[1] if len(n.args) == 2 and isinstance(n.args[1], (tuple, list)) else n.args[1:]
    return [a % len(n.shape) for a in axes]


@_rule("__setitem__")
def _assigned(walk: Walk, n: Node) -> list[Term] | None:
    """out[index] = rows (experts putting their tokens back in order)."""
    if len(n.args) != 3:
        return None
    old, key, source = n.args
    terms = walk.signal(source)
    if terms is None:
        return None
    try:
        got = _row_numbers(n)[plain(key)]
    except (RuntimeError, IndexError, TypeError):
        return None
    target = _whole_rows(got, source.shape)
    if target is None:
        return None
    out = [t.with_path(t.path.moved(target)) for t in terms]
    hit = torch.zeros(_numel(n.shape[:-1]), dtype=torch.bool, device=target.device)
    hit[target] = True
    if not is_fresh(old) and not bool(hit.all()):
        keep = torch.arange(hit.numel(), device=hit.device).masked_fill(hit, -1)
        out += [t.with_path(t.path.moved(keep)) for t in walk.terms(old)]
    return out


@_rule("cat")
def _concatenated(walk: Walk, n: Node) -> list[Term] | None:
    pieces, dim = n.args[0], n.argument(1, "dim", 0)
    if not isinstance(pieces, (tuple, list)) or dim % len(n.shape) == len(n.shape) - 1:
        return None
    numbers, start, out = torch.arange(_numel(n.shape[:-1]), device=n.value.device).reshape(n.shape[:-1]), 0, []
    for piece in pieces:
        to = numbers.narrow(dim, start, piece.shape[dim]).reshape(-1)
        out += [t.with_path(t.path.moved(to)) for t in walk.terms(piece)]
        start += piece.shape[dim]
    return out


def _first(n: Node) -> Node | None:
    x = n.argument(0, "input")
    return x if isinstance(x, Node) else None


def _value(n: Any) -> Tensor | None:
    return n.value.detach() if isinstance(n, Node) else None


def _numel(shape: Any) -> int:
    product = 1
    for n in shape:
        product *= n
    return product


def _row_numbers(n: Node) -> Tensor:
    rows = torch.arange(_numel(n.shape[:-1]), device=n.value.device)
    return rows.reshape(*n.shape[:-1], 1).expand(n.shape)


def _whole_rows(numbers: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """The row each row of `numbers` came from, or None unless rows stayed whole and each came at most once."""
    if tuple(numbers.shape) != shape or not bool((numbers == numbers[..., :1]).all()):
        return None
    rows = numbers[..., 0].reshape(-1)
    return rows if rows.numel() == rows.unique().numel() else None


def _copied(terms: list[Term], shape: tuple[int, ...], to: tuple[int, ...]) -> list[Term]:
    """The terms of a value of this shape when it is broadcast."""
    numbers = torch.arange(_numel(shape[:-1])).reshape(shape[:-1]).broadcast_to(to[:-1]).reshape(-1)
    return _moved_to(terms, numbers, _numel(shape[:-1]))


def _moved_to(terms: list[Term], source: Tensor, n_rows: int) -> list[Term]:
    """The terms when each new row is a copy of row `source` [new row]: as many of each as there are copies."""
    order = source.argsort(stable=True)
    first = torch.searchsorted(source[order], source[order])  # where the copies of the same row begin
    copy = torch.arange(len(source), device=source.device) - first
    out = []
    for k in range(int(copy.max()) + 1 if len(copy) else 0):
        to = torch.full((n_rows,), -1, dtype=torch.long, device=source.device)
        to[source[order[copy == k]]] = order[copy == k]
        out += [t.with_path(t.path.moved(to)) for t in terms]
    return out


def _over_last_axis(n: Node) -> bool:
    dim, keep = n.argument(1, "dim"), n.argument(2, "keepdim", False)
    if isinstance(dim, (tuple, list)):
        dim = dim[0] if len(dim) == 1 else None
    return bool(dim is not None and keep and dim % len(n.args[0].shape) == len(n.args[0].shape) - 1)


def _index_label(x: Any) -> str:
    if isinstance(x, Node):
        return str(int(x.value)) if x.value.numel() == 1 else "?"
    return ",".join(map(_index_label, x)) if isinstance(x, tuple) else str(x)
