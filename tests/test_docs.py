"""What the documentation says is what the code says."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest

import lmtt_widget

from .test_house import FILES, ROOMS, name_of

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_the_api_page_is_made_from_todays_docstrings():
    page = runpy.run_path(str(DOCS / "make_api.py"))["page"]
    assert (DOCS / "api.md").read_text("utf-8") == page() + "\n", "run python docs/make_api.py"


def test_every_public_name_has_a_docstring_of_its_own():
    for name in lmtt_widget.__all__:
        doc = getattr(lmtt_widget, name).__doc__
        assert doc, name
        assert not doc.startswith(f"{name}("), f"{name} has only the signature that dataclasses write"


def test_the_house_in_contributing_has_every_room_in_its_order():
    drawn = re.findall(r"```text\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.DOTALL)[0]
    words = [word for line in drawn.split("js/src/")[0].splitlines() for word in re.split(r"[ /|+-]+", line)]
    there = {name_of(path) for path in FILES}
    at = -1
    for room in ROOMS:
        for name in [room] if isinstance(room, str) else room:
            if name in there:
                found = [i for i, word in enumerate(words) if word == name.split(".")[-1] and i > at]
                assert found, f"draw {name} in CONTRIBUTING.md, below what it imports"
                at = found[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page: Path):
    text = page.read_text("utf-8")
    links = re.findall(r"\]\(([^)\s#]+)", text) + re.findall(r'(?:src|srcset|href)="([^"#]+)"', text)
    for link in links:
        assert link.startswith("https://") or (page.parent / link).exists(), link


def test_every_page_is_reached_from_the_index():
    index = (DOCS / "index.md").read_text("utf-8")
    assert {page.name for page in DOCS.glob("*.md")} - {"index.md"} <= set(re.findall(r"\(([\w-]+\.md)\)", index))
    assert "docs/index.md" in (ROOT / "README.md").read_text("utf-8")


def test_every_page_stands_in_the_contents_of_the_site():
    titles = runpy.run_path(str(DOCS / "make_site.py"))["TITLES"]
    assert {page.stem for page in DOCS.glob("*.md")} - {"api"} == set(titles)


def test_the_readme_says_as_many_models_as_the_table():
    exact, of = re.findall(r"\*\*(\d+) of (\d+) exact\*\*", (DOCS / "models.md").read_text("utf-8"))[0]
    readme = " ".join((ROOT / "README.md").read_text("utf-8").split())
    assert f"{exact} of the {of} causal language models" in readme


def test_every_picture_is_made_by_the_script():
    made = runpy.run_path(str(DOCS / "make_pictures.py"))["PICTURES"]
    assert {path.stem for path in (DOCS / "pictures").glob("*.png")} == set(made)


WORDS_A_MINUTE = 130


def lesson_sections() -> list[tuple[str, int, int]]:
    """Title, minutes and words of prose of each section of the lesson."""
    cells = json.loads((ROOT / "notebooks" / "lesson.ipynb").read_text("utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells[1:-1] if cell["cell_type"] == "markdown")
    found = []
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        (minutes,) = re.findall(r"\((\d+) minutes\)", section)
        prose = re.sub(r"^(    .*|\|.*)$", "", section, flags=re.MULTILINE)
        title = re.sub(r" \(\d+ minutes\)", "", section.split("\n")[0])
        found.append((title, int(minutes), len(re.findall(r"\w+", prose))))
    return found


def test_the_teachers_page_says_how_long_each_section_takes_to_read_aloud():
    rows = [
        f"| {title} | {minutes} | {words} | {words / WORDS_A_MINUTE:.1f} | {minutes - words / WORDS_A_MINUTE:.1f} |"
        for title, minutes, words in lesson_sections()
    ]
    table = re.search(r"\| section .*?\n\n", (DOCS / "teaching.md").read_text("utf-8"), re.DOTALL)
    assert table[0].strip().splitlines()[2:] == rows
    assert sum(minutes for _, minutes, _ in lesson_sections()) == 90
    assert all(words / WORDS_A_MINUTE < minutes / 2 for _, minutes, words in lesson_sections())
