// The strokes of the graph, given a pen: the same for the screen and for SVG; no DOM.
import { EdgeKind, type Graph, goesOn, placeOf } from "../../core/graph.js";
import { roundPercent, stateName, tokenText, visible } from "../../core/names.js";
import type { Routes } from "../../core/routes.js";
import { mix, type Palette } from "../../paint/colour.js";
import { MONO_EM, type Pen, svgPen } from "../../paint/pen.js";
import * as words from "../../words.js";
import {
  BAR_HEIGHT,
  LABEL_ANGLE,
  LABEL_SIZE,
  type Layout,
  labels,
  layerBands,
  layerTicks,
  outside,
  showsIdle,
  slotX,
} from "./layout.js";

/** Everything a picture depends on. */
export interface Scene {
  g: Graph;
  routes: Routes;
  layout: Layout;
  palette: Palette;
  threshold: number;
  n_drawn: number; // edges of routes.order that are drawn
  weight: Float32Array; // [edge]
}

export const WIDTH = { min: 0.6, max: 3.5 };
const ALPHA = { min: 0.18, max: 0.92 };
const LEVELS = 16;

/** Line width in px of a weight, on a square-root scale up to the strongest attention edge. */
export function lineWidth(weight: number, top_weight: number): number {
  return WIDTH.min + (WIDTH.max - WIDTH.min) * strengthOf(weight, top_weight);
}

function strengthOf(weight: number, top_weight: number): number {
  return top_weight > 0 ? Math.sqrt(Math.min(1, Math.max(0, weight / top_weight))) : 0;
}

export function kindColour(palette: Palette, kind: number): string {
  if (kind === EdgeKind.attention) return palette.attention;
  return kind === EdgeKind.carried ? palette.residual : palette.mlp;
}

/** Bands of layers, folds, a dot for every state. */
export function drawGrid(pen: Pen, scene: Scene): void {
  const { g, layout, palette } = scene;
  const { left, right, top, bottom } = layout;
  pen.clip(left, top - 8, right - left, bottom - top + 8, () => {
    for (const [from, to] of layerBands(g, layout)) pen.rect(left, from, right - left, to - from, palette.band, 1, 2);
    gridDots(pen, scene);
  });
}

/** A faint dot for every state, and a thin line where columns are folded. */
function gridDots(pen: Pen, { g, layout, palette }: Scene): void {
  const { left, right, top, bottom, x, y, columns } = layout;
  for (const { slot } of columns.folds) {
    pen.rect(slotX(layout, slot) - 0.5, y[g.S - 1], 1, y[0] - y[g.S - 1], palette.line, layout.column_gap < 9 ? 0.5 : 1);
  }
  if (!showsIdle(layout)) return;
  const dots: number[] = [];
  for (let t = 0; t < g.T; t++) {
    if (columns.folded[t] || x[t] < left || x[t] > right) continue;
    for (let s = 0; s < g.S; s++) if (y[s] > top - 6 && y[s] < bottom + 2) dots.push(x[t], y[s], 0.9);
  }
  pen.squares(dots, dots.length / 3, palette.faint, null, 0);
}

/** Edges `from`..`to` of the drawn ones. */
export function drawEdges(pen: Pen, scene: Scene, from: number, to: number): void {
  strokeEdges(pen, scene, scene.routes.order.subarray(from, to));
}

/** How far from `from` the drawn edges go of which `most` are in view. */
export function sliceEnd({ g, routes, layout, n_drawn }: Scene, from: number, most: number): number {
  const longest = Math.min(n_drawn, from + 40 * most);
  let to = from;
  for (let n = 0; to < longest && n < most; to++) if (inView(g, layout, routes.order[to])) n++;
  return to;
}

function inView({ source, entered }: Graph, { node_x, node_y, left, right, top, bottom }: Layout, e: number): boolean {
  const [a, b] = [source[e], entered[e]];
  const [ax, bx] = [node_x[a], node_x[b]];
  return !((ax < left && bx < left) || (ax > right && bx > right) || node_y[b] > bottom || node_y[a] < top - 8);
}

/** Edges gathered into one stroke per kind and level, faint ones first. */
function strokeEdges(pen: Pen, scene: Scene, edges: ArrayLike<number>): void {
  const { g, routes, layout, palette, weight } = scene;
  const { left, right, top, bottom } = layout;
  const buckets: number[][] = Array.from({ length: 4 * LEVELS }, () => []);
  for (let i = 0; i < edges.length; i++) {
    const e = edges[i];
    if (!inView(g, layout, e)) continue;
    const a = g.source[e];
    const b = g.entered[e];
    const [ax, ay, bx, by] = [layout.node_x[a], layout.node_y[a], layout.node_x[b], layout.node_y[b]];
    const level = Math.min(LEVELS - 1, Math.floor(LEVELS * strengthOf(weight[e], routes.top_weight)));
    const bucket = buckets[g.kind[e] * LEVELS + level];
    if (g.kind[e] === EdgeKind.attention && ax === bx) bow(bucket, ax, ay, by, layout.bow);
    else bucket.push(ax, ay, bx, by);
  }
  pen.clip(left, top - 8, right - left, bottom - top + 8, () => {
    for (const kind of [EdgeKind.carried, EdgeKind.read, EdgeKind.part, EdgeKind.attention]) {
      for (let level = 0; level < LEVELS; level++) {
        const s = buckets[kind * LEVELS + level];
        const u = (level + 0.5) / LEVELS;
        if (s.length) {
          const alpha = ALPHA.min + (ALPHA.max - ALPHA.min) * u;
          pen.lines(s, s.length / 4, kindColour(palette, kind), WIDTH.min + (WIDTH.max - WIDTH.min) * u, alpha);
        }
      }
    }
  });
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

/** Reached states as circles, parts as squares, parts at which a route ends as hollow squares. */
export function drawNodes(pen: Pen, scene: Scene): void {
  const nodes: number[] = [];
  scene.routes.node_strength.forEach((strength, n) => {
    if (strength > scene.threshold) nodes.push(n);
  });
  drawGlyphs(pen, scene, nodes, 0.005);
}

/** Circles and squares; where cells are a few pixels small, dots, and none for less flow than `least`. */
function drawGlyphs(pen: Pen, { g, routes, layout, palette }: Scene, nodes: Iterable<number>, least: number): void {
  const { left, right, top, bottom, node_x, node_y, max_radius, half_square } = layout;
  const small = max_radius < 2;
  const states: number[] = [];
  const squares: number[] = [];
  const ends: number[] = [];
  for (const n of nodes) {
    const [x, y] = [node_x[n], node_y[n]];
    if (x < left - 2 || x > right + 2 || y < top - 6 || y > bottom + 2) continue;
    if (small && routes.node_flow[n] < least) continue;
    const f = Math.sqrt(Math.min(1, routes.node_flow[n]));
    if (n < g.S * g.T) states.push(x, y, small ? 0.7 + 0.8 * f : 1.4 + (max_radius - 1.4) * f);
    else (goesOn(g.meta.parts[placeOf(g, n).part]) ? squares : ends).push(x, y, half_square * (0.55 + 0.45 * f));
  }
  pen.clip(left, top - 8, right - left, bottom - top + 8, () => {
    pen.squares(squares, squares.length / 3, palette.mlp, null, 0);
    pen.squares(ends, ends.length / 3, palette.background, palette.mlp, 1.3);
    const fill = mix(palette.background, palette.attention, palette.dark ? 0.22 : 0.1);
    if (small) pen.squares(states, states.length / 3, palette.attention, null, 0);
    else pen.circles(states, states.length / 3, fill, palette.attention, max_radius > 2.5 ? 1.3 : 1);
  });
}

/** Layer and token labels, input-share bars, folds. */
export function drawLabels(pen: Pen, scene: Scene): void {
  const { g, routes, layout, palette } = scene;
  const { left, right, bottom, x, columns } = layout;
  const top_share = Math.max(...routes.input_share, 1e-9);
  const bar = Math.max(1, Math.min(14, layout.column_gap * 0.46));
  const base = bottom + 6 + BAR_HEIGHT;
  for (const { y, text } of layerTicks(g, layout)) {
    pen.text(text, left - 9, y + 4, { size: 11, colour: palette.muted, anchor: "end" });
  }
  const [before, after] = outside(layout);
  const beyond = { size: 11, colour: palette.muted };
  if (before) pen.text(`‹ ${before}`, left + 2, layout.top - 13, beyond);
  if (after) pen.text(`${after} ›`, right - 2, layout.top - 13, { ...beyond, anchor: "end" });
  pen.text(words.inputs, left - 5, base - 1, { size: 11, colour: palette.muted, anchor: "end" });
  pen.clip(0, bottom, right, layout.height - bottom, () => {
    pen.rect(left, base, right - left, 1, palette.line);
    for (let t = 0; t < g.T; t++) {
      if (columns.folded[t] || x[t] < left || x[t] > right) continue;
      const h = Math.sqrt(routes.input_share[t] / top_share) * BAR_HEIGHT;
      if (h > 0.4) pen.rect(x[t] - bar / 2, base - h, bar, h, palette.attention, 1, Math.min(1.5, h / 2));
    }
    for (const { x, pos, n } of labels(layout, routes.input_share, routes.target)) {
      const is_target = pos === routes.target;
      const reached = pos >= 0 && (routes.input_share[pos] > 0 || is_target);
      pen.text(pos < 0 ? `⋯${n}` : labelText(tokenText(g, pos), x), x + 4, base + 13, {
        size: pos < 0 ? 11 : LABEL_SIZE,
        colour: reached ? palette.text : palette.muted,
        anchor: "end",
        rotate: LABEL_ANGLE,
        mono: true,
        bold: is_target,
        italic: g.meta.tokens.special[pos],
      });
    }
    const { role } = g.meta.tokens; // in a chat: whose words these are
    for (let t = 0, end = 0; t < g.T; t = end) {
      for (end = t + 1; role[end] === role[t]; ) end++;
      const from = Math.max(left, x[t] - 4);
      const wide = x[end - 1] + 4 - from;
      if (!role[t] || wide < 4) continue;
      pen.rect(from, layout.height - 15, wide, 1, palette.muted);
      pen.text(visible(role[t] as string).slice(0, wide / 6), from, layout.height - 3, beyond);
    }
  });
}

/** The target's marker with the model's next token. */
export function drawTarget(pen: Pen, { g, routes, layout, palette }: Scene): void {
  const x = layout.x[routes.target];
  if (x < layout.left || x > layout.right) return;
  const y = Math.max(layout.top, layout.y[g.S - 1]) - layout.max_radius - 5;
  pen.polygon([x - 5, y - 8, x + 5, y - 8, x, y], palette.selection);
  const next = nextToken(g, routes.target, 0);
  if (!next) return;
  const text = `${next.text} ${roundPercent(next.p)}`;
  const to_left = x > (layout.left + layout.right) / 2;
  pen.text(text, to_left ? x - 11 : x + 11, y, {
    size: 12,
    colour: palette.text,
    anchor: to_left ? "end" : "start",
    bold: true,
    halo: palette.background,
  });
}

/** The model's prediction after a position, `rank` 0 is the best. */
export function nextToken(g: Graph, pos: number, rank: number): { text: string; p: number } | null {
  if (rank >= g.n_next) return null;
  const at = pos * g.n_next + rank;
  const text = g.meta.vocab[g.next_token[at]];
  return text === undefined ? null : { text: visible(text), p: g.next_p[at] };
}

/** A token label that fits under the picture, and to the left of its column. */
export function labelText(text: string, x: number): string {
  const below = 58 / Math.sin((-LABEL_ANGLE * Math.PI) / 180);
  const beside = Math.max(20, x - 2) / Math.cos((-LABEL_ANGLE * Math.PI) / 180);
  const fits = Math.max(3, Math.floor(Math.min(below, beside) / (LABEL_SIZE * MONO_EM)));
  const chars = [...text];
  const wide = chars.reduce((n, c) => n + (isWide(c) ? 1.7 : 1), 0);
  if (wide <= fits) return text;
  let n = 0;
  let used = 1;
  for (; n < chars.length; n++) {
    used += isWide(chars[n]) ? 1.7 : 1;
    if (used > fits) break;
  }
  return `${chars.slice(0, n).join("")}…`;
}

function isWide(c: string): boolean {
  const n = c.codePointAt(0) ?? 0;
  return (
    (n >= 0x1100 && n <= 0x115f) ||
    (n >= 0x2e80 && n <= 0xa4cf) ||
    (n >= 0xac00 && n <= 0xd7a3) ||
    (n >= 0xf900 && n <= 0xfaff) ||
    (n >= 0xff00 && n <= 0xff60) ||
    n >= 0x1f300
  );
}

export interface Mark {
  route: number[]; // what lies below on the drawn route, in its own strokes
  edges: number[];
  nodes: number[];
  pos: number; // the column to mark; -1 for none
}

/** Lets the picture step back behind a selection. */
export function drawVeil(pen: Pen, { layout: { left, right, top, bottom, y }, palette }: Scene): void {
  const from = Math.max(top - 8, y[y.length - 1] - 8);
  pen.rect(left, from, right - left, bottom - from, palette.background, 0.7);
}

/** Hover or selection: its edges in full colour, rings around its nodes, its column's label and bar. */
export function drawMark(pen: Pen, scene: Scene, mark: Mark, strong: boolean): void {
  const { g, routes, layout, palette, weight } = scene;
  const { left, right, top, bottom, node_x, node_y } = layout;
  if (mark.pos >= 0) {
    const w = Math.max(6, Math.min(24, layout.column_gap * 0.8));
    pen.rect(layout.x[mark.pos] - w / 2, top - 4, w, bottom - top + 4, palette.attention, palette.dark ? 0.12 : 0.08, 4);
  }
  strokeEdges(pen, scene, mark.route);
  pen.clip(left, top - 8, right - left, bottom - top + 8, () => {
    for (const halo of [true, false]) {
      for (const e of mark.edges) {
        const a = g.source[e];
        const b = g.entered[e];
        const s: number[] = [];
        if (g.kind[e] === EdgeKind.attention && node_x[a] === node_x[b]) bow(s, node_x[a], node_y[a], node_y[b], layout.bow);
        else s.push(node_x[a], node_y[a], node_x[b], node_y[b]);
        const w = lineWidth(weight[e], routes.top_weight) + (strong ? 1.2 : 0.6);
        if (halo) pen.lines(s, s.length / 4, palette.background, w + 3, 0.9);
        else
          pen.lines(
            s,
            s.length / 4,
            strong && mark.edges.length === 1 ? palette.selection : kindColour(palette, g.kind[e]),
            w,
            1,
          );
      }
    }
  });
  drawGlyphs(
    pen,
    scene,
    new Set([...mark.nodes, ...[...mark.route, ...mark.edges].flatMap((e) => [g.source[e], g.entered[e]])]),
    0,
  );
  const rings: number[] = [];
  for (const n of mark.nodes) {
    if (node_x[n] < left || node_x[n] > right || node_y[n] < top - 8 || node_y[n] > bottom + 6) continue;
    const r = n < g.S * g.T ? layout.max_radius + 2.2 : layout.half_square + 3;
    rings.push(node_x[n], node_y[n], r);
  }
  pen.circles(rings, rings.length / 3, null, palette.selection, 1.8);
}

/** The label of a marked column, whole and readable even where labels were left out. */
export function drawColumnLabel(pen: Pen, { g, layout, palette, routes }: Scene, pos: number): void {
  const x = layout.x[pos];
  if (x < layout.left || x > layout.right || layout.columns.folded[pos]) return;
  const base = layout.bottom + 6 + BAR_HEIGHT;
  pen.text(labelText(tokenText(g, pos), x), x + 4, base + 13, {
    size: LABEL_SIZE,
    colour: palette.attention,
    anchor: "end",
    rotate: LABEL_ANGLE,
    mono: true,
    bold: pos === routes.target,
    halo: palette.background,
  });
}

/** The whole figure, as in the window. */
export function drawFigure(pen: Pen, scene: Scene): void {
  drawGrid(pen, scene);
  drawEdges(pen, scene, 0, scene.n_drawn);
  drawNodes(pen, scene);
  drawLabels(pen, scene);
  drawTarget(pen, scene);
}

/** One sentence for the file's title. */
export function figureTitle({ g, routes, layout: _ }: Scene): string {
  return `Information flow routes to ${tokenText(g, routes.target)} (${stateName(g, g.S - 1)}), ${g.meta.model.line}`;
}

/** The picture as an SVG file's text. */
export function svgText(scene: Scene): string {
  const pen = svgPen(scene.layout.width, scene.layout.height, scene.palette.background, figureTitle(scene));
  drawFigure(pen, scene);
  return pen.toString();
}
