"""A Hugging Face model and its tokenizer as this package uses them."""

from __future__ import annotations

import inspect
import operator
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from . import bundled
from .tokens import Token, tokens, vocabulary_tokens

Prompt = str | Sequence[int] | Sequence[dict[str, str]]
NO_PROMPT = "a prompt is text, a list of token ids, or a list of chat messages, got {!r:.80}"


@dataclass(frozen=True)
class Encoded:
    ids: list[int]
    roles: list[str | None]


@dataclass
class Model:
    """A causal language model ready to be recorded; nothing in `module` is ever changed."""

    module: nn.Module
    tokenizer: Any
    name: str
    layers: list[nn.Module] | None = None  # the decoder layers, where they cannot be found
    _vocabulary: dict[int, Token] = field(default_factory=dict, repr=False)

    @property
    def config(self) -> Any:
        config: Any = getattr(self.module, "config", None)
        return config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config

    @property
    def n_positions(self) -> int | None:
        """The longest prompt the model was made for, where its config says so."""
        return next(
            (
                n
                for k in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "block_size")
                if isinstance(n := getattr(self.config, k, None), int)
            ),
            None,
        )

    def encode(self, prompt: Prompt) -> Encoded:
        """Token ids of text (as the tokenizer does by default), of ids, or of chat messages (by the template).

        Raises ValueError for a prompt without tokens, longer than the model's positions, or with ids it does not know.
        """
        if isinstance(prompt, str):
            if not prompt:
                raise ValueError("the prompt is empty; type some text")
            ids = list(self._needed_tokenizer()(prompt)["input_ids"])
            roles: list[str | None] = [None] * len(ids)
        elif isinstance(prompt, (bytes, dict)) or not isinstance(prompt, Iterable):
            raise ValueError(NO_PROMPT.format(prompt))
        elif len(prompt) and all(isinstance(x, dict) for x in prompt):
            ids, roles = self._encode_chat(list(prompt))  # type: ignore[arg-type]
        else:
            try:
                ids = [operator.index(x) for x in prompt]  # type: ignore[arg-type]
            except TypeError:
                raise ValueError(NO_PROMPT.format(prompt)) from None
            roles = [None] * len(ids)
        if not ids:
            raise ValueError("the prompt has no tokens; type some text")
        n_vocab = self._n_vocab()
        if n_vocab is not None and not 0 <= min(ids) <= max(ids) < n_vocab:
            bad = next(i for i in ids if not 0 <= i < n_vocab)
            raise ValueError(
                f"token ids must be in 0..{n_vocab - 1}; the tokenizer may belong to another model, got {bad}"
            )
        if self.n_positions is not None and len(ids) > self.n_positions:
            raise ValueError(
                f"the prompt has {len(ids)} tokens, but the model has {self.n_positions} positions; shorten it"
            )
        return Encoded(ids, roles)

    def inputs(self, ids: list[int]) -> dict[str, Any]:
        """The arguments of one ordinary forward pass."""
        x = torch.tensor([ids], device=self.device)
        parameters = inspect.signature(self.module.forward).parameters
        named = "input_ids" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        return {"input_ids": x} if named else {"": x}

    @property
    def device(self) -> torch.device:
        devices = (p.device for p in self.module.parameters())
        return next((d for d in devices if d.type != "meta"), torch.device("cpu"))

    def readable_tokens(self, ids: Iterable[int]) -> list[Token]:
        """The tokens of a text, in order."""
        return tokens(self.tokenizer, ids)

    def vocabulary(self, ids: Iterable[int]) -> list[Token]:
        """Entries of the vocabulary, each by itself."""
        ids = list(ids)
        for i in ids:
            if i not in self._vocabulary:
                self._vocabulary[i] = vocabulary_tokens(self.tokenizer, [i])[0]
        return [self._vocabulary[i] for i in ids]

    def _encode_chat(self, messages: list[dict[str, str]]) -> tuple[list[int], list[str | None]]:
        tokenizer = self._needed_tokenizer()
        if not getattr(tokenizer, "chat_template", None):
            raise ValueError("the tokenizer has no chat template; give the prompt as text")

        def ids(upto: int, ask: bool) -> list[int]:
            got = tokenizer.apply_chat_template(
                messages[:upto], tokenize=True, add_generation_prompt=ask, return_dict=True
            )
            return list(got["input_ids"])

        asks = messages[-1].get("role") != "assistant"
        whole = ids(len(messages), asks)
        roles: list[str | None] = [None] * len(whole)
        start = 0
        for k, message in enumerate(
            messages
        ):  # a message reaches as far as the shorter conversation agrees with the whole
            try:
                prefix = ids(k + 1, False)
            except Exception:  # noqa: BLE001  some templates refuse a conversation that ends early; roles are only labels
                continue
            end = next(
                (i for i, (a, b) in enumerate(zip(prefix, whole, strict=False)) if a != b), min(len(prefix), len(whole))
            )
            roles[start:end] = [message.get("role")] * max(0, end - start)
            start = max(start, end)
        if asks:
            roles[start:] = ["assistant"] * (len(whole) - start)
        return whole, roles

    def _needed_tokenizer(self) -> Any:
        if self.tokenizer is None:
            raise ValueError(
                "the model has no tokenizer, so a prompt must be token ids; or pass load_model(model, tokenizer)"
            )
        return self.tokenizer

    def _n_vocab(self) -> int | None:
        get: Any = getattr(self.module, "get_input_embeddings", None)
        embedding = get() if get is not None else None
        return getattr(embedding, "num_embeddings", None) or getattr(self.config, "vocab_size", None)

    def __repr__(self) -> str:
        n = sum(p.numel() for p in self.module.parameters())
        return f"Model({self.name!r}, {type(self.module).__name__}, {n / 1e6:.3g} million parameters, {self.device})"


def load_model(
    name_or_model: str | os.PathLike[str] | nn.Module,
    tokenizer: Any = None,
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
    layers: Iterable[nn.Module] | None = None,
    **from_pretrained: Any,
) -> Model:
    """A causal language model with its tokenizer, from the hub, from a local folder, or already loaded.

    name_or_model: a hub name, a folder, or a module (a PreTrainedModel, a PEFT model, or any torch module with the
    usual list of layers); a loaded module is used as it is. layers: the decoder layers, where they cannot be found.
    Remaining arguments go to `from_pretrained`; trust_remote_code stays False unless given.

    Raises ValueError for an encoder or encoder-decoder, OSError (with what to do offline) when nothing can be loaded.
    """
    found = None if layers is None else list(layers)
    if isinstance(name_or_model, nn.Module):
        module, name = name_or_model, _module_name(name_or_model)
        if tokenizer is None and not isinstance(getattr(module, "config", None), type(None)):
            tokenizer = _tokenizer_beside(module)
    else:
        name = os.fspath(name_or_model)
        module, tokenizer = _from_pretrained(name, tokenizer, dtype, from_pretrained)
        name = Path(name).name if Path(name).is_dir() else name
        module.eval()
        if device is not None:
            module.to(device)  # type: ignore[arg-type]
    if isinstance(tokenizer, (str, os.PathLike)):
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(tokenizer)
    _refuse_other_models(module)
    return Model(module, tokenizer, name, found)


def bundled_model() -> Model:
    """The small Llama-architecture model that ships with the package; it knows only the toy grammar of its card."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # it loads at once
    try:
        model = load_model(bundled.DIRECTORY, dtype=torch.float32)
    finally:
        if shown:
            logging.enable_progress_bar()
    model.name = "lmtt-bundled"
    return model


def _from_pretrained(name: str, tokenizer: Any, dtype: Any, options: dict[str, Any]) -> tuple[nn.Module, Any]:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    if Path(name).is_dir() and not (Path(name) / "config.json").is_file():
        raise OSError(f"the folder has no config.json, so it holds no model: {name}")
    shared = {
        k: v
        for k, v in options.items()
        if k in ("trust_remote_code", "revision", "token", "cache_dir", "local_files_only", "subfolder")
    }
    try:
        config = AutoConfig.from_pretrained(name, **shared)
        if getattr(config, "is_encoder_decoder", False):
            raise ValueError(
                f"lmtt_widget reads causal (decoder-only) language models, and {name} is an encoder-decoder"
            )
        module = AutoModelForCausalLM.from_pretrained(name, **({} if dtype is None else {"dtype": dtype}), **options)
        return module, AutoTokenizer.from_pretrained(name, **shared) if tokenizer is None else tokenizer
    except OSError as e:
        if Path(name).exists():
            raise
        raise OSError(
            f"{name!r} is neither a folder here nor a model that could be fetched; offline, pass the path of a "
            f"downloaded model. ({e})"
        ) from e


def _refuse_other_models(module: nn.Module) -> None:
    config = getattr(module, "config", None)
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError(
            f"{type(module).__name__} is an encoder-decoder; lmtt_widget reads causal (decoder-only) language models"
        )
    can_generate = getattr(module, "can_generate", None)
    if callable(can_generate) and not can_generate():
        raise ValueError(
            f"{type(module).__name__} has no causal language-model head; load it with AutoModelForCausalLM"
        )


def _module_name(module: nn.Module) -> str:
    name = getattr(getattr(module, "config", None), "_name_or_path", "")
    return Path(name).name if name else type(module).__name__


def _tokenizer_beside(module: nn.Module) -> Any:
    """The tokenizer in the folder a model was loaded from, if it is there; never fetched."""
    folder = getattr(module.config, "_name_or_path", "")
    if not (folder and Path(folder).is_dir()):
        return None
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError):
        return None
