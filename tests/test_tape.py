"""The tape remembers every torch call, changes none, and can repeat them with other values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lmtt_widget.decomposition.calls import is_linear_module
from lmtt_widget.decomposition.linear import is_constant, linear_leaf
from lmtt_widget.decomposition.nodes import Node, behind, called, is_fresh, plain, replay
from lmtt_widget.decomposition.residual import RULES, Walk, rule
from lmtt_widget.decomposition.tape import Tape

WIDTH, ROWS = 5, 3


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_call_is_a_node_with_its_arguments() -> None:
    x, y = rand(2, 3), rand(2, 3, seed=1)
    with Tape() as tape:
        z = torch.add(x, y, alpha=2)
    node = tape.node(z)
    assert node.op == "add"
    assert [plain(a) is b for a, b in zip(node.args, (x, y), strict=True)] == [True, True]
    assert node.kwargs == {"alpha": 2}
    assert node.value is z
    assert list(node.parents()) == [tape.node(x), tape.node(y)] or set(node.parents()) == {tape.node(x), tape.node(y)}
    assert node.argument(2, "alpha") == 2
    assert tape.node(x).op == "const"


def test_taped_numbers_are_the_plain_ones() -> None:
    x = rand(4, 6)

    def calls() -> Tensor:
        y = F.layer_norm(x, (6,)) @ x.T
        y += 1
        y[0] = 3
        a, b = y.chunk(2, dim=-1)
        return torch.cat([a, b.softmax(-1)]).mul_(2).T

    plain_numbers = calls()
    with Tape():
        taped = calls()
    assert torch.equal(taped, plain_numbers)


def test_values_from_before_they_were_overwritten_are_kept() -> None:
    x, y = rand(3), rand(3, seed=1)
    with Tape() as tape:
        total = x * 2
        old = total.clone()
        total += y
    node = tape.node(total)
    assert node.op in ("add_", "__iadd__")
    assert torch.equal(node.args[0].value, old)
    assert torch.equal(node.value, old + y)


@pytest.mark.parametrize("write", [Tensor.copy_, lambda there, x: there.__setitem__(..., x)])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda y: y[..., :3], lambda y: y[..., 3:]),
        (lambda y: y[:, ::2], lambda y: y[:, 1::2].T),
        (lambda y: y.view(-1)[4:], lambda y: y[0, 1:].unsqueeze(0)),
        (lambda y: y.T, lambda y: y.view(2, -1)[1]),
    ],
)
def test_memory_that_is_filled_through_other_tensors_is_repeated_with_other_numbers(
    first: Any, second: Any, write: Any
) -> None:
    def filled(x: Tensor) -> Tensor:
        y = torch.empty(4, 6, dtype=torch.float64)
        for part, by in ((lambda y: y, 1), (first, 2), (second, 3)):
            there = part(y)
            write(there, by * x.reshape(-1)[: there.numel()].reshape(there.shape))
        return y * 2

    x, other = rand(24), rand(24, seed=1)
    with Tape() as tape:
        found = filled(x)
    assert torch.equal(replay(tape.node(found), {tape.node(x): other}), filled(other))


def test_results_in_a_given_tensor_are_followed() -> None:
    x, out = rand(3), torch.empty(3, dtype=torch.float64)
    with Tape() as tape:
        torch.mul(x, 2, out=out)
    assert tape.node(out).op == "mul"
    assert torch.equal(out, x * 2)


def test_the_same_tensor_keeps_its_node() -> None:
    """x.to(its own dtype) is x."""
    with Tape() as tape:
        x = rand(3) * 1
        before = tape.node(x)
        assert x.to(torch.float64) is x
    assert tape.node(x) is before


def test_several_results_of_one_call_know_which_they_are() -> None:
    with Tape() as tape:
        parts = rand(6).split([1, 5])
    assert [tape.node(p).item for p in parts] == [0, 1]


def test_zeros_are_fresh_until_they_are_written() -> None:
    with Tape() as tape:
        made = torch.zeros(3, 2)
        assert is_fresh(tape.node(made))
        made.index_add_(0, torch.tensor([1]), torch.ones(1, 2))
    assert not is_fresh(tape.node(made))


def test_the_tape_is_off_outside_of_it() -> None:
    tape = Tape()
    with tape:
        rand(3) * 2
    n = len(tape.nodes)
    rand(3) * 2
    assert len(tape.nodes) == n


class Counting(TorchFunctionMode):
    """A mode of the user's, like a default device."""

    seen = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen += func is torch.add
        return func(*args, **(kwargs or {}))


def test_a_paused_tape_tapes_nothing_and_leaves_modes_of_others_alone() -> None:
    x, outer, inner = torch.ones(2), Counting(), Counting()
    with outer, Tape() as tape:
        with tape.paused():
            a = torch.add(x, 1)
        with inner, tape.paused():  # now another one is on top
            b = torch.add(x, 2)
        c = torch.add(x, 3)
    assert (outer.seen, inner.seen) == (3, 1)
    assert [id(y) in tape.nodes for y in (a, b, c)] == [False, False, True]


def test_what_is_behind_a_node_is_met_once_and_nothing_behind_a_stop() -> None:
    x = rand(3)
    with Tape() as tape:
        y = x * 2
        z = y + y.exp()
        after = (z * y).sum()
    found = list(behind([tape.node(after)]))
    assert len(found) == len(set(found))
    assert {tape.node(v) for v in (x, y, z, after)} < set(found)
    assert sum(n.op == "exp" for n in found) == 1
    stopped = set(behind([tape.node(after)], lambda n: n.op == "exp" or n is tape.node(y)))
    assert tape.node(y) in stopped
    assert tape.node(x) not in stopped


def test_a_replay_leaves_what_is_kept_and_repeats_the_rest_as_it_is_told() -> None:
    x = rand(3)
    with Tape() as tape:
        gate = x.exp()
        y = x * gate
    out = replay(tape.node(y), {tape.node(x): 3 * x}, keeps=lambda n: n.op == "exp")
    assert torch.equal(out, 3 * x * x.exp())
    assert torch.equal(replay(tape.node(y), {tape.node(x): 3 * x}), 3 * x * (3 * x).exp())
    doubled = replay(tape.node(y), {tape.node(x): x}, keeps=lambda n: n.op == "exp", call=lambda n, v: 2 * called(n, v))
    assert torch.equal(doubled, 2 * y)


def test_a_replay_is_the_same_calls_on_other_values() -> None:
    x, other, weight = rand(3, 4), rand(3, 4, seed=1), rand(4)

    def calls(x: Tensor) -> Tensor:
        a, b = (F.rms_norm(x, (4,)) * weight).chunk(2, dim=-1)
        return torch.cat([a.exp(), b], dim=-1) - x.mean(-1, keepdim=True)

    with Tape() as tape:
        out = calls(x)
    again = replay(tape.node(out), {tape.node(x): other})
    assert torch.equal(again, calls(other))
    assert torch.equal(replay(tape.node(out), {}), out)


def test_modules_that_are_linear_maps_are_told_by_what_they_have() -> None:
    from transformers.pytorch_utils import Conv1D

    class Quantised(nn.Module):
        infeatures, outfeatures = 3, 4

    assert is_linear_module(nn.Linear(3, 4))
    assert is_linear_module(Conv1D(4, 3))
    assert is_linear_module(Quantised())
    assert not is_linear_module(nn.LayerNorm(3))
    assert not is_linear_module(nn.Embedding(3, 4))


# ---- the walk back over a tape ----


class Written:
    """Two leaves on a tape: an earlier state and the output of a linear map."""

    def __init__(self) -> None:
        self.tape = Tape()
        self.state = rand(1, ROWS, WIDTH)
        self.weight = nn.Parameter(rand(WIDTH, 7, seed=1))
        self.hidden = rand(1, ROWS, 7, seed=2)
        with self.tape:
            self.update = F.linear(self.hidden, self.weight)
            self.stop = self.tape.add(self.state, "state")

    def terms(self, out: Tensor) -> Any:
        return Walk(WIDTH, [self.stop]).terms(self.tape.node(out))


G, B = rand(WIDTH, seed=3), rand(WIDTH, seed=4)
KEEP = torch.tensor([[[True], [False], [True]]])


def accumulated(x: Tensor, u: Tensor) -> Tensor:
    total = torch.zeros(ROWS, WIDTH, dtype=torch.float64)
    total.index_add_(0, torch.tensor([2, 0, 1]), u[0])
    return x + total[None]


def assigned(x: Tensor, u: Tensor) -> Tensor:
    total = torch.zeros(ROWS, WIDTH, dtype=torch.float64)
    total[torch.tensor([1, 2])] = u[0, :2]
    return x + total[None]


FORMS = {
    "sum": lambda x, u: x + u,
    "difference": lambda x, u: x - u * 3,
    "reversed difference": lambda x, u: torch.rsub(u, x),
    "alpha": lambda x, u: torch.add(x, u, alpha=-0.5),
    "scaled": lambda x, u: 0.7 * x + u / 3.0,
    "gain": lambda x, u: x + u * G,
    "gate": lambda x, u: x + u * torch.sigmoid(x.sum(-1, keepdim=True)),
    "gate per coordinate": lambda x, u: x + u * torch.relu(x),
    "negated": lambda x, u: x + (-u),
    "layer norm": lambda x, u: F.layer_norm(x + u, (WIDTH,), nn.Parameter(G), nn.Parameter(B)),
    "rms norm": lambda x, u: x + F.rms_norm(u, (WIDTH,), nn.Parameter(G), 1e-6),
    "hand-made rms norm": lambda x, u: x + u * torch.rsqrt(u.pow(2).mean(-1, keepdim=True) + 1e-6) * G,
    "centred by hand": lambda x, u: x + (u - u.mean(-1, keepdim=True)),
    "views": lambda x, u: (x.view(ROWS, WIDTH) + u.squeeze(0)).reshape(1, ROWS, WIDTH).contiguous().clone(),
    "casts": lambda x, u: (x.double() + u.to(torch.float64)).type_as(x),
    "masked": lambda x, u: x + u.masked_fill(~KEEP, 0.0),
    "transposed twice": lambda x, u: x + u.transpose(0, 1).transpose(0, 1),
    "summed over one": lambda x, u: x + u.unsqueeze(0).sum(0),
    "cut and joined": lambda x, u: x + torch.cat([u[:, :1], u[:, 1:]], dim=1),
    "rows reordered": lambda x, u: x + u[:, torch.tensor([2, 0, 1])],
    "accumulated": accumulated,
    "assigned": assigned,
    "constant": lambda x, u: x + u + nn.Parameter(B),
    "in place": lambda x, u: (x * 1).add_(u).mul_(2),
    "dropout off": lambda x, u: x + F.dropout(u, 0.5, training=False),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_linear_form_is_read_as_terms_that_add_up(form: str) -> None:
    w = Written()
    with w.tape:
        out = FORMS[form](w.state, w.update)
    terms = w.terms(out)
    total = sum(t.path.total(t.rows(), ROWS) for t in terms)
    torch.testing.assert_close(total, out.detach().reshape(ROWS, WIDTH), atol=1e-14, rtol=1e-13)
    leaves = [t.leaf for t in terms if not is_constant(t.leaf)]
    assert sum(leaf is w.stop for leaf in leaves) == 1
    assert all(leaf is w.stop or linear_leaf(leaf) is not None for leaf in leaves)


@pytest.mark.parametrize("form", FORMS)
def test_frozen_steps_are_linear_in_the_leaf(form: str) -> None:
    w = Written()
    with w.tape:
        out = FORMS[form](w.state, w.update)
    for t in w.terms(out):
        x, y = rand(*t.rows().shape, seed=7), rand(*t.rows().shape, seed=8)
        both = t.path.total(2 * x - 3 * y, ROWS)
        torch.testing.assert_close(both, 2 * t.path.total(x, ROWS) - 3 * t.path.total(y, ROWS))
        for row in range(ROWS):  # row by row: what one leaf row adds
            here = sum((t.path.apply(x[r], r) for r in t.path.leaf_rows(row)), torch.zeros(WIDTH, dtype=torch.float64))
            torch.testing.assert_close(here, t.path.total(x, ROWS)[row])


NONLINEAR = {
    "square": lambda x, u: x + u**2,
    "activation": lambda x, u: x + torch.tanh(u),
    "mean of others": lambda x, u: x + u - u.cumsum(1),
}


@pytest.mark.parametrize("form", NONLINEAR)
def test_what_is_not_linear_stays_a_leaf_of_its_own(form: str) -> None:
    w = Written()
    with w.tape:
        out = NONLINEAR[form](w.state, w.update)
    terms = w.terms(out)
    total = sum(t.path.total(t.rows(), ROWS) for t in terms)
    torch.testing.assert_close(total, out.detach().reshape(ROWS, WIDTH))
    others = [t.leaf for t in terms if t.leaf is not w.stop and linear_leaf(t.leaf) is None]
    assert others
    assert all(isinstance(leaf, Node) and not is_constant(leaf) for leaf in others)


def test_a_call_has_one_rule() -> None:
    before = list(RULES)
    with pytest.raises(ValueError, match="add is read by _sum already"):
        rule("no such call", "add")(lambda _walk, _node: None)
    assert before == RULES


def test_a_new_rule_is_used_and_what_it_gives_up_is_a_leaf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmtt_widget.decomposition.residual.RULES", rules := [*RULES])
    x, weight = rand(ROWS, WIDTH), nn.Parameter(rand(WIDTH, WIDTH, seed=1))
    with Tape() as tape:
        state = F.linear(x, weight)
        without, added = (torch.hypot(state, torch.full_like(state, c)) for c in (0.0, 1.0))
    assert [t.leaf.op for t in Walk(WIDTH).terms(tape.node(without))] == ["hypot"]
    rules.append((frozenset({"hypot"}), lambda walk, n: walk.terms(n.args[0]) if not n.args[1].value.any() else None))
    assert [t.leaf.op for t in Walk(WIDTH).terms(tape.node(without))] == ["linear"]
    assert [t.leaf.op for t in Walk(WIDTH).terms(tape.node(added))] == ["hypot"]
