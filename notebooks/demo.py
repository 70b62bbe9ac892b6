"""Runs the quickstart notebook on the bundled model and opens the result in JupyterLab.

    python notebooks/demo.py            run it, open it, print the address; Ctrl+C ends the server
    OPEN=0 python notebooks/demo.py     run it and stop

The copy that was run lies in .demo/, so the notebook in git stays as it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
from execute import execute
from nbclient.exceptions import CellExecutionError

NOTEBOOK = Path(__file__).with_name("quickstart.ipynb")
DEMO = Path(__file__).resolve().parents[1] / ".demo"


def run(notebook: Path, copy: Path) -> int:
    """How many pictures the notebook showed; the notebook with its outputs is written to `copy`.

    Raises CellExecutionError, after writing, when a cell fails.
    """
    content = nbformat.read(notebook, as_version=4)
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        execute(content, copy.parent)
    finally:
        nbformat.write(content, copy)
    outputs = [output for cell in content.cells for output in cell.get("outputs", [])]
    return sum("FlowWidget" in output.get("data", {}).get("text/plain", "") for output in outputs)


def main() -> int:
    copy = DEMO / NOTEBOOK.name
    start = time.monotonic()
    try:
        n_pictures = run(NOTEBOOK, copy)
    except CellExecutionError as error:
        print(error, file=sys.stderr)
        return 1
    seconds, shown = time.monotonic() - start, copy.relative_to(DEMO.parent)
    print(f"ran {NOTEBOOK.name} in {seconds:.0f} s: {n_pictures} pictures, written to {shown}")
    if os.environ.get("OPEN", "1") == "0":
        return 0
    subprocess.run([sys.executable, "-m", "jupyter", "trust", str(copy)], check=True, stdout=subprocess.DEVNULL)
    print("opening JupyterLab; Run > Run All Cells connects the pictures to Python; Ctrl+C twice ends it", flush=True)
    options = [
        f"--ServerApp.root_dir={copy.parent}",
        f"--LabApp.default_url=/lab/tree/{copy.name}",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--Application.log_level=WARN",  # the address is printed all the same
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--allow-root")
    try:
        return subprocess.run([sys.executable, "-m", "jupyter", "lab", *options], check=False).returncode
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
