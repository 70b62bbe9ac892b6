"""What was computed as one web page that needs no kernel and no network, and as a frame around it."""

from __future__ import annotations

import base64
import hashlib
import html
import unicodedata
from pathlib import Path

from .saved import Analysis, to_json

STATIC = Path(__file__).parent / "static"
_STYLE = (
    ":root{color-scheme:light dark}:root.light{color-scheme:light}:root.dark{color-scheme:dark}"
    "body{margin:12px;background:Canvas;color:CanvasText;font:14px system-ui,sans-serif}.framed body{margin:0}"
    "h1,h2{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}"
)
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main id="page"><h1>{heading}</h1><h2>{title}</h2></main>
<noscript><p>This picture is drawn by a script, and scripts are turned off here.</p></noscript>
<script type="application/json" id="{name}">{data}</script>
<script type="module">{code}</script>
</body>
</html>
"""
_FRAME = """<div style="position:relative;height:{height}px;overflow:hidden">{picture}<iframe title="{title}" \
sandbox="allow-scripts allow-downloads" \
style="position:absolute;top:0;left:0;width:100%;height:100%;border:0" srcdoc="{page}"></iframe></div>"""


def static(name: str) -> str:
    """A built file of the browser's side. Raises RuntimeError when it was not built."""
    path = STATIC / name
    if not path.is_file():
        raise RuntimeError(f"the browser bundle lmtt_widget/static/{name} is missing; run `npm ci && npm run build`")
    return path.read_text("utf-8")


def page(analysis: Analysis) -> str:
    """The whole page of an analysis."""
    heading = "Information flow routes"
    return whole("analysis", to_json(analysis), static("page.js"), title=title(analysis), heading=heading)


def whole(name: str, data: str, code: str, *, title: str, heading: str) -> str:
    """A page that draws data (JSON, in an element of that name) by a script of ours; title and heading are HTML.

    Nothing but its own script and style runs: the policy names them by their hashes.
    """
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {hashed(code)}",
            f"style-src {hashed(_STYLE)}",
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    # In JSON these are ASCII letters' escapes; as they are, "</script>" would end the data.
    data = data.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    said = {"policy": policy, "title": title, "heading": heading, "style": _STYLE}
    return _PAGE.format(name=name, data=data, code=code, **said)


def frame(page_text: str, name: str, height: int, picture: bytes | None = None) -> str:
    """A page in a sandboxed frame; the picture (PNG) lies behind it, for readers where frames are taken out."""
    image = ""
    if picture is not None:
        data = base64.b64encode(picture).decode()
        image = f'<img alt="{name}" style="max-width:100%;max-height:100%" src="data:image/png;base64,{data}">'
    return _FRAME.format(height=height + 2, picture=image, title=name, page=html.escape(page_text))


def title(analysis: Analysis) -> str:
    """One escaped line about the analysis; without characters that are not seen or turn the reading direction."""
    label = str(analysis.prompts[analysis.at].facts["prompt"])
    seen = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in label)
    return html.escape("Information flow routes: " + " ".join(seen.split())[:80])


def hashed(text: str) -> str:
    """A script or style as a content policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
