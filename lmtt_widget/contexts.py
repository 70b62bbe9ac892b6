"""What is told before a question, against what the model knows: how far contexts move its answers.

Knows nothing of widgets and surveys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np

from .contributions import attribute
from .decomposition.forward import in_plain_precision
from .given import of_kind, told
from .model import Model
from .parts import wide
from .progress import Option, reported
from .routes import trace
from .run import Run, record

ENTITY = "{entity}"


@dataclass(frozen=True, eq=False)
class Persuasion:
    """How far each context moves the answer to each query.

    (Du et al. 2024, Context versus prior knowledge in language models, arXiv:2404.04633)

    >>> found = lmtt.persuasion(model, "The hat of Tom is", ["Tom has a red hat. ", "Anna has a cat. "])
    >>> found.kl.shape, bool((found.kl >= 0).all())
    ((2, 1), True)
    """

    contexts: tuple[str, ...]
    entities: tuple[str, ...]  # what stood for {entity}; the query itself where it has none
    kl: np.ndarray  # [context, entity], KL(answer with the context || answer without), nats
    information: np.ndarray  # [entity], what the choice of a context says about the answer, nats
    flow: np.ndarray  # [context, entity], the part of the flow into the answer that comes from the context's tokens
    answers: tuple[tuple[str, ...], ...]  # [context][entity], the most likely next token
    prior: tuple[str, ...]  # [entity], the same without a context
    p: np.ndarray  # [context, entity], what that prior answer is still given

    @property
    def persuasion(self) -> np.ndarray:
        """How far a context moves the answers, averaged over entities: [context], nats."""
        return self.kl.mean(1)  # type: ignore[no-any-return]

    @property
    def susceptibility(self) -> np.ndarray:
        """How far the answer about an entity is moved, averaged over contexts: [entity], nats."""
        return self.kl.mean(0)  # type: ignore[no-any-return]

    @property
    def rows(self) -> list[dict[str, object]]:
        """One for every context and entity: what a data frame takes."""
        return [
            {
                "context": context, "entity": entity, "kl": float(self.kl[c, e]), "flow": float(self.flow[c, e]),
                "prior": self.prior[e], "answer": self.answers[c][e], "p_prior": float(self.p[c, e]),
            }
            for c, context in enumerate(self.contexts)
            for e, entity in enumerate(self.entities)
        ]  # fmt: skip

    def __repr__(self) -> str:
        lines = ["  kl nats  flow from context  prior -> answer"]
        for row in self.rows:
            said = f"{row['prior']!r} -> {row['answer']!r}   {row['context']!r}, {row['entity']!r}"
            lines.append(f"{row['kl']:9.3f}{row['flow']:19.1%}  {said}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """A plot of both readings, and the table; every text escaped."""
        head = "<tr><th>context</th><th>entity</th><th>KL, nats</th><th>flow from it</th><th>answer</th></tr>"
        rows = "".join(
            f"<tr><td>{_text(r['context'])}</td><td>{_text(r['entity'])}</td><td>{r['kl']:.3f}</td>"
            f"<td>{r['flow']:.1%}</td><td>{_text(r['prior'])} → {_text(r['answer'])}</td></tr>"
            for r in self.rows
        )
        return f"{self.svg()}<table>{head}{rows}</table>"

    def svg(self) -> str:
        """A point for every context and entity: across, the flow that comes from the context; up, how far it moves."""
        width, height, left, below, top = 420, 260, 52, 44, 12
        most = max(float(self.kl.max(initial=0.0)), 1e-6)
        across = lambda x: left + x * (width - left - 14)  # noqa: E731
        up = lambda y: height - below - y / most * (height - below - top)  # noqa: E731
        points = "".join(
            f'<circle cx="{across(r["flow"]):.1f}" cy="{up(r["kl"]):.1f}" r="4.5" fill="#3b7dd8" fill-opacity=".6">'
            f"<title>{_text(r['context'])} · {_text(r['entity'])}</title></circle>"
            for r in self.rows
        )
        line = f'<path d="M{left} {top}V{height - below}H{width - 14}" fill="none" stroke="currentColor"/>'
        words = (
            f'<text x="{across(0.5):.0f}" y="{height - 8}" text-anchor="middle">flow from the context</text>'
            f'<text transform="translate(14 {up(most / 2):.0f}) rotate(-90)" text-anchor="middle">KL, nats</text>'
            + "".join(f'<text x="{across(x):.0f}" y="{height - below + 16}" text-anchor="middle">{x:.0%}</text>'
                      for x in (0, 0.5, 1))
            + "".join(f'<text x="{left - 6}" y="{up(y) + 4:.0f}" text-anchor="end">{y:.2g}</text>' for y in (0, most))
        )  # fmt: skip
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img" '
            f'font-family="sans-serif" font-size="12" fill="currentColor" aria-label="KL and flow from the context">'
            f"{line}{words}{points}</svg>"
        )


@in_plain_precision
def persuasion(
    model: Model,
    query: str,
    contexts: Sequence[str],
    entities: Sequence[str] | None = None,
    *,
    progress: Option = None,
) -> Persuasion:
    """How far contexts move what a model answers to a query, beside the flow that comes from them.

    query, contexts: text; "{entity}" in them stands for each of `entities` in turn, and each context goes before the
    query as it is, its last space included. kl [context, entity] is KL(p(next | context + query) || p(next | query)) in
    nats; `persuasion` averages it over entities, `susceptibility` over contexts. `information` is the mutual
    information of answer and context, where all contexts are equally likely; Du et al. 2024 (arXiv:2404.04633) call
    that the susceptibility of an entity. Flow is bookkeeping: a context may carry flow and move nothing.

    Raises ValueError for no contexts or entities, an empty one, an {entity} without entities or the reverse, and what
    `record` raises.

        >>> found = lmtt.persuasion(model, "The hat of {entity} is", ["{entity} has a red hat. "], ["Tom", "Anna"])
        >>> found.kl.shape, len(found.rows)
        ((1, 2), 2)
    """
    of_kind(model, Model, "model", "load_model(...) makes one, also of a torch module")
    told_before, (query,) = _texts(contexts, "contexts"), _texts([query], "query")
    if (ENTITY in query) != (entities is not None):
        raise ValueError(f"pass entities where the query has {ENTITY}, and only there; got {query!r} and {entities!r}")
    names = _texts(entities, "entities") if entities is not None else (query,)
    shape = len(told_before), len(names)
    kl, flow, p = (np.zeros(shape) for _ in range(3))
    answers = [[""] * shape[1] for _ in range(shape[0])]
    prior, information = [], np.zeros(shape[1])
    with reported("contexts", progress) as done:
        for e, name in enumerate(names):
            question = query.replace(ENTITY, name)
            alone = record(model, question, progress=False)
            before, after = _said(alone), np.zeros((shape[0], alone.logits.shape[-1]))
            top = int(before.argmax())
            prior.append(model.readable_tokens([top])[0].text)
            for c, context in enumerate(told_before):
                done(e * shape[0] + c, shape[0] * shape[1])
                run = record(model, context.replace(ENTITY, name) + question, progress=False)
                after[c] = _said(run)
                kl[c, e], p[c, e] = _kl(after[c], before), np.exp(after[c, top])
                answers[c][e] = model.readable_tokens([int(after[c].argmax())])[0].text
                shares = trace(attribute(run, progress=False), encoding="flow").input_share
                flow[c, e] = shares[_of_context(run, alone)].sum()
            together = np.logaddexp.reduce(after, 0) - np.log(shape[0])
            information[e] = np.mean([_kl(one, together) for one in after])
        done(shape[0] * shape[1], shape[0] * shape[1])
    return Persuasion(told_before, names, kl, information, flow, tuple(map(tuple, answers)), tuple(prior), p)


def _texts(texts: object, name: str) -> tuple[str, ...]:
    if isinstance(texts, str) or not isinstance(texts, Sequence) or not all(isinstance(t, str) for t in texts):
        raise TypeError(f"{name} must be a list of texts, got {told(texts)}")
    if not texts or not all(t.strip() for t in texts):
        raise ValueError(f"{name}: expected at least one text, none of them empty, got {list(texts)!r}")
    return tuple(texts)


def _said(run: Run) -> np.ndarray:
    """What the model says in the end: log p [d_vocab]."""
    return wide(run.logits[-1]).double().log_softmax(-1).cpu().numpy()  # type: ignore[no-any-return]


def _kl(p: np.ndarray, q: np.ndarray) -> float:
    """KL(p || q) of log probabilities, nats; rounding cannot make it negative."""
    some = np.exp(p) > 0
    return max(0.0, float((np.exp(p[some]) * (p[some] - q[some])).sum()))


def _of_context(run: Run, alone: Run) -> np.ndarray:
    """Which tokens are the context's: between what both begin with (a BOS) and what both end with: [pos], bool.

    After a context the query's first word may be another token, with a space before it.
    """
    tokens, query = ([t.bytes.strip() or t.id for t in r.tokens] for r in (run, alone))
    same = 0
    while same < len(query) and tokens[-1 - same] == query[-1 - same]:
        same += 1
    begin = 0
    while begin < len(query) - same and tokens[begin] == query[begin]:
        begin += 1
    pos = np.arange(len(tokens))
    return (pos >= begin) & (pos < len(tokens) - same)  # type: ignore[no-any-return]


def _text(x: object) -> str:
    return escape(str(x), {'"': "&quot;"})
