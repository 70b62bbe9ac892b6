// Where every state, square, label and bar of the graph goes; no DOM.

import { type Graph, goesOn } from "../../core/graph.js";
import type { Columns } from "../../core/order.js";

export const MARGIN = { left: 38, top: 26, bottom: 92, right: 22 };
export const BAR_HEIGHT = 22;
export const LABEL_ANGLE = -48;
export const LABEL_SIZE = 12;
const ROLE_ROW = 16; // below the labels, where a chat says whose words they are

const FIRST_COLUMN = 24; // room left of the first column for its slanted label
// Down to 14 px every column has its label; narrower ones, still told apart, show the whole picture before it has to scroll.
const COLUMN = { min: 3.3, max: 96 };
const ROW = { min: 1.5, max: 60 };
export const ZOOM = { max: 12 };

/** What the reader moved: a factor on the column and row gaps, and where the first column and lowest row are. */
export interface Camera {
  zoom: number; // 1 is the natural size
  x: number | null; // px from the resting place of the first column; null starts at the target
  y: number | null; // px from the resting place of the lowest row; null starts at the target's
}

export const HOME: Camera = { zoom: 1, x: null, y: null };

export interface Layout {
  width: number;
  height: number;
  left: number; // the plot, in which nodes and edges are clipped
  right: number;
  top: number;
  bottom: number;
  columns: Columns;
  column_gap: number;
  row_gap: number;
  x: Float32Array; // [pos]
  y: Float32Array; // [state]
  node_x: Float32Array; // [node]
  node_y: Float32Array; // [node]
  bow: number; // how far an edge from a position to itself leans left of the residual line
  max_radius: number;
  half_square: number;
  camera: { zoom: number; x: number; y: number }; // as shown
  fit: number; // the zoom at which everything is in view
}

export function layoutGraph(g: Graph, columns: Columns, width: number, height: number, wanted: Camera, target: number): Layout {
  const left = MARGIN.left;
  const right = Math.max(left + 40, width - 6);
  const top = MARGIN.top;
  const bottom = Math.max(top + 40, height - MARGIN.bottom - (g.meta.tokens.role.some(Boolean) ? ROLE_ROW : 0));
  const room_x = Math.max(20, right - MARGIN.right - left - FIRST_COLUMN);
  const room_y = Math.max(20, bottom - top - 20);
  const gaps_x = Math.max(1, columns.n_slots - 1);
  const gaps_y = Math.max(1, g.S - 1);

  const natural_x = Math.min(COLUMN.max, Math.max(COLUMN.min, room_x / gaps_x));
  const natural_y = Math.min(ROW.max, Math.max(ROW.min, room_y / gaps_y));
  const fit = Math.min(1, room_x / gaps_x / natural_x, room_y / gaps_y / natural_y);
  const zoom = Math.min(ZOOM.max, Math.max(fit, wanted.zoom));
  const column_gap = natural_x * zoom;
  const row_gap = natural_y * Math.max(zoom, Math.min(1, room_y / gaps_y / natural_y));

  const span_x = columns.n_slots > 1 ? gaps_x * column_gap : 0;
  const span_y = gaps_y * row_gap;
  const slack_x = room_x - span_x;
  const slack_y = room_y - span_y;
  // With room to spare the content is centred and stands near the labels; without, it starts at the target and stops at the ends.
  const at_target = 0.85 * room_x - columns.slot[target] * column_gap;
  const shift_x = slack_x >= -0.5 ? slack_x / 2 : Math.min(0, Math.max(slack_x, wanted.x ?? at_target));
  const shift_y = slack_y >= -0.5 ? -Math.min(16, slack_y / 2) : Math.min(-slack_y, Math.max(0, wanted.y ?? -slack_y));
  const first = left + FIRST_COLUMN + shift_x;
  const lowest = bottom - 10 + shift_y;

  const { T, S } = g;
  const x = new Float32Array(T);
  const y = new Float32Array(S);
  for (let t = 0; t < T; t++) x[t] = first + columns.slot[t] * column_gap;
  for (let s = 0; s < S; s++) y[s] = lowest - s * row_gap;

  const node_x = new Float32Array(g.n_nodes);
  const node_y = new Float32Array(g.n_nodes);
  for (let s = 0; s < S; s++) {
    node_x.set(x, s * T);
    node_y.fill(y[s], s * T, (s + 1) * T);
  }
  const half_square = Math.max(1.2, Math.min(4, column_gap * 0.16, row_gap * 0.3));
  const lean = Math.min(12, column_gap * 0.34);
  const seen = new Map<number, number>(); // squares side by side when several parts enter one state
  g.squares.forEach((k, q) => {
    const part = g.meta.parts[k];
    const i = seen.get(part.state) ?? 0;
    seen.set(part.state, i + 1);
    const from = part.reads >= 0 ? part.reads : part.state - 1;
    const at = goesOn(part) ? (y[from] + y[part.state]) / 2 : y[part.state] + 0.42 * row_gap;
    const shift = lean + i * Math.min(2.6 * half_square, column_gap * 0.3);
    const first_square = (S + q) * T;
    node_x.set(
      x.map((at_x) => at_x + shift),
      first_square,
    );
    node_y.fill(at, first_square, first_square + T);
  });
  return {
    width,
    height,
    left,
    right,
    top,
    bottom,
    columns,
    column_gap,
    row_gap,
    x,
    y,
    node_x,
    node_y,
    bow: Math.min(9, column_gap * 0.26),
    max_radius: Math.max(1.4, Math.min(5, row_gap * 0.34, column_gap * 0.34)),
    half_square,
    camera: { zoom, x: shift_x, y: shift_y },
    fit,
  };
}

/** Whether there is room for a dot at every state that no route reaches. */
export function showsIdle({ column_gap, row_gap }: Layout): boolean {
  return column_gap >= 9 && row_gap >= 6;
}

/** The camera after zooming by `factor` with the content under (px, py) staying where it is. */
export function zoomAt(layout: Layout, factor: number, px: number, py: number): Camera {
  const zoom = Math.min(ZOOM.max, Math.max(layout.fit, layout.camera.zoom * factor));
  const f = zoom / layout.camera.zoom;
  const x0 = layout.left + FIRST_COLUMN;
  const y0 = layout.bottom - 10;
  return {
    zoom,
    x: px - x0 - f * (px - x0 - layout.camera.x),
    y: py - y0 - f * (py - y0 - layout.camera.y),
  };
}

export interface Tick {
  y: number;
  text: string;
}

/** Where layers are: the number of each and the middle of its states, from the lowest up. */
function layersOf(g: Graph, layout: Layout): { layer: number; y: number }[] {
  const sums = new Map<number, { y: number; n: number }>();
  g.meta.states.forEach(({ layer }, s) => {
    if (layer === null) return;
    const sum = sums.get(layer) ?? { y: 0, n: 0 };
    sum.y += layout.y[s];
    sum.n++;
    sums.set(layer, sum);
  });
  return [...sums].map(([layer, { y, n }]) => ({ layer, y: y / n })).sort((a, b) => a.layer - b.layer);
}

/** Of so many layers one is labelled. */
function layersPerLabel(layers: { y: number }[]): number {
  const apart = layers.length > 1 ? Math.abs(layers[1].y - layers[0].y) : 99;
  return [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48].find((n) => n * apart >= 14) ?? 64;
}

/** Layer labels at least 14 px apart, each at the middle of its layer's states. */
export function layerTicks(g: Graph, layout: Layout): Tick[] {
  const all = layersOf(g, layout);
  const every = layersPerLabel(all);
  return all
    .filter(({ layer, y }) => layer % every === 0 && y > layout.top - 4 && y < layout.bottom + 4)
    .map(({ layer, y }) => ({ y, text: `L${layer}` }));
}

/** The horizontal bands of every other layer, or group of layers where one label stands for several, as [y from, y to]. */
export function layerBands(g: Graph, layout: Layout): [number, number][] {
  const every = layersPerLabel(layersOf(g, layout));
  const ends = new Map<number, [number, number]>();
  g.meta.states.forEach(({ layer, carried }, s) => {
    if (layer === null) return;
    const band = Math.floor(layer / every);
    if (band % 2 === 1) return;
    const below = carried >= 0 ? carried : Math.max(0, s - 1);
    const [lo, hi] = ends.get(band) ?? [below, s];
    ends.set(band, [Math.min(lo, below), Math.max(hi, s)]);
  });
  return [...ends.values()].map(([lo, hi]) => [layout.y[hi], layout.y[lo]]);
}

/** How many positions lie beyond the left and the right end of the plot. */
export function outside({ x, left, right }: Layout): [number, number] {
  let [before, after] = [0, 0];
  for (const at of x) {
    if (at < left) before++;
    else if (at > right) after++;
  }
  return [before, after];
}

/** Where a slot is, folds included. */
export function slotX(layout: Layout, slot: number): number {
  return layout.x[0] + (slot - layout.columns.slot[0]) * layout.column_gap;
}

export interface Label {
  x: number;
  pos: number; // -1 for a fold
  n: number; // positions in the fold
}

/** The labels under the picture, at least one line apart: where they do not all fit, the target and the words that matter most. */
export function labels(layout: Layout, input_share: ArrayLike<number>, target: number): Label[] {
  const { columns, x, left, right } = layout;
  const all: Label[] = columns.folds.map(({ slot, n }) => ({ x: slotX(layout, slot), pos: -1, n }));
  for (let t = 0; t < x.length; t++) if (!columns.folded[t]) all.push({ x: x[t], pos: t, n: 0 });
  const inside = all.filter((label) => label.x >= left && label.x <= right).sort((a, b) => a.x - b.x);
  const apart = LABEL_SIZE + 1;
  if (layout.column_gap >= apart) return inside;
  const weight = ({ pos }: Label) => (pos === target ? 2 : pos < 0 ? -1 : input_share[pos]);
  const shown: Label[] = [];
  for (const label of [...inside].sort((a, b) => weight(b) - weight(a))) {
    if (!shown.some((other) => Math.abs(other.x - label.x) < apart)) shown.push(label);
  }
  return shown.sort((a, b) => a.x - b.x);
}
