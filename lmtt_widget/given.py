"""What a caller gives, seen to before anything is done with it: what is wrong is said in the caller's words.

Knows nothing of torch, of a model or of a run. Every sentence says what is expected and what was given.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any


def of_kind(x: Any, kind: type, name: str, how: str) -> None:
    """Raises TypeError unless `x` is one; how: where such a thing comes from."""
    if not isinstance(x, kind):
        raise TypeError(f"{name} must be a {kind.__name__} ({how}), got {told(x)}")


def number(x: Any, name: str, lowest: float = -math.inf, largest: float = math.inf) -> float:
    """A number that is one. Raises TypeError for another thing, ValueError for one out of range and for NaN."""
    try:
        if isinstance(x, (str, bytes, bytearray, bool)):
            raise TypeError
        found = float(x)
    except OverflowError:
        found = math.inf if x > 0 else -math.inf
    except (TypeError, ValueError, RuntimeError):  # RuntimeError: a tensor of several numbers
        raise TypeError(f"{name} must be a number, got {told(x)}") from None
    if not lowest <= found <= largest:
        within = "a number" if lowest == -math.inf else f"at least {lowest:g}"
        raise ValueError(
            f"{name} must be {within if largest == math.inf else f'in {lowest:g}..{largest:g}'}, got {told(x)}"
        )
    return found


def integer(x: Any, name: str, lowest: int, largest: int | None = None) -> int:
    """A whole number in lowest..largest. Raises TypeError for another thing, ValueError for one out of range."""
    within = f"at least {lowest}" if largest is None else f"in {lowest}..{largest}"
    try:
        index: Any = None if isinstance(x, bool) else x
        found = operator.index(index)
    except (TypeError, RuntimeError):
        raise TypeError(f"{name} must be a whole number {within}, got {told(x)}") from None
    if found < lowest or (largest is not None and found > largest):
        raise ValueError(f"{name} must be {within}, got {told(found)}")
    return found


def place(x: Any, n: int, name: str) -> int:
    """A place among `n`, as Python counts (-1: the last), as 0..n-1. Raises as `integer`."""
    found = integer(x, name, -(1 << 63))
    if not -n <= found < n:
        raise ValueError(f"{name} must be in 0..{n - 1} (or -1 for the last), got {told(found)}")
    return found % n


def is_one(x: Any) -> bool:
    """Whether it is meant as one whole number, not as several."""
    return hasattr(type(x), "__index__") and not getattr(x, "ndim", 0)


def places(x: Any, n: int, name: str) -> list[int]:
    """Several places among `n`, or a slice of them. Raises as `integer`."""
    if isinstance(x, slice):
        try:
            return list(range(n)[x])
        except (TypeError, ValueError) as e:
            raise TypeError(f"{name} must be places in 0..{n - 1}, got {told(x)}") from e
    if isinstance(x, (str, bytes, dict)) or not isinstance(x, Iterable):
        raise TypeError(f"{name} must be a whole number in 0..{n - 1}, or a list of them, got {told(x)}")
    try:
        return [place(item, n, name) for item in x]
    except TypeError as e:  # also of a tensor without an axis
        raise TypeError(f"{name} must be a list of whole numbers in 0..{n - 1}, got {told(x)}") from e


def flag(x: Any, name: str) -> bool:
    """True or False. Raises TypeError for anything else: a text would count as true."""
    if type(x).__name__ not in ("bool", "bool_"):
        raise TypeError(f"{name} must be True or False, got {told(x)}")
    return bool(x)


def one_of(x: Any, options: Sequence[Any], name: str) -> None:
    """Raises ValueError for what is none of the options."""
    if not any(x is option or (isinstance(x, str) and x == option) for option in options):
        said = [f'"{option}"' if isinstance(option, str) else str(option) for option in options]
        raise ValueError(f"{name} must be {', '.join(said[:-1])} or {said[-1]}, got {told(x)}")


def told(x: Any) -> str:
    """A thing in a few words, however large or odd it is."""
    if isinstance(x, int) and x.bit_length() > 64:
        return f"a number of about {int(x.bit_length() * math.log10(2))} digits"
    if x is None or isinstance(x, (str, int, float, bytes, slice)):
        return f"{x!r:.60}"
    name = x.__name__ if isinstance(x, type) else type(x).__name__
    shape = f" of shape {list(x.shape)}" if isinstance(getattr(x, "shape", None), Sequence) else ""
    return f"the class {name}" if isinstance(x, type) else f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}{shape}"
