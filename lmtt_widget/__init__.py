"""Where did this prediction come from? Information flow routes of a causal language model, inline in a notebook.

    import lmtt_widget as lmtt
    model = lmtt.bundled_model()  # or lmtt.load_model("gpt2")
    prompt = "When Mary and John went to the store, John gave a drink to"
    widget = lmtt.explore(model, prompt)
    run = lmtt.record(model, prompt)
    graph = lmtt.attribute(run)

Axis names, the same everywhere: `pos` (a token), `query` (the pos where attention writes), `key` (the pos it reads),
`layer`, `head`, `neuron`, `d_model`, `d_head`, `d_mlp`, `d_vocab`, `state` (a value of the residual stream, numbered
upward from the embedding, 0). Index order: layer, head, query, key.

torch and transformers are imported when first needed, so that this import is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .attribution import direct_effects, direct_logit_attribution
    from .by_word import Promoters, Writer, promoters
    from .card import ModelCard, model_card
    from .circuit import circuit_graph
    from .contexts import Persuasion, persuasion
    from .contrasts import ContrastPrompt, contrast_prompts, swap_words
    from .contributions import attribute, proximity
    from .decomposition.writes import ForwardError, UndecomposableError
    from .difference import Difference, contrast
    from .direct import ChangedHead, changed_heads
    from .estimates import Estimate, estimate
    from .export import SavedWidget, load_json, save_html, save_json, save_png, save_svg
    from .faithful import Faithfulness, faithfulness
    from .fidelity import Check, Fidelity
    from .fitted import FittedLens, fit_lens
    from .gated import SignCases, row_similarity, sign_cases
    from .generation import Generated, generate
    from .graph import Graph
    from .inside import head_shares, neuron_shares, renormalise
    from .interventions import Edit, Reft
    from .lens import head_output, lens_logits, logit_lens, promoted, top_tokens
    from .model import Model, bundled_model, load_model
    from .parts import Part, State
    from .pieces import (
        RankedNeurons,
        attention_pattern,
        head_vectors,
        neuron_vectors,
        neurons_by_effect,
        value_vectors,
    )
    from .reasons import Reasons, Source, attention_reasons
    from .report import Report, doctor
    from .routes import Routes, trace
    from .run import Run, record
    from .surveys.found import Context, Example, NeuronCases
    from .surveys.making import survey
    from .surveys.scores import Comparison, ScoreMap
    from .surveys.survey import Survey, load_survey
    from .tokens import Token
    from .verdicts import Effects, Verdict, effects, knock_outs
    from .widget import FlowWidget, explore

__version__ = "0.1.0"

_WHERE = {
    "contrasts": ("ContrastPrompt", "contrast_prompts", "swap_words"),
    "difference": ("Difference", "contrast"),
    "direct": ("ChangedHead", "changed_heads"),
    "gated": ("SignCases", "row_similarity", "sign_cases"),
    "generation": ("Generated", "generate"),
    "reasons": ("Reasons", "Source", "attention_reasons"),
    "faithful": ("Faithfulness", "faithfulness"),
    "estimates": ("Estimate", "estimate"),
    "verdicts": ("Effects", "Verdict", "effects", "knock_outs"),
    "contexts": ("Persuasion", "persuasion"),
    "contributions": ("attribute", "proximity"),
    "decomposition.writes": ("ForwardError", "UndecomposableError"),
    "export": ("SavedWidget", "load_json", "save_html", "save_json", "save_png", "save_svg"),
    "fidelity": ("Check", "Fidelity"),
    "fitted": ("FittedLens", "fit_lens"),
    "graph": ("Graph",),
    "interventions": ("Edit", "Reft"),
    "inside": ("head_shares", "neuron_shares", "renormalise"),
    "by_word": ("Promoters", "Writer", "promoters"),
    "card": ("ModelCard", "model_card"),
    "circuit": ("circuit_graph",),
    "attribution": ("direct_effects", "direct_logit_attribution"),
    "lens": ("head_output", "lens_logits", "logit_lens", "promoted", "top_tokens"),
    "model": ("Model", "bundled_model", "load_model"),
    "pieces": (
        "RankedNeurons",
        "attention_pattern",
        "head_vectors",
        "neuron_vectors",
        "neurons_by_effect",
        "value_vectors",
    ),
    "report": ("Report", "doctor"),
    "routes": ("Routes", "trace"),
    "parts": ("Part", "State"),
    "run": ("Run", "record"),
    "surveys.found": ("Context", "Example", "NeuronCases"),
    "surveys.making": ("survey",),
    "surveys.scores": ("Comparison", "ScoreMap"),
    "surveys.survey": ("Survey", "load_survey"),
    "tokens": ("Token",),
    "widget": ("FlowWidget", "explore"),
}
_MODULE = {name: module for module, names in _WHERE.items() for name in names}

__all__ = [
    "ChangedHead", "Check", "Comparison", "Context", "ContrastPrompt", "Difference", "Edit", "Effects", "Estimate",
    "Example", "Faithfulness", "Fidelity", "FittedLens", "FlowWidget", "ForwardError", "Generated", "Graph", "Model",
    "ModelCard", "NeuronCases", "Part", "Persuasion", "Promoters", "RankedNeurons", "Reasons", "Reft", "Report",
    "Routes", "Run", "SavedWidget", "ScoreMap", "SignCases", "Source", "State", "Survey", "Token",
    "UndecomposableError", "Verdict", "Writer", "attention_pattern", "attention_reasons", "attribute", "bundled_model",
    "changed_heads", "circuit_graph", "contrast", "contrast_prompts", "direct_effects", "direct_logit_attribution",
    "doctor", "effects", "estimate", "explore", "faithfulness", "fit_lens", "generate", "head_output", "head_shares",
    "head_vectors", "knock_outs", "lens_logits", "load_json", "load_model", "load_survey", "logit_lens", "model_card",
    "neuron_shares", "neuron_vectors", "neurons_by_effect", "persuasion", "promoted", "promoters", "proximity",
    "record", "renormalise", "row_similarity", "save_html", "save_json", "save_png", "save_svg", "sign_cases", "survey",
    "swap_words", "top_tokens", "trace", "value_vectors",
]  # fmt: skip


_EARLIER = {"Flow": "Graph", "renormalize": "renormalise"}


def __getattr__(name: str) -> Any:
    if name in _EARLIER:
        from .earlier import told

        told(name, _EARLIER[name])
        name = _EARLIER[name]
    if name in _MODULE:
        try:
            return getattr(import_module(f".{_MODULE[name]}", __name__), name)
        except ModuleNotFoundError as error:
            if error.name not in ("torch", "transformers"):
                raise
            message = (
                f"{name} needs torch and transformers, which are not installed here: pip install torch transformers. "
                "Saved analyses open without them: load_json(path)"
            )
            raise ModuleNotFoundError(message, name=error.name) from None
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
