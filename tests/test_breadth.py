"""Every causal language model that transformers can build is exact, or refused with the layer and the reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lmtt_widget import UndecomposableError

from . import zoo
from .breadth import agrees, find

DOCS = Path(__file__).parents[1] / "docs" / "models.md"
# Types that transformers cannot make or run by themselves from a config.
UNBUILT = {
    "blt", "dots3_note", "gemma3n", "gemma4_assistant", "gemma4_unified_assistant", "musicgen", "musicgen_melody",
    "qwen4_exp",
}  # fmt: skip
# Where patterns or states are not the attentions or hidden states that the model returns, and why.
_LATE = {"states": "its hidden states are collected after each layer, one late"}
_NO_KEYS = {"patterns": "its attention is shown as a mixer, without keys"}
OTHERWISE = {
    "mamba": _LATE, "mamba2": _LATE, "falcon_mamba": _LATE, "rwkv": _LATE | _NO_KEYS, "deepseek_v4": _NO_KEYS,
    "jetmoe": _NO_KEYS, "zamba": _NO_KEYS, "zamba2": _NO_KEYS,
    "diffllama": {"patterns": "it returns half of the patterns of its heads, which are differences of two"},
    "minimax": {"patterns": "it returns something for its linear attention, which has no softmax"},
}  # fmt: skip


@pytest.mark.sampled
@pytest.mark.parametrize("case", zoo.every_case(), ids=str)
def test_a_model_is_exact_or_refused_in_words(case: zoo.Case) -> None:
    found = find(case)
    if found.unbuilt:
        assert case.type in UNBUILT, found.unbuilt
    elif found.errors is None:
        assert re.search(r"layer \d+ \(\w+\): \S|later tokens", found.refused), found.refused
    else:
        assert max(found.errors) < 1e-5
        assert found.errors[0] < 1e-6


@pytest.mark.parametrize("case", [c for c in zoo.every_case() if c.type not in UNBUILT], ids=str)
def test_patterns_and_states_are_what_the_model_returns(case: zoo.Case) -> None:
    try:
        found = agrees(case)
    except UndecomposableError:
        return  # as the test above expects
    wrong = {name for name, agree in found.items() if not agree}
    assert wrong == set(OTHERWISE.get(case.type, {}))


def test_at_least_93_of_100_models_are_exact() -> None:
    """As the table in the docs says, which has a line for each."""
    text = DOCS.read_text()
    exact, built = map(int, re.search(r"\*\*(\d+) of (\d+) exact", text).groups())  # type: ignore[union-attr]
    assert exact >= 0.93 * built
    lines = re.findall(r"^\| (\S+) \|", text, re.M)
    assert [str(c) for c in zoo.every_case()] == sorted(set(lines) - {"type"}, key=_place)


def _place(case: str) -> int:
    return [str(c) for c in zoo.every_case()].index(case)
