"""Codes tell which state and token something was made from; a model that was changed has another fingerprint."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from lmtt_widget.explained import explained
from lmtt_widget.fingerprint import fingerprint
from lmtt_widget.probe import antichain

_STATES, _ROWS = 5, 6
_CODES = antichain(_STATES * _ROWS, torch.Generator().manual_seed(0)).T.reshape(-1, _STATES, _ROWS).numpy()
_ORDER = [3, 4, 2, 1, 0]


@pytest.mark.parametrize("n", [1, 2, 7, 63, 500])
def test_no_code_holds_another(n: int) -> None:
    codes = antichain(n)
    holds = (codes[:, None] | ~codes[None]).all(-1)
    assert torch.equal(holds, torch.eye(n, dtype=torch.bool))


@pytest.mark.parametrize("state", range(_STATES))
def test_what_moves_with_one_state_is_told_for_certain(state: int) -> None:
    assert explained(_CODES, _CODES[:, state], _ORDER, exactly=True) == ((state,), True)


def test_rows_that_read_other_states_are_told_for_certain() -> None:
    moved = _CODES[:, 3].copy()
    moved[:, 0] = _CODES[:, 1, 0]
    assert explained(_CODES, moved, _ORDER, exactly=True) == ((1, 3), True)


def test_two_states_at_once_are_found() -> None:
    assert explained(_CODES, _CODES[:, 0] | _CODES[:, 3], _ORDER, exactly=True) == ((0, 3), False)


@pytest.mark.parametrize("other", range(1, _ROWS))
def test_one_row_that_reads_another_token_is_no_single_state(other: int) -> None:
    moved = _CODES[:, 3].copy()
    moved[:, 0] |= _CODES[:, 3, other]
    found = explained(_CODES, moved, _ORDER, exactly=True)
    assert found is None or not found[1]


class _Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.map, self.factor, self.shift, self.names = nn.Linear(2, 2), 1.0, -1, ["a"]


def _hook(m: nn.Module) -> None:
    m.get_submodule("map").register_forward_hook(lambda *_: None)


def _weight(m: nn.Module) -> None:
    with torch.no_grad():
        m.get_parameter("map.weight").mul_(2)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: setattr(m, "factor", 2.0),
        lambda m: setattr(m, "shift", -2),  # Python gives it the hash of -1
        lambda m: setattr(m, "shift", -1.0),
        lambda m: setattr(m, "shift", 1),
        lambda m: setattr(m, "shift", True),
        lambda m: m.names.append("b"),
        lambda m: setattr(m.map, "forward", lambda x: x),
        lambda m: setattr(m, "map", nn.Linear(2, 2)),
        _hook,
        _weight,
    ],
)
def test_a_change_of_a_model_is_a_change_of_its_fingerprint(change: Callable[[nn.Module], None]) -> None:
    model = _Model()
    before = fingerprint(model)
    model.map(torch.ones(2))
    assert fingerprint(model) == before
    change(model)
    assert fingerprint(model) != before
