"""The laws of edits on every causal language model that the installed transformers can build.

python -m tests.edited [TYPE ...] [--laws LAW ...]

prints a line for each model, and of how many each law holds, is refused by name, or is wrong.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable

import torch

from lmtt_widget import UndecomposableError

from . import zoo
from .test_estimates import test_an_estimate_is_the_slope_of_an_exact_edit as slopes
from .test_interventions import again, clean, own_values
from .test_interventions import test_a_model_is_untouched_by_edits_that_work_fail_or_are_interrupted as untouched
from .test_interventions import test_what_is_cut_leaves_the_state_and_the_picture as cuts
from .test_reasons import REFUSED as NO_REASONS
from .test_reasons import test_a_score_is_the_sum_of_its_table_and_scores_differ_as_the_pattern_says as reasons
from .test_verdicts import test_in_batches_from_the_layer_concerned_is_what_a_whole_pass_says as batches

HOLDS, REFUSED, WRONG = "holds", "refused", "WRONG"


def patched(case: zoo.Case) -> None:
    """No edit, and every own value by itself, to the bit. Raises ValueError with the first that is refused."""
    run, refused = clean(case), []
    assert torch.equal(again(run).logits, run.logits)
    for edit in own_values(run):
        try:
            assert torch.equal(again(run, edit).logits, run.logits), str(edit)
        except ValueError as e:
            refused.append(e)
    if refused:
        raise refused[0]


def reasoned(case: zoo.Case) -> None:
    """The table of a score. Raises ValueError where the test expects that it is refused, which it then is."""
    reasons(case)
    if str(case) in NO_REASONS:
        raise ValueError(NO_REASONS[str(case)])


LAWS: dict[str, Callable[[zoo.Case], None]] = {
    "own values": patched, "cuts": cuts, "batches": batches, "untouched": untouched, "slopes": slopes,
    "reasons": reasoned,
}  # fmt: skip


def judged(law: Callable[[zoo.Case], None], case: zoo.Case) -> tuple[str, str]:
    """Whether a law holds of a model, and in which words it is refused or broken."""
    try:
        law(case)
    except (UndecomposableError, ValueError) as e:
        return REFUSED, " ".join(str(e).split())[:160]
    except Exception as e:  # noqa: BLE001  (whatever else it raises is wrong)
        return WRONG, " ".join(f"{type(e).__name__}: {e}".split())[:160]
    return HOLDS, ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*", help="only these types")
    parser.add_argument("--laws", nargs="*", choices=LAWS, default=[*LAWS])
    options = parser.parse_args()
    counts: dict[str, Counter[str]] = {name: Counter() for name in options.laws}
    unbuilt = unread = 0
    for case in zoo.every_case():
        if options.types and case.type not in options.types:
            continue
        try:
            zoo.shared(case)
        except Exception as e:  # noqa: BLE001  (whatever transformers raises)
            unbuilt += 1
            print(case, f"not built: {type(e).__name__}", flush=True)
            continue
        try:
            clean(case)
        except (UndecomposableError, ValueError) as e:
            unread += 1
            print(case, f"not read: {e}"[:160], flush=True)
            continue
        found = {name: judged(LAWS[name], case) for name in options.laws}
        for name, (verdict, _) in found.items():
            counts[name][verdict] += 1
        said = [f"{name} {verdict} ({why})" for name, (verdict, why) in found.items() if verdict != HOLDS]
        print(case, "; ".join(said) or "all hold", flush=True)
        clean.cache_clear()
        zoo.shared.cache_clear()
    print(f"\n{unbuilt} not built, {unread} not read at all")
    for name, count in counts.items():
        print(f"{name:12s}" + "".join(f"{count[v]:5d} {v}" for v in (HOLDS, REFUSED, WRONG)))


if __name__ == "__main__":
    main()
