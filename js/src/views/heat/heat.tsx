// A map of query and key: one image, a cross-hair, the cell that is open.

import { useSignal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { type Cell, cellAt, mapBytes, pixels, type Square, squareOf, stepCell } from "../../core/cells.js";
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
  const close_up = useSignal<Square | null>(null);
  const held = useRef<{ at: Cell | null; x: number; y: number } | null>(null); // where a drag began
  const drawn = useSignal<Square | null>(null); // what a drag has gone over
  const { query: first, key: left_most, size } = close_up.value ?? { query: 0, key: 0, size: n };
  const cellOf = (event: PointerEvent) => {
    const { left, top, width } = (box.current as HTMLElement).getBoundingClientRect();
    const cell = width / size; // px
    return cellAt(n, n * cell, event.clientX - left + left_most * cell, event.clientY - top + first * cell);
  };
  const place = (from: number, of: number) => `${(100 * from) / size}% ${(100 * (size - from - of)) / size}%`;
  const is_here = (at: number, from: number, of: number) => of === n || (at >= from && at < from + size);
  const frame = (kind: string, { query, key }: Cell, rows: number, columns: number) =>
    is_here(query, first, rows) &&
    is_here(key, left_most, columns) && (
      <span
        class={kind}
        style={{
          insetBlock: place(rows === n ? 0 : query - first, Math.min(size, rows)),
          insetInline: place(columns === n ? 0 : key - left_most, Math.min(size, columns)),
        }}
      />
    );
  const move = (event: PointerEvent) => {
    const [cell, from] = [cellOf(event), held.current];
    over(cell);
    if (!cell || !from?.at || (!drawn.value && Math.hypot(event.clientX - from.x, event.clientY - from.y) < STILL)) return;
    drawn.value = squareOf(n, from.at, cell);
  };
  const zoomed = { width: `${(100 * n) / size}%`, height: `${(100 * n) / size}%` };
  const shift = { marginLeft: `${(-100 * left_most) / size}%`, marginTop: `${(-100 * first) / size}%` };
  const map = (
    <div
      ref={box}
      class="heat"
      role="application"
      aria-label={label}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: the map is one stop of the Tab order and handles its own keys
      tabIndex={0}
      onPointerDown={(event) => {
        drawn.value = null;
        held.current = event.pointerType === "touch" ? null : { at: cellOf(event), x: event.clientX, y: event.clientY };
      }}
      onPointerMove={move}
      onPointerUp={() => {
        held.current = null;
        if (drawn.value) close_up.value = drawn.value;
      }}
      onPointerLeave={() => {
        held.current = drawn.value = null;
        over(null);
      }}
      onBlur={() => over(null)}
      onClick={(event) => {
        const cell = cellOf(event as unknown as PointerEvent);
        if (cell && !drawn.value) pick?.(cell);
        drawn.value = null;
      }}
      onDblClick={() => {
        close_up.value = null;
      }}
      onKeyDown={(event) => {
        if (event.key === "Escape" && close_up.value) {
          close_up.value = null;
          event.stopPropagation();
          return;
        }
        const at = cursor ?? open ?? { query: n - 1, key: 0 };
        const to = stepCell(n, at, event.key);
        if (!to && event.key !== "Enter") return;
        event.preventDefault();
        if (to) over(to);
        else pick?.(at);
      }}
    >
      <canvas ref={canvas} class={side > 150 && size === n ? "fine" : ""} style={{ ...zoomed, ...shift }} />
      {size === n && ( // where the upper half is empty
        <div class="axes" aria-hidden="true">
          {words.keyAxis}
          <br />
          {words.queryAxis}
        </div>
      )}
      {cursor && frame("hair", cursor, 1, n)}
      {cursor && frame("hair", cursor, n, 1)}
      {open && frame("open", open, 1, 1)}
      {drawn.value && frame("open", drawn.value, drawn.value.size, drawn.value.size)}
    </div>
  );
  if (!name) return map;
  return (
    <div class="named">
      <Ticks kind="queries" n={size} name={(pos) => name(first + pos)} />
      {map}
      <Ticks kind="keys" n={size} name={(pos) => name(left_most + pos)} />
    </div>
  );
}

const STILL = 6; // px; less is a click

const MOST_TICKS = 20; // for which there is room

interface TicksProps {
  kind: "queries" | "keys";
  n: number;
  name: (pos: number) => string;
  most?: number;
}

/** Token names along an axis, as many as can be told apart. */
export function Ticks({ kind, n, name, most = MOST_TICKS }: TicksProps) {
  const step = Math.ceil(n / most);
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
