// Which layers and tokens are labelled, where, and with how much of their text; no DOM.
import type { Graph } from "../../core/graph.js";
import { MONO_EM } from "../../paint/pen.js";
import { type Layout, MARGIN, slotX } from "./layout.js";

export const BAR_HEIGHT = 22;
export const LABEL_ANGLE = -48;
export const LABEL_SIZE = 12;

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

/** A token label that fits under the picture, and to the left of its column. */
export function labelText(text: string, x: number): string {
  const below = (MARGIN.bottom - BAR_HEIGHT - 21) / Math.sin((-LABEL_ANGLE * Math.PI) / 180);
  const beside = Math.max(20, x - 2) / Math.cos((-LABEL_ANGLE * Math.PI) / 180);
  const fits = Math.max(3, Math.floor(Math.min(below, beside) / (LABEL_SIZE * MONO_EM)));
  const chars = [...text];
  const wide = chars.reduce((n, c) => n + widthOf(c), 0);
  if (wide <= fits) return text;
  let n = 0;
  let used = 1;
  for (; n < chars.length; n++) {
    used += widthOf(chars[n]);
    if (used > fits) break;
  }
  return `${chars.slice(0, n).join("")}…`;
}

/** In units of a Latin letter: scripts that the monospaced font has not are drawn by wider ones. */
function widthOf(c: string): number {
  const n = c.codePointAt(0) ?? 0;
  const is_wide =
    (n >= 0x1100 && n <= 0x115f) ||
    (n >= 0x2e80 && n <= 0xa4cf) ||
    (n >= 0xac00 && n <= 0xd7a3) ||
    (n >= 0xf900 && n <= 0xfaff) ||
    (n >= 0xff00 && n <= 0xff60) ||
    n >= 0x1f300;
  return is_wide ? 1.7 : n >= 0x530 && n < 0x2000 ? 1.2 : 1;
}
