"""The same quantities the slow way: from Hugging Face's own modules by hooks, every array built in full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


def watch(model: nn.Module, ids: Sequence[int], *modules: nn.Module) -> tuple[Any, list[tuple[Any, Any]]]:
    """The model's output, and (input, output) of some of its modules in one ordinary forward pass."""
    seen: dict[int, tuple[Any, Any]] = {}

    def note(module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
        given = args[0] if args else next(iter(kwargs.values()), None)
        seen[id(module)] = _copied(given), _copied(out)  # some models go on in place

    handles = [m.register_forward_hook(note, with_kwargs=True) for m in modules]
    try:
        with torch.no_grad():
            output = model(input_ids=torch.tensor([list(ids)]))
    finally:
        for h in handles:
            h.remove()
    return output, [seen[id(m)] for m in modules]


@dataclass
class Layer:
    """One layer of an eager model; what is added to the stream, as it is added (after a norm on the way)."""

    before: Tensor  # [pos, d_model]
    attention: Tensor | None  # [query, key, head, d_model]
    mixer: Tensor | None  # [pos, d_model], where there is no attention
    mlp: Tensor  # [pos, d_model]
    neurons: Tensor  # [pos, neuron, d_model]; of a mixture [pos, expert * neuron, d_model], zero for experts not asked
    middle: Tensor | None  # [pos, d_model]; None in a parallel layer
    after: Tensor  # [pos, d_model]


def layer(model: Any, ids: Sequence[int], index: int) -> Layer:
    """A layer of one of five types, each read with what its own code says."""
    kind = model.config.model_type
    blocks = {"gpt2": "transformer.h", "gpt_neox": "gpt_neox.layers"}.get(kind, "model.layers")
    block = model.get_submodule(blocks)[index]
    attention, value, output, down = {
        "gpt2": lambda: (block.attn, block.attn.c_attn, block.attn.c_proj, block.mlp.c_proj),
        "gpt_neox": lambda: (
            block.attention,
            block.attention.query_key_value,
            block.attention.dense,
            block.mlp.dense_4h_to_h,
        ),
        "gemma2": lambda: (block.self_attn, block.self_attn.v_proj, block.self_attn.o_proj, block.mlp.down_proj),
        "mixtral": lambda: (block.self_attn, block.self_attn.v_proj, block.self_attn.o_proj, block.mlp.experts),
        "qwen3_next": lambda: _qwen3_next(block),
    }[kind]()
    modules = [block, block.mlp, down, *([attention, value] if attention is not None else [block.linear_attn])]
    extra = [block.post_attention_layernorm, block.post_feedforward_layernorm] if kind == "gemma2" else []
    extra += [attention.q_proj] if kind == "qwen3_next" and attention is not None else []
    _, (whole, mlp, into_down, *rest) = watch(model, ids, *modules, *extra)
    before, after = whole[0][0], _first(whole[1])[0]
    written, neurons = _first(mlp[1])[0], _neurons(down, into_down[0], block)
    if attention is None:
        mixed = _first(rest[0][1])[0]
        return Layer(before, None, mixed, written, neurons, before + mixed, after)

    pattern = rest[0][1][1][0]  # [head, query, key]
    made = rest[1][1][0]  # [key, ...]
    n_heads, n = pattern.shape[0], len(ids)
    weight = output.weight if kind == "gpt2" else output.weight.T  # [in, d_model]
    d_head = weight.shape[0] // n_heads
    if kind == "gpt2":
        made = made[:, -weight.shape[0] :]
    if kind == "gpt_neox":
        made = made.reshape(n, n_heads, 3 * d_head)[..., 2 * d_head :]
    made = made.reshape(n, -1, d_head)
    made = made.repeat_interleave(n_heads // made.shape[1], 1)  # [key, head, d_head]
    z = torch.einsum("hqk,khd->qkhd", pattern, made)
    if kind == "qwen3_next":
        gate = rest[2][1][0].reshape(n, n_heads, 2 * d_head)[..., d_head:].sigmoid()
        z = z * gate[:, None]
    parts = torch.einsum("qkhd,hdm->qkhm", z, weight.reshape(n_heads, d_head, -1))
    if kind == "gemma2":
        parts = parts * _frozen(extra[0], rest[2][0][0])[:, None, None]
        neurons = neurons * _frozen(extra[1], rest[3][0][0])[:, None]
        written = rest[3][1][0]
    update = rest[2][1][0] if kind == "gemma2" else rest[0][1][0][0]
    middle = None if kind == "gpt_neox" else before + update
    return Layer(before, parts, None, written, neurons, middle, after)


def shares(whole: Tensor, *parts: Tensor) -> list[Tensor]:
    """Of parts [pos, ..., d_model] in wholes [pos, d_model], the definition written out: each [pos, ...]."""

    def near(z: Tensor) -> Tensor:
        y = whole.reshape(len(whole), *[1] * (z.ndim - 2), -1)
        return (y.abs().sum(-1) - (y - z).abs().sum(-1)).clamp_min(0)

    found = [near(z) for z in parts]
    total = sum(f.reshape(len(whole), -1).sum(1) for f in found)
    return [f / total.reshape(-1, *[1] * (f.ndim - 1)) for f in found]


def _copied(x: Any) -> Any:
    if isinstance(x, (tuple, list)):
        return tuple(_copied(y) for y in x)
    return x.clone() if isinstance(x, Tensor) else x


def _first(x: Any) -> Tensor:
    return x[0] if isinstance(x, (tuple, list)) else x


def _frozen(norm: Any, x: Tensor) -> Tensor:
    """The factor [pos, d_model] by which Gemma's norm multiplies x."""
    return torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + norm.eps) * (1 + norm.weight)


def _qwen3_next(block: Any) -> tuple[Any, Any, Any, Any]:
    down = block.mlp.down_proj if hasattr(block.mlp, "down_proj") else block.mlp.shared_expert.down_proj
    if hasattr(block, "linear_attn"):
        return None, None, None, down
    return block.self_attn, block.self_attn.v_proj, block.self_attn.o_proj, down


def _neurons(down: Any, x: Tensor, block: Any) -> Tensor:
    """n_u w_u: [pos, neuron, d_model]."""
    if not hasattr(down, "num_experts"):
        weight = down.weight if type(down).__name__ == "Conv1D" else down.weight.T  # [neuron, d_model]
        return x.reshape(-1, weight.shape[0])[..., None] * weight
    _, weights, chosen = block.mlp.gate(x)
    found = x.new_zeros(len(x), down.num_experts, down.down_proj.shape[2], x.shape[1])
    for pos in range(len(x)):
        for weight, expert in zip(weights[pos], chosen[pos].tolist(), strict=True):
            gate, up = (down.gate_up_proj[expert] @ x[pos]).chunk(2)
            found[pos, expert] = (weight * down.act_fn(gate) * up)[:, None] * down.down_proj[expert].T
    return found.flatten(1, 2).detach()
