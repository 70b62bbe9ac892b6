"""What there is to say about one selection: names, numbers and tensors, as a dictionary.

`inspect` answers any selection a reader can make; the widget shows the answer and `widget.selected` returns it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .decomposition.heads import Heads
from .decomposition.vectors import cell_vectors, head_vectors, neuron_vectors
from .decomposition.writes import LinearWrite
from .graph import ATTENTION, Graph
from .inside import expert_shares, head_map, head_shares, neuron_shares
from .lens import TokenList, direct_effects, lens_of_position, promoted, top_tokens, update_logits
from .parts import Part
from .run import Run

Selection = dict[str, Any]

FIELDS = {
    "state": ("state", "pos"), "carried": ("state", "pos"), "mlp": ("state", "pos"), "mixer": ("state", "pos"),
    "neuron": ("state", "pos", "neuron"), "edge": ("state", "query", "key"), "head": ("state", "head", "query"),
    "token": ("pos",),
}  # fmt: skip
_PART_KIND = {"edge": "attention", "head": "attention", "mlp": "mlp", "neuron": "mlp", "mixer": "mixer"}
_THUMB = 64  # side of a small pattern, in cells
_BLOCK = 1 << 20  # numbers of patterns that are made at a time
_LENS_ROWS, _UPDATE_ROWS, _PART_ROWS, _NEURON_ROWS = 30, 15, 40, 20


def check_selection(run: Run, selection: Any) -> Selection:
    """The selection as it was given, if it names something of this run; else ValueError in the reader's words."""
    kind = selection.get("kind") if isinstance(selection, dict) else None
    if not isinstance(kind, str) or kind not in FIELDS:
        raise ValueError(f"a selection has one of the kinds {', '.join(FIELDS)}, got {selection!r:.80}")
    for name in FIELDS[kind]:
        if name not in selection:
            raise ValueError(f"a selection of kind {kind!r} needs {', '.join(FIELDS[kind])}; {name} is missing")
    n, n_states = run.n_tokens, len(run.states)
    for name, size in {"state": n_states, "pos": n, "query": n, "key": n}.items():
        _check_number(selection, name, size)
    if kind == "edge" and selection["key"] is None:
        raise ValueError(f"key must be in 0..{selection['query']}, got None")
    if selection.get("part") is not None:
        _check_number(selection, "part", len(run.parts))
    if selection.get("top", 1) == 0:
        raise ValueError("top is how many neurons are listed, 1 or more, got 0")
    _check_number(selection, "top", 1 << 20)
    if kind in _PART_KIND:
        part = find_part(run, selection)
        if kind == "head":
            _check_number(selection, "head", part.n_heads)
        if kind == "neuron":
            if not part.linear:
                raise ValueError("every expert of this mixture that was asked hands on what it is given: no neurons")
            _check_number(selection, "neuron", max(w.input.shape[1] for w in part.linear))
            _neuron_write(part, selection["pos"], selection.get("expert"))
    if kind == "carried" and selection["state"] == 0:
        raise ValueError("the embedding continues no earlier state")
    if selection.get("key", 0) is not None and selection.get("key", 0) > selection.get("query", n):
        raise ValueError(f"a query reads keys up to itself, 0..{selection['query']}, got key {selection['key']}")
    return selection


def find_part(run: Run, selection: Selection) -> Part:
    """The part a selection is about: by its number in run.parts, or the first of its kind that enters the state."""
    kind, state = _PART_KIND[selection["kind"]], selection["state"]
    kinds = ("mixer", "skip") if kind == "mixer" else (kind,)
    here = [p for p in run.states[state].parts if p.kind in kinds]
    number = selection.get("part")
    if number is not None:
        here = [p for p in here if p.number == number]
    if not here:
        raise ValueError(f"no {kind} part enters state {state} ({run.states[state].name})")
    return here[0]


def inspect(
    run: Run,
    graph: Graph,
    selection: Selection,
    *,
    target: int = -1,
    foil: int | None = None,
    normalise: bool = True,
    beside: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Everything the panel shows of a selection. Token lists are `TokenList`, maps are tensors.

    target: the position whose predicted token signed direct effects are on; foil: a token id to contrast it with;
    normalise: the final norm is applied before a state is unembedded; beside: another answer to compare with, then
    every list has under "also" the rows that only the other one lists. Raises ValueError for an unknown selection.
    """
    check_selection(run, selection)
    about = _About(run, graph, selection, int(run.logits[target].argmax()), foil, normalise)
    if beside is not None and beside["kind"] == selection["kind"]:
        about.beside = beside
    answer = _ANSWERS[selection["kind"]](about)
    effect_on: dict[str, Any] | None = None
    if run.readout is not None:
        effect_on = {
            "token": _named(run, about.token),
            "foil": None if foil is None else _named(run, foil),
            "pos": target % run.n_tokens,
        }
    state = selection.get("state")
    layer = None if state is None else run.states[state].layer
    return {"kind": selection["kind"], "layer": layer, "effect_on": effect_on, "normalised": normalise, **answer}


def follow_ups(run: Run, selection: Selection, answer: dict[str, Any]) -> list[Selection]:
    """The selections a reader is likely to make next, most likely first."""
    kind = selection["kind"]
    part = {"part": selection["part"]} if "part" in selection else {}  # as the browser asks
    if kind == "edge":
        heads = answer["heads"]["head"][:2].tolist()
        return [
            {
                "kind": "head",
                "state": selection["state"],
                "head": h,
                "query": selection["query"],
                "key": selection["key"],
                **part,
            }
            for h in heads
        ]
    if kind == "mlp":
        return [
            {"kind": "neuron", "state": selection["state"], "pos": selection["pos"], "neuron": n, **part}
            | ({} if e is None else {"expert": e})
            for n, e in zip(answer["neurons"]["neuron"][:2].tolist(), answer["neurons"]["expert"], strict=False)
        ]
    if kind == "state" and selection["state"] > 0:
        state = run.states[selection["state"]]
        if state.carried:
            return [{"kind": "state", "state": state.carried, "pos": selection["pos"]}]
    return []


class _About:
    """One question, with what every kind of answer needs."""

    def __init__(
        self, run: Run, graph: Graph, selection: Selection, token: int, foil: int | None, normalise: bool
    ) -> None:
        self.run, self.graph, self.selection = run, graph, selection
        self.token, self.foil, self.normalise = token, foil, normalise
        self.state = int(selection.get("state", 0))
        self.pos = int(selection["pos"] if "pos" in selection else selection["query"])
        self.beside: dict[str, Any] = {}

    def effects(self, vectors: Tensor) -> Tensor | None:
        """Signed direct effects of vectors [n, d_model] that entered the state here: [n]; None without a read-out."""
        if self.run.readout is None:
            return None
        return direct_effects(self.run, vectors, self.pos, self.state, self.token, self.foil).cpu()

    def effect(self, vector: Tensor) -> float | None:
        got = self.effects(vector[None])
        return None if got is None else float(got[0])

    def update(self, vector: Tensor) -> dict[str, TokenList] | None:
        """The tokens a vector that entered the state here promotes and suppresses."""
        if self.run.readout is None:
            return None
        p = promoted(self.run, vector, self.pos, state=self.state, k=_UPDATE_ROWS)
        lists = {"promoted": p.promoted, "suppressed": p.suppressed}
        if self.beside:
            others = [self.beside, *(self.beside.get(name) or {} for name in ("update", "all", "this_key"))]
            theirs = {t.id for other in others for side in lists if side in other for t in other[side].tokens}
            ids = sorted(theirs - {t.id for side in lists.values() for t in side.tokens})
            scores = update_logits(self.run, vector, self.pos, state=self.state)[ids].cpu()
            lists["also"] = TokenList(self.run.model.vocabulary(ids), scores)
        return lists

    def part(self) -> tuple[Part, int]:
        part = find_part(self.run, self.selection)
        return part, part.number

    def written(self) -> dict[str, Any]:
        """What there is to say of any part without a key axis: its place, share, effect and tokens."""
        part, number = self.part()
        output = part.output(self.run.n_tokens)[self.pos]
        has_share = number < len(self.graph.parts)
        return {
            "state": self.state,
            "pos": self.pos,
            "part": number,
            "share": float(self.graph.share(number)[self.pos]) if has_share else 0.0,
            "effect": self.effect(output),
            "update": self.update(output),
        }


# ---- states ----


def _state(q: _About) -> dict[str, Any]:
    run, state = q.run, q.run.states[q.state]
    answer: dict[str, Any] = {"state": q.state, "pos": q.pos, "name": state.name, **_ranked_parts(q)}
    answer["update"] = None
    if state.carried is not None:
        answer["update"] = q.update(run.value(q.state)[q.pos] - run.carried(q.state)[q.pos])
    return answer | (_lens(q) if run.readout is not None else {"lens": None, "summary": None})


def _lens(q: _About) -> dict[str, Any]:
    run = q.run
    logits = lens_of_position(run, q.pos, normalise=q.normalise)
    log_p = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    scores, ids = logits[q.state].topk(min(_LENS_ROWS, logits.shape[-1]))
    rank = torch.arange(len(ids))
    before = run.states[q.state].carried
    change = None
    if before is not None:
        was = logits[before]
        change = ((was > was[ids, None]).sum(-1).cpu() - rank).tolist()
    tops = log_p.argmax(-1)
    final = run.logits[q.pos].to(log_p.dtype).log_softmax(-1)
    answer = int(final.argmax())
    agree = int((tops == answer).flip(0).cumprod(0).sum())
    mine = log_p[q.state]
    lens = {**_columns(run, ids, scores), "p": mine[ids].exp().cpu(), "rank": rank, "change": change}
    if q.beside:
        theirs = torch.as_tensor(q.beside["lens"]["id"])
        theirs = theirs[~torch.isin(theirs, ids.cpu())]
        lens["also"] = {**_columns(run, theirs, logits[q.state][theirs]), "p": mine[theirs].exp().cpu()}
    return {
        "lens": lens,
        "summary": {
            "entropy": float(-(mine.exp() * mine).sum()),
            "kl": float((final.exp() * (final - mine)).sum()),
            "final": _named(run, answer) | {"p": float(final[answer].exp())},
            "settled": len(run.states) - agree if agree else None,
            "on_top": bool(tops[q.state] == answer),
        },
    }


def _ranked_parts(q: _About) -> dict[str, Any]:
    """The carried state, every key, every MLP and mixer that entered here, by share."""
    if q.state == 0:
        return {"parts": _rows([]), "rest": 0.0}
    found: list[_Row] = [("carried", None, None, float(q.graph.carried[q.state, q.pos]), q.run.states[q.state].name)]
    for part in (p for p in q.graph.parts if p.state == q.state):
        b = q.graph.block(part.number)
        at = b.start + np.flatnonzero(q.graph.query[b.edges] == q.pos)
        for key, share in zip(q.graph.key[at].tolist(), q.graph.share_sum[at].tolist(), strict=True):
            found.append((part.kind, part.number, key if b.kind == ATTENTION else None, share, part.label))
    found.sort(key=lambda row: -row[3])
    parts, weaker = _rows(found[:_PART_ROWS]), found[_PART_ROWS:]
    if q.beside:
        theirs = {*zip(q.beside["parts"]["kind"], q.beside["parts"]["key"], strict=True)}
        parts["also"] = _rows([row for row in weaker if (row[0], row[2]) in theirs])
    return {"parts": parts, "rest": sum(row[3] for row in weaker)}


_Row = tuple[str, int | None, int | None, float, str]  # kind, part, key, share, label


def _rows(found: list[_Row]) -> dict[str, Any]:
    names = ("kind", "part", "key", "share", "label")
    return {name: [row[i] for row in found] for i, name in enumerate(names)}


def _carried(q: _About) -> dict[str, Any]:
    state, vector = q.run.states[q.state], q.run.carried(q.state)[q.pos]
    return {
        "state": q.state,
        "pos": q.pos,
        "share": float(q.graph.carried[q.state, q.pos]),
        "from_state": state.carried,
        "steps": state.path.described(q.pos),
        "effect": q.effect(vector),
    }


# ---- attention ----


def _edge(q: _About) -> dict[str, Any]:
    part, number = q.part()
    key = q.selection["key"]
    shares = head_shares(q.run, part, q.pos, graph=q.graph)[:, key]
    assert part.heads is not None
    attention = part.heads.pattern(slice(q.pos, q.pos + 1))[:, 0, key].cpu()
    effects = q.effects(cell_vectors(part.linear[0], q.pos, key))
    order = shares.argsort(descending=True, stable=True)
    thumbs, largest = _thumbs(_pooled(part.heads, q.run.n_tokens))
    return {
        "state": q.state,
        "query": q.pos,
        "key": key,
        "part": number,
        "share": float(shares.sum()),
        "heads": {
            "head": order,
            "share": shares[order],
            "attention": attention[order],
            "effect": [None] * len(order) if effects is None else effects[order],
        },
        "thumbs": thumbs,
        "thumb_max": largest,
        "pattern_max": float(largest.max()),
    }


def _pooled(heads: Heads, n_tokens: int) -> Tensor:
    """The patterns of all heads, each cell the largest of what it stands for: [head, side, side], a side up to 64.

    Made some queries at a time, since whole patterns of all heads take 0.5 GiB at 2,048 tokens and 32 heads.
    """
    side = min(n_tokens, _THUMB)
    cells = [range(k * n_tokens // side, -(-(k + 1) * n_tokens // side)) for k in range(side)]  # of adaptive_max_pool
    at_once = max(1, _BLOCK * side // (heads.n_heads * n_tokens**2))
    rows = []
    for some in (cells[k : k + at_once] for k in range(0, side, at_once)):
        first = some[0].start
        pattern = heads.pattern(slice(first, some[-1].stop))
        rows += [pattern[:, c.start - first : c.stop - first].amax(1) for c in some]
    return F.adaptive_max_pool1d(torch.stack(rows, 1).float(), side).cpu()


def _thumbs(small: Tensor) -> tuple[Tensor, Tensor]:
    """Small patterns [head, query, key] as bytes on a square-root scale, each to its largest."""
    largest = small.amax((1, 2))
    scaled = (small / largest.clamp_min(1e-30)[:, None, None]).sqrt()
    return (scaled * 255).round().to(torch.uint8), largest


def _head(q: _About) -> dict[str, Any]:
    part, number = q.part()
    head, key = q.selection["head"], q.selection.get("key")
    vectors = head_vectors(part.linear[0], head)
    contribution = head_map(q.run, q.graph, part, head)
    output = vectors.block(q.pos, q.pos + 1)[0]  # [key, d_model]
    assert part.heads is not None
    largest = q.graph.share_max[q.graph.block(number).edges].max(initial=0)
    pattern = vectors.pattern.cpu()
    return {
        "state": q.state,
        "head": head,
        "query": q.pos,
        "key": key,
        "part": number,
        "share": float(contribution[q.pos].sum() if key is None else contribution[q.pos, key]),
        "attention": None if key is None else float(pattern[q.pos, key]),
        "effect": q.effect(output.sum(0)),
        "effect_key": None if key is None else q.effect(output[key]),
        "pattern": pattern,
        "contribution": contribution,
        "max": {"pattern": float(pattern.max()), "contribution": float(contribution.max())},
        "max_all": {
            "pattern": float(_pooled(part.heads, q.run.n_tokens).max()),
            "contribution": float(largest),
        },
        "all": q.update(output.sum(0)),
        "this_key": None if key is None else q.update(output[key]),
    }


# ---- MLPs and mixers ----


def _mlp(q: _About) -> dict[str, Any]:
    part, _ = q.part()
    shares = neuron_shares(q.run, part, q.pos)

    def rows(indices: Tensor) -> dict[str, Any]:
        picked = [(part.linear[int(shares.write[i])], int(shares.row[i]), int(shares.neuron[i])) for i in indices]
        effects: Any = [None] * len(picked)
        if picked and q.run.readout is not None:
            effects = q.effects(torch.cat([neuron_vectors(w, row, torch.tensor([n])) for w, row, n in picked]))
        return {
            "neuron": shares.neuron[indices],
            "expert": [_expert(part, w, row) for w, row, _ in picked],
            "share": shares.share[indices],
            "value": shares.value[indices],
            "effect": effects,
        }

    best = shares.share.topk(min(int(q.selection.get("top", _NEURON_ROWS)), len(shares.share))).indices
    neurons = rows(best)
    if q.beside:
        other, listed = q.beside["neurons"], set(best.tolist())
        theirs = {*zip(other["neuron"].tolist(), other["expert"], strict=True)}
        known = torch.isin(shares.neuron, other["neuron"]).nonzero().reshape(-1).tolist()
        names = {
            i: (int(shares.neuron[i]), _expert(part, part.linear[int(shares.write[i])], int(shares.row[i])))
            for i in known
        }
        also = [i for i in known if i not in listed and names[i] in theirs]
        neurons["also"] = rows(torch.tensor(also, dtype=torch.int64))
    return {**q.written(), "n_neurons": len(shares.share), "neurons": neurons, "experts": _experts(q, part)}


def _experts(q: _About, part: Part) -> dict[str, Any] | None:
    found = expert_shares(q.run, part, q.pos)
    if not _has_experts(part):
        return None
    found.sort(key=lambda row: -row[2])
    return {
        "expert": [_expert(part, w, row) for w, row, _ in found],
        "label": [w.module for w, _, _ in found],
        "weight": [w.path.factor(row) for w, row, _ in found],
        "share": [share for _, _, share in found],
    }


def _neuron(q: _About) -> dict[str, Any]:
    part, number = q.part()
    neuron, expert = q.selection["neuron"], q.selection.get("expert")
    write, row = _neuron_write(part, q.pos, expert)
    index = torch.tensor([neuron])
    vector = neuron_vectors(write, row, index)[0]
    shares = neuron_shares(q.run, part, q.pos)
    mine = (shares.neuron == neuron) & (shares.row == row) & (shares.write == part.linear.index(write))
    strip = torch.zeros(q.run.n_tokens)
    for pos in range(q.run.n_tokens):
        for r in write.path.leaf_rows(pos):
            if write.expert(r) == write.expert(row):  # 0 where the expert did not see the token
                strip[pos] = write.input[r, neuron]
    update = q.update(vector) or {}
    return {
        "state": q.state,
        "pos": q.pos,
        "neuron": neuron,
        "expert": _expert(part, write, row),
        "part": number,
        "value": float(write.input[row, neuron]),
        "gate": None if write.gate is None else float(write.gate[row, neuron]),
        "up": None if write.up is None else float(write.up[row, neuron]),
        "share": float(shares.share[mine].sum()),
        "effect": q.effect(vector),
        "strip": strip,
        **update,
    }


def _expert(part: Part, write: LinearWrite, row: int) -> int | str | None:
    """The number of an expert, "shared" for one that sees every token; None where there are no experts."""
    number = write.expert(row)
    return "shared" if number is None and len(part.linear) > 1 else number


def _neuron_write(part: Part, pos: int, expert: int | str | None) -> tuple[LinearWrite, int]:
    """The write and leaf row that hold the neurons of a token, of one expert where there are several."""
    here = [(w, row) for w in part.linear for row in w.path.leaf_rows(pos)]
    chosen = [(w, row) for w, row in here if expert is None or _expert(part, w, row) == expert]
    if not chosen:
        seen = [str(_expert(part, w, row)) for w, row in here]
        if not _has_experts(part):
            raise ValueError(f"this MLP has no experts: leave expert out of the selection, got expert {expert!r}")
        raise ValueError(f"expert {expert!r} did not see token {pos}; it went to the experts {', '.join(seen)}")
    return chosen[0]


def _has_experts(part: Part) -> bool:
    return len(part.linear) > 1 or any(w.map.group for w in part.linear)


def _mixer(q: _About) -> dict[str, Any]:
    return {
        **q.written(),
        "why": _WHY_NO_KEYS.get(
            q.part()[0].kind, "This vector was computed from no state, so what reaches it ends here."
        ),
    }


_WHY_NO_KEYS = {
    "mixer": "A mixer (state space, linear attention) passes a running state along instead of looking at tokens one "
    "by one, or mixes tokens in a way that is not a sum over keys. So there is no pattern over keys, and what reaches "
    "it cannot be followed to a token: it ends here.",
    "skip": "A skip connection adds an earlier state again, multiplied by factors that are frozen here. It has no keys "
    "and no neurons: what reaches it goes on to that state at the same token.",
}


# ---- tokens ----


def _token(q: _About) -> dict[str, Any]:
    run, pos = q.run, q.pos
    t = run.tokens[pos]
    said = rank = None
    if pos > 0:
        before = run.logits[pos - 1].to(torch.promote_types(run.logits.dtype, torch.float32))
        said, rank = float(before.softmax(-1)[t.id]), int((before > before[t.id]).sum())
    following: dict[str, Any] = {"next": top_tokens(run, pos)}
    if q.beside:
        listed = {t.id for t in following["next"].tokens}
        theirs = [t.id for t in q.beside["next"].tokens if t.id not in listed]
        logits = run.logits[pos].to(torch.promote_types(run.logits.dtype, torch.float32))
        tokens = run.model.vocabulary(theirs)
        following["also"] = TokenList(tokens, logits[theirs].cpu(), logits.softmax(-1)[theirs].cpu())
    return {
        "pos": pos,
        "id": t.id,
        "raw": t.raw,
        "bytes": t.bytes.hex(),
        "text": t.text,
        "special": t.special,
        "role": run.roles[pos],
        "p": said,
        "rank": rank,
        **following,
    }


def _named(run: Run, token: int) -> dict[str, Any]:
    return {"id": token, "text": run.model.vocabulary([token])[0].text}


def _columns(run: Run, ids: Tensor, scores: Tensor) -> dict[str, Any]:
    ids = ids.cpu()
    return {"id": ids, "text": [t.text for t in run.model.vocabulary(ids.tolist())], "score": scores.cpu()}


def _check_number(selection: Selection, name: str, size: int) -> None:
    value = selection.get(name, 0)
    if value is None and name == "key":
        return
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < size:
        raise ValueError(f"{name} must be in 0..{size - 1}, got {value!r}")


_ANSWERS: dict[str, Callable[[_About], dict[str, Any]]] = {
    "state": _state, "carried": _carried, "edge": _edge, "head": _head, "mlp": _mlp, "neuron": _neuron,
    "mixer": _mixer, "token": _token,
}  # fmt: skip
