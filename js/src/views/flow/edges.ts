// The lines of the picture, given a pen: one stroke for all that look the same; no DOM.
import { EdgeKind, type Graph } from "../../core/graph.js";
import type { Pen } from "../../paint/pen.js";
import type { Layout } from "./layout.js";
import { inView, lineWidth, type Scene, strengthOf, WIDTH } from "./scene.js";

const ALPHA = { min: 0.18, max: 0.92 };
const LEVELS = 16;

/** Edges `from`..`to` of the drawn ones. */
export function drawEdges(pen: Pen, scene: Scene, from: number, to: number): void {
  strokeEdges(pen, scene, scene.routes.order.subarray(from, to));
}

/** Edges gathered into one stroke per hue and level, faint ones first. */
export function strokeEdges(pen: Pen, scene: Scene, edges: ArrayLike<number>): void {
  const { g, routes, layout, palette, weight, hues } = scene;
  const { left, right, top, bottom } = layout;
  const buckets: number[][] = Array.from({ length: hues.names.length * LEVELS }, () => []);
  for (let i = 0; i < edges.length; i++) {
    const e = edges[i];
    if (!inView(g, layout, e)) continue;
    const level = Math.min(LEVELS - 1, Math.floor(LEVELS * strengthOf(weight[e], routes.top_weight)));
    addSegments(buckets[hues.of(g, e) * LEVELS + level], g, layout, e);
  }
  pen.clip(left, top - 8, right - left, bottom - top + 8, () => {
    for (const [i, s] of buckets.entries()) {
      const u = ((i % LEVELS) + 0.5) / LEVELS;
      const alpha = ALPHA.min + (ALPHA.max - ALPHA.min) * u;
      const colour = hues.colour(palette, Math.floor(i / LEVELS));
      if (s.length) pen.lines(s, s.length / 4, colour, WIDTH.min + (WIDTH.max - WIDTH.min) * u, alpha);
    }
  });
}

/** Edges on halos, over everything else; `strong`: they are selected. */
export function drawMarked(pen: Pen, scene: Scene, edges: number[], strong: boolean): void {
  const { g, routes, layout, palette, weight, hues } = scene;
  for (const halo of [true, false]) {
    for (const e of edges) {
      const s: number[] = [];
      addSegments(s, g, layout, e);
      const w = lineWidth(weight[e], routes.top_weight); // as it is: a selection must not make little look like much
      const colour = strong && edges.length === 1 ? palette.selection : hues.colour(palette, hues.of(g, e));
      if (halo) pen.lines(s, s.length / 4, palette.background, w + 4, 0.9);
      else pen.lines(s, s.length / 4, colour, w, 1);
    }
  }
}

function addSegments(out: number[], g: Graph, { node_x, node_y, bow: lean }: Layout, e: number): void {
  const [a, b] = [g.source[e], g.entered[e]];
  const [ax, ay, bx, by] = [node_x[a], node_y[a], node_x[b], node_y[b]];
  if (g.kind[e] === EdgeKind.attention && ax === bx) bow(out, ax, ay, by, lean);
  else out.push(ax, ay, bx, by);
}

/** An edge from a position to itself leans to the left, so that it does not hide the residual line. */
function bow(out: number[], x: number, y0: number, y1: number, lean: number): void {
  let [px, py] = [x, y0];
  for (let i = 1; i <= 8; i++) {
    const u = i / 8;
    const qx = x - lean * Math.sin(Math.PI * u);
    const qy = y0 + (y1 - y0) * u;
    out.push(px, py, qx, qy);
    [px, py] = [qx, qy];
  }
}
