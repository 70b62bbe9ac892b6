"""Of which token each coordinate of a value was made, followed call by call.

What `mixing` has no rule for (a slice on the axis of heads, pairs of coordinates turned) is done again with the numbers
of tokens in place of values: whatever moves, picks or copies coordinates does the same to these, and what is made of
two tokens has none. Only calls that are known take part.

Experts take the rows of the tokens that chose them, and add what they made of these where they were:

    hit = (mask.sum((1, 2)) > 0).nonzero()       mask [expert, nth choice, token]
    for e in hit:  at = where(mask[e])[1];  out.index_add_(0, at, f(h[at], W[e]))

Where a row of h[at] stands, and whether there is an e at all, is decided by all tokens. So such rows are *loose*: of
their token, but decided by the places in `mask[e]` and by `e`, until they are put back at these very places. A token
that did not choose e gets nothing, as it would were e asked; and every e that was found must be put back.
Knows nothing of heads, layers or models.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

import torch
from torch import Tensor

from .linear import is_linear, linear_leaf
from .mixing import ELEMENTWISE
from .nodes import FRESH, Node, behind, called, plain
from .ops import MATMUL, NORM, PICK, VIEW
from .products import is_attention_product
from .streams import Streams

_ALIKE = (ELEMENTWISE - {"getattr"}) | {
    "where", "masked_fill", "masked_fill_", "clamp_", "clip", "addcmul", "lerp", "tril", "triu", "cos", "sin", "floor",
    "round", "sign", "nan_to_num", "eq", "ne", "lt", "le", "gt", "ge", "__eq__", "__ne__", "__lt__", "__le__", "__gt__",
    "__ge__", "greater", "less", "logical_and", "logical_or", "logical_not", "__and__", "__or__", "__invert__", "sgn",
    "log1p", "expm1", "logsigmoid", "softsign", "polar", "complex", "sqrt_", "exp_", "tanh_", "sigmoid_", "conj",
}  # fmt: skip
_MOVES = VIEW | PICK | {
    "transpose", "permute", "swapaxes", "movedim", "getattr", "t", "expand", "expand_as", "broadcast_to", "repeat",
    "repeat_interleave", "tile", "flip", "roll", "__getitem__", "select", "narrow", "slice", "unbind", "chunk", "split",
    "split_with_sizes", "tensor_split", "pad", "diagonal",
}  # fmt: skip
_JOINS = {"stack", "cat", "concat", "concatenate", "hstack", "vstack"}
_ONLY_SHAPE = {"expand_as", "view_as", "reshape_as"}  # of their second argument
_ALONG = {
    "softmax",
    "log_softmax",
    "mean",
    "sum",
    "var",
    "std",
    "logsumexp",
    "amax",
    "amin",
    "cumsum",
    "normalize",
    "norm",
}
_CHOICES = {"topk", "sort", "argmax", "argmin", "max", "min"}  # along one axis
_IS_ABOVE = {"greater", "gt", "__gt__", "ne", "__ne__", "not_equal"}
_NEW = (FRESH - {"empty", "empty_like", "new_empty"}) | {"ones", "ones_like", "full", "full_like", "arange"}

MOST = 64  # tokens of a prompt for which this is worth its time


def stays_with_its_token(
    node: Node,
    n_tokens: int,
    stops: Container[Node],
    known: Callable[[Node], bool],
    *,
    axis: int | None,
    tables: bool,
    here: Callable[[Node], Tensor] = lambda n: n.value,
) -> bool:
    """Was every coordinate of this value made of its own token, as far as the stops and attention's products?

    known: of numbers that were there before, whether a row for each token is that of the token. axis: along which the
    tokens stand; None: as in a value of the stream. tables: what was there before may also be of no token. here: the
    whole numbers of a node on the CPU, where all of this is done.
    """
    own = _along(node.shape, n_tokens, axis)
    if own is None:
        return False
    followed = _Followed(n_tokens, stops, known, tables, here)
    found = followed.tokens(node)
    return found is not None and not bool(((found != own) & (found != 0)).any()) and followed.is_put_back(node)


def _along(shape: tuple[int, ...], n_tokens: int, axis: int | None) -> Tensor | None:
    """The number of the token that each coordinate belongs to, from 1 on."""
    if axis is None:
        streams = Streams.of(shape, n_tokens)
        if streams is None:
            return None
        axis = 2 if not streams.token_first else int(shape[0] == 1)
    if len(shape) < -axis or shape[axis] != n_tokens:
        return None
    numbers = torch.arange(1, n_tokens + 1, dtype=torch.int16)
    return numbers.reshape([-1 if k == axis % len(shape) else 1 for k in range(len(shape))]).expand(shape)


class _Followed:
    """The numbers of tokens of every value on the way, from 1 on; 0: of none. None: not known, or of several."""

    def __init__(
        self,
        n_tokens: int,
        stops: Container[Node],
        known: Callable[[Node], bool],
        tables: bool,
        here: Callable[[Node], Tensor],
    ) -> None:
        self.n_tokens, self.stops, self.trusted, self.tables, self.here = n_tokens, stops, known, tables, here
        self.known: dict[Node, Tensor | None] = {}
        self.loose: dict[Node, frozenset[Node]] = {}  # what decides which rows these are
        self.found: dict[Node, tuple[Node, Node]] = {}  # numbers of experts that somebody chose: found by, and in, what
        self.put_back: set[Node] = set()  # of what is loose

    def tokens(self, node: Node) -> Tensor | None:
        for n in sorted(behind([node], self._ends), key=lambda n: n.time):  # parents before children
            if n not in self.known:
                parents = () if self._ends(n) else n.parents()
                self.loose[n] = frozenset[Node]().union(*(self.loose[p] for p in parents))
                self.known[n] = self._tokens(n)
        return self.known[node]

    def is_put_back(self, node: Node) -> bool:
        """Is nothing loose any more, and was every expert asked that was found?"""
        asked = [self.found[n][0] for n in self.put_back if n in self.found]
        return not self.loose[node] and all(asked.count(by) == len(by.value) for by, _ in self.found.values())

    def _ends(self, n: Node) -> bool:
        return n in self.stops or is_attention_product(n)

    def _tokens(self, n: Node) -> Tensor | None:
        if n in self.stops:
            return _along(n.shape, self.n_tokens, None)
        if is_attention_product(n):
            return _along(n.shape, self.n_tokens, -2) if n.op != "einsum" else None
        if n.op == "param" or 0 in n.shape:
            return _of_none(n.shape)
        if n.op == "const":
            return self._there_before(n)
        if n.op == "embedding":
            return _along(n.shape, self.n_tokens, None) if not n.args or n.args[0].op == "const" else None
        if is_linear(n):
            return self._mapped(n)
        try:
            found = self._made(n)
        except (RuntimeError, IndexError, TypeError, ValueError, AttributeError):  # not of whole numbers
            return None
        fits = found is not None and tuple(found.shape) == n.shape and found.dtype == torch.int16
        return found if fits else None

    def _there_before(self, n: Node) -> Tensor | None:
        """Positions, ids, tables: a row for each token is that of the token."""
        if not self.trusted(n):
            return None
        if n.value.is_floating_point() and n.shape[-2:-1] == (self.n_tokens,):
            return _along(n.shape, self.n_tokens, -2)
        if n.shape.count(self.n_tokens) == 1:
            return _along(n.shape, self.n_tokens, n.shape.index(self.n_tokens))
        return _of_none(n.shape) if self.tables and self.n_tokens not in n.shape else None

    def _mapped(self, n: Node) -> Tensor | None:
        leaf = linear_leaf(n)
        x = None if leaf is None else leaf[1]
        if x is None or x.shape[:-1] != n.shape[:-1] or not all(p is x or self._is_fixed(p) for p in n.parents()):
            return None
        each = _together(self.known[x] if x in self.known else self._tokens(x), (-1,))
        return None if each is None else each.expand(n.shape)

    def _made(self, n: Node) -> Tensor | None:
        x, parents = n.first(), n.parents()
        mine = None if x is None else self.known[x]
        if n.op in _NEW:
            return _of_none(n.shape) if all(p is x or self._is_of_none(p) for p in parents) else None
        if n.op in _ALIKE:
            if n.op == "where" and len(n.args) != 3:
                return self._places(n, x, mine) if x is not None and mine is not None else None
            return self._alike(parents if n.op != "type_as" else n.args[:1], n)
        if n.op == "copy_":
            return self._alike(n.args[1:2], n)
        if n.op in _JOINS:
            pieces = {p: t for p in parents if (t := self.known[p]) is not None}
            return called(n, pieces) if len(pieces) == len({*parents}) else None
        if n.op == "__setitem__":
            return self._assigned(n)
        if n.op in ("index_add", "index_add_"):
            return self._added(n)
        if n.op == "nonzero" and (by := self._chosen_by(n)) is not None:
            self.found[n] = n, by
            return _of_none(n.shape)
        if x in self.found:
            return self._one_found(n, x)
        if x is None or mine is None:
            return None
        if n.op == "nonzero":
            return self._places(n, x, mine)
        if n.op == "one_hot":
            return mine.unsqueeze(-1).expand(n.shape)
        if n.op in ("scatter", "scatter_") or (n.op == "gather" and not self._is_of_none(x)):
            return self._along_the_last(n)
        if n.op == "__getitem__" and len(parents) > 1 and not self._is_of_none(x):
            return self._taken(n, x, mine)
        if n.op in MATMUL:
            return self._product(n)
        if n.op not in _ONLY_SHAPE and not all(p is x or self._is_of_none(p) for p in parents):
            return self._looked_up(n) if n.op in PICK | {"__getitem__"} and self._is_of_none(x) else None
        if n.op in _MOVES:
            return None if n.op == "pad" and n.argument(3, "value") else self._again(n, x, mine)
        if n.op in NORM:
            each = _together(mine, (-1,)) if n.op == "rms_norm" or len(n.argument(1, "normalized_shape")) == 1 else None
            return None if each is None else each.expand(n.shape)
        if n.op == "view_as_real":
            return mine.unsqueeze(-1).expand(n.shape)
        if n.op == "view_as_complex":
            return _together(mine, (-1,), keep=False)
        return self._reduced(n, mine) if n.op in _ALONG | _CHOICES else None

    def _again(self, n: Node, x: Node, mine: Tensor) -> Tensor:
        """What the call gives of the numbers of tokens."""
        return called(n, {**{p: self.here(p) for p in n.parents() if p is not x}, x: mine})

    def _is_fixed(self, n: Node) -> bool:
        """Is it of no token: a weight, be it one of several by a number of none?"""
        if self.known[n] is not None:
            return self._is_of_none(n)
        return not any(self._ends(m) for m in behind([n], self._ends))

    # ---- rows that are taken by an index and put back ----

    def _chosen_by(self, n: Node) -> Node | None:
        """Of the numbers of experts that somebody chose: who chose which, [expert, ...]."""
        above = n.first()
        total = above.first() if above is not None and above.op in _IS_ABOVE and above.args[1:] == (0,) else None
        mask = total.first() if total is not None and total.op == "sum" else None
        if mask is None or self.known[mask] is None or n.argument(1, "as_tuple", False):
            return None
        dims = total.argument(1, "dim")  # type: ignore[union-attr]
        rest = {d % len(mask.shape) for d in (dims if isinstance(dims, (tuple, list)) else (dims,))}
        whole = rest == {*range(1, len(mask.shape))} and not mask.value.is_floating_point()
        return mask if whole and bool((self.here(mask) >= 0).all()) else None

    def _one_found(self, n: Node, x: Node) -> Tensor | None:
        """One of the experts that were found, or all."""
        key = n.args[1] if n.op == "__getitem__" else None
        if n.op == "unbind" and x.op != "unbind" and n.argument(1, "dim", 0) == 0:
            self.loose[n] |= {n}
        elif not (key == slice(None) or (x.op == "unbind" and key == 0)):
            return None
        self.found[n] = self.found[x]
        return _of_none(n.shape)

    def _places(self, n: Node, x: Node, mine: Tensor) -> Tensor | None:
        """Where a mask is not 0: of the token that it is of there; which place that is, is decided by all."""
        if len(n.parents()) != 1:
            return None
        self.loose[n] |= {x}
        return _on(mine.expand(x.shape)[self.here(x) != 0], n.shape)

    def _taken(self, n: Node, x: Node, mine: Tensor) -> Tensor | None:
        """Rows of x by an index of tokens' own; of a mask those of an expert that somebody chose."""
        made = self._again(n, x, mine)
        for p in (p for p in n.parents() if p is not x):
            if p in self.found:
                if self.found[p][1] is not x or n.args[1] is not p:
                    return None
                continue
            by = self.known[p]
            by = None if by is None or p.shape != n.shape[:1] else _on(by, n.shape)
            if by is None or bool(((made != by) & (made != 0) & (by != 0)).any()):
                return None
            made = torch.maximum(made, by)
        return made

    def _added(self, n: Node) -> Tensor | None:
        """Rows added where an index says, which are then in their places again."""
        old, dim, index = (n.argument(k, name) for k, name in enumerate(("input", "dim", "index")))
        source = n.argument(3, "source")
        if not all(isinstance(p, Node) for p in (old, index, source)) or dim != 0 or len(index.shape) != 1:
            return None
        before, added, by = (self.known[p] for p in (old, source, index))
        if before is None or added is None or by is None:
            return None
        rows = torch.maximum(added, by := _on(by, source.shape))
        made = torch.zeros(n.shape, dtype=torch.int16)
        made[at := self.here(index)] = rows
        old_rows = before.expand(n.shape)
        if bool((rows != made[at]).any() | ((added != by) & (added != 0) & (by != 0)).any()):
            return None
        if bool(((old_rows != made) & (old_rows != 0) & (made != 0)).any()):
            return None
        self.put_back |= self.loose[index]
        self.loose[n] = self.loose[old] | (self.loose[source] - self.loose[index])
        return torch.maximum(old_rows, made)

    def _along_the_last(self, n: Node) -> Tensor | None:
        """Numbers taken or put by an index along the last axis: each row of its own."""
        if n.argument(1, "dim") not in (-1, len(n.shape) - 1):
            return None
        made = _of_none((*n.shape[:-1], 1))
        for p in n.parents():
            each = _together(self.known[p], (-1,))
            if each is None or each.shape != made.shape or bool(((made != each) & (made != 0) & (each != 0)).any()):
                return None
            made = torch.maximum(made, each)
        return made.expand(n.shape)

    def _looked_up(self, n: Node) -> Tensor | None:
        """Rows of a table of no token: those of whom they are looked up for."""
        index = n.args[-1]
        mine = self.known[index] if isinstance(index, Node) else None
        if mine is None or n.op in ("masked_select", "take", "index") or (n.op == "index_select" and n.args[1] != 0):
            return None
        whole = n.shape == index.shape
        return mine if whole else mine.reshape(*index.shape, *[1] * (len(n.shape) - len(index.shape))).expand(n.shape)

    def _alike(self, parts: Sequence[Node], n: Node) -> Tensor | None:
        """What each coordinate is made of where it stands."""
        made = _of_none(n.shape)
        for p in parts:
            mine = self.known[p]
            if mine is None:
                return None
            mine = mine.broadcast_to(n.shape)
            if bool(((made != mine) & (made != 0) & (mine != 0)).any()):
                return None
            made = torch.maximum(made, mine)
        return made

    def _is_of_none(self, n: Node) -> bool:
        mine = self.known[n]
        return mine is not None and not bool(mine.any())

    def _assigned(self, n: Node) -> Tensor | None:
        old, key, source = n.args
        if not isinstance(source, Node) or any(p not in (old, source) and not self._is_of_none(p) for p in n.parents()):
            return None
        before, mine = self.known[old], self.known[source]
        if before is None or mine is None:
            return None
        made = torch.empty(n.shape, dtype=torch.int16).copy_(before)
        made[plain(key, {p: self.here(p) for p in n.parents()})] = mine
        return made

    def _reduced(self, n: Node, mine: Tensor) -> Tensor | None:
        second = 2 if n.op in ("normalize", "topk", "norm") else 1
        dim = n.argument(second, "dim", -1 if n.op in ("topk", "sort") else None)
        dims = (dim,) if isinstance(dim, int) else tuple(dim) if isinstance(dim, (tuple, list)) else ()
        each = _together(mine, dims) if dims and all(isinstance(d, int) for d in dims) else None
        if each is None:
            return None
        whole = each.expand(n.shape if n.op == "topk" else mine.shape)
        return whole if tuple(whole.shape) == n.shape else each.reshape(n.shape)

    def _product(self, n: Node) -> Tensor | None:
        """x @ y: what a row of x and a column of y are made of."""
        if len(n.args) != 2 or any(len(p.shape) < 2 for p in n.args):
            return None
        rows, columns = _together(self.known[n.args[0]], (-1,)), _together(self.known[n.args[1]], (-2,))
        if rows is None or columns is None:
            return None
        rows, columns = rows.broadcast_to(n.shape), columns.broadcast_to(n.shape)
        if bool(((rows != columns) & (rows != 0) & (columns != 0)).any()):
            return None
        return torch.maximum(rows, columns)


def _on(rows: Tensor, shape: tuple[int, ...]) -> Tensor:
    """One number for each row of a value of this shape."""
    return rows.reshape(-1, *[1] * (len(shape) - 1)).expand(shape)


def _of_none(shape: tuple[int, ...]) -> Tensor:
    return torch.zeros((), dtype=torch.int16).expand(shape)


def _together(mine: Tensor | None, dims: tuple[int, ...], *, keep: bool = True) -> Tensor | None:
    """The token that everything along some axes is made of; None where it is several."""
    if mine is None or 0 in mine.shape:
        return mine
    most = mine.amax(dims, keepdim=True)
    if bool(((mine != most) & (mine != 0)).any()):
        return None
    return most if keep else most.squeeze(dims)
