"""Everything that can be asked about one prompt, as plain values, so that the same model can be asked in two places."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import lmtt_widget as lmtt
from lmtt_widget.answers import answer as inspect
from lmtt_widget.answers import follow_ups
from lmtt_widget.answers.question import Selection
from lmtt_widget.inside import expert_shares, head_map
from lmtt_widget.lens import lens_of_position

POS = 5  # the token that is asked about, in prompts of 7


def everything(model: nn.Module, ids: list[int], kernel: Any = "torch") -> dict[str, Any]:
    """Name of the answer -> the answer: shares, read-outs, every kind of selection, saved files."""
    run = lmtt.record(lmtt.load_model(model), ids, check="all")
    graph = lmtt.attribute(run, kernel=kernel)
    found = {"logits": run.logits.cpu(), "graph": _columns(graph)}
    found["constants too"] = _columns(lmtt.attribute(run, bias_part=True, kernel=kernel))
    found["rounded"] = _columns(lmtt.attribute(run, tolerance=1e-3, most_keys=3, kernel=kernel))
    found["states"] = [(s.name, s.layer, s.carried, run.value(s.index).cpu()) for s in run.states]
    found["parts"] = [(p.kind, p.layer, p.state, p.reads, p.module, p.output(len(ids)).cpu()) for p in run.parts]
    for k, part in enumerate(run.parts):
        if part.kind == "attention":
            found[f"heads {k}"] = lmtt.head_shares(run, part), lmtt.head_shares(run, part, POS, graph=graph)
            found[f"map {k}"] = head_map(run, graph, part, 1)
            found[f"pattern {k}"] = part.heads.pattern().cpu()  # type: ignore[union-attr]
            found[f"head {k}"] = lmtt.head_output(part, 1).cpu()
        if part.kind == "mlp":
            found[f"neurons {k}"] = lmtt.neuron_shares(run, part, POS)
            found[f"experts {k}"] = [(row, share) for _, row, share in expert_shares(run, part, POS)]
    if run.readout is not None:
        found["lens"] = lmtt.logit_lens(run, k=3)
        found["lens, not normalised"] = lmtt.lens_logits(run, 1, POS, normalize=False).cpu()
        found["lens of a position"] = lens_of_position(run, POS).cpu()
        found["effects"] = lmtt.direct_logit_attribution(run, POS, 7, 9)
        found["effects of parts"] = lmtt.direct_logit_attribution(run, by="part")
    found["top tokens"] = lmtt.top_tokens(run, POS)
    for question in _questions(run):
        found[str(question)] = answer = inspect(run, graph, question, target=POS, foil=9)
        for following in follow_ups(run, question, answer):
            found[str(following)] = inspect(run, graph, following, normalise=False)
        other = {name: value - 1 if name in ("pos", "query") else value for name, value in question.items()}
        found[f"{other} beside"] = inspect(run, graph, other, beside=answer)
    found |= _widget(model, ids)
    return found


def shares(model: nn.Module, ids: list[int], kernel: Any) -> dict[str, Any]:
    """Only what a kernel computes."""
    run = lmtt.record(lmtt.load_model(model), ids)
    return {"rounded": _columns(lmtt.attribute(run, tolerance=1e-3, most_keys=3, kernel=kernel))} | {
        name: _columns(lmtt.attribute(run, bias_part=bias_part, kernel=kernel))
        for name, bias_part in (("graph", False), ("constants too", True))
    }


def _columns(graph: lmtt.Graph) -> dict[str, Tensor]:
    """The shares of a graph as maps: edges without a share may be there or not."""
    found = {name: getattr(graph, name) for name in ("carried", "ended", "truncated", "error", "total", "head_sum")}
    found["constant"] = graph.constant
    for p in graph.parts:
        found[f"{p}"] = graph.share(p.number)
        if p.kind == "attention":
            found[f"{p}, keys"] = graph.map(p.number)
            found[f"{p}, one head"] = graph.map(p.number, graph.share_max)
    return {name: torch.as_tensor(column) for name, column in found.items()}


def _questions(run: Any) -> Iterator[Selection]:
    yield {"kind": "token", "pos": POS}
    for state in run.states:
        at = {"state": state.index, "pos": POS}
        yield {"kind": "state", **at}
        if state.carried is not None:
            yield {"kind": "carried", **at}
        kinds = {p.kind for p in state.parts}
        if "attention" in kinds:
            yield {"kind": "edge", "state": state.index, "query": POS, "key": 2}
            yield {"kind": "head", "state": state.index, "head": 1, "query": POS, "key": 2}
            yield {"kind": "head", "state": state.index, "head": 0, "query": POS, "key": None}
        if "mlp" in kinds:
            yield {"kind": "mlp", **at}
        if kinds & {"mixer", "skip"}:
            yield {"kind": "mixer", **at}


def _widget(model: nn.Module, ids: list[int]) -> dict[str, Any]:
    """What the widget sends and saves."""
    with tempfile.TemporaryDirectory() as folder:
        widget = lmtt.explore(lmtt.load_model(model), ids)
        try:
            widget.selection = {"kind": "state", "state": 1, "pos": POS}
            found: dict[str, Any] = {"widget": (widget.selected, len(widget.graph) > 0, widget.status)}
            asked = [widget.selection, {"kind": "token", "pos": POS}]
            page = lmtt.save_html(widget, Path(folder) / "page.html", include=asked)
            saved = lmtt.load_json(lmtt.save_json(widget, Path(folder) / "page.json", include=asked))
            found["saved"] = page.stat().st_size > 0, len(saved.analysis().prompts[0].answers)
        finally:
            widget.close()
    return found


def difference(here: dict[str, Any], there: dict[str, Any], tolerance: float = 1e-5) -> list[str]:
    """The answers that are not the same, with how they differ."""
    if here.keys() != there.keys():
        return [f"other answers: {sorted(here.keys() ^ there.keys())}"]
    return [f"{name}: {why}" for name in here if (why := _differ(here[name], there[name], tolerance))]


def _differ(a: Any, b: Any, tolerance: float) -> str:
    if isinstance(a, lmtt.lens.TokenList) and isinstance(b, lmtt.lens.TokenList):
        return _lists_differ([t.id for t in a.tokens], [t.id for t in b.tokens], a.scores, b.scores, tolerance)
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return _tensors_differ(a, b, tolerance)
    if isinstance(a, float) and isinstance(b, float):
        return _tensors_differ(torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64), tolerance)
    if is_dataclass(a) and type(a) is type(b):
        names = [f.name for f in fields(a) if f.name != "run"]
        a, b = ({name: getattr(x, name) for name in names} for x in (a, b))
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys() and {"id", "score"} <= a.keys():
        ids = (torch.as_tensor(x["id"]).tolist() for x in (a, b))
        return _lists_differ(*ids, a["score"], b["score"], tolerance) if isinstance(a["score"], Tensor) else ""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return next((f"{k}: {why}" for k in a if (why := _differ(a[k], b[k], tolerance))), "")
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        return next((f"[{k}] {why}" for k in range(len(a)) if (why := _differ(a[k], b[k], tolerance))), "")
    return "" if type(a) is type(b) and a == b else f"{a!r:.60} and {b!r:.60}"


def _lists_differ(a: list[int], b: list[int], scores: Tensor, others: Tensor, tolerance: float) -> str:
    """Of ranked names; those whose scores are as good as the same may come in any order."""
    if (why := _tensors_differ(scores, others, tolerance)) or not len(scores):
        return why
    near = torch.cat([scores, scores[-1:]]).diff().abs() <= 2 * tolerance * max(1.0, float(scores.abs().max()))
    clear = ~near & ~torch.cat([near[:1], near[:-1]])
    wrong = [(x, y) for x, y, c in zip(a, b, clear.tolist(), strict=True) if c and x != y]
    return f"{wrong[0]} of rank" if wrong else ""


def _tensors_differ(a: Tensor, b: Tensor, tolerance: float) -> str:
    if a.device.type != "cpu" or b.device.type != "cpu":
        return f"left on {a.device} and {b.device}"
    if a.shape != b.shape or a.dtype != b.dtype:
        return f"{a.dtype} {list(a.shape)} and {b.dtype} {list(b.shape)}"
    if not a.is_floating_point():
        return "" if torch.equal(a, b) else f"{int((a != b).sum())} of {a.numel()} differ"
    a, b = a.double(), b.double()
    off = float((a - b).abs().max()) if a.numel() else 0.0
    return "" if off <= tolerance * max(1.0, float(a.abs().max()) if a.numel() else 0.0) else f"off by {off:.1e}"
