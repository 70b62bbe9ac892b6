// Maps of query and key: cells, their bytes, the edge of the graph behind a cell; no DOM.
import { EdgeKind, type Graph, placeOf } from "./graph.js";
import type { Item } from "./select.js";

export interface Cell {
  query: number;
  key: number;
}

/** The largest side of a map's image; larger maps are pooled by their maximum, so that a thin stripe stays visible. */
export const SIDE = 512;

/** Values [n, n] as bytes [side, side] on a square-root scale up to `top`. */
export function mapBytes(values: ArrayLike<number>, n: number, top: number): { bytes: Uint8Array; side: number } {
  const side = Math.min(n, SIDE);
  const bytes = new Uint8Array(side * side);
  for (let query = 0; query < n; query++) {
    const row = Math.floor((query * side) / n) * side;
    for (let key = 0; key <= query; key++) {
      const v = values[query * n + key];
      const byte = v > 0 && top > 0 ? Math.round(255 * Math.sqrt(Math.min(1, v / top))) : 0;
      const at = row + Math.floor((key * side) / n);
      if (byte > bytes[at]) bytes[at] = byte;
    }
  }
  return { bytes, side };
}

/** The difference of two maps [n, n] as bytes around 128, square-root on both sides, and the largest difference. */
export function differenceBytes(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  n: number,
): { bytes: Uint8Array; side: number; top: number } {
  const side = Math.min(n, SIDE);
  const bytes = new Uint8Array(side * side).fill(128);
  let top = 0;
  for (let i = 0; i < n * n; i++) top = Math.max(top, Math.abs(b[i] - a[i]));
  for (let query = 0; query < n; query++) {
    for (let key = 0; key <= query; key++) {
      const d = b[query * n + key] - a[query * n + key];
      const byte = 128 + Math.round(127 * Math.sign(d) * Math.sqrt(Math.abs(d) / (top || 1)));
      const at = Math.floor((query * side) / n) * side + Math.floor((key * side) / n);
      if (Math.abs(byte - 128) > Math.abs(bytes[at] - 128)) bytes[at] = byte;
    }
  }
  return { bytes, side, top };
}

/** Bytes [side, side] as pixels; cells above the diagonal stay clear. */
export function pixels(bytes: ArrayLike<number>, side: number, table: Uint32Array): Uint32Array {
  const out = new Uint32Array(side * side);
  for (let row = 0; row < side; row++) for (let i = row * side; i <= row * side + row; i++) out[i] = table[bytes[i]];
  return out;
}

/** The cell under a point of a map of the given size; null outside the map and above the diagonal. */
export function cellAt(n: number, size: number, x: number, y: number): Cell | null {
  const [query, key] = [Math.floor((y / size) * n), Math.floor((x / size) * n)];
  return query >= 0 && query < n && key >= 0 && key <= query ? { query, key } : null;
}

/** A part of a map, from its first cell on. */
export interface Square extends Cell {
  size: number;
}

const SMALLEST = 4; // cells

/** The square that a drag from a cell to another one is about, within a map of n. */
export function squareOf(n: number, a: Cell, b: Cell): Square {
  const size = Math.min(n, Math.max(SMALLEST, 1 + Math.abs(a.query - b.query), 1 + Math.abs(a.key - b.key)));
  const first = (x: number, y: number) => Math.max(0, Math.min(x, y, n - size));
  return { query: first(a.query, b.query), key: first(a.key, b.key), size };
}

/** The cell that an arrow key leads to, never above the diagonal. */
export function stepCell(n: number, { query, key }: Cell, arrow: string): Cell | null {
  const steps: Record<string, [number, number]> = {
    ArrowUp: [-1, 0],
    ArrowDown: [1, 0],
    ArrowLeft: [0, -1],
    ArrowRight: [0, 1],
    Home: [0, -key],
    End: [0, query - key],
  };
  const step = steps[arrow];
  if (!step) return null;
  const to = Math.min(n - 1, Math.max(0, query + step[0]));
  return { query: to, key: Math.min(to, Math.max(0, key + step[1])) };
}

/** The attention edge of a cell, or the query's token where that edge is not in the graph. */
export function itemOfCell(g: Graph, state: number, part: number, { query, key }: Cell): Item {
  const [entered, source] = [state * g.T + query, g.meta.parts[part].reads * g.T + key];
  for (let e = g.rows[g.S - 1 - state]; e < g.rows[g.S - state]; e++) {
    if (g.entered[e] === entered && g.source[e] === source && g.part[e] === part) return { kind: "edge", edge: e };
  }
  return { kind: "token", pos: query };
}

/** The cell of this part's map that an item of the graph stands for; a token is its own row and column. */
export function cellOfItem(g: Graph, state: number, part: number, item: Item | null): Cell | null {
  if (!item) return null;
  if (item.kind === "token") return { query: item.pos, key: item.pos };
  if (item.kind === "node") {
    const place = placeOf(g, item.node);
    return place.part < 0 && place.state === state ? { query: place.pos, key: place.pos } : null;
  }
  const e = item.edge;
  if (g.kind[e] !== EdgeKind.attention || g.part[e] !== part || Math.floor(g.entered[e] / g.T) !== state) return null;
  return { query: g.entered[e] % g.T, key: g.source[e] % g.T };
}
