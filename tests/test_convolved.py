"""What a causal convolution does to a write: at its own token it stays what it was, at later ones it is a mixer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lmtt_widget import Run, UndecomposableError, load_model, record
from lmtt_widget.decomposition.vectors import constant_vectors, neuron_vectors
from lmtt_widget.lens import head_output

from . import zoo
from .test_decomposition import PlainBlock, PlainModel

IDS = zoo.prompt()
WIDTH, TAPS = 24, 4


class Convolution(nn.Module):
    """x [1, pos, d_model] -> a weighted sum of each token and the three before it, coordinate by coordinate."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.conv = nn.Conv1d(WIDTH, WIDTH, TAPS, groups=WIDTH, padding=TAPS - 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        across = x.transpose(1, 2) if self.way != "permuted" else x.permute(0, 2, 1)
        if self.way == "padded":
            out = functional.conv1d(functional.pad(across, (TAPS - 1, 0)), self.conv.weight, groups=WIDTH)
        elif self.way == "both ways":
            out = functional.conv1d(across, self.conv.weight, padding=2, groups=WIDTH)[..., : x.shape[1]]
        else:
            out = self.conv(across)[..., : x.shape[1]]
        return out.transpose(1, 2) if self.way != "permuted" else out.permute(0, 2, 1)


class ConvolvedBlock(PlainBlock):
    """Both writes go through a convolution, the MLP's beside itself."""

    def __init__(self, way: str) -> None:
        super().__init__(WIDTH, 3)
        self.attention_conv, self.mlp_conv = Convolution(way), Convolution(way)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention_conv(self.attn(self.ln_1(x)))
        y = self.mlp(self.ln_2(x))
        return x + (y + self.mlp_conv(y))


def made(way: str = "module") -> Any:
    model = PlainModel().eval()
    model.h = nn.ModuleList(ConvolvedBlock(way) for _ in range(2))
    model = model.double()
    zoo.randomise(model)
    return model


@pytest.mark.parametrize("n_tokens", [1, 2, 7, 13])
@pytest.mark.parametrize("way", ["module", "padded", "permuted"])
def test_writes_through_a_convolution_are_exact(way: str, n_tokens: int) -> None:
    run = record(load_model(made(way)), zoo.prompt(n_tokens), check="all")
    assert run.fidelity.worst < 1e-14
    own = [("attention", "mixer"), ("mixer", "mlp")]
    if n_tokens > 1:
        assert [tuple(sorted(p.kind for p in s.parts if p.kind != "constant")) for s in run.states[1:]] == 2 * own


def test_a_prompt_as_long_as_the_stream_is_wide_is_read_alike() -> None:
    model = made()
    model.wpe = nn.Embedding(WIDTH, WIDTH).double()
    run, other = (record(load_model(model), zoo.prompt(n), check="all") for n in (WIDTH, WIDTH - 1))
    assert run.fidelity.worst < 1e-14
    assert [(s.name, s.carried) for s in run.states] == [(s.name, s.carried) for s in other.states]


def test_what_stays_at_its_token_is_scaled_and_what_moves_is_in_the_mixer() -> None:
    model = made()
    run = record(load_model(model), IDS, check="all")
    for layer, block in enumerate(model.h):
        seen = outputs_of(model, block.attn.out, block.mlp[2])
        for state, out, conv, beside in (
            (2 * layer + 1, seen[0], block.attention_conv, 0),
            (2 * layer + 2, seen[1], block.mlp_conv, 1),
        ):
            weight = conv.conv.weight.detach()[:, 0]  # [d_model, tap]; the last tap is the token's own
            own = out * (weight[:, -1] + beside)
            moved = torch.zeros_like(out)
            for lag in range(1, TAPS):
                moved[lag:] += out[:-lag] * weight[:, -1 - lag]
            by_kind = {p.kind: p for p in run.states[state].parts}
            torch.testing.assert_close(by_kind["mixer"].output(run.n_tokens), moved)
            torch.testing.assert_close(by_kind["mlp" if beside else "attention"].output(run.n_tokens), own)
            assert by_kind["mixer"].reads == state - 1


def test_heads_and_neurons_are_scaled_like_the_write() -> None:
    run: Run = record(load_model(made()), IDS, check="all")
    for p in run.parts:
        if p.kind == "attention":
            total = sum(head_output(p, h) for h in range(p.n_heads)) + constant_vectors(p.linear[0], run.n_tokens)
            torch.testing.assert_close(total, p.output(run.n_tokens))
        if p.kind == "mlp":
            write, every = p.linear[0], torch.arange(5 * WIDTH)
            total = torch.stack([neuron_vectors(write, row, every).sum(0) for row in range(run.n_tokens)])
            torch.testing.assert_close(total + constant_vectors(write, run.n_tokens), p.output(run.n_tokens))


def test_a_convolution_that_looks_ahead_is_refused() -> None:
    with pytest.raises(UndecomposableError, match=r"later tokens|adds a vector made by"):
        record(load_model(made("both ways")), IDS)


def outputs_of(model: nn.Module, *modules: nn.Module) -> list[Tensor]:
    seen: dict[int, Tensor] = {}
    handles = [m.register_forward_hook(lambda m, _, out: seen.__setitem__(id(m), out[0].clone())) for m in modules]
    with torch.no_grad():
        model(torch.tensor([IDS]))
    for h in handles:
        h.remove()
    return [seen[id(m)] for m in modules]


class Bent(nn.Module):
    """Adds a convolution behind an activation: no output of a linear map."""

    def __init__(self) -> None:
        super().__init__()
        self.ln, self.conv = nn.LayerNorm(WIDTH), Convolution("module")

    def forward(self, x: Tensor) -> Tensor:
        return x + functional.silu(self.conv(self.ln(x)))


class Bare(nn.Module):
    """Attention that adds its values as they are, without an output projection."""

    def __init__(self) -> None:
        super().__init__()
        self.ln, self.qkv = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.ln(x)).chunk(3, -1)
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        return x + (q @ k.transpose(1, 2)).masked_fill(later, -torch.inf).softmax(-1) @ v


@pytest.mark.parametrize("kind", [Bent, Bare])
def test_a_branch_that_mixes_tokens_is_a_mixer_whole_whatever_its_last_call(kind: type[nn.Module]) -> None:
    model = made()
    model.h[1] = kind().double()
    zoo.randomise(model)
    run = record(load_model(model), IDS, check="all")
    (mixer,) = run.states[-1].parts
    assert (mixer.kind, mixer.reads) == ("mixer", 2)
    with torch.no_grad():
        before, after = run.value(2)[None], model.h[1](run.value(2)[None])
    assert torch.equal(run.value(3), after[0])
    torch.testing.assert_close(mixer.output(run.n_tokens), (after - before)[0])
    assert any("shown as a mixer, whole" in note for note in run.fidelity.notes)


def test_an_embedding_of_several_tokens_is_a_mixer() -> None:
    run = record(load_model(zoo.make("qwen4_exp_text", ple_layer_ids=[1, 3])), IDS, check="all")
    added = [p for p in run.parts if p.linear and p.linear[0].module.endswith("ple.value_proj")]
    assert len(added) == 2
    assert {p.kind for p in added} == {"mixer"}
