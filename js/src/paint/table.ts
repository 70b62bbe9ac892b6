// Rows of words and numbers as an SVG; no DOM.
import type { Palette } from "./colour.js";
import { svgPen } from "./pen.js";

const [SIZE, LINE, GAP] = [12, 18, 16]; // px
const LETTER = 0.62 * SIZE; // a wide one

/** The first of the rows names the columns; `left` says which are words, whose beginnings stand below each other. */
export function tableFigure(title: string, rows: string[][], left: boolean[], palette: Palette): string {
  const columns = left.map((_, c) => GAP + LETTER * Math.max(...rows.map((row) => row[c].length)));
  const width = Math.max(GAP + columns.reduce((a, b) => a + b), GAP + LETTER * 1.2 * title.length);
  const pen = svgPen(width, LINE * (rows.length + 2), palette.background, title);
  pen.text(title, GAP, LINE, { size: 13, colour: palette.text, bold: true });
  rows.forEach((row, r) => {
    let end = 0;
    row.forEach((cell, c) => {
      const start = end + GAP;
      end += columns[c];
      const style = { size: SIZE, colour: r ? palette.text : palette.muted };
      pen.text(cell, left[c] ? start : end, LINE * (r + 2.2), { ...style, anchor: left[c] ? "start" : "end" });
    });
  });
  return pen.toString();
}
