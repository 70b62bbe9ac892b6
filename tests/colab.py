"""Every notebook on a machine like Colab's: python -m tests.colab [quickstart] ...

A fresh virtual environment (in .versions/, git-ignored) with the torch of constraints.txt, ipywidgets 7.7.1
and a kernel, but without this package and its optional ones; a folder with notebooks and wheel, as a reader uploads
them; no Node on the path. The notebooks' first cell has to install the rest. PyPI is the only network that is needed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from .versions import PLACE, ROOT, TORCH, interpreter

HERE = PLACE / "colab"
PACKAGES = ["transformers", "accelerate", "ipywidgets==7.7.1", "ipykernel", "ipython_genutils"]
PYTHONS = ("3.12", "3.11")  # Colab's, else the one that is there


def environment() -> Path:
    """A fresh environment's Python, as Colab has it before anything is installed."""
    start = next(filter(None, map(interpreter, PYTHONS)), sys.executable)
    shutil.rmtree(HERE, ignore_errors=True)
    subprocess.run([start, "-m", "venv", str(HERE)], check=True)
    python = HERE / "bin" / "python"
    for packages in ([TORCH], PACKAGES):
        subprocess.run([python, "-m", "pip", "install", "-qq", *packages], check=True)
    subprocess.run(
        [python, "-m", "ipykernel", "install", "--prefix", str(HERE), "--name", "colab"],
        check=True,
        capture_output=True,
    )
    return python


def run(path: Path, folder: Path) -> str:
    """What came of a notebook in one line."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=900, kernel_name="colab", resources={"metadata": {"path": str(folder)}})
    try:
        client.execute()
    except CellExecutionError as error:
        return f"failed: {str(error).strip().splitlines()[-1]}"
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    widgets = [o for o in outputs if "application/vnd.jupyter.widget-view+json" in o.get("data", {})]
    shown = [o for o in widgets if "FlowWidget" in o["data"].get("text/plain", "")]
    pictures = sum("image/png" in o["data"] for o in shown)
    return f"passed, {len(shown)} widgets, {pictures} with their picture"


def main(names: list[str]) -> None:
    python = environment()
    versions = "import sys, torch, ipywidgets; print(sys.version.split()[0], torch.__version__, ipywidgets.__version__)"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        subprocess.run(
            [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(folder), str(ROOT)],
            check=True,
            capture_output=True,
        )
        path = os.pathsep.join([str(python.parent), "/usr/bin", "/bin"])
        os.environ.pop("PYTHONPATH", None)  # else this checkout would stand in for the wheel
        os.environ |= {"PATH": path, "JUPYTER_PATH": str(HERE / "share" / "jupyter"), "HF_HUB_OFFLINE": "1"}
        found = subprocess.run([python, "-c", versions], check=True, capture_output=True, text=True).stdout.split()
        print("Python {}, torch {}, ipywidgets {}".format(*found), flush=True)
        for notebook in [ROOT / "notebooks" / f"{name}.ipynb" for name in names] or sorted(
            ROOT.glob("notebooks/*.ipynb")
        ):
            shutil.copy(notebook, folder)
            print(f"{notebook.stem}: {run(folder / notebook.name, folder)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
