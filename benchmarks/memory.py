"""How much memory recording and attributing take above the model, at their peak: python -m benchmarks.memory

Every row is a process of its own, which reads the largest resident size the system saw (Linux only).
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

import torch

from benchmarks._measure import gpt2_small, llama_pair, machine, quiet, random_prompt
from lmtt_widget import attribute, record

_TARGETS = {"gpt2": {128: 0.3, 512: 0.7, 1024: 1.5}, "llama": {1024: 3.0}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="*", default=[128, 512, 1024])
    parser.add_argument("--shape", choices=_TARGETS, default="gpt2", help="llama: two layers of Llama 3 8B's shape")
    parser.add_argument("--kernel", default="auto")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
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


def _resident() -> int:
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize()


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
