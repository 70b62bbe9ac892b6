// Everything a picture depends on, and which of it is in view; no DOM.
import { edgesInto, type Graph, placeOf } from "../../core/graph.js";
import { type Routes, routeBelow } from "../../core/routes.js";
import type { Item } from "../../core/select.js";
import type { Palette } from "../../paint/colour.js";
import type { Hues } from "../../paint/encoding.js";
import type { Layout } from "./layout.js";

export interface Scene {
  g: Graph;
  routes: Routes;
  layout: Layout;
  palette: Palette;
  threshold: number;
  n_drawn: number; // edges of routes.order that are drawn
  weight: Float32Array; // [edge]
  hues: Hues;
  places: readonly [number, number][]; // what was edited, from node to node
}

export const WIDTH = { min: 0.6, max: 3.5 };

/** Line width in px of a weight, on a square-root scale up to the strongest attention edge. */
export function lineWidth(weight: number, top_weight: number): number {
  return WIDTH.min + (WIDTH.max - WIDTH.min) * strengthOf(weight, top_weight);
}

export function strengthOf(weight: number, top_weight: number): number {
  return top_weight > 0 ? Math.sqrt(Math.min(1, Math.max(0, weight / top_weight))) : 0;
}

/** How far from `from` the drawn edges go of which `most` are in view. */
export function sliceEnd({ g, routes, layout, n_drawn }: Scene, from: number, most: number): number {
  const longest = Math.min(n_drawn, from + 40 * most);
  let to = from;
  for (let n = 0; to < longest && n < most; to++) if (inView(g, layout, routes.order[to])) n++;
  return to;
}

export function inView({ source, entered }: Graph, { node_x, node_y, left, right, top, bottom }: Layout, e: number): boolean {
  const [a, b] = [source[e], entered[e]];
  const [ax, bx] = [node_x[a], node_x[b]];
  return !((ax < left && bx < left) || (ax > right && bx > right) || node_y[b] > bottom || node_y[a] < top - 8);
}

/** What a hover or a selection marks. */
export interface Mark {
  route: number[]; // what lies below on the drawn route, in its own strokes
  edges: number[];
  nodes: number[];
  pos: number; // the column to mark; -1 for none
}

/** The marks of an item: its edges, its node or column; `whole`: and the drawn route below it. */
export function markOf({ g, routes, threshold }: Scene, item: Item, whole: boolean): Mark {
  if (item.kind === "token") return { route: [], edges: [], nodes: [], pos: item.pos };
  const below = item.kind === "edge" ? g.source[item.edge] : item.node;
  const route = whole ? routeBelow(g, routes, threshold, below) : [];
  if (item.kind === "edge") return { route, edges: [item.edge], nodes: [below, g.entered[item.edge]], pos: -1 };
  const { state, part } = placeOf(g, below);
  const edges = edgesInto(g, below).filter((e) => routes.strength[e] > threshold);
  for (let e = g.rows[g.S - 1 - state]; part >= 0 && e < g.rows[g.S - state]; e++) {
    if (g.source[e] === below && routes.strength[e] > threshold) edges.push(e);
  }
  return { route, edges, nodes: [below], pos: -1 };
}

/** The positions an item is at. */
export function columnsOf(g: Graph, item: Item): number[] {
  if (item.kind === "token") return [item.pos];
  if (item.kind === "node") return [placeOf(g, item.node).pos];
  const [a, b] = [placeOf(g, g.source[item.edge]).pos, placeOf(g, g.entered[item.edge]).pos];
  return a === b ? [a] : [a, b];
}
