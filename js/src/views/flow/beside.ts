// A picture that was kept, drawn beside the present one in the same places and on the same scale.
import { effect } from "@preact/signals";
import { areAlike, sameEdge } from "../../core/between.js";
import { HOME } from "../../core/camera.js";
import { columns } from "../../core/order.js";
import { busyColumns, drawnCount } from "../../core/routes.js";
import type { Item } from "../../core/select.js";
import { paletteOf } from "../../paint/colour.js";
import { canvasPen } from "../../paint/pen.js";
import type { Store } from "../../store/store.js";
import { drawFigure } from "./figure.js";
import { hit } from "./hit.js";
import { layoutGraph, READABLE } from "./layout.js";
import { setHover } from "./pointer.js";
import { columnsOf, markOf, type Scene } from "./scene.js";

/** Keeps the kept picture drawn on the canvas inside `el`; returns what ends that. */
export function besideView(el: HTMLElement, store: Store): () => void {
  const canvas = el.querySelector("canvas") as HTMLCanvasElement;
  const abort = new AbortController();
  const scene = (): Scene | null => {
    const [kept, g] = [store.kept.value, store.graph.value];
    if (!kept || !g || el.clientWidth < 60) return null;
    const same = areAlike(kept.g, g);
    const shown = store.columns.value;
    const cols = same && shown ? shown : columns(busyColumns(kept.g, kept.routes, kept.threshold), store.traits.view.value.fold);
    const layout = layoutGraph(
      kept.g,
      cols,
      el.clientWidth,
      el.clientHeight,
      HOME,
      kept.routes.target,
      !same && kept.g.T < READABLE,
    );
    const routes = { ...kept.routes, top_weight: store.top_weight.value };
    const n_drawn = drawnCount(kept.routes, kept.threshold);
    const hues = store.hues_kept.value ?? kept.hues;
    return { ...kept, routes, layout, palette: paletteOf(store.dark.value), n_drawn, hues, places: [] };
  };
  /** What is pointed at in the present picture, here. */
  const here = ({ g }: Scene, item: Item | null): Item | null => {
    const now = store.graph.value;
    if (!item || !now || !areAlike(g, now)) return null;
    if (item.kind !== "edge") return item;
    const edge = sameEdge(now, item.edge, g);
    return edge < 0 ? null : { kind: "edge", edge };
  };
  const draw = () => {
    store.camera.value; // also set where a px has another number of points now
    const s = scene();
    const item = s && here(s, store.hover.value);
    const c = canvas.getContext("2d");
    if (!s || !c) return;
    const ratio = Math.min(3, window.devicePixelRatio || 1);
    canvas.width = Math.round(el.clientWidth * ratio);
    canvas.height = Math.round(el.clientHeight * ratio);
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    drawFigure(canvasPen(c), s, { marked: item && { mark: markOf(s, item, false), columns: columnsOf(s.g, item) }, veil: false });
  };
  el.addEventListener(
    "pointermove",
    (event) => {
      const [s, now] = [scene(), store.graph.peek()];
      if (!s || !now || !areAlike(s.g, now)) return;
      const box = el.getBoundingClientRect();
      const found = hit(s.g, s.routes, s.layout, s.threshold, event.clientX - box.left, event.clientY - box.top);
      const edge = found?.kind === "edge" ? sameEdge(s.g, found.edge, now) : -1;
      setHover(el, store, found?.kind === "edge" ? (edge < 0 ? null : { kind: "edge", edge }) : found);
    },
    { signal: abort.signal },
  );
  el.addEventListener("pointerleave", () => setHover(el, store, null), { signal: abort.signal });
  const observer = new ResizeObserver(draw);
  observer.observe(el);
  const stop = effect(draw);
  return () => {
    abort.abort();
    observer.disconnect();
    stop();
  };
}
