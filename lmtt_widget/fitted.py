"""Lenses that are fitted on many prompts: what a state will become, and what the one after it will say.

Knows nothing of files of surveys and of screens. The logit lens reads a state as if no layer came after it. Here an
affine map for each state, found by least squares, says first what the last state will be: at the same token
(ahead=0), or at the token after it (ahead=1), whose prediction is the token after next.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .given import integer, number, of_kind, place, told
from .lens import lens_logits, readout_of
from .model import Model
from .progress import Option, reported
from .run import RECORDED, Run, record

_HELD_OUT = 5  # every fifth prompt is kept for measuring


@dataclass(frozen=True, eq=False)
class FittedLens:
    """An affine map for each state into the last one, with what it is worth on prompts it has not seen.

    >>> texts = ["The capital of France is Rome.", "Mary went to the store.", "John has a dog.", prompt, "It rained."]
    >>> lens = lmtt.fit_lens(model, texts)
    >>> lens.logits(run, 4).shape[0] == run.logits.shape[1]
    True
    """

    ahead: int  # 0: the prediction of this token; 1: that of the next
    weight: Tensor  # [state, d_model, d_model]
    bias: Tensor  # [state, d_model]
    kl: Tensor  # [state], KL(the model's prediction || the lens'), in nats, on prompts that were held out
    kl_logit_lens: Tensor  # [state], of the logit lens on the same; for ahead=1 read as if it were said one later
    accuracy: Tensor  # [state], how often its best token is the one that stands there
    bigram: float  # how often the token that most often stood so far after this one, in the other prompts, is right

    def logits(self, run: Run, state: int, pos: int = -1) -> Tensor:
        """What the model will say, read off a state at a position: [d_vocab]."""
        of_kind(run, Run, "run", RECORDED)
        state, pos = place(state, len(run.states), "state"), place(pos, run.n_tokens, "pos")
        moved = run.value(state)[pos] @ self.weight[state].to(run.value(state)) + self.bias[state].to(run.value(state))
        return _said(run, moved[None])[0]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Saves it as safetensors, with what it is worth; returns its path."""
        from safetensors.torch import save_file

        measured = {"kl": self.kl, "kl_logit_lens": self.kl_logit_lens, "accuracy": self.accuracy}
        tensors = {"weight": self.weight, "bias": self.bias} | measured
        said = {"ahead": str(self.ahead), "bigram": repr(self.bigram)}
        save_file({name: x.contiguous() for name, x in tensors.items()}, os.fspath(path), metadata=said)
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FittedLens:
        """A lens that `save` saved."""
        from safetensors import safe_open

        with safe_open(os.fspath(path), "pt") as file:
            tensors: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            said = file.metadata()
        return cls(ahead=int(said["ahead"]), bigram=float(said["bigram"]), **tensors)

    def __repr__(self) -> str:
        rows = [
            f"  state {s}: KL {float(kl):.2f} (logit lens {float(plain):.2f}), right {float(right):.0%}"
            for s, (kl, plain, right) in enumerate(zip(self.kl, self.kl_logit_lens, self.accuracy, strict=True))
        ]
        return "\n".join([f"FittedLens(ahead={self.ahead}, bigrams right {self.bigram:.0%})", *rows])


def fit_lens(
    model: Model, prompts: Iterable[Any], *, ahead: int = 0, ridge: float = 1e-3, progress: Option = None
) -> FittedLens:
    """A lens fitted on many prompts, every fifth of which is held out and measured on.

    For each state the affine map, by least squares with a ridge, onto the last state over its length, at the same token
    or at the next: a tuned lens in closed form. (Din et al. 2023, arXiv:2303.09435; by gradients on the KL: Belrose et
    al. 2023, arXiv:2303.08112; ahead: Pal et al. 2023, arXiv:2311.04897). progress(done, total) is called per prompt.

    Raises ValueError for fewer than five prompts, and where logits are no linear read-out of the last state.

        >>> lens = lmtt.fit_lens(model, [prompt, "Mary went to the store."] * 3, ahead=1)
        >>> lens.ahead, lens.kl.shape[0] == len(run.states)
        (1, True)
    """
    of_kind(model, Model, "model", "load_model(...) makes one, also of a torch module")
    ahead, ridge, given = integer(ahead, "ahead", 0, 1), number(ridge, "ridge", 0), _listed(prompts)
    if len(given) < _HELD_OUT:
        raise ValueError(f"a lens is fitted on {_HELD_OUT} prompts or more, got {len(given)}")
    sums: list[Any] = []
    held: list[Run] = []
    after: defaultdict[int, Counter[int]] = defaultdict(Counter)
    with reported("fitting", progress) as done:
        for k, prompt in enumerate(given):
            run = record(model, prompt, progress=False)
            readout_of(run)
            if k % _HELD_OUT == _HELD_OUT - 1:
                held.append(run)
            else:
                sums = _added(sums, run, ahead)
                ids = run.token_ids.tolist()
                for a, b in zip(ids, ids[1 + ahead :], strict=False):
                    after[a][b] += 1
            done(k + 1, len(given))
    maps = [_solved(xx, xy, ridge) for xx, xy in sums]
    weight, bias = torch.stack([m[:-1] for m in maps]), torch.stack([m[-1] for m in maps])
    measured = [_measured(held, s, weight[s], bias[s], ahead) for s in range(len(maps))]
    kl, plain, right = (torch.tensor(x) for x in zip(*measured, strict=True))
    best = {a: counts.most_common(1)[0][0] for a, counts in after.items()}
    texts = [run.token_ids.tolist() for run in held]
    pairs = [pair for ids in texts for pair in zip(ids, ids[1 + ahead :], strict=False)]
    bigram = sum(best.get(a) == b for a, b in pairs) / max(1, len(pairs))
    return FittedLens(ahead, weight.float(), bias.float(), kl, plain, right, bigram)


def _listed(prompts: object) -> list[Any]:
    if isinstance(prompts, (str, bytes, Tensor)) or not isinstance(prompts, Iterable):
        raise TypeError(f"prompts must be a list of prompts, or another iterable, got {told(prompts)}")
    return list(prompts)


def _added(sums: list[Any], run: Run, ahead: int) -> list[Any]:
    """The sums of squares and products of every state with the last one, with one more prompt."""
    last = run.value(len(run.states) - 1).double()[ahead:]
    target = last / last.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-12)
    found = []
    for s in range(len(run.states)):
        x = run.value(s).double()[: len(target)]
        x = torch.cat([x, x.new_ones(len(x), 1)], 1).to(target.device)
        xx, xy = x.mT @ x, x.mT @ target
        found.append((xx, xy) if not sums else (sums[s][0] + xx, sums[s][1] + xy))
    return found


def _solved(xx: Tensor, xy: Tensor, ridge: float) -> Tensor:
    """[d_model + 1, d_model]; the last row is the bias."""
    scale = ridge * xx.diagonal().mean()
    return torch.linalg.solve(xx + scale * torch.eye(len(xx), dtype=xx.dtype, device=xx.device), xy)


def _measured(held: list[Run], state: int, weight: Tensor, bias: Tensor, ahead: int) -> tuple[float, float, float]:
    """KL of the fitted and of the plain lens, and how often the fitted one's best token is right."""
    kl, plain, right, n, n_right = 0.0, 0.0, 0, 0, 0
    for run in held:
        stop = run.n_tokens - ahead
        x = run.value(state)[:stop]
        fitted = _said(run, x @ weight.to(x) + bias.to(x)).double().log_softmax(-1)
        own = lens_logits(run, state, slice(0, stop)).double().log_softmax(-1)
        final = run.logits[ahead:].double().log_softmax(-1)
        kl += float((final.exp() * (final - fitted)).sum())
        plain += float((final.exp() * (final - own)).sum())
        there = run.token_ids[1 + ahead :].to(fitted.device)
        right += int((fitted[: len(there)].argmax(-1) == there).sum())
        n, n_right = n + stop, n_right + len(there)
    return kl / max(1, n), plain / max(1, n), right / max(1, n_right)


def _said(run: Run, states: Tensor) -> Tensor:
    """What the model would say of last states [row, d_model]: [row, d_vocab]."""
    readout, n = readout_of(run), run.n_tokens
    pieces = []
    for some in states.split(n):  # the model's own calls are repeated on as many rows as there were tokens
        padded = torch.cat([some, some[-1:].expand(n - len(some), -1)])
        pieces.append(readout.logits(padded, range(len(some))))
    return torch.cat(pieces)
