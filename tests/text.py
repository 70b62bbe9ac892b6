"""Tokenizers of the kinds that language models use, trained here on a few lines in many scripts."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lmtt_widget import Model, load_model

from .zoo import randomise

N_POSITIONS = 90

LINES = [
    "When Mary and John went to the store, John gave a drink to Mary.",
    "the quick brown fox jumps over the lazy dog and the dog sleeps",
    "naïve café, Straße, Łódź, Ελλάδα, Москва",
    "猫在垫子上。東京は夜です。서울의 밤",
    "مرحبا بالعالم، كيف الحال؟ שלום עולם",
    "नमस्ते दुनिया, हिन्दी में लिखा",
    "print('hello')\n\tfor i in range(10):\n\t\treturn i * 3.14",
]

TEXTS = {
    "plain": "the dog gave John a drink.",
    "spaces": " two  spaces   and   more ",
    "newline and tab": "line one\nline two\n\n\tindented\r\nend\n",
    "emoji": "party 🎉🎉 and 👍🏽 here",
    "family": "👩‍👩‍👧‍👦 and 🇫🇷 and ❤️",
    "chinese": "猫在垫子上睡觉。",
    "rare": "𠜎𠜱 ꙮ 𝄞",
    "arabic": "مرحبا بالعالم، كيف؟",
    "devanagari": "नमस्ते दुनिया क्षत्रिय",
    "combining": "e\u0301 a\u0308\u0323 zalgo\u0335\u0321",
    "joiners": "a\u200db\u200cc\u200bd",
    "no-break space": "1\u00a0000\u202fkm",
    "bidi": "abc\u202edef\u202c\u2066x\u2069\u200f",
    "control": "a\x00b\x07c\x1b[31m\x7f",
    "hostile": "<img src=x onerror=alert(1)></script>&lt;b&gt;${x}`\"'",
    "replacement": "a\ufffdb",
    "raw markers": "a▁b Ġc ##d <0x41>",
    "": "x",
}

SPECIAL = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]


@cache
def byte_level() -> Any:
    """As GPT-2's: every byte is an entry, so every text is spelled exactly."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return _wrapped(tokenizer)


@cache
def split_byte_level() -> Any:
    """As Llama 3's: a regular expression first, then bytes."""
    tokenizer = Tokenizer.from_str(byte_level().backend_tokenizer.to_str())
    pattern = Regex(r"\s?\p{L}+|\s?\p{N}{1,3}|\s?[^\s\p{L}\p{N}]+|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return _wrapped(tokenizer)


@cache
def byte_fallback() -> Any:
    """As Llama 2's: a space in front, spaces as ▁, unknown characters as <0x..> bytes."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    normal = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trained.normalizer = normal
    trainer = trainers.BpeTrainer(
        vocab_size=160, limit_alphabet=60, special_tokens=["<unk>", *SPECIAL], show_progress=False
    )
    trained.train_from_iterator(LINES, trainer)
    model = json.loads(trained.to_str())["model"]
    entries = ["<unk>", *SPECIAL, *(f"<0x{b:02X}>" for b in range(256))]
    entries += [e for e in sorted(model["vocab"], key=model["vocab"].get) if e not in entries]
    merges = [tuple(m) for m in model["merges"]]
    vocabulary = {e: i for i, e in enumerate(entries)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normal
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _wrapped(tokenizer, unk_token="<unk>")


@cache
def unigram() -> Any:
    """As T5's and XLM-R's: Metaspace and a unigram model; characters it never saw are unknown."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=["<unk>", *SPECIAL], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return _wrapped(tokenizer, unk_token="<unk>")


@cache
def word_piece() -> Any:
    """As BERT's: words split at spaces, ## inside a word; spaces are not kept."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    trainer = trainers.WordPieceTrainer(vocab_size=220, special_tokens=["[UNK]", *SPECIAL], show_progress=False)
    tokenizer.train_from_iterator(LINES, trainer)
    return _wrapped(tokenizer, unk_token="[UNK]")


def causal_model() -> Any:
    """A random Llama for the byte-level tokenizer, with a few entries more than it knows: 3 layers, 4 heads."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(byte_level()) + 6,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=N_POSITIONS,
        attention_bias=True,
    )
    module = LlamaForCausalLM(config).eval()
    randomise(module)
    return module


@cache
def model() -> Model:
    """That model with its tokenizer, made once."""
    return load_model(causal_model(), byte_level())


def _wrapped(tokenizer: Tokenizer, **special: str) -> Any:
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        **special,
    )
    made.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return made
