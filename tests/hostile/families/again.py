"""A model that is recorded twice: what was true of it the first time is not the second time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import D_MLP, IDS, OTHER, Block, D, Decoder, block, hostile, merge

FAMILY = "recorded a second time"
LONG = "long prompts, where a probe may look at the first tokens only"


def _before(h: Tensor) -> Tensor:
    return torch.cat([h[:, :1], h[:, :-1]], 1)


class Knowing(Decoder):
    """Layers know the tokens, and one number that a user may set."""

    mixing = 0.0

    def embed(self, ids: Tensor) -> Tensor:
        for layer in self.layers:
            layer.ids, layer.mixing = ids, self.mixing
        return super().embed(ids)


def _fed(mix: Callable[[Any, Tensor], Tensor], kind: type[Decoder] = Knowing) -> Callable[[], Decoder]:
    return lambda: kind(block(feed=lambda self, h: Block.feed(self, mix(self, h))))


for _way, _mix in {
    "mixing behind a token that the first prompt has not": lambda self, h: torch.where(
        (self.ids == 7)[..., None], _before(h), h
    ),
    "mixing by a number that is 0 for the first prompt": lambda self, h: (
        h + _before(h) * float(int(self.ids[0, 0]) == IDS[0])
    ),
    "mixing by a mask that is empty for the first prompt": lambda self, h: h + _before(h) * (self.ids > 18)[..., None],
    "the same tokens, in another order": lambda self, h: h + _before(h) * (self.ids[:, :1] == IDS[0])[..., None],
}.items():
    hostile(FAMILY, _way, first=OTHER)(_fed(_mix))


def _set(model: Any) -> None:
    model.mixing = 1.0


hostile(FAMILY, "the same prompt, a number set between", first=IDS, between=_set)(
    _fed(lambda self, h: h + self.mixing * _before(h))
)
hostile(FAMILY, "another prompt, a number set between", first=OTHER, between=_set)(
    _fed(lambda self, h: h + self.mixing * _before(h))
)
hostile(FAMILY, "a longer prompt before", first=tuple(range(1, 16)))(
    _fed(lambda self, h: h + _before(h) * float(h.shape[1] == 7))
)
hostile(FAMILY, "a prompt of one token before", first=(5,))(_fed(lambda self, h: h + h.cumsum(1) - h))
hostile(FAMILY, "a prompt of one token before, and a shift", first=(5,))(_fed(lambda self, h: _before(h)))
hostile(FAMILY, "a right model, the same prompt", first=IDS)(Decoder)
hostile(FAMILY, "a right model, another prompt", first=OTHER)(Decoder)


def _shift(y: Tensor) -> Tensor:
    return F.pad(y, (0, 0, 1, -1))


def _hook(name: str, change: Callable[[Tensor], Tensor] = _shift, pre: bool = False) -> Callable[[Any], None]:
    def on(model: Any) -> None:
        module = getattr(model.layers[1], name)
        if pre:
            module.register_forward_pre_hook(lambda m, args: (change(args[0]),))
        else:
            module.register_forward_hook(lambda m, args, out: change(out))

    return on


def _pair(y: Tensor) -> Tensor:
    y = y.clone()
    y[:, 5] += y[:, 2]
    return y


for _first in (IDS, OTHER):
    _said = "the same prompt" if _first == IDS else "another prompt"
    for _name in ("up", "norm2", "v", "norm1"):
        hostile(FAMILY, f"{_said}, {_name} shifted by a hook between", first=_first, between=_hook(_name))(Decoder)
        hostile(FAMILY, f"{_said}, one pair mixed in {_name}", first=_first, between=_hook(_name, _pair))(Decoder)
    hostile(FAMILY, f"{_said}, neurons shifted between", first=_first, between=_hook("down", pre=True))(Decoder)
    hostile(FAMILY, f"{_said}, values steered at one token", first=_first,
            between=_hook("v", lambda y: y + (torch.arange(7) == 3)[:, None]))(Decoder)  # fmt: skip


def _forward(name: str, make: Callable[[Any], Callable[..., Tensor]]) -> Callable[[Any], None]:
    def on(model: Any) -> None:
        module = getattr(model.layers[1], name)
        module.forward = make(module)

    return on


hostile(FAMILY, "up.forward replaced between", first=IDS, between=_forward("up", lambda m: lambda x: F.linear(_before(x), m.weight, m.bias)))(Decoder)  # fmt: skip  # noqa: E501
hostile(FAMILY, "norm2.forward replaced between", first=IDS, between=_forward("norm2", lambda m: lambda x: F.layer_norm(_before(x), (D,), m.weight, m.bias)))(Decoder)  # fmt: skip  # noqa: E501


class Mixed(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + _before(x))


def _exchanged(name: str, n_in: int, n_out: int) -> Callable[[Any], None]:
    def on(model: Any) -> None:
        setattr(model.layers[1], name, Mixed(n_in, n_out).double())

    return on


hostile(FAMILY, "up exchanged for one that mixes", first=IDS, between=_exchanged("up", D, D_MLP))(Decoder)
hostile(FAMILY, "weights halved between", first=IDS, between=lambda m: m.layers[1].down.weight.data.mul_(0.5))(Decoder)
hostile(FAMILY, "weights of a map over tokens set between", first=IDS,
        between=lambda m: m.layers[1].over.weight.data.tril_().add_(0.2 * torch.ones(7, 7).tril()))(
    lambda: Decoder(block(
        more=lambda self: setattr(self, "over", nn.Linear(7, 7, bias=False)),
        feed=lambda self, h: Block.feed(self, self.over(h.mT).mT),
    ))
)  # fmt: skip


@hostile(FAMILY, "a map over tokens that was the identity", first=IDS, between=lambda m: m.layers[1].over.data.add_(0.3 * torch.ones(7, 7).tril(-1)))  # noqa: E501  # fmt: skip
def _() -> Decoder:
    model = Decoder(
        block(
            more=lambda self: setattr(self, "over", nn.Parameter(torch.eye(7))),
            feed=lambda self, h: Block.feed(self, self.over @ h),
        )
    )
    for layer in model.layers:
        layer.over.data.copy_(torch.eye(7))
    return model


@hostile(FAMILY, "keys and values of the first layer from the second time on", first=IDS, between=_set)
def _() -> Decoder:
    class Sharing(Knowing):
        def more(self) -> None:
            self.kept = [torch.zeros(1)]
            for layer in self.layers:
                layer.kept = self.kept

    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        if self.number == 0:
            self.kept[0] = v
        v = (1 - self.mixing) * v + self.mixing * self.kept[0]
        pattern = self.pattern(q, k)
        self.tell(pattern, v)
        return self.o(merge(pattern @ v))

    return Sharing(block(attend=attend))


@hostile(FAMILY, "the MLP reads the embedding from the second time on", first=IDS, between=_set)
def _() -> Decoder:
    class Skipping(Knowing):
        def run(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                layer.early = x if layer.number == 0 else layer.early
                if layer.number == 0:
                    for other in self.layers:
                        other.early = x
                x = layer(x)
            return x

    return Skipping(
        block(feed=lambda self, h: Block.feed(self, (1 - self.mixing) * h + self.mixing * self.norm2(self.early)))
    )


# ---- long prompts ----

_LONG = tuple((7 * i + 3) % 23 for i in range(36))


def _from(start: int) -> Callable[[Any, Tensor], Tensor]:
    return lambda self, h: torch.where((torch.arange(h.shape[1]) >= start)[:, None], _before(h), h)


for _way, _mix in {
    "mixing from token 33 on": _from(33),
    "mixing from token 13 on": _from(13),
    "mixing at the last token": lambda self, h: torch.cat([h[:, :-1], h[:, -1:] + h[:, :1]], 1),
    "mixing in prompts of more than 32": lambda self, h: _before(h) if h.shape[1] > 32 else h,
    "one pair, 34 and 33": lambda self, h: (
        torch.cat([h[:, :34], h[:, 34:35] + h[:, 33:34], h[:, 35:]], 1) if h.shape[1] > 34 else h
    ),
    "shift within blocks of 16": lambda self, h: torch.where(
        (torch.arange(h.shape[1]) % 16 == 15)[:, None], _before(h), h
    ),
}.items():
    hostile(LONG, _way, ids=_LONG)(_fed(_mix))
hostile(LONG, "mixing in prompts of more than 32, one of 20 before", ids=_LONG, first=_LONG[:20])(
    _fed(lambda self, h: _before(h) if h.shape[1] > 32 else h)
)
hostile(LONG, "a right model", ids=_LONG, labels=" ".join(3 * ["attention mlp"]))(Decoder)


def _seen(mask: Callable[[int], Tensor]) -> Callable[[], Decoder]:
    def pattern(self: Any, q: Tensor, k: Tensor) -> Tensor:
        return (q @ k.transpose(-1, -2)).masked_fill(~mask(q.shape[2]), float("-inf")).softmax(-1)

    return lambda: Decoder(block(pattern=pattern))


def _span(n: int) -> Tensor:
    mask = torch.ones(n, n, dtype=torch.bool).tril()
    mask[33:35, 33:35] = True
    return mask


def _late(n: int) -> Tensor:
    mask = torch.ones(n, n, dtype=torch.bool).tril()
    mask[20:22, 20:22] = True
    return mask


hostile(LONG, "a bidirectional span at 33", ids=_LONG)(_seen(_span))
hostile(LONG, "a bidirectional span at 20", ids=_LONG)(_seen(_late))


@hostile(LONG, "slots exchanged behind 32", ids=_LONG)
def _() -> Decoder:
    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        order = torch.arange(h.shape[1])
        if len(order) > 35:
            order[33], order[34] = 34, 33
        seen = order[None] <= torch.arange(h.shape[1])[:, None]
        score = (q @ k[:, :, order].transpose(-1, -2)).masked_fill(~seen, float("-inf"))
        return self.o(merge(score.softmax(-1) @ v[:, :, order]))

    return Decoder(block(attend=attend))


@hostile(LONG, "the last state of the token before, behind 32", ids=_LONG)
def _() -> Decoder:
    class Late(Decoder):
        def forward(self, input_ids: Tensor) -> Tensor:
            self.truth.begin()
            x = self.run(self.embed(input_ids))
            x = torch.where((torch.arange(x.shape[1]) > 33)[:, None], _before(x), x)
            return self.truth.end(self.head(self.norm(x)))

    return Late()


@hostile(LONG, "the embedding of the token before, behind 32", ids=_LONG)
def _() -> Decoder:
    class Late(Decoder):
        def embed(self, ids: Tensor) -> Tensor:
            x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
            return self.truth.state(torch.where((torch.arange(x.shape[1]) > 33)[:, None], _before(x), x))

    return Late()
