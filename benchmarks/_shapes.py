"""Models of different shapes with random weights, large enough that what a recording takes can be measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

_SIZES = {
    "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 4, "num_attention_heads": 16,
    "num_key_value_heads": 16, "vocab_size": 8000, "max_position_embeddings": 4096,
}  # fmt: skip


def _of(kind: str, dtype: torch.dtype = torch.float32, attention: str = "sdpa", **sizes: Any) -> nn.Module:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(kind, **sizes)
    return AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention).eval()  # type: ignore[no-any-return]


def _llama(**options: Any) -> Callable[[], nn.Module]:
    return lambda: _of("llama", **_SIZES | options)


class Attention(nn.Module):
    """Written out, as in many courses: scores, mask, softmax, values; or by torch's own call."""

    def __init__(self, width: int, n_heads: int, written_out: bool) -> None:
        super().__init__()
        self.n_heads, self.written_out = n_heads, written_out
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, width = x.shape[1:]
        q, k, v = (y.view(1, n, self.n_heads, -1).transpose(1, 2) for y in self.qkv(x).split(width, 2))
        if self.written_out:
            score = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
            later = torch.ones(n, n, dtype=torch.bool).triu(1)
            y = score.masked_fill(later, -torch.inf).softmax(-1) @ v
        else:
            y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(y.transpose(1, 2).reshape(1, n, width))


class Block(nn.Module):
    def __init__(self, width: int, n_heads: int, written_out: bool) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, n_heads, written_out)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Custom(nn.Module):
    """A model without a config."""

    def __init__(self, written_out: bool, width: int = 512, n_heads: int = 16, n_layers: int = 6) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(5000, width), nn.Embedding(4096, width)
        self.blocks = nn.ModuleList(Block(width, n_heads, written_out) for _ in range(n_layers))
        self.ln_f, self.head = nn.LayerNorm(width), nn.Linear(width, 5000, bias=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.wte(input_ids) + self.wpe(torch.arange(input_ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.ln_f(x))  # type: ignore[no-any-return]


SHAPES: dict[str, tuple[Callable[[], nn.Module], int]] = {  # with how many tokens
    "custom, attention written out": (lambda: Custom(True).eval(), 1024),
    "custom, scaled_dot_product_attention": (lambda: Custom(False).eval(), 1024),
    "GPT-2 small": (lambda: _of("gpt2"), 1024),
    "Llama, eager": (_llama(attention="eager"), 1024),
    "Llama, sdpa": (_llama(), 1024),
    "Llama, grouped queries": (_llama(num_key_value_heads=2), 1024),
    "Llama, bfloat16": (_llama(dtype=torch.bfloat16), 1024),
    "Llama, float16, eager": (_llama(dtype=torch.float16, attention="eager"), 1024),
    "Llama, 150,000 entries": (_llama(vocab_size=150_000, num_hidden_layers=2), 512),
    "mixture of 8 experts": (
        lambda: _of("mixtral", **_SIZES | {"hidden_size": 512, "intermediate_size": 1024, "num_local_experts": 8}),
        1024,
    ),
    "state space": (
        lambda: _of(
            "mamba2", attention="eager", hidden_size=512, num_hidden_layers=4, num_heads=16, head_dim=64, n_groups=1
        ),
        1536,
    ),
}
