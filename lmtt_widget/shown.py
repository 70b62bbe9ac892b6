"""What every widget shows, live or saved: the traits, their limits, and the forms that stay when no kernel runs."""

from __future__ import annotations

import base64
import hashlib
import os
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar

import anywidget
import traitlets as t
from ipywidgets.widgets import widget as ipywidgets
from traitlets import Bunch

from . import page
from .encodings import encoding_of
from .figures import WIDTH, png, svg
from .given import number
from .graph import Graph
from .progress import Progress
from .routes import Routes, trace
from .saved import TRAITS, Analysis
from .state import read_graph

BUDGET = 5_000_000  # bytes of a page or a saved analysis
_PREVIEW_SCALE = 1.5
_PREVIEWED = 2_000_000  # bytes of a graph; a larger one takes seconds to draw
_VIEW = {"fold": True, "height": 560, "theme": "auto", "panel": True, "text": 1}
INTERRUPTED = "interrupted; nothing was changed"
_ONE_WAY = {"sync": True, "echo_update": False}


def bundle() -> dict[str, Any]:
    """The traits of the widget's script; as a path, which anywidget watches, under ANYWIDGET_HMR=1.

    What a host loads is a few lines, which unfold the script itself once in a page: pages never forget a module.
    """
    if os.environ.get("ANYWIDGET_HMR") == "1":
        return {"_esm": page.STATIC / "widget.js"}
    code = page.static("widget.js").encode()
    return {"_esm": page.static("start.js").replace("HASH", hashlib.sha256(code).hexdigest()), "_code": _folded(code)}


@lru_cache(maxsize=1)
def _folded(code: bytes) -> bytes:
    return zlib.compress(code, 9)


class _Leads(t.TraitType):
    """A trait that others follow: what is set is checked, and all of it changes as one step or not at all."""

    def set(self, obj: Any, value: Any) -> None:
        obj._change(self.name, self._validate(obj, value))


class _Int(_Leads, t.Int):
    """A number that others follow."""


class _Bool(_Leads, t.Bool):
    """A choice that others follow."""


class _Unicode(_Leads, t.Unicode):
    """A word that others follow."""


class _Any(_Leads, t.Any):
    """Anything that others follow."""


class _Something(t.Any):
    """Anything but None, which traitlets would let past the validator."""

    allow_none = False


class _Leading(_Leads, _Something):
    """Anything but None that others follow."""


class _Number(t.Float):
    """A float; a whole number of any size is refused as one that is none."""

    def validate(self, obj: Any, value: Any) -> Any:
        try:
            return super().validate(obj, value)
        except OverflowError:
            self.error(obj, value)


class Shown(anywidget.AnyWidget):
    """The traits that the browser shows, whoever answers it."""

    _esm = ""
    _code = t.Bytes(b"").tag(**_ONE_WAY)
    graph = t.Bytes(b"").tag(**_ONE_WAY)
    peek = t.Bytes(b"").tag(**_ONE_WAY)
    detail = t.Bytes(b"").tag(**_ONE_WAY)
    target = _Int(-1).tag(sync=True)  # a position; negative counts from the end
    threshold = _Number(None, allow_none=True).tag(sync=True)  # a share in [0, 1); None chooses by itself
    encoding = _Unicode("flow").tag(sync=True)  # how lines are weighed: "flow", "share" or what is registered
    reading = t.Unicode("max").tag(sync=True)  # of heads, in shares: "max" or "sum"
    renormalise = t.Bool(False).tag(sync=True)  # drawn shares divided by their sum: renormalise(graph, t, by=reading)
    normalise = _Bool(True).tag(sync=True)  # final norm before unembedding
    token = _Any(None).tag(sync=True)  # explained, as effects are on it: text, id, or None for the one predicted
    foil = _Any(None).tag(sync=True)  # token to contrast it with: text, id or None
    selection = _Any(None).tag(sync=True)  # what the panel is about; see answers
    pins: Any = _Leading([]).tag(sync=True)
    view: Any = t.Dict(dict(_VIEW)).tag(sync=True)
    edits: Any = _Leading([]).tag(sync=True)  # what is different in the pass on show; see interventions.told_edits
    before = t.Bytes(b"").tag(**_ONE_WAY)  # the graph without the edits
    verify = _Bool(False).tag(sync=True)  # every head is taken out, or what is drawn tried alone, when nobody waits
    prompts: Any = _Something([]).tag(sync=True)
    prompt = _Leading("").tag(sync=True)
    status = t.Dict({"state": "idle", "text": "", "done": 0, "total": 0}).tag(**_ONE_WAY)
    offline = t.Bool(False).tag(sync=True)  # no model answers
    opened = t.Any(None)  # what the picture is of
    preview = t.Bool(True)  # whether a picture (PNG) lies beside the widget in the notebook

    _refused: ClassVar[tuple[type[Exception], ...]] = (t.TraitError, ValueError)  # whose message is for the reader
    _ready = False  # before, traits are set as they are given

    @property
    def routes(self) -> Routes:
        """The routes on show: to the present target, in the present encoding and reading."""
        return trace(self._shown_graph(), self.target, reading=self.reading, encoding=self.encoding)  # type: ignore[arg-type]

    def _shown_graph(self) -> Graph:
        return read_graph(self.graph)

    def analysis(self, include: Any = "auto", max_bytes: int = BUDGET, progress: Progress | None = None) -> Analysis:
        """What `save_json` saves and `save_html` shows; arguments as there."""
        raise NotImplementedError

    def page(self, include: Any = "auto", max_bytes: int = BUDGET, progress: Progress | None = None) -> str:
        """The page that `save_html` saves; arguments and errors as there."""
        text = page.page(self.analysis(include, max_bytes, progress))
        check_size(text, max_bytes)
        return text

    def snapshot(self, include: Any = "auto", max_bytes: int = BUDGET) -> Any:
        """The page of `save_html` in a sandboxed frame, an output that stays alive where no kernel runs.

        In a notebook that was closed and opened again, and in nbconvert's pages, also offline.
        """
        from IPython.display import HTML

        name = page.title(self.analysis("nothing"))
        return HTML(page.frame(self.page(include, max_bytes), name, int(self.view["height"]), self._picture()))

    def svg(self, **options: Any) -> str:
        """The picture as an SVG file's text; options and errors as in `save_svg`."""
        shown = {name: getattr(self, name) for name in (*TRAITS, "edits")}
        return svg(self.graph, shown | {"target": self.target % self._n_tokens()}, self.detail, **options)

    def _n_tokens(self) -> int:
        raise NotImplementedError

    def _picture(self) -> bytes | None:
        """The preview; None where it is turned off, cannot be drawn, or would take long."""
        if not self.preview or not self.graph or len(self.graph) > _PREVIEWED:
            return None
        try:
            return png(self.svg(), scale=_PREVIEW_SCALE)
        except Exception:  # noqa: BLE001
            # The widget is to be shown whatever becomes of its preview.
            return None

    # ipywidgets 7 shows its widgets by this name, and then nobody asks for the bundle, which has the picture.
    _ipython_display_ = None

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        shown = super()._repr_mimebundle_(**kwargs)
        return shown and with_picture(shown, self._picture(), WIDTH)

    # ---- what may be set ----

    @t.validate("threshold")
    def _threshold_is_a_share(self, proposal: Any) -> float | None:
        value = proposal["value"]
        if value is not None and not 0 <= value < 1:
            raise t.TraitError(f"threshold must be a share in [0, 1), or None to choose it automatically, got {value}")
        return value

    @t.validate("reading")
    def _one_of_two(self, proposal: Any) -> str:
        if proposal["value"] not in ("max", "sum"):
            raise t.TraitError(f'reading must be "max" or "sum", got {proposal["value"]!r}')
        return proposal["value"]

    @t.validate("view")
    def _view_is_known(self, proposal: Any) -> dict[str, Any]:
        value = {**_VIEW, **proposal["value"]}
        unknown = sorted(set(value) - set(_VIEW))
        if unknown:
            raise t.TraitError(f"view has the options {', '.join(_VIEW)}, got {unknown[0]!r}")
        if value["theme"] not in ("auto", "light", "dark"):
            raise t.TraitError(f'theme must be "auto", "light" or "dark", got {value["theme"]!r}')
        if not (isinstance(value["height"], (int, float)) and 420 <= value["height"] <= 900):
            raise t.TraitError(f"height must be in 420..900 pixels, got {value['height']!r}")
        size = value["text"]
        if isinstance(size, bool) or not (isinstance(size, (int, float)) and 0.5 <= size <= 3):
            raise t.TraitError(f"text is the size of everything, 0.5 to 3 times the usual, got {size!r:.40}")
        if not all(isinstance(value[k], bool) for k in ("fold", "panel")):
            raise t.TraitError("fold and panel are True or False")
        return value

    # ---- one step ----

    def _change(self, name: str, value: Any) -> None:
        """Sets a trait that others follow, with all that follow; raises, with nothing changed, what is refused."""
        if not self._ready:
            self._put({name: value})
        elif not _same(value, getattr(self, name)):
            values = getattr(self, f"_with_{name}")(value)
            if name in _OTHER_QUESTION:
                values["verify"] = False
            if values.keys() & ASKED:
                values["detail"] = self._detail({n: getattr(self, n) for n in ASKED} | values)
            self._put(values)
            self._afterwards(name)

    def _put(self, values: Mapping[str, Any]) -> None:
        """Several traits in one step of the interpreter, where no interrupt comes between; then tells who watches."""
        changes = [
            Bunch(name=name, old=getattr(self, name), new=value, owner=self, type="change")
            for name, value in values.items()
            if not _same(value, getattr(self, name))
        ]
        self._trait_values.update({c.name: c.new for c in changes})
        try:
            with self.hold_sync():
                for change in changes:
                    self.notify_change(change)
        except BaseException:
            self.send_state([c.name for c in changes if c.name in self.keys])  # whoever was told half of it
            raise

    def _with_target(self, target: int) -> dict[str, Any]:
        n = self._n_tokens()
        if not -n <= target < n:
            raise t.TraitError(f"target must be a position in 0..{n - 1} (the prompt has {n} tokens), got {target}")
        return {"target": target % n}

    def _with_encoding(self, name: str) -> dict[str, Any]:
        return {"encoding": encoding_of(name).name, "threshold": None}  # which has another unit

    def _with_verify(self, verify: bool) -> dict[str, Any]:
        if verify:
            raise t.TraitError("nothing can be verified: this analysis was saved without its model")
        return {"verify": verify}

    def _with_selection(self, selection: Any) -> dict[str, Any]:
        return {"selection": None if selection is None else self._checked(selection)}

    def _with_pins(self, pins: Any) -> dict[str, Any]:
        if not isinstance(pins, (list, tuple)):
            raise t.TraitError(f"pins is a list of selections, got {pins!r:.60}")
        return {"pins": [self._checked(pin) for pin in pins]}

    def _checked(self, selection: Any) -> Any:
        """The selection, if it can be one. Raises ValueError with a sentence otherwise."""
        raise NotImplementedError

    def _detail(self, now: Mapping[str, Any]) -> bytes:
        """The message that answers the selection and the pins, as the traits will be."""
        raise NotImplementedError

    def _afterwards(self, name: str) -> None:
        """What is done once a trait and all that follow have changed."""

    # ---- the browser ----

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Takes what the browser sends, one trait at a time: what is refused goes back with a sentence."""
        try:
            said = self._taken(sync_data)
            if not _echoes():
                self.send_state([name for name in sync_data if name in self.keys])
            if said or self.status["state"] != "idle":
                self.status = status_of("error", said) if said else status_of()
        except KeyboardInterrupt:
            self.send_state()  # all of it: nobody knows how much was told
            self.status = status_of("error", INTERRUPTED)

    def _taken(self, sync_data: dict[str, Any]) -> str:
        """What is to be said of what was refused; nothing where all was taken."""
        said = ""
        for name, value in sync_data.items():
            try:
                if name in ("prompt", "edits"):
                    self._beforehand(name, value)
                with self.hold_sync():
                    super().set_state({name: value})
            except self._refused as e:
                said = str(e)
                self.send_state(name)
            except Exception as e:  # noqa: BLE001
                # Whatever a model raises must reach the reader: a notebook shows nothing of a callback's exception.
                said = f"{type(e).__name__}: {e}"
                self.send_state(name)
        return said

    def _beforehand(self, name: str, value: Any) -> None:
        """What is done for the browser before a prompt or edits are set."""


def _echoes() -> bool:
    """Whether other views hear what one sets: ipywidgets 7 tells them nothing, and Colab does not know 8's echo."""
    return getattr(ipywidgets, "JUPYTER_WIDGETS_ECHO", False) and "COLAB_RELEASE_TAG" not in os.environ


def _same(a: Any, b: Any) -> bool:
    """Whether nothing changes; where that cannot be said (a tensor), something may."""
    try:
        return a is b or bool(a == b)
    except (ValueError, TypeError, RuntimeError):
        return False


# What answers depend on.
ASKED = ("opened", "selection", "pins", "target", "token", "foil", "normalise", "encoding", "edits")
_OTHER_QUESTION = ("prompt", "edits", "target", "token", "foil")  # than what heads were verified of


def with_picture(shown: Any, picture: bytes | None, width: int | None = None) -> Any:
    """What a notebook is told of a widget, with a picture (PNG) for readers without a kernel; width in px."""
    if shown is None:
        return None
    data, metadata = shown if isinstance(shown, tuple) else (shown, {})
    if picture is None:
        return data, metadata
    sized = {} if width is None else {"image/png": {"width": width}}
    return {**data, "image/png": base64.b64encode(picture).decode()}, {**metadata, **sized}


def asked_of(now: Mapping[str, Any]) -> list[tuple[str, int, Any]]:
    """What is to be answered as (slot, index, question): the selection, what is drawn or edited, the pins."""
    asks = encoding_of(now["encoding"]).asks
    asked = [("selection", 0, now["selection"])] if now["selection"] is not None else []
    asked += [("encoding", 0, {"kind": asks})] if asks else []
    asked += [("edits", 0, {"kind": "edits"})] if now["edits"] else []
    return asked + [("pin", i, pin) for i, pin in enumerate(now["pins"])]


def check_size(text: str, max_bytes: int) -> None:
    """Raises ValueError when a text is larger than allowed."""
    max_bytes = number(max_bytes, "max_bytes", 0)  # type: ignore[assignment]
    if len(text) > max_bytes:
        raise ValueError(
            f"this would take {len(text) / 1e6:.1f} MB, more than the {max_bytes / 1e6:g} MB allowed: "
            f"include less, show fewer prompts, or give a larger max_bytes"
        )


def status_of(state: str = "idle", text: str = "", done: int = 0, total: int = 0) -> dict[str, Any]:
    return {"state": state, "text": text, "done": done, "total": total}
