"""The picture as SVG and PNG without a browser: the widget's own drawing code, run in a small JavaScript engine.

One implementation draws the screen, the menu's files and these, so they cannot differ. The engine (QuickJS) and the
renderer (resvg) are the optional extra "figures": a few megabytes, with wheels for Linux, macOS and Windows.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from .given import number, one_of
from .page import static

WIDTH = 720  # px; with the panel beside it the picture is about this wide
_ROWS = 114  # px of the widget above and below its picture
_ENDING = {"quickjs": "SVG and PNG", "resvg_py": "PNG"}


def svg(
    graph: bytes,
    traits: Mapping[str, Any],
    detail: bytes = b"",
    *,
    width: float = WIDTH,
    height: float | None = None,
    theme: str | None = None,
) -> str:
    """The picture of a packed graph, as the traits say it is shown, as an SVG file's text; text stays text.

    detail: the packed answers, of which an encoding may draw one.
    width and height in px; by default the height is the widget's. theme: "light" or "dark", by default the widget's
    (light where it follows its surroundings). Raises ImportError without the extra, ValueError for a size or theme out
    of range.
    """
    view = traits["view"]
    height = view["height"] - _ROWS if height is None else height
    for name, value in {"width": width, "height": height}.items():
        number(value, f"{name} (in pixels)", 120, 10_000)
    theme = _theme(view["theme"] if theme is None else theme)
    names = ("target", "threshold", "encoding", "reading", "renormalise", "edits")
    options = {name: traits[name] for name in names if name in traits} | {"fold": view["fold"], "dark": theme == "dark"}
    sizes = json.dumps(options | {"width": width, "height": height})
    return _drawn("figure", base64.b64encode(graph).decode(), sizes, base64.b64encode(detail).decode())


def survey_svg(scores: Mapping[str, Any], name: str, title: str, *, theme: str = "auto") -> str:
    """The map of a survey, as its widget has it, as an SVG file's text. Errors as in `svg`."""
    return _drawn("survey", json.dumps(scores), name, title, _theme(theme) == "dark")


def png(svg_text: str, *, scale: float = 2) -> bytes:
    """An SVG as PNG, `scale` pixels for every px. Raises ImportError without the extra, ValueError for the scale."""
    scale = number(scale, "scale", 0.1, 10)
    return bytes(_engine("resvg_py").svg_to_bytes(svg_string=svg_text, zoom=scale))


def _drawn(function: str, *given: Any) -> str:
    """What a function of the browser's side makes of these."""
    context = _engine("quickjs").Context()
    context.eval(static("figure.js"))
    # The engine cannot hand over a string that it keeps in pieces, and JSON is one piece.
    text: str = json.loads(context.eval(f"(...given) => JSON.stringify(lmtt.{function}(...given))")(*given))
    return text


def _theme(name: str) -> str:
    one_of(name, ("auto", "light", "dark"), "theme")
    return name


def _engine(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as e:
        raise ImportError(f'{_ENDING[name]} need two more packages: pip install "lmtt-widget[figures]"') from e
