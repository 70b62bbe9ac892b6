// Numbers as text: shares, counts, figures with and without a sign.

/** A share as a percentage with about two digits that mean something: 41.6%, 0.27%, <0.01%. */
export function percent(x: number): string {
  if (!(x > 0)) return "0%";
  const p = 100 * x;
  if (p < 0.01) return "<0.01%";
  if (p < 1) return `${p.toFixed(2)}%`;
  if (p < 99.95) return `${p.toFixed(1)}%`;
  return p > 100.05 ? `${p.toFixed(0)}%` : "100%";
}

/** Short form for labels beside the picture: 97%, 4%, <1%. */
export function roundPercent(x: number): string {
  if (!(x > 0)) return "0%";
  return x < 0.005 ? "<1%" : `${Math.round(100 * x)}%`;
}

/** "5, 9, and 12 more" style counts with thin grouping: 25,310. */
export function count(n: number): string {
  return String(n).replace(/\B(?=(\d{3})+$)/g, ",");
}

const NOTHING = 5e-7; // below what float32 tells from zero in a sum of logits

/** +0.032, −1.14, with a minus sign as wide as the plus */
export function signedText(x: number | null): string {
  if (x === null) return "–";
  if (Math.abs(x) < NOTHING) return "0";
  return `${x < 0 ? "−" : "+"}${figure(Math.abs(x))}`;
}

/** Three digits that mean something: 12.3, 1.23, 0.0123. */
export function figure(x: number): string {
  const size = Math.abs(x);
  if (size >= 100) return x.toFixed(0);
  if (size >= 10) return x.toFixed(1);
  if (size >= 0.1 || size === 0) return x.toFixed(2);
  return size < 0.0005 ? x.toExponential(0) : x.toFixed(size >= 0.01 ? 3 : 4);
}

/** What a whole bar of shares stands for: never less than a tenth, so that little does not look like much. */
export const fullBar = (shares: ArrayLike<number>) => Array.from(shares).reduce((most, x) => Math.max(most, x), 0.1);

export const largest = (values: (number | null)[]) => values.reduce<number>((most, v) => Math.max(most, Math.abs(v ?? 0)), 0);
