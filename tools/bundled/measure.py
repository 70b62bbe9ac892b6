"""What the bundled model can do: accuracy per task on held-out combinations, and its best attention heads.

python -m tools.bundled.measure [DIRECTORY]
"""

import argparse
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from lmtt_widget.bundled import DIRECTORY
from tools.bundled import grammar

DEMONSTRATION = "When Mary and John went to the store, John gave a drink to"
DOCUMENT_CHARACTERS = 500  # about 120 tokens


@dataclass(frozen=True)
class HeadScores:
    """Mean attention on a block of n random tokens given twice, each [layer, head], in [0, 1]."""

    previous: Tensor  # mean of pattern[i, i - 1]
    induction: Tensor  # mean of pattern[i, i - n + 1] for i >= n: what followed the token last time
    duplicate: Tensor  # mean of pattern[i, i - n] for i >= n: the same token last time

    def best(self) -> dict[str, tuple[int, int, float]]:
        """The layer, head and score of the best head of each kind."""
        found = {}
        for kind in ("previous", "induction", "duplicate"):
            scores: Tensor = getattr(self, kind)
            layer, head = divmod(int(scores.argmax()), scores.shape[1])
            found[kind] = (layer, head, float(scores.max()))
        return found


def load(directory: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The stored weights, computed with in float32, and the tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(directory)


def ordinary_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Every token id that is not a special one."""
    return [i for i in range(len(tokenizer)) if i not in tokenizer.all_special_ids]


def task_accuracy(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: str,
    n_samples: int = 300,
    seed: int = 0,
    n_characters: int = 0,
) -> float:
    """The share of held-out samples whose greedy continuation is a right answer, in [0, 1].

    With n_characters > 0 each sample ends a document of about that many characters.
    """
    rng = random.Random(f"{task} {seed}")
    samples = [_held_out(task, rng, n_characters) for _ in range(n_samples)]
    prompts = [tokenizer(sample.prompt)["input_ids"] for sample in samples]
    answers = [{tuple(tokenizer(answer)["input_ids"]) for answer in sample.answers} for sample in samples]
    written = _greedy(model, prompts, max(len(ids) for given in answers for ids in given))
    right = [any(tuple(ids[: len(a)]) == a for a in given) for ids, given in zip(written, answers, strict=True)]
    return sum(right) / n_samples


@torch.no_grad()
def repeated_accuracy(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, n_blocks: int = 32, n: int = 40, seed: int = 0
) -> float:
    """The share of the second copy of a block of n random tokens, but its first token, that is predicted, in [0, 1]."""
    ids = _twice(tokenizer, n_blocks, n, seed)
    predicted = model(ids).logits[:, n:-1].argmax(-1)
    return (predicted == ids[:, n + 1 :]).float().mean().item()


@torch.no_grad()
def head_scores(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, n_blocks: int = 16, n: int = 40, seed: int = 0
) -> HeadScores:
    """How far each head looks at the previous token, after the last occurrence, and at it."""
    ids = _twice(tokenizer, n_blocks, n, seed)
    used = model.config._attn_implementation
    model.set_attn_implementation("eager")  # the only one that returns patterns
    pattern = torch.stack(model(ids, output_attentions=True).attentions)  # [layer, block, head, query, key]
    model.set_attn_implementation(used)
    return HeadScores(
        previous=pattern.diagonal(-1, -2, -1).mean((1, 3)),
        induction=pattern.diagonal(1 - n, -2, -1)[..., 1:].mean((1, 3)),  # the first of the diagonal is query n - 1
        duplicate=pattern.diagonal(-n, -2, -1).mean((1, 3)),
    )


@torch.no_grad()
def answer_probability(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str) -> float:
    """The probability of the first token of an answer after a prompt."""
    logits = model(torch.tensor([tokenizer(prompt)["input_ids"]])).logits[0, -1]
    return logits.softmax(-1)[tokenizer(answer)["input_ids"][0]].item()


def table(directory: Path, n_samples: int = 1000) -> str:
    """All figures of the card as a Markdown table."""
    model, tokenizer = load(directory)
    rows = ["| task, held-out combinations | alone | ending a document of about 120 tokens |", "|---|---|---|"]
    for task in grammar.TASKS:
        alone = task_accuracy(model, tokenizer, task, n_samples)
        later = task_accuracy(model, tokenizer, task, n_samples, n_characters=DOCUMENT_CHARACTERS)
        rows.append(f"| {task} | {alone:.1%} | {later:.1%} |")
    short, long = (repeated_accuracy(model, tokenizer, n=n) for n in (20, 100))
    rows.append(f"| random block of 20, of 100 tokens, second copy | {short:.1%} | {long:.1%} |")
    rows += ["", "| head, random block of 40 tokens given twice | layer | head | score |", "|---|---|---|---|"]
    best = head_scores(model, tokenizer).best()
    rows += [f"| {kind} | {layer} | {head} | {score:.2f} |" for kind, (layer, head, score) in best.items()]
    probability = answer_probability(model, tokenizer, DEMONSTRATION, " Mary")
    rows += ["", f"`{DEMONSTRATION}` -> ` Mary` with probability {probability:.3f}"]
    return "\n".join(rows)


def _held_out(task: str, rng: random.Random, n_characters: int) -> grammar.Sample:
    return grammar.continuation(task, rng, n_characters) if n_characters else grammar.draw(task, rng, "held-out")


@torch.no_grad()
def _greedy(model: PreTrainedModel, prompts: list[list[int]], n_new: int, batch: int = 50) -> list[list[int]]:
    """The n_new likeliest tokens after each prompt, one at a time."""
    written: list[list[int]] = [[] for _ in prompts]
    by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for start in range(0, len(prompts), batch):
        chosen = by_length[start : start + batch]
        for _ in range(n_new):
            rows = [prompts[i] + written[i] for i in chosen]
            width = max(map(len, rows))
            # Padding after the end needs no mask: attention is causal.
            ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
            last = torch.tensor([len(row) - 1 for row in rows])
            logits = model(ids).logits[torch.arange(len(rows)), last]
            for i, token in zip(chosen, logits.argmax(-1).tolist(), strict=True):
                written[i].append(token)
    return written


def _twice(tokenizer: PreTrainedTokenizerBase, n_blocks: int, n: int, seed: int) -> Tensor:
    """[block, 2 n] token ids."""
    rng, ids = random.Random(seed), ordinary_tokens(tokenizer)
    return torch.tensor([grammar.random_block(rng, ids, n, "held-out") * 2 for _ in range(n_blocks)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", type=Path, default=DIRECTORY)
    parser.add_argument("--samples", type=int, default=1000, help="per task")
    given = parser.parse_args()
    print(table(given.directory, given.samples))
