// One prompt's graph as flat columns: nodes, and edges sorted by the node they enter, top row first.
import { type Container, type Section, WireError } from "../wire.js";

export type PartKind = "attention" | "mlp" | "mixer" | "other";

export interface State {
  layer: number | null;
  name: string;
  carried: number; // the earlier state that is carried here; -1 for the embedding
}

export interface Part {
  kind: PartKind;
  layer: number;
  state: number; // state it enters
  reads: number; // state it is computed from; -1 for none
  label: string;
  heads: number | null;
}

export interface Tokens {
  id: number[];
  text: string[];
  raw: string[];
  bytes: string[];
  special: boolean[];
  role: (string | null)[];
  char: (string | null)[];
  part: ([number, number] | null)[];
}

export interface ModelFacts {
  line: string;
  name: string | null;
  [fact: string]: string | number | null;
}

export interface FidelityFacts {
  text: string;
  exact: boolean;
  worst: number | null;
  dtype: string;
  problems: string[]; // and remarks, which an exact decomposition may have too
  identities: Record<string, number | null>; // null where it was not finite
}

export interface GraphMeta {
  run: string;
  prompt: string;
  tokens: Tokens;
  states: State[];
  parts: Part[];
  vocab: string[];
  model: ModelFacts;
  fidelity: FidelityFacts;
  smallest: number;
}

/** What an edge is: carried from a state, attention from another position, a part's square into a state, a state into a square. */
export const EdgeKind = { carried: 0, attention: 1, part: 2, read: 3 } as const;

/**
 * Node numbers: state s at pos t is `s * T + t`; the square of the q-th part without a key axis at pos t is `(S + q) * T + t`.
 * Edge order: for state S-1 down to 1 the edges entering its nodes, then the edges entering the squares of its parts. Sources
 * have a smaller state than the state entered, so this order is topological from the top.
 */
export interface Graph {
  meta: GraphMeta;
  T: number;
  S: number;
  squares: Int32Array; // [square] -> index into meta.parts
  squareOf: Int32Array; // [part] -> square, or -1 for attention
  n_nodes: number;
  n_edges: number;
  source: Int32Array; // [edge]
  entered: Int32Array; // [edge]
  kind: Uint8Array; // [edge]
  part: Int16Array; // [edge]; -1 for carried
  share_sum: Float32Array; // [edge]; a share in [0, 1]; 1 for an edge into a square
  share_max: Float32Array; // [edge]; the largest head's share for attention, share_sum elsewhere
  head: Int16Array; // [edge]; that head, -1 elsewhere
  rows: Uint32Array; // [S + 1]; edges of state s are rows[S - 1 - s] .. rows[S - s]
  lowest: Int32Array; // [state]; the smallest state an edge of this row starts from
  truncated: Float32Array; // [S * T]; share of the attention edges cut for the wire
  ended: Float32Array; // [S * T]; 1 where nothing enters
  n_next: number; // predictions kept a position
  next_token: Int32Array; // [T * n_next]; index into meta.vocab
  next_p: Float32Array; // [T * n_next]
}

/** The graph in a container of kind "graph". */
export function buildGraph({ meta, sections, shapes }: Container<GraphMeta>): Graph {
  const T = meta.tokens.text.length;
  const S = meta.states.length;
  const need = (name: string, n?: number): Section => {
    const s = sections[name];
    if (!s) throw new WireError(`the graph from Python lacks the section ${name}`);
    if (n !== undefined && s.length !== n) throw new WireError(`section ${name} must hold ${n} numbers, got ${s.length}`);
    return s;
  };
  const carried = need("carried", S * T) as Float32Array;
  const squareOf = new Int32Array(meta.parts.length).fill(-1);
  const squares: number[] = [];
  let n_edges = 0;
  for (let s = 1; s < S; s++) if (meta.states[s].carried >= 0) n_edges += T;
  meta.parts.forEach((part, k) => {
    if (part.reads >= part.state) throw new WireError(`part ${k} (${part.label}) reads a state that does not come before it`);
    if (part.kind === "attention") {
      n_edges += need(`p${k}.key`).length;
    } else {
      squareOf[k] = squares.length;
      squares.push(k);
      n_edges += goesOn(part) ? 2 * T : T;
    }
  });

  const g: Graph = {
    meta,
    T,
    S,
    squares: Int32Array.from(squares),
    squareOf,
    n_nodes: (S + squares.length) * T,
    n_edges,
    source: new Int32Array(n_edges),
    entered: new Int32Array(n_edges),
    kind: new Uint8Array(n_edges),
    part: new Int16Array(n_edges).fill(-1),
    share_sum: new Float32Array(n_edges),
    share_max: new Float32Array(n_edges),
    head: new Int16Array(n_edges).fill(-1),
    rows: new Uint32Array(S + 1),
    lowest: new Int32Array(S),
    truncated: need("truncated", S * T) as Float32Array,
    ended: need("ended", S * T) as Float32Array,
    n_next: shapes["next.token"]?.[1] ?? 0,
    next_token: need("next.token") as Int32Array,
    next_p: need("next.p") as Float32Array,
  };

  // Whole rows at a time: this is most of the time before the first picture of a long prompt.
  let e = 0;
  const column = (kind: number, k: number, source: number, entered: number, share: Section | null) => {
    count(g.source, e, source * T, T);
    count(g.entered, e, entered * T, T);
    g.kind.fill(kind, e, e + T);
    g.part.fill(k, e, e + T);
    if (share) g.share_sum.set(share, e);
    else g.share_sum.fill(1, e, e + T);
    g.share_max.set(g.share_sum.subarray(e, e + T), e);
    e += T;
  };
  for (let s = S - 1; s >= 0; s--) {
    g.rows[S - 1 - s] = e;
    g.lowest[s] = s;
    const here = meta.parts.flatMap(({ state }, k) => (state === s ? [k] : []));
    const from = meta.states[s].carried;
    if (s > 0 && from >= 0) {
      g.lowest[s] = Math.min(g.lowest[s], from);
      column(EdgeKind.carried, -1, from, s, carried.subarray(s * T, (s + 1) * T));
    }
    for (const k of here) {
      const part = meta.parts[k];
      if (part.reads >= 0) g.lowest[s] = Math.min(g.lowest[s], part.reads);
      if (part.kind === "attention") {
        const row = need(`p${k}.row`, T + 1);
        const n = row[T];
        const key = need(`p${k}.key`, n);
        add(g.source, e, key, part.reads * T);
        for (let t = 0; t < T; t++) g.entered.fill(s * T + t, e + row[t], e + row[t + 1]);
        g.kind.fill(EdgeKind.attention, e, e + n);
        g.part.fill(k, e, e + n);
        g.share_sum.set(need(`p${k}.sum`, n), e);
        g.share_max.set(need(`p${k}.max`, n), e);
        g.head.set(need(`p${k}.top`, n), e);
        e += n;
      } else column(EdgeKind.part, k, S + squareOf[k], s, need(`p${k}.share`, T));
    }
    for (const k of here) {
      if (squareOf[k] >= 0 && goesOn(meta.parts[k])) column(EdgeKind.read, k, meta.parts[k].reads, S + squareOf[k], null);
    }
  }
  g.rows[S] = e;
  return g;
}

function count(array: Int32Array, at: number, from: number, n: number): void {
  for (let i = 0; i < n; i++) array[at + i] = from + i;
}

function add(array: Int32Array, at: number, values: Section, plus: number): void {
  for (let i = 0; i < values.length; i++) array[at + i] = values[i] + plus;
}

/** Whether what reaches this part's square goes on to the state it read; a mixer has no key axis, so there it ends. */
export function goesOn(part: Part): boolean {
  return part.kind !== "mixer" && part.reads >= 0;
}

export interface Place {
  state: number; // for a square: the state its part enters
  pos: number;
  part: number; // -1 for a state
}

/** Which state and position, or which part's square, a node is. */
export function placeOf(g: Graph, node: number): Place {
  const row = Math.floor(node / g.T);
  const pos = node - row * g.T;
  if (row < g.S) return { state: row, pos, part: -1 };
  const part = g.squares[row - g.S];
  return { state: g.meta.parts[part].state, pos, part };
}

/** The edges entering a node, in no particular order. */
export function edgesInto(g: Graph, node: number): number[] {
  const { state } = placeOf(g, node);
  const out: number[] = [];
  for (let e = g.rows[g.S - 1 - state]; e < g.rows[g.S - state]; e++) if (g.entered[e] === node) out.push(e);
  return out;
}
