"""How lines are weighed: an encoding declares what its weight is and which threshold it chooses by itself.

An encoding that is registered is taken wherever one is named; js/src/encodings has a file of the same name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .graph import Graph


@dataclass(frozen=True)
class Lines:
    """Edges to be weighed, some of a graph at a time."""

    graph: Graph
    at: slice
    flow: np.ndarray  # [edge], of these
    reading: str  # of heads, in shares: "max" or "sum"

    @property
    def share(self) -> np.ndarray:
        return (self.graph.share_max if self.reading == "max" else self.graph.share_sum)[self.at]


@dataclass(frozen=True)
class Encoding:
    """One way to weigh lines; `strength` and the threshold are in the unit of its weight."""

    name: str
    weight: Callable[[Lines], np.ndarray]  # [edge]
    automatic: float | None = None  # the threshold where none is given; None: one that explains 80 %
    asks: str | None = None  # the kind of question, without fields, whose answer it draws


REGISTERED: dict[str, Encoding] = {}


def register(encoding: Encoding) -> None:
    """Makes an encoding known by its name. Raises ValueError for a second one of that name."""
    if REGISTERED.get(encoding.name, encoding) != encoding:
        raise ValueError(f"there is an encoding {encoding.name!r} already")
    REGISTERED[encoding.name] = encoding


def encoding_of(name: str) -> Encoding:
    """The encoding of that name. Raises ValueError with the names there are."""
    if not isinstance(name, str) or name not in REGISTERED:
        known = " or ".join(f'"{one}"' for one in REGISTERED)
        raise ValueError(f"encoding must be {known}, got {name!r}")
    return REGISTERED[name]


register(Encoding("flow", lambda lines: lines.flow))
register(Encoding("share", lambda lines: lines.share, automatic=0.04))  # the papers' default
register(Encoding("effect", lambda lines: lines.flow, asks="heads"))  # the lines of the flow, coloured for and against
