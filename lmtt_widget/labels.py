"""What each part of a model is, as far as a probe can tell, and how a recording is told by it.

Knows nothing of how it was seen.
"""

from __future__ import annotations

from dataclasses import dataclass

from .decomposition.writes import Recording
from .parts import PartKind, State, named

At = tuple[int, int]  # state, number among its parts


@dataclass(frozen=True)
class Label:
    """What one part is, as far as changing states can tell."""

    kind: PartKind
    reads: int
    also: tuple[int, ...] = ()  # earlier states it reads besides
    note: str | None = None  # what it was taken for, and why it is none


@dataclass(frozen=True)
class Probed:
    """The labels of all parts of a model, and what cannot be drawn truly."""

    labels: dict[At, Label]
    problems: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()  # what could not be probed, in words

    def __str__(self) -> str:
        return "labels probed" if not self.unseen else f"labels probed but for {'; '.join(self.unseen)}"


def structure(recording: Recording) -> tuple[object, ...]:
    """What two recordings of the same model have in common for the labels of one to hold for the other."""
    return tuple(
        (
            layer.calls,
            tuple((s.carried[0], frozenset((w.kind, w.reads) for w in s.writes)) for s in layer.states if s.carried),
        )
        for layer in recording.layers
    )


def relabel(states: list[State], probed: Probed) -> list[str]:
    """Puts what was seen in place of what was read off the tape; what that changes, in words."""
    notes = []
    for s in states:
        for k, p in enumerate(s.parts):
            label = probed.labels.get((s.index, k))
            if label is not None:
                p.kind, p.reads, p.also, p.probed = label.kind, label.reads, label.also, True
                if label.note:
                    notes.append(label.note)
    named(states)
    return notes
