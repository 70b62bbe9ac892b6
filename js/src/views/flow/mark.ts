// What is laid over the picture for a hover or a selection, given a pen; no DOM.
import { tokenText } from "../../core/names.js";
import type { Pen } from "../../paint/pen.js";
import { drawMarked, strokeEdges } from "./edges.js";
import { BAR_HEIGHT, LABEL_ANGLE, LABEL_SIZE, labelText } from "./labels.js";
import { drawGlyphs } from "./nodes.js";
import type { Mark, Scene } from "./scene.js";

/** Lets the picture step back behind a selection. */
export function drawVeil(pen: Pen, { layout: { left, right, top, bottom, y, max_radius }, palette }: Scene): void {
  const from = Math.max(top, y[y.length - 1]) - max_radius - 1.5; // below the next token's text
  pen.rect(left, from, right - left, bottom - from, palette.background, 0.7);
}

/** Hover or selection: its edges in full colour, rings around its nodes, its column's label and bar. */
export function drawMark(pen: Pen, scene: Scene, mark: Mark, strong: boolean): void {
  const { g, layout, palette } = scene;
  const { left, right, top, bottom, node_x, node_y } = layout;
  if (mark.pos >= 0) {
    const w = Math.max(6, Math.min(24, layout.column_gap * 0.8));
    pen.rect(layout.x[mark.pos] - w / 2, top - 4, w, bottom - top + 4, palette.attention, palette.dark ? 0.12 : 0.08, 4);
  }
  strokeEdges(pen, scene, mark.route);
  pen.clip(left, top - 8, right - left, bottom - top + 8, () => {
    drawMarked(pen, scene, mark.edges, strong);
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
  if (!layout.labelled || x < layout.left || x > layout.right || layout.columns.folded[pos]) return;
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
