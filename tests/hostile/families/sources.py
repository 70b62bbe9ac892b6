"""Branches that read another state than they seem to, several states, or the tokens; several branches at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import D_MLP, HEADS, Block, D, Decoder, block, decoder, hostile, merge

READS = "which state is read"
BRANCHES = "several MLP branches into one state"


class Both(Decoder):
    """Every layer also gets the embedding, the states and the tokens that were before it."""

    def run(self, x: Tensor) -> Tensor:
        earlier = [x]
        for layer in self.layers:
            layer.earlier = earlier
            x = layer(x)
            earlier = [*earlier, x]
        return x

    def embed(self, ids: Tensor) -> Tensor:
        for layer in self.layers:
            layer.ids = ids
        return super().embed(ids)


def _both(**methods: Any) -> Callable[[], Decoder]:
    return lambda: Both(block(**methods))


def _attend(q_from: str, k_from: str, v_from: str, sdpa: bool = False, told: bool = True) -> Any:
    """Attention whose queries, keys and values come from h, the normalised embedding, or both."""

    def attend(self: Any, h: Tensor) -> Tensor:
        first = self.norm1(self.earlier[0])
        of = {"here": h, "first": first, "both": h + first, "before": self.norm1(self.earlier[max(0, self.number - 1)])}
        q, k, v = (self.split(f(of[n])) for f, n in ((self.q, q_from), (self.k, k_from), (self.v, v_from)))
        pattern = self.pattern(q, k)
        if told:
            self.tell(pattern, v)
        return self.o(merge(F.scaled_dot_product_attention(q, k, v, is_causal=True) if sdpa else pattern @ v))

    return attend


for _sdpa in (False, True):
    _under = ", under sdpa" if _sdpa else ""
    hostile(READS, f"values from the embedding{_under}")(_both(attend=_attend("here", "here", "first", _sdpa)))
    hostile(READS, f"keys from the embedding{_under}")(_both(attend=_attend("here", "first", "here", _sdpa)))
    hostile(READS, f"keys and values from the embedding{_under}")(
        _both(attend=_attend("here", "first", "first", _sdpa))
    )
    hostile(READS, f"queries from the embedding{_under}")(_both(attend=_attend("first", "here", "here", _sdpa)))
    hostile(READS, f"values from two states{_under}")(_both(attend=_attend("here", "here", "both", _sdpa)))
    hostile(READS, f"values from the layer before{_under}")(_both(attend=_attend("here", "here", "before", _sdpa)))


def _shared_kv(self: Any, h: Tensor) -> Tensor:
    q, k = self.split(self.q(h)), self.split(self.k(h))
    pattern = self.pattern(q, k)
    self.tell(pattern, k)
    return self.o(merge(pattern @ k))


def _shared_kv_sdpa(self: Any, h: Tensor) -> Tensor:
    q, k = self.split(self.q(h)), self.split(self.k(h))
    self.tell(self.pattern(q, k), k)
    return self.o(merge(F.scaled_dot_product_attention(q, k, k, is_causal=True)))


hostile(READS, "keys are the values")(decoder(attend=_shared_kv))
hostile(READS, "keys are the values, under sdpa")(decoder(attend=_shared_kv_sdpa))


def _reused(copy: Callable[[Tensor], Tensor], sdpa: bool) -> Any:
    """Every layer attends to the keys and values that the first one made."""

    def attend(self: Any, h: Tensor) -> Tensor:
        q = self.split(self.q(h))
        if self.number == 0:
            self.owner.kept = self.split(self.k(h)), self.split(self.v(h))
        k, v = (copy(x) for x in self.owner.kept)
        pattern = self.pattern(q, k)
        self.tell(pattern, v)
        return self.o(merge(F.scaled_dot_product_attention(q, k, v, is_causal=True) if sdpa else pattern @ v))

    return attend


class Owner:
    kept: Any = None


class Reusing(Decoder):
    def more(self) -> None:
        owner = Owner()
        for layer in self.layers:
            layer.owner = owner


for _way, _copy in {
    "as they are": lambda x: x,
    "cloned": lambda x: x.clone(),
    "through .contiguous() of an expanded one": lambda x: x[:, :1].expand(-1, HEADS, -1, -1).contiguous(),
    "through repeat_interleave": lambda x: x[:, :1].repeat_interleave(HEADS, 1),
    "cast to float32 and back": lambda x: x.float().double(),
    "through cat with nothing": lambda x: torch.cat([x[:, :, :0], x], 2),
}.items():
    for _sdpa in (False, True):
        hostile(READS, f"keys and values of the first layer, {_way}{', under sdpa' if _sdpa else ''}")(
            lambda c=_copy, s=_sdpa: Reusing(block(attend=_reused(c, s)))
        )


def _mlp_of(make: Callable[[Any, Tensor], Tensor]) -> Any:
    return lambda self, h: self.down(F.gelu(self.up(make(self, h))))


for _way, _make in {
    "MLP that reads the embedding": lambda self, h: self.norm2(self.earlier[0]),
    "MLP that reads the embedding, detached": lambda self, h: self.norm2(self.earlier[0].detach()),
    "MLP that reads the embedding, cloned": lambda self, h: self.norm2(self.earlier[0].clone()),
    "MLP that reads the embedding through numpy": lambda self, h: self.norm2(
        torch.from_numpy(self.earlier[0].detach().numpy().copy())
    ),
    "MLP that reads the layer's input": lambda self, h: self.norm2(self.earlier[-1]),
    "MLP that reads two states, summed": lambda self, h: h + self.norm2(self.earlier[0]),
    "MLP that reads two states, multiplied": lambda self, h: h * self.norm2(self.earlier[0]).sigmoid(),
    "MLP that reads the difference of two states": lambda self, h: h - self.norm2(self.earlier[-1]),
    "MLP that reads a mean of all states": lambda self, h: torch.stack([h, *self.earlier]).mean(0),
    "MLP that reads the tokens and its state": lambda self, h: h + self.table(self.ids),
    "MLP that reads the sign of the embedding": lambda self, h: h + self.earlier[0].sign(),
    "MLP that reads the largest coordinate's place in the embedding": lambda self, h: (
        h + self.table(self.earlier[0].argmax(-1))
    ),
}.items():
    hostile(READS, _way)(_both(feed=_mlp_of(_make), more=lambda self: setattr(self, "table", nn.Embedding(23, D))))


def _gated_by(make: Callable[[Any, Tensor], Tensor]) -> Any:
    return lambda self, h: self.down(F.gelu(self.up(h)) * self.gate(make(self, h)).sigmoid())


def _with_gate(self: Any) -> None:
    self.gate = nn.Linear(D, D_MLP)


hostile(READS, "gate from the embedding")(_both(feed=_gated_by(lambda self, h: self.earlier[0]), more=_with_gate))
hostile(READS, "gate from the layer's input")(_both(feed=_gated_by(lambda self, h: self.earlier[-1]), more=_with_gate))


@hostile(READS, "values mixed with those of the first layer")
def _() -> Decoder:
    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        if self.number == 0:
            self.owner.kept = v
        v = 0.5 * v + 0.5 * self.owner.kept
        pattern = self.pattern(q, k)
        self.tell(pattern, v)
        return self.o(merge(pattern @ v))

    return Reusing(block(attend=attend))


@hostile(READS, "values with embeddings of their tokens")
def _() -> Decoder:
    def attend(self: Any, h: Tensor) -> Tensor:
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h) + self.table(self.ids))
        pattern = self.pattern(q, k)
        self.tell(pattern, v)
        return self.o(merge(pattern @ v))

    return _both(attend=attend, more=lambda self: setattr(self, "table", nn.Embedding(23, D)))()


def _stream(change: Callable[[Any, Tensor], tuple[Tensor, dict[str, Tensor]]]) -> Callable[[], Decoder]:
    """What is done to the stream before each layer, and what that adds by name."""

    class Changed(Both):
        def run(self, x: Tensor) -> Tensor:
            self.past = [x]
            for layer in self.layers:
                layer.earlier = self.past
                y, added = change(self, x)
                for name, v in added.items():
                    self.truth.write(name, v)
                x = layer(self.truth.state(y))
                self.past.append(x)
            return x

    return Changed


hostile(READS, "the embedding added before every layer")(
    _stream(lambda self, x: (x + 0.5 * self.past[0], {"skip": 0.5 * self.past[0]}))
)
hostile(READS, "a mean of all states before every layer")(
    _stream(
        lambda self, x: (
            torch.stack(self.past).mean(0),
            {f"skip {i}": y / len(self.past) for i, y in enumerate(self.past[:-1])}
            | {"rest": x / len(self.past) - x if len(self.past) > 1 else 0 * x},
        )
    )
)
hostile(READS, "the embedding of the token before, added before every layer")(
    _stream(lambda self, x: (x + F.pad(self.past[0], (0, 0, 1, -1)), {"shift": F.pad(self.past[0], (0, 0, 1, -1))}))
)


# ---- branches ----


def _branches(feed: Callable[[Any, Tensor], list[Tensor]], **sizes: int) -> Callable[[], Decoder]:
    def more(self: Any) -> None:
        for name, n in ({"one": D_MLP, "two": D_MLP, "three": D_MLP} | sizes).items():
            setattr(self, f"up_{name}", nn.Linear(D, n))
            setattr(self, f"down_{name}", nn.Linear(n, D))
        self.gate, self.router = nn.Linear(D, D_MLP), nn.Linear(D, 3)

    def forward(self: Any, x: Tensor) -> Tensor:
        a = self.attend(self.norm1(x))
        self.truth.write("attention", a)
        x = self.truth.state(x + a)
        out = x
        for i, y in enumerate(feed(self, self.norm2(x))):
            self.truth.write(f"branch {i}", y)
            out = out + y
        return self.truth.state(out)

    return decoder(more=more, forward=forward)


def _dense(self: Any, name: str, h: Tensor) -> Tensor:
    return getattr(self, f"down_{name}")(F.gelu(getattr(self, f"up_{name}")(h)))


def _gated(self: Any, name: str, h: Tensor) -> Tensor:
    return getattr(self, f"down_{name}")(F.silu(self.gate(h)) * getattr(self, f"up_{name}")(h))


def _soft(self: Any, h: Tensor) -> list[Tensor]:
    w = self.router(h).softmax(-1)
    return [w[..., i : i + 1] * _dense(self, n, h) for i, n in enumerate(("one", "two", "three"))]


def _routed(self: Any, h: Tensor) -> list[Tensor]:
    x, out = h[0], torch.zeros_like(h[0])
    chosen = self.router(x)[:, :2].argmax(-1)
    for i, name in enumerate(("two", "three")):
        token = (chosen == i).nonzero()[:, 0]
        out.index_add_(0, token, _dense(self, name, x[token]))
    return [_dense(self, "one", h), out[None]]


hostile(BRANCHES, "two dense ones")(_branches(lambda self, h: [_dense(self, "one", h), _dense(self, "two", h)]))
hostile(BRANCHES, "three dense ones")(_branches(lambda self, h: [_dense(self, n, h) for n in ("one", "two", "three")]))
hostile(BRANCHES, "two of different widths")(
    _branches(lambda self, h: [_dense(self, "one", h), _dense(self, "two", h)], two=31)
)
hostile(BRANCHES, "a gated and a plain one")(
    _branches(lambda self, h: [_gated(self, "one", h), _dense(self, "two", h)])
)
hostile(BRANCHES, "a soft mixture of all experts")(_branches(_soft))
hostile(BRANCHES, "a shared expert beside routed ones")(_branches(_routed))
hostile(BRANCHES, "the same one twice")(_branches(lambda self, h: [_dense(self, "one", h), _dense(self, "one", 2 * h)]))
hostile(BRANCHES, "the same down, two ups")(
    _branches(lambda self, h: [_dense(self, "one", h), self.down_one(torch.tanh(self.up_two(h)))])
)
hostile(BRANCHES, "a linear one beside a deep one")(
    _branches(lambda self, h: [_dense(self, "one", h), self.down_two(self.up_two(h))])
)
hostile(BRANCHES, "one that reads tokens before, beside a dense one")(
    _branches(lambda self, h: [_dense(self, "one", h), _dense(self, "two", F.pad(h, (0, 0, 1, -1)))])
)
hostile(BRANCHES, "one subtracted from the other")(
    _branches(lambda self, h: [_dense(self, "one", h), -_dense(self, "two", h)])
)


class Named(Block):
    """Branches whose names look like numbers of experts."""

    def more(self) -> None:
        make = lambda n: nn.ModuleDict({"up": nn.Linear(D, n), "down": nn.Linear(n, D)})  # noqa: E731
        self.experts = nn.ModuleDict(
            {"group1": nn.ModuleDict({"a": make(D_MLP), "b": make(31)}), "group12": make(D_MLP)}
        )

    def forward(self, x: Tensor) -> Tensor:
        a = self.attend(self.norm1(x))
        self.truth.write("attention", a)
        x = self.truth.state(x + a)
        h, out = self.norm2(x), x
        for e in (self.experts["group1"]["a"], self.experts["group1"]["b"], self.experts["group12"]):
            y = e["down"](F.gelu(e["up"](h)))
            self.truth.write("branch", y)
            out = out + y
        return self.truth.state(out)


hostile(BRANCHES, "experts whose names share a number")(lambda: Decoder(Named))


@hostile(BRANCHES, "experts in two groups, each numbered from 0")
def _() -> Decoder:
    class Grouped(Block):
        def more(self) -> None:
            self.groups = nn.ModuleList(
                nn.ModuleDict({"experts": nn.ModuleList(
                    nn.ModuleDict({"up": nn.Linear(D, D_MLP), "down": nn.Linear(D_MLP, D)}) for _ in range(2)
                )}) for _ in range(2)
            )  # fmt: skip
            self.routers = nn.ModuleList(nn.Linear(D, 2) for _ in range(2))

        def feed(self, h: Tensor) -> Tensor:
            x, out = h[0], torch.zeros_like(h[0])
            for group, router in zip(self.groups, self.routers, strict=True):
                w, chosen = router(x).softmax(-1).max(-1)
                for i, e in enumerate(group["experts"]):  # type: ignore[arg-type]
                    token = (chosen == i).nonzero()[:, 0]
                    out.index_add_(0, token, e["down"](F.gelu(e["up"](x[token]))) * w[token, None])
            return out[None]

    return Decoder(Grouped)


@hostile(BRANCHES, "experts by one batched product")
def _() -> Decoder:
    class Batched(Block):
        def more(self) -> None:
            self.w_in, self.w_out = nn.Parameter(torch.randn(3, D, D_MLP)), nn.Parameter(torch.randn(3, D_MLP, D))
            self.router = nn.Linear(D, 3)

        def feed(self, h: Tensor) -> Tensor:
            each = torch.bmm(F.gelu(torch.bmm(h.expand(3, -1, -1), self.w_in)), self.w_out)  # [expert, pos, d]
            return (each * self.router(h[0]).softmax(-1).t()[..., None]).sum(0)[None]

    return Decoder(Batched)


@hostile(BRANCHES, "experts by one einsum")
def _() -> Decoder:
    class Batched(Block):
        def more(self) -> None:
            self.w_in, self.w_out = nn.Parameter(torch.randn(3, D, D_MLP)), nn.Parameter(torch.randn(3, D_MLP, D))
            self.router = nn.Linear(D, 3)

        def feed(self, h: Tensor) -> Tensor:
            act = F.gelu(torch.einsum("btd,edn->bten", h, self.w_in))
            return torch.einsum("bten,end,bte->btd", act, self.w_out, self.router(h).softmax(-1))

    return Decoder(Batched)


@hostile(BRANCHES, "an MLP inside an MLP")
def _() -> Decoder:
    class Nested(Block):
        def more(self) -> None:
            self.up2, self.down2 = nn.Linear(D, D_MLP), nn.Linear(D_MLP, D)

        def feed(self, h: Tensor) -> Tensor:
            y = h + self.down(F.gelu(self.up(h)))
            return self.down2(F.gelu(self.up2(y)))

    return Decoder(Nested)


@hostile(BRANCHES, "attention and MLP through one map (as ViT-22B)")
def _() -> Decoder:
    class Fused(Block):
        def more(self) -> None:
            self.out = nn.Linear(D + D_MLP, D)

        def forward(self, x: Tensor) -> Tensor:
            h = self.norm1(x)
            q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
            pattern = self.pattern(q, k)
            y = self.out(torch.cat([merge(pattern @ v), F.gelu(self.up(h))], -1))
            self.truth.write("both", y)
            return self.truth.state(x + y)

    return Decoder(Fused)
