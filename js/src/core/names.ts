// What nodes, edges and numbers are called in every tooltip, panel and sentence.
import { EdgeKind, type Graph, placeOf } from "./graph.js";
import type { Item } from "./select.js";

const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/;
// Also the marks that would turn round the text beside them, and those that would hide a token.
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

/** A token's display text: control characters made visible, right-to-left text isolated so that it cannot reorder its surroundings. */
export function tokenText(g: Graph, pos: number): string {
  return visible(g.meta.tokens.text[pos] ?? "");
}

/** Control characters made visible, also the marks that would turn round the text beside them. */
export function escaped(text: string): string {
  return text.replace(CONTROL, (c) => {
    const n = c.charCodeAt(0);
    return n < 32 ? String.fromCharCode(0x2400 + n) : `⟨${n.toString(16).toUpperCase().padStart(4, "0")}⟩`;
  });
}

export function visible(text: string): string {
  const shown = escaped(text);
  return RIGHT_TO_LEFT.test(shown) ? `\u2068${shown}\u2069` : shown;
}

/** "15 ·to" */
export function tokenName(g: Graph, pos: number): string {
  return `${pos} ${tokenText(g, pos)}`;
}

/** The model's prediction after a position, `rank` 0 is the best. */
export function nextToken(g: Graph, pos: number, rank: number): { text: string; p: number } | null {
  if (rank >= g.n_next) return null;
  const at = pos * g.n_next + rank;
  const text = g.meta.vocab[g.next_token[at]];
  return text === undefined ? null : { text: visible(text), p: g.next_p[at] };
}

/** "L7"; "L" for the embedding */
export function layerName(g: Graph, state: number): string {
  return `L${g.meta.states[state]?.layer ?? ""}`;
}

/** "L7 after attention", "embedding" */
export function stateName(g: Graph, state: number): string {
  const { layer, name } = g.meta.states[state];
  return layer === null ? name : `L${layer} ${name}`;
}

/** "L7 MLP" */
export function partName(g: Graph, part: number): string {
  const { layer, kind, label } = g.meta.parts[part];
  const what = kind === "mlp" ? "MLP" : kind === "other" ? label : kind;
  return `L${layer} ${what}`;
}

/** "L7 after attention · 15 ·to" */
export function nodeName(g: Graph, node: number): string {
  const { state, pos, part } = placeOf(g, node);
  return `${part < 0 ? stateName(g, state) : partName(g, part)} · ${tokenName(g, pos)}`;
}

/** "L6 attention · 4 ·John → 15 ·to" */
export function edgeName(g: Graph, edge: number): string {
  const from = placeOf(g, g.source[edge]);
  const to = placeOf(g, g.entered[edge]);
  switch (g.kind[edge]) {
    case EdgeKind.attention:
      return `${partName(g, g.part[edge])} · ${tokenName(g, from.pos)} → ${tokenName(g, to.pos)}`;
    case EdgeKind.carried:
      return `residual · ${stateName(g, from.state)} → ${stateName(g, to.state)} · ${tokenName(g, to.pos)}`;
    default:
      return `${partName(g, g.part[edge])} · ${tokenName(g, to.pos)}`;
  }
}

/** "L7 after attention ·to", "L7 MLP ·to", "L6 ·John → ·to": for places where the full name does not fit */
export function shortName(g: Graph, item: Item): string {
  if (item.kind === "token") return tokenName(g, item.pos);
  const { state, pos, part } = placeOf(g, item.kind === "edge" ? g.entered[item.edge] : item.node);
  const { layer, name } = g.meta.states[state];
  const at = layer === null ? name : `L${layer}`;
  if (item.kind === "node") return `${part < 0 ? stateName(g, state) : partName(g, part)} ${tokenText(g, pos)}`;
  if (g.kind[item.edge] === EdgeKind.carried) return `${at} residual ${tokenText(g, pos)}`;
  if (g.kind[item.edge] !== EdgeKind.attention) return `${at} ${tokenText(g, pos)}`;
  return `${at} ${tokenText(g, placeOf(g, g.source[item.edge]).pos)} → ${tokenText(g, pos)}`;
}

export function layerCount(g: Graph): number {
  return g.meta.states.reduce((n, { layer }) => Math.max(n, (layer ?? -1) + 1), 0);
}
