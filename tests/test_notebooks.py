"""The notebooks run from top to bottom, and are committed without what a run leaves behind."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_pictures(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "FlowWidget" in output.get("data", {}).get("text/plain", "")]
    assert pictures
    assert all(WIDGET in output.data for output in pictures)
    # A warning in the first notebook a reader runs is a fault of it.
    assert [output.text for output in outputs if output.output_type == "stream"] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_widget_state(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert "widgets" not in notebook.metadata
    assert {cell.get("execution_count") for cell in notebook.cells} == {None}


def test_the_quickstart_shows_the_bundled_model_in_three_cells() -> None:
    notebook = nbformat.read(Path(__file__).parents[1] / "notebooks" / "quickstart.ipynb", as_version=4)
    first = [cell.source for cell in notebook.cells if cell.cell_type == "code"][:3]
    assert first[0] == "import lmtt_widget as lmtt"
    assert "bundled_model()" in first[1]
    assert "explore(" in first[2]
