"""What the browser is told of a run: the only Python file where tensors become bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .contributions import AttentionShare, Flow, PartShare
from .lens import TokenList, lens_logits
from .parts import Part
from .run import Run
from .wire import pack

_OF_EACH = 4  # attention edges of a node that travel however light they are


def graph_state(
    run: Run, flow: Flow, *, run_id: str = "", label: str = "", max_edges: int | None = None, n_next: int = 5
) -> bytes:
    """The graph of one prompt, for all targets: tokens, states, parts, shares, predictions, fidelity.

    At most `max_edges` attention edges travel: the heaviest, and of every node the heaviest few, so that a target that
    looks at everything a little is not left without lines. What was cut is reported per node, never renormalised.
    None: as many as make .15 MB at 128 tokens, 1 at 512, 3 at 1,024.
    """
    n_tokens = run.n_tokens
    max_edges = _edge_budget(n_tokens) if max_edges is None else max_edges
    sections = {
        "carried": _half(flow.carried),
        "ended": _half(flow.ended),
    }
    smallest, of_each = _smallest_kept(flow, max_edges)
    truncated = torch.zeros_like(flow.carried) if flow.truncated is None else flow.truncated.clone()
    shown = [k for k, p in enumerate(run.parts) if p.kind != "embedding" and flow.parts[k] is not None]
    for k, number in enumerate(shown):
        share = flow.parts[number]
        if isinstance(share, PartShare):
            sections[f"p{k}.share"] = _half(share.share)
        elif isinstance(share, AttentionShare):
            keep = share.share_sum >= smallest
            keep.scatter_(1, share.share_sum.topk(of_each).indices, True)
            keep &= share.share_sum.half() > 0
            truncated[run.parts[number].state] += torch.where(keep, 0, share.share_sum).sum(1)
            query, key = keep.nonzero(as_tuple=True)
            rows = torch.zeros(n_tokens + 1, dtype=torch.int64)
            rows[1:] = torch.bincount(query, minlength=n_tokens).cumsum(0)
            sections[f"p{k}.row"] = rows.numpy().astype(np.uint32)
            sections[f"p{k}.key"] = key.numpy().astype(np.uint16 if n_tokens <= 1 << 16 else np.uint32)
            sections[f"p{k}.sum"] = _half(share.share_sum[keep])
            sections[f"p{k}.max"] = _half(share.share_max[keep])
            sections[f"p{k}.top"] = share.top_head[keep].numpy().astype(np.uint16)
    sections["truncated"] = _half(truncated)

    logits = run.logits.to(torch.promote_types(run.logits.dtype, torch.float32))
    likely = logits.topk(min(n_next, logits.shape[-1]))
    ids, place = torch.unique(likely.indices, return_inverse=True)
    sections["next.token"] = place.cpu().numpy().astype(np.int32)
    sections["next.p"] = _half((likely.values - logits.logsumexp(-1, keepdim=True)).exp())
    meta = {
        "run": run_id,
        "prompt": label,
        "tokens": _token_columns(run),
        "states": [
            {"layer": s.layer, "name": s.name, "carried": -1 if s.carried is None else s.carried} for s in run.states
        ],
        "parts": [_part_facts(run.parts[number]) for number in shown],
        "vocab": [t.text for t in run.model.vocabulary(ids.tolist())],
        "model": model_facts(run),
        "fidelity": _fidelity_facts(run),
        "smallest": smallest,
    }
    return pack("graph", meta, sections)


def peek_state(run: Run, drawn: Tensor, *, run_id: str = "") -> bytes:
    """The logit lens' most likely token of the drawn nodes [state, pos] (bool)."""
    ids = torch.full(drawn.shape, -1)
    p = torch.zeros(drawn.shape)
    for s, row in enumerate(drawn):
        at = row.nonzero().reshape(-1).tolist()
        if at:
            logits = lens_logits(run, s, at)
            best = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(-1).max(-1)
            ids[s, at], p[s, at] = best.indices.cpu(), best.values.cpu().float()
    named = ids[ids >= 0].unique()
    place = torch.where(ids >= 0, torch.searchsorted(named, ids), -1)
    vocab = [t.text for t in run.model.vocabulary(named.tolist())]
    return pack("peek", {"run": run_id, "vocab": vocab}, {"token": place.numpy().astype(np.int32), "p": _half(p)})


def detail_state(answers: Sequence[Mapping[str, Any]], *, run_id: str = "") -> bytes:
    """The answers to the selection and to each pin; see detail.py for what they hold.

    Tensors at the top of an answer travel as sections "a{number}.{name}", the rest as JSON.
    """
    sections: dict[str, np.ndarray] = {}
    metas = []
    for number, answer in enumerate(answers):
        meta = {}
        for name, value in answer.items():
            if isinstance(value, Tensor) and name in _MAPS:
                sections[f"a{number}.{name}"] = value.numpy() if value.dtype == torch.uint8 else _half(value)
            else:
                meta[name] = _plain(value)
        metas.append(meta)
    return pack("detail", {"run": run_id, "answers": metas}, sections)


_MAPS = ("thumbs", "pattern", "contribution", "strip")


def _plain(x: Any) -> Any:
    """As JSON: token lists as columns, numbers finite (else null)."""
    if isinstance(x, TokenList):
        columns = {"id": [t.id for t in x.tokens], "text": [t.text for t in x.tokens], "score": x.scores}
        return _plain(columns if x.probabilities is None else columns | {"p": x.probabilities})
    if isinstance(x, Tensor):
        return _plain(x.tolist())
    if isinstance(x, Mapping):
        return {k: _plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [_plain(v) for v in x]
    if isinstance(x, float) and not math.isfinite(x):
        return None
    return x


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


def _token_columns(run: Run) -> dict[str, list[Any]]:
    t = run.tokens
    return {
        "id": [x.id for x in t],
        "text": [x.text for x in t],
        "raw": [x.raw for x in t],
        "bytes": [x.bytes.hex() for x in t],
        "special": [x.special for x in t],
        "role": run.roles,
        "char": [x.char for x in t],
        "part": [None if x.part is None else list(x.part) for x in t],
    }


def _part_facts(part: Part) -> dict[str, Any]:
    kind = part.kind if part.kind in ("attention", "mlp", "mixer") else "other"
    return {
        "kind": kind,
        "layer": part.layer,
        "state": part.state,
        "reads": part.reads,
        "label": part.module,
        "heads": part.n_heads or None,
    }


def _fidelity_facts(run: Run) -> dict[str, Any]:
    f = run.fidelity
    finite = {name: e if math.isfinite(e) else None for name, e in f.identities.items()}
    return {
        "text": str(f),
        "exact": f.exact,
        "worst": f.worst if math.isfinite(f.worst) else None,
        "dtype": f.dtype,
        "problems": [*f.problems, *f.notes],
        "identities": finite,
    }


def _edge_budget(n_tokens: int) -> int:
    """Edges of eight bytes; a prompt of some sixty tokens through twelve layers keeps them all."""
    return max(12_000, int(8.8 * n_tokens**1.5))


def _smallest_kept(flow: Flow, max_edges: int) -> tuple[float, int]:
    """The weight from which edges travel, 0 where all do; and how many of every node do anyway."""
    shares = [p.share_sum for p in flow.parts if isinstance(p, AttentionShare)]
    weights = [x[x > 0] for x in shares]
    n = sum(len(w) for w in weights)
    if n <= max_edges:
        return 0.0, 0
    n_nodes = sum(len(x) for x in shares)
    of_each = min(_OF_EACH, flow.run.n_tokens, max_edges // (2 * n_nodes))
    return float(torch.cat(weights).topk(max_edges - of_each * n_nodes).values[-1]), of_each


def _half(x: Tensor) -> np.ndarray:
    return x.detach().cpu().to(torch.float16).numpy()
