// States, parts and the target's marker, given a pen; no DOM.
import { goesOn, placeOf } from "../../core/graph.js";
import { nextToken } from "../../core/names.js";
import { roundPercent } from "../../core/numbers.js";
import { mix } from "../../paint/colour.js";
import type { Pen } from "../../paint/pen.js";
import type { Scene } from "./scene.js";

/** Reached states as circles, parts as squares, parts at which a route ends as hollow squares. */
export function drawNodes(pen: Pen, scene: Scene): void {
  const nodes: number[] = [];
  const { node_strength } = scene.routes;
  for (let n = 0; n < node_strength.length; n++) if (node_strength[n] > scene.threshold) nodes.push(n);
  drawGlyphs(pen, scene, nodes, 0.005);
}

/** Circles and squares; where cells are a few pixels small, dots, and none for less flow than `least`. */
export function drawGlyphs(pen: Pen, { g, routes, layout, palette, hues }: Scene, nodes: Iterable<number>, least: number): void {
  const { left, right, top, bottom, node_x, node_y, row_gap, max_radius, half_square } = layout;
  const small = max_radius < 2;
  const states: number[] = [];
  const squares = new Map<string, number[]>(); // by colour
  const ends: number[] = [];
  for (const n of nodes) {
    const [x, y] = [node_x[n], node_y[n]];
    if (x < left - 2 || x > right + 2 || y < top - 6 || y > bottom + 2) continue;
    if (small && routes.node_flow[n] < least) continue;
    const f = Math.sqrt(Math.min(1, routes.node_flow[n]));
    if (n < g.S * g.T) states.push(x, y, small ? 0.7 + 0.8 * f : 1.4 + (max_radius - 1.4) * f);
    else {
      const colour = hues.square ? hues.colour(palette, hues.square(g, n)) : palette.mlp;
      if (!squares.has(colour)) squares.set(colour, []);
      const goes_on = goesOn(g.meta.parts[placeOf(g, n).part]);
      (goes_on ? (squares.get(colour) as number[]) : ends).push(x, y, half_square * (0.55 + 0.45 * f));
    }
  }
  pen.clip(left, top - 8, right - left, bottom - top + 8, () => {
    for (const [colour, some] of squares) pen.squares(some, some.length / 3, colour, null, 0);
    pen.squares(ends, ends.length / 3, palette.background, palette.mlp, 1.3);
    const fill = mix(palette.background, palette.attention, palette.dark ? 0.22 : 0.1);
    // Where rows touch, dots of another colour would hide the residual line that they stand on.
    if (small) pen.squares(states, states.length / 3, row_gap < 6 ? palette.residual : palette.attention, null, 0);
    else pen.circles(states, states.length / 3, fill, palette.attention, max_radius > 2.5 ? 1.3 : 1);
  });
}

const CROSS = 4; // px

/** What was edited: a broken line where there was one, with a cross on it; a cross on a state or a square. */
export function drawEdits(pen: Pen, { layout, palette, places }: Scene): void {
  const { left, right, top, bottom, node_x, node_y } = layout;
  const lines: number[] = [];
  const crosses: number[] = [];
  for (const [from, to] of places) {
    const [ax, ay, bx, by] = [node_x[from], node_y[from], node_x[to], node_y[to]];
    const n = Math.ceil(Math.hypot(bx - ax, by - ay) / 8);
    const at = (i: number) => [ax + ((bx - ax) * i) / n, ay + ((by - ay) * i) / n];
    for (let i = 0; i < n; i++) lines.push(...at(i), ...at(i + 0.5));
    const [x, y] = [(ax + bx) / 2, (ay + by) / 2];
    crosses.push(x - CROSS, y - CROSS, x + CROSS, y + CROSS, x - CROSS, y + CROSS, x + CROSS, y - CROSS);
  }
  pen.clip(left, top - 8, right - left, bottom - top + 16, () => {
    pen.lines(lines, lines.length / 4, palette.lost, 1.2, 1);
    pen.lines(crosses, crosses.length / 4, palette.background, 5, 1);
    pen.lines(crosses, crosses.length / 4, palette.lost, 2, 1);
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
