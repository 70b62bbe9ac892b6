"""Accelerators that are only pretended: plain tensors that say they live there and refuse to be mixed with others.

"pretended:0" and "pretended:1" are devices as torch knows them, with kernels written in Python: a model.to(...) them,
`torch.zeros(2, device="pretended:1")`, `x.cpu()` and torch's modes work as they do on a GPU. Their memory is the CPU's
and every call runs there, so that results can be compared with the CPU's. What a GPU refuses is refused: tensors of two
places in one call, but for numbers without an axis, and indices. Needs torch 2.9.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import backend_registration
from torch.utils._pytree import tree_map

NAME = "pretended"
N_DEVICES = 2
IS_POSSIBLE = hasattr(backend_registration, "_setup_privateuseone_for_python_backend")

Wait = tuple[str, str]  # what the host waits for, and the line of the package (or "the model") that asked

_INDEXING = {"index", "_index_put_impl_"}
# Results that are Python's, or whose size depends on numbers: the host waits until the device has them.
_WAITS = {
    "_local_scalar_dense": "item", "equal": "item", "nonzero": "nonzero", "masked_select": "nonzero",
    "_unique2": "unique", "unique_dim": "unique", "unique_consecutive": "unique", "bincount": "unique",
    "repeat_interleave": "repeat_interleave",
}  # fmt: skip
_waits: list[Counter[Wait]] = []
_refused: list[torch.dtype] = []


class MixedError(RuntimeError):
    """Tensors of two places in one call."""


def device(index: int = 0) -> torch.device:
    """One of the pretended accelerators."""
    _set_up()
    return torch.device(NAME, index)


def divided(model: nn.Module, layers: Sequence[nn.Module]) -> nn.Module:
    """The model with the second half of its layers, and what comes after them, on a second device.

    As with `device_map`, every module with parameters takes its inputs to where these are, and the model's outputs go
    back to the first device.
    """
    model.to(device(0))
    half = layers[len(layers) // 2]
    order = list(model.modules())
    for module in order[order.index(half) :]:
        module.to(device(1))
    inside = {m for layer in layers for m in layer.modules()}
    own = [m for m in order if m not in inside and any(True for _ in m.parameters(recurse=False))]
    for module in [*layers, *own]:
        module.register_forward_pre_hook(_bring, with_kwargs=True)
    model.register_forward_hook(lambda _m, _args, out: _moved(out, device(0)))
    return model


def _bring(module: nn.Module, args: Any, kwargs: Any) -> Any:
    return _moved((args, kwargs), next(module.parameters()).device)


def _moved(x: Any, to: torch.device) -> Any:
    return tree_map(lambda y: y.to(to) if isinstance(y, Tensor) else y, x)


@contextlib.contextmanager
def waits() -> Iterator[Counter[Wait]]:
    """Counts how often the host waits for a device inside.

    For "item" (also bool, float, int, equal), "to the CPU" (also tolist), "from the CPU", "nonzero" (also an index of
    booleans), "unique", "repeat_interleave". A copy between two accelerators is not waited for.
    """
    found: Counter[Wait] = Counter()
    _waits.append(found)
    try:
        yield found
    finally:
        _waits.remove(found)


@contextlib.contextmanager
def without(dtype: torch.dtype) -> Iterator[None]:
    """The devices have no numbers of this kind, as Apple's have no float64."""
    _refused.append(dtype)
    try:
        yield
    finally:
        _refused.remove(dtype)


# ---- the backend ----


class _Backend:
    """What `torch.pretended` answers."""

    def is_available(self) -> bool:
        return True

    is_initialized = is_available

    def device_count(self) -> int:
        return N_DEVICES

    def current_device(self) -> int:
        return 0

    def manual_seed_all(self, seed: int) -> None:
        pass

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]

    def _is_in_bad_fork(self) -> bool:
        return False


@cache
def _set_up() -> tuple[torch.library.Library, ...]:
    """The backend, once in a process; its kernels are there as long as what is returned."""
    if not IS_POSSIBLE:
        raise RuntimeError(f"devices can be pretended from torch 2.9 on, got {torch.__version__}")
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Backend())
    anything, some = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    anything.fallback(_call, "PrivateUse1")
    anything.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    some.impl("copy_", _copy, "PrivateUse1")
    some.impl("convolution_overrideable", partial(_call, torch.ops.aten.convolution.default), "PrivateUse1")
    return anything, some


def _copy(to: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    if "cpu" in (to.device.type, source.device.type):
        _count("to the CPU" if to.device.type == "cpu" else "from the CPU")
    _on_the_host(to).copy_(_on_the_host(source))
    return to


def _call(op: Any, *args: Any, **kwargs: Any) -> Any:
    """A call on the CPU's view of its tensors; what it makes lives where they do."""
    name, is_view, wants_tensor = _about(op)
    # A number beside a tensor came as a tensor without an axis, and torch makes it a number again on the way to Python.
    args = [torch.tensor(x) if i in wants_tensor and isinstance(x, (int, float)) else x for i, x in enumerate(args)]
    tensors = [x for a in (*args, *kwargs.values()) for x in (a if isinstance(a, list) else (a,))]
    tensors = [x for x in tensors if isinstance(x, Tensor)]
    _refuse_mixed(name, tensors, args)
    if name in _WAITS and kwargs.get("output_size") is None:
        _count(_WAITS[name])
    if name == "_index_put_impl_" and args[2].numel() != 1:  # one value for all is filled in, however many they are
        _count("nonzero", sum(i is not None and i.dtype is torch.bool for i in args[1]))
    if is_view:  # it says only how the same memory is read
        return op.redispatch(_CPU, *args, **kwargs)
    given: dict[int, tuple[Tensor, Tensor]] = {}  # id of the CPU's view -> it, and what it is a view of

    def on_the_host(x: Any) -> Any:
        host = _on_the_host(x)
        if host is not x and isinstance(x, Tensor):
            given[id(host)] = host, x
        return host

    def there(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        if id(x) not in given:
            return _relabelled(x, place)
        found = given[id(x)][1]
        if found.numel() != x.numel():  # an `out` that was made empty, to be as large as needed
            memory = _relabelled(x, place).untyped_storage()
            torch.ops.aten.set_.source_Storage_storage_offset.redispatch(_CPU, found, memory, 0, x.shape, x.stride())
        return found

    place = next((x.device for x in tensors if _is_there(x)), kwargs.get("device"))
    on_hosts = [_each(on_the_host, x) for x in args]
    out = op(*on_hosts, **{k: _each(on_the_host, x) for k, x in kwargs.items()})
    return _each(there, out)


@cache
def _about(op: Any) -> tuple[str, bool, set[int]]:
    """The name of a call, whether it makes a view, and which of its arguments are tensors."""
    schema = op._schema
    is_view = any(r.alias_info is not None and not r.alias_info.is_write for r in schema.returns)
    wants_tensor = {i for i, a in enumerate(schema.arguments) if str(a.type) == "Tensor"}
    return schema.name.removeprefix("aten::"), is_view, wants_tensor


def _each(f: Callable[[Any], Any], x: Any) -> Any:
    """f of an argument or a result, or of each where it has several."""
    return type(x)(map(f, x)) if type(x) in (list, tuple) else f(x)


_CPU = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)


def _is_there(x: Any) -> bool:
    return isinstance(x, Tensor) and x.device.type == NAME


def _refuse_mixed(name: str, tensors: list[Tensor], args: Sequence[Any]) -> None:
    tensors = [x for x in tensors if x.ndim or _is_there(x)]
    if name in _INDEXING and _is_there(args[0]):  # its indices may be the CPU's
        tensors = [x for x in tensors if all(x is not index for index in args[1])]
    if len(places := {x.device for x in tensors}) > 1:
        found = " and ".join(sorted(map(str, places)))
        raise MixedError(f"expected all tensors on the same device, got {found} in `{name}`")


def _on_the_host(x: Any) -> Any:
    """The same memory as the CPU sees it."""
    if isinstance(x, torch.device):
        return torch.device("cpu")
    if not _is_there(x):
        return x
    if x.numel() == 0:  # it may be an `out` that grows
        return torch.empty(x.shape, dtype=x.dtype)
    return _relabelled(x, torch.device("cpu"))


def _relabelled(x: Tensor, place: torch.device) -> Tensor:
    """The same memory as a tensor of another device."""
    if x.dtype in _refused and place.type == NAME:
        raise TypeError(f"cannot make a tensor of {x.dtype} on {place}")
    capsule = torch._C._to_dlpack(x)  # type: ignore[attr-defined]
    start = ctypes.pythonapi.PyCapsule_GetPointer(ctypes.py_object(capsule), b"dltensor")
    kind = ctypes.cast(start + ctypes.sizeof(ctypes.c_void_p), ctypes.POINTER(ctypes.c_int32))  # behind the data
    kind[0], kind[1] = (1, 0) if place.type == "cpu" else (12, place.index or 0)  # DLPack's CPU, and other devices
    return torch._C._from_dlpack(capsule)  # type: ignore[attr-defined]


ctypes.pythonapi.PyCapsule_GetPointer.restype = ctypes.c_void_p


# ---- waiting ----


def _count(kind: str, times: int = 1) -> None:
    if _waits and times:
        wait = kind, _asked_by()
        for found in _waits:
            found[wait] += times


def _asked_by() -> str:
    """The line of the package that made the call, or "the model"."""
    frame: Any = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        _, found, path = file.rpartition("/lmtt_widget/")
        if found and not path.endswith("tape.py"):  # a tape passes on the model's own calls
            return f"{path}:{frame.f_lineno} {frame.f_code.co_name}"
        if "/transformers/" in file:
            return "the model"
        frame = frame.f_back
    return "the model"
