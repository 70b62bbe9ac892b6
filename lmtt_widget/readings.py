"""What several answers about one run read off its unembedding: made many at a time, and once.

Knows nothing of questions, pictures and widgets.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .lens import LENS_AT_ONCE, Promoted, in_cache, lens_of_nodes, lens_of_position, onward, promoted_of, readout_of
from .parts import wide
from .run import Run

_KEPT_BYTES, _KEPT = 1 << 26, 512
Entered = tuple[Tensor, int, int]  # a vector [d_model], the position and the state that it entered


class Readings:
    """The lens of positions, the tokens of updates, and whatever else is the same for several questions about a run.

    What is expected is made together; what was not is made when it is asked for. The latest stay.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._lens: OrderedDict[tuple[int, bool], Tensor] = OrderedDict()
        self._promoted: OrderedDict[Hashable, Promoted] = OrderedDict()
        self._once: dict[Hashable, Any] = {}
        self._n_lenses = max(1, _KEPT_BYTES // (4 * len(run.states) * run.logits.shape[-1]))

    @property
    def positions_at_once(self) -> int:
        """As many positions as are unembedded together, and kept."""
        return max(1, min(self._n_lenses, LENS_AT_ONCE // (len(self.run.states) * self.run.logits.shape[-1])))

    def expect(self, positions: Iterable[int], updates: Sequence[Entered], k: int, *, normalise: bool) -> None:
        """Makes the lens of positions and the tokens of updates, which are about to be asked for."""
        if self.run.readout is None:
            return
        new = [pos for pos in dict.fromkeys(positions) if (pos, normalise) not in self._lens]
        n_states = len(self.run.states)
        for some in (new[i : i + self.positions_at_once] for i in range(0, len(new), self.positions_at_once)):
            nodes = np.array([(s, pos) for s in range(n_states) for pos in some])
            by_position = lens_of_nodes(self.run, nodes, normalise).unflatten(0, (n_states, -1)).transpose(0, 1)
            for pos, logits in zip(some, by_position, strict=True):
                self._keep(self._lens, (pos, normalise), logits.contiguous(), self._n_lenses)
        unknown = {key: u for u in updates if (key := _key(*u, k)) not in self._promoted}
        for key, found in zip(unknown, updates_promoted(self.run, [*unknown.values()], k), strict=True):
            self._keep(self._promoted, key, found, _KEPT)

    def lens(self, pos: int, *, normalise: bool) -> Tensor:
        """What the model would say at one position if it stopped at each state: logits [state, d_vocab]."""
        key = (pos, normalise)
        if key not in self._lens:
            self._keep(self._lens, key, lens_of_position(self.run, pos, normalise=normalise), self._n_lenses)
        self._lens.move_to_end(key)
        return self._lens[key]

    def promoted(self, vector: Tensor, pos: int, state: int, k: int) -> Promoted:
        """`promoted` of a vector that entered a state at a position."""
        key = _key(vector, pos, state, k)
        if key not in self._promoted:
            self._keep(self._promoted, key, updates_promoted(self.run, [(vector, pos, state)], k)[0], _KEPT)
        return self._promoted[key]

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What was made under this key, or is made now; for little things, which all stay."""
        if key not in self._once:
            self._once[key] = make()
        return self._once[key]

    def _keep(self, kept: OrderedDict[Any, Any], key: Hashable, value: Any, most: int) -> None:
        kept[key] = value
        while len(kept) > most:
            kept.popitem(last=False)


def updates_promoted(run: Run, updates: Sequence[Entered], k: int) -> list[Promoted]:
    """What each update raises and lowers most, unembedded many at a time."""
    readout, found = readout_of(run), []
    step = max(1, LENS_AT_ONCE // run.logits.shape[-1])
    for some in (updates[i : i + step] for i in range(0, len(updates), step)):
        made = [readout.frozen(onward(run, v[None], pos, state), pos % run.n_tokens) for v, pos, state in some]
        found += promoted_of(run, readout.added(torch.cat(made)), k)
    return found


class Peek:
    """The logit lens' most likely token of some nodes `at` [state, pos] (bool), a few nodes at a time."""

    def __init__(self, run: Run, at: np.ndarray, step: int | None = None) -> None:
        self.run = run
        step = max(1, LENS_AT_ONCE // run.logits.shape[-1]) if step is None else step
        nodes = np.argwhere(at)
        self._left = [nodes[i : i + step] for i in range(0, len(nodes), step)][::-1]
        self.ids, self.p = np.full(at.shape, -1), np.zeros(at.shape, np.float32)  # -1: not read, or not yet

    def more(self) -> bool:
        """Reads the next few; whether there are more."""
        if self._left:
            nodes = self._left[-1]
            logits = in_cache(lens_of_nodes(self.run, nodes, True))
            best = [wide(some).softmax(-1).max(-1) for some in logits]
            at = tuple(nodes.T)
            self.ids[at] = np.concatenate([b.indices.cpu().numpy() for b in best])
            self.p[at] = np.concatenate([b.values.float().cpu().numpy() for b in best])
            self._left.pop()
        return bool(self._left)


def likely_tokens(run: Run, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The logit lens' most likely token of some nodes `at` [state, pos] (bool), and its probability; -1 elsewhere."""
    peek = Peek(run, at)
    while peek.more():
        pass
    return peek.ids, peek.p


def _key(vector: Tensor, pos: int, state: int, k: int) -> Hashable:
    return pos, state, k, *vector.tolist()
