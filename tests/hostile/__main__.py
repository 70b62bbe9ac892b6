"""What the recorder makes of every hostile model, as a table: right, refused by name, wrong, or a raw error.

python -m tests.hostile                the table
python -m tests.hostile -v shift       what was said of each model with "shift" in its name
"""

from __future__ import annotations

import argparse
import itertools
import time

import torch

from . import families as _families  # noqa: F401  (they put their models on the list)
from .models import CASES
from .trial import RESULTS, Verdict, try_out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-v", action="store_true", help="say what was found of every model")
    parser.add_argument("words", nargs="*", help="only models with one of these words in their name")
    options = parser.parse_args()
    torch.set_num_threads(1)  # tiny tensors: threads only cost
    start, verdicts = time.perf_counter(), []
    for case in CASES:
        if not options.words or any(w.lower() in str(case).lower() for w in options.words):
            v = try_out(case)
            verdicts.append(v)
            if options.v or v.result in ("wrong", "raw error", "faulty test"):
                print(f"{v.result:12s}{case}  {v.said}", flush=True)
    print(table(verdicts))
    print(f"{len(verdicts)} models in {time.perf_counter() - start:.0f} s")


def table(verdicts: list[Verdict]) -> str:
    """One row for each family."""
    head = f"{'family':58s}" + "".join(f"{r:>13s}" for r in RESULTS)
    rows = []
    for family, group in itertools.groupby(sorted(verdicts, key=lambda v: v.case.family), lambda v: v.case.family):
        mine = [v.result for v in group]
        rows.append(f"{family:58s}" + "".join(f"{mine.count(r) or '':>13}" for r in RESULTS))
    every = [v.result for v in verdicts]
    return "\n".join([head, *rows, f"{'all':58s}" + "".join(f"{every.count(r):>13}" for r in RESULTS)])


if __name__ == "__main__":
    main()
