"""The cases of a gated neuron's signs, and which contexts of several are the strongest.

Knows nothing of torch, models and files.
"""

from __future__ import annotations

import numpy as np

CASES = ("+ +", "+ -", "- +", "- -")  # of gate and up
N_CONTEXTS = 8
COLUMNS = ("count", "value", "number", "pos")  # [neuron, case], and [neuron, case, context] each


def strongest(some: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The contexts of several, [..., context] each, that are largest in size; number -1 where there are fewer."""
    joined = {name: np.concatenate([one[name] for one in some], -1) for name in COLUMNS[1:]}
    size = np.where(joined["number"] < 0, -1, np.abs(joined["value"]))
    short = N_CONTEXTS - size.shape[-1]
    order = np.argsort(-size, axis=-1, kind="stable")[..., :N_CONTEXTS]
    kept = {name: np.take_along_axis(array, order, -1) for name, array in joined.items()}
    if short <= 0:
        return kept
    wide = [(0, 0)] * (size.ndim - 1) + [(0, short)]
    return {name: np.pad(x, wide, constant_values=0 if name == "value" else -1) for name, x in kept.items()}
