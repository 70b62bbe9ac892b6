"""Neurons with a gate, act(gate) * up: the signs of both at every token, and how alike their weights are.

Knows nothing of shares, files and screens. Where gate is positive and up negative, the neuron writes the opposite of
its output row: one neuron has up to four ways to act, and what it does in one says little about the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .decomposition.linear import LinearMap
from .decomposition.writes import LinearWrite
from .given import places
from .inside import expert_name
from .parts import Part
from .run import Run, need_own

CASES = ("+ +", "+ -", "- +", "- -")  # of gate and up; zero counts as negative
_BLOCK = 1 << 22  # numbers of a weight that are made wider at a time
_ALIKE = 0.5

Expert = int | str | None


@dataclass(frozen=True)
class SignCases:
    """How often each neuron of an MLP, or of one expert, was in each of the four cases of gate and up, and where most.

    >>> cases = lmtt.sign_cases(run, run.part("mlp", layer=2))[None]
    >>> cases.count.sum(1).unique().tolist() == [run.n_tokens]
    True
    """

    count: Tensor  # [neuron, case]: + +, + -, - +, - -
    value: Tensor  # [neuron, case], the activation that is largest in size; 0 where the case was never seen
    pos: Tensor  # [neuron, case], the token where it was; -1 where the case was never seen


def sign_cases(run: Run, part: Part, neurons: Sequence[int] | None = None) -> dict[Expert, SignCases]:
    """The signs of gate and up of every neuron of an MLP over all tokens of a prompt, by expert (None: there are none).

    neurons: those that are asked for, in their order; None: all. (GLU variants: Shazeer 2020, arXiv:2002.05202)
    Raises ValueError for a part that is no MLP or whose neurons have no gate.

        >>> found = lmtt.sign_cases(run, run.part("mlp", layer=0))
        >>> found[None].count.shape[1]
        4
    """
    found: dict[Expert, list[SignCases]] = {}
    for expert, write, rows in _gated_writes(run, part):
        assert write.gate is not None
        assert write.up is not None
        gate, up, value = (_columns(x[rows], neurons) for x in (write.gate, write.up, write.input))
        case = 2 * (gate <= 0).long() + (up <= 0).long()  # [row, neuron]
        value, tokens = value.float(), _tokens(write, rows)
        columns = []
        for k in range(len(CASES)):
            here = case == k
            size, at = torch.where(here, value.abs(), -1).max(0)
            there = size >= 0
            largest = torch.where(there, value.gather(0, at[None])[0], 0)
            columns.append((here.sum(0), largest, torch.where(there, tokens[at], -1)))
        found.setdefault(expert, []).append(
            SignCases(*(torch.stack(some, 1).cpu() for some in zip(*columns, strict=True)))
        )
    return {expert: cases[0] for expert, cases in found.items()}


def row_similarity(run: Run, part: Part, expert: Expert = None, neurons: Sequence[int] | None = None) -> Tensor:
    """The cosines of each neuron's gate and up, gate and output, up and output rows: [neuron, 3].

    Output near the input: the neuron promotes what it detects; near its opposite: it removes it; orthogonal: it writes
    something else. neurons: those that are asked for, in their order; None: all.
    Raises ValueError for a part whose neurons have no gate, for an expert no token went to, and where
    the weights cannot be told from the recording.

        >>> lmtt.row_similarity(run, run.part("mlp", layer=2)).shape[1]
        3
    """
    for name, write, rows in _gated_writes(run, part):
        if name == expert:
            if len(write.gated_by) != 2:
                raise ValueError(f"the gate of {write.module} is no output of one linear map, so it has no rows")
            row, device = int(rows[0]), write.input.device
            asked = _index(neurons, write.input.shape[1], device)
            out = torch.cat([write.map.outputs(some, write.input, row).float() for some in asked.split(_step(write))])
            gate, up = (
                _input_rows(m, columns[asked.to(columns.device)], out.shape[1]) for m, columns in write.gated_by
            )
            pairs = ((gate, up), (gate, out), (up, out))
            return torch.stack([torch.cosine_similarity(a, b.to(a.device)) for a, b in pairs], 1).cpu()
    raise ValueError(f"no token went to expert {expert!r} of {part!r}")


def suggested(cosine: float) -> str:
    """What the similarity of an input row and the output row suggests, in words."""
    if cosine > _ALIKE:
        return "promotes what it detects"
    return "removes what it detects" if cosine < -_ALIKE else "writes something else than it detects"


def is_gated(part: Part) -> bool:
    """Whether the neurons of an MLP part have a gate."""
    return part.kind == "mlp" and any(w.gate is not None for w in part.linear)


def _gated_writes(run: Run, part: Part) -> Iterator[tuple[Expert, LinearWrite, Tensor]]:
    """The writes of an MLP by expert, with their leaf rows that are of a token."""
    need_own(run, part)
    if not is_gated(part):
        raise ValueError(f"only an MLP with a gate has sign cases, got {part!r}")
    for write in part.linear:
        if write.gate is None:
            continue
        n, group = len(write.input), write.map.group or len(write.input)
        for start in range(0, n, group):
            rows = torch.arange(start, min(start + group, n), device=write.input.device)
            if write.path.rows is not None:
                rows = rows[write.path.rows.to(rows.device)[rows] >= 0]
            if len(rows):
                yield expert_name(part, write, start), write, rows


def _columns(x: Tensor, neurons: Sequence[int] | None) -> Tensor:
    return x if neurons is None else x[:, _index(neurons, x.shape[1], x.device)]


def _index(neurons: Sequence[int] | None, n: int, device: torch.device) -> Tensor:
    if neurons is None:
        return torch.arange(n, device=device)
    return torch.tensor(places(neurons, n, "neurons"), dtype=torch.long, device=device)


def _tokens(write: LinearWrite, rows: Tensor) -> Tensor:
    """The token of each leaf row."""
    return rows if write.path.rows is None else write.path.rows.to(rows.device)[rows]


def _input_rows(mapping: LinearMap, columns: Tensor, width: int) -> Tensor:
    """What each output of a map reads: [output, in]."""
    weight: Any = mapping.weight()
    if weight is not None:
        return weight[:, columns].t().float()
    units = torch.eye(width, device=columns.device)
    return mapping(units, outputs=columns).t().float()


def _step(write: LinearWrite) -> int:
    return max(1, _BLOCK // write.output.shape[-1])
