"""A saved analysis opened where there is no torch, from the wheel in fresh environments: python -m tests.hosts.bare

Each Python gets an environment with what the wheel asks for in a browser's Python: no torch, no transformers. There an
analysis saved by version 0.1 is opened, walked, and saved as a page again. The last line is a row of README's table.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import zipfile
from email.parser import Parser
from pathlib import Path

from packaging.requirements import Requirement

from ..versions import PLACE, ROOT, interpreter

PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
ANALYSIS = ROOT / "tests" / "fixtures" / "v0_1" / "analysis.json"
OPEN = """
import importlib.util, json, sys
assert importlib.util.find_spec("torch") is importlib.util.find_spec("transformers") is None
import numpy, lmtt_widget as lmtt
widget = lmtt.load_json(sys.argv[1])
before = widget.routes.input_share.tolist()
widget.target = 3
assert widget.routes.input_share.tolist() != before
page = lmtt.save_html(widget, "page.html")
assert page.stat().st_size > 200_000
assert "application/vnd.jupyter.widget-view+json" in widget._repr_mimebundle_()[0]
try:
    lmtt.record
except ModuleNotFoundError as error:
    assert "pip install torch transformers" in str(error), error
else:
    raise AssertionError("record was there without torch")
print(json.dumps([sys.version.split()[0], numpy.__version__, lmtt.__version__, lmtt.__file__]))
"""


def needed(wheel: Path) -> list[str]:
    """What the wheel asks for where Python runs in a browser."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        said = Parser().parsestr(archive.read(name).decode())
    found = map(Requirement, said.get_all("Requires-Dist") or [])
    browser = {"sys_platform": "emscripten", "extra": ""}
    return [f"{r.name}{r.specifier}" for r in found if r.marker is None or r.marker.evaluate(browser)]


def result(python: str, wheel: Path) -> str:
    """A row: Python, numpy, what came of it."""
    start = interpreter(python)
    if start is None:
        return f"| {python} | | was not found |"
    here = PLACE / f"bare-{python}"
    subprocess.run([start, "-m", "venv", "--clear", str(here)], check=True)
    own = str(here / "bin" / "python")
    for what in (needed(wheel), ["--no-deps", str(wheel)]):
        subprocess.run([own, "-m", "pip", "install", "-qq", *what], check=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [own, "-I", "-W", "error", "-c", OPEN, str(ANALYSIS)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"| {python} | | {done.stderr.strip().splitlines()[-1]} |"
    version, numpy, _, file = json.loads(done.stdout.splitlines()[-1])
    assert Path(file).is_relative_to(here), file
    return f"| {version} | {numpy} | opened, walked, saved again |"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", folder, str(ROOT)]
        subprocess.run(command, check=True, capture_output=True)
        (wheel,) = Path(folder).glob("*.whl")
        print("| Python | numpy | without torch |\n|---|---|---|")
        for python in sys.argv[1:] or PYTHONS:
            print(result(python, wheel), flush=True)


if __name__ == "__main__":
    main()
