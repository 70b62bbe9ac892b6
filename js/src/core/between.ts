// Two pictures held against each other, line by line: how much more flows in one than in the other; no DOM.
import { EdgeKind, type Graph } from "./graph.js";
import type { Routes } from "./routes.js";

/** Whether both have the same places, so that a line of one can be one of the other. */
export function areAlike(a: Graph, b: Graph): boolean {
  return a.T === b.T && a.S === b.S && a.meta.parts.length === b.meta.parts.length;
}

/** The flow of every line [edge] of `g` less that of the same line in the other picture. */
export function flowsMore(g: Graph, routes: Routes, other: Graph, theirs: Routes): Float32Array {
  const known = new Map<number, number>();
  for (let e = 0; e < other.n_edges; e++) if (theirs.flow[e] > 0) known.set(placeOfEdge(other, e), theirs.flow[e]);
  const more = new Float32Array(g.n_edges);
  for (let e = 0; e < g.n_edges; e++) more[e] = routes.flow[e] - (known.get(placeOfEdge(g, e)) ?? 0);
  return more;
}

/** The same edge in another picture of the same places, or -1. */
export function sameEdge(g: Graph, edge: number, other: Graph): number {
  const wanted = placeOfEdge(g, edge);
  const state = Math.floor((g.kind[edge] === EdgeKind.read ? g.source[edge] : g.entered[edge]) / g.T);
  const [from, to] =
    g.kind[edge] === EdgeKind.read ? [0, other.n_edges] : [other.rows[other.S - 1 - state], other.rows[other.S - state]];
  for (let e = from; e < to; e++) if (placeOfEdge(other, e) === wanted) return e;
  return -1;
}

/** A number for part, query and key; carried states and what squares read stand after the parts. */
function placeOfEdge(g: Graph, e: number): number {
  const n = g.meta.parts.length;
  const [entered, source] = [g.entered[e], g.source[e]];
  const row =
    g.kind[e] === EdgeKind.carried
      ? n + Math.floor(entered / g.T)
      : g.kind[e] === EdgeKind.read
        ? n + g.S + g.part[e]
        : g.part[e];
  return (row * g.T + (entered % g.T)) * g.T + (source % g.T);
}
