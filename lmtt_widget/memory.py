"""How much memory the analysis of a prompt will take, and how much the device has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from .decomposition.tape import is_linear_module


def needed(module: nn.Module, layers: Iterable[nn.Module], n_tokens: int) -> int:
    """About how many bytes the recording of a prompt and its flow will take, besides the model.

    Kept are the inputs and outputs of the linear maps in the layers, the logits, of every attention one share per
    query and key with its largest head, and, where the model makes its attention patterns itself, those.
    """
    layers = list(layers)
    size = max((p.element_size() for p in module.parameters() if p.is_floating_point()), default=4)
    config: Any = getattr(module, "config", None)
    config = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
    chosen, experts = (_number(config, *names) for names in (_CHOSEN, _EXPERTS))
    width = 0.0
    for layer in layers:
        for name, m in layer.named_modules():
            if is_linear_module(m):
                n_in, n_out = _ends(m)
                part = chosen / experts if ".experts." in f".{name}." and experts else 1
                width += (n_in + n_out) * part
    n_heads = _number(config, "num_attention_heads", "n_head", "n_heads", "num_heads")
    pattern = n_heads * size if getattr(config, "_attn_implementation", None) == "eager" else 0
    per_token = size * width + 2 * size * _number(config, "vocab_size")
    return int(n_tokens * per_token + n_tokens**2 * len(layers) * (10 + pattern))


def available(device: torch.device) -> int | None:
    """How many bytes are free on the device; None where that is not known."""
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    if device.type != "cpu":
        return None
    try:
        with open("/proc/meminfo") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None


def check_room(module: nn.Module, layers: Iterable[nn.Module], n_tokens: int, device: torch.device) -> None:
    """Raises ValueError when the analysis of a prompt will take more than the device has."""
    free = available(device)
    if free is None:
        return
    size = needed(module, layers, n_tokens)
    if size > free:
        raise ValueError(
            f"the analysis of {n_tokens:,} tokens takes about {size / 2**30:.1f} GiB and {device} has "
            f"{free / 2**30:.1f} GiB free; shorten the prompt, or call record(..., force=True)"
        )


_CHOSEN = ("num_experts_per_tok", "moe_topk", "moe_k", "top_k_experts", "moe_top_k")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")


def _number(config: Any, *names: str) -> int:
    found = (getattr(config, name, None) for name in names)
    return next((x for x in found if isinstance(x, int)), 0)


def _ends(m: nn.Module) -> tuple[int, int]:
    """The input and output width of a linear map."""
    if hasattr(m, "nf"):  # transformers' Conv1D
        weight: Any = m.weight
        return weight.shape[0], weight.shape[1]
    given: Any = m
    return getattr(m, "in_features", 0) or given.infeatures, getattr(m, "out_features", 0) or given.outfeatures
