"""Small random models with words for tokens, so that a test needs no trained weights and knows every token."""

from __future__ import annotations

from functools import cache

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import lmtt_widget as lmtt

from .. import zoo

N_POSITIONS = 24
PROMPT = "the cat sat on the mat and saw a dog"
HOSTILE = (
    "<img/src=x/onerror=document.title='owned'>",
    "</script><script>document.title='owned'</script>",
    "\u202eesrever",
    "שלום",
    "猫",
    "&lt;b&gt;",
    "x" * 60,
)


@cache
def random_model() -> lmtt.Model:
    """Three layers, four heads on two key-value heads; at most N_POSITIONS tokens; unknown words become [UNK]."""
    words = sorted({*PROMPT.split(), "ran", "home", *HOSTILE})
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1 + len(words),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=N_POSITIONS,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():  # large enough for attention to prefer one token to another
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.3 if parameter.ndim > 1 else 0.2) + (parameter.ndim == 1))
    return lmtt.load_model(model, _tokenizer(words))


@cache
def model_of_type(model_type: str) -> lmtt.Model:
    """A model of the zoo that knows the words of PROMPT."""
    words = sorted({*PROMPT.split()})
    words += [f"word{i}" for i in range(zoo.N_VOCAB - 1 - len(words))]
    return lmtt.load_model(zoo.make(model_type), _tokenizer(words))


def _tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    vocabulary = {"[UNK]": 0, **{word: i for i, word in enumerate(words, 1)}}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")
