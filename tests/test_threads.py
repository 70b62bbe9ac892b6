"""Work is divided among threads without a trace: the same results, and torch's own number of threads afterwards."""

from __future__ import annotations

import importlib.util
import math
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from lmtt_widget import Run, attribute, head_shares, load_model, record
from lmtt_widget.kernels import sums
from lmtt_widget.kernels.sums import kernel_for
from lmtt_widget.kernels.threads import side_by_side

from . import zoo
from .dense import AttentionShare, Dense

CPU = torch.device("cpu")
KERNELS = ["torch", *(["numba"] if importlib.util.find_spec("numba") else [])]


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(n=st.integers(0, 20))
def test_the_pieces_are_consecutive_and_in_order(n: int) -> None:
    with side_by_side(CPU) as team:
        pieces = team.spread(lambda piece: [*piece], n)
    assert [i for piece in pieces for i in piece] == list(range(n))
    assert len(pieces) == max(1, min(n, 3))


def test_they_run_at_the_same_time_with_one_torch_thread_each() -> None:
    together = threading.Barrier(3, timeout=20)
    usual: list[int] = []

    def elsewhere() -> None:
        new = threading.Thread(target=lambda: usual.append(torch.get_num_threads()))
        new.start()
        new.join()

    def work(_: range) -> tuple[int, int, bool]:
        together.wait()
        return threading.get_ident(), torch.get_num_threads(), torch.is_grad_enabled()

    with side_by_side(CPU) as team:
        threads, numbers, grad = zip(*team.spread(work, 3), strict=True)
        elsewhere()
    assert len(set(threads)) == 3
    assert numbers == (1, 1, 1)
    assert not any(grad)
    assert torch.get_num_threads() == 3
    assert torch.is_grad_enabled()
    elsewhere()
    assert usual == [3, 3]  # threads of others have what is usual, also those that start meanwhile


@pytest.mark.parametrize("piece", [0, 2])
def test_an_error_in_any_thread_is_raised_and_leaves_torch_as_it_was(piece: int) -> None:
    def work(numbers: range) -> None:
        if piece in numbers:
            raise ValueError(f"piece {piece}")

    with pytest.raises(ValueError, match=f"piece {piece}"), side_by_side(CPU) as team:
        team.spread(work, 3)
    assert torch.get_num_threads() == 3
    assert torch.is_grad_enabled()


def test_borrowed_memory_is_a_threads_own() -> None:
    like = torch.zeros(1)

    def work(numbers: range) -> tuple[int, int]:
        first = team.borrow("x", (4, 5), like)
        first.fill_(numbers[0])
        time.sleep(0.05)
        assert bool((first == numbers[0]).all())
        assert team.borrow("x", (2, 3), like).data_ptr() == first.data_ptr()
        return first.data_ptr(), team.borrow("y", (20,), like).data_ptr()

    with side_by_side(CPU) as team:
        found = team.spread(work, 3)
    assert len({p for pair in found for p in pair}) == 6


@pytest.fixture(scope="module")
def run() -> Run:
    model = zoo.make("llama", dtype=torch.float32, max_position_embeddings=256)
    return record(load_model(model), zoo.prompt(100))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("band", [1 << 22, 1000, 1])
def test_neither_threads_nor_bands_show(run: Run, kernel: str, band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as m:
        m.setattr(sums, "_BAND", band)
        several = Dense(attribute(run, kernel=kernel))  # type: ignore[arg-type]
        assert np.array_equal(attribute(run, kernel=kernel).total, several.graph.total)  # type: ignore[arg-type]
    torch.set_num_threads(1)
    one = Dense(attribute(run, kernel=kernel))  # type: ignore[arg-type]
    np.testing.assert_allclose(several.graph.head_sum, one.graph.head_sum, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(several.carried, one.carried, atol=1e-6, rtol=1e-5)
    for a, b in zip(several.parts, one.parts, strict=True):
        if isinstance(a, AttentionShare) and isinstance(b, AttentionShare):
            torch.testing.assert_close(a.share_sum, b.share_sum, atol=1e-6, rtol=1e-5)
            torch.testing.assert_close(a.share_max, b.share_max, atol=1e-6, rtol=1e-5)
            assert (a.top_head != b.top_head).float().mean() < 0.001  # only where two heads are as near


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("band", [1 << 22, 1000])
def test_the_error_bound_has_what_every_thread_and_band_took(
    run: Run, kernel: str, band: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as m:
        m.setattr(sums, "_BAND", band)
        several = attribute(run, kernel=kernel, tolerance=0.05).error  # type: ignore[arg-type]
    torch.set_num_threads(1)
    one = attribute(run, kernel=kernel, tolerance=0.05).error  # type: ignore[arg-type]
    assert float(one.max()) > 1e-3
    np.testing.assert_allclose(several, one, atol=1e-5, rtol=1e-3)


def test_a_module_that_must_be_called_is_never_called_twice_at_once() -> None:
    """As when its weights are moved in before the call and out after it."""
    model = zoo.make("llama", dtype=torch.float32, max_position_embeddings=256)
    busy, calls = threading.Lock(), []

    def alone(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def call(x: Tensor) -> Tensor:
            assert busy.acquire(blocking=False)
            try:
                time.sleep(0.001)
                calls.append(threading.get_ident())
                return forward(x)
            finally:
                busy.release()

        return call

    for name, module in model.named_modules():
        if name.endswith("o_proj"):
            module.forward = alone(module.forward)
    run = record(load_model(model), zoo.prompt(20))
    calls.clear()
    graph = attribute(run)
    part = next(p for p in run.parts if p.kind == "attention")
    head_shares(run, part, graph=graph)
    assert set(calls) == {threading.get_ident()}


def test_interrupting_leaves_torch_as_it_was(run: Run) -> None:
    def stop(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attribute(run, progress=stop)
    assert torch.get_num_threads() == 3
    assert np.isfinite(attribute(run).total).all()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_coordinate_is_below_a_level_before_it(kernel: str, dtype: torch.dtype, data: st.DataObject) -> None:
    rows, n = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 40))
    number = st.one_of(st.floats(0, 2.0**100, width=32), st.sampled_from([0.0, 1.0, 1.0000001]))
    size = torch.tensor(data.draw(st.lists(number, min_size=rows * n, max_size=rows * n)), dtype=dtype).view(rows, n)
    order, level = kernel_for(CPU, kernel).smallest(size)  # type: ignore[arg-type]
    assert level.shape[1] == order.shape[1] + 1
    assert torch.equal(level, level.sort().values)
    for row, listed in enumerate(order.tolist()):
        assert len(set(listed)) == len(listed)
        for i, least in enumerate(level[row].tolist()):
            rest = [x for c, x in enumerate(size[row].tolist()) if c not in listed[:i]]
            assert least <= min(rest, default=math.inf)
        assert len(listed) < n or level[row, -1] == math.inf
