"""A prompt and what the model goes on to say, as one run: every generated token is a target of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .decomposition.forward import forward_logits, in_turn
from .decomposition.layers import find_layers
from .given import integer, number, of_kind, told
from .interventions import Edit
from .model import Model
from .parts import wide
from .progress import Option, reported
from .prompts import Prompt
from .run import Run, record
from .tokens import Token

_MOST = (1 << 31) - 1  # tokens to add: more than any model has positions


@dataclass(frozen=True, eq=False)
class Generated:
    """What a model said after a prompt, with the run of both.

    >>> said = lmtt.generate(model, prompt, 2)
    >>> said.text, said.targets
    (' Mary.', range(13, 15))
    """

    run: Run  # of prompt and continuation
    n_prompt: int  # tokens of the prompt
    text: str  # the continuation
    p: tuple[float, ...]  # of each generated token where it was chosen, at the temperature 1
    why: str  # it ended: "length", "stop", or "positions" (the model has no more)

    @property
    def tokens(self) -> list[Token]:
        """The generated tokens."""
        return self.run.tokens[self.n_prompt :]

    @property
    def targets(self) -> range:
        """The positions that predicted them: trace(graph, target=said.targets[0])."""
        return range(self.n_prompt - 1, self.run.n_tokens - 1)

    def __repr__(self) -> str:
        return f"Generated({self.text!r}, {len(self.p)} tokens after {self.n_prompt}, ended by {self.why})"


def generate(
    model: Model,
    prompt: Prompt,
    n_tokens: int = 20,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    stop: Sequence[str | int] | None = None,
    interventions: Sequence[Edit] = (),
    progress: Option = None,
) -> Generated:
    """The model's continuation of a prompt, token by token, recorded with the prompt as one run.

    prompt: as of `record`; of chat messages the template asks for an answer. temperature: 0 takes the likeliest token
    each time; else tokens are drawn by softmax(logits / temperature), always the same for one seed. stop: texts or ids
    of tokens that end it (the last one stays in the run); by default the model's own end tokens. interventions: edits
    that hold at every step; one without a position holds at the new positions, too. Each token is one pass over all
    that stands there, without a cache; with edits two and more.

    Raises ValueError for a temperature below 0, a stop that is no token, a prompt as long as the model's positions, and
    whatever `record` refuses.

        >>> said = lmtt.generate(model, prompt, 4, stop=["."])
        >>> said.text, said.why
        (' Mary.', 'stop')
        >>> cut = lmtt.Edit({"kind": "edge", "state": 5, "query": 13, "key": 1})
        >>> lmtt.generate(model, prompt, 1, interventions=[cut]).text
        ' John'
    """
    of_kind(model, Model, "model", "load_model(...) makes one, also of a torch module")
    n_tokens, temperature = integer(n_tokens, "n_tokens", 1, _MOST), number(temperature, "temperature", 0.0)
    if temperature == float("inf"):
        raise ValueError("temperature must be finite; 1 draws as the model says")
    dice = torch.Generator().manual_seed(integer(seed, "seed", 0, (1 << 63) - 1))
    ends = _ends(model) if stop is None else _tokens(model, stop)
    encoded = model.encode(prompt)
    first = len(encoded.ids)
    said = Continuation(model, encoded.ids, interventions, ends, temperature, dice)
    if said.why == "positions":
        raise ValueError(
            f"the prompt fills the model's {model.n_positions} positions, so nothing can follow; shorten it"
        )
    with reported("generating", progress) as done:
        while not said.ended(n_tokens):
            said.more()
            done(len(said.p), n_tokens)
    run = record(model, said.ids, interventions=interventions, progress=progress)
    speaker = "assistant" if any(encoded.roles) else None
    run.roles = [*encoded.roles, *[speaker] * len(said.p)]
    why = "length" if said.why != "stop" and len(said.p) == n_tokens else said.why
    return Generated(run, first, _text(model, said.ids[first:]), tuple(said.p), why)


class Continuation:
    """Tokens after a prompt, one at a time; what was said so far stays."""

    def __init__(
        self,
        model: Model,
        ids: Sequence[int],
        interventions: Sequence[Edit] = (),
        ends: set[int] | None = None,
        temperature: float = 0.0,
        dice: torch.Generator | None = None,
    ) -> None:
        """ends: the tokens that end it, by default the model's own."""
        self.model, self.ids, self.interventions = model, list(ids), interventions
        self.first, self.temperature, self.dice = len(self.ids), temperature, dice or torch.Generator()
        self.ends = _ends(model) if ends is None else ends
        self.p: list[float] = []  # of each token where it was chosen

    @property
    def why(self) -> str:
        """It cannot go on: "stop" or "positions"; empty where it can."""
        if len(self.ids) > self.first and self.ids[-1] in self.ends:
            return "stop"
        n = self.model.n_positions
        return "positions" if n is not None and len(self.ids) >= n else ""

    def ended(self, n_tokens: int) -> bool:
        return len(self.p) >= n_tokens or bool(self.why)

    def tokens(self, n_tokens: int) -> list[Token]:
        """The first few of those that were generated."""
        return self.model.readable_tokens(self.ids)[self.first : self.first + n_tokens]

    def more(self) -> None:
        """The next token. Raises what `record` raises."""
        logits = _next(self.model, self.ids, self.interventions)
        token = _drawn(logits, self.temperature, self.dice)
        self.p.append(float(logits.softmax(-1)[token]))
        self.ids.append(token)


def _next(model: Model, ids: list[int], interventions: Sequence[Edit]) -> Tensor:
    """The logits after some tokens: [d_vocab]."""
    if not isinstance(interventions, (list, tuple)) or interventions:  # what is no list is refused there
        return wide(record(model, ids, interventions=interventions, progress=False).logits[-1]).cpu()
    layers = list(model.layers if model.layers is not None else find_layers(model.module))
    with torch.no_grad():
        logits = in_turn(layers, lambda: forward_logits(model.module, model.inputs(ids)))
    found = wide(logits.reshape(-1, logits.shape[-1])[-1]).cpu()
    if not bool(found.isfinite().all()):
        raise ValueError("the model's logits are not finite (NaN or infinite), so no token can be drawn from them")
    return found


def _drawn(logits: Tensor, temperature: float, dice: torch.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    p = ((logits - logits.max()) / temperature).softmax(-1)
    return int(torch.multinomial(p, 1, generator=dice))


def _ends(model: Model) -> set[int]:
    """The tokens that end a text, as the model and its tokenizer say."""
    settings = (getattr(model.module, "generation_config", None), model.config, model.tokenizer)
    found: set[int] = set()
    for s in settings:
        end: Any = getattr(s, "eos_token_id", None)
        found.update(i for i in (end if isinstance(end, (list, tuple)) else [end]) if isinstance(i, int))
    return found


def _tokens(model: Model, stop: Any) -> set[int]:
    if isinstance(stop, (str, bytes, int)) or not isinstance(stop, Sequence):
        raise TypeError(f'stop must be a list of tokens, texts or ids: stop=["."], got {told(stop)}')
    return {model.token_id(t, "a stop") if isinstance(t, str) else integer(t, "a stop", 0) for t in stop}


def _text(model: Model, ids: list[int]) -> str:
    if model.tokenizer is None:
        return " ".join(map(str, ids))
    found: str = model.tokenizer.decode(ids)
    return found
