"""Pictures of the widget to look at, light and dark: python -m tests.browser.shots [name ...]

Every kind of panel at two widths, and ("notebook") whole widgets in a real JupyterLab. They go to shots/ (git-ignored).
Nothing is compared: the pictures are for eyes.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import comm
import torch
from playwright.sync_api import Browser, Page, sync_playwright
from transformers import LlamaConfig, LlamaForCausalLM

import lmtt_widget as lmtt

from .. import text
from .conftest import FLAGS, NO_CHROMIUM, chromium
from .host import Host, QueueComm
from .jupyter import ROOT, JupyterServer, run_all
from .models import PROMPT as WORDS
from .models import model_of_type
from .picture import Picture

PROMPT = "When Mary and John went to the store, John gave a drink to"
N_LONG = 100
WIDTHS = (1600, 1000, 560)

SHORT = f"import lmtt_widget as lmtt\nlmtt.explore(lmtt.bundled_model(), {PROMPT!r})"
LONG = f"""import lmtt_widget as lmtt
model = lmtt.bundled_model()
ids = model.tokenizer({PROMPT + ". "!r} * {N_LONG})["input_ids"]
lmtt.explore(model, ids[:{N_LONG}])"""

Widget = lmtt.FlowWidget


def names_to_names() -> Widget:
    return lmtt.explore(lmtt.bundled_model(), [PROMPT, PROMPT.replace("store", "park")])


def repeated_block() -> Widget:
    model = lmtt.bundled_model()
    ids = [t.id for t in lmtt.record(model, PROMPT).tokens]
    return lmtt.explore(model, ids + ids)


def experts() -> Widget:
    return lmtt.explore(model_of_type("qwen2_moe"), WORDS)


def mixers() -> Widget:
    return lmtt.explore(model_of_type("qwen3_next"), WORDS)


def scripts() -> Widget:
    return lmtt.explore(text.page_model(), text.PAGE)


def scripts_end() -> Widget:
    return lmtt.explore(text.page_model(), text.PAGE[-48:])


def of_text(written: str) -> Callable[[], Widget]:
    return lambda: lmtt.explore(text.page_model(), written)


def parallel() -> Widget:
    return lmtt.explore(model_of_type("gptj"), WORDS)


def chat() -> Widget:
    said = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hello dog"}]
    return lmtt.explore(text.model(), said)


def strongest_line(widget: Widget) -> lmtt.Edge:
    """Of the attention lines into the target's column from another token."""
    routes = widget.routes
    return next(
        e
        for e in routes.edges(routes.automatic_threshold())
        if e.kind == "attention" and e.query == routes.target and e.key != e.query
    )


def line(host: Host) -> None:
    edge = strongest_line(host.widget)
    host.widget.selection = {"kind": "edge", "state": edge.state, "query": edge.query, "key": edge.key}


def top_head(host: Host) -> None:
    line(host)
    head = int(host.widget.selected["heads"]["head"][0])
    host.widget.selection = {**host.widget.selection, "kind": "head", "head": head}


def stripe(host: Host) -> None:
    """The head that looks most at the token after the one that was there before."""
    widget = host.widget
    n = widget.run.n_tokens // 2
    found = []
    for part in widget.run.parts:
        if part.heads is not None:
            seen = part.heads.pattern().diagonal(1 - n, 1, 2)  # [head, key]
            mean, head = seen.mean(-1).max(0)
            key = int(seen[head].argmax())
            at = {"state": part.state, "head": int(head), "query": key + n - 1, "key": key}
            found.append((float(mean), {"kind": "head", **at}))
    widget.selection = max(found, key=lambda pair: pair[0])[1]


def state(host: Host, back: int = 2) -> None:
    run = host.widget.run
    host.widget.selection = {"kind": "state", "state": len(run.states) - back, "pos": run.n_tokens - 1}


def part(kind: str) -> Callable[[Host], None]:
    def select(host: Host) -> None:
        run = host.widget.run
        last = [p for p in run.parts if p.kind == kind][-1]
        host.widget.selection = {"kind": kind, "state": last.state, "pos": run.n_tokens - 1}

    return select


def neuron(host: Host) -> None:
    part("mlp")(host)
    best = host.widget.selected["neurons"]
    wanted = {**host.widget.selection, "kind": "neuron", "neuron": int(best["neuron"][0])}
    host.widget.selection = wanted if best["expert"][0] is None else {**wanted, "expert": best["expert"][0]}


def token(host: Host) -> None:
    host.widget.selection = {"kind": "token", "pos": host.widget.run.n_tokens - 2}


def carried(host: Host) -> None:
    state(host)
    host.widget.selection = {**host.widget.selection, "kind": "carried"}


def compared(one: Callable[[Host], None], other: Callable[[Host], None]) -> Callable[[Host], None]:
    def select(host: Host) -> None:
        one(host)
        host.widget.pins = [host.widget.selection]
        other(host)

    return select


def other_state(host: Host) -> None:
    state(host, 3)


def next_head(host: Host) -> None:
    top_head(host)
    n_heads = len(host.widget.selected["pattern"])
    host.widget.selection = {**host.widget.selection, "head": (host.widget.selection["head"] + 1) % min(n_heads, 4)}


def foil(host: Host) -> None:
    line(host)
    host.widget.foil = " John"


def explained(select: Callable[[Host], None]) -> Callable[[Host], None]:
    def act(host: Host) -> None:
        select(host)
        host.sync()
        host.page.get_by_role("button", name="How is this computed?").click()

    return act


def lower_down(select: Callable[[Host], None]) -> Callable[[Host], None]:
    def act(host: Host) -> None:
        select(host)
        host.sync()
        host.page.wait_for_timeout(300)
        host.page.locator(".panel-body").evaluate("el => { el.scrollTop = el.clientHeight - 40 }")

    return act


def crumbs(host: Host) -> None:
    for step in (other_state, line, top_head, state, neuron):
        step(host)
        host.sync()


def by_share(host: Host) -> None:
    host.widget.encoding = "share"
    host.widget.renormalise = True


def pointed(host: Host) -> None:
    edge = strongest_line(host.widget)
    Picture(host.page.locator(".view")).hover(f"attention · {edge.key} .* → {edge.query} ")


def click(name: str) -> Callable[[Host], None]:
    return lambda host: host.page.get_by_role("button", name=name, exact=True).click()


def searched(wanted: str) -> Callable[[Host], None]:
    def act(host: Host) -> None:
        host.page.locator(".flow").press("/")
        host.page.keyboard.type(wanted)
        host.page.keyboard.press("ArrowDown")

    return act


def keys(host: Host) -> None:
    host.page.locator(".flow").press("?")


def tour(host: Host) -> None:
    keys(host)
    for key in ("Enter", "ArrowRight", "ArrowRight"):
        host.page.keyboard.press(key)
    host.page.wait_for_timeout(500)


def refused(host: Host) -> None:
    host.set(prompt="a " * 5000)


def nothing(host: Host) -> None:
    pass


def why(host: Host) -> None:
    host.widget.foil = " John"
    host.widget.encoding = "effect"


def heads(by: str) -> Callable[[Host], None]:
    def act(host: Host) -> None:
        host.widget.foil = " John"
        host.widget.selection = {"kind": "heads"}
        host.sync()
        host.page.locator(".panel").get_by_role("button", name=by, exact=True).click()

    return act


def two(host: Host) -> None:
    host.page.get_by_role("button", name="Keep this picture beside the next").click()
    host.widget.prompt = PROMPT.replace("John gave", "Mary gave")
    host.sync()


def difference(host: Host) -> None:
    two(host)
    host.page.get_by_role("button", name="Difference").click()


def edited(host: Host) -> None:
    host.widget.foil = " John"
    line(host)
    edge = dict(host.widget.selection)
    host.widget.edits = [{"selection": edge}, {"selection": {"kind": "mlp", "state": 8, "pos": 13}, "to": "mean"}]


def edited_difference(host: Host) -> None:
    edited(host)
    host.sync()
    host.page.locator(".edits").get_by_role("button", name="difference").click()


def edited_only(host: Host) -> None:
    edited(host)
    host.sync()
    host.page.locator(".edits").get_by_role("button", name="after", exact=True).click()


def figure(host: Host) -> None:
    line(host)
    host.sync()
    host.page.get_by_role("button", name="More", exact=True).click()
    host.page.get_by_role("menuitem", name="Figure").click()


def unfolded(host: Host) -> None:
    host.widget.view = {**host.widget.view, "fold": False}


def of_tokens(n_tokens: int) -> Callable[[], Widget]:
    def make() -> Widget:
        model = lmtt.bundled_model()
        assert model.tokenizer is not None
        text = PROMPT + " Mary. When Anna and Tom walked to the park, Tom handed a book to Anna. "
        ids = model.tokenizer(text * (n_tokens // 30 + 1))["input_ids"][:n_tokens]
        return lmtt.explore(model, model.tokenizer.decode(ids))

    return make


def of_layers(n_layers: int) -> Callable[[], Widget]:
    """A random model as deep as large ones are, that knows the bundled model's words."""

    def make() -> Widget:
        tokenizer = lmtt.bundled_model().tokenizer
        assert tokenizer is not None
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=n_layers,
            num_attention_heads=8, num_key_value_heads=8, max_position_embeddings=64, initializer_range=0.3,
        )  # fmt: skip
        return lmtt.explore(lmtt.load_model(LlamaForCausalLM(config).eval(), tokenizer), PROMPT)

    return make


SCENES: dict[str, tuple[Callable[[], Widget], Callable[[Host], None]]] = {
    "overview": (names_to_names, nothing),
    "overview-lower": (names_to_names, lower_down(nothing)),
    "pointed": (names_to_names, pointed),
    "by-share": (names_to_names, by_share),
    "state": (names_to_names, state),
    "state-lower": (names_to_names, lower_down(state)),
    "edge": (names_to_names, line),
    "foil": (names_to_names, foil),
    "head": (names_to_names, top_head),
    "head-lower": (names_to_names, lower_down(top_head)),
    "stripe": (repeated_block, stripe),
    "mlp": (names_to_names, part("mlp")),
    "neuron": (names_to_names, neuron),
    "token": (names_to_names, token),
    "carried": (names_to_names, carried),
    "experts": (experts, part("mlp")),
    "expert-neuron": (experts, neuron),
    "mixer": (mixers, part("mixer")),
    "mixer-overview": (mixers, nothing),
    "compare": (names_to_names, compared(other_state, state)),
    "compare-lower": (names_to_names, lower_down(compared(other_state, state))),
    "compare-heads": (names_to_names, compared(top_head, next_head)),
    "explained": (names_to_names, explained(top_head)),
    "crumbs": (names_to_names, crumbs),
    "model": (names_to_names, lambda host: host.page.locator(".model-line").click()),
    "menu": (names_to_names, click("More")),
    "search": (names_to_names, searched("l2")),
    "search-nothing": (names_to_names, searched("zebra")),
    "keys": (names_to_names, keys),
    "tour": (names_to_names, tour),
    "refused": (names_to_names, refused),
    "scripts": (scripts, nothing),
    "scripts-end": (scripts_end, token),
    "chat": (chat, token),
    "why": (names_to_names, why),
    "heads": (names_to_names, heads("share")),
    "heads-effect": (names_to_names, heads("effect")),
    "heads-induction": (repeated_block, heads("induction")),
    "two": (names_to_names, two),
    "two-difference": (names_to_names, difference),
    "edited": (names_to_names, edited),
    "edited-difference": (names_to_names, edited_difference),
    "edited-only": (names_to_names, edited_only),
    "figure": (names_to_names, figure),
    "right-to-left": (of_text("مرحبا بالعالم، كيف؟ שָׁלוֹם עולם"), nothing),
    "cjk": (of_text("猫在垫子上。東京は夜です"), nothing),
    "bytes": (of_text("👩‍👩‍👧‍👦 👍🏽 𠜎 ꙮ"), nothing),
    "parallel": (parallel, nothing),
    "layers-12": (of_layers(12), nothing),
    "layers-32": (of_layers(32), nothing),
    "layers-80": (of_layers(80), nothing),
    "tokens-40": (of_tokens(40), nothing),
    "tokens-100": (of_tokens(100), nothing),
    "tokens-300": (of_tokens(300), nothing),
    "tokens-300-unfolded": (of_tokens(300), unfolded),
    "tokens-1000": (of_tokens(1000), nothing),
}


def shoot_panels(browser: Browser, folder: Path, wanted: list[str]) -> None:
    """Every kind of panel, light and dark, wide and narrow, without a notebook around it."""
    comm.create_comm = QueueComm
    problems: list[str] = []
    for name in wanted or SCENES:
        make, act = SCENES[name]
        for theme in ("light", "dark"):
            for width in WIDTHS:
                page = browser.new_page(viewport={"width": width + 40, "height": 1300})
                widget = make()
                host = Host(page, widget, problems, theme=theme)
                view = host.show(width)
                act(host)
                host.sync()
                page.wait_for_timeout(600)  # late answers, progressive drawing
                view.screenshot(path=folder / f"{name}-{theme}-{width}.png")
                page.close()
                widget.close()
        print(name, flush=True)
    if problems:
        sys.exit("\n".join(problems))


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


def shoot_notebooks(browser: Browser, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
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


def main(arguments: list[str]) -> None:
    path = chromium()
    if path is None:
        sys.exit(NO_CHROMIUM)
    folder = ROOT / "shots"
    folder.mkdir(parents=True, exist_ok=True)
    unknown = [name for name in arguments if name not in {*SCENES, "notebook"}]
    if unknown:
        sys.exit(f"there is no picture {unknown[0]!r}; there are notebook, {', '.join(SCENES)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        panels = [name for name in arguments if name != "notebook"]
        if panels or not arguments:
            shoot_panels(browser, folder, panels)
        if "notebook" in arguments or not arguments:
            shoot_notebooks(browser, folder)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
