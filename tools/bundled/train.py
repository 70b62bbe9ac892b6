"""Train the bundled model from nothing on the grammar's text.

python -m tools.bundled.train --out DIRECTORY [--steps N] [--seed 0]
"""

import argparse
import json
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tools.bundled import grammar, measure

BEGINNING = "<|begin|>"
VOCABULARY = 1344
TOKENS_PER_STEP = 1536
SENTENCES_PER_STEP = 64
STEPS = 3000
ANSWER_WEIGHT = 4.0  # of an answer's tokens in a document's loss; the rest of a sentence is mostly chance
SENTENCE_WEIGHTS = (4, 2, 1, 8, 0.3, 0.3, 0.3)  # how often each task comes as a sentence of its own


@dataclass(frozen=True)
class Stage:
    """What the batches of a stretch of training look like."""

    until: float  # a share of the steps
    learning_rate: float
    sentence_share: float  # of the batches: single sentences of which only the answer counts
    lengths: tuple[int, ...]  # of the other batches, tokens in a row; each batch has one of them
    repeated_share: float  # of the rows of those
    blocks: tuple[int, int]  # shortest and longest block to be repeated


# Short rows first: where few tokens can be looked at, copying is found within a few hundred steps. Then sentences one
# by one, at a lower rate: who gave and who owns are found when nothing else counts. Long documents come last.
STAGES = (
    Stage(0.2, 3e-3, 0.0, (32,), 0.7, (6, 14)),
    Stage(0.3, 3e-3, 0.0, (64,), 0.4, (8, 30)),
    Stage(0.88, 1e-3, 0.8, (64, 128), 0.35, (8, 50)),
    Stage(1.0, 1e-3, 0.4, (128, 256), 0.3, (16, 120)),
)


def build_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer learnt from the grammar's training text; it adds no token of its own."""
    rng = random.Random(f"tokenizer {seed}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BEGINNING],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # Every task equally often, so that two-digit numbers become tokens; no rare names, so that they become several.
    samples = (grammar.draw(task, rng, "train") for _ in range(3000) for task in grammar.TASKS)
    texts = (sample.prompt + rng.choice(sample.answers) + sample.ending for sample in samples)
    tokenizer.train_from_iterator((t for t in texts if not any(name in t for name in grammar.RARE_NAMES)), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGINNING,
        eos_token=BEGINNING,
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """An untrained four-layer Llama whose eight heads share four keys and values."""
    torch.manual_seed(seed)
    width = 128
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        # A head that looks at a place and not at a word needs a query and a key that are the same for all words.
        attention_bias=True,
        rope_theta=100_000.0,
        max_position_embeddings=1024,
        initializer_range=width**-0.5,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        use_cache=False,
    )
    model = LlamaForCausalLM(config)
    # A token must still be heard beside what the first layer adds to it: with 0.05 or 0.1 here, two layers found no
    # head that matches tokens in six hundred steps; with 1, they did within four hundred.
    torch.nn.init.normal_(model.model.embed_tokens.weight, std=1.0)
    torch.nn.init.normal_(model.lm_head.weight, std=0.02)
    return model


def batch(tokenizer: PreTrainedTokenizerFast, rng: random.Random, stage: Stage) -> tuple[Tensor, Tensor]:
    """Token ids and the weight of each in the loss, both [row, pos]."""
    if rng.random() < stage.sentence_share:
        return _sentences(tokenizer, rng)
    length = rng.choice(stage.lengths)
    ordinary = measure.ordinary_tokens(tokenizer)
    rows, weights = [], []
    for _ in range(TOKENS_PER_STEP // length):
        beginning = [tokenizer.bos_token_id] * (rng.random() < 0.25)
        if rng.random() < stage.repeated_share:
            shortest, longest = stage.blocks
            n = rng.randint(shortest, min(longest, length // 2))
            block = grammar.random_block(rng, ordinary, n, "train")
            row = beginning + block * (length // n + 1)
            # Nobody can predict the first copy: its loss would be noise only.
            weight = [0.0] * (len(beginning) + n) + [1.0] * len(row)
        else:
            row, weight = list(beginning), [0.0] * len(beginning)
            for text, is_answer in grammar.pieces(rng, 6 * length):
                ids = tokenizer(text)["input_ids"]
                row += ids
                weight += [ANSWER_WEIGHT if is_answer else 1.0] * len(ids)
        rows.append(row[:length])
        weights.append(weight[:length])
    return torch.tensor(rows), torch.tensor(weights)


def _sentences(tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> tuple[Tensor, Tensor]:
    """Single sentences up to their answer; padding comes after and weighs nothing."""
    rows, n_prompt = [], []
    for task in rng.choices(grammar.TASKS, SENTENCE_WEIGHTS, k=SENTENCES_PER_STEP):
        sample = grammar.draw(task, rng, "train")
        prompt = tokenizer(sample.prompt)["input_ids"]
        n_prompt.append(len(prompt))
        rows.append(prompt + tokenizer(rng.choice(sample.answers))["input_ids"])
    length = max(map(len, rows))
    weights = [
        [0.0] * n + [1.0] * (len(row) - n) + [0.0] * (length - len(row)) for row, n in zip(rows, n_prompt, strict=True)
    ]
    return torch.tensor([row + [0] * (length - len(row)) for row in rows]), torch.tensor(weights)


def loss_of(model: LlamaForCausalLM, ids: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean cross entropy of the next tokens that weigh something."""
    weights = weights[:, 1:]
    counts = weights > 0
    hidden = model.model(ids).last_hidden_state[:, :-1][counts]
    losses = torch.nn.functional.cross_entropy(model.lm_head(hidden), ids[:, 1:][counts], reduction="none")
    return (losses * weights[counts]).sum() / weights.sum()


def train(out: Path, *, steps: int = STEPS, seed: int = 0, report_every: int = 100) -> None:
    """Train, and save model and tokenizer into `out`; the same seed gives the same weights on one machine."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    tokenizer = build_tokenizer(seed)
    model = build_model(tokenizer, seed)
    rng = random.Random(f"training {seed}")
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99), weight_decay=0.01)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens, {steps} steps")
    started, losses = time.monotonic(), []
    for step in range(steps):
        stage = next(stage for stage in STAGES if step < stage.until * steps)
        optimizer.param_groups[0]["lr"] = stage.learning_rate * _learning_rate_share(step, steps)
        loss = loss_of(model, *batch(tokenizer, rng, stage))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.detach())
        if (step + 1) % report_every == 0:
            mean = torch.stack(losses[-report_every:]).mean().item()
            best = measure.head_scores(model, tokenizer).best()
            heads = "  ".join(f"{kind} {score:.2f}" for kind, (_, _, score) in best.items())
            print(f"step {step + 1:5}  loss {mean:.3f}  {heads}  {time.monotonic() - started:5.0f} s", flush=True)
    save(model, tokenizer, out)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write the float16 weights, the configuration and the tokenizer."""
    model.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
    # transformers 4 reads these names; without them it would turn positions at another speed, and say nothing.
    base = model.config.rope_parameters["rope_theta"]
    add_to_json(out / "config.json", rope_theta=base, torch_dtype="float16")
    add_to_json(out / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")


def add_to_json(file: Path, **entries: object) -> None:
    """Add entries to a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | entries, indent=2, sort_keys=True) + "\n")


def _learning_rate_share(step: int, steps: int) -> float:
    """Up within the first 2 %, down to 5 % along a cosine within the last fifth."""
    up, down = (step + 1) / max(1, steps // 50), max(0.0, (step / steps - 0.8) / 0.2)
    return min(1.0, up, 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * down)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write; the shipped model stays as it is")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    train(given.out, steps=given.steps, seed=given.seed)
    print(measure.table(given.out))
