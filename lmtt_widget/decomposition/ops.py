"""The names that torch calls have on the tape, by what they do to a value."""

from __future__ import annotations

IDENTITY = {
    "to", "type", "type_as", "float", "double", "half", "bfloat16", "contiguous", "clone", "detach", "dropout",
    "alpha_dropout", "getattr", "__deepcopy__", "cpu", "cuda", "identity", "checkpoint", "forced",
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
PICK = {"index_select", "gather", "take_along_dim", "masked_select", "index", "take"}  # rows by an index
PUT = {"index_add", "index_add_", "index_copy", "index_copy_", "index_put", "index_put_", "scatter_add", "scatter_add_"}
