"""The notebooks as pages show their pictures, also where no script runs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import Browser

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_page_made_from_a_notebook_shows_its_pictures_without_javascript(
    path: Path, browser: Browser, tmp_path: Path
) -> None:
    notebook = nbformat.read(path, as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    n_pictures = sum("image/png" in output.get("data", {}) for output in outputs)
    made = tmp_path / "page.html"
    made.write_text(HTMLExporter().from_notebook_node(notebook)[0], "utf-8")
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(made.as_uri())
    pictures = page.locator("img[src^='data:']")  # a badge comes from elsewhere
    sizes = pictures.evaluate_all("all => all.map((img) => [img.naturalWidth, img.clientWidth])")
    context.close()
    assert len(sizes) == n_pictures > 0
    assert all(natural > 200 and shown > 200 for natural, shown in sizes), sizes
