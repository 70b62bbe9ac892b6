"""A sum is judged by what rounding explains: not by how much it cancels, nor by how large other coordinates are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import lmtt_widget as lmtt
from lmtt_widget import Run, load_model, record
from lmtt_widget.decomposition.paths import Center, Path, Scale
from lmtt_widget.decomposition.rounding import backward_error
from lmtt_widget.decomposition.streams import Spread, Streams
from lmtt_widget.fidelity import tolerance

from . import zoo

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
CANCELLING = "Olga bought a green bike. Tom bought a brown bike. The bike of Tom is"


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def error_of_sum(whole: Tensor, *parts: Tensor) -> float:
    return float(backward_error(whole, sum(p.double() for p in parts), sum(p.double().abs() for p in parts)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sum_that_cancels_is_within_rounding(dtype: torch.dtype) -> None:
    large = (1000 * drawn(7, 48)).to(dtype)
    small = drawn(7, 48, seed=1).to(dtype)
    parts = (large, small, -large)
    whole = (large + small) - large
    off = (whole.double() - sum(p.double() for p in parts)).norm() / whole.double().norm()
    assert off > tolerance(dtype)  # too much, for who compares with the whole
    assert error_of_sum(whole, *parts) <= torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_missing_part_shows_beside_a_channel_that_is_a_thousand_times_larger(dtype: torch.dtype) -> None:
    carried, mlp = drawn(7, 48).to(dtype), drawn(7, 48, seed=1).to(dtype)
    carried[:, 5] *= 1000
    mlp[:, 5] = 0
    whole = carried + mlp
    assert error_of_sum(whole, carried, mlp) <= torch.finfo(dtype).eps
    assert error_of_sum(whole, carried) > 0.5
    assert float(mlp.double().norm() / whole.double().norm()) < 0.01  # little, for who compares with the whole


def test_numbers_too_small_for_units_of_the_last_place_are_no_error() -> None:
    parts = [(1e-7 * drawn(7, 48, seed=s)).half() for s in range(3)]
    assert error_of_sum(parts[0] + parts[1] + parts[2], *parts) <= tolerance(torch.float16)


def test_what_is_no_number_is_never_within_rounding() -> None:
    whole = drawn(3, 4)
    whole[1, 1] = torch.nan
    assert not error_of_sum(whole, whole) <= tolerance(torch.float32)


@pytest.mark.parametrize("rows", [None, torch.tensor([2, 0, -1, 1])])
def test_nothing_that_enters_is_larger_than_the_path_of_sizes_says(rows: Tensor | None) -> None:
    steps = (
        Scale(drawn(4, 1)),
        Center(),
        Scale(drawn(1, 6, seed=1)),
        Scale(torch.tensor(-0.5)),
        Scale(torch.tensor([[True], [False]] * 2)),
    )
    path, x = Path(steps, rows), drawn(4, 6, seed=2)
    spread = Spread((path, path.scaled(-2.0, (4, 6))), None, Streams(1, 4, (1, 4, 6)))
    for way in (path, spread) if rows is not None else (path,):
        assert bool((way.total(x, 4).abs() <= way.of_sizes().total(x.abs(), 4) + 1e-15).all())
    along_a_coordinate = x * torch.eye(6)[3]  # nothing cancels
    torch.testing.assert_close(
        Path(steps[:1]).total(along_a_coordinate, 4).abs(),
        Path(steps[:1]).of_sizes().total(along_a_coordinate.abs(), 4),
    )


def test_a_prompt_whose_heads_cancel_is_exact() -> None:
    run = record(lmtt.bundled_model(), CANCELLING, check="all")
    assert run.fidelity.exact


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("case", ["gpt2", "llama", "gemma2"])
def test_no_part_could_be_left_out_of_a_model_with_an_outlier_channel(case: str, dtype: torch.dtype) -> None:
    run = record(load_model(with_outlier(zoo.make(case, dtype=dtype))), zoo.prompt(), check="all")
    assert run.fidelity.exact
    for state in run.states[1:]:
        value = run.value(state.index)
        assert value[:, 5].abs().min() > 100 * value[:, 6:].abs().mean()
        assert sum_error(run, state.index) <= tolerance(dtype)
        for left_out in state.parts:
            if left_out.kind in ("attention", "mlp"):
                assert sum_error(run, state.index, left_out) > tolerance(dtype)


@torch.no_grad()
def with_outlier(model: torch.nn.Module) -> torch.nn.Module:
    """One channel of the stream a thousand times as large as the others, as in most large models."""
    model.get_input_embeddings().weight[:, 5] = 700
    return model


def sum_error(run: Run, state: int, without: object = None) -> float:
    parts = [run.carried(state)]
    parts += [p.output(run.n_tokens) for p in run.states[state].parts if p is not without]
    return error_of_sum(run.states[state].value, *parts)
