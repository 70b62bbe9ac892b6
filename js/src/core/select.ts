// What a selection (the trait Python and the browser share) points at in the graph, and the selection of a thing in the graph.
import { EdgeKind, type Graph, type PartKind, placeOf } from "./graph.js";

export type Selection =
  | { kind: "state"; state: number; pos: number }
  | { kind: "edge"; state: number; query: number; key: number; part?: number }
  | { kind: "head"; state: number; head: number; query: number; key: number | null; part?: number }
  | { kind: "mlp"; state: number; pos: number; part?: number; top?: number }
  | { kind: "neuron"; state: number; pos: number; neuron: number; part?: number; expert?: number | string }
  | { kind: "carried"; state: number; pos: number }
  | { kind: "mixer"; state: number; pos: number; part?: number }
  | { kind: "token"; pos: number };

/** A thing in the picture. */
export type Item = { kind: "node"; node: number } | { kind: "edge"; edge: number } | { kind: "token"; pos: number };

export function sameItem(a: Item | null, b: Item | null): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** Whether two selections are one step of the reader's way: the same head at other cells, the same MLP with more rows. */
export function sameSubject(a: Selection, b: Selection): boolean {
  const subject = (s: object) => JSON.stringify(Object.entries({ ...s, ...aside(s) }).sort());
  return subject(a) === subject(b);
}

function aside(s: object): object {
  return "head" in s ? { query: 0, key: 0 } : { top: 0 };
}

/** The selection that a click on an item makes; null where there is nothing to inspect. */
export function selectionOf(g: Graph, item: Item): Selection | null {
  if (item.kind === "token") return { kind: "token", pos: item.pos };
  if (item.kind === "node") {
    const { state, pos, part } = placeOf(g, item.node);
    return part < 0 ? { kind: "state", state, pos } : squareSelection(g, part, pos);
  }
  const e = item.edge;
  const to = placeOf(g, g.entered[e]);
  switch (g.kind[e]) {
    case EdgeKind.attention: {
      const part = g.part[e];
      const edge = { kind: "edge" as const, state: to.state, query: to.pos, key: placeOf(g, g.source[e]).pos };
      return alone(g, part) ? edge : { ...edge, part };
    }
    case EdgeKind.carried:
      return { kind: "carried", state: to.state, pos: to.pos };
    default:
      return squareSelection(g, g.part[e], to.pos);
  }
}

function squareSelection(g: Graph, part: number, pos: number): Selection {
  const { state, kind } = g.meta.parts[part];
  const which = alone(g, part) ? {} : { part };
  return { kind: kind === "mlp" ? "mlp" : "mixer", state, pos, ...which };
}

function alone(g: Graph, part: number): boolean {
  const { kind, state } = g.meta.parts[part];
  return g.meta.parts.filter((p) => p.kind === kind && p.state === state).length === 1;
}

/** The item a selection points at, or null when this graph has no such thing. */
export function itemOf(g: Graph, selection: Selection | null): Item | null {
  if (!selection) return null;
  const inside = (n: number, end: number) => Number.isInteger(n) && n >= 0 && n < end;
  switch (selection.kind) {
    case "token":
      return inside(selection.pos, g.T) ? selection : null;
    case "state":
      return inside(selection.state, g.S) && inside(selection.pos, g.T)
        ? { kind: "node", node: selection.state * g.T + selection.pos }
        : null;
    case "carried":
      return inside(selection.state, g.S)
        ? findEdge(g, selection.state, (e) => g.kind[e] === EdgeKind.carried && placeOf(g, g.entered[e]).pos === selection.pos)
        : null;
    case "edge":
    case "head": {
      const { state, query, key, part } = selection;
      if (!inside(state, g.S)) return null;
      const entered = state * g.T + query;
      return findEdge(
        g,
        state,
        (e) =>
          g.kind[e] === EdgeKind.attention &&
          g.entered[e] === entered &&
          g.source[e] % g.T === key &&
          (part === undefined || g.part[e] === part),
      );
    }
    default: {
      const q = g.squareOf[partOf(g, selection)] ?? -1;
      return q >= 0 && inside(selection.pos, g.T) ? { kind: "node", node: (g.S + q) * g.T + selection.pos } : null;
    }
  }
}

/** The part a selection is about, or -1. */
export function partOf(g: Graph, s: Selection): number {
  const kinds: PartKind[] =
    s.kind === "mixer" ? ["mixer", "other"] : s.kind === "head" || s.kind === "edge" ? ["attention"] : ["mlp"];
  const { part, state } = s as { part?: number; state?: number };
  return part ?? g.meta.parts.findIndex((p) => kinds.includes(p.kind) && p.state === state);
}

function findEdge(g: Graph, state: number, is: (e: number) => boolean): Item | null {
  for (let e = g.rows[g.S - 1 - state]; e < g.rows[g.S - state]; e++) if (is(e)) return { kind: "edge", edge: e };
  return null;
}
