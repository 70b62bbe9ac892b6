"""What the model of stories can do: its loss, and how often it knows a word that can be known.

python -m tools.stories.measure [DIRECTORY] [--samples 300]
"""

import argparse
import random
from itertools import islice
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lmtt_widget.bundled import STORIES
from tools.bundled.measure import load
from tools.stories import text

BEGINNING = "Once there was a clever girl called Mia. She had a"


@torch.no_grad()
def loss(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, n_stories: int = 200, seed: int = 0) -> float:
    """Nats a token over held-out stories, each by itself."""
    told = list(islice(text.stories(random.Random(f"loss {seed}"), "held-out"), n_stories))
    total = n_tokens = 0.0
    for story in told:
        ids = torch.tensor([[tokenizer.eos_token_id, *tokenizer(story)["input_ids"]]])
        losses = torch.nn.functional.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="sum")
        total, n_tokens = total + float(losses), n_tokens + ids.shape[1] - 1
    return total / n_tokens


@torch.no_grad()
def accuracy(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: str, n_samples: int = 300, seed: int = 0
) -> tuple[float, float]:
    """Shares of held-out questions: the answer's first token is the likeliest, is likelier than the other answer's."""
    rng, first, before = random.Random(f"{task} {seed}"), 0, 0
    for _ in range(n_samples):
        q = text.question(task, rng)
        logits = model(torch.tensor([tokenizer(q.prompt)["input_ids"]])).logits[0, -1]
        right, wrong = (tokenizer(answer)["input_ids"][0] for answer in (q.answer, q.other_answer))
        first += int(logits.argmax()) == right
        before += bool(logits[right] > logits[wrong])
    return first / n_samples, before / n_samples


@torch.no_grad()
def continued(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str, n_new: int, *, seed: int | None = None
) -> str:
    """A prompt and what follows: the likeliest tokens, or drawn ones with a seed; up to the end of the story."""
    ids = list(tokenizer(prompt)["input_ids"])
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    for _ in range(n_new):
        chances = model(torch.tensor([ids])).logits[0, -1].softmax(-1)
        ids.append(int(chances.argmax() if generator is None else torch.multinomial(chances, 1, generator=generator)))
        if ids[-1] == tokenizer.eos_token_id:
            ids.pop()
            break
    return str(tokenizer.decode(ids))


def table(directory: Path, n_samples: int = 300) -> str:
    """All figures of the card as Markdown."""
    model, tokenizer = load(directory)
    lines = [f"Held-out stories: {loss(model, tokenizer):.2f} nats a token.", ""]
    lines += ["| a word that can be known | likeliest | before the other answer |", "|---|---|---|"]
    for task in text.TASKS:
        first, before = accuracy(model, tokenizer, task, n_samples)
        lines.append(f"| {task} | {first:.1%} | {before:.1%} |")
    for seed in (None, 0, 1):
        lines += ["", "> " + continued(model, tokenizer, BEGINNING, 120, seed=seed)]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", type=Path, default=STORIES)
    parser.add_argument("--samples", type=int, default=300, help="per task")
    given = parser.parse_args()
    print(table(given.directory, given.samples))
