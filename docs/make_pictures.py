"""Takes the pictures of README and docs from the real widget in Chromium: python docs/make_pictures.py

Each is the page that `save_html` writes, opened without a network. CHROMIUM names another browser than `chromium`.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

import lmtt_widget as lmtt

FOLDER = Path(__file__).resolve().parent / "pictures"
PROMPT = "When Mary and John went to the store, John gave a drink to"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
WIDTH, NARROW = 1000, 700

EDGE = {"kind": "edge", "state": 5, "query": 13, "key": 1}
HEAD = {"kind": "head", "state": 5, "head": 1, "query": 13, "key": 1}
PICTURES: dict[str, tuple[str, int, dict[str, Any]]] = {  # name: prompt, width in px, traits
    "light": (PROMPT, WIDTH, {"view": {"theme": "light"}}),
    "dark": (PROMPT, WIDTH, {"view": {"theme": "dark"}}),
    "sparse": (PROMPT, NARROW, {"threshold": 0.03, "view": {"theme": "light", "panel": False, "height": 480}}),
    "share": (PROMPT, NARROW, {"encoding": "share", "threshold": 0.04,
                               "view": {"theme": "light", "panel": False, "height": 480}}),
    "edge": (PROMPT, WIDTH, {"selection": EDGE, "view": {"theme": "light"}}),
    "head": (PROMPT, WIDTH, {"selection": HEAD, "view": {"theme": "light"}}),
    "mlp": ("Mary went home because", WIDTH, {"selection": {"kind": "mlp", "state": 6, "pos": 3},
                                              "view": {"theme": "light"}}),
    "state": ("The capital of France is", WIDTH, {"selection": {"kind": "state", "state": 5, "pos": 4},
                                                  "view": {"theme": "light"}}),
}  # fmt: skip


def take(browser: Browser, model: lmtt.Model, name: str, folder: Path) -> Path:
    """A picture of the widget, the pointer away from it."""
    prompt, width, traits = PICTURES[name]
    theme = traits["view"]["theme"]
    widget = lmtt.explore(model, prompt, **traits)
    saved = lmtt.save_html(widget, folder / f"{name}.html")
    size = {"width": width + 32, "height": 1100}
    context = browser.new_context(viewport=size, device_scale_factor=2, offline=True, color_scheme=theme)
    page = context.new_page()
    page.goto(saved.as_uri())
    shown = page.locator(".lmtt-widget[data-ready='1']")
    shown.wait_for()
    page.wait_for_timeout(1500)  # progressive drawing
    picture = FOLDER / f"{name}.png"
    shown.screenshot(path=picture)
    context.close()
    return picture


def main(names: list[str]) -> None:
    path = shutil.which(os.environ.get("CHROMIUM", "chromium"))
    if path is None:
        sys.exit("No Chromium was found: apt-get install chromium")
    model = lmtt.bundled_model()
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        for name in names or PICTURES:
            picture = take(browser, model, name, Path(folder))
            print(f"{picture.name}: {picture.stat().st_size / 1000:.0f} kB")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
