"""What is told before a question, against what the model knows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lmtt_widget as lmtt

QUERY = "The hat of {entity} is"
CONTEXTS = ["Tom has a red hat. Anna has a blue hat. ", "Tom has a green hat. Anna has a green hat. "]
ENTITIES = ["Tom", "Anna"]


@pytest.fixture(scope="module")
def model():
    return lmtt.bundled_model()


@pytest.fixture(scope="module")
def found(model):
    return lmtt.persuasion(model, QUERY, CONTEXTS, ENTITIES)


def said(model, text):
    """By the model's own forward pass."""
    with torch.no_grad():
        return model.module(torch.tensor([model.encode(text).ids])).logits[0, -1].double().log_softmax(-1)


def test_it_is_the_divergence_between_the_models_own_answers_with_and_without_the_context(model, found):
    for e, name in enumerate(ENTITIES):
        alone = said(model, QUERY.replace("{entity}", name))
        every = [said(model, c + QUERY.replace("{entity}", name)) for c in CONTEXTS]
        for c, after in enumerate(every):
            kl = torch.nn.functional.kl_div(alone, after, log_target=True, reduction="sum")
            assert found.kl[c, e] == pytest.approx(float(kl), rel=1e-4, abs=1e-6)
            assert found.p[c, e] == pytest.approx(float(after.exp()[alone.argmax()]), rel=1e-4)
        mean = torch.stack(every).exp().mean(0)
        entropy = lambda p: float(-torch.xlogy(p, p).sum())  # noqa: E731
        mutual = entropy(mean) - np.mean([entropy(x.exp()) for x in every])
        assert found.information[e] == pytest.approx(mutual, rel=1e-3, abs=1e-6)


def test_a_context_persuades_and_an_entity_is_susceptible_on_average(found):
    assert found.persuasion == pytest.approx(found.kl.mean(1))
    assert found.susceptibility == pytest.approx(found.kl.mean(0))


def test_a_context_that_names_the_colour_is_answered_with_it(found):
    assert [row["answer"].strip("·") for row in found.rows] == ["red", "blue", "green", "green"]


def test_the_flow_from_a_context_is_that_of_its_tokens(model, found):
    run = lmtt.record(model, CONTEXTS[0] + QUERY.replace("{entity}", "Anna"))
    shares = lmtt.trace(lmtt.attribute(run), encoding="flow").input_share
    texts = [token.text for token in run.tokens]
    query = len(model.encode("The hat of Anna is").ids)
    first = 1 if model.encode("a").ids[0] == model.encode("b").ids[0] else 0  # a BOS is nobody's
    query -= first
    assert found.flow[0, 1] == pytest.approx(float(shares[first : len(texts) - query].sum()), abs=1e-6)
    assert 0 < found.flow[0, 1] < 1


def test_without_entities_the_query_is_asked_as_it_is(model):
    found = lmtt.persuasion(model, "The hat of Tom is", [CONTEXTS[0]])
    assert found.entities == ("The hat of Tom is",)
    assert found.kl.shape == (1, 1)


def test_texts_are_shown_as_text(model):
    found = lmtt.persuasion(model, "Tom is", ['<img src=x onerror="alert(1)"> '])
    shown = found._repr_html_()
    assert "<img" not in shown
    assert "&lt;img" in shown
    assert shown.count("<circle") == 1


@pytest.mark.parametrize(
    ("query", "contexts", "entities", "why"),
    [
        ("", ["a "], None, "query: expected at least one text"),
        ("Tom is", [], None, "contexts: expected at least one text"),
        ("Tom is", [" "], None, "contexts: expected at least one text"),
        ("Tom is", "Anna is ", None, "contexts must be a list of texts"),
        ("{entity} is", ["a "], None, "pass entities where the query has"),
        ("Tom is", ["a "], ["Tom"], "pass entities where the query has"),
        ("{entity} is", ["a "], [], "entities: expected at least one text"),
        (3, ["a "], None, "query must be a list of texts"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(model, query, contexts, entities, why):
    with pytest.raises((ValueError, TypeError), match=why):
        lmtt.persuasion(model, query, contexts, entities)
