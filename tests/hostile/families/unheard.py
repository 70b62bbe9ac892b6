"""MLPs, and what is added to the stream, inside calls that a recorder cannot look into."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models import Block, Decoder, block, decoder, hostile
from .opaque import _custom_add, _custom_shift, _scripted_add, _scripted_gelu, _scripted_shift

OTHER = "MLPs and adding inside an opaque call"


# ---- MLPs and additions ----


def _fed(feed: Callable[[Any, Tensor], Tensor]) -> Callable[[], Decoder]:
    return decoder(feed=feed)


class _Mlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, up: Tensor, down: Tensor) -> Tensor:
        with torch._C.DisableTorchFunction():
            return F.gelu(h @ up.t()) @ down.t()


hostile(OTHER, "activation by TorchScript")(_fed(lambda self, h: self.down(_scripted_gelu(self.up(h)))))
hostile(OTHER, "activation by numpy")(
    _fed(lambda self, h: self.down(torch.from_numpy(abs(self.up(h).detach().numpy()))))
)
hostile(OTHER, "activation by vmap")(_fed(lambda self, h: self.down(torch.func.vmap(F.gelu)(self.up(h)))))
hostile(OTHER, "MLP by vmap over tokens")(
    _fed(lambda self, h: torch.func.vmap(lambda r: F.gelu(r @ self.up.weight.t()) @ self.down.weight.t())(h[0])[None])
)
hostile(OTHER, "shift by a custom op, then the MLP")(_fed(lambda self, h: self.down(F.gelu(self.up(_custom_shift(h))))))
hostile(OTHER, "shift by TorchScript, then the MLP")(
    _fed(lambda self, h: self.down(F.gelu(self.up(_scripted_shift(h)))))
)
hostile(OTHER, "shift by numpy, then the MLP")(
    _fed(lambda self, h: self.down(F.gelu(self.up(torch.from_numpy(h.detach().numpy()[:, [0, 0, 1, 2, 3, 4, 5]])))))
)
hostile(OTHER, "MLP as an autograd.Function that is not seen")(
    _fed(lambda self, h: _Mlp.apply(h, self.up.weight, self.down.weight))
)
hostile(OTHER, "projection by numpy")(
    _fed(lambda self, h: torch.from_numpy(F.gelu(self.up(h)).detach().numpy() @ self.down.weight.detach().numpy().T))
)


def _added(add: Callable[[Tensor, Tensor], Any]) -> Callable[[], Decoder]:
    """The MLP is added by a call; what that call returns is the state, or None: x itself."""

    def forward(self: Any, x: Tensor) -> Tensor:
        a = self.attend(self.norm1(x))
        self.truth.write("attention", a)
        x = self.truth.state(x + a)
        m = self.feed(self.norm2(x))
        self.truth.write("mlp", m)
        out = add(x, m)
        return self.truth.state(x if out is None else out)

    return decoder(forward=forward)


def _both_added(add: Callable[[Tensor, Tensor], Any]) -> Callable[[], Decoder]:
    def forward(self: Any, x: Tensor) -> Tensor:
        for name, norm, branch in (("attention", self.norm1, self.attend), ("mlp", self.norm2, self.feed)):
            y = branch(norm(x))
            self.truth.write(name, y)
            out = add(x, y)
            x = self.truth.state(x if out is None else out)
        return x

    return decoder(forward=forward)


class _Add(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class _AddInPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        with torch._C.DisableTorchFunction():
            x.add_(y)
        ctx.mark_dirty(x)
        return x


def _hidden_add(x: Tensor, y: Tensor) -> None:
    with torch._C.DisableTorchFunction():
        x.add_(y)


for _way, _add in {
    "custom op that changes its argument": _custom_add,
    "op of an older library, in place": lambda x, y: torch.ops.hostile_old.add_(x, y),
    "TorchScript, in place": _scripted_add,
    "autograd.Function": lambda x, y: _Add.apply(x, y),
    "autograd.Function, in place": lambda x, y: _AddInPlace.apply(x, y),
    "torch functions switched off, in place": _hidden_add,
    "vmap": lambda x, y: torch.func.vmap(torch.add)(x, y),
    "torch.ops.aten.add": lambda x, y: torch.ops.aten.add(x, y),
    "numpy": lambda x, y: torch.from_numpy(x.detach().numpy() + y.detach().numpy()),
    "torch.cond": lambda x, y: torch.where(torch.ones(1, dtype=torch.bool), x + y, x),
}.items():
    hostile(OTHER, f"the MLP added by {_way}")(_added(_add))
    hostile(OTHER, f"attention and MLP added by {_way}")(_both_added(_add))


@hostile(OTHER, "a whole layer by TorchScript")
def _() -> Decoder:
    class Scripted(Decoder):
        def run(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = layer(x)
            return x

    def forward(self: Block, x: Tensor) -> Tensor:
        a = self.attend(self.norm1(x))
        self.truth.write("attention", a)
        x = self.truth.state(_scripted_add(x.clone(), a))
        m = self.down(_scripted_gelu(self.up(_scripted_shift(self.norm2(x)))))
        self.truth.write("mlp", m)
        return self.truth.state(_scripted_add(x.clone(), m))

    return Scripted(block(forward=forward))
