"""How long the picture takes to appear, to follow the threshold, to answer a pointer: python -m benchmarks.browser"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from playwright.sync_api import Browser, Page, Route, sync_playwright

from lmtt_widget.wire import pack
from tests.browser.conftest import FLAGS, NO_CHROMIUM, chromium
from tests.browser.jupyter import JupyterServer, run_all

ADDRESS = "http://benchmark.test/"
HERE = Path(__file__).parent
BUNDLE = HERE.parent / "lmtt_widget" / "static" / "widget.js"


class Case(NamedTuple):
    n_tokens: int
    n_layers: int
    paint: float  # targets, ms
    drag: float = 33
    hover: float = 8
    move: float = 17


CASES = [Case(128, 12, 120), Case(1024, 12, 200), Case(1024, 80, 250)]


def synthetic_graph(
    n_tokens: int, n_layers: int, *, n_heads: int = 12, max_edges: int = 400_000, seed: int = 0
) -> bytes:
    """A graph trait of a model with two states a layer, as `graph_state` packs it: attention to near tokens, to some
    words from everywhere, to the first token; at most `max_edges` attention edges, what was cut reported per node."""
    rng = np.random.default_rng(seed)
    n_states = 2 * n_layers + 1
    sections: dict[str, np.ndarray] = {}
    carried = np.zeros((n_states, n_tokens), np.float16)
    truncated = np.zeros((n_states, n_tokens), np.float16)
    states: list[dict[str, Any]] = [{"layer": None, "name": "embedding", "carried": -1}]
    parts: list[dict[str, Any]] = []
    causal = np.tri(n_tokens, dtype=bool)
    nearness = -np.log1p(np.abs(np.subtract.outer(np.arange(n_tokens), np.arange(n_tokens)))).astype(np.float32)
    kept = max_edges // n_layers
    thin = min(1, 12 / n_layers)  # each of many layers adds less
    for layer in range(n_layers):
        scores = rng.normal(0, 2.5, (n_tokens, n_tokens)).astype(np.float32) + rng.normal(0, 1.5, n_tokens) + nearness
        scores[:, 0] += 4
        amount = np.where(causal, np.exp(scores), 0)
        amount *= thin * rng.uniform(0.1, 0.4, (n_tokens, 1)) / amount.sum(1, keepdims=True)
        stays = rng.uniform(0.6, 1.0, n_tokens)
        share = amount / (amount.sum(1) + stays)[:, None]
        cut = np.partition(share, -kept, None)[-kept] if share.size > kept else 0
        keep = (share >= cut) & (share.astype(np.float16) > 0)
        query, key = keep.nonzero()
        weight = share[keep]
        p, s = len(parts), len(states)
        sections[f"p{p}.row"] = np.append(0, np.bincount(query, minlength=n_tokens).cumsum()).astype(np.uint32)
        sections[f"p{p}.key"] = key.astype(np.uint16)
        sections[f"p{p}.sum"] = weight.astype(np.float16)
        sections[f"p{p}.max"] = (weight * rng.uniform(1 / n_heads, 1, weight.shape)).astype(np.float16)
        sections[f"p{p}.top"] = rng.integers(0, n_heads, weight.shape).astype(np.uint16)
        mlp = thin * rng.uniform(0.05, 0.3, n_tokens)
        sections[f"p{p + 1}.share"] = mlp.astype(np.float16)
        carried[s], carried[s + 1] = 1 - share.sum(1), 1 - mlp
        truncated[s] = np.where(keep, 0, share).sum(1)
        for i, (name, kind) in enumerate([("after attention", "attention"), ("after MLP", "mlp")]):
            states.append({"layer": layer, "name": name, "carried": s + i - 1})
            heads = n_heads if kind == "attention" else None
            label = f"transformer.h.{layer}.{kind}"
            part = {"kind": kind, "layer": layer, "state": s + i, "reads": s + i - 1, "label": label, "heads": heads}
            parts.append(part)
    sections |= {
        "carried": carried,
        "truncated": truncated,
        "ended": np.zeros((n_states, n_tokens), np.float16),
        "next.token": np.tile(np.arange(5, dtype=np.int32), (n_tokens, 1)),
        "next.p": np.tile(np.array([0.4, 0.2, 0.1, 0.05, 0.02], np.float16), (n_tokens, 1)),
    }
    text = (["When", "·Mary", "·and", "·John", "·went", "·to", "·the", "·store", ","] * n_tokens)[:n_tokens]
    tokens = {
        "id": list(range(n_tokens)),
        "text": text,
        "raw": text,
        "bytes": ["20"] * n_tokens,
        "special": [False] * n_tokens,
        "role": [None] * n_tokens,
        "char": [None] * n_tokens,
        "part": [None] * n_tokens,
    }
    line = f"gpt2 {n_layers}L {n_heads}H"
    fidelity = {"text": "exact to 2e-7", "exact": True, "worst": 2e-7, "dtype": "float32", "problems": []}
    meta = {
        "run": f"{n_tokens}x{n_layers}",
        "prompt": " ".join(text),
        "tokens": tokens,
        "states": states,
        "parts": parts,
        "vocab": ["·him", "·her", "·them", "·a", "·the"],
        "model": {"line": line, "name": "synthetic", "type": "synthetic", "layers": n_layers, "heads": n_heads},
        "fidelity": fidelity | {"identities": {"parts add up to the next state": 2e-7}},
        "smallest": 0.0,
    }
    return pack("graph", meta, sections)


@contextmanager
def opened(browser: Browser, graph: bytes, *, width: int = 1000, scale: float = 1) -> Iterator[Page]:
    """A page that serves the bundle and this graph, nothing drawn yet."""
    context = browser.new_context(viewport={"width": width + 40, "height": 700}, device_scale_factor=scale)
    context.set_default_timeout(120_000)
    page = context.new_page()
    page.on("pageerror", lambda error: print(f"exception in the page: {error}", file=sys.stderr))
    files = {
        ADDRESS: ("text/html; charset=utf-8", (HERE / "browser.html").read_bytes()),
        ADDRESS + "widget.js": ("text/javascript; charset=utf-8", BUNDLE.read_bytes()),
        ADDRESS + "graph.bin": ("application/octet-stream", graph),
    }

    def serve(route: Route) -> None:
        content_type, body = files[route.request.url]
        route.fulfill(content_type=content_type, body=body)

    page.route("**/*", serve)
    page.goto(ADDRESS)
    page.wait_for_function("() => globalThis.benchmark")
    yield page
    context.close()


def measure(browser: Browser, case: Case, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of every first paint, every frame of the drags and every hover, in a new page each round."""
    graph = synthetic_graph(case.n_tokens, case.n_layers)
    found: dict[str, list[float]] = {"paint": [], "move": [], "drag": [], "hover": []}
    for _ in range(rounds):
        with opened(browser, graph) as page:
            found["paint"].append(page.evaluate("benchmark.paint(1000)"))
            move = page.evaluate("benchmark.move(8)")
            found["move"] += move["times"]
            drag = page.evaluate("benchmark.drag(120)")
            found["drag"] += drag["times"]
            for step in (120, 40):
                found["hover"] += page.evaluate("step => benchmark.hover(60, step)", step)["times"]
    print(
        f"  {len(graph) / 1e6:.2f} MB, {drag['most']:,} attention edges at the lowest threshold, "
        f"{move['edges']} while columns move",
        file=sys.stderr,
    )
    return found


# What a click opens, until the panel says all of it, in a frame that is painted.
CLICK = """async name => {
  const root = document.querySelector(".lmtt-widget").shadowRoot;
  const named = text => [...root.querySelectorAll(".panel button")].find(b => b.textContent.trim() === text);
  const was = root.querySelector(".panel h3")?.textContent;
  const frame = () => new Promise(requestAnimationFrame);
  const start = performance.now();
  named(name).click();
  const isThere = () =>
    root.querySelector(".panel h3")?.textContent !== was &&
    root.querySelector(".panel table") &&
    !root.querySelector(".panel .waiting");
  while (!isThere()) await frame();
  await frame();
  return performance.now() - start;
}"""


CELL = """import lmtt_widget as lmtt
model = lmtt.bundled_model()
words = model.encode("When Mary and John went to the store, John gave a drink to Mary. ").ids
lmtt.explore(model, (words * 100)[{i}:{i} + 1024])"""


def clicks(browser: Browser, rounds: int) -> tuple[list[float], list[float]]:
    """In JupyterLab, at 1,024 tokens: ms from a click on the main line to its panel, and from one on a head of it."""
    lines, heads = [], []
    with tempfile.TemporaryDirectory() as temporary:
        server = JupyterServer(Path(temporary))
        try:
            for i in range(rounds):
                page = browser.new_page(viewport={"width": 1400, "height": 1200})
                page.set_default_timeout(120_000)
                server.open(page, server.write(f"clicks{i}.ipynb", CELL.format(i=i)))
                run_all(page)
                page.locator(".lmtt-widget[data-ready='1']").wait_for()
                page.wait_for_timeout(3000)  # what is likely is prepared while the reader reads
                line = page.locator(".sentence button", has_text="→").inner_text()
                lines.append(page.evaluate(CLICK, line))
                page.wait_for_timeout(3000)
                heads.append(page.evaluate(CLICK, page.locator(".panel table .opener").first.inner_text()))
                page.close()
        finally:
            server.stop()
    return lines, heads


def p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--case", help='only this one, as in "1024x80"')
    options = parser.parse_args()
    path = chromium()
    if path is None:
        sys.exit(NO_CHROMIUM)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        print(f"Headless Chromium {browser.version}, software rendering; ms, the target in brackets\n")
        columns = (
            "first paint, median | move, frame median | p95 | threshold drag, frame median | p95 | hover, median | p95"
        )
        print(f"| tokens x layers | {columns} |")
        print("|---|---|---|---|---|---|---|---|")
        for case in CASES:
            name = f"{case.n_tokens} x {case.n_layers}"
            if options.case and options.case != name.replace(" ", ""):
                continue
            t = measure(browser, case, options.rounds)
            paint, move, drag, hover = (statistics.median(t[what]) for what in ("paint", "move", "drag", "hover"))
            print(
                f"| {name} | {paint:.0f} ({case.paint}) | {move:.0f} | {p95(t['move']):.0f} ({case.move}) "
                f"| {drag:.0f} | {p95(t['drag']):.0f} ({case.drag}) "
                f"| {hover:.1f} | {p95(t['hover']):.1f} ({case.hover}) |"
            )
        if not options.case:
            lines, heads = (statistics.median(found) for found in clicks(browser, min(3, options.rounds)))
            print(f"\nClick to panel at 1,024 tokens: a line {lines:.0f} (300), a head of it {heads:.0f} (300)")
        browser.close()


if __name__ == "__main__":
    main()
