// What stands around the lines, given a pen: layers as bands, a dot a state, folds, token labels and their bars; no DOM.
import { tokenText, visible } from "../../core/names.js";
import { fullBar } from "../../core/numbers.js";
import type { Pen } from "../../paint/pen.js";
import * as words from "../../words.js";
import { BAR_HEIGHT, LABEL_ANGLE, LABEL_SIZE, labels, labelText, layerBands, layerTicks, outside } from "./labels.js";
import { showsIdle, slotX } from "./layout.js";
import type { Scene } from "./scene.js";

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

/** Layer and token labels, input-share bars, folds. */
export function drawLabels(pen: Pen, scene: Scene): void {
  const { g, routes, layout, palette } = scene;
  const { left, right, bottom, x, columns } = layout;
  const top_share = fullBar(routes.input_share);
  const bar = Math.max(1, Math.min(14, layout.column_gap * 0.46));
  const base = bottom + 6 + BAR_HEIGHT;
  for (const { y, text } of layerTicks(g, layout)) {
    pen.text(text, left - 9, y + 4, { size: 11, colour: palette.muted, anchor: "end" });
  }
  const [before, after] = outside(layout);
  const beyond = { size: 11, colour: palette.muted };
  if (before) pen.text(`‹ ${before}`, left + 50, layout.top - 13, beyond);
  if (after) pen.text(`${after} ›`, right - 2, layout.top - 13, { ...beyond, anchor: "end" });
  pen.text(words.inputs, left - 5, base - 1, { size: 11, colour: palette.muted, anchor: "end" });
  pen.clip(0, bottom, right, layout.height - bottom, () => {
    pen.rect(left, base, right - left, 1, palette.line);
    for (let t = 0; t < g.T; t++) {
      if (columns.folded[t] || x[t] < left || x[t] > right) continue;
      const h = Math.min(1, routes.input_share[t] / top_share) * BAR_HEIGHT;
      if (h > 0.4) pen.rect(x[t] - bar / 2, base - h, bar, h, palette.attention, 1, Math.min(1.5, h / 2));
    }
    if (!layout.labelled) return;
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
