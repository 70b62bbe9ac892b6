"""What a part is made of, under the names of the field: patterns, value vectors, head and neuron vectors, effects.

Knows nothing of shares, pictures and widgets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .attribution import direct_effects
from .decomposition.heads import Heads
from .decomposition.vectors import head_vectors as vectors_of_head
from .decomposition.vectors import neuron_vectors as vectors_of_neurons
from .decomposition.vectors import query_vectors
from .decomposition.writes import LinearWrite
from .given import integer, of_kind, place, places
from .parts import Part
from .run import Run, need_own

_BLOCK = 1 << 21  # numbers in one block of [neuron, d_model]


def attention_pattern(part: Part, query: int | None = None) -> Tensor:
    """Attention probabilities: [head, query, key], or [head, key] of one query; float32 or better.

    Row over key sums to at most 1, to less where a model has attention sinks. Raises ValueError for a part without
    heads, or for a query that the run has not. (Vaswani et al. 2017, arXiv:1706.03762)

        >>> lmtt.attention_pattern(run.part("attention", layer=2)).shape
        torch.Size([8, 14, 14])
    """
    heads = _heads(part)
    if query is None:
        return heads.pattern()
    query = place(query, heads.products[0].n_queries, "query")
    return heads.pattern(slice(query, query + 1))[:, 0]


def value_vectors(part: Part, head: int) -> Tensor:
    """The values one head attends to, value bias included, before its output projection: [key, d_head].

    Heads that share keys and values have the same. Raises ValueError for a part without heads, or for a head
    that it has not. (Elhage et al. 2021, A Mathematical Framework for Transformer Circuits)

        >>> lmtt.value_vectors(run.part("attention", layer=2), 3).shape
        torch.Size([14, 32])
    """
    heads = _heads(part)
    product, number = heads.head(place(head, part.n_heads, "head"))
    return product.values_of(number)


def head_vectors(part: Part, query: int, head: int | None = None) -> Tensor:
    """What heads add to the stream at one query: [head, d_model]; of one head what it moved of each key [key, d_model].

    pattern[head, query, key] x the key's value through the head's slice of the output projection; the output bias
    belongs to no head. Raises ValueError for a part without heads, or for a head or query that is not there.
    (Elhage et al. 2021)

        >>> part = run.part("attention", layer=2)
        >>> moved = lmtt.head_vectors(part, 13, head=3)  # [key, d_model]
        >>> torch.allclose(moved.sum(0), lmtt.head_vectors(part, 13)[3], atol=1e-5)
        True
    """
    query = place(query, _heads(part).products[0].n_queries, "query")
    if head is None:
        return query_vectors(part.linear[0], query)
    found = vectors_of_head(part.linear[0], place(head, part.n_heads, "head"))
    return found.block(query, query + 1)[0]


def neuron_vectors(run: Run, part: Part, pos: int, neurons: Sequence[int] | None = None) -> Tensor:
    """What neurons of an MLP add to the stream at a position, n_u w_u: [neuron, d_model]; None: all of them.

    n_u is the activation after the gate. Of a mixture the neurons of the experts that saw the token follow each other.
    Raises ValueError for a part that is no MLP, or for a neuron or position that is not there. (Geva et al.
    2022, arXiv:2203.14680)

        >>> lmtt.neuron_vectors(run, run.part("mlp", layer=2), 13, [5, 7]).shape
        torch.Size([2, 128])
    """
    blocks = list(_neurons(run, part, pos))
    n = sum(len(index) for _, _, index in blocks)
    if neurons is None:
        return torch.cat([vectors_of_neurons(*block) for block in blocks])
    numbers, found = places(neurons, n, "neurons"), []
    for u in numbers:
        for write, row, index in blocks:
            if u < len(index):
                found.append(vectors_of_neurons(write, row, torch.tensor([u])))
                break
            u -= len(index)
    return torch.cat(found)


@dataclass(frozen=True)
class RankedNeurons:
    """The neurons of an MLP with the largest direct effects, either way, on a token's logit.

    >>> found = lmtt.neurons_by_effect(run, run.part("mlp", layer=3), k=2)
    >>> found.neuron.shape == found.effect.shape
    True
    """

    neuron: Tensor  # [k], in the order of `neuron_vectors`
    effect: Tensor  # [k], in logits


def neurons_by_effect(
    run: Run, part: Part, pos: int = -1, *, token: int | None = None, foil: int | None = None, k: int = 20
) -> RankedNeurons:
    """The neurons that add most to a token's logit, or take most away, at a position; minus the foil's.

    token: an id, by default the model's prediction there. Raises ValueError for a part that is no MLP and where the
    model's logits are no linear read-out of its last state. (Geva et al. 2022, arXiv:2203.14680)

        >>> lmtt.neurons_by_effect(run, run.part("mlp", layer=3), k=3).effect.shape
        torch.Size([3])
    """
    k, neurons = integer(k, "k", 1), _neurons(run, part, pos)
    pos = place(pos, run.n_tokens, "pos")
    token = int(run.logits[pos].argmax()) if token is None else token
    found = []
    for write, row, index in neurons:
        for some in index.split(max(1, _BLOCK // run.value(0).shape[1])):
            made = vectors_of_neurons(write, row, some)
            found.append(direct_effects(run, made, pos, part.state, token, foil))
    effect = torch.cat(found)
    best = effect.abs().topk(min(k, len(effect))).indices
    return RankedNeurons(best.cpu(), effect[best].cpu())


def _heads(part: Part) -> Heads:
    of_kind(part, Part, "part", "one of run.parts")
    if part.heads is None:
        raise ValueError(f"only an attention part has heads, got {part!r}")
    return part.heads


def _neurons(run: Run, part: Part, pos: int) -> list[tuple[LinearWrite, int, Tensor]]:
    """The writes of an MLP that this token is in, with its row and the neurons of each."""
    need_own(run, part)
    if part.kind != "mlp":
        raise ValueError(f"only an MLP part has neurons, got {part!r}")
    rows = [(w, row) for w in part.linear for row in w.path.leaf_rows(place(pos, run.n_tokens, "pos"))]
    return [(w, row, torch.arange(w.input.shape[1], device=w.input.device)) for w, row in rows]
