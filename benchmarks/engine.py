"""What recording and attributing cost, in multiples of the plain forward pass: python -m benchmarks.engine

Everything measured and the plain forward pass run in turn, and medians are divided; targets stand in brackets.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks._measure import gpt2_small, llama_pair, machine, medians, quiet, random_prompt
from lmtt_widget import Model, attribute, record
from lmtt_widget.kernels.sums import kernel_for

_TARGETS = {
    "gpt2": {
        "record": {128: 1.25, 512: 1.25, 1024: 1.3},
        "numba": {128: 1.4, 512: 1.5, 1024: 1.8},
        "torch": {128: 2.0, 512: 3.0, 1024: 4.0},
    },
    "llama": {"numba": {1024: 2.5}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="*", default=[64, 128, 256, 512, 1024])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kernels", nargs="*", default=["numba", "torch", "compiled"])
    parser.add_argument("--shape", choices=_TARGETS, default="gpt2", help="llama: two layers of Llama 3 8B's shape")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--profile", type=int, metavar="TOKENS", help="where one thread spends its time, instead")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = gpt2_small(max(*options.tokens, options.profile or 0)) if options.shape == "gpt2" else llama_pair()
    if options.profile:
        _profile(model, options.profile, options.kernels[0], options.rounds)
        return
    names = {"gpt2": "GPT-2 small's shape", "llama": "two layers of Llama 3 8B's shape"}
    print(f"{names[options.shape]}, random weights, float32. {machine()}\n")
    kernels = [k for k in options.kernels if _can_run(k)]
    print("| tokens | forward, s | record |" + "".join(f" + attribute, {k} |" for k in kernels) + " ns per pair |")
    print("|---|---|---|" + "---|" * (len(kernels) + 1))
    for n_tokens in options.tokens:
        seconds = medians(_work(model, n_tokens, kernels), options.rounds)
        forward = seconds["forward"]
        cells = [f"{n_tokens}", f"{forward:.3f}"]
        for name in ["record", *kernels]:
            target = _TARGETS[options.shape].get(name, {}).get(n_tokens)
            cells.append(f"{seconds[name] / forward:.2f}" + (f" [{target}]" if target else ""))
        first = next(iter(kernels), "record")
        cells.append(f"{seconds[first] / n_tokens**2 * 1e9:.0f}")
        print("| " + " | ".join(cells) + " |", flush=True)


def _profile(model: Model, n_tokens: int, kernel: str, rounds: int) -> None:
    """The functions with the most time of their own, in multiples of the forward pass; the profiler's time included."""
    torch.set_num_threads(1)
    work = _work(model, n_tokens, [kernel])
    forward = medians({"forward": work["forward"], kernel: work[kernel]}, rounds)["forward"]
    profile = cProfile.Profile()
    for _ in range(rounds):
        profile.runcall(work[kernel])
    print(f"record + attribute, {kernel}, {n_tokens} tokens. {machine()}; a forward pass is 1\n")
    stats: Any = pstats.Stats(profile)
    own = sorted(((own, calls, f) for f, (_, calls, own, *_) in stats.stats.items()), reverse=True)
    for seconds, calls, (file, line, name) in own[:16]:
        where = name if file == "~" else f"{Path(file).name}:{line} {name}"
        print(f"{seconds / rounds / forward:6.3f}  {calls // rounds:6,} calls  {where}")


def _can_run(name: str) -> bool:
    kernel = kernel_for(torch.device("cpu"), name)  # type: ignore[arg-type]
    if kernel.name != name:
        print(f"{name}: {kernel.why}\n")
    return kernel.name == name


def _work(model: Model, n_tokens: int, kernels: list[str]) -> dict[str, Callable[[], object]]:
    prompt = random_prompt(model.module, n_tokens)
    ids = torch.tensor([prompt])

    def forward() -> None:
        with torch.no_grad():
            model.module(ids)

    def both(kernel: str) -> Callable[[], object]:
        return lambda: attribute(record(model, prompt, progress=quiet), kernel=kernel, progress=quiet)  # type: ignore[arg-type]

    return {
        "forward": forward,
        "record": lambda: record(model, prompt, progress=quiet),
        **{k: both(k) for k in kernels},
    }


if __name__ == "__main__":
    main()
