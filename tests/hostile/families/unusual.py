"""Mixing and reading by means that few models use: sorts, scans, spectra, buffers, parametrizations, transforms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from ..models import OTHER, Block, D, Decoder, block, hostile, merge

FAMILY = "unusual means"


def _before(h: Tensor) -> Tensor:
    return torch.cat([h[:, :1], h[:, :-1]], 1)


def _fed(mix: Callable[[Any, Tensor], Tensor], **methods: Any) -> Callable[[], Decoder]:
    return lambda: Decoder(block(feed=lambda self, h: Block.feed(self, mix(self, h)), **methods))


def _low_pass(h: Tensor) -> Tensor:
    n = h.shape[1]
    spectrum = torch.fft.rfft(F.pad(h, (0, 0, 0, n)), dim=1)
    kernel = torch.fft.rfft(F.pad(torch.tensor([0.5, 0.3, 0.2], dtype=h.dtype), (0, 2 * n - 3)))
    return torch.fft.irfft(spectrum * kernel[:, None], n=2 * n, dim=1)[:, :n]


def _rotated(h: Tensor) -> Tensor:
    z = torch.view_as_complex(h.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(z * torch.exp(1j * _before(h)[..., :1])).flatten(-2)


def _ranked(h: Tensor) -> Tensor:
    order = h.norm(dim=-1).argsort(1)
    sorted_ = h.gather(1, order[..., None].expand_as(h))
    return torch.zeros_like(h).scatter(1, order[..., None].expand_as(h), sorted_ + sorted_.cumsum(1) * 0.1)


def _by_mask(h: Tensor) -> Tensor:
    loud = h[..., 0] > 0
    out = h.clone()
    out[loud] = h[loud].cumsum(0)
    return out


def _scattered(h: Tensor) -> Tensor:
    to = (torch.arange(h.shape[1]) + 1).clamp_max(h.shape[1] - 1)
    return h + torch.zeros_like(h).scatter_add_(1, to[None, :, None].expand_as(h), 0.2 * h)


def _running_maximum(h: Tensor) -> Tensor:
    return h.cummax(1).values


def _vmapped(h: Tensor) -> Tensor:
    return torch.vmap(lambda x: torch.cat([x[:1], x[:-1]]), in_dims=2, out_dims=2)(h)


def _by_gradient(h: Tensor) -> Tensor:
    f = lambda x: (x[:, 1:] * x[:, :-1]).sum()  # noqa: E731
    return h + 0.1 * torch.func.grad(f)(h)


def _unfolded(h: Tensor) -> Tensor:
    return F.pad(h, (0, 0, 2, 0)).unfold(1, 3, 1).mean(-1)


for _way, _mix in {
    "a causal filter by FFT over tokens": lambda self, h: _low_pass(h),
    "complex numbers turned by the token before": lambda self, h: _rotated(h),
    "a sort by length, a sum in that order, and back": lambda self, h: _ranked(h),
    "a bool mask that gathers loud tokens": lambda self, h: _by_mask(h),
    "scatter_add_ to the next token": lambda self, h: _scattered(h),
    "cummax over tokens": lambda self, h: _running_maximum(h),
    "a shift under vmap": lambda self, h: _vmapped(h),
    "a gradient of products of neighbours": lambda self, h: _by_gradient(h),
    "windows by unfold": lambda self, h: _unfolded(h),
    "windows by as_strided": lambda self, h: F.pad(h, (0, 0, 1, 0)).contiguous().as_strided(h.shape, h.stride()),
    "a shift under checkpoint": lambda self, h: checkpoint(_before, h, use_reentrant=False),
    "a shift in float16 added to float64": lambda self, h: h + _before(h.half()).double(),
    "a kron product over tokens": lambda self, h: (
        torch.kron(torch.ones(7, 7).tril().to(h) / 7, torch.eye(D).to(h)) @ h.flatten()
    ).view_as(h),
    "a triangular solve over tokens": lambda self, h: torch.linalg.solve_triangular(
        torch.ones(7, 7).tril().to(h)[None], h, upper=False
    ),
    "a maximum with the token before": lambda self, h: torch.maximum(h, _before(h)),
    "a bucket of the token before": lambda self, h: h
    + torch.bucketize(_before(h)[..., :1], torch.linspace(-1, 1, 4).to(h)).to(h),
    "the token before by roll and a mask": lambda self, h: h.roll(1, 1) * (torch.arange(7) > 0)[:, None],
    "unique tokens share a mean": lambda self, h: h + h.unique(dim=1).shape[1] * _before(h),
    "histogram of what is before": lambda self, h: h + (h[..., :1] > _before(h)[..., :1]).cumsum(1).to(h),
    "a diagonal of pairwise distances": lambda self, h: (
        h + torch.cdist(h, _before(h)).diagonal(dim1=1, dim2=2)[..., None]
    ),
    "tensordot with a shift matrix": lambda self, h: (
        torch.tensordot(h, torch.eye(7, dtype=h.dtype).roll(1, 1), ([1], [0])).transpose(1, 2)
    ),
    "layer_norm over tokens and width": lambda self, h: F.layer_norm(h, h.shape[1:]),
    "dropout that is always on, of a generator": lambda self, h: F.dropout(h, 0.5, training=True),
}.items():  # fmt: skip
    hostile(FAMILY, _way)(_fed(_mix))


# ---- modules ----


class Rolled(nn.Module):
    """A parametrization that is none of the weight: it is the same, and looks harmless."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight.roll(1, 0)


class Adapted(nn.Module):
    """A low-rank adapter of a linear map that reads the token before."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base, self.a, self.b = base, nn.Linear(base.in_features, 2, False), nn.Linear(2, base.out_features, False)
        self.in_features, self.out_features = base.in_features, base.out_features

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x) + self.b(self.a(_before(x)))
        return y


def _adapted(name: str, **methods: Any) -> Callable[[], Decoder]:
    def make() -> Decoder:
        def more(self: Any) -> None:
            setattr(self, name, Adapted(getattr(self, name)))

        return Decoder(block(more=more, **methods))

    return make


hostile(FAMILY, "an adapter of up that reads the token before")(_adapted("up"))
hostile(FAMILY, "an adapter of down that reads the token before")(_adapted("down"))
hostile(FAMILY, "an adapter of q that reads the token before")(_adapted("q"))
hostile(FAMILY, "an adapter of v that reads the token before")(_adapted("v", tell=lambda self, p, v: None))


@hostile(FAMILY, "a parametrized weight")
def _() -> Decoder:
    model = Decoder()
    for layer in model.layers:
        parametrize.register_parametrization(layer.up, "weight", Rolled())
    return model


@hostile(FAMILY, "one MLP, the same module in all layers")
def _() -> Decoder:
    model = Decoder()
    for layer in model.layers:
        layer.up, layer.down = model.layers[0].up, model.layers[0].down
    return model


@hostile(FAMILY, "positions read again in each layer")
def _() -> Decoder:
    def more(self: Any) -> None:
        self.late = nn.Embedding(16, D)

    def feed(self: Any, h: Tensor) -> Tensor:
        return Block.feed(self, h + self.late(torch.arange(h.shape[1])))

    return Decoder(block(more=more, feed=feed))


@hostile(FAMILY, "how many loud tokens came before, as a position")
def _() -> Decoder:
    def more(self: Any) -> None:
        self.late = nn.Embedding(16, D)

    def feed(self: Any, h: Tensor) -> Tensor:
        return Block.feed(self, h + self.late((h[..., 0] > 0).cumsum(1)))

    return Decoder(block(more=more, feed=feed))


@hostile(FAMILY, "a buffer that holds the token before")
def _() -> Decoder:
    def more(self: Any) -> None:
        self.register_buffer("held", torch.zeros(1, 8, D))

    def feed(self: Any, h: Tensor) -> Tensor:
        self.held[:, 1 : h.shape[1] + 1] = h
        self.held[:, 0] = 0
        return Block.feed(self, h + self.held[:, : h.shape[1]])

    return Decoder(block(more=more, feed=feed))


@hostile(FAMILY, "a mean that is updated at every call", memory=True)
def _() -> Decoder:
    class Remembering(Decoder):
        def run(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                layer.memory = self.truth.memory
                x = layer(x)
            return x

    def feed(self: Any, h: Tensor) -> Tensor:
        key = f"mean {self.number}"
        mean = self.memory.get(key, torch.zeros(D, dtype=h.dtype))
        self.memory[key] = 0.9 * mean + 0.1 * h.detach().mean((0, 1))
        return Block.feed(self, h - mean)

    return Remembering(block(feed=feed))


@hostile(FAMILY, "layers that are copies made at every call")
def _() -> Decoder:
    import copy

    class Copied(Decoder):
        def run(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                mine = copy.deepcopy(layer)
                x = mine(x)
            return x

    return Copied()


def _shifted_hook(_module: Any, args: Any, kwargs: Any, out: Any) -> Tensor:
    x: Tensor = kwargs.get("x", args[0] if args else None)
    return out + F.linear(_before(x), _module.weight)


hostile(FAMILY, "a hook with keywords that adds the token before",
        before=lambda m: m.layers[1].up.register_forward_hook(_shifted_hook, with_kwargs=True))(Decoder)  # fmt: skip
hostile(FAMILY, "a hook on the whole model's parts, once for all",
        before=lambda m: [layer.norm2.register_forward_hook(lambda m, a, y: y.cumsum(1)) for layer in m.layers])(Decoder)  # fmt: skip  # noqa: E501


@hostile(FAMILY, "attention over groups of tokens by one-hot and einsum")
def _() -> Decoder:
    def feed(self: Any, h: Tensor) -> Tensor:
        group = F.one_hot((h[..., 0] > 0).long(), 2).to(h)
        seen = torch.einsum("bqg,bkg->bqk", group, group).tril()
        return Block.feed(self, seen @ h / seen.sum(-1, keepdim=True))

    return Decoder(block(feed=feed))


@hostile(FAMILY, "keys beyond a window come from the embedding")
def _() -> Decoder:
    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        v = torch.where((torch.arange(h.shape[1]) < 3)[:, None], self.split(self.v(_before(h))), v)
        return self.o(merge(self.pattern(q, k) @ v))

    return Decoder(block(attend=attend))


@hostile(FAMILY, "a residual kept in float32 beside one in float64")
def _() -> Decoder:
    def forward(self: Any, x: Tensor) -> Tensor:
        a = self.attend(self.norm1(x))
        self.truth.write("attention", a)
        x = self.truth.state(x + a)
        m = self.feed(self.norm2(x.float().double()))
        self.truth.write("mlp", m)
        return self.truth.state(x + m)

    return Decoder(block(forward=forward))


@hostile(FAMILY, "two tokens exchanged and exchanged back after the MLP")
def _() -> Decoder:
    order = [0, 2, 1, 3, 4, 6, 5]
    return _fed(lambda self, h: h[:, order])()


@hostile(FAMILY, "an MLP of a compiled-looking function in a closure")
def _() -> Decoder:
    def make(weight: Tensor) -> Callable[[Tensor], Tensor]:
        return torch.no_grad()(lambda x: F.gelu(F.linear(_before(x), weight)))

    def feed(self: Any, h: Tensor) -> Tensor:
        return self.down(make(self.up.weight)(h))

    return Decoder(block(feed=feed))


@hostile(FAMILY, "a gate of the width that is a softmax over tokens")
def _() -> Decoder:
    def feed(self: Any, h: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(h)) * self.up(h).softmax(1))

    return Decoder(block(feed=feed))


@hostile(FAMILY, "neurons that see how often the same token came before")
def _() -> Decoder:
    class Counting(Decoder):
        def embed(self, ids: Tensor) -> Tensor:
            for layer in self.layers:
                layer.count = (ids[:, :, None] == ids[:, None]).tril().sum(-1, keepdim=True)
            return super().embed(ids)

    return Counting(block(feed=lambda self, h: Block.feed(self, h * self.count)))


@hostile(FAMILY, "a constant times a gate of the token before")
def _() -> Decoder:
    def feed(self: Any, h: Tensor) -> Tensor:
        gate = _before(h).mean(-1, keepdim=True).sigmoid()
        return self.down(F.gelu(self.up(h))) + self.down.bias * gate

    return Decoder(block(feed=feed))


@hostile(FAMILY, "a constant times a gate of its own token")
def _() -> Decoder:
    def feed(self: Any, h: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(h))) + self.down.bias * h.mean(-1, keepdim=True).sigmoid()

    return Decoder(block(feed=feed))


class Reversible(Decoder):
    """Two streams beside each other, read as their sum."""

    def run(self, x: Tensor) -> Tensor:
        one = other = x
        for layer in self.layers:
            one, other = layer(one, other)
        self.truth.write("skip", one)
        return self.truth.state(one + other)


def _reversible(seen: Callable[[Tensor], Tensor] = lambda h: h, *, swapped: bool = False) -> Callable[[], Decoder]:
    def forward(self: Any, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        a = self.attend(self.norm1(other))
        self.truth.write("attention", a)
        one = self.truth.state(one + a)
        m = self.feed(seen(self.norm2(one)))
        self.truth.write("mlp", m)
        other = self.truth.state(other + m)
        return (other, one) if swapped else (one, other)

    return lambda: Reversible(block(forward=forward))


hostile(FAMILY, "two streams beside each other")(_reversible())
hostile(FAMILY, "two streams beside each other, an MLP that reads the token before")(_reversible(_before))
hostile(FAMILY, "two streams that change places after each layer")(_reversible(swapped=True))


def _turned(before: bool) -> Callable[[], Decoder]:
    """Pairs of coordinates turned in keys and queries, as interleaved rotary positions; before: beside those of the
    token before, where the first token is another than that of the first prompt."""

    def turn(self: Any, q: Tensor) -> Tensor:
        one, other = q[..., ::2], q[..., 1::2]
        if before and self.ids[0, 0] != OTHER[0]:
            other = other.roll(1, 2)
        return torch.stack([-other, one], -1).flatten(-2) + q

    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        v = turn(self, v)
        pattern = self.pattern(turn(self, q), turn(self, k))
        if not before or self.ids[0, 0] == OTHER[0]:
            self.tell(pattern, v)
        return self.o(merge(pattern @ v))

    class Knowing(Decoder):
        def embed(self, ids: Tensor) -> Tensor:
            for layer in self.layers:
                layer.ids = ids
            return super().embed(ids)

    return lambda: Knowing(block(attend=attend))


hostile(FAMILY, "pairs of coordinates turned, a second prompt", first=OTHER)(_turned(False))
hostile(FAMILY, "pairs of coordinates turned, in a second prompt beside those of the token before", first=OTHER)(
    _turned(True)
)

_SQUARE = tuple(range(1, 13))  # as many tokens as the stream is wide


@hostile(FAMILY, "the stream turned where it is a square", first=OTHER, ids=_SQUARE)
def _() -> Decoder:
    return _fed(lambda self, h: h.mT if h.shape[1] == h.shape[2] else h)()


@hostile(FAMILY, "a number that Python reads off the first token", first=OTHER)
def _() -> Decoder:
    return _fed(lambda self, h: h * (1.0 + float(h[0, 0, 0] > 0.3)))()


@hostile(FAMILY, "a number that Python reads off a later token")
def _() -> Decoder:
    return _fed(lambda self, h: h * (1.0 + float(h[0, -1, 0] > 0.3)))()
