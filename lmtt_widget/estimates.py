"""What every line, head and part would do to a prediction, to first order: one backward pass for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .attribution import log_odds
from .decomposition.forward import in_plain_precision, in_turn, readable
from .decomposition.heard import NoWayBack, run_heard
from .decomposition.layers import find_layers
from .decomposition.nodes import Node
from .decomposition.restored import Undo, whatever_happens
from .decomposition.streams import Streams
from .decomposition.vectors import head_vectors
from .given import integer, of_kind, place, told
from .parts import Part, wide
from .run import RECORDED, Run

_STEPS = 5


@dataclass(frozen=True, eq=False)
class Estimate:
    """By how much the log odds would change without each part, estimated: never an effect (`effects` is exact).

    In the sign and the unit of `Verdict.change`: nats, negative where a part holds the answer up.

    >>> found = lmtt.estimate(run, foil=model.token_id(" John"))
    >>> found.line(run.parts[4]).shape, found.part(run.parts[5]).shape  # [head, query, key], [pos]
    (torch.Size([8, 14, 14]), torch.Size([14]))
    """

    run: Run
    token: int
    foil: int | None
    pos: int
    other: Run | None  # the contrast run, whose values stand in; None: nothing does
    gradients: tuple[Tensor, ...]  # of the log odds, at each state: [pos, d_model]

    def line(self, part: Part) -> Tensor:
        """Of every line of an attention part: [head, query, key]; the heads of one line are summed by `.sum(0)`."""
        found = _lines(part, self.gradients[part.state])
        if self.other is None:
            return -found
        return _lines(self.other.parts[part.number], self.gradients[part.state]) - found

    def heads(self, part: Part) -> Tensor:
        """Of every head of an attention part, over all queries: [head]."""
        return self.line(part).sum((1, 2))

    def part(self, part: Part) -> Tensor:
        """Of a part as a whole at every position: [pos]."""
        gradient = self.gradients[part.state]
        mine = part.output(self.run.n_tokens).to(gradient)
        if self.other is None:
            return -(mine * gradient).sum(-1)
        theirs = self.other.parts[part.number].output(self.run.n_tokens).to(gradient)
        return ((theirs - mine) * gradient).sum(-1)

    def all_heads(self) -> Tensor:
        """Of all heads of the model, in the order of `effects(run, "heads")`: [n]."""
        found = [self.heads(p) for p in self.run.parts if p.kind == "attention"]
        return torch.cat(found) if found else torch.zeros(0)

    def __repr__(self) -> str:
        against = "nothing" if self.other is None else "another prompt"
        return f"Estimate(of {len(self.run.parts)} parts against {against}, at position {self.pos})"


@in_plain_precision
def estimate(
    run: Run,
    *,
    token: int | None = None,
    foil: int | None = None,
    pos: int = -1,
    other: Run | None = None,
    steps: int = 1,
) -> Estimate:
    """What every line, head and part would do to the log odds of a prediction, to first order, by one backward pass.

    change(z) ~ (z' - z) . d odds / d state, where z' is 0, or what `other`, a run of a prompt as long, wrote there
    (attribution patching). With a contrast prompt that turns the answer round it finds most of what matters; without
    one it does not (docs/truth.md has the figures). steps: the gradient is averaged over so many points between the two
    prompts' embeddings (integrated; 5 are usual), at the price of a pass each.

    Raises ValueError for prompts of different lengths or models, several steps without `other`, a token that is not in
    the vocabulary, and a model that no gradient goes back through (quantised kernels). (Nanda 2023; Hanna et al. 2024,
    arXiv:2403.17806)

        >>> other = lmtt.record(model, prompt.replace("John gave", "Mary gave"))
        >>> found = lmtt.estimate(run, foil=model.token_id(" John"), other=other)
        >>> int(found.all_heads().argmin()) // 8  # the layer of the strongest head
        0
    """
    of_kind(run, Run, "run", RECORDED)
    n, n_vocab = run.n_tokens, run.logits.shape[-1]
    pos, steps = place(pos, n, "pos"), integer(steps, "steps", 1)
    token = int(run.logits[pos].argmax()) if token is None else integer(token, "token", 0, n_vocab - 1)
    if foil is not None:
        integer(foil, "foil", 0, n_vocab - 1)
    if other is not None:
        of_kind(other, Run, "other", RECORDED)
    if steps > 1 and other is None:
        raise ValueError(f"steps lead from another run to this one, so they need `other`, got {told(steps)}")
    if other is not None and (other.n_tokens != n or [p.kind for p in other.parts] != [p.kind for p in run.parts]):
        raise ValueError(
            f"the other run must have the same parts and as many tokens; they have {n} and {other.n_tokens} tokens"
        )

    def metric(logits: Tensor) -> Tensor:
        return log_odds(wide(logits.reshape(n, -1)[pos]), token, foil)

    total: list[Tensor] = []
    for k in range(steps):
        start = wide(run.states[0].value)
        if other is not None and steps > 1:
            before = wide(other.states[0].value)
            start = before + (k + 0.5) / steps * (start - before)
        found = state_gradients(run, metric, start)
        total = found if not total else [a + b for a, b in zip(total, found, strict=True)]
    return Estimate(run, token, foil, pos % n, other, tuple(g / steps for g in total))


def state_gradients(run: Run, metric: Callable[[Tensor], Tensor], start: Tensor) -> list[Tensor]:
    """d metric(logits) / d state of a pass that starts with an embedding [pos, d_model]: [pos, d_model] for each state.

    No gradient is left on any parameter. Raises ValueError where none goes back through the model.
    """
    model, n = run.model, run.n_tokens
    layers = list(model.layers if model.layers is not None else find_layers(model.module))
    if run.call_by_call or any(s.place is None for s in run.states):
        raise ValueError("gradients need a forward pass all of whose states are made by calls that can be heard")
    gradients: dict[int, Tensor] = {}
    leaf: list[Tensor] = []

    def begin(made: Node) -> Tensor:
        value = start.to(made.value.dtype)
        streams = Streams.of(made.shape, n)
        shaped = value.reshape(made.shape) if streams is None else streams.shaped(value)
        leaf[:] = [shaped.detach().clone().requires_grad_()]
        return leaf[0] * 1

    def hear(state: int, x: Tensor) -> None:
        if x.requires_grad:
            x.register_hook(partial(gradients.__setitem__, state))

    def go_back(logits: Tensor) -> None:
        if not leaf:
            raise ValueError("the pass did not make its embedding again, so there are no gradients")
        gradients[0] = torch.autograd.grad(metric(logits), leaf[0])[0]

    def passed(undo: Undo) -> None:
        readable(model.module, undo)
        run_heard(
            model.module, layers, n, model.inputs(run.token_ids.tolist()),
            changes={run.states[0].place: begin},  # type: ignore[dict-item]
            listeners={s.place: partial(hear, s.index) for s in run.states[1:] if s.place is not None},
            back=go_back,
        )  # fmt: skip

    try:
        in_turn(layers, lambda: whatever_happens(passed))
    except (RuntimeError, AssertionError) as e:  # some models ask to be in training first
        said = str(e) if isinstance(e, NoWayBack) else f"{type(e).__name__}: {e}"
        raise ValueError(f"no gradient goes back through this model ({said}); exact effects need none") from e
    return [_rows(gradients.get(s.index), run, s.value) for s in run.states]


def _rows(gradient: Tensor | None, run: Run, value: Tensor) -> Tensor:
    if gradient is None:
        return torch.zeros_like(wide(value))
    streams = Streams.of(tuple(gradient.shape), run.n_tokens)
    return wide(gradient.reshape(run.n_tokens, -1) if streams is None else streams.rows(gradient))


def _lines(part: Part, gradient: Tensor) -> Tensor:
    """z . gradient for every line: [head, query, key]."""
    if part.heads is None:
        raise ValueError(f"only an attention part has lines, got {part!r}")
    found: list[Any] = []
    for h in range(part.n_heads):
        v = head_vectors(part.linear[0], h)
        g = gradient.to(v.pattern)
        if v.shared is not None:
            found.append(v.weights(0, len(g)) * (g @ v.shared.T))
            continue
        rows = torch.zeros(len(g), len(g), dtype=g.dtype, device=g.device)
        for q in range(len(g)):
            rows[q, : q + 1] = v.block(q, q + 1)[0] @ g[q]
        found.append(rows)
    return torch.stack(found)
