"""What the parts of each model depend on, remembered until the model is another one.

Knows nothing of what a probe looks at.
"""

from __future__ import annotations

import weakref

from torch import Tensor, nn

from .decomposition.layers import run_recorded
from .decomposition.nodes import Place
from .decomposition.writes import Recording
from .fingerprint import fingerprint
from .labels import Probed, structure
from .model import Model
from .moved import Pass
from .probe import LONGEST, SHORTEST, probed_ahead, probed_labels, still_holds

_REMEMBERED = 256  # labels of one model
_known: weakref.WeakKeyDictionary[nn.Module, dict[tuple[object, ...], Probed]] = weakref.WeakKeyDictionary()


def labels_of(model: Model, layers: list[nn.Module], ids: list[int], recording: Recording, mark: int) -> Probed:
    """What the parts of this model depend on: remembered, or seen now; mark: what `look_ahead` gave.

    Where its calls may move rows, they may do so on some prompts only: there labels are tried on every short prompt.
    """
    again, known = _passes(model, layers, recording.call_by_call), _known.setdefault(layers[0], {})
    key = (structure(recording), _length(ids), mark)
    proven = recording.keeps_rows or len(ids) > LONGEST
    if key not in known or not (proven or still_holds(again, ids, recording, known[key])):
        known[key] = probed_labels(again, ids, recording)
        while len(known) > _REMEMBERED:
            del known[next(iter(known))]
    return known[key]


def look_ahead(model: Model, layers: list[nn.Module], ids: list[int]) -> int:
    """The same, where a prompt is long and it is not known: before its recording takes the memory.

    Returns what marks the model as the one that it is before its pass.
    """
    mark = fingerprint(model.module)
    known, key = _known.setdefault(layers[0], {}), (_length(ids), mark)
    if all(k[1:] != key for k in known) and (found := probed_ahead(_passes(model, layers, deep=False), ids)):
        known[(found[0], *key)] = found[1]
    return mark


def forget() -> None:
    """Every model's labels are seen anew."""
    _known.clear()


def _passes(model: Model, layers: list[nn.Module], deep: bool) -> Pass:
    def again(ids: list[int], forced: dict[Place, Tensor]) -> Recording:
        inputs = model.inputs(ids)
        return run_recorded(model.module, layers, len(ids), inputs, forced=forced, call_by_call=deep, slim=True)

    return again


def _length(ids: list[int]) -> int:
    """Prompts of one such length may have the same labels."""
    n = len(ids)
    return n if n < SHORTEST else 0 if n <= LONGEST else n.bit_length()
