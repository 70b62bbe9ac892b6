"""What `record` makes of every causal language model that the installed transformers can build.

python -m tests.breadth                      prints the table
python -m tests.breadth --write docs/models.md
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers

from lmtt_widget import Run, UndecomposableError, load_model, record

from . import zoo

_NEEDED = {
    "cpmant": "nothing: it looks both ways, so it is no causal model (and puts 32 learned positions before the prompt)",
    "inkling2_text": "a state that continues no earlier one: layers begin the stream anew, so no line reaches the top",
    "prophetnet": "several states for each token: beside its own row one for every n-gram that is predicted ahead",
}


@dataclass(frozen=True)
class Finding:
    """One tiny random model with one prompt: `errors` by dtype when it is exact, `refused` in words when it is not."""

    case: zoo.Case
    layers: str = ""  # the parts of a layer, for every kind of layer there is
    errors: tuple[float, float] | None = None  # largest relative error in float64 and float32
    notes: tuple[str, ...] = ()
    refused: str = ""
    unbuilt: str = ""  # why transformers cannot make or run the model by itself


def find(case: zoo.Case) -> Finding:
    """Builds the model of a case and records it in float64 (where it runs so) and in float32.

    Labels are probed in the first alone, which is that of every other test: a probe takes several times as long as all
    that the second is for.
    """
    try:
        model = zoo.shared(case)
        ids = torch.tensor([zoo.prompt()])
        with torch.no_grad():
            plain = model(input_ids=ids).logits[0]
    except Exception as e:  # noqa: BLE001  (whatever transformers raises is what the table says)
        return Finding(case, unbuilt=_one_line(e))
    try:
        run = zoo.recorded(case)
        assert torch.equal(run.logits, plain), f"{case}: recording changed the logits"
        single = record(load_model(zoo.make(case, dtype=torch.float32)), zoo.prompt(), check="all", probe=False)
    except (UndecomposableError, ValueError) as e:
        return Finding(case, refused=_one_line(e))
    return Finding(case, _layers(run), (run.fidelity.worst, single.fidelity.worst), run.fidelity.notes)


def agrees(case: zoo.Case) -> dict[str, bool]:
    """Whether patterns and states are the attentions and hidden states that the eager model itself returns, if any.

    The last hidden state is left out: it is after the final norm.
    """
    model = zoo.make(case, attention="eager")
    with torch.no_grad():
        said = model(input_ids=torch.tensor([zoo.prompt()]), output_attentions=True, output_hidden_states=True)
    run = record(load_model(model), zoo.prompt(), check="all", probe=False)
    found = {}
    attentions = [a[0] for a in getattr(said, "attentions", None) or () if isinstance(a, torch.Tensor)]
    if attentions:
        patterns = [p.heads.pattern() for p in run.parts if p.heads is not None]
        found["patterns"] = len(patterns) == len(attentions) and all(
            p.shape == a.shape and torch.allclose(p, a.to(p), atol=1e-6)
            for p, a in zip(patterns, attentions, strict=True)
        )
    hidden = getattr(said, "hidden_states", None)
    if hidden:
        last = {s.layer: s.value for s in run.states}  # of the embedding and of each layer
        in_rows = [h.movedim(0, 2) if h.ndim == 4 and h.shape[0] > 1 else h for h in hidden]
        pairs = zip(list(last.values())[:-1], in_rows[:-1], strict=True)
        found["states"] = all(torch.equal(s, h.reshape(s.shape).to(s)) for s, h in pairs)
    return found


def table(findings: list[Finding]) -> str:
    """The findings as Markdown."""
    built = [f for f in findings if not f.unbuilt]
    exact = [f for f in built if f.errors]
    lines = [
        "# Every causal language model that transformers can build",
        "",
        "Made by `python -m tests.breadth --write docs/models.md`: each type built tiny and random from its config, "
        "one prompt of 7 tokens recorded, every sum, head and linear map checked at every position. The errors are the "
        "largest relative ones in float64 and in float32 (many models run their norms in float32 either way); the "
        "forward pass stayed bit-identical in all. Nothing in the library knows any of these names.",
        "",
        f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}: **{len(exact)} of "
        f"{len(built)} exact** ({100 * len(exact) / len(built):.1f} %), {len(built) - len(exact)} refused with the "
        "reason, none that disagrees silently.",
        "",
        "| type | parts of a layer | float64 | float32 | remarks |",
        "|---|---|---|---|---|",
    ]
    for f in exact:
        assert f.errors is not None
        remarks = "; ".join(dict.fromkeys(_general(n) for n in f.notes))
        lines.append(f"| {f.case} | {f.layers} | {f.errors[0]:.0e} | {f.errors[1]:.0e} | {remarks} |")
    lines += ["", "## Refused", "", "| type | what `record` says | what it would need |", "|---|---|---|"]
    lines += [f"| {f.case} | {_general(f.refused)} | {_NEEDED.get(f.case.type, '')} |" for f in built if f.refused]
    lines += ["", "## Not built", "", "Transformers cannot make or run these by themselves from a config.", ""]
    lines += ["| type | what transformers says |", "|---|---|"]
    lines += [f"| {f.case} | {f.unbuilt} |" for f in findings if f.unbuilt]
    return "\n".join(lines) + "\n"


def _layers(run: Run) -> str:
    """The kinds of parts in the order they enter; layers that look the same are named once."""
    kinds = []
    of_layer = (s for s in run.states if s.layer is not None)
    for _, states in itertools.groupby(of_layer, key=lambda s: s.layer):
        at_once = (", ".join(dict.fromkeys(p.kind for p in s.parts if p.kind != "constant")) for s in states)
        kinds.append(" \u2192 ".join(a or "scaled" for a in at_once))
    return " / ".join(dict.fromkeys(kinds))


def _general(sentence: str) -> str:
    """The sentence about the first layer it is said of."""
    return sentence.split("; layer ")[0].replace("|", "\\|")


def _one_line(e: Exception) -> str:
    return " ".join(f"{type(e).__name__}: {e}".split())[:300].replace("|", "\\|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, help="the file to write the table to")
    parser.add_argument("types", nargs="*", help="only these types")
    options = parser.parse_args()
    findings = []
    for case in zoo.every_case():
        if not options.types or case.type in options.types:
            f = find(case)
            findings.append(f)
            print(case, f.layers, f.errors or f.refused or f"not built: {f.unbuilt}", *f.notes[:1], flush=True)
    if options.write:
        options.write.write_text(table(findings))
    print(table(findings).split("\n")[4])


if __name__ == "__main__":
    main()
