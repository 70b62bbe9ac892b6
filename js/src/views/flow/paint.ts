// The graph's three canvases, one above the other: the ground, the strongest edges and the nodes, what is hovered or selected.
import { effect, type ReadonlySignal } from "@preact/signals";
import { sortAll } from "../../core/routes.js";
import { sameItem } from "../../core/select.js";
import { canvasPen, type Pen } from "../../paint/pen.js";
import { SLICE } from "../../paint/progressive.js";
import type { Store } from "../../store/store.js";
import * as words from "../../words.js";
import { drawEdges } from "./edges.js";
import { groundOf } from "./ground.js";
import { drawColumnLabel, drawMark, drawVeil } from "./mark.js";
import { drawEdits, drawNodes, drawTarget } from "./nodes.js";
import { columnsOf, markOf, type Scene, sliceEnd } from "./scene.js";

export interface Size {
  width(): number; // px
  height(): number;
  zoom(): number; // of all of it
}

interface Sheet {
  canvas: HTMLCanvasElement;
  c: CanvasRenderingContext2D;
}

/** Keeps the scene drawn inside `el`, once a frame; returns what ends that. */
export function paint(
  el: HTMLElement,
  { selected, hover, dimmed }: Store,
  scene: ReadonlySignal<Scene | null>,
  size: Size,
  failed: (error: unknown) => void,
): () => void {
  const [faint, strong, top] = [sheet(el), sheet(el), sheet(el)];
  const clear = (on: Sheet) => cleared(on, size);
  const ground = groundOf(faint.canvas, faint.c, () => clear(faint));
  let frame = 0;
  let rest: ReturnType<typeof setTimeout> | undefined;
  let is_marked = false; // something is on the top canvas

  const paintAll = () => {
    frame = 0;
    const s = scene.peek();
    ground.show(s);
    const pen = clear(strong);
    if (!s) return;
    drawEdges(pen, s, 0, sliceEnd(s, 0, SLICE));
    drawNodes(pen, s);
    drawEdits(pen, s);
    drawTarget(pen, s);
    paintTop();
    el.dataset.edges = String(s.routes.attention[s.n_drawn]);
    clearTimeout(rest);
    rest = setTimeout(() => sortAll(s.routes), 300); // not while columns move
  };
  const paintTop = () => {
    const [s, chosen, hovered] = [scene.peek(), selected.peek(), hover.peek()];
    fitted(top, size);
    if (!is_marked && !chosen && !hovered) return;
    const pen = clear(top);
    is_marked = s !== null && (chosen ?? hovered) !== null;
    if (!s) return;
    const bright = !dimmed.peek();
    if (bright && chosen && chosen.kind !== "token") drawVeil(pen, s);
    if (chosen) drawMark(pen, s, markOf(s, chosen, bright), bright);
    if (hovered && !sameItem(hovered, chosen)) drawMark(pen, s, markOf(s, hovered, false), hovered.kind !== "node");
    const labels = new Set([...(chosen ? columnsOf(s.g, chosen) : []), ...(hovered ? columnsOf(s.g, hovered) : [])]);
    for (const pos of labels) drawColumnLabel(pen, s, pos);
  };
  const guarded = () => {
    try {
      paintAll();
    } catch (error) {
      failed(error);
    }
  };
  const stops = [
    effect(() => {
      scene.value;
      if (!frame) frame = requestAnimationFrame(guarded);
    }),
    effect(() => {
      hover.value;
      selected.value;
      dimmed.value;
      paintTop();
    }),
  ];
  return () => {
    for (const stop of stops) stop();
    ground.stop();
    cancelAnimationFrame(frame);
    clearTimeout(rest);
  };
}

function sheet(el: HTMLElement): Sheet {
  const canvas = document.createElement("canvas");
  canvas.setAttribute("aria-hidden", "true");
  el.append(canvas);
  const c = canvas.getContext("2d");
  if (!c) throw new Error(words.noCanvas);
  return { canvas, c };
}

/** Makes a canvas as large and as fine as the screen, empty where it was not; returns the points of a px. */
function fitted({ canvas }: Sheet, size: Size): number {
  const ratio = Math.min(3, size.zoom() * (window.devicePixelRatio || 1));
  const [w, h] = [Math.round(size.width() * ratio), Math.round(size.height() * ratio)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
    canvas.style.width = `${size.width()}px`;
    canvas.style.height = `${size.height()}px`;
  }
  return ratio;
}

/** A pen on an empty canvas. */
function cleared(sheet: Sheet, size: Size): Pen {
  const { c } = sheet;
  const ratio = fitted(sheet, size);
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, size.width(), size.height());
  return canvasPen(c);
}
