// The graph on screen: four stacked canvases, pointer, wheel and keys, tooltip.

import { computed, effect } from "@preact/signals";
import { edgesInto, type Graph, placeOf } from "../../core/graph.js";
import { tokenName } from "../../core/names.js";
import { routeBelow, sortAll } from "../../core/routes.js";
import { type Item, sameItem, selectionOf } from "../../core/select.js";
import type { Store } from "../../model.js";
import { DARK, LIGHT } from "../../paint/colour.js";
import { canvasPen, type Pen } from "../../paint/pen.js";
import { SLICE } from "../../paint/progressive.js";
import { factsOf } from "../../panels/facts.js";
import * as words from "../../words.js";
import {
  drawColumnLabel,
  drawEdges,
  drawMark,
  drawNodes,
  drawTarget,
  drawVeil,
  type Mark,
  type Scene,
  sliceEnd,
} from "./draw.js";
import { groundOf } from "./ground.js";
import { hit } from "./hit.js";
import { keyAction } from "./keys.js";
import { HOME, type Layout, layoutGraph, MARGIN, zoomAt } from "./layout.js";

export interface FlowView {
  dispose(): void;
  fit(): void;
  show(item: Item | null): void; // brings it into view and takes the focus, so that keys walk on from there
  scene(): Scene | null;
}

/** Draws the store's graph inside `el` and keeps it up to date; `onHelp` opens the list of keys. */
export function flowView(
  el: HTMLElement,
  store: Store,
  size: { width: () => number; height: () => number },
  onHelp: () => void,
  failed: (error: unknown) => void,
): FlowView {
  const abort = new AbortController();
  const on = { signal: abort.signal };
  const stops: (() => void)[] = [];
  const sheet = () => {
    const canvas = document.createElement("canvas");
    canvas.setAttribute("aria-hidden", "true");
    el.append(canvas);
    const c = canvas.getContext("2d");
    if (!c) throw new Error(words.noCanvas);
    return { canvas, c };
  };
  const [faint, edges, nodes, top] = [sheet(), sheet(), sheet(), sheet()];
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  const tip_name = document.createElement("div");
  const tip_figures = document.createElement("div");
  tip_name.className = "tip-name";
  tip_figures.className = "tip-figures";
  tip.append(tip_name, tip_figures);
  el.append(tip);

  const layout = computed<Layout | null>(() => {
    const g = store.graph.value;
    const columns = store.columns.value;
    const [width, height] = [size.width(), size.height()];
    if (!g || !columns || columns.slot.length !== g.T || width < 60 || height < 60) return null;
    return layoutGraph(g, columns, width, height, store.camera.value, store.target.value);
  });
  const scene = computed<Scene | null>(() => {
    const g = store.graph.value;
    const routes = store.routes.value;
    if (!g || !routes || !layout.value) return null;
    return {
      g,
      routes,
      layout: layout.value,
      palette: store.dark.value ? DARK : LIGHT,
      threshold: store.threshold.value,
      n_drawn: store.n_drawn.value,
      weight: store.weight.value,
    };
  });

  const clear = ({ canvas, c }: typeof edges): Pen => {
    const ratio = Math.min(3, window.devicePixelRatio || 1);
    const [w, h] = [Math.round(size.width() * ratio), Math.round(size.height() * ratio)];
    if (canvas.width !== w || canvas.height !== h) {
      canvas.width = w;
      canvas.height = h;
      canvas.style.width = `${size.width()}px`;
      canvas.style.height = `${size.height()}px`;
    }
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, size.width(), size.height());
    return canvasPen(c);
  };

  const ground = groundOf(faint.canvas, faint.c, () => clear(faint));
  let frame = 0;
  const guarded = () => {
    try {
      paint();
    } catch (error) {
      failed(error);
    }
  };
  const paint = () => {
    frame = 0;
    const s = scene.peek();
    ground.show(s);
    const [pen, above] = [clear(edges), clear(nodes)];
    if (!s) return;
    drawEdges(pen, s, 0, sliceEnd(s, 0, SLICE));
    drawNodes(above, s);
    drawTarget(above, s);
    paintTop();
    el.dataset.edges = String(s.routes.attention[s.n_drawn]);
    setTimeout(() => sortAll(s.routes), 300);
  };
  stops.push(
    effect(() => {
      scene.value;
      if (!frame) frame = requestAnimationFrame(guarded);
    }),
  );

  const markOf = (s: Scene, item: Item, whole: boolean): Mark => {
    if (item.kind === "token") return { route: [], edges: [], nodes: [], pos: item.pos };
    const { g, routes, threshold } = s;
    const below = item.kind === "edge" ? g.source[item.edge] : item.node;
    const route = whole ? routeBelow(g, routes, threshold, below) : [];
    if (item.kind === "edge") return { route, edges: [item.edge], nodes: [below, g.entered[item.edge]], pos: -1 };
    const { state, part } = placeOf(g, below);
    const edges = edgesInto(g, below).filter((e) => routes.strength[e] > threshold);
    for (let e = g.rows[g.S - 1 - state]; part >= 0 && e < g.rows[g.S - state]; e++) {
      if (g.source[e] === below && routes.strength[e] > threshold) edges.push(e);
    }
    return { route, edges, nodes: [below], pos: -1 };
  };
  const columnsOf = (g: Graph, item: Item): number[] => {
    if (item.kind === "token") return [item.pos];
    if (item.kind === "node") return [placeOf(g, item.node).pos];
    const [a, b] = [placeOf(g, g.source[item.edge]).pos, placeOf(g, g.entered[item.edge]).pos];
    return a === b ? [a] : [a, b];
  };

  let marked = true; // something may be on the top canvas
  const paintTop = () => {
    const s = scene.peek();
    const selected = store.selected.peek();
    const hovered = store.hover.peek();
    if (!marked && !selected && !hovered) return;
    const pen = clear(top);
    marked = s !== null && (selected ?? hovered) !== null;
    if (!s) return;
    if (selected && selected.kind !== "token") drawVeil(pen, s);
    if (selected) drawMark(pen, s, markOf(s, selected, true), true);
    if (hovered && !sameItem(hovered, selected)) drawMark(pen, s, markOf(s, hovered, false), hovered.kind !== "node");
    const labels = new Set([...(selected ? columnsOf(s.g, selected) : []), ...(hovered ? columnsOf(s.g, hovered) : [])]);
    for (const pos of labels) drawColumnLabel(pen, s, pos);
  };
  const hoverFacts = computed(() => {
    const [g, routes, item] = [store.graph.value, store.routes.value, store.hover.value];
    if (!g || !routes || !item) return null;
    return factsOf(g, routes, store.weight.value, store.peek.value, item, false);
  });
  stops.push(
    effect(() => {
      store.hover.value;
      store.selected.value;
      paintTop();
    }),
    effect(() => {
      const facts = hoverFacts.value;
      scene.value;
      showTip(facts?.name ?? "", facts?.figures ?? "");
      if (facts) store.said.value = facts.sentence;
    }),
  );

  function showTip(name: string, figures: string): void {
    const s = scene.peek();
    const item = store.hover.peek();
    if (!s || !item || !name) {
      tip.hidden = true;
      return;
    }
    tip_name.textContent = name;
    tip_figures.textContent = figures;
    tip.hidden = false;
    const { layout, g } = s;
    let [x, y] = [0, 0];
    if (item.kind === "token") [x, y] = [layout.x[item.pos], layout.bottom];
    else if (item.kind === "node") [x, y] = [layout.node_x[item.node], layout.node_y[item.node]];
    else {
      const [a, b] = [g.source[item.edge], g.entered[item.edge]];
      const by_pointer = pointer.over && layout.node_x[a] !== layout.node_x[b];
      x = by_pointer ? pointer.x : (layout.node_x[a] + layout.node_x[b]) / 2;
      y = Math.min(layout.node_y[a], layout.node_y[b], by_pointer ? pointer.y : Number.POSITIVE_INFINITY);
    }
    const [w, h] = [tip.offsetWidth, tip.offsetHeight];
    const left = Math.max(4, Math.min(size.width() - w - 4, x - w / 2));
    const above = y - h - 14;
    tip.style.transform = `translate(${Math.round(left)}px, ${Math.round(above >= 2 ? above : Math.min(size.height() - h - 4, y + 16))}px)`;
  }

  const pointer = { x: 0, y: 0, over: false };
  let drag: { x: number; y: number; cx: number; cy: number; moved: boolean } | null = null;
  const locate = (event: PointerEvent | WheelEvent) => {
    const box = el.getBoundingClientRect();
    const [sx, sy] = [size.width() / (box.width || 1), size.height() / (box.height || 1)];
    pointer.x = (event.clientX - box.left) * sx;
    pointer.y = (event.clientY - box.top) * sy;
  };
  const itemAtPointer = (): Item | null => {
    const s = scene.peek();
    return s && hit(s.g, s.routes, s.layout, s.threshold, pointer.x, pointer.y);
  };
  const setHover = (item: Item | null) => {
    if (!sameItem(store.hover.peek(), item)) store.hover.value = item;
    el.classList.toggle("over-item", item !== null);
  };

  el.addEventListener(
    "pointermove",
    (event) => {
      locate(event);
      pointer.over = true;
      if (drag) {
        const [dx, dy] = [pointer.x - drag.x, pointer.y - drag.y];
        if (!drag.moved && Math.hypot(dx, dy) < 4) return;
        if (!drag.moved) {
          drag.moved = true;
          el.setPointerCapture(event.pointerId);
          el.classList.add("dragging");
          setHover(null);
        }
        store.camera.value = { zoom: store.camera.peek().zoom, x: drag.cx + dx, y: drag.cy + dy };
        return;
      }
      setHover(itemAtPointer());
    },
    on,
  );
  el.addEventListener(
    "pointerdown",
    (event) => {
      if (event.button !== 0) return;
      locate(event);
      const s = scene.peek();
      if (s) drag = { x: pointer.x, y: pointer.y, cx: s.layout.camera.x, cy: s.layout.camera.y, moved: false };
    },
    on,
  );
  const up = (event: PointerEvent) => {
    const was = drag;
    drag = null;
    el.classList.remove("dragging");
    if (!was || was.moved || event.type === "pointercancel") return;
    locate(event);
    const item = itemAtPointer();
    if (item) choose(item);
    else if (store.selected.peek()) store.setSelection(null);
  };
  el.addEventListener("pointerup", up, on);
  el.addEventListener("pointercancel", up, on);
  el.addEventListener(
    "pointerleave",
    () => {
      pointer.over = false;
      if (!drag) setHover(null);
    },
    on,
  );
  el.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // the plain wheel scrolls the notebook
      event.preventDefault();
      locate(event);
      const s = scene.peek();
      if (s) store.camera.value = zoomAt(s.layout, Math.exp(-event.deltaY * 0.0025), pointer.x, pointer.y);
    },
    { ...on, passive: false },
  );
  el.addEventListener("dblclick", () => scene.peek() && setHover(itemAtPointer()), on);

  const choose = (item: Item) => {
    const s = scene.peek();
    if (!s) return;
    if (item.kind === "token") {
      store.setTarget(item.pos);
      store.said.value = words.live.targetIs(tokenName(s.g, item.pos));
      return;
    }
    const selection = selectionOf(s.g, item);
    if (selection) store.setSelection(selection);
  };

  el.addEventListener(
    "keydown",
    (event) => {
      const s = scene.peek();
      if (!s || event.altKey || event.ctrlKey || event.metaKey) return;
      const action = keyAction(s.g, s.routes, store.hover.peek() ?? store.selected.peek(), event);
      if (!action) return;
      event.preventDefault();
      pointer.over = false;
      const [cx, cy] = [size.width() / 2, (MARGIN.top + size.height() - MARGIN.bottom) / 2];
      switch (action.do) {
        case "move":
          setHover(action.to);
          reveal(action.to);
          break;
        case "select":
        case "target":
          choose(action.item);
          break;
        case "pin":
          store.togglePin();
          break;
        case "back":
          if (store.hover.peek()) setHover(null);
          else store.back();
          break;
        case "zoom-in":
        case "zoom-out":
          store.camera.value = zoomAt(s.layout, action.do === "zoom-in" ? 1.35 : 1 / 1.35, cx, cy);
          break;
        case "fit":
          fit();
          break;
        case "help":
          onHelp();
      }
    },
    on,
  );

  /** Moves the camera just enough to show an item reached by the keyboard. */
  const reveal = (item: Item) => {
    const s = scene.peek();
    if (!s) return;
    const { layout, g } = s;
    const x = layout.x[columnsOf(g, item)[0]];
    const y = item.kind === "token" ? layout.y[0] : layout.node_y[item.kind === "edge" ? g.entered[item.edge] : item.node];
    const dx = x < layout.left + 8 ? layout.left + 24 - x : x > layout.right - 8 ? layout.right - 24 - x : 0;
    const dy = y < layout.top ? layout.top + 12 - y : y > layout.bottom ? layout.bottom - 12 - y : 0;
    if (dx || dy) store.camera.value = { zoom: layout.camera.zoom, x: layout.camera.x + dx, y: layout.camera.y + dy };
  };
  const fit = () => {
    const s = scene.peek();
    const at_home = store.camera.peek().zoom === 1;
    store.camera.value = s && at_home && s.layout.fit < 1 ? { zoom: s.layout.fit, x: null, y: null } : HOME;
  };
  const show = (item: Item | null) => {
    const columns = store.columns.peek();
    if (item?.kind === "token" && columns?.folded[item.pos]) store.setView({ fold: false });
    if (item) reveal(item);
    el.focus();
  };

  return {
    scene: () => scene.peek(),
    fit,
    show,
    dispose() {
      abort.abort();
      ground.stop();
      if (frame) cancelAnimationFrame(frame);
      for (const stop of stops) stop();
      el.replaceChildren();
    },
  };
}
