"""The whole zoo on accelerators, every answer compared with the CPU's: python -m tests.accelerators [type ...]

The devices are pretended (tests/devices.py). `python -m tests.loading` writes the table into docs/loading.md.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from lmtt_widget.decomposition.layers import find_layers

from . import answers, devices, zoo

IDS = zoo.prompt()


class Way(NamedTuple):
    """How a model comes to run on accelerators."""

    put: Callable[[nn.Module], Any]
    kernel: str = "torch"
    dtype: torch.dtype | None = None  # of the model; None: float64 where it can run so
    lacks: torch.dtype | None = None  # what the device has no numbers of


def _divided(model: nn.Module) -> nn.Module:
    return devices.divided(model, find_layers(model))


def _moved(model: nn.Module) -> nn.Module:
    return model.to(devices.device())


WAYS = {
    "one accelerator": Way(_moved),
    "one accelerator, shares by the CPU's kernel (numba) on copies": Way(_moved, "numba"),
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
            found = answers.everything(model, IDS, way.kernel)
        except (RuntimeError, TypeError) as e:
            return f"{'mixed' if 'same device' in str(e) else 'fails'}: {_first_line(e)}"
    return "; ".join(answers.difference(expected, found)[:2]) or "same"


@cache
def _on_the_cpu(case: zoo.Case, dtype: torch.dtype | None) -> dict[str, Any]:
    return answers.everything(zoo.make(case, dtype=dtype), IDS)


def _first_line(e: Exception) -> str:
    frames = [f for f in traceback.extract_tb(e.__traceback__) if "/lmtt_widget/" in f.filename]
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno}: {frames[-1].line})" if frames else ""
    return f"{type(e).__name__}: {str(e).splitlines()[0]:.150}{where}"


def table(types: Sequence[str] = ()) -> Iterator[str]:
    """A row for each way, then what is not the same."""
    cases = [c for c in zoo.cases() if not types or c.type in types]
    counts: dict[str, Counter[str]] = {way: Counter() for way in WAYS}
    rest = []
    for case in cases:
        _on_the_cpu.cache_clear()
        for name, way in WAYS.items():
            found = outcome(case, way)
            kind = found if found == "same" else found.partition(":")[0]
            counts[name][kind if kind in ("same", "mixed", "cannot run there") else "other"] += 1
            if found != "same":
                rest.append(f"* {case}, {name}: {found}")
    yield "| where | models | the same as on the CPU | devices mixed | other | the model itself cannot run there |"
    yield "|---|---|---|---|---|---|"
    for name, n in counts.items():
        yield f"| {name} | {n.total()} | {n['same']} | {n['mixed']} | {n['other']} | {n['cannot run there']} |"
    yield from ["", *rest] if rest else []


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of transformers and torch.compile, about themselves
        for line in table(sys.argv[1:]):
            print(line, flush=True)
