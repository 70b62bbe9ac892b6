// Questions about the picture, and what they point at in the graph.
import { EdgeKind, type Graph, type PartKind, placeOf } from "./graph.js";
import { equal } from "./json.js";

/** A question: its kind and the fields of that kind. The trait that Python and the browser share. */
export interface Selection {
  readonly kind: string;
  readonly [field: string]: unknown;
}

/** A thing in the picture. */
export type Item = { kind: "node"; node: number } | { kind: "edge"; edge: number } | { kind: "token"; pos: number };

/** What a kind of question is to the picture. */
export interface Asking<Q extends Selection = Selection> {
  kind: string;
  /** the fields that must name something in the graph */
  needs: readonly ("state" | "pos" | "query")[];
  /** the kinds of parts it can be about, where it is about one */
  parts?: readonly PartKind[];
  /** fields that leave the subject as it is: the same head at other cells, the same MLP with more rows */
  aside?: readonly string[];
  /** what it points at, or null when this graph has no such thing; none for a kind that is about all of the picture */
  item?(g: Graph, question: Q): Item | null;
  /** the question that a click on an item asks, where it is one of this kind; the item's facts then stand above its panel */
  asked?(g: Graph, item: Item): Q | null;
  /** what an answer saved without its kernel tells about another question of the same subject */
  elsewhere?(saved: object, question: Q, map: (name: string) => Float32Array): object;
}

export type Kinds<K extends Asking = Asking> = ReadonlyMap<string, K>;

export function byKind<K extends Asking>(kinds: readonly K[]): Kinds<K> {
  return new Map(kinds.map((one) => [one.kind, one]));
}

export function sameItem(a: Item | null, b: Item | null): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** Whether two questions are one step of the reader's way. */
export function sameSubject(kinds: Kinds, a: Selection, b: Selection): boolean {
  const aside = kinds.get(a.kind)?.aside ?? [];
  const without = Object.fromEntries(aside.map((field) => [field, undefined]));
  return equal({ ...a, ...without }, { ...b, ...without });
}

/** The question that a click on an item asks; null where there is nothing to inspect. */
export function selectionOf(kinds: Kinds, g: Graph, item: Item): Selection | null {
  for (const { asked } of kinds.values()) {
    const selection = asked?.(g, item);
    if (selection) return selection;
  }
  return null;
}

/** The item a question points at, or null when this graph has no such thing. */
export function itemOf(kinds: Kinds, g: Graph, s: Selection | null): Item | null {
  return s && isHere(kinds, g, s) ? (kinds.get(s.kind)?.item?.(g, s) ?? null) : null;
}

/** Whether this picture has what a question names; Python refuses what it has not, but is asked first. */
export function isHere(kinds: Kinds, g: Graph, s: Selection): boolean {
  const asking = kinds.get(s.kind);
  const ends: Record<string, number> = { state: g.S, pos: g.T, query: g.T, key: g.T };
  const inside = (field: string) => {
    const n = s[field] as number;
    return Number.isInteger(n) && n >= 0 && n < ends[field];
  };
  if (!asking?.needs.every(inside) || (s.key != null && !inside("key"))) return false;
  return !asking.parts || partOf(g, asking.parts, s) in g.meta.parts;
}

/** The part a question is about: the one it names, or the first of its kinds that enters the state; else -1. */
export function partOf(g: Graph, kinds: readonly PartKind[], { part, state }: Selection): number {
  return (part as number | undefined) ?? g.meta.parts.findIndex((p) => kinds.includes(p.kind) && p.state === state);
}

/** `part` where the state has several of its kind, so that a question must name it; else nothing. */
export function named(g: Graph, part: number): { part?: number } {
  const { kind, state } = g.meta.parts[part];
  return g.meta.parts.filter((p) => p.kind === kind && p.state === state).length === 1 ? {} : { part };
}

/** The square of the part a question is about, at its position. */
export function squareItem(g: Graph, kinds: readonly PartKind[], s: Selection & { pos: number }): Item | null {
  const q = g.squareOf[partOf(g, kinds, s)] ?? -1;
  return q >= 0 ? { kind: "node", node: (g.S + q) * g.T + s.pos } : null;
}

/** The part whose square an item is or leads to, its state and position. */
export function squareAt(g: Graph, item: Item): { part: number; state: number; pos: number } | null {
  if (item.kind === "token") return null;
  if (item.kind === "node") return inSquare(g, item.node);
  return inSquare(g, g.source[item.edge]) ?? inSquare(g, g.entered[item.edge]);
}

function inSquare(g: Graph, node: number): { part: number; state: number; pos: number } | null {
  const place = placeOf(g, node);
  return place.part < 0 ? null : place;
}

/** The attention edge from a key to a query, of the part that is named where one is. */
export function attentionEdge(
  g: Graph,
  { state, query, key, part }: { state: number; query: number; key: number | null; part?: number },
): Item | null {
  const entered = state * g.T + query;
  return findEdge(
    g,
    state,
    (e) =>
      g.kind[e] === EdgeKind.attention &&
      g.entered[e] === entered &&
      g.source[e] % g.T === key &&
      (part === undefined || g.part[e] === part),
  );
}

/** The first edge into a state for which `is` holds. */
export function findEdge(g: Graph, state: number, is: (e: number) => boolean): Item | null {
  for (let e = g.rows[g.S - 1 - state]; e < g.rows[g.S - state]; e++) if (is(e)) return { kind: "edge", edge: e };
  return null;
}
