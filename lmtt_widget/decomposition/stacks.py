"""Which modules of a model are its layers; where a layer is none, the pieces that it is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from .modules import modules_of
from .writes import UndecomposableError


def find_layers(model: nn.Module) -> list[nn.Module]:
    """The decoder layers: of a list not inside another, as long as the config says, where most parameters are.

    Lists of the same kinds of layers belong to it (a model of several stacks). Where the pieces of a layer stand in
    lists side by side (attention in one, MLPs in another), all pieces, layer by layer.

    Raises UndecomposableError if there is none.
    """
    config: Any = getattr(model, "config", None)
    if hasattr(config, "get_text_config"):
        config = config.get_text_config(decoder=True)
    lengths = {
        getattr(config, k, None) for k in ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers")
    }
    get_decoder: Any = getattr(model, "get_decoder", None)
    decoder = get_decoder() if get_decoder is not None else None
    lists = (_outer_lists(decoder) if isinstance(decoder, nn.Module) else []) or _outer_lists(model)
    if not lists:
        raise UndecomposableError(f"{type(model).__name__}: no list of decoder layers found; pass layers=...")
    size = lambda c: (len(c) in lengths, sum(p.numel() for p in c.parameters()))  # noqa: E731
    best = max(lists, key=size) if len(lists) > 1 else lists[0]
    beside = _beside(model, best)
    if beside:
        return [piece for layer in zip(*beside, strict=True) for piece in layer]
    kinds = {type(m) for m in best}
    return [m for c in lists if {type(m) for m in c} == kinds for m in c]


def pieces(modules: Iterable[nn.Module], layers: Sequence[nn.Module]) -> dict[nn.Module, int]:
    """The number of the layer that each of these modules is a piece of; none if they are whole layers."""
    place = {m: k for c in modules if isinstance(c, nn.ModuleList) for k, m in enumerate(c)}
    numbers = [place.get(m, -1) for m in layers]
    side_by_side = numbers == sorted(numbers) and 1 < len(set(numbers)) < len(numbers)
    return dict(zip(layers, numbers, strict=True)) if side_by_side else {}


def _beside(model: nn.Module, best: nn.ModuleList) -> list[nn.ModuleList]:
    """The lists that the pieces of a layer stand in, if at least two of them hold more than norms."""
    parent = next(m for m in modules_of(model) if any(c is best for c in m._modules.values()))
    lists = [c for c in parent.children() if isinstance(c, nn.ModuleList) and len(c) == len(best)]
    kinds = [{type(m) for m in c} for c in lists if _holds_blocks(c)]
    return lists if len(best) > 1 and any(k.isdisjoint(kinds[0]) for k in kinds) else []


def _outer_lists(root: nn.Module) -> list[nn.ModuleList]:
    found, stack = [], [root]
    while stack:
        for child in stack.pop().children():
            if not isinstance(child, nn.ModuleList):
                stack.append(child)
            elif _holds_blocks(child):
                found.append(child)
    return found


def _holds_blocks(modules: nn.ModuleList) -> bool:
    return len(modules) > 0 and all(any(m.children()) for m in modules)
