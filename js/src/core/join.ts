// Two answers of one kind as rows of figures to hold against each other; no DOM.
import type { Answer, Neurons, Parts, Tokens, Update } from "./answers.js";

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

/** A table of an answer that can be compared with the same table of another answer. */
export interface Comparable {
  title: "figures" | "effect" | "lens" | "update" | "parts" | "heads" | "effects" | "neurons" | "values" | "next";
  unit: "share" | "signed" | "number";
  figures: Figure[];
}

/** What of an answer can be compared; `names` says what a figure or a part is called. */
export function comparables(answer: Answer, names: Record<string, string>): Comparable[] {
  const out: Comparable[] = [];
  const add = (
    title: Comparable["title"],
    unit: Comparable["unit"],
    labels: string[],
    values: (number | null)[],
    keys = labels,
  ) => {
    const figures = labels.flatMap((label, i) => {
      const value = values[i];
      return value === null ? [] : [{ key: keys[i], label: names[label] ?? label, value }];
    });
    if (figures.length) out.push({ title, unit, figures });
  };
  const scalars = (title: Comparable["title"], unit: Comparable["unit"], of: string[]) => {
    const here = of.filter((name) => typeof (answer as unknown as Record<string, unknown>)[name] === "number");
    add(
      title,
      unit,
      here,
      here.map((name) => (answer as unknown as Record<string, number>)[name]),
    );
  };
  const tokens = (title: Comparable["title"], { id, text, p = [] }: Tokens, also = NONE) =>
    add(title, "share", [...text, ...also.text], [...p, ...(also.p ?? [])], [...id, ...also.id].map(String));
  scalars("figures", "share", ["share", "attention"]);
  scalars("figures", "number", ["value", "gate", "up"]);
  scalars("effect", "signed", ["effect", "effect_key"]);
  if (answer.kind === "state") {
    const { summary, lens, parts } = answer;
    if (summary) add("figures", "number", ["entropy", "kl"], [summary.entropy, summary.kl]);
    if (lens) tokens("lens", lens, lens.also);
    const all = merged<Parts>(parts);
    add(
      "parts",
      "share",
      all.kind.map((kind, i) => `${kind} ${all.key[i] ?? ""}`),
      all.share,
    );
  } else if (answer.kind === "edge") {
    const heads = answer.heads.head.map((head) => `H${head}`);
    add("heads", "share", heads, answer.heads.share);
    add("effects", "signed", heads, answer.heads.effect);
  } else if (answer.kind === "mlp") {
    const { neuron, expert, share, value, effect } = merged<Neurons>(answer.neurons);
    const labels = neuron.map((n, i) => neuronLabel(n, expert[i]));
    add("neurons", "share", labels, share);
    add("values", "number", labels, value);
    add("effects", "signed", labels, effect);
  } else if (answer.kind === "token") tokens("next", answer.next, answer.also);
  const update = updateOf(answer);
  if (update) {
    const lists = [update.promoted, update.suppressed, update.also ?? NONE];
    const [text, score, id] = [lists.flatMap((l) => l.text), lists.flatMap((l) => l.score), lists.flatMap((l) => l.id)];
    add("update", "signed", text, score, id.map(String));
  }
  return out;
}

const NONE: Tokens = { id: [], text: [], score: [], p: [] };

/** A table's columns with those of its "also" below them. */
function merged<T extends Record<keyof T, unknown[]>>({ also, ...rows }: T & { also?: T }): T {
  const columns = Object.entries(rows as Record<string, unknown[]>);
  return Object.fromEntries(columns.map(([name, column]) => [name, [...column, ...(also?.[name as keyof T] ?? [])]])) as T;
}

/** "1203", or "E3 1203" for a neuron of an expert. */
export function neuronLabel(neuron: number, expert: number | string | null): string {
  return expert === null ? String(neuron) : `${expertLabel(expert)} ${neuron}`;
}

/** "E3", or "shared" for the expert that sees every token. */
export function expertLabel(expert: number | string | null): string {
  return typeof expert === "number" ? `E${expert}` : String(expert);
}

/** What this answer's vector promotes and suppresses, whatever it is called there. */
export function updateOf(answer: Answer): Update | null {
  if (answer.kind === "head") return answer.this_key ?? answer.all;
  if (answer.kind === "neuron") return answer.promoted && answer.suppressed ? (answer as Update) : null;
  return "update" in answer ? answer.update : null;
}
