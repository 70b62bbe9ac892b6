"""One neuron of an MLP at a position: its activation here and at every token, and which tokens it promotes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..decomposition.vectors import neuron_vectors
from ..decomposition.writes import LinearWrite
from ..gated import row_similarity, sign_cases, suggested
from ..inside import expert_name, has_experts, neuron_shares
from ..lens import TokenList
from ..parts import Part
from ..readings import Entered
from ..run import Run
from . import question
from .question import PART, POS, STATE, Column, Field, Map, Question, Record, Selection, Update, find_part


def _n_neurons(run: Run, selection: Selection) -> int:
    return max(w.input.shape[1] for w in find_part(run, selection, PARTS).linear)


class _Expert(Field):
    """A number or a word; which there are is known when the part and the position are."""

    def check(self, run: Run, selection: Selection) -> None:
        _neuron_write(find_part(run, selection, PARTS), selection["pos"], selection.get("expert"))


PARTS = ("mlp",)
NEURON = Field("neuron", _n_neurons)
EXPERT = _Expert("expert", lambda _run, _selection: 0, optional=True)
FIELDS = (STATE, POS, PART, NEURON, EXPERT)


@dataclass(frozen=True, eq=False)
class Cases(Record):
    """The four signs of gate and up over the prompt: + +, + -, - +, - -."""

    count: list[int]
    value: Column  # the activation that is largest in size
    at: list[int]  # the token where it is; -1 where the case was never seen
    similarity: (
        list[float] | None
    )  # cosines of gate and up, gate and output, up and output; None where no rows are known
    suggests: list[str]  # what the last two suggest


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer(question.Answered):
    state: int
    pos: int
    neuron: int
    expert: int | str | None
    part: int
    value: float
    gate: float | None
    up: float | None
    share: float
    effect: float | None
    strip: Map  # [pos], its activation at every token
    cases: Cases | None = None  # of a neuron with a gate
    promoted: TokenList | None = None
    suppressed: TokenList | None = None
    also: TokenList | None = None  # what only the answer it is compared with lists


def answer(q: Question) -> Answer:
    neuron, (write, row) = q.selection["neuron"], _here(q)
    shares = neuron_shares(q.run, q.part, q.pos)
    mine = (shares.neuron == neuron) & (shares.row == row) & (shares.write == q.part.linear.index(write))
    update = q.update(_vector(q))
    return Answer(
        **q.said,
        state=q.state,
        pos=q.pos,
        neuron=neuron,
        expert=expert_name(q.part, write, row),
        part=q.part.number,
        value=float(write.input[row, neuron]),
        gate=None if write.gate is None else float(write.gate[row, neuron]),
        up=None if write.up is None else float(write.up[row, neuron]),
        share=float(shares.share[mine].sum()),
        effect=q.effect(_vector(q)),
        strip=_strip(q, write, row),
        cases=None if write.gate is None else _cases(q, expert_name(q.part, write, row)),
        promoted=update.promoted if update else None,
        suppressed=update.suppressed if update else None,
    )


def compare(q: Question, mine: Answer, other: Answer) -> Answer:
    own, theirs = (Update(a.promoted, a.suppressed) if a.promoted and a.suppressed else None for a in (mine, other))
    update = q.beside(own, _vector(q), [theirs])
    return replace(mine, also=update.also) if update else mine


def updates(q: Question) -> list[Entered]:
    return q.entered(_vector(q))


def _here(q: Question) -> tuple[LinearWrite, int]:
    return _neuron_write(q.part, q.pos, q.selection.get("expert"))


def _vector(q: Question) -> Tensor:
    """What the neuron added: [d_model]."""
    return neuron_vectors(*_here(q), torch.tensor([q.selection["neuron"]]))[0]


def _strip(q: Question, write: LinearWrite, row: int) -> Tensor:
    strip = torch.zeros(q.run.n_tokens)
    for pos in range(q.run.n_tokens):
        for r in write.path.leaf_rows(pos):
            if write.expert(r) == write.expert(row):  # 0 where the expert did not see the token
                strip[pos] = write.input[r, q.selection["neuron"]]
    return strip


def _cases(q: Question, expert: int | str | None) -> Cases:
    """Of this neuron over the prompt; of an expert's over the tokens that went to it."""
    neurons = [q.selection["neuron"]]
    found = sign_cases(q.run, q.part, neurons)[expert]
    try:
        alike = row_similarity(q.run, q.part, expert, neurons)[0].tolist()
    except ValueError:  # its gate is no output of one linear map
        alike = None
    says = [] if alike is None else [suggested(x) for x in alike[1:]]
    return Cases(found.count[0].tolist(), found.value[0], found.pos[0].tolist(), alike, says)


def _neuron_write(part: Part, pos: int, expert: int | str | None) -> tuple[LinearWrite, int]:
    """The write and leaf row that hold the neurons of a token, of one expert where there are several."""
    here = [(w, row) for w in part.linear for row in w.path.leaf_rows(pos)]
    chosen = [(w, row) for w, row in here if expert is None or expert_name(part, w, row) == expert]
    if not chosen:
        if not has_experts(part):
            raise ValueError(f"this MLP has no experts: leave expert out of the selection, got expert {expert!r}")
        seen = ", ".join(str(expert_name(part, w, row)) for w, row in here)
        raise ValueError(f"expert {expert!r} did not see token {pos}; it went to the experts {seen}")
    return chosen[0]
