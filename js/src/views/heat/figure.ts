// A map of query and key as an SVG, with its tokens, its axes and its scale; no DOM.
import type { Palette } from "../../paint/colour.js";
import { svgPen } from "../../paint/pen.js";
import { sequential } from "../../paint/ramps.js";
import * as words from "../../words.js";

export interface MapFigure {
  title: string;
  n: number; // tokens
  name: (pos: number) => string;
  bytes: ArrayLike<number>; // [side, side] on a square-root scale
  side: number;
  palette: Palette;
  texts: string[]; // the numbers at the ends of the ramp and in its middle
}

const [LEFT, TOP, SIZE, BELOW] = [96, 36, 400, 124]; // px
const MOST_TICKS = 26; // for which there is room
const LEVELS = 32; // of colour

/** The width and height in px are of the whole. */
export function mapFigure({ title, n, name, bytes, side, palette, texts }: MapFigure) {
  const [width, height] = [LEFT + SIZE + 24, TOP + SIZE + BELOW];
  const pen = svgPen(width, height, palette.background, title);
  const [cell, token, muted] = [SIZE / side, SIZE / n, { size: 11, colour: palette.muted }];
  const [right, bottom] = [LEFT + SIZE, TOP + SIZE];
  pen.text(title, 12, 20, { size: 13, colour: palette.text, bold: true });
  for (let row = 0; row < side; row++) {
    for (let from = 0, to = 0; from <= row; from = to) {
      const level = levelOf(bytes[row * side + from]);
      while (to <= row && levelOf(bytes[row * side + to]) === level) to++; // neighbours of one colour are one rectangle
      pen.rect(LEFT + from * cell, TOP + row * cell, (to - from) * cell, cell, sequential(palette, level / LEVELS));
    }
  }
  const step = Math.ceil(n / MOST_TICKS);
  for (let pos = 0; pos < n; pos += step) {
    const at = (pos + 0.5) * token;
    const style = { ...muted, mono: true };
    pen.text(name(pos).slice(0, 12), LEFT - 6, TOP + at + 4, { ...style, anchor: "end" });
    pen.text(name(pos).slice(0, 12), LEFT + at - 4, bottom + 6, { ...style, rotate: 90 });
  }
  pen.text(words.keyAxis, right, TOP + 12, { ...muted, anchor: "end" });
  pen.text(words.queryAxis, right, TOP + 26, { ...muted, anchor: "end" });
  const y = height - 26;
  for (let i = 0; i < LEVELS; i++)
    pen.rect(LEFT + i * (SIZE / LEVELS), y, SIZE / LEVELS + 0.5, 6, sequential(palette, i / LEVELS));
  texts.forEach((text, i) => {
    pen.text(text, LEFT + (SIZE * i) / (texts.length - 1), y + 18, {
      ...muted,
      anchor: (["start", "middle", "end"] as const)[i],
    });
  });
  return { text: pen.toString(), width, height };
}

const levelOf = (byte: number) => Math.round((byte / 255) * LEVELS);
