"""Long work says how far it is, and whatever ends it early leaves the model as it was."""

from __future__ import annotations

import io
import signal
import sys
from typing import Any

import pytest
import torch

from lmtt_widget import FlowWidget, attribute, explore, load_model, progress, record

from . import text, zoo


def everything_about(model: torch.nn.Module) -> Any:
    """Hooks, modes, switches and parameters of a model."""
    modules = [(len(m._forward_hooks), len(m._forward_pre_hooks), m.training) for m in model.modules()]
    parameters = [(p.requires_grad, p._version, float(p.detach().double().sum())) for p in model.parameters()]
    config: Any = model.config
    return modules, parameters, config._attn_implementation, getattr(config, "_experts_implementation", None)


def test_every_layer_and_every_state_is_reported() -> None:
    told: list[tuple[int, int]] = []
    run = record(load_model(zoo.make("llama")), zoo.prompt(), progress=lambda *x: told.append(x))
    assert told == [(n, zoo.N_LAYERS) for n in range(1, zoo.N_LAYERS + 1)]
    told.clear()
    attribute(run, progress=lambda *x: told.append(x))
    assert told == [(n, len(run.states) - 1) for n in range(len(run.states))]


def test_short_work_is_quiet_and_long_work_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load_model(zoo.make("llama"))
    monkeypatch.setattr(progress, "_PATIENCE", 3600)  # a busy machine may need a second for a little work
    attribute(record(model, zoo.prompt()))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "_PATIENCE", 0)
    attribute(record(model, zoo.prompt()))
    said = capsys.readouterr().err
    assert "recording:" in said
    assert "attributing:" in said
    assert "2/4" in said
    assert said.endswith("\r")  # the bar is gone


def test_nothing_is_printed_in_a_notebook_or_where_nobody_is_to_be_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load_model(zoo.make("llama"))
    monkeypatch.setattr(progress, "_PATIENCE", 0)
    attribute(record(model, zoo.prompt(), progress=False), progress=False)
    assert capsys.readouterr().err == ""

    class OutStream(io.StringIO):
        """As a kernel has it."""

    OutStream.__module__ = "ipykernel.iostream"
    cell = OutStream()
    monkeypatch.setattr(sys, "stderr", cell)
    explore(model, zoo.prompt()).close()
    attribute(record(model, zoo.prompt()))
    assert cell.getvalue() == ""


@pytest.mark.parametrize("case", ["gpt2", "mixtral"])
def test_an_interrupted_recording_leaves_the_model_as_it_was(case: str) -> None:
    module = zoo.make(case, attention="eager")
    model = load_model(module)
    before, ids = everything_about(module), torch.tensor([zoo.prompt()])
    logits = module(input_ids=ids).logits

    def interrupt(done: int, total: int) -> None:
        if done == total // 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        record(model, zoo.prompt(), progress=interrupt)
    assert everything_about(module) == before
    assert torch.equal(module(input_ids=ids).logits, logits)
    assert torch.is_grad_enabled()
    assert torch.equal(record(model, zoo.prompt()).logits, logits[0])


@pytest.mark.parametrize("work", ["recording", "attributing"])
@pytest.mark.parametrize("by", ["browser", "python"])
def test_an_interrupted_widget_still_shows_the_last_picture(by: str, work: str) -> None:
    model = text.model()
    widget = explore(model, "the cat sat")
    before = everything_about(model.module)
    shown = widget.graph, widget.prompt, widget.prompts, widget.target, widget.run
    said: list[dict[str, Any]] = []

    def interrupt(change: Any) -> None:
        said.append(change["new"])
        if change["new"]["state"] == "running" and change["new"]["text"] == work:
            signal.raise_signal(signal.SIGINT)

    widget.observe(interrupt, "status")
    if by == "browser":
        widget.set_state({"prompt": "the dog ran"})
    else:
        with pytest.raises(KeyboardInterrupt):
            widget.prompt = "the dog ran"
    widget.unobserve(interrupt, "status")
    assert widget.status == {"state": "error", "text": "interrupted; nothing was changed", "done": 0, "total": 0}
    assert (widget.graph, widget.prompt, widget.prompts, widget.target, widget.run) == shown
    assert everything_about(model.module) == before
    _goes_on(widget)


def _goes_on(widget: FlowWidget) -> None:
    widget.set_state({"prompt": "the dog ran"})
    assert widget.status["state"] == "idle"
    assert widget.prompt == "the dog ran"
    assert widget.prompts[-1] == "the dog ran"
