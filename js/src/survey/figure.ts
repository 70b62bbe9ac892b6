// The map of a survey as an SVG, with its scale and what it is counted from; no DOM.
import type { Figure } from "../download.js";
import { mix, type Palette, paletteOf } from "../paint/colour.js";
import { svgPen } from "../paint/pen.js";
import * as words from "./words.js";

export interface ScoreMap {
  layers: (number | null)[];
  cells: (words.Cell | null)[][]; // [layer][head]
  n_prompts: number;
  n_queries: number | null;
  n_duplicates: number;
  n_refused: number;
}

const [LEFT, TOP, WIDE, HIGH, GAP] = [46, 34, 44, 24, 2]; // px
const LEAST = 460; // px: of the sentences below
const SCALE = 120; // px
const STEPS = 24;

/** The largest value of a map, which the strongest colour stands for. */
export const mostOf = (map: ScoreMap) => Math.max(1e-12, ...map.cells.flat().map((cell) => Math.abs(cell?.value ?? 0)));

/** The colour of a cell, as the style sheet mixes it. */
function colourOf(palette: Palette, much: number, below: boolean, grey: boolean): string {
  const ink = grey ? palette.muted : below ? palette.mlp : palette.attention;
  return mix(palette.background, ink, grey ? 0.04 + 0.3 * much : 0.06 + 0.94 * much);
}

export function mapFigure(map: ScoreMap, name: string, title: string, dark: boolean): Figure {
  const [palette, most] = [paletteOf(dark), mostOf(map)];
  const n = Math.max(...map.cells.map((row) => row.length));
  const bottom = TOP + map.cells.length * (HIGH + GAP);
  const [width, height] = [Math.max(LEAST, LEFT + n * (WIDE + GAP) + 12), bottom + 84];
  const pen = svgPen(width, height, palette.background, title);
  const muted = { size: 11, colour: palette.muted };
  pen.text(title, 12, 20, { size: 13, colour: palette.text, bold: true });
  map.cells.forEach((row, i) => {
    const y = bottom - (i + 1) * (HIGH + GAP); // the last layer on top
    pen.text(words.layer(map.layers[i]), LEFT - 8, y + HIGH - 8, { ...muted, anchor: "end" });
    row.forEach((cell, head) => {
      if (cell?.value === null || cell === null) return;
      const [x, colour] = [
        LEFT + head * (WIDE + GAP),
        colourOf(palette, Math.abs(cell.value) / most, cell.value < 0, cell.apart === false),
      ];
      pen.rect(x, y, WIDE, HIGH, palette.line, 1, 3);
      pen.rect(x + 1, y + 1, WIDE - 2, HIGH - 2, colour, 1, 2);
    });
  });
  for (let head = 0; head < n; head++) {
    pen.text(String(head), LEFT + head * (WIDE + GAP) + WIDE / 2, bottom + 12, { ...muted, anchor: "middle" });
  }
  pen.text(words.heads, LEFT - 8, bottom + 12, { ...muted, anchor: "end" });
  drawScale(map, bottom + 24);
  const { counted, grey, noChance } = words;
  pen.text(`${counted(name, map.n_prompts, map.n_queries, map.n_duplicates, map.n_refused)}.`, 12, bottom + 58, muted);
  pen.text(isKnown(map) ? grey : noChance, 12, bottom + 74, muted);
  return { text: pen.toString(), width, height };

  function drawScale({ cells }: ScoreMap, y: number): void {
    let x = LEFT;
    const bar = (label: string, below: boolean) => {
      for (let i = 0; i < STEPS; i++) {
        pen.rect(x + (i * SCALE) / STEPS, y, SCALE / STEPS + 0.5, 10, colourOf(palette, (i + 0.5) / STEPS, below, false));
      }
      pen.text(label, x + SCALE + 8, y + 9, muted);
      x += SCALE + 130;
    };
    bar(words.scale(most), false);
    if (cells.flat().some((cell) => (cell?.value ?? 0) < 0)) bar(words.scale(-most), true);
  }
}

/** Whether it is known of some head what chance would give. */
export const isKnown = (map: ScoreMap) => map.cells.flat().some((cell) => cell?.apart !== null && cell !== null);
