// Number -> colour tables for maps and bars: blue for amounts, orange-purple with a marked zero for signed values.
import { mix, type Palette, parseHex } from "./colour.js";

const LIGHT_BLUE = ["#eff5fa", "#cfe3f3", "#7fb5dc", "#2f7fbe", "#0b4a8f", "#062a5c"];
const DARK_BLUE = ["#17212c", "#12304a", "#1b5588", "#3b8ac4", "#8cc4ec", "#e8f5ff"];
const LIGHT_SIGNED = ["#c4641a", "#f0b98f", "#f7f7f7", "#cf9bea", "#8a1fd1"];
const DARK_SIGNED = ["#f0c5a5", "#94653f", "#161b22", "#7626ad", "#cf6bff"];

function along(stops: string[], x: number): string {
  const at = Math.min(1, Math.max(0, x)) * (stops.length - 1);
  const i = Math.min(stops.length - 2, Math.floor(at));
  return mix(stops[i], stops[i + 1], at - i);
}

/** x in [0, 1] */
export function sequential(palette: Palette, x: number): string {
  return along(palette.dark ? DARK_BLUE : LIGHT_BLUE, x);
}

/** x in [-1, 1]; 0 is the neutral middle */
export function signed(palette: Palette, x: number): string {
  return along(palette.dark ? DARK_SIGNED : LIGHT_SIGNED, (x + 1) / 2);
}

/** 256 pixels for the bytes of a map: amounts from 0 to 255, or signed values around 128. */
export function heatTable(palette: Palette, has_sign = false): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, i) => {
    const [r, g, b] = parseHex(has_sign ? signed(palette, (i - 128) / 127) : sequential(palette, i / 255));
    return (255 << 24) | (b << 16) | (g << 8) | r;
  });
}
