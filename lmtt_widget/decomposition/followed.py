"""Of which token each coordinate of a value was made, followed call by call.

What `mixing` has no rule for (a slice on the axis of heads, pairs of coordinates turned) is done again with the numbers
of tokens in place of values: whatever moves, picks or copies coordinates does the same to these, and what is made of
two tokens has none. Only calls that are known take part, and no index that depends on the stream.
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
_ALONG = {"softmax", "log_softmax", "mean", "sum", "var", "std", "logsumexp", "amax", "amin", "cumsum", "normalize"}
_NEW = (FRESH - {"empty", "empty_like", "new_empty"}) | {"ones", "ones_like", "full", "full_like", "arange"}

MOST = 64  # tokens of a prompt for which this is worth its time


def stays_with_its_token(
    node: Node, n_tokens: int, stops: Container[Node], known: Callable[[Node], bool], *, axis: int | None, tables: bool
) -> bool:
    """Was every coordinate of this value made of its own token, as far as the stops and attention's products?

    known: of numbers that were there before, whether a row for each token is that of the token. axis: along which the
    tokens stand; None: as in a value of the stream. tables: what was there before may also be of no token.
    """
    own = _along(node.shape, n_tokens, axis)
    if own is None:
        return False
    found = _Followed(n_tokens, stops, known, tables).tokens(node)
    return found is not None and not bool(((found != own) & (found != 0)).any())


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

    def __init__(self, n_tokens: int, stops: Container[Node], known: Callable[[Node], bool], tables: bool) -> None:
        self.n_tokens, self.stops, self.trusted, self.tables = n_tokens, stops, known, tables
        self.known: dict[Node, Tensor | None] = {}

    def tokens(self, node: Node) -> Tensor | None:
        for n in sorted(behind([node], self._ends), key=lambda n: n.time):  # parents before children
            if n not in self.known:
                self.known[n] = self._tokens(n)
        return self.known[node]

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
        if x is None or x.shape[:-1] != n.shape[:-1]:
            return None
        each = _together(self.known[x] if x in self.known else self._tokens(x), (-1,))
        return None if each is None else each.expand(n.shape)

    def _made(self, n: Node) -> Tensor | None:
        x, parents = n.first(), n.parents()
        mine = None if x is None else self.known[x]
        if n.op in _NEW:
            return _of_none(n.shape) if all(p is x or self._is_of_none(p) for p in parents) else None
        if n.op in _ALIKE:
            return None if n.op == "where" and len(n.args) != 3 else self._alike(parents, n)
        if n.op == "copy_":
            return self._alike(n.args[1:2], n)
        if n.op in _JOINS:
            pieces = {p: t for p in parents if (t := self.known[p]) is not None}
            return called(n, pieces) if len(pieces) == len({*parents}) else None
        if n.op == "__setitem__":
            return self._assigned(n)
        if x is None or mine is None:
            return None
        if n.op in MATMUL:
            return self._product(n)
        if n.op not in _ONLY_SHAPE and not all(p is x or self._is_of_none(p) for p in parents):
            return self._looked_up(n) if n.op in PICK | {"__getitem__"} and self._is_of_none(x) else None
        if n.op in _MOVES:
            return None if n.op == "pad" and n.argument(3, "value") else called(n, {x: mine})
        if n.op in NORM:
            each = _together(mine, (-1,)) if n.op == "rms_norm" or len(n.argument(1, "normalized_shape")) == 1 else None
            return None if each is None else each.expand(n.shape)
        if n.op == "view_as_real":
            return mine.unsqueeze(-1).expand(n.shape)
        if n.op == "view_as_complex":
            return _together(mine, (-1,), keep=False)
        return self._reduced(n, mine) if n.op in _ALONG else None

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
        made[plain(key)] = mine
        return made

    def _reduced(self, n: Node, mine: Tensor) -> Tensor | None:
        dim = n.argument(2 if n.op == "normalize" else 1, "dim")
        dims = (dim,) if isinstance(dim, int) else tuple(dim) if isinstance(dim, (tuple, list)) else ()
        each = _together(mine, dims) if dims and all(isinstance(d, int) for d in dims) else None
        if each is None:
            return None
        whole = each.expand(mine.shape)
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
