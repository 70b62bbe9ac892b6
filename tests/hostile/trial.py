"""One hostile model, recorded as a user would record it, and judged."""

from __future__ import annotations

import re
import traceback
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lmtt_widget import ForwardError, UndecomposableError, load_model, record
from lmtt_widget.run import Run

from .judge import Judge, labels, quiet
from .models import OTHER, VOCAB, Case
from .oracle import Oracle, Watched, logits_of, look, looks_ahead

RESULTS = ("right", "refused", "wrong", "raw error", "faulty test")
_PLACE = re.compile(
    r"layer \d|layers|state|embedding|logits|read-out|attention|hidden|module|pass(es)?\b", re.IGNORECASE
)

_AHEAD = re.compile(r"later tokens?|not a causal|sees? ahead", re.IGNORECASE)


@dataclass(frozen=True)
class Verdict:
    case: Case
    result: str  # one of RESULTS
    said: str  # the labels of a right run, the sentence of a refusal, or what is wrong


def try_out(case: Case) -> Verdict:
    """What the recorder makes of a model, and whether it is true."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _tried(case)
        except Exception as e:  # noqa: BLE001  (nothing of the package runs outside of what is caught below)
            return Verdict(case, "faulty test", f"{type(e).__name__}: {e}")


def _tried(case: Case) -> Verdict:
    module = case.build()
    if case.before is not None:
        case.before(module)
    watched = Watched(module, case.ids)
    edited = case.after is not None or case.between is not None
    plain = _plain(module, case)
    weights = {name: x.clone() for name, x in module.state_dict().items()}
    run: Run | None = None
    try:
        model = load_model(module, layers=case.layers(module) if case.layers is not None else None)
        if case.after is not None:
            case.after(module)
        if case.first:
            earlier = record(model, list(case.first), progress=quiet)
            states = [s.value.clone() for s in earlier.states]
        if case.between is not None:
            case.between(module)
        plain = _plain(module, case)
        module.truth.passes = [] if case.memory else None
        run = record(model, list(case.ids), progress=quiet)
    except (UndecomposableError, ValueError) as e:
        return _refused(case, watched, str(e), type(e).__name__)
    except ForwardError as e:  # the model itself can run: see above
        return Verdict(case, "raw error", f"ForwardError: {e}")
    except Exception as e:  # noqa: BLE001  (whatever is raised is the finding)
        return Verdict(case, "raw error", f"{type(e).__name__}: {e}")
    finally:
        passes, module.truth.passes, module.truth.now = module.truth.passes, None, None
    assert run is not None
    base = watched() if not passes else next((p for p in passes if _is(p, run)), passes[0])
    assert base.logits is not None
    # A model may give the logits of the last positions only; the oracle knows all.
    few = len(plain) < len(base.logits)  # products of fewer rows may be rounded otherwise
    assert passes or (torch.allclose if few else torch.equal)(base.logits[-len(plain) :], plain), "looking changes it"
    oracle = look(watched, base, VOCAB, case.by_prompt)
    faults = _faults(run, oracle, "")
    if case.first and not all(torch.equal(s.value, kept) for s, kept in zip(earlier.states, states, strict=True)):
        faults.append("the second recording changed the first")
    if not faults:
        _plain(module, case, OTHER)
        faults = _faults(run, oracle, "after another prompt: ")
    if not case.memory and not torch.equal(_plain(module, case), plain):
        faults.append("recording changed what the model answers")
    if any(not torch.equal(x, weights[name]) for name, x in module.state_dict().items() if not edited):
        faults.append("recording changed the model's weights")
    if case.labels and labels(run) != case.labels:
        faults.append(f"the parts are {labels(run)}, expected {case.labels}")
    return Verdict(case, "wrong", "; ".join(faults)) if faults else Verdict(case, "right", labels(run))


def _refused(case: Case, watched: Watched, sentence: str, kind: str) -> Verdict:
    if case.labels:
        return Verdict(case, "wrong", f"a right model is refused: {sentence}")
    if not _PLACE.search(sentence):
        return Verdict(case, "wrong", f"refused without a place: {sentence}")
    if case.says and not re.search(case.says, sentence):
        return Verdict(case, "wrong", f"refused without saying {case.says!r}: {sentence}")
    untrue = case.untrue and re.search(case.untrue, sentence)
    if _AHEAD.search(sentence) and not case.memory and not looks_ahead(watched, VOCAB):
        untrue = _AHEAD.search(sentence)
    if untrue:
        return Verdict(case, "wrong", f"refused, and {untrue[0]!r} is not so: {sentence}")
    return Verdict(case, "refused", f"{kind}: {sentence}")


def _faults(run: Run, oracle: Oracle, when: str) -> list[str]:
    try:
        with torch.no_grad():
            return [when + fault for fault in Judge(run, oracle).faults()]
    except AssertionError:
        raise
    except Exception as e:  # noqa: BLE001  (a run that was accepted must answer)
        at = traceback.extract_tb(e.__traceback__)[-1]
        return [f"{when}{type(e).__name__} while it was read: {e} ({at.name}, line {at.lineno})"]


def _is(p: Any, run: Run) -> bool:
    return p.logits is not None and p.logits.shape == run.logits.shape and torch.equal(p.logits, run.logits)


def _plain(module: Any, case: Case, ids: tuple[int, ...] = ()) -> Tensor:
    """The logits of an ordinary pass, from what the model remembers now; it remembers nothing of it."""
    now = module.truth.start()
    with torch.no_grad():
        out = module(torch.tensor([list(ids or case.ids)]))
    module.truth.restart(now)
    logits = logits_of(out)
    return logits.reshape(-1, logits.shape[-1]).clone()
