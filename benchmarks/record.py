"""What recording and attributing cost, in multiples of the plain forward pass: python -m benchmarks.record"""

from __future__ import annotations

import argparse

import torch

from benchmarks._measure import gpt2_small, medians, random_prompt
from lmtt_widget import attribute, record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="*", default=[128])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--attribute", action="store_true", help="also the exact shares of all targets")
    options = parser.parse_args()
    model = gpt2_small()
    print(f"GPT-2 small's shape, random weights, float32, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for n_tokens in options.tokens:
        prompt = random_prompt(model.module, n_tokens)
        ids = torch.tensor([prompt])

        def forward(ids: torch.Tensor = ids) -> None:
            with torch.no_grad():
                model.module(ids)

        work = {"forward": forward, "record": lambda prompt=prompt: record(model, prompt)}
        if options.attribute:
            work["record + attribute"] = lambda prompt=prompt: attribute(record(model, prompt))
        seconds = medians(work, options.rounds)
        ratios = ", ".join(f"{name} {s / seconds['forward']:.2f} x" for name, s in seconds.items() if name != "forward")
        print(f"{n_tokens} tokens: forward {seconds['forward']:.3f} s; {ratios}")


if __name__ == "__main__":
    main()
