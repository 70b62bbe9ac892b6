"""An interrupted recording leaves nothing: not in the model, not in the thread, not in the process."""

from __future__ import annotations

import gc
import sys

import pytest
import torch

from lmtt_widget import load_model, record
from lmtt_widget.decomposition.hooks import Hook
from lmtt_widget.decomposition.layers import Recorder
from lmtt_widget.decomposition.restored import Undo, whatever_happens

from . import zoo
from .interrupted import MODELS, Instructions, interrupt


@pytest.mark.sampled
@pytest.mark.parametrize("name", MODELS)
def test_an_interrupt_anywhere_leaves_nothing(name: str) -> None:
    came, wrong = interrupt(name, 16, seed=1)
    assert came > 8
    assert wrong == []


def test_whatever_was_changed_is_put_back_at_every_single_instruction() -> None:
    """No place is left out where the whole is small enough to try them all."""

    def work() -> None:
        def change(undo: Undo) -> None:
            for k in range(3):
                undo.append(lambda k=k: state.discard(k))  # type: ignore[misc]
                state.add(k)

        whatever_happens(change)

    state: set[int] = set()
    counted = Instructions()
    counted.run(work)
    for at in range(1, counted.n + 1):
        assert Instructions(at).run(work)
        assert state == set(), at


def test_a_hook_does_nothing_once_its_recording_is_over() -> None:
    module = zoo.make("llama", dtype=torch.float32)
    ids = torch.tensor([zoo.prompt()])
    with torch.no_grad():
        before = module(input_ids=ids).logits
    recorder = Recorder(module, list(module.model.layers), ids.shape[1], False)
    recorder.hook()
    recorder.is_on = False
    with torch.no_grad():
        assert torch.equal(module(input_ids=ids).logits, before)
    recorder.unhook()
    recorder.unhook()
    assert not [f for m in module.modules() for f in m._forward_hooks.values() if isinstance(f, Hook)]


def test_nothing_is_pushed_when_what_was_interrupted_is_collected() -> None:
    model = load_model(zoo.make("gpt2", dtype=torch.float32))
    kept = []
    for at in range(2000, 2400, 40):
        try:
            Interrupted(at).raise_from(lambda: record(model, zoo.prompt(), progress=lambda *_: None))
        except KeyboardInterrupt as e:
            kept.append(e)
    with torch.enable_grad():
        kept.clear()
        gc.collect()
        assert torch.is_grad_enabled()
        assert torch.overrides._get_current_function_mode_stack() == []


class Interrupted(Instructions):
    """One whose exception is for the caller."""

    def raise_from(self, work: object) -> None:
        before = sys.gettrace()
        sys.settrace(self._called)
        try:
            work()  # type: ignore[operator]
        finally:
            sys.settrace(before)
