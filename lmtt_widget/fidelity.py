"""How exactly the parts of a recording add up to what the model computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from .decomposition.modules import dtypes_of
from .decomposition.writes import Layer, LinearWrite, Recording

_MAY_ROUND = 0.2  # a called map that misses more than this is no rounded linear map: its heads would mean nothing

Identity = Literal["states", "heads", "linear maps", "embedding", "logits", "own forward"]


@dataclass(frozen=True)
class Check:
    """How nearly one identity holds where it holds least, in one layer.

    "states": carried state + parts = state. "heads": offset + heads = input of the projection. "linear maps":
    input W + b = output; of a map that is called, since its weight is no plain tensor: two parts of the input
    give the output. "embedding", "logits": their parts give them. "own forward": the logits are those of the model as
    it was, before attention or experts were switched for the recording.

        >>> all(check.holds for check in run.fidelity.checks)
        True
    """

    identity: Identity
    layer: int | None  # None: below or above the layers
    module: str  # a label only
    error: float  # relative to what was added up: |whole - sum| / (|whole| + sum |summand|), where it is largest
    tolerance: float  # what rounding in `dtype` explains
    dtype: str  # the coarsest that took part
    called: bool = False  # of a linear map: its weight was not read

    @property
    def holds(self) -> bool:
        return self.error <= self.tolerance  # not for NaN

    @property
    def where(self) -> str:
        return ", ".join(filter(None, [None if self.layer is None else f"layer {self.layer}", self.module]))

    @property
    def is_rounding(self) -> bool:
        """Of a map that rounds its own inputs (quantised activations) and is linear but for that."""
        return self.called and self.error <= _MAY_ROUND

    def __str__(self) -> str:
        where = f" ({self.where})" if self.where else ""
        return f"{self.identity}{where}: off by {self.error:.1e}, {self.dtype} allows {self.tolerance:.1e}"


@dataclass(frozen=True)
class Fidelity:
    """How exactly the parts add up to what the model computed.

    >>> run.fidelity.exact, run.fidelity.problems
    (True, ())
    """

    checks: tuple[Check, ...]  # of each identity in each layer the one that holds least
    dtype: str  # the coarsest of the model's parameters
    missing: tuple[str, ...] = ()  # what no part accounts for, in words
    notes: tuple[str, ...] = ()  # what was switched for the recording, in words
    labels: str = ""  # whether it was seen what each part depends on

    @property
    def worst_check(self) -> Check | None:
        return max(self.checks, key=lambda c: _rank(c.error), default=None)

    @property
    def worst(self) -> float:
        """The largest relative error of all."""
        return self.worst_check.error if self.worst_check else 0.0

    @property
    def where(self) -> str:
        """The layer and module with the largest error."""
        return self.worst_check.where if self.worst_check else ""

    @property
    def identities(self) -> dict[str, float]:
        """Identity -> its largest relative error."""
        found: dict[str, float] = {}
        for c in self.checks:
            found[c.identity] = max(found.get(c.identity, 0.0), c.error, key=_rank)
        return found

    @property
    def approximate(self) -> tuple[Check, ...]:
        """What does not hold within its dtype's rounding."""
        return tuple(c for c in self.checks if not c.holds)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is missing or inexact, in words."""
        return (*self.missing, *(_in_words(c) for c in self.approximate))

    @property
    def exact(self) -> bool:
        return not self.missing and not self.approximate

    def __str__(self) -> str:
        return f"exact to {self.worst:.0e}" if self.exact else f"approximate: off by up to {self.worst:.0e}"


def _rank(error: float) -> float:
    return float("inf") if error != error else error


@cache
def tolerance(dtype: torch.dtype) -> float:
    """A few roundings, in units of what was added up."""
    return 16 * torch.finfo(dtype).eps


def coarsest(*tensors: Tensor | None) -> torch.dtype:
    """Of those with a float dtype and float32, in which norms run even in a float64 model; TF32 rounds as float16."""
    there = [t for t in tensors if t is not None]
    given = frozenset([t.dtype for t in there])
    if True in {t.is_cuda for t in there} and _tf32():
        given |= {torch.float16}
    return _coarsest(given)


@cache
def _coarsest(dtypes: frozenset[torch.dtype]) -> torch.dtype:
    floats = {d for d in dtypes if d.is_floating_point and d.itemsize >= 2}
    return max({torch.float32, *floats}, key=lambda d: torch.finfo(d).eps)


def _tf32() -> bool:
    matmul: Any = torch.backends.cuda.matmul
    return bool(matmul.fp32_precision == "tf32" if hasattr(matmul, "fp32_precision") else matmul.allow_tf32)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def dtype_of(module: torch.nn.Module) -> str:
    wide = {d for d in dtypes_of(module) if d.is_floating_point and d.itemsize >= 2}
    return _name(max(wide or {torch.float32}, key=lambda d: torch.finfo(d).eps))


def checked(identity: Identity, layer: int | None, module: str, error: float, *took_part: Tensor | None) -> Check:
    """A check with what the coarsest dtype that took part allows."""
    dtype = coarsest(*took_part)
    return Check(identity, layer, module, error, tolerance(dtype), _name(dtype))


def checks_of(recording: Recording) -> list[Check]:
    """Every identity that was measured, the worst of each in each layer; one transfer for all."""
    found: list[tuple[tuple[Identity, int | None, bool], str, torch.dtype, Tensor]] = []

    def add(
        identity: Identity,
        layer: Layer | None,
        label: str,
        error: Tensor,
        *took_part: Tensor | None,
        called: bool = False,
    ) -> None:
        key = identity, None if layer is None else layer.index, called
        found.append((key, label, coarsest(*took_part), error))

    if recording.embedding:
        e = recording.embedding
        add("embedding", None, "", e.error, e.value, *(w.output for w in e.writes))
    before = recording.embedding.value if recording.embedding else None
    for layer in recording.layers:
        for s in layer.states:
            add("states", layer, layer.module, s.error, s.value, before, *(w.output for w in s.writes))
            before = s.value
            for w in s.writes:
                if isinstance(w, LinearWrite) and w.heads is not None:
                    values = [t for p in w.heads.products for t in (p.value, p.made)]
                    add("heads", layer, w.module, w.heads.error, w.input, *values)
                if isinstance(w, LinearWrite) and w.error is not None:
                    weight = w.map.weight()
                    add("linear maps", layer, w.module, w.error, w.input, w.output, weight, called=weight is None)
    if recording.readout and recording.logits is not None:
        inputs = [stage.like for stage in recording.readout.top.stages()]
        add("logits", None, "", recording.readout.error, recording.logits, *inputs)

    worst: dict[tuple[Identity, int | None, bool], tuple[float, str, torch.dtype]] = {}
    for (key, label, dtype, _), error in zip(found, numbers([e for *_, e in found]), strict=True):
        most = worst.get(key)
        if most is None or _rank(error / tolerance(dtype)) > _rank(most[0] / tolerance(most[2])):
            worst[key] = error, label, dtype
    return [
        Check(identity, layer, label, error, tolerance(dtype), _name(dtype), called)
        for (identity, layer, called), (error, label, dtype) in worst.items()
    ]


def numbers(found: Sequence[Tensor]) -> list[float]:
    """Single numbers, wherever each of them is, brought to Python at once."""
    if not found:
        return []
    device = next((x.device for x in found if x.device.type != "cpu"), None)
    with torch.no_grad():
        return torch.stack([x.to(device, torch.float32) for x in found]).tolist()


def _in_words(c: Check) -> str:
    if c.is_rounding:
        return (
            f"{c.where} is linear only up to {c.error:.1e} (it rounds its inputs or its outputs): what its parts miss "
            "is shown as rounding"
        )
    if c.identity == "own forward":
        return f"{c.module}, and its logits are off by {c.error:.1e} from the model's own (allowed {c.tolerance:.1e})"
    where = f" in {c.where}" if c.where else ""
    return f"{c.identity}: parts miss the whole by {c.error:.1e}{where} (allowed {c.tolerance:.1e})"


def own_check(logits: Tensor, own: Tensor, switched: Sequence[str], n_layers: int) -> Check:
    """Rounding differs in every layer, independently; the errors add up like a random walk."""
    wide = torch.promote_types(own.dtype, torch.float32)
    truth, got = own.to(wide), logits.to(own.device, wide)
    error = float(((got - truth).norm(dim=-1) / truth.norm(dim=-1).clamp_min(1e-30)).max())
    check = checked("own forward", None, " and ".join(switched), error, own, logits)
    return replace(check, tolerance=check.tolerance * max(1.0, n_layers**0.5))
