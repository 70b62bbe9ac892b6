"""Runs the notebooks on the bundled model and writes them back with their pictures.

    python notebooks/execute.py             all of them
    python notebooks/execute.py quickstart  one

What a run leaves behind and no reader needs is left out: the widgets' state, counts, times, the kernel's version. Of a
widget its picture stays, as PNG, which every page shows.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).resolve().parent
os.environ["HF_HUB_OFFLINE"] = "1"  # for the kernels: what is committed is what a reader without a network sees
os.environ["TQDM_DISABLE"] = "1"  # for the kernels: whether a bar is shown depends on how busy the machine is
WIDGET = "application/vnd.jupyter.widget-view+json"
_SHOWN = ("text/plain", "image/png")  # what a page without JavaScript shows of an output


def execute(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """The notebook with the outputs of a kernel of its own that started in `folder`.

    Raises CellExecutionError when a cell fails.
    """
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    return notebook


def clean(notebook: NotebookNode) -> NotebookNode:
    """The notebook as it is committed."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = _joined([output for output in cell.outputs if not _is_progress(output)])
            for output in cell.outputs:
                _clean_output(output)
    return notebook


def _is_progress(output: NotebookNode) -> bool:
    """A bar of a library: a widget without a picture."""
    return WIDGET in output.get("data", {}) and "image/png" not in output.data


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """What one cell printed as one text, however it arrived."""
    joined: list[NotebookNode] = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == "stream" and output.name == joined[-1].name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def _clean_output(output: NotebookNode) -> None:
    if "execution_count" in output:
        output.execution_count = None
    if "data" not in output:
        return
    if WIDGET in output.data:
        name = re.match(r"<?([\w.]+)", output.data["text/plain"])
        output.data["text/plain"] = name[1].rpartition(".")[2] if name else "widget"  # without its address
    output.data = {kind: output.data[kind] for kind in _SHOWN if kind in output.data}
    output.metadata = {kind: value for kind, value in output.metadata.items() if kind in _SHOWN}


def main(names: list[str]) -> None:
    for path in [FOLDER / f"{name}.ipynb" for name in names] or sorted(FOLDER.glob("*.ipynb")):
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            notebook = clean(execute(nbformat.read(path, as_version=4), Path(folder)))
        nbformat.write(notebook, path)
        print(f"{path.name}: {time.monotonic() - start:.0f} s, {path.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
