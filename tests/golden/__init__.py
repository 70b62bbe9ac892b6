"""Golden values: small GPT-2 models whose weights are formulas, computed once by an independent loop in float64."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from lmtt_widget import Run, load_model, record


@cache
def values(name: str) -> dict[str, Any]:
    return json.loads((Path(__file__).parent / f"{name}.json").read_text("utf-8"))


@cache
def run(name: str) -> Run:
    """The prompt of a golden file through its model, built from the file's formula."""
    golden = values(name)
    options = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "attn_implementation": "eager"}
    model = GPT2LMHeadModel(GPT2Config(**golden["model"]["config"], **options)).double().eval()
    with torch.no_grad():
        for i, (parameter, p) in enumerate(sorted(model.named_parameters())):
            k = torch.arange(p.numel(), dtype=torch.float64)
            p.copy_(_FORMULAS[name](parameter, k, i).reshape(p.shape))
    return record(load_model(model), golden["ids"], check="all")


def _sin(name: str, k: torch.Tensor, i: int) -> torch.Tensor:
    w = torch.sin(1.3 * k + 0.7 * i)
    return _drawn(name, w, 0.4)


def _heads(name: str, k: torch.Tensor, i: int) -> torch.Tensor:
    w = torch.sin(0.9 * k * k / (1 + 0.01 * k) + 1.7 * i)
    return _drawn(name, w, 0.35 if "c_proj" in name else 0.25)


def _drawn(name: str, w: torch.Tensor, scale: float) -> torch.Tensor:
    if name.endswith("bias"):
        return 0.1 * w
    return 1 + 0.1 * w if "ln_" in name else scale * w


_FORMULAS = {"gpt2_sin": _sin, "gpt2_heads": _heads}
