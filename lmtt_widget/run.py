"""One forward pass, recorded, split into parts that add up, and checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from .decomposition.alone import Call, small
from .decomposition.forward import forward_logits, in_turn, readable
from .decomposition.layers import Change, best_recorded, find_layers, run_recorded
from .decomposition.nodes import Place
from .decomposition.readout import Readout
from .decomposition.restored import Undo, unharmed, whatever_happens
from .decomposition.vectors import constant_vectors, head_vectors
from .decomposition.writes import LayerState, LinearWrite, Recording, UndecomposableError
from .edited import changed
from .fidelity import Check, Fidelity, checked, checks_of, coarsest, dtype_of, numbers, own_check, tolerance
from .given import flag, integer, of_kind, one_of, place, told
from .interventions import Edit, as_read, checked_edits
from .known_labels import labels_of, look_ahead
from .labels import Probed, relabel
from .memory import Tidy, check_room
from .model import Model, Prompt
from .parts import Part, State, all_parts, assembled, named, state_of, wide
from .progress import Option, reported
from .tokens import Token

RECORDED = "record(model, prompt) makes one"  # said where a run is expected


@dataclass
class Run:
    """One prompt through one model. Positions index everything; there is no batch axis.

    >>> run.n_tokens, len(run.states)
    (14, 9)
    """

    model: Model
    prompt: Any
    token_ids: Tensor  # [pos]
    tokens: list[Token]
    roles: list[str | None]  # of each token, in chat prompts
    logits: Tensor  # [pos, d_vocab]
    states: list[State]
    parts: list[Part]  # by the state they enter; those without shares (constants, the embedding) last
    readout: Readout | None
    fidelity: Fidelity
    interventions: tuple[Edit, ...] = ()
    probed: Probed | None = field(default=None, repr=False)  # what its parts depend on
    call_by_call: bool = field(default=False, repr=False)  # also what TorchScript and C++ did inside was taped
    given_to: list[Call | None] = field(default_factory=list, repr=False, compare=False)  # layers, where that is small
    above: Any = field(default=None, repr=False, compare=False)  # how its layers were called, once effects asked for it
    asked: dict[Any, Any] = field(
        default_factory=dict, repr=False, compare=False
    )  # how scores of some layers were made

    @property
    def n_tokens(self) -> int:
        return len(self.token_ids)

    def value(self, state: int) -> Tensor:
        """A state in float32 or better: [pos, d_model]."""
        return wide(self.states[place(state, len(self.states), "state")].value)

    def carried(self, state: int) -> Tensor:
        """The carried state after its frozen steps, as it stands in `state`: [pos, d_model]."""
        s = self.states[place(state, len(self.states), "state")]
        if s.carried is None:
            raise ValueError("the embedding continues no earlier state")
        return s.path.apply(self.value(s.carried)).to(s.value.device)

    def carried_at(self, state: int, pos: int) -> Tensor:
        """The same at one position: [d_model]."""
        s = self.states[state]
        if s.carried is None or s.path.rows is not None:  # rows that move are no other token's concern
            return self.carried(state)[pos]
        return s.path.apply(wide(self.states[s.carried].value[pos]), pos).to(s.value.device)

    def part(self, kind: str, layer: int, module: str = "") -> Part:
        """The part of one kind in a layer: run.part("attention", layer=2).

        module: what its label contains, where there are several. Raises ValueError if there is none, or not one.

            >>> run.part("mlp", layer=3).state
            8
        """
        found = [p for p in self.parts if p.kind == kind and p.layer == layer and module in p.module]
        if len(found) != 1:
            here = ", ".join(f"{p.kind} {p.module}" for p in self.parts if p.layer == layer) or "no parts"
            raise ValueError(f"expected one {kind} part in layer {layer}, found {len(found)}; the layer has {here}")
        return found[0]

    def view(self, name: str, layer: int) -> State:
        """A state by its usual name: "resid_pre", "resid_mid" (sequential blocks only) or "resid_post" of a layer.

        Raises ValueError where the model has no such state.
        """
        layer = integer(layer, "layer", 0)
        here = [s for s in self.states if s.layer == layer]
        if not here:
            n_layers = 1 + max(s.layer or 0 for s in self.states)
            raise ValueError(f"layer must be in 0..{n_layers - 1}, got {layer}")
        if name == "resid_pre":
            return self.states[here[0].carried or 0]
        if name == "resid_post":
            return here[-1]
        if name == "resid_mid" and len(here) == 2:
            return here[0]
        if name == "resid_mid":
            raise ValueError(f"layer {layer} has {len(here)} states, so none of them is resid_mid")
        raise ValueError(f"a state is named resid_pre, resid_mid or resid_post, got {name!r}")

    def __repr__(self) -> str:
        text = "".join(t.text for t in self.tokens)
        sizes = f"{self.n_tokens} tokens, {len(self.states)} states, {len(self.parts)} parts"
        return f"Run({text!r}, {sizes}, {self.fidelity})"


def need_own(run: Run, part: Part) -> None:
    """Raises TypeError or ValueError unless the part is one of this run's."""
    of_kind(run, Run, "run", RECORDED)
    of_kind(part, Part, "part", "one of run.parts")
    if not (0 <= part.number < len(run.parts) and run.parts[part.number] is part):
        raise ValueError(f"{part!r} belongs to another recording; take it from run.parts of the run that is given")


@unharmed
def record(
    model: Model,
    prompt: Prompt | Run,
    *,
    interventions: Sequence[Edit] = (),
    strict: bool = True,
    check: Literal["sample", "all"] = "sample",
    probe: bool = True,
    force: bool = False,
    progress: Option = None,
) -> Run:
    """One ordinary forward pass of the model on a prompt, split into states and parts that add up.

    prompt: text (tokenised as the tokenizer does by default), token ids, or chat messages. A run of this model stands
    for its prompt; then interventions cost one pass instead of two.
    interventions: what is to be different in the pass. The run is drawn like any other: what was cut has no share,
    and its parts add up to what the model said.
    strict: refuse what cannot be split exactly; otherwise the missing remainder becomes a visible "rounding" part.
    check: sums of states are checked on all positions; attention and linear maps on three ("sample") or on all.
    probe: see once per model, in ten to forty more passes over at most 64 tokens, what each part depends on; hooks of
    your own run in these, too. False: believe what the tape says.
    force: record also what is likely to take more memory than the device has.
    progress(done, total) is called after every layer; None shows a bar when it takes more than a second,
    but not in a notebook; False tells nobody.

    A projection that rounds its own inputs (quantised activations) is not refused: what its heads miss is a "rounding"
    part, and the fidelity says so. Neither the result of the pass nor anything in the model is changed.

    Raises ValueError for a prompt the model cannot take or that is too long for the memory, a model in training mode,
    logits that are not finite, or an edit that would meet nothing;
    ForwardError (with the module) when the model itself fails; UndecomposableError (layer, module, reason) when parts
    do not add up. (Information flow routes: Ferrando & Voita 2024, arXiv:2403.00824.)

        >>> run = lmtt.record(model, prompt)
        >>> run.fidelity.exact
        True
    """
    of_kind(model, Model, "model", "load_model(...) makes one, also of a torch module")
    strict, probe, force = flag(strict, "strict"), flag(probe, "probe"), flag(force, "force")
    one_of(check, ("sample", "all"), "check")
    if not isinstance(interventions, (list, tuple)):
        raise TypeError(f"interventions must be a list of Edits, got {told(interventions)}")
    clean = prompt if isinstance(prompt, Run) and not prompt.interventions else None
    if isinstance(prompt, Run):
        if prompt.model.module is not model.module:
            raise ValueError("the run is of another model; pass its prompt")
        prompt = _prompt_of(prompt)
    if interventions and clean is None:
        clean = record(model, prompt, strict=strict, probe=probe, force=force, progress=progress)
    changes = _changes(clean, _alone(clean, interventions, strict)) if clean is not None and interventions else {}
    module = model.module
    if module.training:
        raise ValueError(
            "the model is in training mode, where dropout makes every pass different; call model.eval() first"
        )
    encoded = model.encode(prompt)
    n_tokens = len(encoded.ids)
    layers = list(model.layers if model.layers is not None else find_layers(module))
    if not force:
        check_room(module, layers, n_tokens, model.device)

    def visible(undo: Undo) -> tuple[list[str], Recording, Probed | None]:
        switched = readable(module, undo)
        with reported("recording", progress) as done:
            inputs = model.inputs(encoded.ids)
            told = Tidy(model.device).before(done)
            once = partial(run_recorded, module, layers, n_tokens, inputs, check_all=check == "all", progress=told)
            if clean is not None and changes:
                return switched, once(changes=changes, call_by_call=clean.call_by_call), clean.probed
            mark = look_ahead(model, layers, encoded.ids) if probe else 0
            recording = best_recorded(lambda deep: once(call_by_call=deep))
            if recording.call_by_call:
                switched = [*switched, "TorchScript and C++ ran call by call"]
            wanted = probe and not recording.problems
            return switched, recording, labels_of(model, layers, encoded.ids, recording, mark) if wanted else None

    def passes() -> tuple[list[str], Recording, Probed | None, Tensor | str | None]:
        switched, recording, probed = whatever_happens(visible)
        compared = switched and not changes
        return switched, recording, probed, _own_logits(module, model.inputs(encoded.ids)) if compared else None

    # One recording of a model at a time: the switches are the model's, not the thread's.
    switched, recording, probed, own = in_turn(layers, passes)
    logits = recording.logits
    if logits is None or logits.ndim < 2 or math.prod(logits.shape[:-1]) != n_tokens:
        found = "no tensor" if logits is None else f"a tensor of shape {list(logits.shape)}"
        raise ValueError(f"expected logits [1, {n_tokens}, d_vocab] from the model, one row per token, got {found}")
    logits = logits.reshape(n_tokens, -1)
    if recording.readout is not None:  # a device map may have taken them back to where the inputs were
        logits = logits.to(recording.readout.top.like.device)
    rows, given = recording.given
    states = assembled(recording)
    if not bool(logits.sum(dtype=torch.float32).isfinite()) and not bool(logits.isfinite().all()):  # the sum is quick
        raise ValueError(
            f"the model's logits are not finite (NaN or infinite), {_first_not_finite(states)}, so nothing can be "
            "explained; try float32 or bfloat16 instead of float16"
        )
    checks, missing = checks_of(recording), list(recording.problems)
    if probed is not None:
        missing += probed.problems
        recording.notes += relabel(states, probed)
    notes = [*switched, *recording.notes]
    if isinstance(own, str):
        notes.append(own)
    elif own is not None:
        theirs = own.reshape(-1, own.shape[-1])
        checks.append(own_check(logits if rows is None else logits[rows], theirs, switched, len(layers)))
        off = checks[-1].error
        same = f"differ by {off:.0e} from the model's own" if off else "are the model's own to the bit"
        notes = [f"{' and '.join(switched)}; the logits {same}", *recording.notes]
    if rows is not None and given is not None:
        how = f"the model gives the logits of {len(rows)} of {n_tokens} positions; all were made by the same calls"
        checks.append(own_check(logits[rows], given, [how], 1))
        notes.append(how)
    heads = [p.heads for s in states for p in s.parts if p.heads is not None]
    if _largest([h.future for h in heads]) > 0:
        missing.append("attention looks at later tokens, so this is not a causal language model")
    if recording.readout is None:
        notes.append("the logits are not a linear read-out of the last state, so vectors cannot be read as tokens")
    fidelity = Fidelity(tuple(checks), dtype_of(module), tuple(missing), tuple(notes), str(probed or ""))
    if strict and (missing or any(not c.is_rounding for c in fidelity.approximate)):
        raise UndecomposableError("; ".join(fidelity.problems))
    if not fidelity.exact:
        left = _add_rounding(states, n_tokens, everywhere=not strict)
        fidelity = replace(fidelity, checks=(*checks, *left))
    ids = torch.tensor(encoded.ids)
    tokens = model.readable_tokens(encoded.ids)
    parts = all_parts(states)
    return Run(
        model, prompt, ids, tokens, encoded.roles, logits, states, parts, recording.readout, fidelity,
        tuple(interventions), probed, recording.call_by_call, small(recording.given_to, states[0].value.nbytes),
    )  # fmt: skip


@unharmed
def last_state(clean: Run, interventions: Sequence[Edit]) -> Tensor | None:
    """The last state [pos, d_model] of a pass with edits, which ends there; None where none of them changes it.

    Raises what `record(clean.model, clean, interventions=...)` raises; whether it is finite is not looked at.
    """
    changes, until = _changes(clean, interventions), clean.states[-1].place
    if until is None or changes.get(until) is None:
        return None
    module, inputs = clean.model.module, clean.model.inputs(clean.token_ids.tolist())
    layers = list(clean.model.layers if clean.model.layers is not None else find_layers(module))

    def passed(undo: Undo) -> Tensor | None:
        readable(module, undo)
        how = {"changes": changes, "call_by_call": clean.call_by_call, "until": until}
        return run_recorded(module, layers, clean.n_tokens, inputs, **how).reached  # type: ignore[arg-type]

    return in_turn(layers, lambda: whatever_happens(passed))


def _prompt_of(run: Run) -> Prompt:
    prompt: Prompt = run.prompt
    return prompt


def _alone(clean: Run, interventions: Sequence[Edit], strict: bool) -> Sequence[Edit]:
    """The edits, with what a part would write of another reading in place of each edit of what it reads.

    That is what it writes in a pass where the state itself is changed: between the two nothing stands.
    """
    checked_edits(interventions, clean.states, clean.n_tokens)
    found: list[Edit] = [e for e in interventions if e.kind != "reading"]
    readings: dict[tuple[Any, ...], tuple[dict[str, Any], list[Edit]]] = {}
    for e in sorted((e for e in interventions if e.kind == "reading"), key=lambda e: e.state):
        read, of = as_read(e, clean.states)
        readings.setdefault(tuple(of.values()), (of, []))[1].append(read)
    for of, seen in readings.values():
        below = [e for e in found if e.state <= seen[0].state]
        other = record(clean.model, clean, interventions=[*below, *seen], strict=strict, progress=False)
        found.append(Edit(of, other))
    return found


def _changes(clean: Run, interventions: Sequence[Edit]) -> dict[Place, Change | None]:
    """What is to be done where the pass makes each state."""
    edits = checked_edits(interventions, clean.states, clean.n_tokens)

    def change(state: State, raw: LayerState) -> LayerState:
        return changed(raw, _as_in(state, raw, clean.probed), edits[state.index], clean.n_tokens)

    return {s.place: partial(change, s) if s.index in edits else None for s in clean.states if s.place is not None}


def _as_in(state: State, raw: LayerState, probed: Probed | None) -> State:
    """A state that is being made, as it was in the unedited pass: the same parts, of the same numbers.

    Raises ValueError where it is made in another way.
    """
    if state.carried is None:
        return replace(state, value=raw.value, parts=[])
    read = state_of(raw, state.layer, state.index)
    between = [State(0, None, "", raw.value, None, read.path), read]
    named(between)
    if probed is not None:
        relabel(between, probed)
    mine, theirs = ([p for p in s.parts if p.kind in ("attention", "mlp", "mixer", "skip")] for s in (read, state))
    if [p.kind for p in mine] != [p.kind for p in theirs] or read.carried != state.carried:
        raise ValueError(f"{state} is made in another way in the edited pass, so what an edit meets there is not known")
    for p, q in zip(mine, theirs, strict=True):
        p.number = q.number
    return replace(read, name=state.name)


def _own_logits(module: torch.nn.Module, inputs: dict[str, Any]) -> Tensor | str | None:
    """The logits [.., d_vocab] of the model as the user has it, to compare with; or why there are none."""
    try:
        with torch.no_grad():
            logits = forward_logits(module, inputs)
    except Exception as e:  # noqa: BLE001  a kernel that cannot run here says so in any way
        return f"the model's own forward pass cannot be run here to compare ({type(e).__name__}: {e})"
    return logits if isinstance(logits, Tensor) else None


def _first_not_finite(states: list[State]) -> str:
    first = next((s for s in states if not bool(s.value.isfinite().all())), None)
    if first is None:
        return "though every state is"
    return f"and so is state {first.index}" + ("" if first.layer is None else f" in layer {first.layer}")


def _largest(errors: list[Tensor]) -> float:
    """NaN stays NaN."""
    return float(torch.tensor(numbers(errors)).max()) if errors else 0.0


def _add_rounding(states: list[State], n_tokens: int, *, everywhere: bool) -> list[Check]:
    """What the parts of a state do not account for, as a part of its own; the sizes, where it is more than rounding.

    The heads of a map that rounds its inputs miss what it wrote, so there the attention part becomes what they sum to.
    """
    left = []
    for s in states[1:]:
        rounded = False
        for p in s.parts:
            if p.heads is not None and any(_rounds(w) for w in p.linear):
                p._output = _sum_of_heads(p, n_tokens)
                rounded = True
        if not rounded and not everywhere:
            continue
        opaque = any(p.kind == "rounding" for p in s.parts)
        s.parts = [p for p in s.parts if p.kind != "rounding"]
        rest = wide(s.value) - s.path.apply(wide(states[s.carried or 0].value))
        for p in s.parts:
            rest = rest - p.output(n_tokens).to(rest.device)
        if float(rest.norm() / wide(s.value).norm().clamp_min(1e-30)) > 1e-6:
            s.parts.append(Part("rounding", s.layer, s.index, -1, "remainder", [], rest))
            if opaque:
                error = float((rest.norm(dim=-1) / wide(s.value).norm(dim=-1).clamp_min(1e-30)).max())
                left.append(checked("states", s.layer, "", error, s.value))
    return left


def _rounds(w: LinearWrite) -> bool:
    return w.error is not None and w.map.weight() is None and float(w.error) > tolerance(coarsest(w.input, w.output))


def _sum_of_heads(p: Part, n_tokens: int) -> Tensor:
    total = constant_vectors(p.linear[0], n_tokens)
    for h in range(p.n_heads):
        total = total + head_vectors(p.linear[0], h).output().to(total.device)
    return total
