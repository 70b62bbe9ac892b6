"""The examples of the public docstrings run, and say what they say."""

from __future__ import annotations

import doctest
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import lmtt_widget as lmtt
from lmtt_widget import session

PROMPT = "When Mary and John went to the store, John gave a drink to"
ALL = [*lmtt.__all__, "session.Session"]


@pytest.fixture(scope="module")
def names(bundled: lmtt.Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What every example may use: those of the package's own first example, and a folder."""
    run = lmtt.record(bundled, PROMPT)
    widget = lmtt.explore(bundled, PROMPT)
    made = {"model": bundled, "prompt": PROMPT, "run": run, "graph": lmtt.attribute(run), "widget": widget}
    modules = {"lmtt": lmtt, "torch": torch, "np": np, "Session": session.Session}
    yield made | modules | {"folder": tmp_path_factory.mktemp("examples")}
    widget.close()


@pytest.mark.parametrize("name", ALL)
def test_every_public_docstring_has_an_example_that_runs(name: str, names: dict[str, Any]) -> None:
    public: Any = session.Session if name == "session.Session" else getattr(lmtt, name)
    examples = doctest.DocTestParser().get_doctest(public.__doc__, dict(names), name, None, 0)
    assert examples.examples, f"{name} has no example"
    failed = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(examples, clear_globs=False)
    assert failed.failed == 0
    widget = examples.globs["widget"]
    if widget is not names["widget"]:
        widget.close()


def test_the_names_of_the_examples_are_said_where_the_package_begins() -> None:
    first = (lmtt.__doc__ or "").split("Axis names")[0]
    for name in ("model", "prompt", "run", "graph", "widget"):
        assert f"{name} = " in first, name
