"""Numbers of very different size, low precision, and models that are not the same from call to call."""

from __future__ import annotations

import random as python_random
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models import Block, D, Decoder, block, hostile, merge

SIZES = "very large channels and low precision"
MOODS = "not the same from call to call"


def _hidden_mlp(add: Callable[[Tensor, Tensor], Tensor]) -> dict[str, Any]:
    def forward(self: Any, x: Tensor) -> Tensor:
        a = self.attend(self.norm1(x))
        self.truth.write("attention", a)
        x = self.truth.state(x + a)
        m = self.feed(self.norm2(x))
        self.truth.write("mlp", m)
        return self.truth.state(add(x, m))

    return {"forward": forward}


def _unseen(x: Tensor, y: Tensor) -> Tensor:
    with torch._C.DisableTorchFunction():
        x.add_(y)
    return x


def _aten(x: Tensor, y: Tensor) -> Tensor:
    return torch.ops.aten.add_.Tensor(x, y)


def _data(x: Tensor, y: Tensor) -> Tensor:
    x.data += y
    return x


def _usual(x: Tensor, y: Tensor) -> Tensor:
    return x + y


def _large(size: float, dtype: torch.dtype, methods: dict[str, Any], coordinates: int = 1) -> Callable[[], Decoder]:
    def make() -> Decoder:
        model = Decoder(block(**methods))
        with torch.no_grad():
            model.wte.weight[:, :coordinates] = size
            for layer in model.layers:  # the norm would make everything else small: as trained models, it mends that
                for norm in (layer.norm1, layer.norm2):
                    norm.weight[:coordinates] *= 1 / size
                    norm.weight[coordinates:] *= size / D**0.5
        return model.to(dtype)

    return make


for _size, _dtype in (
    (1e3, torch.bfloat16), (1e2, torch.bfloat16), (1e2, torch.float16), (1e5, torch.float32), (1e7, torch.float32),
    (1e10, torch.float64), (1e12, torch.float64),
):  # fmt: skip
    _name = f"{str(_dtype).removeprefix('torch.')}, one channel {_size:.0e} times larger"
    hostile(SIZES, f"{_name}: nothing hidden")(_large(_size, _dtype, {}))
    for _how, _add in (("in place unseen", _unseen), ("by aten", _aten), ("by .data", _data)):
        hostile(SIZES, f"{_name}: the MLP added {_how}")(_large(_size, _dtype, _hidden_mlp(_add)))


def _shifted_feed(self: Any, h: Tensor) -> Tensor:
    return self.down(F.gelu(self.up(torch.cat([h[:, :1], h[:, :-1]], 1))))


def _lossy(self: Any, h: Tensor) -> Tensor:
    """What is called down writes more than its map says."""
    y = self.down(F.gelu(self.up(h)))
    with torch._C.DisableTorchFunction():
        y[..., 1:].add_(0.5)
    return y


def _lossy_attend(self: Any, h: Tensor) -> Tensor:
    q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
    pattern = self.pattern(q, k)
    self.tell(pattern, v)
    z = merge(pattern @ v)
    with torch._C.DisableTorchFunction():
        z[..., 3].add_(0.5)
    return self.o(z)


for _dtype in (torch.bfloat16, torch.float16, torch.float32):
    _name = str(_dtype).removeprefix("torch.")
    hostile(SIZES, f"{_name}: as usual")(lambda d=_dtype: Decoder().to(d))
    hostile(SIZES, f"{_name}: MLP of the token before")(lambda d=_dtype: Decoder(block(feed=_shifted_feed)).to(d))
    hostile(SIZES, f"{_name}: the MLP added in place unseen")(
        lambda d=_dtype: Decoder(block(**_hidden_mlp(_unseen))).to(d)
    )
    hostile(SIZES, f"{_name}: an MLP that writes more than its map")(lambda d=_dtype: Decoder(block(feed=_lossy)).to(d))
    hostile(SIZES, f"{_name}: z changed behind the back")(lambda d=_dtype: Decoder(block(attend=_lossy_attend)).to(d))
hostile(SIZES, "float64: an MLP that writes more than its map")(lambda: Decoder(block(feed=_lossy)))
hostile(SIZES, "float64: z changed behind the back")(lambda: Decoder(block(attend=_lossy_attend)))


@hostile(SIZES, "a small MLP hidden in float64")
def _() -> Decoder:
    def feed(self: Any, h: Tensor) -> Tensor:
        return 1e-7 * Block.feed(self, h)

    return Decoder(block(feed=feed, **_hidden_mlp(_unseen)))


@hostile(SIZES, "logits with one very large entry")
def _() -> Decoder:
    class Large(Decoder):
        def forward(self, input_ids: Tensor) -> Tensor:
            self.truth.begin()
            y = self.head(self.norm(self.run(self.embed(input_ids))))
            y = y + 1e6 * (torch.arange(23) == 4)
            with torch._C.DisableTorchFunction():
                y[..., 5:] += 0.5
            return self.truth.end(y)

    return Large()


# ---- moods ----


class Moody(Decoder):
    """What it keeps between calls lies in `truth.memory`."""

    def embed(self, ids: Tensor) -> Tensor:
        memory = self.truth.memory
        memory["calls"] = memory.get("calls", 0) + 1
        for layer in self.layers:
            layer.memory, layer.ids = memory, ids
        return super().embed(ids)


def _moody(**methods: Any) -> Callable[[], Decoder]:
    return lambda: Moody(block(**methods))


def _fed(feed: Callable[[Any, Tensor], Tensor]) -> Callable[[], Decoder]:
    return _moody(feed=feed)


def _before(h: Tensor) -> Tensor:
    return torch.cat([h[:, :1], h[:, :-1]], 1)


def _turns(period: int, at: int) -> Callable[[Any, Tensor], Tensor]:
    return lambda self, h: Block.feed(self, _before(h) if self.memory["calls"] % period == at else h)


def _cached(self: Any, h: Tensor) -> Tensor:
    """A sum over all tokens of all calls, as a cache that nobody empties."""
    key = f"sum {self.number}"
    out = Block.feed(self, h + self.memory.get(key, torch.zeros_like(h[:, :1])))
    self.memory[key] = h.mean(1, keepdim=True)
    return out


def _cached_kv(self: Any, h: Tensor) -> Tensor:
    """Attention to the tokens of earlier calls too."""
    key = f"kv {self.number}"
    q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
    old = self.memory.get(key)
    if old is not None:
        k, v = torch.cat([old[:1], k], 2), torch.cat([old[1:], v], 2)
    self.memory[key] = torch.cat([k[:, :, -7:], v[:, :, -7:]])
    n, m = q.shape[2], k.shape[2]
    seen = torch.ones(n, m, dtype=torch.bool).tril(m - n)
    pattern = (q @ k.transpose(-1, -2)).masked_fill(~seen, float("-inf")).softmax(-1)
    if self.truth.now is not None and old is None:
        self.tell(pattern, v)
    return self.o(merge(pattern @ v))


def _moving_statistics(self: Any, h: Tensor) -> Tensor:
    key = f"mean {self.number}"
    mean = 0.9 * self.memory.get(key, torch.zeros(D, dtype=h.dtype)) + 0.1 * h.mean((0, 1))
    self.memory[key] = mean
    return Block.feed(self, h - mean)


def _same_prompt_again(self: Any, h: Tensor) -> Tensor:
    """The first time a prompt is seen it is mixed; the second time it is not."""
    key = f"seen {self.number} {self.ids.tolist()}"
    again = self.memory.get(key, False)
    self.memory[key] = True
    return Block.feed(self, h if again else _before(h))


def _first_only(self: Any, h: Tensor) -> Tensor:
    return Block.feed(self, _before(h) if self.memory["calls"] == 1 else h)


def _noise(self: Any, h: Tensor) -> Tensor:
    return Block.feed(self, h + 0.1 * torch.randn_like(h))


for _way, _feed in {
    "noise in the MLP": _noise,
    "dropout that is always on": lambda self, h: Block.feed(self, F.dropout(h, 0.3, training=True)),
    "noise after the MLP": lambda self, h: Block.feed(self, h) * (1 + 0.1 * torch.rand(1, h.shape[1], 1).to(h)),
    "noise of Python": lambda self, h: Block.feed(self, h * (1 + self.memory["calls"] * 0.01)),
    "experts by chance": lambda self, h: Block.feed(self, h * (torch.rand(h.shape[1], 1) > 0.5)),
    "mixing at every second call": _turns(2, 0),
    "mixing at every second call, the others": _turns(2, 1),
    "mixing at every third call": _turns(3, 1),
    "mixing at every third call, second": _turns(3, 2),
    "mixing from the fourth call on": lambda self, h: Block.feed(self, _before(h) if self.memory["calls"] > 3 else h),
    "mixing at the first call only": _first_only,
    "mixing at the first call for a prompt": _same_prompt_again,
    "a sum over calls": _cached,
    "moving statistics": _moving_statistics,
    "a shift by the number of calls": lambda self, h: Block.feed(self, h.roll(self.memory["calls"] % 2, 1)),
}.items():
    hostile(MOODS, _way, memory=True)(_fed(_feed))
hostile(MOODS, "a cache of keys and values that is never emptied", memory=True)(_moody(attend=_cached_kv))


def _chance(self: Any, h: Tensor) -> Tensor:
    self.memory["chance"] = python_random.random()
    return Block.feed(self, h)


hostile(MOODS, "a model that asks for chance and does not use it", memory=True)(_fed(_chance))


def _depends(on: Callable[[Any, Tensor], bool]) -> Callable[[], Decoder]:
    return _fed(lambda self, h: Block.feed(self, _before(h) if on(self, h) else h))


hostile(MOODS, "mixing when the prompt is longer than five")(_depends(lambda self, h: h.shape[1] > 5))
hostile(MOODS, "mixing when the prompt is shorter than eight")(_depends(lambda self, h: h.shape[1] < 8))
hostile(MOODS, "mixing when the first id is 3")(_depends(lambda self, h: int(self.ids[0, 0]) == 3))
hostile(MOODS, "mixing when the last id is 8")(_depends(lambda self, h: int(self.ids[0, -1]) == 8))
hostile(MOODS, "mixing when the ids are all different")(_depends(lambda self, h: len(set(self.ids[0].tolist())) == 7))
hostile(MOODS, "mixing when there are no gradients")(_depends(lambda self, h: not torch.is_grad_enabled()))
hostile(MOODS, "mixing when the first coordinate is positive")(_depends(lambda self, h: bool(h[0, -1, 0] > -99)))
hostile(MOODS, "mixing when there is one prompt")(_depends(lambda self, h: h.shape[0] == 1))


@hostile(MOODS, "made at the first call")
def _() -> Decoder:
    class Lazy(Decoder):
        def embed(self, ids: Tensor) -> Tensor:
            if not hasattr(self, "table"):
                self.table = torch.randn(16, D, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
            return self.truth.state(self.wte(ids) + self.table[: ids.shape[1]])

    return Lazy()


@hostile(MOODS, "attention in one layer, chosen by the prompt", by_prompt=True)
def _() -> Decoder:
    def forward(self: Any, x: Tensor) -> Tensor:
        if int(self.ids[0, 0]) % 3 == self.number:
            a = self.attend(self.norm1(x))
            self.truth.write("attention", a)
            x = self.truth.state(x + a)
        m = self.feed(self.norm2(x))
        self.truth.write("mlp", m)
        return self.truth.state(x + m)

    return _moody(forward=forward)()


@hostile(MOODS, "layers skipped by the prompt", by_prompt=True)
def _() -> Decoder:
    class Skipping(Moody):
        def run(self, x: Tensor) -> Tensor:
            for i, layer in enumerate(self.layers):
                if i != int(self.layers[0].ids.sum()) % 3:
                    x = layer(x)
            return x

    return Skipping()
