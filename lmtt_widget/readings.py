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

from .lens import Promoted, in_cache, lens_of_nodes, onward, promoted_of, readout_of, rows_at_once
from .parts import wide
from .run import Run

_KEPT = 512  # updates
_LOOKED_AT = 14  # states from the top down, of one position: a product with so few rows costs little more than with two
Node = tuple[int, int]  # a state and a position
Entered = tuple[Tensor, int, int]  # a vector [d_model], the position and the state that it entered


class Readings:
    """The lens of nodes, the tokens of updates, and whatever else is the same for several questions about a run.

    What is expected is made together; what was not is made when it is asked for. The latest stay.
    """

    def __init__(self, run: Run, clean: Run | None = None) -> None:
        """clean: the same prompt without what was edited in this run."""
        self.run, self.clean = run, clean
        self._lens: OrderedDict[Hashable, Tensor] = OrderedDict()
        self._promoted: OrderedDict[Hashable, Promoted] = OrderedDict()
        self._once: dict[Hashable, Any] = {}
        self.at_once = rows_at_once(run)  # nodes that are unembedded together, and kept

    def expect(
        self, nodes: Iterable[Node], updates: Sequence[Entered], k: int, *, normalise: bool, lens: bool = True
    ) -> None:
        """Makes the lens of nodes (state, pos) and the tokens of updates, which are about to be asked for.

        lens: False where the lens will be made elsewhere, and kept (`keep`).
        """
        if self.run.readout is None:
            return
        nodes = list(dict.fromkeys(nodes))
        new = [node for node in sorted(nodes) if lens and (*node, normalise) not in self._lens]
        for some in (new[i : i + self.at_once] for i in range(0, len(new), self.at_once)):
            self.keep(np.array(some), lens_of_nodes(self.run, np.array(some), normalise), normalise=normalise)
        self._settle([pos for _, pos in nodes], normalise)
        unknown = {key: u for u in updates if (key := _key(*u, k)) not in self._promoted}
        for key, found in zip(unknown, updates_promoted(self.run, [*unknown.values()], k), strict=True):
            self._keep(self._promoted, key, found, _KEPT)

    def keep(self, nodes: np.ndarray, logits: Tensor, *, normalise: bool) -> None:
        """The lens of nodes [node, (state, pos)], made elsewhere: logits [node, d_vocab]."""
        for (state, pos), row in zip(nodes.tolist(), logits, strict=True):
            self._keep(self._lens, (state, pos, normalise), row.clone(), 2 * self.at_once)

    def lens(self, state: int, pos: int, *, normalise: bool) -> Tensor:
        """What the model would say at a position if it stopped at a state: logits [d_vocab]."""
        key = (state, pos, normalise)
        if key not in self._lens:
            made = lens_of_nodes(self.run, np.array([(state, pos)]), normalise)[0]
            self._keep(self._lens, key, made, 2 * self.at_once)
        self._lens.move_to_end(key)
        return self._lens[key]

    def together(self, states: Sequence[int], pos: int, *, normalise: bool) -> list[Tensor]:
        """The lens of some states at a position, unembedded in one product with the states that `settled` looks at."""
        if any((s, pos, normalise) not in self._lens for s in states):
            n = len(self.run.states)
            last = () if ("settled", pos, normalise) in self._once else range(max(0, n - _LOOKED_AT), n)
            self.expect([(s, pos) for s in (*states, *last)], (), 0, normalise=normalise)
        return [self.lens(s, pos, normalise=normalise) for s in states]

    def settled(self, pos: int, *, normalise: bool) -> int | None:
        """The state from which on the lens says what the model says in the end; None if not even the last one does."""
        self._settle([pos], normalise)
        return self._once["settled", pos, normalise]  # type: ignore[no-any-return]

    def _settle(self, positions: Iterable[int], normalise: bool) -> None:
        """From the top down as far as they agree, a few states at a time and then more."""
        last = len(self.run.states) - 1
        left = {pos: last for pos in positions if ("settled", pos, normalise) not in self._once}  # what is next
        said = dict(zip(left, self.run.logits[list(left)].argmax(-1).tolist(), strict=True))
        deep = 1
        while left:
            deep *= 2
            nodes = sorted((s, pos) for pos, top in left.items() for s in range(max(0, top + 1 - deep), top + 1))
            tops = dict(zip(nodes, self._tops(nodes, normalise), strict=True))
            for pos, top in [*left.items()]:
                while top >= 0 and tops.get((top, pos)) == said[pos]:
                    top -= 1
                if (top, pos) in tops or top < 0:
                    self._once["settled", pos, normalise] = None if top == last else top + 1
                    del left[pos]
                else:
                    left[pos] = top

    def _tops(self, nodes: Sequence[Node], normalise: bool) -> list[int]:
        """The most likely token of each node."""
        found = {n: int(self._lens[(*n, normalise)].argmax()) for n in nodes if (*n, normalise) in self._lens}
        new = [n for n in nodes if n not in found]
        for some in (new[i : i + self.at_once] for i in range(0, len(new), self.at_once)):
            tops = lens_of_nodes(self.run, np.array(some), normalise).argmax(-1).tolist()
            found.update(zip(some, tops, strict=True))
        return [found[n] for n in nodes]

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
    step = rows_at_once(run)
    for some in (updates[i : i + step] for i in range(0, len(updates), step)):
        made = [readout.frozen(onward(run, v[None], pos, state), pos % run.n_tokens) for v, pos, state in some]
        found += promoted_of(run, readout.added(torch.cat(made)), k)
    return found


class Peek:
    """The logit lens' most likely token of some nodes `at` [state, pos] (bool), a few at a time, from left to right."""

    def __init__(
        self, run: Run, at: np.ndarray, step: int | None = None, read: Readings | None = None, also: Any = False
    ) -> None:
        """read: what keeps the lens of every node as long as it has room; also: others that it will be asked for."""
        self.run, self._read, self._at = run, read, at
        step = rows_at_once(run) if step is None else step
        nodes = np.argwhere((at | also).T)[:, ::-1]
        self._left = [nodes[i : i + step] for i in range(0, len(nodes), step)][::-1]
        self.ids, self.p = np.full(at.shape, -1), np.zeros(at.shape, np.float32)  # -1: not read, or not yet

    def more(self) -> bool:
        """Reads the next few; whether there are more."""
        if self._left:
            nodes = self._left[-1]
            nodes = nodes[np.lexsort(nodes.T[::-1])]  # those of a state together
            logits = lens_of_nodes(self.run, nodes, True)
            if self._read is not None:
                self._read.keep(nodes, logits, normalise=True)
            peeked = self._at[tuple(nodes.T)]
            best = [wide(some).softmax(-1).max(-1) for some in in_cache(logits[torch.from_numpy(peeked)])]
            at = tuple(nodes[peeked].T)
            self.ids[at] = np.concatenate([b.indices.cpu().numpy() for b in best])
            self.p[at] = np.concatenate([b.values.float().cpu().numpy() for b in best])
            self._left.pop()
        return bool(self._left)

    @property
    def read_until(self) -> int:
        """All nodes at positions before this one are read."""
        return int(self._left[-1][0, 1]) if self._left else self._at.shape[1]


def likely_tokens(run: Run, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The logit lens' most likely token of some nodes `at` [state, pos] (bool), and its probability; -1 elsewhere."""
    peek = Peek(run, at)
    while peek.more():
        pass
    return peek.ids, peek.p


def _key(vector: Tensor, pos: int, state: int, k: int) -> Hashable:
    return pos, state, k, *vector.tolist()
