"""What a model takes as a prompt, what is loaded, and what is refused in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertLMHeadModel,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    LlamaForCausalLM,
    LlamaModel,
    T5Config,
    T5ForConditionalGeneration,
)

from lmtt_widget import UndecomposableError, load_model, record
from lmtt_widget.model import Model

from . import text, zoo
from .test_decomposition import plain_model

BERT = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "vocab_size": zoo.N_VOCAB,
    "max_position_embeddings": 20,
}


def encoder(cls: Any) -> Any:
    return cls(BertConfig(**BERT)).eval()


def encoder_decoder() -> Any:
    config = T5Config(d_model=24, d_kv=6, d_ff=40, num_layers=2, num_heads=4, vocab_size=zoo.N_VOCAB)
    return T5ForConditionalGeneration(config).eval()


# ---- prompts ----


def test_text_is_tokenised_as_the_tokenizer_does_by_default() -> None:
    model = text.model()
    ids = model.tokenizer("the dog gave")["input_ids"]
    assert model.encode("the dog gave").ids == ids
    assert model.encode(ids).ids == ids
    assert model.encode(tuple(ids)).ids == ids
    assert model.encode(torch.tensor(ids)).ids == ids
    assert set(model.encode(ids).roles) == {None}


CHAT = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hello dog"}]


def test_messages_are_written_by_the_template_and_tokens_know_their_role() -> None:
    model = text.model()
    expected = model.tokenizer.apply_chat_template(CHAT, add_generation_prompt=True, tokenize=True, return_dict=True)
    encoded = model.encode(CHAT)
    assert encoded.ids == expected["input_ids"]
    assert list(dict.fromkeys(encoded.roles)) == ["system", "user", "assistant"]
    spelled = dict.fromkeys(("system", "user", "assistant"), "")
    for token, role in zip(model.readable_tokens(encoded.ids), encoded.roles, strict=True):
        assert role is not None
        spelled[role] += token.bytes.decode()
    assert spelled == {
        "system": "<|im_start|>system\nbe kind<|im_end|>\n",
        "user": "<|im_start|>user\nhello dog<|im_end|>\n",
        "assistant": "<|im_start|>assistant\n",
    }


def test_an_answer_in_the_messages_is_not_asked_for_again() -> None:
    encoded = text.model().encode([*CHAT, {"role": "assistant", "content": "hi"}])
    assert encoded.roles[-1] == "assistant"
    assert text.model().readable_tokens(encoded.ids)[-2].text == "<|im_end|>"


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("", "the prompt is empty"),
        ([], "the prompt has no tokens"),
        ([3, 1000], r"token ids must be in 0\.\.\d+; the tokenizer may belong to another model, got 1000"),
        ([3, -1], "got -1"),
        (["a", "b"], "a prompt is text, a list of token ids, or a list of chat messages"),
        ([3] * 91, "the prompt has 91 tokens, but the model has 90 positions; shorten it"),
        ("the dog " * 90, "but the model has 90 positions; shorten it"),
    ],
)
def test_a_prompt_that_the_model_cannot_take_is_refused(prompt: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        text.model().encode(prompt)
    with pytest.raises(ValueError, match=sentence):
        record(text.model(), prompt)


@pytest.mark.parametrize("prompt", [7, 3.5, None, {"role": "user"}, [5, 6.5]], ids=str)
def test_what_is_no_prompt_at_all_is_refused(prompt: Any) -> None:
    with pytest.raises(ValueError, match="a prompt is text, a list of token ids, or a list of chat messages"):
        text.model().encode(prompt)


def test_the_longest_prompt_is_taken() -> None:
    assert record(text.model(), [3] * 90).n_tokens == 90


def test_without_a_tokenizer_a_prompt_is_token_ids() -> None:
    model = load_model(zoo.shared(zoo.Case("llama")))
    with pytest.raises(ValueError, match=r"no tokenizer, so a prompt must be token ids; or pass load_model\(model, t"):
        model.encode("hello")
    with pytest.raises(ValueError, match="no tokenizer"):
        model.encode(CHAT)
    assert model.encode([5, 6]).ids == [5, 6]


def test_messages_need_a_template(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text.byte_level(), "chat_template", None)
    with pytest.raises(ValueError, match="no chat template; give the prompt as text"):
        text.model().encode(CHAT)


def test_a_prompt_of_one_token_is_enough() -> None:
    run = record(text.model(), [5])
    assert run.n_tokens == 1
    assert run.fidelity.exact


# ---- loading ----


def test_a_loaded_module_is_used_as_it_is() -> None:
    module = zoo.make("llama")
    model = load_model(module, text.byte_level())
    assert isinstance(model, Model)
    assert model.module is module
    assert model.tokenizer is text.byte_level()


def test_a_folder_is_loaded_with_the_tokenizer_beside_it(tmp_path: Path) -> None:
    module = text.causal_model()
    module.save_pretrained(tmp_path)
    text.byte_level().save_pretrained(tmp_path)
    for source in (tmp_path, str(tmp_path)):
        model = load_model(source)
        assert not model.module.training
        assert model.name == tmp_path.name
        assert torch.equal(record(model, "the dog").logits, record(text.model(), "the dog").logits)
    assert load_model(tmp_path, dtype=torch.bfloat16).module.dtype == torch.bfloat16
    beside = load_model(type(module).from_pretrained(tmp_path))
    assert beside.encode("the dog").ids == text.model().encode("the dog").ids


def saved(folder: Path, module: Any = None, **options: Any) -> Path:
    (module or text.causal_model()).save_pretrained(folder, **options)
    text.byte_level().save_pretrained(folder)
    return folder


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"the folder has no config\.json, so it holds no model"):
        load_model(tmp_path)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (saved(tmp_path) / "model.safetensors").unlink()
    with pytest.raises(
        OSError, match=r"the folder has no weights \(model\.safetensors\), so there is no model to load"
    ):
        load_model(tmp_path)


def test_a_folder_that_lacks_some_weights_is_refused(tmp_path: Path) -> None:
    """transformers would make them up."""
    with pytest.raises(ValueError, match=r"lacks 1 of the model's weights \(lm_head\.weight\), which would be random"):
        load_model(saved(tmp_path, text.causal_model().model))


class Payload:
    """A pickle that would write a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_unless_the_user_insists(tmp_path: Path) -> None:
    folder, harm = saved(tmp_path / "model"), tmp_path / "harm"
    (folder / "model.safetensors").unlink()
    torch.save({"x": Payload(harm)}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"kept as a pickle \(pytorch_model\.bin\).* pass use_safetensors=False"):
        load_model(folder)
    assert not harm.exists()
    torch.save(text.causal_model().state_dict(), folder / "pytorch_model.bin")
    insisted = load_model(folder, use_safetensors=False)
    assert torch.equal(record(insisted, [5, 6]).logits, record(text.model(), [5, 6]).logits)


def test_code_of_a_model_does_not_run_unless_the_user_says_so(tmp_path: Path) -> None:
    folder, ran = saved(tmp_path / "model"), tmp_path / "ran"
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own_llama", "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(
        f"open({str(ran)!r}, 'w').close()\n"
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class Config(LlamaConfig):\n    model_type = 'own_llama'\n"
        "class Model(LlamaForCausalLM):\n    config_class = Config\n"
    )
    with pytest.raises(ValueError, match=r"brings Python code of its own, .* pass trust_remote_code=True"):
        load_model(folder)
    assert not ran.exists()
    trusted = load_model(folder, trust_remote_code=True)
    assert ran.exists()
    assert torch.equal(record(trusted, [5, 6]).logits, record(text.model(), [5, 6]).logits)


def test_offline_a_name_says_what_to_do() -> None:
    with pytest.raises(
        OSError,
        match=r"'nobody/nothing' is neither a folder here .* offline, pass the path of a downloaded model \(on",
    ):
        load_model("nobody/nothing")


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # PEFT asks for it
def test_a_folder_of_an_adapter_is_loaded_with_its_model(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    base = load_model(saved(tmp_path / "base"))
    lora = peft.get_peft_model(base.module, peft.LoraConfig(target_modules=["o_proj"], init_lora_weights=False)).eval()
    lora.save_pretrained(tmp_path / "adapter")
    text.byte_level().save_pretrained(tmp_path / "adapter")
    loaded = record(load_model(tmp_path / "adapter"), "the dog")
    assert torch.equal(loaded.logits, record(load_model(lora, text.byte_level()), "the dog").logits)
    assert not torch.equal(loaded.logits, record(text.model(), "the dog").logits)


def test_a_model_on_the_meta_device_is_refused() -> None:
    config = text.causal_model().config
    with torch.device("meta"):
        module = LlamaForCausalLM(config).eval()
    with pytest.raises(ValueError, match=r"on the meta device: it has shapes but no weights \(model\.embed_tokens"):
        load_model(module)


def test_an_encoder_in_a_folder_is_refused(tmp_path: Path) -> None:
    encoder(BertForMaskedLM).save_pretrained(tmp_path / "masked")
    with pytest.raises(ValueError, match=r"is an encoder \(BertForMaskedLM\)"):
        load_model(tmp_path / "masked")
    DistilBertModel(DistilBertConfig(dim=24, n_layers=1, n_heads=2, hidden_dim=8, vocab_size=9)).save_pretrained(
        tmp_path
    )
    with pytest.raises(ValueError, match=r"reads causal .* language models, and .* is none"):
        load_model(tmp_path)


@pytest.mark.parametrize("cls", [BertModel, BertForMaskedLM])
def test_an_encoder_is_refused(cls: Any) -> None:
    with pytest.raises(ValueError, match=f"{cls.__name__} has no causal language-model head"):
        load_model(encoder(cls))


def test_a_model_without_its_head_is_refused() -> None:
    headless = zoo.make("llama").model
    assert isinstance(headless, LlamaModel)
    with pytest.raises(ValueError, match="LlamaModel has no causal language-model head"):
        load_model(headless)


def test_an_encoder_decoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="T5ForConditionalGeneration is an encoder-decoder"):
        load_model(encoder_decoder())
    encoder_decoder().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is an encoder-decoder"):
        load_model(tmp_path)


def test_an_encoder_with_a_language_model_head_is_refused_when_it_looks_ahead() -> None:
    with pytest.raises(UndecomposableError, match="attention looks at later tokens, so this is not a causal"):
        record(load_model(encoder(BertLMHeadModel)), zoo.prompt())


def test_a_plain_module_needs_no_config() -> None:
    model = load_model(plain_model())
    assert model.config is None
    assert model.n_positions is None
    assert "PlainModel" in repr(model)


# ---- damaged folders ----


def rewritten(name: str, **changes: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | changes))

    return change


def written(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def cut(name: str, n: int) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:n])


def without(name: str, *, instead: str = "") -> Callable[[Path], object]:
    def leave_out(folder: Path) -> None:
        (folder / name).unlink()
        if instead:
            (folder / instead).write_text("{}")

    return leave_out


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n"
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "an empty config": (written("config.json", b""), "the config of"),
    "half a config": (written("config.json", b'{"model_type":'), "the config of"),
    "no config, but null": (written("config.json", b"null"), "the config of"),
    "a config in bytes": (written("config.json", b"\xff\xfe\x00"), "the config of"),
    "a config without a type": (written("config.json", b"{}"), "the config of"),
    "an unknown type": (rewritten("config.json", model_type="nonsense"), "the config of"),
    # transformers 4.51 sees these two when the model is made
    "a size that is text": (rewritten("config.json", hidden_size="large"), "config"),
    "no heads": (rewritten("config.json", num_attention_heads=0), "config"),
    "another size": (rewritten("config.json", hidden_size=64), "cannot be made of its config, its weights"),
    "an unknown activation": (rewritten("config.json", hidden_act="nonsense"), "cannot be made of"),
    "architectures that are numbers": (rewritten("config.json", architectures=[7], hidden_act="x"), "cannot be made"),
    "empty weights": (written("model.safetensors", b""), "cannot be made of its config, its weights"),
    "weights cut off": (cut("model.safetensors", 3000), "cannot be made of its config, its weights"),
    "a pointer to weights": (written("model.safetensors", POINTER), "cannot be made of its config, its weights"),
    "an index of weights that is none": (written("model.safetensors.index.json", b"{"), ""),
    "an empty tokenizer": (written("tokenizer.json", b""), "the tokenizer of"),
    "a tokenizer cut off": (cut("tokenizer.json", 500), "the tokenizer of"),
    "a tokenizer without anything": (written("tokenizer.json", b"{}"), "the tokenizer of"),
    "an unknown kind of tokenizer": (rewritten("tokenizer.json", model={"type": "nonsense"}), "the tokenizer of"),
    "an unknown decoder": (rewritten("tokenizer.json", decoder={"type": "nonsense"}), "the tokenizer of"),
    "a damaged config of the tokenizer": (written("tokenizer_config.json", b"["), "the tokenizer of"),
    "no tokenizer": (without("tokenizer.json"), "the tokenizer of"),
    "an adapter without a base": (without("config.json", instead="adapter_config.json"), "cannot be made of"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_refused_with_the_file_the_reason_and_the_next_step(damage: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "model")
    change, sentence = DAMAGES[damage]
    change(folder)
    if not sentence:  # of a file that nothing reads where there is another
        assert record(load_model(folder), "the dog").n_tokens
        return
    with pytest.raises((ValueError, OSError)) as told:
        load_model(folder)
    assert type(told.value) in (ValueError, OSError)
    assert sentence in str(told.value)
    assert str(folder) in str(told.value)
    assert str(told.value).endswith(("update transformers", "load_model(..., tokenizer=...)"))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"device": "nonsense"}, "cannot be moved to the device 'nonsense'"),
        ({"device": 3.5}, "cannot be moved to the device 3.5"),
        ({"dtype": "nonsense"}, "cannot be made of its config, its weights and what was given"),
        ({"nonsense": 1}, "cannot be made of its config, its weights and what was given"),
        ({"tokenizer": 7}, "a tokenizer is one of transformers, its name or its folder"),
        ({"tokenizer": b"x"}, "a tokenizer is one of transformers, its name or its folder"),
        ({"layers": 7}, "layers are the model's own decoder layers"),
        ({"layers": ["h.0"]}, "layers are the model's own decoder layers"),
        ({"layers": []}, "layers are the model's own decoder layers"),
    ],
    ids=str,
)
def test_an_option_that_cannot_be_is_refused(options: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as told:
        load_model(saved(tmp_path), **options)
    assert sentence in str(told.value)


@pytest.mark.parametrize("name", [7, None, b"gpt2", ["gpt2"]], ids=repr)
def test_what_is_no_model_at_all_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="a model is a name on the hub, a folder or a torch module, got"):
        load_model(name)


@pytest.mark.parametrize("name", ["a b", "x" * 300, "nobody/\0"], ids=lambda x: x[:5])
def test_a_name_that_none_can_have_is_not_found(name: str) -> None:
    with pytest.raises(OSError, match="is neither a folder here nor a model that could be fetched"):
        load_model(name)
