"""Builds the documentation as a site with live widgets, offline: python docs/make_site.py [--out FOLDER]

The pages of docs/, the notebooks with their outputs, the API with a heading for every name, and the gallery are written
as Markdown into FOLDER/pages, and made into FOLDER/site by mkdocs with its material theme. Reading it fetches nothing:
open FOLDER/site/index.html.
"""

from __future__ import annotations

import argparse
import base64
import html
import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import lmtt_widget as lmtt
from lmtt_widget.bundled import DIRECTORY, STORIES

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(DOCS))
from gallery import ANALYSES  # noqa: E402

BUDGET = 900_000  # bytes of a live widget's page
LIVE = {
    "light": "indirect-object",
    "edge": "cut",
    "mlp": "pronoun",
    "state": "fact",
}  # beside which picture, which widget
MOVED = {
    "../lmtt_widget/bundled/model/CARD.md": "bundled-model.md",
    "../lmtt_widget/bundled/stories/CARD.md": "stories-model.md",
    "../CONTRIBUTING.md": "contributing.md",
    "docs/": "",
}
TITLES = {
    "index": "Documentation",
    "reading-the-picture": "Reading the picture",
    "method": "The method",
    "truth": "What a line does",
    "survey": "Many prompts",
    "exactness": "Exactness",
    "models": "Models",
    "loading": "How models are loaded",
    "sharing": "Sharing a picture",
    "hosts": "Where it runs",
    "costs": "What it costs",
    "teaching": "Teaching",
    "faq": "Questions",
}


def write_pages(folder: Path) -> None:
    """All pages as Markdown, with what they show."""
    folder.mkdir(parents=True)
    shutil.copytree(DOCS / "pictures", folder / "pictures")
    sentences = save_widgets(folder / "widgets")
    for path in DOCS.glob("*.md"):
        if path.stem != "api":
            (folder / path.name).write_text(with_live(moved(path.read_text("utf-8"))), "utf-8")
    (folder / "api.md").write_text(api(), "utf-8")
    for page, model in (("bundled-model", DIRECTORY), ("stories-model", STORIES)):
        (folder / f"{page}.md").write_text((model / "CARD.md").read_text("utf-8"), "utf-8")
    (folder / "contributing.md").write_text(moved((ROOT / "CONTRIBUTING.md").read_text("utf-8")), "utf-8")
    (folder / "gallery.md").write_text(gallery(sentences), "utf-8")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        (folder / f"{path.stem}.md").write_text(notebook(path, folder / "pictures"), "utf-8")
    (folder / "site.css").write_text(STYLE, "utf-8")
    shutil.copy(DOCS / "worker.js", folder)


# Links are told by more than their colour, and the theme's palest colours of code are a little stronger.
STYLE = """.widget { width: 100%; border: 1px solid var(--md-default-fg-color--lightest); border-radius: 4px; }
.md-grid { max-width: 1300px; }
.md-typeset a { text-decoration: underline; }
[data-md-color-scheme="default"] { --md-code-hl-comment-color: #5c5c5c; --md-code-hl-operator-color: #5c5c5c; }
[data-md-color-scheme="slate"] { --md-code-hl-constant-color: #ab9ef0; --md-code-hl-number-color: #f08a7e; }
"""
MENDED = {
    "https://unpkg.com/iframe-worker/shim": "worker.js",  # what the theme would fetch for a search without a server
    'data-md-component="search" role="dialog"': 'data-md-component="search" role="dialog" aria-label="Search"',
}


def save_widgets(folder: Path) -> dict[str, str]:
    """Every analysis of the gallery as a page, and its sentence."""
    folder.mkdir()
    sentences, model = {}, lmtt.bundled_model()
    for name, (_, make) in ANALYSES.items():
        widget, sentences[name] = make(model)
        if isinstance(widget, str):  # a page already
            (folder / f"{name}.html").write_text(widget, "utf-8")
            continue
        lmtt.save_html(widget, folder / f"{name}.html", max_bytes=BUDGET, progress=False)
        widget.close()
    return sentences


def frame(name: str) -> str:
    """A live widget; its page keeps to itself."""
    title = html.escape(f"{ANALYSES[name][0]}, alive")
    return (
        f'<iframe class="widget" title="{title}" src="widgets/{name}.html" height="580" loading="lazy" '
        'sandbox="allow-scripts allow-downloads"></iframe>'
    )


def gallery(sentences: dict[str, str]) -> str:
    lines = ["# Gallery", "", "Saved analyses, alive in this page: hover, click, slide the threshold.", ""]
    for name, (title, _) in ANALYSES.items():
        lines += [f"## {title}", "", sentences[name], "", frame(name), ""]
    return "\n".join(lines)


def with_live(text: str) -> str:
    """A page with the live widget in the place of each picture that has one."""
    return re.sub(r"!\[[^\]]*\]\(pictures/(\w+)\.png\)", lambda m: frame(LIVE[m[1]]) if m[1] in LIVE else m[0], text)


def moved(text: str) -> str:
    """Links as they are among the site's pages, and details that hold Markdown."""
    for old, new in MOVED.items():
        text = text.replace(f"]({old}", f"]({new}")
    text = re.sub(r"\]\((?:\.\./)?(?:notebooks/)?([\w-]+)\.ipynb", r"](\1.md", text)
    return re.sub(r"\]\(\.\./docs/", "](", text).replace("<details>", '<details markdown="1">')


def api() -> str:
    """The API with a heading of its own for every name, so that the search finds it."""
    page = (DOCS / "api.md").read_text("utf-8")

    def heading(found: re.Match[str]) -> str:
        name, signature = found[1], found[2]
        return f"### {name} {{ #{name} }}\n\n" + (f"```python\n{name}{signature}\n```" if signature else "")

    return re.sub(r"^### `(\w+)(.*)`$", heading, page, flags=re.MULTILINE)


def notebook(path: Path, pictures: Path) -> str:
    """A notebook with what its cells printed and showed."""
    lines: list[str] = []
    for k, cell in enumerate(json.loads(path.read_text("utf-8"))["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            # The badge is fetched from elsewhere; in a page its words do.
            lines += [re.sub(r"!\[(Open in Colab)\]\(https:[^)]*\)", r"\1", moved(source)), ""]
            continue
        lines += ["```python", source, "```", ""]
        for n, output in enumerate(cell["outputs"]):
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{path.stem}-{k}-{n}.png"
                (pictures / name).write_bytes(base64.b64decode("".join(data["image/png"])))
                lines += [f"![What the cell above shows](pictures/{name})", ""]
            else:
                lines += ["```text", "".join(output.get("text") or data.get("text/plain", "")).rstrip(), "```", ""]
    return "\n".join(lines)


def config(folder: Path) -> str:
    """What mkdocs is told, as JSON, which is YAML."""
    learn = [{first_heading(path): f"{path.stem}.md"} for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    look_up = [{title: f"{name}.md"} for name, title in TITLES.items() if name != "index"]
    about = [
        {"The bundled model": "bundled-model.md"},
        {"The bundled model of stories": "stories-model.md"},
        {"Contributing": "contributing.md"},
    ]
    palette = [
        {
            "media": f"(prefers-color-scheme: {scheme})",
            "scheme": name,
            "primary": "indigo",
            "toggle": {"icon": "material/theme-light-dark", "name": f"Switch to {other}"},
        }
        for scheme, name, other in (("light", "default", "dark"), ("dark", "slate", "light"))
    ]
    told = {
        "site_name": "lmtt_widget",
        "docs_dir": str(folder / "pages"),
        "site_dir": str(folder / "site"),
        "use_directory_urls": False,  # opened from a disk as well
        "theme": {"name": "material", "font": False, "palette": palette, "features": ["search.highlight"]},
        "extra": {"generator": False},
        "extra_css": ["site.css"],
        "plugins": ["search", "offline"],
        "markdown_extensions": [
            "tables",
            "attr_list",
            "md_in_html",
            "pymdownx.superfences",
            {"toc": {"permalink": False}},
        ],
        "validation": {"links": {"anchors": "warn"}},
        "nav": [
            {"Documentation": "index.md"},
            {"Gallery": "gallery.md"},
            {"Learn": learn},
            {"Look up": [*look_up, {"API": "api.md"}]},
            {"More": about},
        ],
    }
    return json.dumps(told, indent=1)


def first_heading(path: Path) -> str:
    (first, *_) = json.loads(path.read_text("utf-8"))["cells"]
    return first["source"][0].strip().removeprefix("# ")


def build(folder: Path) -> Path:
    """The site's first page. Raises CalledProcessError, with what mkdocs says, for a warning."""
    for part in ("pages", "site"):
        shutil.rmtree(folder / part, ignore_errors=True)
    write_pages(folder / "pages")
    (folder / "mkdocs.yml").write_text(config(folder), "utf-8")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--config-file",
        str(folder / "mkdocs.yml"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"mkdocs: {done.stdout}{done.stderr}")
    for path in (folder / "site").rglob("*.html"):
        text = path.read_text("utf-8")
        for old, new in MENDED.items():
            text = text.replace(old, new)
        path.write_text(text, "utf-8")
    return folder / "site" / "index.html"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=inspect.cleandoc(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "docs")
    print(build(parser.parse_args().out.resolve()))
