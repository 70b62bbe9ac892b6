"""Every head of the model taken out by itself, a few at a time and the best estimates first: what is known so far.

Knows nothing of widgets and questions.
"""

from __future__ import annotations

from typing import Any

from .estimates import estimate
from .readings import Readings
from .run import Run
from .verdicts import Verdict, effects, heads_of


class TriedHeads:
    """The heads that were tried, and their estimates once the first one was; nothing is run before `more`."""

    def __init__(self, run: Run, pos: int, token: int, foil: int | None) -> None:
        self.run = run
        self.asked: dict[str, Any] = {"pos": pos, "token": token, "foil": foil}
        self.edits = heads_of(run)
        self.verdicts: dict[int, Verdict] = {}
        self.estimates: list[float] | None = None  # None also where no gradient goes back through the model
        self._left: list[int] | None = None

    def more(self, n: int = 8) -> bool:
        """Tries the next n heads; whether there are others. Raises what `effects` raises."""
        if self._left is None:
            self._left = self._in_order()
        some = self._left[:n]
        if some:
            edits = [self.edits[k] for k in some]
            found = effects(self.run, edits, progress=lambda *_: None, **self.asked)
            self.verdicts |= dict(zip(some, found, strict=False))  # an interrupt ends it early
            self._left = [k for k in self._left if k not in self.verdicts]
        return bool(self._left)

    def of(self, part: int) -> tuple[list[float | None], list[float | None]]:
        """Estimates and exact changes of the log odds without each head of a part; None where there is none yet."""
        mine = [k for k, edit in enumerate(self.edits) if edit.selection["part"] == part]
        estimates = [None if self.estimates is None else self.estimates[k] for k in mine]
        return estimates, [self.verdicts[k].change if k in self.verdicts else None for k in mine]

    def _in_order(self) -> list[int]:
        try:
            self.estimates = estimate(self.run, **self.asked).all_heads().tolist()
        except ValueError:
            return list(range(len(self.edits)))
        sizes = [abs(x) for x in self.estimates]
        return sorted(range(len(sizes)), key=lambda k: -sizes[k])


def tried_heads(read: Readings, pos: int, token: int | None, foil: int | None) -> TriedHeads:
    """Those of a run, one for every prediction that is asked about; without a token of the predicted one."""
    run = read.run
    token = int(run.logits[pos].argmax()) if token is None else token
    foil = None if foil == token else foil
    found: TriedHeads = read.once(("tried", pos, token, foil), lambda: TriedHeads(run, pos, token, foil))
    return found
