"""How much memory the analysis of a prompt will take, and how much the device has."""

from __future__ import annotations

import ctypes
import math
import mmap
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .decomposition.calls import is_linear_module
from .decomposition.forward import in_turn, inputs_of, readable
from .decomposition.heads import FEW
from .decomposition.later import TOGETHER
from .decomposition.layers import run_recorded
from .decomposition.modules import dtypes_of
from .decomposition.restored import Undo, whatever_happens
from .decomposition.writes import LinearWrite, Recording
from .kernels.alike import TOGETHER as ATTRIBUTED
from .kernels.alike import numbers

EDGE = 14  # bytes of one query and key: both, share_sum, share_max, head
MAPS = 1 << 30  # bytes that all pairs of a query and a key may take
MOST_KEYS = 1024  # kept of every query where they would take more
_GAPS = 1.15  # an allocator cannot use all that was freed between pieces that stay
_GROWN = 1 << 27  # bytes
_EVERY = 0.05  # seconds: layers of short prompts take less than a look is worth
_CHECKED = 12  # bytes of one number of what the checks of short prompts compare at once
_ONE_MAP = 27  # bytes of one query and key of the attention that is worked on: its sums, and where they are not 0
_SUMS = 10  # the sums alone, of each that is attributed together with others
STATES = 1 << 18  # numbers of small states that are attributed together
_OV = 1 << 22  # numbers in the OV outputs that a thread of the kernels holds, in two orders


def needed(module: nn.Module, layers: Iterable[nn.Module], n_tokens: int) -> int:
    """About how many bytes the recording of a prompt and its flow will take at their peak, besides the model.

    The probe of labels is not in it: it is over before, and holds the states and parts of 256 tokens at most, twice.
    Prompts of one, two and three sixteenths of the length are recorded: what is held at the end of every layer is a sum
    of what does not grow with the prompt, what grows with it, and what grows with its square (patterns).
    """
    layers = list(layers)
    least = max(16, n_tokens // 16, _number(_config(module), "chunk_size", "mamba_chunk_size"))  # chunks are filled up
    sizes = [n_tokens] if n_tokens <= 3 * least else [least, 2 * least, 3 * least]
    try:
        found = [_recorded(module, layers, n) for n in sizes]
    except Exception:  # noqa: BLE001  what does not work with a few tokens will be told of the prompt itself
        return int(_bounds(module, layers, n_tokens)[0])
    held = [at for at, _ in found]
    if len({len(at) for at in held}) > 1:  # what runs depends on the prompt: only the largest and the last compare
        held = [[max(at), at[-1]] for at in held]
    grown = [_continued(sizes, column, n_tokens) for column in zip(*held, strict=True)]
    recording = found[-1][1]
    writes = [w for layer in recording.layers for s in layer.states for w in s.writes]
    n_heads = [w.heads.n_heads for w in writes if isinstance(w, LinearWrite) and w.heads]
    d_model = recording.embedding.value.shape[-1] if recording.embedding else 0
    flow = _flow(n_tokens, len(n_heads), max(n_heads, default=0), d_model, _element_size(module))
    waiting = sum(n * n_tokens**2 + n_tokens * d_model for n in n_heads) if n_tokens <= FEW else 0
    return int(_GAPS * max(*grown, grown[-1] + flow) + _CHECKED * min(waiting, TOGETHER))


def available(device: torch.device) -> int | None:
    """How many bytes are free on the device; None where that is not known."""
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    if device.type != "cpu":
        return None
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None


def check_room(module: nn.Module, layers: Iterable[nn.Module], n_tokens: int, device: torch.device) -> None:
    """Raises ValueError when the analysis of a prompt will take more than the device has."""
    free = available(device)
    if free is None:
        return
    layers = list(layers)
    least, most = _bounds(module, layers, n_tokens)
    if most <= free:
        return
    size = least if least > free else needed(module, layers, n_tokens)
    if size > free:
        raise ValueError(
            f"the analysis of {n_tokens:,} tokens takes about {size / 2**30:.1f} GiB and {device} has "
            f"{free / 2**30:.1f} GiB free; shorten the prompt, or call record(..., force=True)"
        )


# ---- while it runs ----


class Tidy:
    """Hands back to the system what was freed between things that stay, which the C library keeps (glibc).

    Layers free and keep blocks of many sizes in turns, so that what was freed is never next to each other: at 2,048
    tokens a quarter of the process is such holes. They are handed back whenever the process has grown by so much.
    """

    def __init__(self, device: torch.device) -> None:
        self._resident, self._looked = 0, time.monotonic()
        self._hand_back = _malloc_trim() if device.type == "cpu" else None
        if self._hand_back is not None:
            self._resident = resident()

    def __call__(self) -> None:
        if self._hand_back is None or time.monotonic() < self._looked + _EVERY:
            return
        self._looked = time.monotonic()
        if resident() > self._resident + _GROWN:
            self._hand_back(0)
            self._resident = resident()

    def before(self, then: Callable[[int, int], None]) -> Callable[[int, int], None]:
        """Called before `then`, which is told how far something is."""

        def both(done: int, total: int) -> None:
            self()
            then(done, total)

        return both


def resident() -> int:
    """Bytes of this process that are in memory; 0 where the system does not say it."""
    try:
        with open("/proc/self/statm", encoding="ascii") as f:
            return int(f.read().split()[1]) * mmap.PAGESIZE
    except OSError:
        return 0


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim  # type: ignore[no-any-return]
    except (OSError, AttributeError, TypeError):  # another C library
        return None


# ---- without running anything ----


def _bounds(module: nn.Module, layers: Sequence[nn.Module], n_tokens: int) -> tuple[float, float]:
    """Bytes that are certainly kept, and bytes that are hardly ever reached."""
    size, config = _element_size(module), _config(module)
    chosen, experts = (_number(config, *names) for names in (_CHOSEN, _EXPERTS))
    share = chosen / experts if experts else 1
    widths = [_known_width(layer, share) for layer in layers]
    logits = size * _number(config, "vocab_size")
    least = n_tokens * (size * sum(widths) + logits)
    d_model = _number(config, "hidden_size", "n_embd", "d_model") or max(widths, default=0)
    n_heads = _number(config, "num_attention_heads", "n_head", "n_heads", "num_heads") or d_model / 16
    squares = n_tokens**2 * n_heads * max(4, size) * (len(layers) + 8)
    return least, 4 * least + 2 * n_tokens * logits + squares + _flow(
        n_tokens, len(layers), int(n_heads), int(d_model), size
    )


def _flow(n_tokens: int, n_maps: int, n_heads: int, d_model: int, element_size: int) -> float:
    """Bytes of the shares of every attention, and of what computes them: some states, OV outputs in two orders."""
    wide, pairs, state = max(4, element_size), n_tokens * (n_tokens + 1) // 2, n_tokens * d_model
    edges = n_maps * pairs if n_maps * pairs * EDGE < MAPS else n_maps * n_tokens * min(n_tokens, MOST_KEYS)
    ov = torch.get_num_threads() * 2 * min(n_heads * state, max(state, _OV))
    one = _ONE_MAP * n_tokens**2 if n_maps else 0
    small = numbers(n_heads, n_tokens, d_model, d_model)
    if 2 * small <= ATTRIBUTED:  # many at once, and their states
        ov = max(ov, min(ATTRIBUTED, n_maps * small) + min(5 * state * n_maps, STATES))
        one += _SUMS * n_tokens**2 * min(n_maps, STATES // n_tokens**2)
    return EDGE * edges + one + wide * (8 * state + ov)


_widths: weakref.WeakKeyDictionary[nn.Module, float] = weakref.WeakKeyDictionary()


def _known_width(layer: nn.Module, share: float) -> float:
    """The width of a layer, looked up once: what is added to it later (adapters) is small beside it."""
    if layer not in _widths:
        _widths[layer] = _width(layer, share)
    return _widths[layer]


def _width(layer: nn.Module, share: float) -> float:
    """The input and output widths of the linear maps in a layer, those of experts as often as a token meets them."""
    found = [(name, *_ends(m)) for name, m in layer.named_modules() if is_linear_module(m)]
    return sum((n_in + n_out) * (share if ".experts." in f".{name}." else 1) for name, n_in, n_out in found)


_CHOSEN = ("num_experts_per_tok", "moe_topk", "moe_k", "top_k_experts", "moe_top_k")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")


def _config(module: nn.Module) -> Any:
    config: Any = getattr(module, "config", None)
    return config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config


def _number(config: Any, *names: str) -> int:
    found = (getattr(config, name, None) for name in names)
    return next((x for x in found if isinstance(x, int)), 0)


def _element_size(module: nn.Module) -> int:
    return max((d.itemsize for d in dtypes_of(module) if d.is_floating_point), default=4)


def _ends(m: nn.Module) -> tuple[int, int]:
    """The input and output width of a linear map."""
    if hasattr(m, "nf"):  # transformers' Conv1D
        weight: Any = m.weight
        return weight.shape[0], weight.shape[1]
    given: Any = m
    return getattr(m, "in_features", 0) or given.infeatures, getattr(m, "out_features", 0) or given.outfeatures


# ---- by recording a few tokens ----


class _Storages(TorchDispatchMode):
    """Knows which storages were made while it is active, and which of them are still there."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        own = (*module.parameters(), *module.buffers())
        self._own = {t.untyped_storage()._cdata for t in own if t.device.type != "meta"}
        self._made: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, Tensor):
                storage = x.untyped_storage()
                if storage._cdata not in self._own:  # a weak reference keeps the number from being given again
                    self._made.setdefault(storage._cdata, (StorageWeakRef(storage), storage.nbytes()))
        return out

    def held(self) -> int:
        """Bytes of those that are still there."""
        self._made = {k: made for k, made in self._made.items() if not made[0].expired()}
        return sum(n for _, n in self._made.values())


def _recorded(module: nn.Module, layers: Sequence[nn.Module], n_tokens: int) -> tuple[list[int], Recording]:
    """A recording, and the bytes held when each layer has run and its tape is full, after the last call, and by it."""
    seen: list[int] = []
    storages = _Storages(module)

    def look(*_: Any) -> None:
        seen.append(storages.held())

    ids = torch.arange(n_tokens, device=next(module.parameters()).device)[None] % 7 + 1

    def recorded(undo: Undo) -> Recording:
        readable(module, undo)
        for m in (*dict.fromkeys(layers), module):  # before the recorder's hooks
            handle = m.register_forward_hook(look)
            undo.append(handle.remove)
        with storages:
            return run_recorded(module, layers, n_tokens, inputs_of(module, ids))

    recording = in_turn(layers, lambda: whatever_happens(recorded))
    look()
    return seen, recording


def _continued(sizes: Sequence[int], values: Sequence[int], n: int) -> float:
    """The polynomial through the values, and never less than the last of them, at n (Lagrange)."""
    total = 0.0
    for i, value in zip(sizes, values, strict=True):
        total += value * math.prod((n - j) / (i - j) for j in sizes if j != i)
    return max(total, values[-1])
