"""A Hugging Face model and its tokenizer as this package uses them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from . import bundled
from .decomposition.forward import inputs_of
from .given import told
from .prompts import NO_PROMPT as NO_PROMPT
from .prompts import Prompt as Prompt
from .prompts import asked, chat_ids, one_line, plain_prompt, text_ids, tried, whole_text
from .tokens import Token, starting_with, tokens, vocabulary_tokens

_LARGEST_ID = 1 << 63
_BUNDLED = {"grammar": (bundled.DIRECTORY, "lmtt-bundled"), "stories": (bundled.STORIES, "lmtt-stories")}
_SHARED = ("trust_remote_code", "revision", "token", "cache_dir", "local_files_only", "subfolder", "gguf_file")


@dataclass(frozen=True)
class Encoded:
    ids: list[int]
    roles: list[str | None]


@dataclass
class Model:
    """A causal language model ready to be recorded; nothing in `module` is ever changed.

    >>> [token.text for token in model.vocabulary(model.encode("Mary went").ids)]
    ['Mary', '·went']
    """

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
        given = plain_prompt(prompt)
        if given == "":
            raise ValueError("the prompt is empty; type some text")
        roles: list[str | None] | None = None
        if isinstance(given, str):
            ids = text_ids(self._needed_tokenizer(), given)
        elif given and isinstance(given[0], dict):
            ids, roles = chat_ids(self._needed_tokenizer(), given)
        else:
            ids = given
        if not ids:
            raise ValueError("the prompt has no tokens; type some text")
        n_vocab = self._n_vocab() or _LARGEST_ID
        bad = next((i for i in ids if not 0 <= i < n_vocab), None)
        if bad is not None:
            raise ValueError(
                f"token ids must be in 0..{n_vocab - 1}; the tokenizer may belong to another model, got {bad}"
            )
        if self.n_positions is not None and len(ids) > self.n_positions:
            raise ValueError(
                f"the prompt has {len(ids)} tokens, but the model has {self.n_positions} positions; shorten it"
            )
        return Encoded(ids, roles or [None] * len(ids))

    def inputs(self, ids: list[int]) -> dict[str, Any]:
        """The arguments of one ordinary forward pass."""
        return inputs_of(self.module, torch.tensor([ids], device=self.device))

    @property
    def device(self) -> torch.device:
        devices = (p.device for p in self.module.parameters())
        return next((d for d in devices if d.type != "meta"), torch.device("cpu"))

    def readable_tokens(self, ids: Iterable[int]) -> list[Token]:
        """The tokens of a text, in order. Raises ValueError where the tokenizer cannot say what they are."""
        ids = list(ids)
        return asked(self.tokenizer, "name its tokens", lambda: tokens(self.tokenizer, ids))  # type: ignore[no-any-return]

    def vocabulary(self, ids: Iterable[int]) -> list[Token]:
        """Entries of the vocabulary, each by itself. Raises ValueError where the tokenizer cannot say what they are."""
        ids = list(ids)
        new = [i for i in dict.fromkeys(ids) if i not in self._vocabulary]
        found = asked(self.tokenizer, "name its tokens", lambda: vocabulary_tokens(self.tokenizer, new))
        self._vocabulary.update(zip(new, found, strict=True))
        return [self._vocabulary[i] for i in ids]

    def starting_with(self, typed: str) -> list[str]:
        """Texts of tokens that begin with what was typed. Raises ValueError where the tokenizer cannot list its own.

        >>> model.starting_with("mar")
        ['·Mary', '·market', 'mar', 'Mary', 'mara']
        """
        return asked(self.tokenizer, "list its tokens", lambda: starting_with(self.tokenizer, typed))  # type: ignore[no-any-return]

    def token_id(self, text: str, what: str = "a token") -> int:
        """The id of a text that is one token. Raises ValueError for any other; `what` is what it was to be."""
        ids = text_ids(self._needed_tokenizer(), whole_text(text, what), add_special_tokens=False)
        if len(ids) != 1:
            pieces = " + ".join(token.text for token in self.vocabulary(ids)) or "nothing"
            raise ValueError(
                f"{what} must be one token; {text!r} is {pieces} (a word inside a text starts with a space)"
            )
        return ids[0]

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

        >>> model = lmtt.load_model(model.module, model.tokenizer)  # or a name on the hub, or a folder
    """
    found = None if layers is None else _modules(layers)
    if isinstance(name_or_model, nn.Module):
        module, name = name_or_model, _module_name(name_or_model)
        if tokenizer is None and not isinstance(getattr(module, "config", None), type(None)):
            tokenizer = _tokenizer_beside(module)
    elif isinstance(name_or_model, (str, os.PathLike)):
        name = os.fspath(name_or_model)
        module, tokenizer = _from_pretrained(name, tokenizer, dtype, from_pretrained)
        name = Path(name).name if _is_folder(name) else name
        module.eval()
        if device is not None:
            why = f"{name} cannot be moved to the device {device!r}"
            tried(lambda: module.to(torch.device(device)), why, "move it yourself and pass the module")
    else:
        raise ValueError(f"a model is a name on the hub, a folder or a torch module, got {name_or_model!r:.80}")
    if isinstance(tokenizer, (str, os.PathLike)):
        tokenizer = _tokenizer(os.fspath(tokenizer), from_pretrained)
    if tokenizer is not None and not (callable(tokenizer) and hasattr(tokenizer, "convert_ids_to_tokens")):
        raise ValueError(
            "a tokenizer is one of transformers, its name or its folder; a tokenizers.Tokenizer goes into "
            f"transformers.PreTrainedTokenizerFast(tokenizer_object=...), got {tokenizer!r:.80}"
        )
    _refuse_other_models(module)
    return Model(module, tokenizer, name, found)


def bundled_model(name: str = "grammar") -> Model:
    """One of the two small models that ship with the package; each knows what its card says and nothing else.

    "grammar": a Llama of four layers for seven tasks of a toy grammar. "stories": a GPT-2 of six layers that tells
    little English stories. Both compute in float32.

    Raises ValueError for another name.

    >>> lmtt.bundled_model().name, lmtt.bundled_model("stories").name
    ('lmtt-bundled', 'lmtt-stories')
    """
    if not isinstance(name, str) or name not in _BUNDLED:
        raise ValueError(f'a bundled model is "grammar" or "stories", got {told(name)}')
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # it loads at once
    folder, called = _BUNDLED[name]
    try:
        model = load_model(folder, dtype=torch.float32)
    finally:
        if shown:
            logging.enable_progress_bar()
    model.name = called
    return model


def _from_pretrained(name: str, tokenizer: Any, dtype: Any, options: dict[str, Any]) -> tuple[nn.Module, Any]:
    from transformers import AutoConfig, AutoModelForCausalLM

    options = {"trust_remote_code": False, "use_safetensors": True, **options}  # without the first one it would ask
    if _is_folder(name):
        _refuse_folder(name, Path(name) / options.get("subfolder", ""), options)
    if dtype is not None:
        options[_dtype_keyword()] = dtype
    shared = {k: v for k, v in options.items() if k in _SHARED}
    again = "download it again, or update transformers"
    if "gguf_file" not in options and not _is_adapter(name):
        why = f"the config of {name} cannot be read"
        _refuse_config(name, _fetched(name, lambda: AutoConfig.from_pretrained(name, **shared), why, again))

    def weights() -> Any:
        return AutoModelForCausalLM.from_pretrained(name, output_loading_info=True, **options)

    why = f"{name} cannot be made of its config, its weights and what was given"
    module, info = _fetched(name, weights, why, again)
    if tokenizer is None:
        tokenizer = _tokenizer(name, shared)
    missing = sorted(info["missing_keys"])
    if missing:
        some = ", ".join(missing[:3] + ["..."] * (len(missing) > 3))
        raise ValueError(
            f"{name} lacks {len(missing)} of the model's weights ({some}), "
            "which would be random; if that is meant, load the model with transformers and pass it"
        )
    return module, tokenizer


def _tokenizer(name: str, options: dict[str, Any]) -> Any:
    from transformers import AutoTokenizer

    shared = {"trust_remote_code": False, **{k: v for k, v in options.items() if k in _SHARED}}
    why, then = f"the tokenizer of {name} cannot be read", "pass another one: load_model(..., tokenizer=...)"
    return _fetched(name, lambda: AutoTokenizer.from_pretrained(name, **shared), why, then)


def _fetched(name: str, fetch: Callable[[], Any], otherwise: str, then: str) -> Any:
    """What `fetch` gives. Raises OSError where nothing is there, ValueError for whatever else it raises."""
    try:
        return tried(fetch, otherwise, then, but=(OSError,))
    except OSError as e:
        if _is_folder(name):
            raise OSError(f"{otherwise} ({one_line(e)}); {then}") from e
        raise OSError(
            f"{name!r:.100} is neither a folder here nor a model that could be fetched; offline, pass the path of a "
            "downloaded model (on a machine with network: huggingface_hub.snapshot_download). If its weights are kept "
            f"as a pickle only, and you trust them, pass use_safetensors=False. ({one_line(e)})"
        ) from e
    except ValueError as e:
        if "trust_remote_code" in str(e.__cause__):
            raise ValueError(
                f"{name} brings Python code of its own, which runs when it is loaded; read it, and if you trust it, "
                "pass trust_remote_code=True"
            ) from e
        if "Unrecognized configuration class" in str(e.__cause__):
            raise ValueError(f"lmtt_widget reads causal (decoder-only) language models, and {name} is none") from e
        raise


def _modules(layers: Any) -> list[nn.Module]:
    found = list(layers) if isinstance(layers, Iterable) else []
    if not found or not all(isinstance(m, nn.Module) for m in found):
        raise ValueError(f"layers are the model's own decoder layers, as a list of modules, got {layers!r:.80}")
    return found


def _is_folder(name: str) -> bool:
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):  # longer than a name can be, or with a character that none has
        return False


def _is_adapter(name: str) -> bool:
    folder = Path(name)
    return _is_folder(name) and (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file()


def _dtype_keyword() -> str:
    import transformers

    major, minor = (int(n) for n in transformers.__version__.split(".")[:2])
    return "dtype" if (major, minor) >= (4, 56) else "torch_dtype"


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
        if str(architecture).endswith("ForMaskedLM"):
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
        return tried(lambda: AutoTokenizer.from_pretrained(folder, trust_remote_code=False), "", "", but=(OSError,))
    except (OSError, ValueError):
        return None
