"""What to put into a bug report: versions, the notebook host, a self-test, and how a model is read."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .model import Model
    from .parts import Part
    from .run import Run

_PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "anywidget", "ipywidgets", "traitlets")
_OPTIONAL = ("numba", "accelerate", "peft", "bitsandbytes", "torchao", "optimum-quanto", "hqq", "flash-attn", "marimo")
_PROMPT = "The capital of France is"


@dataclass(frozen=True)
class PartReport:
    """What one part of a layer depends on."""

    kind: str
    reads: tuple[int, ...]  # how many states before the one it enters those lie that it reads; none: nothing
    other_tokens: bool  # whether it moves something between tokens
    probed: bool  # whether this was seen by changing states, not only read off the tape


@dataclass(frozen=True)
class LayerReport:
    """How one layer was read."""

    layer: int
    module: str
    states: tuple[str, ...]  # the names of the states it makes
    parts: tuple[str, ...]  # the kinds of its parts, constants left out
    heads: int  # 0 without attention
    error: float  # the largest relative error of all its identities
    exact: bool
    labels: tuple[PartReport, ...] = ()  # of each of its parts


@dataclass(frozen=True, repr=False)
class Report:
    """Versions, host, bundle, self-test, and the layers of a model; printed it is what a bug report needs.

    >>> report = lmtt.doctor(model)
    >>> report.layers[0].heads
    8
    """

    versions: dict[str, str]
    host: str  # the notebook it runs in
    device: str
    bundle: str  # the browser's half of the widget
    self_test: str  # of the bundled model
    ok: bool  # nothing wrong was found
    model: str | None = None
    reading: str | None = None  # how exactly that model is read, or why it is not
    layers: tuple[LayerReport, ...] = ()
    remarks: tuple[str, ...] = ()  # what is missing, inexact or was switched, in words

    def data(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [*_aligned([*self.versions.items(), ("host", self.host), ("device", self.device)])]
        lines += _aligned([("bundle", self.bundle), ("self-test", self.self_test)])
        if self.model is not None:
            lines += ["", self.model, f"  {self.reading}", *(f"  * {r}" for r in self.remarks), ""]
            lines += [*_table(self.layers), "", *_labels(self.layers)]
        return "\n".join(lines)

    __repr__ = __str__


def doctor(model: Any = None) -> Report:
    """Versions, notebook host, the bundle, a self-test, and how a model is read: to look at, or for a bug report.

    model: a Model of `load_model`, or what `load_model` takes as a loaded model. It is recorded on a short prompt, as
    exactly as it goes, and left as it was. Whatever fails is said in the report; nothing is raised.

        >>> report = lmtt.doctor(model)
        >>> report.layers[0].exact
        True
    """
    bundle, has_bundle = _bundle()
    self_test, passed = _self_test()
    facts: dict[str, Any] = {} if model is None else _reading(model)
    is_read = facts.pop("ok", True)
    return Report(
        versions=_versions(),
        host=_host(),
        device=_device(),
        bundle=bundle,
        self_test=self_test,
        ok=has_bundle and passed and is_read,
        **facts,
    )


def _versions() -> dict[str, str]:
    def installed(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    own = sys.modules[__package__].__version__
    found = {"lmtt_widget": own, "Python": f"{platform.python_version()} on {platform.platform()}"}
    found |= {p: installed(p) or "not installed" for p in _PACKAGES}
    return found | {p: v for p in _OPTIONAL if (v := installed(p))}


def _host() -> str:
    """Jupyter, VS Code, Colab, marimo, ..., told by what they leave in the process."""
    marimo = sys.modules.get("marimo")
    if marimo is not None and marimo.running_in_notebook():
        return "marimo"
    for name, variable in (
        ("Colab", "COLAB_RELEASE_TAG"),
        ("Kaggle", "KAGGLE_KERNEL_RUN_TYPE"),
        ("Databricks", "DATABRICKS_RUNTIME_VERSION"),
    ):
        if variable in os.environ:
            return name
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None:
        return "none (plain Python, so the widget cannot be shown; save_html works)"
    if "IPKernelApp" not in shell.config:
        return "IPython in a terminal, so the widget cannot be shown; save_html works"
    in_code = "__vsc_ipynb_file__" in shell.user_ns or any(v in os.environ for v in ("VSCODE_PID", "VSCODE_CWD"))
    return "VS Code" if in_code else "Jupyter"


def _device() -> str:
    try:
        import torch
    except Exception as e:  # noqa: BLE001  a broken torch raises anything (a missing library: OSError)
        return f"torch cannot be imported ({type(e).__name__}: {e})"
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
        return f"{', '.join(names)} (CUDA {torch.version.cuda})"
    if torch.backends.mps.is_available():
        return "Apple GPU (mps)"
    return f"CPU, {torch.get_num_threads()} threads"


def _bundle() -> tuple[str, bool]:
    path = Path(__file__).with_name("static") / "widget.js"
    if not path.is_file():
        return "missing: the widget cannot be drawn; reinstall the package, or run npm ci && npm run build", False
    return f"{path.stat().st_size / 1000:.0f} kB", True


def _self_test() -> tuple[str, bool]:
    """The bundled model recorded, its shares taken, its logits compared with its own forward pass."""
    try:
        import torch

        from .contributions import attribute
        from .model import bundled_model
        from .run import record

        model = bundled_model()
        run = record(model, "Anna has a red hat. The hat of Anna is", check="all")
        graph = attribute(run)
        with torch.no_grad():
            same = torch.equal(run.logits, model.module(**model.inputs(run.token_ids.tolist())).logits[0])
        total = float(graph.carried[1:].min())
    except Exception as e:  # noqa: BLE001  whatever it is belongs into the report
        return f"failed: {type(e).__name__}: {e}", False
    if not same or not run.fidelity.exact or not 0 <= total <= 1:
        return f"failed: {run.fidelity}, logits {'equal' if same else 'differ'}", False
    return f"passed: the bundled model is read {run.fidelity}", True


def _reading(model: Any) -> dict[str, Any]:
    try:
        from .model import Model, load_model
        from .run import record

        loaded = model if isinstance(model, Model) else load_model(model)
    except Exception as e:  # noqa: BLE001
        return {"ok": False, "model": type(model).__name__, "reading": f"not loaded: {type(e).__name__}: {e}"}
    try:
        run = record(loaded, _prompt(loaded), strict=False, check="all")
    except Exception as e:  # noqa: BLE001
        return {"ok": False, "model": repr(loaded), "reading": f"not read: {type(e).__name__}: {e}"}
    f = run.fidelity
    reading = f"{f} in {f.dtype}, most in {f.where or 'the logits'}, on {run.n_tokens} tokens"
    return {
        "ok": f.exact,
        "model": repr(loaded),
        "reading": reading,
        "layers": tuple(_layers(run)),
        "remarks": (*f.problems, *f.notes, *filter(None, [f.labels])),
    }


def _prompt(model: Model) -> Any:
    if model.tokenizer is not None:
        return _PROMPT
    n_vocab = model._n_vocab() or 8
    return [k % n_vocab for k in range(1, 9)]


def _layers(run: Run) -> Iterator[LayerReport]:
    for layer in sorted({s.layer for s in run.states if s.layer is not None}):
        states = [s for s in run.states if s.layer == layer]
        parts = [p for s in states for p in s.parts if p.kind != "constant"]
        checks = [c for c in run.fidelity.checks if c.layer == layer]
        module = next((c.module for c in checks if c.identity == "states"), "")
        yield LayerReport(
            layer,
            module,
            tuple(s.name for s in states),
            tuple(p.kind for p in parts),
            max((p.n_heads for p in parts), default=0),
            max((c.error for c in checks), default=0.0),
            all(c.holds for c in checks) and not any(p.kind == "rounding" for p in parts),
            tuple(_label(p) for p in parts),
        )


def _label(p: Part) -> PartReport:
    read = tuple(p.state - k for k in sorted({p.reads, *p.also}, reverse=True) if k >= 0)
    return PartReport(p.kind, read, p.kind in ("attention", "mixer"), p.probed)


def _aligned(rows: list[tuple[str, str]]) -> list[str]:
    return [f"{name:<16}{value}" for name, value in rows]


def _table(layers: tuple[LayerReport, ...]) -> list[str]:
    """Layers that follow each other and are alike in one line, with the largest error."""
    if not layers:
        return []
    rows = [("layer", "module", "states", "parts", "heads", "error", "")]
    for _, same in groupby(layers, lambda r: (r.states, r.parts, r.heads, r.exact)):
        run = list(same)
        first, last = run[0], run[-1]
        numbers = str(first.layer) if first is last else f"{first.layer}-{last.layer}"
        module = first.module if first is last else f"{first.module} ..."
        worst = max(r.error for r in run)
        rows.append(
            (
                numbers,
                module,
                ", ".join(first.states),
                ", ".join(first.parts),
                str(first.heads or ""),
                f"{worst:.0e}",
                "exact" if first.exact else "approximate",
            )
        )
    return _columns(rows)


def _labels(layers: tuple[LayerReport, ...]) -> list[str]:
    """What each part depends on, one line a part; layers that follow each other and are alike together."""
    if not layers:
        return []
    rows = [("layer", "part", "reads", "at tokens", "")]
    for labels, same in groupby(layers, lambda r: r.labels):
        run = list(same)
        numbers = str(run[0].layer) if len(run) == 1 else f"{run[0].layer}-{run[-1].layer}"
        for k, label in enumerate(labels):
            reads = " and ".join("the state before" if n == 1 else f"{n} states before" for n in label.reads)
            tokens = "its own and earlier" if label.other_tokens else "its own"
            seen = "probed" if label.probed else "not probed"
            rows.append(("" if k else numbers, label.kind, reads or "nothing", tokens, seen))
    return _columns(rows)


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(r[k]) for r in rows) for k in range(len(rows[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)).rstrip() for r in rows]
