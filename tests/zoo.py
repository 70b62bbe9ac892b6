"""Tiny random models of many types that transformers knows; everything that could hide a bug is random.

Biases are not zero, norm weights not one, two query heads share a key-value head, d_head is not d_model / heads where
the config has one, sliding windows are shorter than the prompt.
"""

from __future__ import annotations

import copy
import warnings
from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from lmtt_widget import Run, load_model, record

transformers.logging.set_verbosity_error()
torch.set_num_threads(1)

VERSION = tuple(int(n) for n in transformers.__version__.split(".")[:2])
IS_OLD = VERSION < (5, 0)
N_TOKENS, N_VOCAB, N_LAYERS = 7, 97, 4
_D_MODEL, _HEADS, _KV_HEADS, _D_HEAD, _D_MLP = 48, 4, 2, 16, 80


class Case(NamedTuple):
    type: str
    variant: str = ""

    def __str__(self) -> str:
        return f"{self.type} {self.variant}".strip().replace(" ", "-")


def prompt(n_tokens: int = N_TOKENS) -> list[int]:
    return torch.randint(3, N_VOCAB, (n_tokens,), generator=torch.Generator().manual_seed(3)).tolist()


def cases() -> list[Case]:
    """The types that every test of the engine runs on, with their variants, as far as transformers knows them."""
    known = [t for t in _TYPES.split() if t in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES]
    return [Case(t, variant) for t in known for variant in _VARIANTS.get(t, {"": {}})]


def every_case() -> list[Case]:
    """Every type that the installed transformers calls a causal language model."""
    return [Case(t, variant) for t in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES for variant in _VARIANTS.get(t, {"": {}})]


@cache
def shared(case: Case) -> nn.Module:
    """The model of a case, made once; for tests that leave it as it is."""
    return make(case)


@cache
def recorded(case: Case) -> Run:
    """One prompt through the model of a case, everything checked on all positions."""
    return record(load_model(shared(case)), prompt(), check="all")


def make(case: Case | str, *, dtype: torch.dtype | None = None, attention: str | None = None, **options: Any) -> Any:
    """A new model of a case, in float64 where it can run so; `options` go to its config.

    Skips the test where an older transformers does not have the type, or cannot run it itself.
    """
    case = Case(case) if isinstance(case, str) else case
    if IS_OLD and case.type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        pytest.skip(f"transformers {transformers.__version__} has no {case.type}")
    try:
        return _make_and_run(case, dtype, attention, options)
    except (RuntimeError, ValueError, TypeError, StopIteration) as e:
        if not IS_OLD:
            raise
        pytest.skip(f"transformers {transformers.__version__} cannot run {case} ({type(e).__name__})")


def _make_and_run(case: Case, dtype: torch.dtype | None, attention: str | None, options: dict[str, Any]) -> nn.Module:
    overrides = {**_VARIANTS.get(case.type, {}).get(case.variant, {}), **options}
    attention = overrides.pop("attention", attention)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of transformers, about its own configs
        if dtype is not None:
            return _make(case.type, overrides, dtype, attention)
        try:
            model = _make(case.type, overrides, torch.float64, attention)
            with torch.no_grad():
                model(input_ids=torch.tensor([prompt()]))
        except (RuntimeError, ValueError, TypeError):
            model = _make(case.type, overrides, torch.float32, attention)
        with torch.no_grad():
            model(input_ids=torch.tensor([prompt()]))  # zamba2 of 4.51 can do it once
        return model


@torch.no_grad()
def randomise(model: nn.Module, seed: int = 0) -> None:
    """Every parameter drawn anew: norms around 1, biases around 0, nothing exactly either."""
    generator = torch.Generator().manual_seed(seed + 1)
    for name, p in model.named_parameters():
        r = torch.randn(p.shape, generator=generator, dtype=torch.float64)
        last = name.split(".")[-1]
        if p.ndim > 1:
            drawn = 0.7 * r if "embed" in name or "wte" in name else 1.2 * r * p.shape[-1] ** -0.5
        elif "bias" in last:
            drawn = 0.2 * r
        elif "A_log" in name or "dt" in name:
            continue
        else:  # the weight of a norm; some norms add 1 to it and start at 0
            drawn = 1 + 0.3 * r if p.float().abs().mean() > 0.5 else 0.3 * r
        p.copy_(drawn.to(p.dtype))
    for name, b in model.named_buffers():
        if "correction_bias" in name or "layer_scalar" in name:
            b.copy_((1 + 0.3 * torch.randn(b.shape, generator=generator, dtype=torch.float64)).to(b.dtype))


def _make(model_type: str, overrides: dict[str, Any], dtype: torch.dtype, attention: str | None) -> nn.Module:
    config = _shrunk(type(AutoConfig.for_model(model_type)), overrides)
    options = {} if attention is None else {"attn_implementation": attention}
    with torch.device("meta"):
        probe = AutoModelForCausalLM.from_config(copy.deepcopy(config), **options)
    size = sum(p.numel() for p in probe.parameters())
    assert size < 2e7, f"{model_type} did not shrink: {size} parameters"
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, **options)
    if getattr(config, "_experts_implementation", None) not in (None, "eager"):
        model.set_experts_implementation("eager")  # the grouped kernel has no float64
    model = model.to(torch.float32 if model_type == "xglm" else dtype).eval()
    randomise(model)
    return model


def _shrunk(config_class: Any, overrides: dict[str, Any]) -> Any:
    overrides = dict(overrides)
    default = config_class().to_dict()
    known = {*default, *getattr(config_class, "attribute_map", {})}
    options = {k: v for k, v in _SMALL.items() if k in known and not isinstance(default.get(k), (dict, list, tuple))}
    for name, sub in (getattr(config_class, "sub_configs", None) or {}).items():
        if not isinstance(default.get(name), dict):
            continue
        if sub is AutoConfig:
            sub = type(AutoConfig.for_model(default[name]["model_type"]))
        options[name] = {"model_type": sub.model_type, **_shrunk(sub, overrides.pop(name, {})).to_dict()}
    if "kv_lora_rank" in default:  # latent attention: head_dim is the rotary part
        options |= {k: v for k, v in {"head_dim": 8, "num_key_value_heads": _HEADS}.items() if k in options}
    if "is_decoder" in default:
        options["is_decoder"] = True
    options |= overrides
    for name, per_layer in default.items():
        if name.endswith("layer_types") and per_layer and name not in overrides:
            options[name] = (list(dict.fromkeys(per_layer)) * N_LAYERS)[:N_LAYERS]
    return config_class(**options)


_TYPES = """
    gpt2 openai-gpt gptj gpt_neo gpt_neox gpt_bigcode opt bloom falcon mpt phi phi3 codegen xglm biogpt persimmon llama
    mistral mixtral qwen2 qwen2_moe qwen3 qwen3_moe qwen3_next gemma gemma2 gemma3_text gemma3n_text cohere cohere2 olmo
    olmo2 stablelm starcoder2 granite granitemoe glm glm4 smollm3 gpt_oss deepseek_v2 deepseek_v3 llama4_text ernie4_5
    nemotron helium exaone4 dbrx jamba bamba mamba mamba2 rwkv falcon_h1 zamba2 nanochat hy_v4
    longcat_flash hrm_text deepseek_v4
"""

_GEMMA3N = {
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "intermediate_size": [_D_MLP] * 4,
    "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0],
}

# type -> variant -> what cannot be guessed from the names of its options
_VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "gpt2": {
        "": {},
        "upcast attention": {"reorder_and_upcast_attn": True},
        "inverse layer scale": {"scale_attn_by_inverse_layer_idx": True},
    },
    "gpt_neo": {"": {"attention_types": [[["global", "local"], 2]], "num_layers": 4, "window_size": 4}},
    "gpt_neox": {"parallel": {"use_parallel_residual": True}, "sequential": {"use_parallel_residual": False}},
    "opt": {
        "": {"word_embed_proj_dim": 48},
        "350m": {"do_layer_norm_before": False, "word_embed_proj_dim": 24},
    },
    "bloom": {"": {}, "post-norm residual": {"apply_residual_connection_post_layernorm": True}},
    "falcon": {
        "7b": {"parallel_attn": True, "multi_query": True, "new_decoder_architecture": False, "alibi": False},
        "40b": {"new_decoder_architecture": True, "num_kv_heads": 2, "multi_query": False},
        "rw": {
            "parallel_attn": False,
            "multi_query": False,
            "alibi": True,
            "new_decoder_architecture": False,
            "num_kv_heads": 4,
        },
        "11b": {"new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1},
    },
    "stablelm": {
        "": {"hidden_size": 64},
        "parallel": {"hidden_size": 64, "use_parallel_residual": True, "qk_layernorm": True},
    },
    "qwen3_next": {"": {"layer_types": ["linear_attention", "full_attention"] * 2, "mlp_only_layers": [1]}},
    "jamba": {"": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1}},
    "bamba": {"": {"attn_layer_indices": [1, 3]}},
    "helium": {"": {"hidden_size": 64}},
    "xglm": {"": {"attention_heads": 4}},
    "mamba2": {"": {"num_heads": 8, "head_dim": 12, "expand": 2, "state_size": 8, "n_groups": 1}},
    "gemma3n_text": {
        "": {**_GEMMA3N, "num_kv_shared_layers": 0},
        "shared keys": {**_GEMMA3N, "num_kv_shared_layers": 2},
    },
    "gemma2": {"": {}, "eager": {"attention": "eager"}},
    "zamba2": {
        "": {
            "layers_block_type": ["linear_attention", "hybrid"] * 2,
            "num_mem_blocks": 1,
            "attention_head_dim": 24,
            "mamba_headdim": 12,
            "n_mamba_heads": 8,
            "mamba_ngroups": 1,
            "adapter_rank": 4,
            "head_dim": 24,
        }
    },
    "blt": {"": {"encoder_hash_byte_group_vocab": 50, "encoder_hash_byte_group_size": [2, 3]}},
    "cohere_compass_text": {"": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}}},
    "dots3_note_text": {
        "": {"per_layer_config": {}, "index_n_heads": 4, "index_head_dim": 16, "num_key_value_heads": 4, "head_dim": 16}
    },
    "granitemoehybrid": {"": {"layer_types": ["mamba", "attention"] * 2, "mamba_n_heads": 8, "mamba_d_head": 12}},
    "lfm2_moe": {"": {"layer_types": ["conv", "full_attention"] * 2}},
    "reformer": {
        "": {
            "attn_layers": ["local"] * 4,
            "attention_head_size": _D_HEAD,
            "axial_pos_embds": False,
            "feed_forward_size": _D_MLP,
        }
    },
    "xlstm": {"": {"hidden_size": 64, "embedding_dim": 64, "num_blocks": 4, "chunk_size": 4, "qk_dim_factor": 1.0}},
    "longcat_flash": {"": {"zero_expert_num": 2}},
    "xlm": {"": {"causal": True}},
    "xlnet": {"": {"d_head": 12, "attn_type": "uni"}},
    "xmod": {"": {"languages": ["en_XX"], "default_language": "en_XX"}},
    "zaya": {"": {"num_experts_per_tok": 1}},
    "qwen4_exp_text": {
        "": {
            "layer_types": ["linear_attention", "indexed_attention"] * 2,
            "indexer_n_heads": 2,
            "indexer_kv_heads": 1,
            "indexer_head_dim": 16,
            "indexer_budget": 8,
            "indexer_compress_ratio": 2,
            "hc_lowrank": 8,
            "ple_embed_dim": 48,
            "ngram_vocab_size_base": 100,
            "split_ngram_parts": 1,
        }
    },
    "dbrx": {
        "": {
            "d_model": 48,
            "n_heads": 4,
            "n_layers": 4,
            "attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 10000.0},
            "ffn_config": {"ffn_hidden_size": 24, "moe_num_experts": 4, "moe_top_k": 2, "hidden_size": 48},
        }
    },
}


def _all(names: str, value: Any) -> dict[str, Any]:
    return dict.fromkeys(names.split(), value)


# Every option that any config calls one of these sizes; a config takes those it has.
_SMALL: dict[str, Any] = {
    **_all("hidden_size n_embd d_model dim embedding_size emb_dim", _D_MODEL),
    **_all("num_hidden_layers n_layer n_layers num_layers decoder_layers", N_LAYERS),
    **_all("encoder_layers type_vocab_size num_experts_per_tok moe_k moe_top_k top_k_experts moe_topk", 2),
    **_all("num_attention_heads n_head n_heads num_heads decoder_attention_heads", _HEADS),
    **_all("encoder_attention_heads attention_heads linear_num_value_heads", _HEADS),
    **_all("num_key_value_heads num_kv_heads n_kv_heads linear_num_key_heads", _KV_HEADS),
    **_all("head_dim dim_head", _D_HEAD),
    **_all("intermediate_size ffn_dim n_inner ffn_hidden_size d_ff decoder_ffn_dim encoder_ffn_dim dim_ff", _D_MLP),
    **_all("d_inner intermediate_size_mlp", _D_MLP),
    **_all("vocab_size n_vocab vocab_size_per_layer_input", N_VOCAB),
    **_all("n_positions n_ctx max_position_embeddings max_seq_len", 64),
    **_all("sliding_window window_size", 5),
    "attention_chunk_size": 6,
    **_all("num_experts num_local_experts n_routed_experts moe_num_experts", 4),
    **_all("n_shared_experts num_shared_experts moe_num_shared_experts n_group topk_group", 1),
    **_all("first_k_dense_replace num_dense_layers mamba_n_groups", 1),
    **_all("moe_intermediate_size expert_ffn_hidden_size", 24),
    **_all("shared_expert_intermediate_size shared_intermediate_size", 40),
    **_all("rotary_dim qk_rope_head_dim qk_nope_head_dim linear_key_head_dim linear_value_head_dim", 8),
    **_all("mamba_n_heads mamba_d_state mamba_chunk_size mamba_num_heads ssm_state_size chunk_size", 8),
    **_all("mamba_d_head mamba_head_dim v_head_dim hidden_size_per_layer_input", 12),
    **_all("laurel_rank mamba_dt_rank", 6),
    **_all("q_lora_rank", 20),
    **_all("kv_lora_rank qk_head_dim", 16),
    "mamba_d_ssm": 96,
    **_all("attention_bias mlp_bias use_bias bias attn_bias use_qkv_bias qkv_bias", True),
    "tie_word_embeddings": False,
    "residual_multiplier": 0.7,
    "embedding_multiplier": 3.0,
    "logits_scaling": 1.7,
    "attention_multiplier": 0.3,
    "pad_token_id": 0,
    **_all("bos_token_id decoder_start_token_id", 1),
    "eos_token_id": 2,
}
