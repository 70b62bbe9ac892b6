"""Laws of generation: greedy is what transformers says, a seed says the same again, edits hold at every step."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import lmtt_widget as lmtt
from lmtt_widget import Edit, generate, load_model, record

from . import zoo

PROMPT = "When Mary and John went to the store, John gave a drink to"


@pytest.mark.parametrize("name", ["gpt2", "llama", "mamba", "gemma2"])
def test_greedy_is_what_transformers_generates(name: str) -> None:
    module = zoo.shared(zoo.Case(name))
    said = generate(load_model(module), zoo.prompt(), 6, stop=[], progress=False)
    with torch.no_grad():
        truth = module.generate(  # type: ignore[operator]
            torch.tensor([zoo.prompt()]), max_new_tokens=6, do_sample=False, eos_token_id=None
        )
    assert said.run.token_ids.tolist() == truth[0].tolist()
    assert said.why == "length"


def test_every_generated_token_is_a_target_of_the_run(bundled: lmtt.Model) -> None:
    said = generate(bundled, PROMPT, 4, stop=["."])
    assert (said.text, said.why) == (" Mary.", "stop")
    assert [t.id for t in said.tokens] == said.run.token_ids[said.n_prompt :].tolist()
    p = said.run.logits.softmax(-1)
    for pos, token, chosen in zip(said.targets, said.tokens, said.p, strict=True):
        assert int(said.run.logits[pos].argmax()) == token.id
        assert chosen == pytest.approx(float(p[pos, token.id]), abs=1e-5)
        lmtt.trace(lmtt.attribute(said.run), target=pos)


def test_one_seed_says_one_thing_and_draws_as_often_as_the_model_says(bundled: lmtt.Model) -> None:
    prompt, draws = "Mary went home because", 200
    one, two = (generate(bundled, prompt, 5, temperature=1.0, seed=7, progress=False) for _ in range(2))
    assert one.run.token_ids.tolist() == two.run.token_ids.tolist()
    texts = {generate(bundled, prompt, 5, temperature=5.0, seed=s, progress=False).text for s in range(4)}
    assert len(texts) > 1
    cold = generate(bundled, prompt, 3, temperature=1e-4, progress=False)
    assert cold.text == generate(bundled, prompt, 3, progress=False).text
    from lmtt_widget.generation import _drawn

    logits, dice = torch.tensor([0.0, 1.0, 2.0]), torch.Generator().manual_seed(0)
    counts = torch.bincount(torch.tensor([_drawn(logits, 2.0, dice) for _ in range(draws * 10)]), minlength=3)
    torch.testing.assert_close(counts / (draws * 10.0), (logits / 2).softmax(-1), atol=0.04, rtol=0)


def test_edits_hold_at_every_step(bundled: lmtt.Model) -> None:
    cut = Edit({"kind": "mlp", "state": 8})  # at every position, also the new ones
    said = generate(bundled, PROMPT, 3, interventions=[cut], stop=[], progress=False)
    ids = bundled.encode(PROMPT).ids
    for _ in range(3):
        ids.append(int(record(bundled, ids, interventions=[cut]).logits[-1].argmax()))
    assert said.run.token_ids.tolist() == ids
    assert said.run.interventions == (cut,)


def test_a_conversation_goes_on_in_the_assistants_words(bundled: lmtt.Model) -> None:
    import copy

    tokenizer: Any = copy.deepcopy(bundled.tokenizer)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    model = load_model(bundled.module, tokenizer)
    said = generate(model, [{"role": "user", "content": PROMPT}], 2, progress=False)
    assert said.text.startswith(" Mary")
    assert said.run.roles[-2:] == ["assistant", "assistant"]
    assert "user" in said.run.roles


def test_what_cannot_be_generated_is_refused_in_words(bundled: lmtt.Model) -> None:
    for options, error, message in (
        ({"temperature": -1}, ValueError, "temperature must be"),
        ({"temperature": float("nan")}, ValueError, "temperature must be"),
        ({"temperature": float("inf")}, ValueError, "temperature must be finite"),
        ({"n_tokens": 0}, ValueError, "n_tokens must be"),
        ({"seed": -1}, ValueError, "seed must be"),
        ({"stop": "."}, TypeError, "stop must be a list"),
        ({"stop": ["two words"]}, ValueError, "a stop must be one token"),
        ({"interventions": [Edit({"kind": "mlp", "state": 2, "pos": 99})]}, ValueError, "pos must be a position"),
    ):
        with pytest.raises(error, match=message):
            generate(bundled, PROMPT, **{"n_tokens": 2, "progress": False, **options})  # type: ignore[arg-type]
    full = load_model(zoo.shared(zoo.Case("gpt2")))
    with pytest.raises(ValueError, match="fills the model's 64 positions"):
        generate(full, [5] * 64, 2)
    said = generate(full, [5] * 62, 5, stop=[], progress=False)
    assert (said.why, said.run.n_tokens) == ("positions", 64)
