"""Right models in TorchScript, whole or in parts."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import D_MLP, D, Decoder, decoder, hostile
from .control import USUAL

SCRIPTED = "other words: TorchScript"


# ---- TorchScript ----


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(D, D_MLP), nn.Linear(D_MLP, D)

    def forward(self, h: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(h)))


def _in_script(make: Callable[..., Any], *args: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript is of yesterday
        return make(*args)


def _norm(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.layer_norm(x + y, [x.shape[-1]], weight, bias)


def _gelu(h: Tensor) -> Tensor:
    return h * 0.5 * (1.0 + torch.erf(h / 1.41421))


def _scripted(**modules: Callable[[], nn.Module]) -> Callable[[], Decoder]:
    """Blocks some of whose modules are scripted."""

    def more(self: Any) -> None:
        for name, make in modules.items():
            made = make()
            made.double()
            setattr(self, name, _in_script(torch.jit.script, made))
        if "mlp" in modules:
            self.feed = lambda h: self.mlp(h)

    return decoder(more=more)


hostile(SCRIPTED, "the MLP", labels=USUAL)(_scripted(mlp=MLP))
hostile(SCRIPTED, "both norms", labels=USUAL)(_scripted(norm1=lambda: nn.LayerNorm(D), norm2=lambda: nn.LayerNorm(D)))
hostile(SCRIPTED, "the linear maps", labels=USUAL)(
    _scripted(down=lambda: nn.Linear(D_MLP, D), up=lambda: nn.Linear(D, D_MLP), o=lambda: nn.Linear(D, D))
)


@hostile(SCRIPTED, "a traced MLP", labels=USUAL)
def _() -> Decoder:
    def more(self: Any) -> None:
        made = MLP().double()
        self.mlp = _in_script(torch.jit.trace, made, torch.randn(1, 7, D, dtype=torch.float64))
        self.feed = lambda h: self.mlp(h)

    return decoder(more=more)()


@hostile(SCRIPTED, "whole layers", says="TorchScript")
def _() -> Decoder:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mlp, self.norm = MLP(), nn.LayerNorm(D)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.mlp(self.norm(x))

    return Decoder(lambda: _in_script(torch.jit.script, Layer()))


@hostile(SCRIPTED, "an activation", labels=USUAL)
def _() -> Decoder:
    gelu = _in_script(torch.jit.script, _gelu)

    def feed(self: Any, h: Tensor) -> Tensor:
        return self.down(gelu(self.up(h)))

    return decoder(feed=feed)()


@hostile(SCRIPTED, "post-norm in one function", labels=USUAL)
def _() -> Decoder:
    from .control import PostNorm

    scripted = _in_script(torch.jit.script, _norm)

    class Scripted(PostNorm):
        def closed(self, norm: Any, x: Tensor, y: Tensor) -> Tensor:
            if self.truth.now is not None:
                return PostNorm.closed(self, norm, x, y)
            return scripted(x, y, norm.weight, norm.bias)

    return Decoder(Scripted)
