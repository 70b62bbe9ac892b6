"""What a torch call is by its name: what is not taped, what it writes to, what it hands to others.

Knows nothing of nodes: a function and its arguments in, a name or tensors out.
"""

from __future__ import annotations

from functools import cache
from types import FunctionType
from typing import Any

from torch import Tensor, nn

from .nodes import FRESH, is_inplace

# Not worth a copy before they are overwritten: an accumulator's earlier sums are its terms.
NO_OLD_VALUE = FRESH | {"index_add_"}
QUIET = {
    "size", "dim", "numel", "stride", "is_contiguous", "data_ptr", "__len__", "is_floating_point", "element_size",
    "storage_offset", "__hash__", "requires_grad_", "get_device",
}  # fmt: skip
# Numbers that Python goes on with, nobody knows how.
TELLS = {"item", "tolist", "__bool__", "__float__", "__int__", "__index__", "equal", "allclose", "is_nonzero"}
# Functions of Python that hand themselves over as one call; what they do inside is what is taped.
OPENED = {"multi_head_attention_forward"}
# The names of kernels that differ from those of the calls.
KERNELS = {
    "native_layer_norm": "layer_norm", "_log_softmax": "log_softmax", "_to_copy": "to", "_reshape_alias": "view",
}  # fmt: skip
# What a tensor says of itself, which is no tensor.
SAID = {
    "shape", "dtype", "device", "ndim", "layout", "requires_grad", "is_leaf", "is_cuda", "is_cpu", "is_mps", "is_meta",
    "is_quantized", "is_sparse", "is_nested", "itemsize", "nbytes", "_version",
}  # fmt: skip
# Afterwards others may write to the tensor's memory without torch.
SHARES_MEMORY = {"numpy", "__array__", "__dlpack__", "untyped_storage", "storage"}


_WIDTHS = (("in_features", "out_features"), ("infeatures", "outfeatures"))


def is_linear_module(module: nn.Module) -> bool:
    """A module that is an affine map of its last axis, by its attributes and not by a list of classes."""
    kind: Any = type(module)
    if _says_all(kind) and vars(module).keys().isdisjoint(_ENDS):  # mostly; to ask for what is not there is slow
        return False
    for n_in, n_out in _WIDTHS:
        if isinstance(getattr(module, n_in, None), int) and isinstance(getattr(module, n_out, None), int):
            return True
    return kind.__name__ == "Conv1D" and hasattr(module, "nf") and hasattr(module, "weight")


_ENDS = {"nf", *(name for names in _WIDTHS for name in names)}


@cache
def _says_all(kind: type) -> bool:
    """Do modules of this class have no such attribute that is not their own?"""
    usual: tuple[Any, Any] = (object.__getattribute__, nn.Module.__getattr__)
    asked = (kind.__getattribute__, getattr(kind, "__getattr__", None)) == usual
    return asked and not any(hasattr(kind, name) for name in _ENDS)


def written_by(func: Any, name: str, args: Any, kwargs: Any) -> list[Tensor]:
    """The tensors that a call says it writes to: `out=`, a name that ends in an underscore, or its schema."""
    given: list[Any] = []
    schema = getattr(func, "_schema", None)
    if kwargs.get("out") is not None:
        given = [kwargs["out"]]
    elif schema is not None and schema.is_mutable:
        named = zip((a.name for a in schema.arguments), args, strict=False)
        values = {**dict(named), **kwargs}
        given = [values.get(a.name) for a in schema.arguments if a.alias_info is not None and a.alias_info.is_write]
    elif args and (is_inplace(name) or sets_data(func, name)):
        given = [args[0]]
    flat = [y for x in given for y in (x if isinstance(x, (tuple, list)) else (x,))]
    return [x for x in flat if isinstance(x, Tensor)]


def sets_data(func: Any, name: str) -> bool:
    return name == "__set__" and property_of(func) == "data"


def property_of(func: Any) -> str:
    """Of a tensor's attribute that is looked up or set: its name."""
    return getattr(getattr(func, "__self__", None), "__name__", "")


def replaces_all(name: str, args: Any) -> bool:
    target, source = args[0], args[-1]
    if not isinstance(target, Tensor) or not isinstance(source, Tensor) or target.shape != source.shape:
        return False
    everything = len(args) == 3 and (args[1] is ... or (isinstance(args[1], slice) and args[1] == slice(None)))
    return name == "__set__" or (name == "copy_" and len(args) == 2) or (name == "__setitem__" and everything)


@cache
def opened(func: Any) -> Any:
    """The same function, which does not ask whether somebody listens."""
    known = {**func.__globals__, "has_torch_function": lambda _: False}
    found = FunctionType(func.__code__, known, func.__name__, func.__defaults__, func.__closure__)
    found.__kwdefaults__ = func.__kwdefaults__
    return found
