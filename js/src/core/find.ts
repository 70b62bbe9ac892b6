// What a reader's search finds: tokens by text or number, heads by name, drawn or not; no DOM.
import { EdgeKind, type Graph } from "./graph.js";
import { partName, tokenName, tokenText } from "./names.js";
import { reads } from "./passages.js";
import type { Routes } from "./routes.js";
import type { Item, Selection } from "./select.js";

export interface Found {
  name: string;
  selection: Selection;
  item: Item | null; // what shows it in the picture
  input_share: number | null; // of a token
  n_lines: number | null; // drawn lines on which a head is the strongest
  measure?: string; // of the table of all heads
}

export const MOST_FOUND = 60;
const HEAD = /^(?:l(?:ayer)?\s*(\d+))?[\s.,:]*(?:h(?:ead)?\s*(\d+))?$/; // "l2 h6", "L2.H6", "layer 2 head 6", "l2", "h6"
const NUMBERS = /^(\d+)[.,:](\d+)$/; // "2.6"

/** Is `text` how a layer or a head is written? */
export const namesHead = (text: string) => [HEAD, NUMBERS].some((how) => how.test(text.trim().toLowerCase()));

/** Heads and tokens that `text` names, at most MOST_FOUND; every token where it is empty. */
export function find(g: Graph, routes: Routes, threshold: number, text: string): Found[] {
  const wanted = text.trim().toLowerCase();
  const [, layer, head] = HEAD.exec(wanted) ?? NUMBERS.exec(wanted) ?? [];
  const heads = wanted === "" ? [] : headsOf(g, routes, threshold, layer, head);
  const several = wanted.includes(" ") ? beginnings(g, wanted) : new Set<number>();
  const tokens = g.meta.tokens.text.flatMap((_, pos) =>
    wanted === String(pos) || several.has(pos) || tokenText(g, pos).toLowerCase().includes(wanted)
      ? [tokenFound(g, routes, pos)]
      : [],
  );
  return [...kindsOfHeads(g, wanted), ...heads, ...tokens].slice(0, MOST_FOUND);
}

const KINDS = ["induction", "previous", "duplicate", "first"];

/** The table of all heads by how much each is of the kind that is named. */
function kindsOfHeads(g: Graph, wanted: string): Found[] {
  if (wanted.length < 3 || !g.meta.parts.some(({ kind }) => kind === "attention")) return [];
  return KINDS.filter((kind) => wanted.split(" ").some((word) => word.length > 2 && kind.startsWith(word))).map((measure) => ({
    name: `heads: ${measure}`,
    selection: { kind: "heads" },
    item: null,
    input_share: null,
    n_lines: null,
    measure,
  }));
}

/** Where several words in a row begin. */
function beginnings(g: Graph, wanted: string): Set<number> {
  const starts: number[] = [];
  let text = "";
  for (let pos = 0; pos < g.T; pos++) {
    const read = reads(g, pos).toLowerCase();
    for (let i = 0; i < read.length; i++) starts.push(pos);
    text += read;
  }
  const found = new Set<number>();
  for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + 1)) found.add(starts[at]);
  return found;
}

function tokenFound(g: Graph, routes: Routes, pos: number): Found {
  const selection = { kind: "token" as const, pos };
  return { name: tokenName(g, pos), selection, item: selection, input_share: routes.input_share[pos], n_lines: null };
}

/** The heads of a layer, or of every layer, with a number, or all; at the target, over all its keys. */
function headsOf(g: Graph, routes: Routes, threshold: number, layer?: string, head?: string): Found[] {
  if (layer === undefined && head === undefined) return [];
  return g.meta.parts.flatMap((part, k) => {
    if (part.kind !== "attention" || (layer !== undefined && part.layer !== Number(layer))) return [];
    const numbers = head === undefined ? Array.from({ length: part.heads ?? 0 }, (_, h) => h) : [Number(head)];
    const beside = g.meta.parts.filter((p) => p.kind === "attention" && p.state === part.state).length > 1;
    return numbers
      .filter((h) => h < (part.heads ?? 0))
      .map((h) => {
        const place = { state: part.state, head: h, query: routes.target, key: null, ...(beside ? { part: k } : {}) };
        const lines = linesOf(g, routes, threshold, k, h);
        return {
          name: `${partName(g, k).replace(/ .*/, "")} H${h}`,
          selection: { kind: "head" as const, ...place },
          item: lines.length ? { kind: "edge" as const, edge: lines[0] } : null,
          input_share: null,
          n_lines: lines.length,
        };
      });
  });
}

/** The drawn lines on which a head is the strongest, the strongest line first. */
function linesOf(g: Graph, routes: Routes, threshold: number, part: number, head: number): number[] {
  const drawn: number[] = [];
  for (const e of routes.order) {
    if (routes.strength[e] <= threshold) break;
    if (g.kind[e] === EdgeKind.attention && g.part[e] === part && g.head[e] === head) drawn.push(e);
  }
  return drawn;
}
