// Where every state, square, label and bar of the graph goes; no DOM.

import type { Camera } from "../../core/camera.js";
import { type Graph, goesOn } from "../../core/graph.js";
import type { Columns } from "../../core/order.js";

export const MARGIN = { left: 38, top: 26, bottom: 92, right: 22 };
const BARS = 32; // px below the plot where the text stands elsewhere
export const READABLE = 40; // tokens from which the running text names the columns
const STRIP = 18; // px below all of it for the overview strip, where not all is in view
const ROLE_ROW = 16; // below the labels, where a chat says whose words they are

// Down to 14 px every column has its label; narrower ones, still told apart, show the whole picture before it has to scroll.
const COLUMN = { min: 3.3, max: 96 };
const ROW = { min: 1.5, max: 60 };
export const ZOOM = { max: 12 };
export const FIRST_COLUMN = 24; // room left of the first column for its slanted label

export interface Layout {
  width: number;
  height: number; // without the strip
  labelled: boolean; // tokens are named below the picture
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
  camera: { zoom: number; rows: number; x: number; y: number }; // as shown
  fit: number; // the zoom at which all columns are in view
  fit_rows: number; // and all rows
  seen: { from: number; to: number } | null; // of the width, what is in view; null where all is
}

export function layoutGraph(
  g: Graph,
  columns: Columns,
  width: number,
  all_height: number,
  wanted: Camera,
  target: number,
  labelled = true,
): Layout {
  const left = MARGIN.left;
  const right = Math.max(left + 40, width - 6);
  const top = MARGIN.top;
  const below = labelled ? MARGIN.bottom + (g.meta.tokens.role.some(Boolean) ? ROLE_ROW : 0) : BARS;
  const room_x = Math.max(20, right - MARGIN.right - left - FIRST_COLUMN);
  const gaps_x = Math.max(1, columns.n_slots - 1);
  const gaps_y = Math.max(1, g.S - 1);

  const natural_x = Math.min(COLUMN.max, Math.max(COLUMN.min, room_x / gaps_x));
  const fit = Math.min(1, room_x / gaps_x / natural_x);
  const zoom = Math.min(ZOOM.max, Math.max(fit, wanted.zoom));
  const column_gap = natural_x * zoom;
  const span_x = columns.n_slots > 1 ? gaps_x * column_gap : 0;
  const slack_x = room_x - span_x;
  const is_whole = slack_x >= -0.5;

  const height = all_height - (is_whole ? 0 : STRIP);
  const bottom = Math.max(top + 40, height - below);
  const room_y = Math.max(20, bottom - top - 20);
  const natural_y = Math.min(ROW.max, Math.max(ROW.min, room_y / gaps_y));
  const fit_rows = Math.min(1, room_y / gaps_y / natural_y);
  const rows = Math.min(ZOOM.max, Math.max(fit_rows, wanted.rows ?? 1));
  const row_gap = natural_y * rows;
  const span_y = gaps_y * row_gap;
  const slack_y = room_y - span_y;
  // With room to spare the content is centred and stands near the labels; without, it starts at the target and stops at the ends.
  const at_target = 0.85 * room_x - columns.slot[target] * column_gap;
  const shift_x = is_whole ? slack_x / 2 : Math.min(0, Math.max(slack_x, wanted.x ?? at_target));
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
    labelled,
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
    camera: { zoom, rows, x: shift_x, y: shift_y },
    fit,
    fit_rows,
    seen: is_whole ? null : { from: -shift_x / span_x, to: (room_x - shift_x) / span_x },
  };
}

/** Whether there is room for a dot at every state that no route reaches. */
export function showsIdle({ column_gap, row_gap }: Layout): boolean {
  return column_gap >= 9 && row_gap >= 6;
}

/** Where a slot is, folds included. */
export function slotX(layout: Layout, slot: number): number {
  return layout.x[0] + (slot - layout.columns.slot[0]) * layout.column_gap;
}
