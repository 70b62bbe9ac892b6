// The graph on screen: its scene, and what pointer and keys do to it.
import { computed, type ReadonlySignal } from "@preact/signals";
import { tokenName } from "../../core/names.js";
import { type Item, selectionOf } from "../../core/select.js";
import { paletteOf } from "../../paint/colour.js";
import type { Store } from "../../store/store.js";
import * as words from "../../words.js";
import { fitted, revealing, seenFrom, zoomAt } from "./camera.js";
import { keyAction } from "./keys.js";
import { type Layout, layoutGraph, READABLE } from "./layout.js";
import { moving } from "./moving.js";
import { paint, type Size } from "./paint.js";
import { followPointer, setHover } from "./pointer.js";
import type { Scene } from "./scene.js";
import { type Pointer, tooltip } from "./tooltip.js";

const STEP = 1.35; // of a zoom by key or button
const MOVED = 2000; // edges that can be drawn anew in every frame

export interface FlowView {
  dispose(): void;
  fit(): void;
  zoom(factor: number): void; // of the columns
  seeFrom(part: number): void; // of the width
  layout: ReadonlySignal<Layout | null>;
  show(item: Item | null): void; // brings it into view and takes the focus, so that keys walk on from there
  scene(): Scene | null;
}

/** Draws the store's graph inside `el` and keeps it up to date; `onHelp` opens the list of keys. */
export function flowView(
  el: HTMLElement,
  store: Store,
  size: Size,
  onHelp: () => void,
  failed: (error: unknown) => void,
): FlowView {
  const abort = new AbortController();
  const pointer: Pointer = { x: 0, y: 0, over: false };
  const wanted = computed<Layout | null>(() => {
    const [g, columns] = [store.graph.value, store.columns.value];
    const [width, height] = [size.width(), size.height()];
    if (!g || !columns || columns.slot.length !== g.T || width < 60 || height < 60) return null;
    return layoutGraph(g, columns, width, height, store.camera.value, store.target.value, g.T < READABLE);
  });
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const [layout, rest] = moving(
    wanted,
    () => !still.matches && !document.hidden && !store.sliding.peek() && store.n_drawn.peek() < MOVED,
  );
  const scene = computed<Scene | null>(() => {
    const [g, routes] = [store.graph.value, store.routes.value];
    if (!g || !routes || layout.value?.node_x.length !== g.n_nodes) return null; // the layout of another graph, for a moment
    return {
      g,
      routes: store.kept.value ? { ...routes, top_weight: store.top_weight.value } : routes,
      layout: layout.value,
      palette: paletteOf(store.dark.value),
      threshold: store.threshold.value,
      n_drawn: store.n_drawn.value,
      weight: store.weight.value,
      hues: store.hues.value,
      places: store.places.value,
    };
  });

  const choose = (item: Item | null) => {
    const g = scene.peek()?.g;
    if (!g) return;
    if (item?.kind === "token") {
      store.setTarget(item.pos);
      store.said.value = words.live.targetIs(tokenName(g, item.pos));
      return;
    }
    const selection = item && selectionOf(store.kinds, g, item);
    if (selection) store.setSelection(selection);
    else if (!item) store.dimmed.value = !store.dimmed.peek();
  };
  const fit = () => {
    store.camera.value = fitted(scene.peek()?.layout, store.camera.peek());
  };
  const reveal = (item: Item) => {
    const s = scene.peek();
    store.camera.value = (s && revealing(s, item)) ?? store.camera.peek();
  };
  const zoom = (factor: number, of_rows = false) => {
    const s = scene.peek();
    if (s) store.camera.value = zoomAt(s.layout, factor, size.width() / 2, (s.layout.top + s.layout.bottom) / 2, of_rows);
  };
  const press = (event: KeyboardEvent) => {
    const s = scene.peek();
    if (!s || event.altKey || event.ctrlKey || event.metaKey) return;
    const action = keyAction(s.g, s.routes, store.hover.peek() ?? store.selected.peek(), event);
    if (!action) return;
    event.preventDefault();
    pointer.over = false;
    if (action.do === "move") {
      setHover(el, store, action.to);
      reveal(action.to);
    } else if (action.do === "select" || action.do === "target") choose(action.item);
    else if (action.do === "pin") store.togglePin();
    else if (action.do === "undo") store.undo();
    else if (action.do === "cut") {
      const pointed = store.hover.peek();
      store.cut((pointed && selectionOf(store.kinds, s.g, pointed)) ?? store.traits.selection.peek());
    } else if (action.do === "back") store.hover.peek() ? setHover(el, store, null) : store.back();
    else if (action.do === "fit") fit();
    else if (action.do === "help") onHelp();
    else zoom(action.do === "zoom-in" ? STEP : 1 / STEP, event.shiftKey && event.key !== "+");
  };

  // On another screen a px has another number of points, and nothing else tells of that.
  const watch = () =>
    matchMedia(`(resolution:${devicePixelRatio}dppx)`).addEventListener("change", sharpen, { once: true, signal: abort.signal });
  const sharpen = () => {
    store.camera.value = { ...store.camera.peek() };
    watch();
  };
  watch();
  const stops = [paint(el, store, scene, size, failed), tooltip(el, store, scene, size, pointer)];
  followPointer(el, store, scene, size, pointer, choose, abort.signal);
  el.addEventListener("keydown", press, { signal: abort.signal });
  return {
    scene: () => scene.peek(),
    fit,
    zoom,
    layout,
    seeFrom(part) {
      const s = scene.peek();
      if (s) store.camera.value = seenFrom(s.layout, part);
    },
    show(item) {
      if (item?.kind === "token" && store.columns.peek()?.folded[item.pos]) store.setView({ fold: false });
      if (item) reveal(item);
      el.focus();
    },
    dispose() {
      abort.abort();
      for (const stop of [...stops, rest]) stop();
      el.replaceChildren();
    },
  };
}
