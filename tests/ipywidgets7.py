"""The widget under ipywidgets 7.7, which Colab preinstalls: python -m tests.ipywidgets7 [7.7.1] ...

Every version gets a virtual environment of its own (in .versions/, git-ignored) that stands on the present one, so that
it alone is installed. The tests of the widget run in it, and then one round trip of messages as a notebook's kernel
sees them. docs/hosts.md says what this printed last.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / ".versions"
VERSIONS = ["7.7.1", "7.8.5"]
BESIDE = ["widgetsnbextension<4", "jupyterlab_widgets<3", "ipython_genutils"]  # what ipywidgets 7 needs of its own
TESTS = ["tests/test_widget.py", "tests/test_export.py"]
ROUND_TRIP = """
import comm, ipykernel.comm, ipykernel.kernelbase, ipywidgets, lmtt_widget as lmtt

sent = []
ipykernel.kernelbase.Kernel.instance()  # without a kernel nothing is sent

def publish(comm, msg_type, data=None, metadata=None, buffers=None, **keys):
    sent.append((data or {}, buffers))

ipykernel.comm.Comm.publish_msg = comm.DummyComm.publish_msg = publish  # older and newer 7.x

def hear(widget, **state):
    sent.clear()
    widget._handle_msg({"content": {"data": {"method": "update", "state": state}}, "buffers": []})
    updates = [(data, buffers) for data, buffers in sent if data.get("method") == "update"]
    told = {name: value for data, _ in updates for name, value in data["state"].items()}
    for data, buffers in updates:
        told |= {path[0]: bytes(buffer) for path, buffer in zip(data["buffer_paths"], buffers)}
    return told

widget = lmtt.explore(lmtt.bundled_model(), "When Mary and John went to the store, John gave a drink to")
hear(widget, target=1)
assert widget.target == 1
told = hear(widget, selection={"kind": "state", "state": 3, "pos": 1})
assert widget.selected and told["detail"][:4] == b"LMTW", told  # the answer, as a buffer
told = hear(widget, target=99)
assert widget.target == 1 and told["target"] == 1, told  # refused, put back, and said
assert "target must be a position" in told["status"]["text"], told
told = hear(widget, prompt="When Mary went to the store")
assert widget.run.n_tokens == 6 and told["graph"][:4] == b"LMTW", told

from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display

published = []
InteractiveShell.instance().display_pub.publish = lambda data, metadata=None, **keys: published.append(set(data))
display(widget)
assert published == [{"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"}], published
widget.close()

import tempfile

many = lmtt.survey(lmtt.bundled_model(), ["When Mary went to the store"], tempfile.mkdtemp(), progress=False)
published.clear()
display(many.show())
assert published == [{"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"}], published
print("ipywidgets", ipywidgets.__version__, "round trip passed")
"""


def environment(version: str) -> Path:
    """The Python of an environment with this version of ipywidgets."""
    here = PLACE / f"ipywidgets-{version}"
    python = here / "bin" / "python"
    if not (here / ".installed").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(here)], check=True)
        packages = [f"ipywidgets=={version}", *BESIDE]
        subprocess.run([python, "-m", "pip", "install", "-qq", "--no-deps", *packages], check=True)
        (site,) = here.glob("lib/python*/site-packages")
        (site / "present.pth").write_text(sysconfig.get_path("purelib"))
        (here / ".installed").touch()
    return python


def result(version: str) -> str:
    """The last lines of the tests and of the round trip."""
    python = environment(version)
    told = []
    for command in (["-m", "pytest", "-q", "-o", "filterwarnings=", *TESTS], ["-c", ROUND_TRIP]):
        done = subprocess.run(
            [python, *command],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        told.append(done.stdout.strip().rsplit("\n", 1)[-1] if done.returncode == 0 else done.stdout[-3000:])
    return "\n".join(told)


if __name__ == "__main__":
    for version in sys.argv[1:] or VERSIONS:
        print(f"ipywidgets {version}\n{result(version)}", flush=True)
