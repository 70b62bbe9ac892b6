// A map of query and key: one image, a cross-hair, the cell that is open.

import { useLayoutEffect, useRef } from "preact/hooks";
import { type Cell, cellAt, mapBytes, pixels, stepCell } from "../../core/cells.js";
import type { Palette } from "../../paint/colour.js";
import { heatTable, sequential, signed } from "../../paint/ramps.js";
import * as words from "../../words.js";

export interface HeatProps {
  label: string;
  name?: (pos: number) => string; // of a token, on both axes
  n: number;
  bytes: Uint8Array; // [side, side]
  side: number;
  has_sign?: boolean;
  palette: Palette;
  cursor: Cell | null; // where the cross-hair is
  open: Cell | null; // the cell the panel is about
  over: (cell: Cell | null) => void;
  pick?: (cell: Cell) => void;
}

export function Heat({ label, name, n, bytes, side, has_sign, palette, cursor, open, over, pick }: HeatProps) {
  const canvas = useImage(bytes, side, heatTable(palette, has_sign));
  const box = useRef<HTMLDivElement>(null);
  const cellOf = (event: PointerEvent) => {
    const { left, top, width } = (box.current as HTMLElement).getBoundingClientRect();
    return cellAt(n, width, event.clientX - left, event.clientY - top);
  };
  const place = (from: number, size: number) => `${(100 * from) / n}% ${(100 * (n - from - size)) / n}%`;
  const frame = (kind: string, { query, key }: Cell, rows: number, columns: number) => (
    <span
      class={kind}
      style={{ insetBlock: place(rows === n ? 0 : query, rows), insetInline: place(columns === n ? 0 : key, columns) }}
    />
  );
  const map = (
    <div
      ref={box}
      class="heat"
      role="application"
      aria-label={label}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: the map is one stop of the Tab order and handles its own keys
      tabIndex={0}
      onPointerMove={(event) => over(cellOf(event))}
      onPointerLeave={() => over(null)}
      onBlur={() => over(null)}
      onClick={(event) => {
        const cell = cellOf(event as unknown as PointerEvent);
        if (cell) pick?.(cell);
      }}
      onKeyDown={(event) => {
        const at = cursor ?? open ?? { query: n - 1, key: 0 };
        const to = stepCell(n, at, event.key);
        if (!to && event.key !== "Enter") return;
        event.preventDefault();
        if (to) over(to);
        else pick?.(at);
      }}
    >
      <canvas ref={canvas} class={side > 150 ? "fine" : ""} />
      <div class="axes" aria-hidden="true">
        {words.keyAxis}
        <br />
        {words.queryAxis}
      </div>
      {cursor && frame("hair", cursor, 1, n)}
      {cursor && frame("hair", cursor, n, 1)}
      {open && frame("open", open, 1, 1)}
    </div>
  );
  if (!name) return map;
  return (
    <div class="named">
      <Ticks kind="queries" n={n} name={name} />
      {map}
      <Ticks kind="keys" n={n} name={name} />
    </div>
  );
}

const MOST_TICKS = 20; // for which there is room

/** Token names along an axis, as many as can be told apart. */
function Ticks({ kind, n, name }: { kind: "queries" | "keys"; n: number; name: (pos: number) => string }) {
  const step = Math.ceil(n / MOST_TICKS);
  return (
    <div class={`ticks mono ${kind}`} aria-hidden="true">
      {Array.from({ length: Math.ceil(n / step) }, (_, i) => (
        <span key={i} style={{ [kind === "keys" ? "left" : "top"]: `${(100 * (i * step + 0.5)) / n}%` }}>
          {name(i * step)}
        </span>
      ))}
    </div>
  );
}

/** A canvas that shows bytes [side, side] through a table of colours. */
export function useImage(bytes: ArrayLike<number>, side: number, table: Uint32Array): { current: HTMLCanvasElement | null } {
  const canvas = useRef<HTMLCanvasElement>(null);
  useLayoutEffect(() => {
    const el = canvas.current as HTMLCanvasElement;
    el.width = el.height = side;
    const rgba = new Uint8ClampedArray(pixels(bytes, side, table).buffer as ArrayBuffer);
    el.getContext("2d")?.putImageData(new ImageData(rgba, side, side), 0, 0);
  }, [bytes, side, table[0], table[255]]);
  return canvas;
}

/** The ramp with the numbers at its ends and in its middle. */
export function Ramp({ palette, texts, has_sign }: { palette: Palette; texts: string[]; has_sign?: boolean }) {
  const stops = [0, 0.2, 0.4, 0.6, 0.8, 1].map((x) => (has_sign ? signed(palette, 2 * x - 1) : sequential(palette, x)));
  return (
    <div class="ramp">
      <span style={{ background: `linear-gradient(to right, ${stops.join(", ")})` }} />
      {texts.map((text, i) => (
        <span key={i} class="number">
          {text}
        </span>
      ))}
    </div>
  );
}

const made = new WeakMap<Float32Array, Map<number, { bytes: Uint8Array; side: number }>>(); // pure, so sharing is safe

/** A map's bytes, made once for every range. */
export function useBytes(values: Float32Array, n: number, top: number): { bytes: Uint8Array; side: number } {
  const ranges = made.get(values) ?? new Map();
  if (!ranges.has(top)) ranges.set(top, mapBytes(values, n, top));
  made.set(values, ranges);
  return ranges.get(top);
}
