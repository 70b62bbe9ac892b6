"""How much memory recording and attributing take above the model, at their peak: python -m benchmarks.memory

Every row is a process of its own, which reads the largest resident size the system saw (Linux only). With --estimates:
models of several shapes, and what `lmtt_widget.memory` says beforehand that they will take.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

import torch

from benchmarks._measure import gpt2_small, llama_pair, machine, quiet, random_prompt
from benchmarks._shapes import SHAPES
from lmtt_widget import attribute, load_model, memory, record
from lmtt_widget.decomposition.layers import find_layers

_TARGETS = {"gpt2": {128: 0.3, 512: 0.7, 1024: 1.5}, "llama": {1024: 3.0}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="*", default=[128, 512, 1024])
    parser.add_argument("--shape", choices=_TARGETS, default="gpt2", help="llama: two layers of Llama 3 8B's shape")
    parser.add_argument("--kernel", default="auto")
    parser.add_argument(
        "--estimates", nargs="*", metavar="SHAPE", help="measured against estimated; some shapes, or all"
    )
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.estimates is not None:
        return _estimated(options.estimates[0]) if options.one else _estimates(options.estimates or list(SHAPES))
    if options.one:
        return _one(options.shape, options.tokens[0], options.kernel)
    print(f"Peak above the model, GiB. {machine()}\n\n| tokens | forward | record | + attribute |\n|---|---|---|---|")
    for n_tokens in options.tokens:
        same = ["--shape", options.shape, "--kernel", options.kernel, "--tokens", str(n_tokens)]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.memory", "--one", *same], capture_output=True, text=True, check=True
        )
        forward, recorded, attributed = done.stdout.split()
        target = _TARGETS[options.shape].get(n_tokens)
        beside = f" [{target}]" if target else ""
        print(f"| {n_tokens} | {forward} | {recorded} | {attributed}{beside} |", flush=True)
    return None


def _one(shape: str, n_tokens: int, kernel: str) -> None:
    """Prints three numbers: each is the peak so far, so the order is from the smallest to the largest."""
    model = gpt2_small(n_tokens) if shape == "gpt2" else llama_pair()
    prompt = random_prompt(model.module, n_tokens)
    before = _resident()
    with torch.no_grad():
        model.module(torch.tensor([prompt]))
    forward = _peak()
    run = record(model, prompt, progress=quiet)
    recorded = _peak()
    attribute(run, kernel=kernel, progress=quiet)  # type: ignore[arg-type]
    print(*(f"{max(0, peak - before) / 2**30:.2f}" for peak in (forward, recorded, _peak())))


def _estimates(names: list[str]) -> None:
    print(f"Peak above the model, MiB. {machine()}\n")
    print("| shape | tokens | estimated | record | + attribute | estimated / measured |\n|---|---|---|---|---|---|")
    for name in names:
        command = [sys.executable, "-m", "benchmarks.memory", "--one", "--estimates", name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        estimate, recorded, attributed = (int(n) / 2**20 for n in done.stdout.split())
        row = (name, SHAPES[name][1], f"{estimate:.0f}", f"{recorded:.0f}", f"{attributed:.0f}")
        print(*("", *row, f"{estimate / attributed:.2f}", ""), sep=" | ", flush=True)


def _estimated(name: str) -> None:
    make, n_tokens = SHAPES[name]
    model = load_model(make())
    prompt = torch.randint(1000, (n_tokens,)).tolist()
    with torch.no_grad():
        model.module(torch.tensor([prompt[:8]]))  # what is made once is there: threads, libraries
    attribute(record(model, prompt[:8], progress=quiet), progress=quiet)
    before = _resident()
    _reset_peak()
    run = record(model, prompt, progress=quiet)
    recorded = _peak()
    attribute(run, progress=quiet)
    peak = _peak()
    print(memory.needed(model.module, find_layers(model.module), n_tokens), recorded - before, peak - before)


def _reset_peak() -> None:
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")


def _resident() -> int:
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize()


def _peak() -> int:
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
