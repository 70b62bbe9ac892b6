"""The notebooks run from top to bottom, and their answers hold."""

from __future__ import annotations

import base64
import os
import re
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
WIDGET = "application/vnd.jupyter.widget-view+json"
PNG = b"\x89PNG\r\n\x1a\n"

sys.path.insert(0, str(FOLDER))
from execute import clean  # noqa: E402

os.environ["TQDM_DISABLE"] = "1"  # a bar shows how busy the machine is, and kernels inherit this

every_notebook = pytest.mark.parametrize("name", NOTEBOOKS)


def committed(name: str) -> NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def outputs_of(cells: list[NotebookNode]) -> list[NotebookNode]:
    return [output for cell in cells for output in cell.get("outputs", [])]


@cache
def run(name: str) -> tuple[list[NotebookNode], list[NotebookNode]]:
    """The cells as they ran today, and the code of the folded answers, run after them in the same kernel."""
    notebook = committed(name)
    n_cells = len(notebook.cells)
    answers = re.findall(r"```python\n(.*?)```", notebook.cells[-1].source, re.DOTALL)
    notebook.cells += [nbformat.v4.new_code_cell(code) for code in answers]
    with TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    return notebook.cells[:n_cells], notebook.cells[n_cells:]


@every_notebook
def test_a_notebook_runs_and_shows_widgets(name: str) -> None:
    outputs = outputs_of(run(name)[0])
    widgets = [output for output in outputs if "FlowWidget" in output.get("data", {}).get("text/plain", "")]
    assert widgets
    assert all({WIDGET, "image/png"} <= set(output.data) for output in widgets)
    assert not [output for output in outputs if output.output_type == "error"]
    # A warning in the first notebook a reader runs is a fault of it.
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []


@every_notebook
def test_the_answers_to_the_exercises_hold(name: str) -> None:
    cells, answers = run(name)
    exercises = next(cell.source for cell in cells if "## Exercises" in cell.source)
    n_exercises = len(re.findall(r"^\d\. ", exercises[exercises.index("## Exercises") :], re.MULTILINE))
    folded = re.findall(r"<summary>Answer (\d)</summary>", cells[-1].source)
    assert folded == [str(k + 1) for k in range(n_exercises)]
    assert len(answers) >= 2  # they ran without an error, or run() had raised
    assert any("assert" in cell.source for cell in answers)


@every_notebook
def test_the_committed_outputs_are_what_the_cells_say_today(name: str) -> None:
    """Word for word, and number for number up to rounding.

    Errors, which are written with an exponent, are of the same order; sizes in MB, which grow with the page, are near.
    """
    cells = clean(nbformat.v4.new_notebook(cells=run(name)[0])).cells
    today, then = ([_said(output) for output in outputs_of(c)] for c in (cells, committed(name).cells))
    assert len(today) == len(then), "python notebooks/execute.py"
    for now, before in zip(today, then, strict=True):
        assert NUMBER.sub(r"0\2", now) == NUMBER.sub(r"0\2", before), "python notebooks/execute.py"
        for a, b in zip(NUMBER.finditer(now), NUMBER.finditer(before), strict=True):
            assert _near(a, b), f"{before!r} is now {now!r}"


NUMBER = re.compile(r"([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)( MB)?")


def _near(now: re.Match[str], before: re.Match[str]) -> bool:
    a, b = float(now[1]), float(before[1])
    if "e-" in before[1]:
        return b / 10 < a < b * 10
    return a == pytest.approx(b, rel=0.5, abs=0.1) if before[2] else a == pytest.approx(b, rel=0.05, abs=0.02)


def _said(output: NotebookNode) -> str:
    text = output.get("text") or output.get("data", {}).get("text/plain", "")
    return re.sub(r" +|0x[0-9a-f]+", " ", text)


PROSE = re.compile(r"(?<![\w./:-])([+−-]?(?:\d+\.\d+|\.\d+|\d+))( ?%)?(?![\w.]*\d)")
NO_PROSE = re.compile(
    r"```.*?```|`[^`]*`|\]\([^)]*\)|arXiv:\S+|^    .*?$|^\|.*?$|<summary>.*?$", re.DOTALL | re.MULTILINE
)
# Numbers that name or time something: a notebook, an exercise, a paper, a line or a section.
NAMES = re.compile(r"^#+ .*$|^\d\. |\b20\d\d\b|\b(?:[Ll]ines?|[Ss]ections?) [\d, and]*\d", re.MULTILINE)
NEAR = 5  # cells before and after


def numbers_of(cells: list[NotebookNode]) -> list[str]:
    """All that stand in the code or in what it said."""
    shown = [text for c in cells for text in (c.source, *map(_said, c.outputs))]
    return [number for text in shown for number in re.findall(r"[+-]?\d*\.?\d+(?:e[+-]?\d+)?%?", text)]


def not_said(prose: str, numbers: list[str]) -> list[str]:
    """The numbers in prose that are none of these, rounded as far as they are."""
    text = NAMES.sub(" ", NO_PROSE.sub(" ", prose))
    return [found[0] for found in PROSE.finditer(text) if not _is_said(found[1], bool(found[2]), numbers)]


def _is_said(value: str, is_percent: bool, numbers: list[str]) -> bool:
    """Whether one of the numbers, rounded as far as the value is, is the value."""
    wanted, half = abs(float(value.replace("−", "-"))), 0.5 * 10.0 ** -len(value.partition(".")[2])
    if not is_percent and "." not in value:
        half = 0.0  # a count
    for number in numbers:
        found = abs(float(number.rstrip("%")))
        if not number.endswith("%") and is_percent:
            found *= 100
        elif number.endswith("%") and not is_percent:
            found /= 100
        if abs(found - wanted) <= half * 1.001:
            return True
    return False


@every_notebook
def test_every_number_in_prose_is_a_number_of_the_cells_beside_it(name: str) -> None:
    cells = committed(name).cells
    for i, cell in enumerate(cells[:-1]):
        if cell.cell_type == "markdown":
            beside = [c for c in cells[max(0, i - NEAR) : i + NEAR + 1] if c.cell_type == "code"]
            told = cell.source.split("## Exercises")[0]
            assert not_said(told, numbers_of(beside)) == [], f"cell {i}, and nothing beside it"


@every_notebook
def test_every_number_in_an_answer_is_said_by_its_code_or_by_the_notebook(name: str) -> None:
    cells, answers = run(name)
    said = {answer.source: answer for answer in answers}
    code = [cell for cell in cells if cell.cell_type == "code"]
    for answer in committed(name).cells[-1].source.split("<details>")[1:]:
        own = [said[source] for source in re.findall(r"```python\n(.*?)```", answer, re.DOTALL)]
        assert not_said(answer, numbers_of(own + code)) == [], answer


@every_notebook
def test_a_notebook_is_committed_with_pictures_and_without_a_widgets_state(name: str) -> None:
    notebook = committed(name)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert {cell.get("execution_count") for cell in notebook.cells} == {None}
    assert all(cell.metadata == {} for cell in notebook.cells)
    outputs = outputs_of(notebook.cells)
    assert {kind for output in outputs for kind in output.get("data", {})} == {"text/plain", "image/png"}
    pictures = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= 2
    assert all(base64.b64decode(picture).startswith(PNG) for picture in pictures)
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 700_000


@every_notebook
def test_a_notebook_says_first_what_is_learned_and_last_what_the_answers_are(name: str) -> None:
    cells = committed(name).cells
    assert cells[0].source.startswith("# ")
    assert "**What you will learn**" in cells[0].source
    last = cells[-1].source
    assert last.startswith("<details>")
    assert last.endswith("</details>")
    for cell in cells:
        for link in re.findall(r"\]\(([^)#]+)\)", cell.source if cell.cell_type == "markdown" else ""):
            assert link.startswith("https://") or (FOLDER / link).exists(), link


def test_the_quickstart_shows_the_bundled_model_in_three_cells() -> None:
    first = [cell.source for cell in committed("quickstart").cells if cell.cell_type == "code"][1:4]
    assert first[0] == "import lmtt_widget as lmtt"
    assert "bundled_model()" in first[1]
    assert "explore(" in first[2]


def setup_of(name: str) -> str:
    return next(cell.source for cell in committed(name).cells if cell.cell_type == "code")


def test_every_notebook_begins_with_the_same_cell_that_installs_what_is_missing() -> None:
    assert len({setup_of(name) for name in NOTEBOOKS}) == 1
    for name in NOTEBOOKS:
        assert "[![Open in Colab](" in committed(name).cells[0].source


@pytest.mark.parametrize(
    ("wheels", "asked"),
    [
        ([], "lmtt-widget[figures]"),
        (
            ["lmtt_widget-0.1.0-py3-none-any.whl", "lmtt_widget-0.2.0-py3-none-any.whl"],
            "lmtt_widget-0.2.0-py3-none-any.whl[figures]",
        ),
    ],
)
def test_where_the_package_is_missing_it_is_installed_from_a_wheel_beside_the_notebook_or_by_name(
    wheels: list[str], asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for wheel in wheels:
        (tmp_path / wheel).touch()
    found: list[str] = []
    shell = InteractiveShell()
    shell.register_magic_function(found.append, "line", "pip")
    shell.run_cell(setup_of("quickstart")).raise_error()
    assert found == []  # it is there
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    shell.run_cell(setup_of("quickstart")).raise_error()
    assert found == [f'install -q "{asked}"']
