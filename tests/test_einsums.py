"""Attention written as Einstein sums is read as the same attention written otherwise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lmtt_widget import UndecomposableError, load_model, record
from lmtt_widget.decomposition.einsums import Einsum
from lmtt_widget.decomposition.tape import Node
from lmtt_widget.lens import head_output

from . import zoo
from .test_decomposition import PlainAttention, plain_model

IDS = zoo.prompt()
N_HEADS, D_HEAD = 3, 8
# How scores, the result and the projection are written, and by how many heads values are shared.
WAYS = {
    "heads first": ("bqhd,bkhd->bhqk", "bhqk,bkhd->bqhd", "bqhd,mhd->bqm", 1),
    "heads stay first": ("bqhd,bkhd->bhqk", "bhqk,bkhd->bhqd", "bhqd,mhd->bqm", 1),
    "tokens first": ("bqhd,bkhd->qkbh", "qkbh,bkhd->qbhd", "qbhd,mhd->bqm", 1),
    "coordinates before heads": ("bqhd,bkhd->bhqk", "bhqk,bkhd->bqdh", "bqdh,mhd->bqm", 1),
    "values on the left": ("bkhd,bqhd->bhqk", "bkhd,bhqk->bqhd", "mhd,bqhd->bqm", 1),
    "shared values": ("bqgd,bkd->bgqk", "bgqk,bkd->bqgd", "bqgd,mgd->bqm", 3),
    "without a batch": ("qhd,khd->hqk", "hqk,khd->qhd", "qhd,mhd->qm", 1),
    "implicit": ("aihd,ajhd->ahij", "ahij,ajhd->aihd", "aihd,mhd->aim", 1),
}


class Written(nn.Module):
    """The weights of a PlainAttention, used in einsums."""

    def __init__(self, plain: PlainAttention, way: str) -> None:
        super().__init__()
        self.plain, self.way = plain, way

    def forward(self, x: Tensor) -> Tensor:
        scores, product, project, shared_by = WAYS[self.way]
        t = x.shape[1]
        q, k, v = (y.unflatten(-1, (N_HEADS, D_HEAD)) for y in self.plain.qkv(x).chunk(3, -1))
        if shared_by > 1:
            k, v = k[:, :, 0], v[:, :, 0]
        if self.way == "without a batch":
            q, k, v = q[0], k[0], v[0]
        score = torch.einsum(scores, k, q) if self.way == "values on the left" else torch.einsum(scores, q, k)
        at = scores[-4:]
        later = torch.ones(t, t, dtype=torch.bool).triu(1)
        if at == "qkbh":
            later = later[:, :, None, None]
        pattern = (score / D_HEAD**0.5).masked_fill(later, -torch.inf).softmax(1 if at == "qkbh" else -1)
        left = self.way == "values on the left"
        z = torch.einsum(product, v, pattern) if left else torch.einsum(product, pattern, v)
        weight = self.plain.out.weight.unflatten(-1, (N_HEADS, D_HEAD))
        out = torch.einsum(project, weight, z) if left else torch.einsum(project, z, weight)
        return out.reshape(x.shape) + self.plain.out.bias


def written(way: str) -> tuple[Any, Any]:
    """A model, and the same with its attention written in einsums."""
    model, other = plain_model(), plain_model()
    for block, copy in zip(model.h, other.h, strict=True):
        if way == "shared values":  # keys and values of the first head for all heads
            weight, bias = block.attn.qkv.weight.data, block.attn.qkv.bias.data
            for x in (weight[24:48], weight[48:], bias[24:48], bias[48:]):
                x.copy_(x.unflatten(0, (N_HEADS, D_HEAD))[:1].expand(N_HEADS, *[-1] * x.ndim).flatten(0, 1))
        copy.attn.load_state_dict(block.attn.state_dict())
        copy.attn = Written(copy.attn, way)
    return model, other


@pytest.mark.parametrize("way", WAYS)
def test_heads_of_einsums_write_what_the_same_heads_write(way: str) -> None:
    plain, einsums = (record(load_model(m), IDS, check="all") for m in written(way))
    assert einsums.fidelity.worst < 1e-14
    with torch.no_grad():
        torch.testing.assert_close(einsums.logits, plain.logits)
    pairs = [[p for p in run.parts if p.kind == "attention"] for run in (plain, einsums)]
    assert len(pairs[1]) == 2
    for p, q in zip(*pairs, strict=True):
        assert p.heads is not None
        assert q.heads is not None
        assert (p.state, p.reads, p.n_heads) == (q.state, q.reads, q.n_heads)
        torch.testing.assert_close(p.heads.pattern(), q.heads.pattern())
        for h in range(N_HEADS):
            torch.testing.assert_close(head_output(p, h), head_output(q, h))


@pytest.mark.parametrize("attention", ["bi", "uni"])
def test_attention_with_the_batch_behind_the_tokens_is_read_if_it_is_causal(attention: str) -> None:
    model = load_model(zoo.make("xlnet", attn_type=attention))
    if attention == "bi":
        with pytest.raises(UndecomposableError, match="attention looks at later tokens"):
            record(model, IDS)
    else:
        assert record(model, IDS).fidelity.exact


@pytest.mark.parametrize(
    "letters",
    [("ij", "jk", "ik"), ("bij", "jk", "bik"), ("ibnd", "hnd", "ibh"), ("ibdn", "hnd", "bih"), ("nbid", "dmn", "ibm")],
)
def test_a_matrix_applied_to_rows_gives_what_einsum_gives(letters: tuple[str, str, str]) -> None:
    sizes = dict(zip("bijkndhm", (2, 3, 4, 5, 6, 7, 8, 9), strict=True))
    x, w = (torch.randn([sizes[c] for c in word], dtype=torch.float64) for word in letters[:2])
    rows = Einsum((Node("const", x), letters[0]), (Node("const", w), letters[1]), letters[2]).as_rows()
    assert rows is not None
    assert torch.allclose(rows[0].value @ rows[1], torch.einsum(f"{letters[0]},{letters[1]}->{letters[2]}", x, w))


@pytest.mark.parametrize(
    "letters", [("bij", "bjk", "bik"), ("ij", "ij", "i"), ("ij", "kl", "ijkl"), ("ij", "jk", "ki")]
)
def test_what_is_no_matrix_applied_to_rows_is_not_taken_for_one(letters: tuple[str, str, str]) -> None:
    left, right = (Node("const", torch.zeros([2] * len(word))) for word in letters[:2])
    assert Einsum((left, letters[0]), (right, letters[1]), letters[2]).as_rows() is None
