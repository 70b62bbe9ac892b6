"""What is said of a prompt beside its shares: predictions, the model, and how exactly the parts add up."""

from __future__ import annotations

import math
from typing import Any

import torch

from .graph import Facts
from .run import Run

_N_NEXT = 5  # predictions kept of every position


def facts_of(run: Run, n_next: int = _N_NEXT) -> Facts:
    """Everything of it, as numbers and text."""
    logits = run.logits.to(torch.promote_types(run.logits.dtype, torch.float32))
    likely = logits.topk(min(n_next, logits.shape[-1]))
    p = (likely.values - logits.logsumexp(-1, keepdim=True)).exp()
    ids = likely.indices.unique().tolist()
    vocabulary = {i: t.text for i, t in zip(ids, run.model.vocabulary(ids), strict=True)}
    return Facts(likely.indices.cpu().numpy(), p.cpu().numpy(), vocabulary, model_facts(run), fidelity_facts(run))


def model_facts(run: Run) -> dict[str, Any]:
    """The model line and what stands behind it; None where the model does not say."""
    module, config = run.model.module, run.model.config
    attention = [p for p in run.parts if p.heads is not None]
    mlps = [p for p in run.parts if p.kind == "mlp"]
    n_layers = len({s.layer for s in run.states if s.layer is not None})
    n_heads = max((p.n_heads for p in attention), default=None)
    kind = getattr(config, "model_type", None) or type(module).__name__
    return {
        "line": f"{kind} {n_layers}L" + (f" {n_heads}H" if n_heads else ""),
        "name": run.model.name,
        "type": type(module).__name__,
        "layers": n_layers,
        "heads": n_heads,
        "kv_heads": getattr(config, "num_key_value_heads", None) or n_heads,
        "d_model": run.states[0].value.shape[1],
        "d_mlp": max((w.input.shape[1] for p in mlps for w in p.linear), default=None),
        "vocab": run.logits.shape[-1],
        "parameters": sum(p.numel() for p in module.parameters()),
        "dtype": run.fidelity.dtype,
        "device": str(run.model.device),
        "attention": getattr(config, "_attn_implementation", None),
    }


def fidelity_facts(run: Run) -> dict[str, Any]:
    """The badge and what stands behind it; an error that is not finite is None."""
    f = run.fidelity
    finite = {name: e if math.isfinite(e) else None for name, e in f.identities.items()}
    return {
        "text": f"{f} · labels probed" if f.labels and f.exact else str(f),
        "exact": f.exact,
        "worst": f.worst if math.isfinite(f.worst) else None,
        "dtype": f.dtype,
        "problems": [*f.problems, *f.notes, *filter(None, [f.labels])],
        "identities": finite,
    }
