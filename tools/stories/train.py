"""Train the second bundled model from nothing: a small GPT-2 that tells little stories.

python -m tools.stories.train --out DIRECTORY [--steps N] [--seed 0]
"""

import argparse
import math
import random
import re
import time
from itertools import islice
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from tools.bundled.grammar import random_block
from tools.bundled.measure import load, ordinary_tokens, repeated_accuracy
from tools.bundled.train import add_to_json
from tools.stories import measure, text

END = "<|endoftext|>"
VOCABULARY = 1024
POSITIONS = 256
LENGTHS = (64, 64, 128, 256)  # of the rows of a batch; each batch has one of them
TOKENS_PER_STEP = 1024
LEARNING_RATE = 2.5e-3
ANSWER_WEIGHT = 4.0  # of a word that can be known from what came before
STEPS = 2200


def build_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer learnt from stories; contractions and punctuation are cut as GPT-2 cuts them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(islice(text.stories(random.Random(f"tokenizer {seed}")), 20_000), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END,
        eos_token=END,
        clean_up_tokenization_spaces=False,
        model_max_length=POSITIONS,
    )


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> GPT2LMHeadModel:
    """An untrained GPT-2 of six layers, five heads and 120 numbers a token."""
    torch.manual_seed(seed)
    width = 120
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=POSITIONS,
        n_embd=width,
        n_layer=6,
        n_head=5,
        activation_function="gelu_pytorch_tanh",  # GPT-2's, in one call
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        resid_pdrop=0.0,
        initializer_range=0.05,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        use_cache=False,
    )
    return GPT2LMHeadModel(config)


def story(tokenizer: PreTrainedTokenizerFast, marked: str) -> tuple[list[int], list[float]]:
    """A marked story's token ids and the weight of each: what can be known counts more than what is chance."""
    ids: list[int] = []
    weights: list[float] = []
    known = False
    for piece in re.split(r"(<\w+>)", marked):
        if piece.startswith("<"):
            known = True
            continue
        found = tokenizer(piece)["input_ids"]
        ids += found
        weights += [ANSWER_WEIGHT if ids_at == 0 and known else 1.0 for ids_at in range(len(found))]
        known = False
    return ids, weights


def row(tokenizer: PreTrainedTokenizerFast, rng: random.Random, length: int) -> tuple[list[int], list[float]]:
    """Stories, one after another with an end between them; half of the rows begin with such an end.

    So a prompt is understood with the token in front or without it.
    """
    told = text.marked_stories(rng)
    ids, weights = ([tokenizer.eos_token_id], [0.0]) if rng.random() < 0.5 else ([], [])
    while len(ids) < length:
        more, counts = story(tokenizer, next(told))
        ids += [*more, tokenizer.eos_token_id]
        weights += [*counts, 1.0]
    return ids[:length], weights[:length]


def repeated(tokenizer: PreTrainedTokenizerFast, rng: random.Random, length: int) -> tuple[list[int], list[float]]:
    """A block of random tokens again and again; nobody can predict its first copy, which counts for nothing."""
    n = rng.randint(6, length // 2)
    block = random_block(rng, ordinary_tokens(tokenizer), n, "train")
    return (block * (length // n + 1))[:length], [0.0] * n + [1.0] * (length - n)


def batch(tokenizer: PreTrainedTokenizerFast, rng: random.Random, share: float) -> tuple[Tensor, Tensor]:
    """Token ids and the weight of each in the loss, both [row, pos]; a share of the rows repeat a block."""
    length = rng.choice(LENGTHS)
    made = [
        (repeated if rng.random() < share else row)(tokenizer, rng, length) for _ in range(TOKENS_PER_STEP // length)
    ]
    ids, weights = zip(*made, strict=True)
    return torch.tensor(ids), torch.tensor(weights)


def loss_of(model: GPT2LMHeadModel, ids: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean cross entropy of the next tokens."""
    losses = torch.nn.functional.cross_entropy(
        model(ids).logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
    )
    counts = weights[:, 1:].flatten()
    return (losses * counts).sum() / counts.sum()


def learning_rate_share(step: int, steps: int) -> float:
    """Up within the first 3 %, then down to 2 % along a cosine."""
    up = (step + 1) / max(1, steps * 0.03)
    return min(1.0, up) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def train(
    out: Path,
    *,
    steps: int = STEPS,
    seed: int = 0,
    begin: Path | None = None,
    share: float = 0.0,
    report_every: int = 100,
) -> None:
    """Train, and save model and tokenizer into `out`; the same seed gives the same weights on one machine.

    begin: weights to go on from. share: of the rows, those that repeat a block; none in the last third.
    """
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    if begin is None:
        tokenizer = build_tokenizer(seed)
        model = build_model(tokenizer, seed)
    else:
        model, tokenizer = load(begin)
        model.train()
    rng = random.Random(f"training {seed} {begin is not None}")
    shrunk = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": shrunk, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens, {steps} steps")
    started, losses = time.monotonic(), []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * learning_rate_share(step, steps)
        loss = loss_of(model, *batch(tokenizer, rng, share * (step < steps * 2 / 3)))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.detach())
        if (step + 1) % report_every == 0:
            mean = torch.stack(losses[-report_every:]).mean().item()
            copied, after = (
                repeated_accuracy(model, tokenizer, 16, 20),
                measure.accuracy(model, tokenizer, "hero", 60)[0],
            )
            seconds = time.monotonic() - started
            print(
                f"step {step + 1:5}  loss {mean:.3f}  copied {copied:.2f}  hero {after:.2f}  {seconds:5.0f} s",
                flush=True,
            )
    model.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
    # transformers 4 reads these names.
    add_to_json(out / "config.json", torch_dtype="float16")
    add_to_json(out / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write; the shipped model stays as it is")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--begin", type=Path, help="a folder with weights to go on from")
    parser.add_argument(
        "--repeated", type=float, default=0.0, help="share of rows that repeat a block of random tokens"
    )
    given = parser.parse_args()
    train(given.out, steps=given.steps, seed=given.seed, begin=given.begin, share=given.repeated)
    print(measure.table(given.out))
