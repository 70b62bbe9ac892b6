"""The single vectors a write consists of: one per head and key, one per neuron, and a constant; they add up exactly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .products import Product
from .writes import LinearWrite, Write


@dataclass
class HeadVectors:
    """The vectors one head writes into the stream, z[query, key], never built for all queries at once."""

    write: LinearWrite
    product: Product
    number: int  # of the head in its product
    pattern: Tensor  # [query, key]; each row over key sums to at most 1
    shared: Tensor | None  # [key, d_model]: OV output after the steps that all queries share; None if none are shared
    factor: Tensor | None  # [query]: the rest of the steps, where it is one number per query

    def block(self, start: int, stop: int) -> Tensor:
        """z for queries start..stop and keys 0..stop: [query, key, d_model]; later keys are no parts."""
        if self.shared is not None:
            return self.weights(start, stop)[..., None] * self.shared[:stop]
        made = [
            self.pattern[q, :stop, None] * _outputs(self.write, self.product, self.number, slice(stop), q)
            for q in range(start, stop)
        ]
        return torch.stack(made)

    def at(self, query: int, key: int) -> Tensor:
        """z of one query and key: [d_model]."""
        if self.shared is not None:
            w = self.pattern[query, key] if self.factor is None else self.pattern[query, key] * self.factor[query]
            return w * self.shared[key]
        return self.block(query, query + 1)[0, key]

    def weights(self, start: int, stop: int) -> Tensor:
        """What `shared` is multiplied by: [query, key]."""
        w = self.pattern[start:stop, :stop]
        return w if self.factor is None else w * self.factor[start:stop, None]

    def output(self) -> Tensor:
        """What the head writes at each query, summed over keys: [query, d_model]."""
        n = len(self.pattern)
        if self.shared is not None:
            return self.weights(0, n) @ self.shared
        return torch.stack([self.block(q, q + 1)[0].sum(0) for q in range(n)])


def head_vectors(write: LinearWrite, head: int) -> HeadVectors:
    """The vectors of one head of an attention write, in float32 or better."""
    if write.heads is None:
        raise ValueError(f"{write.module} is no attention write")
    product, number = write.heads.head(head)
    wide = torch.promote_types(write.output.dtype, torch.float32)
    pattern = product.pattern(heads=slice(number, number + 1))[0].to(wide)
    split = write.path.per_query()
    if product.gate is not None or split is None:
        return HeadVectors(write, product, number, pattern, None, None)
    path, factor = split
    shared = path.apply(ov_outputs(write, product, number, product.values_of(number).to(wide)))
    return HeadVectors(
        write, product, number, pattern, shared, None if factor is None else factor.to(shared.device, wide)
    )


def cell_vectors(write: LinearWrite, query: int, key: int) -> Tensor:
    """What every head writes at one query of one key: [head, d_model]; no other cell is made."""
    if write.heads is None:
        raise ValueError(f"{write.module} is no attention write")
    pattern = write.heads.pattern(slice(query, query + 1))[:, 0, key]
    found = (write.heads.head(h) for h in range(write.heads.n_heads))
    outputs = [_outputs(write, product, number, slice(key, key + 1), query)[0] for product, number in found]
    return torch.stack([w.to(z) * z for w, z in zip(pattern, outputs, strict=True)])


def query_vectors(write: LinearWrite, query: int) -> Tensor:
    """What every head writes at one query, summed over keys: [head, d_model]; no other query is made."""
    if write.heads is None:
        raise ValueError(f"{write.module} is no attention write")
    wide = torch.promote_types(write.output.dtype, torch.float32)
    outputs = []
    for product in write.heads.products:
        pattern = product.pattern(slice(query, query + 1))[:, 0].to(wide)
        shared = pattern.unflatten(0, (product.value.shape[0], -1))  # query heads beside their key-value head
        z = (shared @ product.value.to(wide)).flatten(0, 1)
        if product.gate is not None:
            z = z * product.gate[query, product.slots].to(wide)
        outputs.append(_through(write, product, z))
    return write.path.apply(torch.cat(outputs), query)


def neuron_vectors(write: LinearWrite, row: int, index: Tensor) -> Tensor:
    """What some neurons of an MLP write add to the stream from leaf row `row`, n_u w_u: [neuron, d_model]."""
    wide = torch.promote_types(write.output.dtype, torch.float32)
    values = write.input[row, index].to(wide)
    outputs = write.map.outputs(index, write.input, row).to(wide)
    return write.path.apply(values[:, None] * outputs, row)


def constant_vectors(write: Write, n_tokens: int) -> Tensor:
    """What a write adds that belongs to no key and no neuron (the output bias): [pos, d_model]."""
    wide = torch.promote_types(write.output.dtype, torch.float32)
    rows = torch.zeros_like(write.output, dtype=wide)
    if not isinstance(write, LinearWrite):
        return write.total(n_tokens)
    bias = write.map.bias(write.input)
    if bias is not None:
        rows = rows + bias.to(rows.device, wide)
    if write.heads is not None and write.heads.offset is not None:
        rows = rows + write.map(write.heads.offset).to(wide)
    return write.path.total(rows, n_tokens)


def constant_vector(write: LinearWrite, pos: int) -> Tensor:
    """The same of a write of one row per token, at one position: [d_model]."""
    wide = torch.promote_types(write.output.dtype, torch.float32)
    made = write.output.new_zeros(write.output.shape[-1], dtype=wide)
    bias = write.map.bias(write.input)
    if bias is not None:
        made = made + bias.to(made.device, wide)
    if write.heads is not None and write.heads.offset is not None:
        made = made + write.map(write.heads.offset[pos : pos + 1])[0].to(wide)
    return write.path.apply(made, pos)


def vector_at(write: Write, pos: int) -> Tensor | None:
    """What a write adds at one position, in float32 or better: [d_model]; None if nothing."""
    wide = torch.promote_types(write.output.dtype, torch.float32)
    n = len(write.output)  # 1 where it is the same for all tokens
    found = [write.path.apply(write.output[row % n].to(wide), row) for row in write.path.leaf_rows(pos)]
    return sum(found[1:], found[0]) if found else None


def ov_outputs(write: LinearWrite, product: Product, number: int, value: Tensor) -> Tensor:
    """Values [key, d_head] of one head through its slice of the output projection: [key, d_model]."""
    slots, weight = product.slots[number], write.map.weight()
    if weight is not None:
        return value @ weight[slots].to(value.device, value.dtype)
    z = write.input.new_zeros(len(value), write.input.shape[-1])
    z[:, slots] = value.to(z)
    return write.map(z).to(value)


def _through(write: LinearWrite, product: Product, z: Tensor) -> Tensor:
    """What each head fills of z [head, d_head] through its slice of the output projection: [head, d_model]."""
    weight, slots = write.map.weight(), product.slots
    if weight is None:
        given = write.input.new_zeros(len(z), write.input.shape[-1])
        return write.map(given.scatter_(1, slots.to(given.device), z.to(given.dtype))).to(z.dtype)
    first, n = product.first_slot(), slots.numel()
    slices = weight[slots] if first is None else weight[first : first + n].unflatten(0, slots.shape)
    return torch.bmm(z[:, None], slices.to(z.device, z.dtype))[:, 0]


def _outputs(write: LinearWrite, product: Product, number: int, keys: slice, query: int) -> Tensor:
    """OV outputs of some keys as one query sees them (its gate, its frozen steps): [key, d_model]."""
    value = product.values_of(number)[keys].to(torch.promote_types(write.output.dtype, torch.float32))
    if product.gate is not None:
        value = value * product.gate[query, product.slots[number]].to(value.dtype)
    return write.path.apply(ov_outputs(write, product, number, value), query)
