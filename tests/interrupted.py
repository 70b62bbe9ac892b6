"""Recordings that are interrupted anywhere: python -m tests.interrupted writes its result into docs/exactness.md

The interrupt comes from a trace function, so that the n-th place is the same one every time. Counted is every
instruction of what changes something for a while and puts it back (half of the interrupts fall there; contextlib and
torch's modes and hooks are among it), and every line of the rest of the package.
"""

from __future__ import annotations

import random
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

from lmtt_widget import Model, attribute, known_labels, load_model, record
from lmtt_widget.decomposition import forward
from lmtt_widget.decomposition.stacks import find_layers

from . import zoo
from .interrupts import PACKAGE
from .untouched import changed, everything

PAGE = Path(__file__).resolve().parents[1] / "docs" / "exactness.md"
IDS = zoo.prompt(4)
_PUTS_BACK = (
    "restored.py", "forward.py", "contextlib.py", "torch/overrides.py", "torch/utils/hooks.py", "grad_mode.py",
    "autocast_mode.py",
)  # fmt: skip
_HOOKING = ("hook", "unhook", "_put", "take_out", "side_by_side", "_use_one", "_without", "paused", "reported")


class Instructions:
    """Counts instructions; raises KeyboardInterrupt before the one with number `at`."""

    def __init__(self, at: int = 0) -> None:
        self.at, self.n, self.where = at, 0, ""
        self.putting_back: list[int] = []  # the numbers of those that put something back

    def run(self, work: Callable[[], object]) -> bool:
        """Whether the interrupt came."""
        before = sys.gettrace()
        sys.settrace(self._called)
        try:
            work()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False

    def _called(self, frame: FrameType, event: str, arg: Any) -> Any:
        code = frame.f_code
        if code.co_filename.endswith(_PUTS_BACK) or code.co_name in _HOOKING:
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            return self._instruction
        return self._line if code.co_filename.startswith(PACKAGE) else None

    def _instruction(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "opcode":
            if not self.at:
                self.putting_back.append(self.n + 1)
            self._one(frame)
        return self._instruction

    def _line(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            self._one(frame)
        return self._line

    def _one(self, frame: FrameType) -> None:
        self.n += 1
        if self.n == self.at:
            self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}"
            raise KeyboardInterrupt


class Own(TorchFunctionMode):
    """A mode of the user's."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


@contextmanager
def plain() -> Iterator[Model]:
    yield load_model(zoo.make("gpt2", dtype=torch.float32, n_layer=1))


@contextmanager
def experts_and_attention_of_others() -> Iterator[Model]:
    """Both are switched for the recording."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register("somebodys", sdpa_attention_forward)
    module = zoo.make("mixtral", dtype=torch.float32, num_hidden_layers=1)
    module.set_attn_implementation("somebodys")
    module.set_experts_implementation("grouped_mm")
    yield load_model(module)


@contextmanager
def modes_of_the_user() -> Iterator[Model]:
    """Inside autocast, a mode of torch's and gradients, with a hook."""
    module = zoo.make("llama", dtype=torch.float32, num_hidden_layers=1)
    module.model.layers[0].mlp.register_forward_hook(lambda m, args, out: out * 1.5)
    with ExitStack() as stack:
        stack.enter_context(torch.autocast("cpu", torch.bfloat16))
        stack.enter_context(Own())
        yield load_model(module)


MODELS = {
    "gpt2": plain,
    "mixtral, experts and attention switched": experts_and_attention_of_others,
    "llama under autocast, a mode and a hook": modes_of_the_user,
}


def plain_pass(model: Model) -> Tensor:
    with torch.no_grad():
        return model.module(input_ids=torch.tensor([IDS])).logits  # type: ignore[no-any-return]


def as_it_is(model: Model) -> tuple[Any, ...]:
    """What belongs to the thread and to the process, and what only this package has."""
    from torch._dynamo import eval_frame

    lock = forward._turns.get(find_layers(model.module)[0])
    held = bool(lock and lock._is_owned()) or forward._counting._is_owned()
    modes = [id(m) for m in _get_current_function_mode_stack()]
    return modes, torch.get_num_threads(), eval_frame._stance.stance, held, set(forward._recordings)


def analysed(model: Model, anew: bool = False) -> None:
    """anew: the model is probed again, which takes some passes more."""
    if anew:
        known_labels.forget()
    attribute(record(model, IDS, progress=lambda *_: None), progress=lambda *_: None)


def interrupt(name: str, n: int, seed: int = 0) -> tuple[int, list[str]]:
    """How many of `n` interrupts came, and what was not as before afterwards, in words."""
    wrong, came = [], 0
    with MODELS[name]() as model, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.set_num_threads(2)
        analysed(model)  # what is made once is there
        logits, before, around = plain_pass(model), everything(model.module), as_it_is(model)
        chance, lengths = random.Random(seed), []
        for anew in (False, True):
            lengths.append(Instructions())
            lengths[-1].run(lambda anew=anew: analysed(model, anew))  # type: ignore[misc]
        for k in range(n):
            anew = k % 10 == 9
            counted = lengths[anew]
            at = chance.choice(counted.putting_back) if k % 2 else chance.randint(1, counted.n)
            trial = Instructions(at)
            came += trial.run(lambda anew=anew: analysed(model, anew))  # type: ignore[misc]
            found = changed(before, everything(model.module))
            if as_it_is(model) != around:
                found.append(f"modes {as_it_is(model)} instead of {around}")
            if not torch.equal(plain_pass(model), logits):
                found.append("the plain pass")
            if k % 10 == 0 or found:
                analysed(model)
            if found:
                wrong.append(f"{name}, place {at} ({trial.where}): {', '.join(found)}")
        torch.set_num_threads(1)
    return came, wrong


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 334
    total, wrong = 0, []
    for name in MODELS:
        came, found = interrupt(name, n)
        print(f"{name}: {came} interrupts, {len(found)} left something behind", *found[:10], sep="\n  ", flush=True)
        total, wrong = total + came, wrong + found
    if n >= 334:
        text = PAGE.read_text("utf-8")
        said = (
            f"{total:,} recordings of three models were interrupted at random instructions: {len(wrong)} left anything"
        )
        PAGE.write_text(
            re.sub(r"[\d,]+ recordings of three models were interrupted .*? anything", said, text, flags=re.S)
        )


if __name__ == "__main__":
    main()
