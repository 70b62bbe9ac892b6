"""A model on an accelerator, or divided over two, is read as on the CPU; nothing is mixed and results come back."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

import lmtt_widget as lmtt
from lmtt_widget import bundled, known_labels

from . import accelerators, answers, devices, zoo
from .untouched import assert_unchanged, everything

pytestmark = pytest.mark.skipif(not devices.IS_POSSIBLE, reason="a device can be pretended from torch 2.9 on")
IDS = zoo.prompt()

# One for each way in which the engine meets a device; the whole zoo is asked by python -m tests.accelerators.
SOME = {
    "one accelerator": "gpt2 falcon-40b bloom mixtral dbrx gpt_oss jamba",
    "one accelerator, shares by the CPU's kernel (numba) on copies": "gemma2",
    "one accelerator without float64 (Apple's)": "llama bloom",
    "layers divided over two accelerators": "opt-350m mixtral gemma2 deepseek_v3",
}
CASES = [(case, way) for way, names in SOME.items() for case in zoo.cases() if str(case) in names.split()]


# ---- what is pretended ----


def test_a_pretended_device_computes_what_the_cpu_does() -> None:
    a, b = torch.randn(2, 3, 5), torch.randn(2, 5, 4)
    there = a.to(devices.device(1))
    assert (there.device.type, there.device.index, type(there)) == ("pretended", 1, torch.Tensor)
    assert torch.equal((there @ b.to(there.device)).softmax(-1).cpu(), (a @ b).softmax(-1))
    view = there.transpose(0, 1)[1:]
    assert view._base is there
    assert view.untyped_storage().data_ptr() == there.untyped_storage().data_ptr()
    view.mul_(2)
    a[:, 1:] *= 2
    assert there._version == 1
    assert there.tolist() == a.tolist()
    linear = nn.Linear(5, 4).to(there.device)
    assert type(linear.weight) is nn.Parameter
    assert linear(there).requires_grad


@pytest.mark.parametrize(
    "mix",
    [
        lambda x, y: x + y,
        lambda x, y: torch.cat([x, y]),
        lambda x, y: torch.where(x > 0, x, y),
        lambda x, y: x @ y,
        lambda x, y: torch.isin(x, y),
        lambda x, y: y[x.long()],
        lambda x, y: x.index_add_(0, y[0].long(), x),
    ],
)
@pytest.mark.parametrize("other", ["cpu", "pretended:1"])
def test_two_devices_in_one_call_are_refused(mix: Any, other: str) -> None:
    x, y = torch.zeros(3, 3, device=devices.device()), torch.zeros(3, 3, device=other)
    with pytest.raises(RuntimeError, match="the same device"):
        mix(x, y)


def test_numbers_and_indices_of_the_cpu_are_taken() -> None:
    x = torch.arange(4.0, device=devices.device())
    assert (x + torch.tensor(1.0)).tolist() == [1, 2, 3, 4]
    assert x[torch.tensor([3, 0])].tolist() == [3, 0]
    assert x[[3, 0]].tolist() == [3, 0]


def test_every_wait_is_counted_with_its_kind() -> None:
    x = torch.arange(4.0, device=devices.device())
    with devices.waits() as found:
        x.sum() + 1
        assert not found
        x.sum().item(), bool(x[0] == 0), float(x[1]), torch.equal(x, x), x.tolist(), x.cpu()
        x[x > 1], x.nonzero(), x.unique(), torch.tensor([1.0], device=x.device)
        x[x > 2] = 0  # a number: no need to know where
        x[x > 2] = x[:0]
    kinds = {kind: n for (kind, _), n in found.items()}
    assert kinds == {"item": 4, "to the CPU": 2, "nonzero": 3, "unique": 1, "from the CPU": 1}
    assert {place for _, place in found} == {"the model"}


# ---- models there ----


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of transformers and torch.compile, about themselves
        yield


@pytest.mark.sampled
@pytest.mark.parametrize(("case", "way"), CASES, ids=lambda x: str(x))
def test_every_answer_on_an_accelerator_is_the_one_on_the_cpu(case: zoo.Case, way: str) -> None:
    if "numba" in way:
        pytest.importorskip("numba")
    assert accelerators.outcome(case, accelerators.WAYS[way]) == "same"


@pytest.mark.parametrize(("type_", "once"), [("gpt2", 0), ("llama", 0), ("mixtral", 1)])
def test_no_layer_is_waited_for_while_it_is_read_but_once_for_its_experts_and_twice_for_its_shares(
    type_: str, once: int
) -> None:
    def waited(n_layers: int) -> tuple[int, int]:
        model = zoo.make(type_, dtype=torch.float32, num_hidden_layers=n_layers).to(devices.device())
        loaded = lmtt.load_model(model)
        lmtt.record(loaded, IDS)  # whatever is done once
        with devices.waits() as reading:
            run = lmtt.record(loaded, IDS)
        with devices.waits() as sharing:
            lmtt.attribute(run, kernel="torch")
        return sum(n for (_, who), n in reading.items() if who != "the model"), sharing.total()

    few, many = waited(2), waited(4)
    assert many[0] - few[0] <= (4 - 2) * once
    assert many[1] - few[1] <= 2 * (4 - 2)


def test_experts_are_proven_to_keep_tokens_apart_on_an_accelerator_too(monkeypatch: pytest.MonkeyPatch) -> None:
    model = lmtt.load_model(zoo.make("mixtral", dtype=torch.float32).to(devices.device()))
    lmtt.record(model, IDS)
    monkeypatch.setattr(known_labels, "still_holds", lambda *_: pytest.fail("tried again"))
    lmtt.record(model, IDS)


@pytest.mark.slow
def test_parallel_streams_are_read_on_an_accelerator() -> None:
    case = zoo.Case("gemma3n_text")
    here = lmtt.attribute(zoo.recorded(case))
    there = lmtt.attribute(lmtt.record(lmtt.load_model(zoo.make(case).to(devices.device())), IDS))
    assert abs(here.carried - there.carried).max() < 1e-5


def test_a_model_on_an_accelerator_is_left_as_it_was() -> None:
    model = zoo.make("mixtral").to(devices.device())
    before = everything(model)
    answers.everything(model, IDS)
    assert_unchanged(model, before)


def test_load_model_takes_a_model_to_the_device() -> None:
    model = lmtt.load_model(bundled.DIRECTORY, device=devices.device(1), dtype=torch.float32)
    assert model.device == devices.device(1)
    assert lmtt.record(model, "Anna has a red hat.").fidelity.exact


def test_the_report_reads_a_model_on_an_accelerator() -> None:
    here, there = zoo.make("gpt2"), zoo.make("gpt2").to(devices.device())
    assert [r.parts for r in lmtt.doctor(there).layers] == [r.parts for r in lmtt.doctor(here).layers]


def test_the_numba_kernel_works_on_copies() -> None:
    pytest.importorskip("numba")
    model = zoo.make("llama", dtype=torch.float32).to(devices.device())
    flow = lmtt.attribute(lmtt.record(lmtt.load_model(model), IDS), kernel="numba")
    assert flow.kernel == "numba (on copies, the model is on pretended:0)"
