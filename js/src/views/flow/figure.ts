// The whole picture with one pen, for a file: the strokes of the screen, with its legend and what is selected; no DOM.
import { stateName, tokenText } from "../../core/names.js";
import { type Pen, svgPen } from "../../paint/pen.js";
import { drawGrid, drawLabels } from "./axes.js";
import { drawEdges } from "./edges.js";
import { drawColumnLabel, drawMark, drawVeil } from "./mark.js";
import { drawEdits, drawNodes, drawTarget } from "./nodes.js";
import { lineWidth, type Mark, type Scene } from "./scene.js";

/** What stands in a figure beside the picture itself. */
export interface Around {
  marked?: { mark: Mark; columns: number[] } | null; // what is selected
  legend?: {
    names: [text: string, colour: string, cut?: boolean][];
    widths: [weight: number, text: string][];
    says: string;
  } | null;
  caption?: string;
  veil?: boolean; // the rest steps back behind what is marked
}

const LINE = 17; // px of a line of text below the picture
const LETTER = 5.9; // px, about
const SAMPLE = 24;

/** The whole figure, as in the window. */
export function drawFigure(pen: Pen, scene: Scene, { marked, legend, caption, veil = true }: Around = {}): void {
  drawGrid(pen, scene);
  drawEdges(pen, scene, 0, scene.n_drawn);
  drawNodes(pen, scene);
  drawLabels(pen, scene);
  drawEdits(pen, scene);
  drawTarget(pen, scene);
  if (marked) {
    if (veil) drawVeil(pen, scene);
    drawMark(pen, scene, marked.mark, true);
    for (const pos of marked.columns) drawColumnLabel(pen, scene, pos);
  }
  let y = scene.layout.height + 12;
  if (legend) y = drawLegend(pen, scene, legend, y);
  const muted = { size: 11, colour: scene.palette.muted };
  for (const line of caption ? wrapped(caption, scene.layout.width - 28) : []) {
    pen.text(line, 14, y, muted);
    y += LINE;
  }
}

function drawLegend(pen: Pen, { palette, routes, layout }: Scene, legend: NonNullable<Around["legend"]>, top: number): number {
  const muted = { size: 11, colour: palette.muted };
  let [x, y] = [14, top];
  const entry = (text: string, colour: string, width: number, cut = false) => {
    const wide = SAMPLE + text.length * LETTER + 14;
    if (x > 14 && x + wide > layout.width) [x, y] = [14, y + LINE];
    const mark = [0, 3, 2, 3, 13, 3, 17, 3, 5, 0, 11, 6, 5, 6, 11, 0].map((at, i) => at + (i % 2 ? y - 7 : x));
    pen.lines(cut ? mark : [x, y - 4, x + 17, y - 4], cut ? 4 : 1, colour, width, 1);
    pen.text(text, x + SAMPLE, y, muted);
    x += wide;
  };
  for (const [text, colour, cut] of legend.names) entry(text, colour, cut ? 1.6 : 2.4, cut);
  for (const [weight, text] of legend.widths) entry(text, palette.muted, lineWidth(weight, routes.top_weight));
  y += LINE;
  for (const line of wrapped(legend.says, layout.width - 28)) {
    pen.text(line, 14, y, muted);
    y += LINE;
  }
  return y;
}

function wrapped(text: string, width: number): string[] {
  const lines = [""];
  for (const word of text.split(" ")) {
    const longer = `${lines.at(-1)} ${word}`.trim();
    if (longer.length * LETTER > width && lines.at(-1)) lines.push(word);
    else lines[lines.length - 1] = longer;
  }
  return lines;
}

/** How much higher than its picture a figure is, in px. */
export function extraHeight(width: number, { legend, caption }: Around): number {
  let n = caption ? wrapped(caption, width - 28).length : 0;
  if (legend) {
    const entries = [...legend.names, ...legend.widths].map((e) => SAMPLE + String(e[0]).length * LETTER + 40);
    n += 1 + Math.ceil(entries.reduce((a, b) => a + b, 0) / (width - 28)) + wrapped(legend.says, width - 28).length;
  }
  return n * LINE;
}

/** One sentence for the file's title. */
export function figureTitle({ g, routes }: Scene): string {
  return `Information flow routes to ${tokenText(g, routes.target)} (${stateName(g, g.S - 1)}), ${g.meta.model.line}`;
}

/** The picture as an SVG file's text. */
export function svgText(scene: Scene, around: Around = {}): string {
  const { width, height } = scene.layout;
  const pen = svgPen(width, height + extraHeight(width, around), scene.palette.background, figureTitle(scene));
  drawFigure(pen, scene, around);
  return pen.toString();
}
