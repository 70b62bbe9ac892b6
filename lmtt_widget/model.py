"""A Hugging Face model and its tokenizer as this package uses them."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from . import bundled
from .decomposition.forward import inputs_of
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
                if isinstance(n := getattr(self.config, k, None), int) and n > 0
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
        return inputs_of(self.module, torch.tensor([ids], device=self.device))

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

    name_or_model: a hub name, a folder (of a model or of a PEFT adapter), or a module (a PreTrainedModel, a PEFT model,
    or any torch module with the usual list of layers); a loaded module is used as it is. layers: the decoder layers,
    where they cannot be found. Remaining arguments go to `from_pretrained`. Unless given, trust_remote_code is False
    (a model's own Python code does not run) and use_safetensors True (weights kept as a pickle, which may run any code
    when it is read, are refused).

    Raises ValueError for an encoder or encoder-decoder, for a model without weights or with some of them missing, and
    for what may run code; OSError (with what to do offline) when nothing can be loaded.
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

        tokenizer = AutoTokenizer.from_pretrained(
            tokenizer, trust_remote_code=from_pretrained.get("trust_remote_code", False)
        )
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

    options = {"trust_remote_code": False, "use_safetensors": True, **options}  # without the first one it would ask
    if Path(name).is_dir():
        _refuse_folder(name, Path(name) / options.get("subfolder", ""), options)
    if dtype is not None:
        options[_dtype_keyword()] = dtype
    shared = {
        k: v
        for k, v in options.items()
        if k in ("trust_remote_code", "revision", "token", "cache_dir", "local_files_only", "subfolder", "gguf_file")
    }
    try:
        if "gguf_file" not in options and not _is_adapter(name):
            _refuse_config(name, AutoConfig.from_pretrained(name, **shared))
        module, info = AutoModelForCausalLM.from_pretrained(name, output_loading_info=True, **options)
        if tokenizer is None:
            tokenizer = AutoTokenizer.from_pretrained(name, **shared)
    except OSError as e:
        if Path(name).exists():
            raise
        raise OSError(
            f"{name!r} is neither a folder here nor a model that could be fetched; offline, pass the path of a "
            "downloaded model (on a machine with network: huggingface_hub.snapshot_download). If its weights are kept "
            f"as a pickle only, and you trust them, pass use_safetensors=False. ({e})"
        ) from e
    except ValueError as e:
        if "trust_remote_code" in str(e):
            raise ValueError(
                f"{name} brings Python code of its own, which runs when it is loaded; read it, and if you trust it, "
                "pass trust_remote_code=True"
            ) from e
        if "Unrecognized configuration class" in str(e):
            raise ValueError(f"lmtt_widget reads causal (decoder-only) language models, and {name} is none") from e
        raise
    missing = sorted(info["missing_keys"])
    if missing:
        some = ", ".join(missing[:3] + ["..."] * (len(missing) > 3))
        raise ValueError(
            f"{name} lacks {len(missing)} of the model's weights ({some}), "
            "which would be random; if that is meant, load the model with transformers and pass it"
        )
    return module, tokenizer


def _dtype_keyword() -> str:
    import transformers

    major, minor = (int(n) for n in transformers.__version__.split(".")[:2])
    return "dtype" if (major, minor) >= (4, 56) else "torch_dtype"


def _is_adapter(name: str) -> bool:
    return (Path(name) / "adapter_config.json").is_file() and not (Path(name) / "config.json").is_file()


def _refuse_folder(name: str, folder: Path, options: dict[str, Any]) -> None:
    """A folder without a model, without weights, or with weights that may run code."""
    if "gguf_file" in options:
        return
    if not (folder / "config.json").is_file() and not _is_adapter(name):
        raise OSError(f"the folder has no config.json, so it holds no model: {name}")
    if any(folder.glob("*.safetensors")):
        return
    pickles = sorted(p.name for kind in ("bin", "pt", "pth", "ckpt") for p in folder.glob(f"*.{kind}"))
    if not pickles:
        raise OSError(f"the folder has no weights (model.safetensors), so there is no model to load: {name}")
    if options["use_safetensors"]:
        raise ValueError(
            f"the weights are kept as a pickle ({pickles[0]}), which may run any code when it is read; if you trust "
            f"where they come from, pass use_safetensors=False: {name}"
        )


def _refuse_config(name: str, config: Any) -> None:
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError(f"lmtt_widget reads causal (decoder-only) language models, and {name} is an encoder-decoder")
    for architecture in getattr(config, "architectures", None) or ():
        if architecture.endswith("ForMaskedLM"):
            raise ValueError(
                f"lmtt_widget reads causal (decoder-only) language models, and {name} is an encoder ({architecture})"
            )


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
    offloaded = any(hasattr(m, "_hf_hook") for m in module.modules())  # accelerate brings the weights when they run
    without = [n for n, p in module.named_parameters() if p.device.type == "meta"]
    if without and not offloaded:
        raise ValueError(
            f"the model is on the meta device: it has shapes but no weights ({without[0]}); "
            "load it with from_pretrained"
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
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError):
        return None
