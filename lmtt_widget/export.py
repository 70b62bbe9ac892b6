"""One picture everywhere: a page, a figure, and an analysis that comes back as a widget without its model."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import traitlets as t

from .figures import png
from .given import of_kind, told
from .progress import Progress
from .saved import TRAITS, Analysis, SavedPrompt, from_json, to_json
from .shown import BUDGET, Shown, asked_of, bundle, check_size
from .valid import check_selection, chosen

_LARGEST = 1 << 28  # bytes of a file that is opened
_MADE = "explore(model, prompt) or load_json(path) makes one"


def save_html(
    widget: Shown,
    path: str | Path,
    *,
    include: Any = "auto",
    max_bytes: int = BUDGET,
    progress: Progress | None = None,
) -> Path:
    """Saves the widget as one page that needs no kernel and no network; returns its path.

    All prompts are in it, alive: target, threshold, line width, hover, zoom, theme. include: which details can be
    opened. "auto" takes the selection, the pins and, the strongest first, states, edges and heads on the visible routes
    as far as `max_bytes` go; "nothing" the first two; a list of selections those too. What is not included says so.
    progress(done, total) is called for every detail; None shows a bar when it takes more than a second, and the widget
    shows it, too. An interrupt ends the answering: what there is by then is saved, and a warning says so.

    Raises ValueError for another ending than .html, an include that is none, or a page over `max_bytes`, OSError for a
    path that cannot be written. A file that was there stays as it was then.

        >>> lmtt.save_html(widget, folder / "flow.html", include="nothing").name
        'flow.html'
    """
    path = _checked(path, ".html", ".htm")
    of_kind(widget, Shown, "widget", _MADE)
    return _written(path, widget.page(include, max_bytes, progress).encode())


def save_svg(
    widget: Shown,
    path: str | Path,
    *,
    width: float = 720,
    height: float | None = None,
    theme: str | None = None,
) -> Path:
    """Saves the picture as SVG, as it is drawn on screen and with text as text; returns its path.

    width, height: of the picture in px; by default the widget's height. theme: "light" or "dark", by default the
    widget's. Raises ImportError with what to install where the extra "figures" is missing, ValueError for another
    ending than .svg or a size or theme out of range, OSError for a path that cannot be written.

        >>> lmtt.save_svg(widget, folder / "flow.svg", width=400, height=300).name
        'flow.svg'
    """
    path = _checked(path, ".svg")
    of_kind(widget, Shown, "widget", _MADE)
    return _written(path, widget.svg(width=width, height=height, theme=theme).encode())


def save_png(
    widget: Shown,
    path: str | Path,
    *,
    width: float = 720,
    height: float | None = None,
    theme: str | None = None,
    scale: float = 2,
) -> Path:
    """Saves the picture as PNG, `scale` pixels for every px; returns its path. Else as `save_svg`.

    >>> lmtt.save_png(widget, folder / "flow.png", scale=1).name
    'flow.png'
    """
    path = _checked(path, ".png")
    of_kind(widget, Shown, "widget", _MADE)
    return _written(path, png(widget.svg(width=width, height=height, theme=theme), scale=scale))


def save_json(
    widget: Shown,
    path: str | Path,
    *,
    include: Any = "auto",
    max_bytes: int = BUDGET,
    progress: Progress | None = None,
) -> Path:
    """Saves the analysis for `load_json`: prompts, what was chosen, the details as in `save_html`; returns its path.

    Raises as `save_html`, for another ending than .json.

        >>> lmtt.save_json(widget, folder / "flow.json", include="nothing").name
        'flow.json'
    """
    path = _checked(path, ".json")
    of_kind(widget, Shown, "widget", _MADE)
    text = to_json(widget.analysis(include, max_bytes, progress))
    check_size(text, max_bytes)
    return _written(path, text.encode())


def load_json(path: str | Path) -> SavedWidget:
    """A saved analysis as a widget, without its model; imports neither torch nor transformers.

    Takes what `save_json` or the widget's menu saved. Raises ValueError for a file that is no such analysis, is cut
    off, or comes from a newer major version, OSError for one that cannot be read.

        >>> saved = lmtt.load_json(lmtt.save_json(widget, folder / "flow.json"))
        >>> saved.target == widget.target
        True
    """
    path = _checked(path, ".json")
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"it has more than {_LARGEST / 1e6:.0f} MB")
        return SavedWidget(from_json(path.read_text("utf-8")))
    except OSError as e:
        raise OSError(f"{path} cannot be read: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise ValueError(f"{path} cannot be opened: it is no analysis saved by lmtt_widget") from e
    except (ValueError, t.TraitError) as e:
        raise ValueError(f"{path} cannot be opened: {e}") from e


class SavedWidget(Shown):
    """An analysis that was saved, alive without its model: what was not saved with it cannot be asked.

    Its traits are those of `FlowWidget`; `save_html` and the others take it too.

        >>> saved = lmtt.load_json(lmtt.save_json(widget, folder / "flow.json"))
        >>> saved.prompt == widget.prompt
        True
    """

    def __init__(self, analysis: Analysis) -> None:
        """Raises TraitError or ValueError for a trait that cannot be."""
        self._saved = {_key(saved.prompt): saved for saved in analysis.prompts}
        asked_with = {name: analysis.traits[name] for name in ("normalise", "token", "foil") if name in analysis.traits}
        for name in ("token", "foil"):
            if (token := asked_with.get(name)) is not None and type(token) not in (str, int):
                raise t.TraitError(f"{name} must be a token: its text, its id, or None, got {token!r:.60}")
        first, prompts = analysis.prompts[analysis.at], [saved.prompt for saved in analysis.prompts]
        super().__init__(**bundle(), prompts=prompts, offline=True, **_picture(first), **asked_with)
        self._ready = True
        for name in TRAITS:
            if name in analysis.traits:
                setattr(self, name, analysis.traits[name])

    def analysis(
        self,
        include: Any = "auto",
        max_bytes: int = BUDGET,  # noqa: ARG002
        progress: Progress | None = None,  # noqa: ARG002
    ) -> Analysis:
        """What was saved, as it is shown now; `include` leaves out answers, and cannot add any."""
        shown, prompts = self.opened, list(self._saved.values())
        at = prompts.index(shown)
        named = chosen(include)
        if named is not None:
            kept = [*named, self.selection, *self.pins, {"kind": "edits"}]
            prompts = [
                replace(p, answers=[a for a in p.answers if p is shown and a["question"] in kept]) for p in prompts
            ]
        return Analysis({name: getattr(self, name) for name in TRAITS}, prompts, at)

    def _n_tokens(self) -> int:
        return len(self.opened.facts["tokens"]["text"])

    def _with_prompt(self, prompt: Any) -> dict[str, Any]:
        if _key(prompt) not in self._saved:
            raise t.TraitError("this analysis was saved without its model, so only its own prompts can be shown")
        return _picture(self._saved[_key(prompt)]) | {"threshold": None, "selection": None, "pins": []}

    def _with_normalise(self, _normalise: bool) -> dict[str, Any]:
        raise t.TraitError("normalise cannot be changed: this analysis was saved without its model")

    def _with_edits(self, _edits: Any) -> dict[str, Any]:
        raise t.TraitError("edits cannot be changed: this analysis was saved without its model")

    def _with_token(self, _token: Any) -> dict[str, Any]:
        raise t.TraitError("token cannot be changed: this analysis was saved without its model")

    def _with_foil(self, _foil: Any) -> dict[str, Any]:
        raise t.TraitError("foil cannot be changed: this analysis was saved without its model")

    def _checked(self, selection: Any) -> Any:
        check_selection(selection)
        return selection

    def _detail(self, now: Mapping[str, Any]) -> bytes:
        saved: SavedPrompt = now["opened"]
        return saved.detail(asked_of(now))


def _picture(saved: SavedPrompt) -> dict[str, Any]:
    """The traits that are of a prompt."""
    target = len(saved.facts["tokens"]["text"]) - 1
    shown = {"prompt": saved.prompt, "opened": saved, "graph": saved.graph, "peek": saved.peek, "target": target}
    return shown | {"edits": list(saved.edits), "before": saved.before}


def _key(prompt: Any) -> str:
    return json.dumps(prompt, sort_keys=True)


def _checked(path: str | Path, *endings: str) -> Path:
    if not isinstance(path, (str, os.PathLike)) or "\0" in str(path):
        raise ValueError(f"path must be the name of a file that ends in {endings[0]}, got {told(path)}")
    path = Path(path).expanduser()
    if path.suffix.lower() not in endings:
        raise ValueError(f"the file's name must end in {endings[0]}, got {path.name!r}")
    return path


def _written(path: Path, data: bytes) -> Path:
    """Written beside, then renamed: whatever goes wrong, no half of a file is left and an older one stays whole."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            beside.write_bytes(data)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as e:
        raise OSError(f"{path} cannot be written: {e.strerror}") from e
    return path
