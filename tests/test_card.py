"""A model's card says what was measured, and its prompts are text."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import lmtt_widget as lmtt

from . import zoo
from .test_examples import PROMPT

TWICE = "Mary went home. Mary went home because"


@pytest.fixture(scope="module")
def card(bundled: lmtt.Model) -> lmtt.ModelCard:
    return lmtt.model_card(bundled, [PROMPT, TWICE])


def rows(card: lmtt.ModelCard, heading: str) -> dict[str, list[str]]:
    """The rows of the table that begins with a heading, by their first column."""
    table = card.markdown.split(f"| {heading} |", 1)[1].split("\n\n")[0].splitlines()[2:]
    return {cells[0]: cells[1:] for cells in ([c.strip() for c in row.strip("|").split(" | ")] for row in table)}


def test_the_card_says_what_comes_next_and_which_words_it_came_from(card: lmtt.ModelCard, bundled: lmtt.Model) -> None:
    run = lmtt.record(bundled, PROMPT)
    following, words, _ = rows(card, "prompt")[f"`{PROMPT}`"]
    p, best = run.logits[-1].float().softmax(-1).max(-1)
    text = bundled.vocabulary([int(best)])[0].text
    assert following == f"`{text}` {float(p):.0%}"
    share = lmtt.trace(lmtt.attribute(run), encoding="flow").input_share
    first = int(np.argmax(share))
    assert words.startswith(f"`{run.tokens[first].text}` {share[first]:.0%}")


def test_the_largest_line_between_tokens_is_one_of_the_routes(card: lmtt.ModelCard, bundled: lmtt.Model) -> None:
    graph = lmtt.attribute(lmtt.record(bundled, PROMPT))
    edges = [e for e in lmtt.trace(graph, encoding="flow").edges(0) if e.kind == "attention" and e.query != e.key]
    most = max(edges, key=lambda e: e.flow)
    _, _, line = rows(card, "prompt")[f"`{PROMPT}`"]
    ends = f"`{graph.tokens[most.key].text}` → `{graph.tokens[most.query].text}`"
    assert line.startswith(f"{ends} in layer {graph.parts[most.part].layer}")
    assert line.endswith(f"{most.flow:.0%}")


def test_a_heads_score_is_its_mean_attention_over_the_prompts(card: lmtt.ModelCard, bundled: lmtt.Model) -> None:
    strongest = rows(card, "heads that look at")["the token before"][0].split(", ")[0]
    layer, head, score = re.fullmatch(r"L(\d+) H(\d+) ([\d.]+)", strongest).groups()  # type: ignore[union-attr]
    means = []
    for prompt in (PROMPT, TWICE):
        part = lmtt.record(bundled, prompt).part("attention", layer=int(layer))
        pattern = lmtt.attention_pattern(part)[int(head)]
        means.append(float(torch.as_tensor(pattern).diagonal(-1).mean()))
    assert float(score) == pytest.approx(np.mean(means), abs=0.005)


def test_flow_through_a_layer_is_the_mean_over_the_prompts(card: lmtt.ModelCard, bundled: lmtt.Model) -> None:
    through = []
    for prompt in (PROMPT, TWICE):
        graph = lmtt.attribute(lmtt.record(bundled, prompt))
        edges = lmtt.trace(graph, encoding="flow").edges(-1)
        in_layer = [e for e in edges if e.part is not None and graph.parts[e.part].layer == 2]
        through.append(
            [
                sum(e.flow for e in in_layer if e.kind == "attention" and e.query != e.key),
                sum(e.flow for e in in_layer if e.kind == "mlp"),
            ]
        )
    assert rows(card, "layer")["2"] == [f"{x:.0%}" for x in np.mean(through, 0)]


def test_what_no_prompt_can_show_is_said(bundled: lmtt.Model) -> None:
    card = lmtt.model_card(bundled, "Mary went home because")
    heads = rows(card, "heads that look at")
    assert heads["the same token earlier"] == ["not seen: no token comes twice in these prompts"]


def test_prompts_are_text_and_no_markup(bundled: lmtt.Model) -> None:
    hostile = "Mary | `went`\n\n# home <img src=x onerror=alert(1)>"
    (row,) = [x for x in lmtt.model_card(bundled, hostile).markdown.splitlines() if "onerror" in x]
    assert row.startswith(r"| `` Mary \| `went`⏎⏎# home <img src=x onerror=alert(1)> `` |")


def test_the_card_is_saved_with_the_pictures_it_names(card: lmtt.ModelCard, tmp_path: Path) -> None:
    path = card.save(tmp_path / "page")
    named = re.findall(r"\]\((flow-\d+\.png)\)", path.read_text("utf-8"))
    assert named == ["flow-1.png", "flow-2.png"]
    assert all((path.parent / name).read_bytes().startswith(b"\x89PNG") for name in named)


def test_a_model_without_heads_has_a_card_too() -> None:
    model = lmtt.load_model(zoo.shared(zoo.Case("mamba")))
    card = lmtt.model_card(model, [[1, 2, 3, 4]])
    assert "none" in rows(card, "prompt")["`4 token ids`"][2]


def test_what_is_no_model_is_refused_in_words() -> None:
    with pytest.raises(TypeError, match=r"model must be a Model \(load_model"):
        lmtt.model_card("gpt2", "x")  # type: ignore[arg-type]
