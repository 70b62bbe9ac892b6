"""Tokenizers of the kinds that language models use, trained here on a few lines in many scripts."""

from __future__ import annotations

import io
import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizer, PreTrainedTokenizerFast

from lmtt_widget import Model, load_model
from lmtt_widget.tokens import _byte_alphabet

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

# Twelve scripts and what is hard in each: marks, joiners, right to left, no spaces, several code points to a character.
PAGE = """Straße, naïve café, Łódź, e\u0301 a\u0308\u0323, ﬁ
Ελλάδα ἀρχή
Москва, Київ
მთვარე
Հայաստան
مرحبا بالعالم، كيف؟ \u0645\u0640\u0651
שָׁלוֹם עולם
नमस्ते क्षत्रिय, न\u094d\u200dद न\u094d\u200cद
தமிழ் கொடு
ภาษาไทยไม่มีเว้นวรรค
한국어 \u1112\u1161\u11ab
猫在垫子上。𠜎 東京は夜です カ\u3099

1\u00a0000\u202fkm\ttab  two   three
👩‍👩‍👧‍👦 👍🏽 🇫🇷 ❤️ a\u200bb\u200dc"""

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
def byte_fallback_without_prefix() -> Any:
    """As Gemma's: no space in front, runs of spaces as added tokens, <s> put there by the tokenizer."""
    tokenizer = Tokenizer.from_str(byte_fallback().backend_tokenizer.to_str())
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_tokens([AddedToken("▁▁", normalized=True), AddedToken("\n\n", normalized=False)])
    made = _wrapped(tokenizer, unk_token="<unk>")
    made.backend_tokenizer.post_processor = _begins_with(made)
    return made


@cache
def unigram_with_bytes() -> Any:
    """As SentencePiece's unigram models with byte fallback: nothing is unknown."""
    trained = json.loads(unigram().backend_tokenizer.to_str())["model"]
    entries = [("<unk>", 0.0), *((e, 0.0) for e in SPECIAL), *((f"<0x{b:02X}>", -1e3) for b in range(256))]
    known = {e for e, _ in entries}
    entries += [(e, score) for e, score in trained["vocab"] if e not in known]
    tokenizer = Tokenizer(models.Unigram(entries, 0, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _wrapped(tokenizer, unk_token="<unk>")


@cache
def sentence_piece(kind: str) -> Any:
    """A model that sentencepiece itself trained and runs, behind transformers' Python class. kind: "unigram", "bpe"."""
    sentencepiece = pytest.importorskip("sentencepiece")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES * 20), model_writer=model, vocab_size=420, model_type=kind, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, character_coverage=0.98,
        user_defined_symbols=["<|im_start|>", "<|im_end|>"], minloglevel=2, hard_vocab_limit=False,
    )  # fmt: skip
    file = Path(tempfile.mkdtemp()) / "tokenizer.model"
    file.write_bytes(model.getvalue())
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    if transformers.__version__.startswith("4."):
        made = transformers.LlamaTokenizer(str(file), legacy=False, add_bos_token=False, **special)
    else:
        from transformers.tokenization_utils_sentencepiece import SentencePieceBackend

        made = SentencePieceBackend(vocab_file=str(file), **special)
    made.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    return made


class TikToken(PreTrainedTokenizer):
    """As Qwen's first and Kimi's, in Python: entries are bytes, the longest that fits is taken."""

    def __init__(self, **options: Any) -> None:
        table = _byte_alphabet()
        spelled = [bytes(table[c] for c in e) for e in byte_level().get_vocab() if e not in SPECIAL]
        self.ranks = {e: i for i, e in enumerate(sorted(spelled, key=lambda e: (len(e), e)))}
        self.entries = list(self.ranks)
        super().__init__(bos_token="<s>", eos_token="</s>", pad_token="<pad>", **options)
        self.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})

    @property
    def vocab_size(self) -> int:
        return len(self.ranks)

    def get_vocab(self) -> dict[Any, int]:
        return {**self.ranks, **self.added_tokens_encoder}

    def _tokenize(self, text: str, **_: Any) -> list[bytes]:
        data, found = text.encode("utf-8", "surrogatepass"), []
        while data:
            n = next(n for n in range(min(len(data), 24), 0, -1) if data[:n] in self.ranks)
            found.append(data[:n])
            data = data[n:]
        return found

    def _convert_token_to_id(self, token: Any) -> int:
        return self.ranks[token]

    def _convert_id_to_token(self, index: int) -> Any:
        return self.entries[index]


@cache
def tiktoken_style() -> Any:
    return TikToken()


@cache
def word_ends() -> Any:
    """As the first GPT's: </w> ends a word, and spaces are not kept."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    trainer = trainers.BpeTrainer(
        vocab_size=260, end_of_word_suffix="</w>", special_tokens=["<unk>", *SPECIAL], show_progress=False
    )
    tokenizer.train_from_iterator(LINES, trainer)
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


@cache
def page_model() -> Model:
    """A random model whose tokenizer was trained on PAGE, so that it has whole words of every script there."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=520,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([PAGE], trainer)
    wrapped = _wrapped(tokenizer)
    return load_model(causal_model(len(wrapped), n_positions=400), wrapped)


def causal_model(n_vocab: int | None = None, n_positions: int = N_POSITIONS) -> Any:
    """A random Llama for the byte-level tokenizer, with a few entries more than it knows: 3 layers, 4 heads."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=n_vocab or len(byte_level()) + 6,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=n_positions,
        attention_bias=True,
    )
    module = LlamaForCausalLM(config).eval()
    randomise(module)
    return module


@cache
def model() -> Model:
    """That model with its tokenizer, made once."""
    return load_model(causal_model(), byte_level())


def _begins_with(tokenizer: Any) -> Any:
    """A post-processor that puts <s> in front."""
    bos = tokenizer.bos_token
    return processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, tokenizer.bos_token_id)]
    )


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
