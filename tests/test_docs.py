"""What the documentation says is what the code says."""

from __future__ import annotations

import runpy
from pathlib import Path

import lmtt_widget

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_the_api_page_is_made_from_todays_docstrings():
    page = runpy.run_path(str(DOCS / "make_api.py"))["page"]
    assert (DOCS / "api.md").read_text("utf-8") == page() + "\n", "run python docs/make_api.py"


def test_every_public_name_has_a_docstring_of_its_own():
    for name in lmtt_widget.__all__:
        doc = getattr(lmtt_widget, name).__doc__
        assert doc, name
        assert not doc.startswith(f"{name}("), f"{name} has only the signature that dataclasses write"
