"""How a layer was called, so that it may be called by itself again; knows nothing of tapes and of what it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from .streams import Streams

_PLAIN = (Tensor, bool, int, float, str, type(None))


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer: what it was given beside its state, which is told by its number and shape only.

    Caches and other things that change when a layer is called are left out; so whether it does the same again must be
    looked at.
    """

    module: nn.Module
    state: int  # the number of the state it was given
    shape: tuple[int, ...]  # in which that was given
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def again(self, value: Tensor) -> Any:
        """The layer where its state is a value [pos, d_model]. Raises whatever it raises."""
        streams = Streams.of(self.shape, len(value))
        h = value.reshape(self.shape) if streams is None else streams.shaped(value)
        h = h.clone()  # it may write in it
        args = [h if x is HIDDEN else x for x in self.args]
        return self.module(*args, **{name: h if x is HIDDEN else x for name, x in self.kwargs.items()})


HIDDEN = object()  # stands where the state was


def call_of(module: nn.Module, args: Sequence[Any], kwargs: dict[str, Any], h: Tensor, state: int) -> Call | None:
    """How a layer is being called on h; None where something else like the stream is handed to it, too."""
    given = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor) and x is not h]
    if any(x.is_floating_point() and x.shape[-1:] == h.shape[-1:] and x.numel() >= h.numel() for x in given):
        return None

    def plain(x: Any) -> Any:
        return HIDDEN if x is h else x if _is_plain(x) else None

    named = {name: plain(x) for name, x in kwargs.items()} | ({"use_cache": False} if "use_cache" in kwargs else {})
    return Call(module, state, tuple(h.shape), tuple(plain(x) for x in args), named)


def small(calls: list[Call | None], most: int) -> list[Call | None]:
    """The calls, or none of them where what they were given takes more bytes than that."""
    kept = {id(x): x for call in calls if call for x in _tensors((call.args, tuple(call.kwargs.values())))}
    return calls if sum(x.numel() * x.element_size() for x in kept.values()) <= most else []


def _is_plain(x: Any) -> bool:
    return all(map(_is_plain, x)) if isinstance(x, tuple) else isinstance(x, _PLAIN)


def _tensors(x: Any) -> list[Tensor]:
    return [t for y in x for t in _tensors(y)] if isinstance(x, tuple) else [x] if isinstance(x, Tensor) else []
