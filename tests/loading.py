"""The ways in which people load and run models, each made small: python -m tests.loading writes docs/loading.md

A situation that cannot be made here (a missing package, other hardware) says so instead of giving a figure. The
quantisers are wanted for the page: pip install --no-deps bitsandbytes torchao optimum-quanto ninja hqq termcolor einops
"""

from __future__ import annotations

import contextlib
import importlib.util
import platform
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional

from lmtt_widget import Run, attribute, load_model, record

from . import devices, zoo
from .untouched import changed, everything

PAGE = Path(__file__).resolve().parents[1] / "docs" / "loading.md"
ACCELERATORS = "## On accelerators"
IDS = zoo.prompt(12)
Made = Iterator[nn.Module]


class NotHere(Exception):
    """The situation cannot be made on this machine; the message says what it needs."""


class Situation(NamedTuple):
    name: str
    make: Callable[[], contextlib.AbstractContextManager[nn.Module]]
    is_exact: bool  # else a rounding part, an approximate badge, and the reason in words


class Row(NamedTuple):
    run: Run
    changed: list[str]  # what was not afterwards as it was before
    own: Tensor  # the model's own logits [pos, d_vocab]


SITUATIONS: dict[str, Situation] = {}


def measured(name: str) -> Row:
    """One recording in a situation. Raises NotHere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the loaders, about themselves
        with SITUATIONS[name].make() as module:
            with torch.no_grad():
                own = module(input_ids=torch.tensor([IDS], device=load_model(module).device)).logits[0]
            before = everything(module)
            run = record(load_model(module), IDS, check="all")
            attribute(run)
            return Row(run, changed(before, everything(module)), own)


def _situation(name: str, is_exact: bool = True) -> Callable[[Callable[[], Made]], Callable[[], Made]]:
    def register(make: Callable[[], Made]) -> Callable[[], Made]:
        SITUATIONS[name] = Situation(name, contextlib.contextmanager(make), is_exact)
        return make

    return register


def _need(*packages: str) -> None:
    missing = [p for p in packages if importlib.util.find_spec(p.split(".")[0]) is None]
    if missing:
        raise NotHere(f"needs {', '.join(missing)}")


def _llama(dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    """Sizes that every quantiser takes."""
    return zoo.make("llama", dtype=dtype, hidden_size=64, intermediate_size=128, **options)


@contextlib.contextmanager
def _loaded(**options: Any) -> Iterator[Any]:
    """The same from a folder, as a user would; what is offloaded is read from there again."""
    with tempfile.TemporaryDirectory() as folder:
        _llama().save_pretrained(folder)
        yield transformers.LlamaForCausalLM.from_pretrained(folder, **options).eval()


# ---- numbers ----


@_situation("float64")
def _() -> Made:
    yield _llama(torch.float64)


@_situation("float32")
def _() -> Made:
    yield _llama()


@_situation("bfloat16")
def _() -> Made:
    yield _llama(torch.bfloat16)


@_situation("float16")
def _() -> Made:
    yield _llama(torch.float16)


@_situation("float32 under autocast to bfloat16")
def _() -> Made:
    module = _llama()
    with torch.autocast("cpu", torch.bfloat16):
        yield module


@_situation("weights of a tensor class that refuses to be read")
def _() -> Made:
    module = _llama()
    for linear in [m for m in module.model.layers.modules() if isinstance(m, nn.Linear)]:
        linear.weight = nn.Parameter(Sealed(linear.weight.data), requires_grad=False)
    yield module


class Sealed(Tensor):
    """A weight that lets itself be used by `linear` and asked for its kind, and nothing else."""

    def __new__(cls, data: Tensor) -> Any:
        return Tensor._make_wrapper_subclass(cls, data.shape, dtype=data.dtype, requires_grad=False)

    def __init__(self, data: Tensor) -> None:
        self._data = data

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"the weight was read by {func}")

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.linear:
            args = [a._data if isinstance(a, cls) else a for a in args]
            return func(*args, **(kwargs or {}))
        if func is Tensor.detach:
            return cls(args[0]._data)
        if func.__name__ not in ("__get__", "is_floating_point", "element_size", "numel", "requires_grad_", "size"):
            raise RuntimeError(f"the weight was read by {func.__name__}")
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))


# ---- gradients and modes ----


@_situation("gradients on, and there from a backward pass")
def _() -> Made:
    module = _llama()
    module(input_ids=torch.tensor([IDS])).logits.sum().backward()
    with torch.enable_grad():
        yield module


@_situation("inside torch.inference_mode")
def _() -> Made:
    module = _llama()
    with torch.inference_mode():
        yield module


@_situation("gradient checkpointing enabled")
def _() -> Made:
    module = _llama()
    module.gradient_checkpointing_enable()
    yield module


@_situation("torch.compile(model)")
def _() -> Made:
    yield torch.compile(_llama(), backend="eager")


@_situation("model.compile()")
def _() -> Made:
    module = _llama()
    module.compile(backend="eager")
    yield module


# ---- attention and experts ----


@_situation("attn_implementation eager")
def _() -> Made:
    yield _llama(attention="eager")


@_situation("attn_implementation sdpa")
def _() -> Made:
    yield _llama(attention="sdpa")


def _flex() -> Any:
    module = _llama(attention="flex_attention")
    try:
        with torch.no_grad():
            module(input_ids=torch.tensor([IDS]))
    except Exception as e:  # what it raises here depends on the version of both
        raise NotHere(f"flex_attention does not run here with transformers {transformers.__version__}") from e
    return module


@_situation("attn_implementation flex_attention")
def _() -> Made:
    yield _flex()


@_situation("attn_implementation flash_attention_2")
def _() -> Made:
    if not torch.cuda.is_available():
        raise NotHere("needs a CUDA device and flash-attn; any kernel is switched to eager like flex_attention")
    _need("flash_attn")
    yield _llama(torch.bfloat16, attention="flash_attention_2").cuda()


@_situation("grouped experts (grouped_mm)")
def _() -> Made:
    module = zoo.make("mixtral", dtype=torch.float32)
    if not hasattr(module, "set_experts_implementation"):
        raise NotHere("needs transformers 5")
    module.set_experts_implementation("grouped_mm")
    yield module


# ---- where the weights are ----


@_situation("device_map with layers on disk")
def _() -> Made:
    _need("accelerate")
    places = {f"model.layers.{n}": "disk" if n % 2 else "cpu" for n in range(zoo.N_LAYERS)}
    top = dict.fromkeys(("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head"), "cpu")
    with tempfile.TemporaryDirectory() as folder, _loaded(device_map={**top, **places}, offload_folder=folder) as m:
        yield m


@_situation("accelerate: cpu_offload")
def _() -> Made:
    _need("accelerate")
    from accelerate import cpu_offload

    module = _llama()
    cpu_offload(module, execution_device=torch.device("cpu"))
    yield module


@_situation("accelerate: disk_offload")
def _() -> Made:
    _need("accelerate")
    from accelerate import disk_offload

    module = _llama()
    with tempfile.TemporaryDirectory() as folder:
        disk_offload(module, folder, execution_device=torch.device("cpu"))
        yield module


@_situation("on an accelerator (pretended)")
def _() -> Made:
    yield _llama().to(_accelerator())


@_situation("layers divided over two accelerators (pretended)")
def _() -> Made:
    _accelerator()
    module = _llama()
    yield devices.divided(module, module.model.layers)


@_situation("device_map over two accelerators (pretended)")
def _() -> Made:
    _need("accelerate")
    first, second = _accelerator(), devices.device(1)
    places = {f"model.layers.{n}": second if 2 * n >= zoo.N_LAYERS else first for n in range(zoo.N_LAYERS)}
    top = {"model.embed_tokens": first, "model.rotary_emb": first, "model.norm": second, "lm_head": second}
    from accelerate import dispatch_model

    yield dispatch_model(_llama(), {**top, **places}, main_device=first)


def _accelerator() -> torch.device:
    if not devices.IS_POSSIBLE:
        raise NotHere("needs torch 2.9, where devices can be pretended")
    return devices.device()


# ---- PEFT ----


def _lora(**options: Any) -> Any:
    _need("peft")
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(target_modules=["q_proj", "v_proj", "o_proj", "down_proj"], init_lora_weights=False, **options)
    return get_peft_model(_llama(), config).eval()


@_situation("PEFT LoRA")
def _() -> Made:
    yield _lora()


@_situation("PEFT LoRA, merged")
def _() -> Made:
    module = _lora()
    module.merge_adapter()
    yield module


@_situation("PEFT LoRA, merged and unloaded")
def _() -> Made:
    yield _lora().merge_and_unload()


@_situation("PEFT DoRA")
def _() -> Made:
    yield _lora(use_dora=True)


@_situation("PEFT LoRA under autocast to bfloat16")
def _() -> Made:
    module = _lora()
    with torch.autocast("cpu", torch.bfloat16):
        yield module


# ---- quantised ----


@_situation("bitsandbytes, 8 bits (activations too)", is_exact=False)
def _() -> Made:
    _need("bitsandbytes")
    with _loaded(quantization_config=transformers.BitsAndBytesConfig(load_in_8bit=True), device_map="cpu") as module:
        yield module


@_situation("bitsandbytes, 4 bits (nf4)")
def _() -> Made:
    _need("bitsandbytes")
    config = transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
    )
    with _loaded(quantization_config=config, device_map="cpu") as module:
        yield module


def _torchao(config: str) -> Any:
    _need("torchao")
    from torchao import quantization

    module = _llama()
    quantization.quantize_(module, getattr(quantization, config)())
    return module


@_situation("torchao, int8 weights")
def _() -> Made:
    yield _torchao("Int8WeightOnlyConfig")


@_situation("torchao, float8 weights")
def _() -> Made:
    yield _torchao("Float8WeightOnlyConfig")


@_situation("torchao, int8 weights and dynamic int8 activations", is_exact=False)
def _() -> Made:
    yield _torchao("Int8DynamicActivationInt8WeightConfig")


@_situation("quanto, int8 weights")
def _() -> Made:
    _need("optimum", "ninja")
    from optimum.quanto import freeze, qint8, quantize

    module = _llama()
    quantize(module, weights=qint8)
    freeze(module)
    yield module


@_situation("HQQ, 4 bits")
def _() -> Made:
    _need("hqq")
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear

    module = _llama()
    for path, linear in [(n, m) for n, m in module.model.named_modules() if isinstance(m, nn.Linear)]:
        config = BaseQuantizeConfig(nbits=4, group_size=64)
        quantised = HQQLinear(linear, config, compute_dtype=torch.float32, device="cpu")
        module.model.set_submodule(path, quantised)
    yield module


@_situation("GPTQ and AWQ")
def _() -> Made:
    raise NotHere("needs kernels for a CUDA device")
    yield


# ---- caches, and others who use the model ----


@_situation("after generating with a static cache")
def _() -> Made:
    module = _llama()
    module.generate(torch.tensor([IDS]), max_new_tokens=3, do_sample=False, cache_implementation="static")
    yield module


@_situation("after generating with a sliding cache (sliding windows)")
def _() -> Made:
    module = zoo.make("gemma2", dtype=torch.float32)
    module.generate(torch.tensor([IDS]), max_new_tokens=3, do_sample=False)
    yield module


@_situation("without a cache (use_cache=False)")
def _() -> Made:
    module = _llama()
    module.config.use_cache = False
    yield module


@_situation("in use by another thread")
def _() -> Made:
    module, stop = _llama(), threading.Event()

    def use() -> None:
        with torch.no_grad():
            while not stop.is_set():
                module(input_ids=torch.tensor([IDS[::-1]]))

    thread = threading.Thread(target=use)
    thread.start()
    try:
        yield module
    finally:
        stop.set()
        thread.join()


@_situation("recorded by two other threads")
def _() -> Made:
    module, stop = _flex(), threading.Event()

    def use() -> None:
        while not stop.is_set():
            record(load_model(module), IDS[::-1])

    threads = [threading.Thread(target=use) for _ in range(2)]
    yield module  # the model is compared while it is at rest
    for thread in threads:
        thread.start()
    alone = record(load_model(module), IDS)
    stop.set()
    for thread in threads:
        thread.join()
    assert torch.equal(alone.logits, record(load_model(module), IDS).logits)


# ---- the page ----


def page() -> str:
    lines = [
        "# How models are loaded",
        "",
        "Made by `python -m tests.loading`; every row is a test in tests/test_loading.py. A tiny random model is",
        'brought into each situation and recorded on 12 tokens with `check="all"`. *Error*: the largest relative error',
        "of all identities (`run.fidelity.worst`); *exact*: rounding in the dtype at hand explains it. *Untouched*:",
        "parameters, buffers, hooks, attributes, configs, attention and expert implementations, training and gradient",
        "flags are compared before and after.",
        "",
        f"{_versions()}",
        "",
        "| situation | error | exact | untouched | remark |",
        "|---|---|---|---|---|",
    ]
    lines += [_row(name) for name in SITUATIONS]
    rest = PAGE.read_text("utf-8").partition(ACCELERATORS)  # python -m tests.accelerators --write wrote it
    return "\n".join([*lines, "", rest[1] + rest[2]])


def _row(name: str) -> str:
    try:
        row = measured(name)
    except NotHere as e:
        return f"| {name} | | | | not run: {e} |"
    f = row.run.fidelity
    remark = f.notes[0] if f.notes else ""
    if f.approximate:
        rounding = sum(p.kind == "rounding" for p in row.run.parts)
        remark = f"projections round their inputs in {len(f.approximate)} layers: {rounding} rounding parts"
    exact = "yes" if f.exact else "approximate"
    untouched = "yes" if not row.changed else "no: " + ", ".join(row.changed)
    return f"| {name} | {f.worst:.0e} | {exact} | {untouched} | {remark} |"


def _versions() -> str:
    found = [f"Python {platform.python_version()}", f"torch {torch.__version__.split('+')[0]} on a CPU"]
    for package in ("transformers", "accelerate", "peft", "bitsandbytes", "torchao", "optimum-quanto", "hqq"):
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{package} {version(package)}")
    return ", ".join(found) + "."


if __name__ == "__main__":
    text = page()
    PAGE.write_text(text, "utf-8")
    sys.stdout.write(text)
