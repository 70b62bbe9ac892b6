"""Every kernel computes what the definition says, for every type of model, and the tolerance is a bound."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lmtt_widget import Graph, Run, attribute, head_shares, load_model, record, shares
from lmtt_widget.contributions import attributed
from lmtt_widget.decomposition.vectors import head_vectors
from lmtt_widget.decomposition.writes import LinearWrite
from lmtt_widget.kernels import alike, compiled, in_torch, sums, tiles
from lmtt_widget.kernels.sums import KernelName, kernel_for, proximity_sums
from lmtt_widget.kernels.threads import Team

from . import zoo
from .dense import AttentionShare, Dense, PartShare

CPU = torch.device("cpu")
KERNELS = ["torch", *(["numba"] if importlib.util.find_spec("numba") else [])]
each_kernel = pytest.mark.parametrize("kernel", KERNELS)
no_compiler = compiled.why_not("cpu")
FEW = ["gpt2", "gemma2", "qwen3_next", "gpt_oss", "bloom post-norm residual"]


def naive(write: LinearWrite, whole: Tensor) -> Tensor:
    """The definition, every vector built: [head, query, key]."""
    assert write.heads is not None
    n, y = len(whole), whole.double()
    found = torch.zeros(write.heads.n_heads, n, n, dtype=torch.float64)
    for h in range(write.heads.n_heads):
        vectors = head_vectors(write, h)
        for q in range(n):
            z = vectors.block(q, q + 1)[0].double()
            found[h, q, : q + 1] = (y[q].abs().sum() - (y[q] - z).abs().sum(-1)).clamp_min(0)
    return found


def check(run: Run, kernel: str) -> None:
    for part in run.parts:
        if part.kind == "attention":
            write, whole = part.linear[0], run.value(part.state)
            expected = naive(write, whole)
            got = proximity_sums(write, whole, kernel=kernel_for(CPU, kernel))  # type: ignore[arg-type]
            eps = 64 * torch.finfo(whole.dtype).eps * float(whole.abs().sum(-1).max())
            close(got.sum, expected.sum(0), eps)
            close(got.max, expected.amax(0), eps)
            close(got.heads, expected.sum(2), eps)
            close(expected.gather(0, got.top[None].long())[0], expected.amax(0), eps)
            assert not got.off.any()


def close(got: Tensor, expected: Tensor, eps: float) -> None:
    torch.testing.assert_close(got.double(), expected, atol=eps, rtol=1e-5 if got.dtype == torch.float32 else 1e-9)


@each_kernel
@pytest.mark.parametrize("case", zoo.cases(), ids=str)
def test_the_sums_are_those_of_the_definition(case: zoo.Case, kernel: str) -> None:
    check(zoo.recorded(case), kernel)


@pytest.mark.skipif(bool(no_compiler), reason=no_compiler)
@pytest.mark.parametrize("case", FEW[:3])
def test_the_compiled_sums_are_those_of_the_definition(case: str) -> None:
    assert kernel_for(CPU, "compiled").name == "compiled"
    check(zoo.recorded(zoo.Case(*case.split(maxsplit=1))), "compiled")


@pytest.fixture(scope="module")
def long() -> Run:
    """A prompt that is longer than a block of keys, in float32."""
    model = zoo.make("llama", dtype=torch.float32, max_position_embeddings=256)
    return record(load_model(model), zoo.prompt(150))


@each_kernel
@pytest.mark.parametrize(("tile", "ov"), [(tiles._TILE, tiles._OV), (700, 15_000), (1, 1)])
def test_tiles_do_not_show(long: Run, kernel: str, tile: int, ov: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "_TILE", tile)
    monkeypatch.setattr(tiles, "_OV", ov)
    part = next(p for p in long.parts if p.kind == "attention")
    write, whole = part.linear[0], long.value(part.state)
    expected = naive(write, whole)
    got = proximity_sums(write, whole, kernel=kernel_for(CPU, kernel))  # type: ignore[arg-type]
    torch.testing.assert_close(got.sum.double(), expected.sum(0), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(got.max.double(), expected.amax(0), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(got.heads.double(), expected.sum(2), atol=1e-4, rtol=1e-5)


@each_kernel
@pytest.mark.parametrize("case", zoo.cases(), ids=str)
def test_layers_attributed_together_have_the_shares_that_each_has_by_itself(
    case: zoo.Case, kernel: KernelName, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = zoo.recorded(case)
    eps = 64 * torch.finfo(run.value(0).dtype).eps

    def attributed_with(n_numbers: int) -> tuple[list[Graph], list[Tensor]]:
        monkeypatch.setattr(alike, "TOGETHER", n_numbers)
        monkeypatch.setattr(shares, "STATES", n_numbers)
        heard: list[Tensor] = []
        more: Any = {"bias_part": True, "tolerance": 1e-2, "most_keys": 5, "kernel": kernel}
        return [attribute(run, kernel=kernel), attributed(run, lambda _, x: heard.append(x), **more)], heard

    found = [attributed_with(1 << 30), attributed_with(1)]
    for got, alone in zip(*(graphs for graphs, _ in found), strict=True):
        assert got.blocks == alone.blocks
        for name in ("query", "key", "head", "ended"):
            np.testing.assert_array_equal(getattr(got, name), getattr(alone, name), name)
        for name in ("share_sum", "share_max", "truncated", "error", "total", "constant", "head_sum"):
            np.testing.assert_allclose(getattr(got, name), getattr(alone, name), rtol=eps, atol=eps, err_msg=name)
    for got, alone in zip(*(heard for _, heard in found), strict=True):
        torch.testing.assert_close(got, alone, atol=eps, rtol=eps)


def test_layers_that_are_alike_are_attributed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    alone: list[int] = []
    monkeypatch.setattr(alike, "proximity_sums", lambda *_, **__: alone.append(1))
    for case in ("gpt2", "llama", "gemma2", "mixtral"):
        attribute(zoo.recorded(zoo.Case(case)))
    assert not alone


@pytest.mark.sampled
@each_kernel
def test_a_projection_whose_weight_cannot_be_read_is_called(kernel: str) -> None:
    for case in ("llama", "qwen3_next"):
        model = zoo.make(case)
        plain = record(load_model(model), zoo.prompt())
        for name, module in model.named_modules():
            if name.endswith("o_proj"):
                module.forward = module.forward  # as offloading does: what it does is no longer in its weight
        called = record(load_model(model), zoo.prompt())
        for p, q in zip(plain.parts, called.parts, strict=True):
            if p.kind == "attention":
                assert q.linear[0].map.weight() is None
                k = kernel_for(CPU, kernel)  # type: ignore[arg-type]
                a, b = (proximity_sums(x.linear[0], plain.value(x.state), kernel=k) for x in (p, q))
                torch.testing.assert_close(a.sum, b.sum, atol=1e-7, rtol=1e-6)


@each_kernel
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_tile_of_anything_is_what_the_definition_says(kernel: str, data: st.DataObject) -> None:
    """Zeros and ties in the whole, negative weights, vectors far longer than the whole, widths of every kind."""
    size = {name: data.draw(st.integers(1, most), name) for name, most in (("h", 3), ("q", 5), ("d", 40))}
    start = data.draw(st.sampled_from([0, 1, 60, 63, 64, 130]))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1 << 20)))
    n_keys, spread = start + size["q"], data.draw(st.sampled_from([0.01, 1.0, 30.0]))

    def rand(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    y = rand(size["q"], size["d"])
    if data.draw(st.booleans()):
        y = y.round()
    unit = data.draw(st.sampled_from([torch.ones(size["d"]).double(), rand(size["d"]).exp()]))
    ov, weight = rand(size["h"], n_keys, size["d"]), (spread * rand(size["h"], size["q"], n_keys)).tril(start)
    write: Any = SimpleNamespace(path=SimpleNamespace(apply=lambda x: x), output=unit.expand(2, -1))
    k = kernel_for(CPU, kernel)  # type: ignore[arg-type]
    whole = tiles.whole_for(write, y, None, k.smallest, Team())
    dot = whole.sign @ ov.transpose(1, 2)
    shared = tiles.OV(tiles._in_blocks(ov, k.block))
    tile = tiles.Tile(0, start, n_keys, whole, weight, dot.contiguous(), shared, Team())
    got = k.proximities(tile)
    z = weight[..., None] * ov[:, None]
    expected = (y.abs().sum(-1)[..., None] - (y[:, None] - z).abs().sum(-1)).clamp_min(0)
    torch.testing.assert_close(got, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("n_keys", [1, 16, 63, 64, 130])
@pytest.mark.parametrize("block", [32, 64])
def test_outputs_in_blocks_of_keys_are_the_same_outputs(n_keys: int, block: int) -> None:
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(3, n_keys, 5, generator=generator, dtype=torch.float64)
    weight = torch.randn(7, 15, generator=generator, dtype=torch.float64).T
    ov = value @ weight.unflatten(0, (3, 5))
    for blocks in (tiles._ov(value, weight.unflatten(0, (3, 5)), Team(), block), tiles._in_blocks(ov, block)):
        keys = blocks.permute(1, 0, 3, 2).flatten(1, 2)
        torch.testing.assert_close(keys[:, :n_keys], ov)
        assert not keys[:, n_keys:].any()
        assert keys.shape[1] - n_keys < blocks.shape[3] <= block
        assert blocks.shape[3] % tiles.GROUP == 0


# ---- tolerance ----


@each_kernel
@settings(max_examples=25, deadline=None)
@given(tolerance=st.sampled_from([1e-6, 1e-4, 1e-2, 0.3]), case=st.sampled_from([*FEW, "llama", "gpt_neox parallel"]))
def test_no_share_is_further_off_than_the_flow_says(kernel: str, tolerance: float, case: str) -> None:
    run = zoo.recorded(zoo.Case(*case.split(maxsplit=1)))
    exact, near = Dense(attribute(run)), Dense(attribute(run, tolerance=tolerance, kernel=kernel))  # type: ignore[arg-type]
    assert not exact.error.any()
    assert bool((near.error <= tolerance * (1 + 1e-6)).all())
    off = (near.carried - exact.carried).abs()
    for part, p, q in zip(run.parts, near.parts, exact.parts, strict=True):
        if isinstance(p, AttentionShare) and isinstance(q, AttentionShare):
            further = torch.maximum((p.share_sum - q.share_sum).abs(), (p.share_max - q.share_max).abs()).amax(1)
        elif isinstance(p, PartShare) and isinstance(q, PartShare):
            further = (p.share - q.share).abs()
        else:
            continue
        off[part.state] = torch.maximum(off[part.state], further)
    assert bool((off <= near.error + 1e-6).all())


def test_a_large_tolerance_leaves_something_out(long: Run) -> None:
    near, exact = Dense(attribute(long, tolerance=0.2)), Dense(attribute(long))
    assert 0 < float(near.error.max()) <= 0.2
    assert not torch.equal(near.carried, exact.carried)


def test_a_tolerance_is_a_share() -> None:
    for wrong in (-0.1, 1.0):
        with pytest.raises(ValueError, match=r"tolerance must be a share in \[0, 1\)"):
            attribute(zoo.recorded(zoo.Case("llama")), tolerance=wrong)


# ---- which kernel ----


def test_an_unknown_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match='kernel must be "auto", "numba", "compiled" or "torch", got \'cuda\''):
        attribute(zoo.recorded(zoo.Case("llama")), kernel="cuda")  # type: ignore[arg-type]


def test_torch_stands_in_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    sums._kernel.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "lmtt_widget.kernels.in_numba", None)
    monkeypatch.setattr(compiled, "why_not", lambda device: "no C++ compiler")
    try:
        run = zoo.recorded(zoo.Case("llama"))
        assert attribute(run).kernel.startswith("torch (numba is not installed")
        assert attribute(run, kernel="compiled").kernel == "torch (no C++ compiler)"
        assert attribute(run, kernel="torch").kernel == "torch"
    finally:
        sums._kernel.cache_clear()


@pytest.mark.slow
def test_nobody_waits_for_machine_code_and_the_next_process_has_it(tmp_path: Path) -> None:
    pytest.importorskip("numba")
    program = """
import threading, torch
from lmtt_widget.kernels.sums import kernel_for
cpu = torch.device("cpu")
first = kernel_for(cpu)
[thread.join() for thread in threading.enumerate() if thread.name == "lmtt numba"]
assert kernel_for(cpu) == first
print(first)
if first.name == "numba":
    import lmtt_widget as lmtt
    from lmtt_widget.kernels import in_numba
    for prompt in ("Mary went to the store", "Mary went to the store and gave John a drink"):
        run = lmtt.record(lmtt.bundled_model(), prompt, progress=False)
        for tolerance in (0, 0.01):
            lmtt.attribute(run, tolerance=tolerance, progress=False)
    print([f.stats.cache_misses.total() for f in (in_numba._proximities, in_numba._each)])
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}

    def used() -> str:
        command = [sys.executable, "-c", program]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert used().startswith("torch (numba makes its machine code")
    assert used() == "numba\n[0, 0]\n"


def test_numba_works_on_copies_of_what_is_elsewhere() -> None:
    pytest.importorskip("numba")
    assert kernel_for(torch.device("meta"), "numba").why == "on copies, the model is on meta"
    assert kernel_for(torch.device("cpu"), "numba").why == ""


def test_heads_of_one_query_are_those_of_all(long: Run) -> None:
    part = next(p for p in long.parts if p.kind == "attention")
    flow = Dense(attribute(long))
    shares = head_shares(long, part, graph=flow.graph)
    for query in (0, 64, 149):
        torch.testing.assert_close(
            head_shares(long, part, query, graph=flow.graph), shares[:, query], atol=1e-6, rtol=1e-5
        )
    share = flow.parts[long.parts.index(part)]
    assert isinstance(share, AttentionShare)
    torch.testing.assert_close(shares.sum(0), share.share_sum, atol=1e-6, rtol=1e-5)


def test_what_overshoots_is_a_plain_sum() -> None:
    one = torch.tensor([[1.0, -2.0]])
    over = in_torch.overshoot(torch.tensor([3.0]), one, torch.tensor([[1.0, 1.0]]), one.abs())
    assert over.tolist() == [2.0]  # 3 overshoots 1 by 2; -6 goes the other way
