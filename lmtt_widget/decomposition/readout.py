"""From the last state to the logits with the final norm frozen: what any vector adds to each logit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .residual import DIV, IDENTITY, MUL, VIEW, LinearMap, Path, Term, Walk, is_constant, linear_leaf
from .tape import Node, replay


@dataclass
class Stage:
    """Frozen steps, then a linear map; most models have one stage (final norm, unembedding)."""

    path: Path
    constants: list[tuple[Path, Tensor]]  # added beside the signal: [row, n] each, the final norm's bias
    map: LinearMap
    like: Tensor  # an input of the map, for its width, dtype and device


@dataclass
class Readout:
    stages: list[Stage]
    scale: float  # a factor on the logits after the unembedding
    cap: float | None  # logits = cap * tanh(x / cap) afterwards
    last: Node  # the last state, and the input of the unembedding that was made from it
    unembedded: Node
    error: Tensor  # [], relative error of the logits rebuilt from the last state

    def logits(self, states: Tensor, rows: Sequence[int] | slice, normalize: bool = True) -> Tensor:
        """What the model would say if these were its last states [pos, d_model]: logits [row, token] of some rows.

        The final norm is applied to the states themselves, by repeating the model's own calls; or left out.
        """
        return self._unembed(self._final(states, rows, normalize))

    def logits_of(self, states: Sequence[Tensor], pos: int, normalize: bool = True) -> Tensor:
        """The same for several states at one position, unembedded together: [state, token]."""
        return self._unembed(torch.cat([self._final(s, [pos], normalize) for s in states]))

    def _final(self, states: Tensor, rows: Sequence[int] | slice, normalize: bool) -> Tensor:
        recorded = self.last.value
        if normalize:
            given = states.to(recorded.device, recorded.dtype).reshape(recorded.shape)
            with torch.no_grad():
                x = replay(self.unembedded, {self.last: given})
            return x.reshape(-1, x.shape[-1])[rows]
        x = states[rows]
        for stage in self.stages[:-1]:
            x = _affine(stage.map, x, stage.like)
        return x

    def _unembed(self, x: Tensor) -> Tensor:
        last = self.stages[-1]
        return self.capped(_affine(last.map, x, last.like) * self.scale)

    def direct(self, x: Tensor, row: int, tokens: Tensor | None = None) -> Tensor:
        """What vectors x [n, d_model] in the last state at `row` add to the logits before any cap: [n, token]."""
        for stage in self.stages:
            x = stage.map(
                stage.path.apply(x, row), outputs=_columns(tokens) if stage is self.stages[-1] else slice(None)
            )
        return x * self.scale

    def constant(self, row: int, tokens: Tensor | None = None) -> Tensor | None:
        """What in the logits no vector of the stream accounts for (norm bias, unembedding bias): [token]."""
        total: Tensor | None = None
        for stage in self.stages:
            last = tokens if stage is self.stages[-1] else None
            x = None if total is None else stage.path.apply(total, row)
            for path, value in stage.constants:
                c = path.apply(value[row if value.shape[0] > 1 else 0][None], row)
                x = c if x is None else x + c
            total = None if x is None else stage.map(x, outputs=_columns(last))
            bias = stage.map.bias(stage.like)
            if bias is not None:
                bias = (bias if last is None else bias[last])[None]
                total = bias if total is None else total + bias
        return None if total is None else total[0] * self.scale

    def capped(self, logits: Tensor) -> Tensor:
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)


def read_out(logits: Node, last: Node, check_rows: Sequence[int] | None) -> Readout | None:
    """The readout behind these logits, checked on some rows; None if they are no linear maps of the last state."""
    n, scale, cap = logits, 1.0, None
    after: list[float | None] = []  # factors from the unembedding upward, None for a tanh
    while linear_leaf(n) is None:
        x = n.args[0] if n.args and isinstance(n.args[0], Node) else None
        if x is None:
            return None
        if n.op in MUL | DIV and len(n.args) == 2:
            c = n.args[1].value if isinstance(n.args[1], Node) else n.args[1]
            if isinstance(c, Tensor) and c.numel() != 1:
                return None
            after.insert(0, float(c) if n.op in MUL else 1 / float(c))
        elif n.op == "tanh":
            after.insert(0, None)
        elif not (n.op in IDENTITY | VIEW | {"__getitem__"} and x.value.numel() == n.value.numel()):
            return None
        n = x
    for factor in after:
        if factor is None:
            cap = 1.0
        elif cap is None:
            scale *= factor
        else:
            cap *= factor
    if cap is not None:  # scale * x, tanh, times cap: the logits before the cap are in units of the cap
        scale *= cap
    stages: list[Stage] = []
    unembedded = linear_leaf(n)[1]  # type: ignore[index]
    while n is not last:
        found = linear_leaf(n)
        if found is None:
            return None
        mapping, z = found
        terms = Walk(z.shape[-1], [last]).terms(z)
        signal = [t for t in terms if t.leaf is last or linear_leaf(t.leaf) is not None]
        rest = [t for t in terms if t not in signal]
        if len(signal) != 1 or not all(is_constant(t.leaf) for t in rest):
            return None
        stages.insert(
            0,
            Stage(
                signal[0].path,
                [(t.path, _constant_rows(t)) for t in rest],
                mapping,
                z.value.detach().reshape(-1, z.shape[-1]),
            ),
        )
        n = signal[0].leaf
    readout = Readout(stages, scale, cap, last, unembedded, torch.zeros(()))
    readout.error = _error(readout, logits.value, last.value, check_rows)
    return readout


def _affine(mapping: LinearMap, x: Tensor, like: Tensor) -> Tensor:
    y, bias = mapping(x), mapping.bias(like)
    return y if bias is None else y + bias


def _columns(tokens: Tensor | None) -> Tensor | slice:
    return slice(None) if tokens is None else tokens


def _constant_rows(t: Term) -> Tensor:
    value = t.leaf.value.detach()
    return value.reshape(-1, t.shape[-1]) if value.shape[-1] == t.shape[-1] else t.rows()


def _error(readout: Readout, logits: Tensor, last: Tensor, check_rows: Sequence[int] | None) -> Tensor:
    """Compared on some rows and, unless all rows are checked, on about a hundred tokens spread over the vocabulary."""
    last, logits = last.detach().reshape(-1, last.shape[-1]), logits.detach().reshape(-1, logits.shape[-1])
    n_vocab = logits.shape[-1]
    tokens = None if check_rows is None else torch.linspace(0, n_vocab - 1, min(n_vocab, 97)).long().to(logits.device)
    worst = torch.zeros((), device=logits.device)
    for row in range(last.shape[0]) if check_rows is None else (0, last.shape[0] - 1):
        got = readout.direct(last[row][None], row, tokens)[0]
        constant = readout.constant(row, tokens)
        got = readout.capped(got if constant is None else got + constant)
        truth = logits[row] if tokens is None else logits[row, tokens]
        wide = torch.promote_types(truth.dtype, torch.float32)
        worst = torch.maximum(worst, (got.to(wide) - truth.to(wide)).norm() / truth.to(wide).norm().clamp_min(1e-30))
    return worst
