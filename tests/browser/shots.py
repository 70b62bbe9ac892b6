"""Pictures of the widget in a real JupyterLab, light and dark, to look at: python -m tests.browser.shots [folder]

They go to shots/ (git-ignored). Nothing is compared: the pictures are for eyes.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from .conftest import FLAGS, NO_CHROMIUM, chromium
from .jupyter import ROOT, JupyterServer, run_all

PROMPT = "When Mary and John went to the store, John gave a drink to"
N_LONG = 100

SHORT = f"import lmtt_widget as lmtt\nlmtt.explore(lmtt.bundled_model(), {PROMPT!r})"
LONG = f"""import lmtt_widget as lmtt
model = lmtt.bundled_model()
ids = model.tokenizer({PROMPT + ". "!r} * {N_LONG})["input_ids"]
lmtt.explore(model, ids[:{N_LONG}])"""


def shoot(page: Page, server: JupyterServer, name: str, cell: str, folder: Path) -> Path:
    """A picture of the widget, the pointer away from it."""
    server.open(page, server.write(f"{name}.ipynb", cell))
    run_all(page)
    widget = page.locator(".lmtt-widget[data-ready='1']").first
    widget.wait_for()
    page.wait_for_timeout(1500)  # progressive drawing, the lens, fonts
    picture = folder / f"{name}.png"
    widget.screenshot(path=picture)
    return picture


def main(folder: Path) -> None:
    path = chromium()
    if path is None:
        sys.exit(NO_CHROMIUM)
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as temporary:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        for theme in ("light", "dark"):
            server = JupyterServer(Path(temporary) / theme, theme=theme)
            try:
                for name, cell, width in (("short", SHORT, 1400), ("long", LONG, 1400), ("narrow", SHORT, 800)):
                    page = browser.new_page(viewport={"width": width, "height": 1500}, device_scale_factor=2)
                    page.set_default_timeout(60_000)
                    print(shoot(page, server, f"{name}-{theme}", cell, folder))
                    page.close()
            finally:
                server.stop()
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "shots")
