"""The whole zoo on accelerators, every answer compared with the CPU's: python -m tests.accelerators [type ...]

The devices are pretended (tests/devices.py). `--write` puts the table into docs/loading.md; it takes most of an hour.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from lmtt_widget.decomposition.layers import find_layers

from . import answers, devices, zoo
from .loading import ACCELERATORS, PAGE

IDS = zoo.prompt()


class Way(NamedTuple):
    """How a model comes to run on accelerators."""

    put: Callable[[nn.Module], Any]
    kernel: str = "torch"
    asks: Callable[..., dict[str, Any]] = answers.everything
    dtype: torch.dtype | None = None  # of the model; None: float64 where it can run so
    lacks: torch.dtype | None = None  # what the device has no numbers of


def _divided(model: nn.Module) -> nn.Module:
    return devices.divided(model, find_layers(model))


def _moved(model: nn.Module) -> nn.Module:
    return model.to(devices.device())


WAYS = {
    "one accelerator": Way(_moved),
    "one accelerator, shares by the CPU's kernel (numba) on copies": Way(_moved, "numba", answers.shares),
    "one accelerator without float64 (Apple's)": Way(_moved, dtype=torch.float32, lacks=torch.float64),
    "layers divided over two accelerators": Way(_divided),
}


def outcome(case: zoo.Case, way: Way) -> str:
    """ "same", or in words how a model asked there answers otherwise than on the CPU."""
    expected = _on_the_cpu(case, way.dtype)
    lacking = devices.without(way.lacks) if way.lacks else contextlib.nullcontext()
    with lacking:
        model = way.put(zoo.make(case, dtype=way.dtype))
        try:
            with torch.no_grad():
                model(input_ids=torch.tensor([IDS], device=devices.device()))
        except (RuntimeError, TypeError, AttributeError, NotImplementedError) as e:
            return f"cannot run there: {_first_line(e)}"
        try:
            found = way.asks(model, IDS, way.kernel)
        except (RuntimeError, TypeError) as e:
            return f"{'mixed' if 'same device' in str(e) else 'fails'}: {_first_line(e)}"
    return "; ".join(answers.difference({name: expected[name] for name in found}, found)[:2]) or "same"


@cache
def _on_the_cpu(case: zoo.Case, dtype: torch.dtype | None) -> dict[str, Any]:
    return answers.everything(zoo.make(case, dtype=dtype), IDS)


def _first_line(e: Exception) -> str:
    frames = [f for f in traceback.extract_tb(e.__traceback__) if "/lmtt_widget/" in f.filename]
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno}: {frames[-1].line})" if frames else ""
    return f"{type(e).__name__}: {str(e).splitlines()[0]:.150}{where}"


def found(types: Sequence[str] = ()) -> Iterator[tuple[zoo.Case, str, str]]:
    """The outcome of each case in each way."""
    for case in zoo.cases():
        if not types or case.type in types:
            _on_the_cpu.cache_clear()
            for name, way in WAYS.items():
                yield case, name, outcome(case, way)


def table(outcomes: Iterable[tuple[object, str, str]]) -> Iterator[str]:
    """A row for each way, then what is not the same."""
    counts: dict[str, Counter[str]] = {way: Counter() for way in WAYS}
    rest = []
    for case, name, outcome in outcomes:
        kind = outcome if outcome == "same" else outcome.partition(":")[0]
        counts[name][kind if kind in ("same", "mixed", "cannot run there") else "other"] += 1
        if outcome != "same":
            rest.append(f"* {case}, {name}: {outcome}")
    yield "| where | models | the same as on the CPU | devices mixed | other | the model itself cannot run there |"
    yield "|---|---|---|---|---|---|"
    for name, n in counts.items():
        yield f"| {name} | {n.total()} | {n['same']} | {n['mixed']} | {n['other']} | {n['cannot run there']} |"
    yield from ["", *rest] if rest else []


def write(outcomes: Iterable[tuple[object, str, str]]) -> None:
    """Puts the table at the end of docs/loading.md."""
    outcomes, above = list(outcomes), PAGE.read_text("utf-8").partition(ACCELERATORS)[0].rstrip()
    asked = (
        f"{len({str(case) for case, *_ in outcomes})} of the {len(zoo.cases())} models were asked at the last count."
    )
    PAGE.write_text("\n".join([above, "", ACCELERATORS, "", _SAID, asked, "", *table(outcomes), ""]), "utf-8")


_SAID = """\
Made by `python -m tests.accelerators --write`, without a GPU: devices are pretended (tests/devices.py). Their tensors
say that they live there, hold memory of the CPU, and refuse to be in one call with tensors of another place, as a GPU's
do. Every type that the engine's tests name is recorded there, and everything that can be asked of it (every share, map
and pattern, the lens, direct effects, every kind of selection, saved files) is compared with the answers on the CPU.
"""


if __name__ == "__main__":
    types = [word for word in sys.argv[1:] if word != "--write"]
    outcomes = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of transformers and torch.compile, about themselves
        for one in found(types):
            print("{}, {}: {}".format(*one), file=sys.stderr, flush=True)
            outcomes.append(one)
    print(*table(outcomes), sep="\n")
    if "--write" in sys.argv:
        write(outcomes)
