// The widget: one anywidget module, drawn inside a shadow root of its own.

import css from "registered:styles";
import { effect } from "@preact/signals";
import { h } from "preact";
import { isCommand, isOurs, isTyped } from "./a11y/keys.js";
import { liveRegion } from "./a11y/live.js";
import type { HostModel } from "./host.js";
import { paletteOf } from "./paint/colour.js";
import { App } from "./panels/app.js";
import { KINDS } from "./panels/kinds.js";
import { mount } from "./panels/mount.js";
import { createStore } from "./store/store.js";
import { HEIGHT } from "./store/traits.js";
import { watchTheme } from "./theme/theme.js";
import * as words from "./words.js";

const NARROW = 760; // px; below it the panel goes under the picture

interface RenderProps {
  model: HostModel;
  el: HTMLElement;
}

function render({ model, el }: RenderProps): () => void {
  const abort = new AbortController();
  const host = document.createElement("div");
  host.className = "lmtt-widget";
  host.setAttribute("data-lm-suppress-shortcuts", "true");
  el.append(host);
  const failed = (error: unknown) => {
    console.error(error);
    abort.abort();
    drawError(host.shadowRoot?.firstElementChild ?? host, words.sentence(error));
    host.dataset.ready = "1";
  };
  try {
    start(model, host, abort.signal, failed);
  } catch (error) {
    failed(error);
  }
  return () => {
    abort.abort();
    host.remove();
  };
}

function start(model: HostModel, host: HTMLElement, abort: AbortSignal, failed: (error: unknown) => void): void {
  const shadow = host.attachShadow({ mode: "open" });
  const root = document.createElement("div");
  root.className = "root";
  shadow.append(root);
  wear(root, false);
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(css);
  shadow.adoptedStyleSheets = [sheet];
  const store = createStore(model, KINDS, abort);
  const stops: (() => void)[] = [];
  let around = false;
  const dress = () => {
    const { theme } = store.traits.view.value;
    store.dark.value = theme === "auto" ? around : theme === "dark";
  };
  const look = watchTheme(
    host,
    (dark) => {
      around = dark;
      dress();
    },
    abort,
  );
  stops.push(
    effect(dress),
    effect(() => wear(root, store.dark.value)),
    effect(() => {
      const { height, text } = store.traits.view.value;
      root.style.setProperty("--zoom", String(text > 0 ? text : 1));
      root.style.setProperty("--height", `${Math.max(HEIGHT.min, Math.min(HEIGHT.max, height)) || HEIGHT.usual}px`);
    }),
  );
  const observer = new ResizeObserver(() => {
    look(); // some hosts draw first and put it into the page afterwards
    // VS Code paints white around every widget, also in its dark themes.
    host.closest<HTMLElement>(".cell-output-ipywidget-background")?.style.setProperty("background", "none", "important");
    store.narrow.value = root.clientWidth > 0 && root.clientWidth < NARROW;
    root.classList.toggle("narrow", store.narrow.peek());
    root.classList.toggle("slim", root.clientWidth < 1100);
  });
  observer.observe(root);
  root.classList.toggle("narrow", root.clientWidth > 0 && root.clientWidth < NARROW);
  abort.addEventListener("abort", () => {
    observer.disconnect();
    for (const stop of stops) stop();
  });
  const ready = () => {
    host.dataset.ready = "1";
    model.set("drawn", true); // what Python does when nobody waits comes after the picture
    model.save_changes();
  };
  const unmount = mount(h(App, { store, ready, failed }), root, failed);
  abort.addEventListener("abort", unmount);
  const keys = (event: KeyboardEvent) => {
    const step = event.altKey && !isTyped(event) && { ArrowLeft: store.goBack, ArrowRight: store.goForward }[event.key];
    // From wherever in the widget, except where a slash is a letter of something typed.
    const searches = event.key === "/" && !isTyped(event) && !isCommand(event) && store.graph.peek();
    if (searches) store.finding.value = true;
    if (step) step();
    if (searches || step) event.preventDefault();
    if (isOurs(event)) event.stopPropagation();
  };
  host.addEventListener("keydown", keys, { signal: abort });
  liveRegion(shadow, store.said, abort);
}

/** One palette for the picture and for all around it. */
function wear(root: HTMLElement, dark: boolean): void {
  root.classList.toggle("dark", dark);
  for (const [name, colour] of Object.entries(paletteOf(dark))) root.style.setProperty(`--${name}`, String(colour));
}

/** Said instead of a blank output; `root` may have no style. */
function drawError(root: Element, message: string): void {
  const line = (tag: string, text: string) => {
    const el = document.createElement(tag);
    el.textContent = text;
    return el;
  };
  const box = document.createElement("div");
  box.className = "failure";
  box.setAttribute("role", "alert");
  box.append(line("h3", words.errorTitle), line("p", words.errorHint), line("pre", message));
  root.classList.add("failed");
  root.replaceChildren(box);
}

export default { render };
