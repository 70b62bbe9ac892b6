"""Ratios that can be trusted on a busy machine: the things compared run in turn, and medians are divided."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import nn

from lmtt_widget import Model, load_model


def medians(work: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median seconds of each thing, all run once in every round after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for counted in [False] + [True] * rounds:
        for name, f in work.items():
            start = time.perf_counter()
            f()
            if counted:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(s) for name, s in seconds.items()}


def gpt2_small(seed: int = 0) -> Model:
    """A model of GPT-2 small's shape with random weights; speed does not depend on their values."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    return load_model(GPT2LMHeadModel(GPT2Config()).eval())


def random_prompt(module: nn.Module, n_tokens: int, seed: int = 1) -> list[int]:
    n_vocab: int = module.config.vocab_size  # type: ignore[union-attr, assignment]
    return torch.randint(n_vocab, (n_tokens,), generator=torch.Generator().manual_seed(seed)).tolist()
