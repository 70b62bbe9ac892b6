"""Ratios that can be trusted on a busy machine: the things compared run in turn, and medians are divided."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import date

import torch
from torch import nn

from lmtt_widget import Model, load_model


def medians(work: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median seconds of each thing, all run once in every round after one round that is not counted."""
    return both_medians(work, rounds)[0]


def both_medians(work: Mapping[str, Callable[[], object]], rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """The same, and of CPU seconds of all threads."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
    for counted in [False] + [True] * rounds:
        for name, f in work.items():
            start = time.perf_counter(), time.process_time()
            f()
            if counted:
                spent[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    seconds, cpu = ({name: statistics.median(s[k] for s in found) for name, found in spent.items()} for k in (0, 1))
    return seconds, cpu


def gpt2_small(n_positions: int = 1024) -> Model:
    """A model of GPT-2 small's shape with random weights: their broad attention is what costs most."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    return load_model(GPT2LMHeadModel(GPT2Config(n_positions=max(1024, n_positions))).eval())


def llama_pair() -> Model:
    """Two layers of Llama 3 8B's shape with a small vocabulary: 1.8 GB."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = LlamaConfig(
        hidden_size=4096,
        num_hidden_layers=2,
        num_attention_heads=32,
        num_key_value_heads=8,
        intermediate_size=14336,
        vocab_size=1000,
        max_position_embeddings=8192,
    )
    return load_model(LlamaForCausalLM(shape).eval())


def quiet(done: int, total: int) -> None:
    """For `progress`: a bar would be measured too."""


def machine() -> str:
    """What it ran on, and when."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as f:
        names = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
        n_threads = torch.get_num_threads()
        return f"{n_threads} threads of {names[0]}, torch {torch.__version__}, {date.today()}"
    return f"{torch.get_num_threads()} threads, torch {torch.__version__}, {date.today()}"


def random_prompt(module: nn.Module, n_tokens: int, seed: int = 1) -> list[int]:
    n_vocab: int = module.config.vocab_size  # type: ignore[union-attr, assignment]
    return torch.randint(n_vocab, (n_tokens,), generator=torch.Generator().manual_seed(seed)).tolist()
