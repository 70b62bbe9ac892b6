"""MLPs, gates and skips that read other tokens than their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import D_MLP, D, Decoder, block, decoder, hostile

FAMILY = "MLPs that read other tokens"
AFTER = "mixing behind the activation, or in a factor"


def _rolled_by_index(h: Tensor) -> Tensor:
    before = (torch.arange(h.shape[1]) - 1).clamp_min(0)
    return h[:, before]


def _gathered(h: Tensor) -> Tensor:
    before = (torch.arange(h.shape[1]) - 1).clamp_min(0)
    return h.gather(1, before[None, :, None].expand_as(h))


def _strided(h: Tensor) -> Tensor:
    padded = torch.cat([torch.zeros_like(h[:, :1]), h], 1).contiguous()
    return padded.as_strided(h.shape, h.stride())


def _unfolded(h: Tensor) -> Tensor:
    return F.pad(h, (0, 0, 2, 0)).unfold(1, 3, 1).mean(-1)


def _running_mean(h: Tensor) -> Tensor:
    n = torch.arange(1, h.shape[1] + 1, dtype=h.dtype)[:, None]
    return h.cumsum(1) / n


def _mean_by_matrix(h: Tensor) -> Tensor:
    n = h.shape[1]
    return torch.ones(n, n, dtype=h.dtype).tril() @ h / n


def _mean_by_einsum(h: Tensor) -> Tensor:
    n = h.shape[1]
    return torch.einsum("qk,bkd->bqd", torch.ones(n, n, dtype=h.dtype).tril() / n, h)


def _scan(h: Tensor) -> Tensor:
    out, s = [], torch.zeros_like(h[:, 0])
    for t in range(h.shape[1]):
        s = 0.5 * s + h[:, t]
        out.append(s)
    return torch.stack(out, 1)


def _scan_in_place(h: Tensor) -> Tensor:
    out = h.clone()
    for t in range(1, h.shape[1]):
        out[:, t] += 0.5 * out[:, t - 1]
    return out


def _shift_in_place(h: Tensor) -> Tensor:
    out = torch.zeros_like(h)
    out[:, 1:] = h[:, :-1]
    return out


def _half_shifted(h: Tensor) -> Tensor:
    """RWKV's and Token Shift's: half of the coordinates from the token before."""
    a, b = h.chunk(2, -1)
    return torch.cat([a, F.pad(b, (0, 0, 1, -1))], -1)


def _sorted_tokens(h: Tensor) -> Tensor:
    return h.sort(1).values


def _largest_so_far(h: Tensor) -> Tensor:
    return h.cummax(1).values


def _one_pair(h: Tensor) -> Tensor:
    out = h.clone()
    out[:, 5] = h[:, 5] + h[:, 2]
    return out


def _first_token(h: Tensor) -> Tensor:
    return h + h[:, :1]


def _batch_normed(h: Tensor) -> Tensor:
    return (h - h.mean(1, keepdim=True)) / (h.var(1, keepdim=True) + 1)


def _even_from_odd(h: Tensor) -> Tensor:
    return h.view(1, -1, D)[:, (torch.arange(h.shape[1]) // 2) * 2]


def _split_joined(h: Tensor) -> Tensor:
    first, rest = h.split([h.shape[1] - 1, 1], 1)
    return torch.cat([torch.zeros_like(rest), first], 1)


def _flat_shift(h: Tensor) -> Tensor:
    """Every number one place further: the first coordinate of a token comes from the token before."""
    flat = h.flatten(1)
    return torch.cat([torch.zeros_like(flat[:, :1]), flat[:, :-1]], 1).view_as(h)


def _by_masked_select(h: Tensor) -> Tensor:
    n = h.shape[1]
    keep = torch.arange(n) < n - 1
    return torch.cat([torch.zeros_like(h[:, :1]), h.masked_select(keep[None, :, None]).view(1, n - 1, -1)], 1)


def _by_take(h: Tensor) -> Tensor:
    at = (torch.arange(h.numel()) - D).clamp_min(0)
    return torch.take(h, at).view_as(h)


def _by_scatter(h: Tensor) -> Tensor:
    to = (torch.arange(h.shape[1]) + 1).clamp_max(h.shape[1] - 1)
    return torch.zeros_like(h).scatter_add(1, to[None, :, None].expand_as(h), h)


def _by_index_add(h: Tensor) -> Tensor:
    to = (torch.arange(h.shape[1]) + 1).clamp_max(h.shape[1] - 1)
    return torch.zeros_like(h).index_add(1, to, h)


def _by_fold(h: Tensor) -> Tensor:
    return F.avg_pool1d(F.pad(h.transpose(1, 2), (1, 0)), 2, 1).transpose(1, 2)


def _by_fft(h: Tensor) -> Tensor:
    n = h.shape[1]
    kernel = torch.tensor([0.0, 1.0] + [0.0] * (2 * n - 2), dtype=h.dtype)
    return torch.fft.irfft(torch.fft.rfft(h, 2 * n, dim=1) * torch.fft.rfft(kernel)[:, None], 2 * n, dim=1)[:, :n]


def _by_conv_weight(h: Tensor) -> Tensor:
    return F.conv1d(F.pad(h.transpose(1, 2), (2, 0)), torch.ones(D, 1, 3, dtype=h.dtype), groups=D).transpose(1, 2)


def _by_bilinear(h: Tensor) -> Tensor:
    return F.interpolate(F.pad(h.transpose(1, 2), (1, -1)), size=h.shape[1], mode="nearest").transpose(1, 2)


def _kron(h: Tensor) -> Tensor:
    n = h.shape[1]
    return torch.tensordot(torch.eye(n, dtype=h.dtype).roll(1, 0).tril(), h, dims=([1], [1])).transpose(0, 1)


MIXES: dict[str, Callable[[Tensor], Tensor]] = {
    "shift by cat": lambda h: torch.cat([torch.zeros_like(h[:, :1]), h[:, :-1]], 1),
    "shift by pad": lambda h: F.pad(h, (0, 0, 1, -1)),
    "shift by pad, half of the coordinates": _half_shifted,
    "shift by roll and mask": lambda h: h.roll(1, 1) * (torch.arange(h.shape[1]) > 0)[:, None],
    "shift by getitem": _rolled_by_index,
    "shift by gather": _gathered,
    "shift by index_select": lambda h: h.index_select(1, (torch.arange(h.shape[1]) - 1).clamp_min(0)),
    "shift by take_along_dim": lambda h: h.take_along_dim(
        (torch.arange(h.shape[1]) - 1).clamp_min(0)[None, :, None], 1
    ),
    "shift by take": _by_take,
    "shift by as_strided": _strided,
    "shift by narrow and cat": lambda h: torch.cat([h.narrow(1, 0, 1), h.narrow(1, 0, h.shape[1] - 1)], 1),
    "shift by split and cat": _split_joined,
    "shift by assignment": _shift_in_place,
    "shift by masked_select": _by_masked_select,
    "shift by scatter_add": _by_scatter,
    "shift by index_add": _by_index_add,
    "shift by fft": _by_fft,
    "shift by tensordot": _kron,
    "shift of the flat numbers": _flat_shift,
    "shift by one step of interpolate": _by_bilinear,
    "mean of three by unfold": _unfolded,
    "mean of two by avg_pool1d": _by_fold,
    "sum of three by conv1d": _by_conv_weight,
    "running mean by cumsum": _running_mean,
    "mean by a matrix": _mean_by_matrix,
    "mean by einsum with a mask": _mean_by_einsum,
    "scan with stack": _scan,
    "scan in place": _scan_in_place,
    "largest so far": _largest_so_far,
    "the first token for all": _first_token,
    "one pair of tokens only": _one_pair,
    "even tokens for odd ones": _even_from_odd,
    "all tokens: mean": lambda h: h - h.mean(1, keepdim=True),
    "all tokens: softmax over them": lambda h: h.softmax(1) * h.shape[1],
    "all tokens: batch norm": _batch_normed,
    "all tokens: instance norm": lambda h: F.instance_norm(h.transpose(1, 2)).transpose(1, 2),
    "all tokens: sorted": _sorted_tokens,
    "all tokens: reversed": lambda h: h.flip(1),
}


def _mixed(mix: Callable[[Tensor], Tensor]) -> Any:
    return lambda self, h: self.down(F.gelu(self.up(mix(h))))


for _way, _mix in MIXES.items():
    hostile(FAMILY, _way)(decoder(feed=_mixed(_mix)))


def _recurrent(kind: type[nn.Module]) -> Any:
    def more(self: Any) -> None:
        self.rnn = kind(D, D_MLP, batch_first=True)

    return decoder(more=more, feed=lambda self, h: self.down(self.rnn(h)[0]))


hostile(FAMILY, "GRU")(_recurrent(nn.GRU))
hostile(FAMILY, "LSTM")(_recurrent(nn.LSTM))
hostile(FAMILY, "RNN")(_recurrent(nn.RNN))


@hostile(FAMILY, "Linear over tokens by transpose")
def _() -> Decoder:
    def more(self: Any) -> None:
        self.over = nn.Linear(7, 7, bias=False)

    def feed(self: Any, h: Tensor) -> Tensor:
        with torch.no_grad():
            self.over.weight.tril_()
        return self.down(F.gelu(self.over(self.up(h).mT).mT))

    return decoder(more=more, feed=feed)()


@hostile(FAMILY, "Linear over tokens as the last map (MLP-mixer)")
def _() -> Decoder:
    def more(self: Any) -> None:
        self.over = nn.Linear(7, 7, bias=False)

    def feed(self: Any, h: Tensor) -> Tensor:
        with torch.no_grad():
            self.over.weight.tril_()
        return self.over(F.gelu(h).mT).mT

    return decoder(more=more, feed=feed)()


@hostile(FAMILY, "experts with room for three tokens each")
def _() -> Decoder:
    """Which tokens an expert takes depends on who came before."""

    def more(self: Any) -> None:
        self.router = nn.Linear(D, 2)
        self.ups = nn.ModuleList(nn.Linear(D, D_MLP) for _ in range(2))
        self.downs = nn.ModuleList(nn.Linear(D_MLP, D) for _ in range(2))

    def feed(self: Any, h: Tensor) -> Tensor:
        x, out = h[0], torch.zeros_like(h[0])
        chosen = self.router(x).argmax(-1)
        for e in range(2):
            token = (chosen == e).nonzero()[:3, 0]
            out.index_add_(0, token, self.downs[e](F.gelu(self.ups[e](x[token]))))
        return out[None]

    return decoder(more=more, feed=feed)()


# ---- behind the activation, in gates and factors ----


def _after(mix: Callable[[Tensor], Tensor]) -> Any:
    return lambda self, h: self.down(mix(F.gelu(self.up(h))))


_LATER = {
    "activations shifted by cat": lambda a: torch.cat([torch.zeros_like(a[:, :1]), a[:, :-1]], 1),
    "activations averaged": lambda a: a.cumsum(1) / torch.arange(1, a.shape[1] + 1, dtype=a.dtype)[:, None],
    "activations sorted over tokens": lambda a: a.sort(1).values,
    "activations by cummax": lambda a: a.cummax(1).values,
    "activations divided by the largest of all tokens": lambda a: a / a.amax((0, 1), keepdim=True).clamp_min(0.1),
    "activations of the first token for all": lambda a: a[:, :1].expand_as(a),
    "k best of all tokens only": lambda a: a * (a >= a.flatten().topk(20).values[-1]),
}
for _way, _mix in _LATER.items():
    hostile(AFTER, _way)(decoder(feed=_after(_mix)))


def _gated(gate: Callable[[Any, Tensor], Tensor]) -> Any:
    def more(self: Any) -> None:
        self.gate = nn.Linear(D, D)

    return decoder(more=more, feed=lambda self, h: self.down(F.gelu(self.up(h))) * gate(self, h))


hostile(AFTER, "a factor on the MLP from the mean of the tokens")(
    _gated(lambda self, h: torch.sigmoid(self.gate(h.mean(1, keepdim=True))))
)
hostile(AFTER, "a factor on the MLP from the token before")(
    _gated(lambda self, h: torch.sigmoid(self.gate(F.pad(h, (0, 0, 1, -1)))))
)
hostile(AFTER, "a factor on the MLP from the last token")(_gated(lambda self, h: torch.sigmoid(self.gate(h[:, -1:]))))
hostile(AFTER, "a number per token from the softmax over tokens")(
    _gated(lambda self, h: self.gate(h)[..., :1].softmax(1))
)


@hostile(AFTER, "what is carried is scaled by the mean of the tokens")
def _() -> Decoder:
    def forward(self: Any, x: Tensor) -> Tensor:
        a = self.attend(self.norm1(x))
        self.truth.write("attention", a)
        x = self.truth.state(x + a)
        m = self.feed(self.norm2(x))
        self.truth.write("mlp", m)
        return self.truth.state(x * torch.sigmoid(x.mean((1, 2), keepdim=True)) + m)

    return Decoder(block(forward=forward))


@hostile(AFTER, "what is carried is normalised over tokens")
def _() -> Decoder:
    def forward(self: Any, x: Tensor) -> Tensor:
        a = self.attend(self.norm1(x))
        self.truth.write("attention", a)
        x = self.truth.state(x + a)
        m = self.feed(self.norm2(x))
        self.truth.write("mlp", m)
        return self.truth.state(x / x.std(1, keepdim=True) + m)

    return Decoder(block(forward=forward))
