"""The report says what is there, what is wrong, and how a model is read."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import transformers

import lmtt_widget
from lmtt_widget import Part, doctor, load_model, report

from . import text, zoo
from .test_in_place import _Decoder
from .test_run import Bending, Rounding, with_projection


def test_the_report_names_versions_host_and_bundle() -> None:
    found = doctor()
    assert torch.__version__.startswith(found.versions["torch"])  # PyPI's wheels leave out "+cu130"
    assert found.versions["transformers"] == transformers.__version__
    assert found.versions["lmtt_widget"] == lmtt_widget.__version__
    assert platform.python_version() in found.versions["Python"]
    assert found.host.startswith("none (plain Python")
    assert found.self_test.startswith("passed: the bundled model is read exact to ")
    assert found.model is None
    for word in ("transformers", found.host, found.bundle, found.self_test):
        assert word in str(found)
    assert repr(found) == str(found)


def test_the_report_has_a_row_for_every_layer() -> None:
    found = doctor(load_model(zoo.shared(zoo.Case("qwen3_next"))))
    assert [r.layer for r in found.layers] == list(range(zoo.N_LAYERS))
    assert [r.heads for r in found.layers] == [0, 4, 0, 4]
    assert [r.parts for r in found.layers][:2] == [("mixer", "mlp"), ("attention", "mlp")]
    assert all(r.exact and 0 < r.error < 1e-6 for r in found.layers)
    assert found.layers[1].module == "model.layers.1"
    assert found.layers[1].states == ("after attention", "after MLP")
    assert json.loads(json.dumps(found.data()))["layers"][1]["heads"] == 4
    assert "exact to " in (found.reading or "")


def test_layers_that_are_alike_share_a_line() -> None:
    shown = str(doctor(text.model()))
    (line,) = [x for x in shown.splitlines() if "after attention" in x]
    assert line.startswith("0-2")
    assert line.endswith("exact")


def test_the_report_says_what_each_part_depends_on() -> None:
    found = doctor(zoo.shared(zoo.Case("gpt2")))
    attention, mlp = found.layers[2].labels
    assert (attention.kind, attention.reads, attention.other_tokens, attention.probed) == (
        "attention",
        (1,),
        True,
        True,
    )
    assert (mlp.kind, mlp.reads, mlp.other_tokens, mlp.probed) == ("mlp", (1,), False, True)
    shown = [" ".join(line.split()) for line in str(found).splitlines()]
    at = shown.index("layer part reads at tokens")
    assert shown[at + 1 :] == [
        "0-3 attention the state before its own and earlier probed",
        "mlp the state before its own probed",
    ]


def test_what_mixes_tokens_is_in_the_table_as_a_mixer() -> None:
    model = _Decoder(lambda x, y: x + y)
    model.get_submodule("layers.1.up").register_forward_hook(
        lambda _module, _args, out: torch.cat([torch.zeros_like(out[:, :1]), out[:, :-1]], 1)
    )
    found = doctor(model)
    assert [label.kind for label in found.layers[1].labels] == ["attention", "mixer"]
    assert found.layers[1].labels[1].other_tokens


def test_the_states_a_part_reads_are_counted_back_from_the_one_it_enters() -> None:
    both = report._label(Part("mlp", 0, state=5, reads=1, module="", writes=[], also=(3,)))
    assert (both.reads, both.probed) == ((2, 4), False)
    assert report._label(Part("mixer", 0, state=5, reads=-1, module="", writes=[])).reads == ()


def test_a_loaded_module_will_do() -> None:
    assert doctor(zoo.shared(zoo.Case("gpt2"))).layers


def test_what_is_inexact_is_in_its_row() -> None:
    found = doctor(with_projection(Rounding, "model.layers.1.self_attn.o_proj"))
    assert [r.exact for r in found.layers] == [True, False, True, True]
    assert not found.ok
    assert any("is linear only up to" in r for r in found.remarks)
    worse = doctor(with_projection(Bending, "model.layers.2.mlp.down_proj"))
    assert [r.exact for r in worse.layers] == [True, True, False, True]


def test_a_model_that_cannot_be_read_is_reported_and_not_raised() -> None:
    failing = zoo.make("llama")
    failing.model.layers[1].register_forward_pre_hook(lambda *_: 1 / 0)
    found = doctor(failing)
    assert found.reading is not None
    assert found.reading.startswith("not read: ForwardError: the model's forward pass failed in model.layers.1 ")
    assert not found.ok
    assert doctor(torch.nn.Linear(2, 2).eval()).reading.startswith("not read: UndecomposableError: Linear: no list of")
    assert doctor("nobody/nothing").reading.startswith("not loaded: OSError")


def test_a_missing_bundle_and_a_failing_self_test_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(report, "__file__", str(tmp_path / "report.py"))
    monkeypatch.setattr("lmtt_widget.model.bundled_model", lambda: 1 / 0)
    found = doctor()
    assert found.bundle.startswith("missing: the widget cannot be drawn")
    assert found.self_test.startswith("failed: ZeroDivisionError")
    assert not found.ok


def test_a_model_is_read_where_the_bundle_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(report, "__file__", str(tmp_path / "report.py"))
    found = doctor(zoo.shared(zoo.Case("llama")))
    assert len(found.layers) == zoo.N_LAYERS
    assert not found.ok


def fake(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> None:
    module = ModuleType(name)
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, name, module)


def test_the_notebook_host_is_told_by_what_it_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    host = report._host
    for variable in ("VSCODE_PID", "VSCODE_CWD"):
        monkeypatch.delenv(variable, raising=False)
    shell = SimpleNamespace(config={}, user_ns={})
    fake(monkeypatch, "IPython", get_ipython=lambda: shell)
    assert host().startswith("IPython in a terminal")
    shell.config["IPKernelApp"] = {}
    assert host() == "Jupyter"
    shell.user_ns["__vsc_ipynb_file__"] = "x.ipynb"
    assert host() == "VS Code"
    monkeypatch.setenv("COLAB_RELEASE_TAG", "1")
    assert host() == "Colab"
    fake(monkeypatch, "marimo", running_in_notebook=lambda: True)
    assert host() == "marimo"


def test_asking_for_the_doctor_imports_no_torch() -> None:
    code = "import sys, lmtt_widget; lmtt_widget.doctor; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
