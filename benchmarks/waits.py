"""What a user waits for, in multiples of the plain forward pass, beside its goal: python -m benchmarks.waits

Of every row all things compared run in turn and medians are divided: of seconds, and of CPU seconds, which a busy
machine disturbs less. Each in one and in two threads. --rows takes some rows by number; --rounds: how often each runs.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping

import torch

from benchmarks import syncs
from benchmarks._measure import both_medians, gpt2_small, machine, quiet, random_prompt
from lmtt_widget import (
    Model,
    attribute,
    bundled_model,
    direct_logit_attribution,
    explore,
    load_model,
    logit_lens,
    record,
)

Work = Mapping[str, Callable[[], object]]  # "forward" and what is divided by it
_IOI = "When Mary and John went to the store, John gave a drink to"


def _forward(model: Model, prompt: list[int]) -> Callable[[], object]:
    ids = torch.tensor([prompt])

    def forward() -> None:
        with torch.no_grad():
            model.module(ids)

    return forward


def engine(model: Model, prompt: list[int]) -> Work:
    return {
        "forward": _forward(model, prompt),
        "record": lambda: record(model, prompt, progress=quiet),
        "+ attribute": lambda: attribute(record(model, prompt, progress=quiet), progress=quiet),
    }


def small() -> Work:
    model = bundled_model()
    return engine(model, model.encode(_IOI).ids)


def llama(n_tokens: int) -> Work:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = LlamaConfig(
        hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8,
        vocab_size=32000, max_position_embeddings=2048, dtype=torch.bfloat16,
    )  # fmt: skip
    model = load_model(LlamaForCausalLM(shape).to(torch.bfloat16).eval())
    return engine(model, random_prompt(model.module, n_tokens))


def picture(n_tokens: int) -> Work:
    """Up to the bytes of the picture, as in a notebook, where the rest is done when nobody waits."""
    model, numbers = gpt2_small(), iter(range(1 << 30))

    async def shown() -> None:
        explore(model, random_prompt(model.module, n_tokens, next(numbers))).close()

    return {
        "forward": _forward(model, random_prompt(model.module, n_tokens)),
        "picture": lambda: asyncio.run(shown()),
    }


def page(n_tokens: int) -> Work:
    model = gpt2_small()
    prompt = random_prompt(model.module, n_tokens)

    def saved() -> None:
        widget = explore(model, prompt)
        widget.page(progress=quiet)
        widget.close()

    return {"forward": _forward(model, prompt), "explore and save": saved}


def lens(n_tokens: int) -> Work:
    model = gpt2_small()
    prompt = random_prompt(model.module, n_tokens)
    run, weight = record(model, prompt, progress=quiet), model.module.get_output_embeddings().weight.detach()  # type: ignore[operator]
    return {
        "forward": _forward(model, prompt),
        "lens, last position": lambda: logit_lens(run, pos=-1),
        "lens, all": lambda: logit_lens(run),
        "its product alone": lambda: [s.value @ weight.T for s in run.states],
        "DLA, one position, by head": lambda: direct_logit_attribution(run),
    }


def gpt2(n_tokens: int) -> Work:
    model = gpt2_small(n_tokens)
    return engine(model, random_prompt(model.module, n_tokens))


ROWS: list[tuple[str, Callable[[], Work], dict[str, float]]] = [
    ("GPT-2 small's shape, 128 tokens", lambda: gpt2(128), {"record": 1.08, "+ attribute": 1.30}),
    ("GPT-2 small's shape, 1,024 tokens", lambda: gpt2(1024), {"record": 1.05, "+ attribute": 1.40}),
    ("Llama 1B's shape, bfloat16, 64 tokens", lambda: llama(64), {"+ attribute": 1.8}),
    ("Llama 1B's shape, bfloat16, 256 tokens", lambda: llama(256), {"+ attribute": 1.6}),
    ("bundled model, 14 tokens", small, {"record": 2, "+ attribute": 3}),
    ("GPT-2 small's shape, 32 tokens", lambda: picture(32), {"picture": 2.5}),
    ("GPT-2 small's shape, 128 tokens", lambda: picture(128), {"picture": 1.8}),
    ("GPT-2 small's shape, 128 tokens", lambda: page(128), {"explore and save": 10}),
    (
        "GPT-2 small's shape, 128 tokens",
        lambda: lens(128),
        {"lens, last position": 0.3, "lens, all": 8.6, "DLA, one position, by head": 0.02},
    ),
]


def a_layer(rounds: int) -> float:
    """Milliseconds of CPU that record and attribute add for each of 32 layers of width 64, of a later prompt."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    n_layers = 32
    shape = LlamaConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=n_layers, num_attention_heads=4, vocab_size=100,
        num_key_value_heads=4,
    )  # fmt: skip
    model = load_model(LlamaForCausalLM(shape).eval())
    cpu = both_medians(engine(model, random_prompt(model.module, 32)), rounds)[1]
    return (cpu["+ attribute"] - cpu["forward"]) / n_layers * 1e3


def memory() -> str:
    """GiB above the model at 2,048 tokens: plain forward, record, with attribute."""
    command = [sys.executable, "-m", "benchmarks.memory", "--one", "--tokens", "2048"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def table(rows: list[int], rounds: int, threads: list[int]) -> Iterator[str]:
    columns = "".join(f" {n} thread{'s' * (n > 1)}: seconds | CPU seconds |" for n in threads)
    yield f"| # | of | what | goal |{columns}\n|---|---|---|---|{'---|---|' * len(threads)}"
    for number in rows:
        of, make, goals = ROWS[number]
        work, found = make(), []
        for n in threads:
            torch.set_num_threads(n)
            found.append(both_medians(work, rounds))
        for name in [name for name in work if name != "forward"]:
            cells = "".join(f" {kind[name] / kind['forward']:.3g} |" for pair in found for kind in pair)
            yield f"| {number} | {of} | {name} | {goals.get(name, '')} |{cells}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=list(range(len(ROWS))), choices=range(len(ROWS)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--quick", action="store_true", help="the rows only; no memory, no layers, no synchronisations")
    options = parser.parse_args()
    print(f"In multiples of the plain forward pass. {machine()}\n")
    for line in table(options.rows, options.rounds, options.threads):
        print(line, flush=True)
    if not options.quick:
        print(f"\n2,048 tokens, GiB above the model: forward, record, + attribute [1.0]: {memory()}", flush=True)
        torch.set_num_threads(1)
        print(f"32 layers of width 64, 32 tokens, CPU ms a layer [0.7]: {a_layer(options.rounds):.2f}\n", flush=True)
        print("Waits for an accelerator, goal at most 1 a layer in record and 2 in attribute:\n", flush=True)
        for line in syncs.table():
            print(line, flush=True)


if __name__ == "__main__":
    main()
