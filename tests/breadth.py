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
    """Builds the model of a case and records it in float64 (where it runs so) and in float32."""
    try:
        model = zoo.make(case)
        ids = torch.tensor([zoo.prompt()])
        with torch.no_grad():
            plain = model(input_ids=ids).logits[0]
    except Exception as e:  # noqa: BLE001  (whatever transformers raises is what the table says)
        return Finding(case, unbuilt=_one_line(e))
    try:
        run = record(load_model(model), zoo.prompt(), check="all")
        assert torch.equal(run.logits, plain), f"{case}: recording changed the logits"
        single = record(load_model(zoo.make(case, dtype=torch.float32)), zoo.prompt(), check="all")
    except (UndecomposableError, ValueError) as e:
        return Finding(case, refused=_one_line(e))
    return Finding(case, _layers(run), (run.fidelity.worst, single.fidelity.worst), run.fidelity.notes)


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
    lines += ["", "## Refused", "", "| type | what `record` says |", "|---|---|"]
    lines += [f"| {f.case} | {_general(f.refused)} |" for f in built if f.refused]
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
    return " ".join(f"{type(e).__name__}: {e}".split())[:200].replace("|", "\\|")


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
