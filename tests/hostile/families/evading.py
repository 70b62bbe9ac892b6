"""Traps for a probe that changes random halves, knows which calls can mix, and compares passes call by call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import D_MLP, Block, D, Decoder, block, hostile, merge
from ..oracle import OtherPrompt

PAIRS = "one pair of tokens, where nothing looks like mixing"
JITTER = "passes that cannot be compared call by call"

PAIR = ((0, 1), (2, 5), (3, 4), (1, 6), (0, 6), (4, 6))


def _unseen(h: Tensor, a: int, b: int) -> Tensor:
    with torch._C.DisableTorchFunction():
        h[:, b] += h[:, a]
    return h


def _numpy(h: Tensor, a: int, b: int) -> Tensor:
    raw = h.detach().numpy()
    raw[:, b] += raw[:, a]
    return h


def _data(h: Tensor, a: int, b: int) -> Tensor:
    with torch._C.DisableTorchFunction():
        h.data[:, b] += h.data[:, a]
    return h


def _setitem(h: Tensor, a: int, b: int) -> Tensor:
    h = h.clone()
    h[:, b] = h[:, b] + h[:, a]
    return h


class Paired(nn.Linear):
    """A linear map by its attributes, that gives one token's output to another."""

    pair = (2, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return torch.cat([y[:, : self.pair[1]], y[:, self.pair[1] :] + y[:, self.pair[0] : self.pair[0] + 1]], 1)


def _fed(mix: Callable[[Any, Tensor], Tensor], **methods: Any) -> Callable[[], Decoder]:
    return lambda: Decoder(block(feed=lambda self, h: Block.feed(self, mix(self, h)), **methods))


for _a, _b in PAIR:
    hostile(PAIRS, f"by unseen addition, {_a} to {_b}")(_fed(lambda self, h, a=_a, b=_b: _unseen(h, a, b)))
    hostile(PAIRS, f"by numpy, {_a} to {_b}")(_fed(lambda self, h, a=_a, b=_b: _numpy(h, a, b)))
    hostile(PAIRS, f"by assignment, {_a} to {_b}")(_fed(lambda self, h, a=_a, b=_b: _setitem(h, a, b)))
for _a, _b in PAIR[:3]:
    hostile(PAIRS, f"by .data, {_a} to {_b}")(_fed(lambda self, h, a=_a, b=_b: _data(h, a, b)))
    for _name, _n_in, _n_out in (("up", D, D_MLP), ("v", D, D)):

        def _more(self: Any, name: str = _name, sizes: Any = (_n_in, _n_out), pair: Any = (_a, _b)) -> None:
            module = Paired(*sizes)
            module.pair = pair
            setattr(self, name, module)

        told = {} if _name == "up" else {"tell": lambda self, p, v: None}
        hostile(PAIRS, f"inside {_name}, {_a} to {_b}")(lambda m=_more, t=told: Decoder(block(more=m, **t)))


def _activations(mix: Callable[[Tensor], Tensor]) -> Callable[[], Decoder]:
    return lambda: Decoder(block(feed=lambda self, h: self.down(mix(F.gelu(self.up(h))))))


for _a, _b in PAIR[:3]:
    hostile(PAIRS, f"activations, unseen, {_a} to {_b}")(_activations(lambda h, a=_a, b=_b: _unseen(h, a, b)))
    hostile(PAIRS, f"activations, by numpy, {_a} to {_b}")(_activations(lambda h, a=_a, b=_b: _numpy(h, a, b)))


def _values(mix: Callable[[Tensor], Tensor]) -> Callable[[], Decoder]:
    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(mix(self.v(h)))
        return self.o(merge(self.pattern(q, k) @ v))

    return lambda: Decoder(block(attend=attend))


for _a, _b in PAIR[:4]:
    hostile(PAIRS, f"values, unseen, {_a} to {_b}")(_values(lambda h, a=_a, b=_b: _unseen(h, a, b)))
    hostile(PAIRS, f"values, by numpy, {_a} to {_b}")(_values(lambda h, a=_a, b=_b: _numpy(h, a, b)))


def _embedded(mix: Callable[[Tensor], Tensor]) -> Callable[[], Decoder]:
    class Own(Decoder):
        def embed(self, ids: Tensor) -> Tensor:
            return self.truth.state(mix(self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))))

    return Own


def _ended(mix: Callable[[Tensor], Tensor]) -> Callable[[], Decoder]:
    class Own(Decoder):
        def forward(self, input_ids: Tensor) -> Tensor:
            self.truth.begin()
            return self.truth.end(self.head(mix(self.norm(self.run(self.embed(input_ids))))))

    return Own


for _a, _b in PAIR:
    hostile(PAIRS, f"embedding, {_a} to {_b}")(_embedded(lambda h, a=_a, b=_b: _setitem(h, a, b)))
    hostile(PAIRS, f"embedding, unseen, {_a} to {_b}")(_embedded(lambda h, a=_a, b=_b: _unseen(h, a, b)))
    hostile(PAIRS, f"before the unembedding, {_a} to {_b}")(_ended(lambda h, a=_a, b=_b: _setitem(h, a, b)))
    hostile(PAIRS, f"before the unembedding, unseen, {_a} to {_b}")(_ended(lambda h, a=_a, b=_b: _unseen(h, a, b)))


def _scaled(factor: Callable[[Tensor], Tensor]) -> Callable[[], Decoder]:
    """What is carried past the MLP is multiplied by a factor made of tokens."""

    def forward(self: Any, x: Tensor) -> Tensor:
        a = self.attend(self.norm1(x))
        self.truth.write("attention", a)
        x = self.truth.state(x + a)
        m = self.feed(self.norm2(x))
        self.truth.write("mlp", m)
        return self.truth.state(x * factor(x) + m)

    return lambda: Decoder(block(forward=forward))


def _pair_factor(a: int, b: int) -> Callable[[Tensor], Tensor]:
    def factor(x: Tensor) -> Tensor:
        f = x.new_ones(1, x.shape[1], 1)
        f[0, b, 0] = torch.sigmoid(x[0, a, 0])
        return f

    return factor


def _attention_scaled(factor: Callable[[Tensor], Tensor]) -> Callable[[], Decoder]:
    def attend(self: Any, h: Tensor) -> Tensor:
        f = factor(h)
        self.edit = lambda heads: heads * f[0, :, None]
        return Block.attend(self, h) * f

    return lambda: Decoder(block(attend=attend))


for _a, _b in PAIR[:4]:
    hostile(PAIRS, f"a factor on what is carried, {_a} to {_b}")(_scaled(_pair_factor(_a, _b)))
    hostile(PAIRS, f"a factor on the MLP, {_a} to {_b}")(
        lambda a=_a, b=_b, f=_pair_factor: Decoder(block(feed=lambda self, h: Block.feed(self, h) * f(a, b)(h)))
    )
    hostile(PAIRS, f"a factor on attention, {_a} to {_b}")(_attention_scaled(_pair_factor(_a, _b)))


def _slots(change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Callable[[], Decoder]:
    """Keys and values exchanged where no call tells; the mask is that of their tokens."""

    def attend(self: Any, h: Tensor) -> Tensor:
        n = h.shape[1]
        q, k, v = self.split(self.q(h)), self.split(self.k(h)).contiguous(), self.split(self.v(h)).contiguous()
        k, v = change(k, v)
        seen = torch.ones(n, n, dtype=torch.bool).tril()
        seen[2:4] = seen[4].clone() & (torch.arange(n) < 2)  # 2 and 3 see 0 and 1 only
        pattern = (q @ k.transpose(-1, -2)).masked_fill(~seen, float("-inf")).softmax(-1)
        if self.truth.now is not None:
            order = torch.arange(n)
            order[2], order[3] = 3, 2
            self.tell(pattern[..., order], v[:, :, order])
        return self.o(merge(pattern @ v))

    return lambda: Decoder(block(attend=attend))


def _exchanged_by_numpy(k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    for x in (k, v):
        raw = x.detach().numpy()
        raw[:, :, [2, 3]] = raw[:, :, [3, 2]]
    return k, v


def _exchanged_unseen(k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    with torch._C.DisableTorchFunction():
        for x in (k, v):
            x[:, :, [2, 3]] = x[:, :, [3, 2]]
    return k, v


def _exchanged_by_index(k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    order = torch.arange(k.shape[2])
    order[2], order[3] = 3, 2
    return k[:, :, order], v[:, :, order]


hostile(PAIRS, "two key slots exchanged by numpy")(_slots(_exchanged_by_numpy))
hostile(PAIRS, "two key slots exchanged, unseen")(_slots(_exchanged_unseen))
hostile(PAIRS, "two key slots exchanged by index")(_slots(_exchanged_by_index))


# ---- passes that cannot be compared ----


def _before(h: Tensor) -> Tensor:
    return torch.cat([h[:, :1], h[:, :-1]], 1)


def _steps(h: Tensor) -> int:
    """A number that is another one whenever the values are."""
    return 1 + int(h.abs().sum() * 1e6) % 5


def _busy(mix: Callable[[Tensor], Tensor]) -> Callable[[], Decoder]:
    """As many calls as the values say."""

    def feed(self: Any, h: Tensor) -> Tensor:
        for _ in range(_steps(h)):
            h = h + 0.0
        return Block.feed(self, mix(h))

    return lambda: Decoder(block(feed=feed))


def _busy_stream(mix: Callable[[Tensor], Tensor]) -> Callable[[], Decoder]:
    """As many additions to the stream as the values say."""

    def forward(self: Any, x: Tensor) -> Tensor:
        a = self.attend(self.norm1(x))
        self.truth.write("attention", a)
        x = self.truth.state(x + a)
        m = self.feed(mix(self.norm2(x)))
        self.truth.write("mlp", m)
        for _ in range(_steps(x)):
            x = x + torch.zeros_like(x)
        return self.truth.state(x + m)

    return lambda: Decoder(block(forward=forward))


def _halves(mix: Callable[[Tensor], Tensor]) -> Callable[[], Decoder]:
    """The MLP is added in as many pieces as the values say."""

    def forward(self: Any, x: Tensor) -> Tensor:
        a = self.attend(self.norm1(x))
        self.truth.write("attention", a)
        x = self.truth.state(x + a)
        m = self.feed(mix(self.norm2(x)))
        self.truth.write("mlp", m)
        n = _steps(x)
        for _ in range(n):
            x = x + m / n
        return self.truth.state(x)

    return lambda: Decoder(block(forward=forward))


def _skipping(mix: Callable[[Tensor], Tensor]) -> Callable[[], Decoder]:
    """A token whose numbers are large gets another MLP: expert or none."""

    def more(self: Any) -> None:
        self.ups = nn.ModuleList(nn.Linear(D, D_MLP) for _ in range(4))
        self.downs = nn.ModuleList(nn.Linear(D_MLP, D) for _ in range(4))

    def feed(self: Any, h: Tensor) -> Tensor:
        x, out = mix(h)[0], torch.zeros_like(h[0])
        chosen = (h[0].abs().sum(-1) * 1e6).long() % 4
        for e in chosen.unique().tolist():
            token = (chosen == e).nonzero()[:, 0]
            out.index_add_(0, token, self.downs[e](F.gelu(self.ups[e](x[token]))))
        return out[None]

    return lambda: Decoder(block(feed=feed, more=more))


for _name, _mix in {
    "a shift": _before,
    "a running mean": lambda h: h.cumsum(1),
    "one pair": lambda h: _setitem(h, 2, 5),
    "one pair unseen": lambda h: _unseen(h.clone(), 2, 5),
    "nothing": lambda h: h,
}.items():
    hostile(JITTER, f"as many calls as the values say: {_name}")(_busy(_mix))
    hostile(JITTER, f"as many additions of nothing as the values say: {_name}")(_busy_stream(_mix))
    hostile(JITTER, f"the MLP in as many pieces as the values say: {_name}")(_halves(_mix))
    hostile(JITTER, f"experts by the last digits: {_name}")(_skipping(_mix))


@hostile(JITTER, "layers that stop early when the values say so")
def _() -> Decoder:
    class Early(Decoder):
        def run(self, x: Tensor) -> Tensor:
            for i, layer in enumerate(self.layers):
                x = layer(x)
                if i == 1 and _steps(x) % 2 == 0:
                    break
            return x

    return Early(block(feed=lambda self, h: Block.feed(self, _before(h))))


@hostile(JITTER, "an error whenever the prompt is another one")
def _() -> Decoder:
    class Strict(Decoder):
        def embed(self, ids: Tensor) -> Tensor:
            if ids.tolist() not in ([[3, 11, 7, 19, 2, 14, 8]], [[5, 1, 16, 9, 12, 20, 4]]):
                raise OtherPrompt("only two prompts are known here")
            return super().embed(ids)

    return Strict(block(feed=lambda self, h: Block.feed(self, _before(h))))


@hostile(JITTER, "an error whenever a state is another one")
def _() -> Decoder:
    class Strict(Decoder):
        def run(self, x: Tensor) -> Tensor:
            if self.truth.now is None and float(x.abs().max()) > 4 * float(self.wte.weight.abs().max()):
                raise ValueError("a number is too large")
            return super().run(x)

    return Strict(block(feed=lambda self, h: Block.feed(self, _before(h))))


@hostile(JITTER, "an error for other lengths than seven")
def _() -> Decoder:
    class Strict(Decoder):
        def embed(self, ids: Tensor) -> Tensor:
            assert ids.shape[1] == 7
            return super().embed(ids)

    return Strict(block(feed=lambda self, h: Block.feed(self, _before(h))))


@hostile(JITTER, "not a number for other lengths than seven")
def _() -> Decoder:
    class Strict(Decoder):
        def embed(self, ids: Tensor) -> Tensor:
            x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
            return self.truth.state(x * (1.0 if ids.shape[1] == 7 else float("nan")))

    return Strict(block(feed=lambda self, h: Block.feed(self, _before(h))))


@hostile(JITTER, "not a number for large states")
def _() -> Decoder:
    def feed(self: Any, h: Tensor) -> Tensor:
        return Block.feed(self, _before(h)) / (h.abs().amax() < 1e6)

    return Decoder(block(feed=feed))
