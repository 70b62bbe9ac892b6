// The palette, and how far apart its colours stay for every kind of colour vision.

export interface Palette {
  dark: boolean;
  background: string;
  panel: string;
  band: string; // every other layer
  line: string; // hairlines
  text: string;
  muted: string;
  faint: string; // idle states
  attention: string;
  residual: string;
  mlp: string;
  selection: string;
  plus: string; // for the answer
  minus: string; // against it
  gained: string; // of two pictures
  lost: string;
}

export const LIGHT: Palette = {
  dark: false,
  background: "#ffffff",
  panel: "#fafbfc",
  band: "#f7f8fa",
  line: "#e2e6eb",
  text: "#1c2128",
  muted: "#636c76",
  faint: "#d5dae0",
  attention: "#0072b2",
  residual: "#8a919a",
  mlp: "#b45f06",
  selection: "#111111",
  plus: "#aa00ff",
  minus: "#e99d67",
  gained: "#124917",
  lost: "#70005d",
};

export const DARK: Palette = {
  dark: true,
  background: "#0d1117",
  panel: "#10151c",
  band: "#11161d",
  line: "#262d36",
  text: "#d9e0e8",
  muted: "#8b949e",
  faint: "#2b333d",
  attention: "#56b4e9",
  residual: "#7d8590",
  mlp: "#e08a1e",
  selection: "#ffffff",
  plus: "#b114ff",
  minus: "#e4b695",
  gained: "#a7ff7a",
  lost: "#c20030",
};

export const paletteOf = (dark: boolean): Palette => (dark ? DARK : LIGHT);

export type Rgb = [number, number, number]; // 0..255

export function parseHex(hex: string): Rgb {
  const n = Number.parseInt(hex.slice(1), 16);
  return [(n >> 16) & 255, (n >> 8) & 255, n & 255];
}

const linear = (c: number) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);

/** WCAG relative luminance in [0, 1]. */
export function luminance([r, g, b]: Rgb): number {
  return 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
}

/** WCAG contrast ratio, 1..21. */
export function contrast(a: string, b: string): number {
  const [x, y] = [luminance(parseHex(a)), luminance(parseHex(b))].sort((p, q) => q - p);
  return (x + 0.05) / (y + 0.05);
}

export type Vision = "normal" | "protan" | "deutan" | "tritan";

// Machado, Oliveira & Fernandes 2009, severity 1.0, on linear RGB.
const VISION: Record<Vision, number[]> = {
  normal: [1, 0, 0, 0, 1, 0, 0, 0, 1],
  protan: [0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216, -0.003882, -0.048116, 1.051998],
  deutan: [0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413, -0.01182, 0.04294, 0.968881],
  tritan: [1.255528, -0.076749, -0.178779, -0.078411, 0.930809, 0.147602, 0.004733, 0.691367, 0.3039],
};

/** CIELAB (D65) of a colour as seen with the given vision. */
export function lab(hex: string, vision: Vision = "normal"): Rgb {
  const m = VISION[vision];
  const [r, g, b] = parseHex(hex).map((c) => linear(c / 255));
  const clip = (x: number) => Math.min(1, Math.max(0, x));
  const R = clip(m[0] * r + m[1] * g + m[2] * b);
  const G = clip(m[3] * r + m[4] * g + m[5] * b);
  const B = clip(m[6] * r + m[7] * g + m[8] * b);
  const f = (t: number) => (t > 216 / 24389 ? Math.cbrt(t) : ((24389 / 27) * t + 16) / 116);
  const x = f((0.4124564 * R + 0.3575761 * G + 0.1804375 * B) / 0.95047);
  const y = f(0.2126729 * R + 0.7151522 * G + 0.072175 * B);
  const z = f((0.0193339 * R + 0.119192 * G + 0.9503041 * B) / 1.08883);
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

/** CIE 1976 colour difference. */
export function deltaE(a: string, b: string, vision: Vision = "normal"): number {
  const [p, q] = [lab(a, vision), lab(b, vision)];
  return Math.hypot(p[0] - q[0], p[1] - q[1], p[2] - q[2]);
}

export function rgba(hex: string, alpha: number): string {
  const [r, g, b] = parseHex(hex);
  return `rgba(${r},${g},${b},${alpha})`;
}

/** `over` laid on `under` with the given opacity, as an opaque colour. */
export function mix(under: string, over: string, alpha: number): string {
  const [u, o] = [parseHex(under), parseHex(over)];
  const c = u.map((x, i) => Math.round(x + (o[i] - x) * alpha));
  return `#${c.map((x) => x.toString(16).padStart(2, "0")).join("")}`;
}
