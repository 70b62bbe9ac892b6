"""The saved analyses of the gallery, each with a sentence whose numbers are computed when the page is made.

`ANALYSES` maps a file's name to its title and to what makes the widget, or a page, and the sentence. The last two
models are random (no small trained one of their kind ships): their pictures show the marks, and mean nothing.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from typing import Any

import torch
import transformers

import lmtt_widget as lmtt

NAMES = "When Mary and John went to the store, John gave a drink to"
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)

Made = tuple[Any, str]


def indirect_object(model: lmtt.Model) -> Made:
    widget = lmtt.explore(model, NAMES, selection={"kind": "edge", "state": 5, "query": 13, "key": 1})
    n_heads = sum(share > 0.01 for share in widget.selected["heads"]["share"])
    share = widget.routes.input_share[1]
    return (
        widget,
        f"{n_heads} heads of layer 2 bring `·Mary` to the end; {share:.0%} of the last state comes from that word.",
    )


def induction(model: lmtt.Model) -> Made:
    ordinary = [i for i in range(len(model.tokenizer)) if i not in model.tokenizer.all_special_ids]
    chosen = torch.randperm(len(ordinary), generator=torch.Generator().manual_seed(0))[:8]
    block = [ordinary[i] for i in chosen]
    widget = lmtt.explore(model, block + block, target=14)
    widget.selection = {"kind": "head", "state": 5, "head": 6, "query": 14, "key": 7}
    looks = lmtt.attention_pattern(widget.run.part("attention", layer=2))[6][14, 7]
    return widget, (
        f"Random tokens, given twice: head 6 of layer 2 looks with {looks:.2f} at what followed this token the first "
        "time, and copies it."
    )


def copying(model: lmtt.Model) -> Made:
    widget = lmtt.explore(model, "In this story the capital of France is Rome. The capital of France is")
    tokens = [token.text for token in widget.run.tokens]
    share = widget.routes.input_share[tokens.index("·Rome")]
    (best,) = lmtt.top_tokens(widget.run, k=1).tokens
    return (
        widget,
        f"A text says otherwise than the facts, and is believed: `{best.text}`, {share:.0%} of it from that word.",
    )


def fact(model: lmtt.Model) -> Made:
    run = lmtt.record(model, "The capital of France is")
    settled = int(lmtt.logit_lens(run).settled[-1])
    widget = lmtt.explore(model, run.model.tokenizer.decode(run.token_ids))
    widget.selection = {"kind": "state", "state": settled, "pos": 4}
    there = run.states[settled]
    return widget, f"From layer {there.layer}, {there.name}, on the lens reads `·Paris` and stays with it."


def pronoun(model: lmtt.Model) -> Made:
    widget = lmtt.explore(model, "Mary went home because", selection={"kind": "mlp", "state": 6, "pos": 3})
    first = int(widget.selected["neurons"]["neuron"][0])
    return widget, f"An MLP raises both pronouns, most of it neuron {first}; which of them it is, attention says."


def binding(model: lmtt.Model) -> Made:
    widget = lmtt.explore(model, "Olga bought a green bike. Tom bought a brown bike. The bike of Tom is")
    text = [token.text for token in widget.run.tokens]
    green, brown = (widget.routes.input_share[text.index(word)] for word in ("·green", "·brown"))
    return widget, f"Two colours compete: {brown:.0%} of the last state comes from `·brown`, {green:.0%} from `·green`."


def sink(model: lmtt.Model) -> Made:
    widget = lmtt.explore(model, NAMES, selection={"kind": "heads"}, target=8)
    table = widget.selected["table"]
    resting = sum(score is not None and score > 0.5 for score in table["first"])
    return widget, (
        f"{resting} of {len(table['first'])} heads give more than half of their attention to the first token: "
        "a place to rest."
    )


def why_not(model: lmtt.Model) -> Made:
    widget = lmtt.explore(model, NAMES, encoding="effect", foil=" John", selection={"kind": "heads"})
    total = widget.selected["total"]
    return widget, (
        f"Why Mary rather than John: lines for and against, in two colours; together the logits differ by {total:.1f}."
    )


def contrast(model: lmtt.Model) -> Made:
    (found, *_) = lmtt.contrast_prompts(lmtt.record(model, NAMES), foil=model.token_id(" John"))
    widget = lmtt.explore(model, [NAMES, found.prompt], foil=" John", selection={"kind": "contrast"})
    return widget, (
        f"With one word changed ({found.how}) the log odds of `·Mary` against `·John` go from {found.odds_before:.1f} "
        f"to {found.odds:.1f}. A click in the table draws the second prompt, coloured by what differs."
    )


def cut(model: lmtt.Model) -> Made:
    widget = lmtt.explore(model, NAMES, selection={"kind": "cut", "state": 5, "query": 13, "key": 1})
    found = widget.selected
    return (
        widget,
        f"An edit: the widest line cut, the model run again; `·Mary` falls from {found['p_before']:.2f} to "
        f"{found['p']:.2f}.",
    )


def many(model: lmtt.Model) -> Made:
    people = ("Mary", "John", "Anna", "Tom", "Olga", "Ravi")
    prompts = [
        f"When {a} and {b} went to the {place}, {b} gave a {thing} to"
        for a, b in itertools.permutations(people, 2)
        for place, thing in (("store", "drink"), ("park", "kite"))
    ]
    with tempfile.TemporaryDirectory() as folder:
        survey = lmtt.survey(model, prompts, folder, progress=False)
        effects = survey.effect()
        ((layer, head),) = effects.best(1)
        row = effects.layers.index(layer)
        at = [float(numbers[row, head]) for numbers in (effects.value, effects.low, effects.high)]
        view = survey.show()
        view.map.score, view.map.cell = "effect", [row, head]
        page = view.map.page()
    return page, (
        f"A survey of {effects.n_prompts} prompts that give something to somebody: head {head} of layer {layer} adds "
        f"most to the name that comes next, {at[0]:.1f} logits (95 % of the time between {at[1]:.1f} and {at[2]:.1f}). "
        "A cell lists its strongest prompts."
    )


def chat(model: lmtt.Model) -> Made:
    model.tokenizer.chat_template = TEMPLATE
    widget = lmtt.explore(model, [{"role": "user", "content": "Mary went home."}])
    n_roles = len({role for role in widget.run.roles if role})
    model.tokenizer.chat_template = None
    return (
        widget,
        f"A chat: every one of the {widget.run.n_tokens} tokens knows which of {n_roles} roles it belongs to.",
    )


def experts(model: lmtt.Model) -> Made:
    torch.manual_seed(0)
    config = transformers.MixtralConfig(
        **_sizes(model), num_attention_heads=4, num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2
    )
    own = lmtt.load_model(transformers.MixtralForCausalLM(config).eval(), model.tokenizer)
    widget = lmtt.explore(own, NAMES, selection={"kind": "mlp", "state": 4, "pos": 13})
    return (
        widget,
        "Routing, in a random Mixtral: of four experts two write at each token, and their neurons are listed together.",
    )


def mixer(model: lmtt.Model) -> Made:
    torch.manual_seed(0)
    sizes = {key: value for key, value in _sizes(model).items() if key != "intermediate_size"}
    own = lmtt.load_model(transformers.MambaForCausalLM(transformers.MambaConfig(**sizes)).eval(), model.tokenizer)
    widget = lmtt.explore(own, NAMES)
    return widget, (
        f"Mixers, in a random Mamba: they keep no record of single words, so {widget.routes.ended['mixer']:.0%} of the "
        "flow ends there."
    )


def _sizes(model: lmtt.Model) -> dict[str, Any]:
    return {"vocab_size": len(model.tokenizer), "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3}


ANALYSES: dict[str, tuple[str, Callable[[lmtt.Model], Made]]] = {
    "indirect-object": ("Indirect object", indirect_object),
    "induction": ("Induction", induction),
    "copying": ("Copying from the text", copying),
    "fact": ("A fact, looked up", fact),
    "pronoun": ("A neuron for pronouns", pronoun),
    "binding": ("Whose is which", binding),
    "sink": ("Attention sinks", sink),
    "why-not": ("Why this rather than that", why_not),
    "contrast": ("Two prompts held against each other", contrast),
    "cut": ("What if it were not there", cut),
    "survey": ("Many prompts", many),
    "chat": ("Roles of a chat", chat),
    "experts": ("Experts", experts),
    "mixer": ("Mixers", mixer),
}
