"""Writes docs/api.md from the docstrings of the public names: python docs/make_api.py"""

from __future__ import annotations

import inspect
from pathlib import Path

import lmtt_widget

GROUPS = {
    "Models and runs": ("load_model", "bundled_model", "record", "Model", "Run", "State", "Part", "Fidelity", "Check",
                        "Token"),
    "Shares and routes": ("proximity", "attribute", "head_shares", "neuron_shares", "renormalise", "trace", "Graph",
                          "Routes"),
    "What if": ("Edit", "effects", "Effects", "Verdict", "knock_outs", "changed_heads", "ChangedHead", "estimate",
                "Estimate", "faithfulness",
                "Faithfulness", "contrast", "Difference", "contrast_prompts", "ContrastPrompt", "swap_words",
                "attention_reasons", "Reasons", "Source", "generate", "Generated", "Reft",
                "persuasion", "Persuasion"),
    "Reading vectors as tokens": ("top_tokens", "promoted", "logit_lens", "lens_logits", "head_output",
                                  "direct_logit_attribution", "direct_effects", "promoters", "Promoters", "Writer",
                                  "fit_lens", "FittedLens"),
    "Inside a part": ("attention_pattern", "value_vectors", "head_vectors", "neuron_vectors", "neurons_by_effect",
                      "RankedNeurons", "sign_cases", "SignCases", "row_similarity"),
    "Many prompts": ("survey", "load_survey", "Survey", "ScoreMap", "Comparison", "Example", "NeuronCases",
                     "Context"),
    "The widget": ("explore", "FlowWidget"),
    "When something is wrong": ("doctor", "Report", "UndecomposableError", "ForwardError"),
    "Saving and sharing": ("save_html", "save_svg", "save_png", "save_json", "load_json", "SavedWidget",
                           "circuit_graph", "model_card", "ModelCard"),
}  # fmt: skip


def page() -> str:
    """The whole page as Markdown."""
    missing = set(lmtt_widget.__all__) - {name for names in GROUPS.values() for name in names}
    assert not missing, f"public names without a group: {sorted(missing)}"
    lines = ["# API", "", "Made from the docstrings by `python docs/make_api.py`.", "", "```text"]
    lines += [inspect.cleandoc(lmtt_widget.__doc__ or ""), "```", ""]
    for group, names in GROUPS.items():
        lines += [f"## {group}", ""]
        for name in names:
            lines += _entry(name, getattr(lmtt_widget, name))
    return "\n".join(lines)


def _entry(name: str, thing: object) -> list[str]:
    signature = "" if inspect.isclass(thing) else str(inspect.signature(thing)).replace("'", "")  # type: ignore[arg-type]
    lines = [f"### `{name}{signature}`", "", "```text", inspect.cleandoc(thing.__doc__ or ""), "```", ""]
    if inspect.isclass(thing) and thing.__module__.startswith("lmtt_widget"):
        own = [base for base in reversed(thing.__mro__) if base.__module__.startswith("lmtt_widget")]
        members = {member: value for base in own for member, value in vars(base).items()}
        for member, value in members.items():
            function = value.fget if isinstance(value, property) else value
            if not member.startswith("_") and inspect.isfunction(function) and function.__doc__:
                how = "" if isinstance(value, property) else str(inspect.signature(function)).replace("'", "")
                first = inspect.cleandoc(function.__doc__).split("\n\n")[0].replace("\n", " ")
                lines.append(f"* `{member}{how}`: {first}")
        lines += [""] if lines[-1] else []
    return lines


if __name__ == "__main__":
    Path(__file__).with_name("api.md").write_text(page() + "\n", "utf-8")
