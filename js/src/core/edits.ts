// What is different in the pass on show: an edit is a selection and what stands there instead; no DOM.
import type { Graph } from "./graph.js";
import { partName } from "./names.js";
import { partOf, type Selection } from "./select.js";

export interface Edit {
  selection: Selection;
  to: number | "mean" | { prompt: unknown } | { value: number }; // 0 cuts, 2 doubles; another prompt's; a neuron set
  renormalise?: boolean; // of attention: what is left of the row takes over
}

export const EDITS: Selection = { kind: "edits" }; // the question what they did

const FIELDS: Record<string, string[]> = {
  edge: ["state", "query", "key", "part"],
  head: ["state", "head", "query", "key", "part"],
  mlp: ["state", "pos", "part"],
  mixer: ["state", "pos", "part"],
  neuron: ["state", "pos", "neuron", "expert", "part"],
};

/** The cut of what a question is about; null for what is no part of a sum. */
export function cutOf(g: Graph, question: Selection): Edit | null {
  const asked = question.kind === "cut" ? cutBy(g, question) : question;
  const fields = FIELDS[asked.kind];
  if (!fields) return null;
  const said = fields.filter((name) => asked[name] != null).map((name) => [name, asked[name]]);
  // As Python tells it back, so that the picture that arrives is known as this step of the way.
  return { selection: { kind: asked.kind, ...Object.fromEntries(said) }, to: 0, renormalise: false };
}

/** What a question "what if this were not there" is about. */
function cutBy(g: Graph, { state, query, key, head, neuron, part }: Selection): Selection {
  const kind = g.meta.parts[part as number]?.kind ?? "attention";
  if (kind === "attention") return { kind: head == null ? "edge" : "head", state, query, key, head, part };
  return { kind: neuron != null ? "neuron" : kind === "mlp" ? "mlp" : "mixer", state, pos: query, neuron, part };
}

/** "L3 MLP 123", "L2 H6": a neuron or a head as such, at every position. */
export function writerName(g: Graph, s: Selection): string {
  const name = partName(g, partOf(g, [s.kind === "head" ? "attention" : "mlp"], s));
  if (s.kind === "head") return `${name.replace(/ .*/, "")} H${s.head}`;
  return `${name} ${s.expert == null ? "" : `expert ${s.expert} `}${s.neuron}`;
}

/** What an edit is about, to be asked: at a position where it is of every one. */
export function questionOf(edit: Edit, pos: number): Selection {
  const { selection: s } = edit;
  return s.pos == null && s.query == null ? { ...s, ...(s.kind === "head" ? { query: pos, key: null } : { pos }) } : s;
}

/** Where the edits are in the picture, from node to node; the same node twice for what is no line. */
export function placesOf(g: Graph, edits: readonly Edit[]): [number, number][] {
  return edits.flatMap(({ selection: s }): [number, number][] => {
    const [pos, key] = [(s.pos ?? s.query) as number, s.key as number | undefined];
    if (!(pos < g.T && (s.state as number) < g.S)) return []; // at every position, or from a damaged file
    const node = (s.state as number) * g.T + pos;
    const number = partOf(g, s.kind === "edge" || s.kind === "head" ? ["attention"] : ["mlp", "mixer", "other"], s);
    const part = g.meta.parts[number];
    if (part && key !== undefined && key < g.T) return [[part.reads * g.T + key, node]];
    const square = part && g.squareOf[number] >= 0 ? (g.S + g.squareOf[number]) * g.T + pos : node;
    return [[square, square]];
  });
}
