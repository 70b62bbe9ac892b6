"""What a model's own page says of its inside: how exactly it is read, its heads, its typical routes, in Markdown.

Knows nothing of a notebook or a browser. Prompts and tokens are written as code, so that none of them is markup.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .figures import png, svg
from .given import number, of_kind
from .graph import ATTENTION, PART, Graph
from .model import Model
from .patterns import SCORES, scores
from .prompts import Prompt
from .routes import Routes, trace
from .run import Run
from .session import Opened, Session, prompt_list
from .state import graph_state

_STRONGEST = 3  # heads, words and lines that are named
_AT_LEAST = 0.3  # of a head's attention, to be called by what it looks at
_LOOKS_AT = {
    "previous": "the token before",
    "first": "the first token",
    "duplicate": "the same token earlier",
    "induction": "what followed the same token earlier (induction)",
}
_SHOWN = {"threshold": None, "encoding": "flow", "reading": "max", "renormalise": False}
_HEIGHT = 400  # px of a figure


@dataclass(frozen=True)
class ModelCard:
    """Markdown, and the pictures that it names.

    >>> card = lmtt.model_card(model, prompt)
    >>> card.save(folder).name, sorted(p.name for p in folder.glob("flow-*.png"))
    ('model-card.md', ['flow-1.png'])
    """

    markdown: str
    figures: dict[str, bytes]  # file name -> PNG

    def save(self, folder: str | Path) -> Path:
        """Writes the text and the pictures into a folder, which is made if need be; returns the text's path.

        Raises OSError for a folder that cannot be written.
        """
        folder = Path(folder).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in self.figures.items():
            (folder / name).write_bytes(picture)
        path = folder / "model-card.md"
        path.write_text(self.markdown, "utf-8")
        return path

    def _repr_markdown_(self) -> str:
        return self.markdown


@dataclass(frozen=True)
class _Read:
    """What is kept of one prompt; its run may go."""

    row: str  # of the table of prompts
    scores: np.ndarray  # [score, part, head]
    through: np.ndarray  # [layer, 2]: the flow through attention between tokens, and through MLPs
    exact: bool
    error: float


def model_card(model: Model, prompts: Prompt | Sequence[Prompt], *, scale: float = 2) -> ModelCard:
    """How exactly a model is read, what its heads look at and how its predictions come about, for its page on a hub.

    prompts: as of `explore`, each read to its last position. Scores of heads are means of their attention [0, 1] over
    the prompts that have such a place, flow is a share [0, 1] of the last state: neither is a causal effect (see
    `effects`). scale: pixels of a picture for every px.

    Raises ImportError with what to install where the extra "figures" is missing, ValueError for a prompt the model
    cannot take, UndecomposableError for a model that cannot be split exactly. (Information flow routes: Ferrando &
    Voita 2024, arXiv:2403.00824; scores: Olsson et al. 2022, arXiv:2209.11895)

        >>> card = lmtt.model_card(model, [prompt, "Mary went home because"])
        >>> card.markdown.splitlines()[0], sorted(card.figures)
        ('## Where its predictions come from', ['flow-1.png', 'flow-2.png'])
    """
    of_kind(model, Model, "model", "load_model(...) makes one")
    scale = number(scale, "scale", 0.1, 10)
    session, figures, read = Session(model, keep=1), {}, []
    for k, prompt in enumerate(prompt_list(prompts), 1):
        opened = session.open(prompt)
        figures[f"flow-{k}.png"] = png(_figure(opened), scale=scale)
        read.append(_read_of(opened))
    last, labels = opened.run, [read_one.row for read_one in read]
    session.close()
    lines = ["## Where its predictions come from", "", *_exactness(last, read), ""]
    lines += ["| prompt | comes next | comes from | largest line between tokens |", "|---|---|---|---|", *labels, ""]
    for k, name in enumerate(figures, 1):
        lines += [f"![The information flow to the last token of prompt {k}]({name})", ""]
    lines += [*_heads(last, read), "", *_layers(read), "", _HOW, ""]
    return ModelCard("\n".join(lines), figures)


_HOW = (
    "Columns of a picture are tokens, rows are states from the embedding up; the width of a line is the share of the "
    "last state that flows through it. Flow says what was carried, not what would change without it. (Ferrando & "
    "Voita 2024, [arXiv:2403.00824](https://arxiv.org/abs/2403.00824))"
)


def _figure(opened: Opened) -> str:
    view = {"fold": True, "height": _HEIGHT, "theme": "light"}
    message = graph_state(opened.graph, run_id=str(opened.number), label=opened.label)
    target = {"target": opened.run.n_tokens - 1}
    return svg(message, {**_SHOWN, "view": view, **target}, height=_HEIGHT)


def _read_of(opened: Opened) -> _Read:
    run, routes = opened.run, trace(opened.graph, encoding="flow")
    ids = torch.tensor([token.id for token in run.tokens])
    attention = [part.heads for part in run.parts if part.heads is not None]
    n_heads = max((heads.n_heads for heads in attention), default=0)
    found = np.full((len(SCORES), len(attention), n_heads), np.nan)
    for k, heads in enumerate(attention):
        found[:, k, : heads.n_heads] = np.stack([score.numpy() for score in scores(heads, ids).values()])
    row = " | ".join([_code(opened.label), _next(opened.graph), _words(routes), _line(routes)])
    return _Read(f"| {row} |", found, _through(routes), run.fidelity.exact, run.fidelity.worst)


def _next(graph: Graph) -> str:
    facts = graph.facts
    return f"{_code(facts.vocabulary[int(facts.next_id[-1, 0])])} {facts.next_p[-1, 0]:.0%}"


def _words(routes: Routes) -> str:
    most = np.argsort(-routes.input_share, kind="stable")[:_STRONGEST].tolist()
    tokens = routes.graph.tokens
    return ", ".join(f"{_code(tokens[k].text)} {routes.input_share[k]:.0%}" for k in most)


def _between(routes: Routes) -> Iterator[tuple[int, np.ndarray, slice]]:
    """The flow of every attention part's edges, 0 where a token looks at itself: part, flow, its edges."""
    g = routes.graph
    for b in g.blocks:
        if b.kind == ATTENTION:
            yield b.part, np.where(g.query[b.edges] == g.key[b.edges], 0, routes.flow[b.edges]), b.edges


def _line(routes: Routes) -> str:
    g, best, text = routes.graph, 0.0, "none"
    for part, flow, edges in _between(routes):
        if len(flow) and flow.max() > best:
            e, best = edges.start + int(flow.argmax()), float(flow.max())
            ends = " → ".join(_code(g.tokens[int(pos)].text) for pos in (g.key[e], g.query[e]))
            text = f"{ends} in layer {g.parts[part].layer}, most by head {int(g.head[e])}: {best:.0%}"
    return text


def _through(routes: Routes) -> np.ndarray:
    g = routes.graph
    layers = sorted({state.layer for state in g.states if state.layer is not None})
    row: dict[int | None, int] = {layer: k for k, layer in enumerate(layers)}
    found = np.zeros((len(layers), 2))
    for part, flow, _ in _between(routes):
        found[row[g.parts[part].layer], 0] += flow.sum()
    for b in g.blocks:
        if b.kind == PART and g.parts[b.part].kind == "mlp":
            found[row[g.parts[b.part].layer], 1] += routes.flow[b.edges].sum()
    return found


def _exactness(run: Run, read: Sequence[_Read]) -> list[str]:
    f, n = run.fidelity, len(read)
    how = "exactly" if all(one.exact for one in read) else "approximately"
    of = f"{n} prompt" if n == 1 else f"{n} prompts"
    said = f"**Read {how}**: on {of} the parts add up to what the model computed, off by at most "
    said += f"{max(one.error for one in read):.0e} of it ({f.dtype}, `{type(run.model.module).__name__}`)."
    return [said, *(f"* {_code(problem)}" for problem in (*f.problems, *f.notes))]


def _heads(run: Run, read: Sequence[_Read]) -> list[str]:
    parts = [part for part in run.parts if part.heads is not None]
    lines = ["| heads that look at | strongest, mean attention |", "|---|---|"]
    every = np.stack([one.scores for one in read])  # [prompt, score, part, head]
    counted = (~np.isnan(every)).sum(0)
    mean = np.where(counted > 0, np.nansum(every, 0) / np.maximum(counted, 1), -1)
    for name, score, known in zip(SCORES, mean, counted, strict=True):
        order = np.argsort(-score, axis=None, kind="stable")[:_STRONGEST].tolist()
        places = [divmod(k, score.shape[1]) for k in order]
        named = [f"L{parts[p].layer} H{h} {score[p, h]:.2f}" for p, h in places if score[p, h] >= _AT_LEAST]
        none = f"none above {_AT_LEAST}" if known.any() else "not seen: no token comes twice in these prompts"
        lines.append(f"| {_LOOKS_AT[name]} | {', '.join(named) or none} |")
    return lines


def _layers(read: Sequence[_Read]) -> list[str]:
    mean = np.mean([one.through for one in read], 0)
    lines = ["| layer | flow between tokens | flow through MLPs |", "|---|---|---|"]
    return lines + [f"| {layer} | {tokens:.0%} | {mlp:.0%} |" for layer, (tokens, mlp) in enumerate(mean)]


def _code(text: str) -> str:
    """As code in a table: longer marks around it than in it, no line and no column that ends."""
    longest = max((len(run) for run in _runs(text)), default=0)
    mark = "`" * (longest + 1)
    space = " " if longest else ""
    shown = "".join("⏎" if c in "\r\n\v\f\x85\u2028\u2029" else c for c in text).replace("|", r"\|")
    return f"{mark}{space}{shown}{space}{mark}"


def _runs(text: str) -> list[str]:
    return "".join(c if c == "`" else " " for c in text).split()
