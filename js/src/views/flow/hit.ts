// What is under the pointer: nearest state or square, else the nearest drawn edge of the rows that cross this height.
import { EdgeKind, type Graph } from "../../core/graph.js";
import type { Routes } from "../../core/routes.js";
import type { Item } from "../../core/select.js";
import { type Layout, showsIdle } from "./layout.js";

export const HIT_RADIUS = 12;
const EDGE_REACH = 6;

export function hit(g: Graph, routes: Routes, layout: Layout, threshold: number, px: number, py: number): Item | null {
  if (px < layout.left || px > layout.right) return null;
  if (py > layout.bottom) {
    const pos = py <= layout.height ? tokenAt(layout, px, py) : -1;
    return pos < 0 ? null : { kind: "token", pos };
  }
  // Where cells are too small for idle states to be seen, only what is drawn is in the way of a line.
  const least = showsIdle(layout) ? -1 : threshold;
  const near = nearestNode(g, routes, layout, least, px, py);
  const radius = least < 0 ? Math.max(layout.max_radius + 1.5, 4) : layout.max_radius + 1;
  if (near.distance <= Math.min(HIT_RADIUS, radius)) return { kind: "node", node: near.node };
  const edge = nearestEdge(g, routes, layout, threshold, px, py);
  if (edge >= 0) return { kind: "edge", edge };
  return near.distance <= HIT_RADIUS ? { kind: "node", node: near.node } : null;
}

/** Labels lean to the left beneath their column, so the pointer is moved along the slope first. */
export function tokenAt(layout: Layout, px: number, py: number): number {
  const below = py - (layout.bottom + 34);
  const x = below > 0 ? px + below * 0.9 : px;
  let best = -1;
  let distance = Math.max(7, layout.column_gap / 2);
  for (let t = 0; t < layout.x.length; t++) {
    const d = Math.abs(layout.x[t] - x);
    if (d < distance && !layout.columns.folded[t]) {
      best = t;
      distance = d;
    }
  }
  return best;
}

/** The nearest state or reached square of more strength than `least`. */
function nearestNode(
  g: Graph,
  routes: Routes,
  layout: Layout,
  least: number,
  px: number,
  py: number,
): { node: number; distance: number } {
  const { T, S } = g;
  let node = -1;
  let distance = Number.POSITIVE_INFINITY;
  const consider = (n: number) => {
    const d = Math.hypot(layout.node_x[n] - px, layout.node_y[n] - py);
    if (d < distance && routes.node_strength[n] > least) {
      distance = d;
      node = n;
    }
  };
  const stateAt = (y: number) => Math.max(0, Math.min(S - 1, Math.round((layout.y[0] - y) / layout.row_gap)));
  const [from, to] = [stateAt(py + HIT_RADIUS), stateAt(py - HIT_RADIUS)];
  const squares: number[] = [];
  for (let q = S; q * T < g.n_nodes; q++) if (Math.abs(layout.node_y[q * T] - py) <= HIT_RADIUS) squares.push(q);
  for (let t = 0; t < T; t++) {
    if (Math.abs(layout.x[t] - px) > HIT_RADIUS + layout.half_square + 12 || layout.columns.folded[t]) continue;
    for (let s = from; s <= to; s++) consider(s * T + t);
    for (const q of squares) if (routes.node_flow[q * T + t] > 0) consider(q * T + t);
  }
  return { node, distance };
}

/** The drawn edge within reach of (px, py), or -1: scans only the rows whose edges cross this height. */
export function nearestEdge(g: Graph, routes: Routes, layout: Layout, threshold: number, px: number, py: number): number {
  let best = -1;
  let distance = EDGE_REACH;
  for (let s = g.S - 1; s >= 1; s--) {
    if (layout.y[s] > py + EDGE_REACH || layout.y[g.lowest[s]] < py - EDGE_REACH) continue;
    for (let e = g.rows[g.S - 1 - s], end = g.rows[g.S - s]; e < end; e++) {
      if (!(routes.strength[e] > threshold)) continue;
      const d = edgeDistance(g, layout, e, px, py);
      if (d < distance) {
        distance = d;
        best = e;
      }
    }
  }
  return best;
}

export function edgeDistance(g: Graph, layout: Layout, e: number, px: number, py: number): number {
  const a = g.source[e];
  const b = g.entered[e];
  const ax = layout.node_x[a];
  const ay = layout.node_y[a];
  const bx = layout.node_x[b];
  const by = layout.node_y[b];
  if (g.kind[e] === EdgeKind.attention && ax === bx) {
    const mx = ax - layout.bow;
    const my = (ay + by) / 2;
    return Math.min(segmentDistance(px, py, ax, ay, mx, my), segmentDistance(px, py, mx, my, bx, by));
  }
  return segmentDistance(px, py, ax, ay, bx, by);
}

export function segmentDistance(px: number, py: number, ax: number, ay: number, bx: number, by: number): number {
  const dx = bx - ax;
  const dy = by - ay;
  const len = dx * dx + dy * dy;
  const u = len > 0 ? Math.max(0, Math.min(1, ((px - ax) * dx + (py - ay) * dy) / len)) : 0;
  return Math.hypot(ax + u * dx - px, ay + u * dy - py);
}
