"""The map of a survey, layer x head: hover says value and interval, a click lists examples, an example opens below."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import numpy as np
import traitlets as t

from .. import figures, page
from ..shown import with_picture
from .roles import ROLES
from .scores import ScoreMap

_VIEW = "application/vnd.jupyter.widget-view+json"
_SCORES = ("flow", "effect")
_FEW = 5  # examples of each head in a saved page
_MANY = 20
_LONGEST = 300  # characters of a prompt in the list


class SurveyMap(anywidget.AnyWidget):
    """The map alone, without what opens below it."""

    _esm = ""
    title = t.Unicode("").tag(sync=True)  # of the figure: which model
    maps = t.Dict({}).tag(sync=True)  # name -> what `_told` makes of a ScoreMap
    score = t.Unicode("flow").tag(sync=True)  # the map on show
    cell = t.List(t.Int(), None, allow_none=True).tag(sync=True)  # the row and head that are chosen
    examples = t.Dict({}).tag(sync=True)  # "score row.head" -> prompts
    opened = t.List(t.Int(), None, allow_none=True).tag(sync=True)  # row, head and number of the example clicked last
    opens = t.Bool(False).tag(sync=True)  # whether there is a model to open an example with
    offline = t.Bool(False).tag(sync=True)

    def __init__(self, survey: Any, opens: bool = False) -> None:
        self.survey = survey
        found = {name: getattr(survey, name)() for name in _SCORES}
        found |= {f"attention to: {role}": survey.role(role) for role in ROLES}
        title = f"Survey of {survey.facts['model']['name']}"
        super().__init__(opens=opens, title=title, maps={name: _told(scores) for name, scores in found.items()})
        self._esm = page.static("survey.js")

    @t.validate("score")
    def _known_score(self, proposal: Any) -> str:
        if proposal["value"] not in self.maps:
            raise t.TraitError(f"score must be one of {', '.join(self.maps)}, got {proposal['value']!r:.40}")
        return str(proposal["value"])

    @t.validate("cell")
    def _known_cell(self, proposal: Any) -> Any:
        cell, there = proposal["value"], self.survey.heads
        if cell is not None and not (len(cell) == 2 and 0 <= cell[0] < len(there) and 0 <= cell[1] < there[cell[0]]):
            raise t.TraitError(f"cell must be the row and head of one that is there, got {cell!r:.40}")
        return cell

    @t.observe("cell", "score")
    def _list(self, _change: Any) -> None:
        if self.cell is not None and not self.offline:
            row, head = self.cell
            key = f"{self.score} {row}.{head}"
            if key not in self.examples:
                self.examples = self.examples | {key: self._examples(row, head, self.score, _MANY)}

    def _examples(self, row: int, head: int, score: str, k: int) -> list[dict[str, Any]]:
        by = score.removeprefix("attention to: ")
        found = self.survey.examples(self.survey.layers[row], head, k, by=by)
        return [{"number": e.number, "text": _text(e.prompt), "value": e.value} for e in found if not np.isnan(e.value)]

    def svg(self, theme: str = "auto") -> str:
        """The map on show as an SVG file's text. Raises ImportError where the extra "figures" is missing."""
        return figures.survey_svg(self.maps[self.score], self.score, self.title, theme=theme)

    def page(self) -> str:
        """A page of its own, with the strongest examples of every head, that needs no kernel and no network."""
        places = [(row, head) for row, n in enumerate(self.survey.heads) for head in range(n)]
        examples = {
            f"{score} {row}.{head}": self._examples(row, head, score, _FEW)
            for score in self.maps
            for row, head in places
        }
        state = {name: getattr(self, name) for name in ("maps", "score", "cell", "title")}
        state |= {"examples": examples, "offline": True}
        name = html.escape(self.title)
        data = json.dumps(state, allow_nan=False)
        return page.whole("lmtt-survey-page", data, page.static("survey.js"), title=name, heading="Survey")


class SurveyView(ipywidgets.VBox):
    """The map, and below it the flow widget of the example that was opened last."""

    def __init__(self, survey: Any, model: Any = None) -> None:
        self.map, self.model, self.flow = SurveyMap(survey, opens=model is not None), model, None
        super().__init__([self.map])
        self.map.observe(self._open, "opened")

    def save(self, path: str | Path, *, theme: str = "auto") -> Path:
        """Saves the map by its ending: .html, one page; .svg or .png, the score on show. Returns the path.

        Raises ValueError for another ending or theme, ImportError where a figure needs the extra "figures".
        """
        path = Path(path)
        if path.suffix in (".html", ".htm"):
            path.write_text(self.map.page(), "utf-8")
        elif path.suffix == ".svg":
            path.write_text(self.map.svg(theme), "utf-8")
        elif path.suffix == ".png":
            path.write_bytes(figures.png(self.map.svg(theme)))
        else:
            raise ValueError(f"a map is saved as .html, .svg or .png, got {path.name!r:.60}")
        return path

    # As the flow widget has it: readers without a kernel see the picture.
    _ipython_display_ = None

    def _repr_mimebundle_(self, **_: Any) -> Any:
        try:
            picture = figures.png(self.map.svg())
        except ImportError:
            picture = None
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        # Written out here: the widgets of ipywidgets 7 have no bundle that this could add to.
        return with_picture({"text/plain": type(self).__name__, _VIEW: view}, picture)

    def _open(self, change: Any) -> None:
        if change["new"] is None or self.model is None:
            return
        row, head, number = change["new"]
        example = self.map.survey.example(number, self.map.survey.layers[row], head)
        before, self.flow = self.flow, example.open(self.model)
        self.children = (self.map, self.flow)
        if before is not None:
            before.close()


def _told(scores: ScoreMap) -> dict[str, Any]:
    """A map as JSON; None where there is no such head."""

    def cell(row: int, head: int) -> dict[str, Any] | None:
        at = row, head
        if np.isnan(scores.value[at]):
            return None
        chance = apart = None
        if scores.chance is not None and scores.apart is not None:
            chance, apart = float(scores.chance[at]), bool(scores.apart[at])
        numbers = {name: float(getattr(scores, name)[at]) for name in ("value", "low", "high")}
        return numbers | {"chance": chance, "apart": apart}

    n_rows, n_heads = scores.value.shape
    cells = [[cell(row, head) for head in range(n_heads)] for row in range(n_rows)]
    counts = {name: getattr(scores, name) for name in ("n_prompts", "n_queries", "n_duplicates", "n_refused")}
    return {"layers": list(scores.layers), "cells": cells} | counts


def _text(prompt: Any) -> str:
    """A prompt in a line."""
    text = prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False)
    return text if len(text) <= _LONGEST else "... " + text[-_LONGEST:]
