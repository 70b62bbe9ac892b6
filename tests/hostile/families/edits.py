"""What users do to a model: hooks that steer, ablate and patch, weights edited, modules put in place of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from ..models import Block, Decoder, hostile, written

HOOKS = "users' hooks"
WEIGHTS = "users' edits of weights and modules"
D, HEADS, D_MLP, C = 72, 3, 80, 24  # some coordinates are above 64


class Attention(nn.Module):
    """A module of its own, whose maps are the block's."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.inner = [block]  # no submodule

    def forward(self, h: Tensor) -> Tensor:
        return Block.attend(self.inner[0], h)


class Mlp(Attention):
    def forward(self, h: Tensor) -> Tensor:
        return Block.feed(self.inner[0], h)


class Wide(Block):
    def __init__(self) -> None:
        super().__init__(D, HEADS, D_MLP)

    def more(self) -> None:
        self.attn, self.mlp = Attention(self), Mlp(self)

    def attend(self, h: Tensor) -> Tensor:
        return self.attn(h)

    def feed(self, h: Tensor) -> Tensor:
        return self.mlp(h)


def wide() -> Decoder:
    return Decoder(Wide, d=D)


_DIRECTIONS = torch.randn(2, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def _steering(which: int = 0) -> Tensor:
    return _DIRECTIONS[which]


def _at(token: int) -> Callable[[Tensor], Tensor]:
    def change(y: Tensor) -> Tensor:
        y = y.clone()
        y[:, token] += _steering()
        return y

    return change


def _in_place_at(token: int) -> Callable[[Tensor], Tensor]:
    def change(y: Tensor) -> Tensor:
        y[:, token] += _steering()
        return y

    return change


def _above(y: Tensor) -> Tensor:
    """Coordinates above 64 only, at every token."""
    y = y.clone()
    y[..., 66:] += _steering()[66:]
    return y


def _one_number(y: Tensor) -> Tensor:
    y = y.clone()
    y[0, 4, 70] += 2.0
    return y


_RESCALED = "rescaled to the largest of all tokens"
CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "steering at one token": _at(2),
    "steering at one token, in place": _in_place_at(4),
    "steering at every token": lambda y: y + _steering(),
    "coordinates above 64": _above,
    "one number": _one_number,
    "doubled": lambda y: 2 * y,
    "doubled at one token": lambda y: y * (1 + (torch.arange(7) == 2))[:, None],
    "zero": torch.zeros_like,
    "zero at one token": lambda y: y * (torch.arange(7) != 2)[:, None],
    "zero by in-place multiplication": lambda y: y.mul_(0),
    "mean over tokens": lambda y: y.mean(1, keepdim=True).expand_as(y),
    "mean of the tokens so far": lambda y: y.cumsum(1) / torch.arange(1, 8, dtype=y.dtype)[:, None],
    "shifted by one token": lambda y: F.pad(y, (0, 0, 1, -1)),
    "copied from token 1 to token 5": lambda y: torch.cat([y[:, :5], y[:, 1:2], y[:, 6:]], 1),
    "from another prompt": lambda y: y + 0.1 * torch.arange(7, dtype=y.dtype)[:, None] * _steering(1),
    "a direction projected out": lambda y: y - (y @ _steering())[..., None] * _steering() / _steering().square().sum(),
    "clamped": lambda y: y.clamp(-0.5, 0.5),
    "rounded to bfloat16": lambda y: y.bfloat16().double(),
    _RESCALED: lambda y: y / y.norm(dim=-1).max(),
    "in numpy": lambda y: torch.from_numpy(y.detach().numpy() * 1.5),
}


def _affine(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """What an affine change of [1, pos, d] makes of each head and key: [head, query, key, d]."""

    def on_heads(heads: Tensor) -> Tensor:
        each = heads.permute(0, 2, 1, 3).flatten(0, 1)  # [head and key, query, d]
        none = change(torch.zeros_like(each[:1]))
        made = torch.cat([change(v[None].clone()) - none for v in each])
        return made.unflatten(0, heads.shape[::2][:2]).permute(0, 2, 1, 3)

    return on_heads


def _rescaled(block: Any) -> Callable[[Tensor], Tensor]:
    """What dividing by the largest norm, as it was, makes of each head and key."""
    return lambda heads: heads / (heads.sum((0, 2)) + block.o.bias).norm(dim=-1).max()


def _hooked(place: Callable[[Any], nn.Module], change: Callable[[Tensor], Tensor], layer: int) -> Callable[[Any], Any]:
    def on(model: Any) -> None:
        block = model.layers[layer]
        if place(block) in (block.o, block.attn):
            block.edit = _rescaled(block) if change is CHANGES[_RESCALED] else _affine(change)
        place(block).register_forward_hook(lambda m, a, out: change(out))

    return on


_PLACES: dict[str, Callable[[Any], nn.Module]] = {
    "o_proj": lambda b: b.o,
    "down_proj": lambda b: b.down,
    "attention": lambda b: b.attn,
    "mlp": lambda b: b.mlp,
}
for _i, (_change_name, _change) in enumerate(CHANGES.items()):
    for _j, (_place_name, _place) in enumerate(_PLACES.items()):
        if (_i + _j) % 2 == 0 or _i < 5:
            _when = {"after": _hooked(_place, _change, 1)} if _j % 2 else {"before": _hooked(_place, _change, 1)}
            hostile(HOOKS, f"{_place_name}: {_change_name}", **_when)(wide)  # type: ignore[arg-type]


# ---- hooks on what goes in ----


def _given(place: Callable[[Any], nn.Module], change: Callable[[Tensor], Tensor]) -> Callable[[Any], Any]:
    return lambda model: place(model.layers[1]).register_forward_pre_hook(lambda m, args: (change(args[0]), *args[1:]))


def _head_off(head: int, token: int | None = None) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """What a pre-hook on o_proj does to z, and what that makes of [head, query, key, d]."""
    at = slice(None) if token is None else token

    def on_z(z: Tensor) -> Tensor:
        z = z.clone()
        z[:, at, head * C : (head + 1) * C] = 0
        return z

    def on_heads(heads: Tensor) -> Tensor:
        heads = heads.clone()
        heads[head, at] = 0
        return heads

    return on_z, on_heads


def _ablated(on_z: Callable[[Tensor], Tensor], on_heads: Callable[[Tensor], Tensor]) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        model.layers[1].edit = on_heads
        _given(lambda b: b.o, on_z)(model)

    return change


def _in_place_off(z: Tensor) -> Tensor:
    z[..., C : 2 * C] = 0
    return z


hostile(HOOKS, "a head zeroed", after=_ablated(*_head_off(1)))(wide)
hostile(HOOKS, "a head zeroed at one token", after=_ablated(*_head_off(1, 2)))(wide)
hostile(HOOKS, "a head zeroed in place", before=_ablated(_in_place_off, _head_off(1)[1]))(wide)
hostile(HOOKS, "the last head zeroed at token 4", before=_ablated(*_head_off(2, 4)))(wide)


def _none(heads: Tensor) -> Tensor:
    """There is no reading of these heads as attention over tokens."""
    return torch.full_like(heads, float("nan"))


def _head_mean(z: Tensor) -> Tensor:
    return torch.cat([z[..., :C], z[..., C : 2 * C].mean(1, keepdim=True).expand(-1, 7, -1), z[..., 2 * C :]], -1)


def _head_constant(z: Tensor) -> Tensor:
    return torch.cat([z[..., :C], torch.full_like(z[..., C : 2 * C], 0.3), z[..., 2 * C :]], -1)


def _head_constant_at(z: Tensor) -> Tensor:
    z = z.clone()
    z[:, 3, C : 2 * C] = 0.3
    return z


hostile(HOOKS, "a head's mean over all tokens", after=_ablated(_head_mean, _none))(wide)
hostile(HOOKS, "a head set to a constant", after=_ablated(_head_constant, _head_off(1)[1]))(wide)
hostile(HOOKS, "a head set to a constant at one token", after=_ablated(_head_constant_at, _head_off(1, 3)[1]))(wide)


def _swapped(model: Any) -> None:
    layer = model.layers[1]
    _ablated(lambda z: torch.cat([z[..., C:], z[..., :C]], -1), _none)(model)
    layer.edit = lambda heads: written(*layer.told, layer.o.weight.roll(C, 1))


hostile(HOOKS, "heads swapped", after=_swapped)(wide)
hostile(HOOKS, "z shifted by one token", after=_ablated(lambda z: F.pad(z, (0, 0, 1, -1)), lambda h: F.pad(h, (0, 0, 0, 0, 1, -1))))(wide)  # fmt: skip  # noqa: E501
hostile(HOOKS, "z steered at one token", after=_ablated(_at(3), lambda h: h))(wide)
hostile(HOOKS, "z clamped", after=_ablated(lambda z: z.clamp(-0.3, 0.3), _none))(wide)
hostile(HOOKS, "a neuron zeroed", after=_given(lambda b: b.down, lambda a: a * (torch.arange(D_MLP) != 70)))(wide)
hostile(HOOKS, "a neuron zeroed at one token", after=_given(lambda b: b.down, lambda a: a * ((torch.arange(D_MLP) != 70) | (torch.arange(7) != 2)[:, None])))(wide)  # fmt: skip  # noqa: E501
hostile(HOOKS, "neurons of the token before", after=_given(lambda b: b.down, lambda a: F.pad(a, (0, 0, 1, -1))))(wide)
hostile(HOOKS, "neurons' mean over tokens", before=_given(lambda b: b.down, lambda a: a.mean(1, keepdim=True).expand_as(a)))(wide)  # fmt: skip  # noqa: E501
hostile(HOOKS, "the MLP's input of the token before", after=_given(lambda b: b.mlp, lambda h: F.pad(h, (0, 0, 1, -1))))(wide)  # fmt: skip  # noqa: E501
hostile(HOOKS, "the norm's output of the token before", after=lambda m: m.layers[1].norm2.register_forward_hook(lambda *a: F.pad(a[2], (0, 0, 1, -1))))(wide)  # fmt: skip  # noqa: E501
hostile(HOOKS, "values of the token before", after=lambda m: m.layers[1].v.register_forward_hook(lambda *a: F.pad(a[2], (0, 0, 1, -1))))(wide)  # fmt: skip  # noqa: E501
hostile(HOOKS, "values' mean of the tokens so far", after=lambda m: m.layers[1].v.register_forward_hook(lambda *a: a[2].cumsum(1)))(wide)  # fmt: skip  # noqa: E501
hostile(HOOKS, "values of one token steered", after=lambda m: m.layers[1].v.register_forward_hook(lambda *a: _at(3)(a[2])))(wide)  # fmt: skip  # noqa: E501


# ---- hooks on layers ----


def _on_layer(change: Callable[[Tensor], Tensor], pre: bool = False) -> Callable[[Any], Any]:
    def note(layer: Any, x: Tensor, y: Tensor) -> Tensor:
        layer.truth.write("hook", y - x if layer.truth.now is not None else y)
        return layer.truth.state(y)

    def on(model: Any) -> Any:
        layer = model.layers[1]
        if pre:
            return layer.register_forward_pre_hook(lambda m, args: (note(m, args[0], change(args[0])),))
        return layer.register_forward_hook(lambda m, args, out: note(m, out, change(out)))

    return on


for _way, _change in {
    "steering at one token": _at(2),
    "steering at every token": lambda y: y + _steering(),
    "coordinates above 64": _above,
    "tokens mixed": lambda y: y + 0.3 * F.pad(y, (0, 0, 1, -1)),
    "a direction projected out": CHANGES["a direction projected out"],
    "clamped": lambda y: y.clamp(-2, 2),
    "in numpy": lambda y: torch.from_numpy(y.detach().numpy() + 0.1),
}.items():
    hostile(HOOKS, f"a layer: {_way}", before=_on_layer(_change))(wide)
    hostile(HOOKS, f"what goes into a layer: {_way}", after=_on_layer(_change, pre=True))(wide)


def _first_state(change: Callable[[Tensor], Tensor]) -> Callable[[Any], Any]:
    return lambda model: model.wte.register_forward_hook(lambda m, a, out: change(out))


hostile(HOOKS, "the embedding: of the token before", after=_first_state(lambda y: F.pad(y, (0, 0, 1, -1))))(wide)
hostile(HOOKS, "the embedding: mean over tokens taken off", after=_first_state(lambda y: y - y.mean(1, keepdim=True)))(wide)  # fmt: skip  # noqa: E501
hostile(HOOKS, "the embedding: noise at one token", after=_first_state(_at(3)))(wide)
hostile(HOOKS, "the embedding: scaled by the largest of all tokens", before=_first_state(lambda y: y / y.abs().max()))(wide)  # fmt: skip  # noqa: E501


def _head_hook(change: Callable[[Tensor], Tensor]) -> Callable[[Any], Any]:
    return lambda model: model.head.register_forward_hook(lambda m, a, out: change(out))


hostile(HOOKS, "logits: of the token before, added", after=_head_hook(lambda y: y + F.pad(y, (0, 0, 1, -1))))(wide)
hostile(HOOKS, "logits: one token's raised", after=_head_hook(lambda y: y + 5 * (torch.arange(23) == 4)))(wide)
hostile(HOOKS, "logits: one token's raised at one position", after=_head_hook(lambda y: y + 5 * (torch.arange(23) == 4) * (torch.arange(7) == 3)[:, None]))(wide)  # fmt: skip  # noqa: E501
hostile(HOOKS, "final norm: of the token before", after=lambda m: m.norm.register_forward_hook(lambda *a: F.pad(a[2], (0, 0, 1, -1))))(wide)  # fmt: skip  # noqa: E501
hostile(HOOKS, "a hook that turns gradients on", after=lambda m: m.layers[1].register_forward_hook(lambda *a: torch.set_grad_enabled(True) and None))(wide)  # fmt: skip  # noqa: E501


# ---- weights and modules ----


def _halved(model: Any) -> None:
    with torch.no_grad():
        model.layers[1].o.weight.mul_(0.5)
        model.layers[1].down.weight[:, 3] = 0


def _forward_replaced(change: Callable[[Tensor], Tensor], name: str) -> Callable[[Any], None]:
    def on(model: Any) -> None:
        module = getattr(model.layers[1], name)
        plain = module.forward
        module.forward = lambda *a: change(plain(*a))

    return on


def _submodule(name: str, make: Callable[[nn.Linear], nn.Module]) -> Callable[[Any], None]:
    def on(model: Any) -> None:
        layer = model.layers[1]
        setattr(layer, name, make(getattr(layer, name)))
        for m in model.modules():
            m.truth = model.truth

    return on


class Doubled(nn.Module):
    def forward(self, w: Tensor) -> Tensor:
        return 2 * w


class Lora(nn.Module):
    """By hand, with the attributes of a linear map."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base, self.in_features, self.out_features = base, base.in_features, base.out_features
        self.a, self.b = (nn.Parameter(torch.randn(n, 2, dtype=torch.float64)) for n in (base.in_features, base.out_features))  # fmt: skip  # noqa: E501

    @property
    def weight(self) -> Tensor:
        return self.base.weight + self.b @ self.a.t()

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + (x @ self.a) @ self.b.t()


hostile(WEIGHTS, "weights halved after load_model", after=_halved)(wide)
for _name in ("o", "down"):
    hostile(WEIGHTS, f"{_name}.forward replaced: one token", after=_forward_replaced(_at(2), _name))(wide)
    hostile(WEIGHTS, f"{_name}.forward replaced: shifted", before=_forward_replaced(CHANGES["shifted by one token"], _name))(wide)  # fmt: skip  # noqa: E501
    hostile(WEIGHTS, f"{_name}.forward replaced: doubled above 64", after=_forward_replaced(_above, _name))(wide)
    hostile(WEIGHTS, f"{_name}: LoRA by hand", before=_submodule(_name, Lora))(wide)
    hostile(WEIGHTS, f"{_name}: weights parametrised", before=lambda m, n=_name: parametrize.register_parametrization(getattr(m.layers[1], n), "weight", Doubled()))(wide)  # fmt: skip  # noqa: E501
    hostile(WEIGHTS, f"{_name}: weight norm", before=lambda m, n=_name: parametrizations.weight_norm(getattr(m.layers[1], n)))(wide)  # fmt: skip  # noqa: E501
    hostile(WEIGHTS, f"{_name}: pruned", before=lambda m, n=_name: prune.l1_unstructured(getattr(m.layers[1], n), "weight", 0.4))(wide)  # fmt: skip  # noqa: E501
hostile(WEIGHTS, "mlp.forward replaced: of the token before", before=_forward_replaced(CHANGES["shifted by one token"], "mlp"))(wide)  # fmt: skip  # noqa: E501
hostile(WEIGHTS, "attention.forward replaced: mean over tokens", before=_forward_replaced(CHANGES["mean over tokens"], "attn"))(wide)  # fmt: skip  # noqa: E501
hostile(WEIGHTS, "compiled", before=lambda m: m.layers[1].mlp.compile(backend="eager"))(wide)
