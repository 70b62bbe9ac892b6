// Two answers of one kind as rows of figures to hold against each other; no DOM.
import * as words from "../words.js";
import type { Tokens, Update } from "./answers.js";

export interface Figure {
  key: string; // what joins the two sides
  label: string;
  value: number;
}

export interface Joined {
  label: string;
  pinned: number | null; // null: not in that side's list
  now: number | null;
  difference: number | null; // now - pinned
}

/** The rows of both sides, joined by key, the largest difference first; rows that only one side lists come last. */
export function join(pinned: Figure[], now: Figure[]): Joined[] {
  const rows = new Map<string, Joined>();
  for (const { key, label, value } of pinned) rows.set(key, { label, pinned: value, now: null, difference: null });
  for (const { key, label, value } of now) {
    const other = rows.get(key)?.pinned ?? null;
    rows.set(key, { label, pinned: other, now: value, difference: other === null ? null : value - other });
  }
  const size = ({ pinned: p, now: n, difference: d }: Joined) => Math.abs(d ?? n ?? p ?? 0);
  const one_side = ({ difference }: Joined) => Number(difference === null);
  return [...rows.values()].sort((a, b) => one_side(a) - one_side(b) || size(b) - size(a));
}

/** A table of an answer that can be compared with the table of the same title and unit of another answer. */
export interface Comparable {
  title: string;
  unit: "share" | "signed" | "number";
  figures: Figure[];
}

type Values = (number | null | undefined)[];

/** One table of labels and values, without the rows that have no value; none where no row is left. */
export function table(title: string, unit: Comparable["unit"], labels: string[], values: Values, keys = labels): Comparable[] {
  const figures = labels.flatMap((label, i) => {
    const value = values[i];
    return value == null ? [] : [{ key: keys[i], label, value }];
  });
  return figures.length ? [{ title, unit, figures }] : [];
}

/** Of a part: its share, its direct effect, and what its update raises and lowers. */
export function usual({ share, effect }: { share: number; effect: number | null }, update: Update | null = null): Comparable[] {
  return [
    ...numbers(words.compareFigures, "share", { [words.share]: share }),
    ...numbers(words.compareEffect, "signed", { [words.directEffect]: effect }),
    ...updates(update),
  ];
}

/** The same of single numbers by their names. */
export function numbers(
  title: string,
  unit: Comparable["unit"],
  values: Record<string, number | null | undefined>,
): Comparable[] {
  return table(title, unit, Object.keys(values), Object.values(values));
}

/** How likely tokens are, by their ids, for two tokens may have one text. */
export function tokens(title: string, { id, text, p = [], also = NONE }: Tokens): Comparable[] {
  return table(title, "share", [...text, ...also.text], [...p, ...(also.p ?? [])], [...id, ...also.id].map(String));
}

/** What a vector adds to the logits of tokens. */
export function updates(update: Update | null): Comparable[] {
  if (!update) return [];
  const lists = [update.promoted, update.suppressed, update.also ?? NONE];
  const [text, score, id] = [lists.flatMap((l) => l.text), lists.flatMap((l) => l.score), lists.flatMap((l) => l.id)];
  return table(words.differenceUpdate, "signed", text, score, id.map(String));
}

const NONE: Tokens = { id: [], text: [], score: [], p: [] };

/** A table's columns with those of its "also" below them. */
export function merged<T extends Record<keyof T, unknown[]>>({ also, ...rows }: T & { also?: T }): T {
  const columns = Object.entries(rows as Record<string, unknown[]>);
  return Object.fromEntries(columns.map(([name, column]) => [name, [...column, ...(also?.[name as keyof T] ?? [])]])) as T;
}
